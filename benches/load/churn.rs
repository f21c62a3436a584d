//! Streams that come and go for an hour: what a process keeps of those that are over.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rtmsd::demo::{End, MeetingHandle, Step};

use crate::process::{Server, Standing};
use crate::table::{Goal, Table};
use crate::{MINUTE, counted, finish, number, phrases_in, received, zoom};

/// The first comparison is made then, or later, when the server remembers as many streams as it ever does.
const WARM: Duration = Duration::from_secs(300);
/// So many streams that are over are remembered, against repeated webhooks.
const REMEMBERED: u64 = 10_000;
/// Seconds between two phrases of a stream.
const PAUSE: u64 = 10;
/// What goes up and down meanwhile, as the intent log between two snapshots, is compared by its largest value in two
/// such times, at the beginning and at the end.
const WINDOW: Duration = Duration::from_secs(300);
const SAMPLED_EVERY: Duration = Duration::from_secs(10);
/// The intent log grows by some 50 KB a second, and is short again after a snapshot: its largest size is seen
/// only by looking often.
const STATE_SEEN_EVERY: Duration = Duration::from_secs(1);

/// `RTMSD_BENCH_STREAMS` (2,000) live at the same time, each for `RTMSD_BENCH_LIFE` (60) seconds, for
/// `RTMSD_BENCH_SECONDS` (an hour) in all.
pub(crate) fn churn(table: &Table) {
    let streams = number("RTMSD_BENCH_STREAMS", 2000);
    let life = Duration::from_secs(number("RTMSD_BENCH_LIFE", 60));
    let whole = Duration::from_secs(number("RTMSD_BENCH_SECONDS", 3600));
    let zoom = zoom(Duration::from_secs(10));
    let server = Server::start(&zoom, &[("RTMS_STDOUT", "off")]);
    let mut churn = Churn::default();
    let every = life / u32::try_from(streams).expect("some thousands");
    let began = Instant::now();
    let (mut next, mut samples) = (began, Vec::<(Instant, Standing)>::new());
    let (mut state_seen, mut largest_state) = (began, 0.0_f64);
    while began.elapsed() < whole {
        let now = Instant::now();
        while next <= now {
            let script = counted(&format!("churn {}", churn.begun), 600, 1.0 / PAUSE as f64);
            churn.begin(zoom.start_meeting(script), now + life);
            next += every;
        }
        churn.end_those_over(now);
        let is_full = churn.begun >= streams + REMEMBERED && began.elapsed() >= WARM;
        let is_due = match samples.last() {
            None => is_full || began.elapsed() >= whole / 4,
            Some((last, _)) => last.elapsed() >= SAMPLED_EVERY,
        };
        if state_seen.elapsed() >= STATE_SEEN_EVERY {
            state_seen = now;
            largest_state = largest_state.max(server.state_kib());
        }
        if is_due {
            let mut standing = server.standing();
            standing.state_kib = std::mem::take(&mut largest_state).max(standing.state_kib);
            samples.push((now, standing));
        }
        std::thread::park_timeout(every.min(Duration::from_millis(20)));
    }
    let peak = server.usage().peak_mib;
    churn.end_all();
    let sent = churn.sent;
    let lines = received(sent, MINUTE, || phrases_in(&server.out));
    let (first, last) = windows(&samples);
    table.row("churn: streams at a time", streams as f64, 0, Goal::None);
    table.row("churn: streams in all", churn.begun as f64, 0, Goal::None);
    table.row("churn: never ready", churn.never as f64, 0, Goal::Most(0.0));
    let lost = sent.abs_diff(lines) as f64;
    table.row("churn: lost", lost, 0, Goal::Most(0.0));
    let pair = |what: &str, digits, early: f64, late: f64, more: f64| {
        table.row(&format!("churn: {what}, early"), early, digits, Goal::None);
        let goal = Goal::Most(early * 1.05 + more);
        table.row(&format!("churn: {what}, late"), late, digits, goal);
    };
    pair("RSS, MiB", 1, first.rss_mib, last.rss_mib, 0.0);
    pair(
        "anonymous, MiB",
        1,
        first.anonymous_mib,
        last.anonymous_mib,
        0.0,
    );
    // Some streams more or fewer are in the middle of joining or ending.
    pair("threads", 0, first.threads, last.threads, 20.0);
    pair("descriptors", 0, first.descriptors, last.descriptors, 60.0);
    pair("state, KiB", 0, first.state_kib, last.state_kib, 64.0);
    table.row("churn: peak RSS, MiB", peak, 1, Goal::None);
    finish(server, zoom, &[]);
}

/// The largest values at the beginning and at the end.
fn windows(samples: &[(Instant, Standing)]) -> (Standing, Standing) {
    let at = |sample: Option<&(Instant, Standing)>| sample.expect("a quarter is over").0;
    let (from, to) = (at(samples.first()), at(samples.last()));
    let window = WINDOW.min((to - from) / 3);
    let largest = |is_in: &dyn Fn(Instant) -> bool| {
        let within = samples.iter().filter(|(at, _)| is_in(*at));
        within.fold(Standing::default(), |most, (_, it)| most.max(it))
    };
    (
        largest(&|at| at <= from + window),
        largest(&|at| at + window >= to),
    )
}

#[derive(Default)]
struct Churn {
    /// With the time at which each ends.
    running: VecDeque<(Instant, MeetingHandle)>,
    ending: Vec<MeetingHandle>,
    begun: u64,
    never: u64,
    sent: u64,
}

impl Churn {
    fn begin(&mut self, meeting: MeetingHandle, ends: Instant) {
        self.begun += 1;
        self.running.push_back((ends, meeting));
    }

    fn end_those_over(&mut self, now: Instant) {
        while self.running.front().is_some_and(|(ends, _)| *ends <= now) {
            let (_, meeting) = self.running.pop_front().expect("it was looked at");
            meeting.end(End::meeting_ended());
            self.ending.push(meeting);
        }
        let ending = std::mem::take(&mut self.ending);
        for meeting in ending {
            match meeting.wait_for(Step::Closed, Duration::ZERO) {
                true => self.closed(&meeting),
                false => self.ending.push(meeting),
            }
        }
    }

    fn closed(&mut self, meeting: &MeetingHandle) {
        self.sent += meeting.sent_count();
        self.never += u64::from(meeting.time_of(Step::Ready).is_none());
    }

    fn end_all(&mut self) {
        let running = std::mem::take(&mut self.running);
        let running = running.into_iter().map(|(_, meeting)| meeting);
        let running: Vec<MeetingHandle> = running.collect();
        crate::end(&running);
        for meeting in running.iter().chain(&std::mem::take(&mut self.ending)) {
            meeting.wait_for(Step::Closed, MINUTE);
            self.closed(meeting);
        }
    }
}
