use std::sync::Mutex;

use super::*;

/// Keeps what it is asked for.
#[derive(Default)]
struct Asked(Mutex<Vec<(u64, String)>>);

impl People for Asked {
    fn enrol(&self, ticket: u64, stream: usize, request: Request) -> Result<(), String> {
        if stream > 0 {
            return Err("busy".into());
        }
        self.0.lock().unwrap().push((ticket, request.name));
        Ok(())
    }

    fn cancel(&self, stream: usize) -> Result<(), String> {
        let asked = self.0.lock().unwrap().pop();
        asked.map(|_| ()).ok_or(format!("nothing on {stream}"))
    }

    fn forget(&self, ticket: u64, name: String) -> Result<(), String> {
        self.0.lock().unwrap().push((ticket, name));
        Ok(())
    }
}

fn desk() -> (Desk, Arc<Asked>) {
    let (_, news) = mpsc::channel(1);
    let people = Arc::new(Asked::default());
    (Desk::new(people.clone(), news), people)
}

fn route(verb: Verb) -> Route {
    Route {
        reply_to: "r".into(),
        correlation: Some(vec![7]),
        id: Some("1".into()),
        verb,
    }
}

fn read(verb: Verb, payload: &str) -> Result<Option<Wish>, String> {
    wish(verb, serde_json::from_str(payload).unwrap())
}

fn ask(desk: &mut Desk, at: usize, verb: Verb, payload: &str) -> Told {
    let mut told = ask_all(desk, at, verb, payload);
    assert_eq!(told.len(), 1);
    told.remove(0)
}

fn ask_all(desk: &mut Desk, at: usize, verb: Verb, payload: &str) -> Vec<Told> {
    let wish = read(verb, payload).unwrap().unwrap();
    desk.ask(route(verb), ("kitchen", at), wish)
}

#[test]
fn wishes_are_read_within_their_bounds() {
    let Ok(Some(Wish::Enrol(name, request))) = read(Verb::Enrol, r#"{"name":"alice"}"#) else {
        panic!();
    };
    assert_eq!(name.as_deref(), Some("alice"));
    assert_eq!((request.seconds, request.within.as_secs()), (20.0, 120));
    assert_eq!((request.keep_days, request.replace), (None, false));
    let long = format!(r#"{{"consent":"{}"}}"#, "x".repeat(1001));
    for (verb, payload, why) in [
        (Verb::Enrol, r#"{"name":"a/b"}"#, "a/b"),
        (Verb::Enrol, r#"{"seconds":2.9}"#, "3 to 120"),
        (Verb::Enrol, r#"{"seconds":120.5}"#, "3 to 120"),
        (Verb::Enrol, r#"{"within_s":601}"#, "10 to 600"),
        (
            Verb::Enrol,
            r#"{"seconds":60,"within_s":59}"#,
            "no less than `seconds`",
        ),
        (Verb::Enrol, r#"{"keep_days":0}"#, "1 to 36500"),
        (Verb::Enrol, &long, "consent: expected at most 1000 bytes"),
        (Verb::Forget, "{}", "whom to forget"),
        (
            Verb::Forget,
            r#"{"name":"alice","replace":true}"#,
            "belong to the verb enrol",
        ),
        (Verb::Mute, r#"{"name":"alice"}"#, "verbs enrol and forget"),
        (
            Verb::Cancel,
            r#"{"name":"alice"}"#,
            "verbs enrol and forget",
        ),
    ] {
        let reason = read(verb, payload).unwrap_err();
        assert!(reason.contains(why), "{payload}: {reason}");
    }
    assert_eq!(read(Verb::Mute, "{}"), Ok(None));
}

#[test]
fn a_name_is_kept_for_the_button_and_not_used_for_somebody_else() {
    let (mut desk, people) = desk();
    let told = ask(&mut desk, 0, Verb::Enrol, "{}");
    assert!(told.refused.is_some_and(|why| why.contains("`name`")));
    assert_eq!(desk.progress("kitchen").phase, Phase::Refused);
    ask(
        &mut desk,
        0,
        Verb::Enrol,
        r#"{"name":"alice","start":false}"#,
    );
    let told = ask(&mut desk, 0, Verb::Enrol, "{}");
    assert!(told.goes_on && told.refused.is_none());
    assert_eq!(desk.progress("kitchen").phase, Phase::Listening);
    // Nobody changes the name under way.
    let told = ask(&mut desk, 0, Verb::Enrol, r#"{"name":"eve","start":false}"#);
    assert!(told.refused.is_some());
    assert_eq!(desk.progress("kitchen").name.as_deref(), Some("alice"));
    let ticket = people.0.lock().unwrap()[0].0;
    let word = |word| News { ticket, word };
    let told = desk.take(word(Word::Heard(4.0))).unwrap();
    assert!(told.goes_on && told.progress.unwrap().1.speech_s == 4.0);
    let end = Word::Enrolled {
        speech_s: 20.5,
        total_speech_s: 31.0,
        sittings: 2,
    };
    let told = desk.take(word(end)).unwrap();
    assert_eq!((told.goes_on, told.route.id.as_deref()), (false, Some("1")));
    assert!(desk.take(word(Word::Heard(5.0))).is_none(), "it has ended");
    // Who presses again may be somebody else.
    let told = ask(&mut desk, 0, Verb::Enrol, "{}");
    assert!(told.refused.is_some());
    assert_eq!(people.0.lock().unwrap().len(), 1);
}

#[test]
fn what_is_refused_may_be_tried_again_and_forgetting_is_bounded() {
    let (mut desk, people) = desk();
    assert!(
        ask(&mut desk, 1, Verb::Enrol, r#"{"name":"alice"}"#)
            .refused
            .is_some()
    );
    assert!(ask(&mut desk, 0, Verb::Enrol, r#"{"name":"alice"}"#).goes_on);
    let word = Word::Refused("clipped".into());
    let told = desk
        .take(News {
            ticket: people.0.lock().unwrap()[0].0,
            word,
        })
        .unwrap();
    assert_eq!(told.refused.as_deref(), Some("clipped"));
    assert_eq!(told.progress.unwrap().1.phase, Phase::Refused);
    assert!(
        ask(&mut desk, 0, Verb::Enrol, "{}").goes_on,
        "the name stays"
    );
    for n in 0..FORGETTING {
        assert!(
            ask(&mut desk, 0, Verb::Forget, r#"{"name":"bob"}"#).goes_on,
            "{n}"
        );
    }
    assert!(!ask(&mut desk, 0, Verb::Forget, r#"{"name":"bob"}"#).goes_on);
}

#[test]
fn who_asked_and_who_cancels_are_both_told_and_the_place_is_free() {
    let (mut desk, people) = desk();
    let told = ask(&mut desk, 0, Verb::Cancel, "{}");
    assert!(told.refused.is_some_and(|why| why.contains("no enrolment")));
    assert_eq!(desk.progress("kitchen").phase, Phase::Idle);
    ask(&mut desk, 0, Verb::Enrol, r#"{"name":"alice"}"#);
    let ticket = people.0.lock().unwrap()[0].0;
    let word = |word| News { ticket, word };
    desk.take(word(Word::Heard(4.0))).unwrap();
    let told = ask_all(&mut desk, 0, Verb::Cancel, "{}");
    let idle = Progress {
        name: Some("alice".into()),
        ..Progress::default()
    };
    let brief = |told: &Told| {
        let (_, progress) = told.progress.clone().unwrap();
        assert!(!told.goes_on && progress == idle);
        (told.route.verb, told.refused.clone())
    };
    assert_eq!(
        told.iter().map(brief).collect::<Vec<_>>(),
        [
            (Verb::Enrol, Some("cancelled".to_owned())),
            (Verb::Cancel, None)
        ]
    );
    // What was on its way is of nothing any more.
    assert!(desk.take(word(Word::Heard(5.0))).is_none());
    assert_eq!(desk.progress("kitchen"), idle);
    // Enough was heard: its end is on its way, and comes.
    ask(&mut desk, 0, Verb::Enrol, "{}");
    let ticket = people.0.lock().unwrap().pop().unwrap().0;
    let told = ask(&mut desk, 0, Verb::Cancel, "{}");
    assert!(told.refused.is_some_and(|why| why.contains("too late")));
    assert_eq!(desk.progress("kitchen").phase, Phase::Listening);
    let word = Word::Refused("clipped".into());
    assert!(desk.take(News { ticket, word }).is_some());
}
