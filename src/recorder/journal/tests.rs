//! The journal through a stream's files: each numbered rule of the delivery document that concerns
//! one stream.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::lifecycle::{Change, Lifecycle};
use super::{JournalHost, Opening, SEQ_JUMP};
use crate::domain::phrase::{Change as PhraseChange, Phrase};
use crate::feed::reader::end_of;
use crate::feed::{Board, Chunk, Cursor, FEED_NAME, Found, Line, Reader, State};
use crate::protocol::codes::StopReason;
use crate::protocol::message::{Message, decode};
use crate::protocol::{EndReason, LinkId, MediaParams, StreamEvent};
use crate::recorder::jsonl::tests::{info, phrase};
use crate::recorder::record_batch::RecordBatch;
use crate::recorder::seam::load_recent_phrases;
use crate::recorder::stream_files::Recorder;
use crate::recorder::{TranscriptFormats, crash_recovery};
use crate::testing::scratch;

const ALL: TranscriptFormats = TranscriptFormats {
    jsonl: true,
    txt: true,
    vtt: true,
    srt: true,
};

const NONE: TranscriptFormats = TranscriptFormats {
    jsonl: false,
    txt: false,
    vtt: false,
    srt: false,
};

/// A process: its journals' host, and the stream's files opened by it.
struct Process {
    host: Arc<JournalHost>,
    recorder: Recorder,
}

impl Process {
    fn start(root: &Path, formats: TranscriptFormats, opening: Opening) -> Process {
        let host = JournalHost::new(&Board::new(root), Some("/x"), None);
        Process::with_host(root, host, formats, opening)
    }

    fn with_host(
        root: &Path,
        host: Arc<JournalHost>,
        formats: TranscriptFormats,
        opening: Opening,
    ) -> Process {
        let now_ms = 1_767_000_009_000;
        let recorder = Recorder::open(root, info(), formats, MediaParams::default(), now_ms);
        let recorder = recorder.with_journal(&host, opening, now_ms);
        Process { host, recorder }
    }

    fn say(&mut self, text: &str) {
        let said = phrase(text);
        self.push(&StreamEvent::Transcript(said));
    }

    fn push(&mut self, event: &StreamEvent<'_>) {
        let mut batch = RecordBatch::default();
        batch.push(event);
        batch.iter().for_each(|record| self.recorder.push(&record));
    }

    fn receive(&mut self, json: &str) {
        match decode(json, 1_767_000_000_000).expect("a message") {
            Message::Event(event) => self.push(&StreamEvent::Event(event)),
            Message::Chat(chat) => self.push(&StreamEvent::Chat(chat)),
            other => panic!("{other:?}"),
        }
    }

    fn notice(&mut self, change: Change) {
        let mut batch = RecordBatch::default();
        batch.push_notice(Lifecycle {
            at_ms: 1_767_000_010_000,
            change,
        });
        batch.iter().for_each(|record| self.recorder.push(&record));
    }

    fn write(&mut self) {
        self.recorder.write().expect("the disk is well");
    }

    fn sync(&mut self) {
        let targets = self.recorder.take_unsynced().expect("writable");
        assert!(targets.sync(&|| true).expect("the disk is well"));
    }

    fn end(&mut self, reason: &EndReason) {
        self.recorder.end(reason, 1_767_000_020_000);
        self.write();
        self.sync();
        if self.recorder.publish().expect("writable") {
            self.sync();
        }
        self.recorder.finished();
    }
}

/// Completes a folder as a later process does.
fn complete(root: &Path, folder: &Path, host: &Arc<JournalHost>) {
    let found = crash_recovery::complete(root, folder, ALL, Some(host), 9, |_| Ok(()));
    let mut recorder = found.expect("readable").expect("it is not complete");
    recorder.write().expect("writable");
    let targets = recorder.take_unsynced().expect("writable");
    assert!(targets.sync(&|| true).expect("the disk is well"));
    assert!(recorder.publish().expect("writable"));
    recorder.finished();
}

fn path(root: &Path, name: &str) -> PathBuf {
    let below = crate::recorder::path::stream_folder(info().started_ms, &info().id, "5f0c1d");
    root.join(below).join(name)
}

fn read(root: &Path, name: &str) -> String {
    fs::read_to_string(path(root, name)).unwrap_or_default()
}

/// Number, type and data of each line.
fn lines(root: &Path) -> Vec<(u64, String, Value)> {
    let text = read(root, FEED_NAME);
    text.lines()
        .map(|line| {
            let line = Line::parse(line.as_bytes()).expect("a line");
            let data = serde_json::from_slice(line.data()).expect("JSON");
            let whole: Value = serde_json::from_slice(line.bytes).expect("JSON");
            assert_eq!(whole["data"], data);
            (line.seq, line.kind.to_owned(), data)
        })
        .collect()
}

fn kinds(root: &Path) -> Vec<String> {
    lines(root).into_iter().map(|(_, kind, _)| kind).collect()
}

fn seqs(root: &Path) -> Vec<u64> {
    lines(root).into_iter().map(|(seq, ..)| seq).collect()
}

const JOIN: &str = r#"{"msg_type":6,"event":{"event_type":3,"timestamp":1767000003000,
    "participants":[{"user_id":1,"user_name":"Ada, \"people\":["},{"user_id":"x"}]}}"#;
const LEAVE: &str = r#"{"msg_type":6,"event":{"event_type":4,"participants":[{"user_id":1}]}}"#;
const CHAT: &str = r#"{"msg_type":18,"content":{"data":"hi","operation_type":1}}"#;

#[test]
fn j1_every_text_event_is_there_in_order() {
    let root = scratch("j1");
    let mut process = Process::start(&root, ALL, Opening::Start);
    process.notice(Change::Ready);
    process.receive(JOIN);
    process.say("one");
    process.notice(Change::Lost(LinkId::Signaling, "silent"));
    process.receive(CHAT);
    process.notice(Change::Accepted(LinkId::Signaling));
    let change = |change, text| {
        StreamEvent::Transcript(Phrase {
            change,
            ..phrase(text)
        })
    };
    process.push(&change(PhraseChange::Update, "One."));
    process.push(&change(PhraseChange::Delete, "One."));
    for n in [2, 5, 6, 99] {
        process.receive(&format!(r#"{{"msg_type":6,"event":{{"event_type":{n}}}}}"#));
    }
    process.notice(Change::Dropped(7));
    process.receive(LEAVE);
    process.write();
    process.end(&EndReason::Stopped(StopReason::MEETING_ENDED));
    let found = lines(&root);
    let expected = [
        "stream.started",
        "stream.receiving",
        "participant.joined",
        "transcript.phrase",
        "stream.interrupted",
        "chat.message",
        "stream.resumed",
        "transcript.updated",
        "transcript.deleted",
        "speaker.changed",
        "sharing.started",
        "sharing.stopped",
        "event.other",
        "feed.gap",
        "participant.left",
    ];
    assert_eq!(kinds(&root)[..expected.len()], expected);
    let data = |at: usize| &found[at].2;
    assert_eq!(data(0)["topic"], "Weekly");
    assert_eq!(
        (&data(0)["opening"], &data(0)["started_ms"]),
        (&1.into(), &info().started_ms.into())
    );
    assert_eq!(
        (&data(4)["link"], &data(4)["cause"]),
        (&"signaling".into(), &"silent".into())
    );
    assert_eq!(
        (&data(6)["after"], &data(6)["seq_before"]),
        (&"loss".into(), &4.into())
    );
    assert_eq!(data(13)["dropped"], 7);
    let rest = kinds(&root).split_off(expected.len());
    let (ended, closed) = rest.split_last().expect("an end");
    assert_eq!(ended, "stream.ended");
    assert!(closed.iter().all(|kind| kind == "file.closed"));
    let last = &found.last().expect("an end").2;
    assert_eq!(
        (&last["end"], &last["phrases"]),
        (&"stopped".into(), &3.into())
    );
    assert_eq!(last["duration_ms"], 1_767_000_020_000 - info().started_ms);
    let meta: Value = serde_json::from_str(&read(&root, "meta.json")).expect("JSON");
    for member in ["end", "end_text", "stop_reason"] {
        assert_eq!(meta[member], last[member], "{member}");
    }
    let transcript = found
        .iter()
        .find(|(.., it)| it["file"] == "transcript.jsonl");
    let bytes = read(&root, "transcript.jsonl").len();
    assert_eq!(transcript.expect("closed").2["bytes"], bytes);
}

#[test]
fn j2_data_is_the_other_files_line_to_the_byte() {
    for formats in [ALL, NONE] {
        let root = scratch("j2");
        let mut process = Process::start(&root, formats, Opening::Start);
        let odd = "U+2028 \u{2028} U+0085 \u{85} \"quotes\" \\ 🙂 \u{1b}\n\t";
        process.say(odd);
        process.receive(JOIN);
        process.receive(CHAT);
        process.receive(LEAVE);
        process.write();
        let text = read(&root, FEED_NAME);
        assert_eq!(text.split('\n').count(), 6, "five lines");
        let data: Vec<&str> = text
            .split_terminator('\n')
            .map(|line| Line::parse(line.as_bytes()).expect("a line").data())
            .map(|data| std::str::from_utf8(data).expect("UTF-8"))
            .collect();
        if formats == ALL {
            assert_eq!(format!("{}\n", data[1]), read(&root, "transcript.jsonl"));
        }
        let said: Value = serde_json::from_str(data[1]).expect("JSON");
        assert_eq!(said["text"], odd);
        assert_eq!(format!("{}\n", data[3]), read(&root, "chat.jsonl"));
        let events = read(&root, "events.jsonl");
        let events: Vec<&str> = events.lines().collect();
        for (event, data, people) in [
            (
                events[0],
                data[2],
                r#"[{"user_id":1,"user_name":"Ada, \"people\":["},{"user_id":"x"}]"#,
            ),
            (events[1], data[4], r#"[{"user_id":1}]"#),
        ] {
            let event = event.strip_suffix('}').expect("an object");
            assert_eq!(data, format!("{event},\"people\":{people}}}"));
        }
    }
}

#[test]
fn j3_numbers_have_no_holes_over_restarts() {
    let root = scratch("j3");
    for process in 1..=4 {
        let opening = if process == 1 {
            Opening::Start
        } else {
            Opening::Rejoin
        };
        let mut process = Process::start(&root, ALL, opening);
        process.say("one");
        process.write();
        process.say("two");
        process.write();
        // SIGKILL. What was not written has no number.
        process.say("lost");
    }
    assert_eq!(seqs(&root), (1..=12).collect::<Vec<u64>>());
    let opened = lines(&root)
        .into_iter()
        .filter(|(_, kind, _)| kind == "stream.started");
    let opened: Vec<Value> = opened.map(|(.., data)| data["opening"].clone()).collect();
    assert_eq!(opened, [1, 2, 3, 4]);
    let meta: Value = serde_json::from_str(&read(&root, "meta.json")).expect("JSON");
    let key = Board::new(&root).key_of(path(&root, "x").parent().expect("a folder"));
    assert_eq!(meta["key"], key.to_string());
    // A torn line has none either.
    let text = read(&root, FEED_NAME);
    let cut = text.len() - 5;
    fs::write(path(&root, FEED_NAME), &text[..cut]).expect("writable");
    let mut process = Process::start(&root, ALL, Opening::Rejoin);
    process.write();
    assert_eq!(seqs(&root), (1..=12).collect::<Vec<u64>>());
}

fn change_meta(root: &Path, change: impl Fn(&mut Value)) {
    let mut meta: Value = serde_json::from_str(&read(root, "meta.json")).expect("JSON");
    change(&mut meta);
    fs::write(path(root, "meta.json"), meta.to_string()).expect("writable");
}

#[test]
fn j4_no_number_is_given_out_twice_after_a_power_cut() {
    let leave = |root: &Path| {
        let mut process = Process::start(root, ALL, Opening::Start);
        process.say("one");
        process.write();
        // Zoom granted something, so data flowed.
        change_meta(root, |meta| {
            meta["media_params"]["transcript"] = Value::Null
        });
    };
    let rejoin = |root: &Path| {
        let mut process = Process::start(root, ALL, Opening::Rejoin);
        process.notice(Change::Ready);
        process.write();
        lines(root)
    };
    let high = SEQ_JUMP + 3;

    // Another boot: the last lines may have been delivered and then lost.
    let root = scratch("j4-boot");
    leave(&root);
    change_meta(&root, |meta| meta["boot_id"] = "another".into());
    let found = rejoin(&root);
    assert_eq!(seqs(&root), [1, 2, high, high + 1]);
    assert_eq!(
        (&found[3].1, &found[3].2["seq_before"]),
        (&"stream.resumed".to_owned(), &2.into())
    );
    assert_eq!(found[3].2["after"], "restart");
    // The hole is the only one: within this boot the next process goes on.
    rejoin(&root);
    assert_eq!(seqs(&root), [1, 2, high, high + 1, high + 2, high + 3]);

    // The journal itself is gone.
    let root = scratch("j4-gone");
    leave(&root);
    change_meta(&root, |meta| meta["feed_seq"] = 2.into());
    fs::remove_file(path(&root, FEED_NAME)).expect("removable");
    rejoin(&root);
    assert_eq!(seqs(&root), [high, high + 1]);

    // meta.json is gone, and the whole folder.
    let root = scratch("j4-meta");
    leave(&root);
    fs::remove_file(path(&root, "meta.json")).expect("removable");
    rejoin(&root);
    assert_eq!(seqs(&root), [1, 2, high, high + 1]);
    fs::remove_dir_all(path(&root, "")).expect("removable");
    rejoin(&root);
    assert_eq!(seqs(&root), [SEQ_JUMP + 1, SEQ_JUMP + 2]);

    // Left cleanly, before the machine was started again.
    let root = scratch("j4-clean");
    let mut process = Process::start(&root, ALL, Opening::Start);
    process.end(&EndReason::Left);
    let meta: Value = serde_json::from_str(&read(&root, "meta.json")).expect("JSON");
    assert_eq!((meta.get("boot_id"), &meta["feed_seq"]), (None, &1.into()));
    rejoin(&root);
    assert_eq!(seqs(&root), [1, 2, 3]);
}

/// SIGKILL between the note of the start and the first write: the next process finds no folder.
#[test]
fn j3_a_stream_that_was_noted_and_never_written_begins_with_1() {
    let (root, state) = (scratch("j3-noted"), scratch("j3-noted-state"));
    let host = || JournalHost::new(&Board::new(&root), Some("/x"), Some(&state));
    // An earlier process of this boot, before the stream began.
    drop(host());
    let since = read_file(&state.join("feed-opened"));
    let boot = since.split(' ').next().expect("a boot id").to_owned();
    let list = format!("{boot} {}\n", info().started_ms - 1);
    fs::write(state.join("feed-opened"), list).expect("writable");
    let rejoin = || {
        let mut process = Process::with_host(&root, host(), ALL, Opening::Rejoin);
        process.say("one");
        process.write();
        seqs(&root)
    };
    assert_eq!(rejoin(), [1, 2]);
    // The same once more, but a person deleted the folder: its numbers are known to others.
    fs::remove_dir_all(path(&root, "")).expect("removable");
    assert_eq!(rejoin(), [SEQ_JUMP + 1, SEQ_JUMP + 2]);
}

fn read_file(path: &Path) -> String {
    fs::read_to_string(path).expect("readable")
}

#[test]
fn a_folder_of_an_older_version_gets_a_journal() {
    let root = scratch("journal-older");
    let mut older = Recorder::open(&root, info(), ALL, MediaParams::default(), 5);
    let mut batch = RecordBatch::default();
    batch.push(&StreamEvent::Transcript(phrase("before")));
    batch.iter().for_each(|record| older.push(&record));
    older.write().expect("the disk is well");
    assert!(
        !path(&root, FEED_NAME).exists(),
        "RTMS_FEED=off writes none"
    );
    change_meta(&root, |meta| {
        meta["media_params"]["transcript"] = Value::Null
    });
    let mut process = Process::start(&root, ALL, Opening::Rejoin);
    process.notice(Change::Ready);
    process.say("after");
    process.write();
    assert_eq!(
        kinds(&root),
        ["stream.started", "stream.resumed", "transcript.phrase"]
    );
    assert_eq!(seqs(&root), [1, 2, 3]);
}

#[test]
fn j6_texts_may_wait_a_second_because_the_journal_has_them() {
    let texts = ["transcript.txt", "transcript.vtt", "transcript.srt"];
    let lacking = |root: &Path, words: &str| {
        let lacks = |name: &&&str| !read(root, name).contains(words);
        texts.iter().filter(lacks).count()
    };
    let root = scratch("j6-texts");
    let mut process = Process::start(&root, ALL, Opening::Start);
    process.say("first");
    process.recorder.write_at_once().expect("writable");
    assert!(read(&root, "transcript.jsonl").contains("first"));
    assert_eq!(lacking(&root, "first"), 3);
    assert!(process.recorder.is_delayed());
    process.recorder.write().expect("writable");
    assert!(!process.recorder.is_delayed());
    assert_eq!(lacking(&root, "first"), 0);
    // A flood does not wait.
    let flood = ["more"; 4000].join(" ");
    process.say(&flood);
    process.recorder.write_at_once().expect("writable");
    assert_eq!(lacking(&root, &flood), 0);
    // Killed before the second was over; the next process completes them, with a journal or without.
    for (n, has_journal) in [true, false].into_iter().enumerate() {
        let words = format!("killed {n}");
        process.say(&words);
        process.recorder.write_at_once().expect("writable");
        assert_eq!(lacking(&root, &words), 3);
        process = match has_journal {
            true => Process::start(&root, ALL, Opening::Rejoin),
            false => {
                let recorder = Recorder::open(&root, info(), ALL, MediaParams::default(), 5);
                let mut recorder = recorder.without_journal();
                recorder.write().expect("writable");
                break;
            }
        };
        process.write();
        assert_eq!(lacking(&root, &words), 0);
    }
    assert_eq!(lacking(&root, "killed 1"), 0);
    // The same words again and again: the time says which were written.
    let root = scratch("j6-repeated");
    let mut process = Process::start(&root, ALL, Opening::Start);
    let cues = |root: &Path| read(root, "transcript.vtt").matches(" --> ").count();
    for n in 0..45 {
        let start_ms = phrase("").start_ms + n * 1000;
        process.push(&StreamEvent::Transcript(Phrase {
            start_ms,
            end_ms: start_ms + 900,
            ..phrase("Yes.")
        }));
        match n {
            0..30 => process.write(),
            _ => process.recorder.write_at_once().expect("writable"),
        }
    }
    assert_eq!(cues(&root), 30);
    Process::start(&root, ALL, Opening::Rejoin).write();
    assert_eq!(cues(&root), 45);
    // Without a journal nothing waits.
    let root = scratch("j6-off");
    let mut off = Recorder::open(&root, info(), ALL, MediaParams::default(), 5);
    let mut batch = RecordBatch::default();
    batch.push(&StreamEvent::Transcript(phrase("the last")));
    batch.iter().for_each(|record| off.push(&record));
    off.write_at_once().expect("writable");
    assert_eq!(lacking(&root, "the last"), 0);
}

#[test]
fn j6_what_a_crash_left_in_the_journal_alone_is_completed() {
    let names = [
        "transcript.jsonl",
        "transcript.txt",
        "transcript.vtt",
        "transcript.srt",
        "events.jsonl",
        "chat.jsonl",
    ];
    let root = scratch("j6");
    let mut process = Process::start(&root, ALL, Opening::Start);
    let mut states: Vec<Vec<String>> = Vec::new();
    let state = || names.map(|name| read(&root, name)).to_vec();
    for step in 0..6 {
        // The same words again and again, by one who says little else.
        process.say(["Yes.", "Yes.", "No.", "Yes.", "Yes.", "Yes."][step]);
        if step % 2 == 0 {
            process.receive(JOIN);
            process.receive(CHAT);
        }
        process.write();
        states.push(state());
    }
    let whole = states.last().expect("some").clone();
    let meta = read(&root, "meta.json");
    for (behind, state_then) in states.iter().enumerate() {
        for from in 0..names.len() {
            // Killed in a write: these files are as they were so many writes ago, the others not.
            for (at, name) in names.iter().enumerate() {
                let text = match at >= from {
                    true => &state_then[at],
                    false => &whole[at],
                };
                fs::write(path(&root, name), text).expect("writable");
            }
            fs::write(path(&root, "meta.json"), &meta).expect("writable");
            let mut next = Process::start(&root, ALL, Opening::Complete);
            next.write();
            assert_eq!(state(), whole, "{behind} {from}");
        }
    }
    // With no file at all but the journal.
    for name in names {
        fs::remove_file(path(&root, name)).expect("removable");
    }
    let mut next = Process::start(&root, ALL, Opening::Complete);
    next.write();
    assert_eq!(state(), whole);
    let meta: Value = serde_json::from_str(&read(&root, "meta.json")).expect("JSON");
    assert_eq!(meta["transcripts"], 6);
}

#[test]
fn j6_the_seam_is_the_journals_whatever_the_formats_are() {
    for formats in [NONE, TranscriptFormats { vtt: true, ..NONE }, ALL] {
        let root = scratch("j6-seam");
        let mut process = Process::start(&root, formats, Opening::Start);
        process.say("one");
        process.receive(JOIN);
        process.say("two \"quoted\" 🙂");
        process.write();
        let mut recent = load_recent_phrases(&root, &info());
        let now = std::time::Instant::now();
        for known in ["one", "two \"quoted\" 🙂"] {
            assert!(
                !recent.insert_if_new(now, &phrase(known)),
                "{known} {formats:?}"
            );
        }
        assert!(recent.insert_if_new(now, &phrase("three")));
    }
}

/// More than a fixed number of phrases would hold: everybody spoke at once, or a machine that stalled
/// has caught up.
#[test]
fn j6_the_seam_reaches_two_minutes_back_however_much_was_said() {
    for formats in [NONE, ALL] {
        let root = scratch("j6-burst");
        let mut process = Process::start(&root, formats, Opening::Start);
        let said = |n: u64| Phrase {
            start_ms: 1_767_000_000_000 + n * 40,
            end_ms: 1_767_000_000_030 + n * 40,
            timestamp_ms: 1_767_000_000_030 + n * 40,
            ..phrase("yes")
        };
        for n in 0..2_900 {
            process.push(&StreamEvent::Transcript(said(n)));
        }
        process.write();
        let bytes = read(&root, FEED_NAME).len();
        assert!(bytes > 1 << 20, "one look does not reach so far: {bytes}");
        let mut recent = load_recent_phrases(&root, &info());
        let now = std::time::Instant::now();
        for n in 0..2_900 {
            assert!(!recent.insert_if_new(now, &said(n)), "{n} was written");
        }
        assert!(recent.insert_if_new(now, &said(2_900)));
    }
}

#[test]
fn j6_a_journal_that_was_switched_off_is_not_the_seam() {
    let root = scratch("j6-off");
    let mut process = Process::start(&root, ALL, Opening::Start);
    process.say("one");
    process.write();
    let mut off = Recorder::open(&root, info(), ALL, MediaParams::default(), 5);
    let later = Phrase {
        timestamp_ms: 1_767_000_005_000,
        ..phrase("two")
    };
    let mut batch = RecordBatch::default();
    batch.push(&StreamEvent::Transcript(later.borrowed()));
    batch.iter().for_each(|record| off.push(&record));
    off.write().expect("the disk is well");
    let mut recent = load_recent_phrases(&root, &info());
    let now = std::time::Instant::now();
    assert!(!recent.insert_if_new(now, &later));
    assert!(!recent.insert_if_new(now, &phrase("one")));
}

#[test]
fn j7_an_end_is_said_once_and_a_new_life_begins_with_its_opening() {
    let root = scratch("j7");
    let mut process = Process::start(&root, ALL, Opening::Start);
    process.end(&EndReason::Stopped(StopReason::MEETING_ENDED));
    let key = process.host.board().key_of(process.recorder.folder());
    assert_eq!(
        process.host.board().get(key).map(|it| it.state),
        Some(State::Ended)
    );
    let ends = |root: &Path| {
        kinds(root)
            .iter()
            .filter(|it| *it == "stream.ended")
            .count()
    };
    assert_eq!(ends(&root), 1);
    // Killed after the journal's last word and before meta.json had it.
    change_meta(&root, |meta| {
        meta["state"] = "receiving".into();
        meta["boot_id"] = "another".into();
    });
    let folder = process.recorder.folder().to_owned();
    let host = &process.host;
    complete(&root, &folder, host);
    assert_eq!(ends(&root), 1, "it was said already");
    // It lives again.
    let mut again = Process::start(&root, ALL, Opening::Rejoin);
    again.end(&EndReason::Left);
    assert_eq!(
        kinds(&root).last().map(String::as_str),
        Some("stream.started")
    );
    complete(&root, &folder, host);
    let found = lines(&root);
    assert_eq!(
        found.last().map(|(.., data)| data["end"].clone()),
        Some("abandoned".into())
    );
    assert_eq!(ends(&root), 2);
}

#[test]
fn j8_lines_are_announced_when_they_are_written() {
    let root = scratch("j8");
    let mut process = Process::start(&root, ALL, Opening::Start);
    let board = Arc::clone(process.host.board());
    let key = board.key_of(process.recorder.folder());
    let reader = Reader::new(&board);
    let (mut cursor, mut chunk) = (Cursor::begin(key), Chunk::default());
    assert_eq!(
        reader.read(&cursor, &mut chunk).expect("readable"),
        Found::Nothing
    );
    for n in 1..=3 {
        process.say("x");
        assert_eq!(
            board.get(key).map(|it| it.seq),
            Some(if n == 1 { 0 } else { n })
        );
        process.write();
        assert_eq!(
            reader.read(&cursor, &mut chunk).expect("readable"),
            Found::Lines
        );
        cursor = chunk.end();
        assert_eq!(cursor.seq, n + 1);
    }
    assert_eq!(
        board.pos(),
        end_of(&path(&root, FEED_NAME)).expect("readable").pos
    );
}

#[test]
fn j14_a_removed_journal_begins_again_where_it_was() {
    let root = scratch("j14");
    let mut process = Process::start(&root, ALL, Opening::Start);
    process.say("one");
    process.write();
    process.sync();
    let board = Arc::clone(process.host.board());
    let reader = Reader::new(&board);
    let key = board.key_of(process.recorder.folder());
    let mut chunk = Chunk::default();
    assert_eq!(
        reader
            .read(&Cursor::begin(key), &mut chunk)
            .expect("readable"),
        Found::Lines
    );
    let cursor = chunk.end();
    fs::remove_file(path(&root, FEED_NAME)).expect("removable");
    process.say("two");
    process.write();
    process.sync();
    process.say("three");
    process.write();
    assert_eq!(seqs(&root), [3, 4]);
    let found = reader.read(&cursor, &mut chunk).expect("readable");
    assert_eq!(found, Found::Lines);
    let seqs: Vec<u64> = chunk.lines().map(|line| line.seq).collect();
    assert_eq!(seqs, [3, 4]);
}
