//! Whether what was heard of a person is good enough to enrol them, and what is kept of it. The one place that judges it,
//! whoever asks: the command line from recordings, the daemon from a stream.

use serde::Serialize;

use crate::model::{Calibration, ModelError, Pack};
use crate::publish::Verdict;

use super::quality::{self, Fault};
use super::recording::Evidence;
use super::speaker::Scoring;
use super::{Policy, Scores};

/// Seconds of speech after which more brings little: embeddings of the same voice settle at about ten windows.
pub const ENOUGH_S: f64 = 20.0;
/// Seconds of speech without which nobody is enrolled.
pub const LEAST_S: f64 = 3.0;

/// Seconds from one second of speech, in which a second voice is looked for, to the next.
pub const VOICES_HOP_S: f64 = 0.5;

/// One recording of a sitting, heard.
#[derive(Debug)]
pub struct Recording {
    /// What to call it in a fault.
    name: String,
    scores: Vec<Scores>,
    clipped: f64,
    snr_db: Option<f64>,
    /// Embeddings of its seconds of speech, every [`VOICES_HOP_S`].
    voices: Vec<Vec<f32>>,
}

impl Recording {
    /// Looks at the samples (16 kHz, mono), of which `speech` says for each 20 ms whether it is any; `voices`: an embedding of
    /// each second of speech, every [`VOICES_HOP_S`].
    pub fn new(
        name: String,
        scores: Vec<Scores>,
        samples: &[f32],
        speech: &[bool],
        voices: Vec<Vec<f32>>,
    ) -> Self {
        Self {
            name,
            scores,
            voices,
            clipped: quality::clipped(samples),
            snr_db: quality::snr_db(samples, speech),
        }
    }
}

/// What the recordings of a sitting were judged by: of clipping and noise the worst of them.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Quality {
    /// Share of samples near the peak.
    pub clipped: f64,
    /// Speech over noise, decibels; absent where there was too little of either to measure.
    pub snr_db: Option<f64>,
    /// Log-likelihood ratio, nats, of one voice between the most unlike groups of seconds of speech; absent where there are too few.
    pub one_voice: Option<f64>,
    /// Log-likelihood ratio, nats, of a real voice; absent where detection is off.
    pub real: Option<f64>,
}

/// What was heard in the recordings of a sitting.
pub struct Heard {
    /// Of all of them.
    pub evidence: Evidence,
    /// Its voice, L2 norm 1.
    pub embedding: Vec<f32>,
    /// Mean of one minus the cosine of a window to the centroid.
    pub spread: Option<f64>,
    /// What it was judged by.
    pub quality: Quality,
    /// What is wrong, and with which recording; nothing: it is good enough.
    pub faults: Vec<String>,
}

/// Too little speech to tell anything by.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error(
    "expected at least {LEAST_S:.0} s of speech, found {0:.1} s; speak longer, closer or with less noise"
)]
pub struct TooLittle(pub f64);

/// By what is judged.
pub struct Gate {
    scoring: Scoring,
    /// Where real and forged voices are told apart.
    spoof: Option<(Calibration, Policy)>,
}

impl Gate {
    /// As the pack and the decision on voices say.
    ///
    /// # Errors
    /// See [`Scoring::of`].
    pub fn new(pack: &Pack, spoof: Policy) -> Result<Self, ModelError> {
        Ok(Self {
            scoring: Scoring::of(pack)?,
            spoof: pack.spoof_calibration().ok().map(|c| (c, spoof)),
        })
    }

    /// Puts the recordings of one voice together, and looks for what is wrong with them.
    ///
    /// # Errors
    /// [`TooLittle`] speech.
    pub fn judge(&self, recordings: &[Recording]) -> Result<Heard, TooLittle> {
        let mut quality = Quality::default();
        let mut faults = Vec::new();
        let mut fault = |what: &str, fault: Fault| faults.push(format!("{what}: {fault}"));
        for recording in recordings {
            quality.clipped = quality.clipped.max(recording.clipped);
            if recording.clipped > quality::MAX_CLIPPED {
                fault(&recording.name, Fault::Clipped(recording.clipped));
            }
            if let Some(snr) = recording.snr_db {
                quality.snr_db = Some(quality.snr_db.map_or(snr, |other| other.min(snr)));
                if snr < quality::MIN_SNR_DB {
                    fault(&recording.name, Fault::Noisy(snr));
                }
            }
        }
        let evidence = Evidence::of(recordings.iter().map(|r| r.scores.as_slice()));
        let embedding = evidence.embedding.clone();
        let Some(embedding) = embedding.filter(|_| evidence.speech_s >= LEAST_S) else {
            return Err(TooLittle(evidence.speech_s));
        };
        let names: Vec<&str> = recordings.iter().map(|r| r.name.as_str()).collect();
        let names = names.join(", ");
        let windows: Vec<Vec<f32>> = recordings
            .iter()
            .flat_map(|r| &r.scores)
            .filter_map(|s| Some(s.utterance.as_ref()?.embedding.clone()))
            .filter(|e| !e.is_empty())
            .collect();
        let voices: Vec<Vec<f32>> = recordings.iter().flat_map(|r| &r.voices).cloned().collect();
        if let Some(sides) = quality::sides(&voices) {
            let [a, b] = sides.map(|(embedding, seconds)| {
                self.scoring.voice(embedding, seconds as f64 * VOICES_HOP_S)
            });
            let llr = self.scoring.compare(&a, &b).llr;
            quality.one_voice = Some(llr);
            if llr < quality::MIN_ONE_VOICE {
                fault(&names, Fault::Voices(llr));
            }
        }
        if let (Some((calibration, policy)), Some(genuine)) = (&self.spoof, evidence.genuine) {
            let llr = calibration.llr(genuine);
            quality.real = Some(llr);
            if policy.verdict(llr) == Verdict::Reject {
                fault(&names, Fault::Synthetic(llr));
            }
        }
        let spread = quality::spread(&windows, &embedding);
        Ok(Heard {
            evidence,
            embedding,
            spread,
            quality,
            faults,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Decision;
    use crate::model::SpeakerCalibration;
    use crate::task::Utterance;

    fn gate() -> Gate {
        Gate {
            scoring: Scoring::plain(SpeakerCalibration {
                slope: 10.0,
                offset: -5.0,
                ..SpeakerCalibration::default()
            }),
            spoof: Some((
                Calibration {
                    slope: 1.0,
                    offset: 0.0,
                },
                Policy::new(&Decision::default()),
            )),
        }
    }

    /// Windows of a second that say this of the voice.
    fn recording(seconds: usize, genuine: f32) -> Recording {
        let scored = |i: usize| Scores {
            start_s: i as f64,
            end_s: i as f64 + 1.0,
            new_s: i as f64,
            level_dbfs: -20.0,
            clipped: 0.0,
            speech: 1.0,
            utterance: Some(Utterance {
                start_s: i as f64,
                end_s: i as f64 + 1.0,
                began: false,
                embedding: vec![1.0, 0.0],
                newest: None,
                genuine: Some(genuine),
                parts: Vec::new(),
            }),
            speech_end_s: None,
            sounds: None,
            probes: Vec::new(),
            health: Default::default(),
        };
        Recording {
            name: "the recording".into(),
            scores: (0..seconds).map(scored).collect(),
            clipped: 0.0,
            snr_db: Some(30.0),
            voices: Vec::new(),
        }
    }

    #[test]
    fn each_fault_is_told_and_the_worst_recording_counts() {
        let gate = gate();
        let heard = gate.judge(&[recording(5, 4.0)]).unwrap();
        assert!(heard.faults.is_empty(), "{:?}", heard.faults);
        assert_eq!(
            (heard.evidence.speech_s, heard.embedding),
            (5.0, vec![1.0, 0.0])
        );
        assert_eq!(
            (heard.quality.snr_db, heard.quality.real),
            (Some(30.0), Some(4.0))
        );
        let bad = Recording {
            name: "the other".into(),
            clipped: 0.01,
            snr_db: Some(3.0),
            ..recording(5, -20.0)
        };
        let heard = gate.judge(&[recording(5, 4.0), bad]).unwrap();
        let words = [
            "the other: clipped",
            "the other: too noisy",
            "the recording, the other: synthetic",
        ];
        assert_eq!(heard.faults.len(), words.len(), "{:?}", heard.faults);
        for (fault, word) in heard.faults.iter().zip(words) {
            assert!(fault.starts_with(word), "{fault}");
        }
        assert_eq!(
            (heard.quality.clipped, heard.quality.snr_db),
            (0.01, Some(3.0))
        );
        assert_eq!(gate.judge(&[recording(2, 4.0)]).err(), Some(TooLittle(2.0)));
        assert_eq!(gate.judge(&[]).err(), Some(TooLittle(0.0)));
    }
}
