//! Webhooks that reach a node which does not have their meeting: until they are answered, and until the node
//! that has it acts.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rtmsd::demo::{Fault, Step};

use super::rig::{Rig, Talk, at_share};
use crate::MINUTE;
use crate::table::{Goal, Table};

/// Webhooks, and how many of them are on their way at one time.
const WEBHOOKS: usize = 1000;
const AT_ONCE: usize = 64;
/// Streams that are followed, one after the other.
const STREAMS: usize = 300;

pub(super) fn webhooks(table: &Table) {
    let Some(rig) = Rig::start(3) else { return };
    let talks = rig.speak("webhooks", STREAMS, 1.0);
    std::thread::park_timeout(Duration::from_secs(5));
    for (what, pace) in [
        ("in a second", Duration::from_millis(1)),
        ("at once", Duration::ZERO),
    ] {
        let (nodes, zoom, begun) = (rig.usage(), Rig::zoom_cpu(), Instant::now());
        let mut routed = routed(&rig, &talks, pace);
        let row = |of: &str| format!("fleet: {WEBHOOKS} webhooks {what}, {of}");
        let p50 = at_share(&mut routed, 0.5);
        table.row(&row("p50, ms"), p50, 1, Goal::None);
        let p99 = at_share(&mut routed, 0.99);
        table.row(&row("p99, ms"), p99, 1, Goal::Most(15.0));
        let share = |seconds: f64| 100.0 * seconds / begun.elapsed().as_secs_f64();
        let nodes = share(rig.usage().since(&nodes).cpu_seconds);
        table.row(&row("CPU of nodes, %"), nodes, 0, Goal::None);
        let zoom = share(Rig::zoom_cpu() - zoom);
        table.row(&row("CPU of Zoom, %"), zoom, 0, Goal::None);
        std::thread::park_timeout(Duration::from_secs(2));
    }
    // All of them are where they belong.
    std::thread::park_timeout(Duration::from_secs(5));
    let owners = rig.owners(&talks);
    let mut direct = moved(&rig, &talks, &owners, 0);
    let mut queued = moved(&rig, &talks, &owners, 1);
    rig.post_to_all();
    for (what, share, goal) in [("p50", 0.5, Goal::None), ("p99", 0.99, Goal::Most(10.0))] {
        // With the same connect in both.
        let direct = at_share(&mut direct, share);
        let row = format!("fleet: followed by its node, {what}, ms");
        table.row(&row, direct, 2, Goal::None);
        let row = format!("fleet: followed by the queue, {what}, ms");
        table.row(&row, at_share(&mut queued, share), 2, goal);
    }
    rig.end(&talks);
    rig.stop();
}

/// Milliseconds of each of a thousand webhooks, one due after the other.
fn routed(rig: &Rig, talks: &[Talk], pace: Duration) -> Vec<f64> {
    let known = rig.zoom.deliveries().len();
    let begun = Instant::now();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Relaxed);
                    if n >= WEBHOOKS {
                        return;
                    }
                    let due = begun + pace * n as u32;
                    while let Some(left) = due.checked_duration_since(Instant::now()) {
                        std::thread::park_timeout(left);
                    }
                    let answer = talks[n % talks.len()].handle.repeat_started();
                    assert!(answer.is_some_and(|it| it.is_accepted()), "it is taken");
                }
            });
        }
    });
    let deliveries = rig.zoom.deliveries().split_off(known);
    deliveries
        .iter()
        .map(|it| it.taken.as_secs_f64() * 1e3)
        .collect()
}

/// Zoom's server fails over: it announces each stream again with a newer URL, to a node so many after the one that
/// has the meeting. Milliseconds from the answer until that node has connected to the new URL.
fn moved(rig: &Rig, talks: &[Talk], owners: &[usize], beyond: usize) -> Vec<f64> {
    let mut took = Vec::new();
    for (talk, owner) in talks.iter().zip(owners) {
        rig.post_to_node((owner + beyond) % 3);
        let asked = Instant::now();
        let steps = [Step::SignalingConnected, Step::StartedAnswered];
        let counts = steps.map(|step| talk.handle.count(step));
        let is_told = talk.handle.fault(Fault::FailOver { cut: false });
        assert!(is_told, "it runs");
        for (step, count) in steps.into_iter().zip(counts) {
            let is_there = talk.handle.wait_for_times(step, count + 1, MINUTE);
            assert!(is_there, "it is followed: {:?}", talk.handle.steps());
        }
        let answered = talk.after(asked, Step::StartedAnswered).unwrap_or(asked);
        let connected = talk.after(asked, Step::SignalingConnected).unwrap_or(asked);
        took.push(connected.saturating_duration_since(answered).as_secs_f64() * 1e3);
    }
    took
}
