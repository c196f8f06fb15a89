use proptest::prelude::*;

use super::*;

fn gate(change: impl FnOnce(&mut config::Commands)) -> Gate {
    let mut config = config::Commands::default();
    change(&mut config);
    Gate::new(&config, Instant::now())
}

fn topics() -> Topics {
    Topics::new("earwitness", "home").unwrap()
}

fn message(topic: &str, payload: &str) -> Incoming {
    Incoming {
        topic: format!("earwitness/home/{topic}"),
        payload: payload.into(),
        retain: false,
        response_topic: None,
        correlation: None,
    }
}

fn read(gate: &mut Gate, topic: &str, payload: &str) -> Asked {
    gate.read(&topics(), &message(topic, payload), Instant::now())
        .unwrap()
}

fn refused(topic: &str, payload: &str) -> String {
    read(&mut gate(|_| {}), topic, payload).command.unwrap_err()
}

#[test]
fn each_verb_is_understood() {
    let mut gate = gate(|_| {});
    let mut command = |topic, payload| read(&mut gate, topic, payload).command.unwrap();
    let mute = command("command/mute", r#"{"stream": "k"}"#);
    assert_eq!(
        (mute.verb, mute.muted, mute.stream.as_str()),
        (Verb::Mute, true, "k")
    );
    assert!(!command("command/mute", r#"{"stream": "k", "muted": false}"#).muted);
    assert!(!command("command/unmute", r#"{"stream": "k"}"#).muted);
    assert_eq!(
        command("command/verify", r#"{"stream": "k"}"#).verb,
        Verb::Verify
    );
    let set = command(
        "command/set",
        r#"{"stream": "k", "speaker": {"prior": 0.1}}"#,
    )
    .set;
    let decision = set.speaker.applied(Decision::default()).unwrap();
    assert_eq!((decision.prior, decision.margin), (0.1, 0.85));
    assert_eq!(set.spoof.applied(decision), Ok(decision));
    let bad = Change {
        margin: Some(-1.0),
        ..Change::default()
    };
    assert!(
        bad.applied(decision)
            .unwrap_err()
            .starts_with("margin: expected")
    );
}

#[test]
fn whom_to_answer_is_asked_and_kept_within_our_own_topics() {
    let mut gate = gate(|_| {});
    let asked = read(&mut gate, "command/mute", r#"{"stream":"k","id":"7"}"#);
    assert_eq!(asked.reply_to, "earwitness/home/response/mute");
    assert_eq!(asked.id.as_deref(), Some("7"));
    let reply = r#"{"stream":"k","reply_to":"earwitness/home/response/panel/1"}"#;
    let asked = read(&mut gate, "command/mute", reply);
    assert_eq!(asked.reply_to, "earwitness/home/response/panel/1");
    let mut five = message("command/mute", r#"{"stream":"k"}"#);
    five.response_topic = Some("earwitness/home/response/x".into());
    five.correlation = Some(vec![0, 255]);
    let asked = gate.read(&topics(), &five, Instant::now()).unwrap();
    assert_eq!(asked.reply_to, "earwitness/home/response/x");
    assert_eq!(asked.correlation.as_deref(), Some(&[0, 255][..]));
    // Else a command could have us write there.
    for elsewhere in [
        "earwitness/home/status",
        "homeassistant/device/x/config",
        "x/#",
    ] {
        five.response_topic = Some(elsewhere.into());
        let asked = gate.read(&topics(), &five, Instant::now()).unwrap();
        assert_eq!(asked.reply_to, "earwitness/home/response/mute");
        assert!(
            asked
                .command
                .unwrap_err()
                .contains("below earwitness/home/response/")
        );
    }
}

#[test]
fn what_is_refused_is_told_why() {
    let long = format!(r#"{{"stream":"k","id":"{}"}}"#, "x".repeat(300));
    let huge = format!(r#"{{"stream":"{}"}}"#, "x".repeat(5000));
    for (topic, payload, why) in [
        (
            "command/dance",
            r#"{"stream":"k"}"#,
            "expected one of mute, unmute, set, verify",
        ),
        ("command/mute", "mute", "expected a JSON object"),
        ("command/mute", r#"{"stram":"k"}"#, "unknown field `stram`"),
        ("command/mute", &long, "an id of at most"),
        ("command/mute", &huge, "at most 4096 bytes"),
        (
            "command/verify",
            r#"{"stream":"k","muted":true}"#,
            "belongs to the verb mute",
        ),
        (
            "command/set",
            r#"{"stream":"k"}"#,
            "which needs one of them",
        ),
        (
            "command/mute",
            r#"{"stream":"k","spoof":{}}"#,
            "belong to the verb set",
        ),
        (
            "from/panel/command/mute",
            r#"{"stream":"k"}"#,
            "[mqtt.commands] clients.panel",
        ),
    ] {
        let reason = refused(topic, payload);
        assert!(reason.contains(why), "{topic} {payload}: {reason}");
    }
    let mut retained = message("command/mute", r#"{"stream":"k"}"#);
    retained.retain = true;
    let asked = gate(|_| {})
        .read(&topics(), &retained, Instant::now())
        .unwrap();
    assert!(asked.command.unwrap_err().contains("retained"));
    assert!(
        gate(|_| {})
            .read(&topics(), &message("state", "{}"), Instant::now())
            .is_none()
    );
}

#[test]
fn who_may_do_what_is_configured() {
    let mut gate = gate(|config| {
        config.allow = vec![Verb::Verify];
        config.clients.insert("panel".into(), vec![Verb::Mute]);
        config.clients.insert("admin".into(), vec![Verb::Enrol]);
        config.clients.insert("guard".into(), vec![Verb::Cancel]);
    });
    let mut may = |topic| read(&mut gate, topic, r#"{"stream":"k"}"#).command.is_ok();
    assert!(may("command/verify") && !may("command/mute"));
    assert!(may("from/panel/command/mute") && !may("from/panel/command/verify"));
    assert!(!may("from/other/command/mute"));
    assert!(may("from/admin/command/cancel") && may("from/guard/command/cancel"));
    assert!(!may("from/panel/command/cancel") && !may("from/guard/command/enrol"));
    assert!(!may("command/cancel"));
    assert!(gate.is_open());
    assert!(!self::gate(|config| config.allow.clear()).is_open());
    assert!(!self::gate(|config| config.per_minute = 0).is_open());
}

#[test]
fn a_flood_is_refused_unread_and_time_opens_the_gate_again() {
    let mut gate = gate(|config| config.per_minute = 3);
    let start = Instant::now();
    let mut ok = |seconds| {
        let message = message("command/verify", r#"{"stream":"k"}"#);
        let now = start + Duration::from_secs(seconds);
        gate.read(&topics(), &message, now).unwrap().command.is_ok()
    };
    assert_eq!(
        [0, 0, 0, 0, 1].map(&mut ok),
        [true, true, true, false, false]
    );
    assert_eq!(
        [21, 21, 7200, 7200, 7200, 7200].map(ok),
        [true, false, true, true, true, false]
    );
}

proptest! {
    #[test]
    fn no_message_panics_and_every_answer_stays_below_our_topic(
        topic in "(command|from/[a-z]{1,3}/command)/(mute|set|verify|\\PC{0,9})",
        payload in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            "\\{(\"(stream|id|reply_to|muted|speaker|spoof)\":(\"\\PC{0,9}\"|[0-9]|true|\\{\\}|null),?){0,4}\\}"
                .prop_map(String::into_bytes),
        ],
        response_topic in proptest::option::of("(earwitness/home/response/)?\\PC{0,20}"),
        retain: bool,
    ) {
        let message = Incoming {
            payload,
            retain,
            response_topic,
            correlation: Some(vec![1]),
            ..message(&topic, "")
        };
        let mut gate = gate(|_| {});
        if let Some(asked) = gate.read(&topics(), &message, Instant::now()) {
            prop_assert!(topics().is_response(&asked.reply_to), "{}", asked.reply_to);
        }
    }
}
