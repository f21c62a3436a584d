//! What a stream leaves behind: files in a folder of its own, and lines on stdout.
//!
//! The stream's thread turns each event into a [`Record`](record::Record) and hands batches to one
//! of two threads. [`disk`] owns every file, so that a slow or full disk never holds up a meeting;
//! [`stdout`] owns standard output, so that a stuck reader does not either. What a format looks
//! like is decided in pure files: [`jsonl`], [`cue`], [`text`], [`path`].

pub mod append;
pub mod cue;
pub mod disk;
pub mod jsonl;
pub mod media;
pub mod meta;
pub mod ogg;
pub mod packets;
pub mod path;
pub mod picture;
pub mod pictures;
pub mod placed;
pub mod record;
pub mod recorder;
pub mod stdout;
pub mod text;
pub mod timeline;
pub mod track;
pub mod wav;

pub use disk::{Disk, DiskSettings};
pub use record::StreamInfo;
pub use recorder::{Formats, seam};
pub use stdout::{Stdout, StdoutFormat};

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    /// An empty folder of a test's own.
    pub(super) fn scratch(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("rtmsd-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder for temporary files");
        folder
    }
}
