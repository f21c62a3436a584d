//! What a node of a fleet keeps over a restart: its boot, which proves later that this process is dead, and the
//! epoch of each meeting that it holds, which is part of folder names.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::coordinator::fleet::Boot;
use crate::state::{Error, StateDir};

/// The file in the state directory.
const NAME: &str = "fleet.json";

/// The file's content.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Content {
    node: String,
    /// Sixteen hexadecimal digits.
    boot: String,
    #[serde(default)]
    epochs: BTreeMap<String, u64>,
}

/// The file.
#[derive(Debug)]
pub(super) struct Kept {
    state: Arc<StateDir>,
    content: Content,
    is_changed: bool,
    is_failing: bool,
}

impl Kept {
    /// Reads what an earlier process left, and writes the boot of this one before anything else knows it.
    /// Returns the earlier process's boot, if that had the same name: the lock of the state directory proves
    /// that it is dead.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn open(
        state: &Arc<StateDir>,
        node: &str,
        boot: Boot,
    ) -> Result<(Kept, Option<Boot>), Error> {
        let left = state.read(NAME)?.and_then(|json| {
            let failed = |error: &serde_json::Error| {
                log::error!("{NAME} in the state directory cannot be read: {error}; ignoring it");
            };
            let read: Result<Content, _> = serde_json::from_slice(&json);
            read.inspect_err(failed).ok()
        });
        let left = left.unwrap_or_default();
        let previous = Boot::parse(&left.boot).filter(|_| left.node == node);
        let mut kept = Kept {
            state: Arc::clone(state),
            content: Content {
                node: node.to_owned(),
                boot: boot.to_string(),
                // Folders are named after them, whatever the name of the node is.
                epochs: left.epochs,
            },
            is_changed: true,
            is_failing: false,
        };
        kept.write()?;
        Ok((kept, previous))
    }

    /// The epoch under which a meeting was held last; 0 if it is not known.
    pub(super) fn epoch(&self, meeting: &str) -> u64 {
        self.content.epochs.get(meeting).copied().unwrap_or(0)
    }

    /// The meeting is held under that epoch from now on.
    pub(super) fn hold(&mut self, meeting: &str, epoch: u64) {
        if self.epoch(meeting) != epoch {
            self.content.epochs.insert(meeting.to_owned(), epoch);
            self.is_changed = true;
        }
    }

    /// Keeps the epochs of these meetings alone.
    pub(super) fn retain(&mut self, is_held: impl Fn(&str) -> bool) {
        let before = self.content.epochs.len();
        self.content.epochs.retain(|meeting, _| is_held(meeting));
        self.is_changed |= self.content.epochs.len() != before;
    }

    /// Writes what has changed.
    pub(super) fn save(&mut self) {
        if !self.is_changed {
            return;
        }
        match self.write() {
            Ok(()) => self.is_failing = false,
            Err(error) => {
                if !std::mem::replace(&mut self.is_failing, true) {
                    log::error!("{error}; after a crash streams may go on in another folder");
                }
            }
        }
    }

    fn write(&mut self) -> Result<(), Error> {
        let json = serde_json::to_vec(&self.content).unwrap_or_default();
        self.state.write_atomic(NAME, &json)?;
        self.is_changed = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::scratch;

    fn open(state: &Arc<StateDir>, node: &str, boot: u64) -> (Kept, Option<Boot>) {
        Kept::open(state, node, Boot(boot)).expect("written")
    }

    #[test]
    fn a_process_knows_the_boot_and_the_epochs_of_the_one_before() {
        let state = Arc::new(StateDir::open(&scratch("fleet-kept")).expect("a state directory"));
        let (mut first, previous) = open(&state, "a", 1);
        assert_eq!(previous, None);
        first.hold("m", 3);
        first.hold("over", 1);
        first.retain(|meeting| meeting == "m");
        first.save();
        let (second, previous) = open(&state, "a", 2);
        assert_eq!(previous, Some(Boot(1)));
        assert_eq!((second.epoch("m"), second.epoch("over")), (3, 0));
        // Under another name nothing is proved about that name.
        let (third, previous) = open(&state, "b", 3);
        assert_eq!((previous, third.epoch("m")), (None, 3));
    }

    #[test]
    fn a_damaged_file_is_no_obstacle() {
        let state = Arc::new(StateDir::open(&scratch("fleet-kept")).expect("a state directory"));
        state.write_atomic(NAME, b"{\"node\":").expect("written");
        let (kept, previous) = open(&state, "a", 2);
        assert_eq!((kept.epoch("m"), previous), (0, None));
    }
}
