//! What the disk thread needs to write journals, and the server's own journal.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::Writer;
use crate::recorder::journal::JournalHost;
use crate::recorder::journal::server::ServerJournal;
use crate::recorder::stream_files::discard_folder;

/// What is needed to write journals.
pub(super) struct Feed {
    pub(super) host: Arc<JournalHost>,
    pub(super) server: ServerJournal,
}

impl Writer {
    /// Begins to write journals, if they are wanted.
    pub(super) fn open_feed(&mut self) {
        let (Some(settings), None) = (&self.settings.feed, &self.feed) else {
            return;
        };
        let Some(board) = self.shared.board.get() else {
            return;
        };
        let host = JournalHost::new(board, settings.source.as_deref(), self.state.as_deref());
        let (server, left) = ServerJournal::open(&host);
        for folder in left {
            match discard_folder(&folder) {
                Ok(files) => log::warn!(
                    "consent withdrawn: deleted what an earlier process had not files={files} folder={}",
                    folder.display()
                ),
                Err(error) => log::error!(
                    "consent withdrawn, but files cannot be deleted folder={} error=\"{error}\"; delete it \
                     by hand",
                    folder.display()
                ),
            }
        }
        self.feed = Some(Feed { host, server });
    }
}

impl Feed {
    /// Whether there is something to try again, or to take off the board.
    pub(super) fn needs_tick(&self) -> bool {
        self.server.is_waiting() || self.host.board().has_ended()
    }

    pub(super) fn tick(&mut self, now: Instant) {
        if self.server.is_waiting() {
            let written = self.server.write();
            self.note(written);
        }
        self.host.board().sweep(now);
    }

    pub(super) fn note(&self, written: io::Result<()>) {
        if let Err(error) = written {
            log::error!(
                "cannot write the server's journal folder={} error=\"{error}\"; it is tried again every \
                 second",
                self.host.board().root().display()
            );
        }
    }
}
