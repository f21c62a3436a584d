//! What a request names, and where the client begins.

use std::sync::Arc;
use std::time::Duration;

use super::{Client, Context, Next, REVOKED, Stage};
use crate::clock::now_ms;
use crate::delivery::clients::named::Search;
use crate::delivery::live::Access;
use crate::delivery::live::catch_up::Begin;
use crate::delivery::live::find::{self, Finder, Wanted};
use crate::delivery::live::interest::Scope;
use crate::delivery::live::query::{After, Form};
use crate::feed::reader::end_of;
use crate::feed::{Chunk, FEED_NAME, Journal, JournalKey, State, kind};

impl Client {
    pub(super) fn arrive(&mut self, cx: &mut Context<'_>) {
        let stream = self.ask.stream.clone();
        if stream.is_none() && self.access != Access::All {
            return self.refuse(403, "this link is for one stream: expected stream=");
        }
        match stream {
            Some(text) => self.look_for(Wanted::name(text), cx),
            None => self.place(cx),
        }
    }

    fn look_for(&mut self, wanted: Wanted, cx: &mut Context<'_>) {
        match wanted.on_board(cx.board) {
            Some(journal) => self.found(&journal, cx),
            None => {
                let finder = Finder::new(wanted, cx.board.root());
                self.stage = Stage::Finding(Box::new(finder));
            }
        }
    }

    pub(super) fn find(&mut self, cx: &mut Context<'_>) -> Next {
        let Some(until) = cx.turns.take() else {
            return Next::Idle;
        };
        let Stage::Finding(finder) = &mut self.stage else {
            return Next::Again;
        };
        let Some(found) = finder.step(cx.board, until) else {
            return Next::Idle;
        };
        let found_pos = finder.found_pos();
        self.stage = Stage::Waiting;
        let is_stream = self.ask.stream.is_some() && self.interest.scope == Scope::All;
        let is_meeting = self.ask.meeting.is_some() && self.ask.after == After::Begin;
        match found {
            Search::One(_) if is_meeting => self.start(found_pos.saturating_sub(1)),
            // It has not begun.
            Search::None if is_meeting => self.start(cx.ring.head()),
            Search::One(folder) => match cx.board.load(&folder) {
                Ok(journal) => {
                    // Every line of an earlier process is older than what is written now.
                    if journal.state == State::Ended {
                        cx.board.set_pos(journal.pos);
                    }
                    self.found(&journal, cx);
                }
                Err(error) => {
                    cx.shared.complain(&error);
                    self.refuse(503, "the journal of this stream cannot be read");
                }
            },
            Search::Several => self.refuse(409, "several streams begin so; give more of the name"),
            Search::None if is_stream => {
                let text = self.ask.stream.clone().unwrap_or_default();
                match find::revoked(cx.reader, |event| find::is_named(event, &text)) {
                    Some((key, pos)) => self.revoked(key, Some(pos), cx),
                    None => match find::removed(cx.board, &text) {
                        Some(tombstone) => self.refuse(410, &tombstone.words()),
                        None => self.refuse(404, "there is no such stream"),
                    },
                }
            }
            Search::None => match self.ask.after {
                After::Event { key, .. } if cx.board.is_revoked(key) => self.refuse(410, REVOKED),
                _ => self.refuse(404, "there is no such event"),
            },
        }
        Next::Again
    }

    /// A journal that the request names.
    fn found(&mut self, journal: &Journal, cx: &mut Context<'_>) {
        let key = journal.key;
        let is_stream = self.ask.stream.is_some() && self.interest.scope == Scope::All;
        if !is_stream && self.access.is_for(key) {
            return self.event_found(journal, cx);
        }
        if self.access != Access::All && !self.access.is_for(key) {
            return self.refuse(403, "this link is for another stream");
        }
        if journal.state == State::Revoked || cx.board.is_revoked(key) {
            let pos = find::revoked(cx.reader, |event| event.is_last_of(key)).map(|(_, pos)| pos);
            return self.revoked(key, pos, cx);
        }
        if cx.board.hold(key) {
            self.held = Some((Arc::clone(cx.board), key));
        }
        self.interest.scope = Scope::Stream(key);
        if journal.state == State::Ended && is_over(journal) {
            self.ends_at = Some(journal.pos);
        }
        self.place(cx);
    }

    /// Consent was withdrawn: there is one event more for those who were there before.
    fn revoked(&mut self, key: JournalKey, at: Option<u64>, cx: &Context<'_>) {
        if self.access != Access::All && !self.access.is_for(key) {
            return self.refuse(403, "this link is for another stream");
        }
        self.interest.scope = Scope::Stream(key);
        let last_pos = self.last_pos(cx);
        let pos = match (last_pos, self.ask.after) {
            (Some(pos), _) => Some(pos),
            (None, After::Pos(pos)) => Some(pos),
            (None, _) => None,
        };
        // Where the server's journal does not say so yet, it will in a moment.
        match pos.filter(|pos| at.is_none_or(|at| *pos < at)) {
            Some(pos) => {
                self.pos = pos;
                self.stage = Stage::Waiting;
                if let Form::Page { wait_s, .. } = self.ask.form {
                    self.waits_until += Duration::from_secs(wait_s.into());
                }
            }
            None if last_pos.is_some() && matches!(self.ask.form, Form::Sse { .. }) => {
                self.no_content();
            }
            None => self.refuse(410, REVOKED),
        }
    }

    /// Where the client was, if that is not in the future.
    fn last_pos(&self, cx: &Context<'_>) -> Option<u64> {
        // Without a state directory the board begins with the first line that is written.
        let newest = cx.board.pos().max(now_ms().saturating_mul(1000));
        self.ask.last_pos.filter(|pos| *pos <= newest)
    }

    /// Where to begin, once the stream is known.
    fn place(&mut self, cx: &mut Context<'_>) {
        if let Some(pos) = self.last_pos(cx) {
            return self.start(pos);
        }
        match self.ask.after {
            After::Now => self.start(cx.ring.head()),
            After::Pos(pos) => self.start(pos),
            After::Event { key, .. } => self.look_for(Wanted::Key(key), cx),
            After::Begin => match (&self.interest.scope, &self.ask.meeting) {
                (Scope::Stream(_), _) => self.start(0),
                (_, Some(text)) => {
                    let finder = Finder::new(Wanted::newest(text), cx.board.root());
                    self.stage = Stage::Finding(Box::new(finder));
                }
                (_, None) => {
                    self.begin = Some(Arc::new(Begin::now(cx.board)));
                    self.start(0);
                }
            },
        }
    }

    /// The journal of the event to begin after.
    fn event_found(&mut self, journal: &Journal, cx: &mut Context<'_>) {
        let After::Event { key, seq } = self.ask.after else {
            return self.refuse(404, "there is no such event");
        };
        if journal.state == State::Revoked {
            return self.refuse(410, REVOKED);
        }
        let mut chunk = Chunk::default();
        let before = cx.reader.cursor_after_seq(key, seq.saturating_sub(1));
        let read = before.and_then(|before| cx.reader.read(&before, &mut chunk));
        let first = chunk.lines().next().filter(|line| line.seq == seq);
        match (read, first) {
            (Ok(_), Some(line)) => {
                let pos = line.pos;
                self.start(pos);
            }
            (Ok(_), None) => self.refuse(404, "there is no such event"),
            (Err(error), _) => {
                cx.shared.complain(&error);
                self.refuse(503, "the journal of this event cannot be read");
            }
        }
    }

    /// Begins behind this position.
    fn start(&mut self, pos: u64) {
        self.pos = pos;
        self.stage = Stage::Waiting;
        match self.ask.form {
            Form::Sse { .. } if self.ends_at.is_none() => self.open(),
            Form::Sse { .. } => {}
            Form::Page { wait_s, .. } => self.waits_until += Duration::from_secs(wait_s.into()),
        }
    }
}

/// Whether the stream is over by what its journal says. One that an earlier process left may be rejoined
/// in a moment, and a 204 would send a browser away for good.
fn is_over(journal: &Journal) -> bool {
    let end = end_of(&journal.folder.join(FEED_NAME));
    end.is_ok_and(|end| end.kinds.iter().any(|it| it == kind::STREAM_ENDED))
}
