//! `POST /forget` and `POST /forget/receipt`: requests of people to forget, and what came of them.

use serde::Deserialize;
use serde_json::json;

use super::line;
use crate::daemon::Handle;
use crate::daemon::forgetting::Outcome;
use crate::forgetting::Request;
use crate::gate::Answer;

/// The body of a request.
#[derive(Debug, Deserialize)]
struct Wanted {
    #[serde(flatten)]
    request: Request,
    #[serde(default)]
    dry_run: bool,
}

/// The body of the question for a receipt.
#[derive(Debug, Deserialize)]
struct Which {
    id: String,
}

/// Whether the path is one of these.
pub(super) fn is_path(path: &str) -> bool {
    path == "/forget" || path.starts_with("/forget/")
}

/// Takes a request up, or says what came of one. Who asks has been checked.
pub(super) fn answer(path: &str, body: &[u8], daemon: &Handle) -> Answer {
    match path {
        "/forget" => {
            let Ok(wanted) = serde_json::from_slice::<Wanted>(body) else {
                let expected = "expected {\"target\":{\"meeting\":\"UUID\"}}, \
                                {\"target\":{\"account\":\"ID\"}} or \
                                {\"target\":{\"user\":{\"word\":\"NAME or ID\"}}}, and \"with_mixed\" \
                                or \"dry_run\"";
                return line(400, expected);
            };
            match daemon.forgetting().submit(wanted.request, wanted.dry_run) {
                Ok(id) => json_answer(202, &json!({"id": id})),
                Err(text) => line(409, &text),
            }
        }
        "/forget/receipt" => {
            let Ok(which) = serde_json::from_slice::<Which>(body) else {
                return line(400, "expected {\"id\":\"ID\"}");
            };
            match daemon.forgetting().outcome(&which.id) {
                None => line(404, "there is no such receipt"),
                Some(outcome) => json_answer(200, &shown(&outcome)),
            }
        }
        _ => line(404, "here are /forget and /forget/receipt"),
    }
}

fn json_answer(status: u16, value: &serde_json::Value) -> Answer {
    Answer::text(status, format!("{value}\n")).of_type("application/json")
}

fn shown(outcome: &Outcome) -> serde_json::Value {
    match outcome {
        Outcome::Running => json!({"state": "running"}),
        Outcome::Done(receipt) => json!({"state": "done", "receipt": receipt}),
        Outcome::Ambiguous(candidates) => json!({"state": "ambiguous", "candidates": candidates}),
        Outcome::Failed(text) => json!({"state": "failed", "text": text}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forgetting::Target;

    #[test]
    fn the_body_of_a_request() {
        let read = |json: &str| serde_json::from_str::<Wanted>(json);
        let wanted = read(r#"{"target":{"meeting":"a/B+c=="},"dry_run":true}"#).expect("a request");
        assert_eq!(wanted.request.target, Target::Meeting("a/B+c==".to_owned()));
        assert!(wanted.dry_run && !wanted.request.with_mixed);
        let wanted = read(r#"{"target":{"user":{"word":"Ada","meeting":"m"}},"with_mixed":true}"#);
        assert!(wanted.expect("a request").request.with_mixed);
        for body in ["{}", r#"{"target":"x"}"#, r#"{"target":{"all":"x"}}"#] {
            assert!(read(body).is_err(), "{body}");
        }
        assert!(is_path("/forget/x") && !is_path("/forgetful"));
    }
}
