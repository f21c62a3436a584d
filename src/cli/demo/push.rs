//! HTTP push in the demo: the server sends every event to a receiver that checks each, and the phrases
//! that arrive are compared with those that were sent.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::say;
use super::table::push_table;
use crate::demo::player::handle::MeetingHandle;
use crate::demo::process::ServerCommand;
use crate::demo::receiver::Receiver;
use crate::demo::verify::phrases::compare;

/// What the demo's requests are signed with.
pub(crate) const SECRET: &str = "whsec_ZGVtby1zaWduaW5nLXNlY3JldC1mb3ItcHVzaC0x";

/// The journal of a stream, and of the server.
const JOURNAL: &str = "feed.jsonl";

/// Makes the server push to the receiver.
pub(crate) fn configure(command: &mut ServerCommand, receiver: &Receiver) {
    command.set("RTMS_PUSH_URL", &receiver.url());
    command.set("RTMS_PUSH_SECRET", SECRET);
}

/// The id of every event in the journals, and how many streams have ended in them.
fn journals(folder: &Path) -> io::Result<(Vec<String>, usize)> {
    let (mut ids, mut ended) = (Vec::new(), 0);
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            let (more, more_ended) = journals(&entry.path())?;
            ids.extend(more);
            ended += more_ended;
        } else if entry.file_name() == JOURNAL {
            let text = fs::read_to_string(entry.path())?;
            let lines = text
                .split_inclusive('\n')
                .filter(|line| line.ends_with('\n'));
            for line in lines {
                let event: serde_json::Value =
                    serde_json::from_str(line).map_err(io::Error::other)?;
                ids.push(event["id"].as_str().unwrap_or_default().to_owned());
                ended += usize::from(event["type"] == "stream.ended");
            }
        }
    }
    Ok((ids, ended))
}

/// Waits until the ends of so many streams are in the journals and everything has arrived.
pub(crate) fn wait_until_complete(
    receiver: &Receiver,
    out: &Path,
    streams: usize,
    within: Duration,
) -> io::Result<()> {
    let deadline = Instant::now() + within;
    loop {
        let (ids, ended) = journals(out)?;
        let is_there = ended >= streams && receiver.wait_for(&ids, Duration::ZERO);
        if is_there || Instant::now() >= deadline {
            // What is missing is a failure that is shown in the end.
            return Ok(());
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// Prints what arrived, and returns what failed. Where the server was killed, what it had delivered in
/// its last moments may have come again.
pub(crate) fn judge(
    receiver: &Receiver,
    out: &Path,
    meetings: &[MeetingHandle],
    is_killed: bool,
) -> io::Result<Vec<String>> {
    let (ids, _) = journals(out)?;
    let checks = receiver.checks();
    let lost = ids.iter().filter(|id| !checks.has(id)).count();
    let mut faults = checks.faults.clone();
    let mut rows = Vec::new();
    for meeting in meetings {
        let topic = meeting.script().topic.clone();
        let lines = checks.phrases_of(&meeting.script().id);
        let result = compare(&meeting.sent(), lines.iter().map(String::as_str));
        if !result.is_exact() {
            faults.push(format!("{topic}: pushed phrases: {result:?}"));
        }
        rows.push((topic, result));
    }
    if lost > 0 {
        faults.push(format!(
            "push: {lost} of {} events in the journals did not arrive",
            ids.len()
        ));
    }
    if checks.events() != ids.len() - lost {
        faults.push(format!(
            "push: {} events arrived, {} are in the journals",
            checks.events(),
            ids.len()
        ));
    }
    let repeats = checks.unexplained_repeats();
    if repeats > 0 && !is_killed {
        faults.push(format!(
            "push: {repeats} events came again without a reason"
        ));
    }
    say(&push_table(&rows));
    say(&format!(
        "push: {} events delivered, {lost} lost, {} sent again, each stream in order, {} requests with \
         a right signature",
        checks.events(),
        checks.repeated,
        checks.signed
    ));
    Ok(faults)
}
