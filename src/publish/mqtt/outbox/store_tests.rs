use super::*;

const HOUR: Duration = Duration::from_secs(3600);
const NOW: u64 = 1_790_000_000_000;

fn limits(bytes: u64) -> Limits {
    Limits { bytes, age: HOUR }
}

fn message(n: u64, taken_ms: u64) -> Arc<Message> {
    Arc::new(Message {
        topic: "t".into(),
        payload: n.to_le_bytes().to_vec(),
        taken_ms,
    })
}

fn batch(inserts: std::ops::Range<u64>, removes: &[u64]) -> Batch {
    Batch {
        inserts: inserts.map(|n| (n, message(n, NOW))).collect(),
        removes: removes.to_vec(),
        forget: Vec::new(),
    }
}

fn keys(store: &Store, from: u64) -> Vec<u64> {
    let found = store.load(from, 1000).unwrap();
    found.into_iter().map(|(key, _)| key).collect()
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("outbox.redb");
    (dir, path)
}

#[test]
fn what_is_written_is_there_after_a_restart_in_order() {
    let (_dir, path) = folder();
    let (mut store, aside) = Store::open(&path, limits(1 << 20)).unwrap();
    assert_eq!((aside, store.range().unwrap()), (None, (0, 0)));
    store.apply(&batch(0..300, &[]), NOW).unwrap();
    store.apply(&batch(300..301, &[0, 5, 999]), NOW).unwrap();
    let (events, bytes) = (store.events(), store.bytes());
    assert_eq!((events, bytes), (299, 299 * message(0, 0).size() as u64));
    drop(store);
    let (store, _) = Store::open(&path, limits(1 << 20)).unwrap();
    assert_eq!((store.events(), store.bytes()), (events, bytes));
    assert_eq!(store.range().unwrap(), (1, 301));
    assert_eq!(keys(&store, 0)[..5], [1, 2, 3, 4, 6]);
    assert_eq!(keys(&store, 290).len(), 11);
    assert_eq!(store.load(0, 7).unwrap().len(), 7);
    assert_eq!(store.load(300, 7).unwrap()[0].1, message(300, NOW));
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn the_oldest_go_when_there_is_no_room() {
    let (_dir, path) = folder();
    let room = 10 * message(0, 0).size() as u64;
    let (mut store, _) = Store::open(&path, limits(room)).unwrap();
    assert_eq!(
        store.apply(&batch(0..10, &[]), NOW).unwrap(),
        Evicted::default()
    );
    let evicted = store.apply(&batch(10..13, &[0]), NOW).unwrap();
    assert_eq!(evicted.crowded, [1, 2]);
    assert_eq!(keys(&store, 0), (3..13).collect::<Vec<_>>());
    // More at once than there is room for: the newest stay.
    let evicted = store.apply(&batch(13..100, &[]), NOW).unwrap();
    assert_eq!(evicted.crowded, (3..90).collect::<Vec<_>>());
    assert_eq!(store.bytes(), room);
}

#[test]
fn what_is_too_old_goes_but_not_what_came_while_the_clock_was_not_set() {
    let (_dir, path) = folder();
    let (mut store, _) = Store::open(&path, limits(1 << 20)).unwrap();
    let mut old = batch(0..1, &[]);
    old.inserts.push((1, message(1, NOW + 1000)));
    store.apply(&old, NOW).unwrap();
    let later = NOW + 3_600_001;
    assert_eq!(store.apply(&batch(2..3, &[]), later).unwrap().aged, [0]);
    // A clock that was set back makes nothing old.
    assert_eq!(
        store.apply(&Batch::default(), NOW - 1).unwrap(),
        Evicted::default()
    );

    let (_dir, path) = folder();
    let (mut store, _) = Store::open(&path, limits(1 << 20)).unwrap();
    let mut unset = Batch::default();
    unset.inserts.push((0, message(0, 86_400_000)));
    store.apply(&unset, 86_400_000).unwrap();
    assert_eq!(
        store.apply(&Batch::default(), NOW).unwrap(),
        Evicted::default()
    );
}

#[test]
fn a_damaged_file_is_moved_aside_and_another_program_s_is_left_alone() {
    let (dir, path) = folder();
    fs::write(&path, b"this is not a database, whatever it is called").unwrap();
    let (mut store, aside) = Store::open(&path, limits(1 << 20)).unwrap();
    assert_eq!(aside.unwrap(), dir.path().join("outbox.redb.damaged-1"));
    store.apply(&batch(0..500, &[]), NOW).unwrap();
    drop(store);
    // Half of it is gone.
    let good = fs::read(&path).unwrap();
    fs::write(&path, &good[..good.len() / 2]).unwrap();
    let (store, aside) = Store::open(&path, limits(1 << 20)).unwrap();
    assert_eq!(aside.unwrap(), dir.path().join("outbox.redb.damaged-2"));
    assert_eq!(store.events(), 0);
    drop(store);
    // A flipped byte is noticed, or lies where it does no harm.
    let (mut noticed, mut harmless) = (0, 0);
    for at in (0..good.len()).step_by(good.len() / 60) {
        let mut bad = good.clone();
        bad[at] ^= 0x55;
        fs::write(&path, &bad).unwrap();
        let (store, aside) = Store::open(&path, limits(1 << 20)).unwrap();
        if let Some(aside) = aside {
            fs::remove_file(aside).unwrap();
            noticed += 1;
        } else {
            assert_eq!(keys(&store, 0), (0..500).collect::<Vec<_>>(), "byte {at}");
            harmless += 1;
        }
    }
    assert!(noticed > 0 && harmless > 0, "{noticed} {harmless}");

    let (_dir, path) = folder();
    let db = Database::create(&path).unwrap();
    let tx = db.begin_write().unwrap();
    let foreign: TableDefinition<&str, &str> = TableDefinition::new("meta");
    tx.open_table(foreign)
        .unwrap()
        .insert("schema", "1")
        .unwrap();
    tx.commit().unwrap();
    drop(db);
    let error = Store::open(&path, limits(1)).err().unwrap();
    assert!(matches!(error, OutboxError::Foreign(_)), "{error}");
    assert!(path.is_file());
}

#[test]
fn two_cannot_hold_it_and_a_missing_folder_is_named() {
    let (dir, path) = folder();
    let held = Store::open(&path, limits(1)).unwrap();
    let error = Store::open(&path, limits(1)).err().unwrap();
    assert!(matches!(error, OutboxError::Locked(_)), "{error}");
    assert!(error.to_string().contains("two daemons"), "{error}");
    drop(held);
    assert!(Store::open(&path, limits(1)).is_ok());
    let error = Store::open(&dir.path().join("no/outbox.redb"), limits(1));
    assert!(matches!(error, Err(OutboxError::NoParent { .. })));
}

#[test]
fn a_newer_layout_is_refused_not_overwritten() {
    let (_dir, path) = folder();
    drop(Store::open(&path, limits(1)).unwrap());
    let db = Database::create(&path).unwrap();
    let tx = db.begin_write().unwrap();
    tx.open_table(META).unwrap().insert("schema", 2).unwrap();
    tx.commit().unwrap();
    drop(db);
    let error = Store::open(&path, limits(1)).err().unwrap();
    assert!(
        matches!(error, OutboxError::Schema { found: 2, .. }),
        "{error}"
    );
}

#[test]
fn retained_topics_of_earlier_runs_are_remembered_until_they_are_cleared() {
    let (_dir, path) = folder();
    let topics = |names: &[&str]| names.iter().map(|n| n.to_string()).collect::<Vec<_>>();
    let (mut store, _) = Store::open(&path, limits(1 << 20)).unwrap();
    assert!(store.announce(&topics(&["a", "b"])).unwrap().is_empty());
    drop(store);
    let (mut store, _) = Store::open(&path, limits(1 << 20)).unwrap();
    assert_eq!(store.announce(&topics(&["b", "c"])).unwrap(), ["a"]);
    // Not cleared yet: told again.
    assert_eq!(store.announce(&topics(&["b", "c"])).unwrap(), ["a"]);
    let clear = Batch {
        forget: topics(&["a"]),
        ..Batch::default()
    };
    store.apply(&clear, NOW).unwrap();
    assert!(store.announce(&topics(&["b", "c"])).unwrap().is_empty());
}

#[test]
fn an_empty_outbox_gives_its_room_back() {
    let (_dir, path) = folder();
    let (mut store, _) = Store::open(&path, limits(64 << 20)).unwrap();
    let mut large = Batch::default();
    for n in 0..200 {
        large.inserts.push((
            n,
            Arc::new(Message {
                topic: "t".into(),
                payload: vec![n as u8; 100_000],
                taken_ms: NOW,
            }),
        ));
    }
    store.apply(&large, NOW).unwrap();
    store
        .apply(&batch(0..0, &(0..200).collect::<Vec<_>>()), NOW)
        .unwrap();
    assert!(fs::metadata(&path).unwrap().len() > SHRINK);
    store.shrink();
    assert!(fs::metadata(&path).unwrap().len() < SHRINK);
    store.apply(&batch(500..501, &[]), NOW).unwrap();
    assert_eq!(keys(&store, 0), [500]);
}

#[test]
fn a_look_changes_nothing() {
    let (dir, path) = folder();
    assert_eq!(look(&path).unwrap(), Some(0));
    assert!(!path.exists());
    let (mut store, _) = Store::open(&path, limits(1 << 20)).unwrap();
    store.apply(&batch(0..3, &[]), NOW).unwrap();
    assert_eq!(look(&path).unwrap(), None);
    drop(store);
    assert_eq!(look(&path).unwrap(), Some(3));
    fs::write(&path, "an outbox no more").unwrap();
    assert!(matches!(look(&path), Err(OutboxError::Damaged { .. })));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}
