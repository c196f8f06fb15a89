//! Brokers and daemons killed at random under load, and a network that stalls: nothing that was secured is lost, and the order stays.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use earwitness::publish::Event;
use rumqttc::{MqttOptions, Publish};

use crate::broker::Mosquitto;
use crate::durable::with_outbox;
use crate::listener::Listener;
use crate::proxy::Proxy;
use crate::{gap, start, wait};

const STREAMS: u64 = 4;

/// The `n`-th event of a run: streams take turns.
fn nth(n: u64, epoch: u64) -> Event {
    let mut event = gap(n / STREAMS);
    event.id.stream = format!("s{}", n % STREAMS);
    event.id.epoch = epoch;
    event
}

/// Not a test: the daemon of the storm, in a process of its own, so that it can be killed.
#[test]
#[ignore = "run by storm"]
fn generator() {
    let number = |name: &str| std::env::var(name).unwrap().parse::<u64>().unwrap();
    let outbox = std::env::var("STORM_OUTBOX").unwrap();
    let config = with_outbox(number("STORM_PORT") as u16, Path::new(&outbox));
    let (bus, status) = start(&config);
    let (count, epoch) = (number("STORM_COUNT"), number("STORM_EPOCH"));
    let mut published = 0;
    let tell = |published| {
        let now = status.get();
        assert!(now.outbox_error.is_none(), "{now:?}");
        println!("\npublished {published} secured {}", now.secured);
        now.pending
    };
    while published < count {
        for _ in 0..10 {
            // Not our subject: the bus has its own tests.
            if published < count && bus.counters()[0].waiting < 500 {
                bus.publish(nth(published, epoch));
                published += 1;
            }
        }
        tell(published);
        thread::sleep(Duration::from_millis(5));
    }
    while tell(published) > 0 {
        thread::sleep(Duration::from_millis(20));
    }
    assert!(bus.shutdown(Duration::from_secs(5)).is_empty());
    assert_eq!(bus.counters()[0].dropped, 0);
    println!("\nall delivered");
}

/// A running generator, and what it said last.
struct Run {
    child: Child,
    published: Arc<AtomicU64>,
    secured: Arc<AtomicU64>,
    finished: Arc<AtomicBool>,
}

impl Run {
    fn start(port: u16, outbox: &Path, epoch: u64, count: u64) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["storm::generator", "--exact", "--ignored", "--nocapture"])
            .env("STORM_PORT", port.to_string())
            .env("STORM_OUTBOX", outbox)
            .env("STORM_EPOCH", epoch.to_string())
            .env("STORM_COUNT", count.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (published, secured, finished) =
            <(Arc<AtomicU64>, Arc<AtomicU64>, Arc<AtomicBool>)>::default();
        let this = (
            Arc::clone(&published),
            Arc::clone(&secured),
            Arc::clone(&finished),
        );
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let words: Vec<&str> = line.split(' ').collect();
                if let ["published", p, "secured", s] = words[..] {
                    this.0.store(p.parse().unwrap(), SeqCst);
                    this.1.store(s.parse().unwrap(), SeqCst);
                }
                if line == "all delivered" {
                    this.2.store(true, SeqCst);
                }
            }
        });
        Self {
            child,
            published,
            secured,
            finished,
        }
    }

    fn published(&self) -> u64 {
        self.published.load(SeqCst)
    }

    /// SIGKILL. Returns how many events it had published, and how many of them it had called secured.
    fn kill(&mut self) -> (u64, u64) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        // Its last line may still be in the pipe; an older one promises less.
        (self.published.load(SeqCst), self.secured.load(SeqCst))
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A subscriber with a session that lasts.
fn counter(port: u16) -> Listener {
    let mut options = MqttOptions::new("counter", "127.0.0.1", port);
    options
        .set_clean_session(false)
        .set_keep_alive(Duration::from_secs(60));
    options.set_inflight(1000);
    Listener::with(options, "earwitness/+/+/event/#")
}

/// Stream, epoch and sequence number of a message.
fn id(publish: &Publish) -> (String, u64, u64) {
    let event: Event = serde_json::from_slice(&publish.payload).unwrap();
    (event.id.stream, event.id.epoch, event.id.sequence)
}

/// xorshift: the seed is printed.
struct Dice(u64);

impl Dice {
    fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        low + self.0 % (high - low)
    }
}

/// The guarantee, as docs/mqtt.md has it. More events: `EARWITNESS_STORM=50000 cargo test --test mqtt storm -- --nocapture`.
#[test]
fn storm_of_kills_and_stalls_loses_nothing_that_was_secured_and_keeps_the_order() {
    let total: u64 = std::env::var("EARWITNESS_STORM").map_or(10_000, |n| n.parse().unwrap());
    let seed = std::env::var("EARWITNESS_STORM_SEED").map_or_else(
        |_| std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64 | 1,
        |n| n.parse().unwrap(),
    );
    println!("seed {seed}");
    let mut dice = Dice(seed);
    let begin = Instant::now();
    let mut broker = Mosquitto::with(
        "allow_anonymous true\npersistence true\npersistence_location {dir}/\n\
         autosave_on_changes true\nautosave_interval 100\n",
        |_| {},
    );
    // Through a proxy, so that the subscriber can be back before the daemon is.
    let proxy = Proxy::to(broker.port);
    let counter = counter(broker.port);
    let folder = tempfile::tempdir().unwrap();
    let outbox = folder.path().join("outbox.redb");
    let (left, mut subscriptions, mut rounds) = (Cell::new(total), 1, 0);
    // By epoch: published, secured.
    let runs = RefCell::new(BTreeMap::new());
    let mut kills = (0, 0, 0);
    let mut run = Run::start(proxy.port, &outbox, 1, total);
    let next_run = |run: &mut Run| {
        let told = run.kill();
        let epoch = runs.borrow().len() as u64 + 1;
        runs.borrow_mut().insert(epoch, told);
        // At least one more: what was killed may have published all, and a daemon that is back is known by what it publishes.
        left.set((left.get() - told.0).max(1));
        *run = Run::start(proxy.port, &outbox, epoch + 1, left.get());
        wait("the next daemon", || run.published() > 0);
    };
    loop {
        let goal = run.published() + dice.between(total / 25, total / 12);
        wait("more events", || run.published() >= goal.min(left.get()));
        if run.published() >= left.get() {
            break;
        }
        // Each kind in its turn, so that none is left out; the dice choose when.
        let kind = rounds % 4;
        rounds += 1;
        match kind {
            0 => {
                kills.0 += 1;
                next_run(&mut run);
            }
            // The broker, and in every second round the daemon while it is away.
            1 | 3 => {
                kills.1 += 1;
                // Stopped first: what it acknowledged it has passed on, and the subscriber reads that. What a broker takes
                // and loses is the broker's loss.
                broker.stall();
                thread::sleep(Duration::from_millis(150));
                proxy.cut_after(|| broker.kill());
                if kind == 3 {
                    kills.0 += 1;
                    thread::sleep(Duration::from_millis(dice.between(0, 300)));
                    next_run(&mut run);
                }
                broker.restart();
                subscriptions += 1;
                counter.wait_subscribed(subscriptions);
                proxy.open();
            }
            _ => {
                kills.2 += 1;
                proxy.stall();
                thread::sleep(Duration::from_millis(dice.between(100, 900)));
                proxy.go_on();
            }
        }
    }
    let left = left.get();
    let epoch = runs.borrow().len() as u64 + 1;
    let mut runs = runs.into_inner();
    wait("the last daemon", || run.finished.load(SeqCst));
    runs.insert(epoch, (left, left));
    wait("the last event", || {
        let heard = counter.heard();
        heard
            .iter()
            .rev()
            .map(id)
            .any(|(_, e, n)| (e, n) == (epoch, (left - 1) / STREAMS))
    });
    // What is still under way to the subscriber is a repeat.
    thread::sleep(Duration::from_millis(300));

    let heard: Vec<_> = counter.heard().iter().map(id).collect();
    let unique: BTreeSet<_> = heard.iter().cloned().collect();
    let (mut lost, mut unsecured) = (0, 0);
    for (epoch, (published, secured)) in &runs {
        for n in 0..*published {
            let arrived = unique.contains(&(format!("s{}", n % STREAMS), *epoch, n / STREAMS));
            assert!(
                arrived || n >= *secured,
                "event {n} of run {epoch} was secured and is lost"
            );
            lost += u64::from(!arrived);
        }
        unsecured += published - secured;
    }
    // The order of each stream, repeats dropped.
    let mut last = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for id in &heard {
        if seen.insert(id) {
            let before = last.insert(&id.0, (id.1, id.2));
            assert!(before < Some((id.1, id.2)), "{id:?} after {before:?}");
        }
    }
    println!(
        "{total} events in {:.1} s, {} daemons killed, {} brokers killed, {} stalls: {} repeats, \
         {unsecured} not secured when their daemon was killed, {lost} of them lost",
        begin.elapsed().as_secs_f64(),
        kills.0,
        kills.1,
        kills.2,
        heard.len() - unique.len(),
    );
    assert!(heard.len() as u64 >= total - lost);
    assert!(lost <= unsecured);
}
