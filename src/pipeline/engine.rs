//! Engine workers: each owns one set of sessions and the decision state of the streams that are its own, so the events
//! of a stream come from one thread, in order.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use crate::config;
use crate::model::ModelError;
use crate::publish::{Body, Bus, Event, EventId, SCHEMA, time};
use crate::task::{Judge, Scores, StreamDecider};

use super::analyser::{Analyser, clock_s};
use super::queue::{Batching, Job, Mark, Queue};
use super::segmenter::Window;

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
}

impl Counters {
    /// Windows that the encoder was given at once, on average; none before the first.
    pub fn mean_batch(&self) -> Option<f64> {
        let runs = self.encoder_runs.load(Ordering::Relaxed);
        (runs > 0).then(|| self.encoded.load(Ordering::Relaxed) as f64 / runs as f64)
    }
}

/// The workers and their queues.
pub struct Engine {
    queues: Vec<Arc<Queue>>,
    workers: Vec<JoinHandle<()>>,
    counters: Arc<Counters>,
}

impl Engine {
    /// Starts one worker an analyser. Streams are known by their index. `batching` says how many windows run together at
    /// most; a worker does not wait for more of them than it has streams.
    pub fn start(
        node: &str,
        streams: &[config::Stream],
        analysers: Vec<Analyser>,
        judge: Arc<Judge>,
        places: usize,
        batching: Batching,
        bus: Arc<Bus>,
    ) -> std::io::Result<Self> {
        let counters = Arc::new(Counters::default());
        let mut queues = Vec::new();
        let mut workers = Vec::new();
        let count = analysers.len();
        for (i, analyser) in analysers.into_iter().enumerate() {
            let own = (0..streams.len()).filter(|stream| stream % count == i);
            let batching = Batching {
                enough: batching.enough.min(own.count()),
                ..batching
            };
            let queue = Arc::new(Queue::new(places));
            let worker = Worker {
                node: node.to_owned(),
                streams: streams.to_vec(),
                lanes: HashMap::new(),
                analyser,
                judge: judge.clone(),
                bus: bus.clone(),
                counters: counters.clone(),
            };
            queues.push(queue.clone());
            workers.push(
                std::thread::Builder::new()
                    .name(format!("engine-{i}"))
                    .spawn(move || worker.run(&queue, &batching))?,
            );
        }
        Ok(Self {
            queues,
            workers,
            counters,
        })
    }

    /// The queue of a stream's own worker.
    pub fn queue(&self, stream: usize) -> Arc<Queue> {
        self.queues[stream % self.queues.len()].clone()
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
        for queue in &self.queues {
            queue.close(false);
        }
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
        for queue in &self.queues {
            queue.close(true);
        }
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
}

struct Worker {
    node: String,
    streams: Vec<config::Stream>,
    lanes: HashMap<usize, Lane>,
    analyser: Analyser,
    judge: Arc<Judge>,
    bus: Arc<Bus>,
    counters: Arc<Counters>,
}

impl Worker {
    fn run(mut self, queue: &Queue, batching: &Batching) {
        while let Some(jobs) = queue.take(batching) {
            self.jobs(jobs);
        }
    }

    /// Scores the windows together, then tells of all in the order in which they came.
    fn jobs(&mut self, jobs: Vec<(usize, Job)>) {
        let windows: Vec<(&Window, bool)> = jobs
            .iter()
            .filter_map(|(stream, job)| match job {
                Job::Window(window) => Some((window, self.streams[*stream].sound)),
                Job::Mark(_) => None,
            })
            .collect();
        let mut scored = Vec::new();
        if !windows.is_empty() {
            let (began, before) = (Instant::now(), self.analyser.tally());
            scored = self.analyser.windows(&windows);
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
        let heard = scores.sounds.is_some() || !scores.probes.is_empty();
        let encoded = heard || scores.utterance.is_some();
        self.counters.windows.fetch_add(1, Ordering::Relaxed);
        self.counters
            .encoded
            .fetch_add(u64::from(encoded), Ordering::Relaxed);
        let lane = self.lane(stream);
        lane.position_s = scores.end_s;
        let bodies = lane.decider.window(&scores);
        let lag_ms = window.captured.elapsed().as_secs_f64() * 1e3;
        for body in bodies {
            self.publish(stream, scores.start_s, scores.end_s, lag_ms, body);
        }
    }

    fn mark(&mut self, stream: usize, mark: Mark) {
        match mark {
            Mark::Epoch(epoch) => {
                let decider = StreamDecider::new(self.judge.clone(), self.streams[stream].sound);
                // Two epochs within a millisecond would number their events alike.
                let epoch = self
                    .lanes
                    .get(&stream)
                    .map_or(epoch, |old| epoch.max(old.epoch + 1));
                self.lanes.insert(
                    stream,
                    Lane {
                        epoch,
                        sequence: 0,
                        decider,
                        position_s: 0.0,
                    },
                );
            }
            Mark::Lost {
                samples,
                at,
                reason,
            } => {
                self.counters
                    .lost_samples
                    .fetch_add(samples, Ordering::Relaxed);
                self.lane(stream).position_s = clock_s(at);
                let (start, end) = (clock_s(at.saturating_sub(samples)), clock_s(at));
                self.publish(stream, start, end, 0.0, Body::Gap { samples, reason });
            }
            Mark::Source { state, reason } => {
                let at = self.lane(stream).position_s;
                self.publish(stream, at, at, 0.0, Body::Source { state, reason });
            }
        }
    }

    /// The stream's lane; a source that is absent from the start tells so before any sample clock runs.
    fn lane(&mut self, stream: usize) -> &mut Lane {
        let (judge, sound) = (&self.judge, self.streams[stream].sound);
        self.lanes.entry(stream).or_insert_with(|| Lane {
            epoch: super::stream::unix_ms(),
            sequence: 0,
            decider: StreamDecider::new(judge.clone(), sound),
            position_s: 0.0,
        })
    }

    fn publish(&mut self, stream: usize, start_s: f64, end_s: f64, lag_ms: f64, body: Body) {
        let lane = self.lane(stream);
        let (epoch, sequence) = (lane.epoch, lane.sequence);
        lane.sequence += 1;
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
