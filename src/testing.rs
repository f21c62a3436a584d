//! What the unit tests of several parts share: temporary folders, and waiting with a deadline.

use std::fs;
use std::ops::Deref;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Nothing in these tests takes longer unless it is broken, on a machine that others use, too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Looks again and again until it is true; panics with `what` was awaited if it never is.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut is_true: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_true() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// An empty folder of mode 0700, with this in its name.
pub(crate) fn scratch(name: &str) -> TempDir {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("rtmsd-{name}-{}-{n}", std::process::id()));
    // Of an earlier process of the same number that was killed.
    let _ = fs::remove_dir_all(&path);
    let made = fs::DirBuilder::new().mode(0o700).create(&path);
    made.expect("a temporary folder");
    TempDir(path.into())
}

/// Goes when it is dropped.
pub(crate) struct TempDir(pub(crate) Arc<Path>);

impl Deref for TempDir {
    type Target = Arc<Path>;

    fn deref(&self) -> &Arc<Path> {
        &self.0
    }
}

impl AsRef<Path> for TempDir {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
