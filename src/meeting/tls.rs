//! The one TLS configuration towards Zoom: system roots, further roots by choice, TLS 1.2 or
//! later, certificate and host name always verified.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::thread::{Builder, JoinHandle};

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
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::Read(path, error) => write!(f, "{}: {error}", path.display()),
            TlsError::Form(path, what) => {
                write!(f, "{}: {what}, expected PEM certificates", path.display())
            }
        }
    }
}

impl std::error::Error for TlsError {}

/// The configuration, made when it is first needed.
///
/// Reading the system's roots costs some 80 ms of CPU, so one is made for a process and shared;
/// and a server that starts answers webhooks meanwhile ([`Connector::prepare`]).
#[derive(Clone)]
pub struct Connector {
    shared: Arc<Shared>,
}

struct Shared {
    further_roots: Vec<Certificate>,
    made: OnceLock<Result<TlsConnector, String>>,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

impl Connector {
    /// A configuration; `ca_file` adds roots in PEM to those of the system.
    pub fn new(ca_file: Option<&Path>) -> Result<Connector, TlsError> {
        let further_roots = ca_file.map(roots).transpose()?.unwrap_or_default();
        let made = OnceLock::new();
        Ok(Connector {
            shared: Arc::new(Shared {
                further_roots,
                made,
            }),
        })
    }

    /// Makes it now, on a thread of its own, so that the first stream finds it made.
    pub fn prepare(&self) -> io::Result<JoinHandle<()>> {
        let own = self.clone();
        let thread = Builder::new()
            .name("roots".to_owned())
            .stack_size(512 << 10);
        thread.spawn(move || {
            if let Err(error) = own.get() {
                log::error!("TLS library: {error}; no stream can be connected");
            }
        })
    }

    /// The configuration; waits for it if another thread is making it.
    pub(super) fn get(&self) -> Result<&TlsConnector, String> {
        let made = self.shared.made.get_or_init(|| {
            let mut builder = TlsConnector::builder();
            builder.min_protocol_version(Some(Protocol::Tlsv12));
            for certificate in &self.shared.further_roots {
                builder.add_root_certificate(certificate.clone());
            }
            builder.build().map_err(|error| error.to_string())
        });
        made.as_ref().map_err(Clone::clone)
    }
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
