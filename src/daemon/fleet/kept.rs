//! What a node of a fleet keeps over a restart: its boot, which proves later that this process is dead.

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
}

/// Reads what an earlier process left, and writes the boot of this one before anything else knows it. Returns
/// the earlier process's boot, if that had the same name: the lock of the state directory proves that it is
/// dead.
///
/// # Errors
/// The file cannot be read or written.
pub(super) fn begin(state: &Arc<StateDir>, node: &str, boot: Boot) -> Result<Option<Boot>, Error> {
    let left = state.read(NAME)?.and_then(|json| {
        let failed = |error: &serde_json::Error| {
            log::error!("{NAME} in the state directory cannot be read: {error}; ignoring it");
        };
        let read: Result<Content, _> = serde_json::from_slice(&json);
        read.inspect_err(failed).ok()
    });
    let left = left.unwrap_or_default();
    let content = Content {
        node: node.to_owned(),
        boot: boot.to_string(),
    };
    state.write_atomic(NAME, &serde_json::to_vec(&content).unwrap_or_default())?;
    Ok(Boot::parse(&left.boot).filter(|_| left.node == node))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::scratch;

    #[test]
    fn a_process_knows_the_boot_of_the_one_before() {
        let folder = scratch("fleet-kept");
        let state = Arc::new(StateDir::open(&folder).expect("a state directory"));
        let begin = |node: &str, boot: u64| begin(&state, node, Boot(boot)).expect("written");
        assert_eq!(begin("a", 1), None);
        assert_eq!(begin("a", 2), Some(Boot(1)));
        // Under another name nothing is proved about that name.
        assert_eq!(begin("b", 3), None);
        state.write_atomic(NAME, b"{\"node\":").expect("written");
        assert_eq!(begin("b", 4), None, "a damaged file is no obstacle");
    }
}
