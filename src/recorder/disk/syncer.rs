//! The thread that waits while the disk syncs, so that the one that writes does not.
//!
//! fdatasync(2) and syncfs(2) take from a millisecond to fifty each, and minutes on a disk in trouble.
//! One group of syncs is under way at a time; what becomes due meanwhile is the next group. So the
//! ends of many meetings at the full hour share a few syncs, however long one takes.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use super::Job;
use crate::recorder::sync_targets::SyncTargets;

/// How files get from the kernel to the disk: by the kernel, or by a test that counts and waits.
pub(crate) trait SyncCalls: Send + Sync + 'static {
    /// Syncs files one by one; see [`SyncTargets::sync`].
    fn files(&self, targets: &SyncTargets, goes_on: &dyn Fn() -> bool) -> io::Result<bool> {
        targets.sync(goes_on)
    }

    /// Syncs the file system that this is on.
    fn file_system(&self, folder: &File) -> io::Result<()> {
        Ok(rustix::fs::syncfs(folder)?)
    }
}

/// The calls of every day.
pub(super) struct Kernel;

impl SyncCalls for Kernel {}

/// A sync, and the streams whose files it is for.
pub(super) struct SyncOrder {
    pub(super) keys: Vec<u64>,
    pub(super) what: What,
}

pub(super) enum What {
    /// Of one stream.
    Files(SyncTargets),
    /// Of all that are on it.
    FileSystem(File),
}

/// What became of an order.
#[derive(Debug)]
pub(super) struct Synced {
    pub(super) keys: Vec<u64>,
    /// `false`: not made, because the end has come and everything is synced together.
    pub(super) result: io::Result<bool>,
}

/// The owner of the thread.
pub(super) struct Syncer {
    groups: Sender<Vec<SyncOrder>>,
    thread: JoinHandle<()>,
    is_last: Arc<AtomicBool>,
}

impl Syncer {
    /// Starts the thread. What became of a group comes back as [`Job::Synced`].
    pub(super) fn start(calls: Arc<dyn SyncCalls>, report: Sender<Job>) -> io::Result<Syncer> {
        let (groups, orders) = mpsc::channel();
        let is_last = Arc::new(AtomicBool::new(false));
        let own = Arc::clone(&is_last);
        let thread = Builder::new()
            .name("sync".to_owned())
            .stack_size(128 << 10)
            .spawn(move || run(&*calls, &orders, &own, &report))?;
        Ok(Syncer {
            groups,
            thread,
            is_last,
        })
    }

    /// Has a group synced. To be called when the one before has come back.
    pub(super) fn sync(&self, group: Vec<SyncOrder>) {
        let _ = self.groups.send(group);
    }

    /// The end has come: single files are not synced any more, for whole file systems are.
    pub(super) fn skip_files(&self) {
        self.is_last.store(true, Relaxed);
    }

    /// Ends the thread. One that hangs in the kernel at `deadline` is left to the end of the process.
    pub(super) fn stop(self, deadline: Instant) {
        drop(self.groups);
        while !self.thread.is_finished() && Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(2));
        }
        if self.thread.is_finished() && self.thread.join().is_err() {
            log::error!("the thread that syncs files panicked");
        }
    }
}

fn run(
    calls: &dyn SyncCalls,
    orders: &Receiver<Vec<SyncOrder>>,
    is_last: &AtomicBool,
    report: &Sender<Job>,
) {
    while let Ok(group) = orders.recv() {
        let sync = |SyncOrder { keys, what }| {
            let result = match what {
                What::Files(targets) => calls.files(&targets, &|| !is_last.load(Relaxed)),
                What::FileSystem(folder) => calls.file_system(&folder).map(|()| true),
            };
            Synced { keys, result }
        };
        let _ = report.send(Job::Synced(group.into_iter().map(sync).collect()));
    }
}
