//! The fleet: several nodes behind one balancer, one store between them.
//!
//! Pure: events, replies of the store and times go in, [`Output`]s for the daemon come out. What it may rely on:
//! every call is answered once ([`Reply::Failed`] if nothing is known), calls reach the store in their order, and
//! everything that comes from the store is authentic.
//!
//! # The rules
//!
//! 1. A running connection is never closed for want of the store's word; a new signaling connection is opened
//!    only with a [`Output::Permit`], or by the store-down rule with [`Output::Once`].
//! 2. Zoom decides who has a stream, the record follows: a node that receives while the record's owner does not
//!    becomes the owner with its next publish.
//! 3. An event is settled when its coordinator or a guard has it, never before.
//!
//! # What a node is
//!
//! | state | when | what it does |
//! | --- | --- | --- |
//! | joining | no good beat yet | events wait; after 10 s as unsure |
//! | sure | the last good beat began less than 4 s ago | everything; judges others after 5 s |
//! | unsure | no good beat for 4 s | the store-down rule, see `store_down` |
//! | doubled | another process has its name | runs what it has, takes nothing, routes events |
//! | draining | a planned stop | gives everything away, takes nothing, routes events |
//! | gone | its row is removed | nothing |
//!
//! # What a meeting is here
//!
//! | state | how it begins | how it ends |
//! | --- | --- | --- |
//! | waiting events | an event for what we do not have | route, place, claim, or the store-down rule |
//! | wished | the store says it is ours, or its owner is dead | claim: held, or another has it |
//! | held | a claim, a publish, or the coordinator says so | is over, given up, or handed over |
//! | left | it is in the state directory | publish (or 10 s without the store): held, or given up |
//! | released | its sockets are closed for an heir | the heir's record says that it was taken; else given again, or held |
//! | guarded | an event of it was sent to another node | the record shows that it was acted on, else it is sent again |
//!
//! # Flows, by file
//!
//! | flow | file |
//! | --- | --- |
//! | beats, permits, roll-back, one name twice | `beat` |
//! | who lives, who gets a meeting | `view` |
//! | an event for another's meeting, a new meeting, its guard | `resolve` |
//! | what is held, and whose the record is | `publish` |
//! | a record is ours: what it knew | `adopt` |
//! | a dead node, or an earlier process of this one | `takeover` |
//! | the store does not answer | `store_down` |
//! | a planned stop | `handover` |
//! | giving a meeting, or a stream of it, to another node | `release` |
//! | messages for all nodes | `broadcast` |
//! | which node has the event WebSocket | `events` |
//! | what is counted, for metrics | `counts` |
//!
//! # What is simpler than it could be, and what that costs
//!
//! - What a publish overwrites is said once: if that answer is lost, streams that only the old record named are.
//! - One record per meeting. Where two nodes each receive a stream of one meeting, the one without the record gives
//!   its stream to the other, as in a planned stop: a gap of one connect. It takes a pause or a cut in the moment
//!   in which a second stream begins.
//! - Who loses a record to a node that receives is not told. It learns it with its next publish: when a stream of
//!   it changes, when it is refused (5 s), before it handles an event for what it does not receive, after a silence
//!   or a jump of the store's clock for which it may have been taken for dead, or after 30 minutes (5 without a
//!   stream).
//! - Of one other node, or of a jump backwards of the store's clock, nothing can be told: a death is noticed
//!   later by as much as the clock jumped.
//! - An heir that has the record counts as good; that it receives is not waited for.
//! - A taker opens its folder when it begins to connect: who takes the stream from it finds all predecessors. One that
//!   Zoom never lets in leaves a folder without a phrase.
//! - Who takes a record by a publish, loses the answer, and is gone before its next one takes with it what else the
//!   record listed: that is received again by who has it on its disk.
//! - A node that was away since before all others began misses messages for all nodes.
//! - A start that is routed, and known to its receiver as stale, is sent three times. One that its receiver has not
//!   read when the third is 3 s old is lost if the store then loses that node's queue.
//!
//! Everything is bounded: [`machine::CALLS_MAX`] calls under way, [`machine::EVENTS_MAX`] events. What comes
//! beyond is given to the own coordinator, with an error in the log.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

mod adopt;
mod beat;
mod broadcast;
pub mod call;
pub mod counts;
mod events;
pub mod face;
mod few;
mod find;
mod guard;
mod handover;
mod intake;
pub mod machine;
mod meetings;
mod publish;
mod queue;
pub mod record;
mod release;
mod resolve;
mod store_down;
pub mod tail;
mod takeover;
mod view;

pub use beat::UNSURE;
pub use call::{
    Boot, Call, Claimable, EventsRow, Member, Message, Queued, Reply, Routed, Row, SeenRow, Tail,
};
pub use counts::{Counts, Took};
pub use face::{
    About, Adoption, CallId, Config, Exit, Incoming, Kind, Left, MeetingState, NodeState, Output,
    Predecessor, StreamState,
};
pub use machine::Machine;
pub use record::{Phase, Record, StreamPhase};
pub use view::View;

#[cfg(all(test, feature = "demo"))]
mod tests;
