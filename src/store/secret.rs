//! Random bytes, keys derived from keys, and sealing: what the rest of the store builds on. The ciphers are RustCrypto's.

use chacha20poly1305::aead::AeadInPlace;
use chacha20poly1305::{KeyInit, Tag, XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// A key; overwritten when it is dropped.
pub(super) type Secret = Zeroizing<[u8; 32]>;

/// Bytes of an XChaCha20 nonce: long enough to be drawn at random each time.
const NONCE: usize = 24;
/// Bytes of a Poly1305 tag.
const TAG: usize = 16;
/// What sealing adds.
pub(super) const OVERHEAD: usize = NONCE + TAG;

/// Why something could not be sealed, opened or derived.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The system gave no random bytes.
    #[error("the system gives no random numbers: {0}")]
    Random(String),
    /// Not sealed under this key for this place, or altered since.
    #[error("the key does not fit, or the bytes were altered")]
    Wrong,
    /// More than the cipher takes, or a length that it does not know.
    #[error("{0} bytes cannot be sealed")]
    Length(usize),
}

/// Bytes that nobody can guess.
pub(super) fn random<const N: usize>() -> Result<[u8; N], SealError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|e| SealError::Random(e.to_string()))?;
    Ok(bytes)
}

/// A key that nobody can guess.
pub(super) fn random_key() -> Result<Secret, SealError> {
    Ok(Zeroizing::new(random()?))
}

/// A key of its own for each `purpose` and `context` (HKDF with SHA-256, RFC 5869).
pub(super) fn derive(key: &[u8; 32], purpose: &str, context: &[u8]) -> Secret {
    let mut derived = Zeroizing::new([0; 32]);
    let parts: [&[u8]; 3] = [purpose.as_bytes(), &[0], context];
    // 32 bytes are one block of SHA-256: HKDF refuses only more than 255.
    let _ = Hkdf::<Sha256>::new(None, key).expand_multi_info(&parts, derived.as_mut());
    derived
}

/// HMAC-SHA256 of `message`.
pub(super) fn mac(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
    hasher(key, message)
        .map(|hasher| hasher.finalize().into_bytes().into())
        .unwrap_or_default()
}

/// Whether `found` is the HMAC-SHA256 of `message`, in constant time.
pub(super) fn is_mac(key: &[u8; 32], message: &[u8], found: &[u8]) -> bool {
    hasher(key, message).is_some_and(|hasher| hasher.verify_slice(found).is_ok())
}

/// `None` never comes: HMAC takes keys of any length.
fn hasher(key: &[u8; 32], message: &[u8]) -> Option<Hmac<Sha256>> {
    let mut hasher = <Hmac<Sha256> as Mac>::new_from_slice(key).ok()?;
    hasher.update(message);
    Some(hasher)
}

/// Encrypts `plain` and binds it to `place`: nonce, ciphertext, tag.
pub(super) fn seal(key: &[u8; 32], place: &[u8], plain: &[u8]) -> Result<Vec<u8>, SealError> {
    let nonce: [u8; NONCE] = random()?;
    let mut sealed = Vec::with_capacity(plain.len() + OVERHEAD);
    sealed.extend(nonce);
    sealed.extend(plain);
    let tag = XChaCha20Poly1305::new(key.into())
        .encrypt_in_place_detached(XNonce::from_slice(&nonce), place, &mut sealed[NONCE..])
        .map_err(|_| SealError::Length(plain.len()))?;
    sealed.extend(tag);
    Ok(sealed)
}

/// Undoes [`seal`] for the same key and place.
pub(super) fn open(
    key: &[u8; 32],
    place: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let body = sealed
        .len()
        .checked_sub(OVERHEAD)
        .ok_or(SealError::Length(sealed.len()))?;
    let (nonce, rest) = sealed.split_at(NONCE);
    let mut plain = Zeroizing::new(rest[..body].to_vec());
    XChaCha20Poly1305::new(key.into())
        .decrypt_in_place_detached(
            XNonce::from_slice(nonce),
            place,
            &mut plain,
            Tag::from_slice(&rest[body..]),
        )
        .map_err(|_| SealError::Wrong)?;
    Ok(plain)
}

/// As many pseudo-random bytes as asked for, the same for the same key: ChaCha20's key stream. A key serves one stream.
pub(super) fn stream(key: &[u8; 32], length: usize) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let mut bytes = Zeroizing::new(vec![0; length]);
    XChaCha20Poly1305::new(key.into())
        .encrypt_in_place_detached(XNonce::from_slice(&[0; NONCE]), &[], &mut bytes)
        .map_err(|_| SealError::Length(length))?;
    Ok(bytes)
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Undoes [`hex`]; `None` for anything else.
pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(text.get(i..i + 2)?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn derivation_and_mac_are_those_of_the_standards() {
        // RFC 4231, test case 2, has a shorter key; this key and these answers come from Python's hmac and
        // hashlib: `hmac.new(bytes(range(32)), b"what", "sha256")`, and HKDF-Expand(HKDF-Extract(b"", key), b"p\0c", 32).
        let key: [u8; 32] = std::array::from_fn(|i| i as u8);
        assert_eq!(
            hex(&mac(&key, b"what")),
            "249184710d6be3a585080a43b3e17da6e12a64d50ed57150cec94f8ad479ed9c"
        );
        assert_eq!(
            hex(derive(&key, "p", b"c").as_ref()),
            "fd7722bf8c76b2c2b12facaa25ac5e0cb0130e23d4a93c5c17c2560118356251"
        );
        assert!(is_mac(&key, b"what", &mac(&key, b"what")));
        assert!(!is_mac(&key, b"what", &mac(&key, b"else")));
        assert!(!is_mac(&key, b"what", &[]));
    }

    #[test]
    fn a_sealed_text_opens_only_under_its_key_at_its_place_and_whole() {
        let (key, other) = ([1; 32], [2; 32]);
        let sealed = seal(&key, b"here", b"a template").unwrap();
        assert_eq!(
            open(&key, b"here", &sealed).unwrap().as_slice(),
            b"a template"
        );
        assert_ne!(
            seal(&key, b"here", b"a template").unwrap(),
            sealed,
            "a nonce of its own"
        );
        assert_eq!(open(&other, b"here", &sealed), Err(SealError::Wrong));
        assert_eq!(open(&key, b"there", &sealed), Err(SealError::Wrong));
        for i in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[i] ^= 1;
            assert_eq!(open(&key, b"here", &bad), Err(SealError::Wrong), "byte {i}");
        }
    }

    #[test]
    fn a_key_stream_depends_on_its_key_alone() {
        let bytes = stream(&[7; 32], 100).unwrap();
        assert_eq!(bytes, stream(&[7; 32], 100).unwrap());
        assert_eq!(bytes[..50], stream(&[7; 32], 50).unwrap()[..]);
        assert_ne!(bytes, stream(&[8; 32], 100).unwrap());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100), text in "\\PC{0,20}") {
            prop_assert!(open(&[0; 32], b"", &bytes).is_err());
            if let Some(bytes) = unhex(&text) {
                prop_assert_eq!(hex(&bytes), text.to_lowercase());
            }
            prop_assert_eq!(unhex(&hex(&bytes)), Some(bytes));
        }
    }
}
