//! What a store makes of locks, damage, strangers' files and what would stay behind.

use std::fs;
use std::thread;
use std::time::Duration;

use redb::{Database, TableDefinition};

use super::super::layout::META;
use super::super::*;
use super::{assert_same, folder};
use crate::store::database::Opened;
use crate::store::enrolment::tests::sitting;

#[test]
fn a_file_that_somebody_keeps_open_is_said_to_be_locked() {
    let (_dir, config) = folder();
    let store = SpeakerStore::open(&config).unwrap();
    store.add("alice", sitting(1), false).unwrap();
    let held = Database::open(&config.store).unwrap();
    let error = store.list().unwrap_err();
    assert!(matches!(error, StoreError::Locked(_)), "{error}");
    assert!(error.to_string().contains("another process"));
    // Held for a moment: waited for.
    let release = thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        drop(held);
    });
    assert_eq!(store.list().unwrap().len(), 1);
    release.join().unwrap();
}

#[test]
fn damage_is_an_error_never_a_panic_and_never_silent() {
    let (_dir, config) = folder();
    let store = SpeakerStore::open(&config).unwrap();
    let names: Vec<String> = (10..30).map(|n| format!("p{n}")).collect();
    let seeds: Vec<[u32; 1]> = (10..30).map(|n| [n]).collect();
    for (name, seed) in names.iter().zip(&seeds) {
        store.add(name, sitting(seed[0]), false).unwrap();
    }
    let expected: Vec<(&str, &[u32])> = names
        .iter()
        .map(String::as_str)
        .zip(seeds.iter().map(|s| &s[..]))
        .collect();
    let good = fs::read(&config.store).unwrap();
    for bad in [&b"this is not a database"[..], &good[..good.len() / 2]] {
        fs::write(&config.store, bad).unwrap();
        let error = store.list().unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("backup"), "{error}");
        // Not made better by writing to it.
        assert!(store.add("eve", sitting(1), false).is_err());
        assert_eq!(fs::read(&config.store).unwrap(), bad);
    }
    // A flipped byte anywhere is noticed, or lies in space that holds nothing.
    let (mut noticed, mut harmless) = (0, 0);
    let header = (0..400).step_by(5);
    let rest = (400..good.len()).step_by(good.len() / 150 + 1);
    for at in header.chain(rest) {
        let mut bad = good.clone();
        bad[at] ^= 0x55;
        fs::write(&config.store, &bad).unwrap();
        match store.list() {
            Ok(found) => {
                assert_same(&found, &expected);
                harmless += 1;
            }
            Err(StoreError::Damaged { .. } | StoreError::Enrolment(_)) => noticed += 1,
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
    assert!(
        noticed > 0 && harmless > 0,
        "{noticed} noticed, {harmless} harmless"
    );
}

#[test]
fn what_would_stay_behind_stops_a_removal() {
    let (_dir, config) = folder();
    let store = SpeakerStore::open(&config).unwrap();
    store.add("alice", sitting(1), false).unwrap();
    store.add("bob", sitting(2), false).unwrap();
    let db = match store.file.open().unwrap() {
        Opened::Writable(db) => db,
        Opened::ReadOnly(_) => panic!("read only"),
    };
    // What is looked for is what is written.
    let error = store.file.replace(db, &[b"vault".to_vec()], |tx| {
        tx.open_table(META)?.insert("vault", "x")?;
        Ok(())
    });
    assert!(matches!(error, Err(StoreError::Traces(_))), "{error:?}");
    assert_same(&store.list().unwrap(), &[("alice", &[1]), ("bob", &[2])]);
}

#[test]
fn another_layout_and_another_program_s_file_are_refused_even_for_writing() {
    let (_dir, config) = folder();
    let store = SpeakerStore::open(&config).unwrap();
    store.add("alice", sitting(1), false).unwrap();
    let db = Database::open(&config.store).unwrap();
    let tx = db.begin_write().unwrap();
    tx.open_table(META).unwrap().insert("schema", "3").unwrap();
    tx.commit().unwrap();
    drop(db);
    assert!(matches!(store.list(), Err(StoreError::Schema { .. })));
    assert!(matches!(
        store.add("bob", sitting(1), false),
        Err(StoreError::Schema { .. })
    ));

    let (_dir, config) = folder();
    let db = Database::create(&config.store).unwrap();
    let tx = db.begin_write().unwrap();
    let foreign: TableDefinition<u64, u64> = TableDefinition::new("cats");
    tx.open_table(foreign).unwrap().insert(1, 2).unwrap();
    tx.commit().unwrap();
    drop(db);
    assert!(matches!(
        SpeakerStore::open(&config),
        Err(StoreError::Damaged { .. })
    ));
}
