//! Who vouches for a pack. `pack.toml` holds the SHA-256 of every file, so one signature over its bytes covers the pack:
//! Ed25519 (RFC 8032), 64 raw bytes in `pack.toml.sig`. The pack that the program was built with needs none: its manifest is
//! in the program. Keys are PEM files as `openssl genpkey -algorithm ed25519` makes them.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};

use super::error::ModelError;
use super::pack::Pack;
use crate::config;

/// The signature's file, beside `pack.toml`.
pub const SIGNATURE: &str = "pack.toml.sig";
/// Manifest of the pack that this program was built with.
const BUILT_IN: &[u8] = include_bytes!("../../models/default/pack.toml");
/// What stands before the 32 bytes of a public key: SubjectPublicKeyInfo of RFC 8410.
const PUBLIC: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
/// What stands before the 32 bytes of a secret key: PKCS #8 of RFC 8410.
const SECRET: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
/// The largest key file that is read, bytes.
const KEY_LIMIT: u64 = 1 << 16;

/// Who vouches for a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// It is the one that the program was built with.
    BuiltIn,
    /// The owner of this trusted key.
    Signed {
        /// Its file.
        key: PathBuf,
    },
    /// Nobody; the reason is for people.
    Nobody(&'static str),
}

/// Whose packs are loaded.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    keys: Vec<(PathBuf, [u8; 32])>,
    allows_unsigned: bool,
}

impl Trust {
    /// As `[models]` says. Reads the keys.
    ///
    /// # Errors
    /// A file that is no public key.
    pub fn of(models: &config::Models) -> Result<Self, ModelError> {
        let keys = models.trusted_keys.iter();
        let keys = keys.map(|path| Ok((path.clone(), public_key(path)?)));
        Ok(Self {
            keys: keys.collect::<Result<_, ModelError>>()?,
            allows_unsigned: models.allow_unsigned,
        })
    }

    /// Who vouches for the pack in `folder` whose manifest has these bytes.
    pub fn origin(&self, folder: &Path, manifest: &[u8]) -> Origin {
        if manifest == BUILT_IN {
            return Origin::BuiltIn;
        }
        let signature = match fs::read(folder.join(SIGNATURE)) {
            Ok(signature) => signature,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Origin::Nobody("it is not signed");
            }
            Err(_) => return Origin::Nobody("its signature cannot be read"),
        };
        let verifies = |(_, key): &&(PathBuf, [u8; 32])| {
            let key = UnparsedPublicKey::new(&ED25519, key);
            key.verify(manifest, &signature).is_ok()
        };
        match self.keys.iter().find(verifies) {
            Some((path, _)) => Origin::Signed { key: path.clone() },
            None if self.keys.is_empty() => {
                Origin::Nobody("it is signed, but models.trusted_keys names no key")
            }
            None => Origin::Nobody(
                "its signature is by none of the trusted keys, or pack.toml was changed since",
            ),
        }
    }

    /// Lets a pack pass, or says what to do. One that nobody vouches for passes only where that is allowed, with a warning.
    pub(super) fn check(&self, folder: &Path, manifest: &[u8]) -> Result<(), ModelError> {
        match self.origin(folder, manifest) {
            Origin::BuiltIn | Origin::Signed { .. } => Ok(()),
            Origin::Nobody(reason) if self.allows_unsigned => {
                tracing::warn!(
                    pack = %folder.display(),
                    "nobody vouches for this pack ({reason}); it is used because that is allowed"
                );
                Ok(())
            }
            Origin::Nobody(reason) => Err(ModelError::Untrusted {
                folder: folder.into(),
                reason,
            }),
        }
    }
}

impl Pack {
    /// The pack of a configuration at its precision, if somebody vouches for it whom the configuration trusts.
    ///
    /// # Errors
    /// A pack that nobody vouches for, and those of [`Pack::load`] and [`Pack::at`].
    pub fn configured(models: &config::Models) -> Result<Self, ModelError> {
        Self::trusted(&models.pack, models)?.at(models.precision)
    }

    /// The pack in `folder`, if somebody vouches for it whom the configuration trusts.
    ///
    /// # Errors
    /// A pack that nobody vouches for, and those of [`Pack::load`].
    pub fn trusted(folder: &Path, models: &config::Models) -> Result<Self, ModelError> {
        let trust = Trust::of(models)?;
        Self::load_if(folder, |manifest| trust.check(folder, manifest))
    }
}

/// Makes a key pair: `<name>.key`, which only its owner may read, and `<name>.pub`. Overwrites nothing.
///
/// # Errors
/// A file that is there already or cannot be written.
pub fn make_keys(name: &Path) -> Result<(PathBuf, PathBuf), ModelError> {
    let with = |extension: &str| {
        let mut file = name.as_os_str().to_owned();
        file.push(extension);
        PathBuf::from(file)
    };
    let (secret_path, public_path) = (with(".key"), with(".pub"));
    let bad = |reason: &str| ModelError::Key {
        path: secret_path.clone(),
        reason: reason.to_owned(),
    };
    let mut secret = SECRET.to_vec();
    let mut seed = [0; 32];
    SystemRandom::new()
        .fill(&mut seed)
        .map_err(|_| bad("the system gives no random numbers"))?;
    secret.extend_from_slice(&seed);
    let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&secret)
        .map_err(|_| bad("it does not read back"))?;
    let public = [&PUBLIC, pair.public_key().as_ref()].concat();
    create(&secret_path, "PRIVATE KEY", &secret, true)?;
    create(&public_path, "PUBLIC KEY", &public, false)?;
    Ok((secret_path, public_path))
}

/// Signs the pack in `folder`, all of whose files were checked, with a secret key in PEM. Returns the signature's file.
///
/// # Errors
/// Those of [`Pack::load`], a file that is no secret key, a folder that cannot be written.
pub fn sign(folder: &Path, key: &Path) -> Result<PathBuf, ModelError> {
    let bad = |reason: &str| ModelError::Key {
        path: key.into(),
        reason: reason.to_owned(),
    };
    let mut manifest = Vec::new();
    Pack::load_if(folder, |bytes| {
        manifest = bytes.to_vec();
        Ok(())
    })?;
    let pem = read_key(key)?;
    let secret = PrivatePkcs8KeyDer::from_pem_slice(&pem)
        .map_err(|_| bad("expected a PEM block PRIVATE KEY"))?;
    let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(secret.secret_pkcs8_der())
        .map_err(|_| bad("expected an Ed25519 key"))?;
    let path = folder.join(SIGNATURE);
    // Beside it and then moved: a torn signature would lock the pack.
    let part = folder.join(".pack.toml.sig.part");
    fs::write(&part, pair.sign(&manifest))
        .and_then(|()| fs::rename(&part, &path))
        .map_err(|source| ModelError::Write {
            path: path.clone(),
            source,
        })?;
    Ok(path)
}

/// The 32 bytes of a public key in a PEM file.
fn public_key(path: &Path) -> Result<[u8; 32], ModelError> {
    let bad = |reason: &str| ModelError::Key {
        path: path.into(),
        reason: reason.to_owned(),
    };
    let pem = read_key(path)?;
    let der = SubjectPublicKeyInfoDer::from_pem_slice(&pem)
        .map_err(|_| bad("expected a PEM block PUBLIC KEY"))?;
    der.strip_prefix(&PUBLIC[..])
        .and_then(|key| key.try_into().ok())
        .ok_or_else(|| bad("expected an Ed25519 key"))
}

fn read_key(path: &Path) -> Result<Vec<u8>, ModelError> {
    let read = fs::metadata(path).and_then(|m| match m.len() {
        0..=KEY_LIMIT => fs::read(path),
        bytes => Err(std::io::Error::other(format!("it has {bytes} bytes"))),
    });
    read.map_err(|source| ModelError::Key {
        path: path.into(),
        reason: source.to_string(),
    })
}

/// Writes a new PEM file of one block.
fn create(path: &Path, label: &str, der: &[u8], is_secret: bool) -> Result<(), ModelError> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    if is_secret {
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    }
    #[cfg(not(unix))]
    let _ = is_secret;
    let body = BASE64.encode(der);
    let text = format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
    let written = options
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|source| ModelError::Write {
        path: path.into(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures")
            .join(name)
    }

    /// A copy of the tiny pack.
    fn copy() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for entry in fs::read_dir(fixture("packs/tiny")).expect("the tiny pack") {
            let entry = entry.expect("an entry");
            fs::copy(entry.path(), folder.path().join(entry.file_name())).expect("a copy");
        }
        folder
    }

    fn trusting(keys: &[&Path]) -> config::Models {
        config::Models {
            trusted_keys: keys.iter().map(|k| k.to_path_buf()).collect(),
            ..config::Models::default()
        }
    }

    #[test]
    fn only_the_pack_that_was_signed_passes_and_only_for_who_trusts_the_key() {
        let (pack, keys) = (copy(), tempfile::tempdir().expect("a folder"));
        let folder = pack.path();
        let (secret, public) = make_keys(&keys.path().join("mine")).expect("keys");
        let (_, other) = make_keys(&keys.path().join("other")).expect("keys");
        let refusal = |keys: &[&Path]| match Pack::trusted(folder, &trusting(keys)) {
            Err(error @ ModelError::Untrusted { .. }) => error.to_string(),
            other => panic!("expected a refusal, found {other:?}"),
        };
        assert!(refusal(&[&public]).contains("not signed"));
        sign(folder, &secret).expect("a signature");
        assert!(Pack::trusted(folder, &trusting(&[&other, &public])).is_ok());
        assert!(refusal(&[&other]).contains("none of the trusted keys"));
        assert!(refusal(&[]).contains("models.trusted_keys"));
        // One byte more, of no meaning.
        let manifest = folder.join("pack.toml");
        let text = fs::read_to_string(&manifest).expect("the manifest");
        fs::write(&manifest, format!("{text}\n")).expect("written");
        assert!(refusal(&[&public]).contains("was changed"));
        let allowing = config::Models {
            allow_unsigned: true,
            ..trusting(&[])
        };
        assert!(Pack::trusted(folder, &allowing).is_ok());
        // What is allowed is no signature, not other files.
        fs::write(folder.join("vad.onnx"), b"another").expect("written");
        assert!(matches!(
            Pack::trusted(folder, &allowing),
            Err(ModelError::Hash { .. })
        ));
        assert!(matches!(
            sign(folder, &secret),
            Err(ModelError::Hash { .. })
        ));
    }

    #[test]
    fn the_pack_that_it_was_built_with_needs_no_signature() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/default");
        let origin = Trust::default().origin(&folder, BUILT_IN);
        assert_eq!(origin, Origin::BuiltIn);
        assert!(Pack::trusted(&folder, &config::Models::default()).is_ok());
    }

    #[test]
    fn keys_and_signatures_are_those_of_others() {
        // Made by tests/fixtures/signed/make.sh with openssl.
        let folder = fixture("signed");
        let trust = Trust::of(&trusting(&[&folder.join("openssl.pub")])).expect("a key");
        let manifest = fs::read(folder.join("pack.toml")).expect("a manifest");
        assert!(matches!(
            trust.origin(&folder, &manifest),
            Origin::Signed { .. }
        ));
        // RFC 8032, section 7.1, test 1.
        let bytes = |hex: &str| -> Vec<u8> {
            let pairs = hex.as_bytes().chunks(2);
            let digits = |pair| std::str::from_utf8(pair).expect("text");
            let byte = |pair| u8::from_str_radix(digits(pair), 16).expect("a byte");
            pairs.map(byte).collect()
        };
        let seed = bytes("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
        let public = bytes("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&[&SECRET[..], &seed].concat());
        let pair = pair.expect("a key");
        assert_eq!(pair.public_key().as_ref(), public);
        assert_eq!(pair.sign(b"").as_ref()[..4], [0xe5, 0x56, 0x43, 0x00]);
    }

    #[test]
    fn what_is_no_key_is_told() {
        let keys = tempfile::tempdir().expect("a folder");
        let (secret, public) = make_keys(&keys.path().join("mine")).expect("keys");
        assert!(make_keys(&keys.path().join("mine")).is_err(), "overwritten");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(&secret).expect("there").permissions().mode();
            assert_eq!(mode & 0o077, 0);
        }
        for wrong in [&secret, &fixture("tone.wav"), &keys.path().join("none")] {
            let error = Trust::of(&trusting(&[wrong])).expect_err("no public key");
            assert!(error.to_string().contains("keygen"), "{error}");
        }
        assert!(sign(&fixture("packs/tiny"), &public).is_err());
    }
}
