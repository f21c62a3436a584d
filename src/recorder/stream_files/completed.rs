//! What a crash left in the journal alone is added to the other files.

use super::Recorder;
use crate::recorder::append_file::tail;
use crate::recorder::journal::completion::{JournalTail, Recorded};
use crate::recorder::transcript::Format;

impl Recorder {
    /// The same without a journal, where an earlier process may have written one.
    pub fn without_journal(mut self) -> Recorder {
        self.complete_after_crash();
        self
    }

    pub(super) fn complete_after_crash(&mut self) {
        // A process that left cleanly left all files alike.
        if self.meta.boot_id.is_some() || self.meta.openings <= 1 {
            self.complete_from_journal();
        }
    }

    fn complete_from_journal(&mut self) {
        let mut formats = Format::ALL.to_vec();
        let mut others = vec![true, false];
        let in_files = self.transcripts.count_written(0);
        let mut phrases = None;
        for look in JournalTail::looks(&self.folder) {
            let Ok(journal) = look else { return };
            let records = journal.records();
            formats.retain(|format| {
                let zero_ms = self.info.started_ms;
                let added = self
                    .transcripts
                    .complete(*format, &journal, &records, zero_ms);
                phrases = phrases.max(added);
                added.is_none()
            });
            others.retain(|is_events| {
                let file = match is_events {
                    true => &mut self.events,
                    false => &mut self.chat,
                };
                let is_own = |record: &&Recorded<'_>| match is_events {
                    true => record.is_event(),
                    false => record.is_chat(),
                };
                let own = records.iter().filter(is_own);
                let own: Vec<&[u8]> = own.map(|record| &*record.line).collect();
                let end = tail(&file.path(), "\n").unwrap_or_default();
                let last: Vec<&[u8]> = end.lines().map(str::as_bytes).collect();
                let Some(present) = journal.count_present(&own, &last, |_, _| true) else {
                    return true;
                };
                for line in &own[present..] {
                    file.record_buf()
                        .extend_from_slice(&[line, &b"\n"[..]].concat());
                }
                false
            });
            if formats.is_empty() && others.is_empty() {
                break;
            }
        }
        self.meta.phrases = (self.meta.phrases).max(in_files + phrases.unwrap_or(0));
    }
}
