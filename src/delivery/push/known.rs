//! `push-endpoints`: which endpoints are known, so that a new one is told from one that lost its
//! cursors; and what of an endpoint survives a restart beside its cursors.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::machine::Mode;
use super::url::PushUrl;

/// An endpoint that was taken out of the configuration keeps its cursors for so long.
pub const FORGET_MS: u64 = 7 * 86_400_000;

/// An endpoint that is or was configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Its name.
    pub name: String,
    /// The first digits of the SHA-256 of its URL: another URL is another receiver, which is not gone.
    pub url: String,
    /// `running`, `paused` or `gone`.
    pub mode: String,
    /// `pos` before which nothing is to be sent, should its file of cursors be lost.
    pub since: u64,
    /// When it was taken out of the configuration, Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed_ms: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct File {
    v: u32,
    endpoints: Vec<Known>,
}

impl Known {
    /// One that is configured for the first time.
    pub fn new(name: &str, url: &PushUrl, since: u64) -> Known {
        Known {
            name: name.to_owned(),
            url: digest(url),
            mode: word(Mode::Running).to_owned(),
            since,
            removed_ms: None,
        }
    }

    /// What it is doing.
    pub fn mode(&self) -> Mode {
        match self.mode.as_str() {
            "paused" => Mode::Paused,
            "gone" => Mode::Gone,
            _ => Mode::Running,
        }
    }

    /// Notes what it is doing; whether that is news.
    pub fn set_mode(&mut self, mode: Mode) -> bool {
        let is_news = self.mode() != mode;
        word(mode).clone_into(&mut self.mode);
        is_news
    }

    /// It is configured, with this URL. Whether something has changed.
    pub fn configure(&mut self, url: &PushUrl) -> bool {
        let before = self.clone();
        let digest = digest(url);
        if digest != self.url {
            self.url = digest;
            if self.mode() == Mode::Gone {
                self.set_mode(Mode::Running);
            }
        }
        self.removed_ms = None;
        *self != before
    }

    /// Whether its cursors are not worth keeping any more.
    pub fn is_over(&self, unix_ms: u64) -> bool {
        (self.removed_ms).is_some_and(|at| unix_ms.saturating_sub(at) >= FORGET_MS)
    }
}

fn word(mode: Mode) -> &'static str {
    match mode {
        Mode::Running => "running",
        Mode::Paused => "paused",
        Mode::Gone => "gone",
    }
}

fn digest(url: &PushUrl) -> String {
    let mut digits = hex::encode(Sha256::digest(url.expose().as_bytes()));
    digits.truncate(16);
    digits
}

/// Reads the file; `None` if it cannot be read.
pub fn parse(bytes: &[u8]) -> Option<Vec<Known>> {
    let file: File = serde_json::from_slice(bytes).ok()?;
    Some(file.endpoints)
}

/// The content of the file.
pub fn text(endpoints: &[Known]) -> String {
    let file = File {
        v: 1,
        endpoints: endpoints.to_vec(),
    };
    serde_json::to_string(&file).unwrap_or_default() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> PushUrl {
        PushUrl::parse(text).expect("a URL")
    }

    #[test]
    fn p6_a_gone_endpoint_is_alive_again_with_another_url_alone() {
        let mut known = Known::new("crm", &url("https://a.test/hunter2"), 7);
        assert!(known.set_mode(Mode::Gone) && !known.set_mode(Mode::Gone));
        assert!(!known.configure(&url("https://a.test/hunter2")));
        assert_eq!(known.mode(), Mode::Gone);
        let file = text(std::slice::from_ref(&known));
        assert!(!file.contains("hunter2") && !file.contains("a.test"));
        assert_eq!(parse(file.as_bytes()), Some(vec![known.clone()]));
        assert!(known.configure(&url("https://a.test/hunter3")));
        assert_eq!(known.mode(), Mode::Running);
        known.set_mode(Mode::Paused);
        known.configure(&url("https://b.test/"));
        assert_eq!(known.mode(), Mode::Paused, "a person paused it");
    }

    #[test]
    fn p6_cursors_are_kept_for_a_week() {
        let mut known = Known::new("crm", &url("https://a.test/"), 7);
        assert!(!known.is_over(u64::MAX));
        known.removed_ms = Some(1_000);
        assert!(!known.is_over(FORGET_MS) && known.is_over(FORGET_MS + 1_000));
        known.configure(&url("https://a.test/"));
        assert!(!known.is_over(u64::MAX));
    }

    #[test]
    fn s10_garbage_is_no_file() {
        for bytes in [
            &b""[..],
            b"{",
            b"[]",
            b"{\"v\":1}",
            b"\xff",
            b"{\"v\":1,\"endpoints\":[{}]}",
        ] {
            assert_eq!(parse(bytes), None);
        }
    }
}
