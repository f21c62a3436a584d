//! Waits for a stream's events with epoll(7): its sockets, its waker, and its timer.
//!
//! The kernel keeps the list of watched files, and a timer that fires too early is left as it is.
//! poll(2) would pass the whole list at each call, and set up and cancel a timer for its time
//! limit: a twelfth of a phrase's total cost (700 streams with a phrase per second).

use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

use super::driver::LINKS_MAX;
use crate::net::waker::Wakeable;
use crate::net::websocket::Interest;
use crate::protocol::LinkId;

/// Maximum watched files: the waker, the timer, and a socket per link.
const FILES_MAX: usize = 2 + LINKS_MAX;

const WAKER: u64 = 1 << 32;
const TIMER: u64 = 1 << 33;
const SIGNALING: u64 = 1 << 34;

/// The watched files of a stream.
#[derive(Debug)]
pub(super) struct Poller {
    epoll: OwnedFd,
    wakeable: Wakeable,
    timer: OwnedFd,
    /// When the timer fires; `None` after it did.
    goes_off: Option<Instant>,
}

/// The result of a wait, a bit for each file. The timer only ends the wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Readiness(u64);

impl Readiness {
    /// Whether the waker ended the wait.
    pub(super) fn wake_up(self) -> bool {
        self.0 & WAKER != 0
    }

    /// Whether there is something to do for a link.
    pub(super) fn link(self, id: LinkId) -> bool {
        self.0 & bit(id) != 0
    }
}

/// The bit of a link: for media links Zoom's own bit of the media kind.
fn bit(id: LinkId) -> u64 {
    match id {
        LinkId::Signaling => SIGNALING,
        LinkId::Media(kind) => u64::from(kind.bit()),
    }
}

impl Poller {
    /// Watches the waker and no socket yet.
    pub(super) fn new(wakeable: Wakeable) -> io::Result<Poller> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &wakeable, EventData::new_u64(WAKER), EventFlags::IN)?;
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN)?;
        Ok(Poller {
            epoll,
            wakeable,
            timer,
            goes_off: None,
        })
    }

    /// Adds the socket of a link, until it is closed.
    pub(super) fn add(&self, id: LinkId, interest: Interest<'_>) -> io::Result<()> {
        let key = EventData::new_u64(bit(id));
        epoll::add(&self.epoll, interest.tcp, key, interest.events())?;
        Ok(())
    }

    /// Changes what a socket is watched for.
    pub(super) fn change(&self, id: LinkId, interest: Interest<'_>) -> io::Result<()> {
        let key = EventData::new_u64(bit(id));
        epoll::modify(&self.epoll, interest.tcp, key, interest.events())?;
        Ok(())
    }

    /// Waits for an event until `until`; `None` checks without waiting. A wait may end early
    /// without an event.
    pub(super) fn wait(&mut self, until: Option<Instant>) -> Readiness {
        let limit = match until {
            None => Some(Timespec::default()),
            Some(until) => self.set_timer(until),
        };
        let nothing = Event {
            flags: EventFlags::empty(),
            data: EventData::new_u64(0),
        };
        let mut events = [nothing; FILES_MAX];
        // An interrupted wait counts as one that ended early.
        let count = epoll::wait(&self.epoll, &mut events, limit.as_ref()).unwrap_or(0);
        let found = events.iter().take(count);
        let found = found.fold(0, |found, event| found | event.data.u64());
        if found & TIMER != 0 {
            // The timer is not read; setting it again before the next wait has the same effect.
            self.goes_off = None;
        }
        self.found(found & !TIMER)
    }

    /// Waits without the media sockets, usually for a few milliseconds.
    pub(super) fn wait_for_signaling(
        &self,
        signaling: Option<Interest<'_>>,
        until: Option<Instant>,
    ) -> Readiness {
        let limit = until.map_or(Some(Timespec::default()), limit_until);
        let waker = PollFd::new(&self.wakeable, PollFlags::IN);
        let (mut found, mut files) = (0, [waker.clone(), waker]);
        let mut count = 1;
        if let Some(interest) = signaling {
            files[1] = PollFd::new(interest.tcp, interest.flags());
            count = 2;
        }
        let _ = poll(&mut files[..count], limit.as_ref());
        for (file, bit) in files[..count].iter().zip([WAKER, SIGNALING]) {
            if !file.revents().is_empty() {
                found |= bit;
            }
        }
        self.found(found)
    }

    fn found(&self, found: u64) -> Readiness {
        if found & WAKER != 0 {
            self.wakeable.clear();
        }
        Readiness(found)
    }

    /// Sets the timer to fire by then, unless it does so already. Returns the time limit to pass to
    /// the wait itself, usually none.
    fn set_timer(&mut self, until: Instant) -> Option<Timespec> {
        if self.goes_off.is_some_and(|at| at <= until) {
            return None;
        }
        let limit = limit_until(until)?;
        // Zero would switch it off.
        if limit == Timespec::default() {
            return Some(limit);
        }
        let once = Itimerspec {
            it_interval: Timespec::default(),
            it_value: limit,
        };
        match timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once) {
            Ok(_) => {
                self.goes_off = Some(until);
                None
            }
            Err(_) => Some(limit),
        }
    }
}

/// The time left until then, zero if it has passed; `None` if it is too long for the kernel.
pub(crate) fn limit_until(until: Instant) -> Option<Timespec> {
    Timespec::try_from(until.saturating_duration_since(Instant::now())).ok()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::time::Duration;

    use super::*;
    use crate::net::read_ahead::tests::pair;
    use crate::net::waker::{Waker, waker};
    use crate::protocol::MediaKind;

    const MEDIA: LinkId = LinkId::Media(MediaKind::Transcript);
    const NOTHING: Readiness = Readiness(0);

    fn watch() -> (Poller, Waker) {
        let (waker, wakeable) = waker().expect("a file");
        (Poller::new(wakeable).expect("files"), waker)
    }

    fn soon() -> Option<Instant> {
        Some(Instant::now() + Duration::from_millis(20))
    }

    fn late() -> Option<Instant> {
        Some(Instant::now() + Duration::from_secs(20))
    }

    /// Waits until something is found, as the poll loop does.
    fn found(mut wait: impl FnMut() -> Readiness) -> Readiness {
        let late = late();
        loop {
            let found = wait();
            if found.wake_up() || found.link(LinkId::Signaling) || found.link(MEDIA) {
                return found;
            }
            assert!(Some(Instant::now()) < late, "nothing was found");
        }
    }

    #[test]
    fn a_wake_up_ends_one_wait() {
        let (mut watch, waker) = watch();
        for _ in 0..2 {
            waker.wake();
            assert!(found(|| watch.wait(late())).wake_up());
            assert_eq!(watch.wait(None), NOTHING);
            waker.wake();
            assert!(found(|| watch.wait_for_signaling(None, late())).wake_up());
            assert_eq!(watch.wait_for_signaling(None, None), NOTHING);
        }
    }

    #[test]
    fn a_wait_ends_in_time_wherever_the_timer_stands() {
        let (mut watch, waker) = watch();
        let begun = Instant::now();
        // A wait may end early and is repeated, but not many times.
        let pass = |watch: &mut Poller, until: Option<Instant>| {
            let mut turns = 0;
            while Some(Instant::now()) < until {
                assert_eq!(watch.wait(until), NOTHING);
                turns += 1;
            }
            assert!(turns <= 3, "{turns} turns: it does not wait");
        };
        for _ in 0..3 {
            pass(&mut watch, soon());
        }
        // The timer stands at a late time, and then the deadline is near.
        waker.wake();
        assert!(found(|| watch.wait(late())).wake_up());
        pass(&mut watch, soon());
        // The timer fires too early for this deadline.
        waker.wake();
        assert!(found(|| watch.wait(soon())).wake_up());
        pass(&mut watch, Some(Instant::now() + Duration::from_millis(60)));
        // A past deadline does not wait.
        watch.wait(Some(begun));
        watch.wait_for_signaling(None, Some(begun));
        watch.wait_for_signaling(None, soon());
        assert!(begun.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn ready_sockets_are_reported() {
        let (mut watch, _waker) = watch();
        let ((signaling, mut zoom), (media, mut zoom_media)) = (pair(), pair());
        let interest = |tcp, out| Interest { tcp, out };
        let add = |id, tcp| watch.add(id, interest(tcp, false)).expect("watched");
        add(LinkId::Signaling, &signaling);
        add(MEDIA, &media);
        assert_eq!(watch.wait(soon()), NOTHING);

        zoom_media.write_all(b"x").expect("it is sent");
        for _ in 0..2 {
            let found = found(|| watch.wait(late()));
            assert!(found.link(MEDIA) && !found.link(LinkId::Signaling));
        }
        let without_media = watch.wait_for_signaling(Some(interest(&signaling, false)), soon());
        assert_eq!(without_media, NOTHING);
        (&media).read_exact(&mut [0]).expect("it came");
        assert_eq!(watch.wait(None), NOTHING);

        zoom.write_all(b"x").expect("it is sent");
        let wait = || watch.wait_for_signaling(Some(interest(&signaling, false)), late());
        assert!(found(wait).link(LinkId::Signaling));
        assert!(found(|| watch.wait(late())).link(LinkId::Signaling));
        (&signaling).read_exact(&mut [0]).expect("it came");

        let change = |out| watch.change(MEDIA, interest(&media, out)).expect("changed");
        change(true);
        assert!(watch.wait(None).link(MEDIA), "there is room for output");
        let change = |out| watch.change(MEDIA, interest(&media, out)).expect("changed");
        change(false);
        assert_eq!(watch.wait(None), NOTHING);

        drop(zoom);
        assert!(
            found(|| watch.wait(late())).link(LinkId::Signaling),
            "its end"
        );
        drop(signaling);
        assert_eq!(watch.wait(None), NOTHING, "a closed socket is forgotten");
    }
}
