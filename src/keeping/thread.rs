//! The thread `keeping`. It is there only where a rule is configured.
//!
//! A round is made every minute, after the end of a stream, and at once where the disk fills up faster:
//! between rounds it asks every few seconds how much is free, which costs one call.

use std::cell::Cell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use super::counters::Counters;
use super::holds::Live;
use super::plan::{self, REST, Space};
use super::rules::{Bytes, Rules};
use super::run::{self, Keeper, Survey};
use crate::clock::now_ms;
use crate::delivery::ends::Ends;
use crate::feed::Board;
use crate::log::app::inherit;
use crate::recorder::OutLock;
use crate::recorder::removal::FolderOwner;

/// From one round to the next.
const EVERY: Duration = Duration::from_secs(60);
/// At the start, push needs a moment to find out which streams it needs; until then all are held.
const FIRST_AFTER: Duration = Duration::from_secs(3);
/// How often it is asked how much is free, if that matters.
const LOOK: Duration = Duration::from_secs(2);
/// At most this part of the limit is kept free for what comes until the next look.
const COMING_MAX: u64 = 8;
/// After so many files it pauses.
const FILES_AT_ONCE: u32 = 256;
const PAUSE: Duration = Duration::from_millis(2);
/// What is in the way is logged again after this time.
const LOG_AGAIN: Duration = Duration::from_secs(3600);
/// Folders of former configurations are looked at less often.
const FORMER_EVERY: Duration = Duration::from_secs(3600);
/// A stack for paths and JSON.
const STACK_BYTES: usize = 256 << 10;

/// What the thread works with.
#[derive(Clone)]
pub struct Process {
    /// Who changes folders.
    pub owner: Arc<dyn FolderOwner>,
    /// What push needs.
    pub board: Option<Arc<Board>>,
    /// What waits for uploads and programs.
    pub ends: Ends,
}

/// Rules, and the folders that they are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The rules.
    pub rules: Rules,
    /// `RTMS_OUT`.
    pub root: PathBuf,
    /// What it was before. Ages count there too.
    pub former: Vec<PathBuf>,
}

enum Message {
    Order(Box<Order>),
    /// A stream has ended.
    Ended,
    /// A round is wanted now.
    Round,
    Stop,
}

/// The running thread.
#[derive(Debug)]
pub struct Keeping {
    control: Control,
    thread: JoinHandle<()>,
}

/// The way to the thread. Clones are the same.
#[derive(Debug, Clone)]
pub struct Control {
    sender: Sender<Message>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    counters: Arc<Counters>,
    is_stopping: AtomicBool,
    asked: AtomicU64,
    done: AtomicU64,
}

impl Control {
    /// Asks for a round at once. Returns its number.
    pub fn ask(&self) -> u64 {
        let number = self.shared.asked.fetch_add(1, Relaxed) + 1;
        let _ = self.sender.send(Message::Round);
        number
    }

    /// The number of the last round that was asked for.
    pub fn asked(&self) -> u64 {
        self.shared.asked.load(Relaxed)
    }

    /// The number of the last one that is over.
    pub fn done(&self) -> u64 {
        self.shared.done.load(Relaxed)
    }
}

impl Keeping {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn start(order: Order, process: Process) -> io::Result<Keeping> {
        let (sender, messages) = channel();
        let shared = Arc::new(Shared::default());
        let worker = Worker {
            keeper: keeper(&order.root, &process),
            process,
            order,
            shared: Arc::clone(&shared),
            due: Instant::now() + FIRST_AFTER,
            former_due: Instant::now(),
            last: None,
            looked: None,
            complained: None,
        };
        let thread = Builder::new()
            .name("keeping".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(inherit(move || worker.run(&messages)))?;
        let control = Control { sender, shared };
        Ok(Keeping { control, thread })
    }

    /// Goes by other rules, or in other folders, from now on.
    pub fn order(&self, order: Order) {
        let _ = self.control.sender.send(Message::Order(Box::new(order)));
    }

    /// A stream has ended.
    pub fn stream_ended(&self) {
        let _ = self.control.sender.send(Message::Ended);
    }

    /// For those who ask for a round.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// What is counted.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.control.shared.counters
    }

    /// It stops at the next file.
    pub fn begin_stop(&self) {
        self.control.shared.is_stopping.store(true, Relaxed);
        let _ = self.control.sender.send(Message::Stop);
    }

    /// Waits for its end. One that hangs in the kernel is left to the end of the process.
    pub fn stop(self, deadline: Instant) -> bool {
        self.begin_stop();
        while !self.thread.is_finished() && Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(2));
        }
        self.thread.is_finished() && self.thread.join().is_ok()
    }
}

fn keeper(root: &Path, process: &Process) -> Keeper {
    let holds = Live::new(process.board.clone(), process.ends.clone());
    Keeper::new(root, Box::new(holds))
}

struct Worker {
    order: Order,
    process: Process,
    keeper: Keeper,
    shared: Arc<Shared>,
    due: Instant,
    former_due: Instant,
    /// The space at the end of the last round.
    last: Option<Space>,
    /// What was free at the last look.
    looked: Option<u64>,
    /// When it was last said what is in the way.
    complained: Option<Instant>,
}

impl Worker {
    fn run(mut self, messages: &Receiver<Message>) {
        loop {
            let asked = self.shared.asked.load(Relaxed);
            if self.due <= Instant::now() || self.fills_up() {
                // A round that panics is tried again like one that fails.
                if catch_unwind(AssertUnwindSafe(|| self.round())).is_err() {
                    log::error!("keeping: the thread panicked; please report");
                }
                self.due = Instant::now() + EVERY;
                self.shared.done.store(asked, Relaxed);
            }
            if !self.wait(messages) {
                return;
            }
        }
    }

    /// `false` if it is to stop.
    fn wait(&mut self, messages: &Receiver<Message>) -> bool {
        let look = match self.order.rules.has_quota() {
            true => LOOK,
            false => EVERY,
        };
        let wait = self.due.saturating_duration_since(Instant::now()).min(look);
        let mut next = match messages.recv_timeout(wait) {
            Ok(message) => Some(message),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return false,
        };
        while let Some(message) = next {
            let now = Instant::now();
            match message {
                Message::Order(order) => {
                    if order.root != self.order.root {
                        self.keeper = keeper(&order.root, &self.process);
                        self.last = None;
                    }
                    self.order = *order;
                    (self.due, self.former_due) = (now, now);
                    self.complained = None;
                }
                // Before that it may not go itself.
                Message::Ended => self.due = self.due.min(now + REST + Duration::from_secs(1)),
                Message::Round => self.due = now,
                Message::Stop => return false,
            }
            next = messages.try_recv().ok();
        }
        !self.shared.is_stopping.load(Relaxed)
    }

    /// Whether, since the last round, so much was written that another one is needed.
    fn fills_up(&mut self) -> bool {
        let Some(last) = self.last.filter(|_| self.order.rules.has_quota()) else {
            return false;
        };
        let Ok(now) = run::space(&self.order.root, last.used) else {
            return false;
        };
        let grown = last.free.saturating_sub(now.free);
        let rules = &self.order.rules;
        let limit = plan::limit(rules, now.total);
        // As much as since the last look may come until the next one; a burst must not clear the archive.
        let before = self.looked.replace(now.free).unwrap_or(now.free);
        let coming = before.saturating_sub(now.free);
        let coming = coming.min(limit.unwrap_or(now.total) / COMING_MAX);
        self.keeper.make_room_for(coming);
        let is_over = limit.is_some_and(|max| last.used + grown + coming > max);
        let free_min = rules.disk_free_min.map(|it| it.bytes(now.total));
        let is_short = free_min.is_some_and(|min| now.free < min + coming);
        // Where nothing could be removed at the last round, the next minute is early enough.
        grown > 0 && (is_over || is_short) && self.shared.counters.short() == 0
    }

    fn round(&mut self) {
        let shared = Arc::clone(&self.shared);
        let asked = Cell::new(0_u32);
        let is_stopping = || {
            // Recording comes first, also on a slow disk.
            asked.set(asked.get().wrapping_add(1));
            if asked.get().is_multiple_of(FILES_AT_ONCE) {
                std::thread::park_timeout(PAUSE);
            }
            shared.is_stopping.load(Relaxed)
        };
        let mut report = |tombstone: &_| shared.counters.removed(tombstone);
        let owner = Arc::clone(&self.process.owner);
        let rules = self.order.rules.clone();
        let done = (self.keeper).round(&rules, now_ms(), &*owner, &is_stopping, &mut report);
        match done {
            Ok(survey) => {
                shared.counters.round(&survey);
                self.last = Some(survey.space);
                self.complain(&survey);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return,
            // Before the first stream there is none.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => log::warn!(
                "keeping: recordings cannot be read folder={} error=\"{error}\"; it is tried again",
                self.order.root.display()
            ),
        }
        if self.former_due <= Instant::now() {
            self.former_due = Instant::now() + FORMER_EVERY;
            for root in self.order.former.clone() {
                self.former_round(&root, &rules.without_quota(), &is_stopping, &mut report);
            }
        }
    }

    /// In a folder that was configured before, unless another server writes there now.
    fn former_round(
        &self,
        root: &Path,
        rules: &Rules,
        is_stopping: &dyn Fn() -> bool,
        report: &mut dyn FnMut(&crate::recorder::removal::Tombstone),
    ) {
        if !rules.is_some() || *root == self.order.root || !root.is_dir() {
            return;
        }
        let lock = match OutLock::take(root) {
            Ok(Some(lock)) => Some(lock),
            Err(error) if error.is_ours() => None,
            Ok(None) | Err(_) => return,
        };
        let mut keeper = keeper(root, &self.process);
        let owner = &*self.process.owner;
        let done = keeper.round(rules, now_ms(), owner, is_stopping, report);
        if let Err(error) = done
            && error.kind() != io::ErrorKind::Interrupted
        {
            log::warn!(
                "keeping: recordings of a former RTMS_OUT cannot be read folder={} error=\"{error}\"",
                root.display()
            );
        }
        drop(lock);
    }

    /// Says what is in the way, not too often.
    fn complain(&mut self, survey: &Survey) {
        let Some(trouble) = self.shared.counters.trouble() else {
            if self.complained.take().is_some() {
                log::info!("keeping: recordings are within their limits again");
            }
            return;
        };
        let is_due = self.complained.is_none_or(|at| at.elapsed() >= LOG_AGAIN);
        if is_due {
            self.complained = Some(Instant::now());
            log::warn!(
                "keeping: {trouble}; free={} folder={}; see \"rtmsd prune --dry-run\", or give it more room",
                Bytes(survey.space.free),
                self.order.root.display()
            );
        }
    }
}
