//! Authorizations of a user that this process has begun: which callbacks it accepts.
//!
//! A person opens Zoom's page with a `state` of ours and comes back with a `code`. A callback is accepted
//! only with a state that this process issued, once, and within ten minutes; other callers learn
//! nothing. The code is worth nothing without the verifier (PKCE), which never leaves this process.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::domain::secret::Secret;
use crate::domain::text::{bounded, percent_decoded};

/// How long a callback is accepted.
pub const LIFE: Duration = Duration::from_secs(600);

/// Maximum authorizations that are open at one time; the oldest gives way.
const OPEN_MAX: usize = 8;
/// Maximum bytes of a callback's query, or of what is pasted.
const TEXT_BYTES_MAX: usize = 8 << 10;
/// Maximum bytes of a code.
pub(crate) const CODE_BYTES_MAX: usize = 2048;
/// Random bytes of a state, and of a verifier.
const BYTES: usize = 32;
/// Maximum bytes of why an authorization was refused.
pub(crate) const REASON_BYTES_MAX: usize = 200;
/// How many random bytes [`Authorizations::begin`] needs.
pub const RANDOM_BYTES: usize = 2 * BYTES;

/// An authorization that was begun, for Zoom's page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// `state`.
    pub state: String,
    /// `code_challenge`, of the method S256.
    pub challenge: String,
}

/// A code and the proof that it was meant for this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code {
    /// `code`.
    pub code: Secret,
    /// `code_verifier`.
    pub verifier: Secret,
}

/// What has become of an authorization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// No answer has come back yet.
    Waiting,
    /// The code; it is handed out once.
    Code(Code),
    /// The person, or Zoom, refused; why.
    Refused(String),
    /// Not begun here, older than ten minutes, or used.
    Unknown,
}

/// The answer to a callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Callback {
    /// It was expected.
    Accepted,
    /// It says that the person refused.
    Refused,
    /// The state is not ours, or is used or old.
    Unknown,
}

#[derive(Debug)]
struct Open {
    state: String,
    verifier: Secret,
    until: Instant,
    /// What a callback brought; a second callback is not accepted.
    result: Option<Result<Secret, String>>,
}

/// The authorizations of this process, shared by its threads.
#[derive(Debug, Default)]
pub struct Authorizations(Mutex<Vec<Open>>);

impl Authorizations {
    /// Begins one, with bytes that cannot be guessed.
    pub fn begin(&self, now: Instant, random: &[u8; RANDOM_BYTES]) -> Begun {
        let (state, verifier) = random.split_at(BYTES);
        let (state, verifier) = (
            URL_SAFE_NO_PAD.encode(state),
            URL_SAFE_NO_PAD.encode(verifier),
        );
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()));
        let mut open = self.lock(now);
        if open.len() >= OPEN_MAX {
            open.remove(0);
        }
        open.push(Open {
            state: state.clone(),
            verifier: Secret::new(verifier),
            until: now + LIFE,
            result: None,
        });
        Begun { state, challenge }
    }

    /// Handles a callback: the query of the address to which Zoom sent the person back.
    pub fn callback(&self, now: Instant, query: &str) -> Callback {
        let Some(found) = Answer::parse(query) else {
            return Callback::Unknown;
        };
        let mut open = self.lock(now);
        let known = open
            .iter_mut()
            .find(|open| is_same(&open.state, &found.state) && open.result.is_none());
        let Some(known) = known else {
            return Callback::Unknown;
        };
        let callback = match &found.result {
            Ok(_) => Callback::Accepted,
            Err(_) => Callback::Refused,
        };
        known.result = Some(found.result);
        callback
    }

    /// What was pasted for this authorization: the address of the page to which Zoom sent the person
    /// back, its query, or the code alone. `false` if it is none of these, or of another authorization.
    pub fn paste(&self, now: Instant, state: &str, text: &str) -> bool {
        let text = text.trim();
        if text.contains('=') {
            let query = text.split_once('?').map_or(text, |(_, query)| query);
            let query = query.split('#').next().unwrap_or_default();
            let is_this = Answer::parse(query).is_some_and(|found| is_same(&found.state, state));
            return is_this && self.callback(now, query) != Callback::Unknown;
        }
        // Not the path of a page without its query, which a browser may ask for.
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
        if !is_code(text) || !text.bytes().all(is_plain) {
            return false;
        }
        let mut open = self.lock(now);
        let known = open
            .iter_mut()
            .find(|open| open.state == state && open.result.is_none());
        let Some(known) = known else {
            return false;
        };
        known.result = Some(Ok(Secret::new(text)));
        true
    }

    /// What has become of one; a result is handed out once.
    pub fn take(&self, now: Instant, state: &str) -> Progress {
        let mut open = self.lock(now);
        let Some(place) = open.iter().position(|open| open.state == state) else {
            return Progress::Unknown;
        };
        if open[place].result.is_none() {
            return Progress::Waiting;
        }
        let known = open.remove(place);
        match known.result {
            Some(Ok(code)) => Progress::Code(Code {
                code,
                verifier: known.verifier,
            }),
            Some(Err(why)) => Progress::Refused(why),
            None => Progress::Waiting,
        }
    }

    /// Those that are not too old.
    fn lock(&self, now: Instant) -> MutexGuard<'_, Vec<Open>> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|open| now < open.until);
        open
    }
}

/// The query of a callback.
struct Answer {
    state: String,
    result: Result<Secret, String>,
}

impl Answer {
    fn parse(query: &str) -> Option<Answer> {
        if query.len() > TEXT_BYTES_MAX {
            return None;
        }
        let parameter = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            let found = pairs.find(|(key, _)| *key == name);
            found.map(|(_, value)| percent_decoded(value))
        };
        let state = parameter("state")?;
        let result = match (parameter("code"), parameter("error")) {
            (_, Some(error)) => {
                let more = parameter("error_description").unwrap_or_default();
                let text = format!("{error} {more}");
                let plain = |c: char| if c.is_control() || c == '"' { ' ' } else { c };
                let text: String = text.trim().chars().map(plain).collect();
                Err(bounded(&text, REASON_BYTES_MAX).to_owned())
            }
            (Some(code), None) if is_code(&code) => Ok(Secret::new(code)),
            _ => return None,
        };
        Some(Answer { state, result })
    }
}

fn is_code(text: &str) -> bool {
    !text.is_empty() && text.len() <= CODE_BYTES_MAX && text.bytes().all(|b| b.is_ascii_graphic())
}

/// Compares digests, so that the time taken shows nothing of our state.
fn is_same(ours: &str, theirs: &str) -> bool {
    Sha256::digest(ours.as_bytes()) == Sha256::digest(theirs.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(all: &Authorizations, now: Instant, seed: u8) -> Begun {
        all.begin(now, &[seed; RANDOM_BYTES])
    }

    fn is_code_of(progress: Progress, expected: &str) -> bool {
        matches!(progress, Progress::Code(code) if code.code.expose() == expected)
    }

    #[test]
    fn the_challenge_is_that_of_the_verifier() {
        let (all, now) = (Authorizations::default(), Instant::now());
        let random: [u8; RANDOM_BYTES] = std::array::from_fn(|n| n as u8);
        let begun = all.begin(now, &random);
        assert_eq!(
            all.callback(now, &format!("code=c&state={}", begun.state)),
            Callback::Accepted
        );
        let Progress::Code(code) = all.take(now, &begun.state) else {
            panic!("a code");
        };
        let verifier = code.verifier.expose();
        assert!((43..=128).contains(&verifier.len()));
        let digest = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()));
        assert_eq!(digest, begun.challenge);
        // Of RFC 7636, appendix B.
        let known = Sha256::digest(b"dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        assert_eq!(
            URL_SAFE_NO_PAD.encode(known),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
    }

    #[test]
    fn a_callback_counts_once_with_our_state_and_within_ten_minutes() {
        let (all, now) = (Authorizations::default(), Instant::now());
        let one = begun(&all, now, 1);
        let query = |state: &str| format!("code=abc&state={state}");
        for wrong in ["", "code=abc", "state=x&code=abc", "code=&state=x"] {
            assert_eq!(all.callback(now, wrong), Callback::Unknown, "{wrong}");
        }
        assert_eq!(all.take(now, &one.state), Progress::Waiting);
        assert_eq!(all.callback(now, &query(&one.state)), Callback::Accepted);
        // Replayed, before and after its code was taken.
        assert_eq!(all.callback(now, &query(&one.state)), Callback::Unknown);
        assert!(is_code_of(all.take(now, &one.state), "abc"));
        assert_eq!(all.take(now, &one.state), Progress::Unknown);
        assert_eq!(all.callback(now, &query(&one.state)), Callback::Unknown);
        // Too late.
        let two = begun(&all, now, 2);
        assert_eq!(
            all.callback(now + LIFE, &query(&two.state)),
            Callback::Unknown
        );
        assert_eq!(all.take(now + LIFE, &two.state), Progress::Unknown);
    }

    #[test]
    fn a_refused_consent_is_a_result() {
        let (all, now) = (Authorizations::default(), Instant::now());
        let one = begun(&all, now, 1);
        let query = format!(
            "error=access_denied&error_description=No%20way%0A&state={}",
            one.state
        );
        assert_eq!(all.callback(now, &query), Callback::Refused);
        let refused = Progress::Refused("access_denied No way".to_owned());
        assert_eq!(all.take(now, &one.state), refused);
    }

    #[test]
    fn what_people_paste_is_understood() {
        let (all, now) = (Authorizations::default(), Instant::now());
        for (n, text) in [
            "abc",
            "  abc\n",
            "code=abc&state=STATE",
            "https://example.com/oauth?code=abc&state=STATE",
            "https://example.com/oauth?state=STATE&code=abc#_",
            "/oauth?code=abc&state=STATE",
        ]
        .into_iter()
        .enumerate()
        {
            let one = begun(&all, now, n as u8);
            let text = text.replace("STATE", &one.state);
            assert!(all.paste(now, &one.state, &text), "{text}");
            assert!(is_code_of(all.take(now, &one.state), "abc"), "{text}");
        }
        let one = begun(&all, now, 20);
        for text in [
            "",
            "a b",
            "https://example.com/oauth?code=abc&state=other",
            "code=abc",
            "/oauth",
            "/oauth?x",
            "https://example.com/oauth",
        ] {
            assert!(!all.paste(now, &one.state, text), "{text}");
        }
        assert_eq!(all.take(now, &one.state), Progress::Waiting);
    }

    #[test]
    fn only_a_few_are_open_at_one_time() {
        let (all, now) = (Authorizations::default(), Instant::now());
        let first = begun(&all, now, 1);
        for n in 2..2 + OPEN_MAX as u8 {
            begun(&all, now, n);
        }
        assert_eq!(all.take(now, &first.state), Progress::Unknown);
        assert_eq!(all.lock(now).len(), OPEN_MAX);
    }
}
