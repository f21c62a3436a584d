//! The part of `rtmsd check` that judges this machine: ports, limits, the certificate, the clock.
//! A port is taken for an instant to see whether it can be; nothing else is touched.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};

use rustix::process::{Resource, getrlimit};

use crate::config::Config;
use crate::gate::{Tls, TlsFiles};
use crate::time::{Utc, now_ms};

/// Files that the server needs beside its streams: half a thousand webhook connections and itself.
const FILES_BESIDE_STREAMS: u64 = 600;
/// Files of a stream: four sockets at most, a waker, and those that are written.
const FILES_A_STREAM: u64 = 12;
/// From here on a certificate is near its end, days.
const DAYS_MIN: i32 = 14;
/// No clock is right that is before this program was written: 2026-01-01.
const CLOCK_MS_MIN: u64 = 1_767_225_600_000;

/// A topic and the judgement.
pub(super) fn lines(config: &Config) -> Vec<(&'static str, String)> {
    let mut lines = vec![(
        "port",
        port(
            SocketAddr::from((config.host, config.port)),
            "HOST and PORT",
        ),
    )];
    if let Some(address) = config.admin {
        lines.push(("port", port(address, "RTMS_ADMIN")));
    }
    if let Some(files) = &config.tls {
        let files = TlsFiles {
            cert: files.cert.clone(),
            key: files.key.clone(),
        };
        lines.push(("certificate", certificate(&files)));
    }
    // The server raises its limit to this by itself.
    lines.push(("limits", limits(getrlimit(Resource::Nofile).maximum)));
    lines.push(("clock", clock(now_ms())));
    lines
}

fn port(address: SocketAddr, keys: &str) -> String {
    match TcpListener::bind(address) {
        Ok(_) => format!("{address} is free"),
        Err(error) => match error.kind() {
            ErrorKind::AddrInUse => {
                format!("{address} is in USE: by the running server, or change {keys}")
            }
            ErrorKind::PermissionDenied => format!(
                "{address} may NOT be used by this user; use a port from 1024 on, or \"rtmsd print \
                 socket\""
            ),
            _ => format!("{address} can NOT be used: {error}; change {keys}"),
        },
    }
}

fn certificate(files: &TlsFiles) -> String {
    match Tls::load(files).map(|tls| tls.days_left()) {
        Ok(days) if days < 0 => "has EXPIRED; Zoom will not deliver webhooks".to_owned(),
        Ok(days) if days < DAYS_MIN => format!("expires in {days} days: RENEW it"),
        Ok(days) => format!("good for {days} days; after a renewal, SIGHUP"),
        Err(error) => format!("can NOT be used: {error}"),
    }
}

fn limits(files_max: Option<u64>) -> String {
    let Some(files_max) = files_max else {
        return "open files without limit".to_owned();
    };
    let streams = files_max.saturating_sub(FILES_BESIDE_STREAMS) / FILES_A_STREAM;
    let advice = match streams {
        0..50 => "; RAISE it (LimitNOFILE=65536, ulimit -n)",
        _ => "",
    };
    format!("{files_max} open files, enough for about {streams} streams{advice}")
}

fn clock(now_ms: u64) -> String {
    let now = Utc::from_unix_ms(now_ms);
    if now_ms < CLOCK_MS_MIN {
        format!("{now}, which is WRONG; signatures and certificates need the right time")
    } else {
        format!("{now}; --online compares it with Zoom's")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_judged() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = taken.local_addr().expect("it has one");
        assert!(port(address, "PORT").contains("in USE"));
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        assert_eq!(port(free, "PORT"), "127.0.0.1:0 is free");
        for (files, expected) in [
            (None, "open files without limit"),
            (
                Some(65_536),
                "65536 open files, enough for about 5411 streams",
            ),
            (
                Some(1024),
                "1024 open files, enough for about 35 streams; RAISE it (LimitNOFILE=65536, ulimit -n)",
            ),
        ] {
            assert_eq!(limits(files), expected);
        }
        assert!(clock(0).contains("WRONG"));
        assert!(!clock(CLOCK_MS_MIN).contains("WRONG"));
        let nothing = TlsFiles {
            cert: "/nowhere/cert".into(),
            key: "/nowhere/key".into(),
        };
        assert!(certificate(&nothing).starts_with("can NOT be used"));
    }
}
