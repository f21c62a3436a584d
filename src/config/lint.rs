//! What works, but is probably not what was meant.

use super::precedence::Loading;
use crate::config::{Config, Needs};
use crate::protocol::params::{MediaKind, VideoStreams};

impl Loading<'_> {
    /// What works, but is probably not what was meant.
    pub(super) fn judge(&mut self, config: &Config) {
        if self.sources.needs != Needs::Serve {
            return;
        }
        if !config.verify_webhooks {
            self.warn(
                "RTMS_VERIFY_WEBHOOKS",
                "webhooks are not verified: whoever reaches the port can start and stop streams",
            );
        }
        if !config.has_rest_credentials() {
            if config.auto_start {
                self.warn(
                    "RTMS_AUTO_START",
                    "no REST credentials: only streams that Zoom starts by itself are received; \
                     give ZOOM_ACCOUNT_ID, ZOOM_REFRESH_TOKEN or access_token, or write \
                     RTMS_AUTO_START=off",
                );
            }
            if config.stop_after.is_some() {
                self.warn(
                    "RTMS_STOP_AFTER",
                    "no REST credentials: no stream is started here, so none is stopped either",
                );
            }
        } else if config.stop_after.is_some() && !config.auto_start {
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
        if config.api_client.is_some()
            && config.account_id.is_none()
            && config.refresh_token.is_none()
        {
            self.warn(
                "ZOOM_API_CLIENT_ID",
                "not used without ZOOM_ACCOUNT_ID or ZOOM_REFRESH_TOKEN",
            );
        }
        if config.video_participant.is_some()
            && config.params.video.streams != VideoStreams::Individual
        {
            self.warn(
                "RTMS_VIDEO_PARTICIPANT",
                "not used without RTMS_VIDEO=individual",
            );
        }
        self.judge_media(config);
    }

    fn judge_media(&mut self, config: &Config) {
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
            let key = given.map(|setting| setting.key);
            if let Some(key) = key.filter(|_| !config.media.is_wanted(kind)) {
                let name = kind.name();
                self.warn(key, format!("not used, as RTMS_MEDIA does not name {name}"));
            }
        }
    }
}
