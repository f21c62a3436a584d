//! What several keys decide together, and which of them need each other.

use std::path::Path;

use super::precedence::Loading;
use crate::config::keys::Draft;
use crate::config::{Config, Needs};
use crate::domain::app::AppCredentials;
use crate::gate::TlsFiles;
use crate::protocol::params::{AudioCodec, AudioParams, MediaParams, ShareParams, VideoParams};

impl Loading<'_> {
    /// Puts together what several keys decide, and finds what is missing.
    pub(super) fn finish(&mut self, draft: Draft) -> Config {
        let mut config = draft.config;
        config.tls = self
            .pair(
                "RTMS_TLS_CERT",
                draft.tls_cert,
                "RTMS_TLS_KEY",
                draft.tls_key,
            )
            .map(|(cert, key)| TlsFiles { cert, key });
        config.video_sdk = self
            .pair(
                "ZOOM_VIDEO_SDK_KEY",
                draft.video_sdk_key,
                "ZOOM_VIDEO_SDK_SECRET",
                draft.video_sdk_secret,
            )
            .map(|(id, secret)| AppCredentials { id, secret });
        config.api_client = self
            .pair(
                "ZOOM_API_CLIENT_ID",
                draft.api_client_id,
                "ZOOM_API_CLIENT_SECRET",
                draft.api_client_secret,
            )
            .map(|(id, secret)| AppCredentials { id, secret });

        // systemd may name several directories; the first is ours.
        let state_directory = self.variable("STATE_DIRECTORY");
        let state_directory = state_directory
            .as_deref()
            .and_then(|list| list.split(':').next());
        if let Some(directory) = state_directory.map(Path::new) {
            config.out = directory.join("meetings");
            config.state = directory.to_owned();
        }
        config.out = draft.out.unwrap_or(config.out);
        config.state = draft.state.unwrap_or(config.state);

        let audio = AudioParams::of(draft.audio.codec.unwrap_or(AudioCodec::L16));
        let video = VideoParams::complete(draft.video.codec, draft.video.fps);
        let share = ShareParams::complete(draft.share.codec, draft.share.fps);
        config.params = MediaParams {
            audio: AudioParams {
                content: draft.audio.content.unwrap_or(audio.content),
                sample_rate: draft.audio.sample_rate.unwrap_or(audio.sample_rate),
                channels: draft.audio.channels.unwrap_or(audio.channels),
                streams: draft.audio.streams.unwrap_or(audio.streams),
                send_rate_ms: draft.audio.send_rate_ms.unwrap_or(audio.send_rate_ms),
                ..audio
            },
            video: VideoParams {
                resolution: draft.video.resolution.unwrap_or(video.resolution),
                streams: draft.video_streams.unwrap_or(video.streams),
                ..video
            },
            share: ShareParams {
                resolution: draft.share.resolution.unwrap_or(share.resolution),
                ..share
            },
            transcript: config.params.transcript,
        };
        for fault in config.params.faults() {
            let key = format!(
                "RTMS_{}",
                fault.field.replace('.', "_").to_ascii_uppercase()
            );
            let place = self.place(&key);
            self.fault(
                &place,
                &key,
                format!("found {}, expected {}", fault.found, fault.expected),
            );
        }
        self.require(&config);
        config
    }

    /// Both keys of a pair, or neither.
    fn pair<A, B>(
        &mut self,
        first: &str,
        a: Option<A>,
        second: &str,
        b: Option<B>,
    ) -> Option<(A, B)> {
        let (missing, given) = match (a, b) {
            (Some(a), Some(b)) => return Some((a, b)),
            (Some(_), None) => (second, first),
            (None, Some(_)) => (first, second),
            (None, None) => return None,
        };
        // One that was given and not understood has its own fault. Who only asks the server need not
        // have its secrets.
        if !self.is_given(missing) && self.sources.needs != Needs::Admin {
            let place = self.place(given);
            self.fault(
                &place,
                missing,
                format!("not given, expected beside {given}"),
            );
        }
        None
    }

    fn require(&mut self, config: &Config) {
        let needs = self.sources.needs;
        let (id, secret) = ("ZOOM_CLIENT_ID", "ZOOM_CLIENT_SECRET");
        let needs_secret = match needs {
            Needs::Serve => true,
            Needs::Rest => config.access_token.is_none() && config.api_client.is_none(),
            Needs::Admin => false,
        };
        if needs != Needs::Admin {
            self.must_be_given(id, "the client id of the app that receives the streams");
        }
        if needs_secret {
            self.must_be_given(secret, "that app's client secret");
        }
        if needs == Needs::Rest && !config.has_rest_credentials() && config.video_sdk.is_none() {
            let ways = ["access_token", "ZOOM_ACCOUNT_ID", "ZOOM_REFRESH_TOKEN"];
            if !ways.iter().any(|key| self.is_given(key)) {
                let text = "not given, expected this, ZOOM_REFRESH_TOKEN or access_token: a REST \
                            call needs one of them";
                let place = self.place("ZOOM_ACCOUNT_ID");
                self.fault(&place, "ZOOM_ACCOUNT_ID", text);
            }
        }
        if needs == Needs::Serve && config.verify_webhooks {
            self.must_be_given(
                "ZOOM_SECRET_TOKEN",
                "the app's webhook secret token (a quickstart's .env has none: copy it from the \
                 app's page in the Zoom Marketplace, Features, Access), or \
                 RTMS_VERIFY_WEBHOOKS=off for a trial",
            );
        }
        let is_open = config.admin.is_some_and(|admin| !admin.ip().is_loopback());
        if is_open && config.admin_token.is_none() && !self.is_given("RTMS_ADMIN_TOKEN") {
            let place = self.place("RTMS_ADMIN");
            let text = "not given, expected a token, as RTMS_ADMIN is not a loopback address";
            self.fault(&place, "RTMS_ADMIN_TOKEN", text);
        }
    }

    fn must_be_given(&mut self, key: &str, expected: &str) {
        if !self.is_given(key) {
            let place = self.place(key);
            self.fault(&place, key, format!("not given, expected {expected}"));
        }
    }
}
