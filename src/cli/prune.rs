//! `rtmsd prune`: what the rules would remove, or removing it now.
//!
//! Beside a running server, that one does it, since it knows what runs and what is delivered. Where none
//! runs, this process does it, under the locks that the server would hold.
//!
//! Exit codes: 0 done; 69 the server cannot be asked, or files cannot be read; 77 no permission.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

use super::admin_client;
use super::exit::{self, Failure};
use super::status::width;
use crate::clock::now_ms;
use crate::config::Config;
use crate::daemon::Settings;
use crate::domain::text::one_line;
use crate::domain::time::Utc;
use crate::keeping::holds::Files;
use crate::keeping::plan::Held;
use crate::keeping::{Bytes, Keeper, Rules, Survey};
use crate::recorder::OutLock;
use crate::recorder::catalog::Recording;
use crate::recorder::removal::{Alone, Part, Reason, Tombstone};
use crate::state::StateDir;

/// The server answers at once, and does it then.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How often the server is asked whether it is done.
const POLL: Duration = Duration::from_millis(200);
/// A hundred thousand pictures take seconds, on a slow disk minutes.
const DONE_MAX: Duration = Duration::from_secs(600);

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// `--now`; else `--dry-run`.
    pub is_now: bool,
    /// `--json`.
    pub json: bool,
    /// `--config`.
    pub config: Option<PathBuf>,
}

/// Shows, or removes.
pub fn run(options: &Options, config: &Config, out: &mut impl Write) -> u8 {
    let settings = &config.daemon;
    let Some(disk) = &settings.disk else {
        ::log::error!("prune: RTMS_OUT is off, so nothing is recorded");
        return exit::CONFIG;
    };
    let done = match options.is_now {
        false => dry_run(settings, &disk.root).map(|page| page.write(options.json, out)),
        true => now(options, config, &disk.root, out),
    };
    match done {
        // A reader that is gone does not want to know.
        Ok(_) => exit::OK,
        Err(Failure(code, text)) => {
            ::log::error!("prune: {text}");
            code
        }
    }
}

/// What the rules would remove now, by the files alone.
pub(super) fn survey(settings: &Settings, root: &Path) -> Result<Survey, Failure> {
    let holds = files(settings)?;
    let mut keeper = Keeper::new(root, Box::new(holds));
    let surveyed = keeper.survey(&settings.keeping, now_ms(), &|| false);
    surveyed.map_err(|error| unreadable(root, &error))
}

fn files(settings: &Settings) -> Result<Files, Failure> {
    let names = settings.push.iter().map(|it| it.name.clone()).collect();
    let files = Files::new(settings.state.as_deref(), names);
    match files.fault() {
        None => Ok(files),
        Some(error) => {
            let state = settings.state.clone().unwrap_or_default();
            let code = code(error);
            let text = format!(
                "RTMS_STATE: found {}: {error}, expected a folder that can be read",
                state.display()
            );
            Err(Failure(code, text))
        }
    }
}

fn code(error: &std::io::Error) -> u8 {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => exit::NO_PERMISSION,
        _ => exit::UNAVAILABLE,
    }
}

fn unreadable(root: &Path, error: &std::io::Error) -> Failure {
    let text = format!(
        "RTMS_OUT: found {}: {error}, expected a folder that can be read",
        root.display()
    );
    Failure(code(error), text)
}

fn dry_run(settings: &Settings, root: &Path) -> Result<Page, Failure> {
    let survey = survey(settings, root)?;
    let removals = survey.plan.removals.iter();
    let rows = removals.map(|it| Row::new(root, &survey, it.stream, it.part, it.reason, it.bytes));
    Ok(Page {
        is_done: false,
        rows: rows.collect(),
        held: held(root, &survey),
        notes: notes(&settings.keeping, &survey),
    })
}

fn held(root: &Path, survey: &Survey) -> Vec<(Row, &'static str)> {
    let held = survey.plan.held.iter();
    held.map(|it: &Held| {
        let bytes = survey.streams[it.stream].bytes_of(it.part);
        let row = Row::new(root, survey, it.stream, it.part, it.reason, bytes);
        (row, it.hold.name())
    })
    .collect()
}

fn notes(rules: &Rules, survey: &Survey) -> Vec<String> {
    if !rules.is_some() {
        let text = "no rule is set: everything is kept; see RTMS_KEEP and RTMS_DISK_MAX";
        return vec![text.to_owned()];
    }
    let plan = &survey.plan;
    let short = [
        (plan.over_max, "above RTMS_DISK_MAX"),
        (plan.under_free, "missing to RTMS_DISK_FREE_MIN"),
    ];
    let short = short.into_iter().filter(|(bytes, _)| *bytes > 0);
    short
        .map(|(bytes, what)| format!("{} are {what} even then", Bytes(bytes)))
        .collect()
}

/// Removes what the rules say, here or in the server.
fn now(
    options: &Options,
    config: &Config,
    root: &Path,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let settings = &config.daemon;
    if !root.is_dir() {
        let text = format!("RTMS_OUT: found no folder {}", root.display());
        return Err(Failure(exit::UNAVAILABLE, text));
    }
    let _lock = match OutLock::take(root) {
        Ok(Some(lock)) => lock,
        Ok(None) => {
            let text = format!("{} cannot be locked, so nothing is removed", root.display());
            return Err(Failure(exit::UNAVAILABLE, text));
        }
        Err(_) => return by_server(options, config, root, out),
    };
    // A server with another RTMS_OUT may use the same state.
    let _state = match settings.state.as_deref().filter(|state| state.is_dir()) {
        None => None,
        Some(state) => Some(StateDir::open(state).map_err(|error| {
            Failure(
                exit::UNAVAILABLE,
                format!("{error}; stop that server first"),
            )
        })?),
    };
    let mut keeper = Keeper::new(root, Box::new(files(settings)?));
    let mut removed = Vec::new();
    let mut report = |it: &Tombstone| removed.push(it.clone());
    let done = keeper.round(&settings.keeping, now_ms(), &Alone, &|| false, &mut report);
    let survey = done.map_err(|error| unreadable(root, &error))?;
    let page = Page {
        is_done: true,
        rows: removed.iter().map(|it| Row::removed(root, it)).collect(),
        held: held(root, &survey),
        notes: notes(&settings.keeping, &survey),
    };
    page.write(options.json, out);
    Ok(())
}

/// What the server answers.
#[derive(Debug, Deserialize)]
struct Progress {
    run: u64,
    done: u64,
}

/// Has the server do it, and shows what has gone by the tombstones.
fn by_server(
    options: &Options,
    config: &Config,
    root: &Path,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let before = dry_run(&config.daemon, root)?;
    let (address, token) = admin_client::access(config)?;
    let path = format!("/prune{}", config.app_query('?'));
    let ask = |is_new: bool| {
        let body = Some(json!({"ask": is_new}).to_string());
        let answer = admin_client::ask(&address, &path, body, token.as_ref(), ANSWER_MAX)?;
        match answer.status {
            202 => serde_json::from_str::<Progress>(&answer.text)
                .map_err(|_| answer.unreachable(&"another answer than that of /prune")),
            401 | 403 => Err(Failure(exit::NO_PERMISSION, answer.text.trim().to_owned())),
            404 => Err(Failure(exit::CONFIG, answer.text.trim().to_owned())),
            status => Err(answer.unreachable(&format!("{status} {}", answer.text.trim()))),
        }
    };
    let run = ask(true)?.run;
    let until = Instant::now() + DONE_MAX;
    while ask(false)?.done < run {
        if Instant::now() > until {
            let text = "the server is not done after ten minutes; it goes on";
            return Err(Failure(exit::UNAVAILABLE, text.to_owned()));
        }
        std::thread::sleep(POLL);
    }
    let (gone, left): (Vec<Row>, Vec<Row>) = before.rows.into_iter().partition(Row::is_gone);
    let left = left.into_iter().map(|row| (row, "open"));
    let page = Page {
        is_done: true,
        rows: gone,
        held: before.held.into_iter().chain(left).collect(),
        notes: before.notes,
    };
    page.write(options.json, out);
    Ok(())
}

/// A stream that goes or has gone.
#[derive(Debug)]
struct Row {
    key: String,
    started_ms: u64,
    ended_ms: Option<u64>,
    /// Number, or id.
    meeting: String,
    topic: String,
    part: Part,
    reason: Reason,
    bytes: u64,
    folder: PathBuf,
}

impl Row {
    fn new(
        root: &Path,
        survey: &Survey,
        stream: usize,
        part: Part,
        reason: Reason,
        bytes: u64,
    ) -> Row {
        let stream = &survey.streams[stream];
        let recording = Recording::read(root, &stream.place.path());
        let meeting = recording
            .as_ref()
            .map(|it| it.meeting_id.clone().unwrap_or_else(|| it.id.clone()));
        Row {
            key: stream.place.key().to_string(),
            started_ms: stream.started_ms,
            ended_ms: stream.ended_ms,
            meeting: meeting.unwrap_or_default(),
            topic: recording.and_then(|it| it.topic).unwrap_or_default(),
            part,
            reason,
            bytes,
            folder: root.join(stream.place.path()),
        }
    }

    fn removed(root: &Path, tombstone: &Tombstone) -> Row {
        let meeting = tombstone.meeting_id.as_ref().unwrap_or(&tombstone.id);
        Row {
            key: tombstone.key().to_string(),
            started_ms: tombstone.started_ms,
            ended_ms: Some(tombstone.ended_ms),
            meeting: meeting.clone(),
            topic: String::new(),
            part: tombstone.part,
            reason: tombstone.reason,
            bytes: tombstone.bytes,
            folder: root.join(tombstone.place.path()),
        }
    }

    /// Whether nothing of it is there any more.
    fn is_gone(&self) -> bool {
        use crate::recorder::removal::folders::part_of;
        let Ok(inside) = self.folder.read_dir() else {
            return true;
        };
        let names = inside.flatten().map(|it| it.file_name());
        let mut names = names.filter_map(|it| it.into_string().ok());
        self.part != Part::All && !names.any(|name| part_of(&name) == Some(self.part))
    }

    fn cells(&self) -> [String; 6] {
        let started = Utc::from_unix_ms(self.started_ms);
        [
            format!("{} {}", started.date(), &started.clock()[..5]),
            one_line(&self.meeting).into_owned(),
            one_line(&self.topic).into_owned(),
            self.part.name().to_owned(),
            Bytes(self.bytes).to_string(),
            self.reason.by().to_owned(),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "v": 1,
            "key": self.key,
            "started_ms": self.started_ms,
            "ended_ms": self.ended_ms,
            "meeting": self.meeting,
            "part": self.part.name(),
            "reason": self.reason.name(),
            "by": self.reason.by(),
            "bytes": self.bytes,
            "folder": self.folder,
        })
    }
}

/// What is printed.
#[derive(Debug)]
struct Page {
    is_done: bool,
    rows: Vec<Row>,
    /// With the word why it stays.
    held: Vec<(Row, &'static str)>,
    notes: Vec<String>,
}

impl Page {
    fn write(&self, json: bool, out: &mut impl Write) {
        // A reader that is gone does not want to know.
        let _ = match json {
            true => out.write_all(self.json().as_bytes()),
            false => out.write_all(self.text().as_bytes()),
        };
        let _ = out.flush();
    }

    fn bytes(&self) -> u64 {
        self.rows.iter().map(|row| row.bytes).sum()
    }

    fn json(&self) -> String {
        let mut text = String::new();
        let mut add = |value: Value| text.extend([value.to_string().as_str(), "\n"]);
        for row in &self.rows {
            let mut value = row.json();
            value["state"] = if self.is_done { "removed" } else { "due" }.into();
            add(value);
        }
        for (row, why) in &self.held {
            let mut value = row.json();
            value["state"] = "held".into();
            value["held_by"] = (*why).into();
            add(value);
        }
        text
    }

    fn text(&self) -> String {
        let mut cells: Vec<[String; 6]> = self.rows.iter().map(Row::cells).collect();
        let count = cells.len();
        for (row, why) in &self.held {
            let mut row = row.cells();
            row[5] = format!("{}, but kept: {}", row[5], held_words(why));
            cells.push(row);
        }
        let widths: [usize; 6] = std::array::from_fn(|at| {
            let widths = cells.iter().map(|row| width::of(&row[at]));
            widths.max().unwrap_or(0)
        });
        let mut text = String::new();
        for (number, row) in cells.iter().enumerate() {
            if number == count {
                text.push('\n');
            }
            let mut line = String::new();
            for (at, cell) in row.iter().enumerate().filter(|(at, _)| widths[*at] > 0) {
                let padding = " ".repeat(widths[at] - width::of(cell));
                match at {
                    4 => line.extend([&padding, cell.as_str(), "  "]),
                    _ => line.extend([cell.as_str(), &padding, "  "]),
                }
            }
            text.extend([line.trim_end(), "\n"]);
        }
        if !cells.is_empty() {
            text.push('\n');
        }
        let what = if self.is_done { "removed" } else { "would go" };
        let bytes = Bytes(self.bytes());
        text += &match count {
            0 if self.is_done => "nothing was removed".to_owned(),
            0 => "nothing would go".to_owned(),
            1 => format!("1 {what}, {bytes}"),
            n => format!("{n} {what}, {bytes}"),
        };
        match self.held.len() {
            0 => text.push('\n'),
            n => text += &format!("; {n} are kept for now\n"),
        }
        for note in &self.notes {
            text.extend([note.as_str(), "\n"]);
        }
        text
    }
}

fn held_words(why: &str) -> &'static str {
    match why {
        "push" => "a push endpoint has not had all of it",
        "ends" => "its upload or program waits",
        _ => "it runs, or has just ended",
    }
}
