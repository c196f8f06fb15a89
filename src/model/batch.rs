//! Running together what fits together. A run that fails takes nobody else with it: its items run again, one by one.

use super::error::ModelError;

/// How many windows run for those that wait: there are few such sizes, since a GPU plans for each. What is lacking is filled up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    least: usize,
    next: fn(usize) -> usize,
    most: usize,
}

impl Sizes {
    /// Of whole windows, at most so many at once. Those that wait are one batch, and on a GPU up to 32 take about as long as one.
    pub fn of_windows(most: usize) -> Self {
        Self::new(32, |size| 4 * size, most)
    }

    /// Of what is said in them, which may be little: finer steps, for what is filled up is work, too (an H100: the spoof head 4.9 ms
    /// for 32 and 15.4 for 128).
    pub fn of_utterances(most: usize) -> Self {
        let next = |size: usize| size + size.min((size / 4).next_multiple_of(16));
        Self::new(8, next, most)
    }

    fn new(least: usize, next: fn(usize) -> usize, most: usize) -> Self {
        let most = most.max(1);
        Self {
            least: least.min(most),
            next,
            most,
        }
    }

    pub fn most(self) -> usize {
        self.most
    }

    /// What so many windows are filled up to.
    pub fn of(self, windows: usize) -> usize {
        let fits = self.all().into_iter().find(|size| windows <= *size);
        fits.unwrap_or_else(|| windows.next_multiple_of(self.most))
    }

    /// All of them, the least first.
    pub fn all(self) -> Vec<usize> {
        let larger = |size: &usize| Some((self.next)(*size));
        let mut all: Vec<usize> = std::iter::successors(Some(self.least), larger)
            .take_while(|size| *size < self.most)
            .collect();
        all.push(self.most);
        all
    }
}

/// How often the encoder ran, and on how much.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Runs of the encoder.
    pub runs: u64,
    /// Windows that they encoded.
    pub windows: u64,
    /// Runs of any model on several windows that failed and were made again one by one.
    pub retried: u64,
}

/// Runs prepared items in groups of equal keys, in the order in which the keys first come, and puts the answers back in
/// the items' order. What could not be prepared keeps its error; of a group that fails each item is run alone, and has
/// its own answer or its own error. `retried` counts such groups.
pub(super) fn batched<K: PartialEq, P, R>(
    prepared: Vec<Result<(K, P), ModelError>>,
    retried: &mut u64,
    mut run: impl FnMut(&[&P]) -> Result<Vec<R>, ModelError>,
) -> Vec<Result<R, ModelError>> {
    let mut answers: Vec<Option<Result<R, ModelError>>> = Vec::with_capacity(prepared.len());
    let mut items: Vec<Option<(K, P)>> = Vec::with_capacity(prepared.len());
    for item in prepared {
        match item {
            Ok(item) => {
                items.push(Some(item));
                answers.push(None);
            }
            Err(error) => {
                items.push(None);
                answers.push(Some(Err(error)));
            }
        }
    }
    for first in 0..items.len() {
        let (Some((key, _)), None) = (&items[first], &answers[first]) else {
            continue;
        };
        let fits = |(at, item): (usize, &Option<(K, P)>)| match item {
            Some((other, _)) if other == key => Some(at),
            _ => None,
        };
        let group: Vec<usize> = items.iter().enumerate().filter_map(fits).collect();
        let of = |at: &usize| items[*at].as_ref().map(|(_, p)| p);
        let together: Vec<&P> = group.iter().filter_map(of).collect();
        match run(&together) {
            Ok(found) => {
                for (at, answer) in group.iter().zip(found) {
                    answers[*at] = Some(Ok(answer));
                }
            }
            Err(error) if group.len() == 1 => answers[first] = Some(Err(error)),
            Err(error) => {
                *retried += 1;
                // The first, and then ever more rarely.
                if retried.is_power_of_two() {
                    tracing::warn!(windows = group.len(), retried = *retried, %error, "a batch failed; its windows are run one by one");
                }
                for (at, item) in group.iter().zip(together) {
                    answers[*at] = Some(run(&[item]).and_then(only));
                }
            }
        }
    }
    let all = answers.into_iter();
    all.map(|answer| answer.unwrap_or_else(|| Err(lacking())))
        .collect()
}

/// The answer of a run on one item.
pub(super) fn only<R>(answers: Vec<R>) -> Result<R, ModelError> {
    answers.into_iter().next().ok_or_else(lacking)
}

/// A run that returned fewer answers than it was given items: impossible with outputs whose shape was checked.
fn lacking() -> ModelError {
    ModelError::Run {
        part: super::part::Part::Encoder,
        reason: "it answered for fewer windows than it was given".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::part::Part;
    use super::*;

    fn failed() -> ModelError {
        ModelError::NotOpen { part: Part::Sound }
    }

    #[test]
    fn there_are_few_sizes_and_a_few_windows_do_not_take_the_widest() {
        let of = |most: usize| move |windows| Sizes::of_windows(most).of(windows);
        assert_eq!([1, 2, 7].map(of(0)), [1, 2, 7]);
        assert_eq!([1, 8, 9].map(of(8)), [8, 8, 16]);
        assert_eq!([1, 32].map(of(32)), [32, 32]);
        assert_eq!([1, 32, 33, 128, 129].map(of(128)), [32, 32, 128, 128, 256]);
        let of = |most: usize| move |windows| Sizes::of_utterances(most).of(windows);
        assert_eq!([1, 8, 9, 32].map(of(32)), [8, 8, 16, 32]);
        assert_eq!([17, 33, 49, 80, 129].map(of(128)), [32, 48, 64, 80, 256]);
        for most in [1, 8, 32, 33, 40, 128] {
            for sizes in [Sizes::of_windows(most), Sizes::of_utterances(most)] {
                let mut met: Vec<usize> = (1..=most).map(|n| sizes.of(n)).collect();
                met.dedup();
                assert_eq!(sizes.all(), met, "{most}");
            }
        }
        // The most that can be configured: each has a session.
        assert_eq!(Sizes::of_utterances(256).all().len(), 11);
    }

    #[test]
    fn equal_keys_run_together_and_answers_keep_their_order() {
        let items = [(1, "a"), (2, "b"), (1, "c"), (3, "d"), (2, "e")];
        let (mut runs, mut retried) = (Vec::new(), 0);
        let answers = batched(items.map(Ok).into(), &mut retried, |group| {
            runs.push(group.iter().map(|p| **p).collect::<String>());
            Ok(group.iter().map(|p| p.to_uppercase()).collect())
        });
        assert_eq!(runs, ["ac", "be", "d"]);
        let answers: Vec<String> = answers.into_iter().map(|a| a.unwrap()).collect();
        assert_eq!(answers, ["A", "B", "C", "D", "E"]);
        assert_eq!(retried, 0);
    }

    #[test]
    fn one_bad_window_fails_alone() {
        let items = vec![Ok((0, 1)), Err(failed()), Ok((0, 2)), Ok((0, 3))];
        let mut retried = 0;
        let answers = batched(items, &mut retried, |group| {
            match group.iter().any(|p| **p == 2) {
                true => Err(failed()),
                false => Ok(group.iter().map(|p| **p * 10).collect()),
            }
        });
        let answers: Vec<Option<i32>> = answers.into_iter().map(Result::ok).collect();
        assert_eq!(answers, [Some(10), None, None, Some(30)]);
        assert_eq!(retried, 1);
    }

    #[test]
    fn a_run_that_says_too_little_is_an_error() {
        let items = vec![Ok(((), 1)), Ok(((), 2))];
        let answers = batched(items, &mut 0, |group| {
            Ok(group[1..].iter().map(|p| **p).collect())
        });
        assert!(answers[0].is_ok() && answers[1].is_err());
    }
}
