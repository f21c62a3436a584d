//! A thread that serves clients: the first request starts it, and it ends when it has no client any more.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crate::log::app::inherit;
use crate::log::warn_limiter::WarnLimiter;
use crate::net::waker::{Wakeable, Waker, waker};

/// The stack of the thread.
const STACK_BYTES: usize = 256 << 10;

/// The thread and what waits for it. Clones are the same.
pub(in crate::delivery) struct OnDemand<R>(Arc<Shared<R>>);

struct Shared<R> {
    name: &'static str,
    inner: Mutex<Inner<R>>,
    is_full: WarnLimiter,
}

struct Inner<R> {
    /// Requests that the thread has not taken up.
    waiting: Vec<R>,
    /// Clients that it has.
    clients: usize,
    /// It takes up requests.
    is_running: bool,
    is_stopping: bool,
    waker: Option<Waker>,
    thread: Option<JoinHandle<()>>,
}

/// How the thread has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::delivery) enum Stopped {
    /// There is none.
    Ended,
    /// It is still there.
    Hangs,
}

impl<R> Clone for OnDemand<R> {
    fn clone(&self) -> OnDemand<R> {
        OnDemand(Arc::clone(&self.0))
    }
}

impl<R> fmt::Debug for OnDemand<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OnDemand").field(&self.0.name).finish()
    }
}

/// For those who hand over requests, and the owner.
impl<R: Send + 'static> OnDemand<R> {
    /// The name is that of the thread.
    pub(in crate::delivery) fn new(name: &'static str) -> OnDemand<R> {
        OnDemand(Arc::new(Shared {
            name,
            inner: Mutex::new(Inner {
                waiting: Vec::new(),
                clients: 0,
                is_running: false,
                is_stopping: false,
                waker: None,
                thread: None,
            }),
            is_full: WarnLimiter::default(),
        }))
    }

    /// Whether there is room for one more client. That there is none is logged, not too often.
    pub(in crate::delivery) fn has_room(&self, clients_max: usize) -> bool {
        let (clients, is_stopping) = {
            let inner = self.lock();
            (inner.clients + inner.waiting.len(), inner.is_stopping)
        };
        let has_room = clients < clients_max && !is_stopping;
        if !has_room
            && !is_stopping
            && let Some(more) = self.0.is_full.allow(Instant::now())
        {
            let name = self.0.name;
            log::warn!("{name}: too many clients, refusing further ones clients={clients}{more}");
        }
        has_room
    }

    /// Has the thread serve a request from now on, by `run` if it has to be started. Never waits for it.
    pub(in crate::delivery) fn take(
        &self,
        request: R,
        run: impl FnOnce(Waker, Wakeable) -> io::Result<()> + Send + 'static,
    ) {
        let mut inner = self.lock();
        if inner.is_stopping {
            return;
        }
        inner.waiting.push(request);
        if !inner.is_running
            && let Err(error) = self.start(&mut inner, run)
        {
            self.cannot_start(&error);
            inner.waiting.clear();
        }
        inner.wake();
    }

    /// Has the thread look around.
    pub(in crate::delivery) fn wake(&self) {
        self.lock().wake();
    }

    /// Ends the thread and waits for it, at most so long.
    pub(in crate::delivery) fn stop(&self, within: Duration) -> Stopped {
        let thread = {
            let mut inner = self.lock();
            inner.is_stopping = true;
            inner.waiting.clear();
            inner.wake();
            inner.thread.take()
        };
        let Some(thread) = thread else {
            return Stopped::Ended;
        };
        let until = Instant::now() + within;
        while !thread.is_finished() && Instant::now() < until {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        if !thread.is_finished() {
            return Stopped::Hangs;
        }
        self.join(thread);
        Stopped::Ended
    }

    fn start(
        &self,
        inner: &mut Inner<R>,
        run: impl FnOnce(Waker, Wakeable) -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        // The one before has said that it ends.
        if let Some(ended) = inner.thread.take() {
            self.join(ended);
        }
        let (waker, wakeable) = waker()?;
        inner.waker = Some(waker.clone());
        let own = self.clone();
        let thread = Builder::new()
            .name(self.0.name.into())
            .stack_size(STACK_BYTES)
            .spawn(inherit(move || own.run(|| run(waker, wakeable))))?;
        (inner.thread, inner.is_running) = (Some(thread), true);
        Ok(())
    }

    /// The thread.
    fn run(&self, run: impl FnOnce() -> io::Result<()>) {
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(Ok(())) => return,
            Ok(Err(error)) => self.cannot_start(&error),
            Err(_) => log::error!(
                "{}: the thread panicked, its clients are cut off; please report",
                self.0.name
            ),
        }
        drop(self.give_up());
    }

    fn join(&self, thread: JoinHandle<()>) {
        if thread.join().is_err() {
            log::error!("{}: the thread panicked; please report", self.0.name);
        }
    }

    fn cannot_start(&self, error: &io::Error) {
        let name = self.0.name;
        log::error!("{name}: the thread cannot be started: {error}");
    }

    #[cfg(test)]
    pub(in crate::delivery) fn thread_id(&self) -> Option<std::thread::ThreadId> {
        self.lock().thread.as_ref().map(|it| it.thread().id())
    }

    #[cfg(test)]
    pub(in crate::delivery) fn is_running(&self) -> bool {
        self.lock().is_running
    }
}

/// For the thread.
impl<R> OnDemand<R> {
    /// The requests that have come, and whether the server ends; `clients` are those of the thread.
    pub(in crate::delivery) fn arrivals(&self, clients: usize) -> (Vec<R>, bool) {
        let mut inner = self.lock();
        inner.clients = clients + inner.waiting.len();
        (std::mem::take(&mut inner.waiting), inner.is_stopping)
    }

    /// The thread, which has no client, wants to end: whether it may, because no request came meanwhile.
    /// The next one starts another thread.
    pub(in crate::delivery) fn may_end(&self) -> bool {
        let mut inner = self.lock();
        let may_end = inner.waiting.is_empty() || inner.is_stopping;
        if may_end {
            inner.end();
        }
        may_end
    }

    /// The thread ends; the requests that wait go to the caller.
    pub(in crate::delivery) fn give_up(&self) -> Vec<R> {
        let mut inner = self.lock();
        inner.end();
        std::mem::take(&mut inner.waiting)
    }

    fn lock(&self) -> MutexGuard<'_, Inner<R>> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R> Inner<R> {
    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake();
        }
    }

    fn end(&mut self) {
        (self.is_running, self.clients, self.waker) = (false, 0, None);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn each_request_is_served_by_one_thread_or_the_next() {
        let threads = OnDemand::new("on-demand");
        let (send, served) = mpsc::channel();
        for n in 0..200 {
            let (own, send) = (threads.clone(), send.clone());
            threads.take(n, move |_, wakeable| {
                while !own.may_end() {
                    wakeable.clear();
                    let (arrivals, _) = own.arrivals(0);
                    arrivals
                        .into_iter()
                        .for_each(|it| send.send(it).expect("a test"));
                }
                Ok(())
            });
        }
        for n in 0..200 {
            assert_eq!(served.recv_timeout(PATIENCE), Ok(n));
        }
        assert_eq!(threads.stop(PATIENCE), Stopped::Ended);
        threads.take(0, |_, _| Ok(()));
        assert!(
            !threads.has_room(1) && !threads.is_running(),
            "it has ended"
        );
    }

    #[test]
    fn after_a_panic_and_a_failure_the_next_request_is_served() {
        let threads = OnDemand::new("on-demand");
        threads.take(1, |_, _| panic!("on purpose"));
        while threads.is_running() {
            std::thread::yield_now();
        }
        threads.take(2, |_, _| Err(io::Error::other("on purpose")));
        while threads.is_running() {
            std::thread::yield_now();
        }
        let (send, served) = mpsc::channel();
        let own = threads.clone();
        threads.take(3, move |_, _| {
            own.give_up()
                .into_iter()
                .for_each(|it| send.send(it).expect("a test"));
            Ok(())
        });
        assert_eq!(served.recv_timeout(PATIENCE), Ok(3));
        assert_eq!(threads.stop(PATIENCE), Stopped::Ended);
    }

    #[test]
    fn there_is_room_for_so_many_and_a_thread_that_hangs_is_left() {
        let threads = OnDemand::new("on-demand");
        let (go, gone) = mpsc::channel::<()>();
        assert!(threads.has_room(1));
        threads.take((), move |_, _| {
            let _ = gone.recv();
            Ok(())
        });
        assert!(!threads.has_room(1) && threads.has_room(2));
        assert_eq!(threads.stop(Duration::from_millis(5)), Stopped::Hangs);
        drop(go);
    }
}
