//! Handles to the daemons of a process, for its other threads.

use std::collections::HashMap;
use std::sync::mpsc::{Sender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Message, WantedApp};
use crate::daemon::status::Heartbeat;
use crate::daemon::{Handle, Settings};
use crate::log::app::enter;

/// Sends requests to running apps; clones send to the same ones.
#[derive(Debug, Clone)]
pub struct AppsHandle {
    messages: Sender<Message>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    apps: Mutex<Vec<NamedHandle>>,
    disabled: Mutex<Vec<Arc<str>>>,
    turns: Mutex<Turns>,
}

/// An app that runs.
#[derive(Debug, Clone)]
pub struct NamedHandle {
    /// Its name; `None` for the only app of a process.
    pub name: Option<Arc<str>>,
    /// Its daemon.
    pub daemon: Handle,
}

/// In how many rounds the timers of all apps have turned.
#[derive(Debug, Default)]
struct Turns {
    rounds: u64,
    last: HashMap<Arc<str>, u64>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl AppsHandle {
    pub(super) fn new(messages: Sender<Message>) -> AppsHandle {
        AppsHandle {
            messages,
            shared: Arc::default(),
        }
    }

    /// If the receiver is gone, all apps have ended.
    pub(super) fn send(&self, message: Message) {
        let _ = self.messages.send(message);
    }

    pub(super) fn add(&self, name: &Arc<str>, daemon: &Handle) {
        lock(&self.shared.apps).push(NamedHandle {
            name: Some(Arc::clone(name)),
            daemon: daemon.clone(),
        });
    }

    pub(super) fn remove(&self, name: &Arc<str>) {
        lock(&self.shared.apps).retain(|it| it.name.as_ref() != Some(name));
    }

    pub(super) fn set_disabled(&self, names: Vec<Arc<str>>) {
        *lock(&self.shared.disabled) = names;
    }

    /// The apps that run.
    pub fn apps(&self) -> Vec<NamedHandle> {
        lock(&self.shared.apps).clone()
    }

    /// The apps that are configured and do not run, because of a fault.
    pub fn disabled(&self) -> Vec<Arc<str>> {
        lock(&self.shared.disabled).clone()
    }

    /// Ends all apps.
    pub fn stop(&self) {
        self.send(Message::Stop);
    }

    /// Starts, reloads and removes apps, so that these run, and gives the listener its settings. `false` if
    /// that is not done in time.
    pub fn reload(&self, common: Settings, apps: Vec<WantedApp>, within: Duration) -> bool {
        let (done, is_done) = sync_channel(1);
        let message = Message::Reload(Box::new(common), apps, done);
        self.messages.send(message).is_ok() && is_done.recv_timeout(within).is_ok()
    }

    fn heartbeat(&self, within: Duration) -> Option<Heartbeat> {
        let until = Instant::now() + within;
        let mut beats = Vec::new();
        for app in self.apps() {
            let left = until.saturating_duration_since(Instant::now());
            let beat = app.daemon.heartbeat(left);
            let name = app.name.unwrap_or_default();
            if beat.is_none() {
                let _app = enter(Some(&name));
                log::debug!("no heartbeat");
            }
            beats.push((name, beat?));
        }
        let mut turns = lock(&self.shared.turns);
        turns.note(beats.iter().map(|(name, beat)| (name, beat.timer_turns)));
        let all = || beats.iter().map(|(_, beat)| beat);
        Some(Heartbeat {
            gate_turned: all()
                .map(|it| it.gate_turned)
                .max()
                .unwrap_or_else(Instant::now),
            timer_turns: turns.rounds,
            streams: all().map(|it| it.streams).sum(),
            receiving: all().map(|it| it.receiving).sum(),
            unready_reason: all().find_map(|it| it.unready_reason),
            is_disk_hung: all().any(|it| it.is_disk_hung),
            events_down: all().find_map(|it| it.events_down),
        })
    }
}

impl Turns {
    /// A round is complete when no timer stands where it stood in the round before.
    fn note<'a>(&mut self, turns: impl Iterator<Item = (&'a Arc<str>, u64)>) {
        let turns: HashMap<Arc<str>, u64> = turns.map(|(name, n)| (Arc::clone(name), n)).collect();
        let stands = |(name, n): (&Arc<str>, &u64)| self.last.get(name) == Some(n);
        if !turns.iter().any(stands) {
            self.rounds += 1;
        }
        self.last = turns;
    }
}

/// The daemon of a process, or those of its apps.
#[derive(Debug, Clone)]
pub enum Daemons {
    /// The one app of the settings.
    One(Handle),
    /// Several.
    Several(AppsHandle),
}

impl Daemons {
    /// All that run.
    pub fn list(&self) -> Vec<NamedHandle> {
        match self {
            Daemons::One(daemon) => vec![NamedHandle {
                name: None,
                daemon: daemon.clone(),
            }],
            Daemons::Several(apps) => apps.apps(),
        }
    }

    /// Ends them.
    pub fn stop(&self) {
        match self {
            Daemons::One(daemon) => daemon.stop(),
            Daemons::Several(apps) => apps.stop(),
        }
    }

    /// See [`Handle::system_resumed`].
    pub fn system_resumed(&self) {
        for app in self.list() {
            app.daemon.system_resumed();
        }
    }

    /// The heartbeat of all together; `None` if one of them does not answer.
    pub fn heartbeat(&self, within: Duration) -> Option<Heartbeat> {
        match self {
            Daemons::One(daemon) => daemon.heartbeat(within),
            Daemons::Several(apps) => apps.heartbeat(within),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_timer_that_stands_is_seen_among_others() {
        let (acme, beta): (Arc<str>, Arc<str>) = ("acme".into(), "beta".into());
        let mut turns = Turns::default();
        let mut note = |pairs: &[(&Arc<str>, u64)]| {
            turns.note(pairs.iter().copied());
            turns.rounds
        };
        assert_eq!(note(&[(&acme, 1), (&beta, 9)]), 1);
        assert_eq!(note(&[(&acme, 2), (&beta, 10)]), 2);
        // The timer of one app hangs.
        assert_eq!(note(&[(&acme, 3), (&beta, 10)]), 2);
        // It is gone, and another one is new.
        assert_eq!(note(&[(&acme, 4)]), 3);
        assert_eq!(note(&[(&acme, 5), (&beta, 1)]), 4);
        assert_eq!(note(&[]), 5);
    }
}
