//! What the thread `store` does: it opens the connection, sends what was asked, and gives each call its reply.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::super::backoff::Backoff;
use super::super::command::Command;
use super::super::connection::{Connection, Fault, Opening, is_of_no_use};
use super::super::encode::Codec;
use super::super::value::Value;
use super::super::wire::Net;
use super::{Asked, Inbox, Limits, News, OnNews, Reach, Shared};
use crate::coordinator::fleet::call::Reply;
use crate::domain::fleet::StoreAddress as Address;

/// Most calls in one write.
const BATCH_MAX: usize = 128;
/// Most refusals of a connection that are told.
const REFUSALS_MAX: usize = 16;
/// How often changed tails are sent.
const TAILS_EVERY: Duration = Duration::from_secs(1);
/// How often the digests of settings are sent, which the store keeps for a day.
const SETTINGS_EVERY: Duration = Duration::from_secs(3600);

pub(super) struct Work {
    shared: Arc<Shared>,
    address: Arc<Address>,
    net: Net,
    codec: Codec,
    on_news: OnNews,
    link: Link,
    backoff: Backoff,
    /// Why there is no connection, if that was told.
    said: Option<Fault>,
    /// The refusals that were told since the connection was opened.
    refused: BTreeSet<Fault>,
    /// Asked while a connection is being opened.
    waiting: VecDeque<Asked>,
    tails_at: Instant,
    settings_at: Instant,
    /// The store has none of our tails, or old ones.
    is_all: bool,
    limits: Limits,
}

enum Link {
    /// The next try is then.
    Closed(Instant),
    Opening(Opening),
    Open(Connection),
}

impl Work {
    pub(super) fn new(
        shared: &Arc<Shared>,
        reach: &Reach,
        codec: Codec,
        limits: Limits,
        on_news: OnNews,
    ) -> Work {
        let mut work = Work {
            shared: Arc::clone(shared),
            address: Arc::clone(&reach.address),
            net: reach.net(),
            codec,
            on_news,
            link: Link::Closed(Instant::now()),
            backoff: Backoff::new(reach.seed),
            said: None,
            refused: BTreeSet::new(),
            waiting: VecDeque::new(),
            tails_at: Instant::now(),
            settings_at: Instant::now(),
            is_all: true,
            limits,
        };
        // The first try is made at once.
        work.backoff.delay();
        work
    }

    pub(super) fn run(&mut self) {
        while !self.wait() {
            self.connect();
            self.serve();
        }
        // What was asked before the end is sent, if there is a connection. Nothing is asked after it.
        loop {
            self.take();
            if self.waiting.is_empty() {
                break;
            }
            match self.link {
                Link::Open(_) => self.serve(),
                _ => self.fail_waiting(|_| true),
            }
        }
        // A thread that opens a connection is not to take its three seconds.
        self.net.is_ending.store(true, Ordering::Relaxed);
    }

    /// Waits for something to do, and takes what was asked.
    fn wait(&mut self) -> bool {
        let due = match &self.link {
            Link::Closed(at) => *at,
            Link::Opening(_) => {
                let first = self.waiting.iter().map(|asked| asked.deadline).min();
                first.unwrap_or_else(|| Instant::now() + TAILS_EVERY)
            }
            Link::Open(_) => self.tails_at,
        };
        let left = due.saturating_duration_since(Instant::now());
        let has_none =
            |inbox: &mut Inbox| inbox.asked.is_empty() && !inbox.is_opened && !inbox.is_ending;
        let (wake, inbox) = (&self.shared.wake, self.shared.lock());
        let woken = wake.wait_timeout_while(inbox, left, has_none);
        let mut inbox = woken.unwrap_or_else(PoisonError::into_inner).0;
        inbox.is_opened = false;
        let is_ending = inbox.is_ending;
        drop(inbox);
        self.take();
        is_ending
    }

    /// Takes what was asked: as much as one write may have; without a connection all, so that it fails in time.
    fn take(&mut self) {
        let mut inbox = self.shared.lock();
        let count = match self.link {
            Link::Open(_) => inbox.asked.len().min(BATCH_MAX),
            _ => inbox.asked.len(),
        };
        self.waiting.extend(inbox.asked.drain(..count));
    }

    fn connect(&mut self) {
        match &mut self.link {
            Link::Closed(at) if *at <= Instant::now() => {
                let shared = Arc::clone(&self.shared);
                let wake = move || {
                    shared.lock().is_opened = true;
                    shared.wake.notify_one();
                };
                match Opening::start(&self.address, &self.net, wake) {
                    Ok(opening) => self.link = Link::Opening(opening),
                    Err(fault) => self.close(fault),
                }
            }
            Link::Opening(opening) => match opening.poll() {
                Some(Ok((connection, facts))) => {
                    self.shared.counters.opened.fetch_add(1, Ordering::Relaxed);
                    self.link = Link::Open(connection);
                    self.is_all = true;
                    self.tails_at = Instant::now();
                    self.said = None;
                    self.refused.clear();
                    (self.on_news)(News::Up(facts));
                }
                Some(Err(fault)) => {
                    self.shared
                        .counters
                        .not_opened
                        .fetch_add(1, Ordering::Relaxed);
                    self.close(fault);
                }
                None => {}
            },
            _ => {}
        }
    }

    fn close(&mut self, fault: Fault) {
        self.link = Link::Closed(Instant::now() + self.backoff.delay());
        if self.said.as_ref() != Some(&fault) {
            self.said = Some(fault.clone());
            (self.on_news)(News::Down(fault));
        }
    }

    fn serve(&mut self) {
        let now = Instant::now();
        match &self.link {
            Link::Closed(_) => return self.fail_waiting(|_| true),
            Link::Opening(_) => return self.fail_waiting(|asked| asked.deadline <= now),
            Link::Open(_) => {}
        }
        // A call that is too old is not sent: its place may be another's by now.
        self.fail_waiting(|asked| asked.deadline <= now);
        let mut batch: Vec<Item> = Vec::new();
        while let Some(asked) = self.waiting.pop_front() {
            let commands = self.codec.encode(&asked.call);
            let deadline = asked.deadline;
            batch.push(Item::new(Some(asked), commands, deadline));
        }
        if self.tails_at <= now {
            self.tails_at = now + TAILS_EVERY;
            let commands = self.tails();
            if !commands.is_empty() {
                batch.push(Item::new(None, commands, now + self.limits.beat));
            }
        }
        if batch.is_empty() {
            return;
        }
        let lost = match self.exchange(batch) {
            // Scripts were removed, nothing was done: they are loaded again, and asked once more.
            Ok(again) if !again.is_empty() => self.load_and_exchange(again),
            Ok(_) => None,
            Err(fault) => Some(fault),
        };
        if let Some(fault) = lost {
            self.shared.counters.lost.fetch_add(1, Ordering::Relaxed);
            self.close(fault);
            // The rest fails without a try: the next comes soon.
            self.fail_waiting(|_| true);
        }
    }

    fn load_and_exchange(&mut self, again: Vec<Item>) -> Option<Fault> {
        let Link::Open(connection) = &mut self.link else {
            return None;
        };
        let deadline = again.iter().map(|item| item.deadline).max();
        let loaded = connection.load(deadline.unwrap_or_else(Instant::now));
        if let Err(fault) = loaded {
            again.into_iter().for_each(|item| self.settle(item, None));
            return Some(fault);
        }
        match self.exchange(again) {
            Ok(again) if again.is_empty() => None,
            Ok(again) => {
                again.into_iter().for_each(|item| self.settle(item, None));
                Some("NOSCRIPT: it does not keep scripts".to_owned())
            }
            Err(fault) => Some(fault),
        }
    }

    /// Sends a batch, and gives each its reply. Returns those whose script the store does not know; the error says
    /// why the connection is of no use any more.
    fn exchange(&mut self, mut batch: Vec<Item>) -> Result<Vec<Item>, Fault> {
        let last = batch.iter().map(|item| item.deadline).max();
        let last = last.unwrap_or_else(Instant::now);
        let sent = Instant::now();
        let Link::Open(connection) = &mut self.link else {
            batch.into_iter().for_each(|item| self.settle(item, None));
            return Ok(Vec::new());
        };
        let commands = batch.iter().flat_map(|item| &item.commands);
        let mut lost = connection.send(commands, last).err();
        let mut again = Vec::new();
        for mut item in batch.drain(..) {
            item.values.clear();
            let mut is_late = false;
            while lost.is_none() && item.values.len() < item.commands.len() {
                let Link::Open(connection) = &mut self.link else {
                    break;
                };
                // One that is late fails now. Its reply is awaited as long as others have time, for theirs
                // come after it.
                let deadline = if is_late { last } else { item.deadline };
                match connection.next(deadline) {
                    Ok(Some(value)) => item.values.push(value),
                    Ok(None) if is_late || item.deadline >= last => {
                        lost = Some("no reply in time".to_owned());
                        is_late = true;
                    }
                    Ok(None) => {
                        is_late = true;
                        self.late(&mut item);
                    }
                    Err(fault) => lost = Some(fault),
                }
            }
            if item.values.len() < item.commands.len() {
                if is_late {
                    self.late(&mut item);
                }
                self.settle(item, None);
                continue;
            }
            self.backoff.reset();
            match item.error() {
                Some(error) if error.starts_with("NOSCRIPT") => again.push(item),
                Some(error) => {
                    self.shared.counters.refused.fetch_add(1, Ordering::Relaxed);
                    if is_of_no_use(error) {
                        lost = Some(error.to_owned());
                    } else if self.refused.len() < REFUSALS_MAX
                        && self.refused.insert(error.to_owned())
                    {
                        (self.on_news)(News::Refused(error.to_owned()));
                    }
                    self.settle(item, None);
                }
                None => self.settle(item, Some(sent)),
            }
        }
        match lost {
            None => Ok(again),
            Some(fault) => {
                again.into_iter().for_each(|item| self.settle(item, None));
                Err(fault)
            }
        }
    }

    /// The reply to a call that takes too long, once.
    fn late(&self, item: &mut Item) {
        if let Some(asked) = item.asked.take() {
            self.shared.counters.late.fetch_add(1, Ordering::Relaxed);
            (self.on_news)(News::Reply(asked.id, Reply::Failed));
        }
    }

    /// Gives an item its reply; none if it has failed.
    fn settle(&mut self, item: Item, sent: Option<Instant>) {
        let Some(asked) = item.asked else {
            // Tails that may not have come are sent again.
            self.is_all |= sent.is_none() && item.is_tails;
            return;
        };
        let reply = match sent {
            Some(sent) => self.codec.decode(&asked.call, sent, &item.values),
            None => Reply::Failed,
        };
        (self.on_news)(News::Reply(asked.id, reply));
    }

    fn fail_waiting(&mut self, is_meant: impl Fn(&Asked) -> bool) {
        let (meant, rest) = self.waiting.drain(..).partition(is_meant);
        self.waiting = rest;
        let meant: VecDeque<Asked> = meant;
        for asked in meant {
            (self.on_news)(News::Reply(asked.id, Reply::Failed));
        }
    }

    /// The commands that bring the store's tails up to date, and from time to time the settings.
    fn tails(&mut self) -> Vec<Command> {
        let is_all = std::mem::take(&mut self.is_all);
        let mut inbox = self.shared.lock();
        let mut changed = Vec::new();
        for (stream, kept) in &mut inbox.tails {
            if std::mem::take(&mut kept.is_changed) || is_all {
                changed.push((stream.clone(), kept.tail.clone()));
            }
        }
        let gone = std::mem::take(&mut inbox.gone);
        let are_settings_due = is_all || Instant::now() >= self.settings_at;
        let is_new = std::mem::take(&mut inbox.are_settings_new);
        let settings = (are_settings_due || is_new).then(|| inbox.settings.clone());
        drop(inbox);
        let changed = changed.iter().map(|(stream, tail)| (stream.as_str(), tail));
        let mut commands = self.codec.tails(changed, is_all);
        if !gone.is_empty() && !is_all {
            commands.push(self.codec.drop_tails(gone.iter().map(String::as_str)));
        }
        if let Some(settings) = settings.filter(|settings| !settings.is_empty()) {
            self.settings_at = Instant::now() + SETTINGS_EVERY;
            commands.extend(self.codec.settings(&settings));
        }
        commands
    }
}

/// A call, or the tails.
struct Item {
    asked: Option<Asked>,
    is_tails: bool,
    deadline: Instant,
    commands: Vec<Command>,
    values: Vec<Value>,
}

impl Item {
    fn new(asked: Option<Asked>, commands: Vec<Command>, deadline: Instant) -> Item {
        Item {
            is_tails: asked.is_none(),
            deadline,
            asked,
            commands,
            values: Vec::new(),
        }
    }

    /// The first error.
    fn error(&self) -> Option<&str> {
        self.values.iter().find_map(|value| match value {
            Value::Error(error) => Some(error.as_str()),
            _ => None,
        })
    }
}
