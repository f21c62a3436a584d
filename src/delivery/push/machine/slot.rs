//! One stream at one endpoint: how far it is delivered, and what it waits for.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use crate::delivery::push::batch::Range;

/// What a stream waits for at one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Phase {
    /// There is no such stream, or nothing of it is to be sent any more.
    #[default]
    Absent,
    /// Everything is delivered: it waits for events.
    Idle,
    /// For more events of a batch, until the slot's timer.
    Lingering,
    /// For its turn, in the list of those that are ready.
    Ready,
    /// For the answer to its request.
    InFlight,
    /// For the next try, until the slot's timer.
    Waiting,
}

/// All that is known of one stream at one endpoint. There may be thousands for each endpoint.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Slot {
    /// The last event that is done with.
    pub(super) seq: u64,
    /// Where the line behind it begins.
    pub(super) offset: u64,
    /// When its timer ends, milliseconds of the machine's clock.
    pub(super) due: u64,
    /// After a refusal: the range that was refused ends here, and up to there the batches are small.
    pub(super) small_until: u64,
    /// The range that was formed and not yet delivered: its last event, from `seq`. 0: none.
    last: u32,
    /// Its end, from `offset`.
    span: u32,
    /// When its first event was first refused or failed with an answer: seconds of the endpoint's
    /// clock, from 1. 0: never.
    pub(super) failed_s: u32,
    /// Unix seconds of the oldest event that is not delivered; of the last one that is, where that
    /// is all that is known.
    pub(super) behind_s: u32,
    /// The status of the last failure; 0 for none or no answer.
    pub(super) status: u16,
    /// Failures in a row.
    pub(super) tries: u8,
    /// How many events its range has.
    pub(super) events: u8,
    /// Which filter its range was formed with.
    pub(super) filter: u8,
    /// The most events in its next range; 0 for no limit of its own.
    pub(super) events_max: u8,
    pub(super) phase: Phase,
    flags: u8,
}

/// Its last failure was a refusal: it waits alone, whatever the endpoint does.
const REFUSED: u8 = 1;
/// Its failure was logged, so its delivery will be.
const LOGGED: u8 = 2;
/// The cursor was moved while a request is under way: the answer moves nothing.
const MOVED: u8 = 4;
/// The stream is to vanish once the request under way is over.
const DROPPED: u8 = 8;
/// Its cursor is not yet in the file.
const DIRTY: u8 = 16;

macro_rules! flags {
    ($($name:ident $set:ident $bit:ident)+) => {
        $(
            pub(super) fn $name(&self) -> bool {
                self.flags & $bit != 0
            }

            pub(super) fn $set(&mut self, is_set: bool) {
                match is_set {
                    true => self.flags |= $bit,
                    false => self.flags &= !$bit,
                }
            }
        )+
    };
}

impl Slot {
    flags! {
        is_refused set_refused REFUSED
        is_logged set_logged LOGGED
        is_moved set_moved MOVED
        is_dropped set_dropped DROPPED
        is_dirty set_dirty DIRTY
    }

    /// A stream that is delivered up to here.
    pub(super) fn at(seq: u64, offset: u64) -> Slot {
        Slot {
            seq,
            offset,
            phase: Phase::Idle,
            ..Slot::default()
        }
    }

    /// The last event of the range that was formed and is to be sent as it is.
    pub(super) fn until(&self) -> Option<u64> {
        (self.last > 0).then(|| self.seq + u64::from(self.last))
    }

    /// Keeps a range for the next try.
    pub(super) fn keep(&mut self, range: &Range) {
        // One that is too long for it (4 GiB) is formed again.
        let last = u32::try_from(range.last.saturating_sub(self.seq));
        let span = u32::try_from(range.end.saturating_sub(self.offset));
        (self.last, self.span, self.events) = match (last, span) {
            (Ok(last), Ok(span)) => (last, span, range.events),
            _ => (0, 0, 0),
        };
    }

    /// The range is forgotten; the next try forms another.
    pub(super) fn unform(&mut self) {
        (self.last, self.span, self.events) = (0, 0, 0);
    }

    /// Everything up to here is done with.
    pub(super) fn advance(&mut self, seq: u64, offset: u64) {
        self.unform();
        (self.seq, self.offset) = (seq, offset);
        (self.tries, self.status) = (0, 0);
        self.set_refused(false);
        self.set_logged(false);
        if seq >= self.small_until {
            (self.small_until, self.events_max, self.failed_s) = (0, 0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p7_a_stream_costs_at_most_64_bytes_for_each_endpoint() {
        assert!(size_of::<Slot>() <= 64, "{}", size_of::<Slot>());
    }

    #[test]
    fn a_range_is_kept_until_the_cursor_moves() {
        let mut slot = Slot::at(10, 6350);
        let range = Range {
            first: 12,
            last: 14,
            end: 9000,
            events: 3,
        };
        slot.keep(&range);
        assert_eq!((slot.until(), slot.events), (Some(14), 3));
        slot.advance(14, 9000);
        assert_eq!((slot.seq, slot.offset, slot.until()), (14, 9000, None));
    }
}
