use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

fn push(delivery: &mut Delivery, n: u64) {
    assert!(delivery.push("t".into(), n.to_be_bytes().to_vec()));
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
    d.acknowledged(7);
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
    d.acknowledged(2); // out of order: leaves a hole
    d.acknowledged(1);
    d.acknowledged(4);
    d.disconnected();
    d.acknowledged(3); // of the old connection
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
    d.acknowledged(1); // no longer ours to count
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
        assert!(d.push("t".into(), vec![0; mib]));
    }
    assert!(d.pending() * mib <= MAX_BYTES);
    assert_eq!(d.pending() as u64 + d.dropped, 80);
    assert!(!d.push("t".into(), vec![0; super::super::MAX_PACKET]));
    assert_eq!(d.pending() as u64 + d.dropped, 80);
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
    let offered = (0..1000).take_while(|_| d.offer_window()).count();
    assert_eq!(offered, WINDOW_QUEUE);
    push(&mut d, 1);
    d.next(false).unwrap();
    assert!(d.written(5));
    for _ in 0..WINDOW_QUEUE {
        assert!(d.written(0));
    }
    assert!(!d.written(0));
    d.acknowledged(5);
    assert!(d.idle());
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
            assert!(d.written(self.pkid));
        }
    }

    fn ack(&mut self, d: &mut Delivery, which: u16) {
        if !self.flying.is_empty() {
            let (pkid, _) = self.flying.remove(which as usize % self.flying.len());
            d.acknowledged(pkid);
        }
    }
}

proptest! {
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
            prop_assert!(d.pending() <= capacity);
            prop_assert!(world.handed.len() + world.flying.len() <= MAX_IN_FLIGHT);
            prop_assert_eq!(d.pending() as u64 + d.acked + d.dropped, pushed);
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
