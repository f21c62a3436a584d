//! Calls to Zoom, and the grants for them.

use super::facts::load;
use super::metric::Metric;
use super::metric::Value::{Counts, Gauge, Gauges};
use super::metric::row;
use crate::zoom_api::{GrantState, Kind};

pub(super) const METRICS: &[Metric] = &[
    row(
        "rest_calls_total",
        "REST calls by result: ok, retry (tried again), refresh (token renewed), give_up.",
        Counts("class", |f| {
            let counters = f.rest();
            vec![
                ("ok", load(&counters.calls_ok)),
                ("retry", load(&counters.calls_retry)),
                ("refresh", load(&counters.calls_refresh)),
                ("give_up", load(&counters.calls_give_up)),
            ]
        }),
    ),
    row(
        "tokens_total",
        "Attempts to obtain an access token by result.",
        Counts("result", |f| {
            let counters = f.rest();
            vec![
                ("fetched", load(&counters.tokens_fetched)),
                ("failed", load(&counters.tokens_failed)),
            ]
        }),
    ),
    row(
        "rest_errors_total",
        "Failed REST calls and token fetches, by kind of error.",
        Counts("kind", |f| {
            let of = |kind: Kind| (kind.name(), f.rest().errors(kind));
            Kind::all().map(of).collect()
        }),
    ),
    row(
        "grants",
        "Users who have authorized the app, by the state of their grant.",
        Gauges("state", |f| {
            let grants = f.status.grants.iter().flatten();
            let states: Vec<GrantState> = grants.map(|grant| grant.state).collect();
            let count = |state| states.iter().filter(|found| **found == state).count() as u64;
            let all = GrantState::ALL;
            all.map(|state| (state.name(), count(state))).to_vec()
        }),
    ),
    row(
        "accounts_without_grant",
        "Accounts whose calls could not be made, because no user of theirs has authorized the app.",
        Gauge(|f| f.status.accounts_without_grant.len() as u64),
    ),
];
