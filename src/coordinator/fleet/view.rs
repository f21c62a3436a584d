//! Who lives, and who gets a meeting.

use super::call::SeenRow;

/// All nodes, as the last good beat showed them.
#[derive(Debug, Clone, Default)]
pub struct View {
    rows: Vec<SeenRow>,
}

impl View {
    /// All rows, the own one too.
    pub fn rows(&self) -> &[SeenRow] {
        &self.rows
    }

    /// Whether more nodes have other settings than ours than have the same.
    pub fn is_minority(&self) -> bool {
        false
    }
}
