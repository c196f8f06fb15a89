//! What a probe's outputs mean: the likeliest of its labels, those that hold, or a quantity.

use crate::model::ProbeKind;
use crate::publish::ProbeFinding;

/// From which probability on a tag holds.
const HOLDS: f32 = 0.5;

/// A probe of the pack: its question and its possible answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Probe {
    /// Its name in the pack.
    pub name: String,
    /// How its outputs are read.
    pub kind: ProbeKind,
    /// Names of its outputs.
    pub labels: Vec<String>,
}

impl Probe {
    /// What its outputs say: of a choice the best label, of tags those of probability 0.5 and more, likeliest first, of values all.
    pub fn findings(&self, outputs: &[f32]) -> Vec<ProbeFinding> {
        let mut all: Vec<(&String, f32)> =
            self.labels.iter().zip(outputs.iter().copied()).collect();
        if self.kind != ProbeKind::Value {
            all.sort_by(|a, b| b.1.total_cmp(&a.1));
        }
        match self.kind {
            ProbeKind::Choice => all.truncate(1),
            ProbeKind::Tags => all.retain(|(_, p)| *p >= HOLDS),
            ProbeKind::Value => (),
        }
        let finding = |(label, value): (&String, f32)| ProbeFinding {
            probe: self.name.clone(),
            label: label.clone(),
            value: f64::from(value),
        };
        all.into_iter().map(finding).collect()
    }
}

/// What all probes say, each of its own outputs.
pub fn findings(probes: &[Probe], outputs: &[Vec<f32>]) -> Vec<ProbeFinding> {
    let pairs = probes.iter().zip(outputs);
    pairs.flat_map(|(p, out)| p.findings(out)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_read_its_own_way() {
        let labels = ["a", "b", "c"].map(str::to_owned).to_vec();
        let outputs = [0.5, 0.1, 0.7];
        let read = |kind| {
            let probe = Probe {
                name: "mood".into(),
                kind,
                labels: labels.clone(),
            };
            let found = findings(&[probe], &[outputs.to_vec()]);
            assert!(found.iter().all(|f| f.probe == "mood"));
            found.into_iter().map(|f| f.label).collect::<String>()
        };
        assert_eq!(read(ProbeKind::Choice), "c");
        assert_eq!(read(ProbeKind::Tags), "ca");
        assert_eq!(read(ProbeKind::Value), "abc");
    }
}
