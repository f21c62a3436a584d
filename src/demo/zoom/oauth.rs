//! The demo's token endpoint: server-to-server and refresh tokens, with strict rotation.
//!
//! It only keeps the state; HTTP is in `rest`.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::demo::Options;

/// The kind of credentials that the server uses for REST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credentials {
    /// A token in `access_token` that never expires.
    Static,
    /// Server-to-server: `ZOOM_ACCOUNT_ID`.
    Account,
    /// A user's refresh token: `ZOOM_REFRESH_TOKEN`.
    Refresh,
    /// A user who has yet to authorize the app: `ZOOM_REDIRECT_URL`.
    Consent,
}

pub(in crate::demo) struct Oauth {
    client_id: String,
    client_secret: String,
    account_id: String,
    expires_in: Duration,
    grace: Duration,
    scopes: String,
    fixed: Option<String>,
    issued: HashMap<String, Issued>,
    /// Those of them that open the event WebSocket.
    for_events: HashSet<String>,
    /// Those who can authorize the app; the first is the demo's own.
    users: Vec<User>,
    redirect_url: String,
    /// Codes that were issued and not used.
    codes: HashMap<String, Grant>,
    count: u64,
}

/// A user of the demo's Zoom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DemoUser {
    /// The account.
    pub account_id: String,
    /// The user.
    pub user_id: String,
    /// The user's name.
    pub name: String,
    /// The user's address.
    pub email: String,
}

/// A user, and the grant of the app.
struct User {
    who: DemoUser,
    /// The refresh token that is valid now.
    refresh: Option<String>,
    /// Used refresh tokens: a client that uses one again ends the grant.
    spent: Vec<String>,
}

/// An access token.
struct Issued {
    until: Instant,
    /// Whose it is; `None` for one of the app or of the account as a whole.
    user: Option<usize>,
}

/// What a code was issued for.
struct Grant {
    user: usize,
    challenge: String,
    until: Instant,
}

/// How long a code is good.
const CODE_LIFE: Duration = Duration::from_secs(300);

impl Oauth {
    pub(in crate::demo) fn new(options: &Options) -> Oauth {
        Oauth {
            client_id: options.client_id.clone(),
            client_secret: options.client_secret.clone(),
            account_id: options.account_id.clone(),
            expires_in: options.token_lifetime,
            grace: options.token_grace,
            scopes: options.scopes.clone(),
            fixed: (options.credentials == Credentials::Static)
                .then(|| options.access_token.clone()),
            issued: HashMap::new(),
            for_events: HashSet::new(),
            users: users(options),
            redirect_url: options.redirect_url.clone(),
            codes: HashMap::new(),
            count: 0,
        }
    }

    /// Whether REST accepts this token now.
    pub(in crate::demo) fn is_valid(&self, token: &str) -> bool {
        self.fixed.as_deref() == Some(token)
            || self
                .issued
                .get(token)
                .is_some_and(|issued| Instant::now() < issued.until)
    }

    /// Until when the event WebSocket serves a client with this token; `None` for a token that does not
    /// open it, such as a user's.
    pub(in crate::demo) fn events_until(&self, token: &str) -> Option<Instant> {
        let until = self.issued.get(token)?.until;
        (self.for_events.contains(token) && Instant::now() < until).then_some(until)
    }

    /// Makes all access tokens issued so far invalid.
    pub(in crate::demo) fn revoke_access(&mut self) {
        self.issued.clear();
        self.fixed = None;
    }

    /// Makes all tokens invalid: the app was removed.
    pub(in crate::demo) fn revoke_all(&mut self) {
        self.revoke_access();
        for user in &mut self.users {
            user.refresh = None;
        }
    }

    /// Makes the tokens of one account's user invalid.
    pub(in crate::demo) fn revoke_account(&mut self, account: &str) {
        if let Some(place) = self.place_of(account) {
            self.revoke(place);
        }
    }

    fn revoke(&mut self, place: usize) {
        self.issued.retain(|_, issued| issued.user != Some(place));
        self.users[place].refresh = None;
    }

    /// The refresh token of that account's user that is valid now.
    pub(in crate::demo) fn refresh_token(&self, account: &str) -> Option<String> {
        self.users[self.place_of(account)?].refresh.clone()
    }

    fn place_of(&self, account: &str) -> Option<usize> {
        let mut users = self.users.iter();
        users.position(|user| user.who.account_id == account)
    }

    /// The account of the user whose access token this is; `None` for a token that serves any meeting.
    pub(in crate::demo) fn account_of(&self, token: &str) -> Option<String> {
        let user = self.issued.get(token)?.user?;
        Some(self.users[user].who.account_id.clone())
    }

    /// What `GET /v2/users/me` says for a token.
    pub(in crate::demo) fn me(&self, token: &str) -> Value {
        let user = self.issued.get(token).and_then(|issued| issued.user);
        let who = &self.users[user.unwrap_or(0)].who;
        json!({"id": who.user_id, "account_id": who.account_id,
            "display_name": who.name, "email": who.email})
    }

    /// Answers a token request: status and body.
    pub(in crate::demo) fn answer(
        &mut self,
        authorization: &str,
        query: &str,
        body: &[u8],
    ) -> (u16, Value) {
        let expected = STANDARD.encode(format!("{}:{}", self.client_id, self.client_secret));
        if authorization.strip_prefix("Basic ") != Some(&expected) {
            return refusal(4702, "invalid_client", "Invalid client_id or client_secret");
        }
        let form = parse_form(body);
        // The grant of the app itself stands in the query, and the body is empty.
        if parse_form(query.as_bytes())
            .get("grant_type")
            .map(String::as_str)
            == Some("client_credentials")
        {
            if !body.is_empty() {
                return refusal(4709, "invalid_request", "The body must be empty");
            }
            let token = self.issue(None);
            self.for_events.insert(token.clone());
            return (200, self.granted(&token, None));
        }
        let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
        match field("grant_type") {
            "account_credentials" if field("account_id") == self.account_id => {
                let token = self.issue(None);
                self.for_events.insert(token.clone());
                (200, self.granted(&token, None))
            }
            "account_credentials" => refusal(4704, "invalid_request", "Bad account"),
            "refresh_token" => {
                let shown = field("refresh_token");
                let mut users = self.users.iter();
                let Some(place) = users.position(|it| it.refresh.as_deref() == Some(shown)) else {
                    let is_spent = |it: &User| it.spent.iter().any(|spent| spent == shown);
                    if let Some(place) = self.users.iter().position(is_spent) {
                        self.revoke(place);
                    }
                    return refusal(4741, "invalid_grant", "The token has been revoked");
                };
                self.users[place].spent.push(shown.to_owned());
                self.grant(place)
            }
            "authorization_code" => self.exchange(&form),
            other => refusal(
                4700,
                "unsupported_grant_type",
                &format!("no such grant: {other}"),
            ),
        }
    }

    /// Checks the query of the consent page; the error says what is wrong with it.
    pub(in crate::demo) fn consent_fault(&self, query: &str) -> Option<String> {
        let form = parse_form(query.as_bytes());
        let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
        let expected = [
            ("response_type", "code"),
            ("client_id", self.client_id.as_str()),
            ("redirect_uri", self.redirect_url.as_str()),
            ("code_challenge_method", "S256"),
        ];
        for (name, value) in expected {
            if field(name) != value {
                return Some(format!(
                    "{name}: found {:?}, expected {value:?}",
                    field(name)
                ));
            }
        }
        let is_there = field("state").len() >= 16 && field("code_challenge").len() == 43;
        (!is_there).then(|| "state or code_challenge is missing or too short".to_owned())
    }

    /// Where the user of that account is sent after the choice.
    pub(in crate::demo) fn consent(
        &mut self,
        account: &str,
        query: &str,
        allows: bool,
    ) -> Result<String, String> {
        let Some(user) = self.place_of(account) else {
            return Err(format!("there is no account {account}"));
        };
        let form = parse_form(query.as_bytes());
        let field = |name: &str| form.get(name).cloned().unwrap_or_default();
        let (redirect, state) = (field("redirect_uri"), field("state"));
        if !allows {
            return Ok(format!("{redirect}?error=access_denied&state={state}"));
        }
        let code = format!("demo-code-{}", random());
        self.codes.insert(
            code.clone(),
            Grant {
                user,
                challenge: field("code_challenge"),
                until: Instant::now() + CODE_LIFE,
            },
        );
        Ok(format!("{redirect}?code={code}&state={state}"))
    }

    fn exchange(&mut self, form: &HashMap<String, String>) -> (u16, Value) {
        let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
        let grant = self.codes.remove(field("code"));
        let Some(grant) = grant.filter(|grant| Instant::now() < grant.until) else {
            return refusal(4733, "invalid_grant", "The code has expired or was used");
        };
        let digest = Sha256::digest(field("code_verifier").as_bytes());
        let is_proven = URL_SAFE_NO_PAD.encode(digest) == grant.challenge;
        if !is_proven || field("redirect_uri") != self.redirect_url {
            return refusal(
                4709,
                "invalid_request",
                "Redirect URI or code verifier mismatch",
            );
        }
        self.grant(grant.user)
    }

    /// New tokens for a user.
    fn grant(&mut self, user: usize) -> (u16, Value) {
        let token = self.issue(Some(user));
        let refresh = format!("demo-refresh-{}-{}", self.count, random());
        let answer = self.granted(&token, Some(&refresh));
        self.users[user].refresh = Some(refresh);
        (200, answer)
    }

    fn issue(&mut self, user: Option<usize>) -> String {
        self.count += 1;
        let token = format!("demo-access-{}-{}", self.count, random());
        let until = Instant::now() + self.expires_in + self.grace;
        self.issued.insert(token.clone(), Issued { until, user });
        token
    }

    fn granted(&self, token: &str, refresh: Option<&str>) -> Value {
        let mut answer = json!({"access_token": token, "token_type": "bearer",
            "expires_in": self.expires_in.as_secs(), "scope": self.scopes,
            "api_url": "https://api.zoom.us"});
        if let Some(refresh) = refresh {
            answer["refresh_token"] = json!(refresh);
        }
        answer
    }
}

/// The demo's own user, who has authorized the app already unless that is yet to be done, and further ones.
fn users(options: &Options) -> Vec<User> {
    let own = DemoUser {
        account_id: options.account_id.clone(),
        user_id: "DemoUser-1".to_owned(),
        name: "Ada Demo".to_owned(),
        email: "ada@example.com".to_owned(),
    };
    let has_token = options.credentials != Credentials::Consent;
    let mut token = has_token.then(|| options.refresh_token.clone());
    let everyone = std::iter::once(own).chain(options.further_users.iter().cloned());
    let user = |who| User {
        who,
        refresh: token.take(),
        spent: Vec::new(),
    };
    everyone.map(user).collect()
}

fn refusal(code: u32, error: &str, reason: &str) -> (u16, Value) {
    let status = if error == "invalid_client" { 401 } else { 400 };
    (
        status,
        json!({"code": code, "error": error, "reason": reason}),
    )
}

/// Sixteen hex digits that cannot be guessed, so that a search finds a leaked token.
pub(crate) fn random() -> String {
    let mut bytes = [0; 8];
    // Without randomness the tokens differ by their count; the demo protects nothing.
    let _ = openssl::rand::rand_bytes(&mut bytes);
    hex::encode(bytes)
}

fn parse_form(body: &[u8]) -> HashMap<String, String> {
    String::from_utf8_lossy(body)
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (percent_decode(key, true), percent_decode(value, true)))
        .collect()
}

/// The page that asks a person, with a link for each answer.
pub(in crate::demo) fn consent_page(query: &str) -> String {
    let query = query.replace('&', "&amp;").replace(['"', '<', '>'], "");
    format!(
        "<!doctype html><title>Demo</title><h1>The demo's Zoom</h1>\n\
         <p>Shall the app receive your meetings?</p>\n\
         <p><a href=\"/oauth/consent?{query}&amp;answer=allow\">Allow</a>\n\
         <a href=\"/oauth/consent?{query}&amp;answer=decline\">Decline</a></p>\n"
    )
}

/// Undoes percent-encoding; in forms a plus is a space.
pub(in crate::demo) fn percent_decode(text: &str, is_form: bool) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match first {
            b'%' => {
                let digits = tail
                    .get(..2)
                    .and_then(|digits| std::str::from_utf8(digits).ok());
                match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                    Some(byte) => {
                        bytes.push(byte);
                        rest = &tail[2..];
                    }
                    None => bytes.push(b'%'),
                }
            }
            b'+' if is_form => bytes.push(b' '),
            other => bytes.push(*other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_refresh_token_ends_the_grant() {
        let options = Options {
            credentials: Credentials::Refresh,
            ..Options::default()
        };
        let mut oauth = Oauth::new(&options);
        let basic = format!(
            "Basic {}",
            STANDARD.encode(format!("{}:{}", options.client_id, options.client_secret))
        );
        let ask = |oauth: &mut Oauth, token: &str| {
            oauth.answer(
                &basic,
                "",
                format!("grant_type=refresh_token&refresh_token={token}").as_bytes(),
            )
        };
        let (status, first) = ask(&mut oauth, &options.refresh_token);
        assert_eq!(status, 200);
        let next = first["refresh_token"].as_str().expect("it rotates");
        let access = first["access_token"].as_str().expect("it is granted");
        assert!(oauth.is_valid(access));
        assert_eq!(ask(&mut oauth, &options.refresh_token).0, 400);
        assert_eq!(ask(&mut oauth, next).0, 400);
        assert!(!oauth.is_valid(access));
    }
}
