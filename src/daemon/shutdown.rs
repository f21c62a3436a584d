//! Graceful shutdown, bounded by [`GRACE`].

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::rest_timer::Outcome;
use super::{Daemon, Event, OnExit, now};
use crate::coordinator::Action;
use crate::protocol::Command;

/// Longest time from the stop request to the end of the process.
pub const GRACE: Duration = Duration::from_millis(2500);

impl Daemon {
    pub(super) fn stop(mut self) {
        let deadline = Instant::now() + GRACE;
        self.is_draining = true;
        log::info!("stopping streams={}", self.running.len());
        self.api.stop();
        let command = match self.settings.on_exit {
            OnExit::Leave => Command::Leave,
            OnExit::Stop => Command::Close,
        };
        for running in self.running.values() {
            running.handle.command(command.clone());
        }
        // This waits up to a second for requests in progress; the streams end meanwhile.
        self.ingress.stop();
        // Streams get most of the time; their files and the snapshot need the rest.
        let streams_until = deadline - GRACE / 4;
        while !self.running.is_empty() {
            let left = streams_until.saturating_duration_since(Instant::now());
            match self.inbox.recv_timeout(left) {
                Some(Event::Ended(stream_id)) => self.ended(&stream_id),
                Some(event) => self.last_event(event),
                None if left.is_zero() => break,
                None => {}
            }
        }
        while let Some(event) = self.inbox.recv_timeout(Duration::ZERO) {
            self.last_event(event);
        }
        for (stream_id, running) in self.running.drain() {
            log::error!("stream did not end in time stream={stream_id}");
            drop(running);
        }
        // REST calls were aborted at the start of the shutdown, except the exchange of a refresh
        // token: its answer must be stored, or no later process can get a token.
        self.rest_timer.stop(deadline - GRACE / 8);
        if let Some(snapshot) = self.snapshot.take()
            && !snapshot.stop(&mut self.coordinator, deadline)
        {
            log::error!("the state could not be saved in time");
        }
        if let Some(disk) = self.disk.take()
            && !disk.stop(deadline)
        {
            log::error!("files could not be completed in time");
        }
        if let Some(stdout) = self.stdout.take() {
            let dropped = Arc::clone(stdout.dropped());
            stdout.stop(deadline.min(Instant::now() + Duration::from_millis(500)));
            let dropped = dropped.load(Relaxed);
            if dropped > 0 {
                log::warn!("dropped lines of standard output, reader too slow count={dropped}");
            }
        }
        if self.roots.join().is_err() {
            log::error!("the thread that reads the roots panicked");
        }
        log::info!("stopped");
    }

    /// Handles an event during the shutdown: what it changes is saved, and the next process acts on
    /// it. Only deletions and log lines are carried out now.
    fn last_event(&mut self, event: Event) {
        let actions = match event {
            Event::Accepted(accepted) => self.zoom_event(accepted),
            Event::Called(outcome) => {
                let Outcome { call, result, .. } = *outcome;
                let result = result.map_err(|error| error.failed_call());
                self.coordinator.handle_call(now(), &call, result)
            }
            // The caller may have stopped waiting.
            Event::Status(reply) => {
                let _ = reply.send(self.status());
                return;
            }
            Event::Heartbeat(reply) => {
                let _ = reply.send(self.heartbeat());
                return;
            }
            Event::Ended(_)
            | Event::SystemResumed
            | Event::Checkpoint
            | Event::Api(_)
            | Event::Reload(..)
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
