//! A nonblocking WebSocket of a stream: connecting, or open.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;

use rustix::event::PollFlags;
use rustix::event::epoll::EventFlags;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Error as WsError, Message};

use super::connect_attempt::FilteredSocket;
use super::connect_proxy::ConnectProxy;
use super::dial::{Dialer, PendingConnection};
use super::frame_filter::Skipped;
use crate::net::waker::Waker;
use crate::protocol::Loss;
use crate::protocol::server_url::ServerUrl;

/// A WebSocket that is connecting or open.
pub(crate) struct Socket {
    step: Step,
    /// Output may be in our buffer until the peer reads.
    wants_out: bool,
}

enum Step {
    ConnectAttempt(PendingConnection),
    /// With the TCP socket to wait on: reaching it through the layers above would touch memory that
    /// is in no CPU cache after a second.
    Open(Box<FilteredSocket>, Arc<TcpStream>),
}

/// What a socket waits for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Interest<'a> {
    pub(crate) tcp: &'a TcpStream,
    /// Also for room for output.
    pub(crate) out: bool,
}

impl Interest<'_> {
    /// As flags of poll(2).
    pub(crate) fn flags(self) -> PollFlags {
        match self.out {
            true => PollFlags::IN | PollFlags::OUT,
            false => PollFlags::IN,
        }
    }

    /// As flags of epoll(7).
    pub(crate) fn events(self) -> EventFlags {
        match self.out {
            true => EventFlags::IN | EventFlags::OUT,
            false => EventFlags::IN,
        }
    }
}

/// Result of [`Socket::read`].
pub(crate) enum Read {
    /// A message.
    Message(Message),
    /// Nothing more for now.
    Empty,
    /// Part of a message that is skipped; there may be more to read.
    Skipping,
    /// The connection is lost.
    Gone(Loss),
}

impl Socket {
    /// Starts to connect; `waker` is woken when there is an outcome.
    pub(crate) fn connect(
        url: ServerUrl,
        message_bytes_max: usize,
        dialer: &Dialer,
        waker: Waker,
    ) -> Socket {
        Socket::connect_by(url, None, message_bytes_max, dialer, waker)
    }

    /// Likewise, by this proxy if there is one.
    pub(crate) fn connect_by(
        url: ServerUrl,
        proxy: Option<ConnectProxy>,
        message_bytes_max: usize,
        dialer: &Dialer,
        waker: Waker,
    ) -> Socket {
        Socket {
            step: Step::ConnectAttempt(dialer.open(url, proxy, message_bytes_max, waker)),
            wants_out: false,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.step, Step::Open(..))
    }

    /// What to wait for; `None` until it is open.
    pub(crate) fn interest(&self) -> Option<Interest<'_>> {
        match &self.step {
            Step::Open(_, tcp) => Some(Interest {
                tcp,
                out: self.wants_out,
            }),
            Step::ConnectAttempt(_) => None,
        }
    }

    /// The outcome of connecting; `None` while there is none.
    pub(crate) fn opened(&mut self) -> Option<Result<(), Loss>> {
        let Step::ConnectAttempt(ticket) = &self.step else {
            return None;
        };
        Some(ticket.outcome()?.map(|socket| {
            let tcp = Arc::clone(socket.get_ref().carrier().carrier().tcp());
            self.step = Step::Open(socket, tcp);
        }))
    }

    /// Makes the next read check the kernel for new data.
    pub(crate) fn force_read(&mut self) {
        if let Step::Open(socket, _) = &mut self.step {
            let upgrade = socket.get_mut().carrier_mut();
            upgrade.carrier_mut().wire().force_read();
        }
    }

    /// The messages skipped since the last call, because they were above the limit.
    pub(crate) fn take_skipped(&mut self) -> Skipped {
        match &mut self.step {
            Step::Open(socket, _) => socket.get_mut().take_skipped(),
            Step::ConnectAttempt(_) => Skipped::default(),
        }
    }

    /// The next message, if one is there. Text arrives as binary, and may not be UTF-8.
    pub(crate) fn read(&mut self) -> Read {
        let Step::Open(socket, _) = &mut self.step else {
            return Read::Empty;
        };
        match socket.read() {
            Ok(Message::Close(frame)) => {
                // Sends the answer as far as the peer reads; nothing is waited for.
                let _ = socket.flush();
                Read::Gone(Loss::Closed(frame.map(|frame| frame.code.into())))
            }
            Ok(message) => {
                // The library answers at its next read, as far as the peer reads.
                self.wants_out |= message.is_ping();
                Read::Message(message)
            }
            Err(WsError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Read::Empty,
            Err(WsError::Io(error)) if error.kind() == io::ErrorKind::Interrupted => Read::Skipping,
            Err(WsError::ConnectionClosed | WsError::AlreadyClosed) => {
                Read::Gone(Loss::Closed(None))
            }
            Err(error) => Read::Gone(Loss::Broken(error.to_string())),
        }
    }

    /// Sends a text message, or buffers it until the peer reads.
    pub(crate) fn send(&mut self, text: String) -> Result<(), Loss> {
        self.write(Message::text(text))
    }

    /// Sends a ping without content; the pong is read as a message.
    pub(crate) fn ping(&mut self) -> Result<(), Loss> {
        self.write(Message::Ping(Vec::new().into()))
    }

    fn write(&mut self, message: Message) -> Result<(), Loss> {
        let Step::Open(socket, _) = &mut self.step else {
            return Err(Loss::Broken("not connected".to_owned()));
        };
        match socket.send(message) {
            Ok(()) => Ok(()),
            Err(WsError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                self.wants_out = true;
                Ok(())
            }
            Err(WsError::WriteBufferFull(_)) => {
                Err(Loss::Broken("the peer has stopped reading".to_owned()))
            }
            Err(error) => Err(Loss::Broken(error.to_string())),
        }
    }

    /// Sends what is buffered, pongs included.
    pub(crate) fn flush(&mut self) {
        let Step::Open(socket, _) = &mut self.step else {
            return;
        };
        if !self.wants_out {
            return;
        }
        // The next read returns the same error and reports the loss.
        self.wants_out = matches!(
            socket.flush(),
            Err(WsError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock
        );
    }

    /// Sends a close frame as far as that is possible without blocking.
    pub(crate) fn close(mut self) {
        if let Step::Open(socket, _) = &mut self.step {
            let frame = CloseFrame {
                code: CloseCode::Normal,
                reason: "".into(),
            };
            let _ = socket.close(Some(frame));
            let _ = socket.flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::event::{PollFd, Timespec, poll};
    use tungstenite::WebSocket;
    use tungstenite::protocol::Role;
    use tungstenite::protocol::frame::Frame;
    use tungstenite::protocol::frame::coding::{Data, OpCode};

    use super::*;
    use crate::net::frame_filter::FrameFilter;
    use crate::net::maybe_tls::MaybeTlsStream;
    use crate::net::read_ahead;
    use crate::net::read_ahead::ReadAheadTcp;
    use crate::net::upgrade::UpgradeReader;

    /// An open socket, and Zoom's end of it.
    fn pair() -> (Socket, WebSocket<TcpStream>) {
        let (near, far) = read_ahead::tests::pair();
        let patience = Some(Duration::from_secs(20));
        far.set_read_timeout(patience).expect("a socket");
        let wire = ReadAheadTcp::new(near);
        let tcp = Arc::clone(wire.tcp());
        let mut upgrade = UpgradeReader::new(MaybeTlsStream::Plain(wire));
        upgrade.pass_through();
        let near = FrameFilter::new(upgrade, 1 << 20);
        let near = WebSocket::from_raw_socket(near, Role::Client, None);
        let socket = Socket {
            step: Step::Open(Box::new(near), tcp),
            wants_out: false,
        };
        (socket, WebSocket::from_raw_socket(far, Role::Server, None))
    }

    fn wait(socket: &Socket) {
        let interest = socket.interest().expect("it is open");
        let mut fds = [PollFd::new(interest.tcp, interest.flags())];
        let patience = Timespec {
            tv_sec: 20,
            tv_nsec: 0,
        };
        assert_eq!(poll(&mut fds, Some(&patience)), Ok(1));
    }

    #[test]
    fn a_ping_is_answered_although_nothing_follows_it() {
        let (mut socket, mut zoom) = pair();
        for round in 0..3 {
            let ping = Message::Ping(vec![round].into());
            zoom.send(ping.clone()).expect("it is sent");
            wait(&socket);
            let Read::Message(message) = socket.read() else {
                panic!("no message");
            };
            assert_eq!(message, ping);
            assert!(matches!(socket.read(), Read::Empty));
            socket.flush();
            let answer = zoom.read().expect("an answer");
            assert_eq!(answer, Message::Pong(vec![round].into()));
            let interest = socket.interest().expect("it is open");
            assert!(!interest.out, "nothing waits to be sent");
        }
    }

    #[test]
    fn a_bad_message_does_not_close_the_connection() {
        let (mut socket, mut zoom) = pair();
        let large = "x".repeat((1 << 20) + 1);
        let sender = std::thread::spawn(move || {
            zoom.send(Message::text(large)).expect("it is sent");
            let bad = Frame::message(b"caf\xe9".to_vec(), OpCode::Data(Data::Text), true);
            zoom.send(Message::Frame(bad)).expect("it is sent");
            zoom
        });
        let message = loop {
            wait(&socket);
            match socket.read() {
                Read::Message(message) => break message,
                Read::Empty | Read::Skipping => {}
                Read::Gone(loss) => panic!("{loss}"),
            }
        };
        assert_eq!(message, Message::binary(b"caf\xe9".to_vec()));
        let skipped = socket.take_skipped();
        assert_eq!((skipped.count, skipped.bytes), (1, (1 << 20) + 1));
        assert_eq!(socket.take_skipped(), Skipped::default());
        drop(sender.join().expect("everything was sent"));
    }

    #[test]
    fn output_waits_until_the_peer_reads() {
        let (mut socket, mut zoom) = pair();
        let text = "x".repeat(64 << 10);
        let mut sent = 0;
        while !socket.wants_out {
            socket.send(text.clone()).expect("there is room for it");
            sent += 1;
        }
        let reader = std::thread::spawn(move || {
            for _ in 0..sent {
                let message = zoom.read().expect("a message");
                assert_eq!(message.len(), 64 << 10);
            }
        });
        while socket.wants_out {
            wait(&socket);
            assert!(matches!(socket.read(), Read::Empty));
            socket.flush();
        }
        reader.join().expect("everything came");
    }
}
