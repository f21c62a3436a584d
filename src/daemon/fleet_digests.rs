//! Digests of the settings that the nodes of a fleet should have alike.
//!
//! Nodes compare them in the store. They are keyed with the client secret, so that a reader of the store
//! cannot test guesses, and they are cut: four bytes name what differs and tell nothing else. Only words of
//! the configuration go in, in a fixed form, so that two versions of the program agree about equal settings.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use sha2::{Digest, Sha256};

use super::Settings;
use crate::domain::app::RestCredentials;
use crate::domain::hmac_sha256::hmac_sha256;
use crate::domain::secret::Secret;
use crate::protocol::{MediaParams, MediaSelection};

/// Begins everything that is digested; another number where the form of a value changes.
const FORM: &[u8] = b"rtmsd setting 1";

/// The key that all other digests are keyed with: if it differs, nothing else can be compared.
const SECRET_KEY: &str = "ZOOM_CLIENT_SECRET";

/// Digests of one node's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetDigests {
    /// Of all settings that nodes must have alike to receive each other's streams: 16 digits.
    pub must: String,
    /// The digest of each setting, by its key: 8 digits.
    pub settings: Vec<(&'static str, String)>,
}

/// Nodes with different subscriptions each have a connection, and one that is away receives nothing.
const EVENTS_KEY: &str = "ZOOM_EVENTS_URL";

/// Which keys nodes must have alike; the others only should be.
const MUST: [&str; 10] = [
    "ZOOM_CLIENT_ID",
    SECRET_KEY,
    "ZOOM_SECRET_TOKEN",
    "ZOOM_VIDEO_SDK_KEY",
    "ZOOM_VIDEO_SDK_SECRET",
    "access_token",
    "ZOOM_ACCOUNT_ID",
    "ZOOM_REFRESH_TOKEN",
    "ZOOM_API_CLIENT_ID",
    "ZOOM_API_CLIENT_SECRET",
];

impl FleetDigests {
    /// Of these settings.
    pub fn of(settings: &Settings) -> FleetDigests {
        let secret = &settings.app().credentials.secret;
        let values = values(settings);
        let digest = |key: &str, value: &str| {
            let parts = [FORM, b"\0", key.as_bytes(), b"\0", value.as_bytes()];
            hmac_sha256(secret.expose().as_bytes(), &parts)
        };
        let must: Vec<u8> = MUST
            .iter()
            .filter_map(|must| values.iter().find(|(key, _)| key == must))
            .flat_map(|(key, value)| digest(key, value))
            .collect();
        let must = hmac_sha256(secret.expose().as_bytes(), &[FORM, b"\0\0", &must]);
        let settings = values
            .iter()
            .map(|(key, value)| (*key, digits(&digest(key, value)[..4])));
        FleetDigests {
            must: digits(&must[..8]),
            settings: settings.collect(),
        }
    }

    /// The keys whose values differ from those of another node, those that must be alike first. A key that
    /// the other one does not know is not compared.
    pub fn differing<'a>(&self, other: impl Fn(&str) -> Option<&'a str>) -> Vec<&'static str> {
        let differs =
            |(key, digest): &&(&'static str, String)| other(key).is_some_and(|it| it != digest);
        let found = self.settings.iter().filter(differs).map(|(key, _)| *key);
        let found: Vec<&'static str> = found.collect();
        match found.contains(&SECRET_KEY) {
            true => vec![SECRET_KEY],
            false => found,
        }
    }
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn subscription(settings: &Settings) -> Option<&str> {
    let events = settings.zoom_events.as_ref();
    events.map(|events| events.url.subscription())
}

/// The subscription of the event WebSocket in few letters, for a node's row: the nodes that have it share one
/// connection, whatever secrets they have. `None` without one.
pub fn events_digest(settings: &Settings) -> Option<String> {
    let id = subscription(settings)?;
    let digest =
        Sha256::digest([FORM, b"\0", EVENTS_KEY.as_bytes(), b"\0", id.as_bytes()].concat());
    Some(digits(&digest[..4]))
}

/// Whether a setting is one that nodes must have alike.
pub fn is_must(key: &str) -> bool {
    MUST.contains(&key)
}

/// Each setting in words.
fn values(settings: &Settings) -> Vec<(&'static str, String)> {
    let app = settings.app();
    let sdk = app.video_sdk.as_ref();
    let mut tokens: Vec<&str> = app.secret_tokens.iter().map(Secret::expose).collect();
    // Any of them may have signed; the order matters to no node.
    tokens.sort_unstable();
    let mut values = vec![
        ("ZOOM_CLIENT_ID", app.credentials.id.clone()),
        (SECRET_KEY, String::new()),
        ("ZOOM_SECRET_TOKEN", tokens.join(",")),
        ("ZOOM_VIDEO_SDK_KEY", text(sdk.map(|sdk| sdk.id.as_str()))),
        (
            "ZOOM_VIDEO_SDK_SECRET",
            text(sdk.map(|sdk| sdk.secret.expose())),
        ),
    ];
    values.extend(grant(&app.rest.credentials));
    let switch = |is_on: bool| if is_on { "on" } else { "off" }.to_owned();
    let stop_after = settings.stop_after.map_or(0, |time| time.as_secs());
    values.extend([
        ("RTMS_AUTO_START", switch(settings.auto_start)),
        ("RTMS_STREAMS", settings.streams.name().to_owned()),
        ("RTMS_STOP_AFTER", stop_after.to_string()),
        ("RTMS_MEDIA", settings.media.to_string()),
        ("RTMS_EVENTS", settings.events.to_string()),
        ("RTMS_ALLOWED_HOSTS", settings.allowed_hosts.to_string()),
        (EVENTS_KEY, text(subscription(settings))),
        ("RTMS_ON_REVOKED", settings.on_revoked.name().to_owned()),
        (
            "RTMS_ON_DEAUTHORIZED",
            settings.on_deauthorized.name().to_owned(),
        ),
    ]);
    values.extend(media(&settings.media, &settings.params));
    if let Some(disk) = &settings.disk {
        values.push(("RTMS_TRANSCRIPT", disk.formats.to_string()));
        values.push(("RTMS_FEED", switch(disk.feed.is_some())));
    }
    values
}

/// The way to access tokens. A fixed token is not compared: it is another one every hour.
fn grant(credentials: &RestCredentials) -> [(&'static str, String); 5] {
    let (mut fixed, mut account, mut refresh, mut client) = ("", "", "", ("", ""));
    match credentials {
        RestCredentials::Static { .. } => fixed = "given",
        RestCredentials::ServerToServer {
            account_id,
            client_id,
            client_secret,
        } => {
            account = account_id;
            client = (client_id, client_secret.expose());
        }
        RestCredentials::UserRefresh {
            client_id,
            client_secret,
            refresh_token,
        } => {
            refresh = refresh_token.expose();
            client = (client_id, client_secret.expose());
        }
        RestCredentials::None => {}
    }
    [
        ("access_token", fixed.to_owned()),
        ("ZOOM_ACCOUNT_ID", account.to_owned()),
        ("ZOOM_REFRESH_TOKEN", refresh.to_owned()),
        ("ZOOM_API_CLIENT_ID", client.0.to_owned()),
        ("ZOOM_API_CLIENT_SECRET", client.1.to_owned()),
    ]
}

/// The parameters of media, one digest for each kind; empty for a kind that is not received.
fn media(selection: &MediaSelection, params: &MediaParams) -> [(&'static str, String); 3] {
    use crate::protocol::params::MediaKind;
    let wanted = |kind: MediaKind, text: String| match selection.is_wanted(kind) {
        true => text,
        false => String::new(),
    };
    let (audio, video, share) = (&params.audio, &params.video, &params.share);
    let audio = format!(
        "{} {} {} {} {} {}",
        audio.content.name(),
        audio.codec.name(),
        audio.sample_rate.hz(),
        audio.channels.name(),
        audio.streams.name(),
        audio.send_rate_ms
    );
    let video = format!(
        "{} {} {} {}",
        video.codec.name(),
        video.resolution.name(),
        video.fps,
        video.streams.name()
    );
    let share = format!(
        "{} {} {}",
        share.codec.name(),
        share.resolution.name(),
        share.fps
    );
    [
        ("RTMS_AUDIO_*", wanted(MediaKind::Audio, audio)),
        ("RTMS_VIDEO_*", wanted(MediaKind::Video, video)),
        ("RTMS_SHARE_*", wanted(MediaKind::Share, share)),
    ]
}

fn text(value: Option<&str>) -> String {
    value.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::daemon::OnRevoked;
    use crate::domain::app::{App, AppCredentials};

    fn settings(secret: &str) -> Settings {
        let credentials = AppCredentials {
            id: "id".to_owned(),
            secret: Secret::new(secret),
        };
        Settings::new(App::new(
            credentials,
            vec![Secret::new("t1"), Secret::new("t2")],
        ))
    }

    fn differing(ours: &Settings, theirs: &Settings) -> Vec<&'static str> {
        let theirs = FleetDigests::of(theirs);
        let found = |key: &str| {
            let mut settings = theirs.settings.iter();
            let setting = settings.find(|(name, _)| *name == key);
            setting.map(|(_, digest)| digest.as_str())
        };
        FleetDigests::of(ours).differing(found)
    }

    #[test]
    fn what_differs_is_named() {
        let ours = settings("secret");
        let mut theirs = ours.clone();
        theirs.apps[0].secret_tokens.reverse();
        theirs.streams_max = Some(7);
        assert!(differing(&ours, &theirs).is_empty());
        assert_eq!(FleetDigests::of(&ours), FleetDigests::of(&theirs));

        theirs.on_revoked = OnRevoked::Keep;
        theirs.stop_after = Some(Duration::from_secs(10));
        assert_eq!(
            differing(&ours, &theirs),
            ["RTMS_STOP_AFTER", "RTMS_ON_REVOKED"]
        );
        let must = |settings: &Settings| FleetDigests::of(settings).must;
        assert_eq!(must(&ours), must(&theirs), "those need not be alike");

        theirs.apps[0].secret_tokens.pop();
        assert_eq!(differing(&ours, &theirs)[0], "ZOOM_SECRET_TOKEN");
        assert_ne!(must(&ours), must(&theirs));
    }

    #[test]
    fn another_secret_makes_everything_incomparable() {
        let (ours, theirs) = (settings("secret"), settings("other"));
        assert_eq!(differing(&ours, &theirs), [SECRET_KEY]);
    }

    #[test]
    fn every_setting_that_must_be_alike_has_a_digest() {
        let digests = FleetDigests::of(&settings("secret"));
        for key in MUST {
            assert!(
                digests.settings.iter().any(|(name, _)| *name == key),
                "{key}"
            );
        }
        assert_eq!(digests.must.len(), 16);
        assert!(digests.settings.iter().all(|(_, digest)| digest.len() == 8));
    }

    /// Nodes of different versions compare them.
    #[test]
    fn digests_stay_as_they_are() {
        let digests = FleetDigests::of(&settings("secret"));
        let all: Vec<String> = digests
            .settings
            .iter()
            .map(|(key, digest)| format!("{key}={digest}"))
            .collect();
        let all = hmac_sha256(b"", &[all.join("\n").as_bytes()]);
        assert_eq!(
            (digests.must.as_str(), digits(&all[..4]).as_str()),
            ("f33b8a0b714cc1f4", "add167db")
        );
    }
}
