use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::store::codec::CodecError;
use crate::store::enrolment::tests::person;

fn folder() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("speakers.redb");
    (dir, path)
}

#[test]
fn people_are_kept_replaced_and_removed() {
    let (_dir, path) = folder();
    let store = SpeakerStore::open(&path).unwrap();
    assert!(store.list().unwrap().is_empty());
    assert!(!path.exists(), "reading must not make a file");
    assert!(!store.remove("alice").unwrap());
    store.put(&person("bob", 2)).unwrap();
    store.put(&person("alice", 1)).unwrap();
    store.put(&person("alice", 9)).unwrap();
    let everybody = [person("alice", 9), person("bob", 2)];
    assert_eq!(SpeakerStore::load(&path).unwrap(), everybody);
    assert_eq!(store.get("alice").unwrap().as_ref(), Some(&everybody[0]));
    assert_eq!(store.get("carol").unwrap(), None);
    assert!(store.remove("alice").unwrap());
    assert!(!store.remove("alice").unwrap());
    assert_eq!(SpeakerStore::load(&path).unwrap(), everybody[1..]);
}

#[test]
fn a_missing_file_holds_nobody_a_missing_folder_too_until_written() {
    let (dir, _) = folder();
    let path = dir.path().join("no/such/folder.redb");
    let store = SpeakerStore::open(&path).unwrap();
    assert!(store.list().unwrap().is_empty());
    assert!(matches!(
        store.put(&person("a", 1)),
        Err(StoreError::Io { .. })
    ));
}

#[test]
fn only_the_owner_can_read_the_file() {
    let (_dir, path) = folder();
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    let store = SpeakerStore::open(&path).unwrap();
    store.put(&person("alice", 1)).unwrap();
    assert_eq!(mode(), 0o600);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    store.put(&person("alice", 1)).unwrap();
    assert_eq!(mode(), 0o600);
}

#[test]
fn a_file_that_somebody_keeps_open_is_said_to_be_locked() {
    let (_dir, path) = folder();
    let store = SpeakerStore::open(&path).unwrap();
    store.put(&person("alice", 1)).unwrap();
    let held = Database::open(&path).unwrap();
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
    let (_dir, path) = folder();
    let store = SpeakerStore::open(&path).unwrap();
    for n in 0..20 {
        store.put(&person(&format!("p{n}"), n)).unwrap();
    }
    let good = fs::read(&path).unwrap();
    let everybody = store.list().unwrap();
    fs::write(&path, b"this is not a database").unwrap();
    let error = store.list().unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    fs::write(&path, &good[..good.len() / 2]).unwrap();
    let error = store.list().unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    // A flipped byte anywhere is noticed, or lies in space that holds nothing.
    let (mut noticed, mut harmless) = (0, 0);
    let header = (0..400).step_by(5);
    let rest = (400..good.len()).step_by(good.len() / 150 + 1);
    for at in header.chain(rest) {
        let mut bad = good.clone();
        bad[at] ^= 0x55;
        fs::write(&path, &bad).unwrap();
        match store.list() {
            Ok(found) => {
                assert_eq!(found, everybody, "byte {at} changed what is read");
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

/// Stands for a cipher: bytes and name mixed with a key.
struct Xor(u8);

impl Codec for Xor {
    fn id(&self) -> &'static str {
        "xor"
    }

    fn seal(&self, name: &str, plain: &[u8]) -> Result<Vec<u8>, CodecError> {
        let key = name.bytes().fold(self.0, u8::wrapping_add);
        Ok(plain.iter().map(|b| b ^ key).collect())
    }

    fn open(&self, name: &str, sealed: &[u8]) -> Result<Vec<u8>, CodecError> {
        self.seal(name, sealed)
    }
}

#[test]
fn a_codec_seals_what_the_disk_sees_and_another_cannot_open_it() {
    let (_dir, path) = folder();
    let store = SpeakerStore::with_codec(&path, Box::new(Xor(0x80))).unwrap();
    store.put(&person("alice", 1)).unwrap();
    assert_eq!(store.list().unwrap(), [person("alice", 1)]);
    let bytes = fs::read(&path).unwrap();
    assert!(!bytes.windows(9).any(|w| w == b"embedding"));
    assert!(matches!(
        SpeakerStore::open(&path),
        Err(StoreError::Codec { .. })
    ));
    let other_key = SpeakerStore::with_codec(&path, Box::new(Xor(0x81))).unwrap();
    assert!(matches!(other_key.list(), Err(StoreError::Enrolment(_))));
}

#[test]
fn another_layout_and_another_program_s_file_are_refused_even_for_writing() {
    let (_dir, path) = folder();
    let store = SpeakerStore::open(&path).unwrap();
    store.put(&person("alice", 1)).unwrap();
    let db = Database::open(&path).unwrap();
    let tx = db.begin_write().unwrap();
    tx.open_table(META).unwrap().insert("schema", "2").unwrap();
    tx.commit().unwrap();
    drop(db);
    assert!(matches!(store.list(), Err(StoreError::Schema { .. })));
    assert!(matches!(
        store.put(&person("bob", 1)),
        Err(StoreError::Schema { .. })
    ));

    let (_dir, path) = folder();
    let db = Database::create(&path).unwrap();
    let tx = db.begin_write().unwrap();
    let foreign: TableDefinition<u64, u64> = TableDefinition::new("cats");
    tx.open_table(foreign).unwrap().insert(1, 2).unwrap();
    tx.commit().unwrap();
    drop(db);
    assert!(matches!(
        SpeakerStore::open(&path),
        Err(StoreError::Damaged { .. })
    ));
}

#[test]
fn many_readers_and_writers_at_once_lose_nothing() {
    let (_dir, path) = folder();
    thread::scope(|scope| {
        for n in 0..4 {
            let path = &path;
            scope.spawn(move || {
                let store = SpeakerStore::open(path).unwrap();
                for m in 0..5 {
                    store.put(&person(&format!("p{n}.{m}"), n)).unwrap();
                    assert!(!SpeakerStore::load(path).unwrap().is_empty());
                }
            });
        }
    });
    assert_eq!(SpeakerStore::load(&path).unwrap().len(), 20);
}
