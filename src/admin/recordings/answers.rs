//! What is answered to requests for recordings, links and tickets.

use std::cmp::Reverse;
use std::io::{self, Write};
use std::iter::Peekable;
use std::sync::atomic::Ordering::Acquire;

use serde_json::{Value, json};

use super::find::{find, find_named, is_revoked};
use super::meeting::meeting;
use super::wanted::Wanted;
use super::{Shared, Written};
use crate::admin::links::request::{self, LinkRequest};
use crate::admin::links::ticket::{TICKET_FOR_S, Ticket};
use crate::admin::links::token::Link;
use crate::admin::{files, line};
use crate::clock::now_ms;
use crate::delivery::live::Access;
use crate::domain::time::Utc;
use crate::feed::JournalKey;
use crate::gate::{Answer, answer_bytes, open_answer_bytes};
use crate::recorder::captions::write_captions;
use crate::recorder::catalog::{Query, Recording, Search};

/// Answers, or says why not. The inner result is that of writing.
pub(super) fn answer_from(
    shared: &Shared,
    written: &[Written],
    wanted: &Wanted,
    access: &Access,
    out: &mut dyn Write,
) -> Result<io::Result<()>, Answer> {
    let find = |key| find(&shared.places, written, key);
    let json = |value: &Value| {
        let answer = Answer::text(200, format!("{value}\n")).of_type("application/json");
        answer_bytes(&answer.with("Cache-Control", "no-store"), false)
    };
    match wanted {
        Wanted::Meetings { text, limit, after } => {
            let found = list(shared, written, text, *limit, *after);
            Ok(out.write_all(&json(&found)))
        }
        Wanted::Meeting(key) => {
            let (_, recording) = find(*key)?;
            let found = meeting(&recording, *access != Access::All)
                .map_err(|error| line(503, &format!("meta.json cannot be read: {error}")))?;
            Ok(out.write_all(&json(&found)))
        }
        Wanted::Captions(key, format) => {
            let (found, recording) = find(*key)?;
            let head = Answer::text(200, "").of_type(format.media_type());
            let head = open_answer_bytes(&head.with("Cache-Control", "no-store"));
            let may_go_on = || shared.may_go_on(&found.output, *key, access);
            let begun = out.write_all(&head);
            Ok(begun.and_then(|()| write_captions(&recording, *format, out, &may_go_on)))
        }
        Wanted::Link(LinkRequest::RevokeAll) => {
            let replaced = shared.server.links.replace();
            replaced.map_err(|error| no_key(&error))?;
            (shared.server.look_at_links)();
            log::info!("every link was revoked");
            Ok(out.write_all(&answer_bytes(&Answer::text(204, ""), false)))
        }
        Wanted::Link(LinkRequest::Make {
            name,
            for_s,
            has_files,
        }) => {
            let key = find_named(&shared.places, written, name)?;
            let Some(base) = (shared.server.base)() else {
                let text = "browsers cannot open a Unix socket: add an address to RTMS_ADMIN, or \
                            set RTMS_ADMIN_URL";
                return Err(line(409, text));
            };
            let signing = shared.server.links.get_or_make();
            let signing = signing.map_err(|error| no_key(&error))?;
            let link = Link {
                key,
                has_files: *has_files,
                expires_s: now_ms() / 1000 + for_s,
            };
            let answer = request::answer(&link, &link.sign(&signing.secret), &base);
            Ok(out.write_all(&json(&answer)))
        }
        Wanted::Ticket { key, file } => {
            if !find(*key)?.1.files().contains(file) {
                return Err(line(404, "there is no such file"));
            }
            let signing = shared.server.links.get_or_make();
            let signing = signing.map_err(|error| no_key(&error))?;
            // No ticket outlives the link that it was asked for with.
            let link_ends_s = access.term().map(|term| term.expires_ms / 1000);
            let expires_s = now_ms() / 1000 + TICKET_FOR_S;
            let ticket = Ticket {
                key: *key,
                file,
                expires_s: expires_s.min(link_ends_s.unwrap_or(u64::MAX)),
            };
            let expires_ms = ticket.expires_s * 1000;
            let path = files::path(*key, file);
            Ok(out.write_all(&json(&json!({
                "url": format!("{path}?t={}", ticket.sign(&signing.secret)),
                "expires": Utc::from_unix_ms(expires_ms).to_string(),
                "expires_ms": expires_ms,
            }))))
        }
        // It is sent by a thread of the other kind.
        Wanted::File(_) => Err(line(404, "there is no such file")),
    }
}

/// A page of the list.
fn list(
    shared: &Shared,
    written: &[Written],
    text: &str,
    limit: usize,
    after: Option<JournalKey>,
) -> Value {
    let query = Query {
        text: text.to_owned(),
        ..Query::default()
    };
    let is_stopping = || shared.is_stopping.load(Acquire);
    let after = after.map(|key| key.to_string());
    let searches = written.iter().map(|Written { output, root }| {
        Search::new(root, &query).filter(|recording| !is_revoked(output, recording))
    });
    let mut found = Newest::of(searches).take_while(|_| !is_stopping());
    if let Some(after) = after {
        found.find(|recording| recording.key == after);
    }
    let mut meetings: Vec<Recording> = found.take(limit + 1).collect();
    let is_more = meetings.len() > limit;
    meetings.truncate(limit);
    let next = meetings
        .last()
        .filter(|_| is_more)
        .map(|last| last.key.clone());
    let meetings: Vec<Value> = meetings.iter().map(Recording::to_json).collect();
    json!({"v": 1, "meetings": meetings, "next": next})
}

fn no_key(error: &io::Error) -> Answer {
    let text = format!("the key that signs links cannot be written in RTMS_STATE: {error}");
    line(503, &text)
}

/// Several lists with the newest first, as one.
struct Newest<I: Iterator>(Vec<Peekable<I>>);

impl<I: Iterator<Item = Recording>> Newest<I> {
    fn of(lists: impl Iterator<Item = I>) -> Newest<I> {
        Newest(lists.map(Iterator::peekable).collect())
    }
}

impl<I: Iterator<Item = Recording>> Iterator for Newest<I> {
    type Item = Recording;

    fn next(&mut self) -> Option<Recording> {
        let lists = self.0.iter_mut().enumerate();
        let first = lists.filter_map(|(at, list)| Some((list.peek()?.started_ms, at)));
        let (_, at) = first.max_by_key(|(started_ms, at)| (*started_ms, Reverse(*at)))?;
        self.0.get_mut(at)?.next()
    }
}
