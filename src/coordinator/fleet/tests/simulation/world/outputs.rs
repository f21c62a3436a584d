//! What a node's daemon does: it carries out what the machine wants, tells it what the coordinator has, and saves.

use super::super::super::super::*;
use super::super::process::Told;
use super::{CALLS_MAX, Happens, Node, World, ms, secs};
use crate::domain::severity::Severity;
use crate::domain::turn::Turn;

impl World {
    pub(super) fn save(&mut self, name: &str) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(name) else {
            return;
        };
        let Some(process) = &mut node.process else {
            return;
        };
        process.is_save_due = false;
        let mut saved = process.left.clone();
        for (meeting, entry) in &mut process.meetings {
            let epoch = process.machine.epoch(meeting).unwrap_or(0);
            assert!(
                epoch == 0 || epoch >= entry.epoch,
                "{name}: the epoch of {meeting} goes from {} to {epoch}",
                entry.epoch
            );
            entry.epoch = epoch;
            saved.insert(meeting.clone(), entry.clone());
        }
        node.disk.meetings = saved;
        for number in std::mem::take(&mut process.to_settle) {
            node.disk.intents.remove(&number);
        }
        let tickets = std::mem::take(&mut process.to_save);
        process.machine.handle_saved(now, &tickets);
        self.drain_outputs(name);
    }

    pub(super) fn save_soon(&mut self, name: &str) {
        let delay = ms(20 + self.random.below(100));
        if let Some(process) = self.process(name)
            && !std::mem::replace(&mut process.is_save_due, true)
        {
            self.after(delay, name, Happens::Save);
        }
    }

    pub(super) fn coordinate(&mut self, name: &str, told: &Told) {
        let (now, unix_ms) = (self.now, self.unix_ms());
        // The coordinator finds the meeting of a stream among its own.
        let Some(process) = self.process(name) else {
            return;
        };
        if process.coordinate(now, unix_ms, told) {
            process.machine.handle_newer_start(now, &told.stream);
        }
        for (stream, conn) in std::mem::take(&mut process.closing) {
            self.at(now + ms(20), "", 0, Happens::Missed { stream, conn });
        }
        if !told.meeting.is_empty() {
            self.state_changed(name, &told.meeting.clone());
        }
    }

    pub(super) fn state_changed(&mut self, name: &str, meeting: &str) {
        let now = self.now;
        let Some(process) = self.process(name) else {
            return;
        };
        let state = process.state(meeting);
        let streams: Vec<String> = state.streams.iter().map(|s| s.stream_id.clone()).collect();
        process.machine.meeting_is(now, state);
        for stream in streams {
            let due = self.process(name).and_then(|process| {
                let (_, stream) = process.stream_mut(&stream)?;
                (stream.phase != StreamPhase::Receiving && stream.connecting.is_none())
                    .then_some(stream.next_try)
            });
            if let Some(due) = due {
                let run = self.nodes[name].run;
                self.at(due, name, run, Happens::Try { stream });
            }
        }
        self.save_soon(name);
        self.drain_outputs(name);
    }

    /// Zoom closes another's connection.
    fn connect_events(&mut self, name: &str) {
        let of = |node: &Node| {
            let process = node.process.as_ref()?;
            process.machine.events.subscription.clone()
        };
        let (now, subscription) = (self.now, self.nodes.get(name).and_then(of));
        for (key, node) in &mut self.nodes {
            if of(node) == subscription
                && let Some(process) = &mut node.process
            {
                process.machine.set_events_state(now, key == name, false);
            }
        }
    }

    pub(super) fn drain_outputs(&mut self, name: &str) {
        while let Some(output) = self.process(name).and_then(|p| p.machine.poll_output()) {
            self.output(name, output);
        }
        self.wake(name);
    }

    pub(super) fn output(&mut self, name: &str, output: Output) {
        let now = self.now;
        if !matches!(output, Output::Call(..) | Output::Permit { .. }) {
            self.note(|| format!("{name}: {output:?}"));
        }
        match output {
            Output::Call(id, call) => self.called(name, id, call),
            Output::Deliver { number } => {
                let body = self.nodes[name].disk.intents.get(&number).cloned();
                if let Some(told) = body.and_then(|body| Told::parse(&body)) {
                    self.coordinate(name, &told);
                }
            }
            Output::DeliverQueued { ticket, body } => {
                if let Some(told) = Told::parse(&body) {
                    self.coordinate(name, &told);
                }
                if let Some(process) = self.process(name) {
                    process.to_save.push(ticket);
                }
                self.save_soon(name);
            }
            Output::Settle { number } => {
                if let Some(process) = self.process(name) {
                    process.to_settle.insert(number);
                }
                self.save_soon(name);
            }
            Output::Events {
                turn,
                replaces,
                elsewhere,
            } => {
                if let Some(process) = self.process(name) {
                    process.turn = turn;
                    process.events_told.push((turn, replaces, elsewhere));
                }
                if turn == Turn::Ours {
                    self.connect_events(name);
                }
            }
            Output::Adopt(adoption) => {
                if let Some(process) = self.process(name) {
                    let entry = process
                        .meetings
                        .entry(adoption.meeting.clone())
                        .or_default();
                    entry.adopt(now, &adoption.entry, adoption.window);
                }
                self.state_changed(name, &adoption.meeting.clone());
            }
            Output::Resume { meeting } => {
                if let Some(process) = self.process(name) {
                    process.resume(now, &meeting);
                }
                self.state_changed(name, &meeting);
            }
            Output::GiveUp {
                meeting,
                streams,
                is_all,
                ..
            } => {
                self.give_up(name, &meeting, &streams, is_all);
            }
            Output::Release { meeting, heir } => {
                self.after(self.closing, name, Happens::Released { meeting, heir });
            }
            Output::Permit { until } => {
                assert!(until <= now + secs(4), "a permit that outlives its beat");
                if let Some(process) = self.process(name) {
                    process.permit = Some(until);
                    if until > now {
                        process.forget_once();
                    }
                }
            }
            Output::Once { stream_id } => {
                let process = self.process(name).expect("it has just said so");
                assert!(
                    process.permit.is_none_or(|until| now >= until),
                    "a try beside the permit"
                );
                if let Some((_, stream)) = process.stream_mut(&stream_id) {
                    stream.has_once = true;
                    if stream.connecting.is_none() {
                        let run = self.nodes[name].run;
                        self.at(now, name, run, Happens::Try { stream: stream_id });
                    }
                }
            }
            Output::Discard {
                ticket, stream_id, ..
            } => {
                if let Some(process) = self.process(name) {
                    process.discarded.insert(stream_id);
                    process.to_save.push(ticket);
                }
                self.save_soon(name);
            }
            Output::Took(took, time) => {
                if let Some(process) = self.process(name) {
                    process.took.push((took, time));
                }
            }
            Output::RolledBack => {
                if let Some(process) = self.process(name) {
                    process.rolled_back += 1;
                }
            }
            Output::Log(severity, text) => {
                if severity > Severity::Debug
                    && let Some(process) = self.process(name)
                {
                    process.logs.push((now, text));
                }
            }
            Output::Exit(_, text) => {
                self.kill(name);
                if let Some(node) = self.nodes.get_mut(name) {
                    node.exits.push(text);
                }
            }
            Output::Drained => {
                let conns = self.end_process(name);
                assert!(conns.is_empty(), "{name} leaves with {conns:?}");
            }
        }
    }

    pub(super) fn called(&mut self, name: &str, id: CallId, call: Call) {
        let now = self.now;
        let second = (now - self.began).as_secs();
        self.calls.0 = if self.calls.1 == second {
            self.calls.0 + 1
        } else {
            0
        };
        self.calls.1 = second;
        assert!(
            self.calls.0 < CALLS_MAX,
            "{name} asks again and again: {call:?}"
        );
        // One connection: questions arrive in their order.
        let arrives = now + ms(self.random.below(3));
        let node = self.nodes.get_mut(name).expect("it has just said so");
        node.asks_at = node.asks_at.max(Some(arrives));
        let (at, run) = (node.asks_at.unwrap_or(arrives), node.run);
        self.at(
            at,
            name,
            run,
            Happens::Asked {
                id,
                call,
                sent: now,
            },
        );
    }

    pub(super) fn give_up(&mut self, name: &str, meeting: &str, streams: &[String], is_all: bool) {
        let process = self.process(name).expect("it has just said so");
        let newer = process.newer.get(meeting).cloned();
        let epoch = process.machine.epoch(meeting);
        match process.left.get_mut(meeting) {
            Some(left) if !is_all => left.streams.retain(|id, _| !streams.contains(id)),
            _ => {
                process.left.remove(meeting);
            }
        }
        let Some(entry) = process.meetings.get_mut(meeting) else {
            return;
        };
        let mut closed = Vec::new();
        for id in streams {
            let Some(stream) = entry.streams.remove(id) else {
                continue;
            };
            if stream.phase == StreamPhase::Receiving {
                let record = newer
                    .as_ref()
                    .expect("no node has said that it is another's");
                let theirs = record.streams.iter().find(|(theirs, _)| theirs == id);
                assert!(
                    theirs.is_some_and(|(_, phase)| *phase == StreamPhase::Receiving)
                        && epoch.is_none_or(|epoch| record.epoch > epoch),
                    "{name} closes {id}, which it receives under {epoch:?}, for {record:?}"
                );
            }
            closed.extend(
                [stream.conn, stream.connecting]
                    .into_iter()
                    .flatten()
                    .map(|c| (id.clone(), c)),
            );
        }
        if is_all {
            entry.is_live = false;
            assert!(entry.streams.is_empty(), "{name} has more than it gives up");
            process.meetings.remove(meeting);
        }
        process.entries.remove(meeting);
        for (stream, conn) in closed {
            self.at(self.now + ms(20), "", 0, Happens::Missed { stream, conn });
        }
        if is_all {
            self.save_soon(name);
        } else {
            self.state_changed(name, meeting);
        }
    }

    /// The sockets are closed for the heir.
    pub(super) fn released(&mut self, name: &str, meeting: &str, _heir: &str) {
        let now = self.now;
        let Some(process) = self.process(name) else {
            return;
        };
        let Some(entry) = process.meetings.get_mut(meeting) else {
            return;
        };
        let mut closed = Vec::new();
        let parcel = entry.pack();
        for (id, stream) in &mut entry.streams {
            closed.extend(
                [stream.conn.take(), stream.connecting.take()]
                    .into_iter()
                    .flatten()
                    .map(|c| (id.clone(), c)),
            );
            stream.phase = StreamPhase::Lost;
            // It does not connect again.
            stream.next_try = now + secs(1000);
        }
        let tails = entry
            .streams
            .keys()
            .map(|id| (id.clone(), vec![0; 8]))
            .collect();
        process.machine.handle_released(now, meeting, parcel, tails);
        for (stream, conn) in closed {
            self.at(now + ms(20), "", 0, Happens::Missed { stream, conn });
        }
        self.drain_outputs(name);
    }
}
