//! A look into an ONNX file before the runtime sees it, which is a large C++ program and parses whatever it is given. What
//! passes is one graph of opset 17 or later whose operators are on a list, with all weights inside, none larger than the file
//! makes it, and no constant that makes a tensor larger than memory. Field numbers are those of `onnx.proto`.
//!
//! It is one pass over messages that nest to a fixed depth, over at most a given number of fields. What it cannot see is how
//! large a value gets that a graph computes from values: a pack that nobody vouches for may still ask for much memory.

mod operators;
mod prune;
mod tensor;
mod widen;
mod wire;

use std::collections::HashMap;

pub(super) use prune::without_output;
use tensor::{ELEMENTS, SMALL, declared, once, tensor};
pub(super) use widen::without_rounding;
use wire::{Budget, Value, damaged, text, varint};

/// Oldest operator set of the contract.
const OLDEST_OPSET: u64 = 17;
/// The most nodes of a graph; the largest published encoder that a recipe exports has some five thousand.
const NODES: u32 = 100_000;
/// The longest name, bytes.
const NAME: usize = 4096;

/// Says why `bytes` are not a model that the contract allows.
///
/// # Errors
/// The reason, for people.
pub fn check_onnx(bytes: &[u8]) -> Result<(), String> {
    let budget = Budget::new();
    let (mut opset, mut graph, mut other_domain) = (None, None, None);
    for field in budget.fields(bytes) {
        match field? {
            (7, Value::Bytes(message)) => once(&mut graph, message)?,
            (8, Value::Bytes(import)) => {
                let (domain, version) = import_of(&budget, import)?;
                match is_default(domain) {
                    true => once(&mut opset, version)?,
                    false => other_domain = Some(domain),
                }
            }
            (20, _) => return Err("it brings training of its own, expected none".into()),
            (25, _) => return Err("it brings functions of its own, expected none".into()),
            // Version and producer, for people.
            (1..=6 | 14, _) => {}
            (other, _) => return Err(format!("it has a field {other} of no use here")),
        }
    }
    let (Some(graph), Some(opset)) = (graph, opset) else {
        return Err("it is no ONNX model: expected one graph and the default operator set".into());
    };
    if opset < OLDEST_OPSET {
        return Err(format!(
            "it uses ONNX opset {opset}, expected {OLDEST_OPSET} or later"
        ));
    }
    check_graph(&budget, graph, bytes.len() as u64)?;
    // Nothing uses it, or a node would have been named.
    match other_domain {
        Some(domain) => Err(format!(
            "it asks for the operators of {domain}, expected those of the default domain only"
        )),
        None => Ok(()),
    }
}

fn import_of<'a>(budget: &'a Budget, import: &'a [u8]) -> Result<(&'a str, u64), String> {
    let (mut domain, mut version) = (None, None);
    for field in budget.fields(import) {
        match field? {
            (1, Value::Bytes(name)) => once(&mut domain, name_of(name)?)?,
            (2, Value::Number(n)) => once(&mut version, n)?,
            _ => return Err(damaged()),
        }
    }
    Ok((domain.unwrap_or_default(), version.unwrap_or_default()))
}

fn check_graph(budget: &Budget, graph: &[u8], file: u64) -> Result<(), String> {
    // Constants of which a size could be made, by name.
    let mut constants = HashMap::new();
    let (mut nodes, mut bytes) = (0, 0u64);
    for field in budget.fields(graph) {
        match field? {
            (5, Value::Bytes(message)) => {
                let found = tensor(budget, message)?;
                bytes += found.bytes;
                if let Some(integers) = found.integers {
                    constants.insert(found.name, integers);
                }
            }
            (1, Value::Bytes(_)) => nodes += 1,
            (11..=13, Value::Bytes(value)) => declared(budget, value)?,
            (15, _) => return Err("it has sparse weights, expected dense ones".into()),
            // Names and words for people.
            (2 | 10 | 14 | 16, _) => {}
            (other, _) => return Err(format!("its graph has a field {other} of no use here")),
        }
    }
    if nodes > NODES {
        return Err(format!("it has {nodes} nodes, expected at most {NODES}"));
    }
    // Numbers written as text-like varints may take more room in memory than in the file, but only small constants are.
    if bytes > file.saturating_mul(2).saturating_add(1 << 16) {
        return Err(format!(
            "its weights take {bytes} bytes, expected no more than the file has: {file}"
        ));
    }
    // The order of a file's fields is free: constants first, then who uses them.
    let mut nodes = Vec::new();
    for field in budget.fields(graph) {
        if let (1, Value::Bytes(message)) = field? {
            let node = node(budget, message)?;
            if let (Some(output), Some(integers)) = (node.output, &node.integers) {
                constants.insert(output, integers.clone());
            }
            if !operators::sized_by(node.operator).is_empty() {
                nodes.push(node);
            }
        }
    }
    nodes
        .iter()
        .try_for_each(|node| check_size(node, &constants))
}

/// What a node is.
struct Node<'a> {
    operator: &'a str,
    inputs: Vec<&'a [u8]>,
    output: Option<&'a [u8]>,
    /// Values of a small constant.
    integers: Option<Vec<i64>>,
}

fn node<'a>(budget: &'a Budget, message: &'a [u8]) -> Result<Node<'a>, String> {
    let (mut operator, mut domain) = (None, None);
    let (mut inputs, mut output, mut integers) = (Vec::new(), None, None);
    for field in budget.fields(message) {
        match field? {
            (1, Value::Bytes(name)) => {
                name_of(name)?;
                // Those that say a size come first.
                if inputs.len() < 3 {
                    inputs.push(name);
                }
            }
            (2, Value::Bytes(name)) => {
                name_of(name)?;
                output = output.or(Some(name));
            }
            (4, Value::Bytes(name)) => once(&mut operator, name_of(name)?)?,
            (7, Value::Bytes(name)) => once(&mut domain, name_of(name)?)?,
            (5, Value::Bytes(attribute)) => {
                integers = attribute_of(budget, attribute)?.or(integers);
            }
            // A name and words for people.
            (3 | 6 | 9, _) => {}
            (other, _) => return Err(format!("a node has a field {other} of no use here")),
        }
    }
    let (operator, domain) = (operator.unwrap_or_default(), domain.unwrap_or_default());
    if !is_default(domain) {
        return Err(format!(
            "it uses the operator {domain}.{operator}, expected operators of the default domain only"
        ));
    }
    if !operators::is_allowed(operator) {
        return Err(format!(
            "it uses the operator {operator}, which is not among those that a pack may use (docs/pack.md)"
        ));
    }
    Ok(Node {
        integers: integers.filter(|_| operator == "Constant"),
        operator,
        inputs,
        output,
    })
}

/// The integers of an attribute that holds a small tensor of them, or a list.
fn attribute_of(budget: &Budget, attribute: &[u8]) -> Result<Option<Vec<i64>>, String> {
    let (mut held, mut list) = (None, Vec::new());
    for field in budget.fields(attribute) {
        match field? {
            (5, Value::Bytes(message)) => once(&mut held, tensor(budget, message)?)?,
            (3 | 8, Value::Number(n)) if list.len() < SMALL => list.push(n as i64),
            (8, Value::Bytes(mut packed)) => {
                while !packed.is_empty() && list.len() < SMALL {
                    list.push(varint(&mut packed).ok_or_else(damaged)? as i64);
                }
            }
            (6 | 11, _) => {
                return Err("it has a graph within its graph, expected a single one".into());
            }
            (10 | 22 | 23, _) => {
                return Err("an operator is given many or sparse tensors, expected one".into());
            }
            (14 | 15, _) => return Err("an operator is given a type, expected numbers".into()),
            _ => {}
        }
    }
    let list = (!list.is_empty()).then_some(list);
    Ok(held.and_then(|t| t.integers).or(list))
}

/// Refuses a constant that makes a tensor larger than any that fits.
fn check_size(node: &Node, constants: &HashMap<&[u8], Vec<i64>>) -> Result<(), String> {
    let operator = node.operator;
    let too_large = || {
        Err(format!(
            "its {operator} makes a tensor of more than {ELEMENTS} values: expected a smaller one"
        ))
    };
    let limit = i64::try_from(ELEMENTS).unwrap_or(i64::MAX);
    for &index in operators::sized_by(operator) {
        let Some(values) = node.inputs.get(index).and_then(|name| constants.get(name)) else {
            continue;
        };
        // −1 and 0 are "as it is"; what a range or a margin says is a length by itself.
        let fits = match operator {
            "Range" | "Pad" => values.iter().all(|v| v.unsigned_abs() <= ELEMENTS),
            _ => values
                .iter()
                .try_fold(1i64, |product, v| product.checked_mul((*v).max(1)))
                .is_some_and(|product| product <= limit),
        };
        if !fits {
            return too_large();
        }
    }
    Ok(())
}

fn name_of(bytes: &[u8]) -> Result<&str, String> {
    if bytes.len() > NAME {
        return Err(format!("a name has more than {NAME} bytes"));
    }
    text(bytes)
}

fn is_default(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}

#[cfg(test)]
mod tests;
