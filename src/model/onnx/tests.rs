use std::path::Path;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

fn packs() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/packs"))
}

fn fixture(name: &str) -> Vec<u8> {
    let path = packs().join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A protobuf message under construction.
#[derive(Clone, Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut n: u64) {
        while n >= 0x80 {
            self.0.push(n as u8 | 0x80);
            n >>= 7;
        }
        self.0.push(n as u8);
    }

    fn number(mut self, field: u64, n: u64) -> Self {
        self.varint(field << 3);
        self.varint(n);
        self
    }

    fn bytes(mut self, field: u64, bytes: &[u8]) -> Self {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn inner(self, field: u64, message: Message) -> Self {
        self.bytes(field, &message.0)
    }
}

fn new() -> Message {
    Message::default()
}

fn model(graph: Message) -> Vec<u8> {
    let import = new().number(2, 17);
    new().number(1, 8).inner(7, graph).inner(8, import).0
}

fn integers(name: &str, values: &[i64]) -> Message {
    let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let dims = new().number(1, values.len() as u64).number(2, 7);
    dims.bytes(8, name.as_bytes()).bytes(9, &raw)
}

fn operator(name: &str, inputs: &[&str]) -> Message {
    let node = inputs.iter().fold(new(), |m, i| m.bytes(1, i.as_bytes()));
    node.bytes(2, b"y").bytes(4, name.as_bytes())
}

fn refusal(graph: Message) -> String {
    check_onnx(&model(graph)).expect_err("refused")
}

#[test]
fn every_pack_of_ours_passes() {
    let mut seen = 0;
    let folders = std::fs::read_dir(packs()).expect("fixtures");
    let mut folders: Vec<_> = folders.map(|e| e.expect("an entry").path()).collect();
    folders.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("models/default"));
    for folder in folders.iter().filter(|f| f.is_dir() && !f.ends_with("bad")) {
        for entry in std::fs::read_dir(folder).expect("a pack") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|e| e == "onnx") {
                let bytes = std::fs::read(&path).expect("a model");
                assert_eq!(check_onnx(&bytes), Ok(()), "{}", path.display());
                seen += 1;
            }
        }
    }
    assert!(seen >= 28, "{seen}");
}

#[test]
fn the_contract_is_enforced() {
    for (name, word) in [
        ("bad/external.onnx", "another file"),
        ("bad/contrib.onnx", "com.microsoft.Gelu"),
        ("bad/opset11.onnx", "opset 11"),
        ("bad/subgraph.onnx", "graph within its graph"),
    ] {
        let error = check_onnx(&fixture(name)).expect_err(name);
        assert!(error.contains(word), "{name}: {error}");
    }
    assert!(check_onnx(b"").is_err());
    assert!(check_onnx(b"<html>not found</html>").is_err());
    assert_eq!(check_onnx(&model(new())), Ok(()));
}

#[test]
fn operators_that_are_not_on_the_list_are_named() {
    for name in ["Loop", "If", "Scan", "RandomUniform", "NonMaxSuppression"] {
        let error = refusal(new().inner(1, operator(name, &["x"])));
        assert!(error.contains(name), "{error}");
    }
    let foreign = operator("Relu", &["x"]).bytes(7, b"evil");
    assert!(refusal(new().inner(1, foreign)).contains("evil.Relu"));
    let function = new().inner(7, new()).inner(8, new().number(2, 17));
    let error = check_onnx(&function.inner(25, new()).0).expect_err("functions");
    assert!(error.contains("functions of its own"), "{error}");
}

#[test]
fn weights_are_as_large_as_their_shape_says() {
    let tensor = |dims: &[u64], raw: usize| {
        let m = dims.iter().fold(new(), |m, d| m.number(1, *d));
        m.number(2, 1).bytes(8, b"w").bytes(9, &vec![0; raw])
    };
    let check = |t: Message| check_onnx(&model(new().inner(5, t)));
    assert_eq!(check(tensor(&[2, 3], 24)), Ok(()));
    assert_eq!(check(tensor(&[0, 1 << 20], 0)), Ok(()));
    for (dims, raw) in [
        (&[2, 3][..], 23),
        (&[2, 3], 28),
        (&[1 << 40], 4),
        (&[1 << 20, 1 << 20], 4),
        (&[u64::MAX], 0),
        (&[1 << 32, 1 << 32, 0], 0),
    ] {
        check(tensor(dims, raw)).expect_err("another size");
    }
    // A text, and values of two kinds.
    let text = new().number(1, 1).number(2, 8).bytes(6, b"word");
    assert!(check(text).is_err());
    let both = tensor(&[1], 4).bytes(4, &[0; 4]);
    assert!(check(both).is_err());
    let twice = tensor(&[1], 4).bytes(9, &[0; 4]);
    assert!(check(twice).expect_err("twice").contains("twice"));
}

#[test]
fn constants_make_no_tensor_larger_than_memory() {
    let large = [1 << 20, 1 << 20];
    for name in ["ConstantOfShape", "Expand", "Tile"] {
        let inputs: &[&str] = match name {
            "ConstantOfShape" => &["n"],
            _ => &["x", "n"],
        };
        let graph = |values: &[i64]| {
            let node = operator(name, inputs);
            new().inner(1, node).inner(5, integers("n", values))
        };
        assert!(refusal(graph(&large)).contains(name));
        assert_eq!(check_onnx(&model(graph(&[-1, 80]))), Ok(()), "{name}");
    }
    // The same from a node Constant, and by its list.
    let tensor = new().bytes(1, b"value").inner(5, integers("", &large));
    let list = large.iter().fold(new().bytes(1, b"value_ints"), |m, v| {
        m.number(8, u64::try_from(*v).expect("positive"))
    });
    for attribute in [tensor, list] {
        let constant = new().bytes(2, b"n").bytes(4, b"Constant");
        let constant = constant.inner(5, attribute);
        let graph = new().inner(1, operator("Expand", &["x", "n"]));
        assert!(refusal(graph.inner(1, constant)).contains("Expand"));
    }
    let range = new().inner(1, operator("Range", &["a", "n", "b"]));
    assert!(refusal(range.inner(5, integers("n", &[1 << 40]))).contains("Range"));
    let shape = [1 << 20, 1 << 20]
        .iter()
        .fold(new(), |m, d| m.inner(1, new().number(1, *d)));
    let kind = new().inner(1, new().number(1, 1).inner(2, shape));
    let declared = new().inner(13, new().bytes(1, b"x").inner(2, kind));
    assert!(refusal(declared).contains("declared"));
}

#[test]
fn a_file_of_nothing_but_fields_is_given_up_soon() {
    let one = new().number(2, 0).0;
    let bytes = model(Message(one.repeat(12_000_000)));
    let began = Instant::now();
    let error = check_onnx(&bytes).expect_err("too many");
    assert!(error.contains("fields"), "{error}");
    // It takes a tenth of a second; the rest is for a machine that is busy.
    assert!(began.elapsed() < Duration::from_secs(20));
}

/// A node that reads values and writes another.
fn node(operator: &str, from: &[&str], to: &str) -> Message {
    let reads = from
        .iter()
        .fold(new(), |m, name| m.bytes(1, name.as_bytes()));
    reads.bytes(2, to.as_bytes()).bytes(4, operator.as_bytes())
}

fn relu(from: &str, to: &str) -> Message {
    node("Relu", &[from], to)
}

#[test]
fn an_output_goes_with_all_that_only_it_is_made_of() {
    let output = |name: &str| new().bytes(1, name.as_bytes());
    let head = || new().inner(1, relu("x", "shared"));
    let score = |graph: Message| graph.inner(1, relu("shared", "score"));
    let parts = head().inner(1, relu("shared", "more"));
    let parts = score(parts).inner(1, relu("more", "parts"));
    let whole = model(parts.inner(12, output("score")).inner(12, output("parts")));
    let less = model(score(head()).inner(12, output("score")));
    assert_eq!(without_output(&whole, "parts"), Ok(less));
    assert_eq!(without_output(&whole, "nothing"), Ok(whole.clone()));
    let real = fixture("../../../models/default/spoof.onnx");
    let score = without_output(&real, "parts").expect("a model");
    assert_eq!(check_onnx(&score), Ok(()));
    assert!(score.len() < real.len());
    assert!(without_output(b"<html>not found</html>", "parts").is_err());
}

#[test]
fn what_is_rounded_and_widened_again_is_only_cut_off() {
    let output = |name: &str| new().bytes(1, name.as_bytes());
    let scalar = |name: &str, kind: u64, field: u64, bytes: &[u8]| {
        let tensor = new().number(2, kind);
        tensor.bytes(8, name.as_bytes()).bytes(field, bytes)
    };
    let begin = || {
        new()
            .inner(5, scalar("scale", 1, 4, &0.5f32.to_le_bytes()))
            .inner(5, scalar("zero", 2, 5, &[0]))
            .inner(5, scalar("other zero", 2, 5, &[7]))
    };
    let weights = || node("DequantizeLinear", &["w", "scale", "zero"], "wide");
    let conv = || node("Conv", &["again", "wide"], "y");
    let narrow = |zero: &str| {
        begin()
            .inner(1, node("QuantizeLinear", &["x", "scale", zero], "few"))
            .inner(13, new().bytes(1, b"few"))
            .inner(
                1,
                node("DequantizeLinear", &["few", "scale", zero], "again"),
            )
            .inner(1, weights())
            .inner(1, conv())
    };
    let rounded = model(narrow("zero").inner(12, output("y")));
    let most = scalar("few at most", 1, 9, &127.5f32.to_le_bytes());
    let cut = begin()
        .inner(1, relu("x", "few"))
        .inner(5, most)
        .inner(1, node("Min", &["few", "few at most"], "again"))
        .inner(1, weights())
        .inner(1, conv());
    assert_eq!(
        without_rounding(&rounded),
        Ok(model(cut.inner(12, output("y"))))
    );
    // Bytes that do not begin at 0, and those that somebody else reads.
    let shifted = narrow("other zero").inner(12, output("y"));
    let read = narrow("zero").inner(1, node("Identity", &["few"], "bytes"));
    let twice = narrow("zero").inner(1, node("DequantizeLinear", &["few", "scale", "zero"], "z"));
    for graph in [shifted, read, twice] {
        let same = model(graph);
        assert_eq!(without_rounding(&same), Ok(same.clone()));
    }
    let real = fixture("../../../models/default/spoof.onnx");
    let wide = without_rounding(&real).expect("a model");
    assert_eq!(check_onnx(&wide), Ok(()));
    let count =
        |bytes: &[u8], name: &[u8]| bytes.windows(name.len()).filter(|w| *w == name).count();
    assert_eq!(count(&wide, b"\"\x0eQuantizeLinear"), 0);
    assert_eq!(count(&real, b"\"\x0eQuantizeLinear"), 5);
}

#[test]
fn a_head_for_a_gpu_says_what_that_for_a_cpu_says() {
    use crate::model::net::{Contract, Given, Net};
    use crate::model::{Part, Runtime, place::Place};
    let runtime = Runtime::load(None).expect("the library that `make test` fetches");
    let score = |bytes: &[u8]| {
        let contract = Contract {
            part: Part::Spoof,
            inputs: vec![
                ("hidden", vec![-1, 10, -1, 256]),
                ("spectral", vec![-1, -1, 1351]),
            ],
            optional: Vec::new(),
            outputs: ["score", "parts", "short", "short_parts"]
                .into_iter()
                .zip([vec![-1], vec![-1, 4], vec![-1], vec![-1, 5]])
                .collect(),
        };
        let net = Net::open(runtime, bytes, &Place::host(), contract).expect("the head");
        let wave = |n: usize| -> Vec<f32> { (0..n).map(|i| (0.1 * i as f32).sin()).collect() };
        let (hidden, spectral) = (wave(10 * 149 * 256), wave(298 * 1351));
        let given = [
            Given::Host(&[1, 10, 149, 256], &hidden),
            Given::Host(&[1, 298, 1351], &spectral),
        ];
        net.run(&given, &[1], |score| score[0]).expect("a score")
    };
    let narrow = fixture("../../../models/default/spoof.onnx");
    let wide = without_rounding(&narrow).expect("a model");
    let (narrow, wide) = (score(&narrow), score(&wide));
    assert!((narrow - wide).abs() < 0.02, "{narrow} {wide}");
}

proptest! {
    #[test]
    fn any_bytes_are_judged_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = check_onnx(&bytes);
    }

    #[test]
    fn any_damage_is_judged_without_a_panic(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let mut bytes = fixture("tiny/encoder.onnx");
        let index = at.index(bytes.len());
        bytes[index] = byte;
        bytes.truncate(cut.index(bytes.len()) + 1);
        let _ = without_output(&bytes, "y");
        let _ = without_rounding(&bytes);
        let _ = check_onnx(&bytes);
    }

    /// Messages that are well formed, with wrong things in them.
    #[test]
    fn any_messages_are_judged_without_a_panic(
        fields in prop::collection::vec((0u64..30, any::<u64>(), prop::collection::vec(any::<u8>(), 0..12)), 0..20),
        place in 0usize..5,
    ) {
        let mut inner = new();
        for (field, number, bytes) in fields {
            inner = inner.number(field, number).bytes(field, &bytes);
        }
        let graph = match place {
            0 => inner,
            1 => new().inner(1, inner),
            2 => new().inner(1, operator("Constant", &[]).inner(5, inner)),
            3 => new().inner(5, inner),
            _ => new().inner(13, inner),
        };
        let _ = check_onnx(&model(graph));
    }
}
