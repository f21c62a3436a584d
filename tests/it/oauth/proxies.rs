//! Other ways to Zoom: proxies of the environment, custom roots, other clouds.

use super::*;
use crate::api::tls::{proxy, secure_zoom};
use crate::harness::Ran;

/// Runs `rtmsd start` for these addresses with that proxy environment; returns its output, and the
/// hosts that the proxy was asked for.
fn start(host: &str, port: bool, more: &[(&str, &str)], trusts: bool) -> (Ran, Vec<String>, usize) {
    let folder = TempDir::new();
    let (zoom, authority) = secure_zoom(host, 20);
    let (proxy, heads) = proxy("200 Connection established", zoom.address());
    let ca = folder.join("ca.pem");
    std::fs::write(&ca, authority.to_pem().unwrap()).unwrap();
    let base = match port {
        true => format!("https://{host}:{}", zoom.address().port()),
        false => format!("https://{host}"),
    };
    let mut environment = vec![
        ("ZOOM_API_URL", base.clone()),
        ("ZOOM_OAUTH_URL", format!("{base}/oauth/token")),
        ("ZOOM_CLIENT_ID", "app".to_owned()),
        ("ZOOM_CLIENT_SECRET", "s".to_owned()),
        ("ZOOM_ACCOUNT_ID", "acc".to_owned()),
        ("HTTPS_PROXY", format!("http://me:proxy-password@{proxy}")),
        ("RTMS_LOG", "trace".to_owned()),
    ];
    if trusts {
        environment.push(("RTMS_CA_FILE", ca.display().to_string()));
    }
    environment.extend(more.iter().map(|(key, value)| (*key, (*value).to_owned())));
    let environment: Vec<(&str, &str)> = environment
        .iter()
        .map(|(key, value)| (*key, value.as_str()))
        .collect();
    let ran = run(&["start", "81234567890"], &environment);
    assert!(!format!("{ran:?}").contains("proxy-password"), "{ran:?}");
    let heads = heads.lock().unwrap().clone();
    let hosts = heads
        .iter()
        .map(|head| head.split(' ').nth(1).unwrap().to_owned());
    (ran, hosts.collect(), zoom.requests().len())
}

/// The government cloud by its own names, through a proxy, with a custom root: only the two
/// configured addresses exist here.
#[test]
fn another_cloud_through_a_proxy() {
    let (ran, hosts, requests) = start("api.zoomgov.com", false, &[], true);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(
        !hosts.is_empty() && hosts.iter().all(|host| host == "api.zoomgov.com:443"),
        "{hosts:?}"
    );
    assert_eq!(requests, 2);
}

#[test]
fn a_certificate_of_an_unknown_authority_is_refused() {
    let (ran, _, requests) = start("api.zoomgov.com", false, &[], false);
    assert_eq!(ran.code, Some(69), "{ran:?}");
    assert!(
        ran.stdout
            .contains("put its root certificate into RTMS_CA_FILE"),
        "{ran:?}"
    );
    assert_eq!(requests, 0, "no secret was sent to an unverified server");
}

/// 0.0.0.0 reaches this machine, but does not look like a loopback address.
#[test]
fn no_proxy_is_respected() {
    let (ran, hosts, requests) = start("0.0.0.0", true, &[("NO_PROXY", "zoom.us,0.0.0.0")], true);
    assert_eq!((ran.code, requests), (Some(0), 2), "{ran:?}");
    assert_eq!(hosts, Vec::<String>::new());
    let (ran, hosts, requests) = start("0.0.0.0", true, &[("NO_PROXY", "zoom.us")], true);
    assert_eq!((ran.code, requests), (Some(0), 2), "{ran:?}");
    assert!(!hosts.is_empty());
}

#[test]
fn a_proxy_is_not_used_for_loopback() {
    let (ran, hosts, requests) = start("127.0.0.1", true, &[], true);
    assert_eq!((ran.code, requests), (Some(0), 2), "{ran:?}");
    assert_eq!(hosts, Vec::<String>::new());
}

#[test]
fn an_invalid_proxy_is_reported() {
    for value in ["socks5://127.0.0.1:1", "http://me:proxy-password@"] {
        let (ran, _, requests) = start("api.zoomgov.com", false, &[("https_proxy", value)], true);
        assert_eq!((ran.code, requests), (Some(78), 0), "{ran:?}");
        assert!(ran.stdout.contains("HTTPS_PROXY"), "{ran:?}");
    }
}
