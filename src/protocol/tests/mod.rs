//! Conversations in virtual time.

mod conversations;
mod messages;
mod simulation;
mod talk;
