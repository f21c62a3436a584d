//! The thread of the live feed with sockets of this process and journals written by the test.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::interest::tests::{key as server_key, line};
use super::*;
use crate::clock::now_ms;
use crate::feed::JournalKey;
use crate::feed::line::{Envelope, set_pos};
use crate::feed::tests::info;
use crate::feed::{FEED_NAME, kind};
use crate::testing::{TempDir, scratch};

const PATIENCE: Duration = Duration::from_secs(30);
const FIRST: u64 = 1_795_529_590_000_000;

struct Stage {
    root: TempDir,
    board: Arc<Board>,
    live: Live,
    /// Length and last number of each journal.
    journals: BTreeMap<u64, (u64, u64)>,
    pos: u64,
}

impl Stage {
    fn new(name: &str, times: Times) -> Stage {
        let root = scratch(name);
        let board = Board::new(&root);
        let shared = Arc::clone(&board);
        let live = Live::new(Process {
            board: Box::new(move || Some(Some(Arc::clone(&shared)))),
            has_mark: true,
            times,
        });
        Stage {
            root,
            board,
            live,
            journals: BTreeMap::new(),
            pos: FIRST,
        }
    }

    fn folder(&self, n: u64) -> std::path::PathBuf {
        self.root.join(format!("2026-11-24/m{n}/s{n}"))
    }

    fn key(&self, n: u64) -> JournalKey {
        self.board.key_of(&self.folder(n))
    }

    /// Adds lines with so many bytes of text to a journal, and announces them together.
    fn add(&mut self, n: u64, count: u64, bytes: usize) {
        let (folder, key) = (self.folder(n), self.key(n));
        let (length, seq) = self.journals.entry(n).or_insert_with(|| {
            fs::create_dir_all(&folder).expect("a folder");
            self.board.open(key, &folder.as_path().into(), 0, 0, 0);
            (0, 0)
        });
        let mut envelope = Envelope::new(key, "/x", Some(&info("m", "s")));
        let mut text = Vec::new();
        for _ in 0..count {
            *seq += 1;
            self.pos += 10;
            let from = text.len();
            envelope.begin(&mut text, *seq, kind::CHAT_MESSAGE, self.pos / 1000);
            text.extend_from_slice(format!("{{\"x\":\"{}\"}}", "y".repeat(bytes)).as_bytes());
            Envelope::end(&mut text);
            set_pos(&mut text[from..], self.pos);
        }
        append(&folder, &text);
        *length += text.len() as u64;
        self.board.grew(key, *length, *seq, self.pos);
    }

    fn client(&self, query: &str) -> UnixStream {
        self.client_with(query, Access::All)
    }

    fn client_with(&self, query: &str, access: Access) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        ours.set_read_timeout(Some(PATIENCE)).expect("a socket");
        theirs.set_nonblocking(true).expect("a socket");
        let ask = Ask::parse(Some(query), None, None).expect("a request");
        let intake = self.live.intake();
        assert!(intake.has_room());
        intake.take(theirs.into(), ask, access);
        ours
    }

    /// A link to a stream.
    fn link(&self, n: u64, good_for: Duration) -> Access {
        let good_for = u64::try_from(good_for.as_millis()).expect("a time");
        Access::Stream {
            key: self.key(n),
            has_files: false,
            term: Term {
                expires_ms: now_ms() + good_for,
                is_ended: Arc::default(),
            },
        }
    }

    fn clients(&self) -> u64 {
        self.live.counters().clients().iter().map(|(_, n)| n).sum()
    }

    fn is_running(&self) -> bool {
        self.live.shared.clients.is_running()
    }
}

fn append(folder: &Path, text: &[u8]) {
    let mut options = OpenOptions::new();
    let file = options
        .append(true)
        .create(true)
        .open(folder.join(FEED_NAME));
    file.expect("a file").write_all(text).expect("written");
}

fn wait_until(what: &str, is_true: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_true() {
        assert!(Instant::now() < until, "timed out: {what}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// Reads until this holds for what has come; the end of the connection ends it as well.
fn read_until(client: &mut UnixStream, is_enough: impl Fn(&str) -> bool) -> String {
    let (mut text, mut piece) = (String::new(), [0; 64 << 10]);
    while !is_enough(&text) {
        let read = client.read(&mut piece).expect("it comes");
        if read == 0 {
            break;
        }
        text += std::str::from_utf8(&piece[..read]).expect("ASCII");
    }
    text
}

fn ids(text: &str) -> Vec<u64> {
    let ids = text.lines().filter_map(|line| line.strip_prefix("id: "));
    ids.map(|id| id.parse().expect("a position")).collect()
}

#[test]
fn l7_a_quiet_connection_gets_comments_and_no_empty_line() {
    let times = Times {
        ping: Duration::from_millis(5),
        ..Times::default()
    };
    let mut stage = Stage::new("live-ping", times);
    stage.add(1, 1, 10);
    let mut client = stage.client("");
    let text = read_until(&mut client, |text| text.matches("\n:").count() > 5);
    let (_, body) = text.split_once("\r\n\r\n").expect("a head");
    assert!(body.starts_with("retry: 2000\n:\n"));
    assert!(!body.contains("\n\n"), "{body:?}");
    stage.add(1, 1, 10);
    let text = read_until(&mut client, |text| text.contains("\n\n"));
    assert_eq!(ids(&text), [stage.pos]);
}

#[test]
fn l7_a_client_that_takes_nothing_is_cut_off_and_the_others_get_everything() {
    // Longer than a busy machine keeps the reading one from its core.
    let times = Times {
        stall: Duration::from_secs(3),
        ..Times::default()
    };
    let mut stage = Stage::new("live-stall", times);
    stage.add(1, 1, 10);
    let mut stalled = stage.client("");
    read_until(&mut stalled, |text| text.contains("retry"));
    let mut reading = stage.client("");
    read_until(&mut reading, |text| text.contains("retry"));
    // Far more than the ring and the sockets hold.
    let reader = std::thread::spawn(move || {
        // It must not be slow itself: only what is new is looked at.
        let mut found = Vec::new();
        let mut lines = BufReader::new(&reading).lines();
        while found.len() < 400 {
            let line = lines.next().expect("it goes on").expect("a line");
            found.extend(ids(&line));
        }
        (found, reading)
    });
    for n in 0..40 {
        stage.add(n % 4 + 1, 10, 20_000);
    }
    let (found, _reading) = reader.join().expect("it reads");
    let expected: Vec<u64> = (2..=401).map(|n| FIRST + n * 10).collect();
    assert_eq!(found, expected);
    wait_until("the stalled one is cut off", || stage.clients() == 1);
    // What it got is a beginning, and whole but for the last event.
    let text = read_until(&mut stalled, |_| false);
    let got = ids(&text);
    assert!(!got.is_empty() && expected.starts_with(&got));
}

#[test]
fn l5_a_byte_at_a_time_is_served_from_the_files() {
    let mut stage = Stage::new("live-slow", Times::default());
    stage.add(1, 1, 10);
    let mut slow = stage.client("");
    read_until(&mut slow, |text| text.contains("retry"));
    for n in 0..30 {
        stage.add(n % 3 + 1, 10, 10_000);
    }
    // The ring has lost its place long ago.
    let (mut text, mut byte) = (Vec::new(), [0]);
    for _ in 0..2_000 {
        slow.read_exact(&mut byte).expect("it comes");
        text.push(byte[0]);
    }
    let mut text = String::from_utf8(text).expect("ASCII");
    text += &read_until(&mut slow, |more| ids(more).contains(&(FIRST + 3010)));
    let expected: Vec<u64> = (2..=301).map(|n| FIRST + n * 10).collect();
    assert_eq!(ids(&text), expected);
}

#[test]
fn l4_the_thread_ends_without_clients_and_starts_again() {
    let times = Times {
        idle: Duration::from_millis(20),
        ..Times::default()
    };
    let mut stage = Stage::new("live-idle", times);
    stage.add(1, 1, 10);
    assert!(!stage.is_running());
    for _ in 0..3 {
        let mut client = stage.client("");
        read_until(&mut client, |text| text.contains("retry"));
        assert!(stage.is_running());
        stage.add(1, 1, 10);
        let text = read_until(&mut client, |text| text.contains("\n\n"));
        assert_eq!(ids(&text), [stage.pos]);
        drop(client);
        wait_until("it ends", || !stage.is_running());
        assert_eq!(stage.clients(), 0);
    }
    // A page ends its connection by itself, and the thread with it.
    let mut page = stage.client("wait=0&after=1795529590000000");
    let text = read_until(&mut page, |_| false);
    assert_eq!(text.matches("\"pos\"").count(), 4, "{text}");
    drop(page);
    wait_until("it ends", || !stage.is_running());
}

#[test]
fn j11_of_a_withdrawn_stream_not_even_the_rest_of_an_event_is_sent() {
    let mut stage = Stage::new("live-revoked", Times::default());
    stage.add(1, 1, 10);
    let mut client = stage.client("");
    read_until(&mut client, |text| text.contains("retry"));
    // One event that no socket takes at once.
    stage.add(1, 1, 2 << 20);
    let begin = read_until(&mut client, |text| text.contains("data: {"));
    stage.board.revoke(stage.key(1));
    wait_until("it is cut off", || stage.clients() == 0);
    let rest = read_until(&mut client, |_| false);
    assert!(!begin.contains("\n\n") && !rest.contains("\n\n"));
    // Another client gets nothing of it, and the event that says so.
    let mut later = stage.client("wait=0&after=1795529590000000");
    let text = read_until(&mut later, |_| false);
    assert!(text.contains("\"events\":[],"), "{text}");
    let revoked = line(0, 1, stage.pos + 10, kind::STREAM_REVOKED);
    append(&stage.root, &revoked);
    stage
        .board
        .open(server_key(0), &Arc::from(&*stage.root as &Path), 0, 0, 0);
    stage
        .board
        .grew(server_key(0), revoked.len() as u64, 1, stage.pos + 10);
    let mut later = stage.client("wait=0&after=1795529590000000");
    let text = read_until(&mut later, |_| false);
    assert!(
        text.contains("stream.revoked") && !text.contains("yyyy"),
        "{text}"
    );
}

#[test]
fn l2_a_stream_that_an_earlier_process_left_is_not_over() {
    let mut stage = Stage::new("live-left", Times::default());
    stage.add(1, 3, 10);
    stage.add(2, 1, 10);
    let (key, pos) = (stage.key(1), FIRST + 30);
    // It is in its folder, and no stream of this process yet.
    let root = std::mem::replace(&mut stage.root, scratch("live-left-none"));
    let board = Board::new(&root);
    board.set_pos(stage.pos);
    let shared = Arc::clone(&board);
    let live = Live::new(Process {
        board: Box::new(move || Some(Some(Arc::clone(&shared)))),
        has_mark: true,
        times: Times::default(),
    });
    let mut next = Stage {
        root,
        board,
        live,
        journals: stage.journals.clone(),
        pos: stage.pos,
    };
    let mut client = next.client(&format!("stream={key}&after={pos:016}"));
    let text = read_until(&mut client, |text| text.contains("retry"));
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    next.add(1, 1, 10);
    let text = read_until(&mut client, |text| text.contains("\n\n"));
    assert_eq!(ids(&text), [next.pos]);
}

#[test]
fn l8_at_the_end_an_answer_ends_behind_an_event() {
    let mut stage = Stage::new("live-end", Times::default());
    stage.add(1, 1, 10);
    let mut clients: Vec<UnixStream> = (0..8).map(|_| stage.client("")).collect();
    for client in &mut clients {
        read_until(client, |text| text.contains("retry"));
    }
    for _ in 0..20 {
        stage.add(1, 5, 5_000);
    }
    let readers: Vec<_> = clients
        .into_iter()
        .map(|mut client| std::thread::spawn(move || read_until(&mut client, |_| false)))
        .collect();
    drop(stage.live);
    for reader in readers {
        let text = reader.join().expect("it reads");
        assert!(
            text.is_empty() || text.ends_with("\n\n"),
            "{:?}",
            &text[text.len() - 9..]
        );
    }
}

#[test]
fn l1_journals_of_earlier_processes_are_merged_with_those_that_run() {
    let mut stage = Stage::new("live-earlier", Times::default());
    let mut turn = 0;
    for n in [1, 2, 3, 2, 1, 3, 1, 1, 2] {
        turn += 1;
        stage.add(n, turn, 300);
    }
    let lines = stage.pos;
    // The next process knows one of them, and its own.
    let root = std::mem::replace(&mut stage.root, scratch("live-earlier-none"));
    let folder = root.join("2026-11-24/m3/s3");
    let running = stage.journals[&3];
    let board = Board::new(&root);
    board.set_pos(lines);
    let key = board.key_of(&folder);
    board.open(
        key,
        &folder.as_path().into(),
        running.0,
        running.1,
        lines - 50,
    );
    let shared = Arc::clone(&board);
    let live = Live::new(Process {
        board: Box::new(move || Some(Some(Arc::clone(&shared)))),
        has_mark: true,
        times: Times::default(),
    });
    let mut next = Stage {
        root,
        board,
        live,
        journals: BTreeMap::from([(3, running)]),
        pos: lines,
    };
    let mut client = next.client("after=1795529590000000");
    next.add(4, 2, 10);
    next.add(3, 1, 10);
    let expected: Vec<u64> = (1..=48).map(|n| FIRST + n * 10).collect();
    let text = read_until(&mut client, |text| ids(text).len() == expected.len());
    assert_eq!(ids(&text), expected);
    // What is not needed any more is not held on the board.
    drop(client);
    wait_until("it is gone", || next.clients() == 0);
    next.board.sweep(Instant::now() + Duration::from_secs(3600));
    assert_eq!(next.board.snapshot().journals.len(), 2);
    // From the beginning: of what runs.
    let mut client = next.client("wait=0&limit=1000&after=begin");
    let text = read_until(&mut client, |_| false);
    let own = text.matches(&format!("\"id\":\"{key}-")).count() as u64;
    assert_eq!(own, running.1 + 1);
    assert_eq!(text.matches("\"pos\"").count() as u64, own + 2);
}

#[test]
fn g3_what_is_read_with_a_link_ends_when_it_expires() {
    let mut stage = Stage::new("live-link", Times::default());
    stage.add(1, 1, 10);
    stage.add(2, 1, 10);
    let stream = format!("stream={}", stage.key(1));
    let link = |ms| stage.link(1, Duration::from_millis(ms));
    let mut page = stage.client_with(&format!("{stream}&wait=25"), link(300));
    let mut good = stage.client_with(&stream, link(3_600_000));
    // On a busy machine one may expire before it is seen.
    let mut texts = [300, 1_000, 5_000, 20_000]
        .map(link)
        .into_iter()
        .map(|link| {
            let mut client = stage.client_with(&format!("{stream}&after=begin"), link);
            read_until(&mut client, |_| false)
        });
    let text = texts.find(|text| !text.starts_with("HTTP/1.1 401 "));
    let text = text.expect("an answer");
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    assert!(text.ends_with("\n\n"), "behind an event: {text}");
    assert_eq!(ids(&text), [FIRST + 10]);
    let text = read_until(&mut page, |_| false);
    assert!(text.starts_with("HTTP/1.1 401 "), "{text}");
    assert!(text.ends_with("this link has expired\n"), "{text}");
    // The clients of good links stay.
    read_until(&mut good, |text| text.contains("retry"));
    stage.add(1, 1, 10);
    let text = read_until(&mut good, |text| text.contains("\n\n"));
    assert_eq!(ids(&text), [stage.pos]);
}

#[test]
fn g3_what_is_read_with_a_link_ends_when_links_are_revoked() {
    let mut stage = Stage::new("live-links-revoked", Times::default());
    stage.add(1, 1, 10);
    let link = stage.link(1, Duration::from_secs(3600));
    let stream = format!("stream={}", stage.key(1));
    let mut client = stage.client_with(&stream, link.clone());
    read_until(&mut client, |text| text.contains("retry"));
    let term = link.term().expect("a link");
    term.is_ended
        .store(true, std::sync::atomic::Ordering::Release);
    stage.live.intake().look_at_links();
    assert_eq!(read_until(&mut client, |_| false), "");
}

#[test]
fn g3_a_link_reads_one_stream() {
    let mut stage = Stage::new("live-link-other", Times::default());
    stage.add(1, 1, 10);
    stage.add(2, 1, 10);
    let (own, other) = (stage.key(1), stage.key(2));
    for (query, status) in [
        (format!("stream={own}&wait=0"), 200),
        (format!("stream={other}&wait=0"), 403),
        (format!("stream={own}&wait=0&after={other}-1"), 403),
        (format!("stream={own}&wait=0&after={own}-1"), 200),
        ("wait=0".to_owned(), 403),
        ("meeting=m1&wait=0".to_owned(), 403),
    ] {
        let link = stage.link(1, Duration::from_secs(3600));
        let mut client = stage.client_with(&query, link);
        let text = read_until(&mut client, |_| false);
        let expected = format!("HTTP/1.1 {status} ");
        assert!(text.starts_with(&expected), "{query}: {text}");
    }
    stage.board.revoke(own);
    let link = stage.link(1, Duration::from_secs(3600));
    let mut client = stage.client_with(&format!("stream={own}&wait=0"), link);
    let text = read_until(&mut client, |_| false);
    assert!(text.starts_with("HTTP/1.1 410 "), "{text}");
}

#[test]
fn l6_only_days_from_one_before_the_cursor_on_are_looked_into() {
    let root = scratch("live-days");
    let board = Board::new(&root);
    // The cursor is on the 24th. In the first folder no line can be behind it, so it is not read.
    for (n, day) in ["2026-11-22", "2026-11-23", "2026-11-24"]
        .iter()
        .enumerate()
    {
        let folder = root.join(format!("{day}/m{n}/s{n}"));
        fs::create_dir_all(&folder).expect("a folder");
        let pos = FIRST + 10 * (n as u64 + 1);
        let mut envelope = Envelope::new(board.key_of(&folder), "/x", Some(&info("m", "s")));
        let mut text = Vec::new();
        envelope.begin(&mut text, 1, kind::CHAT_MESSAGE, pos / 1000);
        text.extend_from_slice(b"{}");
        Envelope::end(&mut text);
        set_pos(&mut text, pos);
        append(&folder, &text);
    }
    board.set_pos(FIRST + 40);
    let shared = Arc::clone(&board);
    let live = Live::new(Process {
        board: Box::new(move || Some(Some(Arc::clone(&shared)))),
        has_mark: true,
        times: Times::default(),
    });
    let stage = Stage {
        root,
        board,
        live,
        journals: BTreeMap::new(),
        pos: FIRST + 40,
    };
    let mut client = stage.client(&format!("wait=0&after={FIRST}"));
    let text = read_until(&mut client, |_| false);
    let has = |n: u64| text.contains(&format!("\"pos\":\"{}\"", FIRST + n));
    assert_eq!([10, 20, 30].map(has), [false, true, true], "{text}");
}

#[test]
fn l4_clients_that_leave_together_are_nothing_to_the_thread() {
    let times = Times {
        linger: Duration::from_millis(1),
        ..Times::default()
    };
    let mut stage = Stage::new("live-leave", times);
    stage.add(1, 1, 10);
    let stream = format!("stream={}", stage.key(1));
    let mut threads = Vec::new();
    for _ in 0..20 {
        let link = stage.link(1, Duration::from_secs(3600));
        let mut clients = [
            stage.client_with(&stream, link.clone()),
            stage.client_with(&stream, link.clone()),
            stage.client(""),
        ];
        for client in &mut clients {
            read_until(client, |text| text.contains("retry"));
        }
        // One leaves a place, and then the others end in one round.
        let [mut first, mut second, third] = clients;
        drop(third);
        wait_until("two are left", || stage.clients() == 2);
        let term = link.term().expect("a link");
        term.is_ended
            .store(true, std::sync::atomic::Ordering::Release);
        stage.live.intake().look_at_links();
        for client in [&mut first, &mut second] {
            assert_eq!(read_until(client, |_| false), "");
        }
        wait_until("none is left", || stage.clients() == 0);
        threads.extend(stage.live.shared.clients.thread_id());
    }
    assert_eq!(threads.len(), 20);
    assert!(threads.iter().all(|id| *id == threads[0]), "it panicked");
}
