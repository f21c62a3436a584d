//! Whether an endpoint is slower than the events, so that its operator hears of it.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use super::Endpoint;

/// So many looks in a row at growing lag are `LAG_WARN`, 60 s.
const LAG_LOOKS: u8 = 6;

/// What the warning of growing lag is decided by.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lag {
    events: u64,
    delivered: u64,
    growing: u8,
    is_told: bool,
}

impl Endpoint {
    /// Looks at the lag; every ten seconds. Whether it has grown for a minute although requests
    /// succeed, for the first time.
    pub(in crate::delivery::push::machine) fn is_lag_growing(&mut self, events: u64) -> bool {
        let delivered = self.counts.events;
        let is_growing = events > self.lag.events && delivered > self.lag.delivered;
        self.lag.growing = match is_growing {
            true => self.lag.growing.saturating_add(1),
            false => 0,
        };
        (self.lag.events, self.lag.delivered) = (events, delivered);
        self.lag.is_told &= events > 0;
        let is_due = self.lag.growing >= LAG_LOOKS && !self.lag.is_told;
        self.lag.is_told |= is_due;
        is_due
    }
}
