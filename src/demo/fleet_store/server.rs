//! The model served on loopback, so that a fleet of the demo needs nothing but the binary.
//!
//! It knows scripts by their first line: there is no Lua in it. Anyone who reaches the port may do everything,
//! and any password is right.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use super::model::Model;
use super::resp;
use crate::daemon::fleet_store::command::{Command, Script, Verb};
use crate::daemon::fleet_store::value::Value;

/// Most clients: a node has two connections.
const CLIENTS_MAX: usize = 64;
/// How often a thread that waits looks whether it should end.
const LOOK: Duration = Duration::from_millis(100);
/// A client that takes nothing for so long is left.
const WRITE_MAX: Duration = Duration::from_secs(2);
const STACK_BYTES: usize = 256 << 10;
/// What it says to INFO: a store about which there is nothing to complain.
const INFO: &str = "# Server\r\nredis_version:7.0.0\r\nredis_mode:standalone\r\n# Memory\r\nused_memory:0\r\n\
    maxmemory:0\r\nmaxmemory_policy:noeviction\r\n# Persistence\r\nloading:0\r\naof_enabled:1\r\n\
    # Replication\r\nrole:master\r\nconnected_slaves:0\r\n# Cluster\r\ncluster_enabled:0\r\n";

/// The store's clock, in Unix milliseconds.
pub type StoreClock = Box<dyn Fn() -> u64 + Send + Sync>;

/// A store on a port of loopback. Dropping it ends it, within a moment.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    clock: StoreClock,
    held: Mutex<Held>,
    /// Something was written; or it is to end.
    changed: Condvar,
}

#[derive(Default)]
struct Held {
    model: Model,
    /// Scripts that were loaded, by the name that a real server gives them.
    scripts: HashMap<Vec<u8>, Script>,
    is_stalled: bool,
    is_ending: bool,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Server")
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Server {
    /// Starts one on a free port.
    ///
    /// # Errors
    /// If there is no port or no thread.
    pub fn start(clock: StoreClock) -> io::Result<Server> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            clock,
            held: Mutex::default(),
            changed: Condvar::new(),
        });
        let own = Arc::clone(&shared);
        let thread = Builder::new()
            .name("demo store".to_owned())
            .stack_size(STACK_BYTES);
        let thread = thread.spawn(move || accept(&listener, &own))?;
        Ok(Server {
            address,
            shared,
            thread: Some(thread),
        })
    }

    /// What belongs into `RTMS_FLEET`.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// While it is stalled it takes commands and says nothing.
    pub fn stall(&self, is_stalled: bool) {
        self.shared.lock().is_stalled = is_stalled;
        self.shared.changed.notify_all();
    }

    /// Loses everything, as a restart without a file does.
    pub fn clear(&self) {
        let mut held = self.shared.lock();
        held.model.clear();
        held.scripts.clear();
    }

    /// Looks into the model, or changes it.
    pub fn with_model<T>(&self, work: impl FnOnce(&mut Model) -> T) -> T {
        let result = work(&mut self.shared.lock().model);
        self.shared.changed.notify_all();
        result
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.lock().is_ending = true;
        self.shared.changed.notify_all();
        // Wakes the thread that accepts.
        let _ = TcpStream::connect_timeout(&self.address, LOOK);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut clients: Vec<JoinHandle<()>> = Vec::new();
    while !shared.lock().is_ending {
        let socket = match listener.accept() {
            Ok((socket, _)) => socket,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => {
                // Out of descriptors: until others end.
                std::thread::park_timeout(LOOK);
                continue;
            }
        };
        clients.retain(|client| !client.is_finished());
        if clients.len() < CLIENTS_MAX {
            let own = Arc::clone(shared);
            let thread = Builder::new()
                .name("demo store".to_owned())
                .stack_size(STACK_BYTES);
            // Who cannot be served is not: the socket is dropped.
            let served = thread.spawn(move || {
                let _ = serve(socket, &own);
            });
            clients.extend(served.ok());
        }
    }
    for client in clients {
        let _ = client.join();
    }
}

/// Serves one client until it goes, or the store ends.
fn serve(mut socket: TcpStream, shared: &Shared) -> io::Result<()> {
    socket.set_read_timeout(Some(LOOK))?;
    socket.set_write_timeout(Some(WRITE_MAX))?;
    socket.set_nodelay(true)?;
    let (mut arrived, mut chunk) = (Vec::new(), vec![0; 16 << 10]);
    loop {
        match socket.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(length) => arrived.extend_from_slice(&chunk[..length]),
            Err(error) if is_temporary(&error) => {}
            Err(error) => return Err(error),
        }
        let mut replies = Vec::new();
        while let Some((words, length)) =
            resp::read(&arrived).map_err(|_| ErrorKind::InvalidData)?
        {
            arrived.drain(..length);
            let Some(reply) = shared.answer(&words) else {
                return Ok(());
            };
            resp::write(&reply, &mut replies);
        }
        socket.write_all(&replies)?;
        if shared.lock().is_ending {
            return Ok(());
        }
    }
}

fn is_temporary(error: &io::Error) -> bool {
    let kind = error.kind();
    matches!(
        kind,
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

impl Shared {
    /// The reply; `None` if the store ends before there is one.
    fn answer(&self, words: &[Vec<u8>]) -> Option<Value> {
        let mut held = self.lock();
        while held.is_stalled && !held.is_ending {
            held = self.wait(held, LOOK);
        }
        let Some((name, args)) = words.split_first() else {
            return Some(error("ERR empty command"));
        };
        let name = String::from_utf8_lossy(name).to_ascii_uppercase();
        Some(match (name.as_str(), args) {
            ("AUTH" | "SELECT" | "CLIENT", _) => Value::text("OK"),
            ("HELLO", [version, ..]) if version == b"2" => Value::Array(vec![]),
            ("HELLO", _) => error("NOPROTO unsupported protocol version"),
            ("INFO", _) => Value::text(INFO),
            ("SCRIPT", [what, text]) if what.eq_ignore_ascii_case(b"LOAD") => {
                let script = std::str::from_utf8(text).ok();
                match script.and_then(Script::by_first_line) {
                    Some(script) => {
                        let sha1 = hex::encode(openssl::sha::sha1(text)).into_bytes();
                        held.scripts.insert(sha1.clone(), script);
                        Value::Bytes(sha1)
                    }
                    None => error("ERR the demo's store does not know this script"),
                }
            }
            ("SCRIPT", [what]) if what.eq_ignore_ascii_case(b"FLUSH") => {
                held.scripts.clear();
                Value::text("OK")
            }
            ("EVALSHA", [sha1, count, rest @ ..]) => {
                let count = std::str::from_utf8(count).ok().and_then(|n| n.parse().ok());
                match (held.scripts.get(sha1).copied(), count) {
                    (None, _) => error("NOSCRIPT No matching script. Please use EVAL."),
                    (Some(script), Some(count)) if count <= rest.len() => {
                        let (keys, args) = rest.split_at(count);
                        let command = Command::script(script, keys.to_vec(), args.to_vec());
                        self.call(&mut held, &command)
                    }
                    _ => error("ERR Number of keys can't be greater than number of args"),
                }
            }
            _ => match plain(&name, args) {
                Some((command, None)) => self.call(&mut held, &command),
                Some((command, Some(limit))) => {
                    let until = Instant::now() + limit;
                    loop {
                        let value = self.call(&mut held, &command);
                        let left = until.saturating_duration_since(Instant::now());
                        if value != Value::Nil || left.is_zero() {
                            break value;
                        }
                        if held.is_ending {
                            return None;
                        }
                        held = self.wait(held, left);
                    }
                }
                None => Value::Error(format!("ERR unknown command '{name}'")),
            },
        })
    }

    fn wait<'a>(&self, held: MutexGuard<'a, Held>, most: Duration) -> MutexGuard<'a, Held> {
        let woken = self.changed.wait_timeout(held, most);
        woken.unwrap_or_else(PoisonError::into_inner).0
    }

    fn call(&self, held: &mut Held, command: &Command) -> Value {
        let value = held.model.call((self.clock)(), command);
        // Threads that wait for a message look again; they are few.
        if command.verb != Verb::Plain("XREAD") {
            self.changed.notify_all();
        }
        value
    }
}

/// A command of the store, and how long it may wait.
fn plain(name: &str, args: &[Vec<u8>]) -> Option<(Command, Option<Duration>)> {
    const WITH_KEY: [&str; 18] = [
        "DEL", "EXISTS", "GET", "HDEL", "HGET", "HGETALL", "HMGET", "HSET", "PEXPIRE", "PTTL",
        "SADD", "SCARD", "SET", "SMEMBERS", "SREM", "XADD", "XLEN", "XRANGE",
    ];
    let (keys, args, limit) = match (name, args) {
        ("PING" | "TIME", []) => (Vec::new(), Vec::new(), None),
        ("DEL", keys) => (keys.to_vec(), Vec::new(), None),
        ("XREAD", _) => {
            let at = args.iter().position(|word| word == b"STREAMS")?;
            let [key, id] = &args[at + 1..] else {
                return None;
            };
            let block = args[..at].iter().position(|word| word == b"BLOCK");
            let ms = block.and_then(|at| std::str::from_utf8(args.get(at + 1)?).ok()?.parse().ok());
            let mut options = args[..=at].to_vec();
            options.push(id.clone());
            (vec![key.clone()], options, ms.map(Duration::from_millis))
        }
        ("XDEL", [key, args @ ..]) => (vec![key.clone()], args.to_vec(), None),
        (name, [key, args @ ..]) if WITH_KEY.contains(&name) => {
            (vec![key.clone()], args.to_vec(), None)
        }
        _ => return None,
    };
    let names = WITH_KEY
        .into_iter()
        .chain(["PING", "TIME", "XREAD", "XDEL"]);
    let verb = names.into_iter().find(|known| *known == name)?;
    Some((Command::plain(verb, keys, args), limit))
}

fn error(text: &str) -> Value {
    Value::Error(text.to_owned())
}
