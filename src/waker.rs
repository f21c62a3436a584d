//! Wakes a thread that waits in poll(2).

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// The waking end; clones wake the same thread.
#[derive(Debug, Clone)]
pub struct Waker(Arc<UnixStream>);

/// The end to wait on.
#[derive(Debug)]
pub struct Wakeable(UnixStream);

/// Makes a pair of ends.
pub fn waker() -> io::Result<(Waker, Wakeable)> {
    let (near, far) = UnixStream::pair()?;
    near.set_nonblocking(true)?;
    far.set_nonblocking(true)?;
    Ok((Waker(Arc::new(near)), Wakeable(far)))
}

impl Waker {
    /// Wakes the thread, now or as soon as it waits. A full socket means that it is awake already,
    /// and a closed one that there is nobody to wake.
    pub fn wake(&self) {
        let _ = (&*self.0).write(&[1]);
    }
}

impl Wakeable {
    /// Forgets the wake-ups so far. To be called before looking for what they were about.
    pub fn clear(&self) {
        let mut bytes = [0; 64];
        while matches!((&self.0).read(&mut bytes), Ok(n) if n == bytes.len()) {}
    }
}

impl AsFd for Wakeable {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
