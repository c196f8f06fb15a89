use proptest::prelude::*;

use super::*;

fn tiny() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/packs/tiny/pack.toml");
    std::fs::read_to_string(path).expect("the tiny pack")
}

fn parse(text: &str) -> Result<Manifest, ModelError> {
    Manifest::parse(text, Path::new("pack.toml"))
}

#[test]
fn each_rule_of_the_contract_is_checked() {
    parse(&tiny()).expect("the tiny pack is valid");
    for (old, new, word) in [
        ("schema = 1", "schema = 2\nfuture = 1", "schema is 2"),
        ("licence = \"CC0-1.0\"", "licence = \" \"", "licence"),
        ("mels = 80", "mels = 64", "fbank.mels is 64, expected 80"),
        ("high_hz = 7600.0", "high_hz = 8000.0", "fbank.high_hz"),
        (
            "sample_rate = 16000",
            "sample_rate = 24000",
            "audio.sample_rate",
        ),
        (
            "window_samples = 48000",
            "window_samples = 4",
            "audio.window_samples",
        ),
        ("frame_rate = 50", "frame_rate = 75", "encoder.frame_rate"),
        (
            "spectral_dim = 1351",
            "spectral_dim = 60",
            "spoof.spectral_dim",
        ),
        ("threshold = 0.5", "threshold = 1.5", "vad.threshold"),
        ("slope = 20.0", "slope = -20.0", "speaker.calibration"),
        ("[audio]", "[audio]\nbits = 16", "unknown field `bits`"),
        (
            "[encoder]",
            "[encoder]\nlayer_norm = true",
            "unknown field `layer_norm`",
        ),
    ] {
        let text = tiny();
        assert!(text.contains(old), "{old} is not in the tiny pack");
        let error = parse(&text.replacen(old, new, 1))
            .expect_err(new)
            .to_string();
        assert!(error.contains(word), "{new}: {error}");
    }
}

#[test]
fn a_sound_head_may_be_there_and_is_checked() {
    assert!(parse(&tiny()).expect("a pack without").sound.is_none());
    let with = |classes: &str, output: &str| {
        parse(&format!(
            "{}[sound]\nfile = \"s.onnx\"\nsha256 = \"00\"\nclasses = {classes}\n\
             [sound.accuracy]\naccuracy = 0.9\n[sound.known_answer]\noutput = {output}\n",
            tiny()
        ))
    };
    let sound = with("[\"speech\", \"dog_bark\"]", "[0.5, 0.5]")
        .expect("a sound head")
        .sound;
    assert_eq!(sound.expect("it is there").classes, ["speech", "dog_bark"]);
    for (classes, output, word) in [
        ("[]", "[]", "sound.classes is 0 names"),
        ("[\"a\", \"a\"]", "[0.5, 0.5]", "different names"),
        ("[\"Dog bark\"]", "[0.5]", "sound.classes is \"Dog bark\""),
        ("[\"a\", \"b\"]", "[0.5]", "sound.known_answer.output"),
    ] {
        let error = with(classes, output).expect_err(word).to_string();
        assert!(error.contains(word), "{word}: {error}");
    }
}

#[test]
fn a_spoof_head_may_name_its_parts_and_shows_them_in_its_known_answer() {
    let spoof = |text: &str| parse(text).map(|m| m.spoof.expect("a spoof head"));
    assert!(spoof(&tiny()).expect("without").parts.is_empty());
    let with = |parts: &str, output: &str| {
        let (dim, known) = ("spectral_dim = 1351", "[spoof.known_answer]\noutput = [");
        let text = tiny().replace(dim, &format!("{dim}\nparts = {parts}"));
        assert!(text.contains(known));
        spoof(&text.replace(known, &format!("{known}{output}")))
    };
    let head = with("[\"ssl\", \"spectral\"]", "0.1, 0.2, ").expect("parts");
    assert_eq!(head.parts, ["ssl", "spectral"]);
    for (parts, output, word) in [
        ("[\"ssl\", \"ssl\"]", "0.1, 0.2, ", "different names"),
        (
            "[\"ssl\", \"spectral\"]",
            "",
            "spoof.known_answer.output is 1 values",
        ),
        (
            "[\"a\", \"b\", \"c\", \"d\", \"e\", \"f\", \"g\", \"h\"]",
            "",
            "spoof.parts is 8 names, expected at most 7",
        ),
    ] {
        let error = with(parts, output).expect_err(word).to_string();
        assert!(error.contains(word), "{word}: {error}");
    }
}

#[test]
fn a_reading_of_short_windows_names_its_parts_and_has_a_known_answer() {
    let with = |lines: &str| {
        let known = "[spoof.known_answer]";
        let calibration = "[spoof.short.calibration]\nslope = 1.0\noffset = 0.0\n";
        let short = format!("[spoof.short]\nseconds = 1.5\n{lines}\n{calibration}\n{known}");
        let answer = match lines.contains("parts") {
            true => "[spoof.short.known_answer]\noutput = [0.3, 0.1, 0.2]\n",
            false => "",
        };
        parse(&(tiny().replace(known, &short) + answer)).map(|m| m.spoof.expect("a spoof head"))
    };
    let short = |lines: &str| with(lines).expect("a head").short.expect("short windows");
    assert!(short("").parts.is_empty());
    assert_eq!(short("parts = [\"ssl\", \"fine\"]").parts, ["ssl", "fine"]);
    let error = with("parts = [\"ssl\"]").expect_err("a value too many");
    let word = "spoof.short.known_answer.output is 3 values, expected 2 values";
    assert!(error.to_string().contains(word), "{error}");
    let error = with("known_answer = { output = [0.3] }").expect_err("no parts");
    let word = "spoof.short.known_answer is one, expected none without parts";
    assert!(error.to_string().contains(word), "{error}");
}

#[test]
fn accuracy_may_hold_anything() {
    let text = tiny().replace(
        "[vad.accuracy]",
        "[vad.accuracy]\nroc_auc = 0.99\ntested_on = \"dev\"",
    );
    assert_eq!(parse(&text).expect("extra measures").vad.accuracy.len(), 3);
}

proptest! {
    #[test]
    fn any_text_is_an_error_or_a_manifest(text in ".{0,400}") {
        let _ = parse(&text);
    }

    #[test]
    fn any_damage_is_an_error_or_a_manifest(at in 0usize..2000, byte in 0x20u8..0x7f) {
        let mut text = tiny().into_bytes();
        let at = at % text.len();
        text[at] = byte;
        let _ = parse(&String::from_utf8_lossy(&text));
    }
}
