//! An app at Zoom: whose streams are received, and as whom REST is called.

use super::product::Product;
use super::secret::Secret;

/// Zoom's REST API: `ZOOM_API_URL` where it is not set.
pub const DEFAULT_API_URL: &str = "https://api.zoom.us";
/// Where Zoom issues tokens: `ZOOM_OAUTH_URL` where it is not set.
pub const DEFAULT_OAUTH_URL: &str = "https://zoom.us/oauth/token";

/// An app whose streams are received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Tells one app from another in the settings; empty where there is one.
    pub name: String,
    /// `ZOOM_CLIENT_ID` and `ZOOM_CLIENT_SECRET`: they sign both handshakes of a stream.
    pub credentials: AppCredentials,
    /// `ZOOM_SECRET_TOKEN`: any of them may have signed a webhook; the first answers challenges
    /// that are not signed.
    pub secret_tokens: Vec<Secret>,
    /// `ZOOM_VIDEO_SDK_KEY` and `ZOOM_VIDEO_SDK_SECRET`, for sessions of the Video SDK.
    pub video_sdk: Option<AppCredentials>,
    /// How its streams are started and stopped.
    pub rest: RestSettings,
}

impl App {
    /// An app without REST credentials: its streams are started by others.
    pub fn new(credentials: AppCredentials, secret_tokens: Vec<Secret>) -> App {
        App {
            name: String::new(),
            credentials,
            secret_tokens,
            video_sdk: None,
            rest: RestSettings::default(),
        }
    }

    /// What signs the handshakes of a product's streams, and names the app in REST calls.
    pub fn credentials_for(&self, product: Product) -> &AppCredentials {
        match (product, &self.video_sdk) {
            (Product::Session, Some(credentials)) => credentials,
            _ => &self.credentials,
        }
    }
}

/// An id and its secret: a client of OAuth, or a Video SDK app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppCredentials {
    /// Client id, or Video SDK key.
    pub id: String,
    /// Client secret, or Video SDK secret.
    pub secret: Secret,
}

/// Where REST calls go, and as whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestSettings {
    /// `ZOOM_API_URL`: `https`, or `http` to loopback.
    pub api_url: String,
    /// `ZOOM_OAUTH_URL`: likewise.
    pub oauth_url: String,
    /// Whose token the calls are made with.
    pub credentials: RestCredentials,
    /// `RTMS_PARTICIPANT_USER_ID`, sent as `settings.participant_user_id`.
    pub participant_user_id: Option<String>,
}

impl Default for RestSettings {
    fn default() -> RestSettings {
        RestSettings {
            api_url: DEFAULT_API_URL.to_owned(),
            oauth_url: DEFAULT_OAUTH_URL.to_owned(),
            credentials: RestCredentials::None,
            participant_user_id: None,
        }
    }
}

/// Whose token the calls are made with. Where several are configured, the first of this order is
/// used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RestCredentials {
    /// A token as it is, good until it expires.
    Static {
        /// The access token.
        token: Secret,
    },
    /// A server-to-server app of the account.
    ServerToServer {
        /// The account.
        account_id: String,
        /// The app.
        client_id: String,
        /// Its secret.
        client_secret: Secret,
    },
    /// An app that a user has authorized.
    UserRefresh {
        /// The app.
        client_id: String,
        /// Its secret.
        client_secret: Secret,
        /// The configured refresh token; the stored one wins if it stems from this one.
        refresh_token: Secret,
    },
    /// None: streams are started by others. Only Video SDK sessions can be controlled.
    None,
}

impl RestCredentials {
    /// Whether there are any.
    pub fn is_some(&self) -> bool {
        *self != RestCredentials::None
    }
}
