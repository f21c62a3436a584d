//! The thread `store inbox`: waits for what other nodes put into the own queue, on a connection of its own.
//!
//! It reads from the beginning and then onwards, and hands each message on once. A message stays in the store
//! until its call to remove it, so nothing is lost when this process dies; and only one batch is on its way:
//! the rest stays in the store, too.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use super::backoff::Backoff;
use super::command::Command;
use super::connection::{Connection, Fault, OPEN_MAX, Purpose};
use super::encode::{BLOCK_MS, Codec};
use super::names::QUEUE_MAX;
use super::store::Reach;
use super::value::Value;
use super::wire::Net;
use crate::coordinator::fleet::call::Queued;
use crate::domain::fleet::StoreAddress as Address;
use crate::log::app::inherit;

/// How long after the time that it may wait a blocking read's reply must be there.
const REPLY_MAX: Duration = Duration::from_secs(1);
/// How often the queue is read from its beginning, while nothing comes. A store whose clock was set back and
/// that was emptied gives new messages smaller ids.
const AGAIN_EVERY: Duration = Duration::from_secs(10);
const STACK_BYTES: usize = 512 << 10;

/// Takes messages, on the thread of the inbox: it must not wait. The next come after [`Inbox::go_on`].
pub type OnMessages = Box<dyn Fn(Vec<Queued>) + Send>;

/// The thread. Dropping it ends it, within a second.
#[derive(Debug)]
pub struct Inbox {
    shared: Arc<Shared>,
    net: Net,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// A batch is on its way.
    is_full: bool,
    is_ending: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inbox {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub fn start(reach: &Reach, codec: Codec, on_messages: OnMessages) -> io::Result<Inbox> {
        let (shared, net) = (Arc::new(Shared::default()), reach.net());
        let mut work = Work {
            shared: Arc::clone(&shared),
            address: Arc::clone(&reach.address),
            net: net.clone(),
            codec,
            on_messages,
            backoff: Backoff::new(!reach.seed),
            handed: BTreeSet::new(),
            has_read_list: false,
        };
        let thread = Builder::new()
            .name("store inbox".to_owned())
            .stack_size(STACK_BYTES);
        let thread = thread.spawn(inherit(move || work.run()))?;
        Ok(Inbox {
            shared,
            net,
            thread: Some(thread),
        })
    }

    /// The batch was taken in, and there is room for another.
    pub fn go_on(&self) {
        self.shared.lock().is_full = false;
        self.shared.wake.notify_one();
    }

    /// Tells the thread to end, without waiting for it.
    pub fn end(&self) {
        self.net.is_ending.store(true, Ordering::Relaxed);
        self.shared.lock().is_ending = true;
        self.shared.wake.notify_one();
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.end();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Work {
    shared: Arc<Shared>,
    address: Arc<Address>,
    net: Net,
    codec: Codec,
    on_messages: OnMessages,
    backoff: Backoff,
    /// Which were handed on. As many as the queue can hold, the newest.
    handed: BTreeSet<(u64, u64)>,
    /// Which files must be deleted was read, once.
    has_read_list: bool,
}

impl Work {
    fn run(&mut self) {
        loop {
            let next_try = Instant::now() + self.backoff.delay();
            if self.pause(next_try) {
                return;
            }
            let deadline = Instant::now() + OPEN_MAX;
            let opened = Connection::open(&self.address, &self.net, Purpose::Queue, deadline);
            if let Ok((connection, _)) = opened {
                // Why a connection ends is told by the thread of the store, which has its own to the same
                // server.
                let _ = self.read(connection);
            }
        }
    }

    /// Waits until then; true if the thread is to end.
    fn pause(&self, until: Instant) -> bool {
        let left = until.saturating_duration_since(Instant::now());
        let (wake, state) = (&self.shared.wake, self.shared.lock());
        let woken = wake.wait_timeout_while(state, left, |state| !state.is_ending);
        woken.unwrap_or_else(PoisonError::into_inner).0.is_ending
    }

    /// Waits until there is room; true if the thread is to end.
    fn wait_for_room(&self) -> bool {
        let (wake, state) = (&self.shared.wake, self.shared.lock());
        let woken = wake.wait_while(state, |state| state.is_full && !state.is_ending);
        woken.unwrap_or_else(PoisonError::into_inner).is_ending
    }

    fn read(&mut self, mut connection: Connection) -> Result<(), Fault> {
        let (mut after, mut since) = ("0".to_owned(), Instant::now());
        loop {
            if self.wait_for_room() {
                return Ok(());
            }
            if !self.has_read_list {
                let value = self.ask(&mut connection, self.codec.read_to_delete())?;
                let listed = self.codec.to_delete(&value).ok_or("HGETALL: no list")?;
                self.has_read_list = true;
                self.hand_on(listed);
                continue;
            }
            let value = self.ask(&mut connection, self.codec.read_messages(&after))?;
            let messages = self.codec.messages(&value).ok_or("XREAD: no messages")?;
            let (mut queued, last) = messages;
            match last {
                Some(last) => after = last,
                None if since.elapsed() >= AGAIN_EVERY => {
                    (after, since) = ("0".to_owned(), Instant::now());
                }
                None => {}
            }
            queued.retain(|queued| self.is_new(&queued.id));
            self.hand_on(queued);
        }
    }

    fn ask(&mut self, connection: &mut Connection, command: Command) -> Result<Value, Fault> {
        let deadline = Instant::now() + Duration::from_millis(BLOCK_MS) + REPLY_MAX;
        let mut values = connection.exchange(&[command], deadline)?;
        match values.pop() {
            Some(Value::Error(error)) => Err(error),
            Some(value) => {
                self.backoff.reset();
                Ok(value)
            }
            None => Err("no reply".to_owned()),
        }
    }

    fn hand_on(&self, messages: Vec<Queued>) {
        if !messages.is_empty() {
            self.shared.lock().is_full = true;
            (self.on_messages)(messages);
        }
    }

    /// Whether it was not handed on yet.
    fn is_new(&mut self, id: &str) -> bool {
        let id = id.split(' ').next().unwrap_or_default();
        let numbers = id
            .split_once('-')
            .and_then(|(ms, seq)| Some((ms.parse().ok()?, seq.parse().ok()?)));
        // An id that cannot be read could not be removed either.
        let is_new = numbers.is_some_and(|numbers| self.handed.insert(numbers));
        if self.handed.len() > QUEUE_MAX {
            self.handed.pop_first();
        }
        is_new
    }
}
