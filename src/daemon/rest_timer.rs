//! The timer thread: holds REST calls until they are due, and makes each one on a thread of its
//! own.
//!
//! A call that hangs delays neither the daemon nor another meeting's call nor the timer. Which call is
//! next is in `rest_queue`.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use super::rest_queue::{RestQueue, account};
use crate::coordinator::ScheduledCall;
use crate::log::app::inherit;
use crate::zoom_api;
use crate::zoom_api::{Api, Deauthorized, Kind};

/// When grants that are not used are looked at: soon after the start, and then each day.
const GRANTS_AFTER: Duration = Duration::from_secs(10 * 60);
const GRANTS_EVERY: Duration = Duration::from_secs(24 * 3600);
/// When the nodes of a fleet agree on the grants.
const SHARE_EVERY: Duration = Duration::from_secs(60);
/// A TLS handshake and some JSON; only touched pages use memory.
const STACK_BYTES: usize = 512 << 10;

/// The outcome of a call.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) call: ScheduledCall,
    pub(super) result: Result<(), zoom_api::Error>,
    /// The client that made it; a reload may have replaced it since.
    pub(super) api: Arc<Api>,
}

/// Handle of the timer thread.
#[derive(Debug)]
pub(super) struct RestTimer {
    commands: Sender<TimerCommand>,
    thread: JoinHandle<()>,
    turns: Arc<AtomicU64>,
}

enum TimerCommand {
    At(ScheduledCall),
    Cancel(String),
    Deauthorized(String, String),
    /// A REST call of this account has ended; if Zoom limited it, with the time it asks for.
    Ended(String, Option<Option<Duration>>),
    Done(u64),
    Api(Arc<Api>),
    #[cfg(feature = "fleet")]
    PublishGrants,
    Turn,
    Stop(Instant),
}

impl RestTimer {
    /// Starts the thread. It calls `report` with the outcome of each call, on the call's thread.
    pub(super) fn start(
        api: Arc<Api>,
        report: impl Fn(Outcome) + Send + Sync + 'static,
    ) -> io::Result<RestTimer> {
        let (commands, receiver) = mpsc::channel();
        let turns = Arc::new(AtomicU64::new(0));
        let is_shared = api.process().shared.is_some();
        let timer = Timer {
            api,
            report: Arc::new(report),
            own: commands.clone(),
            queue: RestQueue::default(),
            grants_at: Instant::now() + GRANTS_AFTER,
            share_at: is_shared.then(|| Instant::now() + SHARE_EVERY),
            sequence: 0,
            running: BTreeMap::new(),
            turns: Arc::clone(&turns),
        };
        let thread = Builder::new()
            .name("rest-timer".to_owned())
            .stack_size(128 << 10)
            .spawn(inherit(move || timer.run(&receiver)))?;
        Ok(RestTimer {
            commands,
            thread,
            turns,
        })
    }

    /// Schedules a call.
    pub(super) fn at(&self, call: ScheduledCall) {
        let _ = self.commands.send(TimerCommand::At(call));
    }

    /// Drops a meeting's calls that were not made yet.
    pub(super) fn cancel(&self, meeting: String) {
        let _ = self.commands.send(TimerCommand::Cancel(meeting));
    }

    /// To be called after a user removed the app: deletes the stored token if it is theirs.
    pub(super) fn deauthorized(&self, user_id: String, account_id: String) {
        let _ = self
            .commands
            .send(TimerCommand::Deauthorized(user_id, account_id));
    }

    /// The store of the fleet answers again, or has lost something: it gets what it misses of the grants.
    #[cfg(feature = "fleet")]
    pub(super) fn publish_grants(&self) {
        let _ = self.commands.send(TimerCommand::PublishGrants);
    }

    /// Sets the client for future calls.
    pub(super) fn use_api(&self, api: Arc<Api>) {
        let _ = self.commands.send(TimerCommand::Api(api));
    }

    /// Makes the thread take one turn, so that [`RestTimer::turns`] grows if the thread works.
    pub(super) fn request_turn(&self) {
        let _ = self.commands.send(TimerCommand::Turn);
    }

    /// Number of turns so far.
    pub(super) fn turns(&self) -> u64 {
        self.turns.load(Relaxed)
    }

    /// Makes no further calls, and ends the thread. Calls that are not finished at `deadline` are
    /// left to the end of the process; [`Api::stop`] aborts them earlier.
    pub(super) fn stop(self, deadline: Instant) {
        let _ = self.commands.send(TimerCommand::Stop(deadline));
        if self.thread.join().is_err() {
            log::error!("the timer thread panicked");
        }
    }
}

struct Timer {
    api: Arc<Api>,
    report: Arc<dyn Fn(Outcome) + Send + Sync>,
    own: Sender<TimerCommand>,
    queue: RestQueue,
    grants_at: Instant,
    /// `None` without a fleet.
    share_at: Option<Instant>,
    sequence: u64,
    running: BTreeMap<u64, JoinHandle<()>>,
    turns: Arc<AtomicU64>,
}

impl Timer {
    fn run(mut self, commands: &Receiver<TimerCommand>) {
        loop {
            self.turns.fetch_add(1, Relaxed);
            self.make_due_calls();
            let now = Instant::now();
            if self.grants_at <= now {
                self.grants_at = now + GRANTS_EVERY;
                self.keep_grants();
            }
            if self.share_at.is_some_and(|at| at <= now) {
                self.share_at = Some(now + SHARE_EVERY);
                self.share_grants();
            }
            let others = [self.queue.due(), self.share_at].into_iter().flatten();
            let next = others.fold(self.grants_at, Instant::min);
            let order = commands.recv_timeout(next.saturating_duration_since(now));
            match order {
                Ok(TimerCommand::At(call)) => self.queue.add(call),
                Ok(TimerCommand::Cancel(meeting)) => self.queue.cancel(&meeting),
                Ok(TimerCommand::Ended(account, limited)) => {
                    self.queue.ended(&account, Instant::now(), limited);
                }
                Ok(TimerCommand::Deauthorized(user_id, account_id)) => {
                    self.forget_token(user_id, account_id);
                }
                #[cfg(feature = "fleet")]
                Ok(TimerCommand::PublishGrants) => self.publish_grants(),
                Ok(TimerCommand::Done(number)) => self.join(number),
                Ok(TimerCommand::Api(api)) => self.api = api,
                Ok(TimerCommand::Turn) | Err(RecvTimeoutError::Timeout) => {}
                Ok(TimerCommand::Stop(deadline)) => return self.stop(commands, deadline),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn make_due_calls(&mut self) {
        while let Some(call) = self.queue.next(Instant::now()) {
            let again = call.clone();
            let (api, report) = (Arc::clone(&self.api), Arc::clone(&self.report));
            let ended = Ended {
                commands: self.own.clone(),
                account: account(&call).to_owned(),
                limited: None,
            };
            let spawned = self.spawn(move || {
                // As a whole, so that it is dropped when the call has ended.
                let mut ended = ended;
                let result = api.control(&call.request);
                if let Err(error) = &result
                    && error.kind() == Kind::RateLimited
                {
                    ended.limited = Some(error.retry_after());
                }
                report(Outcome { call, result, api });
            });
            if let Err(error) = spawned {
                log::error!("no thread for a REST call: {error}; retrying in a second");
                let at = Instant::now() + Duration::from_secs(1);
                self.queue.add(ScheduledCall { at, ..again });
                return;
            }
        }
    }

    fn keep_grants(&mut self) {
        if !self.api.is_of_user() {
            return;
        }
        let api = Arc::clone(&self.api);
        let spawned = self.spawn(move || {
            let kept = api.keep_grants();
            if kept > 0 {
                log::info!("renewed grants that were not used for 30 days count={kept}");
            }
        });
        if let Err(error) = spawned {
            log::error!("no thread to renew grants: {error}");
        }
    }

    fn share_grants(&mut self) {
        if !self.api.is_of_user() {
            return;
        }
        let api = Arc::clone(&self.api);
        if let Err(error) = self.spawn(move || api.share_grants()) {
            log::error!("no thread to share grants: {error}");
        }
    }

    #[cfg(feature = "fleet")]
    fn publish_grants(&mut self) {
        if !self.api.is_of_user() {
            return;
        }
        let api = Arc::clone(&self.api);
        if let Err(error) = self.spawn(move || api.publish_grants()) {
            log::error!("no thread to publish grants: {error}");
        }
    }

    fn forget_token(&mut self, user_id: String, account_id: String) {
        let api = Arc::clone(&self.api);
        let spawned = self.spawn(move || match api.deauthorized(&user_id, &account_id) {
            Ok(Deauthorized::Forgotten) => log::error!(
                "a user removed the app; the stored refresh token is deleted account={account_id} \
                 user={user_id}; to go on, authorize again (rtmsd authorize)"
            ),
            Ok(Deauthorized::OfAnother) => {
                log::info!("another user removed the app; the tokens in use stay");
            }
            Ok(Deauthorized::NoUser) => {
                log::error!("a user removed the app; no token of a user is stored here");
            }
            Err(error) => log::error!(
                "a user removed the app, and whether the token is theirs is not known: {error}"
            ),
        });
        if let Err(error) = spawned {
            log::error!("no thread to delete a token: {error}");
        }
    }

    /// Runs `work` on a thread of its own, because it waits for Zoom or for the disk.
    fn spawn(&mut self, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.sequence += 1;
        let number = self.sequence;
        let done = Done(self.own.clone(), number);
        let thread = Builder::new()
            .name("zoom-rest".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(inherit(move || {
                let _done = done;
                work();
            }))?;
        self.running.insert(number, thread);
        Ok(())
    }

    fn join(&mut self, number: u64) {
        if let Some(thread) = self.running.remove(&number)
            && thread.join().is_err()
        {
            log::error!("a REST call panicked");
        }
    }

    fn stop(mut self, commands: &Receiver<TimerCommand>, deadline: Instant) {
        while !self.running.is_empty() {
            match commands.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(TimerCommand::Done(number)) => self.join(number),
                Ok(_) => {}
                Err(_) => {
                    log::warn!(
                        "REST calls aborted at shutdown count={}",
                        self.running.len()
                    );
                    return;
                }
            }
        }
    }
}

/// Reports that a call has ended, even after a panic or without a thread.
struct Ended {
    commands: Sender<TimerCommand>,
    account: String,
    limited: Option<Option<Duration>>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        let account = std::mem::take(&mut self.account);
        let _ = self
            .commands
            .send(TimerCommand::Ended(account, self.limited));
    }
}

/// Reports that a call's thread has ended, even after a panic.
struct Done(Sender<TimerCommand>, u64);

impl Drop for Done {
    fn drop(&mut self) {
        let _ = self.0.send(TimerCommand::Done(self.1));
    }
}
