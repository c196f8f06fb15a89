use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use super::*;
use crate::store::enrolment::tests::sitting;

fn folder() -> (tempfile::TempDir, config::Speaker) {
    let dir = tempfile::tempdir().unwrap();
    let config = config::Speaker {
        store: dir.path().join("speakers.redb"),
        ..config::Speaker::default()
    };
    (dir, config)
}

fn key_of(config: &config::Speaker) -> PathBuf {
    config.store.with_extension("key")
}

/// As it comes back: embeddings to the last digits only.
fn assert_same(found: &[Enrolment], expected: &[(&str, &[u32])]) {
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (found, (name, seeds)) in found.iter().zip(expected) {
        assert_eq!(
            (found.name.as_str(), found.sittings.len()),
            (*name, seeds.len())
        );
        for (found, seed) in found.sittings.iter().zip(*seeds) {
            let mut close = found.clone();
            for (x, y) in close
                .embedding
                .iter_mut()
                .zip(sitting(*seed).embedding.iter())
            {
                assert!((*x - y).abs() < 1e-6, "{name} {seed}");
                *x = *y;
            }
            assert_eq!(close, sitting(*seed));
        }
    }
}

/// A store of the first layout, not encrypted, as older versions wrote it.
fn write_first_layout(config: &config::Speaker, people: &[(&str, u32)]) {
    let db = Database::create(&config.store).unwrap();
    let tx = db.begin_write().unwrap();
    {
        let mut meta = tx.open_table(META).unwrap();
        meta.insert("schema", "1").unwrap();
        meta.insert("codec", "plain").unwrap();
        let mut table = tx.open_table(FIRST_SPEAKERS).unwrap();
        for (name, seed) in people {
            let sitting = sitting(*seed);
            let numbers = serde_json::to_string(&*sitting.embedding).unwrap();
            let text = format!(
                "{{\"version\":1,\"enrolment\":{{\"name\":\"{name}\",\"embedding\":{numbers},\"segments\":4,\
                 \"speech_s\":12.5,\"pack_hash\":\"abc\",\"created\":\"{}\"}}}}",
                sitting.note.created
            );
            table.insert(*name, text.as_bytes()).unwrap();
        }
    }
    tx.commit().unwrap();
}

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
fn nothing_is_said_in_clear_and_only_the_owner_can_read_it() {
    let (_dir, config) = folder();
    let mode = || fs::metadata(&config.store).unwrap().permissions().mode() & 0o777;
    let store = SpeakerStore::open(&config).unwrap();
    let mut alice = sitting(1);
    alice.note.consent = Some("may be recognised at the door".into());
    let first: Vec<u8> = alice.embedding[0].to_le_bytes().into();
    store.add("alice-cooper", alice.clone(), false).unwrap();
    assert_eq!(mode(), 0o600);
    let bytes = fs::read(&config.store).unwrap();
    let says = |what: &[u8]| bytes.windows(what.len()).any(|w| w == what);
    assert!(says(b"sittings"));
    for secret in [&b"alice"[..], b"recognised", b"speech_s"] {
        assert!(!says(secret));
    }
    let run: Vec<u8> = alice.embedding[..4]
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    assert!(run.starts_with(&first) && !says(&run));
    fs::set_permissions(&config.store, fs::Permissions::from_mode(0o644)).unwrap();
    store.add("alice-cooper", sitting(2), false).unwrap();
    assert_eq!(mode(), 0o600);
}

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
fn another_key_opens_nothing_and_changes_nothing() {
    let (_dir, config) = folder();
    let store = SpeakerStore::open(&config).unwrap();
    store.add("alice", sitting(1), false).unwrap();
    let (good, key) = (fs::read(&config.store).unwrap(), key_of(&config));
    let right = fs::read(&key).unwrap();
    fs::write(&key, "ab".repeat(32)).unwrap();
    let error = SpeakerStore::open(&config).err().unwrap().to_string();
    assert!(
        error.contains("wrong key") && error.contains("speakers.redb"),
        "{error}"
    );
    fs::remove_file(&key).unwrap();
    let error = SpeakerStore::open(&config).err().unwrap().to_string();
    assert!(
        error.contains("speakers.key") && error.contains("backup"),
        "{error}"
    );
    assert!(
        !key.exists(),
        "a new key beside an old store would hide that the old one is gone"
    );
    assert_eq!(fs::read(&config.store).unwrap().len(), good.len());
    fs::write(&key, right).unwrap();
    assert_same(&SpeakerStore::load(&config).unwrap(), &[("alice", &[1])]);
}

#[test]
fn rows_cannot_be_put_in_another_s_place() {
    let (_dir, config) = folder();
    let store = SpeakerStore::open(&config).unwrap();
    store.add("alice", sitting(1), false).unwrap();
    store.add("bob", sitting(2), false).unwrap();
    let db = Database::open(&config.store).unwrap();
    let tx = db.begin_write().unwrap();
    {
        let mut table = tx.open_table(SITTINGS).unwrap();
        let rows: Vec<(Vec<u8>, Vec<u8>)> = table
            .iter()
            .unwrap()
            .map(|row| {
                row.map(|(id, row)| (id.value().to_vec(), row.value().to_vec()))
                    .unwrap()
            })
            .collect();
        table
            .insert(rows[0].0.as_slice(), rows[1].1.as_slice())
            .unwrap();
    }
    tx.commit().unwrap();
    drop(db);
    let error = store.list().unwrap_err();
    assert!(
        matches!(error, StoreError::Damaged { .. }) && error.to_string().contains("altered"),
        "{error}"
    );
}

#[test]
fn an_old_store_is_read_as_it_is_and_sealed_by_the_first_write() {
    for renew in [false, true] {
        let (_dir, config) = folder();
        write_first_layout(&config, &[("alice", 1), ("bobby-tables", 2)]);
        let store = SpeakerStore::open(&config).unwrap();
        let mut found = store.list().unwrap();
        for person in &mut found {
            assert_eq!(person.sittings[0].note.spread, None);
            person.sittings[0].note.spread = Some(0.1);
        }
        assert_same(&found, &[("alice", &[1]), ("bobby-tables", &[2])]);
        assert_eq!(store.protection().unwrap(), Protection::Plain);
        match renew {
            true => assert_eq!(store.renew().unwrap(), 2),
            false => drop(store.add("carol", sitting(3), false).unwrap()),
        }
        assert!(matches!(store.protection().unwrap(), Protection::Sealed(_)));
        assert_eq!(store.list().unwrap().len(), if renew { 2 } else { 3 });
        let bytes = fs::read(&config.store).unwrap();
        for old in [&b"bobby-tables"[..], b"embedding", b"plain"] {
            assert!(!bytes.windows(old.len()).any(|w| w == old));
        }
    }
}

#[test]
fn renewal_keeps_people_and_leaves_nothing_that_fits_the_old_keys() {
    let (dir, config) = folder();
    let store = SpeakerStore::open(&config).unwrap();
    assert_eq!(store.renew().unwrap(), 0);
    store.add("alice", sitting(1), false).unwrap();
    store.add("alice", sitting(2), false).unwrap();
    let stolen = dir.path().join("stolen.redb");
    fs::copy(&config.store, &stolen).unwrap();
    fs::copy(key_of(&config), dir.path().join("stolen.key")).unwrap();
    let key = fs::read(key_of(&config)).unwrap();
    assert_eq!(store.renew().unwrap(), 2);
    assert_ne!(fs::read(key_of(&config)).unwrap(), key);
    assert_same(&store.list().unwrap(), &[("alice", &[1, 2])]);
    assert_same(&SpeakerStore::load(&config).unwrap(), &[("alice", &[1, 2])]);
    // The thief still reads what was stolen, and nothing of what is here now.
    let mut old = config.clone();
    old.store = stolen;
    assert_same(&SpeakerStore::load(&old).unwrap(), &[("alice", &[1, 2])]);
    fs::copy(&config.store, &old.store).unwrap();
    let error = SpeakerStore::load(&old).unwrap_err().to_string();
    assert!(error.contains("wrong key"), "{error}");
    let left: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|f| f.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 4, "{left:?}");
}

#[test]
fn a_store_moves_to_a_key_file_and_to_a_passphrase_by_renewal() {
    let (dir, mut config) = folder();
    SpeakerStore::open(&config)
        .unwrap()
        .add("alice", sitting(1), false)
        .unwrap();
    let key = dir.path().join("elsewhere");
    fs::write(&key, [7u8; 32]).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    config.key_file = Some(key);
    let store = SpeakerStore::open(&config).unwrap();
    let from = |store: &SpeakerStore| match store.protection().unwrap() {
        Protection::Sealed(from) => from,
        other => panic!("{other:?}"),
    };
    assert!(from(&store).ends_with("speakers.key"), "still the old one");
    store.renew().unwrap();
    assert!(from(&store).ends_with("elsewhere"));
    fs::remove_file(key_of(&config)).unwrap();
    assert_same(&SpeakerStore::load(&config).unwrap(), &[("alice", &[1])]);
    let mut moved = config.clone();
    moved.key_file = None;
    assert!(SpeakerStore::load(&moved).is_err());
    // To a passphrase: by way of the key beside the store, since a key file comes first.
    fs::copy(config.key_file.unwrap(), key_of(&moved)).unwrap();
    let words = dir.path().join("words");
    fs::write(&words, "correct horse battery staple\n").unwrap();
    moved.passphrase_file = Some(words);
    SpeakerStore::open(&moved).unwrap().renew().unwrap();
    fs::remove_file(key_of(&moved)).unwrap();
    assert_same(&SpeakerStore::load(&moved).unwrap(), &[("alice", &[1])]);
    moved.passphrase_file = None;
    let error = SpeakerStore::load(&moved).unwrap_err().to_string();
    assert!(error.contains("EARWITNESS_PASSPHRASE"), "{error}");
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
fn what_would_stay_behind_stops_a_removal() {
    let (_dir, config) = folder();
    let store = SpeakerStore::open(&config).unwrap();
    store.add("alice", sitting(1), false).unwrap();
    store.add("bob", sitting(2), false).unwrap();
    let db = match store.file.open().unwrap() {
        super::super::database::Opened::Writable(db) => db,
        super::super::database::Opened::ReadOnly(_) => panic!("read only"),
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
