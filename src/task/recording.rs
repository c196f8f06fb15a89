//! What a whole recording says: the evidence of its windows put together.

use super::Scores;
use super::speaker::centroid;

/// Evidence of one recording, or of several by the same voice.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Evidence {
    /// Seconds of audio that were scored as speech, each counted once.
    pub speech_s: f64,
    /// Windows that were scored.
    pub windows: usize,
    /// Mean embedding, L2 norm 1; `None` without enough speech.
    pub embedding: Option<Vec<f32>>,
    /// Mean raw score of the spoof head, higher = bona fide; `None` without speech or when detection is off.
    pub genuine: Option<f64>,
}

impl Evidence {
    /// Puts the windows of each recording together.
    pub fn of<'a>(recordings: impl IntoIterator<Item = &'a [Scores]>) -> Self {
        let mut evidence = Self::default();
        let mut embeddings = Vec::new();
        let mut genuine = Vec::new();
        for scores in recordings {
            let mut heard_until = 0.0f64;
            for utterance in scores.iter().filter_map(|s| s.utterance.as_ref()) {
                evidence.speech_s +=
                    (utterance.end_s - utterance.start_s.max(heard_until)).max(0.0);
                heard_until = heard_until.max(utterance.end_s);
                evidence.windows += 1;
                // Without a speaker head there is none.
                embeddings.extend(
                    Some(&utterance.embedding)
                        .filter(|e| !e.is_empty())
                        .cloned(),
                );
                genuine.extend(utterance.genuine.map(f64::from));
            }
        }
        evidence.embedding = centroid(&embeddings);
        evidence.genuine =
            (!genuine.is_empty()).then(|| genuine.iter().sum::<f64>() / genuine.len() as f64);
        evidence
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
            utterance: Some(Utterance {
                start_s,
                end_s,
                began: false,
                embedding: embedding.to_vec(),
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
