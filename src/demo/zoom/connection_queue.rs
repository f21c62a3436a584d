//! Commands for a connection from other threads, and the wait for them and the socket alike.

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

/// What another thread wants of a connection.
#[derive(Debug)]
pub(in crate::demo) enum Command {
    /// Sends a message.
    Send(Value),
    /// Sends a frame as it is.
    Frame(Frame),
    /// Sends a frame byte by byte.
    SlowWrite(Frame, Duration),
    /// Cuts the connection.
    Cut(Cut),
    /// Neither reads nor writes for so long.
    Stall(Option<Duration>),
    /// A newer connection takes over; true if the older should have been gone.
    Displace(bool),
    /// Data may flow (media).
    Go,
    /// The stream is over: no data any more but so many trailing phrases (media).
    Finish(u64),
    /// Runs something small once all before it is with the kernel, or as far as it takes it.
    Callback(Callback),
    /// The demo stops.
    Quit,
}

/// Something small to run.
pub(in crate::demo) struct Callback(pub(in crate::demo) Box<dyn FnOnce() + Send>);

impl fmt::Debug for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Then")
    }
}

/// Where commands for a connection are put.
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
        // A connection that is gone needs no commands.
        let _ = self.sender.send(command);
        let _ = rustix::io::write(&*self.waker, &1u64.to_ne_bytes());
    }

    pub(in crate::demo) fn quit(&self) {
        self.post(Command::Quit);
    }
}

/// The other end of a mailbox.
pub(in crate::demo) struct Inbox {
    receiver: Receiver<Command>,
    waker: Arc<OwnedFd>,
}

impl Inbox {
    pub(in crate::demo) fn take(&self) -> Option<Command> {
        self.receiver.try_recv().ok()
    }

    /// Waits for the socket, a command or the time. Whether the socket may have something.
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

    /// Holds the socket open without a word, until the peer closes, the demo stops, or long enough.
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
