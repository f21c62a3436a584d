//! `rtmsd tail`: what the running server receives, from `/events` of its admin listener.
//!
//! The last lines come by the JSON form of `/events`, what follows by server-sent events. One position
//! orders everything, so the next request continues at the last id of the one before, whatever happened
//! in between.
//!
//! Exit codes: 0 shown, or the stream has ended, or the reader of the output is gone; 64 there is no such
//! stream; 69 the server cannot be reached at first, or has no `/events`; 77 it wants another token; 78
//! the configuration lacks something.

mod last;
mod print;
mod sse;

use std::collections::HashSet;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use self::last::{After, Page};
use self::print::{Form, PHRASES, Printer};
use self::sse::Parser;
use crate::admin::streams::Streams;
use crate::cli::admin_client;
use crate::cli::admin_http::{Answer, Client, Request, Trouble};
use crate::cli::exit::{self, Failure};
use crate::cli::session::{End, Reply, Session, failed};
use crate::config::Config;
use crate::domain::text::percent_encoded;
use crate::feed::{Line, kind};

/// Lines that are printed where `-n` says nothing.
pub const COUNT_DEFAULT: usize = 10;
/// Lines of one answer, the most that the server gives.
const LINES_MAX: usize = 1000;
/// How long one request waits for the first stream of a meeting, seconds.
const MEETING_WAIT_S: u64 = 10;
/// For the head of an answer, which comes at once.
const HEAD_MAX: Duration = Duration::from_secs(15);
/// Silence of a connection on which the server sends a comment every 15 seconds.
const SILENCE_MAX: Duration = Duration::from_secs(50);

/// What is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// STREAM or MEETING; `None` for every running stream.
    pub name: Option<String>,
    /// `--json`.
    pub json: bool,
    /// `--follow`.
    pub follow: bool,
    /// `-n`; `None` for `all`.
    pub count: Option<usize>,
    /// `--config`.
    pub config: Option<PathBuf>,
}

/// Shows what the command line asks for on standard output.
pub fn run(options: &Options, config: &Config) -> u8 {
    let stdout = io::stdout();
    let access = admin_client::access(config).map_err(End::Failed);
    let ended = access.and_then(|(address, token)| {
        let client = Client {
            address,
            token,
            head_max: HEAD_MAX,
            output: Some(stdout.as_fd()),
        };
        let session = Session::new("tail", client, options.follow);
        Tail::new(options, config, session, stdout.lock()).run()
    });
    match ended {
        Ok(()) | Err(End::OutputClosed) => exit::OK,
        Err(End::Failed(Failure(code, text))) => {
            eprintln!("tail: {text}");
            code
        }
    }
}

struct Tail<'a, W> {
    options: &'a Options,
    session: Session<'a>,
    form: Form,
    /// The part of a query that says which app; empty for all.
    app: String,
    /// The part of a query that says which app and stream; empty for all.
    filter: String,
    out: W,
}

impl<'a, W: Write> Tail<'a, W> {
    fn new(options: &'a Options, config: &Config, session: Session<'a>, out: W) -> Tail<'a, W> {
        Tail {
            options,
            session,
            form: match options.json {
                true => Form::Lines {
                    is_terminal: io::stdout().is_terminal(),
                },
                false => Form::Phrases,
            },
            app: config.app_query('&'),
            filter: config.app_query('&'),
            out,
        }
    }

    fn run(mut self) -> Result<(), End> {
        let options = self.options;
        let running = match &options.name {
            Some(name) => {
                let key = self.find(name)?;
                self.filter = format!("{}&stream={}", self.app, percent_encoded(&key));
                None
            }
            None => Some(self.running()?),
        };
        if running.as_ref().is_some_and(|running| running.count == 0) {
            self.session.say(match self.options.follow {
                true => "no stream is running; waiting",
                false => "no stream is running",
            });
            if !self.options.follow {
                return Ok(());
            }
        }
        let mut printer = Printer::new(self.form, running.as_ref().map(|running| running.count));
        let form = self.form;
        // A position is one of all streams, so others that have just ended are in the answers, too.
        let wants = |line: &Line<'_>| {
            form.wants(line) && running.as_ref().is_none_or(|running| running.has(line))
        };
        let next = match self.options.count {
            None => self.print_all(&mut printer, &wants)?,
            Some(count) => {
                let found = last::last(count, &mut |after| self.page(after), &wants)?;
                self.print(&mut printer, &found.lines)?;
                found.next
            }
        };
        match self.options.follow {
            true => self.follow(&mut printer, next),
            false => Ok(()),
        }
    }

    /// The streams that are running.
    fn running(&mut self) -> Result<Running, End> {
        let reply = self.session.reply(&format!("/streams?{}", self.app))?;
        if reply.status != 200 {
            return Err(self.session.refused(reply.status, &reply.text, None));
        }
        let streams: Streams = serde_json::from_str(&reply.text)
            .map_err(|_| self.session.foreign("another page than /streams"))?;
        Ok(Running {
            count: streams.streams.len() + streams.omitted,
            keys: (streams.omitted == 0).then(|| {
                let keys = streams.streams.into_iter();
                keys.filter_map(|stream| stream.key).collect()
            }),
        })
    }

    /// That the newest stream of a meeting was removed, if it was: nothing can be received of it then.
    fn removed(&mut self, meeting: &str) -> Result<Option<String>, End> {
        let (app, meeting) = (&self.app, percent_encoded(meeting));
        let target = format!("/meetings?format=json&limit=1&q={meeting}{app}");
        let reply = self.session.reply(&target)?;
        let list: serde_json::Value = serde_json::from_str(&reply.text).unwrap_or_default();
        let words = list["meetings"][0]["removed"]["words"].as_str();
        Ok(words.map(str::to_owned))
    }

    /// The key of the stream that is meant: what is only the beginning of a name today could fit several
    /// tomorrow. A meeting is its newest stream; with `--follow` its first one is waited for.
    fn find(&mut self, name: &str) -> Result<String, End> {
        let number = name.replace([' ', '-'], "");
        let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
        let meeting = if is_number { &number } else { name };
        let (mut filter, mut wait_s) = (format!("&stream={}", percent_encoded(name)), 0);
        loop {
            let app = &self.app;
            let target = format!("/events?wait={wait_s}&limit=1&after=begin{app}{filter}");
            let reply = self.session.reply(&target)?;
            match (reply.status, filter.starts_with("&meeting")) {
                (200, is_meeting) => {
                    let page = self.read_page(&reply)?;
                    let line = page.lines.first();
                    match line.and_then(|text| Line::parse(text.as_bytes())) {
                        Some(line) => return Ok(key_of(&line).to_owned()),
                        // It has no line yet.
                        None if !is_meeting => return Ok(name.to_owned()),
                        None if !self.options.follow => {
                            if let Some(words) = self.removed(meeting)? {
                                return Err(self.session.refused(410, &words, Some(name)));
                            }
                            let text = "nothing was received of it";
                            return Err(self.session.refused(404, text, Some(name)));
                        }
                        None if wait_s == 0 => {
                            let text = format!("nothing was received of {name:?}; waiting");
                            self.session.say(&text);
                            wait_s = MEETING_WAIT_S;
                        }
                        None => {}
                    }
                }
                (204, false) => return Ok(name.to_owned()),
                (400 | 404, false) => filter = format!("&meeting={}", percent_encoded(meeting)),
                (status, _) => return Err(self.session.refused(status, &reply.text, Some(name))),
            }
        }
    }

    /// What follows a position, up to now; `None` for a stream that has ended there.
    fn page(&mut self, after: After) -> Result<Option<Page>, End> {
        let target = format!(
            "/events?wait=0&limit={LINES_MAX}&after={}{}{}",
            after.text(),
            self.types(&PHRASES),
            self.filter
        );
        let reply = self.session.reply(&target)?;
        match reply.status {
            200 => self.read_page(&reply).map(Some),
            204 => Ok(None),
            status => {
                let name = self.options.name.as_deref();
                Err(self.session.refused(status, &reply.text, name))
            }
        }
    }

    fn read_page(&self, reply: &Reply) -> Result<Page, End> {
        let is_json = reply.content_type.starts_with("application/json");
        let page = Page::read(&reply.text).filter(|_| is_json);
        page.ok_or_else(|| self.session.foreign("JSON that is not that of /events"))
    }

    /// The part of a query that leaves out what is not printed.
    fn types(&self, kinds: &[&str]) -> String {
        match self.form {
            Form::Phrases => format!("&types={}", kinds.join(",")),
            Form::Lines { .. } => String::new(),
        }
    }

    /// Prints everything that there is. Returns the position where it ends.
    fn print_all(
        &mut self,
        printer: &mut Printer,
        wants: &impl Fn(&Line<'_>) -> bool,
    ) -> Result<Option<u64>, End> {
        let (mut next, mut after) = (None, After::Begin);
        while let Some(page) = self.page(after)? {
            next = Some(page.next);
            let is_wanted =
                |line: &&String| Line::parse(line.as_bytes()).is_some_and(|l| wants(&l));
            self.print(printer, page.lines.iter().filter(is_wanted))?;
            match page.continues(after) {
                Some(further) => after = further,
                None => break,
            }
        }
        Ok(next)
    }

    /// Prints what comes, until a stream that was named has ended.
    fn follow(&mut self, printer: &mut Printer, next: Option<u64>) -> Result<(), End> {
        // To these a server answers with the end of the connection.
        let [phrase, updated] = PHRASES;
        let types = self.types(&[phrase, updated, kind::STREAM_ENDED, kind::STREAM_REVOKED]);
        let (begin, last_id) = match next {
            Some(next) => ("now", After::Pos(next).text()),
            None => ("begin", String::new()),
        };
        let target = format!("/events?after={begin}{types}{}", self.filter);
        let mut parser = Parser::new(&last_id);
        loop {
            let last_id = parser.last_id().to_owned();
            let request = Request {
                target: &target,
                json: None,
                accept: "text/event-stream",
                last_id: &last_id,
                upgrade: None,
            };
            let mut answer = self.session.get(&request, parser.retry())?;
            match answer.status {
                200 if answer.content_type.starts_with("text/event-stream") => {}
                200 => return Err(self.session.foreign("another page than /events")),
                204 => return Ok(()),
                status => {
                    let text = answer.text(SILENCE_MAX, 1 << 20).unwrap_or_default();
                    let name = self.options.name.as_deref();
                    return Err(self.session.refused(status, &text, name));
                }
            }
            let has_ended = self.read(&mut answer, &mut parser, printer)?;
            parser.restart();
            if !has_ended {
                self.session.pause(parser.retry(), None)?;
            }
        }
    }

    /// Prints the events of one connection. Returns whether it was closed because a stream has ended.
    fn read(
        &mut self,
        answer: &mut Answer<'_>,
        parser: &mut Parser,
        printer: &mut Printer,
    ) -> Result<bool, End> {
        let mut has_ended = false;
        let (mut bytes, mut out) = (Vec::new(), Vec::new());
        loop {
            bytes.clear();
            match answer.read(&mut bytes, SILENCE_MAX) {
                Ok(true) => self.session.works(),
                Ok(false) => return Ok(has_ended && self.options.name.is_some()),
                Err(Trouble::OutputClosed) => return Err(End::OutputClosed),
                Err(Trouble::Lost(error)) => {
                    self.session.lost(&error.to_string())?;
                    return Ok(false);
                }
            }
            let pushed = parser.push(&bytes, |event| {
                has_ended = is_end(event.data);
                printer.push(&mut out, event.data);
            });
            // What came before is printed in any case.
            self.write(&out)?;
            out.clear();
            pushed.map_err(|_| self.session.foreign("an event without an end"))?;
        }
    }

    fn print<'l>(
        &mut self,
        printer: &mut Printer,
        lines: impl IntoIterator<Item = &'l String>,
    ) -> Result<(), End> {
        let mut out = Vec::new();
        for line in lines {
            printer.push(&mut out, line);
        }
        self.write(&out)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), End> {
        let written = self.out.write_all(bytes).and_then(|()| self.out.flush());
        written.map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe => End::OutputClosed,
            _ => failed(exit::UNAVAILABLE, format!("standard output: {error}")),
        })
    }
}

/// What is running at first.
struct Running {
    count: usize,
    /// The keys of their journals, if all are known.
    keys: Option<HashSet<String>>,
}

impl Running {
    fn has(&self, line: &Line<'_>) -> bool {
        self.keys
            .as_ref()
            .is_none_or(|keys| keys.contains(key_of(line)))
    }
}

/// The key of a line's journal.
fn key_of<'a>(line: &Line<'a>) -> &'a str {
    line.id.split('-').next().unwrap_or_default()
}

/// Whether a stream's journal ends with this line.
fn is_end(line: &str) -> bool {
    let line = Line::parse(line.as_bytes());
    line.is_some_and(|line| matches!(line.kind, kind::STREAM_ENDED | kind::STREAM_REVOKED))
}
