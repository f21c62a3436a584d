//! The event WebSocket of the demo's Zoom: one connection, nothing is sent twice.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use native_tls::TlsAcceptor;
use rustix::event::PollFlags;
use serde_json::{Value, json};
use tungstenite::protocol::CloseFrame;
use tungstenite::{Error, Message};

use super::connection_queue::{Command, ConnectionQueue, Inbox};
use super::oauth::percent_decode;
use super::opening::{Ws, accept};
use super::record::lock;
use super::shared::Shared;
use super::webhooks::Delivery;
use crate::demo::player::script::Cut;

/// A client that sends no heartbeat for so long is cut; it should send one every 30 s.
const HEARTBEAT_MAX: Duration = Duration::from_secs(45);
/// How long a Close frame waits for its answer.
const CLOSING_MAX: Duration = Duration::from_secs(2);

/// By which way the demo's Zoom sends its events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EventsBy {
    /// Signed webhooks.
    #[default]
    Webhooks,
    /// The event WebSocket.
    WebSocket,
}

/// How a connection is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventsRefusal {
    /// A Close frame after the upgrade: 1008 for a bad token.
    Close(u16),
    /// `build_connection` without success, with this text.
    Build(String),
    /// Nothing is said.
    Silence,
}

/// The one connection, and what came of the others.
#[derive(Default)]
pub(in crate::demo) struct EventHub(Mutex<Hub>);

#[derive(Default)]
struct Hub {
    current: Option<(u64, ConnectionQueue)>,
    accepted: usize,
    attempts: usize,
    heartbeats: usize,
    pings: usize,
    refusals: Vec<EventsRefusal>,
    has_rival: bool,
    missed: Vec<String>,
}

impl EventHub {
    /// Sends an event, once.
    pub(in crate::demo) fn send(&self, body: &Value) -> Delivery {
        let mut hub = lock(&self.0);
        let event = body["event"].as_str().unwrap_or_default().to_owned();
        let status = match &hub.current {
            Some((_, queue)) => {
                let message =
                    json!({"module": "message", "content": body.to_string(), "header": {}});
                queue.post(Command::Send(message));
                Ok(200)
            }
            None => {
                hub.missed.push(event.clone());
                Err("no client is connected".to_owned())
            }
        };
        Delivery {
            event,
            status,
            answer: Vec::new(),
            taken: Duration::ZERO,
            at: Instant::now(),
        }
    }

    /// Ends the connection, or has it say nothing more with [`Command::Stall`].
    pub(in crate::demo) fn command(&self, command: Command) {
        if let Some((_, queue)) = &lock(&self.0).current {
            queue.post(command);
        }
    }

    pub(in crate::demo) fn refuse(&self, refusal: EventsRefusal, times: usize) {
        lock(&self.0).refusals = vec![refusal; times];
    }

    pub(in crate::demo) fn set_rival(&self, is_there: bool) {
        let mut hub = lock(&self.0);
        hub.has_rival = is_there;
        if let (true, Some((_, queue))) = (is_there, &hub.current) {
            queue.post(Command::Displace(false));
        }
    }

    pub(in crate::demo) fn accepted(&self) -> usize {
        lock(&self.0).accepted
    }

    pub(in crate::demo) fn attempts(&self) -> usize {
        lock(&self.0).attempts
    }

    pub(in crate::demo) fn is_connected(&self) -> bool {
        lock(&self.0).current.is_some()
    }

    pub(in crate::demo) fn heartbeats(&self) -> usize {
        lock(&self.0).heartbeats
    }

    pub(in crate::demo) fn pings(&self) -> usize {
        lock(&self.0).pings
    }

    /// The names of events that no client received.
    pub(in crate::demo) fn missed(&self) -> Vec<String> {
        lock(&self.0).missed.clone()
    }
}

/// Serves one connection, from TLS to its end.
pub(in crate::demo) fn serve(
    shared: &Arc<Shared>,
    stream: TcpStream,
    acceptor: &TlsAcceptor,
    id: u64,
    queue: ConnectionQueue,
    inbox: &Inbox,
) {
    let Some((mut ws, target)) = accept(shared, stream, acceptor, inbox, None, true) else {
        return;
    };
    let target = target.to_string();
    let hub = &shared.events.0;
    lock(hub).attempts += 1;
    let refusal = lock(hub).refusals.pop();
    let until = match (refusal, judge(shared, &target)) {
        (Some(EventsRefusal::Silence), _) => {
            let until = Instant::now() + Duration::from_secs(60);
            while !matches!(inbox.take(), Some(Command::Quit)) && Instant::now() < until {
                let _ = inbox.wait(None, Some(until));
            }
            return;
        }
        (Some(EventsRefusal::Close(code)), _) | (None, Err(Some(code))) => {
            return close(&mut ws, code, inbox);
        }
        (Some(EventsRefusal::Build(text)), _) => {
            let answer = json!({"module": "build_connection", "success": false, "content": text});
            let _ = ws.send(Message::text(answer.to_string()));
            return close(&mut ws, 1008, inbox);
        }
        (None, Err(None)) => return close(&mut ws, 1002, inbox),
        (None, Ok(until)) => until,
    };
    let has_rival = {
        let mut hub = lock(hub);
        hub.accepted += 1;
        let before = hub.current.replace((id, queue.clone()));
        if let Some((_, before)) = before {
            before.post(Command::Displace(false));
        }
        hub.has_rival
    };
    let answer = json!({"module": "build_connection", "success": true, "content": "welcome"});
    let _ = ws.send(Message::text(answer.to_string()));
    if has_rival {
        // The other client connects as soon as it notices that it was displaced.
        queue.post(Command::Displace(false));
    }
    run(shared, &mut ws, inbox, until);
    let mut hub = lock(hub);
    hub.current = hub.current.take().filter(|(current, _)| *current != id);
}

/// When the token of a connection ends; or the code of the close that refuses it.
fn judge(shared: &Shared, target: &str) -> Result<Instant, Option<u16>> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let parameter = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let found = pairs.find(|(key, _)| *key == name);
        found.map(|(_, value)| percent_decode(value, true))
    };
    if !path.ends_with("/ws") || parameter("subscriptionId").is_none() {
        shared.violation("events: a path or a subscription that no page shows".to_owned());
        return Err(None);
    }
    if parameter("subscriptionId").as_deref() != Some(&shared.options.subscription_id) {
        return Err(Some(1008));
    }
    let token = parameter("access_token").unwrap_or_default();
    lock(&shared.oauth).events_until(&token).ok_or(Some(1008))
}

fn run(shared: &Shared, ws: &mut Ws, inbox: &Inbox, token_until: Instant) {
    let Ok(raw) = ws.get_ref().get_ref().try_clone() else {
        return;
    };
    let mut heartbeat_until = Instant::now() + HEARTBEAT_MAX;
    let mut is_blocked;
    loop {
        while let Some(command) = inbox.take() {
            match command {
                Command::Send(message) => match ws.write(Message::text(message.to_string())) {
                    Ok(()) => {}
                    Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => return,
                },
                Command::Cut(Cut::Close(code)) => return close(ws, code, inbox),
                Command::Displace(_) => return close(ws, 1000, inbox),
                Command::Cut(Cut::Fin) => {
                    let _ = raw.shutdown(Shutdown::Write);
                    return;
                }
                Command::Cut(Cut::Reset) => {
                    let _ = rustix::net::sockopt::set_socket_linger(&raw, Some(Duration::ZERO));
                    return;
                }
                // Half-open: the kernel takes what arrives, and no answer follows.
                Command::Stall(_) => loop {
                    let until = Instant::now() + Duration::from_secs(60);
                    let waited = inbox.wait(None, Some(until));
                    match inbox.take() {
                        Some(Command::Quit) => return,
                        _ if waited.is_err() => return,
                        _ => {}
                    }
                },
                Command::Quit => return,
                _ => {}
            }
        }
        loop {
            match ws.read() {
                Ok(Message::Close(_)) => {
                    let _ = ws.flush();
                    return;
                }
                Ok(Message::Text(text)) => {
                    if !answer(shared, ws, &text) {
                        return;
                    }
                    heartbeat_until = Instant::now() + HEARTBEAT_MAX;
                }
                Ok(Message::Ping(_)) => lock(&shared.events.0).pings += 1,
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return,
            }
        }
        match ws.flush() {
            Ok(()) => is_blocked = false,
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => is_blocked = true,
            Err(_) => return,
        }
        let now = Instant::now();
        if now >= token_until {
            return close(ws, 1008, inbox);
        }
        if now >= heartbeat_until {
            shared.violation("events: no heartbeat for 45 s".to_owned());
            return;
        }
        let mut flags = PollFlags::IN;
        flags.set(PollFlags::OUT, is_blocked);
        let until = token_until.min(heartbeat_until);
        if inbox.wait(Some((raw.as_fd(), flags)), Some(until)).is_err() {
            return;
        }
    }
}

/// Answers a heartbeat; `false` if the connection is lost.
fn answer(shared: &Shared, ws: &mut Ws, text: &str) -> bool {
    let message = serde_json::from_str::<Value>(text).unwrap_or(Value::Null);
    if message != json!({"module": "heartbeat"}) {
        shared.violation(format!("events: found {text:?}, expected a heartbeat"));
        return true;
    }
    lock(&shared.events.0).heartbeats += 1;
    let answer = json!({"module": "heartbeat", "success": true, "content": "live", "header": {}});
    match ws.write(Message::text(answer.to_string())) {
        Ok(()) => true,
        Err(Error::Io(error)) => error.kind() == io::ErrorKind::WouldBlock,
        Err(_) => false,
    }
}

/// A Close frame, and the client's answer to it.
fn close(ws: &mut Ws, code: u16, inbox: &Inbox) {
    let frame = CloseFrame {
        code: code.into(),
        reason: "".into(),
    };
    let _ = ws.close(Some(frame));
    let until = Instant::now() + CLOSING_MAX;
    let Ok(raw) = ws.get_ref().get_ref().try_clone() else {
        return;
    };
    while Instant::now() < until {
        match ws.read() {
            Ok(_) => continue,
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
        let _ = ws.flush();
        if inbox
            .wait(Some((raw.as_fd(), PollFlags::IN)), Some(until))
            .is_err()
            || matches!(inbox.take(), Some(Command::Quit))
        {
            return;
        }
    }
}
