//! How an enrolment's bytes are laid down: as they are now, sealed by a key later.

/// Why stored bytes cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CodecError(pub String);

/// Turns plain bytes into what the disk sees, and back.
pub trait Codec: Send + Sync {
    /// Written into the file; a file is only opened with the codec that wrote it.
    fn id(&self) -> &'static str;

    /// Seals `plain`, bound to `name`, so that one person's template cannot be put in another's place.
    ///
    /// # Errors
    /// When the key cannot be used.
    fn seal(&self, name: &str, plain: &[u8]) -> Result<Vec<u8>, CodecError>;

    /// Undoes [`Codec::seal`].
    ///
    /// # Errors
    /// When the bytes were not sealed under this key for this name.
    fn open(&self, name: &str, sealed: &[u8]) -> Result<Vec<u8>, CodecError>;
}

/// Bytes as they are.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plain;

impl Codec for Plain {
    fn id(&self) -> &'static str {
        "plain"
    }

    fn seal(&self, _: &str, plain: &[u8]) -> Result<Vec<u8>, CodecError> {
        Ok(plain.to_vec())
    }

    fn open(&self, _: &str, sealed: &[u8]) -> Result<Vec<u8>, CodecError> {
        Ok(sealed.to_vec())
    }
}
