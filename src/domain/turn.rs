//! Whose the event WebSocket is: Zoom has one connection for each subscription, and the nodes of a fleet may share
//! one subscription.

/// Whether this process may connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It connects, and connects again. So it is always without a fleet.
    Ours,
    /// It was ours when the store answered last. A connection that is lost is made again; one that Zoom closes was
    /// probably taken by a node that sees the store, so that is tried again later, once.
    Unsure,
    /// Another node's. A connection that runs is kept until Zoom closes it for that node's.
    Anothers,
}
