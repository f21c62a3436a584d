//! Commands for a connection from other threads, and the wait for commands and the socket together.

use std::fmt;
use std::io::{self, Read};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use serde_json::Value;

use super::record::left;
use crate::demo::player::script::{Cut, Frame};

/// A command for a connection.
#[derive(Debug)]
pub(in crate::demo) enum Command {
    /// Sends a message.
    Send(Value),
    /// Sends a frame unchanged.
    Frame(Frame),
    /// Sends a frame byte by byte.
    SlowWrite(Frame, Duration),
    /// Cuts the connection.
    Cut(Cut),
    /// Neither reads nor writes for this time.
    Stall(Option<Duration>),
    /// A newer connection takes over; `true` if the older one should have been closed.
    Displace(bool),
    /// Data may flow (media).
    Go,
    /// The stream is over: no more data except this many trailing phrases (media).
    Finish(u64),
    /// Runs a short callback once the kernel has accepted everything before it, or as much as it
    /// can.
    Callback(Callback),
    /// The demo stops.
    Quit,
}

/// A short callback.
pub(in crate::demo) struct Callback(pub(in crate::demo) Box<dyn FnOnce() + Send>);

impl fmt::Debug for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Then")
    }
}

/// The sending end for commands to a connection.
#[derive(Clone)]
pub(in crate::demo) struct ConnectionQueue {
    sender: Sender<Command>,
    waker: Arc<OwnedFd>,
}

impl ConnectionQueue {
    pub(in crate::demo) fn new() -> io::Result<(ConnectionQueue, Inbox)> {
        let (sender, receiver) = mpsc::channel();
        let waker = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
        Ok((
            ConnectionQueue {
                sender,
                waker: Arc::clone(&waker),
            },
            Inbox { receiver, waker },
        ))
    }

    pub(in crate::demo) fn post(&self, command: Command) {
        // A closed connection needs no commands.
        let _ = self.sender.send(command);
        let _ = rustix::io::write(&*self.waker, &1u64.to_ne_bytes());
    }

    pub(in crate::demo) fn quit(&self) {
        self.post(Command::Quit);
    }
}

/// The receiving end of a connection's queue.
pub(in crate::demo) struct Inbox {
    receiver: Receiver<Command>,
    waker: Arc<OwnedFd>,
}

impl Inbox {
    pub(in crate::demo) fn take(&self) -> Option<Command> {
        self.receiver.try_recv().ok()
    }

    /// Waits for the socket, a command or the time. Returns whether the socket may be readable.
    pub(in crate::demo) fn wait(
        &self,
        socket: Option<(BorrowedFd<'_>, PollFlags)>,
        until: Option<Instant>,
    ) -> io::Result<bool> {
        let timeout = until.map(|until| {
            let left = left(until);
            Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: i64::from(left.subsec_nanos()),
            }
        });
        let mut fds = vec![PollFd::new(&*self.waker, PollFlags::IN)];
        if let Some((fd, flags)) = socket {
            fds.push(PollFd::from_borrowed_fd(fd, flags));
        }
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
        if !fds[0].revents().is_empty() {
            let _ = rustix::io::read(&*self.waker, &mut [0u8; 8]);
        }
        Ok(fds.get(1).is_none_or(|fd| !fd.revents().is_empty()))
    }

    /// Keeps the socket open without sending, until the peer closes, the demo stops, or the time
    /// limit.
    pub(in crate::demo) fn hold(&self, mut stream: impl Read, socket: &TcpStream) {
        let until = Instant::now() + Duration::from_secs(180);
        let mut bytes = [0; 1024];
        while Instant::now() < until {
            match stream.read(&mut bytes) {
                Ok(0) => return,
                Ok(_) => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
            if self
                .wait(Some((socket.as_fd(), PollFlags::IN)), Some(until))
                .is_err()
            {
                return;
            }
            if let Some(Command::Quit) = self.take() {
                return;
            }
        }
    }
}
