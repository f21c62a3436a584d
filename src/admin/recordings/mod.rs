//! Recordings over HTTP: the list of meetings, one of them, the captions so far, and links to them.
//!
//! | file | what |
//! | --- | --- |
//! | `wanted` | what a request asks for, and whether a link allows it |
//! | `find` | finds a recording by its key, or by what a person calls it |
//! | `answers` | what is answered |
//! | `meeting` | one recording as JSON |
//! | `follow` | finds the app whose events a request wants |
//!
//! Each request has a thread of its own, for it may read many folders, or send a file for as long as the
//! client reads it; there are few at once. The socket
//! left the gate, so that neither health nor webhooks wait for a disk.

mod answers;
mod find;
mod follow;
mod meeting;
mod wanted;

use std::fmt;
use std::io::{self, BufWriter, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::thread::Builder;
use std::time::{Duration, Instant};

use rustix::net::{Shutdown, shutdown};

pub(super) use wanted::{Wanted, ticket};

use self::answers::answer_from;
use self::find::{Places, find};
use super::files::FileRequest;
use super::files::send::Outlet;
use super::line;
use super::links::key::LinkKey;
use crate::clock::now_ms;
use crate::daemon::handle::Output;
use crate::delivery::live::{Access, RETRY_AFTER_S};
use crate::feed::JournalKey;
use crate::gate::{Answer, answer_bytes, open_answer_bytes};
use crate::log::app::inherit;

/// Requests at one time.
const AT_ONCE: usize = 4;
/// Files that are sent at one time. A player that is paused holds one.
const FILES_AT_ONCE: usize = 32;
/// A client that takes nothing for so long is cut off.
const WRITE_MAX: Duration = Duration::from_secs(10);
/// For the request under way, at the end of the server.
const STOP_MAX: Duration = Duration::from_millis(500);
const STACK_BYTES: usize = 512 << 10;
const FILE_STACK_BYTES: usize = 128 << 10;

/// See [`Server::apps`].
type AppsOf = dyn Fn(Option<&str>) -> Result<Vec<Output>, Answer> + Send + Sync;

/// What is asked of the server.
pub(super) struct Server {
    /// Where the recordings of the app with that name are, or those of all; asked for each request.
    pub(super) apps: Box<AppsOf>,
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
    places: Places,
    /// Answers that are made.
    answering: AtomicUsize,
    /// Files that are sent.
    sending: AtomicUsize,
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
        let is_busy = || {
            let running = [&self.0.answering, &self.0.sending];
            running.iter().any(|count| count.load(Acquire) > 0)
        };
        while is_busy() && Instant::now() < until {
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
            places: Places::default(),
            answering: AtomicUsize::new(0),
            sending: AtomicUsize::new(0),
            is_stopping: AtomicBool::new(false),
        }))
    }

    pub(super) fn shelf(&self) -> Shelf {
        Shelf(Arc::clone(&self.0))
    }
}

/// A place among the requests at one time.
struct Place {
    shared: Arc<Shared>,
    is_file: bool,
}

impl Shared {
    fn running(&self, is_file: bool) -> &AtomicUsize {
        match is_file {
            true => &self.sending,
            false => &self.answering,
        }
    }

    /// Whether a stream may be read any more.
    fn may_go_on(&self, output: &Output, key: JournalKey, access: &Access) -> bool {
        !self.is_stopping.load(Acquire) && !output.is_revoked(key) && !access.is_over(now_ms())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.running(self.is_file).fetch_sub(1, AcqRel);
    }
}

impl Shelf {
    /// Answers a request on a thread of its own, or says why not.
    pub(super) fn open(
        &self,
        wanted: Wanted,
        app: Option<String>,
        access: Access,
    ) -> Result<Serve, Answer> {
        if !wanted.is_allowed(&access) {
            return Err(line(403, "this link is not for that"));
        }
        let is_file = matches!(wanted, Wanted::File(_));
        let running = self.0.running(is_file).fetch_add(1, AcqRel);
        let place = Place {
            shared: Arc::clone(&self.0),
            is_file,
        };
        let most = if is_file { FILES_AT_ONCE } else { AT_ONCE };
        if running >= most || self.0.is_stopping.load(Acquire) {
            let answer = line(503, "there are too many requests at once, come again");
            return Err(answer.with("Retry-After", RETRY_AFTER_S.to_string()));
        }
        Ok(Serve {
            place,
            wanted,
            app,
            access,
        })
    }
}

/// A request that is to be answered.
pub(super) struct Serve {
    place: Place,
    wanted: Wanted,
    app: Option<String>,
    access: Access,
}

impl Serve {
    /// Answers it.
    pub(super) fn start(self, socket: OwnedFd) {
        let (name, stack_bytes) = match self.place.is_file {
            true => ("files", FILE_STACK_BYTES),
            false => ("recordings", STACK_BYTES),
        };
        let spawned = Builder::new()
            .name(name.into())
            .stack_size(stack_bytes)
            .spawn(inherit(move || {
                let Serve {
                    place,
                    wanted,
                    app,
                    access,
                } = self;
                // The client may be gone, or reads too slowly.
                let shared = &place.shared;
                let answered = match &wanted {
                    Wanted::File(file) => send_file(shared, file, app.as_deref(), &access, &socket),
                    wanted => answer(shared, wanted, app.as_deref(), &access, socket),
                };
                if let Err(error) = answered {
                    log::debug!("recordings: an answer was cut off: {error}");
                }
            }));
        if let Err(error) = spawned {
            log::error!("recordings: no thread can be started: {error}");
        }
    }
}

/// What an app writes, and below which folder.
struct Written {
    output: Output,
    root: PathBuf,
}

/// What the app with that name writes, or what all write.
fn written(shared: &Shared, app: Option<&str>) -> Result<Vec<Written>, Answer> {
    let outputs = (shared.server.apps)(app)?.into_iter();
    let written = outputs.filter_map(|output| {
        let root = output.root.clone()?;
        Some(Written { output, root })
    });
    let written: Vec<Written> = written.collect();
    match written.is_empty() {
        true => Err(line(404, "no files are written: RTMS_OUT is not set")),
        false => Ok(written),
    }
}

fn answer(
    shared: &Shared,
    wanted: &Wanted,
    app: Option<&str>,
    access: &Access,
    socket: OwnedFd,
) -> io::Result<()> {
    // Only what all sockets have is used, so this may be a Unix socket as well.
    let stream = TcpStream::from(socket);
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(WRITE_MAX))?;
    let mut out = BufWriter::with_capacity(32 << 10, &stream);
    let answered = written(shared, app)
        .and_then(|written| answer_from(shared, &written, wanted, access, &mut out));
    match answered {
        Ok(done) => done?,
        Err(refusal) => {
            let refusal = refusal.with("Cache-Control", "no-store");
            out.write_all(&answer_bytes(&refusal, false))?;
        }
    }
    out.flush()?;
    drop(out);
    stream.shutdown(std::net::Shutdown::Write)
}

/// Sends a file, and looks at each piece whether it may still be sent.
fn send_file(
    shared: &Shared,
    wanted: &FileRequest,
    app: Option<&str>,
    access: &Access,
    socket: &OwnedFd,
) -> io::Result<()> {
    let written = written(shared, app);
    let found = written.as_ref().map_err(Clone::clone).and_then(|written| {
        let (found, recording) = find(&shared.places, written, wanted.key)?;
        let (head, part) = wanted.open(&recording)?;
        Ok((&found.output, head, part))
    });
    match found {
        Ok((output, head, part)) => {
            let may_go_on = || shared.may_go_on(output, wanted.key, access);
            let out = Outlet::new(socket, &may_go_on)?;
            out.send(&open_answer_bytes(&head))?;
            if let Some(part) = part {
                out.send_file(&part)?;
            }
        }
        Err(refusal) => {
            let refusal = refusal.with("Cache-Control", "no-store");
            let may_go_on = || !shared.is_stopping.load(Acquire);
            let out = Outlet::new(socket, &may_go_on)?;
            out.send(&answer_bytes(&refusal, wanted.is_head))?;
        }
    }
    Ok(shutdown(socket, Shutdown::Write)?)
}
