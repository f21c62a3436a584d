//! `rtmsd status`: asks the admin listener of the running server, and shows its streams.
//!
//! Exit codes: 0 shown; 69 the server cannot be reached or does not answer; 77 it wants another
//! token; 78 the admin listener is off.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::admin::streams::{Line, Streams};
use crate::config::Config;
use crate::exit;

/// The answer takes milliseconds.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// An answer of ten thousand streams has a few MiB.
const ANSWER_BYTES_MAX: u64 = 64 << 20;
/// Between two looks with `--watch`.
const WATCH_EVERY: Duration = Duration::from_secs(2);

/// A failure in words, with the exit code that goes with it.
#[derive(Debug)]
struct Failure(u8, String);

/// Asks and shows; with `is_watching` until the reader is gone or the process is ended.
pub fn run(config: &Config, is_json: bool, is_watching: bool, out: &mut impl Write) -> u8 {
    loop {
        let (code, text) = match ask(config) {
            Ok(body) if is_json => (exit::OK, body.trim_end().to_owned() + "\n"),
            Ok(body) => match serde_json::from_str::<Streams>(&body) {
                Ok(streams) => (exit::OK, page(&streams)),
                Err(error) => (
                    exit::UNAVAILABLE,
                    format!("status: found another answer than rtmsd's at RTMS_ADMIN: {error}\n"),
                ),
            },
            Err(Failure(code, text)) => (code, format!("status: {text}\n")),
        };
        // Clears the screen of a terminal, from the first line on.
        let clear = match is_watching && !is_json {
            true => "\u{1b}[2J\u{1b}[H",
            false => "",
        };
        if show(out, clear, &text).is_err() || !is_watching {
            return code;
        }
        std::thread::sleep(WATCH_EVERY);
    }
}

fn show(out: &mut impl Write, clear: &str, text: &str) -> io::Result<()> {
    write!(out, "{clear}{text}")?;
    out.flush()
}

fn ask(config: &Config) -> Result<String, Failure> {
    let Some(address) = config.admin else {
        let text = "RTMS_ADMIN is off, so the server cannot be asked; set it to 127.0.0.1:9464";
        return Err(Failure(exit::CONFIG, text.to_owned()));
    };
    let address = reachable(address);
    let unreachable = |error: &dyn std::fmt::Display| {
        let text = format!("no answer from http://{address}: {error}; is the server running?");
        Failure(exit::UNAVAILABLE, text)
    };
    let agent = ureq::Agent::config_builder()
        .proxy(None)
        .max_redirects(0)
        .http_status_as_error(false)
        .timeout_global(Some(ANSWER_MAX))
        .build()
        .new_agent();
    let mut request = agent.get(format!("http://{address}/streams"));
    if let Some(token) = &config.admin_token {
        request = request.header("Authorization", format!("Bearer {}", token.expose()));
    }
    let mut response = request.call().map_err(|error| unreachable(&error))?;
    let body = response
        .body_mut()
        .with_config()
        .limit(ANSWER_BYTES_MAX)
        .read_to_string()
        .map_err(|error| unreachable(&error))?;
    match response.status().as_u16() {
        200 => Ok(body),
        401 => Err(Failure(
            exit::NO_PERMISSION,
            "the server wants another RTMS_ADMIN_TOKEN".to_owned(),
        )),
        code => Err(unreachable(&format!("found {code} {:?}", body.trim()))),
    }
}

/// Where a server that listens on every address is asked.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn page(answer: &Streams) -> String {
    let up = age(answer.now_ms.saturating_sub(answer.started_ms) / 1000);
    let mut text = format!("rtmsd {}, up {up}, ", answer.version);
    text += &match answer.streams.len() + answer.omitted {
        0 => "no streams".to_owned(),
        1 => "1 stream".to_owned(),
        n => format!("{n} streams"),
    };
    if let Some(trouble) = &answer.trouble {
        text += &format!("; NOT READY: {}", printable(trouble));
    }
    text.push('\n');
    if !answer.streams.is_empty() {
        text += "\n";
        text += &table(answer);
    }
    if answer.omitted > 0 {
        text += &format!("and {} more\n", answer.omitted);
    }
    text
}

fn table(answer: &Streams) -> String {
    const HEADS: [&str; 9] = [
        "MEETING",
        "PRODUCT",
        "STATE",
        "AGE",
        "MEDIA",
        "MESSAGES",
        "LAST DATA",
        "RECONNECTS",
        "WAITS FOR",
    ];
    let mut rows = vec![HEADS.map(str::to_owned)];
    rows.extend(answer.streams.iter().map(|line| row(line, answer.now_ms)));
    let widths: Vec<usize> = (0..HEADS.len())
        .map(|n| {
            rows.iter()
                .map(|row| row[n].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate();
        let cells = cells.map(|(n, (cell, &width))| match n {
            // Numbers and times to the right.
            3 | 5 | 6 | 7 => format!("{cell:>width$}"),
            _ => format!("{cell:<width$}"),
        });
        let line: Vec<String> = cells.collect();
        text += line.join("  ").trim_end();
        text.push('\n');
    }
    text
}

fn row(line: &Line, now_ms: u64) -> [String; 9] {
    let name = line.topic.as_ref().or(line.meeting_id.as_ref());
    let media: Vec<&str> = line.media.keys().map(String::as_str).collect();
    let messages: u64 = line.media.values().map(|count| count.messages).sum();
    let nothing = || "-".to_owned();
    let last = |ms: u64| format!("{} ago", age(now_ms.saturating_sub(ms) / 1000));
    [
        cut(&printable(name.unwrap_or(&line.id)), 32),
        printable(&line.product),
        printable(&line.state),
        age(line.age_s),
        if media.is_empty() {
            nothing()
        } else {
            printable(&media.join(","))
        },
        messages.to_string(),
        line.last_data_ms.map_or_else(nothing, last),
        line.reconnects.to_string(),
        line.waits_for.as_deref().map_or_else(nothing, printable),
    ]
}

/// A topic is what any host typed; a terminal must not obey it.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

fn cut(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some(_) => text.chars().take(chars_max - 1).chain(['…']).collect(),
        None => text.to_owned(),
    }
}

/// The two largest units: `3s`, `2m05s`, `4h02m`, `3d04h`.
fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::streams::Count;

    #[test]
    fn the_table_is_one_to_read() {
        let line = |topic: &str, state: &str, waits_for: Option<&str>| Line {
            stream_id: "s".to_owned(),
            product: "meeting".to_owned(),
            id: "uuid==".to_owned(),
            meeting_id: Some("81234567890".to_owned()),
            topic: (!topic.is_empty()).then(|| topic.to_owned()),
            state: state.to_owned(),
            waits_for: waits_for.map(str::to_owned),
            age_s: 125,
            media: std::iter::once((
                "transcript".to_owned(),
                Count {
                    messages: 12,
                    bytes: 4000,
                },
            ))
            .filter(|_| waits_for.is_none())
            .collect(),
            last_data_ms: waits_for.is_none().then_some(999_000),
            reconnects: 1,
            losses: 1,
            keep_alives: 9,
        };
        let answer = Streams {
            v: 1,
            version: "0.1.0".to_owned(),
            started_ms: 0,
            now_ms: 1_000_000,
            trouble: Some("draining".to_owned()),
            omitted: 0,
            streams: vec![
                line(
                    "Board\u{1b}[31m of a very long name indeed, sir",
                    "receiving",
                    None,
                ),
                line("", "connecting", Some("the signaling handshake")),
            ],
        };
        let expected = "\
rtmsd 0.1.0, up 16m40s, 2 streams; NOT READY: draining

MEETING                           PRODUCT  STATE         AGE  MEDIA       MESSAGES  LAST DATA  RECONNECTS  WAITS FOR
Board[31m of a very long name i…  meeting  receiving   2m05s  transcript        12     1s ago           1  -
81234567890                       meeting  connecting  2m05s  -                  0          -           1  the signaling handshake
";
        assert_eq!(page(&answer), expected);
    }

    #[test]
    fn an_age_has_two_units() {
        for (seconds, expected) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m00s"),
            (3_600, "1h00m"),
            (90_000, "1d01h"),
        ] {
            assert_eq!(age(seconds), expected);
        }
    }
}
