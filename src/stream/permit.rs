//! Whether a signaling connection may be opened: in a fleet only while the store says what this node has.
//!
//! A stream has one signaling connection at Zoom, and a second one may displace it. So a node that does not
//! know whether a stream is still its own opens none; what runs is not touched. What lacks a permit waits while
//! Zoom's window runs on, without a timer: a renewal wakes it.
//!
//! The time is CLOCK_BOOTTIME, which counts a machine's sleep: a process that was stopped and goes on has no
//! permit.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::net::waker::Waker;

/// The permit of all streams of a daemon.
#[derive(Debug, Clone, Default)]
pub struct Permits(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Until when connections may be opened, CLOCK_BOOTTIME in milliseconds; 0 at first.
    until_ms: AtomicU64,
    /// How often there was a permit again. What was allowed before that is void.
    renewals: AtomicU64,
    /// The streams so far; each has its number.
    streams: AtomicU64,
    /// Those that wait for a permit.
    waiting: Mutex<BTreeMap<u64, Waker>>,
}

/// One stream's permit.
#[derive(Debug)]
pub struct Permit {
    shared: Arc<Shared>,
    number: u64,
    once: Once,
    /// The present try may be made whatever the time is.
    has_once: bool,
    is_waiting: bool,
}

/// Lets one stream try once before it is let in or there is a permit again.
#[derive(Debug, Clone)]
pub struct Once {
    shared: Arc<Shared>,
    /// One more than the renewals so far when it was given; 0 if it was not, or is used up.
    given: Arc<AtomicU64>,
}

/// Time since the machine was started, its sleep included.
pub fn boot_time() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Permits {
    /// Nothing is permitted yet.
    pub fn new() -> Permits {
        Permits::default()
    }

    /// Until then, by [`boot_time`], connections may be opened. What waits for that is woken. Whether the time has
    /// not passed already.
    pub fn renew(&self, until: Duration) -> bool {
        self.0.until_ms.store(milliseconds(until), SeqCst);
        let is_open = self.0.is_open();
        if is_open {
            self.0.renewals.fetch_add(1, SeqCst);
            let waiting = std::mem::take(&mut *self.0.waiting());
            waiting.values().for_each(Waker::wake);
        }
        is_open
    }

    /// For another stream.
    pub fn for_stream(&self) -> Permit {
        Permit {
            number: self.0.streams.fetch_add(1, SeqCst),
            shared: Arc::clone(&self.0),
            once: Once {
                shared: Arc::clone(&self.0),
                given: Arc::default(),
            },
            has_once: false,
            is_waiting: false,
        }
    }

    /// Number of streams that wait.
    pub fn waiting(&self) -> usize {
        self.0.waiting().len()
    }
}

impl Shared {
    fn is_open(&self) -> bool {
        milliseconds(boot_time()) < self.until_ms.load(SeqCst)
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// Whether a try may begin now. If not, the stream is woken when it may. A try that was allowed once is
    /// used up by this.
    pub(super) fn may_connect(&mut self, waker: &Waker) -> bool {
        self.has_once = false;
        let is_given = self.is_available(waker);
        let is_once = self.once.take();
        self.has_once = is_given && is_once;
        is_given && self.may_go_on()
    }

    /// Zoom has let the stream in: what was allowed for one more try is not needed.
    pub(super) fn was_let_in(&self) {
        self.once.take();
    }

    /// Whether [`Permit::may_connect`] would allow a try. If not, the stream is woken when it would.
    pub(super) fn is_available(&mut self, waker: &Waker) -> bool {
        let is_given = |permit: &Permit| permit.shared.is_open() || permit.once.is_given();
        if !is_given(self) {
            (self.shared.waiting()).insert(self.number, waker.clone());
            self.is_waiting = true;
        }
        // It may have been given in between.
        let is_given = is_given(self);
        if is_given {
            self.stop_waiting();
        }
        is_given
    }

    /// Whether a try that has begun may go on.
    pub(super) fn may_go_on(&self) -> bool {
        self.has_once || self.shared.is_open()
    }

    fn stop_waiting(&mut self) {
        if std::mem::take(&mut self.is_waiting) {
            self.shared.waiting().remove(&self.number);
        }
    }

    /// With which the stream can be let try once.
    pub(super) fn once(&self) -> Once {
        self.once.clone()
    }
}

impl Once {
    pub(super) fn give(&self) {
        self.given.store(self.is_valid_as(), SeqCst);
    }

    fn is_given(&self) -> bool {
        self.given.load(SeqCst) == self.is_valid_as()
    }

    /// Uses it up. Whether there was one.
    fn take(&self) -> bool {
        self.given.swap(0, SeqCst) == self.is_valid_as()
    }

    fn is_valid_as(&self) -> u64 {
        self.shared.renewals.load(SeqCst) + 1
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.stop_waiting();
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;
    use crate::net::waker::{Wakeable, waker};

    const HOUR: Duration = Duration::from_secs(3600);

    fn is_awake(wakeable: &Wakeable) -> bool {
        let mut fds = [PollFd::new(wakeable, PollFlags::IN)];
        let is_awake = poll(&mut fds, Some(&Timespec::default())) == Ok(1);
        wakeable.clear();
        is_awake
    }

    #[test]
    fn what_waits_is_woken_by_a_renewal() {
        let (waker, wakeable) = waker().expect("a file");
        let permits = Permits::new();
        let mut permit = permits.for_stream();
        for _ in 0..3 {
            assert!(!permit.may_connect(&waker));
        }
        assert_eq!(permits.waiting(), 1, "once for each stream");
        permits.renew(boot_time().saturating_sub(HOUR.min(boot_time())));
        assert!(!is_awake(&wakeable), "it is over already");
        permits.renew(boot_time() + HOUR);
        assert!(is_awake(&wakeable));
        assert_eq!(permits.waiting(), 0);
        assert!(permit.may_connect(&waker) && permit.may_go_on());
        permits.renew(Duration::ZERO);
        assert!(!permit.may_go_on(), "it has run out meanwhile");
        assert!(!permit.may_connect(&waker));
        drop(permit);
        assert_eq!(permits.waiting(), 0);
    }

    #[test]
    fn one_stream_may_try_once() {
        let (waker, _wakeable) = waker().expect("a file");
        let permits = Permits::new();
        let (mut one, mut other) = (permits.for_stream(), permits.for_stream());
        assert!(!one.is_available(&waker));
        one.once().give();
        assert!(!other.may_connect(&waker));
        assert!(one.is_available(&waker) && one.is_available(&waker));
        assert_eq!(permits.waiting(), 1, "the other one");
        assert!(one.may_connect(&waker) && one.may_go_on());
        assert!(!one.may_connect(&waker), "the next try");
        assert!(!one.may_go_on());
    }

    #[test]
    fn what_was_allowed_once_is_void_when_it_is_not_needed() {
        let (waker, _wakeable) = waker().expect("a file");
        let permits = Permits::new();
        let mut permit = permits.for_stream();
        // There is a permit again.
        permit.once().give();
        permits.renew(boot_time() + HOUR);
        permits.renew(Duration::ZERO);
        assert!(!permit.is_available(&waker) && !permit.may_connect(&waker));
        // A permit that is over when it comes is none.
        permit.once().give();
        permits.renew(Duration::ZERO);
        assert!(permit.may_connect(&waker));
        // A try that it came too late for was let in.
        permit.once().give();
        permit.was_let_in();
        assert!(!permit.may_connect(&waker));
    }
}
