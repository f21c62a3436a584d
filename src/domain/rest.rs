//! The REST call that controls a stream: what is asked for, and how it failed.

use std::time::Duration;

use super::product::Product;
use super::severity::Severity;

/// The longest id in bytes; Zoom's have up to some 70.
const ID_BYTES_MAX: usize = 512;

/// What a call asks Zoom to do with a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestAction {
    /// Begin.
    Start,
    /// End.
    Stop,
    /// Send no media until resumed.
    Pause,
    /// Send media again.
    Resume,
}

impl RestAction {
    /// All of them.
    pub const ALL: [RestAction; 4] = [
        RestAction::Start,
        RestAction::Stop,
        RestAction::Pause,
        RestAction::Resume,
    ];

    /// Zoom's word, which is also the command's.
    pub const fn name(self) -> &'static str {
        match self {
            RestAction::Start => "start",
            RestAction::Stop => "stop",
            RestAction::Pause => "pause",
            RestAction::Resume => "resume",
        }
    }

    /// The action of that word.
    pub fn from_name(name: &str) -> Option<RestAction> {
        let mut all = RestAction::ALL.into_iter();
        all.find(|action| action.name() == name)
    }
}

/// One call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlRequest {
    /// What to do.
    pub action: RestAction,
    /// In which product.
    pub product: Product,
    /// Meeting or webinar number (not the UUID), session id, engagement id, call id.
    pub id: String,
    /// For which participant, if another than the configured one (`RTMS_PARTICIPANT_USER_ID`).
    pub participant_user_id: Option<String>,
}

impl ControlRequest {
    /// A call without a participant of its own.
    pub fn new(action: RestAction, product: Product, id: impl Into<String>) -> ControlRequest {
        ControlRequest {
            action,
            product,
            id: id.into(),
            participant_user_id: None,
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
            Some("found what is no id, expected one")
        } else if self.product.has_number() && !id.bytes().all(|b| b.is_ascii_digit()) {
            Some("found something else, expected the meeting number (digits, not the UUID)")
        } else {
            None
        }
    }
}

/// What may help after a call that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureClass {
    /// The same call may work later: Zoom or the way to it is in trouble.
    Retry,
    /// Perhaps only too early: Zoom's REST servers may not know yet what just began.
    Early,
    /// Not permitted to this user in this meeting: it may be once the host is there.
    NotPermitted,
    /// Only a person can help.
    GiveUp,
}

/// A call that failed, as far as decisions need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedCall {
    /// What may help.
    pub class: FailureClass,
    /// How long Zoom asks us to wait before the next call.
    pub retry_after: Option<Duration>,
    /// Zoom's error code.
    pub code: Option<i64>,
    /// How much a line about it matters if nothing is tried any more.
    pub severity: Severity,
    /// What failed, why, and what to do: one line without secrets.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_are_none() {
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
