//! `https`: certificates verified against the system's roots and those of `RTMS_CA_FILE`, directly
//! and through a proxy.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use native_tls::{Identity, TlsAcceptor};
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509NameBuilder};

use rtmsd::zoom_api::Kind;

use super::scripted::{Answer, Scripted};
use super::*;

fn key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

/// A certificate for these names, signed by `issuer`, or a self-signed authority without one.
fn certificate(
    name: &str,
    key: &PKey<Private>,
    issuer: Option<(&X509, &PKey<Private>)>,
    until_days: i64,
) -> X509 {
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_text("CN", name).unwrap();
    let subject = subject.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let serial = BigNum::from_u32(if issuer.is_some() { 2 } else { 1 }).unwrap();
    builder
        .set_serial_number(&serial.to_asn1_integer().unwrap())
        .unwrap();
    builder.set_subject_name(&subject).unwrap();
    builder.set_pubkey(key).unwrap();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs() as i64;
    let day = 24 * 3600;
    let begin = Asn1Time::from_unix(now - 10 * day).unwrap();
    let end = Asn1Time::from_unix(now + until_days * day).unwrap();
    builder.set_not_before(&begin).unwrap();
    builder.set_not_after(&end).unwrap();
    let mut constraints = BasicConstraints::new();
    if issuer.is_none() {
        constraints.critical().ca();
    }
    builder
        .append_extension(constraints.build().unwrap())
        .unwrap();
    let (issuer_name, issuer_key) = match issuer {
        Some((certificate, issuer_key)) => {
            let mut names = SubjectAlternativeName::new();
            match name.parse::<std::net::IpAddr>() {
                Ok(_) => names.ip(name),
                Err(_) => names.dns(name),
            };
            let names = names.build(&builder.x509v3_context(None, None)).unwrap();
            builder.append_extension(names).unwrap();
            (certificate.subject_name(), issuer_key)
        }
        None => (&*subject, key),
    };
    builder.set_issuer_name(issuer_name).unwrap();
    builder.sign(issuer_key, MessageDigest::sha256()).unwrap();
    builder.build()
}

/// TLS with this name, and the authority that signed its certificate.
pub(crate) fn acceptor(name: &str, until_days: i64) -> (TlsAcceptor, X509) {
    let authority_key = key();
    let authority = certificate("test authority", &authority_key, None, 30);
    let own_key = key();
    let own = certificate(
        name,
        &own_key,
        Some((&authority, &authority_key)),
        until_days,
    );
    let identity = Identity::from_pkcs8(
        &own.to_pem().unwrap(),
        &own_key.private_key_to_pem_pkcs8().unwrap(),
    )
    .unwrap();
    (TlsAcceptor::new(identity).unwrap(), authority)
}

/// A Zoom over TLS with this name, and the authority that signed its certificate.
pub(crate) fn secure_zoom(name: &str, until_days: i64) -> (Scripted, X509) {
    let (tls, authority) = acceptor(name, until_days);
    let zoom = Scripted::with_tls(Some(tls), |request| {
        if is_oauth(request) {
            token(1, 3600)
        } else {
            Answer::empty(204)
        }
    });
    (zoom, authority)
}

fn trusting(settings: Settings, folder: &TempDir, authority: &X509) -> Settings {
    let file = folder.join("ca.pem");
    std::fs::write(&file, authority.to_pem().unwrap()).unwrap();
    Settings {
        ca_file: Some(file),
        ..settings
    }
}

#[test]
fn a_configured_root_is_trusted() {
    let folder = TempDir::new();
    let (zoom, authority) = secure_zoom("127.0.0.1", 20);
    let settings = settings(&zoom, server_to_server());
    let error = settings.api().unwrap().control(&start("1")).unwrap_err();
    assert_eq!(error.kind(), Kind::Certificate, "{error}");
    assert!(error.to_string().contains("RTMS_CA_FILE"), "{error}");
    assert!(
        zoom.requests().is_empty(),
        "no token is sent to an unverified server"
    );
    let api = trusting(settings, &folder, &authority).api().unwrap();
    api.control(&start("1")).unwrap();
    assert_eq!(zoom.requests().len(), 2);
}

#[test]
fn a_wrong_name_or_an_expired_certificate_is_refused() {
    for (name, until_days) in [("api.zoom.test", 20), ("127.0.0.1", -1)] {
        let folder = TempDir::new();
        let (zoom, authority) = secure_zoom(name, until_days);
        let settings = trusting(settings(&zoom, server_to_server()), &folder, &authority);
        let error = settings.api().unwrap().control(&start("1")).unwrap_err();
        assert_eq!(error.kind(), Kind::Certificate, "{error}");
        assert!(zoom.requests().is_empty());
    }
}

#[test]
fn plain_http_at_an_https_url_is_no_certificate_error() {
    let (zoom, _) = zoom(|_| Answer::empty(204));
    let mut settings = settings(&zoom, server_to_server());
    settings.oauth_url = format!("https://{}/oauth/token", zoom.address());
    let error = settings.api().unwrap().control(&start("1")).unwrap_err();
    assert_eq!(error.kind(), Kind::Reset, "{error}");
}

/// A forward proxy that gives this answer to every CONNECT; a 200 connects to `target` for any
/// requested host. Returns its address and the requests.
pub(crate) fn proxy(
    status: &'static str,
    target: SocketAddr,
) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&heads);
    // Ends with the test's process.
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let kept = Arc::clone(&kept);
            std::thread::spawn(move || tunnel(client.unwrap(), status, target, &kept));
        }
    });
    (address, heads)
}

fn tunnel(client: TcpStream, status: &str, target: SocketAddr, heads: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(client.try_clone().unwrap());
    let mut head = String::new();
    while reader.read_line(&mut head).unwrap() > 2 {}
    heads.lock().unwrap().push(head);
    let mut writer = client;
    write!(writer, "HTTP/1.1 {status}\r\n\r\n").unwrap();
    if status.starts_with("200") {
        let mut there = TcpStream::connect(target).unwrap();
        let mut back = there.try_clone().unwrap();
        let to_client = std::thread::spawn(move || {
            let _ = std::io::copy(&mut back, &mut writer);
        });
        let _ = std::io::copy(&mut reader, &mut there);
        let _ = there.shutdown(std::net::Shutdown::Both);
        let _ = to_client.join();
    }
}

fn through_proxy(status: &'static str) -> (Result<(), rtmsd::zoom_api::Error>, Vec<String>) {
    let folder = TempDir::new();
    let (zoom, authority) = secure_zoom("api.zoom.test", 20);
    let (address, heads) = proxy(status, zoom.address());
    let mut settings = trusting(settings(&zoom, server_to_server()), &folder, &authority);
    settings.api_url = "https://api.zoom.test".to_owned();
    settings.oauth_url = "https://api.zoom.test/oauth/token".to_owned();
    settings.proxy.https = Some(format!("http://me:{MARK}@{address}"));
    let done = settings.api().unwrap().control(&start("1"));
    let heads = heads.lock().unwrap().clone();
    (done, heads)
}

#[test]
fn a_proxy_connects_to_zoom() {
    let (done, heads) = through_proxy("200 Connection established");
    done.unwrap();
    assert!(!heads.is_empty());
    for head in heads {
        assert!(
            head.starts_with("CONNECT api.zoom.test:443 HTTP/1.1\r\n"),
            "{head}"
        );
        assert!(head.contains("Proxy-Authorization: Basic "), "{head}");
    }
}

#[test]
fn a_failing_proxy_is_named() {
    for (status, kind) in [
        ("403 Forbidden", Kind::Proxy),
        ("502 Bad Gateway", Kind::Proxy),
        ("407 Proxy Authentication Required", Kind::ProxyLogin),
    ] {
        let (done, _) = through_proxy(status);
        let error = done.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains("HTTPS_PROXY"), "{error}");
        assert!(!error.to_string().contains(MARK), "{error}");
    }
}

#[test]
fn loopback_needs_no_proxy_in_any_environment() {
    let (zoom, fetches) = zoom(|_| Answer::empty(204));
    let (address, heads) = proxy("502 Bad Gateway", zoom.address());
    let mut settings = settings(&zoom, server_to_server());
    settings.proxy = rtmsd::net::proxy::ProxyEnv::read(|_| Some(format!("http://{address}")));
    settings.proxy.none_for = None;
    settings.api().unwrap().control(&start("1")).unwrap();
    assert_eq!(fetches.load(Ordering::SeqCst), 1);
    assert!(heads.lock().unwrap().is_empty());
}
