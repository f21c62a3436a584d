//! Files on disk: one folder per stream, written by the [`disk`] thread.
//!
//! The stream's thread turns each event into a [`Record`](record_batch::Record) and sends batches
//! to one of two threads. [`disk`] owns every file, so that a slow or full disk never blocks a
//! stream; [`stdout`](crate::delivery::stdout) owns standard output, so that a slow reader does not
//! either. The formats are defined in pure files: [`jsonl`], [`cues`](transcript::cues),
//! [`text`](crate::domain::text), [`path`].
//!
//! # Durability
//!
//! A crash of the process loses what was not handed to the kernel yet, at most the phrases of the
//! last ten milliseconds (see [`coalesce`](crate::delivery::coalesce)), which Zoom may send again.
//! A power cut loses what the disk did not have yet. Files are synced five seconds after the first
//! record that is not, and at the end of a stream as soon as the previous group of syncs is done;
//! with them the folders that hold their names, up to the one for all meetings. Syncing each record
//! would leave a disk with two thousand streams no time for anything else. The sync thread waits
//! for the disk; records are written meanwhile. The state that a restart needs to rejoin is synced
//! at each change, see [`crate::state`].
//!
//! `meta.json` is replaced by a rename and synced only at the end, before the rename: one that says
//! `ended` is true also after a power cut. Another one that a power cut emptied is written again by the
//! next process. Half a record at the end of a file is cut off when the file is opened again. A stream
//! of an earlier process is opened again also if it has ended; streams that are no longer in the
//! state are searched for, see [`crash_recovery`].
//!
//! A file that is deleted while it is open is detected within seconds, when it is synced, and
//! created again with everything written since the last check: nothing received after the deletion
//! is lost.
//!
//! The [`journal`] is written first, the other files follow in the same step; what a crash right
//! between leaves in the journal alone is added to them by the next process. What was written last is
//! learned from the journal, see `seam.rs`; with `RTMS_FEED=off`, and `transcript.jsonl` off as well, a
//! restart may write a phrase twice.

pub mod append_file;
pub mod audio;
pub mod captions;
pub mod catalog;
pub mod crash_recovery;
pub mod disk;
pub mod journal;
pub mod jsonl;
pub mod media_files;
pub mod meta;
pub mod out_lock;
pub mod packet_batch;
pub mod participants;
pub mod path;
pub mod record_batch;
pub mod removal;
pub mod rtp;
pub(crate) mod seam;
pub mod sparse_file;
pub mod stream_files;
pub mod summary;
pub mod sync_targets;
pub mod transcript;
pub mod video;
pub mod withdrawal;

pub use crate::delivery::stdout::{Stdout, StdoutFormat};
pub use disk::{DEFAULT_OUT, Disk, FeedSettings, RecorderSettings};
pub use journal::{JournalHost, Opening};
pub use out_lock::{OutInUse, OutLock};
pub use seam::load_recent_phrases;
pub use transcript::TranscriptFormats;
