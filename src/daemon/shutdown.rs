//! The shutdown sequence: what is written, synced and waited for, in which order and for how long.
//! Everything that depends on these times (the unit's `TimeoutStopSec`, `rtmsd check`, the manual) takes
//! them from here.
//!
//! Everything received is written first; only then is each file system synced, once. Data that is not
//! written is lost when the process ends; data that is not synced is lost only in a power cut.
//!
//! | step | what happens | until, from the signal on |
//! | --- | --- | --- |
//! | 1 | No new REST call is made, and running calls are aborted. Exception: an exchange of the refresh token that has begun is completed, and the token is stored. | see step 4 |
//! | 2 | Each stream is told to leave, or to end at Zoom (`RTMS_ON_EXIT`). It reads what its sockets hold, hands it to the disk thread and to standard output, and ends. | [`STREAMS_MAX`] for Zoom's answer, then a stream leaves; [`LEAVE_MAX`] for one that still reads what has arrived |
//! | 2a | Uploads are cut off and hooks get SIGTERM; the next process does both again. | SIGKILL shortly before [`GRACE`] |
//! | 3 | The listeners close; requests that have begun are answered. | 1 s, while streams end |
//! | 4 | The refresh token is stored. Requests of HTTP push that have begun are answered or cut off, and its progress is written. | [`CALLS_MAX`] |
//! | 5 | The disk thread, which wrote during all of this, writes the rest. Where the disk refuses, it tries again. | [`WRITE_MAX`] |
//! | 6 | Meanwhile the state that a restart needs is written and synced under `RTMS_STATE`, | [`WRITE_MAX`] |
//! | 7 | and lines of standard output are written. | [`STDOUT_MAX`] after step 6 |
//! | 8 | Records that are still not written are lost: they are counted in the log, and as `dropped` in `meta.json` where that can be written. | |
//! | 9 | One syncfs(2) for each file system with recordings. Streams that are left to the next process need no other. Those that have ended get their last `meta.json` now that their files are safe, and its name is synced by another syncfs(2). | [`GRACE`], or [`SYNC_MIN`] after the last write if that is later |
//!
//! In a fleet with `RTMS_ON_EXIT=hand-over` each stream is given to another node before all of this, for
//! [`HAND_OVER_MAX`] at most. The steps then begin when the hand-over is over, and some times are shorter
//! ([`Limits::AFTER_HAND_OVER`]): few streams are left, and a disk that refuses has been tried all the while.
//!
//! With a working disk, the shutdown takes much less than [`GRACE`]. In any case it is complete before
//! [`stop_timeout`], when the service manager kills the process.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::rest_timer::Outcome;
use super::{Daemon, Event, OnExit, now};
use crate::coordinator::Action;
use crate::protocol::Command;
use crate::recorder::disk::{StopReport, StopTimes};
use crate::source::events::SourceReport;

/// Maximum time of the shutdown if everything can be written.
pub const GRACE: Duration = Duration::from_millis(2500);

/// Maximum time for streams to end at Zoom.
const STREAMS_MAX: Duration = Duration::from_millis(1600);

/// A stream that leaves needs no answer, but reads first what has arrived: on a busy machine with much to
/// read it has until then.
const LEAVE_MAX: Duration = Duration::from_secs(12);

/// Maximum wait for a running exchange of a refresh token, and for requests of HTTP push.
const CALLS_MAX: Duration = Duration::from_millis(2200);

/// A reader of standard output that is slower than this loses the last lines.
const STDOUT_MAX: Duration = Duration::from_millis(500);

/// After the last file, `ends.json` is written within this time.
const ENDS_MAX: Duration = Duration::from_millis(500);

/// Maximum time for attempts to write received data. Zoom keeps the streams for a minute; the rest of
/// that minute is for the next process.
const WRITE_MAX: Duration = Duration::from_secs(15);

/// Minimum time for syncing, however late the last write was.
const SYNC_MIN: Duration = Duration::from_secs(2);

/// When the process may be killed, if no stream is handed over: more than all other times here.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// Maximum time of a hand-over: other nodes get streams until then; the rest stays open at Zoom.
pub const HAND_OVER_MAX: Duration = Duration::from_secs(30);

/// When the process may be killed, if its streams are handed over first. `TimeoutStopSec` of the unit, which
/// does not know what is configured.
pub const HAND_OVER_STOP_TIMEOUT: Duration = Duration::from_secs(45);

/// When the process may be killed, with these settings.
pub const fn stop_timeout(on_exit: OnExit) -> Duration {
    match on_exit {
        OnExit::Leave | OnExit::Stop => STOP_TIMEOUT,
        OnExit::HandOver => HAND_OVER_STOP_TIMEOUT,
    }
}

/// The times that are shorter after a hand-over.
struct Limits {
    /// For a stream that still reads what has arrived.
    leave: Duration,
    /// For attempts to write received data.
    write: Duration,
}

impl Limits {
    const USUAL: Limits = Limits {
        leave: LEAVE_MAX,
        write: WRITE_MAX,
    };
    const AFTER_HAND_OVER: Limits = Limits {
        leave: Duration::from_secs(8),
        write: Duration::from_secs(10),
    };

    /// What is left to be done after the last write, at most.
    const fn complete(&self) -> u128 {
        self.write.as_millis() + SYNC_MIN.as_millis() + ENDS_MAX.as_millis() + GRACE.as_millis()
    }

    const fn of(on_exit: OnExit) -> Limits {
        match on_exit {
            OnExit::Leave | OnExit::Stop => Limits::USUAL,
            OnExit::HandOver => Limits::AFTER_HAND_OVER,
        }
    }
}

const _: () = assert!(
    Limits::USUAL.leave.as_millis() < Limits::USUAL.write.as_millis()
        && Limits::AFTER_HAND_OVER.leave.as_millis() < Limits::AFTER_HAND_OVER.write.as_millis(),
    "what streams read last is still written"
);

const _: () = assert!(
    Limits::USUAL.complete() <= STOP_TIMEOUT.as_millis()
        && HAND_OVER_MAX.as_millis() + Limits::AFTER_HAND_OVER.complete()
            <= HAND_OVER_STOP_TIMEOUT.as_millis(),
    "the shutdown is complete before the process is killed"
);

impl Daemon {
    pub(super) fn stop(mut self) {
        let signal = Instant::now();
        let limits = Limits::of(self.settings.on_exit);
        self.is_draining = true;
        log::info!("stopping streams={}", self.running.len());
        self.api.stop();
        self.end_fleet();
        if let Some(events) = self.events.take() {
            events.begin_stop();
            self.ended_events.push(events);
        }
        if let Some(push) = &self.push {
            push.begin_stop();
        }
        if let Some(keeping) = &self.keeping {
            keeping.begin_stop();
        }
        self.command_all(match self.settings.on_exit {
            OnExit::Leave | OnExit::HandOver => &Command::Leave,
            OnExit::Stop => &Command::Close,
        });
        self.ends.begin_stop(signal + GRACE);
        // Waits up to a second for requests that have begun; meanwhile the streams end.
        self.ingress.stop();
        for events in std::mem::take(&mut self.ended_events) {
            if !events.stop(signal + STREAMS_MAX) {
                log::error!("the event WebSocket could not be closed in time");
            }
        }
        self.await_streams(signal + STREAMS_MAX);
        if !self.running.is_empty() {
            self.command_all(&Command::Leave);
            self.await_streams(signal + limits.leave);
        }
        while let Some(event) = self.inbox.recv_timeout(Duration::ZERO) {
            self.last_event(event);
        }
        for (stream_id, running) in self.running.drain() {
            log::error!("stream did not end in time stream={stream_id}");
            drop(running);
        }
        if !self.forgetting.stop(signal + CALLS_MAX) {
            log::error!("forgetting could not pause in time; the next process goes on");
        }
        // The answer must be stored, or no later process can get a token.
        self.rest_timer.stop(signal + CALLS_MAX);
        let disk = self.disk.take().map(|disk| {
            disk.stop(StopTimes {
                write_until: signal + limits.write,
                sync_until: signal + GRACE,
                sync_min: SYNC_MIN,
            })
        });
        // What it began is completed by the next process.
        if let Some(keeping) = self.keeping.take()
            && !keeping.stop(signal + CALLS_MAX)
        {
            log::error!("the removal of recordings could not be stopped in time");
        }
        if let Some(push) = self.push.take()
            && !push.stop(signal + CALLS_MAX)
        {
            log::error!("push could not end in time; events may come again");
        }
        if let Some(snapshot) = self.snapshot.take()
            && !snapshot.stop(&mut self.coordinator, signal + limits.write)
        {
            log::error!("the state could not be saved in time");
        }
        // If others use it, they end it.
        if let Some(stdout) = self.stdout.take().and_then(Arc::into_inner) {
            let dropped = Arc::clone(stdout.dropped());
            stdout.stop(Instant::now() + STDOUT_MAX);
            let dropped = dropped.load(Relaxed);
            if dropped > 0 {
                log::warn!("dropped lines of standard output, reader too slow count={dropped}");
            }
        }
        if let Some(disk) = disk {
            report(disk.wait());
        }
        // Nothing more will be announced. Hooks were killed within the grace.
        if !self
            .ends
            .stop((signal + GRACE).max(Instant::now() + ENDS_MAX))
        {
            log::error!("an upload or a hook could not be ended in time");
        }
        let roots = self.roots.take().map(std::thread::JoinHandle::join);
        if roots.is_some_and(|ended| ended.is_err()) {
            log::error!("the thread that reads the roots panicked");
        }
        log::info!("stopped");
    }

    fn command_all(&self, command: &Command) {
        for running in self.running.values() {
            running.handle.command(command.clone());
        }
    }

    fn await_streams(&mut self, until: Instant) {
        while !self.running.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            match self.inbox.recv_timeout(left) {
                Some(Event::Ended(stream_id)) => self.ended(&stream_id),
                Some(event) => self.last_event(event),
                None if left.is_zero() => break,
                None => {}
            }
        }
    }

    /// Webhooks that were answered before the end are not lost: their changes are saved, and the next
    /// process acts on them. Only deletions are done at once.
    fn last_event(&mut self, event: Event) {
        let actions = match event {
            Event::Accepted(accepted) => self.zoom_event(accepted),
            Event::Events(SourceReport::Heard { ms }) => {
                self.coordinator.events_heard(ms);
                return;
            }
            Event::Called(outcome) => {
                let Outcome { call, result, .. } = *outcome;
                let result = result.map_err(|error| error.failed_call());
                self.coordinator.handle_call(now(), &call, result)
            }
            // The caller may have stopped waiting.
            Event::Output(reply) => {
                let _ = reply.send(self.output());
                return;
            }
            Event::Status(reply) => {
                let _ = reply.send(self.status());
                return;
            }
            Event::Heartbeat(reply) => {
                let _ = reply.send(self.heartbeat());
                return;
            }
            Event::Forgetting(ask) => {
                self.forgetting_asks(*ask);
                return;
            }
            // Nothing of the store counts any more; what waits in it is for the next process.
            #[cfg(feature = "fleet")]
            Event::Fleet(_) => return,
            Event::Ended(_)
            | Event::Events(SourceReport::GapOver { .. })
            | Event::Authorized
            | Event::SystemResumed
            | Event::Checkpoint
            | Event::Api(_)
            | Event::Push(_)
            | Event::Keeping(_)
            | Event::Reload(..)
            | Event::DiskPanicked
            | Event::Leave
            | Event::Stop => return,
        };
        let is_last = |action: &Action| {
            matches!(
                action,
                Action::Discard(_) | Action::Deauthorized { .. } | Action::Log(..)
            )
        };
        self.apply(actions.into_iter().filter(is_last).collect());
    }
}

/// Logs what was lost, or may be.
fn report(files: StopReport) {
    if files.lost_records > 0 {
        log::error!(
            "received data could not be written and is lost records={} bytes={}; free or repair the disk \
             under RTMS_OUT",
            files.lost_records,
            files.lost_bytes
        );
    } else if !files.is_finished {
        log::error!(
            "files could not be completed in time; the disk under RTMS_OUT does not answer"
        );
    } else if !files.is_synced {
        log::warn!(
            "files are written but not synced: the disk under RTMS_OUT did not answer in time, and a \
             power cut may take what was written last"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manual;

    #[test]
    fn the_manual_gives_the_times_of_the_protocol() {
        let text = manual::chapter("operating").expect("a chapter");
        let section = text.split("\n## ").find(|part| part.starts_with("Stop\n"));
        let section = section.expect("it has a section about the end");
        for (what, time) in [
            ("Zoom has", STREAMS_MAX),
            ("within", GRACE),
            ("for up to", WRITE_MAX),
            ("ends in", STOP_TIMEOUT),
            ("tries again for up to", HAND_OVER_MAX),
            ("tries again for", Limits::AFTER_HAND_OVER.write),
            ("`TimeoutStopSec` of the unit is", HAND_OVER_STOP_TIMEOUT),
        ] {
            let said = format!("{what} {} s", time.as_secs_f64());
            let words = section.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(words.contains(&said), "{said}");
        }
        let containers = manual::chapter("containers").expect("a chapter");
        let stop = STOP_TIMEOUT.as_secs();
        for said in [
            format!("stop_grace_period: {stop}s"),
            format!("terminationGracePeriodSeconds: {stop}"),
            format!("in a fleet {} s", HAND_OVER_STOP_TIMEOUT.as_secs()),
            format!("After {stop} s the server has ended"),
        ] {
            let words = containers.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(words.contains(&said), "{said}");
        }
    }
}
