//! What is sealed, under which key, and how it moves to another.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use redb::{Database, ReadableTable};

use super::super::layout::SITTINGS;
use super::super::*;
use super::{assert_same, folder, key_of, write_first_layout};
use crate::store::enrolment::tests::sitting;

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
