//! Who is added, replaced, removed and forgotten, and who goes by themselves.

use std::fs;
use std::thread;
use std::time::SystemTime;

use super::super::*;
use super::{assert_same, folder, key_of};
use crate::store::enrolment::tests::sitting;
use crate::store::secret;

#[test]
fn people_and_sittings_are_added_replaced_and_removed() {
    let (_dir, config) = folder();
    let store = SpeakerStore::open(&config).unwrap();
    assert!(store.list().unwrap().is_empty());
    assert!(
        !config.store.exists() && !key_of(&config).exists(),
        "reading must not make a file"
    );
    assert_eq!(store.remove("alice", None).unwrap(), None);
    assert_eq!(store.protection().unwrap(), Protection::Nothing);
    store.add("bob", sitting(2), false).unwrap();
    store.add("alice", sitting(3), false).unwrap();
    let known = store.add("alice", sitting(1), false).unwrap();
    assert_eq!(known.sittings.len(), 2);
    // Oldest first; the seed is in the date.
    assert_same(&store.list().unwrap(), &[("alice", &[1, 3]), ("bob", &[2])]);
    assert_same(&[store.get("bob").unwrap().unwrap()], &[("bob", &[2])]);
    assert_eq!(store.get("carol").unwrap(), None);
    let error = store.remove("alice", Some(3)).unwrap_err().to_string();
    assert!(
        error.contains("2 sittings") && error.contains("number 3"),
        "{error}"
    );
    assert!(store.remove("alice", Some(0)).is_err());
    let removed = store.remove("alice", Some(1)).unwrap().unwrap();
    assert_eq!((removed.sittings, removed.left), (1, 1));
    assert_same(
        &SpeakerStore::load(&config).unwrap(),
        &[("alice", &[3]), ("bob", &[2])],
    );
    store.add("alice", sitting(4), false).unwrap();
    assert_eq!(
        store.add("alice", sitting(5), true).unwrap().sittings.len(),
        1
    );
    assert_same(
        &SpeakerStore::load(&config).unwrap(),
        &[("alice", &[5]), ("bob", &[2])],
    );
    assert!(store.remove("alice", None).unwrap().is_some());
    assert_eq!(store.remove("alice", None).unwrap(), None);
    assert_same(&SpeakerStore::load(&config).unwrap(), &[("bob", &[2])]);
    let Protection::Sealed(key) = store.protection().unwrap() else {
        panic!("not sealed")
    };
    assert!(key.ends_with("speakers.key"), "{key}");
}

#[test]
fn a_missing_file_holds_nobody_a_missing_folder_too_until_written() {
    let (dir, mut config) = folder();
    config.store = dir.path().join("no/such/folder.redb");
    let store = SpeakerStore::open(&config).unwrap();
    assert!(store.list().unwrap().is_empty());
    assert!(matches!(
        store.add("a", sitting(1), false),
        Err(StoreError::Key { .. })
    ));
}

#[test]
fn the_forgotten_leave_a_receipt_and_nothing_else() {
    let (_dir, config) = folder();
    let store = SpeakerStore::open(&config).unwrap();
    for (name, seed) in [("alice", 1), ("alice", 2), ("bob", 3)] {
        store.add(name, sitting(seed), false).unwrap();
    }
    let before = fs::read(&config.store).unwrap();
    assert_eq!(store.forget("carol").unwrap(), None);
    let receipt = store.forget("alice").unwrap().unwrap();
    assert_eq!(receipt.sittings(), 2);
    let text = serde_json::to_string(&receipt).unwrap();
    let after = fs::read(&config.store).unwrap();
    // `forget` looked for nobody before, which does not change the file.
    let hash = |bytes: &[u8]| secret::hex(&<sha2::Sha256 as sha2::Digest>::digest(bytes));
    assert!(text.contains(&hash(&after)), "{text}");
    assert_ne!(hash(&before), hash(&after));
    assert_same(&store.list().unwrap(), &[("bob", &[3])]);
    assert_eq!(store.check(&receipt).unwrap(), Some(false));
    store.renew().unwrap();
    assert_eq!(
        store.check(&receipt).unwrap(),
        Some(false),
        "receipts outlive keys"
    );
    store.add("alice", sitting(4), false).unwrap();
    assert_eq!(store.check(&receipt).unwrap(), Some(true));
    let forged =
        Receipt::parse(text.replace("\"sittings\":2", "\"sittings\":1").as_bytes()).unwrap();
    assert_eq!(store.check(&forged).unwrap(), None);
    let (_dir, other) = folder();
    let other = SpeakerStore::open(&other).unwrap();
    assert_eq!(other.check(&receipt).unwrap(), None);
    other.add("alice", sitting(1), false).unwrap();
    assert_eq!(other.check(&receipt).unwrap(), None);
}

#[test]
fn people_whose_time_is_over_go_with_the_next_write() {
    let (_dir, config) = folder();
    let store = SpeakerStore::open(&config).unwrap();
    let mut over = sitting(1);
    over.note.expires = Some("2020-01-01T00:00:00.000Z".into());
    // Written before its end came: a write takes the old ones away, not what it adds.
    store.add("alice", over, false).unwrap();
    assert_eq!(store.list().unwrap().len(), 1);
    store.add("bob", sitting(2), false).unwrap();
    assert_same(&store.list().unwrap(), &[("bob", &[2])]);
    let end = expiry(30);
    let in_time = crate::publish::time::parse(&end).unwrap();
    let days = in_time
        .duration_since(SystemTime::now())
        .unwrap()
        .as_secs_f64()
        / 86_400.0;
    assert!((days - 30.0).abs() < 0.01, "{days}");
}

#[test]
fn a_person_is_taken_elsewhere_under_a_passphrase() {
    let (_dir, config) = folder();
    let store = SpeakerStore::open(&config).unwrap();
    store.add("alice", sitting(1), false).unwrap();
    store.add("alice", sitting(2), false).unwrap();
    assert!(store.export("bob", "x").unwrap().is_none());
    let parcel = store.export("alice", "correct horse").unwrap().unwrap();
    let (_dir, elsewhere) = folder();
    let other = SpeakerStore::open(&elsewhere).unwrap();
    assert!(matches!(
        other.import(&parcel, "wrong", false),
        Err(StoreError::Parcel(parcel::ParcelError::Wrong))
    ));
    assert!(!elsewhere.store.exists());
    other.import(&parcel, "correct horse", false).unwrap();
    assert_same(&other.list().unwrap(), &[("alice", &[1, 2])]);
    let again = other.import(&parcel, "correct horse", false).unwrap_err();
    assert!(matches!(again, StoreError::Exists(_)), "{again}");
    other.import(&parcel, "correct horse", true).unwrap();
    assert_same(&other.list().unwrap(), &[("alice", &[1, 2])]);
}

#[test]
fn many_readers_and_writers_at_once_lose_nothing() {
    let (_dir, config) = folder();
    thread::scope(|scope| {
        for n in 0..4 {
            let config = &config;
            scope.spawn(move || {
                let store = SpeakerStore::open(config).unwrap();
                for m in 0..5 {
                    store.add(&format!("p{n}.{m}"), sitting(n), false).unwrap();
                    assert!(!SpeakerStore::load(config).unwrap().is_empty());
                    // Written anew under the others' feet.
                    match m % 2 {
                        0 => drop(store.renew().unwrap()),
                        _ => drop(store.remove(&format!("p{n}.{}", m - 1), None).unwrap()),
                    }
                }
            });
        }
    });
    assert_eq!(SpeakerStore::load(&config).unwrap().len(), 12);
}
