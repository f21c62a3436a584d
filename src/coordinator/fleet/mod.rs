//! The fleet: several nodes behind one balancer, one store between them.
//!
//! Pure: events, replies of the store and times go in, [`Output`]s for the daemon come out.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

mod beat;
mod broadcast;
pub mod call;
pub mod face;
mod handover;
mod machine;
mod meetings;
mod publish;
pub mod record;
mod resolve;
mod store_down;
pub mod tail;
mod takeover;
mod view;

pub use beat::UNSURE;
pub use call::{Boot, Call, Claimable, Member, Message, Queued, Reply, Routed, Row, SeenRow, Tail};
pub use face::{
    About, Adoption, CallId, Config, Exit, Incoming, Kind, Left, MeetingState, NodeState, Output,
    Predecessor, StreamState,
};
pub use machine::Machine;
pub use record::{Phase, Record, StreamPhase};
pub use view::View;

#[cfg(all(test, feature = "demo"))]
mod simulation;
#[cfg(all(test, feature = "demo"))]
mod tests;
