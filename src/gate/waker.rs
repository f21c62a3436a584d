//! Wakes the gate's poll from another thread.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

/// A pair of sockets, one byte of which makes the gate turn.
#[derive(Debug)]
pub(crate) struct Waker {
    near: UnixStream,
    far: UnixStream,
}

impl Waker {
    pub(crate) fn new() -> io::Result<Waker> {
        let (near, far) = UnixStream::pair()?;
        near.set_nonblocking(true)?;
        far.set_nonblocking(true)?;
        Ok(Waker { near, far })
    }

    /// Makes the gate turn. A full socket means that it is about to anyway.
    pub(crate) fn wake(&self) {
        let _ = (&self.near).write(&[0]);
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.far.as_fd()
    }

    /// Takes all wake-ups so far.
    pub(super) fn drain(&self) {
        let mut scratch = [0; 64];
        while matches!((&self.far).read(&mut scratch), Ok(n) if n == scratch.len()) {}
    }
}
