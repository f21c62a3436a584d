//! What is known of a grant beside its tokens: whose it is, what it permits, when it was used, and whether
//! it works.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::domain::secret::Secret;
use crate::zoom_api::errors::Kind;
use crate::zoom_api::reply::clean;

/// The facts, as they are in the file of the grant. Ids are empty where Zoom has not said them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Facts {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) account_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) user_id: String,
    /// Name and address, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) user: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) scopes: Vec<String>,
    /// Unix milliseconds; 0 if it is not known.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) authorized_ms: u64,
    /// When a token was fetched or a call made with it, Unix milliseconds; 0 for never.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) used_ms: u64,
    /// Why it does not work; empty if it does.
    #[serde(skip_serializing_if = "GrantState::is_ok")]
    pub(crate) state: GrantState,
    /// The number of this refresh token among the nodes of a fleet; 0 without one.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) generation: u64,
    /// This node was the last to put one, as far as it knows.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_last_to_put: bool,
    /// The name of a grant by authorization among the nodes of a fleet; empty if they do not share it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) shared_as: String,
}

/// Whether a grant works.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum GrantState {
    /// As far as is known.
    #[default]
    Ok,
    /// The user withdrew it, or its refresh token was used elsewhere.
    Revoked,
    /// An administrator of the account has disabled the app.
    Disabled,
    /// Zoom named a scope that it lacks.
    MissingScope,
    /// A state of a later version.
    #[serde(other)]
    Unknown,
}

/// A grant, for those who look at it: no tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantStatus {
    /// The account's id; empty if Zoom has not said it.
    pub account_id: String,
    /// The user's id; empty if Zoom has not said it.
    pub user_id: String,
    /// The user's name and address, as far as Zoom says them.
    pub user: String,
    /// The scopes of its last token; empty if Zoom does not report them.
    pub scopes: Vec<String>,
    /// When it was authorized, Unix milliseconds; `None` if that is not known.
    pub authorized_ms: Option<u64>,
    /// When it was last used, Unix milliseconds.
    pub used_ms: Option<u64>,
    /// Whether it works.
    pub state: GrantState,
    /// Whether it came from the configuration, and not from `rtmsd authorize`.
    pub is_configured: bool,
}

impl GrantState {
    /// All of them.
    pub const ALL: [GrantState; 5] = [
        GrantState::Ok,
        GrantState::Revoked,
        GrantState::Disabled,
        GrantState::MissingScope,
        GrantState::Unknown,
    ];

    /// The word for metrics and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            GrantState::Ok => "ok",
            GrantState::Revoked => "revoked",
            GrantState::Disabled => "disabled",
            GrantState::MissingScope => "missing_scope",
            GrantState::Unknown => "unknown",
        }
    }

    /// What a person must do; `None` if nothing.
    pub const fn remedy(self) -> Option<&'static str> {
        match self {
            GrantState::Ok => None,
            GrantState::Revoked | GrantState::Unknown => Some("authorize again (rtmsd authorize)"),
            GrantState::Disabled => Some("ask the administrator of the account to allow the app"),
            GrantState::MissingScope => Some(
                "add the scope to the app in the Marketplace, then authorize again (rtmsd authorize)",
            ),
        }
    }

    /// The state of a grant whose token could not be had, or whose call was refused, for that reason;
    /// `None` if the reason says nothing about the grant.
    pub(crate) fn of(kind: Kind) -> Option<GrantState> {
        match kind {
            Kind::Revoked | Kind::Owner => Some(GrantState::Revoked),
            Kind::DisabledByAdmin => Some(GrantState::Disabled),
            Kind::Scope => Some(GrantState::MissingScope),
            _ => None,
        }
    }

    fn is_ok(&self) -> bool {
        *self == GrantState::Ok
    }
}

/// Facts that several threads share. No lock is held while anything is waited for.
#[derive(Debug, Default)]
pub(crate) struct SharedFacts(Mutex<Facts>);

impl SharedFacts {
    pub(crate) fn new(facts: Facts) -> SharedFacts {
        SharedFacts(Mutex::new(facts))
    }

    pub(crate) fn get(&self) -> Facts {
        self.lock().clone()
    }

    /// Changes them; returns whether anything but the time of the last use is different now.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Facts)) -> bool {
        let mut facts = self.lock();
        let before = facts.clone();
        change(&mut facts);
        let used_ms = facts.used_ms;
        *facts != Facts { used_ms, ..before }
    }

    fn lock(&self) -> MutexGuard<'_, Facts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The ids in a token: Zoom's tokens are JWTs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Claims {
    /// The user's id.
    uid: String,
    /// The account's id.
    aid: String,
}

impl Facts {
    /// A token was issued: what it says about itself.
    pub(crate) fn learn(&mut self, token: &Secret, scopes: &[String], date: SystemTime) {
        self.used_ms = unix_ms(date);
        self.state = GrantState::Ok;
        if !scopes.is_empty() {
            self.scopes = scopes.to_vec();
        }
        let payload = token.expose().split('.').nth(1);
        let json =
            payload.and_then(|payload| URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok());
        let claims: Option<Claims> = json.and_then(|json| serde_json::from_slice(&json).ok());
        if let Some(claims) = claims {
            self.user_id = clean(&claims.uid, &[]);
            self.account_id = clean(&claims.aid, &[]);
        }
    }

    /// Whether it is known whose it is.
    pub(crate) fn has_owner(&self) -> bool {
        !self.account_id.is_empty() && !self.user_id.is_empty()
    }

    /// Whether both are known to be of the same user.
    pub(crate) fn has_owner_of(&self, other: &Facts) -> bool {
        self.has_owner() && (&self.account_id, &self.user_id) == (&other.account_id, &other.user_id)
    }

    /// Whether an event about this user may be about the owner; one without ids may be.
    pub(crate) fn may_be_of(&self, user_id: &str, account_id: &str) -> bool {
        (user_id.is_empty() || user_id == self.user_id)
            && (account_id.is_empty() || account_id == self.account_id)
    }

    /// What the nodes of a fleet tell each other.
    pub(super) fn listed(&self) -> Facts {
        Facts {
            account_id: self.account_id.clone(),
            user_id: self.user_id.clone(),
            user: self.user.clone(),
            scopes: self.scopes.clone(),
            authorized_ms: self.authorized_ms,
            shared_as: self.shared_as.clone(),
            ..Facts::default()
        }
    }

    /// Whether this says of the same grant whose it is, if the other does.
    pub(super) fn tells_as_much_as(&self, other: &Facts) -> bool {
        self.shared_as == other.shared_as
            && (self.has_owner() || !other.has_owner())
            && (!self.user.is_empty() || other.user.is_empty())
    }

    /// When it was last of use: authorized, or used.
    pub(crate) fn newest_ms(&self) -> u64 {
        self.authorized_ms.max(self.used_ms)
    }

    pub(crate) fn status(&self, is_configured: bool) -> GrantStatus {
        GrantStatus {
            account_id: self.account_id.clone(),
            user_id: self.user_id.clone(),
            user: self.user.clone(),
            scopes: self.scopes.clone(),
            authorized_ms: (self.authorized_ms > 0).then_some(self.authorized_ms),
            used_ms: (self.used_ms > 0).then_some(self.used_ms),
            state: self.state,
            is_configured,
        }
    }
}

pub(crate) fn unix_ms(date: SystemTime) -> u64 {
    let since = date.duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}
