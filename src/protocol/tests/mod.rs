//! Conversations in virtual time.

mod conversations;
mod faults;
mod messages;
mod outages;
mod phrases;
pub(crate) mod random;
mod simulation;
mod talk;
