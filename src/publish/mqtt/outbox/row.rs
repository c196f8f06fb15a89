//! One event as it lies on disk: time, length of the topic, topic, payload.

use std::sync::Arc;

/// A publish that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where it goes.
    pub topic: String,
    /// What is published.
    pub payload: Vec<u8>,
    /// When it was taken in, Unix milliseconds.
    pub taken_ms: u64,
}

/// Time and length of the topic.
const HEAD: usize = 8 + 2;

impl Message {
    /// Bytes that it counts for.
    pub fn size(&self) -> usize {
        HEAD + self.topic.len() + self.payload.len()
    }

    /// The stored form. A topic has at most 65,535 bytes in MQTT; a longer one is cut, which no caller brings about.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let length = u16::try_from(self.topic.len()).unwrap_or(u16::MAX);
        let mut row = Vec::with_capacity(self.size());
        row.extend(self.taken_ms.to_le_bytes());
        row.extend(length.to_le_bytes());
        row.extend(&self.topic.as_bytes()[..usize::from(length)]);
        row.extend(&self.payload);
        row
    }

    /// Reads the stored form; `None`: it is none.
    pub(super) fn from_bytes(row: &[u8]) -> Option<Arc<Self>> {
        let taken_ms = taken_ms(row)?;
        let (length, rest) = row.get(8..)?.split_first_chunk()?;
        let (topic, payload) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
        Some(Arc::new(Self {
            topic: std::str::from_utf8(topic).ok()?.to_owned(),
            payload: payload.to_vec(),
            taken_ms,
        }))
    }
}

/// When the event of a row was taken in.
pub(super) fn taken_ms(row: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(*row.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_back(topic in "\\PC{0,80}", payload: Vec<u8>, taken_ms: u64) {
            let message = Message { topic, payload, taken_ms };
            let row = message.to_bytes();
            prop_assert_eq!(row.len(), message.size());
            prop_assert_eq!(&*Message::from_bytes(&row).unwrap(), &message);
        }

        #[test]
        fn any_bytes_are_a_message_or_refused(row: Vec<u8>) {
            if let Some(message) = Message::from_bytes(&row) {
                prop_assert_eq!(message.to_bytes(), row);
            }
        }
    }
}
