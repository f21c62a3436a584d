//! `rtmsd status`: asks the admin listener of the running server, and shows its streams.
//!
//! Exit codes: 0 shown; 64 there is no such app; 69 the server cannot be reached or does not answer; 77 it requires another
//! token; 78 the admin listener is off.

pub(crate) mod table;
pub(crate) mod width;

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use rustix::termios::tcgetwinsize;

use crate::admin::streams::Streams;
use crate::cli::admin_client;
use crate::cli::exit::{self, Failure};
use crate::config::Config;
use table::{Room, page};

/// Time limit for the answer, which takes milliseconds.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Interval of `--watch`.
const WATCH_EVERY: Duration = Duration::from_secs(2);

/// Asks and shows; with `is_watching` until stdout is closed or the process is ended.
pub fn run(config: &Config, is_json: bool, is_watching: bool, out: &mut impl Write) -> u8 {
    loop {
        let (code, text) = match ask(config) {
            Ok(body) if is_json => (exit::OK, body.trim_end().to_owned() + "\n"),
            Ok(body) => match serde_json::from_str::<Streams>(&body) {
                Ok(streams) => (exit::OK, page(&streams, room(is_watching))),
                Err(_) => (
                    exit::UNAVAILABLE,
                    "status: found another answer than rtmsd's; is RTMS_ADMIN that of the server, \
                     and the server of this version?\n"
                        .to_owned(),
                ),
            },
            Err(Failure(code, text)) => (code, format!("status: {text}\n")),
        };
        let is_screen = is_watching && !is_json && io::stdout().is_terminal();
        let text = match is_screen {
            true => over_the_last(&text),
            false => text,
        };
        if show(out, &text).is_err() || !is_watching {
            return code;
        }
        std::thread::sleep(WATCH_EVERY);
    }
}

fn show(out: &mut impl Write, text: &str) -> io::Result<()> {
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Replaces the lines on the screen one by one, to avoid flickering.
pub(super) fn over_the_last(text: &str) -> String {
    format!("\u{1b}[H{}\u{1b}[J", text.replace('\n', "\u{1b}[K\n"))
}

/// The size of the terminal; no limit without one.
pub(super) fn terminal() -> Room {
    let size = tcgetwinsize(io::stdout()).ok();
    let size = size.filter(|size| size.ws_col > 0 && size.ws_row > 0);
    Room {
        columns: size.map(|size| size.ws_col.into()),
        lines: size.map(|size| size.ws_row.into()),
    }
}

fn room(is_watching: bool) -> Room {
    let mut room = terminal();
    // Of a page that is only looked at once, the rest can be scrolled to.
    room.lines = room.lines.filter(|_| is_watching);
    room
}

fn ask(config: &Config) -> Result<String, Failure> {
    let settings = &config.admin;
    let path = format!("/streams{}", config.app_query('?'));
    let address = admin_client::address(settings)?;
    let token = settings.token.as_ref();
    let answer = admin_client::ask(&address, &path, None, token, ANSWER_MAX)?;
    match answer.status {
        200 => Ok(answer.text),
        401 => Err(Failure(
            exit::NO_PERMISSION,
            "the server wants another RTMS_ADMIN_TOKEN".to_owned(),
        )),
        404 if !config.app().name.is_empty() => {
            let text = answer.text.trim().to_owned();
            Err(Failure(exit::USAGE, text))
        }
        503 => Err(answer.unreachable(&answer.text.trim())),
        code => {
            let text = format!(
                "something else than rtmsd answers at {}, with {code}; is RTMS_ADMIN that of the server?",
                admin_client::shown(&address)
            );
            Err(Failure(exit::UNAVAILABLE, text))
        }
    }
}
