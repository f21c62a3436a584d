//! Parsers from a value's text to its type. Each error says what was expected, to follow "found …".
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use super::keys::CredentialsChoice;
use crate::admin::ListenAddress;
use crate::coordinator::StreamChoice;
use crate::daemon::{OnDeauthorized, OnExit, OnRevoked};
use crate::delivery::push::batch::Format;
use crate::delivery::push::signature::SigningSecret;
use crate::delivery::s3;
use crate::delivery::stdout::StdoutFormat;
use crate::domain::fleet::is_name as is_fleet_name;
use crate::keeping::Amount;
use crate::log::{LEVELS, LogFormat};
use crate::protocol::params::{each_word, one_of};
use crate::protocol::server_url::{bare_host, is_loopback};
use crate::recorder::TranscriptFormats;

/// Maximum time in seconds of a key: a week.
const SECONDS_MAX: u64 = 7 * 86_400;

/// Maximum span of time, seconds: a hundred years.
const SPAN_MAX: u64 = 36_500 * 86_400;

pub(super) type Read<T> = Result<T, String>;

pub(super) fn on_off(text: &str) -> Read<bool> {
    match text.to_ascii_lowercase().as_str() {
        "on" | "true" | "yes" | "1" => Ok(true),
        "off" | "false" | "no" | "0" => Ok(false),
        _ => Err("on or off".to_owned()),
    }
}

/// The word of a switch.
pub(super) fn switch(is_on: bool) -> &'static str {
    match is_on {
        true => "on",
        false => "off",
    }
}

pub(super) fn seconds(text: &str, least: u64) -> Read<Duration> {
    let number = |text: &str| text.parse::<u64>().ok();
    let fits = |seconds: &u64| (least..=SECONDS_MAX).contains(seconds);
    if let Some(seconds) = number(text).filter(fits) {
        return Ok(Duration::from_secs(seconds));
    }
    let expected = format!("seconds from {least} to {SECONDS_MAX}");
    // Some users write 1h; the fault says how to write it.
    let in_units = [("h", 3600), ("m", 60), ("min", 60), ("s", 1)]
        .into_iter()
        .find_map(|(unit, factor)| number(text.strip_suffix(unit)?.trim())?.checked_mul(factor))
        .filter(fits);
    Err(match in_units {
        Some(seconds) => format!("{expected}; write {seconds}"),
        None => expected,
    })
}

/// A span of time with its unit, `90s`, `30m`, `2h` or `30d`; `None` for off.
pub(super) fn span(text: &str) -> Read<Option<Duration>> {
    if text.eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    let seconds = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)]
        .into_iter()
        .find_map(|(unit, factor)| whole(text.strip_suffix(unit)?)?.checked_mul(factor))
        .filter(|seconds| (1..=SPAN_MAX).contains(seconds));
    let span = seconds.map(Duration::from_secs);
    span.map(Some)
        .ok_or_else(|| "a span of time as in 90s, 30m, 2h or 30d, or off".to_owned())
}

/// A size, `200M` or `50G`, or a share of the file system, `5%`; `None` for off.
pub(super) fn amount(text: &str) -> Read<Option<Amount>> {
    if text.eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    let share = text.strip_suffix('%').and_then(whole);
    if let Some(share) = share.filter(|share| (1..=99).contains(share)) {
        return Ok(Some(Amount::Percent(share as u8)));
    }
    let bytes = [("T", 40), ("G", 30), ("M", 20)]
        .into_iter()
        .find_map(|(unit, bits)| whole(text.strip_suffix(unit)?)?.checked_mul(1 << bits))
        .filter(|bytes| *bytes > 0);
    bytes
        .map(|bytes| Some(Amount::Bytes(bytes)))
        .ok_or_else(|| {
            "a size as in 200M, 50G or 2T, a share of the file system as in 5%, or off".to_owned()
        })
}

/// A number of digits alone; `parse` would take a sign.
fn whole(text: &str) -> Option<u64> {
    let is_plain = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain)
}

pub(super) fn number<T>(text: &str, from: T, to: T) -> Read<T>
where
    T: std::str::FromStr + PartialOrd + std::fmt::Display,
{
    match text.parse::<T>() {
        Ok(number) if from <= number && number <= to => Ok(number),
        _ => Err(format!("a number from {from} to {to}")),
    }
}

/// A port, or `None` for off.
pub(super) fn port(text: &str) -> Read<Option<u16>> {
    if text.eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|_| "a port from 0 to 65535 (0: any free one), or off".to_owned())
}

pub(super) fn address(text: &str) -> Read<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    match bare.unwrap_or(text) {
        "localhost" => Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        text => text
            .parse()
            .map_err(|_| "an address of this machine, as in 127.0.0.1, 0.0.0.0 or ::".to_owned()),
    }
}

/// What fits into the kernel's address of a Unix socket.
const UNIX_PATH_BYTES_MAX: usize = 107;

/// Addresses and ports, Unix sockets, or off.
pub(super) fn admin(text: &str) -> Read<Vec<ListenAddress>> {
    if text.eq_ignore_ascii_case("off") {
        return Ok(Vec::new());
    }
    text.split(',').map(str::trim).map(admin_address).collect()
}

fn admin_address(text: &str) -> Read<ListenAddress> {
    if let Some(path) = text.strip_prefix("unix:") {
        let is_path = path.starts_with('/') && path.len() <= UNIX_PATH_BYTES_MAX;
        return match is_path {
            true => Ok(ListenAddress::Unix(PathBuf::from(path))),
            false => Err("unix: and an absolute path of at most 107 bytes".to_owned()),
        };
    }
    let local = text
        .strip_prefix("localhost:")
        .map(|port| format!("127.0.0.1:{port}"));
    let parsed = local.as_deref().unwrap_or(text).parse();
    parsed.map(ListenAddress::Tcp).map_err(|_| {
        "an address and port, as in 127.0.0.1:9464, unix:/path, several of these with commas, or off"
            .to_owned()
    })
}

pub(super) fn webhook_path(text: &str) -> Read<String> {
    let is_plain = |b: u8| b.is_ascii_graphic() && !b"?#\"<>\\^`{|}".contains(&b);
    if text.starts_with('/') && text.len() <= 256 && text.bytes().all(is_plain) {
        Ok(text.to_owned())
    } else {
        Err("a path that begins with \"/\", as in /webhook".to_owned())
    }
}

/// An id, a name, a token: one line without spaces at its ends.
pub(super) fn id(text: &str) -> Read<String> {
    if text.len() <= 256 && text.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err("at most 256 letters, digits and signs without spaces".to_owned())
    }
}

/// A URI reference, as CloudEvents wants it of a source.
pub(super) fn source(text: &str) -> Read<String> {
    let is_plain = |b: u8| b.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&b);
    if !text.is_empty() && text.len() <= 256 && text.bytes().all(is_plain) {
        Ok(text.to_owned())
    } else {
        Err("a URI or a path without spaces, as in /rtmsd/vm1".to_owned())
    }
}

/// A credential for a header: longer than an id, with the same characters.
pub(super) fn token(text: &str) -> Read<String> {
    if text.len() <= 8192 && text.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err("at most 8192 letters, digits and signs without spaces".to_owned())
    }
}

/// `https` anywhere, `http` to loopback only; no user, query or fragment. No slash at the end.
pub(super) fn url(text: &str) -> Read<String> {
    let expected = || "https://host[:port][/path] (http:// to a loopback address only)".to_owned();
    let is_plain = |b: u8| b.is_ascii_graphic() && !b"?#@\"<>\\^`{|}".contains(&b);
    if text.len() > 1024 || !text.bytes().all(is_plain) {
        return Err(expected());
    }
    let (scheme, rest) = text.split_once("://").ok_or_else(expected)?;
    let authority = rest.split('/').next().unwrap_or(rest);
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    let host = bare_host(host).filter(|_| is_port).ok_or_else(expected)?;
    match scheme {
        "https" => {}
        "http" if is_loopback(host) => {}
        _ => return Err(expected()),
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// Where Zoom sends people back: `https`, or `http` to loopback, with a path. Kept as it is, because Zoom
/// compares it letter by letter.
pub(super) fn redirect_url(text: &str) -> Read<String> {
    let expected = || {
        "https://host/path, or http://127.0.0.1:port/path, exactly as on the app's page, as in \
         http://127.0.0.1:8765/oauth"
            .to_owned()
    };
    url(text).map_err(|_| expected())?;
    let rest = text.split_once("://").map_or("", |(_, rest)| rest);
    match rest.find('/').is_some_and(|at| rest.len() > at + 1) {
        true => Ok(text.to_owned()),
        false => Err(expected()),
    }
}

/// `https` or `http` anywhere; whether plain `http` is allowed is decided with `RTMS_PLAINTEXT`.
pub(super) fn endpoint(text: &str) -> Read<String> {
    let checked = match text.strip_prefix("http://") {
        Some(rest) => {
            url(&format!("https://{rest}")).map(|_| text.trim_end_matches('/').to_owned())
        }
        None => url(text),
    };
    checked.map_err(|_| "https://host[:port]".to_owned())
}

/// A bucket's name: what AWS allows, and what others allowed before.
pub(super) fn bucket(text: &str) -> Read<String> {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b".-_".contains(&b);
    let begins_well = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    match begins_well && (3..=63).contains(&text.len()) && text.bytes().all(is_plain) {
        true => Ok(text.to_owned()),
        false => Err("the name of a bucket: 3 to 63 letters, digits, \".\" and \"-\"".to_owned()),
    }
}

/// The beginning of object names, without slashes around it.
pub(super) fn object_prefix(text: &str) -> Read<String> {
    let text = text.trim_matches('/');
    let is_segment = |part: &str| !part.is_empty() && part != "." && part != "..";
    match text.len() <= 512 && text.split('/').all(is_segment) {
        true => Ok(text.to_owned()),
        false => {
            Err("names separated by \"/\", as in recordings/zoom, of at most 512 bytes".to_owned())
        }
    }
}

pub(super) fn s3_style(text: &str) -> Read<s3::Style> {
    let styles = [s3::Style::Auto, s3::Style::Path, s3::Style::Host];
    word(text, &styles.map(|style| (style.name(), style)))
}

pub(super) fn file_choice(text: &str) -> Read<s3::FileChoice> {
    let choices = [s3::FileChoice::All, s3::FileChoice::Text];
    word(text, &choices.map(|choice| (choice.name(), choice)))
}

pub(super) fn s3_encryption(text: &str) -> Read<s3::Encryption> {
    use s3::Encryption::{Aes256, Kms, Off};
    let found = [Off, Aes256, Kms]
        .into_iter()
        .find(|kind| kind.name().eq_ignore_ascii_case(text));
    found.ok_or_else(|| "off, AES256 or aws:kms".to_owned())
}

pub(super) fn s3_credentials(text: &str) -> Read<CredentialsChoice> {
    match (text, text.strip_prefix("file:")) {
        ("ecs", _) => Ok(CredentialsChoice::Ecs),
        ("imds", _) => Ok(CredentialsChoice::Imds),
        (_, Some(place)) if place.starts_with('/') => {
            let (path, profile) = place.rsplit_once('#').unwrap_or((place, "default"));
            Ok(CredentialsChoice::File {
                path: path.into(),
                profile: profile.to_owned(),
            })
        }
        _ => Err("file:/path, file:/path#profile, ecs or imds".to_owned()),
    }
}

/// One of several words.
fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Read<T> {
    let lower = text.to_ascii_lowercase();
    match words.iter().find(|(word, _)| *word == lower) {
        Some((_, value)) => Ok(*value),
        None => Err(one_of(words.iter().map(|(word, _)| *word))),
    }
}

pub(super) fn stdout_format(text: &str) -> Read<Option<StdoutFormat>> {
    let [first, second] = StdoutFormat::ALL.map(|format| (format.name(), Some(format)));
    word(text, &[first, second, ("off", None)])
}

pub(super) fn push_format(text: &str) -> Read<Format> {
    let words = [
        ("webhook", Format::Webhook),
        ("cloudevents", Format::CloudEvents),
    ];
    word(text, &words)
}

/// One secret that signs, or up to three while it is changed.
pub(super) fn signing_secrets(text: &str) -> Read<Vec<SigningSecret>> {
    let words: Vec<&str> = text.split(',').map(str::trim).collect();
    if words.len() > 3 {
        return Err("at most three secrets with commas between them".to_owned());
    }
    words.into_iter().map(SigningSecret::parse).collect()
}

pub(super) fn on_deauthorized(text: &str) -> Read<OnDeauthorized> {
    word(
        text,
        &OnDeauthorized::ALL.map(|choice| (choice.name(), choice)),
    )
}

pub(super) fn on_revoked(text: &str) -> Read<OnRevoked> {
    word(text, &OnRevoked::ALL.map(|choice| (choice.name(), choice)))
}

pub(super) fn stream_choice(text: &str) -> Read<StreamChoice> {
    let words = StreamChoice::ALL.map(|choice| (choice.name(), choice));
    word(text, &words)
}

pub(super) fn on_exit(text: &str) -> Read<OnExit> {
    word(text, &OnExit::ALL.map(|choice| (choice.name(), choice)))
}

/// The name of a fleet, or of a server in it.
pub(super) fn fleet_name(text: &str) -> Read<String> {
    match is_fleet_name(text) {
        true => Ok(text.to_owned()),
        false => Err("a name of 1 to 63 letters, digits, \".\", \"_\" and \"-\"".to_owned()),
    }
}

pub(super) fn log_format(text: &str) -> Read<LogFormat> {
    word(text, &LogFormat::ALL.map(|format| (format.name(), format)))
}

pub(super) fn log_level(text: &str) -> Read<::log::LevelFilter> {
    word(text, &LEVELS)
}

/// The word of a level.
pub(super) fn level_name(level: ::log::LevelFilter) -> &'static str {
    let mut levels = LEVELS.into_iter();
    levels
        .find(|(_, other)| *other == level)
        .map_or("", |(word, _)| word)
}

pub(super) fn transcript_formats(text: &str) -> Read<TranscriptFormats> {
    let mut formats = TranscriptFormats {
        jsonl: false,
        txt: false,
        vtt: false,
        srt: false,
    };
    if text.eq_ignore_ascii_case("off") {
        return Ok(formats);
    }
    for word in each_word(text) {
        match word {
            "jsonl" => formats.jsonl = true,
            "txt" => formats.txt = true,
            "vtt" => formats.vtt = true,
            "srt" => formats.srt = true,
            _ => return Err("any of jsonl,txt,vtt,srt, or off".to_owned()),
        }
    }
    Ok(formats)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for right in [
            "https://api.zoom.us",
            "https://api.zoomgov.com/",
            "https://proxy.example:8443/zoom/oauth",
            "http://127.0.0.1:4000",
            "http://localhost:1/x",
            "http://[::1]:80",
        ] {
            assert_eq!(url(right), Ok(right.trim_end_matches('/').to_owned()));
        }
        for wrong in [
            "api.zoom.us",
            "http://api.zoom.us",
            "http://localhost.evil.test",
            "http://127.0.0.1.evil.test",
            "http://127.0.0.1@evil.test",
            "ftp://127.0.0.1",
            "https://",
            "https://a b",
            "https://user@host",
            "https://host:0",
            "https://host:99999",
            "https://host?x",
            "https://host\0",
            "https://[::1",
        ] {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn buckets_and_what_is_in_them() {
        assert_eq!(
            endpoint("http://minio.lan:9000/"),
            Ok("http://minio.lan:9000".to_owned())
        );
        assert!(endpoint("https://s3.example.com").is_ok());
        for wrong in [
            "minio:9000",
            "http://a:b@c",
            "http://",
            "https://a?b",
            "ftp://a",
        ] {
            assert!(endpoint(wrong).is_err(), "{wrong}");
        }
        assert!(bucket("my.bucket-1").is_ok());
        for wrong in ["ab", "-abc", "a/b/c", "a b c", "bücket", &"x".repeat(64)] {
            assert!(bucket(wrong).is_err(), "{wrong}");
        }
        assert_eq!(object_prefix("/a b/c+d/"), Ok("a b/c+d".to_owned()));
        for wrong in ["/", "a//b", "../x", "a/./b"] {
            assert!(object_prefix(wrong).is_err(), "{wrong}");
        }
        let file = |profile: &str| CredentialsChoice::File {
            path: "/home/a/.aws/credentials".into(),
            profile: profile.to_owned(),
        };
        assert_eq!(
            s3_credentials("file:/home/a/.aws/credentials"),
            Ok(file("default"))
        );
        assert_eq!(
            s3_credentials("file:/home/a/.aws/credentials#zoom"),
            Ok(file("zoom"))
        );
        assert!(s3_credentials("file:x").is_err() && s3_credentials("env").is_err());
        assert_eq!(s3_encryption("aes256"), Ok(s3::Encryption::Aes256));
    }

    #[test]
    fn times() {
        assert_eq!(seconds("10", 0), Ok(Duration::from_secs(10)));
        for (text, expected) in [
            ("1h", "seconds from 0 to 604800; write 3600"),
            ("10 min", "seconds from 0 to 604800; write 600"),
            ("-1", "seconds from 0 to 604800"),
            ("99999999999999999999", "seconds from 0 to 604800"),
            ("9999999999999999999h", "seconds from 0 to 604800"),
            ("1.5", "seconds from 0 to 604800"),
        ] {
            assert_eq!(seconds(text, 0), Err(expected.to_owned()));
        }
    }

    #[test]
    fn spans_and_amounts() {
        let days = |n: u64| Ok(Some(Duration::from_secs(n * 86_400)));
        assert_eq!(span("30d"), days(30));
        assert_eq!(span("48h"), days(2));
        assert_eq!(span("90s"), Ok(Some(Duration::from_secs(90))));
        assert_eq!(span("30m"), Ok(Some(Duration::from_secs(1800))));
        assert_eq!(span("off"), Ok(None));
        for wrong in [
            "",
            "30",
            "0d",
            "d",
            "-1d",
            "+1d",
            "1.5d",
            "30 d",
            "30D",
            "2w",
            "99999999999d",
            "36501d",
        ] {
            assert!(span(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(amount("50G"), Ok(Some(Amount::Bytes(50 << 30))));
        assert_eq!(amount("200M"), Ok(Some(Amount::Bytes(200 << 20))));
        assert_eq!(amount("5%"), Ok(Some(Amount::Percent(5))));
        assert_eq!(amount("off"), Ok(None));
        for wrong in [
            "",
            "5",
            "0M",
            "0%",
            "100%",
            "M",
            "%",
            "-5%",
            "5 G",
            "50GB",
            "50g",
            "1.5G",
            "99999999999T",
        ] {
            assert!(amount(wrong).is_err(), "{wrong:?}");
        }
    }
}
