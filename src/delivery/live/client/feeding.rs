//! The events that a client is sent, from memory or from the files.

use std::time::Instant;

use super::{Client, Context, Next, Partial, STOPPING, Scratch, Stage};
use crate::delivery::live::catch_up::{CatchUp, Filled, MERGE_BYTES};
use crate::delivery::live::frame;
use crate::delivery::live::interest::{Event, Scope};
use crate::delivery::live::query::Form;
use crate::feed::JournalKey;
use crate::feed::reader::READ_BYTES;

/// Most bytes of a page.
const PAGE_BYTES_MAX: usize = 1 << 20;
/// Of these, what is kept for the end of the page.
const PAGE_END_BYTES: usize = 256;

impl Client {
    /// Sends the next events, from memory or from the files.
    pub(super) fn feed(&mut self, cx: &mut Context<'_>) -> Next {
        if cx.is_stopping && self.partial.is_none() {
            match (&self.stage, self.ask.form) {
                (Stage::Waiting, Form::Sse { .. }) => self.refuse(503, STOPPING),
                _ => self.end(self.pos, false, false),
            }
            return Next::Again;
        }
        let is_up_to_date = self.pos >= cx.ring.floor();
        if self.begin.is_none() && is_up_to_date {
            self.catch_up = None;
            let ring = cx.ring;
            return self.feed_from(ring.after(self.pos), ring.head(), true, cx);
        }
        if self.catch_up.is_none() && !cx.turns.admit(self.catch_up_cost(cx)) {
            return Next::Idle;
        }
        let Some(until) = cx.turns.take() else {
            return Next::Idle;
        };
        let (mut catch_up, since) = match self.catch_up.take() {
            Some(it) => it,
            None => {
                let (scope, begin) = (&self.interest.scope, self.begin.as_ref());
                let catch_up = CatchUp::new(cx.reader, scope, self.pos, begin, cx.now);
                (Box::new(catch_up), cx.now)
            }
        };
        let next = self.catch_up(&mut catch_up, until, cx);
        if self.begin.is_some() || self.pos < cx.ring.floor() {
            self.catch_up = Some((catch_up, since));
        }
        next
    }

    /// Bytes that it will need to catch up.
    fn catch_up_cost(&self, cx: &Context<'_>) -> usize {
        let merged = match self.interest.scope {
            Scope::Stream(_) => 1,
            Scope::All | Scope::Meeting(_) => cx.journals,
        };
        2 * READ_BYTES + merged * MERGE_BYTES
    }

    fn catch_up(&mut self, files: &mut CatchUp, until: Instant, cx: &mut Context<'_>) -> Next {
        if self.pos >= files.pos() {
            match files.fill(until) {
                Ok(Filled::Lines) => {}
                Ok(Filled::Busy) => return Next::Idle,
                Ok(Filled::Reached) => {
                    self.pos = self.pos.max(files.pos());
                    let pos = self.pos;
                    self.begin.take_if(|begin| pos >= begin.until());
                    return Next::Again;
                }
                Err(error) => {
                    // The client comes again and misses nothing.
                    cx.shared.complain(&error);
                    return Next::Closed;
                }
            }
        }
        self.feed_from(files.events(self.pos), files.pos(), false, cx)
    }

    /// Sends events up to `end`, which is the newest of all if `is_head`.
    fn feed_from<'e>(
        &mut self,
        events: impl Iterator<Item = Event<'e>>,
        end: u64,
        is_head: bool,
        cx: &mut Context<'_>,
    ) -> Next {
        let form = self.ask.form;
        let limit = match form {
            Form::Sse { .. } => usize::MAX,
            Form::Page { limit, .. } => limit.into(),
        };
        let Scratch { out, frames } = &mut *cx.scratch;
        out.clear();
        frames.clear();
        let (mut seen, mut is_page_full, mut is_last, mut is_cut) = (self.pos, false, false, false);
        for event in events {
            let pos = event.line.pos;
            let is_revoked = || event.key != JournalKey::SERVER && cx.board.is_revoked(event.key);
            if self.interest.wants(&event) && !is_revoked() {
                let count = usize::from(self.count) + frames.len();
                let bytes = self.bytes + out.len() + event.line.bytes.len() + PAGE_END_BYTES;
                is_page_full =
                    count >= limit || limit < usize::MAX && count > 0 && bytes > PAGE_BYTES_MAX;
                if is_page_full {
                    break;
                }
                frame::event(out, form, &event, count == 0);
                frames.push((out.len(), pos));
            }
            seen = pos;
            is_last =
                self.interest.scope == Scope::Stream(event.about) && event.is_last_of(event.about);
            is_cut = out.len() >= READ_BYTES || cx.is_stopping && !frames.is_empty();
            if is_last || is_cut {
                break;
            }
        }
        if !is_page_full && !is_last && !is_cut {
            seen = seen.max(end);
        }
        let partial = self.partial.as_ref().map(|it| it.pos);
        if partial.is_some_and(|pos| frames.first().is_none_or(|(_, first)| *first != pos)) {
            // Consent was withdrawn in the middle of an event.
            return Next::Closed;
        }
        if out.is_empty() {
            self.pos = seen;
            if is_page_full || is_last {
                self.end(seen, is_page_full, is_last);
                return Next::Again;
            }
            return match is_head {
                true => self.at_head(cx),
                false => Next::Again,
            };
        }
        if matches!(self.stage, Stage::Waiting) {
            self.open();
            return Next::Again;
        }
        let skipped = self.partial.as_ref().map_or(0, |partial| partial.sent);
        let bytes = out.get(skipped..).unwrap_or_default();
        let sent = match self.send(bytes, cx.now) {
            Ok(sent) => skipped + sent,
            Err(next) => return next,
        };
        let whole = frames.partition_point(|(end, _)| *end <= sent);
        let whole_bytes = whole.checked_sub(1).map_or(0, |at| frames[at].0);
        self.count = self.count.saturating_add(whole as u16);
        self.bytes += whole_bytes;
        self.partial = (frames.get(whole))
            .filter(|_| sent > whole_bytes)
            .map(|(_, pos)| Partial {
                pos: *pos,
                sent: sent - whole_bytes,
            });
        if whole == frames.len() {
            self.pos = seen;
            if is_page_full || is_last {
                self.end(seen, is_page_full, is_last);
            }
        } else if let Some(at) = whole.checked_sub(1) {
            self.pos = frames[at].1;
        }
        match self.room.is_wanted {
            true => Next::Idle,
            false => Next::Again,
        }
    }

    /// There is nothing more for now.
    fn at_head(&mut self, cx: &Context<'_>) -> Next {
        let is_ended = self.ends_at.is_some_and(|end| self.pos >= end);
        let is_waiting = matches!(self.stage, Stage::Waiting);
        match self.ask.form {
            Form::Sse { .. } if is_ended => self.end(self.pos, false, true),
            Form::Sse { .. }
                if !is_waiting && cx.now >= self.progressed + cx.shared.process.times.ping =>
            {
                self.text = frame::PING.to_vec();
            }
            Form::Sse { .. } => return Next::Idle,
            Form::Page { .. } if is_waiting && !is_ended && cx.now < self.waits_until => {
                return Next::Idle;
            }
            Form::Page { .. } => self.end(self.pos, false, is_ended),
        }
        Next::Again
    }

    /// Ends the answer. `is_over`: nothing more will come.
    pub(super) fn end(&mut self, next: u64, is_more: bool, is_over: bool) {
        let is_waiting = matches!(self.stage, Stage::Waiting);
        match self.ask.form {
            Form::Sse { .. } if is_waiting => self.no_content(),
            Form::Sse { .. } => self.finish_with(Vec::new()),
            Form::Page { .. } => {
                let mut text = Vec::new();
                if is_waiting {
                    self.open();
                    text = std::mem::take(&mut self.text);
                }
                text.extend(frame::page_end(next, is_more, is_over));
                self.finish_with(text);
            }
        }
    }
}
