//! Fuzz target for the query of `GET /oauth`, and for what people paste instead: only an open state is
//! accepted, once, and what comes of it is bounded.

use std::time::Instant;

use crate::source::authorization::{
    Authorizations, CODE_BYTES_MAX, Callback, Progress, RANDOM_BYTES, REASON_BYTES_MAX,
};

/// Checks what was accepted for this state: `Some(true)` for a code, `None` if nothing was.
fn taken(all: &Authorizations, now: Instant, state: &str) -> Option<bool> {
    let is_code = match all.take(now, state) {
        Progress::Waiting => return None,
        Progress::Code(code) => {
            let text = code.code.expose();
            assert!((1..=CODE_BYTES_MAX).contains(&text.len()));
            assert!(text.bytes().all(|b| b.is_ascii_graphic()));
            true
        }
        Progress::Refused(why) => {
            assert!(why.len() <= REASON_BYTES_MAX);
            assert!(!why.contains(|c: char| c.is_control() || c == '"'));
            false
        }
        Progress::Unknown => panic!("it was begun"),
    };
    assert_eq!(all.take(now, state), Progress::Unknown);
    Some(is_code)
}

/// `STATE` in the input is a state that was issued. Panics if one of these does not hold.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let now = Instant::now();
    let (all, others) = (Authorizations::default(), Authorizations::default());
    let state = all.begin(now, &[1; RANDOM_BYTES]).state;
    let other = others.begin(now, &[2; RANDOM_BYTES]).state;
    let text = text.replace("STATE", &state);

    assert_eq!(others.callback(now, &text), Callback::Unknown);
    assert_eq!(taken(&others, now, &other), None);
    let found = all.callback(now, &text);
    // Replayed.
    assert_eq!(all.callback(now, &text), Callback::Unknown);
    let expected = match found {
        Callback::Accepted => Some(true),
        Callback::Refused => Some(false),
        Callback::Unknown => None,
    };
    assert_eq!(taken(&all, now, &state), expected);

    let all = Authorizations::default();
    let state = all.begin(now, &[1; RANDOM_BYTES]).state;
    let is_pasted = all.paste(now, &state, &text);
    assert!(!all.paste(now, &state, &text) || !is_pasted);
    assert_eq!(taken(&all, now, &state).is_some(), is_pasted);
}
