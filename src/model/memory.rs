//! Going on where a stream's last window ended. Windows overlap; an encoder that can stream is given only what is new, and
//! what it said of the rest is taken from what it remembers.

use ndarray::{ArrayView3, CowArray, Ix2, s};

use super::batch::batched;
use super::calls::{Answers, contiguous, stacked};
use super::error::ModelError;
use super::hidden::{Hidden, States};
use super::input::Stretch;
use super::manifest::Going;
use super::net::{Given, Net};
use super::part::Part;
use super::sessions::{Models, Scratch};
use crate::dsp::{HOP, MELS};

/// Samples of a hidden frame.
const FRAME: u64 = 2 * HOP as u64;

/// Where a window lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Which run of the stream without a break.
    pub run: u64,
    /// Its first sample on the stream's clock.
    pub first_sample: u64,
}

/// What the encoder remembers of one stream: nothing at first.
#[derive(Debug, Default)]
pub struct Memory(Option<Past>);

#[derive(Debug)]
struct Past {
    run: u64,
    /// The sample that hidden frame 0 begins with.
    origin: u64,
    /// Which frame the first that is remembered is.
    first: usize,
    /// `[layers, frames, dim]` of what is remembered.
    shape: [usize; 3],
    /// All of the last window, until the stream goes on.
    hidden: Option<Hidden>,
    /// Then what the next one has use for. It stays where it is from window to window: what comes and goes with each would leave
    /// holes around it.
    rest: Vec<f32>,
    /// `[layers, tail, dim]`, of the last whole group.
    tails: Vec<f32>,
}

/// How a window goes on: in hidden frames since the origin, but for the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Plan {
    origin: u64,
    /// The window's first frame;
    start: usize,
    /// the first that is new: the origin's for a window that nothing came before;
    kept: usize,
    /// behind its last one.
    end: usize,
    /// How many of those before `kept` the new ones look back on.
    back: usize,
}

impl Plan {
    /// A window by itself.
    fn anew(moment: Moment, frames: usize) -> Self {
        Self {
            origin: moment.first_sample,
            start: 0,
            kept: 0,
            end: frames,
            back: 0,
        }
    }

    /// What windows must have in common to run together: frames that are old, that are new, and that are looked back on.
    fn shape(&self) -> (usize, usize, usize) {
        (self.kept - self.start, self.end - self.kept, self.back)
    }
}

impl Past {
    /// How a window of so many hidden frames goes on from here. None where it cannot: after a break, off the grid of
    /// frames, or without a whole group of frames in common.
    fn plan(&self, going: &Going, moment: Moment, frames: usize) -> Option<Plan> {
        let later = moment.first_sample.checked_sub(self.origin)?;
        if moment.run != self.run || !later.is_multiple_of(FRAME) {
            return None;
        }
        let start = usize::try_from(later / FRAME).ok()?;
        let kept = (self.first + self.shape[1]) / going.group * going.group;
        let common = kept.checked_sub(start)?;
        let back = common.min(going.left) / going.group * going.group;
        let end = start + frames;
        (start >= self.first && back > 0 && end > kept).then_some(Plan {
            origin: self.origin,
            start,
            kept,
            end,
            back,
        })
    }

    fn view(&self) -> Result<ArrayView3<'_, f32>, ModelError> {
        match &self.hidden {
            Some(hidden) => hidden.view(),
            None => {
                let view = ArrayView3::from_shape(self.shape, &self.rest);
                view.map_err(|e| ModelError::Run {
                    part: Part::Encoder,
                    reason: e.to_string(),
                })
            }
        }
    }

    /// Forgets so many of the first frames.
    fn forget(&mut self, over: usize) -> Result<(), ModelError> {
        let [layers, frames, dim] = self.shape;
        let left = frames - over;
        match self.hidden.take() {
            Some(hidden) => {
                self.rest.clear();
                self.rest.reserve_exact(layers * left * dim);
                for layer in hidden.view()?.outer_iter() {
                    let rows = layer.slice_move(s![over.., ..]);
                    self.rest
                        .extend_from_slice(rows.to_slice().unwrap_or_default());
                }
            }
            None => {
                for layer in 0..layers {
                    let rows = (layer * frames + over) * dim..(layer + 1) * frames * dim;
                    self.rest.copy_within(rows, layer * left * dim);
                }
                self.rest.truncate(layers * left * dim);
            }
        }
        self.shape = [layers, left, dim];
        self.first += over;
        Ok(())
    }
}

/// A window, prepared.
struct Next<'a> {
    plan: Plan,
    run: u64,
    /// The frames that the encoder is given.
    fbank: CowArray<'a, f32, Ix2>,
    /// Hidden states `[layers, kept − start, dim]` that are known, and the tails; none of a window by itself.
    known: Option<(ArrayView3<'a, f32>, &'a [f32])>,
}

impl Models {
    /// [`Models::hear_all`] of windows of several streams; each says where it lies, and which of `memories` is its stream's.
    /// What a stream's last window said of the audio that they share is not asked again, if the encoder can stream and runs
    /// where the host sees its memory. No stream may have two windows here.
    pub fn hear_on(
        &mut self,
        windows: &[(Stretch, Moment, usize)],
        memories: &mut [Memory],
    ) -> Answers<Hidden> {
        let going = match &self.going {
            Some(going) if !self.place.device.is_gpu() => going.clone(),
            _ => {
                let stretches: Vec<Stretch> = windows.iter().map(|(s, ..)| *s).collect();
                return self.hear_all(&stretches);
            }
        };
        let pasts: Vec<Option<Past>> = windows
            .iter()
            .map(|&(.., stream)| memories.get_mut(stream)?.0.take())
            .collect();
        let prepared = windows
            .iter()
            .zip(&pasts)
            .map(|((stretch, moment, _), past)| {
                let features = self.front_end.accept(stretch.fbank)?;
                let frames = features.nrows() / 2;
                let plan = past.as_ref().and_then(|p| p.plan(&going, *moment, frames));
                let next = match (past, plan) {
                    (Some(past), Some(plan)) => {
                        let old = plan.start - past.first..plan.kept - past.first;
                        let from = 2 * (plan.kept - plan.back - plan.start);
                        let known = past.view()?.slice_move(s![.., old, ..]);
                        Next {
                            plan,
                            run: moment.run,
                            fbank: CowArray::from(features.slice(s![from.., ..]).to_owned()),
                            known: Some((known, &past.tails)),
                        }
                    }
                    _ => Next {
                        plan: Plan::anew(*moment, frames),
                        run: moment.run,
                        fbank: features,
                        known: None,
                    },
                };
                Ok((next.plan.shape(), next))
            });
        let prepared: Answers<_> = prepared.collect();
        let (states, input) = ((self.layers, self.dim), self.front_end.input());
        let (tokens, rate) = (input.tokens(), input.frame_rate());
        let (net, tally) = (&mut self.encoder, &mut self.tally);
        let (runs, counted) = (&mut tally.runs, &mut tally.windows);
        let scratch = &mut self.scratch;
        let mut run = |group: &[&Next]| -> Result<Vec<(Past, Hidden)>, ModelError> {
            let found = together(net, &going, states, group, scratch)?;
            *runs += 1;
            *counted += group.len() as u64;
            let past = |(next, (states, tails)): (&&Next, (States, Vec<f32>))| {
                // One each, since a stream holds its own until the next window.
                let hidden = Hidden::of_batch(states, 1, tokens, rate).pop()?;
                let past = Past {
                    run: next.run,
                    origin: next.plan.origin,
                    first: next.plan.start,
                    shape: hidden.shape(),
                    hidden: Some(hidden.clone()),
                    rest: Vec::new(),
                    tails,
                };
                Some((past, hidden))
            };
            Ok(group.iter().zip(found).filter_map(past).collect())
        };
        let heard = batched(prepared, &mut tally.retried, |group: &[&Next]| {
            // Whole windows take long enough by themselves for the weights that are read for them; four would take a worker 50 MB more.
            let most = group[0].known.map_or(1, |_| group.len());
            let pieces: Result<Vec<_>, _> = group.chunks(most).map(&mut run).collect();
            Ok(pieces?.into_iter().flatten().collect())
        });
        let mut answers = Vec::with_capacity(heard.len());
        for ((heard, &(.., stream)), old) in heard.into_iter().zip(windows).zip(pasts) {
            answers.push(heard.map(|(mut past, hidden)| {
                past.rest = old.map(|old| old.rest).unwrap_or_default();
                if let Some(memory) = memories.get_mut(stream) {
                    memory.0 = Some(past);
                }
                hidden
            }));
        }
        answers
    }
}

/// Runs the encoder on windows of one shape: of each, hidden states of all of it, what is known and what is new, and the tails
/// after it.
fn together(
    net: &mut Net,
    going: &Going,
    (layers, dim): (usize, usize),
    group: &[&Next],
    scratch: &mut Scratch,
) -> Result<Vec<(States, Vec<f32>)>, ModelError> {
    let size = group.len();
    let (old, new, back) = group[0].plan.shape();
    let Scratch {
        windows,
        past,
        tails,
        ..
    } = scratch;
    let fbank = stacked(group.iter().map(|n| contiguous(&n.fbank)), size, windows);
    past.clear();
    tails.clear();
    for (known, ends) in group.iter().filter_map(|n| n.known) {
        for layer in known.outer_iter() {
            // Rows of one layer follow each other in memory.
            let rows = layer.slice_move(s![old - back.., ..]);
            past.extend_from_slice(rows.as_slice().unwrap_or_default());
        }
        tails.extend_from_slice(ends);
    }
    let fbank_shape = [size, group[0].fbank.nrows(), MELS];
    let past_shape = [size, layers, back, dim];
    let tails_shape = [size, going.layers, going.tail, dim];
    let inputs = [
        Given::Host(&fbank_shape, fbank),
        Given::Host(&past_shape, past),
        Given::Host(&tails_shape, tails),
    ];
    // Who was not heard before has the graph's own past, which is none.
    let given = if back == 0 { &inputs[..1] } else { &inputs[..] };
    let fresh_shape = [size, layers, new, dim];
    let shape = [1, layers, old + new, dim];
    let found = net.run_for(given, &[&fresh_shape, &tails_shape], |found| {
        let mut fresh = found[0].chunks((new * dim).max(1));
        let tails = found[1].chunks((found[1].len() / size).max(1));
        let mut all = Vec::with_capacity(size);
        for (next, tails) in group.iter().zip(tails) {
            let mut states = Vec::with_capacity(shape.iter().product());
            for layer in 0..layers {
                let known = next
                    .known
                    .map(|(known, _)| known.slice_move(s![layer, .., ..]));
                states.extend_from_slice(known.and_then(|k| k.to_slice()).unwrap_or_default());
                states.extend_from_slice(fresh.next().unwrap_or_default());
            }
            all.push((states, tails.to_vec()));
        }
        all
    })?;
    let states =
        |(values, tails): (Vec<f32>, Vec<f32>)| Ok((States::of_host(values, shape)?, tails));
    found.into_iter().map(states).collect()
}

impl Memory {
    /// Forgets what a window that begins here has no use for, nor any after it: a third of what is kept, for windows of three hops.
    pub fn forget_before(&mut self, moment: Moment) {
        let Some(past) = &mut self.0 else { return };
        let later = moment.first_sample.saturating_sub(past.origin) / FRAME;
        let over = usize::try_from(later).unwrap_or(usize::MAX);
        let over = over.saturating_sub(past.first);
        let is_over = past.run != moment.run || over >= past.shape[1];
        if is_over || (over > 0 && past.forget(over).is_err()) {
            self.0 = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two layers, six frames, three values; value = its place.
    fn past() -> Past {
        let values = (0..36).map(|i| i as f32).collect();
        let states = States::of_host(values, [1, 2, 6, 3]).expect("states");
        let hidden = Hidden::of_batch(states, 1, 1, 50.0).pop().expect("one");
        Past {
            run: 0,
            origin: 0,
            first: 0,
            shape: hidden.shape(),
            hidden: Some(hidden),
            rest: Vec::new(),
            tails: Vec::new(),
        }
    }

    #[test]
    fn frames_are_forgotten_at_once_as_bit_by_bit() {
        let whole = past();
        let expected = whole.view().expect("a view").slice_move(s![.., 5.., ..]);
        for pieces in [&[5][..], &[2, 3], &[1, 1, 3]] {
            let mut past = past();
            for piece in pieces {
                past.forget(*piece).expect("forgotten");
            }
            assert_eq!(past.view().expect("a view"), expected, "{pieces:?}");
            assert_eq!((past.first, past.shape), (5, [2, 1, 3]));
        }
    }

    #[test]
    fn a_stream_that_is_silent_for_long_is_forgotten() {
        let at = |run, frame: u64| Moment {
            run,
            first_sample: frame * FRAME,
        };
        for (moment, is_left) in [(at(0, 5), true), (at(0, 6), false), (at(1, 5), false)] {
            let mut memory = Memory(Some(past()));
            memory.forget_before(moment);
            assert_eq!(memory.0.is_some(), is_left, "{moment:?}");
        }
    }
}
