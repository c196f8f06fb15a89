//! Cuts a stream into overlapping frames, whatever the size of its chunks: every streaming feature stands on this.

/// Holds the samples from the start of the next frame on; its memory is bounded and taken at the start.
pub(super) struct Framer {
    window: usize,
    hop: usize,
    /// Samples that are held at most.
    room: usize,
    held: Vec<f32>,
    /// Samples before the next frame that are still to be dropped: where frames lie further apart than they are long.
    skip: usize,
}

impl Framer {
    /// Frames of `window` samples (at least 1) every `hop` samples (at least 1).
    pub(super) fn new(window: usize, hop: usize) -> Self {
        let (window, hop) = (window.max(1), hop.max(1));
        let room = window + 16 * hop;
        Self {
            window,
            hop,
            room,
            held: Vec::with_capacity(room),
            skip: 0,
        }
    }

    /// Takes `samples` and calls `each` with every frame that they complete, in order.
    pub(super) fn push(&mut self, mut samples: &[f32], mut each: impl FnMut(&[f32])) {
        while !samples.is_empty() {
            let skipped = self.skip.min(samples.len());
            self.skip -= skipped;
            samples = &samples[skipped..];
            let (now, later) = samples.split_at(samples.len().min(self.room - self.held.len()));
            self.held.extend_from_slice(now);
            samples = later;
            let mut start = 0;
            while let Some(frame) = self.held.get(start..start + self.window) {
                each(frame);
                start += self.hop;
            }
            self.skip += start.saturating_sub(self.held.len());
            self.held.drain(..start.min(self.held.len()));
        }
    }

    /// Forgets everything: the next sample starts frame 0.
    pub(super) fn reset(&mut self) {
        self.held.clear();
        self.skip = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn frames_are_those_of_the_whole_signal(
            window in 1usize..50, hop in 1usize..70, chunks in prop::collection::vec(0usize..300, 0..12),
        ) {
            let length: usize = chunks.iter().sum();
            let signal: Vec<f32> = (0..length).map(|n| n as f32).collect();
            let (mut framer, mut found, mut at) = (Framer::new(window, hop), Vec::new(), 0);
            for chunk in chunks {
                framer.push(&signal[at..at + chunk], |frame| found.push(frame.to_vec()));
                at += chunk;
            }
            let expected: Vec<Vec<f32>> = (0..length)
                .step_by(hop)
                .filter_map(|start| signal.get(start..start + window).map(<[f32]>::to_vec))
                .collect();
            prop_assert_eq!(found, expected);
            prop_assert!(framer.held.len() < window && framer.held.capacity() == framer.room);
        }
    }
}
