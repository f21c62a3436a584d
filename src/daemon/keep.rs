//! The thread that removes recordings, as the settings want it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::Daemon;
use crate::keeping::{self, Keeping};

impl Daemon {
    /// Removes recordings by the rules of the settings from now on.
    pub(super) fn keep(&mut self) {
        let rules = &self.settings.keeping;
        let (Some(settings), Some(disk), true) = (&self.settings.disk, &self.disk, rules.is_some())
        else {
            if let Some(keeping) = self.keeping.take() {
                // It stops at the next file, and nothing waits for that.
                keeping.begin_stop();
            }
            return;
        };
        let roots = self.coordinator.roots().iter().map(PathBuf::from);
        let root = std::path::absolute(&settings.root).unwrap_or_else(|_| settings.root.clone());
        let order = keeping::Order {
            rules: rules.clone(),
            former: roots.filter(|former| *former != root).collect(),
            root,
        };
        if let Some(keeping) = &self.keeping {
            return keeping.order(order);
        }
        let process = keeping::Process {
            owner: disk.folder_owner(),
            board: disk.board().map(Arc::clone),
            ends: self.ends.clone(),
        };
        let started = Keeping::start(order, process);
        let failed = |error: &io::Error| log::error!("keeping cannot start: {error}");
        self.keeping = started.inspect_err(failed).ok();
    }
}
