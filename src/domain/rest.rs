//! The REST call that controls a stream: the request, and why it failed.

use std::time::Duration;

use super::product::Product;
use super::severity::Severity;

/// Maximum bytes of an id; Zoom's have up to about 70.
const ID_BYTES_MAX: usize = 512;

/// The action of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestAction {
    /// Starts the stream.
    Start,
    /// Stops it.
    Stop,
    /// Sends no media until resumed.
    Pause,
    /// Sends media again.
    Resume,
}

impl RestAction {
    /// All actions.
    pub const ALL: [RestAction; 4] = [
        RestAction::Start,
        RestAction::Stop,
        RestAction::Pause,
        RestAction::Resume,
    ];

    /// Zoom's word, which is also the command's name.
    pub const fn name(self) -> &'static str {
        match self {
            RestAction::Start => "start",
            RestAction::Stop => "stop",
            RestAction::Pause => "pause",
            RestAction::Resume => "resume",
        }
    }

    /// The action with that word.
    pub fn from_name(name: &str) -> Option<RestAction> {
        let mut all = RestAction::ALL.into_iter();
        all.find(|action| action.name() == name)
    }
}

/// One call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlRequest {
    /// The action.
    pub action: RestAction,
    /// The product.
    pub product: Product,
    /// Meeting or webinar number (not the UUID), session id, engagement id, call id.
    pub id: String,
    /// The participant, if not the configured one (`RTMS_PARTICIPANT_USER_ID`).
    pub participant_user_id: Option<String>,
    /// The account of the meeting, if known: with its grant the call is made.
    pub account_id: Option<String>,
    /// The host of the meeting, if known: of several grants of the account, the host's comes first.
    pub host_id: Option<String>,
}

impl ControlRequest {
    /// A call with the configured participant.
    pub fn new(action: RestAction, product: Product, id: impl Into<String>) -> ControlRequest {
        ControlRequest {
            action,
            product,
            id: id.into(),
            participant_user_id: None,
            account_id: None,
            host_id: None,
        }
    }

    /// What is wrong with the id, as "found …, expected …".
    pub fn id_fault(&self) -> Option<&'static str> {
        let id = self.id.as_str();
        if id.is_empty() {
            Some("found no id, expected one")
        } else if id.len() > ID_BYTES_MAX {
            Some("found more than 512 bytes, expected an id")
        } else if id.chars().any(char::is_control) || id == "." || id == ".." {
            Some("found no valid id, expected one")
        } else if self.product.has_number() && !id.bytes().all(|b| b.is_ascii_digit()) {
            Some("found no meeting number, expected digits (not the UUID)")
        } else {
            None
        }
    }
}

/// What may help after a failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureClass {
    /// The same call may succeed later: Zoom or the network has a temporary fault.
    Retry,
    /// Perhaps too early: Zoom's REST servers may not know the meeting yet.
    Early,
    /// Not permitted to this user in this meeting: it may be once the host has joined.
    NotPermitted,
    /// Only a person can fix it.
    GiveUp,
}

/// The facts of a failed call on which the coordinator decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedCall {
    /// What may help.
    pub class: FailureClass,
    /// How long Zoom asks us to wait before the next call.
    pub retry_after: Option<Duration>,
    /// Zoom's error code.
    pub code: Option<i64>,
    /// Severity of the log line if there is no further try.
    pub severity: Severity,
    /// What failed, why, and what to do: one line without secrets.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_ids() {
        for (product, id) in [
            (Product::Meeting, ""),
            (Product::Meeting, "a/B+c=="),
            (Product::Meeting, "812 3456"),
            (Product::Phone, ".."),
            (Product::Session, "a\nb"),
            (Product::Session, &"x".repeat(513)),
        ] {
            let request = ControlRequest::new(RestAction::Stop, product, id);
            assert!(request.id_fault().is_some(), "{id:?}");
        }
        for (product, id) in [(Product::Meeting, "81234567890"), (Product::Session, "/a=")] {
            let request = ControlRequest::new(RestAction::Stop, product, id);
            assert_eq!(request.id_fault(), None);
        }
    }
}
