//! Work in the folders of streams that is done by the disk thread, so that no stream writes there
//! meanwhile: for `rtmsd forget`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Sender, SyncSender};

use super::{FeedShare, Job};
use crate::domain::stream_info::Withdrawal;
use crate::recorder::path::safe_name;

/// What is done in a folder.
pub(in crate::recorder) type FolderWork = Box<dyn FnOnce() -> io::Result<()> + Send>;

/// The way to the disk thread.
#[derive(Debug, Clone)]
pub struct Works {
    sender: Sender<Job>,
    feed: Arc<FeedShare>,
}

impl Works {
    pub(super) fn new(sender: Sender<Job>, feed: Arc<FeedShare>) -> Works {
        Works { sender, feed }
    }

    /// Deletes everything of a stream, open or not, as after a withdrawal of consent; the server's
    /// journal says that it was forgotten. Returns how many files there were.
    ///
    /// # Errors
    /// The first folder that could not be deleted; or the program is stopping.
    pub fn forget_stream(
        &self,
        withdrawal: Withdrawal,
        former_roots: Vec<PathBuf>,
    ) -> io::Result<usize> {
        if let Some(board) = self.feed.board.get() {
            let meeting = withdrawal.id.as_deref().map(safe_name);
            board.revoke_named(meeting.as_deref(), &safe_name(&withdrawal.stream_id));
        }
        self.ask(|reply| Job::Forget(withdrawal, former_roots, reply))
    }

    /// Does this while no stream writes in the folder.
    ///
    /// # Errors
    /// What the work returns; `ResourceBusy` if the folder's stream lives; or the program is stopping.
    pub fn in_folder(
        &self,
        folder: &Path,
        work: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        self.ask(|reply| Job::InFolder(folder.to_owned(), Box::new(work), reply))
    }

    /// The journal of a folder was replaced by one of the same length: those who read it look at the
    /// new file.
    pub fn journal_is_replaced(&self, folder: &Path) {
        if let Some(board) = self.feed.board.get() {
            board.rewritten(board.key_of(folder));
        }
    }

    fn ask<T>(&self, job: impl FnOnce(SyncSender<io::Result<T>>) -> Job) -> io::Result<T> {
        let ended = || io::Error::other("the program is stopping");
        let (reply, answer) = mpsc::sync_channel(1);
        self.sender.send(job(reply)).map_err(|_| ended())?;
        answer.recv().map_err(|_| ended())?
    }
}
