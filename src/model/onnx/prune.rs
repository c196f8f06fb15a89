//! A model without the outputs that nobody asks for, nor what only they are made of: a runtime computes all that a graph has,
//! in every run.

use std::collections::HashSet;

use super::wire::{Budget, Value, damaged};

/// Field of the graph in a model; of nodes and outputs in a graph; of the name in an output; of inputs and outputs in a node.
const GRAPH: u64 = 7;
const NODE: u64 = 1;
const OUTPUT: u64 = 12;
const NAME: u64 = 1;
pub(super) const READS: u64 = 1;
pub(super) const WRITES: u64 = 2;

/// The model without this output. What is left is byte for byte what it was.
///
/// # Errors
/// The reason why it is no model, for people.
pub fn without_output(model: &[u8], unwanted: &str) -> Result<Vec<u8>, String> {
    with_graph(model, |budget, graph| {
        graph_without(budget, graph, unwanted.as_bytes())
    })
}

/// The model with another graph.
pub(super) fn with_graph(
    model: &[u8],
    change: impl Fn(&Budget, &[u8]) -> Result<Vec<u8>, String>,
) -> Result<Vec<u8>, String> {
    let budget = Budget::new();
    let mut out = Vec::with_capacity(model.len());
    for field in budget.fields(model).whole() {
        match field? {
            (GRAPH, Value::Bytes(graph), _) => {
                length_delimited(&mut out, GRAPH, &change(&budget, graph)?);
            }
            (_, _, whole) => out.extend_from_slice(whole),
        }
    }
    Ok(out)
}

fn graph_without(budget: &Budget, graph: &[u8], unwanted: &[u8]) -> Result<Vec<u8>, String> {
    let mut needed = HashSet::new();
    let mut nodes = Vec::new();
    for field in budget.fields(graph) {
        match field? {
            (NODE, Value::Bytes(node)) => nodes.push(node),
            (OUTPUT, Value::Bytes(output)) => {
                needed.extend(names(budget, output, NAME)?);
            }
            _ => {}
        }
    }
    needed.remove(unwanted);
    // Who makes a value stands before who reads it.
    let mut kept = HashSet::new();
    for (at, node) in nodes.iter().enumerate().rev() {
        let writes = names(budget, node, WRITES)?;
        if writes.iter().any(|name| needed.contains(name)) {
            needed.extend(names(budget, node, READS)?);
            kept.insert(at);
        }
    }
    let (mut out, mut at) = (Vec::with_capacity(graph.len()), 0..);
    for field in budget.fields(graph).whole() {
        let (key, value, whole) = field?;
        let is_kept = match (key, value) {
            (NODE, Value::Bytes(_)) => at.next().is_some_and(|at| kept.contains(&at)),
            (OUTPUT, Value::Bytes(output)) => !names(budget, output, NAME)?.contains(&unwanted),
            _ => true,
        };
        if is_kept {
            out.extend_from_slice(whole);
        }
    }
    Ok(out)
}

/// The values of one field of a message.
pub(super) fn names<'a>(
    budget: &'a Budget,
    message: &'a [u8],
    field: u64,
) -> Result<Vec<&'a [u8]>, String> {
    let mut names = Vec::new();
    for found in budget.fields(message) {
        match found? {
            (key, Value::Bytes(name)) if key == field => names.push(name),
            (key, _) if key == field => return Err(damaged()),
            _ => {}
        }
    }
    Ok(names)
}

pub(super) fn length_delimited(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    for mut n in [field << 3 | 2, bytes.len() as u64] {
        while n >= 0x80 {
            out.push(n as u8 | 0x80);
            n >>= 7;
        }
        out.push(n as u8);
    }
    out.extend_from_slice(bytes);
}
