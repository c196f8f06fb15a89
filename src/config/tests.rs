//! What a person sees when a configuration is wrong.

use std::path::Path;

use super::*;

fn read(text: &str) -> Result<Config, ConfigError> {
    load_with(Path::new("dir/ew.toml"), text, std::iter::empty())
}

/// The lines shown for a wrong text.
fn shown(text: &str) -> String {
    read(text).expect_err("is wrong").to_string()
}

fn with_variables(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let variables = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    load_with(Path::new("dir/ew.toml"), text, variables)
}

#[test]
fn an_empty_file_is_the_defaults_beside_it() {
    let mut expected = Config::default();
    expected.models.pack = "dir/models/default".into();
    expected.speaker.store = "dir/speakers.redb".into();
    assert_eq!(read("").expect("valid"), expected);
    assert_eq!(read("\u{feff}").expect("valid"), expected);
}

#[test]
fn relative_paths_belong_to_the_folder_of_the_file() {
    let text = "[models]\npack = '/abs'\nruntime = 'lib.so'\n[speaker]\nkey_file = 'k'\n\
        [[stream]]\nid = 'a'\nsource = { kind = 'file', path = 'a.wav' }\n\
        [mqtt]\nbroker = 'mqtts://h'\nusername = 'u'\npassword_file = 'p'\nca_file = 'ca'\n[jsonl]\npath = '-'\n";
    let config = read(text).expect("valid");
    assert_eq!(config.models.pack, Path::new("/abs"));
    assert_eq!(
        config.models.runtime.as_deref(),
        Some(Path::new("dir/lib.so"))
    );
    assert_eq!(
        config.streams[0].source,
        Input::File {
            path: "dir/a.wav".into(),
            speed: 1.0
        }
    );
    let key = config.speaker.key_file.as_deref();
    assert_eq!(key, Some(Path::new("dir/k")));
    let mqtt = config.mqtt.expect("present");
    assert_eq!(mqtt.password_file.as_deref(), Some(Path::new("dir/p")));
    assert_eq!(mqtt.ca_file.as_deref(), Some(Path::new("dir/ca")));
    // Beside the speaker store, wherever that is; nowhere where none is wanted.
    assert_eq!(mqtt.outbox.as_deref(), Some(Path::new("dir/outbox.redb")));
    let outbox = |text| read(text).expect("valid").mqtt.expect("present").outbox;
    assert_eq!(
        outbox("[speaker]\nstore = '/var/lib/e/s.redb'\n[mqtt]\n").as_deref(),
        Some(Path::new("/var/lib/e/outbox.redb"))
    );
    assert_eq!(
        outbox("[mqtt]\noutbox = 'o.redb'\n").as_deref(),
        Some(Path::new("dir/o.redb"))
    );
    assert_eq!(outbox("[mqtt]\noutbox_max_mb = 0\n"), None);
    // One line is enough.
    assert_eq!(
        read("mqtt = {}\n").expect("valid"),
        read("[mqtt]\n").expect("valid")
    );
    assert_eq!(config.jsonl.expect("present").path, Path::new("-"));
}

#[test]
fn shape_problems_name_line_key_and_what_is_expected() {
    for (text, expected) in [
        (
            "node = 'a'\nnoed = 'b'\n",
            "dir/ew.toml:2:1: `noed`: unknown key `noed`, expected one of `node`, `models`, `stream`, `window`, `speaker`, \
             `spoof`, `sound`, `health`, `mqtt`, `home_assistant`, `jsonl`",
        ),
        (
            "[window]\n  hop = 1\n",
            "dir/ew.toml:2:3: `window.hop`: unknown key `hop`, expected one of `length_s`, `hop_s`, `min_speech`, `queue`",
        ),
        (
            "[window]\nhop_s = 'x'\n",
            "dir/ew.toml:2:9: `window.hop_s`: invalid type: string \"x\", expected f64",
        ),
        (
            "[models]\nprovider = 'gpu'\n",
            "dir/ew.toml:2:12: `models.provider`: unknown value `gpu`, expected one of `cpu`, `cuda`, `tensorrt`, `auto`",
        ),
        (
            "[models]\nworkers = -1\n",
            "dir/ew.toml:2:11: `models.workers`: invalid value: integer `-1`, expected usize",
        ),
        (
            "[[stream]]\nsource = { kind = 'mic' }\n",
            "dir/ew.toml:1:1: `stream[0]`: missing key `id`",
        ),
        (
            "[speaker.decision]\n\npriors = 0.1",
            "dir/ew.toml:3:1: `speaker.decision.priors`: unknown key `priors`, expected one of `prior`, `cost_miss`, \
             `cost_false_accept`, `margin`, `target_far`, `target_frr`",
        ),
    ] {
        assert_eq!(shown(text), expected);
    }
}

#[test]
fn an_aim_is_stated_once_and_of_speakers_only() {
    let decision = read("[speaker.decision]\ntarget_far = 0.01\ntarget_frr = 0.05\nmargin = 1")
        .expect("valid")
        .speaker
        .decision;
    assert_eq!(
        (decision.target_far, decision.target_frr),
        (Some(0.01), Some(0.05))
    );
    for (text, at) in [
        (
            "[speaker.decision]\ntarget_far = 0.01\nprior = 0.5",
            "dir/ew.toml:3:9: `speaker.decision.prior`: expected none beside `target_far`",
        ),
        (
            "[speaker.decision]\ncost_miss = 2\ntarget_far = 0.01",
            "dir/ew.toml:2:13: `speaker.decision.cost_miss`: expected none",
        ),
        (
            "[speaker.decision]\ntarget_far = 0.6",
            "dir/ew.toml:2:14: `speaker.decision.target_far`: expected a probability above 0 and at most 0.5, found 0.6",
        ),
        (
            "[speaker.decision]\ntarget_far = nan",
            "dir/ew.toml:2:14: `speaker.decision.target_far`: expected a probability",
        ),
        (
            "[speaker.decision]\ntarget_frr = 0.1",
            "dir/ew.toml:2:14: `speaker.decision.target_frr`: expected `target_far` beside it",
        ),
        (
            "[spoof.decision]\ntarget_far = 0.1",
            "dir/ew.toml:2:14: `spoof.decision.target_far`: expected none: how often",
        ),
    ] {
        let shown = shown(text);
        assert!(shown.contains(at), "{shown}");
    }
    let laid_over = with_variables(
        "[speaker.decision]\nprior = 0.1",
        &[("EARWITNESS_SPEAKER__DECISION__TARGET_FAR", "0.01")],
    );
    assert!(
        laid_over.is_err(),
        "also where the two come from different places"
    );
}

#[test]
fn problems_inside_a_tagged_source_keep_their_place() {
    let stream = |source: &str| format!("[[stream]]\nid = 'a'\n[stream.source]\n{source}");
    for (source, expected) in [
        (
            "kind = 'mic'\npath = 'x'\n",
            "dir/ew.toml:5:1: `stream[0].source.path`: unknown key `path` for a source of kind `mic`, expected one of `kind`, \
             `device`",
        ),
        (
            "kind = 'file'\npath = 'x'\nsped = 2\n",
            "dir/ew.toml:6:1: `stream[0].source.sped`: unknown key `sped` for a source of kind `file`, expected one of `kind`, \
             `path`, `speed`",
        ),
        (
            "path = 'x'\nkind = 'file'\nspeed = 'fast'\n",
            "dir/ew.toml:6:9: `stream[0].source.speed`: invalid type: string \"fast\", expected f64",
        ),
        (
            "kind = 'file'\n",
            "dir/ew.toml:3:1: `stream[0].source.path`: missing key `path`: a source of kind `file` needs it",
        ),
        (
            "kind = 'radio'\n",
            "dir/ew.toml:4:8: `stream[0].source.kind`: unknown kind of source `radio`, expected one of `mic`, `file`, `stdin`, \
             `command`, `wyoming`, `tcp`, `udp`, `hermes`",
        ),
        (
            "device = 'x'\n",
            "dir/ew.toml:3:1: `stream[0].source.kind`: missing key `kind`, expected one of `mic`, `file`, `stdin`, `command`, \
             `wyoming`, `tcp`, `udp`, `hermes`",
        ),
        (
            "kind = 'tcp'\nlisten = 'here'\n",
            "dir/ew.toml:5:10: `stream[0].source.listen`: invalid socket address syntax",
        ),
        (
            "kind = 'stdin'\npcm = { rate = 8000, bits = 16 }\n",
            "dir/ew.toml:5:22: `stream[0].source.pcm.bits`: unknown key `bits`, expected one of `rate`, `channels`, `format`",
        ),
        (
            "kind = 'stdin'\n[stream.source.pcm]\nformat = 's24'\n",
            "dir/ew.toml:6:10: `stream[0].source.pcm.format`: unknown value `s24`, expected `s16` or `f32`",
        ),
        (
            "kind = 7\n",
            "dir/ew.toml:4:8: `stream[0].source.kind`: invalid type: integer `7`, expected a string",
        ),
    ] {
        assert_eq!(shown(&stream(source)), expected);
    }
}

#[test]
fn syntax_errors_name_their_line() {
    let text = shown("node = 'a'\n[window\n");
    assert!(
        text.starts_with("dir/ew.toml:2:8: this is not TOML: "),
        "{text}"
    );
    let text = shown("node = 'a'\nnode = 'b'\n");
    assert!(
        text.starts_with("dir/ew.toml:2:1: this is not TOML: "),
        "{text}"
    );
}

#[test]
fn values_out_of_range_are_all_named_at_once() {
    let text = shown(
        "node = 'a b'\n[window]\nlength_s = 30\nhop_s = nan\nmin_speech = 1.5\nqueue = 0\n\
         [spoof.decision]\nprior = 1.0\ncost_miss = inf\nmargin = -1\n\
         [sound]\non = 0.5\noff = 0.6\nmin_windows = 0\n\
         [speaker]\nkey_file = 'k'\npassphrase_file = 'p'\nkeep_days = 0\n",
    );
    let expected = "\
dir/ew.toml:1:8: `node`: expected letters, digits, `_` and `-` only, found `a b`
dir/ew.toml:3:12: `window.length_s`: expected 1 to 10, found 30
dir/ew.toml:4:9: `window.hop_s`: expected 0.1 to 10 (length_s), found NaN
dir/ew.toml:5:14: `window.min_speech`: expected 0 to 1, found 1.5
dir/ew.toml:6:9: `window.queue`: expected 1 to 1000, found 0
dir/ew.toml:17:19: `speaker.passphrase_file`: expected a key file or a passphrase file, found both
dir/ew.toml:18:13: `speaker.keep_days`: expected 1 to 36500, found 0
dir/ew.toml:8:9: `spoof.decision.prior`: expected a probability above 0 and below 1, found 1
dir/ew.toml:9:13: `spoof.decision.cost_miss`: expected a finite cost above 0, found inf
dir/ew.toml:10:10: `spoof.decision.margin`: expected a finite number of nats, 0 or more, found -1
dir/ew.toml:13:7: `sound.off`: expected 0 to 0.5, found 0.6
dir/ew.toml:14:15: `sound.min_windows`: expected 1 to 100, found 0";
    assert_eq!(text, expected);
}

#[test]
fn streams_are_checked_together() {
    let text = shown(
        "[[stream]]\nid = 'a'\nsource = { kind = 'stdin', pcm = { rate = 7 } }\n\
         [[stream]]\nid = 'a'\nchannel = 1\nsource = { kind = 'stdin' }\n\
         [[stream]]\nid = 'küche'\nsource = { kind = 'command', argv = [] }\n\
         [[stream]]\nid = ''\nsource = { kind = 'file', path = '', speed = -1 }\n",
    );
    let expected = "\
dir/ew.toml:3:43: `stream[0].source.pcm.rate`: expected 1000 to 384000, found 7
dir/ew.toml:5:6: `stream[1].id`: expected a unique id, found `a`, which stream[0] has too
dir/ew.toml:7:19: `stream[1].source.kind`: there is one standard input, and stream[0] reads it
dir/ew.toml:6:11: `stream[1].channel`: expected less than 1 (channels count from 0), found 1
dir/ew.toml:9:6: `stream[2].id`: expected letters, digits, `_` and `-` only, found `küche`
dir/ew.toml:10:37: `stream[2].source.argv`: expected a program and its arguments, found none
dir/ew.toml:12:6: `stream[3].id`: expected letters, digits, `_` and `-` only, found ``
dir/ew.toml:13:34: `stream[3].source.path`: expected a value, found an empty one
dir/ew.toml:13:46: `stream[3].source.speed`: expected 0 to 1000, found -1";
    assert_eq!(text, expected);
}

#[test]
fn network_sources_are_checked_and_listen_on_loopback_by_default() {
    let text = shown(
        "[[stream]]\nid = 'a'\nsource = { kind = 'wyoming', listen = '127.0.0.1:0' }\n\
         [[stream]]\nid = 'b'\nsource = { kind = 'tcp', listen = '127.0.0.1:99' }\n\
         [[stream]]\nid = 'c'\nchannel = 1\nsource = { kind = 'tcp', listen = '127.0.0.1:99' }\n\
         [[stream]]\nid = 'd'\nsource = { kind = 'udp', payload_type = 11, jitter_ms = 9999, listen = '127.0.0.1:99' }\n\
         [[stream]]\nid = 'e'\nsource = { kind = 'udp', encoding = 'opus', rate = 16000, channels = 3 }\n\
         [[stream]]\nid = 'f'\nsource = { kind = 'hermes', site = 'a/b' }\n",
    );
    let expected = "\
dir/ew.toml:3:39: `stream[0].source.listen`: expected 1 to 65535, found 0
dir/ew.toml:10:35: `stream[2].source.listen`: expected an address of its own, found that of stream[1]
dir/ew.toml:9:11: `stream[2].channel`: expected less than 1 (channels count from 0), found 1
dir/ew.toml:13:41: `stream[3].source.payload_type`: expected 96 to 127, found 11
dir/ew.toml:13:57: `stream[3].source.jitter_ms`: expected 0 to 2000, found 9999
dir/ew.toml:16:52: `stream[4].source.rate`: expected 48000, which all Opus is decoded at, found 16000
dir/ew.toml:16:70: `stream[4].source.channels`: expected 1 to 2, found 3
dir/ew.toml:19:36: `stream[5].source.site`: expected one topic level without `+`, `#` and `/`, found `a/b`
dir/ew.toml:19:10: `stream[5].source.broker`: expected a broker here or in `[mqtt]`, found neither";
    assert_eq!(text, expected);
    for kind in ["wyoming", "tcp", "udp"] {
        let text = format!("[[stream]]\nid = 'a'\nsource = {{ kind = '{kind}' }}\n");
        let (Input::Wyoming { listen } | Input::Tcp { listen, .. } | Input::Udp { listen, .. }) =
            read(&text).expect("valid").streams[0].source
        else {
            panic!("another kind than {kind}")
        };
        assert!(listen.ip().is_loopback());
    }
}

#[test]
fn mqtt_keys_that_go_together() {
    for (keys, expected) in [
        (
            "broker = 'localhost'",
            "2:10: `mqtt.broker`: broker `localhost`: expected mqtt://host:port or mqtts://host:port",
        ),
        (
            "password_file = 'p'",
            "2:17: `mqtt.password_file`: a password needs a `username` beside it",
        ),
        (
            "broker = 'mqtts://h'\nclient_key_file = 'k'",
            "3:19: `mqtt.client_key_file`: expected `client_cert_file` beside it: a certificate and its key go together",
        ),
        (
            "ca_file = 'c'",
            "2:11: `mqtt.ca_file`: is of no use without TLS: expected `broker` to begin with mqtts://",
        ),
        (
            "prefix = 'a/#'",
            "2:10: `mqtt.prefix`: expected topic levels without `+`, `#`, a leading `$` or an empty level, found `a/#`",
        ),
        (
            "keep_alive_s = 0",
            "2:16: `mqtt.keep_alive_s`: expected 1 to 65535, found 0",
        ),
        (
            "version = 5\nkeep_alive_s = 4",
            "3:16: `mqtt.keep_alive_s`: expected 5 to 65535, found 4",
        ),
        (
            "version = 3",
            "2:11: `mqtt.version`: expected 4 to 5, found 3",
        ),
        (
            "outbox = 'speakers.redb'",
            "2:10: `mqtt.outbox`: is the same file as speaker.store; expected one of its own",
        ),
        // Who is enrolled decides whom a door opens for.
        (
            "commands.allow = ['mute', 'enrol']",
            "2:18: `mqtt.commands.allow`: `enrol` is not for anybody: expected it under [mqtt.commands.clients], for a client that the broker knows",
        ),
        (
            "[home_assistant]\nclient = 'ha'",
            "3:10: `home_assistant.client`: expected a client that [mqtt.commands.clients] lists the verbs of, found `ha`",
        ),
    ] {
        assert_eq!(
            shown(&format!("[mqtt]\n{keys}\n")),
            format!("dir/ew.toml:{expected}")
        );
    }
}

#[test]
fn people_are_enrolled_and_forgotten_by_named_clients_only_and_by_none_at_first() {
    let read = |text| read(text).expect("valid");
    let config = read(
        "[mqtt]\ncommands.clients = { admin = ['enrol', 'forget'] }\n[home_assistant]\nclient = 'admin'\n",
    );
    let commands = config.mqtt.unwrap().commands;
    for verb in [Verb::Enrol, Verb::Forget] {
        assert!(!commands.allow.contains(&verb) && commands.clients["admin"].contains(&verb));
    }
    assert!(read("[mqtt]\n").mqtt.unwrap().commands.clients.is_empty());
}

#[test]
fn the_environment_overrides_the_file() {
    let variables = [
        ("EARWITNESS_NODE", "attic"),
        ("EARWITNESS_MQTT__BROKER", "mqtt://b:1"),
        ("EARWITNESS_MQTT__CLIENT_ID", "42"),
        ("EARWITNESS_MQTT__BACKLOG", "5"),
        ("EARWITNESS_WINDOW__HOP_S", "0.5"),
        ("EARWITNESS_SPOOF__ENABLED", "false"),
        ("EARWITNESS_SPEAKER__DECISION__PRIOR", "0.1"),
        ("EARWITNESS_MODELS__PROVIDER", "auto"),
        ("EARWITNESS_LOG", "debug"),
        ("EARWITNESS_ORT", "/x"),
        ("HOME", "/root"),
    ];
    let config = with_variables("node = 'a'\n[window]\nhop_s = 2\n", &variables).expect("valid");
    let mqtt = config.mqtt.expect("made by the variable");
    assert_eq!(config.node, "attic");
    assert_eq!(
        (
            mqtt.broker.as_str(),
            mqtt.client_id.as_deref(),
            mqtt.backlog
        ),
        ("mqtt://b:1", Some("42"), 5)
    );
    assert_eq!(config.window.hop_s, 0.5);
    assert!(!config.spoof.enabled);
    assert_eq!(config.speaker.decision.prior, 0.1);
    assert_eq!(config.models.provider, Provider::Auto);
}

#[test]
fn a_wrong_variable_is_named_instead_of_a_line() {
    for (name, value, expected) in [
        (
            "EARWITNESS_MQTT__BROKR",
            "x",
            "`mqtt.brokr`: unknown key `brokr`, expected one of ",
        ),
        (
            "EARWITNESS_MTQT__BROKER",
            "x",
            "`mtqt.broker`: unknown key `mtqt`, expected one of ",
        ),
        (
            "EARWITNESS_STREAM__ID",
            "x",
            "`stream.id`: streams are set in the file, not in the environment",
        ),
        (
            "EARWITNESS_WINDOW__HOP_S",
            "x",
            "`window.hop_s`: expected a TOML number, found `x`",
        ),
        (
            "EARWITNESS_WINDOW__HOP_S",
            "1\nqueue = 3",
            "`window.hop_s`: expected a TOML number, found `1\nqueue = 3`",
        ),
        (
            "EARWITNESS_WINDOW__QUEUE",
            "1.5",
            "`window.queue`: invalid type: floating point `1.5`, expected usize",
        ),
        (
            "EARWITNESS_WINDOW__QUEUE",
            "0",
            "`window.queue`: expected 1 to 1000, found 0",
        ),
        (
            "EARWITNESS_SPEAKER__DECISION",
            "x",
            "`speaker.decision`: this is a table: ",
        ),
        (
            "EARWITNESS_NODE",
            "",
            "`node`: expected letters, digits, `_` and `-` only, found ``",
        ),
    ] {
        let error =
            with_variables("[window]\nqueue = 2\n", &[(name, value)]).expect_err("is wrong");
        let text = error.to_string();
        let expected = format!("environment variable {name}: {expected}");
        assert!(text.starts_with(&expected), "{text}\nexpected {expected}");
    }
}

#[test]
fn what_print_writes_reads_back() {
    let text = "[[stream]]\nid = 'a'\nsource = { kind = 'command', argv = ['x'] }\n\
        [[stream]]\nid = 'b'\nsource = { kind = 'mic' }\n[mqtt]\n";
    let config = read(text).expect("valid");
    let printed = toml::to_string(&config).expect("serialises");
    let again = load_with(Path::new("ew.toml"), &printed, std::iter::empty()).expect("valid");
    assert_eq!(again, config);
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        let _ = read(&text);
    }

    #[test]
    fn no_near_miss_panics(
        section in "(\\[\\[?(stream|mqtt|window|stream\\.source)\\]?\\]|)",
        key in "(id|source|kind|hop_s|broker|pcm)",
        value in "(1|-1|nan|inf|''|'x'|\\[\\]|\\{\\}|\\{ kind = 'mic' \\}|\\[\\{\\}\\]|true|1979-05-27)",
    ) {
        let _ = read(&format!("{section}\n{key} = {value}\n"));
        let _ = read(&format!("stream = [{value}, {{ id = 'a', source = {value} }}]"));
    }
}
