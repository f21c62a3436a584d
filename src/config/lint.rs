//! Lints: configurations that work, but are probably not what was meant.

use super::precedence::Loading;
use crate::config::keys::{KEYS, Key};
use crate::config::{Config, Needs};
use crate::delivery::s3::Encryption;
use crate::protocol::params::{MediaKind, VideoStreams};

impl Loading<'_> {
    /// Warns about settings that work, but are probably not what was meant.
    pub(super) fn lint(&mut self, config: &Config) {
        if self.sources.needs != Needs::Serve {
            return;
        }
        let settings = &config.daemon;
        if !settings.webhooks.webhook.verify {
            self.warn(
                "RTMS_VERIFY_WEBHOOKS",
                "webhooks are not verified: anyone who reaches the port can start and stop streams",
            );
        }
        if !config.app().rest.credentials.is_some() {
            if settings.auto_start {
                self.warn(
                    "RTMS_AUTO_START",
                    "no REST credentials: only streams that Zoom starts by itself are received; \
                     give ZOOM_ACCOUNT_ID, ZOOM_REFRESH_TOKEN or access_token, or write \
                     RTMS_AUTO_START=off",
                );
            }
            if settings.stop_after.is_some() {
                self.warn(
                    "RTMS_STOP_AFTER",
                    "no REST credentials: no stream is started here, so none is stopped either",
                );
            }
        } else if settings.stop_after.is_some() && !settings.auto_start {
            self.warn(
                "RTMS_STOP_AFTER",
                "only streams that are started here are stopped, and RTMS_AUTO_START is off",
            );
        }
        let ways = ["access_token", "ZOOM_ACCOUNT_ID", "ZOOM_REFRESH_TOKEN"];
        let mut given = ways.into_iter().filter(|key| self.is_given(key));
        if let (Some(first), Some(second)) = (given.next(), given.next()) {
            self.warn(second, format!("not used, as {first} is given too"));
        }
        if self.is_given("ZOOM_API_CLIENT_ID")
            && !self.is_given("ZOOM_ACCOUNT_ID")
            && !self.is_given("ZOOM_REFRESH_TOKEN")
            && !self.is_given("ZOOM_REDIRECT_URL")
        {
            self.warn(
                "ZOOM_API_CLIENT_ID",
                "not used without ZOOM_ACCOUNT_ID, ZOOM_REFRESH_TOKEN or ZOOM_REDIRECT_URL",
            );
        }
        if settings.video_participant.is_some()
            && settings.params.video.streams != VideoStreams::Individual
        {
            self.warn(
                "RTMS_VIDEO_PARTICIPANT",
                "not used without RTMS_VIDEO=individual",
            );
        }
        self.lint_push();
        self.lint_media(config);
        self.lint_ends(config);
        self.lint_fleet(config);
    }

    fn lint_ends(&mut self, config: &Config) {
        let ends = &config.daemon.ends;
        let given = self.settings.iter().map(|setting| setting.key.to_string());
        let given: Vec<String> = given.collect();
        for key in &given {
            let is_of = |prefix: &str, needed: &str| key.starts_with(prefix) && *key != needed;
            if ends.hook.is_none() && is_of("RTMS_HOOK", "RTMS_ON_STREAM_END") {
                self.warn(key, "not used without RTMS_ON_STREAM_END");
            }
            if ends.bucket.is_none() && is_of("RTMS_S3_", "RTMS_S3_BUCKET") {
                self.warn(key, "not used without RTMS_S3_BUCKET");
            }
        }
        let Some(bucket) = &ends.bucket else { return };
        if bucket.kms_key.is_some() && bucket.encryption != Encryption::Kms {
            self.warn("RTMS_S3_KMS_KEY", "not used without RTMS_S3_SSE=aws:kms");
        }
    }

    /// Keys of an endpoint that has no URL.
    fn lint_push(&mut self) {
        let prefix = "RTMS_PUSH_";
        let of_push = |key: &Key| key.is_of_an_endpoint() && key.name != "RTMS_PUSH_URL";
        let given: Vec<String> = self
            .settings
            .iter()
            .map(|setting| setting.key.to_string())
            .filter(|name| name.starts_with(prefix))
            .collect();
        for name in given {
            let mut keys = KEYS.iter().filter(|key| of_push(key));
            let endpoint = keys.find_map(|key| match key.name == name {
                true => Some(""),
                false => key.endpoint_in(&name),
            });
            let Some(endpoint) = endpoint else { continue };
            let url = KEYS.iter().find(|key| key.name == "RTMS_PUSH_URL");
            let url = url.map(|key| key.name_for(endpoint)).unwrap_or_default();
            if !self.is_given(&url) {
                self.warn(&name, format!("not used without {url}"));
            }
        }
    }

    fn lint_media(&mut self, config: &Config) {
        for (prefix, kind) in [
            ("RTMS_AUDIO_", MediaKind::Audio),
            ("RTMS_VIDEO", MediaKind::Video),
            ("RTMS_SHARE_", MediaKind::Share),
            ("RTMS_TRANSCRIPT_LANGUAGE", MediaKind::Transcript),
        ] {
            let given = self
                .settings
                .iter()
                .find(|setting| setting.key.starts_with(prefix));
            let key = given.map(|setting| setting.key.clone());
            if let Some(key) = key.filter(|_| !config.daemon.media.is_wanted(kind)) {
                let name = kind.name();
                self.warn(
                    &key,
                    format!("not used, as RTMS_MEDIA does not name {name}"),
                );
            }
        }
    }
}
