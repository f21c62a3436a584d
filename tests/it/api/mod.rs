//! The REST and OAuth client against a scripted Zoom on loopback.

mod calls;
mod commands;
mod logs;
pub(crate) mod rotation;
pub(crate) mod scripted;
pub(crate) mod tls;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use rtmsd::domain::product::Product;
use rtmsd::domain::secret::Secret;
use rtmsd::zoom_api::{Api, ControlRequest, Credentials, RestAction, Settings};

use scripted::{Answer, Request, Scripted};

/// In every secret of these tests, so that one search finds any of them in a log.
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

/// Settings for a server that plays both parts.
fn settings(zoom: &Scripted, credentials: Credentials) -> Settings {
    logs::capture();
    Settings {
        api_url: zoom.url(),
        oauth_url: format!("{}/oauth/token", zoom.url()),
        timeout: Duration::from_secs(20),
        ..Settings::new(credentials, "app1")
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

/// A Zoom whose OAuth server always gives token after token, and whose API answers by script.
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
    Api::new(settings(zoom, server_to_server())).unwrap()
}
