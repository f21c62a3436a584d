//! Conversations in virtual time.

pub(crate) mod conversations;
pub(crate) mod messages;
mod outages;
mod phrases;
mod random;
pub(crate) mod simulation;
pub(crate) mod talk;
