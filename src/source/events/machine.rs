//! The event WebSocket as a state machine: inputs with their time go in, `Output`s come out.
//!
//! One connection is used at a time. Before its token ends the next one is opened with a new token;
//! the old one is read until Zoom closes it, so that nothing is missed. After a loss a new one is
//! opened at once, then with growing waits.
//!
//! | what happens | what follows |
//! | --- | --- |
//! | lost after `STEADY` or more | connect at once |
//! | lost again, or no connection | wait 1 s, doubled to `WAIT_MAX`, of that between half and all |
//! | closed with 1008, or `build_connection` refused | a new token; then each other kind of token; then wait |
//! | nothing arrives for a whole heartbeat after one was sent | it is dead: lost |
//! | closed by Zoom twice, each time within `SHORT_LIFE` | another client has the subscription: stay away for `AWAY_FIRST`, doubled to `AWAY_MAX` |
//! | the token is due | open the next one, then leave this one |
//! | another node's turn begins ([`Turn`]) | this connection is read until it ends, and none is made |
//! | closed by Zoom while it is not known whose turn it is | wait `UNSURE_WAIT`, then as with another client after one short life |
//!
//! Zoom sends nothing twice here, so the machine knows until when it has heard of Zoom, and reports
//! each gap when it is over.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::wire::{self, Message};
use crate::domain::severity::Severity;
use crate::domain::turn::Turn;
use crate::domain::waits::Waits;
use crate::protocol::Loss;

/// Interval of heartbeats: what Zoom asks for.
pub const HEARTBEAT_EVERY: Duration = Duration::from_secs(30);
/// Time limit for name, TCP, TLS and upgrade together.
const OPEN_MAX: Duration = Duration::from_secs(10);
/// Time limit for Zoom's `build_connection`.
const BUILD_MAX: Duration = Duration::from_secs(10);
/// Time limit for a token; a call takes ten seconds at most, and may wait for another one.
const TOKEN_MAX: Duration = Duration::from_secs(30);
/// A connection that lived this long was a good one: the first try after it is made at once.
const STEADY: Duration = Duration::from_secs(10);
/// First wait after a failure.
const WAIT_FIRST: Duration = Duration::from_secs(1);
/// Longest wait after failures. Zoom waits a minute for us after it has announced a stream.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// First and longest wait after Zoom has refused every token.
const REFUSED_FIRST: Duration = Duration::from_secs(30);
const REFUSED_MAX: Duration = Duration::from_secs(300);
/// Two closes by Zoom within this time of their connections mean another client.
const SHORT_LIFE: Duration = Duration::from_secs(60);
/// How long the subscription is left to another client.
const AWAY_FIRST: Duration = Duration::from_secs(300);
const AWAY_MAX: Duration = Duration::from_secs(1800);
/// A node that leaves keeps its connection for at least this long.
const REPLACE_MAX: Duration = Duration::from_secs(4);
/// How long it is left to the other nodes where it is not known whose it is.
const UNSURE_WAIT: Duration = Duration::from_secs(10);
/// How long the old connection is still read after the new one works.
const LEAVE_MAX: Duration = Duration::from_secs(5);
/// A renewal that could not be made is tried again after this time.
const RENEW_AGAIN: Duration = Duration::from_secs(30);
/// Shortest time between two renewals.
const RENEW_MIN: Duration = Duration::from_secs(1);
/// The same trouble is logged once in this time.
const LOG_EVERY: Duration = Duration::from_secs(600);

/// A connection, counted from 1.
pub(super) type LinkId = u64;

/// Times that a test may shorten.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) heartbeat: Duration,
}

/// A token that was fetched, as far as the machine needs to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TokenStamp {
    /// Distinguishes tokens of the same kind.
    pub(super) serial: u64,
    /// When it should be replaced.
    pub(super) renew_at: Option<Instant>,
}

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFailure {
    /// One line for the log, with the remedy.
    pub text: String,
    /// Only a person can help.
    pub is_final: bool,
    /// Zoom asks to wait this long.
    pub retry_after: Option<Duration>,
}

/// What the thread has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Output {
    /// Fetch a token of this kind; another one than this, if Zoom refused it.
    FetchToken { kind: usize, refused: Option<u64> },
    /// Open this connection with the token that was fetched last.
    Connect(LinkId),
    /// Send this text and a ping.
    Beat(LinkId, &'static str),
    /// Close this connection.
    Close(LinkId),
    /// An event's body.
    Event(Vec<u8>),
    /// The first connection, or one after a gap: nothing came between these times.
    GapOver {
        since: Instant,
        until: Instant,
        is_first: bool,
    },
    /// A message that is not known.
    Unknown(Option<String>),
    /// Why there is no connection, or no newer one.
    Trouble(String),
    /// A line for the log.
    Log(Severity, String),
}

/// What the operator sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Events arrive.
    Connected,
    /// A connection is being made, or waited for.
    Connecting,
    /// Zoom refuses every token.
    Refused,
    /// Another client has the subscription.
    Displaced,
    /// It is for another node of the fleet to connect.
    Elsewhere,
}

impl State {
    /// The word in `/streams` and in the metrics.
    pub const fn name(self) -> &'static str {
        match self {
            State::Connected => "connected",
            State::Connecting => "connecting",
            State::Refused => "refused",
            State::Displaced => "displaced",
            State::Elsewhere => "elsewhere",
        }
    }

    /// All of them.
    pub const ALL: [State; 5] = [
        State::Connected,
        State::Connecting,
        State::Refused,
        State::Displaced,
        State::Elsewhere,
    ];

    /// Whether events should arrive here and do not.
    pub fn is_fault(self) -> bool {
        !matches!(self, State::Connected | State::Elsewhere)
    }
}

#[derive(Debug)]
struct Link {
    id: LinkId,
    token: TokenStamp,
    step: Step,
    /// When anything arrived last.
    heard: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Opening {
        until: Instant,
    },
    Building {
        until: Instant,
    },
    Up {
        since: Instant,
        beat_at: Instant,
        /// When the last heartbeat was sent.
        asked: Option<Instant>,
    },
}

/// What is done about the next connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plan {
    /// Nothing: there is a connection, and its token is good until then.
    Rest { renew_at: Option<Instant> },
    /// A try is due then.
    Wait { until: Instant },
    /// A token is being fetched.
    Token { until: Instant },
    /// The next connection is being opened: `next` has it.
    Open,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Machine {
    times: Times,
    waits: Waits,
    turn: Turn,
    /// Since when a connection is to be made in place of another node's, which runs until then.
    replacing: Option<Instant>,
    /// Number of kinds of tokens.
    kinds: usize,
    /// The kind to use.
    kind: usize,
    /// The token of that kind that Zoom refused last.
    refused_serial: Option<u64>,
    /// Refusals in a row, of any kind.
    refusals: u32,
    /// Rounds through all kinds that ended with a refusal.
    refused_rounds: u32,
    failures: u32,
    short_lives: u32,
    /// How often the subscription was left to another client since it was ours.
    aways: u32,
    plan: Plan,
    current: Option<Link>,
    next: Option<Link>,
    /// The connection before the current one, read until then.
    leaving: Option<(LinkId, Instant)>,
    last_id: LinkId,
    /// Since when nothing can arrive.
    deaf_since: Option<Instant>,
    /// Zoom closed the connection because the next one is there, whose answer is awaited: when it was
    /// heard last on the old one.
    overtaken: Option<Instant>,
    was_up: bool,
    /// When a failure was logged last, and how.
    logged: Option<(Instant, Severity)>,
    outputs: VecDeque<Output>,
}

impl Machine {
    /// Starts with a try at once, if it is its turn. There is at least one kind of token; the first is tried first.
    pub(super) fn new(now: Instant, turn: Turn, kinds: usize, times: Times, seed: u64) -> Machine {
        let is_elsewhere = turn == Turn::Anothers;
        Machine {
            times,
            waits: Waits::new(seed),
            turn,
            replacing: None,
            kinds: kinds.max(1),
            kind: 0,
            refused_serial: None,
            refusals: 0,
            refused_rounds: 0,
            failures: 0,
            short_lives: 0,
            aways: 0,
            plan: match is_elsewhere {
                true => Plan::Rest { renew_at: None },
                false => Plan::Wait { until: now },
            },
            current: None,
            next: None,
            leaving: None,
            last_id: 0,
            deaf_since: Some(now).filter(|_| !is_elsewhere),
            overtaken: None,
            was_up: false,
            logged: None,
            outputs: VecDeque::new(),
        }
    }

    /// The next thing to do.
    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Machine::handle_time`] is due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let plan = match self.plan {
            Plan::Rest { renew_at } => renew_at,
            Plan::Wait { until } | Plan::Token { until } => Some(until),
            Plan::Open => None,
        };
        let link = |link: &Link| match link.step {
            Step::Opening { until } | Step::Building { until } => until,
            Step::Up { beat_at, .. } => beat_at,
        };
        let links = self.current.iter().chain(&self.next).map(link);
        let leaving = self.leaving.map(|(_, until)| until);
        plan.into_iter().chain(links).chain(leaving).min()
    }

    /// What the operator sees.
    pub(super) fn state(&self) -> State {
        match () {
            () if self.current.is_some() => State::Connected,
            () if self.turn == Turn::Anothers => State::Elsewhere,
            () if self.aways > 0 => State::Displaced,
            () if self.refused_rounds > 0 => State::Refused,
            () => State::Connecting,
        }
    }

    /// Since when nothing can arrive; `None` while connected.
    pub(super) fn deaf_since(&self) -> Option<Instant> {
        self.deaf_since
    }

    /// When Zoom was heard last on the connection in use.
    pub(super) fn heard(&self) -> Option<Instant> {
        self.current.as_ref().map(|link| link.heard)
    }

    /// Whether Zoom is expected to close this connection, because a newer one is in use, here or at another node.
    pub(super) fn is_leaving(&self, id: LinkId) -> bool {
        self.turn == Turn::Anothers || self.leaving.is_some_and(|(leaving, _)| leaving == id)
    }

    /// Other credentials or another address: the next connection is made with them, now.
    pub(super) fn handle_settings(&mut self, now: Instant, kinds: usize) {
        self.kinds = kinds.max(1);
        self.kind = 0;
        self.refused_serial = None;
        self.forget_troubles();
        if self.turn == Turn::Anothers
            && let Some(link) = self.current.take()
        {
            // No other node's connection takes its place.
            self.outputs.push_back(Output::Close(link.id));
        }
        self.try_now(now);
    }

    /// Whose turn it is. With `replaces` another node has the connection now, and nothing is missed until ours
    /// takes its place.
    pub(super) fn handle_turn(&mut self, now: Instant, turn: Turn, replaces: bool) {
        let before = std::mem::replace(&mut self.turn, turn);
        match turn {
            _ if turn == before => {}
            Turn::Unsure => {}
            Turn::Ours => {
                self.forget_troubles();
                match &self.current {
                    // It is renewed again.
                    Some(link) if before == Turn::Anothers => {
                        let renew_at = link.token.renew_at.map(|at| at.max(now));
                        self.plan = Plan::Rest { renew_at };
                    }
                    Some(_) => {}
                    None => {
                        if replaces || before == Turn::Anothers {
                            self.replacing = Some(now).filter(|_| replaces);
                            self.deaf_since = Some(now).filter(|_| !replaces);
                            self.was_up = false;
                        }
                        if !matches!(self.plan, Plan::Token { .. } | Plan::Open) {
                            self.try_now(now);
                        }
                    }
                }
            }
            Turn::Anothers => {
                self.forget_troubles();
                if let Some(next) = self.next.take() {
                    self.outputs.push_back(Output::Close(next.id));
                }
                self.plan = Plan::Rest { renew_at: None };
                if self.current.is_none() {
                    self.is_elsewhere();
                }
            }
        }
    }

    /// There is no connection here, and there should be none.
    fn is_elsewhere(&mut self) {
        self.deaf_since = None;
        self.overtaken = None;
        self.replacing = None;
        let text = "events come to another node of the fleet".to_owned();
        self.outputs.push_back(Output::Log(Severity::Info, text));
    }

    /// The system was suspended: the connection may be dead without a sign of it.
    pub(super) fn handle_resume(&mut self, now: Instant) {
        self.failures = 0;
        self.try_now(now);
    }

    fn try_now(&mut self, now: Instant) {
        if self.turn == Turn::Anothers {
            return;
        }
        if let Some(next) = self.next.take() {
            self.outputs.push_back(Output::Close(next.id));
        }
        if let Some(heard) = self.overtaken.take() {
            self.deaf_since = Some(heard);
        }
        self.plan = Plan::Wait { until: now };
        self.handle_time(now);
    }

    fn forget_troubles(&mut self) {
        self.failures = 0;
        self.refusals = 0;
        self.refused_rounds = 0;
        self.short_lives = 0;
        self.aways = 0;
        self.logged = None;
    }

    /// To be called when [`Machine::poll_timeout`] is reached, after everything that has arrived was
    /// handed in.
    pub(super) fn handle_time(&mut self, now: Instant) {
        if let Some((id, until)) = self.leaving
            && until <= now
        {
            self.leaving = None;
            self.outputs.push_back(Output::Close(id));
        }
        self.beat(now);
        let late = self.next.as_ref().and_then(|link| match link.step {
            Step::Opening { until } | Step::Building { until } if until <= now => Some(link.id),
            _ => None,
        });
        if let Some(id) = late {
            self.outputs.push_back(Output::Close(id));
            self.handle_lost(now, id, &Loss::TimedOut);
        }
        match self.plan {
            Plan::Rest { renew_at: Some(at) } if at <= now => self.fetch(now),
            Plan::Wait { until } if until <= now => self.fetch(now),
            Plan::Token { until } if until <= now => {
                let text = "fetch access token: no answer in time".to_owned();
                self.token_failed(
                    now,
                    &TokenFailure {
                        text,
                        is_final: false,
                        retry_after: None,
                    },
                );
            }
            _ => {}
        }
    }

    fn fetch(&mut self, now: Instant) {
        self.plan = Plan::Token {
            until: now + TOKEN_MAX,
        };
        self.outputs.push_back(Output::FetchToken {
            kind: self.kind,
            refused: self.refused_serial,
        });
    }

    /// Sends the heartbeat that is due; a connection that did not answer the last one is lost.
    fn beat(&mut self, now: Instant) {
        let every = self.times.heartbeat;
        let Some(link) = &mut self.current else {
            return;
        };
        let (id, heard) = (link.id, link.heard);
        let Step::Up { beat_at, asked, .. } = &mut link.step else {
            return;
        };
        if *beat_at > now {
            return;
        }
        if asked.is_some_and(|asked| heard < asked) {
            self.outputs.push_back(Output::Close(id));
            return self.handle_lost(now, id, &Loss::Silent);
        }
        *asked = Some(now);
        *beat_at = now + every;
        self.outputs.push_back(Output::Beat(id, wire::HEARTBEAT));
        self.forget_rival(now);
    }

    /// A connection that lasts was not taken by another client.
    fn forget_rival(&mut self, now: Instant) {
        let Some(Step::Up { since, .. }) = self.current.as_ref().map(|link| link.step) else {
            return;
        };
        if self.aways > 0 && now.saturating_duration_since(since) >= SHORT_LIFE {
            self.aways = 0;
            self.short_lives = 0;
            let text = "events connected again: the other client has left the subscription";
            self.outputs
                .push_back(Output::Log(Severity::Info, text.to_owned()));
        }
    }

    /// The outcome of [`Output::FetchToken`].
    pub(super) fn handle_token(&mut self, now: Instant, token: Result<TokenStamp, TokenFailure>) {
        if !matches!(self.plan, Plan::Token { .. }) {
            return;
        }
        let token = match token {
            Ok(token) => token,
            Err(failure) => return self.token_failed(now, &failure),
        };
        let current = self.current.as_ref().map(|link| link.token);
        let is_due = |token: TokenStamp| token.renew_at.is_some_and(|at| at <= now);
        if current == Some(token) && is_due(token) {
            // No newer one could be fetched yet; this one is still good.
            self.plan = Plan::Rest {
                renew_at: Some(now + RENEW_AGAIN),
            };
            return;
        }
        self.last_id += 1;
        self.next = Some(Link {
            id: self.last_id,
            token,
            step: Step::Opening {
                until: now + OPEN_MAX,
            },
            heard: now,
        });
        self.plan = Plan::Open;
        self.outputs.push_back(Output::Connect(self.last_id));
    }

    fn token_failed(&mut self, now: Instant, failure: &TokenFailure) {
        self.failures = self.failures.saturating_add(1);
        if failure.is_final {
            // The subscription may be of the other app.
            self.kind = (self.kind + 1) % self.kinds;
            self.refused_serial = None;
        }
        let wait = match failure.is_final {
            true if self.kind != 0 => Duration::ZERO,
            true => self.waits.draw(self.failures, REFUSED_FIRST, REFUSED_MAX),
            false => self.waits.draw(self.failures, WAIT_FIRST, WAIT_MAX),
        };
        let wait = wait.max(failure.retry_after.unwrap_or_default());
        self.plan_next(now, wait);
        let severity = match failure.is_final {
            true => Severity::Error,
            false => Severity::Warn,
        };
        self.trouble(now, severity, &failure.text, wait);
    }

    /// The WebSocket is open.
    pub(super) fn handle_open(&mut self, now: Instant, id: LinkId) {
        if let Some(link) = self.next.as_mut().filter(|link| link.id == id) {
            link.heard = now;
            link.step = Step::Building {
                until: now + BUILD_MAX,
            };
        }
    }

    /// A message, or a pong (`None`), arrived.
    pub(super) fn handle_message(&mut self, now: Instant, id: LinkId, bytes: Option<&[u8]>) {
        for link in self.current.iter_mut().chain(&mut self.next) {
            if link.id == id {
                link.heard = now;
            }
        }
        let is_known = [&self.current, &self.next]
            .into_iter()
            .flatten()
            .any(|link| link.id == id)
            || self.leaving.is_some_and(|(leaving, _)| leaving == id);
        let Some(bytes) = bytes.filter(|_| is_known) else {
            return;
        };
        match wire::parse(bytes) {
            Message::Built(Ok(())) => self.built(now, id),
            Message::Built(Err(reason)) => {
                self.outputs.push_back(Output::Close(id));
                let text = match reason.is_empty() {
                    true => "build_connection was refused".to_owned(),
                    false => format!("build_connection was refused, \"{reason}\""),
                };
                self.lost(now, id, &text, Cause::Refused);
            }
            Message::Heartbeat => {}
            Message::Event(body) => self.outputs.push_back(Output::Event(body)),
            Message::Other(module) => self.outputs.push_back(Output::Unknown(module)),
        }
    }

    /// The next connection becomes the current one.
    fn built(&mut self, now: Instant, id: LinkId) {
        let Some(mut link) = self.next.take_if(|link| link.id == id) else {
            return;
        };
        link.step = Step::Up {
            since: now,
            beat_at: now + self.times.heartbeat,
            asked: None,
        };
        let renew_at = link.token.renew_at.map(|at| at.max(now + RENEW_MIN));
        let before = self.current.replace(link);
        self.plan = Plan::Rest { renew_at };
        self.refused_serial = None;
        if let Some(before) = before {
            if let Some((id, _)) = self.leaving.replace((before.id, now + LEAVE_MAX)) {
                self.outputs.push_back(Output::Close(id));
            }
            // It may have been dead for a while.
            let silence = now.saturating_duration_since(before.heard);
            if silence > 2 * self.times.heartbeat {
                self.deaf_since = Some(before.heard);
            }
        }
        self.overtaken = None;
        // What it replaces was read until now: a gap of nothing, unless that node may have left meanwhile.
        let replaced = self.replacing.take();
        let since =
            replaced.map(
                |since| match now.saturating_duration_since(since) < REPLACE_MAX {
                    true => now,
                    false => since,
                },
            );
        let Some(since) = self.deaf_since.take().or(since) else {
            return;
        };
        self.was_up |= replaced.is_some();
        let is_first = !std::mem::replace(&mut self.was_up, true);
        self.outputs.push_back(Output::GapOver {
            since,
            until: now,
            is_first,
        });
        let gap = now.saturating_duration_since(since).as_secs_f32();
        let text = match is_first {
            true => "events connected".to_owned(),
            false if since == now => {
                "events connected, in place of another node of the fleet".to_owned()
            }
            false => format!(
                "events connected again gap_s={gap:.1}; Zoom does not send again what happened in the gap"
            ),
        };
        // While another client may have it, each short success would be a line.
        let severity = match self.aways {
            0 => Severity::Info,
            _ => Severity::Debug,
        };
        self.outputs.push_back(Output::Log(severity, text));
    }

    /// A connection has ended, or could not be made.
    pub(super) fn handle_lost(&mut self, now: Instant, id: LinkId, loss: &Loss) {
        let cause = match loss {
            Loss::Closed(Some(1008)) | Loss::Unanswered(Some(1008)) => Cause::Refused,
            // The upgrade was answered 401 or 403.
            Loss::Connect(text)
                if text.starts_with("HTTP status 401") || text.starts_with("HTTP status 403") =>
            {
                Cause::Refused
            }
            Loss::Closed(_) => Cause::Closed,
            _ => Cause::Fault,
        };
        self.lost(now, id, &loss.to_string(), cause);
    }

    fn lost(&mut self, now: Instant, id: LinkId, text: &str, cause: Cause) {
        if self.leaving.is_some_and(|(leaving, _)| leaving == id) {
            self.leaving = None;
            return;
        }
        if let Some(link) = self.current.take_if(|link| link.id == id) {
            // Zoom may have accepted the next one before we noticed that it is open.
            if cause == Cause::Closed && self.next.is_some() {
                self.overtaken = Some(link.heard);
                return;
            }
            if self.turn == Turn::Anothers {
                return self.is_elsewhere();
            }
            self.deaf_since = Some(link.heard);
            self.count_life(now, &link, cause);
            if cause == Cause::Refused {
                self.refused_serial = Some(link.token.serial);
            }
            let is_under_way = matches!(self.plan, Plan::Token { .. } | Plan::Open);
            return match cause {
                _ if is_under_way => self.trouble(now, Severity::Warn, text, Duration::ZERO),
                Cause::Refused => self.refused(now, text),
                _ if self.has_rival() => self.displaced(now),
                Cause::Closed if self.turn == Turn::Unsure => {
                    self.plan_next(now, UNSURE_WAIT);
                    self.trouble(now, Severity::Warn, text, UNSURE_WAIT);
                }
                _ => self.try_later(now, text),
            };
        }
        let Some(link) = self.next.take_if(|link| link.id == id) else {
            return;
        };
        if let Some(heard) = self.overtaken.take() {
            self.deaf_since = Some(heard);
        }
        self.failures = self.failures.saturating_add(1);
        if cause == Cause::Refused {
            self.refused_serial = Some(link.token.serial);
            return self.refused(now, text);
        }
        self.try_later(now, text);
    }

    fn try_later(&mut self, now: Instant, text: &str) {
        let wait = self.waits.draw(self.failures, WAIT_FIRST, WAIT_MAX);
        self.plan_next(now, wait);
        self.trouble(now, Severity::Warn, text, wait);
    }

    /// Whether another client takes the subscription whenever we have it.
    fn has_rival(&self) -> bool {
        let is_likely = self.aways > 0 || self.turn == Turn::Unsure;
        self.short_lives >= if is_likely { 1 } else { 2 }
    }

    /// A connection that worked has ended.
    fn count_life(&mut self, now: Instant, link: &Link, cause: Cause) {
        let life = match link.step {
            Step::Up { since, .. } => now.saturating_duration_since(since),
            _ => Duration::ZERO,
        };
        if life >= STEADY {
            self.failures = 0;
            self.refusals = 0;
            self.refused_rounds = 0;
            self.logged = None;
        } else {
            self.failures = self.failures.saturating_add(1);
        }
        match (cause, life < SHORT_LIFE) {
            (Cause::Closed, true) => self.short_lives += 1,
            (_, false) => {
                self.short_lives = 0;
                self.aways = 0;
            }
            _ => {}
        }
    }

    /// Zoom takes no events connection with this token.
    fn refused(&mut self, now: Instant, text: &str) {
        self.refusals += 1;
        let tries = self.refusals as usize;
        // The token may only have been old: once more with a new one of the same kind.
        if !tries.is_multiple_of(2) {
            self.plan_next(now, Duration::ZERO);
            let text = format!("events refused: {text}; trying again with a new token");
            return self.outputs.push_back(Output::Log(Severity::Info, text));
        }
        self.kind = (self.kind + 1) % self.kinds;
        self.refused_serial = None;
        if tries < 2 * self.kinds {
            return self.plan_next(now, Duration::ZERO);
        }
        self.refusals = 0;
        self.refused_rounds += 1;
        let wait = self
            .waits
            .draw(self.refused_rounds, REFUSED_FIRST, REFUSED_MAX);
        self.plan_next(now, wait);
        let text = format!(
            "{text}; Zoom refuses this token: check that ZOOM_EVENTS_URL is of the app of ZOOM_CLIENT_ID or \
             ZOOM_API_CLIENT_ID, and that its event subscription is active"
        );
        self.trouble(now, Severity::Error, &text, wait);
    }

    fn displaced(&mut self, now: Instant) {
        self.aways += 1;
        self.short_lives = 0;
        let wait = self.waits.draw(self.aways, AWAY_FIRST, AWAY_MAX);
        self.plan_next(now, wait);
        let (severity, text) = match self.aways {
            1 if self.turn == Turn::Unsure => (
                Severity::Warn,
                "events displaced: the store does not answer, and another node of the fleet has the connection, \
                 or another client"
                    .to_owned(),
            ),
            1 => (
                Severity::Error,
                "events displaced: another client connects to the subscription of ZOOM_EVENTS_URL, and Zoom \
                 serves only one; this server leaves it to that client and receives no events meanwhile. End \
                 the other client, or give each its own subscription"
                    .to_owned(),
            ),
            _ => (
                Severity::Debug,
                format!("events still displaced: next try in {} s", wait.as_secs()),
            ),
        };
        self.outputs.push_back(Output::Log(severity, text));
    }

    fn plan_next(&mut self, now: Instant, wait: Duration) {
        // The renewal of a good connection may wait longer than a lost one.
        let wait = match self.current {
            Some(_) => wait.max(RENEW_AGAIN),
            None => wait,
        };
        self.plan = Plan::Wait { until: now + wait };
    }

    /// Logs the first of a row of failures, and then one now and then.
    fn trouble(&mut self, now: Instant, severity: Severity, text: &str, wait: Duration) {
        let is_known = self.logged.is_some_and(|(at, known)| {
            known >= severity && now.saturating_duration_since(at) < LOG_EVERY
        });
        if !is_known && (self.failures > 0 || severity == Severity::Error) {
            self.logged = Some((now, severity));
        }
        let severity = match is_known {
            true => Severity::Debug,
            false => severity,
        };
        self.outputs.push_back(Output::Trouble(text.to_owned()));
        let then = match (&self.current, wait.is_zero()) {
            (Some(_), _) => "the present connection goes on".to_owned(),
            (None, true) => "connecting again at once".to_owned(),
            (None, false) => format!("next try in {:.1} s, then more slowly", wait.as_secs_f32()),
        };
        let what = match self.was_up {
            true => "events not connected",
            false => "events not connected yet",
        };
        let text = format!("{what}: {text}; {then}");
        self.outputs.push_back(Output::Log(severity, text));
    }
}

/// Why a connection ended, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// Zoom does not take the token.
    Refused,
    /// Zoom closed it.
    Closed,
    /// Anything else.
    Fault,
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
