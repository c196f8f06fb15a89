//! Wyoming's framing (version 1.10 of the protocol): a line of JSON, then the bytes of its `data`, then a payload. No I/O:
//! bytes go in, events come out, and no more is held than the limits below.

use serde_json::{Map, Value};

/// Longest line, bytes.
pub const MAX_LINE: usize = 8 << 10;
/// Longest `data` behind the line, bytes.
pub const MAX_DATA: usize = 64 << 10;
/// Longest payload, bytes: 8 s of 16-bit mono at 16 kHz.
pub const MAX_PAYLOAD: usize = 256 << 10;

/// One event of the protocol.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// `type`.
    pub kind: String,
    /// `data` of the line, with the data behind it laid over.
    pub data: Map<String, Value>,
    /// The bytes at its end.
    pub payload: Vec<u8>,
}

/// Why bytes are no events. Nothing that follows can be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// No end of a line for too long.
    #[error("expected a line of at most {MAX_LINE} bytes, found a longer one")]
    Line,
    /// Not the JSON that belongs there.
    #[error("expected {0}, found something else")]
    Json(&'static str),
    /// A length beyond its limit, or none at all.
    #[error("expected `{key}` of 0 to {most} bytes, found {found}")]
    Length {
        /// The key of the line.
        key: &'static str,
        /// What it may be.
        most: usize,
        /// What it is.
        found: String,
    },
}

/// Cuts a stream of bytes into events.
#[derive(Debug, Default)]
pub struct Frames {
    buffer: Vec<u8>,
    /// So many bytes of the buffer hold no end of a line.
    searched: usize,
    /// The line of an event whose data and payload are under way.
    head: Option<Head>,
}

#[derive(Debug)]
struct Head {
    kind: String,
    data: Map<String, Value>,
    data_length: usize,
    payload_length: usize,
}

impl Frames {
    /// Adds what came. [`Frames::pop`] until it has nothing keeps what is held below the limits.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next event that is whole.
    ///
    /// # Errors
    /// [`FrameError`]; the connection is of no use any more.
    pub fn pop(&mut self) -> Result<Option<Event>, FrameError> {
        let Some(head) = self.head.take() else {
            let Some(line) = self.line()? else {
                return Ok(None);
            };
            self.head = Some(head(&line)?);
            return self.pop();
        };
        if self.buffer.len() < head.data_length + head.payload_length {
            self.head = Some(head);
            return Ok(None);
        }
        let mut data = head.data;
        if head.data_length > 0 {
            let more = serde_json::from_slice::<Map<_, _>>(&self.buffer[..head.data_length])
                .map_err(|_| FrameError::Json("a JSON object as data"))?;
            data.extend(more);
        }
        let end = head.data_length + head.payload_length;
        let payload = self.buffer[head.data_length..end].to_vec();
        self.buffer.drain(..end);
        Ok(Some(Event {
            kind: head.kind,
            data,
            payload,
        }))
    }

    /// Bytes of an event that is not whole; at the end of a connection they are what was cut off.
    #[must_use]
    pub fn leftover(&self) -> usize {
        self.buffer.len() + usize::from(self.head.is_some())
    }

    fn line(&mut self) -> Result<Option<Vec<u8>>, FrameError> {
        let fresh = &self.buffer[self.searched..];
        let end = fresh.iter().position(|b| *b == b'\n');
        let length = self.searched + end.unwrap_or(fresh.len());
        if length > MAX_LINE {
            return Err(FrameError::Line);
        }
        if end.is_none() {
            self.searched = length;
            return Ok(None);
        }
        self.searched = 0;
        let mut line: Vec<u8> = self.buffer.drain(..=length).collect();
        line.pop();
        Ok(Some(line))
    }
}

fn head(line: &[u8]) -> Result<Head, FrameError> {
    let mut line: Map<String, Value> =
        serde_json::from_slice(line).map_err(|_| FrameError::Json("a JSON object in a line"))?;
    let Some(Value::String(kind)) = line.remove("type") else {
        return Err(FrameError::Json("`type` with a text"));
    };
    let data = match line.remove("data") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(data)) => data,
        Some(_) => return Err(FrameError::Json("`data` with an object")),
    };
    Ok(Head {
        kind,
        data,
        data_length: length(&line, "data_length", MAX_DATA)?,
        payload_length: length(&line, "payload_length", MAX_PAYLOAD)?,
    })
}

fn length(line: &Map<String, Value>, key: &'static str, most: usize) -> Result<usize, FrameError> {
    let value = match line.get(key) {
        None | Some(Value::Null) => return Ok(0),
        Some(value) => value,
    };
    let length = value.as_u64().and_then(|n| usize::try_from(n).ok());
    length.filter(|n| *n <= most).ok_or_else(|| {
        let mut found = value.to_string();
        found.truncate(found.floor_char_boundary(32));
        FrameError::Length { key, most, found }
    })
}

/// An event as bytes, without a payload.
pub(super) fn write(kind: &str, data: &Value) -> Vec<u8> {
    let mut line = serde_json::json!({ "type": kind, "data": data }).to_string();
    line.push('\n');
    line.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(bytes: &[u8]) -> (Vec<Event>, Option<FrameError>, usize) {
        let mut frames = Frames::default();
        frames.push(bytes);
        let mut events = Vec::new();
        loop {
            match frames.pop() {
                Ok(Some(event)) => events.push(event),
                Ok(None) => return (events, None, frames.leftover()),
                Err(error) => return (events, Some(error), 0),
            }
        }
    }

    #[test]
    fn data_in_the_line_and_behind_it_are_one() {
        let bytes = b"{\"type\":\"x\",\"data\":{\"a\":1,\"b\":2},\"data_length\":7,\"payload_length\":3}\n{\"b\":3}abc{\"type\":\"y\"}\n";
        let (events, error, left) = all(bytes);
        assert_eq!((error, left), (None, 0));
        assert_eq!(
            Value::from(events[0].data.clone()),
            serde_json::json!({"a": 1, "b": 3})
        );
        assert_eq!(events[0].payload, b"abc");
        assert_eq!((events[1].kind.as_str(), events.len()), ("y", 2));
    }

    #[test]
    fn what_is_too_long_or_no_json_is_refused() {
        let refused = |bytes: &[u8]| all(bytes).1.expect("must be refused").to_string();
        assert!(refused(&[b' '; MAX_LINE + 1]).contains("longer"));
        assert!(refused(b"hello\n").contains("JSON object"));
        assert!(refused(b"[]\n").contains("JSON object"));
        assert!(refused(b"{}\n").contains("`type`"));
        assert!(refused(b"{\"type\":\"x\",\"data\":3}\n").contains("`data`"));
        for length in [
            "-1",
            "1.5",
            "1e99",
            "\"7\"",
            "18446744073709551615",
            "262145",
        ] {
            let line = format!("{{\"type\":\"x\",\"payload_length\":{length}}}\n");
            assert!(
                refused(line.as_bytes()).contains("payload_length"),
                "{length}"
            );
        }
        assert!(refused(b"{\"type\":\"x\",\"data_length\":1}\n[").contains("as data"));
        let nested = "[".repeat(4_000);
        assert!(
            refused(format!("{{\"type\":\"x\",\"data\":{nested}\n").as_bytes()).contains("JSON")
        );
    }

    #[test]
    fn half_a_message_waits_and_is_known() {
        let (events, error, left) = all(b"{\"type\":\"x\",\"payload_length\":5}\nab");
        assert!(events.is_empty() && error.is_none());
        assert!(left > 0);
    }

    prop_compose! {
        fn event()(kind in "[a-z-]{1,12}", text in "\\PC{0,20}", inline: bool, payload in prop::collection::vec(any::<u8>(), 0..300)) -> (Event, Vec<u8>) {
            let data: Map<String, Value> = [("text".to_owned(), Value::from(text))].into_iter().collect();
            let behind = Value::from(data.clone()).to_string();
            let line = match inline {
                true => serde_json::json!({"type": kind, "data": data, "payload_length": payload.len()}),
                false => serde_json::json!({"type": kind, "data_length": behind.len(), "payload_length": payload.len()}),
            };
            let mut bytes = (line.to_string() + "\n").into_bytes();
            if !inline {
                bytes.extend(behind.as_bytes());
            }
            bytes.extend(&payload);
            (Event { kind, data, payload }, bytes)
        }
    }

    proptest! {
        #[test]
        fn however_the_bytes_are_cut_the_events_are_those_that_were_sent(
            sent in prop::collection::vec(event(), 0..6),
            cuts in prop::collection::vec(0usize..80, 0..60),
        ) {
            let bytes: Vec<u8> = sent.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
            let (mut frames, mut rest, mut found) = (Frames::default(), &bytes[..], Vec::new());
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                frames.push(now);
                rest = later;
                while let Some(event) = frames.pop().unwrap() {
                    found.push(event);
                }
            }
            prop_assert_eq!(found, sent.into_iter().map(|(event, _)| event).collect::<Vec<_>>());
            prop_assert_eq!(frames.leftover(), 0);
        }

        #[test]
        fn no_bytes_panic_and_what_is_held_is_bounded(
            pieces in prop::collection::vec(prop_oneof![
                prop::collection::vec(any::<u8>(), 0..2_000),
                "\\{\"type\":\"[a-z]{0,3}\",\"(data|payload)_length\":[0-9]{1,7}\\}\n".prop_map(String::into_bytes),
            ], 0..40),
        ) {
            let mut frames = Frames::default();
            'pieces: for piece in pieces {
                frames.push(&piece);
                loop {
                    match frames.pop() {
                        Ok(Some(event)) => prop_assert!(event.payload.len() <= MAX_PAYLOAD),
                        Ok(None) => break,
                        Err(_) => break 'pieces,
                    }
                }
                prop_assert!(frames.leftover() <= MAX_LINE + MAX_DATA + MAX_PAYLOAD);
            }
        }
    }
}
