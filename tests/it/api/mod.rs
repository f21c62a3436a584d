//! Tests of the REST and OAuth client against a scripted Zoom on loopback.

mod calls;
mod commands;
mod grants;
mod logs;
pub(crate) mod rotation;
mod shared;
mod shared_users;
pub(crate) mod tls;
mod tokens;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rtmsd::domain::product::Product;
use rtmsd::domain::secret::Secret;
use rtmsd::net::proxy::ProxyEnv;
use rtmsd::protocol::server_url::AllowedHosts;
use rtmsd::state::StateDir;
use rtmsd::zoom_api::RestCredentials as Credentials;
use rtmsd::zoom_api::{
    Api, App, AppCredentials, Clock, ControlRequest, Error, Process, RestAction, RestSettings,
};

use crate::harness::scripted::{Answer, Request, Scripted};
use crate::harness::{PATIENCE, TempDir, wait_until};

/// Part of every secret in these tests, so that one search finds any of them in a log.
pub(crate) const MARK: &str = "sEcReT";

fn secret(text: &str) -> Secret {
    Secret::new(format!("{MARK}-{text}"))
}

fn server_to_server() -> Credentials {
    Credentials::ServerToServer {
        account_id: "acc1".to_owned(),
        client_id: "s2s".to_owned(),
        client_secret: secret("client"),
    }
}

/// Everything that a client of these tests is created with.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) api_url: String,
    pub(crate) oauth_url: String,
    pub(crate) credentials: Credentials,
    pub(crate) participant_user_id: Option<String>,
    pub(crate) video_sdk: Option<AppCredentials>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) state: Option<Arc<StateDir>>,
    pub(crate) proxy: ProxyEnv,
    pub(crate) clock: Clock,
    pub(crate) timeout: Duration,
}

impl Settings {
    fn app(&self) -> App {
        let credentials = AppCredentials {
            id: "app1".to_owned(),
            secret: secret("app"),
        };
        App {
            video_sdk: self.video_sdk.clone(),
            rest: RestSettings {
                api_url: self.api_url.clone(),
                oauth_url: self.oauth_url.clone(),
                credentials: self.credentials.clone(),
                redirect_url: None,
                participant_user_id: self.participant_user_id.clone(),
            },
            ..App::new(credentials, Vec::new())
        }
    }

    fn process(&self) -> Process {
        Process {
            ca_file: self.ca_file.clone(),
            state: self.state.clone(),
            timeout: self.timeout,
            proxy: self.proxy.clone(),
            clock: self.clock.clone(),
            // Unencrypted loopback is where the scripted Zoom is.
            allowed_hosts: AllowedHosts::parse("ws://127.0.0.1").expect("a host"),
            shared: None,
        }
    }

    fn api(&self) -> Result<Api, Error> {
        Api::new(self.app(), self.process())
    }
}

/// Settings for one server as both OAuth and API server.
fn settings(zoom: &Scripted, credentials: Credentials) -> Settings {
    logs::capture();
    Settings {
        api_url: zoom.url(),
        oauth_url: format!("{}/oauth/token", zoom.url()),
        credentials,
        participant_user_id: None,
        video_sdk: None,
        ca_file: None,
        state: None,
        proxy: ProxyEnv::default(),
        clock: Clock::system(),
        timeout: Duration::from_secs(20),
    }
}

fn start(id: &str) -> ControlRequest {
    ControlRequest::new(RestAction::Start, Product::Meeting, id)
}

fn is_oauth(request: &Request) -> bool {
    request.path.starts_with("/oauth/")
}

/// An answer with an access token.
fn token(number: u64, expires_in: u64) -> Answer {
    Answer::json(
        200,
        format!(
            r#"{{"access_token":"{MARK}-access-{number}","token_type":"bearer","expires_in":{expires_in},"scope":"meeting:update:participant_rtms_app_status:admin user:read:user"}}"#
        ),
    )
}

/// A Zoom whose OAuth server always issues tokens, and whose API answers by script.
fn zoom(
    api: impl Fn(&Request) -> Answer + Send + Sync + 'static,
) -> (Scripted, Arc<std::sync::atomic::AtomicU64>) {
    let fetches = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counted = Arc::clone(&fetches);
    let zoom = Scripted::start(move |request| {
        if is_oauth(request) {
            token(
                counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1,
                3600,
            )
        } else {
            api(request)
        }
    });
    (zoom, fetches)
}

fn client(zoom: &Scripted) -> Api {
    settings(zoom, server_to_server()).api().unwrap()
}
