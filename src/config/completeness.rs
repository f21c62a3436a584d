//! Settings that depend on several keys, and keys that need each other.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::apps::is_of_the_server;
use super::precedence::Loading;
use crate::admin::ListenAddress;
use crate::config::keys::{CredentialsChoice, Draft, EndpointDraft, EndsDraft};
use crate::config::{Config, Needs};
use crate::delivery::ends;
use crate::delivery::ends::hook;
use crate::delivery::ends::hook::HookSettings;
use crate::delivery::push::settings::{DEFAULT_NAME, ENDPOINTS_MAX, EndpointSettings};
use crate::delivery::s3;
use crate::delivery::s3::CredentialSource;
use crate::domain::app::{AppCredentials, RestCredentials};
use crate::domain::secret::Secret;
use crate::gate::TlsFiles;
use crate::net::proxy::ProxyEnv;
use crate::protocol::params::{AudioCodec, AudioParams, MediaParams, ShareParams, VideoParams};
use crate::protocol::server_url::{bare_host, is_loopback};
use crate::recorder::{DEFAULT_OUT, FeedSettings, RecorderSettings};
use crate::state::seal::StateKeys;

impl Loading<'_> {
    /// The keys of `RTMS_STATE_KEY_FILE`, or the credential.
    fn state_keys(&mut self, files: &[PathBuf]) -> StateKeys {
        const KEY: &str = "RTMS_STATE_KEY_FILE";
        let place = self.place(KEY);
        let mut secrets = Vec::new();
        for path in files {
            match (self.sources.read)(path) {
                Ok(content) => {
                    self.check_mode(&path.display().to_string(), content.mode, true);
                    secrets.push(content.bytes);
                }
                // A request to the running server may need nothing that is encrypted.
                Err(error)
                    if self.sources.needs == Needs::Admin
                        && error.kind() == ErrorKind::PermissionDenied => {}
                Err(error) => {
                    let text = format!(
                        "found {}, which cannot be read: {error}; \"openssl rand 32\" makes a key",
                        path.display()
                    );
                    self.fault(&place, KEY, text);
                }
            }
        }
        let folder = self.variable("CREDENTIALS_DIRECTORY");
        let credentials = ["RTMS_STATE_KEY", KEY];
        let credentials = credentials.iter().filter(|_| files.is_empty());
        for name in credentials {
            let Some(folder) = &folder else { break };
            match (self.sources.read)(&Path::new(folder).join(name)) {
                Ok(content) => {
                    secrets.push(content.bytes);
                    break;
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    let text =
                        format!("found the credential {name}, which cannot be read: {error}");
                    self.fault("credentials", KEY, text);
                }
            }
        }
        StateKeys::new(secrets).unwrap_or_else(|text| {
            self.fault(&place, KEY, text);
            StateKeys::default()
        })
    }

    /// Combines keys into settings, and finds missing ones.
    pub(super) fn finish(&mut self, draft: Draft) -> Config {
        let mut config = draft.config;
        config.daemon.webhooks.tls = self
            .pair(
                "RTMS_TLS_CERT",
                draft.tls_cert,
                "RTMS_TLS_KEY",
                draft.tls_key,
            )
            .map(|(cert, key)| TlsFiles { cert, key });
        let video_sdk = self
            .pair(
                "ZOOM_VIDEO_SDK_KEY",
                draft.video_sdk_key,
                "ZOOM_VIDEO_SDK_SECRET",
                draft.video_sdk_secret,
            )
            .map(|(id, secret)| AppCredentials { id, secret });
        let api_client = self
            .pair(
                "ZOOM_API_CLIENT_ID",
                draft.api_client_id,
                "ZOOM_API_CLIENT_SECRET",
                draft.api_client_secret,
            )
            .map(|(id, secret)| AppCredentials { id, secret });
        let needs_client_secret = match self.sources.needs {
            Needs::Serve => true,
            Needs::Authorize => api_client.is_none(),
            Needs::Rest => draft.access_token.is_none() && api_client.is_none(),
            Needs::Admin | Needs::Common => false,
        };
        let app = &mut config.daemon.apps[0];
        app.video_sdk = video_sdk;
        let AppCredentials { id, secret } = api_client.unwrap_or_else(|| app.credentials.clone());
        app.rest.credentials = if let Some(token) = draft.access_token {
            RestCredentials::Static { token }
        } else if let Some(account_id) = draft.account_id {
            RestCredentials::ServerToServer {
                account_id,
                client_id: id,
                client_secret: secret,
            }
        } else if let Some(refresh_token) = draft.refresh_token {
            RestCredentials::UserRefresh {
                client_id: id,
                client_secret: secret,
                refresh_token,
            }
        } else if app.rest.redirect_url.is_some() {
            RestCredentials::UserRefresh {
                client_id: id,
                client_secret: secret,
                refresh_token: Secret::new(""),
            }
        } else {
            RestCredentials::None
        };
        // Zoom sends people back to the public listener, unless it is a port of the command's own.
        let redirect = app.rest.redirect_url.as_deref();
        let rest = redirect.and_then(|url| url.strip_prefix("https://"));
        let oauth_path = rest.and_then(|rest| rest.find('/').map(|at| rest[at..].to_owned()));
        config.daemon.webhooks.oauth_path = oauth_path;
        config.daemon.proxy = ProxyEnv::read(|name| self.variable(name));

        // systemd may name several directories; the first is ours.
        let state_directory = self.variable("STATE_DIRECTORY");
        let state_directory = state_directory
            .as_deref()
            .and_then(|list| list.split(':').next());
        let state_directory = state_directory.map(Path::new);
        let state = draft.state.or(state_directory.map(Path::to_owned));
        config.daemon.state = state.or(config.daemon.state);
        config.daemon.state_keys = self.state_keys(&draft.state_key_files);
        let out = draft
            .out
            .or(state_directory.map(|path| path.join("meetings")));

        let audio = AudioParams::of(draft.audio.codec.unwrap_or(AudioCodec::L16));
        let video = VideoParams::complete(draft.video.codec, draft.video.fps);
        let share = ShareParams::complete(draft.share.codec, draft.share.fps);
        let params = MediaParams {
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
            transcript: config.daemon.params.transcript,
        };
        for fault in params.faults() {
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
        config.daemon.params = params;
        config.daemon.disk = Some(RecorderSettings {
            root: out.unwrap_or_else(|| DEFAULT_OUT.into()),
            formats: draft.transcript,
            feed: draft.feed.unwrap_or(true).then_some(FeedSettings {
                source: draft.feed_source,
            }),
            params,
        });
        let has_journals = (config.daemon.disk.as_ref()).is_some_and(|disk| disk.feed.is_some());
        config.daemon.push = self.endpoints(draft.endpoints, draft.plaintext, has_journals);
        config.daemon.ends = self.ends(draft.ends, draft.plaintext);
        config.daemon.fleet = self.fleet(draft.fleet, draft.plaintext);
        if let Some(fleet) = &mut config.daemon.fleet {
            fleet.admin = self.reachable_admin(&config.admin);
        }
        config.daemon.on_exit = self.on_exit(draft.on_exit, config.daemon.fleet.is_some());
        self.require(&config, needs_client_secret);
        config
    }

    /// The endpoints of HTTP push, the one without a name first.
    fn endpoints(
        &mut self,
        drafts: BTreeMap<String, EndpointDraft>,
        is_plaintext_allowed: bool,
        has_journals: bool,
    ) -> Vec<EndpointSettings> {
        let mut found = Vec::new();
        for (name, draft) in drafts {
            let key = |end: &str| match name.as_str() {
                "" => format!("RTMS_PUSH_{end}"),
                name => format!("RTMS_PUSH_{name}_{end}"),
            };
            let (url_key, secret_key) = (key("URL"), key("SECRET"));
            let pair = self.pair(&url_key, draft.url, &secret_key, draft.secrets);
            let Some((url, secrets)) = pair else {
                continue;
            };
            if url.is_readable_on_the_way() && !is_plaintext_allowed {
                let place = self.place(&url_key);
                let text = format!(
                    "found {}, expected https, or http to a loopback address; RTMS_PLAINTEXT=on \
                     allows http to other machines, where all can be read on the way",
                    url.origin()
                );
                self.fault(&place, &url_key, text);
            }
            let shown = match name.as_str() {
                "" => DEFAULT_NAME.to_owned(),
                name => name.to_ascii_lowercase(),
            };
            if found
                .iter()
                .any(|other: &EndpointSettings| other.name == shown)
            {
                let place = self.place(&url_key);
                let text = "found an endpoint called default, expected another name: that is the \
                            name of the endpoint of RTMS_PUSH_URL";
                self.fault(&place, &url_key, text);
            }
            let usual = EndpointSettings::new(&shown, url, secrets);
            found.push(EndpointSettings {
                events: draft.events.unwrap_or_default(),
                batch: draft.batch.unwrap_or(usual.batch),
                linger: draft.linger.unwrap_or_default(),
                format: draft.format.unwrap_or_default(),
                authorization: draft.authorization,
                connections: draft.connections.unwrap_or(usual.connections),
                give_up: draft.give_up.filter(|time| !time.is_zero()),
                ..usual
            });
        }
        if let (false, Some(first)) = (has_journals, found.first()) {
            let key = match first.name.as_str() {
                DEFAULT_NAME => "RTMS_PUSH_URL".to_owned(),
                name => format!("RTMS_PUSH_{}_URL", name.to_ascii_uppercase()),
            };
            let place = self.place(&key);
            let text = "found with RTMS_FEED=off, expected RTMS_FEED=on: what is sent is read from the \
                        journals";
            self.fault(&place, &key, text);
        }
        if found.len() > ENDPOINTS_MAX {
            let place = self.place("RTMS_PUSH_URL");
            let text = format!(
                "found {} endpoints, expected {ENDPOINTS_MAX} at most",
                found.len()
            );
            self.fault(&place, "RTMS_PUSH_URL", text);
        }
        found
    }

    fn ends(&mut self, draft: EndsDraft, is_plaintext_allowed: bool) -> ends::Settings {
        let hook = draft.command.clone().map(|command| HookSettings {
            command,
            timeout: draft.timeout.unwrap_or(hook::DEFAULT_TIMEOUT),
            at_once: draft.at_once.unwrap_or(hook::DEFAULT_AT_ONCE),
            environment: hook::KEPT
                .iter()
                .filter_map(|name| Some(((*name).to_owned(), self.variable(name)?)))
                .collect(),
        });
        let credentials = self.bucket_credentials(&draft);
        let is_plain = |url: &String| {
            let host = url
                .strip_prefix("http://")
                .and_then(|rest| rest.split('/').next());
            let bare = host.map(|host| match host.rsplit_once(':') {
                Some((name, port)) if !port.ends_with(']') => name,
                _ => host,
            });
            bare.is_some_and(|host| bare_host(host).is_none_or(|host| !is_loopback(host)))
        };
        if draft.endpoint.as_ref().is_some_and(is_plain) && !is_plaintext_allowed {
            let place = self.place("RTMS_S3_ENDPOINT");
            let text = "found http:// to another machine, expected https://, or RTMS_PLAINTEXT=on to \
                        send meeting content unencrypted";
            self.fault(&place, "RTMS_S3_ENDPOINT", text);
        }
        let bucket = draft
            .bucket
            .zip(credentials)
            .map(|(bucket, credentials)| s3::Settings {
                bucket,
                region: draft
                    .region
                    .unwrap_or_else(|| s3::DEFAULT_REGION.to_owned()),
                endpoint: draft.endpoint,
                prefix: draft.prefix,
                style: draft.style,
                files: draft.files,
                deletes_local: draft.deletes_local,
                has_checksums: draft.has_checksums.unwrap_or(true),
                encryption: draft.encryption,
                kms_key: draft.kms_key,
                credentials,
            });
        ends::Settings { hook, bucket }
    }

    /// Keys, or where they come from: one of the two.
    fn bucket_credentials(&mut self, draft: &EndsDraft) -> Option<CredentialSource> {
        let (id, secret) = ("RTMS_S3_ACCESS_KEY_ID", "RTMS_S3_SECRET_ACCESS_KEY");
        let keys = self.pair(
            id,
            draft.access_key_id.clone(),
            secret,
            draft.secret_access_key.clone(),
        );
        const SOURCE: &str = "RTMS_S3_CREDENTIALS";
        match (keys, &draft.credentials) {
            (Some(_), Some(_)) => {
                let place = self.place(SOURCE);
                self.fault(
                    &place,
                    SOURCE,
                    format!("found beside {id}, expected one of the two"),
                );
                None
            }
            (Some((access_key_id, secret_access_key)), None) => Some(CredentialSource::Static {
                access_key_id,
                secret_access_key,
                session_token: draft.session_token.clone(),
            }),
            (None, Some(CredentialsChoice::File { path, profile })) => {
                Some(CredentialSource::File {
                    path: path.clone(),
                    profile: profile.clone(),
                })
            }
            (None, Some(CredentialsChoice::Imds)) => Some(CredentialSource::Imds),
            (None, Some(CredentialsChoice::Ecs)) => {
                const PATH: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
                let is_plain = |path: &String| {
                    path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic())
                };
                let path = self.variable(PATH).filter(is_plain);
                if path.is_none() && self.sources.needs == Needs::Serve {
                    let place = self.place(SOURCE);
                    let text = format!("found ecs, expected {PATH} in the environment");
                    self.fault(&place, SOURCE, text);
                }
                path.map(|path| CredentialSource::Ecs { path })
            }
            (None, None) => {
                let is_half = self.is_given(id) || self.is_given(secret);
                if draft.bucket.is_some() && !is_half && self.sources.needs == Needs::Serve {
                    let place = self.place("RTMS_S3_BUCKET");
                    let text = format!("not given, expected beside RTMS_S3_BUCKET, or {SOURCE}");
                    self.fault(&place, id, text);
                }
                None
            }
        }
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
        // A key that was given with an error has its own fault. A command that only asks the server
        // need not have its secrets.
        let is_wanted = match self.sources.needs {
            Needs::Admin => false,
            // An app may have the other one.
            Needs::Common => is_of_the_server(missing),
            _ => true,
        };
        if !self.is_given(missing) && is_wanted {
            let place = self.place(given);
            self.fault(
                &place,
                missing,
                format!("not given, expected beside {given}"),
            );
        }
        None
    }

    fn require(&mut self, config: &Config, needs_client_secret: bool) {
        let needs = self.sources.needs;
        let (id, secret) = ("ZOOM_CLIENT_ID", "ZOOM_CLIENT_SECRET");
        if !matches!(needs, Needs::Admin | Needs::Common) {
            self.must_be_given(id, "the client id of the app that receives the streams");
        }
        if needs_client_secret {
            self.must_be_given(secret, "that app's client secret");
        }
        let app = config.app();
        if needs == Needs::Rest && !app.rest.credentials.is_some() && app.video_sdk.is_none() {
            let ways = [
                "access_token",
                "ZOOM_ACCOUNT_ID",
                "ZOOM_REFRESH_TOKEN",
                "ZOOM_REDIRECT_URL",
            ];
            if !ways.iter().any(|key| self.is_given(key)) {
                let text = "not given, expected this, ZOOM_REFRESH_TOKEN, ZOOM_REDIRECT_URL or \
                            access_token: a REST call needs one of them";
                let place = self.place("ZOOM_ACCOUNT_ID");
                self.fault(&place, "ZOOM_ACCOUNT_ID", text);
            }
        }
        self.require_events(config);
        let webhooks = &config.daemon.webhooks;
        if webhooks.oauth_path.as_ref() == Some(&webhooks.webhook.path) {
            let place = self.place("ZOOM_REDIRECT_URL");
            let text = "found the path of WEBHOOK_PATH, expected another one";
            self.fault(&place, "ZOOM_REDIRECT_URL", text);
        }
        let has_webhooks = config.port.is_some();
        if needs == Needs::Serve && config.daemon.webhooks.webhook.verify && has_webhooks {
            let expected = match config.daemon.zoom_events {
                None => {
                    "the app's webhook secret token (a quickstart's .env has none: copy it from the \
                     app's page in the Zoom Marketplace, Features, Access), or \
                     RTMS_VERIFY_WEBHOOKS=off for a trial"
                }
                Some(_) => {
                    "the app's webhook secret token, or PORT=off if all events come by \
                     ZOOM_EVENTS_URL"
                }
            };
            self.must_be_given("ZOOM_SECRET_TOKEN", expected);
        }
        let admin = &config.admin;
        let is_open = !admin.listen.iter().all(ListenAddress::is_local);
        if is_open && admin.token.is_none() && !self.is_given("RTMS_ADMIN_TOKEN") {
            let place = self.place("RTMS_ADMIN");
            let text = "not given, expected a token, as RTMS_ADMIN is not a loopback address";
            self.fault(&place, "RTMS_ADMIN_TOKEN", text);
        }
    }

    /// Events must be able to arrive, and their address must be one that rtmsd may connect to.
    fn require_events(&mut self, config: &Config) {
        let (key, port) = ("ZOOM_EVENTS_URL", "PORT");
        let settings = &config.daemon;
        if let Some(events) = &settings.zoom_events
            && let Err(error) = events.url.server(&settings.allowed_hosts)
        {
            let place = self.place(key);
            let url = events.url.as_str();
            self.fault(
                &place,
                key,
                format!("found {url}, which is refused: {error}"),
            );
        }
        let is_given = self.is_given(key);
        if config.port.is_none() && !is_given && self.sources.needs == Needs::Serve {
            let place = self.place(port);
            let text =
                "found off, expected a port, or ZOOM_EVENTS_URL: events must come by one of them";
            self.fault(&place, port, text);
        }
    }

    fn must_be_given(&mut self, key: &str, expected: &str) {
        if !self.is_given(key) {
            let place = self.place(key);
            self.fault(&place, key, format!("not given, expected {expected}"));
        }
    }
}
