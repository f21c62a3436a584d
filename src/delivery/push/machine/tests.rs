//! The machine in virtual time: single rules by hand, and all of them together by seeds.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::*;
use crate::delivery::push::answer::Fault;
use crate::domain::split_mix::SplitMix;

const OK: Answer = status(200);
const RESET: Answer = Answer::None(Fault::Reset);

const fn status(status: u16) -> Answer {
    Answer::Status {
        status,
        retry_after: None,
    }
}

fn after(status: u16, seconds: u64) -> Answer {
    Answer::Status {
        status,
        retry_after: Some(Duration::from_secs(seconds)),
    }
}

fn key(n: u64) -> JournalKey {
    format!("{n:016x}").parse().expect("a key")
}

const USUAL: Settings = Settings {
    batch: 1,
    linger_ms: 0,
    connections: 8,
    give_up_s: 0,
    filter: 0,
};

/// Every line of a journal has so many bytes.
const LINE: u64 = 100;

/// A machine, its journals and a clock.
struct Rig {
    machine: Machine,
    now: Now,
    journals: BTreeMap<u64, u64>,
}

impl Rig {
    fn new(endpoints: &[Settings]) -> Rig {
        let mut rig = Rig {
            machine: Machine::new(64, 7),
            now: Now {
                ms: 5,
                unix_ms: 1_795_529_590_941,
            },
            journals: BTreeMap::new(),
        };
        for (n, settings) in endpoints.iter().enumerate() {
            rig.machine
                .add_endpoint(n as u32, *settings, Mode::Running, rig.now);
        }
        rig
    }

    fn pass(&mut self, ms: u64) {
        self.now.ms += ms;
        self.now.unix_ms += ms;
        self.machine.ring(self.now);
    }

    /// Passes to the machine's next deadline; how long that was.
    fn pass_to_deadline(&mut self) -> u64 {
        let at = self.machine.next_deadline(self.now).expect("a deadline");
        let ms = at.saturating_sub(self.now.ms);
        self.pass(ms);
        ms
    }

    fn write(&mut self, stream: u64, events: u64) {
        let seq = self.journals.entry(stream).or_default();
        *seq += events;
        let end = End {
            seq: *seq,
            is_ended: false,
        };
        let key = key(stream);
        let begin = Cursor::begin(key);
        self.machine.add_stream(key, end, self.now, |_| Some(begin));
        self.machine.grew(key, end, self.now);
    }

    fn end(&mut self, stream: u64) {
        let end = End {
            seq: self.journals[&stream],
            is_ended: true,
        };
        self.machine.grew(key(stream), end, self.now);
    }

    fn job(&mut self, endpoint: u32) -> Option<Job> {
        self.machine.next_job(endpoint, self.now)
    }

    /// The range that a worker would form.
    fn range(job: &Job) -> Range {
        let first = job.cursor.seq + 1;
        let free = (first - 1 + u64::from(job.events_max)).min(job.end.seq);
        let last = job.until.unwrap_or(free);
        Range {
            first,
            last,
            end: last * LINE,
            events: (last - first + 1) as u8,
        }
    }

    fn answer(&mut self, endpoint: u32, job: &Job, answer: Answer) -> Range {
        let range = Rig::range(job);
        let unix_s = (self.now.unix_ms / 1000) as u32;
        let outcome = Outcome::Answered {
            range,
            unix_s,
            answer,
        };
        self.machine.finish(endpoint, job, outcome, self.now);
        range
    }

    /// Takes the next job, which must be there, and answers it.
    fn send(&mut self, answer: Answer) -> Range {
        let job = self.job(0).expect("a job");
        self.answer(0, &job, answer)
    }

    fn state(&self) -> &'static str {
        self.report(0).state
    }

    fn report(&self, endpoint: u32) -> Report {
        self.machine
            .report(endpoint, self.now)
            .expect("an endpoint")
    }

    fn notes(&mut self) -> Vec<NoteKind> {
        let notes = self.machine.take_notes();
        notes.into_iter().map(|note| note.kind).collect()
    }
}

#[test]
fn p1_events_of_a_stream_come_one_by_one_and_in_order() {
    let mut rig = Rig::new(&[USUAL]);
    rig.write(1, 3);
    for seq in 1..=3 {
        let job = rig.job(0).expect("a job");
        assert_eq!(rig.job(0), None, "one request of a stream is under way");
        let range = rig.answer(0, &job, OK);
        assert_eq!((range.first, range.last), (seq, seq));
    }
    assert_eq!(rig.job(0), None);
    assert_eq!(rig.report(0).counts.events, 3);
}

#[test]
fn p1_streams_and_endpoints_are_independent() {
    let mut rig = Rig::new(&[USUAL, USUAL]);
    for stream in 1..=10 {
        rig.write(stream, 1);
    }
    let mut jobs = Vec::new();
    while let Some(job) = rig.job(0) {
        jobs.push(job);
    }
    assert_eq!(jobs.len(), 8, "connections");
    let mut others = 0;
    while let Some(job) = rig.job(1) {
        rig.answer(1, &job, OK);
        others += 1;
    }
    assert_eq!(others, 10, "nothing of the first endpoint is waited for");
}

#[test]
fn p2_what_is_not_wanted_moves_the_cursor() {
    let mut rig = Rig::new(&[USUAL]);
    rig.write(1, 5);
    let job = rig.job(0).expect("a job");
    let passed = Cursor {
        seq: 5,
        offset: 500,
        ..job.cursor
    };
    rig.machine
        .finish(0, &job, Outcome::Passed(passed), rig.now);
    assert_eq!(rig.job(0), None);
    assert_eq!(rig.machine.changed_cursors(0), [passed]);
    assert_eq!(rig.report(0).counts, Counts::default());
}

#[test]
fn p3_the_linger_ends_by_its_own_timer_or_with_a_full_batch() {
    let lingering = Settings {
        batch: 10,
        linger_ms: 500,
        ..USUAL
    };
    let mut rig = Rig::new(&[lingering]);
    rig.write(1, 3);
    assert_eq!(rig.job(0), None);
    rig.pass(300);
    rig.write(1, 2);
    assert_eq!(rig.job(0), None, "an event does not restart the linger");
    assert_eq!(rig.pass_to_deadline(), 200);
    assert_eq!(rig.send(OK).events, 5);
    // A full batch does not wait.
    rig.write(1, 4);
    assert_eq!(rig.job(0), None);
    rig.write(1, 9);
    assert_eq!(rig.send(OK).events, 10);
    assert_eq!(rig.job(0), None, "what is left lingers");
    // Nor does the last of a stream.
    rig.end(1);
    assert_eq!(rig.send(OK).events, 3);
}

#[test]
fn p3_a_range_is_tried_again_unchanged() {
    let batches = Settings { batch: 10, ..USUAL };
    let mut rig = Rig::new(&[batches]);
    rig.write(1, 4);
    let first = rig.send(status(500));
    rig.write(1, 20);
    let wait = rig.pass_to_deadline();
    assert!((500..=1000).contains(&wait), "{wait}");
    assert_eq!(rig.send(OK), first);
    assert_eq!(rig.send(OK).events, 10);
}

#[test]
fn a_failure_concerns_its_stream_until_three_follow_each_other() {
    let mut rig = Rig::new(&[USUAL]);
    rig.write(1, 2);
    rig.write(2, 5);
    let poison = rig.send(status(500));
    for _ in 0..5 {
        rig.send(OK);
    }
    assert_eq!(rig.state(), "failing");
    assert_eq!(rig.job(0), None);
    let blocked = rig.report(0).blocked;
    let expected = Blocked {
        key: key(1),
        seq: 1,
        status: 500,
        tries: 1,
    };
    assert_eq!(blocked, [expected]);
    rig.pass_to_deadline();
    assert_eq!(rig.send(OK), poison);
    assert_eq!(rig.state(), "ok");
    let failure = NoteKind::FirstFailure {
        answer: status(500),
    };
    assert_eq!(rig.notes(), [failure, NoteKind::Recovered { tries: 1 }]);
}

#[test]
fn three_failures_in_a_row_let_the_endpoint_rest_with_one_probe_at_a_time() {
    let mut rig = Rig::new(&[USUAL]);
    for stream in 1..=100 {
        rig.write(stream, 1);
    }
    for _ in 0..3 {
        rig.send(status(503));
    }
    assert_eq!(rig.state(), "resting");
    let (mut waits, mut asked) = (Vec::new(), BTreeSet::new());
    for _ in 0..12 {
        assert_eq!(rig.job(0), None);
        waits.push(rig.pass_to_deadline());
        // Each look at the lag is a deadline too.
        while !rig.machine.has_job(0, rig.now) {
            *waits.last_mut().expect("one") += rig.pass_to_deadline();
        }
        let job = rig.job(0).expect("a probe");
        assert_eq!(rig.job(0), None, "one probe is under way");
        asked.insert(job.cursor.key);
        rig.pass(15_000);
        rig.answer(0, &job, Answer::None(Fault::Timeout));
    }
    assert_eq!(asked.len(), 12, "each from another stream");
    assert!((500..=1000).contains(&waits[0]), "{waits:?}");
    assert!(
        waits[9..]
            .iter()
            .all(|wait| (150_000..=300_000).contains(wait)),
        "{waits:?}"
    );
    // One success, and all come.
    while !rig.machine.has_job(0, rig.now) {
        rig.pass_to_deadline();
    }
    rig.send(OK);
    assert_ne!(rig.state(), "resting");
    let mut sent = 1;
    while let Some(job) = rig.job(0) {
        rig.answer(0, &job, OK);
        sent += 1;
    }
    assert_eq!((sent, rig.state()), (100, "ok"));
    let lines = rig.notes().len();
    assert!(lines < 10, "{lines} log lines of one outage");
}

#[test]
fn poison_holds_up_only_its_own_stream() {
    let mut rig = Rig::new(&[USUAL]);
    rig.write(1, 1);
    // Nothing else is sent, so after three failures the endpoint rests, up to five minutes.
    for _ in 0..12 {
        rig.send(status(500));
        while !rig.machine.has_job(0, rig.now) {
            rig.pass_to_deadline();
        }
    }
    rig.send(status(500));
    assert_eq!(rig.state(), "resting");
    // The first event of another stream finds out at once.
    rig.write(2, 1);
    let range = rig.send(OK);
    assert_eq!(range.last, 1);
    assert_eq!(rig.state(), "failing");
    // And later ones are not touched by the poison's own tries.
    for _ in 0..50 {
        rig.write(2, 1);
        let mut is_delivered = false;
        while let Some(job) = rig.job(0) {
            let is_poison = job.cursor.key == key(1);
            rig.answer(0, &job, if is_poison { status(500) } else { OK });
            is_delivered |= !is_poison;
        }
        assert!(is_delivered);
        rig.pass(1000);
    }
}

#[test]
fn retry_after_lets_the_whole_endpoint_rest_so_long() {
    let mut rig = Rig::new(&[USUAL]);
    for stream in 1..=3 {
        rig.write(stream, 1);
    }
    let (first, second) = (rig.job(0).expect("a job"), rig.job(0).expect("a job"));
    rig.answer(0, &first, after(429, 60));
    rig.answer(0, &second, OK);
    assert_eq!(rig.job(0), None, "a late success shortens nothing");
    rig.pass(59_999);
    assert_eq!(rig.job(0), None);
    rig.pass(1);
    rig.send(OK);
    rig.send(OK);
    assert_eq!((rig.job(0), rig.state()), (None, "ok"));
}

#[test]
fn a_refused_batch_is_halved_down_to_the_event() {
    let batches = Settings {
        batch: 100,
        ..USUAL
    };
    let mut rig = Rig::new(&[batches]);
    rig.write(1, 100);
    let is_refused = |range: &Range| (range.first..=range.last).contains(&77);
    let mut refusals = 0;
    let poison = loop {
        let job = rig.job(0).expect("no wait before it is one event");
        let range = Rig::range(&job);
        if !is_refused(&range) {
            rig.answer(0, &job, OK);
            continue;
        }
        refusals += 1;
        rig.answer(0, &job, status(422));
        if range.events == 1 {
            break range;
        }
    };
    assert_eq!((poison.first, poison.last), (77, 77));
    assert!(refusals <= 8, "{refusals}");
    assert_eq!(rig.state(), "failing");
    // Other streams go on, in whole batches.
    rig.write(2, 100);
    assert_eq!(rig.send(OK).events, 100);
    // Once the receiver takes it, the stream is back at whole batches behind what was refused.
    rig.write(1, 200);
    while !rig.machine.has_job(0, rig.now) {
        rig.pass_to_deadline();
    }
    assert_eq!(rig.send(OK), poison);
    let mut sizes = Vec::new();
    while let Some(job) = rig.job(0) {
        sizes.push(rig.answer(0, &job, OK).events);
    }
    assert_eq!(sizes.iter().map(|n| u64::from(*n)).sum::<u64>(), 300 - 77);
    assert!(sizes.contains(&100), "{sizes:?}");
}

#[test]
fn a_refusal_with_retry_after_delays_its_stream_alone() {
    let mut rig = Rig::new(&[USUAL]);
    rig.write(1, 1);
    rig.send(after(400, 100));
    rig.write(2, 1);
    rig.send(OK);
    rig.pass(99_999);
    assert_eq!(rig.job(0), None);
    rig.pass(1);
    rig.send(OK);
}

#[test]
fn gone_ends_all_requests_until_a_person_says_so() {
    let mut rig = Rig::new(&[USUAL]);
    rig.write(1, 2);
    rig.send(status(410));
    assert_eq!((rig.state(), rig.job(0)), ("gone", None));
    rig.pass(10_000_000);
    assert_eq!(rig.job(0), None);
    rig.machine.set_mode(0, Mode::Running, rig.now);
    assert_eq!(rig.send(OK).first, 1);
    assert_eq!(rig.send(OK).first, 2);
}

#[test]
fn p12_a_paused_endpoint_gets_nothing_and_resumes_where_it_was() {
    let mut rig = Rig::new(&[USUAL]);
    rig.write(1, 2);
    let job = rig.job(0).expect("a job");
    rig.machine.set_mode(0, Mode::Paused, rig.now);
    rig.answer(0, &job, OK);
    assert_eq!((rig.state(), rig.job(0)), ("paused", None));
    assert!(
        !rig.machine.is_needed(key(1)),
        "J13: paused ones keep no journal"
    );
    rig.write(1, 1);
    rig.machine.set_mode(0, Mode::Running, rig.now);
    assert_eq!((rig.send(OK).first, rig.send(OK).first), (2, 3));
}

#[test]
fn p12_replay_sends_old_events_before_newer_ones() {
    let mut rig = Rig::new(&[USUAL]);
    rig.write(1, 4);
    for _ in 0..3 {
        rig.send(OK);
    }
    let job = rig.job(0).expect("a job");
    let back = Cursor {
        key: key(1),
        seq: 1,
        offset: LINE,
    };
    rig.machine.replay(0, &back, rig.now);
    // The answer of what was under way moves nothing.
    rig.answer(0, &job, OK);
    let sent: Vec<u64> = (0..3).map(|_| rig.send(OK).first).collect();
    assert_eq!(sent, [2, 3, 4]);
    assert_eq!(rig.job(0), None);
    // From any state.
    rig.write(1, 1);
    rig.send(status(500));
    rig.machine.replay(0, &back, rig.now);
    let sent: Vec<u64> = (0..4).map(|_| rig.send(OK).first).collect();
    assert_eq!((sent, rig.job(0)), (vec![2, 3, 4, 5], None));
}

#[test]
fn p11_after_a_withdrawal_nothing_of_the_stream_is_sent_and_its_word_comes_last() {
    let mut rig = Rig::new(&[USUAL]);
    rig.write(1, 5);
    let job = rig.job(0).expect("a job");
    rig.machine.revoke(key(1));
    // The server's own journal says so.
    rig.write(0, 1);
    assert_eq!(rig.job(0), None, "what is under way comes first");
    rig.answer(0, &job, status(500));
    let last = rig.job(0).expect("the server's journal");
    assert_eq!(last.cursor.key, JournalKey::SERVER);
    rig.answer(0, &last, OK);
    rig.pass(3_600_000);
    assert_eq!(rig.job(0), None);
    assert!(!rig.machine.knows(key(1)));
    assert_eq!(rig.report(0).lag_events, 0);
}

#[test]
fn give_up_skips_an_event_only_while_others_are_taken() {
    let giving_up = Settings {
        give_up_s: 60,
        ..USUAL
    };
    let mut rig = Rig::new(&[giving_up]);
    rig.write(1, 2);
    // Alone, it is never skipped.
    for _ in 0..50 {
        rig.send(status(422));
        while !rig.machine.has_job(0, rig.now) {
            rig.pass_to_deadline();
        }
    }
    rig.write(2, 1);
    let mut sent = BTreeSet::new();
    while let Some(job) = rig.job(0) {
        let is_poison = job.cursor.key == key(1) && job.cursor.seq == 0;
        rig.answer(0, &job, if is_poison { status(422) } else { OK });
        sent.insert((job.cursor.key, job.cursor.seq));
    }
    while rig.report(0).counts.skipped == 0 {
        rig.pass_to_deadline();
        while let Some(job) = rig.job(0) {
            let is_poison = job.cursor.key == key(1) && job.cursor.seq == 0;
            rig.answer(0, &job, if is_poison { status(422) } else { OK });
            sent.insert((job.cursor.key, job.cursor.seq));
        }
    }
    assert!(sent.contains(&(key(1), 1)), "what is behind it is sent");
    assert!(rig.notes().contains(&NoteKind::Skipped { status: 422 }));

    // The time of an outage does not count.
    let mut rig = Rig::new(&[giving_up]);
    rig.write(1, 1);
    rig.write(2, 1);
    rig.write(3, 1);
    for _ in 0..3 {
        rig.send(status(500));
    }
    let outage = rig.now.ms + 7_200_000;
    while rig.now.ms < outage {
        if let Some(job) = rig.job(0) {
            rig.answer(0, &job, status(500));
        }
        rig.pass_to_deadline();
    }
    while rig.report(0).counts.delivered == 0 {
        if let Some(job) = rig.job(0) {
            rig.answer(
                0,
                &job,
                if job.cursor.key == key(2) {
                    OK
                } else {
                    status(500)
                },
            );
        }
        rig.pass_to_deadline();
    }
    while let Some(job) = rig.job(0) {
        rig.answer(0, &job, status(500));
    }
    assert_eq!(rig.report(0).counts.skipped, 0);
}

#[test]
fn give_up_comes_at_its_time_and_not_with_the_next_backoff() {
    let giving_up = Settings {
        give_up_s: 400,
        ..USUAL
    };
    let mut rig = Rig::new(&[giving_up]);
    rig.write(1, 1);
    let begun = rig.now.ms;
    while rig.report(0).counts.skipped == 0 {
        rig.write(2, 1);
        while let Some(job) = rig.job(0) {
            let answer = if job.cursor.key == key(1) {
                status(400)
            } else {
                OK
            };
            rig.answer(0, &job, answer);
        }
        rig.pass(1000);
    }
    let took = (rig.now.ms - begun) / 1000;
    assert!((400..=404).contains(&took), "{took} s");
}

#[test]
fn p8_growing_lag_is_told_once() {
    let mut rig = Rig::new(&[USUAL]);
    for _ in 0..200 {
        rig.write(1, 20);
        if let Some(job) = rig.job(0) {
            rig.answer(0, &job, OK);
        }
        rig.machine.next_deadline(rig.now);
        rig.pass(1000);
    }
    let told = rig.notes();
    let told: Vec<&NoteKind> = told
        .iter()
        .filter(|note| matches!(note, NoteKind::LagGrows { .. }))
        .collect();
    assert_eq!(told.len(), 1);
    let report = rig.report(0);
    assert_eq!((report.lag_events, report.streams_behind), (4000 - 200, 1));
}

#[test]
fn j13_a_deleted_journal_is_counted_and_named_once() {
    let mut rig = Rig::new(&[USUAL]);
    rig.write(1, 9);
    rig.send(OK);
    assert!(rig.machine.is_needed(key(1)));
    let job = rig.job(0).expect("a job");
    rig.machine.finish(0, &job, Outcome::Lost, rig.now);
    assert_eq!(rig.report(0).counts.expired, 8);
    assert_eq!(rig.notes(), [NoteKind::Expired { events: 8 }]);
    assert_eq!((rig.job(0), rig.machine.knows(key(1))), (None, false));
}

#[test]
fn p5_a_stream_leaves_the_file_when_it_has_ended_and_is_delivered() {
    let mut rig = Rig::new(&[USUAL]);
    rig.write(1, 1);
    rig.write(2, 1);
    rig.end(1);
    rig.end(2);
    rig.send(OK);
    let live = rig.machine.live_cursors(0);
    assert_eq!(live, [Cursor::begin(key(2))]);
    rig.machine.forget_done();
    assert!(!rig.machine.knows(key(1)) && rig.machine.knows(key(2)));
    // Its number is another stream's now.
    rig.write(3, 1);
    rig.send(OK);
    rig.send(OK);
    assert_eq!(rig.job(0), None);
}

#[test]
fn an_endpoint_cannot_take_the_threads_of_another() {
    let greedy = Settings {
        connections: 32,
        ..USUAL
    };
    let mut rig = Rig::new(&[greedy; 8]);
    for stream in 1..=100 {
        rig.write(stream, 1);
    }
    for endpoint in 0..8 {
        let mut jobs = 0;
        while rig.job(endpoint).is_some() {
            jobs += 1;
        }
        assert_eq!(jobs, 8, "64 threads for 8 endpoints");
    }
}

#[test]
fn two_thousand_streams_and_a_day_without_the_endpoint() {
    let mut rig = Rig::new(&[
        Settings {
            batch: 100,
            ..USUAL
        },
        USUAL,
    ]);
    let begun = rig.now.ms;
    let (mut requests, mut written) = (0_u64, 0_u64);
    let mut slowest = 0;
    while rig.now.ms - begun < 86_400_000 {
        // Some event every ten seconds, anywhere.
        let stream = 1 + written * 7919 % 2000;
        rig.write(stream, 1);
        written += 1;
        while let Some(job) = rig.job(1) {
            rig.answer(1, &job, OK);
        }
        slowest = slowest.max(rig.report(1).lag_events);
        let next = rig.now.ms + 10_000;
        while let Some(at) = rig.machine.next_deadline(rig.now).filter(|at| *at <= next) {
            rig.pass(at.saturating_sub(rig.now.ms));
            while let Some(job) = rig.job(0) {
                rig.answer(0, &job, RESET);
                requests += 1;
            }
        }
        rig.pass(next.saturating_sub(rig.now.ms));
    }
    assert_eq!(slowest, 0, "the other endpoint never waits");
    assert!(requests < 600, "{requests} requests in a day");
    // It comes back: all of it arrives.
    while rig.report(0).counts.events < written {
        while let Some(job) = rig.job(0) {
            rig.answer(0, &job, OK);
        }
        if rig.report(0).counts.events < written {
            rig.pass_to_deadline();
        }
    }
    assert_eq!(rig.state(), "ok");
}

struct Random(SplitMix);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0.next() % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// What one endpoint has received of one stream.
#[derive(Debug, Default, Clone)]
struct Received {
    /// The last event of an unbroken row from the first.
    last: u64,
    /// Events that came more than once.
    doubled: u64,
}

/// What a receiver is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Habit {
    Well,
    /// Takes nothing until the faults are over.
    Dead,
    /// Draws a fault now and then.
    Moody,
    /// Refuses certain events until the faults are over.
    Picky,
}

/// Journals, endpoints, and processes that are killed.
struct World {
    random: Random,
    now: Now,
    machine: Machine,
    habits: Vec<Habit>,
    settings: Vec<Settings>,
    written: BTreeMap<u64, (u64, bool)>,
    revoked: BTreeSet<u64>,
    received: HashMap<(u32, u64), Received>,
    /// Requests under way: when they end, where, which.
    flying: Vec<(u64, u32, Job)>,
    /// What the files of cursors say.
    files: Vec<HashMap<JournalKey, Cursor>>,
    next_write: u64,
    /// Events that an endpoint took although it did not say so, or that were taken since the last
    /// write of the cursors when the process was killed.
    may_double: HashMap<(u32, u64), u64>,
    unwritten: HashMap<(u32, u64), u64>,
    is_over: bool,
    kills: u64,
}

const CURSOR_WRITE: u64 = 100;

impl World {
    fn new(seed: u64) -> World {
        let mut random = Random(SplitMix::new(seed));
        let habits: Vec<Habit> = (0..1 + random.below(4))
            .map(|_| match random.below(4) {
                0 => Habit::Well,
                1 => Habit::Dead,
                2 => Habit::Moody,
                _ => Habit::Picky,
            })
            .collect();
        let settings = habits
            .iter()
            .map(|_| Settings {
                batch: [1, 2, 10, 100][random.below(4) as usize],
                linger_ms: [0, 0, 50, 1000][random.below(4) as usize],
                connections: 1 + random.below(8) as u32,
                give_up_s: 0,
                filter: 0,
            })
            .collect();
        let now = Now {
            ms: 1,
            unix_ms: 1_795_529_590_941,
        };
        let mut world = World {
            files: habits.iter().map(|_| HashMap::new()).collect(),
            machine: Machine::new(64, seed),
            random,
            now,
            habits,
            settings,
            written: BTreeMap::new(),
            revoked: BTreeSet::new(),
            received: HashMap::new(),
            flying: Vec::new(),
            next_write: CURSOR_WRITE,
            may_double: HashMap::new(),
            unwritten: HashMap::new(),
            is_over: false,
            kills: 0,
        };
        world.start();
        world
    }

    /// A process begins with what the files say.
    fn start(&mut self) {
        self.machine = Machine::new(64, self.random.below(u64::MAX));
        for (n, settings) in self.settings.iter().enumerate() {
            self.machine
                .add_endpoint(n as u32, *settings, Mode::Running, self.now);
        }
        for (&stream, &(seq, is_ended)) in &self.written {
            if self.revoked.contains(&stream) {
                continue;
            }
            let files = &self.files;
            let cursor = |n: u32| {
                let known = files[n as usize].get(&key(stream)).copied();
                Some(known.unwrap_or_else(|| Cursor::begin(key(stream))))
            };
            self.machine
                .add_stream(key(stream), End { seq, is_ended }, self.now, cursor);
        }
    }

    fn kill(&mut self) {
        self.kills += 1;
        // A request may have arrived, and its events come again.
        for (_, n, job) in std::mem::take(&mut self.flying) {
            if self.random.one_in(2) && !self.revoked.contains(&stream_of(&job)) {
                let range = Rig::range(&job);
                self.receive(n, stream_of(&job), &range);
                *self.may_double.entry((n, stream_of(&job))).or_default() +=
                    u64::from(range.events);
            }
        }
        for (place, events) in std::mem::take(&mut self.unwritten) {
            *self.may_double.entry(place).or_default() += events;
        }
        self.start();
    }

    fn write_cursors(&mut self) {
        for n in 0..self.habits.len() as u32 {
            for cursor in self.machine.changed_cursors(n) {
                self.files[n as usize].insert(cursor.key, cursor);
            }
        }
        self.unwritten.clear();
        self.next_write = self.now.ms + CURSOR_WRITE;
    }

    fn write(&mut self) {
        let stream = 1 + self.random.below(6);
        if self.revoked.contains(&stream) {
            return;
        }
        let entry = self.written.entry(stream).or_default();
        if entry.1 {
            return;
        }
        let most = match self.random.one_in(7) {
            true => 150,
            false => 2,
        };
        entry.0 += 1 + self.random.below(most);
        entry.1 = self.random.one_in(200);
        let end = End {
            seq: entry.0,
            is_ended: entry.1,
        };
        let begin = Cursor::begin(key(stream));
        self.machine
            .add_stream(key(stream), end, self.now, |_| Some(begin));
        self.machine.grew(key(stream), end, self.now);
    }

    fn receive(&mut self, n: u32, stream: u64, range: &Range) {
        let received = self.received.entry((n, stream)).or_default();
        assert!(
            range.first <= received.last + 1,
            "endpoint {n} got {range:?} of stream {stream} after {}",
            received.last
        );
        let old = received.last.min(range.last) + 1 - range.first.min(received.last + 1);
        received.doubled += old;
        received.last = received.last.max(range.last);
    }

    /// What the receiver makes of a request: whether it takes the events, and what it says.
    fn respond(&mut self, n: u32, stream: u64, range: &Range) -> (bool, Answer) {
        if self.is_over {
            return (true, OK);
        }
        match self.habits[n as usize] {
            Habit::Well => (true, OK),
            Habit::Dead => (
                false,
                [
                    RESET,
                    status(503),
                    status(404),
                    Answer::None(Fault::Timeout),
                ][self.random.below(4) as usize],
            ),
            Habit::Moody => match self.random.below(12) {
                0 => (false, status(500)),
                1 => (true, RESET),
                2 => (false, RESET),
                3 => (false, after(429, 1 + self.random.below(5))),
                4 => (false, status(413)),
                5 => (false, after(422, 2)),
                6 => (false, status(302)),
                _ => (true, OK),
            },
            Habit::Picky => {
                let is_poison = stream == 2 && (range.first..=range.last).any(|seq| seq % 40 == 7);
                match is_poison {
                    true => (false, status(if n.is_multiple_of(2) { 400 } else { 500 })),
                    false => (true, OK),
                }
            }
        }
    }

    fn start_requests(&mut self) {
        for n in 0..self.habits.len() as u32 {
            while let Some(job) = self.machine.next_job(n, self.now) {
                let stream = stream_of(&job);
                let is_double = self
                    .flying
                    .iter()
                    .any(|(_, other, it)| *other == n && stream_of(it) == stream);
                assert!(!is_double, "two requests of one stream at one endpoint");
                assert!(!self.revoked.contains(&stream), "a revoked stream is sent");
                let under_way = self
                    .flying
                    .iter()
                    .filter(|(_, other, _)| *other == n)
                    .count();
                assert!(under_way < self.settings[n as usize].connections as usize);
                let takes = match self.habits[n as usize] {
                    Habit::Well => 10,
                    _ => 1 + self.random.below(300),
                };
                self.flying.push((self.now.ms + takes, n, job));
            }
        }
    }

    fn end_requests(&mut self) {
        let now = self.now.ms;
        let over: Vec<(u64, u32, Job)> =
            self.flying.extract_if(.., |(at, ..)| *at <= now).collect();
        for (_, n, job) in over {
            let stream = stream_of(&job);
            let range = Rig::range(&job);
            let (is_taken, answer) = self.respond(n, stream, &range);
            if is_taken {
                self.receive(n, stream, &range);
                let place = (n, stream);
                match answer == OK {
                    true => *self.unwritten.entry(place).or_default() += u64::from(range.events),
                    false => *self.may_double.entry(place).or_default() += u64::from(range.events),
                }
            }
            let unix_s = (self.now.unix_ms / 1000) as u32;
            let outcome = Outcome::Answered {
                range,
                unix_s,
                answer,
            };
            self.machine.finish(n, &job, outcome, self.now);
        }
    }

    /// One step of virtual time: to whatever comes first, but no further than `until`.
    fn step(&mut self, until: u64) {
        self.machine.ring(self.now);
        self.end_requests();
        if self.now.ms >= self.next_write {
            self.write_cursors();
        }
        self.start_requests();
        let flying = self.flying.iter().map(|(at, ..)| *at);
        let due = self
            .machine
            .next_deadline(self.now)
            .into_iter()
            .chain(flying);
        let next = due.chain([self.next_write, until]).min().expect("one");
        let ms = next.saturating_sub(self.now.ms).max(1);
        self.now.ms += ms;
        self.now.unix_ms += ms;
    }

    fn run(&mut self) {
        for _ in 0..300 {
            match self.random.below(40) {
                0 => self.kill(),
                1 if self.random.one_in(4) => {
                    let stream = 1 + self.random.below(6);
                    if self.written.contains_key(&stream) {
                        self.revoked.insert(stream);
                        self.machine.revoke(key(stream));
                    }
                }
                2 => self.machine.forget_done(),
                _ => self.write(),
            }
            let until = self.now.ms + self.random.below(2000);
            while self.now.ms < until {
                self.step(until);
            }
        }
        self.is_over = true;
        let deadline = self.now.ms + 3_600_000;
        while self.now.ms < deadline && !self.is_complete() {
            self.step(deadline);
        }
    }

    fn is_complete(&self) -> bool {
        let endpoints = 0..self.habits.len() as u32;
        endpoints.into_iter().all(|n| {
            self.written.iter().all(|(stream, (seq, _))| {
                let received = self.received.get(&(n, *stream));
                self.revoked.contains(stream) || received.is_some_and(|it| it.last == *seq)
            })
        })
    }
}

fn stream_of(job: &Job) -> u64 {
    u64::from_str_radix(&job.cursor.key.to_string(), 16).expect("a key")
}

/// Whatever receivers do and whenever the process is killed: each event comes at least once and in
/// order, with one request of a stream under way, and again only where an answer was lost or the
/// process killed before the cursor was written.
#[test]
fn whatever_receivers_do_every_event_comes_once_and_in_order() {
    let seeds = std::env::var("RTMSD_SEEDS")
        .ok()
        .and_then(|n| n.parse().ok());
    let (mut kills, mut doubled) = (0, 0);
    for seed in 0..seeds.unwrap_or(30) {
        let mut world = World::new(seed);
        world.run();
        assert!(
            world.is_complete(),
            "seed {seed}: {:?} {:?}",
            world.written,
            world.received
        );
        for (place, received) in &world.received {
            let allowed = world.may_double.get(place).copied().unwrap_or(0);
            assert!(
                received.doubled <= allowed,
                "seed {seed}, {place:?}: {} doubled, {allowed} allowed",
                received.doubled
            );
            doubled += received.doubled;
        }
        kills += world.kills;
    }
    assert!(
        kills > 50 && doubled > 10,
        "{kills} kills, {doubled} doubled"
    );
}

/// An endpoint that is well gets each event in the time of its own requests, whatever another does.
#[test]
fn one_dead_endpoint_never_delays_another() {
    for seed in 0..20 {
        let mut world = World::new(seed);
        world.habits = vec![Habit::Dead, Habit::Well, Habit::Moody];
        world.settings = vec![USUAL; 3];
        world.files = vec![HashMap::new(); 3];
        world.start();
        for _ in 0..300 {
            let stream = 1 + world.random.below(6);
            let entry = world.written.entry(stream).or_default();
            entry.0 += 1;
            let end = End {
                seq: entry.0,
                is_ended: false,
            };
            let begin = Cursor::begin(key(stream));
            world
                .machine
                .add_stream(key(stream), end, world.now, |_| Some(begin));
            world.machine.grew(key(stream), end, world.now);
            let until = world.now.ms + 40;
            while world.now.ms < until {
                world.step(until);
            }
            assert_eq!(
                world.machine.report(1, world.now).expect("one").lag_events,
                0
            );
        }
    }
}
