//! What a recording or a turn says: the evidence of its windows put together.

use super::{Scores, Utterance};

/// Evidence of one recording, or of several by the same voice.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Evidence {
    /// Seconds of audio that were scored as speech, each counted once.
    pub speech_s: f64,
    /// Windows that were scored.
    pub windows: usize,
    /// Mean embedding, each window weighted by its seconds of speech, L2 norm 1; `None` without enough speech.
    pub embedding: Option<Vec<f32>>,
    /// Mean raw score of the spoof head, higher = bona fide; `None` without speech or when detection is off.
    pub genuine: Option<f64>,
}

impl Evidence {
    /// Puts the windows of each recording together.
    pub fn of<'a>(recordings: impl IntoIterator<Item = &'a [Scores]>) -> Self {
        let mut gathered = Gathered::default();
        for scores in recordings {
            gathered.next_recording();
            for utterance in scores.iter().filter_map(|s| s.utterance.as_ref()) {
                gathered.add(utterance);
            }
        }
        gathered.evidence()
    }
}

/// Evidence that grows window by window. Windows overlap: each adds its embedding, but only the seconds that none before it
/// held, so that what is known does not grow by hearing the same again.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Gathered {
    sum: Vec<f64>,
    speech_s: f64,
    windows: usize,
    genuine: (f64, usize),
    heard_until_s: f64,
}

impl Gathered {
    /// Takes the utterance of the next window.
    pub fn add(&mut self, utterance: &Utterance) {
        let Utterance {
            start_s,
            end_s,
            embedding,
            ..
        } = utterance;
        self.speech_s += (end_s - start_s.max(self.heard_until_s)).max(0.0);
        self.heard_until_s = self.heard_until_s.max(*end_s);
        self.windows += 1;
        // Without a speaker head there is none.
        self.sum.resize(embedding.len(), 0.0);
        for (sum, &x) in self.sum.iter_mut().zip(embedding) {
            *sum += (end_s - start_s) * f64::from(x);
        }
        if let Some(genuine) = utterance.genuine {
            self.genuine.0 += f64::from(genuine);
            self.genuine.1 += 1;
        }
    }

    /// Another recording begins, on a clock of its own.
    pub fn next_recording(&mut self) {
        self.heard_until_s = f64::NEG_INFINITY;
    }

    /// Takes what was gathered elsewhere of the same voice.
    pub fn merge(&mut self, other: &Self) {
        self.sum.resize(self.sum.len().max(other.sum.len()), 0.0);
        for (sum, x) in self.sum.iter_mut().zip(&other.sum) {
            *sum += x;
        }
        self.speech_s += other.speech_s;
        self.windows += other.windows;
        self.genuine.0 += other.genuine.0;
        self.genuine.1 += other.genuine.1;
        self.heard_until_s = self.heard_until_s.max(other.heard_until_s);
    }

    /// Seconds of speech, each counted once.
    pub fn speech_s(&self) -> f64 {
        self.speech_s
    }

    /// Windows that were taken.
    pub fn windows(&self) -> usize {
        self.windows
    }

    /// All that is known so far.
    pub fn evidence(&self) -> Evidence {
        let norm = self.sum.iter().map(|s| s * s).sum::<f64>().sqrt();
        let unit = || self.sum.iter().map(|s| (s / norm) as f32).collect();
        let (genuine, scored) = self.genuine;
        Evidence {
            speech_s: self.speech_s,
            windows: self.windows,
            embedding: (norm > 0.0).then(unit),
            genuine: (scored > 0).then(|| genuine / scored as f64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Utterance;

    fn scored(start_s: f64, end_s: f64, embedding: [f32; 2], genuine: f32) -> Scores {
        Scores {
            start_s,
            end_s,
            new_s: start_s,
            level_dbfs: -20.0,
            clipped: 0.0,
            speech: 1.0,
            speech_end_s: None,
            sounds: None,
            probes: Vec::new(),
            health: Default::default(),
            utterance: Some(Utterance {
                start_s,
                end_s,
                began: false,
                embedding: embedding.to_vec(),
                newest: None,
                genuine: Some(genuine),
                parts: Vec::new(),
            }),
        }
    }

    #[test]
    fn overlapping_windows_count_their_speech_once() {
        let scores = [
            scored(0.0, 3.0, [1.0, 0.0], 1.0),
            scored(1.0, 4.0, [0.0, 1.0], 3.0),
        ];
        let evidence = Evidence::of([scores.as_slice()]);
        assert!((evidence.speech_s - 4.0).abs() < 1e-12);
        assert_eq!((evidence.windows, evidence.genuine), (2, Some(2.0)));
        let mean = evidence.embedding.unwrap();
        assert!((mean[0] - mean[1]).abs() < 1e-7);
        let twice = Evidence::of([scores.as_slice(), scores.as_slice()]);
        assert!(
            (twice.speech_s - 8.0).abs() < 1e-12,
            "two recordings are two times the speech"
        );
    }

    #[test]
    fn silence_is_no_evidence() {
        assert_eq!(Evidence::of([]), Evidence::default());
    }
}
