//! What a client finds out about its token and about Zoom's API, for `rtmsd check --online`.

use serde::{Deserialize, Serialize};

use super::{AccessToken, Api, Error, GrantStatus, ProbeResult, RestCredentials};

/// What was found out. It crosses the control socket as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnlineCheck {
    /// The access token; `None` without credentials.
    pub token: Result<Option<TokenFacts>, CheckFailure>,
    /// How the API answered, to that token if there is one.
    pub api: Result<ProbeResult, CheckFailure>,
    /// The users who have authorized the app, if tokens are theirs.
    #[serde(default)]
    pub grants: Vec<GrantStatus>,
}

/// What may be known of an access token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenFacts {
    /// The scopes, if Zoom reports them.
    pub scopes: Vec<String>,
    /// For how many seconds it is good; `None` for a static token.
    pub expires_in_s: Option<u64>,
}

/// Why something was not found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckFailure {
    /// The exit code of a command that fails by it.
    pub exit_code: u8,
    /// One line for people.
    pub text: String,
}

impl From<&Error> for CheckFailure {
    fn from(error: &Error) -> CheckFailure {
        CheckFailure {
            exit_code: error.exit_code(),
            text: error.to_string(),
        }
    }
}

impl Api {
    /// Gets a token, if there are credentials, and asks the API who we are.
    pub fn check_online(&self) -> OnlineCheck {
        let token = match self.app().rest.credentials {
            RestCredentials::None => Ok(None),
            _ => self.token().map(Some),
        };
        let bearer = token.as_ref().ok().and_then(Option::as_ref);
        OnlineCheck {
            api: self.probe(bearer).map_err(|error| (&error).into()),
            token: token
                .map(|token| token.map(|token| self.facts(token)))
                .map_err(|error| (&error).into()),
            grants: self.grant_status(),
        }
    }

    fn facts(&self, token: AccessToken) -> TokenFacts {
        let now = self.process().clock.instant();
        let left = |end: std::time::Instant| end.saturating_duration_since(now);
        TokenFacts {
            expires_in_s: (token.expires_at).map(|end| left(end).as_secs_f64().round() as u64),
            scopes: token.scopes,
        }
    }
}
