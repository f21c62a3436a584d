//! What was received, and what is wrong with it.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// A verifier accepts stamps that differ by five minutes (Standard Webhooks).
const AGE_MAX_S: u64 = 300;
/// So many faults are named.
const FAULTS_MAX: usize = 20;

/// A request, as far as it is checked.
#[derive(Debug, Clone, Default)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) id: String,
    pub(super) timestamp: String,
    pub(super) signature: String,
    pub(super) content_type: String,
    pub(super) body: Vec<u8>,
}

/// Everything that was received.
#[derive(Debug, Clone)]
pub struct Checks {
    key: Vec<u8>,
    /// For each stream, by the key of its journal: the last number of an unbroken row.
    last: HashMap<String, u64>,
    /// The digest of each event, by its id.
    events: HashMap<String, [u8; 32]>,
    /// `data` of each phrase, in the order of reception, with the id of its meeting.
    phrases: Vec<(String, String)>,
    /// Requests with a right signature.
    pub signed: u64,
    /// Events that came more than once.
    pub repeated: u64,
    /// Of these, allowed ones: their answer did not arrive.
    repeats_allowed: u64,
    /// What was wrong.
    pub faults: Vec<String>,
}

impl Checks {
    /// Checks with the key of this `whsec_…` secret.
    pub(super) fn new(secret: &str) -> Option<Checks> {
        let key = STANDARD.decode(secret.strip_prefix("whsec_")?).ok()?;
        Some(Checks {
            key,
            last: HashMap::new(),
            events: HashMap::new(),
            phrases: Vec::new(),
            signed: 0,
            repeated: 0,
            repeats_allowed: 0,
            faults: Vec::new(),
        })
    }

    /// Different events received.
    pub fn events(&self) -> usize {
        self.events.len()
    }

    /// Whether this event was received.
    pub fn has(&self, id: &str) -> bool {
        self.events.contains_key(id)
    }

    /// Events that came again although their answer had arrived: only a process that was killed may
    /// do that.
    pub fn unexplained_repeats(&self) -> u64 {
        self.repeated.saturating_sub(self.repeats_allowed)
    }

    /// The lines of a meeting's phrases, in the order of reception, each once.
    pub fn phrases_of(&self, meeting: &str) -> Vec<String> {
        let own = self.phrases.iter().filter(|(id, _)| id == meeting);
        own.map(|(_, line)| line.clone()).collect()
    }

    /// The next request's answer will not arrive.
    pub(super) fn may_repeat(&mut self) {
        self.repeats_allowed += 1;
    }

    fn fault(&mut self, text: String) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(text);
        }
    }

    pub(super) fn take(&mut self, request: &Request) {
        if let Err(text) = self.check(request) {
            self.fault(format!("push request {}: {text}", request.id));
        }
    }

    fn check(&mut self, request: &Request) -> Result<(), String> {
        if request.method != "POST" || request.path != "/events" {
            return Err(format!(
                "found {} {}, expected POST /events",
                request.method, request.path
            ));
        }
        if request.content_type != "application/json" {
            return Err(format!("found the type {:?}", request.content_type));
        }
        if !self.is_signed(request) {
            return Err("found no right signature".to_owned());
        }
        let sent: u64 = request
            .timestamp
            .parse()
            .map_err(|_| "found no time".to_owned())?;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        if now.as_secs().abs_diff(sent) > AGE_MAX_S {
            return Err(format!("found the time {sent}, it is {}", now.as_secs()));
        }
        self.signed += 1;
        let body = std::str::from_utf8(&request.body).map_err(|_| "found no UTF-8".to_owned())?;
        let event: Value = serde_json::from_str(body).map_err(|error| error.to_string())?;
        if event["id"] != request.id.as_str() {
            return Err(format!("found the event {}", event["id"]));
        }
        // What a person sends to try the endpoint belongs to no stream.
        if event["type"] == "push.test" {
            return Ok(());
        }
        self.event(&request.id, body, &event)
    }

    fn is_signed(&self, request: &Request) -> bool {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else {
            return false;
        };
        let head = format!("{}.{}.", request.id, request.timestamp);
        mac.update(head.as_bytes());
        mac.update(&request.body);
        let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        request.signature.split(' ').any(|shown| shown == expected)
    }

    fn event(&mut self, id: &str, body: &str, event: &Value) -> Result<(), String> {
        let digest: [u8; 32] = Sha256::digest(body.as_bytes()).into();
        if let Some(known) = self.events.get(id) {
            self.repeated += 1;
            return match *known == digest {
                true => Ok(()),
                false => Err("came again with another content".to_owned()),
            };
        }
        self.events.insert(id.to_owned(), digest);
        let (key, seq) = id.rsplit_once('-').ok_or("found no number in the id")?;
        let seq: u64 = seq
            .parse()
            .map_err(|_| "found no number in the id".to_owned())?;
        let last = self.last.insert(key.to_owned(), seq).unwrap_or(0);
        if event["type"] == "transcript.phrase" {
            let data = body.split_once(",\"data\":").map(|(_, data)| data);
            let data = data
                .and_then(|data| data.strip_suffix('}'))
                .unwrap_or_default();
            let meeting = event["subject"].as_str().unwrap_or_default();
            self.phrases.push((meeting.to_owned(), data.to_owned()));
        }
        match seq == last + 1 {
            true => Ok(()),
            false => Err(format!("out of order: {seq} after {last}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn request(seq: u64, text: &str) -> Request {
        let checks = Checks::new(SECRET).expect("a secret");
        let id = format!("bdd2d51ed67606f5-{seq}");
        let body = format!(
            "{{\"pos\":\"1\",\"seq\":{seq},\"id\":\"{id}\",\"type\":\"transcript.phrase\",\
             \"subject\":\"m\",\"data\":{{\"text\":\"{text}\"}}}}"
        );
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970");
        let timestamp = now.as_secs().to_string();
        let mut mac = Hmac::<Sha256>::new_from_slice(&checks.key).expect("a key");
        mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
        Request {
            method: "POST".to_owned(),
            path: "/events".to_owned(),
            id,
            timestamp,
            signature: format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())),
            content_type: "application/json".to_owned(),
            body: body.into_bytes(),
        }
    }

    #[test]
    fn the_vector_of_the_standard_is_accepted() {
        let checks = Checks::new(SECRET).expect("a secret");
        let request = Request {
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned(),
            timestamp: "1614265330".to_owned(),
            signature: "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=".to_owned(),
            body: br#"{"test": 2432232314}"#.to_vec(),
            ..Request::default()
        };
        assert!(checks.is_signed(&request));
        let other = Request {
            body: br#"{"test": 2432232315}"#.to_vec(),
            ..request
        };
        assert!(!checks.is_signed(&other));
    }

    #[test]
    fn what_is_wrong_is_found() {
        let mut checks = Checks::new(SECRET).expect("a secret");
        for (seq, text) in [(1, "a"), (2, "b"), (2, "b"), (3, "c")] {
            checks.take(&request(seq, text));
        }
        assert_eq!(checks.faults, [""; 0]);
        assert_eq!((checks.events(), checks.repeated, checks.signed), (3, 1, 4));
        assert_eq!(checks.phrases_of("m").len(), 3);
        assert_eq!(checks.phrases_of("m")[1], "{\"text\":\"b\"}");
        let mut forged = request(4, "d");
        forged.signature = forged.signature.replace("v1,", "v1,A");
        checks.take(&forged);
        checks.take(&request(3, "another"));
        checks.take(&request(5, "e"));
        assert_eq!(checks.faults.len(), 3, "{:?}", checks.faults);
    }
}
