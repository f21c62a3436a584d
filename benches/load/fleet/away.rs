//! The store restarts, is killed, stands still, and comes back empty, while meetings begin and end.

use std::time::{Duration, Instant};

use rtmsd::demo::Step;
use rustix::process::Signal;

use super::rig::{BOTH, Rig, Talk, at_share};
use super::streams_a_node;
use crate::number;
use crate::table::{Goal, Table};

/// How often a meeting begins.
const NEXT: Duration = Duration::from_millis(200);
/// How long a store is away that is killed.
const DOWN: Duration = Duration::from_secs(8);
/// Afterwards: until nodes judge each other again, and more.
const AFTER: Duration = Duration::from_secs(10);

/// What happens to the store.
#[derive(Debug, Clone, Copy)]
enum Trouble {
    Restarted,
    Killed,
    Stopped,
    Emptied,
}

impl Trouble {
    const ALL: [Trouble; 4] = [
        Trouble::Restarted,
        Trouble::Killed,
        Trouble::Stopped,
        Trouble::Emptied,
    ];

    fn name(self) -> &'static str {
        match self {
            Trouble::Restarted => "restarted",
            Trouble::Killed => "killed",
            Trouble::Stopped => "stopped",
            Trouble::Emptied => "emptied",
        }
    }

    /// Makes it happen, and undoes it when `wait` has waited.
    fn play(self, rig: &mut Rig, mut wait: impl FnMut(&Rig, Duration)) {
        match self {
            Trouble::Restarted => rig.store.end(Signal::TERM),
            Trouble::Killed | Trouble::Emptied => rig.store.end(Signal::KILL),
            Trouble::Stopped => rig.store.signal(Signal::STOP),
        }
        match self {
            Trouble::Restarted => {}
            Trouble::Killed | Trouble::Emptied => wait(rig, DOWN),
            Trouble::Stopped => {
                let seconds = number("RTMSD_BENCH_AWAY", 20);
                wait(rig, Duration::from_secs(seconds));
            }
        }
        match self {
            Trouble::Restarted | Trouble::Killed => rig.store.run(),
            Trouble::Stopped => rig.store.signal(Signal::CONT),
            Trouble::Emptied => {
                rig.store.forget();
                rig.store.run();
            }
        }
        wait(rig, AFTER);
    }
}

pub(super) fn away(table: &Table) {
    let Some(mut rig) = Rig::start(3) else { return };
    let talks = rig.speak("away", 3 * streams_a_node(), 1.0);
    std::thread::park_timeout(AFTER);
    let mut newcomers: Vec<Talk> = Vec::new();
    for trouble in Trouble::ALL {
        let (begun, known) = (Instant::now(), rig.zoom.deliveries().len());
        trouble.play(&mut rig, |rig, time| {
            let until = Instant::now() + time;
            while Instant::now() < until {
                let n = newcomers.len();
                let seed = format!("newcomer {n}");
                newcomers.push(rig.begin(&seed, BOTH[n % 2], 5.0));
                std::thread::park_timeout(NEXT);
            }
        });
        let is_dropped = |talk: &&Talk| talk.after(begun, Step::Lost).is_some();
        let dropped = talks.iter().filter(is_dropped).count();
        let row = |what: &str| format!("fleet: store {}, {what}", trouble.name());
        table.row(&row("streams dropped"), dropped as f64, 0, Goal::Most(0.0));
        let deliveries = rig.zoom.deliveries().split_off(known);
        let bad = deliveries.iter().filter(|it| !it.is_accepted()).count();
        table.row(&row("webhooks refused"), bad as f64, 0, Goal::Most(0.0));
        let taken = deliveries.iter().map(|it| it.taken.as_secs_f64() * 1e3);
        let p99 = at_share(&mut taken.collect::<Vec<f64>>(), 0.99);
        table.row(&row("webhook p99, ms"), p99, 1, Goal::Most(50.0));
    }
    newcomers.iter().for_each(Talk::wait_until_received);
    let comparison = rig.end(&talks).plus(&rig.end(&newcomers));
    let (lost, doubled) = (comparison.lost as f64, comparison.doubled as f64);
    table.row("fleet: store, streams", talks.len() as f64, 0, Goal::None);
    table.row(
        "fleet: store, begun meanwhile",
        newcomers.len() as f64,
        0,
        Goal::None,
    );
    table.row("fleet: store, phrases lost", lost, 0, Goal::Most(0.0));
    table.row("fleet: store, phrases double", doubled, 0, Goal::Most(0.0));
    rig.stop();
}
