//! A model for those that do not calculate with 8 bits. What a convolution hands on is rounded to 8 bits and widened again there,
//! on each run; all that matters of it is where it is cut off, at 0 and at the greatest number. Weights in 8 bits stay: a runtime
//! widens them once.

use std::collections::{HashMap, HashSet};

use super::prune::{READS, WRITES, length_delimited, names, with_graph};
use super::wire::{Budget, Value};

/// Fields of a graph: nodes, constants, what is said of values in it.
const NODE: u64 = 1;
const CONSTANT: u64 = 5;
const SAID: u64 = 13;
const OPERATOR: u64 = 4;
/// Fields of a tensor, and two of its types.
const TYPE: u64 = 2;
const FLOATS: u64 = 4;
const INTEGERS: u64 = 5;
const NAME: u64 = 8;
const RAW: u64 = 9;
const FLOAT: u64 = 1;
const BYTE: u64 = 2;

/// The model with `Min(Relu(x), 255 scale)` for what is rounded to bytes of that scale from 0 on and widened again. The rest is byte for
/// byte what it was.
///
/// # Errors
/// The reason why it is no model, for people.
pub fn without_rounding(model: &[u8]) -> Result<Vec<u8>, String> {
    with_graph(model, widened)
}

/// What one constant is, as far as it is asked here.
#[derive(Clone, Copy)]
enum Constant {
    Scale(f32),
    Zero,
}

/// A node's names.
struct Node<'a> {
    operator: &'a [u8],
    reads: Vec<&'a [u8]>,
    writes: Vec<&'a [u8]>,
}

fn node<'a>(budget: &'a Budget, message: &'a [u8]) -> Result<Node<'a>, String> {
    let operator = names(budget, message, OPERATOR)?;
    Ok(Node {
        operator: operator.first().copied().unwrap_or_default(),
        reads: names(budget, message, READS)?,
        writes: names(budget, message, WRITES)?,
    })
}

fn widened(budget: &Budget, graph: &[u8]) -> Result<Vec<u8>, String> {
    let (mut constants, mut nodes) = (HashMap::new(), Vec::new());
    for field in budget.fields(graph) {
        match field? {
            (NODE, Value::Bytes(message)) => nodes.push(node(budget, message)?),
            (CONSTANT, Value::Bytes(message)) => {
                if let Some((name, constant)) = constant(budget, message)? {
                    constants.insert(name, constant);
                }
            }
            _ => {}
        }
    }
    let rounded = rounded(&nodes, &constants);
    let (mut out, mut at) = (Vec::with_capacity(graph.len()), nodes.iter());
    for field in budget.fields(graph).whole() {
        let (key, value, whole) = field?;
        match (key, value) {
            (NODE, Value::Bytes(_)) => {
                let Some(node) = at.next() else { continue };
                let name = |names: &[&'_ [u8]]| names.first().copied().unwrap_or_default().to_vec();
                let (reads, writes) = (name(&node.reads), name(&node.writes));
                match node.operator {
                    b"QuantizeLinear" if rounded.contains_key(&writes[..]) => {
                        write_node(&mut out, b"Relu", &[&reads], &writes);
                    }
                    b"DequantizeLinear" if rounded.contains_key(&reads[..]) => {
                        let most = [&reads, &b" at most"[..]].concat();
                        write_scalar(&mut out, &most, 255.0 * rounded[&reads[..]]);
                        write_node(&mut out, b"Min", &[&reads, &most], &writes);
                    }
                    _ => out.extend_from_slice(whole),
                }
            }
            // That a value is bytes is no longer true.
            (SAID, Value::Bytes(said)) => {
                let name = names(budget, said, 1)?;
                if !name.iter().any(|name| rounded.contains_key(name)) {
                    out.extend_from_slice(whole);
                }
            }
            _ => out.extend_from_slice(whole),
        }
    }
    Ok(out)
}

/// The values in bytes from 0 on that are widened again and nothing else, and their scales.
fn rounded<'a>(
    nodes: &[Node<'a>],
    constants: &HashMap<&'a [u8], Constant>,
) -> HashMap<&'a [u8], f32> {
    let mut rounded = HashMap::new();
    let of = |node: &Node| match (node.reads.get(1), node.reads.get(2)) {
        (Some(scale), Some(zero)) => match (constants.get(scale), constants.get(zero)) {
            (Some(Constant::Scale(scale)), Some(Constant::Zero)) => Some(*scale),
            _ => None,
        },
        _ => None,
    };
    for node in nodes.iter().filter(|n| n.operator == b"QuantizeLinear") {
        if let (Some(scale), [value]) = (of(node), &node.writes[..]) {
            rounded.insert(*value, scale);
        }
    }
    let mut widened = HashSet::new();
    for node in nodes {
        for (at, read) in node.reads.iter().enumerate() {
            let same = rounded.get(read).copied().filter(|s| of(node) == Some(*s));
            let is_widened = at == 0 && node.operator == b"DequantizeLinear" && same.is_some();
            // Somebody else needs the bytes, or a second one widens them.
            if !is_widened || !widened.insert(*read) {
                rounded.remove(read);
            }
        }
    }
    rounded.retain(|value, _| widened.contains(value));
    rounded
}

/// A scalar that can be a scale, or the byte 0.
fn constant<'a>(
    budget: &'a Budget,
    message: &'a [u8],
) -> Result<Option<(&'a [u8], Constant)>, String> {
    let (mut name, mut kind, mut values) = (None, 0, None);
    for field in budget.fields(message) {
        match field? {
            (TYPE, Value::Number(n)) => kind = n,
            (NAME, Value::Bytes(bytes)) => name = Some(bytes),
            (FLOATS | INTEGERS | RAW, Value::Bytes(bytes)) => values = Some(bytes),
            _ => {}
        }
    }
    let constant = match (kind, values) {
        (FLOAT, Some(&[a, b, c, d])) => Constant::Scale(f32::from_le_bytes([a, b, c, d])),
        (BYTE, Some([0])) => Constant::Zero,
        _ => return Ok(None),
    };
    Ok(name.map(|name| (name, constant)))
}

fn write_node(out: &mut Vec<u8>, operator: &[u8], reads: &[&[u8]], writes: &[u8]) {
    let mut node = Vec::new();
    for name in reads {
        length_delimited(&mut node, READS, name);
    }
    length_delimited(&mut node, WRITES, writes);
    length_delimited(&mut node, OPERATOR, operator);
    length_delimited(out, NODE, &node);
}

fn write_scalar(out: &mut Vec<u8>, name: &[u8], value: f32) {
    // Its type as a number: field and kind, then the value.
    let mut tensor = vec![(TYPE << 3) as u8, FLOAT as u8];
    length_delimited(&mut tensor, NAME, name);
    length_delimited(&mut tensor, RAW, &value.to_le_bytes());
    length_delimited(out, CONSTANT, &tensor);
}
