use super::*;
use crate::publish::event::tests::samples;

fn event(sequence: u64) -> Event {
    let mut event = samples().swap_remove(0);
    event.id.sequence = sequence;
    event
}

/// Collects sequence numbers, waiting `delay` at each.
struct Slow {
    seen: Arc<Mutex<Vec<u64>>>,
    delay: Duration,
}

impl Sink for Slow {
    fn run(self: Box<Self>, mut inbox: Inbox) -> Result<(), SinkError> {
        while let Some(event) = inbox.recv() {
            thread::sleep(self.delay);
            self.seen.lock().unwrap().push(event.id.sequence);
        }
        assert!(inbox.deadline().is_some());
        Ok(())
    }
}

struct Failing;

impl Sink for Failing {
    fn run(self: Box<Self>, _: Inbox) -> Result<(), SinkError> {
        Err(SinkError("no such place".into()))
    }
}

fn slow(bus: &mut Bus, name: &str, capacity: usize, ms: u64) -> Arc<Mutex<Vec<u64>>> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Slow {
        seen: seen.clone(),
        delay: Duration::from_millis(ms),
    };
    bus.add(name, capacity, sink).unwrap();
    seen
}

#[test]
fn every_sink_gets_every_event_in_order_before_shutdown_returns() {
    let mut bus = Bus::new();
    let (a, b) = (slow(&mut bus, "a", 100, 0), slow(&mut bus, "b", 100, 1));
    for n in 0..100 {
        bus.publish(event(n));
    }
    assert!(bus.shutdown(Duration::from_secs(5)).is_empty());
    let all: Vec<u64> = (0..100).collect();
    assert_eq!(*a.lock().unwrap(), all);
    assert_eq!(*b.lock().unwrap(), all);
    assert!(
        bus.counters()
            .iter()
            .all(|c| c.dropped == 0 && c.queued == 100)
    );
}

#[test]
fn a_stuck_sink_neither_blocks_publishing_nor_starves_the_others() {
    let mut bus = Bus::new();
    let fast = slow(&mut bus, "fast", 5000, 0);
    slow(&mut bus, "stuck", 4, 60_000);
    let start = Instant::now();
    for n in 0..5000 {
        bus.publish(event(n));
    }
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    let late = bus.shutdown(Duration::from_millis(500));
    assert_eq!(late, ["stuck"]);
    assert!(start.elapsed() < Duration::from_secs(10));
    assert_eq!(fast.lock().unwrap().len(), 5000);
    let stuck = &bus.counters()[1];
    assert_eq!(stuck.queued + stuck.dropped, 5000);
    assert!(stuck.queued <= 5, "{stuck:?}");
}

#[test]
fn a_sink_that_gave_up_counts_its_losses_and_does_not_hold_up_shutdown() {
    let mut bus = Bus::new();
    bus.add("failing", 4, Failing).unwrap();
    // Wait for the thread to end; the queue is closed then.
    let limit = Instant::now() + Duration::from_secs(5);
    let mut n = 0;
    while bus.counters()[0].dropped == 0 && Instant::now() < limit {
        bus.publish(event(n));
        n += 1;
        thread::sleep(Duration::from_millis(5));
    }
    assert!(bus.counters()[0].dropped > 0);
    assert!(bus.shutdown(Duration::from_secs(5)).is_empty());
}

#[test]
fn what_is_published_after_shutdown_is_counted_as_dropped() {
    let mut bus = Bus::new();
    slow(&mut bus, "a", 4, 0);
    assert!(bus.shutdown(Duration::from_secs(5)).is_empty());
    bus.publish(event(1));
    assert_eq!(bus.counters()[0].dropped, 1);
}

#[test]
fn a_stop_that_becomes_urgent_brings_the_deadline_forward() {
    let mut bus = Bus::new();
    let seen = slow(&mut bus, "slow", 100, 200);
    assert!(!bus.has_ended());
    for n in 0..50 {
        bus.publish(event(n));
    }
    let begin = Instant::now();
    let far = bus.close(Duration::from_secs(60));
    assert!(bus.close(Duration::from_secs(90)) == far && !bus.has_ended());
    assert_eq!(bus.shutdown(Duration::from_millis(100)), ["slow"]);
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert!(seen.lock().unwrap().len() < 50);
    // What is published after the end is dropped and counted.
    bus.publish(event(50));
    assert_eq!(bus.counters()[0].dropped, 1);
}
