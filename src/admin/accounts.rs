//! Which accounts have authorized the app: in `/streams`, `/readyz` and `rtmsd status`.
//!
//! Who has authorized it is shown by `rtmsd accounts`, which only the server's user may ask; here are ids,
//! and only of grants that a person must act on.

use serde::{Deserialize, Serialize};

use crate::daemon::status::StatusSnapshot;
use crate::zoom_api::GrantState;

/// Maximum grants and accounts that are named.
const NAMED_MAX: usize = 20;

/// The grants of users, in `/streams`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accounts {
    /// Grants that work, as far as is known.
    pub working: usize,
    /// Grants that do not, twenty at most.
    pub broken: Vec<Broken>,
    /// Accounts whose calls could not be made, because no user of theirs has authorized the app; twenty at
    /// most.
    pub missing: Vec<Missing>,
}

/// A grant that does not work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broken {
    /// The account's id; empty if it is not known.
    pub account_id: String,
    /// The user's id; empty if it is not known.
    pub user_id: String,
    /// `revoked`, `disabled`, `missing_scope` or `unknown`.
    pub state: String,
    /// What to do.
    pub remedy: String,
}

/// An account without a grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// The account's id.
    pub account_id: String,
    /// How many calls could not be made.
    pub calls: u64,
}

impl Accounts {
    /// `None` if tokens are not those of users.
    pub(super) fn from_status(status: &StatusSnapshot) -> Option<Accounts> {
        let grants = status.grants.as_ref()?;
        let broken = grants.iter().filter_map(|grant| {
            Some(Broken {
                account_id: grant.account_id.clone(),
                user_id: grant.user_id.clone(),
                state: grant.state.name().to_owned(),
                remedy: grant.state.remedy()?.to_owned(),
            })
        });
        let missing = status.accounts_without_grant.iter();
        let missing = missing.map(|(account_id, calls)| Missing {
            account_id: account_id.clone(),
            calls: *calls,
        });
        let is_ok = |state: GrantState| state == GrantState::Ok;
        Some(Accounts {
            working: grants.iter().filter(|grant| is_ok(grant.state)).count(),
            broken: broken.take(NAMED_MAX).collect(),
            missing: missing.take(NAMED_MAX).collect(),
        })
    }

    /// One line for each grant or account that a person must act on.
    pub fn lines(&self) -> Vec<String> {
        let named = |id: &str| match id {
            "" => "unknown".to_owned(),
            id => id.to_owned(),
        };
        let broken = self.broken.iter().map(|grant| {
            format!(
                "account {}: the grant of user {} is {}: {}",
                named(&grant.account_id),
                named(&grant.user_id),
                grant.state.replace('_', " "),
                grant.remedy
            )
        });
        let missing = self.missing.iter().map(|account| {
            format!(
                "account {}: no user has authorized the app, calls not made: {}; run rtmsd authorize",
                account.account_id, account.calls
            )
        });
        broken.chain(missing).collect()
    }
}

/// Further lines of `/readyz`: one account is no reason to send the work of others elsewhere.
pub(super) fn troubles(status: &StatusSnapshot) -> String {
    let accounts = Accounts::from_status(status);
    let lines = accounts.iter().flat_map(Accounts::lines);
    lines.map(|line| format!("\n{line}")).collect()
}
