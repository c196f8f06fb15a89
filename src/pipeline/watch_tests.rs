use std::fs;

use super::*;
use crate::config::{self, Decision};
use crate::pipeline::Standing;
use crate::publish::time;
use crate::store::{Note, Sitting, SpeakerStore};
use crate::task::speaker::{Matcher, Scoring};
use crate::task::{Fusion, Judge, Policy};

const PACK: &str = "abc";

fn sitting(axis: usize) -> Sitting {
    let mut embedding = vec![0.0; 8];
    embedding[axis] = 1.0;
    Sitting {
        embedding: embedding.into(),
        pack_hash: PACK.into(),
        note: Note {
            created: time::now(),
            windows: 4,
            speech_s: 10.0,
            ..Note::default()
        },
    }
}

/// A store that others write to, and who looks at it.
struct Scene {
    _folder: tempfile::TempDir,
    config: config::Speaker,
    others: SpeakerStore,
    standing: Arc<Standing>,
    looks: Looks,
    now: Instant,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = config::Speaker {
            store: folder.path().join("speakers.redb"),
            ..config::Speaker::default()
        };
        let policy = Policy::new(&Decision::default());
        let standing = Arc::new(Standing::new(Judge {
            matcher: Matcher::new(Vec::new(), Scoring::default()),
            speaker: policy,
            fusion: Fusion::new(Default::default(), &policy, &policy),
            spoof_calibration: Default::default(),
            spoof_parts: Vec::new(),
            spoof: policy,
            sound: None,
            probes: Vec::new(),
            health: None,
        }));
        let store = SpeakerStore::open(&config).unwrap();
        let roll = Roll::new(store, Vec::new(), PACK, standing.clone());
        Self {
            others: SpeakerStore::open(&config).unwrap(),
            looks: Looks::new(Arc::new(roll)),
            standing,
            config,
            _folder: folder,
            now: Instant::now(),
        }
    }

    fn add(&self, name: &str, axis: usize) {
        self.others.add(name, sitting(axis), false).unwrap();
    }

    /// Whom all know after the next look.
    fn known(&mut self) -> Vec<String> {
        self.known_after(EVERY)
    }

    fn known_after(&mut self, wait: Duration) -> Vec<String> {
        self.now += wait;
        self.looks.next(self.now);
        let judge = self.standing.now();
        judge.matcher.names().map(str::to_owned).collect()
    }
}

#[test]
fn who_comes_and_goes_elsewhere_is_known_at_the_next_look() {
    let mut scene = Scene::new();
    assert!(scene.known().is_empty());
    scene.add("alice", 0);
    scene.add("bob", 1);
    assert_eq!(scene.known(), ["alice", "bob"]);
    scene.others.forget("alice").unwrap().unwrap();
    assert_eq!(scene.known(), ["bob"]);
    // A file that is gone is what it would be at the start: nobody.
    let aside = scene.config.store.with_extension("aside");
    fs::rename(&scene.config.store, &aside).unwrap();
    assert!(scene.known().is_empty());
    fs::rename(&aside, &scene.config.store).unwrap();
    assert_eq!(scene.known(), ["bob"]);
}

#[test]
fn who_only_reads_disturbs_no_turn_and_looking_leaves_no_trace() {
    let mut scene = Scene::new();
    scene.add("alice", 0);
    scene.known();
    scene.known();
    let judge = scene.standing.now();
    let stamp = scene.others.stamp();
    for _ in 0..3 {
        scene.looks.roll.look().unwrap();
    }
    assert_eq!(scene.others.stamp(), stamp, "looking is no change");
    // Others leave a trace, but the people are the same.
    scene.others.list().unwrap();
    scene.others.renew().unwrap();
    let before = scene.others.list().unwrap();
    scene.known();
    scene.others.list().unwrap();
    scene.known();
    assert_eq!(scene.others.list().unwrap(), before);
    scene.known();
    assert_eq!(scene.standing.now().matcher.len(), judge.matcher.len());
}

#[test]
fn a_store_that_cannot_be_read_changes_nothing_and_is_tried_again() {
    let mut scene = Scene::new();
    scene.add("alice", 0);
    assert_eq!(scene.known(), ["alice"]);
    // Renewed, and its new key is elsewhere.
    scene.others.renew().unwrap();
    scene.add("bob", 1);
    let key = scene.config.store.with_extension("key");
    let aside = scene.config.store.with_extension("aside");
    fs::rename(&key, &aside).unwrap();
    assert_eq!(scene.known(), ["alice"]);
    assert_eq!(scene.looks.told, None, "somebody may be writing");
    assert_eq!(scene.known(), ["alice"]);
    assert!(scene.looks.told.as_ref().unwrap().contains("key"));
    // The file itself does not change by that.
    fs::rename(&aside, &key).unwrap();
    assert_eq!(scene.known(), ["alice"]);
    assert_eq!(scene.known_after(AGAIN), ["alice", "bob"]);
    assert_eq!(scene.looks.told, None);
    // Half a file, as somebody leaves it who copies one there.
    let whole = fs::read(&scene.config.store).unwrap();
    fs::write(&scene.config.store, &whole[..whole.len() / 2]).unwrap();
    assert_eq!(scene.known(), ["alice", "bob"]);
    fs::write(&scene.config.store, b"no database").unwrap();
    assert_eq!(scene.known(), ["alice", "bob"]);
    assert!(scene.looks.told.is_some());
    fs::write(&scene.config.store, &whole).unwrap();
    assert_eq!(scene.known(), ["alice", "bob"]);
    scene.add("carol", 2);
    assert_eq!(scene.known(), ["alice", "bob", "carol"]);
}

#[test]
fn a_voice_whose_time_is_over_is_not_known_for_longer() {
    let mut scene = Scene::new();
    let mut short = sitting(0);
    let end = std::time::SystemTime::now() + Duration::from_millis(2_500);
    short.note.expires = Some(time::rfc3339(end));
    scene.others.add("alice", short, false).unwrap();
    assert_eq!(scene.known(), ["alice"]);
    assert_eq!(scene.known(), ["alice"], "settled");
    std::thread::sleep(Duration::from_millis(3_600));
    assert_eq!(scene.known_after(ANYWAY), [""; 0]);
}

#[test]
fn people_who_are_made_known_twice_at_once_are_the_newest() {
    let scene = Scene::new();
    let roll = scene.looks.roll.clone();
    let (ends, ended) = mpsc::channel::<()>();
    let other = roll.clone();
    let looker = std::thread::spawn(move || {
        while ended.try_recv() == Err(mpsc::TryRecvError::Empty) {
            // Also in the middle of a write, which is an error at most.
            let _ = other.look();
        }
    });
    for n in 0..20 {
        let name = format!("p{n:02}");
        roll.store().add(&name, sitting(n % 8), false).unwrap();
        roll.renew().unwrap();
        assert_eq!(scene.standing.now().matcher.len(), n + 1);
    }
    drop(ends);
    looker.join().unwrap();
    assert_eq!(scene.standing.now().matcher.len(), 20);
}
