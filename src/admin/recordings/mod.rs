//! Recordings over HTTP: the list of meetings, one of them, the captions so far, and links to them.
//!
//! | file | what |
//! | --- | --- |
//! | `wanted` | what a request asks for, and whether a link allows it |
//! | `find` | finds a recording by its key, or by what a person calls it |
//! | `meeting` | one recording as JSON |
//! | `media_type` | pure: what a file is |
//!
//! Each request has a thread of its own, for it may read many folders; there are few at once. The socket
//! left the gate, so that neither health nor webhooks wait for a disk.

mod find;
mod media_type;
mod meeting;
mod wanted;

use std::fmt;
use std::io::{self, BufWriter, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::thread::Builder;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub(super) use wanted::Wanted;

use self::find::{find, find_named, is_revoked};
use self::meeting::meeting;
use super::line;
use super::links::key::LinkKey;
use super::links::request::{self, LinkRequest};
use super::links::token::Link;
use crate::clock::now_ms;
use crate::daemon::handle::Output;
use crate::delivery::live::{Access, RETRY_AFTER_S};
use crate::feed::JournalKey;
use crate::gate::{Answer, answer_bytes, open_answer_bytes};
use crate::recorder::captions::write_captions;
use crate::recorder::catalog::{Query, Recording, Search};

/// Requests at one time.
const AT_ONCE: usize = 4;
/// A client that takes nothing for so long is cut off.
const WRITE_MAX: Duration = Duration::from_secs(10);
/// For the request under way, at the end of the server.
const STOP_MAX: Duration = Duration::from_millis(500);
const STACK_BYTES: usize = 512 << 10;

/// What is asked of the server.
pub(super) struct Server {
    /// Where the recordings are; asked for each request.
    pub(super) output: Box<dyn Fn() -> Option<Output> + Send + Sync>,
    /// What signs links.
    pub(super) links: LinkKey,
    /// Where browsers find this listener, without a slash at the end; `None` if they do not.
    pub(super) base: Box<dyn Fn() -> Option<String> + Send + Sync>,
    /// Ends what is read with a link that was revoked.
    pub(super) look_at_links: Box<dyn Fn() + Send + Sync>,
}

/// Serves recordings. Dropping it cuts off what is under way.
pub(super) struct Recordings(Arc<Shared>);

struct Shared {
    server: Server,
    running: AtomicUsize,
    is_stopping: AtomicBool,
}

impl fmt::Debug for Recordings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recordings")
    }
}

impl Drop for Recordings {
    fn drop(&mut self) {
        self.0.is_stopping.store(true, Release);
        let until = Instant::now() + STOP_MAX;
        while self.0.running.load(Acquire) > 0 && Instant::now() < until {
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
}

/// Takes requests for recordings. Never waits.
#[derive(Clone)]
pub(super) struct Shelf(Arc<Shared>);

impl Recordings {
    pub(super) fn new(server: Server) -> Recordings {
        Recordings(Arc::new(Shared {
            server,
            running: AtomicUsize::new(0),
            is_stopping: AtomicBool::new(false),
        }))
    }

    pub(super) fn shelf(&self) -> Shelf {
        Shelf(Arc::clone(&self.0))
    }
}

/// A place among the requests at one time.
struct Place(Arc<Shared>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, AcqRel);
    }
}

impl Shelf {
    /// Answers a request on a thread of its own, or says why not.
    pub(super) fn open(&self, wanted: Wanted, access: Access) -> Result<Serve, Answer> {
        if !wanted.is_allowed(&access) {
            return Err(line(403, "this link is not for that"));
        }
        let running = self.0.running.fetch_add(1, AcqRel);
        let place = Place(Arc::clone(&self.0));
        if running >= AT_ONCE || self.0.is_stopping.load(Acquire) {
            let answer = line(503, "there are too many requests at once, come again");
            return Err(answer.with("Retry-After", RETRY_AFTER_S.to_string()));
        }
        Ok(Serve {
            place,
            wanted,
            access,
        })
    }
}

/// A request that is to be answered.
pub(super) struct Serve {
    place: Place,
    wanted: Wanted,
    access: Access,
}

impl Serve {
    /// Answers it.
    pub(super) fn start(self, socket: OwnedFd) {
        let spawned = Builder::new()
            .name("recordings".into())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let Serve {
                    place,
                    wanted,
                    access,
                } = self;
                // The client may be gone, or reads too slowly.
                if let Err(error) = answer(&place.0, &wanted, &access, socket) {
                    log::debug!("recordings: an answer was cut off: {error}");
                }
            });
        if let Err(error) = spawned {
            log::error!("recordings: no thread can be started: {error}");
        }
    }
}

fn answer(shared: &Shared, wanted: &Wanted, access: &Access, socket: OwnedFd) -> io::Result<()> {
    // Only what all sockets have is used, so this may be a Unix socket as well.
    let stream = TcpStream::from(socket);
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(WRITE_MAX))?;
    let mut out = BufWriter::with_capacity(32 << 10, &stream);
    let answered = match (shared.server.output)() {
        None => Err(line(503, "the daemon does not answer")),
        Some(Output { root: None, .. }) => {
            Err(line(404, "no files are written: RTMS_OUT is not set"))
        }
        Some(output) => answer_from(shared, &output, wanted, access, &mut out),
    };
    match answered {
        Ok(done) => done?,
        Err(refusal) => {
            let refusal = refusal.with("Cache-Control", "no-store");
            out.write_all(&answer_bytes(&refusal, false))?;
        }
    }
    out.flush()?;
    drop(out);
    stream.shutdown(Shutdown::Write)
}

fn answer_from(
    shared: &Shared,
    output: &Output,
    wanted: &Wanted,
    access: &Access,
    out: &mut dyn Write,
) -> Result<io::Result<()>, Answer> {
    let root = output.root.as_deref().unwrap_or(Path::new(""));
    let json = |value: &Value| {
        let answer = Answer::text(200, format!("{value}\n")).of_type("application/json");
        answer_bytes(&answer.with("Cache-Control", "no-store"), false)
    };
    match wanted {
        Wanted::Meetings { text, limit, after } => {
            let found = list(shared, output, root, text, *limit, *after);
            Ok(out.write_all(&json(&found)))
        }
        Wanted::Meeting(key) => {
            let recording = find(output, root, *key)?;
            let found = meeting(&recording, *access != Access::All)
                .map_err(|error| line(503, &format!("meta.json cannot be read: {error}")))?;
            Ok(out.write_all(&json(&found)))
        }
        Wanted::Captions(key, format) => {
            let recording = find(output, root, *key)?;
            let head = Answer::text(200, "").of_type(format.media_type());
            let head = open_answer_bytes(&head.with("Cache-Control", "no-store"));
            let may_go_on = || {
                !shared.is_stopping.load(Acquire)
                    && !output.is_revoked(*key)
                    && !access.is_over(now_ms())
            };
            let written = out.write_all(&head);
            Ok(written.and_then(|()| write_captions(&recording, *format, out, &may_go_on)))
        }
        Wanted::Link(LinkRequest::RevokeAll) => {
            let replaced = shared.server.links.replace();
            replaced.map_err(|error| no_key(&error))?;
            (shared.server.look_at_links)();
            log::info!("every link was revoked");
            Ok(out.write_all(&answer_bytes(&Answer::text(204, ""), false)))
        }
        Wanted::Link(LinkRequest::Make {
            name,
            for_s,
            has_files,
        }) => {
            let key = find_named(output, root, name)?;
            let Some(base) = (shared.server.base)() else {
                let text = "browsers cannot open a Unix socket: add an address to RTMS_ADMIN, or \
                            set RTMS_ADMIN_URL";
                return Err(line(409, text));
            };
            let signing = shared.server.links.get_or_make();
            let signing = signing.map_err(|error| no_key(&error))?;
            let link = Link {
                key,
                has_files: *has_files,
                expires_s: now_ms() / 1000 + for_s,
            };
            let answer = request::answer(&link, &link.sign(&signing.secret), &base);
            Ok(out.write_all(&json(&answer)))
        }
    }
}

/// A page of the list.
fn list(
    shared: &Shared,
    output: &Output,
    root: &Path,
    text: &str,
    limit: usize,
    after: Option<JournalKey>,
) -> Value {
    let query = Query {
        text: text.to_owned(),
        ..Query::default()
    };
    let is_stopping = || shared.is_stopping.load(Acquire);
    let after = after.map(|key| key.to_string());
    let mut found = Search::new(root, &query)
        .take_while(|_| !is_stopping())
        .filter(|recording| !is_revoked(output, recording));
    if let Some(after) = after {
        found.find(|recording| recording.key == after);
    }
    let mut meetings: Vec<Recording> = found.take(limit + 1).collect();
    let is_more = meetings.len() > limit;
    meetings.truncate(limit);
    let next = meetings
        .last()
        .filter(|_| is_more)
        .map(|last| last.key.clone());
    let meetings: Vec<Value> = meetings.iter().map(Recording::to_json).collect();
    json!({"v": 1, "meetings": meetings, "next": next})
}

fn no_key(error: &io::Error) -> Answer {
    let text = format!("the key that signs links cannot be written in RTMS_STATE: {error}");
    line(503, &text)
}
