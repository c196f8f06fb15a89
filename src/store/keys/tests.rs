//! Key files, passphrases, and renewals that are cut off.

use std::fs;
use std::path::Path;

use super::*;

fn ring(folder: &Path) -> KeyRing {
    KeyRing {
        key_file: None,
        credential: None,
        passphrase_file: None,
        beside: folder.join("speakers.key"),
    }
}

fn same(a: &Vault, b: &Vault) -> bool {
    a.rows.pseudonym("x") == b.rows.pseudonym("x")
}

#[test]
fn a_key_is_made_once_and_belongs_to_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let ring = ring(dir.path());
    let vault = ring.new_vault().unwrap();
    assert!(vault.from.ends_with("speakers.key"));
    let mode = fs::metadata(&ring.beside).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(same(&ring.unlock(&vault.text).unwrap(), &vault));
    let other = ring.new_vault().unwrap();
    assert!(!same(&other, &vault), "a data key of its own");
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        1,
        "nothing is left over"
    );
}

#[test]
fn wrong_and_missing_keys_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let mut ring = ring(dir.path());
    let vault = ring.new_vault().unwrap();
    let hidden = dir.path().join("hidden");
    fs::rename(&ring.beside, &hidden).unwrap();
    let refusal = |ring: &KeyRing| ring.unlock(&vault.text).err().unwrap().to_string();
    assert!(refusal(&ring).contains("not here") && refusal(&ring).contains("speakers.key"));
    fs::write(&ring.beside, "00".repeat(32)).unwrap();
    assert!(refusal(&ring).starts_with("wrong key"));
    fs::write(&ring.beside, "no key").unwrap();
    assert!(refusal(&ring).contains("expected a key"));
    fs::remove_file(&ring.beside).unwrap();
    ring.key_file = Some(hidden);
    assert!(same(&ring.unlock(&vault.text).unwrap(), &vault));
    let cut = &vault.text[..vault.text.len() - 2];
    assert!(ring.unlock(cut).is_err());
    for text in [
        "",
        "key",
        "key:xy",
        "argon2id:1:2",
        "argon2id:999999999:3:1:00:00",
    ] {
        assert!(ring.unlock(text).is_err(), "{text}");
    }
}

#[test]
fn a_passphrase_locks_and_opens() {
    let dir = tempfile::tempdir().unwrap();
    let mut ring = ring(dir.path());
    let file = dir.path().join("passphrase");
    fs::write(&file, "correct horse\n").unwrap();
    ring.passphrase_file = Some(file.clone());
    let vault = ring.new_vault().unwrap();
    assert!(
        vault.text.starts_with("argon2id:65536:3:1:"),
        "{}",
        vault.text
    );
    assert!(!ring.beside.exists());
    assert!(same(&ring.unlock(&vault.text).unwrap(), &vault));
    // Cheaper costs are another key, and the vault is bound to its own.
    let cheap = vault.text.replace("argon2id:65536:", "argon2id:64:");
    assert!(matches!(
        ring.unlock(&cheap),
        Err(KeyError::WrongPassphrase { .. })
    ));
    fs::write(&file, "correct house\n").unwrap();
    assert!(matches!(
        ring.unlock(&vault.text),
        Err(KeyError::WrongPassphrase { .. })
    ));
    fs::write(&file, "\n").unwrap();
    assert!(matches!(ring.unlock(&vault.text), Err(KeyError::Empty(_))));
}

#[test]
fn a_renewal_that_was_cut_off_is_ended_either_way() {
    let dir = tempfile::tempdir().unwrap();
    let ring = ring(dir.path());
    let old = ring.new_vault().unwrap();
    let new = ring.renewed(&old).unwrap();
    assert!(!same(&new, &old));
    assert_eq!(new.receipts(), old.receipts());
    // Before the store was written: both open, the old one stays.
    assert!(same(&ring.unlock(&old.text).unwrap(), &old));
    assert!(same(&ring.unlock(&new.text).unwrap(), &new));
    ring.settle(&old).unwrap();
    assert!(!ring.next().exists() && ring.unlock(&new.text).is_err());
    // After it: the new key takes the old one's place, which is overwritten.
    let new = ring.renewed(&old).unwrap();
    let link = dir.path().join("link");
    fs::hard_link(&ring.beside, &link).unwrap();
    ring.settle(&new).unwrap();
    assert_eq!(fs::read(link).unwrap(), [0; 65]);
    assert!(!ring.next().exists() && ring.unlock(&old.text).is_err());
    assert!(same(&ring.unlock(&new.text).unwrap(), &new));
}
