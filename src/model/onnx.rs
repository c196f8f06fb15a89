//! A look into an ONNX file before the runtime sees it: default-domain operators only, opset 17 or later, no weights in
//! other files. Field numbers are those of `onnx.proto`; only the fields that matter here are followed.

/// Oldest operator set of the contract.
const OLDEST_OPSET: u64 = 17;
/// Subgraphs (`If`, `Loop`) within subgraphs that are followed.
const DEPTH: usize = 8;

/// Says why `bytes` are not a model that the contract allows.
pub(super) fn check(bytes: &[u8]) -> Result<(), String> {
    let (mut opset, mut graphs) = (None, 0);
    for field in Fields(bytes) {
        match field? {
            (7, Value::Bytes(graph)) => {
                graphs += 1;
                check_graph(graph, DEPTH)?;
            }
            (8, Value::Bytes(import)) => {
                let (mut domain, mut version) = ("", 0);
                for field in Fields(import) {
                    match field? {
                        (1, Value::Bytes(name)) => domain = text(name)?,
                        (2, Value::Number(n)) => version = n,
                        _ => {}
                    }
                }
                if is_default(domain) {
                    opset = Some(version);
                }
            }
            _ => {}
        }
    }
    match (graphs, opset) {
        (1, Some(found)) if found >= OLDEST_OPSET => Ok(()),
        (1, Some(found)) => Err(format!(
            "it uses ONNX opset {found}, expected {OLDEST_OPSET} or later"
        )),
        _ => Err("it is no ONNX model: expected one graph and the default operator set".into()),
    }
}

fn check_graph(graph: &[u8], depth: usize) -> Result<(), String> {
    if depth == 0 {
        return Err(format!("its subgraphs are nested deeper than {DEPTH}"));
    }
    for field in Fields(graph) {
        match field? {
            (1, Value::Bytes(node)) => check_node(node, depth)?,
            (5, Value::Bytes(tensor)) => check_tensor(tensor)?,
            (15, Value::Bytes(sparse)) => check_sparse(sparse)?,
            _ => {}
        }
    }
    Ok(())
}

fn check_node(node: &[u8], depth: usize) -> Result<(), String> {
    let (mut operator, mut domain) = ("", "");
    for field in Fields(node) {
        match field? {
            (4, Value::Bytes(name)) => operator = text(name)?,
            (7, Value::Bytes(name)) => domain = text(name)?,
            (5, Value::Bytes(attribute)) => {
                for field in Fields(attribute) {
                    match field? {
                        (5 | 10, Value::Bytes(tensor)) => check_tensor(tensor)?,
                        (6 | 11, Value::Bytes(graph)) => check_graph(graph, depth - 1)?,
                        (22 | 23, Value::Bytes(sparse)) => check_sparse(sparse)?,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    if is_default(domain) {
        Ok(())
    } else {
        Err(format!(
            "it uses the operator {domain}.{operator}, expected operators of the default domain only"
        ))
    }
}

fn check_sparse(sparse: &[u8]) -> Result<(), String> {
    for field in Fields(sparse) {
        if let (1 | 2, Value::Bytes(tensor)) = field? {
            check_tensor(tensor)?;
        }
    }
    Ok(())
}

fn check_tensor(tensor: &[u8]) -> Result<(), String> {
    for field in Fields(tensor) {
        if let (13, _) | (14, Value::Number(1..)) = field? {
            return Err("it keeps weights in another file, expected all of them inside".into());
        }
    }
    Ok(())
}

fn is_default(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|_| damaged())
}

fn damaged() -> String {
    "it is no ONNX model: expected a protobuf message, found a broken one".into()
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Fixed-width numbers, which no checked field has.
    Other,
}

/// Iterates over the fields of a protobuf message; after an error nothing follows.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, length: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Number(self.varint()?),
            1 => self.take(8).map(|_| Value::Other)?,
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Value::Other)?,
            _ => return None,
        };
        Some((key >> 3, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field().ok_or_else(damaged);
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fixture(name: &str) -> Vec<u8> {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures/packs")
            .join(name);
        std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    #[test]
    fn the_contract_is_enforced() {
        for name in ["vad", "encoder", "speaker", "spoof"] {
            assert_eq!(check(&fixture(&format!("tiny/{name}.onnx"))), Ok(()));
        }
        for (name, word) in [
            ("bad/external.onnx", "another file"),
            ("bad/contrib.onnx", "com.microsoft.Gelu"),
            ("bad/opset11.onnx", "opset 11"),
            ("bad/subgraph.onnx", "com.microsoft.Gelu"),
        ] {
            let error = check(&fixture(name)).expect_err(name);
            assert!(error.contains(word), "{name}: {error}");
        }
        assert!(check(b"").is_err());
        assert!(check(b"<html>not found</html>").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = check(&bytes);
        }

        #[test]
        fn any_damage_is_judged_without_a_panic(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
            let mut bytes = fixture("tiny/encoder.onnx");
            let index = at.index(bytes.len());
            bytes[index] = byte;
            bytes.truncate(cut.index(bytes.len()) + 1);
            let _ = check(&bytes);
        }
    }
}
