//! What a stream waits for: its sockets, a wake-up, and its time.
//!
//! The kernel is told once what to watch, and a timer that goes off too early is left as it is.
//! poll(2) is told everything at each call, and its time limit is a timer that is made and taken
//! back: a twelfth of all that a phrase costs (seven hundred streams of a phrase a second).

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

/// What is watched at most: the waker, the timer, and a socket for each link.
const FILES_MAX: usize = 2 + LINKS_MAX;

const WAKER: u64 = 1 << 32;
const TIMER: u64 = 1 << 33;
const SIGNALING: u64 = 1 << 34;

/// The files of a stream, watched by the kernel.
#[derive(Debug)]
pub(super) struct Poller {
    epoll: OwnedFd,
    wakeable: Wakeable,
    timer: OwnedFd,
    /// When the timer goes off; `None` once it has.
    goes_off: Option<Instant>,
}

/// What a wait has found, a bit for each file. The timer only ends the wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Readiness(u64);

impl Readiness {
    /// Whether the waker woke it.
    pub(super) fn wake_up(self) -> bool {
        self.0 & WAKER != 0
    }

    /// Whether there is something to do for a link.
    pub(super) fn link(self, id: LinkId) -> bool {
        self.0 & bit(id) != 0
    }
}

/// Kinds of media are known by Zoom's own bits.
fn bit(id: LinkId) -> u64 {
    match id {
        LinkId::Signaling => SIGNALING,
        LinkId::Media(kind) => u64::from(kind.bit()),
    }
}

impl Poller {
    /// Watches the waker, and no socket yet.
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

    /// Watches the socket of a link from now on, until it is closed.
    pub(super) fn add(&self, id: LinkId, interest: Interest<'_>) -> io::Result<()> {
        let key = EventData::new_u64(bit(id));
        epoll::add(&self.epoll, interest.tcp, key, interest.events())?;
        Ok(())
    }

    /// Watches a socket for something else.
    pub(super) fn change(&self, id: LinkId, interest: Interest<'_>) -> io::Result<()> {
        let key = EventData::new_u64(bit(id));
        epoll::modify(&self.epoll, interest.tcp, key, interest.events())?;
        Ok(())
    }

    /// Waits until something comes, until then at the latest; `None`: looks, and does not wait. A wait
    /// may end early with nothing found.
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
        // An interrupted wait is one that ended early.
        let count = epoll::wait(&self.epoll, &mut events, limit.as_ref()).unwrap_or(0);
        let found = events.iter().take(count);
        let found = found.fold(0, |found, event| found | event.data.u64());
        if found & TIMER != 0 {
            // It is read by being set again, before the next wait.
            self.goes_off = None;
        }
        self.found(found & !TIMER)
    }

    /// Waits without media, most often for a few milliseconds.
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

    /// Sees to it that the timer goes off by then. What is left as a limit of the wait itself: most
    /// often nothing.
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

/// The time until then, which may be none; nothing if it is longer than the kernel can count.
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
    fn a_wait_ends_in_time_whatever_the_timer_was_set_for() {
        let (mut watch, waker) = watch();
        let begun = Instant::now();
        // A wait may end early, and is then begun again, but not all the time.
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
        // The timer stands at something far, and then there is something near.
        waker.wake();
        assert!(found(|| watch.wait(late())).wake_up());
        pass(&mut watch, soon());
        // It goes off too early for this.
        waker.wake();
        assert!(found(|| watch.wait(soon())).wake_up());
        pass(&mut watch, Some(Instant::now() + Duration::from_millis(60)));
        // What is over is not waited for.
        watch.wait(Some(begun));
        watch.wait_for_signaling(None, Some(begun));
        watch.wait_for_signaling(None, soon());
        assert!(begun.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn sockets_are_found_while_there_is_something_to_do() {
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
