//! What the tests of this folder share.

use std::ops::Deref;
use std::path::{Path, PathBuf};

use crate::domain::product::Product;
use crate::domain::stream_info::StreamInfo;

/// An empty folder of a test's own, gone afterwards.
pub(crate) fn scratch(name: &str) -> Scratch {
    let folder = std::env::temp_dir().join(format!("rtmsd-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder for temporary files");
    Scratch(folder)
}

pub(crate) struct Scratch(PathBuf);

impl Deref for Scratch {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A meeting's stream.
pub(crate) fn info(id: &str, stream_id: &str) -> StreamInfo {
    StreamInfo::new(Product::Meeting, id, stream_id, 1_767_000_000_000)
}
