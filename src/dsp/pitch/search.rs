//! The Viterbi search over the candidates of the frames.

use std::collections::VecDeque;

use super::{CANDIDATES, Candidates, Pitch};

/// Frames that a decision waits for those after it.
const LATENCY: usize = 10;
/// What an octave between neighbouring frames costs.
const JUMP_COST: f64 = 0.7;
/// What beginning or ending a voiced stretch costs.
const SWITCH_COST: f64 = 0.15;
const UNVOICED: usize = CANDIDATES;
/// What a frame without pitch costs; a candidate costs its aperiodicity, 0 to 1.
const UNVOICED_COST: f64 = 0.35;

/// The cheapest way through the candidates, decided [`LATENCY`] frames late.
pub(super) struct Search {
    /// The frames that wait, each with the best state before each of its states.
    waiting: VecDeque<(Candidates, [usize; CANDIDATES + 1])>,
    /// Of the ways to each state of the last frame.
    costs: [f64; CANDIDATES + 1],
}

impl Search {
    pub fn new() -> Self {
        Self {
            waiting: VecDeque::with_capacity(LATENCY + 2),
            costs: [0.0; CANDIDATES + 1],
        }
    }

    pub fn reset(&mut self) {
        self.waiting.clear();
    }

    pub fn push(&mut self, now: Candidates, out: &mut Vec<Pitch>) {
        let mut costs = [f64::INFINITY; CANDIDATES + 1];
        let mut origins = [UNVOICED; CANDIDATES + 1];
        for state in (0..now.count).chain([UNVOICED]) {
            let own = if state == UNVOICED {
                UNVOICED_COST
            } else {
                now.all[state].cost
            };
            costs[state] = own;
            if let Some((last, _)) = self.waiting.back() {
                let ways = (0..last.count).chain([UNVOICED]).map(|origin| {
                    let step = step(last, origin, &now, state);
                    (origin, self.costs[origin] + step)
                });
                if let Some((origin, cost)) = ways.min_by(|a, b| a.1.total_cmp(&b.1)) {
                    origins[state] = origin;
                    costs[state] += cost;
                }
            }
        }
        // Only differences count; without this, a day's sum would lose digits.
        let least = costs.iter().copied().fold(f64::INFINITY, f64::min);
        self.costs = costs.map(|cost| cost - least);
        self.waiting.push_back((now, origins));
        if self.waiting.len() > LATENCY {
            let state = self.trace(0);
            self.decide(state, out);
        }
    }

    pub fn finish(&mut self, out: &mut Vec<Pitch>) {
        while !self.waiting.is_empty() {
            let state = self.trace(0);
            self.decide(state, out);
        }
    }

    /// The state of waiting frame `index` on the cheapest way.
    fn trace(&self, index: usize) -> usize {
        let mut state = UNVOICED;
        for (i, cost) in self.costs.iter().enumerate() {
            if *cost < self.costs[state] {
                state = i;
            }
        }
        for (_, origins) in self.waiting.iter().skip(index + 1).rev() {
            state = origins[state];
        }
        state
    }

    /// Lets the first waiting frame go, in `state`.
    fn decide(&mut self, state: usize, out: &mut Vec<Pitch>) {
        if let Some((frame, _)) = self.waiting.pop_front() {
            out.push(Pitch {
                hz: (state < frame.count).then(|| frame.all[state].hz),
                periodicity: frame.periodicity,
            });
        }
    }
}

fn step(last: &Candidates, origin: usize, now: &Candidates, state: usize) -> f64 {
    match (origin == UNVOICED, state == UNVOICED) {
        (true, true) => 0.0,
        (false, false) => JUMP_COST * (now.all[state].hz / last.all[origin].hz).log2().abs(),
        _ => SWITCH_COST,
    }
}
