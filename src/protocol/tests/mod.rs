//! Conversations in virtual time.

pub(crate) mod conversations;
pub(crate) mod messages;
pub(crate) mod simulation;
pub(crate) mod talk;
