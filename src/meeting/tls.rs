//! The one TLS configuration towards Zoom: system roots, further roots by choice, TLS 1.2 or
//! later, certificate and host name always verified.

use std::fmt;
use std::path::{Path, PathBuf};

use native_tls::{Certificate, Protocol, TlsConnector};

/// Longest file of further roots taken, in bytes.
const CA_FILE_BYTES_MAX: u64 = 4 << 20;

/// Why there is no TLS configuration.
#[derive(Debug)]
pub enum TlsError {
    /// The file of further roots cannot be read.
    Read(PathBuf, std::io::Error),
    /// The file has no certificate, or a broken one.
    Form(PathBuf, String),
    /// The system's TLS library refuses to work.
    Library(native_tls::Error),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::Read(path, error) => write!(f, "{}: {error}", path.display()),
            TlsError::Form(path, what) => {
                write!(f, "{}: {what}, expected PEM certificates", path.display())
            }
            TlsError::Library(error) => write!(f, "TLS library: {error}"),
        }
    }
}

impl std::error::Error for TlsError {}

/// Makes the configuration; `ca_file` adds roots in PEM to those of the system.
pub fn connector(ca_file: Option<&Path>) -> Result<TlsConnector, TlsError> {
    let mut builder = TlsConnector::builder();
    builder.min_protocol_version(Some(Protocol::Tlsv12));
    if let Some(path) = ca_file {
        for certificate in roots(path)? {
            builder.add_root_certificate(certificate);
        }
    }
    builder.build().map_err(TlsError::Library)
}

fn roots(path: &Path) -> Result<Vec<Certificate>, TlsError> {
    let form = |what: &str| TlsError::Form(path.to_owned(), what.to_owned());
    let length = std::fs::metadata(path)
        .map_err(|e| TlsError::Read(path.to_owned(), e))?
        .len();
    if length > CA_FILE_BYTES_MAX {
        return Err(form("file is too large"));
    }
    let pem = std::fs::read(path).map_err(|e| TlsError::Read(path.to_owned(), e))?;
    let certificates =
        Certificate::stack_from_pem(&pem).map_err(|error| form(&error.to_string()))?;
    if certificates.is_empty() {
        return Err(form("no certificate found"));
    }
    Ok(certificates)
}
