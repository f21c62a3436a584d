//! The listener's own TLS: the certificate's files, and a client's stream with or without it.
//!
//! OpenSSL is used directly, not through native-tls: the acceptor of that crate stops at TLS 1.2
//! and has a session cache that clients can fill.

use std::error::Error;
use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use openssl::asn1::Asn1Time;
use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{
    HandshakeError, MidHandshakeSslStream, SslAcceptor, SslMethod, SslMode, SslOptions,
    SslSessionCacheMode, SslStream, SslVersion,
};
use openssl::x509::X509;

use super::listener::Socket;

/// Paths of the certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, then its chain, in PEM.
    pub cert: PathBuf,
    /// The private key in PEM, without a pass phrase; PKCS#8 or the older forms.
    pub key: PathBuf,
}

/// Why the certificate of a listener cannot be used.
#[derive(Debug)]
pub struct CertificateError {
    file: PathBuf,
    fault: String,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.fault)
    }
}

impl Error for CertificateError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as &dyn Error)
    }
}

/// A certificate in use.
#[derive(Clone)]
pub struct Tls {
    acceptor: SslAcceptor,
    days_left: i32,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("days_left", &self.days_left)
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads and checks the files. TLS 1.2 is the minimum (Zoom's rule, too).
    ///
    /// # Errors
    /// If a file cannot be read or is not PEM, or the key does not belong to the certificate.
    pub fn load(files: &TlsFiles) -> Result<Tls, CertificateError> {
        let (cert, key) = (files.cert.as_path(), files.key.as_path());
        let cert_pem = read_file(cert)?;
        let chain =
            X509::stack_from_pem(&cert_pem).map_err(|e| caused(cert, "no PEM certificate", e))?;
        let leaf = chain
            .first()
            .ok_or_else(|| fault(cert, "no certificate found, expected PEM".into()))?;
        // An empty pass phrase, because without one OpenSSL would ask at the terminal.
        let private =
            PKey::private_key_from_pem_passphrase(&read_file(key)?, b"").map_err(|_| {
                fault(
                    key,
                    "no usable key found, expected PEM without a pass phrase".into(),
                )
            })?;
        let is_pair = leaf
            .public_key()
            .is_ok_and(|public| public.public_eq(&private));
        if !is_pair {
            let text = format!(
                "the key does not belong to the certificate in {}",
                cert.display()
            );
            return Err(fault(key, text));
        }
        let use_of = |e: ErrorStack| caused(cert, "cannot be used", e);
        let days_left = Asn1Time::days_from_now(0)
            .and_then(|now| now.diff(leaf.not_after()))
            .map_err(use_of)?
            .days;
        let acceptor = acceptor(&chain, &private).map_err(use_of)?;
        Ok(Tls {
            acceptor,
            days_left,
        })
    }

    /// Whole days until the certificate expires; negative if it has expired.
    pub fn days_left(&self) -> i32 {
        self.days_left
    }
}

/// TLS 1.2 and 1.3 with the ciphers Mozilla calls intermediate.
fn acceptor(chain: &[X509], key: &PKey<Private>) -> Result<SslAcceptor, ErrorStack> {
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
    builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    builder.set_private_key(key)?;
    for (n, cert) in chain.iter().enumerate() {
        match n {
            0 => builder.set_certificate(cert)?,
            _ => builder.add_extra_chain_cert(cert.clone())?,
        }
    }
    builder.check_private_key()?;
    builder.set_options(SslOptions::NO_RENEGOTIATION);
    // Nothing that a client could fill: no sessions are kept here, and no buffers for idle connections.
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    builder.set_mode(SslMode::RELEASE_BUFFERS);
    Ok(builder.build())
}

fn read_file(path: &Path) -> Result<Vec<u8>, CertificateError> {
    std::fs::read(path).map_err(|e| caused(path, "cannot be read", e))
}

fn fault(file: &Path, fault: String) -> CertificateError {
    CertificateError {
        file: file.to_owned(),
        fault,
        cause: None,
    }
}

fn caused(file: &Path, fault: &str, cause: impl Error + Send + Sync + 'static) -> CertificateError {
    CertificateError {
        file: file.to_owned(),
        fault: fault.to_owned(),
        cause: Some(Box::new(cause)),
    }
}

/// A client's stream, nonblocking.
pub(super) enum Stream {
    /// Without TLS.
    Plain(Socket),
    /// Before TLS. The TLS state is created with the first byte, so that a silent client costs
    /// none.
    Fresh(Socket, SslAcceptor),
    /// During the handshake.
    Shaking(MidHandshakeSslStream<Socket>),
    /// TLS established.
    Tls(SslStream<Socket>),
    /// The handshake failed.
    Gone,
}

impl Stream {
    pub(super) fn new(stream: Socket, tls: Option<&Tls>) -> Stream {
        match tls {
            Some(tls) => Stream::Fresh(stream, tls.acceptor.clone()),
            None => Stream::Plain(stream),
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        matches!(self, Stream::Plain(_) | Stream::Tls(_))
    }

    /// The socket, if there is nothing between us and the client.
    pub(super) fn into_plain(self) -> Option<OwnedFd> {
        match self {
            Stream::Plain(socket) => Some(socket.into()),
            _ => None,
        }
    }

    fn tcp(&self) -> Option<&Socket> {
        match self {
            Stream::Plain(tcp) | Stream::Fresh(tcp, _) => Some(tcp),
            Stream::Shaking(middle) => Some(middle.get_ref()),
            Stream::Tls(tls) => Some(tls.get_ref()),
            Stream::Gone => None,
        }
    }

    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.tcp().map(AsFd::as_fd)
    }

    /// Continues the handshake. `WouldBlock` waits for the client: what we send in a handshake
    /// always fits an empty socket buffer.
    pub(super) fn handshake(&mut self) -> io::Result<()> {
        let result = match std::mem::replace(self, Stream::Gone) {
            Stream::Fresh(tcp, acceptor) => {
                if let Err(error) = tcp.peek() {
                    *self = Stream::Fresh(tcp, acceptor);
                    return Err(error);
                }
                acceptor.accept(tcp)
            }
            Stream::Shaking(middle) => middle.handshake(),
            other => {
                *self = other;
                return Ok(());
            }
        };
        match result {
            Ok(tls) => {
                *self = Stream::Tls(tls);
                Ok(())
            }
            Err(HandshakeError::WouldBlock(middle)) => {
                *self = Stream::Shaking(middle);
                Err(io::ErrorKind::WouldBlock.into())
            }
            Err(_) => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    pub(super) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(tcp) => tcp.read(into),
            Stream::Tls(tls) => tls.read(into),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(tcp) => tcp.write(bytes),
            Stream::Tls(tls) => tls.write(bytes),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Ends the sending side. The client may still send; see [`Stream::discard`].
    pub(super) fn finish(&mut self) -> io::Result<()> {
        if let Stream::Tls(tls) = self {
            // The close_notify is optional; the FIN below ends the stream.
            let _ = tls.shutdown();
        }
        match self.tcp() {
            Some(tcp) => tcp.shutdown_write(),
            None => Ok(()),
        }
    }

    /// Reads and discards raw bytes, TLS or not.
    pub(super) fn discard(&mut self, scratch: &mut [u8]) -> io::Result<usize> {
        match self.tcp() {
            Some(mut tcp) => tcp.read(scratch),
            None => Ok(0),
        }
    }
}
