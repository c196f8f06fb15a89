//! A store of its own for each test, and people told apart by the seeds of their sittings.

mod damage;
mod people;
mod seal;

use std::path::PathBuf;

use redb::Database;

use super::layout::{FIRST_SPEAKERS, META};
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
