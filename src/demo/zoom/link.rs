//! One WebSocket connection of the demo's Zoom, on a thread of its own: TLS, upgrade, frames,
//! commands from other threads, keep-alives, and faults.
//!
//! The content of messages is handled in `signaling` and `media`.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use native_tls::TlsAcceptor;
use rustix::event::PollFlags;
use serde_json::{Value, json};
use tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tungstenite::{Error, Message};

use super::connection_queue::{Callback, Command, Inbox};
use super::opening::{Ws, accept};
use super::record::unix_ms;
use super::shared::Shared;
use crate::demo::player::script::{Cut, Frame, FrameKind, MeetingScript, Socket};

/// How long a Close frame waits for its answer. A client on a busy machine reads megabytes first; closed
/// before that, the kernel resets the connection because of our unread input, and the client loses them.
const CLOSING_MAX: Duration = Duration::from_secs(20);
const WRITE_BUFFER_BYTES: usize = 32 * 1024;

/// Why a connection has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::demo) enum Gone {
    /// The client sent a Close frame.
    Closed(Option<u16>),
    /// The client ended TCP without a Close frame.
    Ended,
    /// Anything else the client did.
    Broken(String),
    /// We cut it.
    Cut,
    /// A newer connection took over.
    Displaced,
    /// Too many keep-alives unanswered.
    Silent,
    /// The demo stops.
    Stopped,
}

/// The next event of a connection.
pub(in crate::demo) enum Event {
    /// A message from the client.
    Message(Value),
    /// A command that is not about the socket alone.
    Command(Command),
    /// The requested time has come.
    Timer,
    /// The connection has ended; the socket is closed or about to be.
    Gone(Gone),
}

struct Asked {
    timestamp: Option<Value>,
    sequence: Option<Value>,
    at: Instant,
}

/// An open WebSocket connection.
pub(in crate::demo) struct Link {
    shared: Arc<Shared>,
    socket: Socket,
    ws: Ws,
    inbox: Inbox,
    /// Its name in violations.
    pub(in crate::demo) label: String,
    frames: FrameKind,
    /// Keep-alives lack the fields that the published mock server leaves out.
    is_mock: bool,
    sent_frames: u64,
    is_dirty: bool,
    is_blocked: bool,
    /// The last wait found nothing to read, as most waits do.
    is_quiet: bool,
    stalled: Option<Option<Instant>>,
    drip: Option<SlowWrite>,
    held: VecDeque<Message>,
    next_keep_alive: Option<Instant>,
    asked: VecDeque<Asked>,
    asked_count: u64,
}

struct SlowWrite {
    bytes: VecDeque<u8>,
    pause: Duration,
    next: Instant,
}

impl Link {
    /// Serves TLS and the upgrade; returns the link and the requested path.
    pub(in crate::demo) fn accept(
        shared: Arc<Shared>,
        socket: Socket,
        stream: TcpStream,
        acceptor: &TlsAcceptor,
        inbox: Inbox,
        is_available: bool,
    ) -> Option<(Link, String)> {
        let config = WebSocketConfig::default()
            .read_buffer_size(4 * 1024)
            .write_buffer_size(WRITE_BUFFER_BYTES)
            .max_message_size(Some(1 << 20))
            .max_frame_size(Some(1 << 20));
        let (ws, target) = accept(
            &shared,
            stream,
            acceptor,
            &inbox,
            Some(config),
            is_available,
        )?;
        let interval = shared.options.keep_alive;
        let path = target.path().to_owned();
        let link = Link {
            shared,
            socket,
            ws,
            inbox,
            label: format!("{socket:?} {path}"),
            frames: FrameKind::Text,
            is_mock: false,
            sent_frames: 0,
            is_dirty: false,
            is_blocked: false,
            is_quiet: false,
            stalled: None,
            drip: None,
            held: VecDeque::new(),
            next_keep_alive: (!interval.is_zero()).then(|| Instant::now() + interval),
            asked: VecDeque::new(),
            asked_count: 0,
        };
        Some((link, path))
    }

    /// Applies the script's frame kinds and oddities from now on.
    pub(in crate::demo) fn set_manners(&mut self, script: &MeetingScript) {
        self.frames = script.frames;
        self.is_mock = script.odd.mock_server;
    }

    /// Whether data should wait: the socket accepts no more, or is stalled.
    pub(in crate::demo) fn is_blocked(&self) -> bool {
        self.is_blocked || self.stalled.is_some() || self.drip.is_some()
    }

    /// Whether the kernel has accepted everything that was sent.
    pub(in crate::demo) fn is_flushed(&self) -> bool {
        !self.is_dirty && !self.is_blocked && self.held.is_empty() && self.drip.is_none()
    }

    /// Queues a message.
    pub(in crate::demo) fn send(&mut self, message: &Value) -> Result<(), Gone> {
        self.send_text(message.to_string())
    }

    /// Queues a message that is JSON already.
    pub(in crate::demo) fn send_text(&mut self, text: String) -> Result<(), Gone> {
        self.sent_frames += 1;
        let is_binary = match self.frames {
            FrameKind::Text => false,
            FrameKind::Binary => true,
            FrameKind::Both => self.sent_frames.is_multiple_of(2),
        };
        self.write(if is_binary {
            Message::binary(text.into_bytes())
        } else {
            Message::text(text)
        })
    }

    fn write(&mut self, message: Message) -> Result<(), Gone> {
        if self.stalled.is_some() || self.drip.is_some() {
            self.held.push_back(message);
            return Ok(());
        }
        self.is_dirty = true;
        match self.ws.write(message) {
            Ok(()) => Ok(()),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                self.is_blocked = true;
                Ok(())
            }
            Err(error) => Err(broken(error)),
        }
    }

    /// Writes the queued data, as far as the kernel accepts it.
    pub(in crate::demo) fn flush(&mut self) -> Result<(), Gone> {
        if self.stalled.is_some() || !(self.is_dirty || self.is_blocked) {
            return Ok(());
        }
        match self.ws.flush() {
            Ok(()) => {
                self.is_dirty = false;
                self.is_blocked = false;
                Ok(())
            }
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                self.is_blocked = true;
                Ok(())
            }
            Err(error) => Err(broken(error)),
        }
    }

    /// Waits for the next event. Commands about the socket itself are carried out here.
    pub(in crate::demo) fn next(&mut self, until: Option<Instant>) -> Event {
        match self.advance(until) {
            Ok(event) => event,
            Err(gone) => Event::Gone(gone),
        }
    }

    fn advance(&mut self, until: Option<Instant>) -> Result<Event, Gone> {
        // A blocked link waits for room without a time limit, and reports it in any case.
        let was_blocked = self.is_blocked();
        let mut has_waited = false;
        loop {
            if let Some(command) = self.inbox.take() {
                match command {
                    Command::Send(message) => self.send(&message)?,
                    Command::Frame(frame) => self.send_frame(frame)?,
                    Command::SlowWrite(frame, pause) => self.begin_drip(frame, pause)?,
                    Command::Stall(length) => {
                        self.flush()?;
                        self.stalled = Some(length.map(|length| Instant::now() + length));
                    }
                    Command::Cut(cut) => {
                        self.cut(cut);
                        return Err(Gone::Cut);
                    }
                    Command::Displace(should_be_gone) => {
                        return Err(self.displace(should_be_gone));
                    }
                    Command::Callback(Callback(run)) => {
                        self.flush()?;
                        run();
                    }
                    Command::Quit => return Err(Gone::Stopped),
                    Command::Go | Command::Finish(_) => return Ok(Event::Command(command)),
                }
                continue;
            }
            if let Some(end) = self.stalled {
                if end.is_none_or(|end| end > Instant::now()) {
                    self.wait(None, end)?;
                    continue;
                }
                self.stalled = None;
                // Keep-alives from before the stall could not be answered; new ones will be sent.
                self.asked.clear();
                self.release()?;
            }
            self.keep_alive()?;
            self.drip()?;
            let read = match self.is_quiet {
                true => Err(Error::Io(io::ErrorKind::WouldBlock.into())),
                false => self.ws.read(),
            };
            match read {
                Ok(Message::Text(text)) => {
                    if let Some(message) = self.parse(text.as_bytes()) {
                        return Ok(Event::Message(message));
                    }
                    continue;
                }
                Ok(Message::Binary(bytes)) => {
                    if let Some(message) = self.parse(&bytes) {
                        return Ok(Event::Message(message));
                    }
                    continue;
                }
                Ok(Message::Close(frame)) => {
                    // tungstenite queues the answer; this sends it.
                    let _ = self.ws.flush();
                    return Err(Gone::Closed(frame.map(|frame| frame.code.into())));
                }
                Ok(_) => continue,
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(broken(error)),
            }
            self.flush()?;
            let is_free = was_blocked && !self.is_blocked();
            if is_free || until.is_some_and(|until| until <= Instant::now()) {
                // A link that never has to wait still reads now and then.
                self.is_quiet &= has_waited;
                return Ok(Event::Timer);
            }
            let drip = self.drip.as_ref().map(|drip| drip.next);
            let until = [until, self.next_keep_alive, drip]
                .into_iter()
                .flatten()
                .min();
            let mut flags = PollFlags::IN;
            if self.is_blocked {
                flags |= PollFlags::OUT;
            }
            self.wait(Some(flags), until)?;
            has_waited = true;
        }
    }

    fn wait(&mut self, flags: Option<PollFlags>, until: Option<Instant>) -> Result<(), Gone> {
        let socket = flags.map(|flags| (self.ws.get_ref().get_ref().as_fd(), flags));
        let waited = self.inbox.wait(socket, until);
        let is_due = waited.map_err(|error| Gone::Broken(error.to_string()))?;
        self.is_quiet = !is_due && flags.is_some_and(|flags| flags.contains(PollFlags::IN));
        Ok(())
    }

    fn release(&mut self) -> Result<(), Gone> {
        for message in std::mem::take(&mut self.held) {
            self.write(message)?;
        }
        Ok(())
    }

    /// Parses a message; an answer to a keep-alive is handled here.
    fn parse(&mut self, bytes: &[u8]) -> Option<Value> {
        match serde_json::from_slice::<Value>(bytes) {
            Ok(message) if message["msg_type"] == 13 => {
                self.keep_alive_answer(&message);
                None
            }
            Ok(message) if message["msg_type"].is_u64() => Some(message),
            Ok(_) => {
                self.violation("a message without msg_type");
                None
            }
            Err(error) => {
                self.violation(&format!("a message that is not JSON: {error}"));
                None
            }
        }
    }

    pub(in crate::demo) fn violation(&self, what: &str) {
        self.shared.violation(format!("{}: {what}", self.label));
    }

    fn keep_alive(&mut self) -> Result<(), Gone> {
        let now = Instant::now();
        if self.next_keep_alive.is_none_or(|due| due > now) {
            return Ok(());
        }
        if self.asked.len() >= self.shared.options.unanswered_max {
            self.violation(&format!("{} keep-alives unanswered", self.asked.len()));
            // Who does not answer these would not answer a Close frame, so nothing waits for that.
            let _ = self.ws.close(Some(close_frame(1000)));
            self.cut(Cut::Fin);
            return Err(Gone::Silent);
        }
        self.next_keep_alive = Some(now + self.shared.options.keep_alive);
        self.ask(now)
    }

    fn ask(&mut self, at: Instant) -> Result<(), Gone> {
        self.asked_count += 1;
        // Sometimes beyond 53 bits, to detect a client that converts numbers to doubles.
        let n = self.asked_count;
        let sequence = match n % 3 {
            _ if self.is_mock => None,
            0 => None,
            1 => Some(json!(n)),
            _ => Some(json!(9_007_199_254_740_993_u64 + n)),
        };
        let is_stamped = !(self.is_mock && n.is_multiple_of(3));
        let timestamp = is_stamped.then(|| json!(unix_ms()));
        let mut message = json!({"msg_type": 12});
        if let Some(timestamp) = &timestamp {
            message["timestamp"] = timestamp.clone();
        }
        if let Some(sequence) = &sequence {
            message["sequence"] = sequence.clone();
        }
        self.asked.push_back(Asked {
            timestamp,
            sequence,
            at,
        });
        self.send(&message)?;
        self.flush()
    }

    fn keep_alive_answer(&mut self, answer: &Value) {
        let place = self.asked.iter().position(|asked| {
            answer.get("timestamp") == asked.timestamp.as_ref()
                && answer.get("sequence") == asked.sequence.as_ref()
        });
        match place.and_then(|place| self.asked.remove(place)) {
            Some(asked) => self
                .shared
                .keep_alive_answered(self.socket, asked.at.elapsed()),
            None => self.violation(&format!(
                "a keep-alive answer that matches nothing asked here: {answer}"
            )),
        }
    }

    fn send_frame(&mut self, frame: Frame) -> Result<(), Gone> {
        match frame {
            Frame::Text(text) => self.write(Message::text(text)),
            Frame::Binary(bytes) => self.write(Message::binary(bytes)),
            Frame::Ping(bytes) => self.write(Message::Ping(bytes.into())),
            frame @ (Frame::BadText(_) | Frame::Raw(_)) => self.begin_drip(frame, Duration::ZERO),
        }
    }

    /// Sends bytes one by one, bypassing the WebSocket layer, after what is queued there.
    fn begin_drip(&mut self, frame: Frame, pause: Duration) -> Result<(), Gone> {
        let until = Instant::now() + CLOSING_MAX;
        while !self.is_flushed() && Instant::now() < until {
            self.flush()?;
            if self.is_blocked {
                self.wait(Some(PollFlags::OUT), Some(until))?;
            }
        }
        self.drip = Some(SlowWrite {
            bytes: encode(frame).into(),
            pause,
            next: Instant::now(),
        });
        Ok(())
    }

    fn drip(&mut self) -> Result<(), Gone> {
        let Some(drip) = &mut self.drip else {
            return Ok(());
        };
        while drip.next <= Instant::now() {
            if drip.bytes.is_empty() {
                break;
            }
            let count = match drip.pause {
                Duration::ZERO => drip.bytes.len(),
                _ => 1,
            };
            match self
                .ws
                .get_mut()
                .write(&drip.bytes.make_contiguous()[..count])
            {
                Ok(written) => {
                    drip.bytes.drain(..written);
                    drip.next = Instant::now() + drip.pause;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    drip.next = Instant::now() + Duration::from_millis(1);
                }
                Err(error) => return Err(Gone::Broken(error.to_string())),
            }
        }
        if drip.bytes.is_empty() {
            self.drip = None;
            self.release()?;
        }
        Ok(())
    }

    /// Ends the connection in that way; afterwards the link can only be dropped.
    pub(in crate::demo) fn cut(&mut self, cut: Cut) {
        match cut {
            Cut::Close(code) => {
                self.stalled = None;
                let until = Instant::now() + CLOSING_MAX;
                let _ = self.ws.close(Some(close_frame(code)));
                while Instant::now() < until {
                    match self.ws.read() {
                        Ok(_) => continue,
                        Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                        Err(_) => break,
                    }
                    let is_blocked = matches!(&self.ws.flush(),
                        Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock);
                    let mut flags = PollFlags::IN;
                    flags.set(PollFlags::OUT, is_blocked);
                    if self.wait(Some(flags), Some(until)).is_err() {
                        break;
                    }
                    if self.shared.is_stopping() {
                        break;
                    }
                }
            }
            Cut::Fin => {
                let _ = self.ws.flush();
                let _ = self.tcp().shutdown(Shutdown::Write);
            }
            Cut::Reset => {
                let _ = rustix::net::sockopt::set_socket_linger(self.tcp(), Some(Duration::ZERO));
            }
        }
    }

    fn tcp(&self) -> &TcpStream {
        self.ws.get_ref().get_ref()
    }

    fn displace(&mut self, should_be_gone: bool) -> Gone {
        if self.stalled.take().is_none() && should_be_gone {
            let is_open = loop {
                match self.ws.read() {
                    Ok(Message::Close(_)) => break false,
                    Ok(_) => continue,
                    Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                        break true;
                    }
                    Err(_) => break false,
                }
            };
            if is_open {
                self.violation("still open when a newer one for the same stream came");
            }
        }
        self.cut(Cut::Close(1000));
        Gone::Displaced
    }
}

fn close_frame(code: u16) -> CloseFrame {
    CloseFrame {
        code: code.into(),
        reason: "".into(),
    }
}

fn broken(error: Error) -> Gone {
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed => Gone::Closed(None),
        Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => {
            Gone::Ended
        }
        Error::Io(error)
            if matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
            ) =>
        {
            Gone::Ended
        }
        error => Gone::Broken(error.to_string()),
    }
}

/// The bytes of a frame as a server sends it: final and unmasked.
fn encode(frame: Frame) -> Vec<u8> {
    let (opcode, payload) = match frame {
        Frame::Raw(bytes) => return bytes,
        Frame::Text(text) => (1, text.into_bytes()),
        Frame::BadText(bytes) => (1, bytes),
        Frame::Binary(bytes) => (2, bytes),
        Frame::Ping(bytes) => (9, bytes),
    };
    let mut bytes = vec![0x80 | opcode];
    match payload.len() {
        length @ 0..=125 => bytes.push(length as u8),
        length @ 126..=65_535 => {
            bytes.push(126);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            bytes.push(127);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&payload);
    bytes
}
