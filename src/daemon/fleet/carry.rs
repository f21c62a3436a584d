//! Carries out what the machine wants.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::Fleet;
use crate::clock::now_ms;
use crate::coordinator::Action;
use crate::coordinator::fleet::{About, Adoption, Call, CallId, Exit, NodeState, Output, Reply};
use crate::daemon::actions::log_level;
use crate::daemon::{Daemon, Ending, now};
use crate::domain::product::Product;
use crate::domain::stream_info::Withdrawal;
use crate::domain::zoom_event::{StreamStopped, ZoomEvent, ZoomEventKind};
use crate::protocol::codes::StopReason;
use crate::source::webhook::desk::Accepted;
use crate::source::webhook::payload;
use crate::stream::permit::boot_time;

/// The stream that this begins on Zoom's word, or moves to another server.
fn newer_start(action: &Action) -> Option<&String> {
    match action {
        Action::Start(plan) => Some(&plan.info.stream_id),
        Action::FailOver { stream_id, .. } => Some(stream_id),
        _ => None,
    }
}

/// What another node needs to delete a stream.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Told {
    product: Option<Product>,
    #[serde(default)]
    id: Option<String>,
}

impl Daemon {
    /// Carries out everything that the machine wants now.
    pub(super) fn carry_out(&mut self) {
        while let Some(output) = self.fleet.as_mut().and_then(|it| it.machine.poll_output()) {
            self.carry_out_one(output);
        }
        if let Some(fleet) = &mut self.fleet {
            fleet.go_on_reading();
            let is_ready = fleet.is_ready();
            fleet.is_ready.store(is_ready, Relaxed);
        }
    }

    fn carry_out_one(&mut self, output: Output) {
        match output {
            Output::Call(id, call) => {
                if let Some(fleet) = &mut self.fleet {
                    fleet.ask(id, call);
                }
            }
            Output::Deliver { number } => self.deliver(number),
            Output::DeliverQueued { ticket, body } => self.deliver_queued(ticket, &body),
            Output::Settle { number } => self.settle(number),
            Output::Adopt(adoption) => self.adopt(*adoption),
            Output::Resume { meeting } => {
                self.note_epoch(&meeting);
                let actions = self.coordinator.resume_meeting(now(), &meeting);
                self.apply(actions);
                self.report(&meeting, true);
            }
            Output::GiveUp {
                meeting,
                streams,
                is_all,
                heir,
            } => self.give_up(&meeting, &streams, is_all, heir),
            Output::Release { meeting, heir } => {
                log::info!("handing over meeting={meeting} node={heir}");
                let actions = self.coordinator.release(&meeting, Some(&heir));
                if let Some(fleet) = &mut self.fleet {
                    fleet.releasing.insert(meeting);
                }
                self.apply(actions);
                self.tell_released();
            }
            Output::Permit { until } => {
                if let Some(fleet) = &mut self.fleet {
                    fleet.permit(until);
                }
            }
            Output::Once { stream_id } => {
                if let Some(running) = self.running.get(&stream_id) {
                    running.handle.permit_once();
                } else if let Some(fleet) = &mut self.fleet {
                    fleet.once.insert(stream_id);
                }
            }
            Output::Discard {
                ticket,
                stream_id,
                withdrawal,
            } => self.discard(ticket, stream_id, &withdrawal),
            Output::Events {
                turn,
                replaces,
                elsewhere,
            } => {
                if let Some(ago) = elsewhere {
                    // What is missed from now on is missed since then.
                    let ago = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
                    self.coordinator.events_heard(now_ms().saturating_sub(ago));
                }
                if let Some(events) = &self.events {
                    events.set_turn(turn, replaces);
                }
            }
            Output::Took(took, time) => {
                if let Some(fleet) = &self.fleet {
                    fleet.times.record(took, time);
                }
            }
            Output::RolledBack => self.rest_timer.publish_grants(),
            Output::Log(severity, text) => log::log!(log_level(severity), "fleet: {text}"),
            Output::Exit(exit, text) => {
                log::error!("fleet: {text}");
                if let Some(fleet) = &mut self.fleet {
                    fleet.ending = Some(match exit {
                        Exit::NameTaken => Ending::NameTaken,
                        Exit::Layout => Ending::FleetTooNew,
                    });
                }
            }
            Output::Drained => {
                if let Some(fleet) = &mut self.fleet {
                    fleet.is_drained = true;
                }
            }
        }
    }

    /// An event of this listener is this node's.
    fn deliver(&mut self, number: u64) {
        let Some(accepted) = self.fleet.as_ref().and_then(|it| it.events.get(&number)) else {
            return;
        };
        let event = accepted.event.clone();
        let mut accepted = Accepted {
            event,
            intent: None,
            body: Box::default(),
        };
        if self.data_to_forget(&accepted).is_some() {
            // It is settled when it is sure to be forgotten.
            let fleet = self.fleet.as_mut();
            let kept = fleet.and_then(|it| it.events.get_mut(&number));
            accepted.intent = kept.and_then(|it| it.intent.take());
        }
        self.act_on(accepted);
    }

    fn act_on(&mut self, accepted: Accepted) {
        let About {
            meeting, stream, ..
        } = About::of(&accepted.event);
        if let Some(meeting) = &meeting {
            self.note_epoch(meeting);
        }
        let actions = self.zoom_event(accepted);
        let started = actions.iter().filter_map(newer_start);
        let started: Vec<String> = started.cloned().collect();
        self.apply(actions);
        if let Some(fleet) = &mut self.fleet {
            let now = Instant::now();
            (started.iter()).for_each(|stream| fleet.machine.handle_newer_start(now, stream));
        }
        let stream = stream.as_deref();
        let known = stream.and_then(|stream| self.coordinator.meeting_of(stream));
        let named: BTreeSet<String> = known
            .map(str::to_owned)
            .into_iter()
            .chain(meeting)
            .collect();
        for meeting in named {
            self.report(&meeting, true);
        }
    }

    /// An event that another node put into the queue.
    fn deliver_queued(&mut self, ticket: u64, body: &[u8]) {
        match payload::webhook(body) {
            Ok(event) => self.act_on(Accepted {
                event,
                intent: None,
                body: Box::default(),
            }),
            // The machine has read it before.
            Err(error) => log::error!("an event in the fleet's queue cannot be read: {error}"),
        }
        self.taken_out(ticket);
    }

    fn taken_out(&mut self, ticket: u64) {
        if let Some(fleet) = &mut self.fleet {
            fleet.delivered.push(ticket);
        }
    }

    /// New streams of a meeting are written under its epoch.
    pub(super) fn note_epoch(&mut self, meeting: &str) {
        let fleet = self.fleet.as_ref();
        let held = fleet.and_then(|it| it.machine.epoch(meeting));
        if let Some(epoch) = held.filter(|epoch| *epoch > 0) {
            self.coordinator.set_epoch(meeting, epoch);
        }
    }

    fn settle(&mut self, number: u64) {
        let settled = self.fleet.as_mut().and_then(|it| it.events.remove(&number));
        let intent = settled.and_then(|it| it.intent);
        if let (Some(snapshot), Some(intent)) = (&mut self.snapshot, intent) {
            snapshot.settle(intent);
        }
    }

    fn adopt(&mut self, adoption: Adoption) {
        let Adoption {
            meeting,
            entry,
            tails,
            epoch,
            window,
            silent_for,
            predecessor,
        } = adoption;
        let from = predecessor
            .as_ref()
            .map_or("unknown", |it| it.node.as_str());
        log::info!("taking over meeting={meeting} from={from} epoch={epoch}");
        let adopted: Vec<String> = tails.iter().map(|(stream, _)| stream.clone()).collect();
        if let Some(fleet) = &mut self.fleet {
            fleet.tails.extend(tails);
        }
        let actions = self
            .coordinator
            .adopt(now(), &meeting, &entry, epoch, window, silent_for);
        self.apply(actions);
        self.report(&meeting, true);
        let live = self.coordinator.live_meeting(&meeting);
        let open = live.map(|live| live.streams).unwrap_or_default();
        self.forget_tails(adopted.iter().filter(|stream| !open.contains(stream)));
    }

    /// The last phrases that other nodes had of these streams are not needed any more.
    fn forget_tails<'a>(&mut self, streams: impl Iterator<Item = &'a String>) {
        if let Some(fleet) = &mut self.fleet {
            streams.for_each(|stream| {
                fleet.tails.remove(stream);
            });
        }
    }

    fn give_up(&mut self, meeting: &str, streams: &[String], is_all: bool, heir: Option<String>) {
        let node = heir.as_deref().unwrap_or("another");
        log::info!("given up to another node meeting={meeting} node={node} streams={streams:?}");
        let heir = heir.as_deref();
        let actions = match is_all {
            true => self.coordinator.yield_up(now(), meeting, streams, heir),
            false => {
                let given = self.coordinator.active();
                let given = given.filter(|info| streams.contains(&info.stream_id));
                let hand_over = |info| Action::HandOver {
                    info,
                    heir: heir.map(str::to_owned),
                };
                given.map(hand_over).collect()
            }
        };
        self.apply(actions);
        self.forget_tails(streams.iter());
        if is_all && let Some(fleet) = &mut self.fleet {
            fleet.reported.remove(meeting);
        }
    }

    /// Another node heard that consent was withdrawn.
    fn discard(&mut self, ticket: u64, stream_id: String, withdrawal: &[u8]) {
        let told: Told = serde_json::from_slice(withdrawal).unwrap_or_default();
        let event = ZoomEvent {
            // It counts whenever the stream was started.
            event_ts_ms: 0,
            event: ZoomEventKind::StreamStopped(StreamStopped {
                product: told.product.unwrap_or(Product::Meeting),
                id: told.id,
                stream_id,
                stop_reason: Some(StopReason::STREAM_REVOKED.0),
            }),
        };
        let actions = self.coordinator.handle_zoom_event(now(), event);
        self.set_echo(true);
        self.apply(actions);
        self.set_echo(false);
        self.taken_out(ticket);
    }

    fn set_echo(&mut self, is_echo: bool) {
        if let Some(fleet) = &mut self.fleet {
            fleet.is_echo = is_echo;
        }
    }

    /// Consent was withdrawn here: the other nodes hear of it.
    pub(in crate::daemon) fn tell_withdrawn(&mut self, withdrawal: &Withdrawal) {
        let Some(fleet) = self.fleet.as_mut().filter(|it| !it.is_echo) else {
            return;
        };
        let told = Told {
            product: None,
            id: withdrawal.id.clone(),
        };
        let told = serde_json::to_vec(&told).unwrap_or_default();
        let stream_id = &withdrawal.stream_id;
        fleet.machine.withdraw(Instant::now(), stream_id, told);
    }
}

impl Fleet {
    fn ask(&mut self, id: CallId, call: Call) {
        if matches!(call, Call::Beat { .. }) {
            // An older one can no longer extend the permit.
            self.beats.retain(|known, _| known.0 + 64 > id.0);
            self.beats.insert(id, boot_time());
        }
        if !self.store.ask(id.0, call) {
            self.machine.handle_reply(Instant::now(), id, Reply::Failed);
        }
    }

    /// The machine's time does not count a sleep of the machine. So the permit begins when the beat was asked
    /// for, on a clock that does.
    fn permit(&mut self, until: Instant) {
        let left = until.saturating_duration_since(Instant::now());
        let until =
            (self.beat_answered + crate::coordinator::fleet::UNSURE).min(boot_time() + left);
        if self.permits.renew(until) {
            self.once.clear();
        }
    }

    /// The next messages are read when these are taken in.
    fn go_on_reading(&mut self) {
        let is_gone = self.machine.node_state(Instant::now()) == NodeState::Gone;
        if self.is_queue_taken && self.machine.has_room() && !is_gone {
            self.is_queue_taken = false;
            self.queue.go_on();
        }
    }
}
