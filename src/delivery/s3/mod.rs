//! Object storage that speaks S3: `RTMS_S3_*`.
//!
//! Pure: names of objects, signatures, what an answer means. Impure: credentials, calls, uploads.

pub mod client;
pub mod credentials;
pub mod fault;
pub mod object_names;
pub mod sigv4;
pub mod upload;
pub mod xml;

use std::path::PathBuf;

use crate::domain::secret::Secret;
pub use object_names::FileChoice;

/// `RTMS_S3_REGION` where it is not set.
pub const DEFAULT_REGION: &str = "us-east-1";

/// How the bucket stands in the address: `RTMS_S3_STYLE`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Style {
    /// In the path with an endpoint of one's own or a dot in the bucket's name, else in the host.
    #[default]
    Auto,
    /// `https://endpoint/bucket/key`.
    Path,
    /// `https://bucket.endpoint/key`.
    Host,
}

impl Style {
    /// The word in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Style::Auto => "auto",
            Style::Path => "path",
            Style::Host => "host",
        }
    }
}

/// How the bucket encrypts: `RTMS_S3_SSE`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Encryption {
    /// As the bucket does by itself.
    #[default]
    Off,
    /// With keys of the bucket's service.
    Aes256,
    /// With a key of KMS.
    Kms,
}

impl Encryption {
    /// The word in the configuration, and the value of `x-amz-server-side-encryption`.
    pub fn name(self) -> &'static str {
        match self {
            Encryption::Off => "off",
            Encryption::Aes256 => "AES256",
            Encryption::Kms => "aws:kms",
        }
    }
}

/// Where credentials come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialSource {
    /// `RTMS_S3_ACCESS_KEY_ID` and so on.
    Static {
        /// `RTMS_S3_ACCESS_KEY_ID`.
        access_key_id: Secret,
        /// `RTMS_S3_SECRET_ACCESS_KEY`.
        secret_access_key: Secret,
        /// `RTMS_S3_SESSION_TOKEN`.
        session_token: Option<Secret>,
    },
    /// `file:/path#profile`: a file as AWS's tools have it.
    File {
        /// The file.
        path: PathBuf,
        /// The profile.
        profile: String,
    },
    /// `ecs`: the container's credentials, at this path of 169.254.170.2.
    Ecs {
        /// `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI`.
        path: String,
    },
    /// `imds`: the role of the machine, by version 2 of the instance metadata service.
    Imds,
}

impl CredentialSource {
    /// In a word.
    pub fn name(&self) -> &'static str {
        match self {
            CredentialSource::Static { .. } => "RTMS_S3_ACCESS_KEY_ID",
            CredentialSource::File { .. } => "file",
            CredentialSource::Ecs { .. } => "ecs",
            CredentialSource::Imds => "imds",
        }
    }
}

/// The bucket, and what goes into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `RTMS_S3_BUCKET`.
    pub bucket: String,
    /// `RTMS_S3_REGION`.
    pub region: String,
    /// `RTMS_S3_ENDPOINT`, without a slash at its end; `None` for AWS.
    pub endpoint: Option<String>,
    /// `RTMS_S3_PREFIX`, without slashes around it.
    pub prefix: String,
    /// `RTMS_S3_STYLE`.
    pub style: Style,
    /// `RTMS_S3_FILES`.
    pub files: FileChoice,
    /// `RTMS_S3_DELETE_LOCAL`.
    pub deletes_local: bool,
    /// `RTMS_S3_CHECKSUM`.
    pub has_checksums: bool,
    /// `RTMS_S3_SSE`.
    pub encryption: Encryption,
    /// `RTMS_S3_KMS_KEY`.
    pub kms_key: Option<String>,
    /// Whose credentials.
    pub credentials: CredentialSource,
}

impl Settings {
    /// The address of the service.
    pub fn endpoint(&self) -> String {
        match &self.endpoint {
            Some(endpoint) => endpoint.clone(),
            None => format!("https://s3.{}.amazonaws.com", self.region),
        }
    }

    /// Whether the bucket stands in the path.
    pub fn is_path_style(&self) -> bool {
        match self.style {
            Style::Path => true,
            Style::Host => false,
            Style::Auto => self.endpoint.is_some() || self.bucket.contains('.'),
        }
    }
}
