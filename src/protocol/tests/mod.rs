//! Conversations in virtual time.

mod conversations;
mod faults;
mod messages;
mod outages;
mod random;
mod simulation;
mod talk;
