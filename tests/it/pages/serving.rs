//! The pages over HTTP.

use rtmsd::demo::Options;

use crate::harness::{Harness, http};

/// The answer to a request for this path, with these fields.
fn ask(harness: &Harness, method: &str, path: &str, fields: &str) -> (u16, String) {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
    let answer = http::ask(harness.admin(), request.as_bytes());
    (http::status(&answer), answer)
}

fn field<'a>(answer: &'a str, name: &str) -> &'a str {
    let mut lines = answer.lines().take_while(|line| !line.is_empty());
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    value.unwrap_or_default()
}

#[test]
fn g1_g4_pages_need_no_credential_and_have_their_headers() {
    let harness = Harness::builder(Options::default())
        .admin()
        .settings(&[("RTMS_ADMIN_TOKEN", "0123456789abcdef")])
        .start();
    let mut paths = [
        "/",
        "/live/bdd2d51ed67606f5",
        "/meetings",
        "/meetings/bdd2d51ed67606f5",
    ]
    .map(str::to_owned)
    .to_vec();
    let mut at = 0;
    while let Some(path) = paths.get(at).cloned() {
        at += 1;
        let (status, answer) = ask(&harness, "GET", &path, "");
        assert_eq!(status, 200, "{path}");
        let policy = field(&answer, "Content-Security-Policy");
        for rule in [
            "default-src 'none'",
            "script-src 'self'",
            "connect-src 'self'",
            "frame-ancestors 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
        ] {
            assert!(policy.contains(rule), "{path}: {policy}");
        }
        for (name, value) in [
            ("Referrer-Policy", "no-referrer"),
            ("X-Content-Type-Options", "nosniff"),
            ("Cross-Origin-Opener-Policy", "same-origin"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("Cache-Control", "no-cache"),
        ] {
            assert_eq!(field(&answer, name), value, "{path}");
        }
        let tag = field(&answer, "ETag");
        let (_, body) = http::status_and_body(&answer);
        let known = format!("If-None-Match: {tag}\r\n");
        let (status, again) = ask(&harness, "GET", &path, &known);
        assert_eq!(status, 304, "{path}: {tag}");
        assert_eq!(http::status_and_body(&again).1, "");
        assert_eq!(field(&again, "ETag"), tag);
        let (status, head) = ask(&harness, "HEAD", &path, "");
        assert_eq!((status, http::status_and_body(&head).1.as_str()), (200, ""));
        assert_eq!(field(&head, "Content-Length"), body.len().to_string());
        // What the page names is there, too.
        for part in body.split('"') {
            let part = part.trim_start_matches("../").trim_start_matches("./");
            let is_file = [".js", ".css", ".svg"]
                .iter()
                .any(|end| part.ends_with(end));
            let path = format!("/pages/{}", part.trim_start_matches("pages/"));
            if is_file && !paths.contains(&path) {
                paths.push(path);
            }
        }
    }
    assert!(paths.len() > 15, "{paths:?}");
    assert_eq!(ask(&harness, "POST", "/", "Content-Length: 0\r\n").0, 405);
    assert_eq!(ask(&harness, "GET", "/pages/mod.rs", "").0, 404);
    assert_eq!(ask(&harness, "GET", "/live/bdd2d5", "").0, 401);
    let rebound = "GET / HTTP/1.1\r\nHost: rebound.example\r\n\r\n";
    let answer = http::ask(harness.admin(), rebound.as_bytes());
    assert_eq!(http::status(&answer), 421);
    harness.end();
}
