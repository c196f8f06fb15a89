//! What is remembered of a stream from one window to the next.

use std::collections::VecDeque;

use crate::model::Memory;
use crate::task::speaker::{centroid, cosine};

/// So many utterances say what the voice is like that speaks.
const VOICES: usize = 3;

/// What windows of one stream know of those before: nothing at first.
#[derive(Debug, Default)]
pub struct StreamMemory {
    pub(super) models: Memory,
    /// Embeddings of the last utterances, the newest first, [`VOICES`] at most.
    voices: VecDeque<Vec<f32>>,
}

impl StreamMemory {
    /// How alike an utterance's voice is to that of the last few, as a cosine: none of the first. Remembers it.
    pub(super) fn voice(&mut self, embedding: &[f32]) -> Option<f64> {
        let like = centroid(self.voices.make_contiguous()).map(|voice| cosine(&voice, embedding));
        self.voices.truncate(VOICES - 1);
        self.voices.push_front(embedding.to_vec());
        like
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_voice_is_compared_with_the_last_few() {
        let mut memory = StreamMemory::default();
        let (ann, bob) = ([1.0, 0.0], [0.0, 1.0]);
        assert_eq!(memory.voice(&ann), None);
        assert_eq!(memory.voice(&ann), Some(1.0));
        assert_eq!(memory.voice(&bob), Some(0.0));
        let mixed = memory.voice(&bob).unwrap();
        assert!((0.3..0.6).contains(&mixed), "{mixed}");
        // By now nothing is left of the first.
        memory.voice(&bob);
        assert_eq!(memory.voice(&bob), Some(1.0));
    }
}
