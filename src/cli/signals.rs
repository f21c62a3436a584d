//! The thread that waits for signals, and for changes of the clock, which show a resume from
//! suspend.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::{Builder, JoinHandle};

use rustix::event::{PollFd, PollFlags, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::low_level::{pipe, unregister};

use crate::net::waker::{Wakeable, Waker, waker};

/// Events that the thread reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT: end. A second one ends the process at once.
    Stop,
    /// SIGHUP: read the configuration again.
    Reload,
    /// The system resumed from suspend.
    SystemResumed,
}

/// Handle of the thread. Dropping it ends the thread and restores the signals.
#[derive(Debug)]
pub struct Signals {
    waker: Waker,
    thread: Option<JoinHandle<()>>,
    registered: Vec<signal_hook::SigId>,
}

impl Signals {
    /// Takes over the signals; the thread calls `tell` for each.
    pub fn start(mut tell: impl FnMut(Signal) + Send + 'static) -> io::Result<Signals> {
        let (stop_read, stop_write) = UnixStream::pair()?;
        let (reload_read, reload_write) = UnixStream::pair()?;
        let is_stopping = Arc::new(AtomicBool::new(false));
        let mut registered = Vec::new();
        for (signal, code) in [(SIGTERM, 143), (SIGINT, 130)] {
            // In this order: the first signal finds the flag unset, the second finds it set.
            let flag = Arc::clone(&is_stopping);
            registered.push(flag::register_conditional_shutdown(signal, code, flag)?);
            registered.push(flag::register(signal, Arc::clone(&is_stopping))?);
            registered.push(pipe::register(signal, stop_write.try_clone()?)?);
        }
        registered.push(pipe::register(SIGHUP, reload_write)?);
        let (waker, wakeable) = waker()?;
        for stream in [&stop_read, &reload_read] {
            stream.set_nonblocking(true)?;
        }
        let thread = Builder::new()
            .name("signals".to_owned())
            .stack_size(128 << 10)
            .spawn(move || {
                watch(
                    &wakeable,
                    &stop_read,
                    &reload_read,
                    sleep::SuspendDetector::new(),
                    &mut tell,
                )
            })?;
        Ok(Signals {
            waker,
            thread: Some(thread),
            registered,
        })
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.registered.drain(..) {
            unregister(id);
        }
        if let Some(thread) = self.thread.take() {
            self.waker.wake();
            let _ = thread.join();
        }
    }
}

fn watch(
    over: &Wakeable,
    stop: &UnixStream,
    reload: &UnixStream,
    mut sleep: sleep::SuspendDetector,
    tell: &mut dyn FnMut(Signal),
) {
    loop {
        let mut fds = vec![
            PollFd::from_borrowed_fd(over.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(stop.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(reload.as_fd(), PollFlags::IN),
        ];
        fds.extend(
            sleep
                .fd()
                .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)),
        );
        // If poll is interrupted, the loop simply runs once more.
        let _ = poll(&mut fds, None);
        if !fds[0].revents().is_empty() {
            return;
        }
        let clock_was_set = fds.get(3).is_some_and(|fd| !fd.revents().is_empty());
        for (mut stream, signal) in [(stop, Signal::Stop), (reload, Signal::Reload)] {
            let mut bytes = [0; 16];
            if matches!(stream.read(&mut bytes), Ok(1..)) {
                tell(signal);
            }
        }
        if clock_was_set && sleep.has_resumed() {
            tell(Signal::SystemResumed);
        }
    }
}

mod sleep {
    //! A timer on the wall clock that is cancelled when that clock is set, which a wake-up from
    //! sleep does. The clock that continues during sleep shows whether it was one.

    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

    use rustix::time::{
        ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec,
        clock_gettime, timerfd_create, timerfd_settime,
    };

    /// A smaller difference between the two clocks is no suspend.
    const SLEEP_MS_MIN: i128 = 2_000;

    pub(crate) struct SuspendDetector {
        timer: Option<OwnedFd>,
        offset_ms: i128,
    }

    impl SuspendDetector {
        pub(crate) fn new() -> SuspendDetector {
            let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
            let timer = timerfd_create(TimerfdClockId::Realtime, flags).ok();
            let watch = SuspendDetector {
                timer,
                offset_ms: offset_ms(),
            };
            watch.arm();
            watch
        }

        pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
            self.timer.as_ref().map(AsFd::as_fd)
        }

        /// Whether the system was suspended since the last call.
        pub(crate) fn has_resumed(&mut self) -> bool {
            self.arm();
            let now_ms = offset_ms();
            now_ms - std::mem::replace(&mut self.offset_ms, now_ms) >= SLEEP_MS_MIN
        }

        /// Far in the future: only the cancellation counts.
        fn arm(&self) {
            let never = Timespec {
                tv_sec: i64::from(i32::MAX) * 4,
                tv_nsec: 0,
            };
            let zero = Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            let spec = Itimerspec {
                it_interval: zero,
                it_value: never,
            };
            let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
            if let Some(timer) = &self.timer {
                // Arming again also clears the mark of a cancellation.
                let _ = timerfd_settime(timer, flags, &spec);
            }
        }
    }

    /// How long the machine was suspended since its start.
    fn offset_ms() -> i128 {
        let ms = |id| {
            let time = clock_gettime(id);
            i128::from(time.tv_sec) * 1000 + i128::from(time.tv_nsec) / 1_000_000
        };
        ms(ClockId::Boottime) - ms(ClockId::Monotonic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_suspend_none_is_reported() {
        let mut watch = sleep::SuspendDetector::new();
        assert!(!watch.has_resumed());
        let fd = watch.fd().expect("Linux has such timers");
        let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
        let none = rustix::event::Timespec::default();
        assert_eq!(poll(&mut fds, Some(&none)), Ok(0), "the timer is far away");
    }
}
