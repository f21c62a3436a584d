//! The fleet: which node has which meeting.

pub mod call;
pub mod record;
