//! The fleet for commands: `rtmsd status --fleet`, and the part of `rtmsd check --online` about it.
//!
//! Both read the store themselves, so they work on any machine with the configuration, also when every node is
//! down.

#[cfg(feature = "fleet")]
pub(crate) mod check;
mod read;
mod table;
#[cfg(feature = "fleet")]
mod trial;

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use super::admin_client;
use super::exit::{self, Failure};
use super::status::{over_the_last, terminal};
use crate::admin::fleet::FleetPage;
use crate::config::Config;
use read::Reader;
pub(crate) use read::events_node;

/// Time limit for a node's answer, which takes milliseconds.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Interval of `--watch`.
const WATCH_EVERY: Duration = Duration::from_secs(2);

/// Asks and shows; with `is_watching` until stdout is closed or the process is ended.
pub fn run(config: &Config, is_json: bool, is_watching: bool, out: &mut impl Write) -> u8 {
    let Some(mut reader) = Reader::new(config) else {
        let text =
            "status: found no RTMS_FLEET in the configuration, expected the address of the store\n";
        let _ = out.write_all(text.as_bytes());
        return exit::CONFIG;
    };
    loop {
        let (code, text) = match look(config, &mut reader) {
            Ok(page) if is_json => {
                let json = serde_json::to_string(&page).unwrap_or_default();
                (exit::OK, json + "\n")
            }
            Ok(page) => {
                let mut room = terminal();
                room.lines = room.lines.filter(|_| is_watching);
                (exit::OK, table::page(&page, room))
            }
            Err(Failure(code, text)) => (code, format!("status: {text}\n")),
        };
        let is_screen = is_watching && !is_json && io::stdout().is_terminal();
        let text = match is_screen {
            true => over_the_last(&text),
            false => text,
        };
        let is_shown = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        if is_shown.is_err() || !is_watching {
            return code;
        }
        std::thread::sleep(WATCH_EVERY);
    }
}

/// By the store; if it cannot be reached, by the node of this machine.
fn look(config: &Config, reader: &mut Reader) -> Result<FleetPage, Failure> {
    let why = match reader.read() {
        Ok(page) => return Ok(page),
        Err(why) => why,
    };
    let ask = || {
        let settings = &config.admin;
        let path = format!("/fleet{}", config.app_query('?'));
        let address = admin_client::address(settings)?;
        let token = settings.token.as_ref();
        let answer = admin_client::ask(&address, &path, None, token, ANSWER_MAX)?;
        let page = (answer.status == 200).then(|| serde_json::from_str(&answer.text).ok());
        page.flatten().ok_or_else(|| {
            let text = format!("it answers {}", answer.status);
            Failure(exit::UNAVAILABLE, text)
        })
    };
    let mut page: FleetPage = ask().map_err(|Failure(_, text)| {
        let text = format!("{why}; and of the server on this machine: {text}");
        Failure(exit::UNAVAILABLE, text)
    })?;
    page.store = why;
    Ok(page)
}
