//! A Zoom app: its credentials for streams and for REST.

use super::product::Product;
use super::secret::Secret;

/// Zoom's REST API: default of `ZOOM_API_URL`.
pub const DEFAULT_API_URL: &str = "https://api.zoom.us";
/// Zoom's OAuth server: default of `ZOOM_OAUTH_URL`.
pub const DEFAULT_OAUTH_URL: &str = "https://zoom.us/oauth/token";

/// An app whose streams are received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Distinguishes apps in the settings; empty if there is only one.
    pub name: String,
    /// `ZOOM_CLIENT_ID` and `ZOOM_CLIENT_SECRET`: they sign both handshakes of a stream.
    pub credentials: AppCredentials,
    /// `ZOOM_SECRET_TOKEN`: any of them may have signed a webhook; the first one answers unsigned
    /// challenges.
    pub secret_tokens: Vec<Secret>,
    /// `ZOOM_VIDEO_SDK_KEY` and `ZOOM_VIDEO_SDK_SECRET`, for sessions of the Video SDK.
    pub video_sdk: Option<AppCredentials>,
    /// Credentials and addresses for starting and stopping its streams.
    pub rest: RestSettings,
}

impl App {
    /// An app without REST credentials: others start its streams.
    pub fn new(credentials: AppCredentials, secret_tokens: Vec<Secret>) -> App {
        App {
            name: String::new(),
            credentials,
            secret_tokens,
            video_sdk: None,
            rest: RestSettings::default(),
        }
    }

    /// The credentials that sign the handshakes of a product's streams and identify the app in REST
    /// calls.
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

/// Addresses and credentials for REST calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestSettings {
    /// `ZOOM_API_URL`: `https`, or `http` to loopback.
    pub api_url: String,
    /// `ZOOM_OAUTH_URL`: likewise.
    pub oauth_url: String,
    /// The credentials for access tokens.
    pub credentials: RestCredentials,
    /// `ZOOM_REDIRECT_URL`: where Zoom sends a person back who has authorized the app.
    pub redirect_url: Option<String>,
    /// `RTMS_PARTICIPANT_USER_ID`, sent as `settings.participant_user_id`.
    pub participant_user_id: Option<String>,
}

impl Default for RestSettings {
    fn default() -> RestSettings {
        RestSettings {
            api_url: DEFAULT_API_URL.to_owned(),
            oauth_url: DEFAULT_OAUTH_URL.to_owned(),
            credentials: RestCredentials::None,
            redirect_url: None,
            participant_user_id: None,
        }
    }
}

/// Credentials for access tokens. If several are configured, the first kind in this order is used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RestCredentials {
    /// A fixed access token, valid until it expires.
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
        /// The configured refresh token; a stored one is used instead if it came from this one. Empty if
        /// none is configured: then one is stored by `rtmsd authorize`.
        refresh_token: Secret,
    },
    /// None: others start the streams. Only Video SDK sessions can be controlled.
    None,
}

impl RestCredentials {
    /// Whether there are credentials.
    pub fn is_some(&self) -> bool {
        *self != RestCredentials::None
    }
}
