//! The pages: over HTTP, and in Chromium with axe-core, for `.ci/partners`.

use rtmsd::demo::{Ending, Fault, Frame, MeetingHandle, MeetingScript, Options, Socket, Speaker};
use serde_json::{Value, json};

use crate::harness::{Harness, http, report, wait_until};

mod browser;
mod captions;
mod meetings;
mod proxied;
mod serving;
mod status;

use browser::{Browser, DESKTOP, NARROW, PHONE, PROJECTOR};

/// The server with its admin listener, a browser, and the address of the pages.
struct Stage {
    harness: Harness,
    browser: Browser,
    origin: String,
}

impl Stage {
    /// `None` where no browser is named.
    fn start(settings: &[(&str, &str)]) -> Option<Stage> {
        let Some(browser) = Browser::start() else {
            report("skipped: set RTMSD_CHROMIUM to the browser, RTMSD_AXE to axe.min.js");
            return None;
        };
        // The same address for a server that is started again.
        let port = crate::harness::free_port();
        let harness = Harness::builder(Options::default())
            .settings(&[("RTMS_ADMIN", &format!("127.0.0.1:{port}"))])
            .settings(settings)
            .start();
        let origin = format!("http://{}", harness.admin());
        Some(Stage {
            harness,
            browser,
            origin,
        })
    }

    /// Every size in both schemes, and forced colours: accessible, without sideways scrolling, a picture each.
    fn look_at_all(&mut self, what: &str) {
        for scheme in ["light", "dark"] {
            self.browser.prefer(&[("prefers-color-scheme", scheme)]);
            for (name, size) in [
                ("desktop", DESKTOP),
                ("phone", PHONE),
                ("projector", PROJECTOR),
                ("narrow", NARROW),
            ] {
                self.browser.resize(size);
                let what = format!("{what}-{scheme}-{name}");
                self.browser.assert_no_sideways(&what);
                self.browser.assert_accessible(&what);
                self.browser.screenshot(&what);
            }
        }
        self.browser.prefer(&[
            ("prefers-color-scheme", "light"),
            ("forced-colors", "active"),
        ]);
        self.browser.resize(DESKTOP);
        self.browser.screenshot(&format!("{what}-forced-colours"));
        self.browser.prefer(&[("prefers-color-scheme", "light")]);
    }

    /// The address of a page, with the token.
    fn page(&self, path: &str) -> String {
        format!("{}{path}#t={}", self.origin, self.harness.own_token())
    }

    /// An answer of the server, with the token.
    fn json(&self, path: &str) -> Value {
        let token = self.harness.own_token();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        let answer = http::ask(self.harness.admin(), request.as_bytes());
        serde_json::from_str(&http::status_and_body(&answer).1).expect("JSON")
    }

    /// A meeting that says nothing by itself.
    fn silent_meeting(&self, topic: &str) -> Meeting {
        let mut script = MeetingScript::plain(topic);
        topic.clone_into(&mut script.topic);
        self.meeting(script)
    }

    fn meeting(&self, mut script: MeetingScript) -> Meeting {
        script.phrases = script.phrases.or(Some(0));
        script.ending = Ending::Open;
        let meeting = self.harness.zoom.start_meeting(script);
        let mut key = String::new();
        let id = meeting.script().id.clone();
        wait_until("the stream receives", || {
            let streams = self.harness.streams();
            let streams = streams["streams"].as_array().expect("streams");
            let own = streams.iter().find(|it| it["id"] == id.as_str());
            let own = own.filter(|it| it["state"] == "receiving");
            if let Some(own) = own {
                own["key"].as_str().expect("a key").clone_into(&mut key);
            }
            !key.is_empty()
        });
        Meeting {
            handle: meeting,
            key,
            first_ms: now_ms(),
        }
    }
}

/// A meeting in which the test speaks.
struct Meeting {
    handle: MeetingHandle,
    key: String,
    /// Zoom's times count from here.
    first_ms: u64,
}

/// Who speaks, and in which of Zoom's languages.
fn speaker(user_id: u64, user_name: &str, language: i64) -> Speaker {
    Speaker {
        user_id,
        user_name: user_name.to_owned(),
        language,
    }
}

impl Meeting {
    /// Sends phrases, the first one `at_ms` after the begin.
    fn say(&self, who: &Speaker, at_ms: u64, texts: &[&str]) {
        self.send(
            texts
                .iter()
                .zip(0..)
                .map(|(text, n)| self.phrase(who, at_ms + n * 1000, text, 0)),
        );
    }

    /// Changes a phrase: 2 replaces its text, 3 deletes it.
    fn change(&self, who: &Speaker, at_ms: u64, text: &str, attribute: i64) {
        self.send(std::iter::once(self.phrase(who, at_ms, text, attribute)));
    }

    fn phrase(&self, who: &Speaker, at_ms: u64, text: &str, attribute: i64) -> String {
        let start = self.first_ms + at_ms;
        json!({"msg_type": 17, "content": {
            "user_id": who.user_id, "user_name": who.user_name, "data": text,
            "start_time": start, "end_time": start + 900, "timestamp": start + 900,
            "language": who.language, "attribute": attribute}})
        .to_string()
    }

    fn send(&self, texts: impl Iterator<Item = String>) {
        let frames = texts.map(Frame::Text).collect();
        assert!(self.handle.fault(Fault::Frames(Socket::Media, frames)));
    }
}

fn now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("a clock").as_millis() as u64
}
