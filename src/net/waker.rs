//! A waker for a thread that waits in poll(2), by an eventfd.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};

/// The waking end; clones wake the same thread.
#[derive(Debug, Clone)]
pub struct Waker(Arc<OwnedFd>);

/// The end to wait on.
#[derive(Debug)]
pub struct Wakeable(Arc<OwnedFd>);

/// Makes both ends of an eventfd: a kernel counter that is readable when it is not zero.
pub fn waker() -> io::Result<(Waker, Wakeable)> {
    let counter = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let counter = Arc::new(counter);
    Ok((Waker(Arc::clone(&counter)), Wakeable(counter)))
}

impl Waker {
    /// Wakes the thread, now or when it waits next. If the counter is at its maximum, the thread is
    /// awake already.
    pub fn wake(&self) {
        let _ = rustix::io::write(&*self.0, &1_u64.to_ne_bytes());
    }
}

impl Wakeable {
    /// Resets the counter. To be called before checking for work.
    pub fn clear(&self) {
        let _ = rustix::io::read(&*self.0, &mut [0; size_of::<u64>()]);
    }
}

impl AsFd for Wakeable {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    fn is_awake(wakeable: &Wakeable) -> bool {
        let mut fds = [PollFd::new(wakeable, PollFlags::IN)];
        let at_once = Timespec::default();
        poll(&mut fds, Some(&at_once)) == Ok(1)
    }

    #[test]
    fn a_wake_up_is_kept_until_it_is_cleared() {
        let (waker, wakeable) = waker().expect("a file");
        assert!(!is_awake(&wakeable));
        for _ in 0..1000 {
            waker.clone().wake();
        }
        assert!(is_awake(&wakeable) && is_awake(&wakeable));
        wakeable.clear();
        assert!(!is_awake(&wakeable), "several wake-ups count as one");
        wakeable.clear();
        waker.wake();
        assert!(is_awake(&wakeable));
        drop(wakeable);
        waker.wake();
    }
}
