//! The sync thread: it waits for the disk, so that the thread that writes does not.
//!
//! fdatasync(2) and syncfs(2) take 1 to 50 ms each, and minutes on a failing disk. One group of syncs
//! runs at a time; what becomes due meanwhile forms the next group. So many meetings that end at the
//! full hour share a few syncs, however long one takes.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use super::Job;
use crate::log::app::inherit;
use crate::recorder::sync_targets::SyncTargets;

/// The calls that sync: of the kernel, or of a test that counts and waits.
pub(crate) trait SyncCalls: Send + Sync + 'static {
    /// Syncs files one by one; see [`SyncTargets::sync`].
    fn files(&self, targets: &SyncTargets, goes_on: &dyn Fn() -> bool) -> io::Result<bool> {
        targets.sync(goes_on)
    }

    /// Syncs the file system that contains the file.
    fn file_system(&self, folder: &File) -> io::Result<()> {
        Ok(rustix::fs::syncfs(folder)?)
    }
}

/// The kernel's calls.
pub(super) struct Kernel;

impl SyncCalls for Kernel {}

/// A sync, and the streams whose files it is for.
pub(super) struct SyncOrder {
    pub(super) keys: Vec<u64>,
    pub(super) what: What,
}

pub(super) enum What {
    /// The files of one stream.
    Files(SyncTargets),
    /// Everything on a file system.
    FileSystem(File),
}

/// Result of an order.
#[derive(Debug)]
pub(super) struct Synced {
    pub(super) keys: Vec<u64>,
    /// `false`: skipped, because the process ends and everything is synced together.
    pub(super) result: io::Result<bool>,
}

/// The owner of the thread.
pub(super) struct Syncer {
    groups: Sender<Vec<SyncOrder>>,
    thread: JoinHandle<()>,
    is_last: Arc<AtomicBool>,
}

impl Syncer {
    /// Starts the thread. The results of a group come back as [`Job::Synced`].
    pub(super) fn start(calls: Arc<dyn SyncCalls>, report: Sender<Job>) -> io::Result<Syncer> {
        let (groups, orders) = mpsc::channel();
        let is_last = Arc::new(AtomicBool::new(false));
        let own = Arc::clone(&is_last);
        let thread = Builder::new()
            .name("sync".to_owned())
            .stack_size(128 << 10)
            .spawn(inherit(move || run(&*calls, &orders, &own, &report)))?;
        Ok(Syncer {
            groups,
            thread,
            is_last,
        })
    }

    /// Starts to sync a group. Called only after the results of the previous group.
    pub(super) fn sync(&self, group: Vec<SyncOrder>) {
        let _ = self.groups.send(group);
    }

    /// At the end of the process: single files are no longer synced, because whole file systems are.
    pub(super) fn skip_files(&self) {
        self.is_last.store(true, Relaxed);
    }

    /// Ends the thread. If it hangs in the kernel at `deadline`, it is left running until the process
    /// ends.
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
