//! One connection to the store: opening it, sending commands, reading replies in their order.
//!
//! The crate `redis` packs the commands and reads the replies. The connection is ours, over [`crate::net`]: the
//! crate's own looks names up and shakes hands without a deadline, lets `RTMS_CA_FILE` take the place of the
//! system's roots where ours adds to them, and reads those roots again for every connection.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use super::command::{Command, Script};
use super::facts::Facts;
use super::value::Value;
use super::wire::{Net, Wire};
use crate::domain::fleet::StoreAddress as Address;
use crate::domain::secret::Secret;
use crate::log::app::inherit;

/// How long opening may take: look-up, TCP, TLS, password, scripts.
pub(crate) const OPEN_MAX: Duration = Duration::from_secs(3);
/// A TLS handshake needs it; only touched pages use memory.
const STACK_BYTES: usize = 512 << 10;
/// The longest reply that is read, in bytes. Parts of a queue are the longest: 512 events of Zoom, of 4 KiB each.
const REPLY_MAX: usize = 32 << 20;

/// An open connection. After any error or missed deadline it is dropped, never used again: a late reply must
/// not answer the next question.
pub(crate) struct Connection {
    wire: Wire,
    /// It has what was read and not understood yet, so a wait that ended too early can be continued.
    parser: redis::Parser,
    /// Bytes of the reply that is being read.
    read: usize,
    /// What the store calls the scripts.
    sha1: HashMap<Script, String>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connection")
    }
}

/// Why a connection is of no use any more, for a person.
pub(crate) type Fault = String;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Calls: scripts are loaded, and the store says what it is.
    Calls,
    /// Reading the own queue.
    Queue,
}

impl Connection {
    /// Opens one, until the deadline.
    pub(crate) fn open(
        address: &Address,
        net: &Net,
        purpose: Purpose,
        deadline: Instant,
    ) -> Result<(Connection, Facts), Fault> {
        let wire = Wire::open(&address.place, net, deadline)?;
        let mut connection = Connection {
            wire,
            parser: redis::Parser::new(),
            read: 0,
            sha1: HashMap::new(),
        };
        let mut commands = Vec::new();
        // A user without a password is never left out: the store would take us for its default user.
        if address.user.is_some() || address.password.is_some() {
            let user = address.user.as_ref().map(|user| user.clone().into_bytes());
            let password = address.password.as_ref().map_or("", Secret::expose);
            let password = password.as_bytes().to_vec();
            let words = user.into_iter().chain([password]).collect();
            commands.push(Command::plain("AUTH", vec![], words));
        }
        if address.database != 0 {
            let number = address.database.to_string().into_bytes();
            commands.push(Command::plain("SELECT", vec![], vec![number]));
        }
        commands.push(Command::plain("PING", vec![], vec![]));
        for value in connection.exchange(&commands, deadline)? {
            if let Value::Error(error) = value {
                return Err(error);
            }
        }
        if purpose == Purpose::Queue {
            return Ok((connection, Facts::default()));
        }
        let info = Command::plain("INFO", vec![], vec![]);
        let values = connection.exchange(&[info], deadline)?;
        // Some ACL may forbid it; then the store shows what it is by its replies.
        let facts = Facts::read(values[0].str().unwrap_or_default());
        if let Some(why) = facts.refusal() {
            return Err(why);
        }
        connection.load(deadline)?;
        Ok((connection, facts))
    }

    /// Loads the scripts. A store that was restarted or promoted has none.
    pub(crate) fn load(&mut self, deadline: Instant) -> Result<(), Fault> {
        let load = Script::ALL.map(|script| {
            let words = ["LOAD", script.text()].map(|word| word.as_bytes().to_vec());
            Command::plain("SCRIPT", vec![], words.to_vec())
        });
        let values = self.exchange(&load, deadline)?;
        for (script, value) in Script::ALL.into_iter().zip(values) {
            match value {
                Value::Bytes(_) => {
                    let sha1 = value.str().unwrap_or_default().to_owned();
                    self.sha1.insert(script, sha1);
                }
                Value::Error(error) => return Err(format!("SCRIPT LOAD: {error}")),
                _ => return Err("SCRIPT LOAD: no name of the script".to_owned()),
            }
        }
        Ok(())
    }

    /// Sends commands in one write, and waits for all replies.
    pub(crate) fn exchange(
        &mut self,
        commands: &[Command],
        deadline: Instant,
    ) -> Result<Vec<Value>, Fault> {
        self.send(commands.iter(), deadline)?;
        let replies = commands.iter().map(|_| {
            let reply = self.next(deadline)?;
            reply.ok_or_else(|| "no reply in time".to_owned())
        });
        replies.collect()
    }

    /// Sends commands in one write.
    pub(crate) fn send<'a>(
        &mut self,
        commands: impl Iterator<Item = &'a Command>,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let mut bytes = Vec::new();
        for command in commands {
            let words = command.words(|script| self.sha1.get(&script).cloned().unwrap_or_default());
            bytes.extend(redis::pack_command(&words));
        }
        self.wire.limit(deadline);
        self.wire
            .write_all(&bytes)
            .map_err(|error| match error.kind() {
                ErrorKind::WouldBlock => "it takes nothing".to_owned(),
                _ => error.to_string(),
            })
    }

    /// The next reply; `None` if it is not there in time. Then it can still come: the next call returns it.
    pub(crate) fn next(&mut self, deadline: Instant) -> Result<Option<Value>, Fault> {
        self.wire.limit(deadline);
        let counted = Counted {
            wire: &mut self.wire,
            read: &mut self.read,
        };
        match self.parser.parse_value(counted) {
            Ok(value) => {
                self.read = 0;
                understood(value).map(Some)
            }
            Err(error) if error.is_timeout() => Ok(None),
            Err(error) if error.is_io_error() => Err(error.to_string()),
            // Its text shows parts of what came.
            Err(_) => Err("it does not speak RESP2".to_owned()),
        }
    }
}

/// Reads on behalf of the parser, and no more than a reply may have.
struct Counted<'a> {
    wire: &'a mut Wire,
    read: &'a mut usize,
}

impl Read for Counted<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if *self.read > REPLY_MAX {
            return Err(io::Error::other("its reply is too long"));
        }
        let read = self.wire.read(out)?;
        *self.read += read;
        if read == 0 {
            return Err(io::Error::other("it closed the connection"));
        }
        Ok(read)
    }
}

/// A reply of the crate as ours, which has no more than RESP2.
fn understood(value: redis::Value) -> Result<Value, Fault> {
    Ok(match value {
        redis::Value::Nil => Value::Nil,
        redis::Value::Int(n) => Value::Int(n),
        redis::Value::Okay => Value::text("OK"),
        redis::Value::SimpleString(text) => Value::text(text),
        redis::Value::BulkString(bytes) => Value::Bytes(bytes),
        redis::Value::Array(values) => {
            let values = values.into_iter().map(understood);
            Value::Array(values.collect::<Result<_, _>>()?)
        }
        redis::Value::ServerError(error) => {
            let detail = error.details().unwrap_or_default();
            Value::error(&format!("{} {detail}", error.code()))
        }
        _ => return Err("it does not speak RESP2".to_owned()),
    })
}

/// Whether this error means that another server has our place, or that this one has none: the connection is
/// of no use, and the name may lead elsewhere by now.
pub(crate) fn is_of_no_use(error: &str) -> bool {
    const WORDS: [&str; 8] = [
        "READONLY",
        "LOADING",
        "MASTERDOWN",
        "NOREPLICAS",
        "NOAUTH",
        "WRONGPASS",
        "CLUSTERDOWN",
        "MOVED",
    ];
    let word = error.split(' ').next().unwrap_or_default();
    WORDS.contains(&word)
}

/// A connection that a thread of its own opens, so that the one that wants it can do something else.
#[derive(Debug)]
pub(crate) struct Opening {
    thread: Option<JoinHandle<()>>,
    outcome: Arc<Mutex<Option<Outcome>>>,
}

type Outcome = Result<(Connection, Facts), Fault>;

impl Opening {
    /// Begins; `wake` is called when there is an outcome.
    pub(crate) fn start(
        address: &Arc<Address>,
        net: &Net,
        wake: impl FnOnce() + Send + 'static,
    ) -> Result<Opening, Fault> {
        let (address, net) = (Arc::clone(address), net.clone());
        let outcome = Arc::new(Mutex::new(None));
        let place = Arc::clone(&outcome);
        let thread = Builder::new()
            .name("store open".to_owned())
            .stack_size(STACK_BYTES);
        let thread = thread.spawn(inherit(move || {
            let deadline = Instant::now() + OPEN_MAX;
            let opened = Connection::open(&address, &net, Purpose::Calls, deadline);
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(opened);
            wake();
        }));
        let thread = Some(thread.map_err(|error| format!("no thread: {error}"))?);
        Ok(Opening { thread, outcome })
    }

    /// The outcome, once.
    pub(crate) fn poll(&mut self) -> Option<Outcome> {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = self.thread.as_ref().is_some_and(JoinHandle::is_finished);
        match outcome.take() {
            // Without an outcome it panicked.
            None if is_over => Some(Err("the thread that opens it has ended".to_owned())),
            found => found,
        }
    }
}

impl Drop for Opening {
    /// Waits for the thread, which ends at its deadline or soon after it is told.
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
