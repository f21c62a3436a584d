//! From the configuration to the settings of each part: the one place where both are known.

use std::sync::Arc;

use crate::config::Config;
use crate::daemon;
use crate::daemon::AppCredentials;
use crate::net::proxy::ProxyEnv;
use crate::recorder::RecorderSettings;
use crate::source::ingress;
use crate::state::StateDir;
use crate::zoom_api;
use crate::zoom_api::Credentials;

/// The whole server.
pub fn daemon(config: &Config) -> daemon::Settings {
    daemon::Settings {
        public: public(config),
        api: api(config),
        auto_start: config.auto_start,
        stop_after: config.stop_after,
        app: AppCredentials {
            id: config.client_id.clone(),
            secret: config.client_secret.clone(),
        },
        video_sdk: config.video_sdk.clone(),
        media: config.media.clone(),
        params: config.params,
        video_participant: config.video_participant.clone(),
        events: config.events.clone(),
        buffer_data: config.buffer_data,
        allowed_hosts: config.allowed_hosts.clone(),
        ca_file: config.ca_file.clone(),
        disk: Some(RecorderSettings {
            root: config.out.clone(),
            formats: config.transcript,
            params: config.params,
        }),
        stdout: config.stdout,
        state: Some(config.state.clone()),
        on_revoked: config.on_revoked,
        on_exit: config.on_exit,
    }
}

/// The public edge.
pub fn public(config: &Config) -> ingress::Settings {
    ingress::Settings {
        path: config.webhook_path.clone(),
        secret_tokens: config.secret_tokens.clone(),
        verify: config.verify_webhooks,
        max_age: config.webhook_max_age,
        tls: config.tls.clone(),
        ..ingress::Settings::default()
    }
}

/// The state directory, taken for this process, if the credentials are such that a command needs
/// it: refresh tokens rotate, and the next one is kept there.
pub fn state_for_rest(config: &Config) -> Result<Option<Arc<StateDir>>, zoom_api::Error> {
    match api(config).credentials {
        Credentials::UserRefresh { .. } => StateDir::open(&config.state)
            .map(|state| Some(Arc::new(state)))
            .map_err(|error| zoom_api::Error::of_state(&error)),
        _ => Ok(None),
    }
}

/// REST, without a state directory.
pub fn api(config: &Config) -> zoom_api::Settings {
    let client = config.api_client();
    let credentials = if let Some(token) = &config.access_token {
        Credentials::Static {
            token: token.clone(),
        }
    } else if let Some(account_id) = &config.account_id {
        Credentials::ServerToServer {
            account_id: account_id.clone(),
            client_id: client.id,
            client_secret: client.secret,
        }
    } else if let Some(refresh_token) = &config.refresh_token {
        Credentials::UserRefresh {
            client_id: client.id,
            client_secret: client.secret,
            refresh_token: refresh_token.clone(),
        }
    } else {
        Credentials::None
    };
    zoom_api::Settings {
        api_url: config.api_url.clone(),
        oauth_url: config.oauth_url.clone(),
        participant_user_id: config.participant_user_id.clone(),
        video_sdk: config.video_sdk.clone(),
        ca_file: config.ca_file.clone(),
        proxy: ProxyEnv::from_env(),
        ..zoom_api::Settings::new(credentials, config.client_id.clone())
    }
}
