//! An app at Zoom: its id and secret.

use super::secret::Secret;

/// An id and its secret: a client of OAuth, or a Video SDK app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppCredentials {
    /// Client id, or Video SDK key.
    pub id: String,
    /// Client secret, or Video SDK secret.
    pub secret: Secret,
}
