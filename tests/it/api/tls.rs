//! `https`: certificates verified against the system's roots and those of `RTMS_CA_FILE`, directly
//! and through a proxy.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use openssl::x509::X509;
use rtmsd::zoom_api::Kind;

use super::*;
use crate::harness::certificates::acceptor;
use crate::harness::scripted::{Answer, Scripted};

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
