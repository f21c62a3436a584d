//! The decisions about ended streams, in virtual time.

use super::super::entry::tests::entry;
use super::super::entry::{Deletion, FileState, Multipart, Sent, lines};
use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A queue, its clock, and the file that it would write.
struct World {
    queue: Queue,
    now: Now,
    file: String,
}

fn plan() -> Plan {
    Plan {
        hooks_at_once: 2,
        has_bucket: true,
        deletes_local: false,
    }
}

fn hook_only() -> Plan {
    Plan {
        has_bucket: false,
        ..plan()
    }
}

fn now() -> Now {
    Now {
        instant: Instant::now(),
        unix_ms: 1_795_529_690_000,
    }
}

impl World {
    fn new(plan: Plan) -> World {
        let now = now();
        World {
            queue: Queue::new(now, plan, Entries::default(), |_| Some(true)),
            now,
            file: String::new(),
        }
    }

    /// What is to be done now, but for lines of the log.
    fn step(&mut self) -> Vec<Action> {
        let mut actions = self.queue.step(self.now);
        self.file += &lines(&self.queue.take_changes());
        actions.retain(|action| !matches!(action, Action::Log(..)));
        actions
    }

    fn pass(&mut self, time: Duration) {
        self.now.instant += time;
        self.now.unix_ms += time.as_millis() as u64;
    }

    /// A stream that has ended.
    fn end(&mut self, n: u64) {
        let ended_ms = self.now.unix_ms;
        self.queue.announce(
            self.now,
            Entry {
                ended_ms,
                ..entry(n)
            },
        );
        self.queue.written(self.now, &key(n));
    }

    fn hook_done(&mut self, n: u64, end: HookEnd) {
        self.queue.hook_done(self.now, &key(n), end);
    }

    fn hook_fails(&mut self, n: u64) {
        self.hook_done(n, HookEnd::Failed("exit 1".to_owned()));
    }

    fn job_done(&mut self, n: u64, number: u64, kind: Option<FaultKind>) {
        let result = match kind {
            None => Ok(()),
            Some(kind) => Err(Fault::new(kind, "put object", "")),
        };
        self.queue.job_done(self.now, &key(n), number, result);
    }

    /// The next process, which finds the file.
    fn restart(&mut self, plan: Plan) {
        let (entries, odd) = Entries::read(self.file.as_bytes());
        assert_eq!(odd, 0);
        self.queue = Queue::new(self.now, plan, entries, |_| Some(true));
    }

    fn keys(&self) -> Vec<String> {
        self.queue
            .entries()
            .iter()
            .map(|entry| entry.key.clone())
            .collect()
    }
}

fn key(n: u64) -> String {
    entry(n).key
}

/// The hooks among the actions: stream, attempt, whether the upload is done.
fn hooks(actions: &[Action]) -> Vec<(String, u32, bool)> {
    let hooks = actions.iter().filter_map(|action| match action {
        Action::RunHook(entry, attempt) => Some((entry.key.clone(), *attempt, entry.is_uploaded)),
        _ => None,
    });
    hooks.collect()
}

fn jobs(actions: &[Action]) -> Vec<(Job, u64, String)> {
    let jobs = actions.iter().filter_map(|action| match action {
        Action::Start(job, number, entry) => Some((*job, *number, entry.key.clone())),
        _ => None,
    });
    jobs.collect()
}

#[test]
fn h1_the_hook_runs_once_the_end_is_on_the_disk_and_is_forgotten_after_exit_0() {
    let mut w = World::new(hook_only());
    w.queue.announce(w.now, entry(1));
    assert_eq!(w.step(), []);
    assert!(
        w.file.contains(&key(1)),
        "it is in the file before the end is reported"
    );
    assert_eq!(w.queue.deadline(w.now), None);
    w.queue.written(w.now, &key(1));
    assert_eq!(hooks(&w.step()), [(key(1), 1, false)]);
    assert_eq!(w.step(), [], "one run at a time");
    w.hook_done(1, HookEnd::Fine);
    assert_eq!(w.step(), []);
    assert_eq!(w.keys(), Vec::<String>::new());
    assert_eq!(w.queue.counts().hooks_fine, 1);
    w.restart(hook_only());
    assert_eq!(w.step(), []);
}

#[test]
fn h1_a_crash_at_any_moment_before_exit_0_runs_it_again() {
    let mut w = World::new(hook_only());
    w.queue.announce(w.now, entry(1));
    w.step();
    w.restart(hook_only());
    assert_eq!(hooks(&w.step()).len(), 1, "before its end was written");
    w.restart(hook_only());
    assert_eq!(hooks(&w.step()).len(), 1, "while it ran");
    // Files that are not complete yet: the stream is completed first, and announced again.
    let (entries, _) = Entries::read(w.file.as_bytes());
    w.queue = Queue::new(w.now, hook_only(), entries, |_| Some(false));
    assert_eq!(w.step(), []);
    w.end(1);
    assert_eq!(hooks(&w.step()).len(), 1);
    // A folder that is gone for good.
    let (entries, _) = Entries::read(w.file.as_bytes());
    w.queue = Queue::new(w.now, hook_only(), entries, |_| None);
    w.step();
    assert!(w.keys().is_empty());
    w.restart(hook_only());
    assert!(w.keys().is_empty());
}

#[test]
fn h1_with_a_bucket_the_hook_waits_for_the_upload_and_not_for_ever() {
    let mut w = World::new(plan());
    w.end(1);
    w.end(2);
    let begun = jobs(&w.step());
    assert_eq!(begun.len(), 2);
    let (_, number, _) = begun[0];
    w.job_done(1, number, None);
    assert_eq!(hooks(&w.step()), [(key(1), 1, true)]);
    // The other upload hangs.
    w.pass(UPLOAD_WAIT - SECOND);
    assert_eq!(w.step(), []);
    assert_eq!(w.queue.deadline(w.now), Some(w.now.instant + SECOND));
    w.pass(SECOND);
    assert_eq!(hooks(&w.step()), [(key(2), 1, false)]);
    w.hook_done(2, HookEnd::Fine);
    w.hook_done(1, HookEnd::Fine);
    w.step();
    assert_eq!(w.keys(), [key(2)], "its upload goes on");
    // A restart does not begin the wait again.
    w.end(3);
    w.step();
    w.pass(UPLOAD_WAIT - SECOND);
    w.restart(plan());
    assert!(hooks(&w.step()).is_empty());
    w.pass(SECOND);
    assert_eq!(hooks(&w.step()), [(key(3), 1, false)]);
}

#[test]
fn h2_three_tries_and_then_an_error() {
    let mut w = World::new(hook_only());
    w.end(1);
    for (attempt, pause) in [(1, 10), (2, 60)] {
        assert_eq!(hooks(&w.step()), [(key(1), attempt, false)]);
        w.hook_fails(1);
        assert_eq!(w.step(), []);
        assert_eq!(
            w.queue.deadline(w.now),
            Some(w.now.instant + SECOND * pause)
        );
        w.pass(SECOND * pause - Duration::from_millis(1));
        assert_eq!(w.step(), []);
        w.pass(Duration::from_millis(1));
    }
    assert_eq!(hooks(&w.step()), [(key(1), 3, false)]);
    w.hook_fails(1);
    let actions = w.queue.step(w.now);
    let [Action::Log(Severity::Error, line)] = actions.as_slice() else {
        panic!("{actions:?}");
    };
    assert!(line.contains(&key(1)) && line.contains("exit 1"), "{line}");
    assert!(w.keys().is_empty());
    let counts = w.queue.counts();
    assert_eq!(
        (counts.hooks_retried, counts.hooks_failed, counts.hooks_fine),
        (2, 1, 0)
    );
}

#[test]
fn h2_what_our_own_end_killed_was_not_tried() {
    let mut w = World::new(hook_only());
    w.end(1);
    w.step();
    w.hook_fails(1);
    w.step();
    w.pass(SECOND * 10);
    assert_eq!(hooks(&w.step()), [(key(1), 2, false)]);
    w.queue.stop();
    w.hook_done(1, HookEnd::Cancelled);
    w.end(2);
    assert_eq!(w.step(), [], "nothing is begun any more");
    w.restart(hook_only());
    assert_eq!(hooks(&w.step()), [(key(1), 2, false), (key(2), 1, false)]);
}

#[test]
fn no_more_hooks_at_once_than_that_and_in_the_order_of_the_ends() {
    let mut w = World::new(hook_only());
    (1..=100).for_each(|n| w.end(n));
    let mut order = Vec::new();
    let mut running = Vec::new();
    loop {
        let begun = hooks(&w.step());
        running.extend(begun.into_iter().map(|(key, ..)| key));
        assert!(running.len() <= 2);
        let Some(key) = running.pop() else { break };
        let n = u64::from_str_radix(&key, 16).expect("a number");
        order.push(n);
        w.hook_done(n, HookEnd::Fine);
    }
    assert_eq!(order.len(), 100);
    assert!(w.keys().is_empty());
}

#[test]
fn h5_after_a_withdrawal_the_hook_of_the_end_does_not_run() {
    let mut w = World::new(hook_only());
    w.queue.announce(w.now, entry(1));
    w.end(2);
    assert_eq!(hooks(&w.step()).len(), 1);
    w.queue.revoke(w.now, entry(1), true);
    w.queue.revoke(w.now, entry(2), true);
    let actions = w.step();
    // One was pending; the other runs, and is ended first.
    assert!(actions.contains(&Action::KillHook(key(2))));
    let [(first, 1, false)] = &hooks(&actions)[..] else {
        panic!("{actions:?}");
    };
    assert_eq!(*first, key(1));
    w.hook_done(2, HookEnd::Cancelled);
    let actions = w.step();
    let [Action::RunHook(entry, 1)] = actions.as_slice() else {
        panic!("{actions:?}");
    };
    assert_eq!(entry.kind, EndKind::Revoked);
    assert_eq!(entry.folder, std::path::PathBuf::new());
    // Ordered again: nothing more happens. An end that comes late counts for nothing.
    w.queue.revoke(w.now, *entry.clone(), true);
    w.end(2);
    assert_eq!(w.step(), []);
    w.hook_done(1, HookEnd::Fine);
    w.hook_done(2, HookEnd::Fine);
    w.step();
    assert!(w.keys().is_empty());
}

#[test]
fn u5_what_fails_is_tried_again_for_ever_and_one_stream_asks_for_all() {
    let mut w = World::new(Plan {
        hooks_at_once: 0,
        ..plan()
    });
    (1..=5).for_each(|n| w.end(n));
    let begun = jobs(&w.step());
    assert_eq!(begun.len(), UPLOADS_AT_ONCE);
    for (_, number, key) in begun {
        let n = u64::from_str_radix(&key, 16).expect("a number");
        w.job_done(n, number, Some(FaultKind::Denied));
    }
    let mut pauses = Vec::new();
    for _ in 0..12 {
        assert_eq!(w.step(), []);
        let at = w.queue.deadline(w.now).expect("it is tried again");
        let pause = at - w.now.instant;
        pauses.push(pause.as_secs());
        w.pass(pause);
        let begun = jobs(&w.step());
        let [(Job::Upload, number, key)] = begun.as_slice() else {
            panic!("{begun:?}");
        };
        let n = u64::from_str_radix(key, 16).expect("a number");
        w.job_done(n, *number, Some(FaultKind::Denied));
    }
    assert_eq!(pauses, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300, 300]);
    w.pass(SECOND * 300);
    let begun = jobs(&w.step());
    let n = u64::from_str_radix(&begun[0].2, 16).expect("a number");
    w.job_done(n, begun[0].1, None);
    assert_eq!(jobs(&w.step()).len(), UPLOADS_AT_ONCE, "it works again");
    assert_eq!(w.queue.waiting_uploads(), 4);
}

#[test]
fn u5_a_fault_of_one_stream_does_not_hold_up_the_others() {
    let mut w = World::new(Plan {
        hooks_at_once: 0,
        ..plan()
    });
    (1..=3).for_each(|n| w.end(n));
    let begun = jobs(&w.step());
    w.job_done(1, begun[0].1, Some(FaultKind::Local));
    let begun = jobs(&w.step());
    assert_eq!(begun.len(), 1);
    assert_eq!(begun[0].2, key(3));
}

#[test]
fn u2_what_was_reached_is_kept_and_what_a_cancelled_job_says_is_not() {
    let mut w = World::new(plan());
    w.end(1);
    let number = jobs(&w.step())[0].1;
    let file = FileState {
        local: "audio-7-Ada.wav".to_owned(),
        object: "audio-7.wav".to_owned(),
        sent: None,
    };
    let upload = Upload {
        bucket: "b".to_owned(),
        prefix: "v1/x/".to_owned(),
        files: vec![file.clone(), file],
        ..Upload::default()
    };
    let parts = Multipart {
        upload_id: "u".to_owned(),
        object: "audio-7.wav".to_owned(),
        etags: vec!["1".to_owned()],
        ..Multipart::default()
    };
    w.queue.progress(
        &key(1),
        number,
        EntryChange::Upload(key(1), Box::new(upload)),
    );
    w.queue.progress(
        &key(1),
        number,
        EntryChange::File(key(1), 0, Sent::default()),
    );
    w.queue.progress(
        &key(1),
        number,
        EntryChange::Parts(key(1), Some(parts.clone())),
    );
    w.step();
    w.restart(plan());
    let actions = w.step();
    let [Action::Start(Job::Upload, number, entry)] = actions.as_slice() else {
        panic!("{actions:?}");
    };
    let upload = entry.upload.clone().expect("an upload");
    assert_eq!(upload.multipart, Some(parts));
    assert!(upload.files[0].sent.is_some() && upload.files[1].sent.is_none());

    // U7: what an upload may have left is deleted, once its thread is gone.
    let (number, entry) = (*number, (**entry).clone());
    w.queue.revoke(w.now, entry, true);
    let actions = w.step();
    assert!(actions.contains(&Action::CancelJob(key(1))));
    assert!(jobs(&actions).is_empty());
    w.queue
        .progress(&key(1), number, EntryChange::Upload(key(1), Box::default()));
    w.job_done(1, number, Some(FaultKind::Stopping));
    let actions = w.step();
    let [Action::Start(Job::Delete, number, entry)] = actions.as_slice() else {
        panic!("{actions:?}");
    };
    let expected = Deletion {
        bucket: "b".to_owned(),
        prefix: "v1/x/".to_owned(),
        objects: vec!["audio-7.wav".to_owned(), "audio-7.wav".to_owned()],
        multipart: Some(("audio-7.wav".to_owned(), "u".to_owned())),
        count: 1,
    };
    assert_eq!(entry.delete, Some(expected));
    assert_eq!(
        w.queue.waiting_uploads(),
        1,
        "it is counted until it is done"
    );
    w.job_done(1, *number, Some(FaultKind::Unreachable));
    w.pass(SECOND);
    let number = jobs(&w.step())[0].1;
    w.job_done(1, number, None);
    w.step();
    assert_eq!(
        (w.queue.waiting_uploads(), w.queue.counts().deleted),
        (0, 1)
    );
}

#[test]
fn u7_with_keep_nothing_more_goes_up_and_what_is_there_stays() {
    let mut w = World::new(Plan {
        hooks_at_once: 0,
        ..plan()
    });
    w.end(1);
    let number = jobs(&w.step())[0].1;
    w.queue.revoke(w.now, entry(1), false);
    assert_eq!(w.step(), [Action::CancelJob(key(1))]);
    w.job_done(1, number, Some(FaultKind::Stopping));
    assert_eq!(w.step(), []);
    assert!(w.keys().is_empty());
}

#[test]
fn u6_local_files_go_last_and_only_if_all_is_in_the_bucket() {
    let mut w = World::new(Plan {
        deletes_local: true,
        ..plan()
    });
    w.end(1);
    let number = jobs(&w.step())[0].1;
    w.job_done(1, number, None);
    let actions = w.step();
    assert!(jobs(&actions).is_empty(), "the hook needs the files");
    w.hook_done(1, HookEnd::Fine);
    let begun = jobs(&w.step());
    assert_eq!(begun[0].0, Job::Clean);
    // An object is gone: everything is sent again, and the hook has had its run.
    w.job_done(1, begun[0].1, Some(FaultKind::NotFound));
    w.pass(SECOND);
    let begun = jobs(&w.step());
    assert_eq!(begun[0].0, Job::Upload);
    w.job_done(1, begun[0].1, None);
    let begun = jobs(&w.step());
    assert_eq!(begun[0].0, Job::Clean);
    // A bucket that shows no checksums: the files are kept for good.
    w.job_done(1, begun[0].1, Some(FaultKind::Checksum));
    w.step();
    assert!(w.keys().is_empty());
}

#[test]
fn u6_a_bucket_that_never_shows_what_was_sent_does_not_get_it_for_ever() {
    let mut w = World::new(Plan {
        deletes_local: true,
        hooks_at_once: 0,
        ..plan()
    });
    w.end(1);
    let (mut uploads, mut waited) = (0, 0);
    loop {
        let begun = jobs(&w.step());
        let Some((job, number, _)) = begun.first() else {
            if w.keys().is_empty() {
                break;
            }
            w.pass(SECOND);
            waited += 1;
            continue;
        };
        let fault = (*job == Job::Clean).then_some(FaultKind::Differs);
        uploads += u32::from(*job == Job::Upload);
        w.job_done(1, *number, fault);
    }
    assert_eq!(uploads, 1 + SENT_AGAIN_MAX);
    assert_eq!(waited, 1 + 2 + 4, "longer each time");
}

#[test]
fn j13_the_journal_goes_last_and_once_no_consumer_needs_it() {
    let mut w = World::new(Plan {
        deletes_local: true,
        hooks_at_once: 0,
        ..plan()
    });
    w.end(1);
    let number = jobs(&w.step())[0].1;
    let file = |local: &str| FileState {
        local: local.to_owned(),
        object: local.to_owned(),
        sent: Some(Sent::default()),
    };
    let upload = Upload {
        bucket: "b".to_owned(),
        files: vec![file("transcript.txt"), file("feed.jsonl")],
        is_complete: true,
        ..Upload::default()
    };
    let change = EntryChange::Upload(key(1), Box::new(upload));
    w.queue.progress(&key(1), number, change);
    w.job_done(1, number, None);
    let begun = jobs(&w.step());
    assert_eq!(begun[0].0, Job::Clean);
    assert!(w.queue.journals_to_look_at(w.now).is_empty(), "not yet");
    w.job_done(1, begun[0].1, None);
    // A consumer needs it: it is looked at again and again, and by the next process.
    for _ in 0..3 {
        let due = w.queue.journals_to_look_at(w.now);
        assert_eq!(due.len(), 1);
        assert_eq!((&due[0].0, &due[0].1), (&key(1), &entry(1).folder));
        assert!(w.queue.journals_to_look_at(w.now).is_empty(), "once");
        assert_eq!(w.step(), []);
        let next = w.queue.deadline(w.now).expect("a look");
        assert_eq!(next, w.now.instant + JOURNAL_LOOK);
        w.pass(JOURNAL_LOOK);
    }
    assert_eq!(w.queue.waiting_uploads(), 0, "all is in the bucket");
    // No bucket is needed for it.
    w.restart(hook_only());
    w.end(2);
    assert_eq!(w.queue.journals_to_look_at(w.now).len(), 1);
    w.queue.journal_is_free(&key(1));
    let begun = jobs(&w.step());
    assert_eq!((begun.len(), begun[0].0), (1, Job::DeleteJournal));
    // The stream lives again at this moment: the disk thread refuses.
    w.job_done(1, begun[0].1, Some(FaultKind::Local));
    w.pass(JOURNAL_LOOK);
    w.queue.reopened(&key(1));
    assert!(w.queue.journals_to_look_at(w.now).is_empty());
    w.queue.written(w.now, &key(1));
    assert_eq!(w.queue.journals_to_look_at(w.now).len(), 1);
    w.queue.journal_is_free(&key(1));
    let begun = jobs(&w.step());
    w.job_done(1, begun[0].1, None);
    w.step();
    assert_eq!(w.keys(), [key(2)]);
}

#[test]
fn j13_a_thousand_journals_that_are_free_at_once_are_no_thousand_threads() {
    let mut w = World::new(Plan::default());
    let mut text = String::new();
    for n in 1..=1000 {
        text += &lines(&[EntryChange::Entry(Box::new(Entry {
            hook: None,
            is_journal_left: true,
            ..entry(n)
        }))]);
    }
    w.file = text;
    w.restart(Plan::default());
    let mut deleted = 0;
    for (key, ..) in w.queue.journals_to_look_at(w.now) {
        w.queue.journal_is_free(&key);
    }
    loop {
        let begun = jobs(&w.step());
        if begun.is_empty() {
            break;
        }
        assert!(begun.len() <= UPLOADS_AT_ONCE);
        for (job, number, key) in begun {
            assert_eq!(job, Job::DeleteJournal);
            w.queue.job_done(w.now, &key, number, Ok(()));
            deleted += 1;
        }
    }
    assert_eq!((deleted, w.keys().len()), (1000, 0));
}

#[test]
fn u7_without_a_bucket_it_is_said_that_objects_stay_and_with_one_they_go() {
    let mut w = World::new(hook_only());
    let delete = Deletion {
        bucket: "former".to_owned(),
        prefix: "v1/x/".to_owned(),
        count: 4,
        ..Deletion::default()
    };
    let revoked = Entry {
        delete: Some(delete),
        ..entry(1)
    };
    w.queue.revoke(w.now, revoked, true);
    let actions = w.queue.step(w.now);
    let is_said = |action: &Action| {
        matches!(action, Action::Log(Severity::Error, text)
            if text.contains("objects are still in the bucket \"former\"")
                && text.contains("RTMS_S3_BUCKET is not set"))
    };
    assert!(actions.iter().any(is_said), "{actions:?}");
    assert!(jobs(&actions).is_empty());
    w.hook_done(1, HookEnd::Fine);
    w.step();
    assert_eq!(w.queue.waiting_uploads(), 1);
    w.queue.configure(w.now, plan());
    let begun = jobs(&w.step());
    assert_eq!(begun[0].0, Job::Delete);
    w.job_done(1, begun[0].1, None);
    w.step();
    assert!(w.keys().is_empty());
}

#[test]
fn a_stream_that_lives_again_has_not_ended() {
    let mut w = World::new(plan());
    w.end(1);
    let number = jobs(&w.step())[0].1;
    w.queue.reopened(&key(1));
    assert_eq!(w.step(), [Action::CancelJob(key(1))]);
    w.job_done(1, number, Some(FaultKind::Stopping));
    w.pass(UPLOAD_WAIT * 2);
    assert_eq!(w.step(), []);
    w.end(1);
    assert_eq!(jobs(&w.step()).len(), 1);
}

#[test]
fn other_settings_count_from_then_on() {
    let mut w = World::new(plan());
    w.end(1);
    let number = jobs(&w.step())[0].1;
    w.job_done(1, number, Some(FaultKind::NoBucket));
    assert_eq!(w.step(), []);
    // Another bucket is tried at once.
    w.queue.configure(w.now, plan());
    assert_eq!(jobs(&w.step()).len(), 1);
    // Without a bucket the hook does not wait for it, and what is to be uploaded is not forgotten.
    w.end(2);
    w.queue.configure(w.now, hook_only());
    assert_eq!(hooks(&w.step()).len(), 2);
    w.queue.configure(
        w.now,
        Plan {
            hooks_at_once: 0,
            ..plan()
        },
    );
    w.step();
    w.end(3);
    assert_eq!(w.queue.waiting_uploads(), 3);
    assert_eq!(w.queue.waiting_hooks(), 0);
    // With neither, an end is of no interest.
    w.queue.configure(w.now, Plan::default());
    w.end(4);
    assert_eq!(w.keys().len(), 3);
}
