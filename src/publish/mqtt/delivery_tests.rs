use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

fn message(payload: Vec<u8>) -> Message {
    Message {
        topic: "t".into(),
        payload,
        taken_ms: 0,
    }
}

fn push(delivery: &mut Delivery, n: u64) {
    assert!(delivery.push(message(n.to_be_bytes().to_vec())));
}

fn number(out: &Outgoing) -> u64 {
    u64::from_be_bytes(out.payload.as_slice().try_into().unwrap())
}

#[test]
fn an_event_stays_until_it_is_acknowledged() {
    let mut d = Delivery::new(10);
    push(&mut d, 1);
    assert_eq!(number(&d.next(false).unwrap()), 1);
    assert_eq!(d.next(false), None);
    assert!(d.written(7));
    assert_eq!((d.pending(), d.idle()), (1, false));
    d.acknowledged(7, false);
    assert_eq!((d.pending(), d.acked, d.idle()), (0, 1, true));
}

#[test]
fn everything_unacknowledged_is_sent_again_in_order() {
    let mut d = Delivery::new(10);
    (0..5).for_each(|n| push(&mut d, n));
    for pkid in 1..=4 {
        d.next(false).unwrap();
        d.written(pkid);
    }
    d.acknowledged(2, false); // out of order: leaves a hole
    d.acknowledged(1, false);
    d.acknowledged(4, false);
    d.disconnected();
    d.acknowledged(3, false); // of the old connection
    let again: Vec<u64> = std::iter::from_fn(|| d.next(false))
        .map(|o| number(&o))
        .collect();
    assert_eq!(again, [2, 4]);
    assert_eq!((d.pending(), d.acked), (2, 3));
}

#[test]
fn a_full_backlog_loses_its_oldest_even_when_that_is_under_way() {
    let mut d = Delivery::new(3);
    (0..3).for_each(|n| push(&mut d, n));
    d.next(false).unwrap();
    d.written(1);
    push(&mut d, 3);
    assert_eq!((d.pending(), d.dropped), (3, 1));
    d.acknowledged(1, false); // no longer ours to count
    assert_eq!((d.pending(), d.acked), (3, 0));
    let rest: Vec<u64> = std::iter::from_fn(|| d.next(false))
        .map(|o| number(&o))
        .collect();
    assert_eq!(rest, [1, 2, 3]);
}

#[test]
fn payload_bytes_are_bounded_too() {
    let mut d = Delivery::new(1_000_000);
    let mib = super::super::MAX_PACKET - 1000;
    for _ in 0..80 {
        assert!(d.push(message(vec![0; mib])));
    }
    assert!(d.pending() as usize * mib <= MAX_BYTES);
    assert_eq!(d.pending() + d.dropped, 80);
    assert!(!d.push(message(vec![0; super::super::MAX_PACKET])));
    assert_eq!(d.pending() + d.dropped, 80);
}

#[test]
fn retained_messages_go_first_latest_wins_and_come_again_after_a_loss() {
    let mut d = Delivery::new(10);
    push(&mut d, 1);
    assert!(d.retain("status".into(), b"online".to_vec()));
    assert!(d.retain("state".into(), b"old".to_vec()));
    assert!(d.retain("state".into(), b"new".to_vec()));
    for round in 0..2 {
        let sent: Vec<Outgoing> = std::iter::from_fn(|| d.next(false)).collect();
        let topics: HashSet<&str> = sent[..2].iter().map(|o| o.topic.as_str()).collect();
        assert_eq!(topics, HashSet::from(["status", "state"]), "round {round}");
        assert!(
            sent.iter()
                .all(|o| o.payload != b"old" && o.retain == (o.topic != "t"))
        );
        assert_eq!(sent.len(), 3);
        (1..=3).for_each(|pkid| {
            d.written(pkid);
        });
        d.disconnected();
    }
}

#[test]
fn a_farewell_passes_stalled_events() {
    let mut d = Delivery::new(1000);
    (0..200).for_each(|n| push(&mut d, n));
    let sent = std::iter::from_fn(|| d.next(false)).count();
    assert_eq!(sent, MAX_IN_FLIGHT);
    d.retain("status".into(), b"offline".to_vec());
    assert_eq!(d.next(true).unwrap().payload, b"offline");
    assert_eq!(d.next(true), None);
}

#[test]
fn windows_are_bounded_and_told_apart_from_events() {
    let mut d = Delivery::new(10);
    let offered = (0..1000).take_while(|_| d.offer(true)).count();
    assert_eq!(offered, FLEETING_QUEUE);
    push(&mut d, 1);
    d.next(false).unwrap();
    assert!(d.written(5));
    for _ in 0..FLEETING_QUEUE {
        assert!(d.written(0));
    }
    assert!(!d.written(0));
    d.acknowledged(5, false);
    assert!(d.idle());
}

#[test]
fn a_cleared_topic_is_forgotten_once_the_broker_has_cleared_it() {
    let mut d = Delivery::durable(10, 0, 0, 0);
    d.retain("gone".into(), Vec::new());
    d.next(false).unwrap();
    d.written(1);
    d.disconnected();
    // Not acknowledged: cleared again.
    assert_eq!(d.next(false).unwrap().topic, "gone");
    d.written(1);
    d.acknowledged(1, false);
    assert_eq!(d.orders, [Order::Forget("gone".into())]);
    d.disconnected();
    assert_eq!(d.next(false), None);
}

#[test]
fn what_a_broker_refuses_is_counted_and_not_sent_for_ever() {
    let mut d = Delivery::new(10);
    push(&mut d, 1);
    d.next(false).unwrap();
    d.written(1);
    assert!(d.acknowledged(1, true));
    assert_eq!((d.pending(), d.acked, d.refused), (0, 0, 1));
}

#[test]
fn events_of_an_earlier_run_go_first_and_its_holes_are_passed() {
    // 3, 5 and 6 lie on the disk.
    let mut d = Delivery::durable(10, 3, 7, 3);
    push(&mut d, 7);
    assert_eq!((d.pending(), d.secured(), d.exposed()), (4, 0, 1));
    assert_eq!(d.next(false), None);
    assert_eq!(
        d.orders.iter().map(order_key).collect::<Vec<_>>(),
        [7, 3],
        "7 is written, those from 3 on are read"
    );
    let found = |n: u64| (n, Arc::new(message(n.to_be_bytes().to_vec())));
    d.stored(8);
    assert_eq!((d.secured(), d.exposed()), (1, 0));
    d.loaded(3, 7, vec![found(3), found(5), found(6)]);
    let sent: Vec<u64> = std::iter::from_fn(|| d.next(false))
        .map(|o| number(&o))
        .collect();
    assert_eq!(sent, [3, 5, 6, 7]);
    (1..=4).for_each(|pkid| {
        d.written(pkid);
        d.acknowledged(pkid, false);
    });
    assert_eq!((d.pending(), d.acked, d.idle()), (0, 4, true));
}

#[test]
fn a_replaced_outbox_loses_what_was_only_there() {
    let mut d = Delivery::durable(1000, 0, 0, 0);
    (0..600).for_each(|n| push(&mut d, n));
    d.stored(590);
    // 0 to 255 are sent soon, 590 to 599 are not written: the others are on the disk only.
    d.orders.clear();
    d.reset();
    assert_eq!((d.dropped, d.pending()), (334, 266));
    let again: Vec<u64> = d.orders.iter().map(order_key).collect();
    assert_eq!(again, (0..256).collect::<Vec<_>>());
    let mut sent = Vec::new();
    while d.pending() > 0 {
        while let Some(out) = d.next(false) {
            sent.push(number(&out));
        }
        for pkid in 0..=u16::try_from(IN_FLIGHT_LIMIT).unwrap() {
            d.written(pkid + 1);
            d.acknowledged(pkid + 1, false);
        }
    }
    assert_eq!(sent, (0..256).chain(590..600).collect::<Vec<_>>());
}

fn order_key(order: &Order) -> u64 {
    match order {
        Order::Insert(key, _) | Order::Remove(key) | Order::Load(key) => *key,
        Order::Forget(_) => panic!("no key"),
    }
}

#[derive(Debug, Clone)]
enum Op {
    Push(u8),
    Hand(u8),
    Write(u8),
    Ack(u16),
    Lose,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (1u8..40).prop_map(Op::Push),
        4 => (1u8..40).prop_map(Op::Hand),
        4 => (1u8..40).prop_map(Op::Write),
        4 => any::<u16>().prop_map(Op::Ack),
        1 => Just(Op::Lose),
    ]
}

/// A client and a broker, as far as delivery sees them.
#[derive(Default)]
struct World {
    handed: VecDeque<u64>,
    flying: Vec<(u16, u64)>,
    received: HashSet<u64>,
    order: Vec<u64>,
    pkid: u16,
}

impl World {
    fn hand(&mut self, d: &mut Delivery) -> bool {
        let next = d.next(false);
        self.handed.extend(next.as_ref().map(number));
        next.is_some()
    }

    fn write(&mut self, d: &mut Delivery) {
        if let Some(n) = self.handed.pop_front() {
            self.pkid = self.pkid % 1000 + 1;
            self.flying.push((self.pkid, n));
            self.received.insert(n);
            self.order.push(n);
            assert!(d.written(self.pkid));
        }
    }

    fn ack(&mut self, d: &mut Delivery, which: u16) {
        if !self.flying.is_empty() {
            let (pkid, _) = self.flying.remove(which as usize % self.flying.len());
            d.acknowledged(pkid, false);
        }
    }
}

/// A disk as far as delivery sees it: what it wrote stays, whatever becomes of the process.
#[derive(Default)]
struct Disk {
    rows: BTreeMap<u64, Arc<Message>>,
    waiting: Vec<Order>,
    below: u64,
}

impl Disk {
    /// Does all that it was told, and reports.
    fn commit(&mut self, d: &mut Delivery) {
        self.waiting.append(&mut d.orders);
        let mut load = None;
        for order in self.waiting.drain(..) {
            match order {
                Order::Insert(key, message) => {
                    self.below = self.below.max(key + 1);
                    self.rows.insert(key, message);
                }
                Order::Remove(key) => {
                    self.rows.remove(&key);
                }
                Order::Load(from) => load = Some(from),
                Order::Forget(_) => {}
            }
        }
        d.stored(self.below);
        if let Some(from) = load {
            let found: Vec<_> = self
                .rows
                .range(from..)
                .take(3)
                .map(|(k, m)| (*k, m.clone()))
                .collect();
            let below = found.last().map_or(self.below, |(key, _)| key + 1);
            d.loaded(from, below, found);
        }
    }

    /// The process was killed: what it was told but had not done is gone.
    fn restart(&mut self) -> Delivery {
        self.waiting.clear();
        let first = self.rows.keys().next().copied().unwrap_or(0);
        let end = self.rows.keys().last().map_or(0, |key| key + 1);
        self.below = end;
        Delivery::durable(100, first, end, self.rows.len() as u64)
    }
}

proptest! {
    #[test]
    fn what_was_secured_is_received_in_order_whatever_is_killed(
        ops in proptest::collection::vec((op(), any::<bool>(), 0u8..12), 0..200),
    ) {
        let (mut disk, mut world) = (Disk::default(), World::default());
        let mut d = disk.restart();
        // What each run pushed, and the numbers that it said were secured.
        let (mut pushed, mut of_run, mut secured) = (0, 0, Vec::new());
        for (op, commit, kill) in ops {
            match op {
                Op::Push(n) => for _ in 0..n {
                    push(&mut d, pushed);
                    pushed += 1;
                },
                Op::Hand(n) => for _ in 0..n { world.hand(&mut d); },
                Op::Write(n) => for _ in 0..n { world.write(&mut d); },
                Op::Ack(which) => world.ack(&mut d, which),
                Op::Lose => {
                    d.disconnected();
                    world.handed.clear();
                    world.flying.clear();
                }
            }
            if commit {
                disk.commit(&mut d);
            } else {
                disk.waiting.append(&mut d.orders);
            }
            if d.dropped == 0 && kill == 0 {
                secured.extend(of_run..of_run + d.secured());
                d = disk.restart();
                world.handed.clear();
                world.flying.clear();
                of_run = pushed;
            }
            if d.dropped > 0 {
                // No room in memory while the disk lags: told, and not what is looked at here.
                return Ok(());
            }
        }
        secured.extend(of_run..pushed);
        let mut rounds = 0;
        while d.pending() > 0 || !d.idle() {
            disk.commit(&mut d);
            world.hand(&mut d);
            world.write(&mut d);
            world.ack(&mut d, 0);
            rounds += 1;
            prop_assert!(rounds < 100_000, "stuck with {} pending", d.pending());
        }
        disk.commit(&mut d);
        prop_assert!(disk.rows.is_empty());
        for n in secured {
            prop_assert!(world.received.contains(&n), "{n} was secured and is lost");
        }
        let mut seen = HashSet::new();
        let firsts: Vec<u64> = world.order.iter().copied().filter(|n| seen.insert(*n)).collect();
        prop_assert!(firsts.is_sorted(), "{firsts:?}");
    }

    #[test]
    fn whatever_happens_every_event_is_received_or_counted_as_dropped(
        capacity in 1usize..200,
        ops in proptest::collection::vec(op(), 0..200),
    ) {
        let mut d = Delivery::new(capacity);
        let (mut world, mut pushed) = (World::default(), 0);
        for op in ops {
            match op {
                Op::Push(n) => for _ in 0..n {
                    push(&mut d, pushed);
                    pushed += 1;
                },
                Op::Hand(n) => for _ in 0..n { world.hand(&mut d); },
                Op::Write(n) => for _ in 0..n { world.write(&mut d); },
                Op::Ack(which) => world.ack(&mut d, which),
                Op::Lose => {
                    d.disconnected();
                    world.handed.clear();
                    world.flying.clear();
                }
            }
            prop_assert!(d.pending() <= capacity as u64);
            prop_assert!(world.handed.len() + world.flying.len() <= MAX_IN_FLIGHT);
            prop_assert_eq!(d.pending() + d.acked + d.dropped, pushed);
        }
        // The broker comes back for good: the rest drains.
        while d.pending() > 0 || !d.idle() {
            let progress = world.hand(&mut d) | !world.handed.is_empty() | !world.flying.is_empty();
            prop_assert!(progress, "stuck with {} pending", d.pending());
            world.write(&mut d);
            world.ack(&mut d, 0);
        }
        prop_assert_eq!(d.acked + d.dropped, pushed);
        let missing = (0..pushed).filter(|n| !world.received.contains(n)).count() as u64;
        prop_assert!(missing <= d.dropped, "{missing} missing, {} dropped", d.dropped);
        // The newest ones are never those that go.
        prop_assert!((pushed.saturating_sub(capacity as u64)..pushed).all(|n| world.received.contains(&n)));
    }
}
