//! What all ways out share that serve clients over sockets which left the gate.
//!
//! | file | what |
//! | --- | --- |
//! | `on_demand` | the thread that serves them: from the first request until the last client has gone |
//! | `socket` | their sockets |
//! | `named` | pure: which stream a client means |

pub(crate) mod named;
pub(super) mod on_demand;
pub(crate) mod socket;
