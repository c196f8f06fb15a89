use super::*;

/// At least one sample of every shape that an event can take; the schema test reads them too.
pub(crate) fn samples() -> Vec<Event> {
    let event = |sequence, body| Event {
        schema: SCHEMA,
        id: EventId {
            node: "home".into(),
            stream: "kitchen".into(),
            epoch: 1_790_000_000_123,
            sequence,
        },
        time: "2026-11-23T08:30:00.250Z".into(),
        start_s: 1.5,
        end_s: 4.5,
        lag_ms: 312.25,
        body,
    };
    vec![
        event(
            0,
            Body::Source {
                state: SourceState::Up,
                reason: None,
            },
        ),
        event(
            1,
            Body::Source {
                state: SourceState::Down,
                reason: Some("unplugged".into()),
            },
        ),
        event(
            2,
            Body::Window {
                level_dbfs: -120.0,
                clipped: 0.0,
                speech: 0.0,
                speaker: None,
                spoof: None,
                sound: None,
                probes: Vec::new(),
            },
        ),
        event(
            3,
            Body::Window {
                level_dbfs: -21.5,
                clipped: 0.001,
                speech: 0.93,
                speaker: Some(SpeakerFinding {
                    name: "alice".into(),
                    cosine: 0.71,
                    llr: 3.2,
                    verdict: Verdict::Accept,
                }),
                spoof: Some(SpoofFinding {
                    llr: -2.0,
                    verdict: Verdict::Reject,
                }),
                sound: Some(SoundFinding {
                    class: "speech".into(),
                    probability: 0.97,
                }),
                probes: vec![ProbeFinding {
                    probe: "key".into(),
                    label: "c_major".into(),
                    value: 0.8,
                }],
            },
        ),
        event(
            4,
            Body::Speaker {
                speaker: Some("alice".into()),
                speaking: true,
                since_s: 1.5,
                verdict: Verdict::Accept,
                llr: Some(4.0),
                stranger: None,
                speech_s: Some(2.5),
                fused: Some(FusedFinding {
                    llr: 1.25,
                    verdict: Verdict::Inconclusive,
                }),
            },
        ),
        event(
            5,
            Body::Speaker {
                speaker: None,
                speaking: false,
                since_s: 9.0,
                verdict: Verdict::Inconclusive,
                llr: None,
                stranger: None,
                speech_s: None,
                fused: None,
            },
        ),
        event(
            6,
            Body::Spoof {
                verdict: Verdict::Reject,
                llr: -3.5,
                since_s: 2.5,
                parts: vec![SpoofPart {
                    name: "ssl".into(),
                    llr: -3.5,
                }],
            },
        ),
        event(
            7,
            Body::Gap {
                samples: u64::MAX,
                reason: GapReason::EngineBehind,
            },
        ),
        event(
            8,
            Body::Sound {
                class: "music".into(),
                on: true,
                probability: 0.81,
                since_s: 3.5,
            },
        ),
        event(
            9,
            Body::Sound {
                class: "dog_bark".into(),
                on: true,
                probability: 0.9,
                since_s: 3.5,
            },
        ),
        event(
            10,
            Body::Sound {
                class: "music".into(),
                on: false,
                probability: 0.12,
                since_s: 4.5,
            },
        ),
        event(
            11,
            Body::Health {
                part: HealthPart::Microphone,
                ok: false,
                value: 31.0,
                expected: 30.0,
                since_s: 2.5,
            },
        ),
        event(
            12,
            Body::Health {
                part: HealthPart::Band,
                ok: false,
                value: 3_700.0,
                expected: 7_400.0,
                since_s: 3.5,
            },
        ),
        event(
            13,
            Body::Health {
                part: HealthPart::Microphone,
                ok: true,
                value: 0.0,
                expected: 30.0,
                since_s: 4.5,
            },
        ),
    ]
}

#[test]
fn every_event_survives_json_and_back() {
    for event in samples() {
        let text = event.to_json().unwrap();
        let back: Event = serde_json::from_slice(&text).unwrap();
        assert_eq!(back, event);
    }
}

#[test]
fn the_body_lies_flat_beside_the_header_and_kind_is_its_type() {
    for event in samples() {
        let value: serde_json::Value = serde_json::from_slice(&event.to_json().unwrap()).unwrap();
        assert_eq!(value["type"], event.body.kind());
        assert_eq!(value["schema"], 1);
        assert_eq!(value["id"]["stream"], "kitchen");
        assert!(value.get("body").is_none());
    }
}

#[test]
fn absent_optional_fields_are_read_as_none() {
    let text = r#"{"schema":1,"id":{"node":"n","stream":"s","epoch":1,"sequence":2},"time":"t","start_s":0,"end_s":1,
        "lag_ms":0,"type":"window","level_dbfs":-30,"clipped":0,"speech":0}"#;
    let event: Event = serde_json::from_str(text).unwrap();
    assert!(matches!(
        event.body,
        Body::Window {
            speaker: None,
            spoof: None,
            ..
        }
    ));
}

#[test]
fn an_unknown_type_is_an_error() {
    let text = r#"{"schema":1,"id":{"node":"n","stream":"s","epoch":1,"sequence":2},"time":"t","start_s":0,"end_s":1,
        "lag_ms":0,"type":"weather"}"#;
    assert!(serde_json::from_str::<Event>(text).is_err());
}

#[test]
fn a_number_that_json_cannot_hold_is_refused_by_name() {
    for event in samples() {
        let fields = event.numbers().len();
        assert!(fields >= 3);
        let mut broken = event.clone();
        broken.lag_ms = f64::NAN;
        let error = broken.to_json().unwrap_err();
        assert!(error.to_string().contains("lag_ms"), "{error}");
    }
    let mut silent = samples().swap_remove(2);
    if let Body::Window { level_dbfs, .. } = &mut silent.body {
        *level_dbfs = f64::NEG_INFINITY;
    }
    assert!(
        silent
            .to_json()
            .unwrap_err()
            .to_string()
            .contains("level_dbfs")
    );
}
