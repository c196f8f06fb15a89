//! Engine workers: each owns one set of sessions. They share one line of jobs, for a worker that waits beside one with a line
//! before it makes the last in that line late. A stream is in the hands of one worker at a time, so its events come in order.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use crate::config;
use crate::model::{ModelError, Spent, Took};
use crate::publish::control::Controls;
use crate::publish::{Body, Bus, Event, EventId, SCHEMA, time};
use crate::task::{Judge, Policy, Scores, StreamDecider};

use super::analyser::{Analyser, Asked, clock_s};
use super::enrol::Desk;
use super::memory::StreamMemory;
use super::queue::{Batching, Job, Mark, Queue};
use super::segmenter::Window;
use super::standing::Standing;

/// What the engine has done, over all streams. Read while it runs.
#[derive(Debug, Default)]
pub struct Counters {
    /// Windows analysed.
    pub windows: AtomicU64,
    /// Windows that reached the encoder.
    pub encoded: AtomicU64,
    /// Windows that a model failed on.
    pub failed: AtomicU64,
    /// Samples at 16 kHz lost, by whatever reason.
    pub lost_samples: AtomicU64,
    /// Nanoseconds of analysis.
    pub busy_ns: AtomicU64,
    /// Runs of the encoder, each on one window or several.
    pub encoder_runs: AtomicU64,
    /// Runs on several windows that failed, so that each was analysed by itself.
    pub retried: AtomicU64,
    /// How long each model runs, of all workers.
    models: Vec<(&'static str, Arc<Spent>)>,
}

impl Counters {
    /// How long each model ran so far, over all workers, by what it is for.
    pub fn models(&self) -> BTreeMap<&'static str, Took> {
        let mut all = BTreeMap::new();
        for (name, spent) in &self.models {
            let sum: &mut Took = all.entry(*name).or_default();
            *sum = *sum + spent.so_far();
        }
        all
    }

    /// Windows that the encoder was given at once, on average; none before the first.
    pub fn mean_batch(&self) -> Option<f64> {
        let runs = self.encoder_runs.load(Ordering::Relaxed);
        (runs > 0).then(|| self.encoded.load(Ordering::Relaxed) as f64 / runs as f64)
    }
}

/// By what is decided.
pub struct Rules {
    /// For all streams.
    pub judge: Arc<Standing>,
    /// Where people are enrolled.
    pub desk: Arc<Desk>,
    /// What was changed of it since, for each.
    pub controls: Arc<Controls>,
}

/// The workers and their queue.
pub struct Engine {
    queue: Arc<Queue>,
    workers: Vec<JoinHandle<()>>,
    counters: Arc<Counters>,
}

impl Engine {
    /// Starts one worker an analyser. Streams are known by their index. `batching` says how many windows run together at
    /// most; a worker does not wait for more of them than there are streams.
    pub fn start(
        node: &str,
        streams: &[config::Stream],
        analysers: Vec<Analyser>,
        rules: Rules,
        places: usize,
        batching: Batching,
        bus: Arc<Bus>,
    ) -> std::io::Result<Self> {
        let Rules {
            judge,
            desk,
            controls,
        } = rules;
        let mut models: Vec<(&'static str, Arc<Spent>)> = Vec::new();
        for (name, spent) in analysers.iter().flat_map(Analyser::spent) {
            if !models.iter().any(|(_, known)| Arc::ptr_eq(known, &spent)) {
                models.push((name, spent));
            }
        }
        let counters = Arc::new(Counters {
            models,
            ..Counters::default()
        });
        let queue = Arc::new(Queue::new(places));
        let batching = Batching {
            enough: batching.enough.min(streams.len()),
            ..batching
        };
        let lanes: Arc<[_]> = streams.iter().map(|_| Mutex::new(None)).collect();
        let memories: Arc<[_]> = streams.iter().map(|_| Mutex::default()).collect();
        let mut workers = Vec::new();
        for (i, analyser) in analysers.into_iter().enumerate() {
            let worker = Worker {
                node: node.to_owned(),
                streams: streams.to_vec(),
                lanes: lanes.clone(),
                memories: memories.clone(),
                analyser,
                judge: judge.clone(),
                desk: desk.clone(),
                bus: bus.clone(),
                counters: counters.clone(),
                controls: controls.clone(),
            };
            let queue = queue.clone();
            workers.push(
                std::thread::Builder::new()
                    .name(format!("engine-{i}"))
                    .spawn(move || worker.run(&queue, &batching))?,
            );
        }
        Ok(Self {
            queue,
            workers,
            counters,
        })
    }

    /// The line of all streams.
    pub fn queue(&self) -> Arc<Queue> {
        self.queue.clone()
    }

    /// What has been done so far.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Whether a worker ended before it was told to: a bug that a supervisor must see.
    pub fn has_died(&self) -> bool {
        self.workers.iter().any(JoinHandle::is_finished)
    }

    /// No more will come: the workers end with what waits.
    pub fn close(&self) {
        self.queue.close(false);
    }

    /// Whether all workers have ended.
    pub fn has_ended(&self) -> bool {
        self.workers.iter().all(JoinHandle::is_finished)
    }

    /// Lets the workers finish what waits, but discards it after `deadline`.
    pub fn stop(self, deadline: Instant) {
        self.close();
        while Instant::now() < deadline && !self.has_ended() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        self.queue.close(true);
        for worker in self.workers {
            if worker.join().is_err() {
                tracing::error!(
                    "an engine worker panicked; its streams were not analysed to their end"
                );
            }
        }
    }
}

/// Decision state and event numbering of one stream.
struct Lane {
    epoch: u64,
    sequence: u64,
    decider: StreamDecider,
    /// Where the stream is, seconds on its clock.
    position_s: f64,
    /// What the decider decides by: people and what all streams share; who speaks, whether the voice is real.
    judge: Arc<Judge>,
    policies: (Policy, Policy),
    /// The last word on who speaks and on whether the voice is real.
    standing: [Option<Body>; 2],
}

struct Worker {
    node: String,
    streams: Vec<config::Stream>,
    /// One a stream, made with its first job.
    lanes: Arc<[Mutex<Option<Lane>>]>,
    /// What the encoder remembers of each stream.
    memories: Arc<[Mutex<StreamMemory>]>,
    analyser: Analyser,
    judge: Arc<Standing>,
    desk: Arc<Desk>,
    bus: Arc<Bus>,
    counters: Arc<Counters>,
    controls: Arc<Controls>,
}

impl Worker {
    fn run(mut self, queue: &Queue, batching: &Batching) {
        while let Some(mut taken) = queue.take(batching) {
            self.jobs(std::mem::take(&mut taken.jobs));
        }
    }

    /// Scores the windows together, then tells of all in the order in which they came.
    fn jobs(&mut self, jobs: VecDeque<(usize, Job)>) {
        // The streams among them; their memories are in this worker's hands until the windows are scored.
        let mut streams = Vec::new();
        let mut windows = Vec::new();
        for (stream, job) in &jobs {
            let Job::Window(window) = job else { continue };
            let at = streams.iter().position(|s| s == stream);
            windows.push(Asked {
                window,
                sound: self.streams[*stream].sound,
                memory: at.unwrap_or(streams.len()),
            });
            if at.is_none() {
                streams.push(*stream);
            }
        }
        let mut scored = Vec::new();
        if !windows.is_empty() {
            let (began, before) = (Instant::now(), self.analyser.tally());
            let mut memories: Vec<StreamMemory> =
                streams.iter().map(|s| self.memory(*s, None)).collect();
            scored = self.analyser.windows(&windows, &mut memories);
            for (stream, memory) in streams.into_iter().zip(memories) {
                self.memory(stream, Some(memory));
            }
            let busy = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
            let (counters, tally) = (&self.counters, self.analyser.tally());
            for (counter, more) in [
                (&counters.busy_ns, busy),
                (&counters.encoder_runs, tally.runs - before.runs),
                (&counters.retried, tally.retried - before.retried),
            ] {
                counter.fetch_add(more, Ordering::Relaxed);
            }
        }
        let mut scored = scored.into_iter();
        for (stream, job) in jobs {
            match job {
                Job::Mark(mark) => self.mark(stream, mark),
                Job::Window(window) => {
                    if let Some(scored) = scored.next() {
                        self.window(stream, &window, scored);
                    }
                }
            }
        }
    }

    fn window(&mut self, stream: usize, window: &Window, scored: Result<Scores, ModelError>) {
        let scores = match scored {
            Ok(scores) => scores,
            Err(error) => {
                let failed = self.counters.failed.fetch_add(1, Ordering::Relaxed) + 1;
                // The first, and then ever more rarely: a model that fails on each window must not fill the log.
                if failed.is_power_of_two() {
                    let stream = &self.streams[stream].id;
                    tracing::error!(stream, failed, %error, "a model failed; the window is not analysed");
                }
                return;
            }
        };
        self.desk
            .window(stream, window, &scores, &mut self.analyser);
        let heard = scores.sounds.is_some() || !scores.probes.is_empty();
        let encoded = heard || scores.utterance.is_some();
        self.counters.windows.fetch_add(1, Ordering::Relaxed);
        self.counters
            .encoded
            .fetch_add(u64::from(encoded), Ordering::Relaxed);
        let bodies = self.lane(stream, |lane| {
            lane.position_s = scores.end_s;
            self.heed_controls(stream, lane);
            let mut bodies = lane.decider.window(&scores);
            for body in &bodies {
                match body {
                    Body::Speaker { .. } => lane.standing[0] = Some(body.clone()),
                    Body::Spoof { .. } => lane.standing[1] = Some(body.clone()),
                    _ => {}
                }
            }
            if self.controls.take_asked(stream) {
                let untold = lane.standing.iter().flatten();
                let untold: Vec<Body> = untold.filter(|b| !bodies.contains(b)).cloned().collect();
                bodies.extend(untold);
            }
            bodies
        });
        let lag_ms = window.captured.elapsed().as_secs_f64() * 1e3;
        for body in bodies {
            self.publish(stream, scores.start_s, scores.end_s, lag_ms, body);
        }
    }

    fn mark(&mut self, stream: usize, mark: Mark) {
        match mark {
            Mark::Epoch(epoch) => {
                let mut lane = self.lock(stream);
                // Two epochs within a millisecond would number their events alike.
                let epoch = lane.as_ref().map_or(epoch, |old| epoch.max(old.epoch + 1));
                *lane = Some(self.lane_from(stream, epoch));
            }
            Mark::Lost {
                samples,
                at,
                reason,
            } => {
                self.counters
                    .lost_samples
                    .fetch_add(samples, Ordering::Relaxed);
                self.lane(stream, |lane| lane.position_s = clock_s(at));
                let (start, end) = (clock_s(at.saturating_sub(samples)), clock_s(at));
                self.publish(stream, start, end, 0.0, Body::Gap { samples, reason });
            }
            Mark::Source { state, reason } => {
                let at = self.lane(stream, |lane| lane.position_s);
                self.publish(stream, at, at, 0.0, Body::Source { state, reason });
            }
        }
    }

    /// Looks at the stream's lane; a source that is absent from the start tells so before any sample clock runs.
    fn lane<R>(&self, stream: usize, look: impl FnOnce(&mut Lane) -> R) -> R {
        let mut lane = self.lock(stream);
        look(lane.get_or_insert_with(|| self.lane_from(stream, super::stream::unix_ms())))
    }

    fn lane_from(&self, stream: usize, epoch: u64) -> Lane {
        let judge = self.judge.now();
        Lane {
            epoch,
            sequence: 0,
            decider: StreamDecider::new(judge.clone(), self.streams[stream].sound),
            position_s: 0.0,
            policies: (judge.speaker, judge.spoof),
            judge,
            standing: [None, None],
        }
    }

    /// Decides by what the stream is set to now, and about the people who are enrolled now. A decider keeps nothing of an utterance over such a change: what it
    /// had gathered was weighed by other rules.
    fn heed_controls(&self, stream: usize, lane: &mut Lane) {
        let Some(settings) = self.controls.of(stream) else {
            return;
        };
        let policies = (
            Policy::sequential(&settings.speaker),
            Policy::new(&settings.spoof),
        );
        let judge = self.judge.now();
        if policies != lane.policies || !Arc::ptr_eq(&judge, &lane.judge) {
            lane.policies = policies;
            lane.decider.judge_by(Arc::new(Judge {
                speaker: policies.0,
                spoof: policies.1,
                fusion: judge.fusion.under(&policies.0, &policies.1),
                ..(*judge).clone()
            }));
            lane.judge = judge;
        }
    }

    /// Nobody waits here: the stream is in this worker's hands. What a worker that panicked left behind is whole, but for the
    /// window that it had.
    fn lock(&self, stream: usize) -> MutexGuard<'_, Option<Lane>> {
        let lane = self.lanes[stream].lock();
        lane.unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a stream's memory, or puts it back.
    fn memory(&self, stream: usize, now: Option<StreamMemory>) -> StreamMemory {
        let memory = self.memories[stream].lock();
        let mut memory = memory.unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut memory, now.unwrap_or_default())
    }

    fn publish(&mut self, stream: usize, start_s: f64, end_s: f64, lag_ms: f64, body: Body) {
        let (epoch, sequence) = self.lane(stream, |lane| {
            lane.sequence += 1;
            (lane.epoch, lane.sequence - 1)
        });
        let id = EventId {
            node: self.node.clone(),
            stream: self.streams[stream].id.clone(),
            epoch,
            sequence,
        };
        self.bus.publish(Event {
            schema: SCHEMA,
            id,
            time: time::now(),
            start_s,
            end_s,
            lag_ms,
            body,
        });
    }
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
