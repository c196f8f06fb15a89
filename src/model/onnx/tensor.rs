//! Tensors and declared shapes: what they will take in memory, and whether that is what the file holds.

use super::wire::{Budget, Value, damaged, varint};

/// The most elements of any tensor: 2 GiB of 32-bit numbers would fill the file that it stands in.
pub(super) const ELEMENTS: u64 = 1 << 29;
/// Values of a constant that are looked at: no shape has more.
pub(super) const SMALL: usize = 64;

/// A tensor of a file.
#[derive(Default)]
pub(super) struct Tensor<'a> {
    pub name: &'a [u8],
    /// Bytes that it takes once it is read.
    pub bytes: u64,
    /// Its values, if they are few integers.
    pub integers: Option<Vec<i64>>,
}

/// Reads a TensorProto, without its values if there are many.
pub(super) fn tensor<'a>(budget: &'a Budget, message: &'a [u8]) -> Result<Tensor<'a>, String> {
    let (mut name, mut kind, mut raw) = (None, None, None);
    let (mut elements, mut is_empty) = (1u64, false);
    // Values that stand one by one, and those among them that are integers.
    let (mut typed, mut numbers) = (0u64, Vec::new());
    let mut add_dim = |dim: u64| match (elements.checked_mul(dim.max(1)), dim) {
        (Some(more), _) if more <= ELEMENTS => {
            elements = more;
            is_empty |= dim == 0;
            Ok(())
        }
        _ => Err(format!(
            "a tensor has more than {ELEMENTS} values: expected a smaller one"
        )),
    };
    for field in budget.fields(message) {
        match field? {
            (1, Value::Number(dim)) => add_dim(dim)?,
            (1, Value::Bytes(mut packed)) => {
                while !packed.is_empty() {
                    add_dim(varint(&mut packed).ok_or_else(damaged)?)?;
                }
            }
            (2, Value::Number(n)) => once(&mut kind, n)?,
            (8, Value::Bytes(text)) => once(&mut name, text)?,
            (9, Value::Bytes(bytes)) => once(&mut raw, bytes)?,
            (4, Value::Word) | (10, Value::Long) => typed += 1,
            (4, Value::Bytes(packed)) => typed += (packed.len() / 4) as u64,
            (10, Value::Bytes(packed)) => typed += (packed.len() / 8) as u64,
            (5 | 7 | 11, Value::Number(n)) => {
                typed += 1;
                keep(&mut numbers, n);
            }
            (5 | 7 | 11, Value::Bytes(mut packed)) => {
                while !packed.is_empty() {
                    let n = varint(&mut packed).ok_or_else(damaged)?;
                    typed += 1;
                    keep(&mut numbers, n);
                }
            }
            (13, _) | (14, Value::Number(1..)) => {
                return Err("it keeps weights in another file, expected all of them inside".into());
            }
            // Documentation, and a location that is this file.
            (12 | 14 | 16, _) => {}
            (other, _) => return Err(format!("a tensor has a field {other} of no use here")),
        }
    }
    if is_empty {
        elements = 0;
    }
    let (kind, size) = kind.and_then(|k| Some((k, size_of(k)?))).ok_or_else(|| {
        format!(
            "a tensor is of type {}, expected numbers",
            kind.unwrap_or(0)
        )
    })?;
    let bytes = elements * size;
    let held = raw.map_or(typed * size, |raw| raw.len() as u64);
    // Values of two kinds at once, or fewer than the shape says, would be read past their end.
    if held != bytes || (raw.is_some() && typed > 0) {
        return Err(format!(
            "a tensor of {bytes} bytes has {held} in the file: the file is damaged"
        ));
    }
    const INT64: u64 = 7;
    let integers = match raw {
        _ if kind != INT64 || elements > SMALL as u64 => None,
        Some(raw) => {
            let values = raw.as_chunks::<8>().0.iter();
            Some(values.map(|b| i64::from_le_bytes(*b)).collect())
        }
        None => Some(numbers),
    };
    Ok(Tensor {
        name: name.unwrap_or_default(),
        bytes,
        integers,
    })
}

/// Checks a ValueInfoProto: a tensor of numbers whose fixed dimensions do not make it too large.
pub(super) fn declared(budget: &Budget, message: &[u8]) -> Result<(), String> {
    each(budget, message, 2, |kind| {
        for field in budget.fields(kind) {
            match field? {
                (1, Value::Bytes(tensor)) => {
                    each(budget, tensor, 2, |shape| {
                        let mut elements = 1u64;
                        each(budget, shape, 1, |dim| {
                            for field in budget.fields(dim) {
                                if let (1, Value::Number(n)) = field? {
                                    elements = elements
                                    .checked_mul(n.max(1))
                                    .filter(|n| *n <= ELEMENTS)
                                    .ok_or_else(|| {
                                        format!("a value is declared with more than {ELEMENTS} elements")
                                    })?;
                                }
                            }
                            Ok(())
                        })
                    })?
                }
                (6, _) => {}
                (other, _) => {
                    return Err(format!(
                        "a value is declared as kind {other}, expected tensors only"
                    ));
                }
            }
        }
        Ok(())
    })
}

/// Every message in the field `number` of a message.
fn each<'a>(
    budget: &'a Budget,
    message: &'a [u8],
    number: u64,
    mut look: impl FnMut(&'a [u8]) -> Result<(), String>,
) -> Result<(), String> {
    for field in budget.fields(message) {
        match field? {
            (n, Value::Bytes(inner)) if n == number => look(inner)?,
            _ => {}
        }
    }
    Ok(())
}

/// Keeps a value that stands alone; the second would be merged with it by one reader and replace it for another.
pub(super) fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), String> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err("a field stands twice where one is expected: the file is damaged".into()),
    }
}

fn keep(numbers: &mut Vec<i64>, n: u64) {
    if numbers.len() <= SMALL {
        numbers.push(n as i64);
    }
}

/// Bytes of one value of TensorProto.DataType; none of types that are no numbers.
fn size_of(kind: u64) -> Option<u64> {
    match kind {
        // uint8, int8, bool
        2 | 3 | 9 => Some(1),
        // uint16, int16, float16, bfloat16
        4 | 5 | 10 | 16 => Some(2),
        // float, int32, uint32
        1 | 6 | 12 => Some(4),
        // int64, double, uint64
        7 | 11 | 13 => Some(8),
        _ => None,
    }
}
