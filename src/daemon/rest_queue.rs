//! The REST calls that wait: which one is made next, so that no account delays another.
//!
//! Each account has a line of its own. Its calls are made in the order of their times, at most
//! [`ACCOUNT_CALLS_MAX`] at once; a place that becomes free goes to the account with the fewest calls
//! under way, and among those to the one that has waited longest. An account that Zoom limits (429)
//! pauses alone: for a second at first, then longer each time, never longer than Zoom asks for. After the
//! pause one call tries, and its success opens the line again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::coordinator::ScheduledCall;

/// Maximum concurrent calls; further ones wait for one of these to end. Each has a timeout.
pub(super) const CALLS_MAX: usize = 128;
/// Maximum concurrent calls of one account: a quarter, so that an account whose calls all hang leaves
/// room for others.
pub(super) const ACCOUNT_CALLS_MAX: usize = CALLS_MAX / 4;
/// Longest pause of a limited account without a word of Zoom's about it.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// The waiting calls, and how many are under way.
#[derive(Debug, Default)]
pub(super) struct RestQueue {
    /// By the account's id; the empty one for calls whose account is not known.
    lines: BTreeMap<String, Line>,
    sequence: u64,
    under_way: usize,
}

#[derive(Debug, Default)]
struct Line {
    waiting: BTreeMap<(Instant, u64), ScheduledCall>,
    under_way: usize,
    /// No call is made before this time.
    paused_until: Option<Instant>,
    /// How often in a row Zoom has limited it.
    limits: u32,
    /// When it was last given a place, as a number that grows.
    served: u64,
}

impl RestQueue {
    /// Adds a call.
    pub(super) fn add(&mut self, call: ScheduledCall) {
        self.sequence += 1;
        let line = self.lines.entry(account(&call).to_owned()).or_default();
        line.waiting.insert((call.at, self.sequence), call);
    }

    /// Drops the waiting calls of a meeting.
    pub(super) fn cancel(&mut self, meeting: &str) {
        for line in self.lines.values_mut() {
            line.waiting.retain(|_, call| call.meeting != meeting);
        }
    }

    /// The call to make now, if there is one. It is under way until [`RestQueue::ended`].
    pub(super) fn next(&mut self, now: Instant) -> Option<ScheduledCall> {
        if self.under_way >= CALLS_MAX {
            return None;
        }
        let ready = self.lines.values_mut().filter(|line| line.is_ready(now));
        let line = ready.min_by_key(|line| (line.under_way, line.served))?;
        let (_, call) = line.waiting.pop_first()?;
        self.sequence += 1;
        line.served = self.sequence;
        line.under_way += 1;
        self.under_way += 1;
        Some(call)
    }

    /// A call of this account has ended. `limited` if Zoom limited it: how long Zoom asks to wait, if it
    /// says so.
    pub(super) fn ended(&mut self, account: &str, now: Instant, limited: Option<Option<Duration>>) {
        self.under_way = self.under_way.saturating_sub(1);
        if let Some(line) = self.lines.get_mut(account) {
            line.under_way = line.under_way.saturating_sub(1);
            match limited {
                // Calls that were under way together are limited together: they count once.
                Some(_) if line.paused_until.is_some_and(|until| now < until) => {}
                Some(after) => {
                    line.limits += 1;
                    let pause = Duration::from_secs(1 << (line.limits - 1).min(5)).min(PAUSE_MAX);
                    line.paused_until = Some(now + after.map_or(pause, |after| after.min(pause)));
                }
                None => {
                    line.limits = 0;
                    line.paused_until = None;
                }
            }
        }
        self.lines.retain(|_, line| {
            let is_paused = line.paused_until.is_some_and(|until| now < until);
            !line.waiting.is_empty() || line.under_way > 0 || is_paused
        });
    }

    /// When [`RestQueue::next`] will have a call, unless one is added or ends before; `None` if only
    /// that can bring one.
    pub(super) fn due(&self) -> Option<Instant> {
        if self.under_way >= CALLS_MAX {
            return None;
        }
        self.lines.values().filter_map(Line::due).min()
    }
}

impl Line {
    fn due(&self) -> Option<Instant> {
        let most = match self.limits {
            0 => ACCOUNT_CALLS_MAX,
            _ => 1,
        };
        let ((at, _), _) = self.waiting.first_key_value()?;
        let at = self.paused_until.map_or(*at, |until| until.max(*at));
        (self.under_way < most).then_some(at)
    }

    fn is_ready(&self, now: Instant) -> bool {
        self.due().is_some_and(|at| at <= now)
    }
}

/// The line of a call.
pub(super) fn account(call: &ScheduledCall) -> &str {
    call.request.account_id.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::product::Product;
    use crate::domain::rest::{ControlRequest, RestAction};

    fn call(at: Instant, account: &str, meeting: usize) -> ScheduledCall {
        ScheduledCall {
            at,
            meeting: format!("{account}-{meeting}"),
            number: 1,
            request: ControlRequest {
                account_id: Some(account.to_owned()),
                ..ControlRequest::new(RestAction::Start, Product::Meeting, "1")
            },
        }
    }

    fn taken(queue: &mut RestQueue, now: Instant) -> Vec<String> {
        std::iter::from_fn(|| queue.next(now))
            .map(|call| call.meeting)
            .collect()
    }

    #[test]
    fn an_account_that_floods_leaves_room_for_others() {
        let (mut queue, now) = (RestQueue::default(), Instant::now());
        for n in 0..1000 {
            queue.add(call(now, "flood", n));
        }
        assert_eq!(taken(&mut queue, now).len(), ACCOUNT_CALLS_MAX);
        assert_eq!(queue.due(), None, "only an end brings the next");
        queue.add(call(now, "small", 1));
        assert_eq!(taken(&mut queue, now), ["small-1"]);
        queue.ended("small", now, None);
        queue.ended("flood", now, None);
        assert_eq!(taken(&mut queue, now).len(), 1);
    }

    #[test]
    fn a_free_place_goes_to_the_account_with_the_fewest_calls() {
        let (mut queue, now) = (RestQueue::default(), Instant::now());
        for account in ["a", "b", "c", "d", "e"] {
            (0..100).for_each(|n| queue.add(call(now, account, n)));
        }
        let first = taken(&mut queue, now);
        assert_eq!(first.len(), CALLS_MAX);
        assert_eq!(first[..5], ["a-0", "b-0", "c-0", "d-0", "e-0"]);
        let of = |account: &str| {
            let mine = first.iter().filter(|meeting| meeting.starts_with(account));
            mine.count()
        };
        assert!(["a", "b", "c", "d", "e"].iter().all(|it| of(it) >= 25));
        // A sixth comes while every place is taken: the next one is its.
        queue.add(call(now, "f", 0));
        queue.ended("a", now, None);
        assert_eq!(taken(&mut queue, now), ["f-0"]);
    }

    #[test]
    fn a_limited_account_pauses_alone_and_then_tries_with_one_call() {
        let (mut queue, now) = (RestQueue::default(), Instant::now());
        let second = Duration::from_secs(1);
        (0..3).for_each(|n| queue.add(call(now, "limited", n)));
        assert_eq!(
            queue.next(now).map(|call| call.meeting).as_deref(),
            Some("limited-0")
        );
        queue.ended("limited", now, Some(Some(Duration::from_secs(600))));
        queue.add(call(now, "other", 0));
        assert_eq!(taken(&mut queue, now), ["other-0"]);
        assert_eq!(
            queue.due(),
            Some(now + second),
            "not the ten minutes of one call"
        );
        let now = now + second;
        assert_eq!(taken(&mut queue, now), ["limited-1"], "one tries");
        queue.ended("limited", now, Some(None));
        assert_eq!(queue.due(), Some(now + 2 * second));
        let now = now + 2 * second;
        assert_eq!(taken(&mut queue, now), ["limited-2"]);
        (3..6).for_each(|n| queue.add(call(now, "limited", n)));
        queue.ended("limited", now, None);
        assert_eq!(taken(&mut queue, now).len(), 3, "a success opens the line");
    }

    #[test]
    fn calls_wait_for_their_time_and_can_be_cancelled() {
        let (mut queue, now) = (RestQueue::default(), Instant::now());
        let later = now + Duration::from_secs(5);
        queue.add(call(later, "a", 1));
        queue.add(call(later, "a", 2));
        assert_eq!((queue.next(now), queue.due()), (None, Some(later)));
        queue.cancel("a-1");
        assert_eq!(taken(&mut queue, later), ["a-2"]);
        queue.ended("a", later, None);
        assert!(queue.lines.is_empty(), "nothing is kept of an idle account");
    }
}
