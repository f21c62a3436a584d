//! A receiver of pushed events that trusts nothing: it checks each signature, the order of each
//! stream, and that an event that comes again is the same.
//!
//! It shares no code with the part that signs and sends: both go by Standard Webhooks alone.

pub(crate) mod checks;

use std::io::{self, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crate::demo::zoom::http;
use checks::{Checks, Request};

/// A connection that is idle for so long is closed.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// Between two looks at whether the demo has ended.
const READ_MAX: Duration = Duration::from_millis(200);

/// What the receiver does to requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Habit {
    /// It takes each.
    #[default]
    Well,
    /// It refuses, resets and delays some of them, and takes some without saying so.
    Moody,
    /// It takes none.
    Down,
}

/// The running receiver.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    checks: Mutex<Checks>,
    habit: Mutex<Habit>,
    requests: AtomicU64,
    is_stopping: AtomicBool,
    connections: Mutex<Vec<JoinHandle<()>>>,
}

impl Shared {
    fn checks(&self) -> MutexGuard<'_, Checks> {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn habit(&self) -> MutexGuard<'_, Habit> {
        self.habit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is done with one request.
enum Reaction {
    Take,
    /// Take it, and close the connection without an answer.
    TakeSilently,
    Refuse(&'static str),
    Reset,
}

impl Receiver {
    /// Listens on a free port of loopback. `secret` is `whsec_…`.
    ///
    /// # Errors
    /// The secret is none; no port or thread.
    pub fn start(secret: &str) -> io::Result<Receiver> {
        let checks =
            Checks::new(secret).ok_or_else(|| io::Error::other("found no whsec_ secret"))?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            checks: Mutex::new(checks),
            habit: Mutex::default(),
            requests: AtomicU64::new(0),
            is_stopping: AtomicBool::new(false),
            connections: Mutex::default(),
        });
        let own = Arc::clone(&shared);
        let thread = Builder::new()
            .name("receiver".to_owned())
            .spawn(move || accept(&listener, &own))?;
        Ok(Receiver {
            address,
            shared,
            thread: Some(thread),
        })
    }

    /// Where it takes events.
    pub fn url(&self) -> String {
        format!("http://{}/events", self.address)
    }

    /// Changes what it does.
    pub fn set_habit(&self, habit: Habit) {
        *self.shared.habit() = habit;
    }

    /// What it has received so far.
    pub fn checks(&self) -> Checks {
        self.shared.checks().clone()
    }

    /// Waits until it has received all of these ids; whether it has.
    pub fn wait_for(&self, ids: &[String], within: Duration) -> bool {
        let deadline = Instant::now() + within;
        loop {
            let is_there = {
                let checks = self.shared.checks();
                ids.iter().all(|id| checks.has(id))
            };
            if is_there || Instant::now() >= deadline {
                return is_there;
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.is_stopping.store(true, Ordering::Release);
        // Ends accept(2).
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let connections = self.shared.connections.lock();
        let connections = std::mem::take(&mut *connections.unwrap_or_else(PoisonError::into_inner));
        for connection in connections {
            let _ = connection.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.is_stopping.load(Ordering::Acquire) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let own = Arc::clone(shared);
        let connection = Builder::new()
            .name("receiver-conn".to_owned())
            .stack_size(256 << 10)
            .spawn(move || {
                // A peer that is killed leaves a broken connection.
                let _ = serve(&stream, &own);
            });
        let mut connections = shared
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        connections.retain(|connection: &JoinHandle<()>| !connection.is_finished());
        connections.extend(connection);
    }
}

fn serve(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_read_timeout(Some(READ_MAX))?;
    stream.set_nodelay(true)?;
    let mut idle_until = Instant::now() + IDLE_MAX;
    loop {
        // Nothing is taken off the socket until a request begins, so that the wait can be cut off.
        let mut first = [0];
        match stream.peek(&mut first) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) =>
            {
                let is_over = Instant::now() >= idle_until;
                if is_over || shared.is_stopping.load(Ordering::Acquire) {
                    return Ok(());
                }
                continue;
            }
            Err(error) => return Err(error),
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let Some(message) = http::read(&mut &*stream, deadline)? else {
            return Ok(());
        };
        stream.set_read_timeout(Some(READ_MAX))?;
        idle_until = Instant::now() + IDLE_MAX;
        let header = |name: &str| message.header(name).unwrap_or_default().to_owned();
        let request = Request {
            method: message.line[0].clone(),
            path: message.line[1].clone(),
            id: header("webhook-id"),
            timestamp: header("webhook-timestamp"),
            signature: header("webhook-signature"),
            content_type: header("content-type"),
            body: message.body.clone(),
        };
        let answer = match reaction(shared) {
            Reaction::Take => {
                shared.checks().take(&request);
                "204 No Content"
            }
            Reaction::TakeSilently => {
                shared.checks().take(&request);
                return stream.shutdown(Shutdown::Both);
            }
            Reaction::Refuse(answer) => answer,
            Reaction::Reset => return stream.shutdown(Shutdown::Both),
        };
        let text = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n");
        (&*stream).write_all(text.as_bytes())?;
    }
}

/// Faults come at prime numbers of requests, so that their order is another in each demo.
fn reaction(shared: &Shared) -> Reaction {
    let n = shared.requests.fetch_add(1, Ordering::Relaxed) + 1;
    let every = |k: u64| n.is_multiple_of(k);
    match *shared.habit() {
        Habit::Well => Reaction::Take,
        Habit::Down => Reaction::Reset,
        Habit::Moody if every(13) => Reaction::Refuse("503 Service Unavailable"),
        Habit::Moody if every(17) => Reaction::Reset,
        Habit::Moody if every(19) => {
            shared.checks().may_repeat();
            Reaction::TakeSilently
        }
        Habit::Moody if every(53) => Reaction::Refuse("429 Too Many Requests\r\nRetry-After: 1"),
        Habit::Moody if every(29) => Reaction::Refuse("302 Found\r\nLocation: /elsewhere"),
        Habit::Moody => Reaction::Take,
    }
}
