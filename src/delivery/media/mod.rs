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
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use counters::Counters;
pub use source::MediaSink;

use super::clients::named::{Choice, Name, Search};
use super::clients::on_demand::{OnDemand, Stopped};
use super::live::Access;
use crate::domain::stream_info::StreamInfo;
use crate::feed::JournalKey;
use crate::gate::{Answer, LeavingRequest};
use crate::protocol::{MediaParams, MediaSelection};
use crate::recorder::path::safe_name;
use client::Request;
use query::Ask;
use source::Source;
use thread::Thread;

/// Most clients.
pub const MEDIA_CLIENTS_MAX: usize = 64;
/// When a client that was refused because of it may come again, seconds.
const RETRY_AFTER_S: u32 = 5;
/// Streams whose consent was withdrawn, as far as they are remembered.
const REVOKED_MAX: usize = 1_024;
/// The thread ends so long after the last client has gone.
const IDLE: Duration = Duration::from_secs(5);
/// How long the thread may take to end.
const STOP_MAX: Duration = Duration::from_secs(1);

/// The streams that can be tapped. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Hub(Arc<Shared>);

struct Shared {
    /// A listener is open; else streams have no sink for it.
    is_on: AtomicBool,
    counters: Arc<Counters>,
    streams: Mutex<Streams>,
    clients: OnDemand<Request>,
}

/// The streams that run, and those that were withdrawn.
#[derive(Default)]
struct Streams {
    sources: Vec<Arc<Source>>,
    revoked: VecDeque<(JournalKey, String)>,
}

impl Default for Shared {
    fn default() -> Shared {
        Shared {
            is_on: AtomicBool::default(),
            counters: Arc::default(),
            streams: Mutex::default(),
            clients: OnDemand::new("media"),
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}

/// What a name stands for.
#[derive(Debug, Clone)]
enum Found {
    Running(Arc<Source>),
    Revoked,
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
        let streams = self.0.lock();
        let named = streams
            .sources
            .iter()
            .filter(|it| it.stream_id == stream_id);
        named.for_each(|source| source.revoke());
        self.0.clients.wake();
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
        if self.0.clients.stop(STOP_MAX) == Stopped::Hangs {
            log::warn!("media: the thread does not end; clients are cut off");
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
            return Err(Answer::line(403, "a link is for text, not for live media"));
        }
        let fields = wire::Fields {
            upgrade: request.header("Upgrade"),
            connection: request.header("Connection"),
            version: request.header("Sec-WebSocket-Version"),
            key: request.header("Sec-WebSocket-Key"),
        };
        let answer = wire::accept(&fields).map_err(|text| {
            Answer::line(426, text)
                .with("Upgrade", "websocket")
                .with("Sec-WebSocket-Version", "13")
        })?;
        let ask = Ask::parse(request.query()).map_err(|text| Answer::line(400, &text))?;
        let source = match self.0.lock().find(&ask.stream) {
            Search::One(Found::Running(source)) if !source.is_revoked() => Ok(source),
            Search::One(_) => Err(Answer::line(410, "consent to this stream was withdrawn")),
            Search::Several => Err(Answer::line(
                409,
                "several streams begin so; give more of the name",
            )),
            Search::None => Err(Answer::line(404, "no such stream is running")),
        }?;
        if let Some(text) = source.refusal(ask.kind, ask.speaker.is_some()) {
            return Err(Answer::line(409, &text));
        }
        if !self.0.clients.has_room(MEDIA_CLIENTS_MAX) {
            self.0.counters.refuses();
            let answer = Answer::line(503, "there are too many clients, come again");
            return Err(answer.with("Retry-After", RETRY_AFTER_S.to_string()));
        }
        let shared = Arc::clone(&self.0);
        Ok(Box::new(move |socket| {
            let request = Request {
                socket,
                answer,
                source,
                kind: ask.kind,
                speaker: ask.speaker,
            };
            let own = Arc::clone(&shared);
            let run = move |_, wakeable| {
                Thread::new(&own, wakeable)?.run();
                Ok(())
            };
            shared.clients.take(request, run);
        }))
    }
}

impl Streams {
    /// The stream that a name means: a running one, else one that was withdrawn.
    fn find(&self, text: &str) -> Search<Found> {
        let name = Name::new(text);
        let fits = |key: JournalKey, id: &str| name.fits(&safe_name(id), key);
        // The newest first, if a stream has begun again.
        let running = self.sources.iter().rev().filter_map(|source| {
            let fit = fits(source.key, &source.stream_id)?;
            Some((fit, Found::Running(Arc::clone(source))))
        });
        let revoked = self
            .revoked
            .iter()
            .filter_map(|(key, id)| Some((fits(*key, id)?, Found::Revoked)));
        match Choice::of(running) {
            // Streams that begin alike and were withdrawn have one answer.
            Search::None => match Choice::of(revoked) {
                Search::Several => Search::One(Found::Revoked),
                found => found,
            },
            found => found,
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stream has ended: it cannot be tapped any more.
    fn ended(&self, source: &Arc<Source>) {
        let mut streams = self.lock();
        streams.sources.retain(|it| !Arc::ptr_eq(it, source));
        if source.is_revoked() {
            if streams.revoked.len() >= REVOKED_MAX {
                streams.revoked.pop_front();
            }
            let ids = (source.key, source.stream_id.clone());
            streams.revoked.push_back(ids);
        }
    }
}
