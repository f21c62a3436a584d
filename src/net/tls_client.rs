//! The TLS configuration for connections to Zoom: system roots, optional further roots, TLS 1.2 or
//! later, certificate and host name always verified.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use openssl::error::ErrorStack;
use openssl::ssl::{
    HandshakeError, MidHandshakeSslStream, Ssl, SslContext, SslContextBuilder, SslMethod, SslMode,
    SslOptions, SslStream, SslVerifyMode, SslVersion,
};
use openssl::x509::verify::X509CheckFlags;
use openssl::x509::{X509, X509VerifyResult};

use super::ca_file;
use super::ca_file::CaFileError;
use super::roots::Roots;
use super::tls_sessions;
use super::tls_sessions::TlsSessionCache;

/// State of a handshake, or why it failed.
pub(crate) type Handshake<S> = Result<TlsProgress<S>, String>;

/// State of a handshake.
#[derive(Debug)]
pub(crate) enum TlsProgress<S> {
    /// It waits for the peer; see [`resume_handshake`].
    Waiting(MidHandshakeSslStream<S>),
    /// The peer's certificate was verified.
    Done(SslStream<S>),
}

/// Continues a handshake.
pub(crate) fn resume_handshake<S: Read + Write>(waiting: MidHandshakeSslStream<S>) -> Handshake<S> {
    classify(waiting.handshake())
}

fn classify<S>(result: Result<SslStream<S>, HandshakeError<S>>) -> Handshake<S> {
    match result {
        Ok(stream) => Ok(TlsProgress::Done(stream)),
        Err(HandshakeError::WouldBlock(waiting)) => Ok(TlsProgress::Waiting(waiting)),
        Err(HandshakeError::Failure(failed)) => {
            tls_sessions::forget(failed.ssl());
            Err(match failed.ssl().verify_result() {
                X509VerifyResult::OK => failed.error().to_string(),
                why => format!("{} ({why})", failed.error()),
            })
        }
        Err(HandshakeError::SetupFailure(error)) => Err(error.to_string()),
    }
}

/// The configuration, made when it is first needed: an idle daemon saves the two megabytes that
/// OpenSSL needs for it.
///
/// Where the system's roots are in one file, reading them takes about 80 ms of CPU; then the server
/// makes it at its start, while it answers webhooks ([`TlsClient::prepare`]). One configuration
/// serves the whole process.
#[derive(Clone)]
pub struct TlsClient {
    shared: Arc<Shared>,
}

struct Shared {
    further_roots: Vec<X509>,
    roots: OnceLock<Roots>,
    /// Made once. A failure is not kept: the next handshake tries again.
    made: Mutex<Option<Arc<Context>>>,
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsClient")
    }
}

impl TlsClient {
    /// A configuration; `ca_file` adds PEM root certificates to those of the system.
    ///
    /// # Errors
    /// The file cannot be read, has no certificate in PEM, or a broken one.
    pub fn new(ca_file: Option<&Path>) -> Result<TlsClient, CaFileError> {
        let further_roots = ca_file.map(ca_file::read).transpose()?.unwrap_or_default();
        Ok(TlsClient {
            shared: Arc::new(Shared {
                further_roots,
                roots: OnceLock::new(),
                made: Mutex::new(None),
            }),
        })
    }

    /// Locates the roots on a thread of its own, and reads them at once if that takes long, so that
    /// the first stream need not wait.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn prepare(&self) -> io::Result<JoinHandle<()>> {
        let own = self.clone();
        let thread = Builder::new()
            .name("roots".to_owned())
            .stack_size(512 << 10);
        thread.spawn(move || {
            if own.roots().are_in_a_bundle()
                && let Err(error) = own.get()
            {
                log::error!("TLS library: {error}; no stream can be connected");
            }
        })
    }

    /// Makes the configuration now. If that fails, handshakes report the error.
    pub(crate) fn make(&self) {
        let _ = self.get();
    }

    fn roots(&self) -> &Roots {
        self.shared.roots.get_or_init(Roots::from_system)
    }

    /// The configuration; waits if another thread is making it.
    fn get(&self) -> Result<Arc<Context>, String> {
        self.get_or_make(|| Context::new(self.roots(), &self.shared.further_roots))
    }

    fn get_or_make(
        &self,
        make: impl FnOnce() -> Result<Context, String>,
    ) -> Result<Arc<Context>, String> {
        let made = self.shared.made.lock();
        let mut made = made.unwrap_or_else(PoisonError::into_inner);
        if let Some(context) = &*made {
            return Ok(Arc::clone(context));
        }
        Ok(Arc::clone(made.insert(Arc::new(make()?))))
    }

    /// Starts a handshake with that host.
    pub(crate) fn connect<S: Read + Write>(&self, host: &str, stream: S) -> Handshake<S> {
        let session = self.get()?.session(host, Instant::now());
        classify(session.map_err(|error| error.to_string())?.connect(stream))
    }
}

/// The parts shared by every connection.
pub(crate) struct Context {
    ssl: SslContext,
    sessions: TlsSessionCache,
}

impl Context {
    fn new(roots: &Roots, further_roots: &[X509]) -> Result<Context, String> {
        let text = |error: ErrorStack| error.to_string();
        let mut context = unrooted().map_err(text)?;
        roots.add(&mut context)?;
        for certificate in further_roots {
            let certificate = certificate.clone();
            context
                .cert_store_mut()
                .add_cert(certificate)
                .map_err(text)?;
        }
        let sessions = TlsSessionCache::new(&mut context);
        let ssl = context.build();
        Ok(Context { ssl, sessions })
    }

    /// A connection to that host, before its handshake.
    pub(crate) fn session(&self, host: &str, now: Instant) -> Result<Ssl, ErrorStack> {
        let mut session = session(&self.ssl, host)?;
        self.sessions.resume(&mut session, host, now)?;
        Ok(session)
    }
}

/// A configuration without roots. The ciphers are those of the system's policy.
///
/// OpenSSL's own connector is not used, because it parses the system's whole bundle each time: 40
/// ms and 2.4 MiB; see [`super::roots`].
pub(crate) fn unrooted() -> Result<SslContextBuilder, ErrorStack> {
    let mut context = SslContext::builder(SslMethod::tls_client())?;
    context.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    context.set_options(SslOptions::NO_COMPRESSION | SslOptions::NO_RENEGOTIATION);
    context.set_mode(
        SslMode::AUTO_RETRY
            | SslMode::ACCEPT_MOVING_WRITE_BUFFER
            | SslMode::ENABLE_PARTIAL_WRITE
            | SslMode::RELEASE_BUFFERS,
    );
    context.set_verify(SslVerifyMode::PEER);
    Ok(context)
}

/// The TLS session of one connection; the certificate must name this host.
fn session(context: &SslContext, host: &str) -> Result<Ssl, ErrorStack> {
    let mut session = Ssl::new(context)?;
    let address: Option<IpAddr> = host.parse().ok();
    if address.is_none() {
        session.set_hostname(host)?;
    }
    let wanted = session.param_mut();
    wanted.set_hostflags(X509CheckFlags::NO_PARTIAL_WILDCARDS);
    match address {
        Some(address) => wanted.set_ip(address)?,
        None => wanted.set_host(host)?,
    }
    Ok(session)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::os::unix::net::UnixStream;

    use openssl::asn1::Asn1Time;
    use openssl::ec::{EcGroup, EcKey};
    use openssl::hash::MessageDigest;
    use openssl::nid::Nid;
    use openssl::pkey::{PKey, Private};
    use openssl::ssl::SslAcceptor;
    use openssl::x509::{X509Builder, X509Extension, X509NameBuilder};

    use super::*;

    pub(crate) struct Authority {
        key: PKey<Private>,
        pub(crate) certificate: X509,
    }

    pub(crate) struct Signed {
        key: PKey<Private>,
        certificate: X509,
    }

    fn key() -> PKey<Private> {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("P-256");
        PKey::from_ec_key(EcKey::generate(&group).expect("a key")).expect("a key")
    }

    fn certificate(name: &str, key: &PKey<Private>) -> X509Builder {
        let mut words = X509NameBuilder::new().expect("a name");
        words.append_entry_by_text("CN", name).expect("a name");
        let words = words.build();
        let mut builder = X509Builder::new().expect("a certificate");
        builder.set_version(2).expect("version 3");
        builder.set_subject_name(&words).expect("a name");
        builder.set_issuer_name(&words).expect("a name");
        builder.set_pubkey(key).expect("a key");
        let day = |n| Asn1Time::days_from_now(n).expect("a day");
        builder.set_not_before(&day(0)).expect("a day");
        builder.set_not_after(&day(2)).expect("a day");
        builder
    }

    #[expect(deprecated, reason = "in a test, as text it is short")]
    fn extend(builder: &mut X509Builder, name: Nid, value: &str) {
        let extension = X509Extension::new_nid(None, None, name, value);
        builder
            .append_extension(extension.expect("an extension"))
            .expect("valid extension");
    }

    impl Authority {
        pub(crate) fn new(name: &str) -> Authority {
            let key = key();
            let mut builder = certificate(name, &key);
            extend(&mut builder, Nid::BASIC_CONSTRAINTS, "critical,CA:TRUE");
            builder.sign(&key, MessageDigest::sha256()).expect("a key");
            let certificate = builder.build();
            Authority { key, certificate }
        }

        /// A certificate for those names.
        pub(crate) fn signs(&self, names: &str) -> Signed {
            let key = key();
            let mut builder = certificate("server", &key);
            let issuer = self.certificate.subject_name();
            builder.set_issuer_name(issuer).expect("a name");
            extend(&mut builder, Nid::SUBJECT_ALT_NAME, names);
            builder
                .sign(&self.key, MessageDigest::sha256())
                .expect("a key");
            let certificate = builder.build();
            Signed { key, certificate }
        }
    }

    /// Whether a client with that configuration accepts that server as `host`.
    pub(crate) fn shake(context: &SslContext, host: &str, server: &Signed) -> Result<(), String> {
        shake_up_to(context, host, server, SslVersion::TLS1_3)
    }

    fn shake_up_to(
        context: &SslContext,
        host: &str,
        server: &Signed,
        version: SslVersion,
    ) -> Result<(), String> {
        let session = session(context, host).expect("a session");
        meet(session, &acceptor(server, version)).map(drop)
    }

    /// A configuration that trusts that authority.
    pub(crate) fn trusting(authority: &Authority) -> Context {
        let further = std::slice::from_ref(&authority.certificate);
        Context::new(&Roots::from_system(), further).expect("a context")
    }

    pub(crate) fn acceptor(server: &Signed, version: SslVersion) -> SslAcceptor {
        let mut acceptor =
            SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).expect("an acceptor");
        acceptor
            .set_min_proto_version(None)
            .and_then(|()| acceptor.set_max_proto_version(Some(version)))
            .and_then(|()| acceptor.set_cipher_list("ALL:@SECLEVEL=0"))
            .and_then(|()| acceptor.set_private_key(&server.key))
            .and_then(|()| acceptor.set_certificate(&server.certificate))
            .expect("a key and its certificate");
        acceptor.build()
    }

    /// The client's end of a connection to that server, after one byte was exchanged.
    pub(crate) fn meet(
        session: Ssl,
        acceptor: &SslAcceptor,
    ) -> Result<SslStream<UnixStream>, String> {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let seconds = Some(std::time::Duration::from_secs(20));
        for end in [&ours, &theirs] {
            end.set_read_timeout(seconds).expect("a socket");
        }
        let acceptor = acceptor.clone();
        let accepting = std::thread::spawn(move || {
            if let Ok(mut theirs) = acceptor.accept(theirs) {
                theirs.write_all(b"!").expect("it is read");
            }
        });
        let shaken = classify(session.connect(ours)).map(|shaken| match shaken {
            TlsProgress::Done(mut stream) => {
                stream.read_exact(&mut [0]).expect("it is sent");
                stream
            }
            TlsProgress::Waiting(_) => panic!("the socket blocks"),
        });
        accepting.join().expect("no panic");
        shaken
    }

    #[test]
    fn a_configuration_that_could_not_be_made_is_tried_again_and_then_kept() {
        let client = TlsClient::new(None).expect("no file to read");
        let failed = client.get_or_make(|| Err("no file descriptor".to_owned()));
        assert_eq!(failed.err().as_deref(), Some("no file descriptor"));
        let first = client.get().expect("a configuration");
        let again = client.get_or_make(|| Err("made twice".to_owned()));
        assert!(Arc::ptr_eq(&first, &again.expect("the same one")));
    }

    #[test]
    fn a_server_is_accepted_only_for_the_names_of_its_certificate() {
        let authority = Authority::new("authority");
        let context = trusting(&authority);
        let context = &context.ssl;
        let refused = |host: &str, names: &str| {
            let why = shake(context, host, &authority.signs(names));
            let why = why.expect_err(&format!("{host} is not {names}"));
            assert!(why.contains("mismatch"), "{why}");
        };
        let taken = |host: &str, names: &str| {
            assert_eq!(shake(context, host, &authority.signs(names)), Ok(()));
        };
        taken("a.zoom.us", "DNS:b.zoom.us,DNS:a.zoom.us");
        taken("a.zoom.us", "DNS:*.zoom.us");
        taken("127.0.0.1", "IP:127.0.0.1");
        taken("::1", "DNS:a.zoom.us,IP:::1");
        refused("a.zoom.us", "DNS:b.zoom.us");
        refused("a.zoom.us", "DNS:zoom.us");
        refused("a.b.zoom.us", "DNS:*.zoom.us");
        refused("rtms1.zoom.us", "DNS:rtms*.zoom.us");
        refused("a.zoom.us", "IP:127.0.0.1");
        refused("127.0.0.1", "IP:127.0.0.2");
        refused("127.0.0.1", "DNS:127.0.0.1");
        // The subject's name is ignored.
        refused("server", "DNS:a.zoom.us");
    }

    #[test]
    fn an_unknown_authority_and_an_expired_certificate_are_refused() {
        let (authority, other) = (Authority::new("authority"), Authority::new("authority"));
        let context = trusting(&authority);
        let context = &context.ssl;
        let server = other.signs("DNS:a.zoom.us");
        let why = shake(context, "a.zoom.us", &server).expect_err("another key signed it");
        assert!(why.contains("certificate"), "{why}");

        let server = authority.signs("DNS:a.zoom.us");
        let with = |version| shake_up_to(context, "a.zoom.us", &server, version);
        assert_eq!(with(SslVersion::TLS1_2), Ok(()));
        assert!(with(SslVersion::TLS1_1).is_err());
    }
}
