//! The bytes of a file, from the disk to the socket, without passing through this process.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::sendfile;
use rustix::io::Errno;
use rustix::net::{SendFlags, send};

use super::Part;
use crate::delivery::clients::socket::prepare;

/// Sent at once, so that what may not be sent any more is seen soon.
const PIECE_BYTES: u64 = 256 << 10;
/// A client that takes nothing for so long is cut off; a player comes again.
const STALL_MAX: Duration = Duration::from_secs(60);
/// While a client takes nothing, it is looked so often whether it may still have it.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A nonblocking socket, and whether to go on.
pub(in crate::admin) struct Outlet<'a> {
    socket: BorrowedFd<'a>,
    may_go_on: &'a dyn Fn() -> bool,
}

impl<'a> Outlet<'a> {
    /// Sends as long as it may, which is looked up again and again.
    pub(in crate::admin) fn new(
        socket: &'a impl AsFd,
        may_go_on: &'a dyn Fn() -> bool,
    ) -> io::Result<Outlet<'a>> {
        prepare(socket)?;
        Ok(Outlet {
            socket: socket.as_fd(),
            may_go_on,
        })
    }

    /// Sends these bytes.
    pub(in crate::admin) fn send(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            let sent = self.when_there_is_room(|| send(self.socket, bytes, flags))?;
            bytes = bytes.get(sent..).unwrap_or_default();
        }
        Ok(())
    }

    /// Sends a part of a file.
    pub(in crate::admin) fn send_file(&self, part: &Part) -> io::Result<()> {
        let mut at = part.first;
        while at < part.end {
            if part.is_deleted()? {
                return Err(io::Error::other("the file was deleted"));
            }
            let count = (part.end - at).min(PIECE_BYTES) as usize;
            let sent = self.when_there_is_room(|| {
                let mut offset = at;
                sendfile(self.socket, &part.file, Some(&mut offset), count)
            })?;
            if sent == 0 {
                return Err(io::Error::other("the file became shorter"));
            }
            at += sent as u64;
        }
        Ok(())
    }

    fn when_there_is_room(
        &self,
        mut send: impl FnMut() -> rustix::io::Result<usize>,
    ) -> io::Result<usize> {
        let until = Instant::now() + STALL_MAX;
        loop {
            if !(self.may_go_on)() {
                return Err(io::Error::other("it may not be read any more"));
            }
            match send() {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if Instant::now() < until => self.wait()?,
                Err(Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
                sent => return Ok(sent?),
            }
        }
    }

    fn wait(&self) -> io::Result<()> {
        let mut fds = [PollFd::from_borrowed_fd(self.socket, PollFlags::OUT)];
        let limit = Timespec::try_from(LOOK_EVERY).ok();
        match poll(&mut fds, limit.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
