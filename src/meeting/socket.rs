//! One WebSocket of a stream, which never blocks: it is being opened, or messages go to and fro.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::PollFlags;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Error as WsError, Message, WebSocket};

use super::carrier::Carrier;
use super::opener::{Opener, Ticket};
use crate::protocol::Loss;
use crate::protocol::url::ServerUrl;
use crate::waker::Waker;

/// A WebSocket, at any step of its life.
pub(super) struct Socket {
    step: Step,
    /// Output waits in our buffer until the peer takes it.
    wants_out: bool,
}

enum Step {
    Opening(Ticket),
    Open(Box<WebSocket<Carrier>>),
}

/// What [`Socket::read`] found.
pub(super) enum Read {
    /// A message.
    Message(Message),
    /// Nothing more for now.
    Empty,
    /// The connection is gone.
    Gone(Loss),
}

impl Socket {
    /// Begins to connect; `waker` is woken when there is an outcome.
    pub(super) fn connect(url: ServerUrl, opener: &Opener, waker: Waker) -> Socket {
        Socket {
            step: Step::Opening(opener.open(url, waker)),
            wants_out: false,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.step, Step::Open(_))
    }

    /// What to wait for, once it is open.
    pub(super) fn interest(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let Step::Open(socket) = &self.step else {
            return None;
        };
        let mut flags = PollFlags::IN;
        flags.set(PollFlags::OUT, self.wants_out);
        Some((socket.get_ref().as_fd(), flags))
    }

    /// What has become of opening it; `None` while nothing has.
    pub(super) fn opened(&mut self) -> Option<Result<(), Loss>> {
        let Step::Opening(ticket) = &self.step else {
            return None;
        };
        Some(ticket.outcome()?.map(|socket| {
            self.step = Step::Open(socket);
        }))
    }

    /// Makes the next read look whether more has arrived since the last one.
    pub(super) fn ask_again(&mut self) {
        if let Step::Open(socket) = &mut self.step {
            socket.get_mut().wire().ask_again();
        }
    }

    /// The next message, if one is there.
    pub(super) fn read(&mut self) -> Read {
        let Step::Open(socket) = &mut self.step else {
            return Read::Empty;
        };
        match socket.read() {
            Ok(Message::Close(frame)) => {
                // The answer to it is sent as far as the peer takes it; there is nobody to wait for.
                let _ = socket.flush();
                Read::Gone(Loss::Closed(frame.map(|frame| frame.code.into())))
            }
            Ok(message) => Read::Message(message),
            Err(WsError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Read::Empty,
            Err(WsError::ConnectionClosed | WsError::AlreadyClosed) => {
                Read::Gone(Loss::Closed(None))
            }
            Err(error) => Read::Gone(Loss::Broken(error.to_string())),
        }
    }

    /// Sends a text message, or keeps it until the peer takes it.
    pub(super) fn send(&mut self, text: String) -> Result<(), Loss> {
        let Step::Open(socket) = &mut self.step else {
            return Err(Loss::Broken("not connected".to_owned()));
        };
        match socket.send(Message::text(text)) {
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

    /// Sends what waits, pongs included.
    pub(super) fn flush(&mut self) {
        let Step::Open(socket) = &mut self.step else {
            return;
        };
        // An error shows again at the next read, which is where a loss is told.
        self.wants_out = matches!(
            socket.flush(),
            Err(WsError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock
        );
    }

    /// Says good-bye as far as that goes without waiting.
    pub(super) fn close(mut self) {
        if let Step::Open(socket) = &mut self.step {
            let frame = CloseFrame {
                code: CloseCode::Normal,
                reason: "".into(),
            };
            let _ = socket.close(Some(frame));
            let _ = socket.flush();
        }
    }
}
