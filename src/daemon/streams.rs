//! The running streams: starts them, sends them commands, and joins their threads.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use super::{AppCredentials, Daemon, Event, now};
use crate::clock::now_ms;
use crate::coordinator::{Action, StreamPlan};
use crate::domain::stream_info::StreamInfo;
use crate::net::file_limit;
use crate::protocol::codes::RtmsStatus;
use crate::protocol::dedup::RecentPhrases;
use crate::protocol::server_url::ServerUrl;
use crate::protocol::{Command, EndReason, StreamConfig};
use crate::recorder::{self, Opening};
use crate::stream::{Sink, StatsSnapshot, StreamHandle, StreamOptions};

/// A stream and its thread.
#[derive(Debug)]
pub(super) struct RunningStream {
    pub(super) handle: StreamHandle,
    pub(super) info: StreamInfo,
    /// The credentials that sign its handshakes.
    keys: AppCredentials,
    pub(super) since: Instant,
}

impl Daemon {
    pub(super) fn send_command(&self, stream_id: &str, command: Command) -> bool {
        self.running
            .get(stream_id)
            .is_some_and(|running| running.handle.command(command))
    }

    /// Sends each stream the new secret of its app, which signs the next handshake. A changed
    /// client id is another app, which the stream does not belong to.
    pub(super) fn rotate_client_secret(&mut self) {
        for running in self.running.values_mut() {
            let keys = self.settings.app().credentials_for(running.info.product);
            if keys.id == running.keys.id && keys.secret != running.keys.secret {
                running.keys = keys.clone();
                let command = Command::ClientSecret(keys.secret.clone());
                running.handle.command(command);
            }
        }
    }

    pub(super) fn start_stream(&mut self, mut plan: StreamPlan) {
        let stream_id = plan.info.stream_id.clone();
        let info = plan.info.clone();
        // One that waits for a place has not run yet.
        plan.is_rejoin &= !self.places.is_waiting(&stream_id);
        let is_rejoin = plan.is_rejoin;
        let max = self.settings.streams_max;
        // What ran before is not interrupted.
        if !is_rejoin && !self.places.has_one(&info.account_id, max) {
            return self.refuse(&info, max.unwrap_or_default());
        }
        let Err(end) = self.try_start_stream(plan) else {
            // It was started with the newest URLs.
            self.revive.remove(&stream_id);
            return;
        };
        let actions = self.coordinator.handle_end(now(), &stream_id, &end);
        if actions
            .iter()
            .any(|action| matches!(action, Action::StartLater { .. }))
        {
            let is_first = self.waiting.insert(stream_id.clone());
            log::log!(
                if is_first {
                    log::Level::Warn
                } else {
                    log::Level::Debug
                },
                "not enough resources to start a stream stream={stream_id} id={}: {end}; retrying while Zoom waits",
                info.id
            );
        } else {
            if is_rejoin {
                self.complete(&info, &end);
            }
            log::error!("stream not started stream={stream_id} id={} {end}", info.id);
        }
        self.apply(actions);
    }

    /// A stream is beyond the limit of its account: it is tried again when a place is free, while Zoom
    /// waits.
    fn refuse(&mut self, info: &StreamInfo, max: usize) {
        let StreamInfo { stream_id, id, .. } = info;
        let account = info.account_id.as_deref().unwrap_or("unknown");
        let is_first = self.places.refuse(stream_id, &info.account_id);
        let end = EndReason::NoResources(format!("account {account} has {max} streams"));
        let actions = self.coordinator.handle_end(now(), stream_id, &end);
        let is_kept = |action: &Action| matches!(action, Action::StartLater { .. });
        if !actions.iter().any(is_kept) {
            self.places.give_up(stream_id);
            log::error!(
                "stream not started, no place was free while Zoom waited stream={stream_id} id={id} \
                 account={account} RTMS_STREAMS_MAX={max}"
            );
        } else if is_first {
            log::warn!(
                "stream refused, its account has RTMS_STREAMS_MAX streams; it begins when one of them ends \
                 and Zoom still waits stream={stream_id} id={id} account={account} RTMS_STREAMS_MAX={max}"
            );
        }
        self.apply(actions);
    }

    /// Starts the streams whose retry is due.
    pub(super) fn start_later_ones(&mut self) {
        let now = now();
        let is_due = |(at, _): &(Instant, String)| *at <= now.instant;
        let mut due: Vec<(Instant, String)> = self.later.extract_if(.., |it| is_due(it)).collect();
        due.sort_by_key(|(_, stream_id)| self.places.turn(stream_id));
        if due.is_empty() {
            return;
        }
        for (_, stream_id) in &due {
            let actions = self.coordinator.start_again(now, stream_id);
            self.apply(actions);
        }
        let later: HashSet<&String> = self.later.iter().map(|(_, later)| later).collect();
        for (_, stream_id) in &due {
            if !later.contains(stream_id) {
                self.waiting.remove(stream_id);
                self.places.give_up(stream_id);
            }
        }
    }

    /// A stream of this account has ended: those that wait for its place are tried now, in their order.
    fn offer_place(&mut self, account: &Option<String>) {
        self.places.ends(account);
        let now = Instant::now();
        for (at, stream_id) in &mut self.later {
            if self.places.is_waiting_for(stream_id, account) {
                *at = now.min(*at);
            }
        }
    }

    fn try_start_stream(&mut self, plan: StreamPlan) -> Result<(), EndReason> {
        let StreamPlan {
            info,
            server_urls,
            window,
            is_rejoin,
        } = plan;
        let hosts = &self.settings.allowed_hosts;
        let urls = ServerUrl::all(&server_urls, hosts).map_err(EndReason::BadUrl)?;
        // Before anything is created for it.
        let running = self.running.values();
        let starting = running.filter(|running| !running.handle.is_ready()).count();
        file_limit::check_room(starting).map_err(EndReason::NoResources)?;
        let keys = self.settings.app().credentials_for(info.product).clone();
        let config = StreamConfig {
            product: info.product,
            id: info.id.clone(),
            stream_id: info.stream_id.clone(),
            client_id: keys.id.clone(),
            client_secret: keys.secret.clone(),
            urls,
            allowed_hosts: hosts.clone(),
            media: self.settings.media.clone(),
            params: self.settings.params,
            video_participant: self.settings.video_participant.clone(),
            events: self.settings.events.numbers(info.product),
            buffer_data: (!self.settings.buffer_data).then_some(false),
            window,
            unix_ms: now_ms(),
        };
        let mut root = None;
        let mut sinks = self
            .sinks
            .as_ref()
            .map(|make| make(&info))
            .unwrap_or_default();
        if let (Some(stdout), Some(format)) = (&self.stdout, self.settings.stdout) {
            sinks.push(Box::new(stdout.sink(&info, format)));
        }
        let (media, params) = (&self.settings.media, self.settings.params);
        if let Some(sink) = self.media.sink(&info, media, params) {
            sinks.push(Box::new(sink));
        }
        if let (Some(disk), Some(settings)) = (&self.disk, &self.settings.disk) {
            root = is_rejoin.then(|| settings.root.clone());
            let opening = match is_rejoin {
                true => Opening::Rejoin,
                false => Opening::Start,
            };
            sinks.push(Box::new(disk.sink_for(info.clone(), opening)));
        }
        let sender = self.sender.clone();
        let stream_id = info.stream_id.clone();
        let ended = stream_id.clone();
        let written = info.clone();
        let mut options = StreamOptions::new(config, self.dialer.clone());
        self.use_permit(&info, &mut options);
        options.sinks = sinks;
        options.on_end = Box::new(move || sender.send_always(Event::Ended(ended)));
        options.recent = Box::new(move || {
            root.map_or_else(RecentPhrases::default, |root| {
                recorder::load_recent_phrases(&root, &written)
            })
        });
        let handle = StreamHandle::spawn(options)
            .map_err(|error| EndReason::NoResources(error.to_string()))?;
        log::info!(
            "stream started stream={} product={}{} id={} rejoin={is_rejoin}",
            info.stream_id,
            info.product.name(),
            number(&info),
            info.id
        );
        let running = Box::new(RunningStream {
            handle,
            info,
            keys,
            since: Instant::now(),
        });
        self.places.begins(&stream_id, &running.info.account_id);
        self.running.insert(stream_id, running);
        self.trim_policy.on_start(self.running.len());
        self.totals.begun += 1;
        self.totals.rejoined += u64::from(is_rejoin);
        Ok(())
    }

    /// Another node has a stream, or gets it: its thread leaves. Where there is none, an earlier process
    /// had it, and its files are completed.
    pub(super) fn hand_over(&mut self, info: StreamInfo, heir: Option<String>) {
        let stream_id = &info.stream_id;
        let command = Command::HandOver { heir: heir.clone() };
        if self.send_command(stream_id, command) || self.running.contains_key(stream_id) {
            return;
        }
        let end = EndReason::HandedOver { heir };
        // One that waits for a place or for files has not begun.
        if !self.waiting.contains(stream_id) && !self.places.is_waiting(stream_id) {
            self.complete(&info, &end);
        }
        let actions = self.coordinator.handle_end(now(), stream_id, &end);
        self.apply(actions);
    }

    /// Completes the files of a stream that an earlier process left.
    pub(super) fn complete(&self, info: &StreamInfo, end: &EndReason) {
        if let Some(disk) = &self.disk {
            disk.sink_for(info.clone(), Opening::Complete).on_end(end);
        }
    }

    pub(super) fn ended(&mut self, stream_id: &str) {
        let Some(running) = self.running.remove(stream_id) else {
            return;
        };
        self.fleet_stream_ended(&running);
        self.trim_policy.on_end(Instant::now(), self.running.len());
        self.offer_place(&running.info.account_id);
        let unhandled = running.handle.unhandled();
        let (end, stats) = join(running);
        self.totals.stats.add(&stats);
        *self.totals.ended.entry(end.label()).or_default() += 1;
        let mut actions = self.coordinator.handle_end(now(), stream_id, &end);
        // A newer start that came while it ended starts it again.
        if self.revive.remove(stream_id) || unhandled.has_fail_over() {
            actions.extend(self.coordinator.revive(now(), stream_id));
        }
        self.apply(actions);
        if let Some(keeping) = &self.keeping {
            keeping.stream_ended();
        }
    }
}

/// The meeting's number, if it is not the id itself.
fn number(info: &StreamInfo) -> String {
    let number = info
        .meeting_id
        .as_ref()
        .filter(|number| **number != info.id);
    number.map_or_else(String::new, |number| format!(" meeting={number}"))
}

/// Joins a stream's thread, and logs how it ended.
fn join(running: Box<RunningStream>) -> (EndReason, StatsSnapshot) {
    let RunningStream {
        handle,
        info,
        since,
        ..
    } = *running;
    let counters = Arc::clone(handle.counters());
    let end = handle.join().unwrap_or(EndReason::Panicked);
    let stats = counters.snapshot();
    let level = match &end {
        // Zoom does not know the stream any more: usually it ended while no process was running.
        EndReason::Refused {
            status: Some(RtmsStatus(2)),
            ..
        } => log::Level::Warn,
        EndReason::Panicked | EndReason::Refused { .. } => log::Level::Error,
        EndReason::NothingGranted | EndReason::Lost(..) => log::Level::Warn,
        _ => log::Level::Info,
    };
    log::log!(
        level,
        "stream ended stream={}{} id={} end=\"{}\" seconds={:.1} transcripts={} audio={} \
         video={} share={} chat={} events={} keep_alives={} losses={} repeated={} blank={} unknown={} \
         malformed={}",
        info.stream_id,
        number(&info),
        info.id,
        end.to_string().replace('"', "'"),
        since.elapsed().as_secs_f64(),
        stats.transcripts.messages,
        stats.audio.messages,
        stats.video.messages,
        stats.share.messages,
        stats.chat.messages,
        stats.events.messages,
        stats.keep_alives,
        stats.losses_total(),
        stats.repeated,
        stats.blank,
        stats.unknown,
        stats.malformed,
    );
    (end, stats)
}
