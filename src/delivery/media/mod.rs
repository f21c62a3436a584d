//! Live media: `GET /media`, the sound and the pictures of a running stream over WebSocket while they are
//! received.
//!
//! Each stream has a [`MediaSink`], which does nothing until a client taps it. Then a ring of the newest
//! frames stands between the stream, which never waits, and one thread, which serves all clients: a
//! client that is too slow loses the oldest frames, and is told how many.
//!
//! | file | what |
//! | --- | --- |
//! | `query` | pure: what a request asks for |
//! | `wire` | pure: WebSocket messages |
//! | `text` | pure: the text messages |
//! | `head` | pure: the head of a binary message |
//! | `h264` | pure: where a decoder can begin |
//! | `ring` | pure: the newest frames |
//! | `tap` | pure: one kind of one stream while it is tapped |
//! | `place` | pure: the place of one client in a ring |
//! | `source` | a running stream, and its sink |
//! | `client` | one client |
//! | `thread` | the thread: epoll(7) over all clients |
//!
//! The thread is started by the first request and ends shortly after the last client has gone.

mod client;
mod counters;
pub mod h264;
pub mod head;
pub mod place;
pub mod query;
pub mod ring;
mod source;
pub mod tap;
#[cfg(test)]
mod tests;
pub mod text;
mod thread;
pub mod wire;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

pub use counters::Counters;
pub use source::MediaSink;

use super::live::Access;
use crate::domain::stream_info::StreamInfo;
use crate::feed::JournalKey;
use crate::gate::{Answer, LeavingRequest};
use crate::log::warn_limiter::WarnLimiter;
use crate::net::waker::{Waker, waker};
use crate::protocol::{MediaParams, MediaSelection};
use client::Request;
use query::Ask;
use source::Source;
use thread::Thread;

/// Most clients.
pub const MEDIA_CLIENTS_MAX: usize = 64;
/// When a client that was refused because of it may come again, seconds.
const RETRY_AFTER_S: u32 = 5;
/// The shortest beginning of a stream's key or id that names it.
const PREFIX_CHARS_MIN: usize = 6;
/// Streams whose consent was withdrawn, as far as they are remembered.
const REVOKED_MAX: usize = 1_024;
/// The thread ends so long after the last client has gone.
const IDLE: Duration = Duration::from_secs(5);
/// The stack of the thread.
const STACK_BYTES: usize = 256 << 10;
/// How long the thread may take to end.
const STOP_MAX: Duration = Duration::from_secs(1);

/// The streams that can be tapped. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Hub(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// A listener is open; else streams have no sink for it.
    is_on: AtomicBool,
    counters: Arc<Counters>,
    inner: Mutex<Inner>,
    is_full: WarnLimiter,
}

#[derive(Default)]
struct Inner {
    sources: Vec<Arc<Source>>,
    revoked: VecDeque<(JournalKey, String)>,
    /// Requests that the thread has not taken up.
    waiting: Vec<Request>,
    /// Clients that it has.
    clients: usize,
    /// It takes up requests.
    is_running: bool,
    is_stopping: bool,
    waker: Option<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}

/// What is found for a name.
enum Search {
    One(Arc<Source>),
    Several,
    Revoked,
    None,
}

impl Hub {
    /// From now on streams that begin can be tapped, until the guard is dropped.
    pub fn open(&self) -> Open {
        self.0.is_on.store(true, Relaxed);
        Open(Arc::clone(&self.0))
    }

    /// What it counts.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.0.counters
    }

    /// The sink of a stream that begins; `None` if no listener is open.
    pub fn sink(
        &self,
        info: &StreamInfo,
        media: &MediaSelection,
        params: MediaParams,
    ) -> Option<MediaSink> {
        if !self.0.is_on.load(Relaxed) {
            return None;
        }
        let source = Arc::new(Source::new(info, media, params));
        self.0.lock().sources.push(Arc::clone(&source));
        Some(MediaSink::new(source, Arc::clone(&self.0)))
    }

    /// Consent to a stream was withdrawn: from when this returns, nothing of it is sent.
    pub fn revoke(&self, stream_id: &str) {
        let inner = self.0.lock();
        let named = inner.sources.iter().filter(|it| it.stream_id == stream_id);
        named.for_each(|source| source.revoke());
        inner.wake();
    }
}

/// While it lives, requests are taken. Dropping it ends the thread.
#[derive(Debug)]
pub struct Open(Arc<Shared>);

impl Open {
    /// A handle for those who hand over requests.
    pub fn intake(&self) -> Intake {
        Intake(Arc::clone(&self.0))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let thread = {
            let mut inner = self.0.lock();
            inner.is_stopping = true;
            inner.wake();
            inner.thread.take()
        };
        let Some(thread) = thread else {
            return;
        };
        let until = Instant::now() + STOP_MAX;
        while !thread.is_finished() && Instant::now() < until {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        if thread.is_finished() && thread.join().is_err() {
            log::error!("media: the thread panicked; please report");
        }
    }
}

/// Takes requests. Never waits.
#[derive(Debug, Clone)]
pub struct Intake(Arc<Shared>);

impl Intake {
    /// Judges a request whose credential was checked: what takes its socket, or a refusal.
    pub(crate) fn judge(
        &self,
        request: &LeavingRequest,
        access: Access,
    ) -> Result<Box<dyn FnOnce(OwnedFd)>, Answer> {
        if access != Access::All {
            return Err(refusal(403, "a link is for text, not for live media"));
        }
        let fields = wire::Fields {
            upgrade: request.header("Upgrade"),
            connection: request.header("Connection"),
            version: request.header("Sec-WebSocket-Version"),
            key: request.header("Sec-WebSocket-Key"),
        };
        let answer = wire::accept(&fields).map_err(|text| {
            refusal(426, text)
                .with("Upgrade", "websocket")
                .with("Sec-WebSocket-Version", "13")
        })?;
        let ask = Ask::parse(request.query()).map_err(|text| refusal(400, &text))?;
        let source = match self.0.lock().find(&ask.stream) {
            Search::One(source) if source.is_revoked() => Err(revoked()),
            Search::One(source) => Ok(source),
            Search::Revoked => Err(revoked()),
            Search::Several => Err(refusal(
                409,
                "several streams begin so; give more of the name",
            )),
            Search::None => Err(refusal(404, "no such stream is running")),
        }?;
        if let Some(text) = source.refusal(ask.kind, ask.speaker.is_some()) {
            return Err(refusal(409, &text));
        }
        if !self.0.has_room() {
            let answer = refusal(503, "there are too many clients, come again");
            return Err(answer.with("Retry-After", RETRY_AFTER_S.to_string()));
        }
        let shared = Arc::clone(&self.0);
        Ok(Box::new(move |socket| {
            shared.take(Request {
                socket,
                answer,
                source,
                kind: ask.kind,
                speaker: ask.speaker,
            });
        }))
    }
}

fn refusal(status: u16, text: &str) -> Answer {
    Answer::text(status, format!("{text}\n")).of_type("text/plain; charset=utf-8")
}

fn revoked() -> Answer {
    refusal(410, "consent to this stream was withdrawn")
}

impl Inner {
    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake();
        }
    }

    /// The stream with that key or id, or the only one that begins so.
    fn find(&self, name: &str) -> Search {
        let is_it = |key: JournalKey, id: &str| id == name || key.to_string() == name;
        let begins = |key: JournalKey, id: &str| {
            let is_long = name.chars().count() >= PREFIX_CHARS_MIN;
            is_long && (id.starts_with(name) || key.to_string().starts_with(name))
        };
        let mut sources = self.sources.iter();
        // The newest, if a stream has begun again.
        if let Some(source) = sources.rfind(|it| is_it(it.key, &it.stream_id)) {
            return Search::One(Arc::clone(source));
        }
        let is_revoked = |fits: &dyn Fn(JournalKey, &str) -> bool| {
            self.revoked.iter().any(|(key, id)| fits(*key, id))
        };
        if is_revoked(&is_it) {
            return Search::Revoked;
        }
        let mut fitting = self
            .sources
            .iter()
            .filter(|it| begins(it.key, &it.stream_id));
        match (fitting.next(), fitting.next()) {
            (Some(_), Some(_)) => Search::Several,
            (Some(source), None) => Search::One(Arc::clone(source)),
            (None, _) if is_revoked(&begins) => Search::Revoked,
            (None, _) => Search::None,
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        self.lock().wake();
    }

    /// A stream has ended: it cannot be tapped any more.
    fn ended(&self, source: &Arc<Source>) {
        let mut inner = self.lock();
        inner.sources.retain(|it| !Arc::ptr_eq(it, source));
        if source.is_revoked() {
            if inner.revoked.len() >= REVOKED_MAX {
                inner.revoked.pop_front();
            }
            let ids = (source.key, source.stream_id.clone());
            inner.revoked.push_back(ids);
        }
    }

    /// Whether there is room for one more; otherwise the refusal is counted.
    fn has_room(&self) -> bool {
        let (clients, is_stopping) = {
            let inner = self.lock();
            (inner.clients + inner.waiting.len(), inner.is_stopping)
        };
        let has_room = clients < MEDIA_CLIENTS_MAX && !is_stopping;
        if !has_room {
            self.counters.refuses();
            if !is_stopping && let Some(more) = self.is_full.allow(Instant::now()) {
                log::warn!(
                    "media: too many clients, refusing further ones clients={clients}{more}"
                );
            }
        }
        has_room
    }

    /// Serves a request from now on.
    fn take(self: &Arc<Shared>, request: Request) {
        let mut inner = self.lock();
        if inner.is_stopping {
            return;
        }
        inner.waiting.push(request);
        if !inner.is_running
            && let Err(error) = self.start(&mut inner)
        {
            log::error!("media: the thread cannot be started: {error}");
            inner.waiting.clear();
        }
        inner.wake();
    }

    fn start(self: &Arc<Shared>, inner: &mut Inner) -> io::Result<()> {
        // The one before has said that it ends.
        if let Some(ended) = inner.thread.take()
            && ended.join().is_err()
        {
            log::error!("media: the thread panicked; please report");
        }
        let (waker, wakeable) = waker()?;
        let thread = Thread::new(self, wakeable)?;
        let shared = Arc::clone(self);
        let handle = Builder::new()
            .name("media".into())
            .stack_size(STACK_BYTES)
            .spawn(move || shared.run(thread))?;
        (inner.waker, inner.thread) = (Some(waker), Some(handle));
        inner.is_running = true;
        Ok(())
    }

    /// The thread.
    fn run(&self, thread: Thread) {
        if catch_unwind(AssertUnwindSafe(|| thread.run())).is_ok() {
            return;
        }
        log::error!("media: the thread panicked, its clients are cut off; please report");
        let mut inner = self.lock();
        inner.waiting.clear();
        (inner.clients, inner.is_running, inner.waker) = (0, false, None);
    }
}
