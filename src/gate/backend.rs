//! The tiny_http server behind the gate, on a Unix socket that only this process can reach. The only
//! file that knows tiny_http.
//!
//! tiny_http's accept thread ends for good when it gets no file descriptor or no thread, and reports
//! nothing. So the gate expects it to fail: when a worker gets an error, a connect is refused, or an
//! answer does not come, the gate drops the server and builds another one.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::UnixDatagram;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::geteuid;
use tiny_http::{Header, Request, Response, Server};

use super::counters::{Counters, bump};
use super::http_request::ROUTE_FIELD;
use super::poll_loop::EXCHANGES_MAX;
use super::{Route, Routes};
use crate::net::waker::Waker;

/// Answers requests that arrived together on one route; runs on the worker threads.
pub(crate) type Handler = Arc<dyn Fn(Vec<HttpRequest>) + Send + Sync>;

/// A complete request.
pub(crate) struct HttpRequest {
    request: Request,
    body: Vec<u8>,
}

impl HttpRequest {
    /// Reads the body, which the gate has completely. `None` if the gate aborted the request
    /// because it stops.
    fn read(mut request: Request) -> Option<HttpRequest> {
        let expected_bytes = request.body_length().unwrap_or(0);
        let mut body = Vec::with_capacity(expected_bytes.min(1 << 20));
        let is_read = request.as_reader().read_to_end(&mut body).is_ok();
        (is_read && body.len() == expected_bytes).then_some(HttpRequest { request, body })
    }

    /// The numbers of the route and of its listener, which the gate has added.
    fn arrival(&self) -> (usize, usize) {
        let numbers = self.header(ROUTE_FIELD).and_then(|text| {
            let (route, listener) = text.split_once('/')?;
            Some((route.parse().ok()?, listener.parse().ok()?))
        });
        // The gate's own probe has none.
        numbers.unwrap_or_default()
    }

    /// The number of the listener within its route.
    pub(crate) fn listener(&self) -> usize {
        self.arrival().1
    }

    /// In upper case.
    pub(crate) fn method(&self) -> &str {
        self.request.method().as_str()
    }

    /// The target without its query.
    pub(crate) fn path(&self) -> &str {
        self.request.url().split('?').next().unwrap_or_default()
    }

    /// What follows the `?` of the target; empty without one.
    pub(crate) fn query(&self) -> &str {
        self.request
            .url()
            .split_once('?')
            .map_or("", |(_, query)| query)
    }

    /// The body as it was received, a chunked one decoded.
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    /// The first header field with that name, of those that the gate passes on.
    pub(crate) fn header(&self, name: &'static str) -> Option<&str> {
        (self.request.headers().iter())
            .find(|header| header.field.equiv(name))
            .map(|header| header.value.as_str())
    }

    /// Answers the request. The gate is gone only if it stops or has given up this request, so a
    /// failure needs no handling.
    pub(crate) fn answer(self, answer: Answer) {
        // The gate expects a length for every size.
        let mut response = Response::from_data(answer.body)
            .with_status_code(answer.status)
            .with_chunked_threshold(usize::MAX);
        let content_type = ("Content-Type", answer.content_type.to_owned());
        for (name, value) in std::iter::once(content_type).chain(answer.headers) {
            if let Ok(header) = Header::from_bytes(name, value) {
                response.add_header(header);
            }
        }
        let _ = self.request.respond(response);
    }
}

/// An answer to an [`HttpRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Plain text; without a line break at the end.
    pub(crate) fn text(status: u16, text: impl Into<String>) -> Answer {
        Answer {
            status,
            content_type: "text/plain; charset=UTF-8",
            headers: Vec::new(),
            body: text.into().into_bytes(),
        }
    }

    /// One line of text, for people and programs.
    pub(crate) fn line(status: u16, text: &str) -> Answer {
        Answer::text(status, format!("{text}\n")).of_type("text/plain; charset=utf-8")
    }

    /// Adds a header field.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Answer {
        self.headers.push((name, value.into()));
        self
    }

    /// Sets the content type.
    pub(crate) fn of_type(self, content_type: &'static str) -> Answer {
        Answer {
            content_type,
            ..self
        }
    }
}

/// Threads that answer requests.
const WORKERS: usize = 2;
/// Maximum requests that a worker handles together: as many as the gate passes on at a time.
const BATCH_MAX: usize = EXCHANGES_MAX;
/// Their stack; a request body of 256 KiB is on the heap.
const WORKER_STACK_BYTES: usize = 256 << 10;
/// Delay between attempts to build a server: doubled from the first to the second of these.
const REBUILD_PAUSE_MIN: Duration = Duration::from_millis(50);
const REBUILD_PAUSE_MAX: Duration = Duration::from_secs(2);
/// How long workers may take to end when the gate stops.
const JOIN_WAIT: Duration = Duration::from_millis(500);

/// The tiny_http server and what is needed to build it again.
pub(super) struct Backend {
    routes: Arc<Routes>,
    waker: Waker,
    counters: Arc<Counters>,
    parent: PathBuf,
    running: Option<BackendInstance>,
    generation: u64,
    retired: Vec<BackendInstance>,
    pause: Duration,
    not_before: Option<Instant>,
}

impl Backend {
    /// Builds the first server.
    pub(super) fn start(
        parent: PathBuf,
        routes: Arc<Routes>,
        waker: Waker,
        counters: Arc<Counters>,
    ) -> io::Result<Backend> {
        remove_orphans(&parent);
        let running = BackendInstance::start(&parent, &routes, &waker)?;
        Ok(Backend {
            routes,
            waker,
            counters,
            parent,
            running: Some(running),
            generation: 0,
            retired: Vec::new(),
            pause: REBUILD_PAUSE_MIN,
            not_before: None,
        })
    }

    /// The socket and the number of a server that seems to work, rebuilt if needed;
    /// `None` while no new one can be started.
    pub(super) fn server(&mut self, now: Instant) -> Option<(&Path, u64)> {
        if self.has_failed() {
            self.handle_failure(self.generation, now);
        }
        if self.running.is_none() && self.not_before.is_none_or(|at| now >= at) {
            self.rebuild(now);
        }
        self.running
            .as_ref()
            .map(|running| (running.socket.as_path(), self.generation))
    }

    /// Whether a worker has reported that the accept thread is gone.
    fn has_failed(&self) -> bool {
        self.running
            .as_ref()
            .is_some_and(|running| running.has_failed.load(Ordering::Acquire))
    }

    /// Whether there is a server that seems to work.
    pub(super) fn is_up(&self) -> bool {
        self.running.is_some() && !self.has_failed()
    }

    /// When to try again to build a server, if one is missing.
    pub(super) fn rebuild_at(&self) -> Option<Instant> {
        self.not_before.filter(|_| self.running.is_none())
    }

    /// The server answered: earlier failures no longer count.
    pub(super) fn handle_success(&mut self) {
        self.pause = REBUILD_PAUSE_MIN;
        self.not_before = None;
    }

    /// The server with that number is dead or silent: drop it, unless it was dropped already.
    pub(super) fn handle_failure(&mut self, generation: u64, now: Instant) {
        if generation != self.generation {
            return;
        }
        let Some(running) = self.running.take() else {
            return;
        };
        bump(&self.counters.backend_failures);
        running.retire();
        self.retired.push(running);
        self.retired.retain_mut(|retired| !retired.is_over());
        // At once after a success, then with growing delays.
        self.not_before.get_or_insert(now);
    }

    fn rebuild(&mut self, now: Instant) {
        self.not_before = Some(now + self.pause);
        self.pause = (self.pause * 2).min(REBUILD_PAUSE_MAX);
        match BackendInstance::start(&self.parent, &self.routes, &self.waker) {
            Ok(running) => {
                bump(&self.counters.backend_rebuilds);
                log::debug!("the HTTP backend was rebuilt");
                self.running = Some(running);
                self.generation += 1;
            }
            Err(error) => log::debug!("the HTTP backend cannot be built: {error}"),
        }
    }

    /// Ends all workers and waits for them, briefly.
    pub(super) fn stop(mut self) {
        self.retired.extend(self.running.take());
        for running in &self.retired {
            running.retire();
        }
        let deadline = Instant::now() + JOIN_WAIT;
        while !self.retired.is_empty() && Instant::now() < deadline {
            self.retired.retain_mut(|retired| !retired.is_over());
            if !self.retired.is_empty() {
                std::thread::park_timeout(Duration::from_millis(1));
            }
        }
        if !self.retired.is_empty() {
            log::warn!("a webhook worker did not end in time; leaving it running");
        }
    }
}

/// One tiny_http server with its workers. Dropping it removes its socket and directory.
struct BackendInstance {
    // Declared in this order: the server deletes its socket before the directory is deleted.
    server: Arc<Server>,
    workers: Vec<JoinHandle<()>>,
    socket: PathBuf,
    has_failed: Arc<AtomicBool>,
    is_retired: Arc<AtomicBool>,
    _directory: PrivateDirectory,
}

impl BackendInstance {
    fn start(parent: &Path, routes: &Arc<Routes>, waker: &Waker) -> io::Result<BackendInstance> {
        let directory = PrivateDirectory::create(parent)?;
        let socket = directory.0.join(SOCKET);
        // tiny_http panics if its thread cannot be created.
        let server = catch_unwind(AssertUnwindSafe(|| Server::http_unix(&socket)))
            .map_err(|_| io::Error::other("cannot create a thread for tiny_http"))?
            .map_err(|e| io::Error::other(format!("{}: {e}", socket.display())))?;
        let mut running = BackendInstance {
            server: Arc::new(server),
            workers: Vec::with_capacity(WORKERS),
            socket,
            has_failed: Arc::default(),
            is_retired: Arc::default(),
            _directory: directory,
        };
        for n in 0..WORKERS {
            match running.spawn_worker(n, routes, waker) {
                Ok(worker) => running.workers.push(worker),
                Err(error) => {
                    running.retire();
                    return Err(error);
                }
            }
        }
        Ok(running)
    }

    fn spawn_worker(
        &self,
        n: usize,
        routes: &Arc<Routes>,
        waker: &Waker,
    ) -> io::Result<JoinHandle<()>> {
        let (server, routes, waker) = (Arc::clone(&self.server), Arc::clone(routes), waker.clone());
        let (has_failed, is_retired) = (Arc::clone(&self.has_failed), Arc::clone(&self.is_retired));
        Builder::new()
            .name(format!("http-{n}"))
            .stack_size(WORKER_STACK_BYTES)
            .spawn(move || {
                loop {
                    let (requests, error) = next_requests(&server, &is_retired);
                    dispatch(&routes, requests);
                    match error {
                        None => {}
                        // Earlier requests are answered before this is checked.
                        Some(_) if is_retired.load(Ordering::Acquire) => return,
                        Some(error) => {
                            log::debug!("tiny_http no longer accepts: {error}");
                            has_failed.store(true, Ordering::Release);
                            waker.wake();
                            return;
                        }
                    }
                }
            })
    }

    /// Makes the workers end after their current requests.
    fn retire(&self) {
        self.is_retired.store(true, Ordering::Release);
        for _ in 0..WORKERS {
            self.server.unblock();
        }
    }

    /// Whether every worker has ended; ended ones are joined.
    fn is_over(&mut self) -> bool {
        while let Some(at) = self.workers.iter().position(JoinHandle::is_finished) {
            // A worker catches its panics, so the result has no information.
            let _ = self.workers.swap_remove(at).join();
        }
        self.workers.is_empty()
    }
}

/// Passes requests to the handlers of their routes, in the order of the routes: webhooks first.
fn dispatch(routes: &Routes, requests: Vec<Request>) {
    let mut requests: Vec<HttpRequest> =
        requests.into_iter().filter_map(HttpRequest::read).collect();
    for route in routes.all() {
        let of_route: Vec<HttpRequest> = requests
            .extract_if(.., |request| request.arrival().0 == route.number)
            .collect();
        if !of_route.is_empty() && !handles(&route, of_route) {
            log::error!("an HTTP worker panicked on a request; please report");
        }
    }
}

/// Calls the handler; returns whether it did not panic.
fn handles(route: &Route, requests: Vec<HttpRequest>) -> bool {
    catch_unwind(AssertUnwindSafe(|| (route.handler)(requests))).is_ok()
}

/// Waits for a request, and also takes those that wait after it; the error says why there will be
/// no more.
fn next_requests(server: &Server, is_retired: &AtomicBool) -> (Vec<Request>, Option<io::Error>) {
    let mut requests = Vec::new();
    // Receiving without waiting would consume the message that ends the wait of `recv`.
    let mut next = match is_retired.load(Ordering::Acquire) {
        true => server.try_recv(),
        false => server.recv().map(Some),
    };
    while let Ok(Some(request)) = next {
        requests.push(request);
        if requests.len() == BATCH_MAX {
            return (requests, None);
        }
        next = server.try_recv();
    }
    let error = match next {
        Err(error) => Some(error),
        Ok(_) if requests.is_empty() => Some(io::Error::other("retired")),
        Ok(_) => None,
    };
    (requests, error)
}

/// The name of the socket in its directory.
const SOCKET: &str = "s";

/// A directory of mode 0700 with a unique name, deleted on drop.
struct PrivateDirectory(PathBuf);

impl PrivateDirectory {
    fn create(parent: &Path) -> io::Result<PrivateDirectory> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mut tries = 0;
        loop {
            let n = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = parent.join(format!("rtmsd-{}-{n}", std::process::id()));
            // mkdir fails if the path exists, so no other user can have prepared it.
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(PrivateDirectory(path)),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && tries < 1000 => tries += 1,
                Err(e) => {
                    let text = format!("{}: cannot be made: {e}", path.display());
                    return Err(io::Error::new(e.kind(), text));
                }
            }
        }
    }
}

impl Drop for PrivateDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.0.join(SOCKET));
        let _ = fs::remove_dir(&self.0);
    }
}

/// Deletes what killed processes of this user left under `parent`. The socket shows whether its
/// owner is running, because in another container the same process number is another process.
fn remove_orphans(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        let is_named_so = entry.file_name().to_str().is_some_and(is_private_name);
        let is_ours = || {
            let found = entry.metadata();
            found.is_ok_and(|found| found.is_dir() && found.uid() == geteuid().as_raw())
        };
        if is_named_so && is_ours() && has_no_listener(&entry.path().join(SOCKET)) {
            drop(PrivateDirectory(entry.path()));
        }
    }
}

/// Whether [`PrivateDirectory::create`] makes such names.
fn is_private_name(name: &str) -> bool {
    let numbers = name
        .strip_prefix("rtmsd-")
        .and_then(|rest| rest.split_once('-'));
    let is_number = |text: &str| text.parse::<u64>().is_ok();
    numbers.is_some_and(|(pid, n)| is_number(pid) && is_number(n))
}

/// Whether the socket exists without a listener. Tested with a socket of another type, which an
/// existing listener refuses with another error and without being woken; the test never waits.
fn has_no_listener(socket: &Path) -> bool {
    let tried = UnixDatagram::unbound().and_then(|own| own.connect(socket));
    tried.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn leftovers_of_a_killed_process_are_deleted_and_nothing_else() {
        let parent = crate::testing::scratch("orphans");
        let make = |name: &str| {
            let directory = parent.join(name);
            fs::create_dir_all(&directory).expect("a folder");
            let listener = UnixListener::bind(directory.join(SOCKET)).expect("a socket");
            (directory, listener)
        };
        let (living, _listener) = make("rtmsd-7-1");
        // A closed listener leaves its socket file, as a killed process does.
        let (killed, _) = make("rtmsd-7-0");
        let (foreign, _) = make("rtmsd-state-0");
        let beginning = parent.join("rtmsd-8-0");
        fs::create_dir(&beginning).expect("a folder");
        remove_orphans(&parent);
        let found = [&living, &killed, &foreign, &beginning].map(|path| path.exists());
        assert_eq!(found, [true, false, true, true]);
    }
}
