//! The thread `events`: sockets, tokens and time for the `Machine`.
//!
//! It waits in poll(2) for its sockets, for commands, and for the next deadline. A token is fetched on
//! a short-lived thread, so that the present connection is served meanwhile.

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tungstenite::Message;

use super::delivery::Delivery;
use super::machine::{LinkId, Machine, Output, Times, TokenFailure, TokenStamp};
use super::status::{Shared, Snapshot};
use super::{SourceReport, Token, Tokens};
use crate::clock::now_ms;
use crate::domain::severity::Severity;
use crate::domain::turn::Turn;
use crate::gate::bump;
use crate::inbox;
use crate::log::app::inherit;
use crate::net::connect_proxy::ConnectProxy;
use crate::net::dial::Dialer;
use crate::net::proxy::ProxyEnv;
use crate::net::waker::{Wakeable, Waker, waker};
use crate::net::websocket::{Read, Socket};
use crate::protocol::Loss;
use crate::protocol::server_url::ServerUrl;
use crate::source::webhook::desk::Accepted;
use crate::state::intents::IntentLog;

/// Maximum bytes of a message: a webhook may have half as many, and is escaped here. Zoom's events have a
/// few thousand.
const MESSAGE_BYTES_MAX: usize = 512 << 10;
/// Maximum messages per turn, so that a flood delays no heartbeat, and their bytes, which are held until
/// all of them are stored.
const MESSAGES_PER_TURN: usize = 256;
const BYTES_PER_TURN: usize = 4 << 20;
/// The daemon stores this often until when Zoom was heard.
const HEARD_EVERY: Duration = Duration::from_secs(300);
/// For JSON and the parser of events.
const STACK_BYTES: usize = 256 << 10;
/// For a TLS handshake of a token request.
const TOKEN_STACK_BYTES: usize = 512 << 10;

/// What the thread needs and cannot get new while it runs.
#[derive(Debug)]
pub struct Process<T> {
    /// Opens the WebSockets.
    pub dialer: Dialer,
    /// The proxies of the environment, as for REST calls.
    pub proxy: ProxyEnv,
    /// Where events go.
    pub inbox: inbox::Sender<T>,
    /// Where they are stored before; `None` without a state directory.
    pub intents: Option<Arc<IntentLog>>,
}

enum Command {
    /// Other credentials or another address.
    Settings(ServerUrl, Arc<dyn Tokens>, bool),
    Turn(Turn, bool),
    SystemResumed,
    Stop,
}

/// The running thread.
pub struct EventsSource {
    commands: Sender<Command>,
    waker: Waker,
    shared: Arc<Shared>,
    is_stopping: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl fmt::Debug for EventsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventsSource")
            .field("snapshot", &self.shared.snapshot())
            .finish_non_exhaustive()
    }
}

impl EventsSource {
    /// Starts the thread, which connects at once if it is its turn.
    ///
    /// # Errors
    /// If the thread or its waker cannot be created.
    pub fn start<T>(
        url: ServerUrl,
        turn: Turn,
        heartbeat: Duration,
        tokens: Arc<dyn Tokens>,
        process: Process<T>,
    ) -> io::Result<EventsSource>
    where
        T: From<Accepted> + From<SourceReport> + Send + 'static,
    {
        let (waker, wakeable) = waker()?;
        let (commands, receiver) = mpsc::channel();
        let (sender, fetched) = mpsc::channel();
        let shared = Shared::new(now_ms(), turn);
        let is_stopping = Arc::new(AtomicBool::new(false));
        let now = Instant::now();
        let times = Times { heartbeat };
        let work = Work {
            machine: Machine::new(
                now,
                turn,
                tokens.kinds(),
                times,
                now_ms() ^ u64::from(std::process::id()),
            ),
            url,
            tokens,
            dialer: process.dialer,
            proxies: process.proxy,
            delivery: Delivery::new(
                process.inbox,
                process.intents,
                Arc::clone(&shared),
                Arc::clone(&is_stopping),
            ),
            shared: Arc::clone(&shared),
            commands: receiver,
            waker: waker.clone(),
            wakeable,
            sockets: Vec::new(),
            token: None,
            fetches: 0,
            fetching: Vec::new(),
            fetched,
            sender,
            heard_sent: None,
        };
        let thread = Builder::new()
            .name("events".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(inherit(move || work.run()))?;
        Ok(EventsSource {
            commands,
            waker,
            shared,
            is_stopping,
            thread,
        })
    }

    /// State and counters.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Uses this address and these tokens; connects again at once if `is_changed`. The present
    /// connection is used until the next one is accepted.
    pub fn reload(&self, url: ServerUrl, tokens: Arc<dyn Tokens>, is_changed: bool) {
        self.command(Command::Settings(url, tokens, is_changed));
    }

    /// Whose turn it is to have the connection. With `replaces` another node has it now.
    pub fn set_turn(&self, turn: Turn, replaces: bool) {
        self.command(Command::Turn(turn, replaces));
    }

    /// To be called after the system was suspended: the connection may be dead.
    pub fn system_resumed(&self) {
        self.command(Command::SystemResumed);
    }

    /// Tells the thread to end.
    pub fn begin_stop(&self) {
        self.is_stopping.store(true, Relaxed);
        self.command(Command::Stop);
    }

    /// Waits until the thread has ended. `false` if it has not by then.
    pub fn stop(self, deadline: Instant) -> bool {
        self.begin_stop();
        while !self.thread.is_finished() {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
        if self.thread.join().is_err() {
            log::error!("the events thread panicked");
        }
        true
    }

    fn command(&self, command: Command) {
        // If the thread has ended, there is nothing to do.
        let _ = self.commands.send(command);
        self.waker.wake();
    }
}

/// A fetched token: the number of the fetch, and the result.
type Fetched = (u64, Result<Token, TokenFailure>);

struct Work<T> {
    machine: Machine,
    url: ServerUrl,
    tokens: Arc<dyn Tokens>,
    dialer: Dialer,
    proxies: ProxyEnv,
    delivery: Delivery<T>,
    shared: Arc<Shared>,
    commands: Receiver<Command>,
    waker: Waker,
    wakeable: Wakeable,
    sockets: Vec<(LinkId, Socket)>,
    /// The one that was fetched last.
    token: Option<Token>,
    fetches: u64,
    fetching: Vec<JoinHandle<()>>,
    fetched: Receiver<Fetched>,
    sender: Sender<Fetched>,
    heard_sent: Option<Instant>,
}

impl<T: From<Accepted> + From<SourceReport>> Work<T> {
    fn run(mut self) {
        loop {
            self.wakeable.clear();
            if self.take_commands() {
                break;
            }
            self.take_tokens();
            let has_more = self.read();
            self.machine.handle_time(Instant::now());
            self.carry_out();
            for (_, socket) in &mut self.sockets {
                socket.flush();
            }
            self.publish();
            self.wait(has_more);
        }
        if let Some(heard) = self.machine.heard() {
            // Where the gap of the next process begins.
            let ms = unix_ms(heard);
            self.delivery.tell(T::from(SourceReport::Heard { ms }));
        }
        for (_, socket) in self.sockets.drain(..) {
            socket.close();
        }
        // The end of the REST client aborts a fetch.
        for thread in self.fetching.drain(..) {
            let _ = thread.join();
        }
    }

    /// `true` at the end.
    fn take_commands(&mut self) -> bool {
        loop {
            let now = Instant::now();
            match self.commands.try_recv() {
                Ok(Command::Settings(url, tokens, is_changed)) => {
                    let kinds = tokens.kinds();
                    (self.url, self.tokens) = (url, tokens);
                    if is_changed {
                        self.machine.handle_settings(now, kinds);
                    }
                }
                Ok(Command::Turn(turn, replaces)) => self.machine.handle_turn(now, turn, replaces),
                Ok(Command::SystemResumed) => self.machine.handle_resume(now),
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return true,
                Err(TryRecvError::Empty) => return false,
            }
        }
    }

    fn take_tokens(&mut self) {
        while let Ok((number, result)) = self.fetched.try_recv() {
            // The answer to an earlier question came late.
            if number != self.fetches {
                continue;
            }
            let stamp = result.map(|token| {
                let stamp = TokenStamp {
                    serial: token.serial,
                    renew_at: token.renew_at,
                };
                self.token = Some(token);
                stamp
            });
            self.machine.handle_token(Instant::now(), stamp);
        }
        let (ended, running) = std::mem::take(&mut self.fetching)
            .into_iter()
            .partition(JoinHandle::is_finished);
        self.fetching = running;
        for thread in Vec::from_iter::<Vec<JoinHandle<()>>>(ended) {
            let _ = thread.join();
        }
    }

    /// Reads what has arrived; `true` if there may be more.
    fn read(&mut self) -> bool {
        let mut left = MESSAGES_PER_TURN;
        let mut bytes_left = BYTES_PER_TURN;
        let mut gone = Vec::new();
        for (id, socket) in &mut self.sockets {
            let id = *id;
            match socket.opened() {
                Some(Ok(())) => self.machine.handle_open(Instant::now(), id),
                Some(Err(loss)) => {
                    gone.push((id, loss));
                    continue;
                }
                None => {}
            }
            while left > 0 && bytes_left > 0 {
                left -= 1;
                match socket.read() {
                    Read::Message(Message::Text(text)) => {
                        let now = Instant::now();
                        self.machine.handle_message(now, id, Some(text.as_bytes()));
                    }
                    Read::Message(Message::Binary(bytes)) => {
                        bytes_left = bytes_left.saturating_sub(bytes.len());
                        self.machine
                            .handle_message(Instant::now(), id, Some(&bytes));
                    }
                    Read::Message(_) => self.machine.handle_message(Instant::now(), id, None),
                    Read::Skipping => {}
                    Read::Empty => break,
                    Read::Gone(loss) => {
                        gone.push((id, loss));
                        break;
                    }
                }
            }
            let skipped = socket.take_skipped();
            if skipped.count > 0 {
                let malformed = &self.shared.counters.malformed;
                malformed.fetch_add(skipped.count, Relaxed);
                log::warn!(
                    "an event was skipped: it has {} bytes, {MESSAGE_BYTES_MAX} are read",
                    skipped.bytes
                );
            }
        }
        for (id, loss) in gone {
            self.lost(id, &loss);
        }
        left == 0 || bytes_left == 0
    }

    fn lost(&mut self, id: LinkId, loss: &Loss) {
        self.sockets.retain(|(known, _)| *known != id);
        if !self.machine.is_leaving(id) {
            bump(&self.shared.counters.losses);
        }
        self.machine.handle_lost(Instant::now(), id, loss);
    }

    fn carry_out(&mut self) {
        let mut events = Vec::new();
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Event(body) => events.push(body),
                Output::FetchToken { kind, refused } => self.fetch(kind, refused),
                Output::Connect(id) => self.connect(id),
                Output::Beat(id, text) => self.beat(id, text),
                Output::Close(id) => self.close(id),
                Output::GapOver {
                    since,
                    until,
                    is_first,
                } => {
                    bump(&self.shared.counters.connects);
                    let gap = until.saturating_duration_since(since).as_millis();
                    let gap_ms = u64::try_from(gap).unwrap_or(u64::MAX);
                    let until_ms = unix_ms(until);
                    if !is_first {
                        self.shared.counters.gap_ms.fetch_add(gap_ms, Relaxed);
                    }
                    // In the order in which it happened.
                    self.delivery.deliver(std::mem::take(&mut events));
                    self.delivery.tell(T::from(SourceReport::GapOver {
                        since_ms: (!is_first).then(|| until_ms.saturating_sub(gap_ms)),
                        until_ms,
                    }));
                }
                Output::Unknown(module) => {
                    bump(&self.shared.counters.malformed);
                    let module = module.unwrap_or_default();
                    log::debug!("unknown message on the event WebSocket module={module:?}");
                }
                Output::Trouble(text) => self.shared.set_trouble(&text),
                Output::Log(severity, text) => match severity {
                    Severity::Error => log::error!("{text}"),
                    Severity::Warn => log::warn!("{text}"),
                    Severity::Info => log::info!("{text}"),
                    Severity::Debug => log::debug!("{text}"),
                },
            }
        }
        self.delivery.deliver(events);
    }

    fn fetch(&mut self, kind: usize, refused: Option<u64>) {
        self.fetches += 1;
        let number = self.fetches;
        let (tokens, sender) = (Arc::clone(&self.tokens), self.sender.clone());
        let waker = self.waker.clone();
        let spawned = Builder::new()
            .name("events-token".to_owned())
            .stack_size(TOKEN_STACK_BYTES)
            .spawn(inherit(move || {
                let result = tokens.token(kind, refused);
                // If the receiver is gone, the thread has ended.
                let _ = sender.send((number, result));
                waker.wake();
            }));
        match spawned {
            Ok(thread) => self.fetching.push(thread),
            Err(error) => {
                let failure = TokenFailure {
                    text: format!("no thread to fetch a token: {error}"),
                    is_final: false,
                    retry_after: None,
                };
                self.machine.handle_token(Instant::now(), Err(failure));
            }
        }
    }

    fn connect(&mut self, id: LinkId) {
        let token = self.token.as_ref().map_or("", |token| token.text.expose());
        let url = self.url.with_parameter("access_token", token);
        let proxy = match ConnectProxy::for_server(&self.proxies, &url) {
            Ok(proxy) => proxy,
            Err(text) => return self.lost(id, &Loss::Connect(text)),
        };
        let (dialer, waker) = (&self.dialer, self.waker.clone());
        let socket = Socket::connect_by(url, proxy, MESSAGE_BYTES_MAX, dialer, waker);
        self.sockets.push((id, socket));
    }

    fn beat(&mut self, id: LinkId, text: &str) {
        let Some((_, socket)) = self.sockets.iter_mut().find(|(known, _)| *known == id) else {
            return;
        };
        let sent = socket.send(text.to_owned()).and_then(|()| socket.ping());
        if let Err(loss) = sent {
            self.lost(id, &loss);
        }
    }

    fn close(&mut self, id: LinkId) {
        if let Some(place) = self.sockets.iter().position(|(known, _)| *known == id) {
            let (_, socket) = self.sockets.remove(place);
            socket.close();
        }
    }

    /// Shows the state, and tells the daemon now and then until when Zoom was heard.
    fn publish(&mut self) {
        let heard = self.machine.heard();
        self.shared.publish(Snapshot {
            state: self.machine.state(),
            deaf_since_ms: self.machine.deaf_since().map(unix_ms),
            heard_ms: heard.map(unix_ms),
        });
        let Some(heard) = heard else { return };
        let is_due = self
            .heard_sent
            .is_none_or(|sent| heard.saturating_duration_since(sent) >= HEARD_EVERY);
        if is_due {
            self.heard_sent = Some(heard);
            let ms = unix_ms(heard);
            self.delivery.tell(T::from(SourceReport::Heard { ms }));
        }
    }

    fn wait(&self, has_more: bool) {
        let until = self.machine.poll_timeout();
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let left = match has_more {
            true => Some(Duration::ZERO),
            false => left,
        };
        let limit = left.and_then(|left| Timespec::try_from(left).ok());
        let mut fds = vec![PollFd::from_borrowed_fd(
            self.wakeable.as_fd(),
            PollFlags::IN,
        )];
        for (_, socket) in &self.sockets {
            if let Some(interest) = socket.interest() {
                fds.push(PollFd::new(interest.tcp, interest.flags()));
            }
        }
        // If poll is interrupted or fails, the loop simply runs once more.
        let _ = poll(&mut fds, limit.as_ref());
    }
}

/// The Unix time of a moment in the past.
fn unix_ms(at: Instant) -> u64 {
    let ago = Instant::now().saturating_duration_since(at).as_millis();
    now_ms().saturating_sub(u64::try_from(ago).unwrap_or(u64::MAX))
}
