//! Consent withdrawn: what the disk thread says of it, and what it deletes.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;

use super::{Entry, Writer};
use crate::clock::now_ms;
use crate::domain::stream_info::Withdrawal;
use crate::feed::key::JournalKey;
use crate::recorder::journal::server::{Cause, RevokedStream};
use crate::recorder::withdrawal::{delete_stream, find_stream};

impl Writer {
    /// Consent was withdrawn: nothing of the stream leaves any more, and the server's journal says so
    /// before a byte is deleted.
    pub(super) fn revoke(
        &mut self,
        withdrawal: &Withdrawal,
        roots: &[PathBuf],
        is_deleted: bool,
        uploads: &HashMap<JournalKey, u64>,
        cause: Cause,
    ) {
        let Some(feed) = &mut self.feed else {
            return;
        };
        let Withdrawal { id, stream_id, .. } = withdrawal;
        let (mut revoked, mut kept) = (Vec::new(), Vec::new());
        for (key, entry) in &mut self.entries {
            let info = entry.recorder.info();
            if info.stream_id != *stream_id || id.as_ref().is_some_and(|id| info.id != *id) {
                continue;
            }
            let info = info.clone();
            if let Some(journal) = entry.recorder.journal() {
                if !is_deleted {
                    journal.push_revoked(now_ms());
                    kept.push(*key);
                }
                journal.revoke();
                revoked.push(RevokedStream {
                    key: journal.key(),
                    stream_seq: journal.seq(),
                    info,
                    is_deleted,
                    cause,
                });
            }
        }
        for folder in find_stream(roots, id.as_deref(), stream_id) {
            let key = feed.host.board().key_of(&folder);
            if revoked.iter().any(|stream| stream.key == key) {
                continue;
            }
            match feed.host.revoke_folder(&folder, is_deleted) {
                Ok(Some(stream)) => revoked.push(stream),
                Ok(None) => {}
                Err(error) => log::error!(
                    "cannot read the journal of a stream whose consent was withdrawn folder={} \
                     error=\"{error}\"",
                    folder.display()
                ),
            }
        }
        for mut stream in revoked {
            stream.cause = cause;
            if !feed.server.has(stream.key) {
                let uploads = uploads.get(&stream.key).copied().unwrap_or(0);
                let written = feed.server.revoked(&stream, uploads);
                feed.note(written);
            }
        }
        kept.into_iter().for_each(|key| self.write(key));
    }

    /// The folders of all streams, now and before.
    pub(super) fn roots(&self, former: Vec<PathBuf>) -> Vec<PathBuf> {
        let mut roots = former;
        roots.retain(|root| *root != self.settings.root);
        roots.push(self.settings.root.clone());
        roots
    }

    /// Deletes everything of a stream. Returns how many files there were.
    pub(super) fn discard(
        &mut self,
        withdrawal: &Withdrawal,
        roots: &[PathBuf],
        cause: Cause,
    ) -> io::Result<usize> {
        let why = cause.text();
        let Withdrawal {
            id,
            stream_id,
            is_repeat,
        } = withdrawal;
        let is_of = |entry: &Entry| {
            let info = entry.recorder.info();
            info.stream_id == *stream_id && id.as_ref().is_none_or(|id| info.id == *id)
        };
        let entries = self.entries.iter();
        let open = entries.filter(|(_, entry)| is_of(entry));
        let keys: Vec<u64> = open.map(|(key, _)| *key).collect();
        let mut files = Ok(0);
        for key in keys {
            let Some(mut entry) = self.entries.remove(&key) else {
                continue;
            };
            let bytes = entry.release();
            self.forgotten(entry.taken_records);
            self.released(bytes);
            let troubles = u64::from(entry.is_failing) + u64::from(entry.is_sync_failing);
            self.counters.failing_streams.fetch_sub(troubles, Relaxed);
            files = entry.recorder.discard();
        }
        let rest = delete_stream(roots, id.as_deref(), stream_id);
        let all = files.and_then(|open| rest.map(|rest| open + rest));
        match &all {
            // Ordered before, by this process or an earlier one.
            Ok(0) if *is_repeat || cause == Cause::Forgotten => {
                log::debug!("{why}: nothing is left stream={stream_id}");
            }
            Ok(0) => log::warn!(
                "{why}, but no file was found stream={stream_id} folders={}; delete what \
                 was moved or copied elsewhere by hand",
                roots.len()
            ),
            Ok(files) => log::warn!("{why}: deleted files={files} stream={stream_id}"),
            Err(error) => {
                self.counters.errors.fetch_add(1, Relaxed);
                log::error!(
                    "{why}, but files cannot be deleted stream={stream_id}: {error}; delete \
                     the stream's folder under RTMS_OUT by hand"
                );
            }
        }
        all
    }
}
