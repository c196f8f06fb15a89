use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::publish::GapReason;

fn window(first_sample: u64) -> Job {
    Job::Window(Window {
        first_sample,
        signal: vec![0.0; 100].into(),
        fbank: ndarray::Array2::zeros((0, 80)),
        new_samples: 10,
        captured: Instant::now(),
        run: 0,
    })
}

#[test]
fn a_live_stream_loses_its_own_oldest_windows_and_the_losses_keep_their_place() {
    let queue = Queue::new(2);
    queue.push(7, window(0), true);
    for i in 0..4 {
        queue.push(1, window(i * 10), true);
    }
    queue.close(false);
    let mut jobs = rest(&queue).into_iter();
    assert!(matches!(jobs.next(), Some((7, Job::Window(_)))));
    let Some((1, Job::Mark(lost))) = jobs.next() else {
        panic!("expected the loss")
    };
    assert_eq!(
        lost,
        Mark::Lost {
            samples: 20,
            at: 110,
            reason: GapReason::EngineBehind
        }
    );
    assert!(matches!(jobs.next(), Some((1, Job::Window(w))) if w.first_sample == 20));
    assert!(matches!(jobs.next(), Some((1, Job::Window(w))) if w.first_sample == 30));
    assert!(jobs.next().is_none());
}

#[test]
fn a_file_waits_for_a_place() {
    let queue = Arc::new(Queue::new(1));
    queue.push(0, window(0), false);
    let writer = std::thread::spawn({
        let queue = queue.clone();
        move || queue.push(0, window(10), false)
    });
    std::thread::sleep(Duration::from_millis(50));
    assert!(!writer.is_finished());
    let first = queue.take(&batching(1, 1, 0)).map(jobs);
    assert!(matches!(first.as_deref(), Some([(0, Job::Window(w))]) if w.first_sample == 0));
    assert!(writer.join().unwrap());
    let second = queue.take(&batching(1, 1, 0)).map(jobs);
    assert!(matches!(second.as_deref(), Some([(0, Job::Window(w))]) if w.first_sample == 10));
}

#[test]
fn closing_frees_a_waiting_writer_and_can_discard_what_waits() {
    let queue = Arc::new(Queue::new(1));
    queue.push(0, window(0), false);
    let writer = std::thread::spawn({
        let queue = queue.clone();
        move || queue.push(0, window(10), false)
    });
    std::thread::sleep(Duration::from_millis(20));
    queue.close(true);
    assert!(!writer.join().unwrap());
    let rest = rest(&queue);
    let [(0, Job::Mark(Mark::Lost { samples: 10, .. }))] = &rest[..] else {
        panic!("expected one loss, found {rest:?}")
    };
}

fn jobs(mut taken: Taken) -> Vec<(usize, Job)> {
    std::mem::take(&mut taken.jobs).into()
}

/// All that a closed queue still holds.
fn rest(queue: &Queue) -> Vec<(usize, Job)> {
    let take = || queue.take(&batching(1, 1, 0)).map(jobs);
    std::iter::from_fn(take).flatten().collect()
}

fn batching(most: usize, enough: usize, wait_ms: u64) -> Batching {
    Batching {
        most,
        enough,
        wait: Duration::from_millis(wait_ms),
        shared: None,
    }
}

/// Streams of what was taken; 100 more for a mark.
fn streams(taken: Option<Taken>) -> Vec<usize> {
    let number = |(stream, job)| match job {
        Job::Window(_) => stream,
        Job::Mark(_) => stream + 100,
    };
    taken.map(jobs).into_iter().flatten().map(number).collect()
}

#[test]
fn what_a_stream_says_next_waits_for_the_worker_that_has_the_stream_in_hand() {
    let queue = Arc::new(Queue::new(9));
    let one = batching(1, 1, 0);
    for stream in [0, 0, 1] {
        queue.push(stream, window(0), true);
    }
    queue.push(0, Job::Mark(Mark::Epoch(7)), true);
    let first = queue.take(&one);
    assert_eq!(streams(queue.take(&one)), [1], "another worker passes by");
    let second = std::thread::spawn({
        let queue = queue.clone();
        move || streams(queue.take(&batching(1, 1, 0)))
    });
    std::thread::sleep(Duration::from_millis(50));
    assert!(!second.is_finished());
    assert_eq!(streams(first), [0]);
    assert_eq!(second.join().unwrap(), [0, 100]);
    queue.close(false);
    assert!(queue.take(&one).is_none());
}

#[test]
fn a_worker_that_panics_leaves_its_streams_to_the_others() {
    let queue = Arc::new(Queue::new(9));
    queue.push(0, window(0), true);
    queue.push(0, window(10), true);
    let died = std::thread::spawn({
        let queue = queue.clone();
        move || {
            let _taken = queue.take(&batching(1, 1, 0));
            panic!("as a test");
        }
    });
    assert!(died.join().is_err());
    assert_eq!(streams(queue.take(&batching(1, 1, 0))), [0]);
}

#[test]
fn a_batch_is_a_piece_of_the_line_with_its_marks() {
    let queue = Queue::new(9);
    let mark = || Job::Mark(Mark::Epoch(7));
    queue.push(0, mark(), true);
    queue.push(0, window(0), true);
    queue.push(1, window(0), true);
    queue.push(1, mark(), true);
    queue.push(0, window(10), true);
    queue.push(2, mark(), true);
    let two = batching(2, 2, 60_000);
    assert_eq!(streams(queue.take(&two)), [100, 0, 1, 101]);
    // The third window's time has run since the first came; its mark follows it.
    let now = batching(2, 2, 0);
    assert_eq!(streams(queue.take(&now)), [0, 102]);
    // Nobody waits for windows when there is something to tell.
    queue.push(3, mark(), true);
    assert_eq!(streams(queue.take(&two)), [103]);
    queue.push(4, window(0), true);
    queue.close(false);
    assert_eq!(streams(queue.take(&two)), [4]);
    assert!(queue.take(&two).is_none());
}

#[test]
fn a_window_waits_for_others_no_longer_than_it_may() {
    let queue = Arc::new(Queue::new(9));
    queue.push(0, window(0), true);
    let began = Instant::now();
    assert_eq!(streams(queue.take(&batching(8, 8, 80))), [0]);
    let waited = began.elapsed();
    assert!(
        (Duration::from_millis(60)..Duration::from_millis(400)).contains(&waited),
        "{waited:?}"
    );
    // What has waited while the worker was busy waits no more.
    queue.push(0, window(0), true);
    std::thread::sleep(Duration::from_millis(100));
    let began = Instant::now();
    assert_eq!(streams(queue.take(&batching(8, 8, 80))), [0]);
    assert!(began.elapsed() < Duration::from_millis(60));
    // And nobody waits once enough are there.
    let late = std::thread::spawn({
        let queue = queue.clone();
        move || {
            std::thread::sleep(Duration::from_millis(50));
            queue.push(1, window(0), true)
        }
    });
    queue.push(0, window(0), true);
    let began = Instant::now();
    assert_eq!(streams(queue.take(&batching(8, 2, 10_000))), [0, 1]);
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(late.join().unwrap());
}

#[test]
fn what_is_discarded_is_one_loss_a_stream() {
    let queue = Queue::new(9);
    for i in 0..3 {
        queue.push(0, window(i * 10), false);
        queue.push(1, window(i * 10), false);
    }
    let epoch = Mark::Epoch(7);
    queue.push(1, Job::Mark(epoch.clone()), false);
    queue.push(1, window(0), false);
    queue.close(true);
    let lost = |samples, at| Mark::Lost {
        samples,
        at,
        reason: GapReason::EngineBehind,
    };
    let left: Vec<_> = rest(&queue)
        .into_iter()
        .map(|(stream, job)| match job {
            Job::Mark(mark) => (stream, mark),
            Job::Window(_) => panic!("a window is left"),
        })
        .collect();
    let expected = [
        (0, lost(30, 120)),
        (1, lost(30, 120)),
        (1, epoch),
        (1, lost(10, 100)),
    ];
    assert_eq!(left, expected);
}

#[test]
fn on_a_cpu_workers_share_what_waits_and_take_one_window_of_a_stream() {
    let queue = Queue::new(9);
    let shared = Batching {
        shared: Some(2),
        ..batching(4, 4, 0)
    };
    for stream in 0..3 {
        queue.push(stream, window(0), true);
    }
    let two = queue.take(&shared);
    assert_eq!(
        streams(queue.take(&shared)),
        [2],
        "the third is another worker's"
    );
    assert_eq!(streams(two), [0, 1]);
    // A second window of a stream, and what is told after it, come later.
    for at in [10, 20] {
        queue.push(0, window(at), true);
    }
    queue.push(0, Job::Mark(Mark::Epoch(1)), true);
    for stream in 1..9 {
        queue.push(stream, window(10), true);
    }
    assert_eq!(streams(queue.take(&shared)), [0, 1, 2, 3], "four at most");
    assert_eq!(streams(queue.take(&shared)), [0, 100, 4, 5]);
}
