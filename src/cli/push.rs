//! `rtmsd push`: tries an endpoint from this process, or has the running server do something.
//!
//! Exit codes: 0 done, or a 2xx answer; 64 there is no such endpoint or stream; 69 the endpoint or the
//! server cannot be reached, or refuses; 77 the server wants another token; 78 the configuration lacks
//! something.

use std::io::Write;
use std::net::ToSocketAddrs;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::json;

use super::admin_client;
use super::args::{Push, PushAction};
use super::exit::{self, Failure};
use crate::clock::now_ms;
use crate::config::Config;
use crate::delivery::push::answer::{Answer, Fault, Verdict};
use crate::delivery::push::request::{Client, Exchange};
use crate::delivery::push::settings::{DEFAULT_NAME, EndpointSettings};
use crate::delivery::push::signature::SigningSecret;
use crate::domain::time::Utc;

/// A replay looks into every journal since its beginning.
const ANSWER_MAX: Duration = Duration::from_secs(35);
/// Verifiers accept a time that differs by five minutes.
const CLOCK_MAX_S: i64 = 300;
/// The bytes of a new secret.
const SECRET_BYTES: usize = 32;

/// Prints a new secret.
pub fn secret(out: &mut impl Write) -> u8 {
    let mut bytes = [0; SECRET_BYTES];
    if let Err(error) = openssl::rand::rand_bytes(&mut bytes) {
        let _ = writeln!(out, "push: there are no random numbers: {error}");
        return exit::SOFTWARE;
    }
    let _ = writeln!(out, "{}", SigningSecret::text(&bytes));
    exit::OK
}

/// Does what the command line asks for.
pub fn run(command: &Push, config: &Config, out: &mut impl Write) -> u8 {
    let done = match &command.action {
        PushAction::Test => test(command, config, out),
        _ => order(command, config, out),
    };
    match done {
        Ok(code) => code,
        Err(Failure(code, text)) => {
            // A reader that is gone does not want to know.
            let _ = writeln!(out, "push: {text}");
            code
        }
    }
}

fn endpoint<'a>(command: &Push, config: &'a Config) -> Result<&'a EndpointSettings, Failure> {
    let endpoints = &config.daemon.push;
    let named = endpoints
        .iter()
        .find(|endpoint| endpoint.name == command.name);
    named.ok_or_else(|| {
        let names: Vec<&str> = endpoints
            .iter()
            .map(|endpoint| endpoint.name.as_str())
            .collect();
        let keys = match command.name.as_str() {
            DEFAULT_NAME => "RTMS_PUSH_URL and RTMS_PUSH_SECRET".to_owned(),
            name => {
                let name = name.to_ascii_uppercase();
                format!("RTMS_PUSH_{name}_URL and RTMS_PUSH_{name}_SECRET")
            }
        };
        match names.as_slice() {
            [] => Failure(
                exit::CONFIG,
                format!("no endpoint is configured; set {keys}"),
            ),
            names => Failure(
                exit::USAGE,
                format!(
                    "found {:?}, expected one of {}",
                    command.name,
                    names.join(", ")
                ),
            ),
        }
    })
}

/// Sends one event and says what came of it.
fn test(command: &Push, config: &Config, out: &mut impl Write) -> Result<u8, Failure> {
    let endpoint = endpoint(command, config)?;
    let settings = &config.daemon;
    let client = Client::new(settings.proxy.clone(), settings.ca_file.clone());
    let proxy = client
        .proxy(endpoint)
        .map_err(|text| Failure(exit::CONFIG, text))?;
    let now = now_ms();
    let id = format!("test-{now}");
    let time = Utc::from_unix_ms(now).to_string();
    let event = json!({
        "type": "push.test", "timestamp": time, "specversion": "1.0", "id": id, "source": "/rtmsd",
        "time": time, "data": {"v": 1},
    });
    let content_type = endpoint.format.content_type(1);
    let exchange = client.post(
        endpoint,
        &id,
        content_type,
        event.to_string().as_bytes(),
        now / 1000,
    );
    let address = match proxy {
        Some(_) => "through the proxy of the environment".to_owned(),
        None => addresses(endpoint),
    };
    let tls = match (endpoint.url.is_https(), exchange.answer) {
        (false, _) => "none: plain http",
        (true, Answer::Status { .. }) => "verified",
        (true, Answer::None(Fault::Tls)) => "not accepted",
        (true, Answer::None(_)) => "not reached",
    };
    let mut lines = vec![
        ("endpoint", endpoint.name.clone()),
        ("host", endpoint.url.origin().to_owned()),
        ("address", address),
        ("tls", tls.to_owned()),
        ("event", id),
        ("answer", answer(&exchange)),
    ];
    lines.extend(clock(&exchange, now).map(|text| ("clock", text)));
    lines.extend(wrong(exchange.answer).map(|text| ("wrong", text.to_owned())));
    for (topic, text) in lines {
        let _ = writeln!(out, "{topic:<10}{text}");
    }
    Ok(match exchange.answer.verdict() {
        Verdict::Delivered => exit::OK,
        _ => exit::UNAVAILABLE,
    })
}

fn addresses(endpoint: &EndpointSettings) -> String {
    let origin = endpoint.url.origin();
    let (_, place) = origin.split_once("://").unwrap_or(("", origin));
    let port = if endpoint.url.is_https() { 443 } else { 80 };
    let has_port = place
        .rsplit_once(':')
        .is_some_and(|(_, port)| !port.ends_with(']'));
    let found = match has_port {
        true => place.to_socket_addrs(),
        false => (endpoint.url.host(), port).to_socket_addrs(),
    };
    match found {
        Ok(found) => {
            let found: Vec<String> = found.map(|address| address.to_string()).collect();
            found.join(", ")
        }
        Err(error) => format!("none: {error}"),
    }
}

fn answer(exchange: &Exchange) -> String {
    let ms = exchange.took.as_millis();
    match exchange.answer {
        Answer::Status { status, .. } => format!("{status} after {ms} ms"),
        Answer::None(fault) => format!("none after {ms} ms: {}: {}", fault.name(), exchange.detail),
    }
}

/// How our clock differs from the receiver's, if so.
fn clock(exchange: &Exchange, sent_ms: u64) -> Option<String> {
    let there = exchange.date?.duration_since(UNIX_EPOCH).ok()?.as_secs() as i64;
    let ahead = (sent_ms / 1000) as i64 - there;
    (ahead.abs() > CLOCK_MAX_S / 10).then(|| {
        let side = if ahead > 0 { "ahead of" } else { "behind" };
        format!(
            "this machine is {} s {side} the receiver, which accepts {CLOCK_MAX_S} s",
            ahead.abs()
        )
    })
}

/// What a person can do about it.
fn wrong(answer: Answer) -> Option<&'static str> {
    let Answer::Status { status, .. } = answer else {
        let Answer::None(fault) = answer else {
            return None;
        };
        return Some(match fault {
            Fault::Name => "the name of the host has no address",
            Fault::Connect => "nothing listens there, or a firewall is in between",
            Fault::Tls => "its certificate is not trusted here; RTMS_CA_FILE adds roots",
            Fault::Proxy => "the proxy does not connect",
            Fault::Reset => "the connection ended before an answer",
            Fault::Timeout => "no answer within 15 s; answer first, and work afterwards",
            Fault::Malformed => "what came back is no HTTP",
            Fault::Internal => "the request could not be made",
        });
    };
    match status {
        200..=299 => None,
        300..=399 => Some("redirects are not followed: set the URL to where it leads"),
        401 | 403 => Some("the receiver does not accept the signature or RTMS_PUSH_AUTHORIZATION"),
        404 | 405 => Some("nothing takes a POST at this path"),
        410 => Some("the receiver says that this endpoint is gone for ever"),
        429 | 503 => Some("the receiver is busy"),
        400..=499 => {
            Some("the receiver refuses the request itself; many answer so to a wrong secret")
        }
        _ => Some("the receiver failed"),
    }
}

/// Has the running server carry the command out.
fn order(command: &Push, config: &Config, out: &mut impl Write) -> Result<u8, Failure> {
    let (verb, body) = match &command.action {
        PushAction::Pause => ("pause", json!({})),
        PushAction::Resume => ("resume", json!({})),
        PushAction::Replay { from, stream } => ("replay", json!({"from": from, "stream": stream})),
        PushAction::Test | PushAction::Secret => return Ok(exit::USAGE),
    };
    let (address, token) = admin_client::access(config)?;
    let json = body.to_string();
    let path = format!("/push/{}/{verb}{}", command.name, config.app_query('?'));
    let answer = admin_client::ask(&address, &path, Some(json), token.as_ref(), ANSWER_MAX)?;
    let said = answer.text.trim();
    match answer.status {
        204 => {
            let done = match verb {
                "pause" => "paused",
                "resume" => "resumed",
                _ => "old events come again before newer ones",
            };
            let _ = writeln!(out, "push {}: {done}", command.name);
            Ok(exit::OK)
        }
        401 | 403 => Err(Failure(exit::NO_PERMISSION, said.to_owned())),
        400 | 404 | 409 => Err(Failure(exit::USAGE, format!("{}: {said}", command.name))),
        status => Err(answer.unreachable(&format!("{status} {said}"))),
    }
}
