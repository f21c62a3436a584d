//! The search for secrets in all output and files of the binary.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use rtmsd::demo::{MeetingHandle, Zoom};
use sha2::Sha256;

use super::files_below;

/// Values that must not appear anywhere, each with a name.
pub(crate) struct Secrets(Vec<(&'static str, String)>);

impl Secrets {
    /// The secrets of a Zoom, and the signatures of these meetings.
    pub(crate) fn of(zoom: &Zoom, meetings: &[&MeetingHandle]) -> Secrets {
        let options = zoom.options();
        let basic = format!("{}:{}", options.client_id, options.client_secret);
        let mut secrets = vec![
            ("client secret", options.client_secret.clone()),
            ("webhook token", options.secret_token.clone()),
            ("SDK webhook token", options.sdk_secret_token.clone()),
            (
                "ZCC webhook token",
                options.contact_center_secret_token.clone(),
            ),
            ("static token", options.access_token.clone()),
            ("refresh token", options.refresh_token.clone()),
            ("sdk secret", options.sdk_secret.clone()),
            // Those that the demo issues start like this.
            ("access token", "demo-access-".to_owned()),
            ("rotated token", "demo-refresh-".to_owned()),
            ("basic", STANDARD.encode(&basic)),
            ("session token", "eyJ".to_owned()),
        ];
        for meeting in meetings {
            let (id, streams) = (&meeting.script().id, meeting.streams());
            for stream in streams {
                let text = format!("{},{id},{stream}", options.client_id);
                let mac = Hmac::<Sha256>::new_from_slice(options.client_secret.as_bytes());
                let mut mac = mac.expect("a key of any length");
                mac.update(text.as_bytes());
                secrets.push(("signature", hex::encode(mac.finalize().into_bytes())));
            }
        }
        Secrets(secrets)
    }

    pub(crate) fn and(mut self, word: &'static str, secret: &str) -> Secrets {
        self.0.push((word, secret.to_owned()));
        self
    }

    #[track_caller]
    pub(crate) fn assert_not_in(&self, place: &str, text: &str) {
        for (word, secret) in &self.0 {
            let line = text.lines().find(|line| line.contains(secret.as_str()));
            assert_eq!(line, None, "{word} in {place}");
        }
    }

    /// Searches every file below a folder except those with that name, and returns how many there
    /// were.
    #[track_caller]
    pub(crate) fn assert_not_below(&self, folder: &Path, except: &str) -> usize {
        let mut files = files_below(folder);
        files.retain(|path, _| !path.ends_with(except));
        for (path, bytes) in &files {
            let text = String::from_utf8_lossy(bytes);
            self.assert_not_in(&path.display().to_string(), &text);
        }
        files.len()
    }
}
