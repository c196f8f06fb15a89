//! The wire format of protobuf: fields of a message, one after the other, without a copy. Every read is counted against a
//! budget, so that no file keeps the check busy for longer than a model of the size that one may have.

use std::cell::Cell;

/// Fields that all messages of a file may have together: the largest published encoder has some 60 thousand.
const FIELDS: u32 = 8_000_000;

/// How many fields may still be read.
pub(super) struct Budget(Cell<u32>);

impl Budget {
    pub fn new() -> Self {
        Self(Cell::new(FIELDS))
    }

    /// The fields of a message.
    pub fn fields<'a>(&'a self, message: &'a [u8]) -> Fields<'a> {
        Fields {
            rest: message,
            budget: self,
        }
    }

    fn spend(&self) -> Result<(), String> {
        match self.0.get().checked_sub(1) {
            Some(left) => {
                self.0.set(left);
                Ok(())
            }
            None => Err(format!("it has more than {FIELDS} fields")),
        }
    }
}

/// A field's value.
pub(super) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Four bytes.
    Word,
    /// Eight bytes.
    Long,
}

/// Iterates over the fields of a message; after an error nothing follows.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
    budget: &'a Budget,
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let key = varint(&mut self.rest)?;
        let value = match key & 7 {
            0 => Value::Number(varint(&mut self.rest)?),
            1 => self.take(8).map(|_| Value::Long)?,
            2 => {
                let length = varint(&mut self.rest)?;
                Value::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Value::Word)?,
            _ => return None,
        };
        Some((key >> 3, value))
    }

    /// Each field, and all its bytes, those of its key among them.
    pub fn whole(mut self) -> impl Iterator<Item = Result<(u64, Value<'a>, &'a [u8]), String>> {
        std::iter::from_fn(move || {
            let before = self.rest;
            let field = self.next()?;
            let read = before.len() - self.rest.len();
            Some(field.map(|(key, value)| (key, value, &before[..read])))
        })
    }

    fn take(&mut self, length: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(usize::try_from(length).ok()?)?;
        self.rest = rest;
        Some(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.budget.spend();
        let field = field.and_then(|()| self.field().ok_or_else(damaged));
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// The next variable-length number.
pub(super) fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Bytes that have to be text.
pub(super) fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|_| damaged())
}

pub(super) fn damaged() -> String {
    "it is no ONNX model: expected a protobuf message, found a broken one".into()
}
