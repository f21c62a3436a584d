//! Push against receivers on real sockets, with journals that the test writes.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::command::{Action, From};
use super::signature::SigningSecret;
use super::url::PushUrl;
use super::*;
use crate::clock::now_ms;
use crate::feed::FEED_NAME;
use crate::feed::key::JournalKey;
use crate::feed::kind::KindFilter;
use crate::feed::line::{Envelope, set_pos};
use crate::feed::tests::info;
use crate::testing::{TempDir, scratch};

const PATIENCE: Duration = Duration::from_secs(30);
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER_SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";

fn wait_for(what: &str, mut is_true: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_true() {
        assert!(Instant::now() < deadline, "{what}");
        thread::park_timeout(Duration::from_millis(2));
    }
}

/// A request as the receiver got it.
#[derive(Debug, Clone)]
struct Got {
    head: HashMap<String, String>,
    first_line: String,
    body: Vec<u8>,
}

impl Got {
    fn header(&self, name: &str) -> &str {
        self.head.get(name).map_or("", String::as_str)
    }

    /// The ids of its events.
    fn ids(&self) -> Vec<String> {
        let body: serde_json::Value = serde_json::from_slice(&self.body).expect("JSON");
        let id = |event: &serde_json::Value| event["id"].as_str().expect("an id").to_owned();
        match (&body["data"], body.as_array()) {
            (serde_json::Value::Array(events), _) => events.iter().map(id).collect(),
            (_, Some(events)) => events.iter().map(id).collect(),
            _ => vec![id(&body)],
        }
    }

    /// Whether one of its signatures is right, by the words of the standard alone.
    fn is_signed_with(&self, secret: &str) -> bool {
        let key = STANDARD.decode(&secret["whsec_".len()..]).expect("base64");
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("a key");
        let (id, stamp) = (self.header("webhook-id"), self.header("webhook-timestamp"));
        mac.update(&[id.as_bytes(), b".", stamp.as_bytes(), b".", &self.body].concat());
        let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        let age = now_ms() / 1000 - stamp.parse::<u64>().expect("seconds");
        let mut signatures = self.header("webhook-signature").split(' ');
        age < 300 && signatures.any(|signature| signature == expected)
    }
}

type Script = dyn FnMut(&Got) -> String + Send;

/// A receiver that answers by a script.
struct Receiver {
    address: SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
}

impl Receiver {
    fn new(script: impl FnMut(&Got) -> String + Send + 'static) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let got: Arc<Mutex<Vec<Got>>> = Arc::default();
        let script: Arc<Mutex<Box<Script>>> = Arc::new(Mutex::new(Box::new(script)));
        let all = Arc::clone(&got);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (all, script) = (Arc::clone(&all), Arc::clone(&script));
                thread::spawn(move || serve(&stream, &all, &script));
            }
        });
        Receiver { address, got }
    }

    /// One that takes everything.
    fn well() -> Receiver {
        Receiver::new(|_| status(204))
    }

    fn url(&self) -> PushUrl {
        let url = format!("http://{}/hook/hunter2?token=hunter2", self.address);
        PushUrl::parse(&url).expect("a URL")
    }

    fn got(&self) -> Vec<Got> {
        self.got.lock().expect("whole").clone()
    }

    fn ids(&self) -> Vec<String> {
        self.got().iter().flat_map(Got::ids).collect()
    }

    /// The first request with that event. A reload may repeat those whose answers were under way.
    fn wait_for_event(&self, id: &String) -> Got {
        let has = |it: &Got| it.ids().contains(id);
        wait_for("the event arrives", || self.got().iter().any(has));
        self.got().into_iter().find(has).expect("it has arrived")
    }

    fn wait_for(&self, events: usize) -> Vec<String> {
        wait_for("events arrive", || self.ids().len() >= events);
        self.ids()
    }
}

fn status(code: u16) -> String {
    format!("HTTP/1.1 {code} x\r\nContent-Length: 0\r\n\r\n")
}

fn serve(stream: &TcpStream, all: &Mutex<Vec<Got>>, script: &Mutex<Box<Script>>) {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut lines, mut line) = (Vec::new(), String::new());
        while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
            lines.push(line.trim_end().to_owned());
            line.clear();
        }
        if lines.is_empty() {
            return;
        }
        let fields = lines[1..].iter().filter_map(|line| line.split_once(": "));
        let head: HashMap<String, String> = fields
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let length: usize = head["content-length"].parse().expect("a length");
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("a body");
        let got = Got {
            head,
            first_line: lines[0].clone(),
            body,
        };
        let answer = script.lock().expect("whole")(&got);
        let is_taken = answer.starts_with("HTTP/1.1 2");
        // Before the answer, so that the event is there when the cursor moves.
        if is_taken || !answer.starts_with("HTTP") {
            all.lock().expect("whole").push(got);
        }
        let mut stream = stream;
        if stream.write_all(answer.as_bytes()).is_err() || !answer.starts_with("HTTP") {
            return;
        }
    }
}

/// A server's folders, its board and its push.
struct Stage {
    root: TempDir,
    board: Arc<Board>,
    state: Arc<StateDir>,
    push: Option<Push>,
    journals: HashMap<&'static str, JournalFile>,
    pos: u64,
}

struct JournalFile {
    folder: PathBuf,
    key: JournalKey,
    envelope: Envelope,
    bytes: u64,
    seq: u64,
}

impl Stage {
    fn new(name: &str) -> Stage {
        let root = scratch(name);
        let state = Arc::new(StateDir::open(root.join("state")).expect("a state directory"));
        Stage {
            board: Board::new(&root.join("out")),
            state,
            push: None,
            journals: HashMap::new(),
            pos: now_ms() * 1000,
            root,
        }
    }

    fn start(&mut self, endpoints: Vec<EndpointSettings>) {
        let process = Process {
            state: Arc::clone(&self.state),
            board: Arc::clone(&self.board),
            proxy: ProxyEnv::default(),
            ca_file: None,
        };
        let count = endpoints.len();
        self.push = Some(Push::start(endpoints, process).expect("a thread"));
        wait_for("endpoints are there", || {
            self.push().status().endpoints.len() == count
        });
    }

    fn push(&self) -> &Push {
        self.push.as_ref().expect("it runs")
    }

    fn stop(&mut self) {
        let push = self.push.take().expect("it runs");
        assert!(push.stop(Instant::now() + PATIENCE));
    }

    /// Another process: what was on the board is only in files.
    fn restart(&mut self, endpoints: Vec<EndpointSettings>) {
        self.stop();
        self.board = Board::new(&self.root.join("out"));
        self.start(endpoints);
    }

    fn open(&mut self, name: &'static str) -> JournalKey {
        let date = crate::domain::time::Utc::from_unix_ms(now_ms()).date();
        let folder = self.root.join("out").join(date).join("meeting").join(name);
        fs::create_dir_all(&folder).expect("a folder");
        let key = self.board.key_of(&folder);
        let journal = self.journals.entry(name).or_insert_with(|| JournalFile {
            envelope: Envelope::new(key, "/x", Some(&info("m", name))),
            folder,
            key,
            bytes: 0,
            seq: 0,
        });
        let folder = journal.folder.as_path().into();
        self.board.open(key, &folder, journal.bytes, journal.seq, 0);
        key
    }

    fn write(&mut self, name: &'static str, kind: &str) -> String {
        self.pos = (self.pos + 1).max(now_ms() * 1000);
        let journal = self.journals.get_mut(name).expect("it is open");
        journal.seq += 1;
        let mut line = Vec::new();
        journal
            .envelope
            .begin(&mut line, journal.seq, kind, now_ms());
        line.extend_from_slice(br#"{"v":1,"text":"good morning"}"#);
        Envelope::end(&mut line);
        set_pos(&mut line, self.pos);
        journal.bytes += line.len() as u64;
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(journal.folder.join(FEED_NAME));
        file.expect("a file").write_all(&line).expect("written");
        self.board
            .grew(journal.key, journal.bytes, journal.seq, self.pos);
        format!("{}-{}", journal.key, journal.seq)
    }

    fn write_many(&mut self, name: &'static str, count: usize) -> Vec<String> {
        (0..count)
            .map(|_| self.write(name, "transcript.phrase"))
            .collect()
    }

    fn report(&self, endpoint: usize) -> Report {
        self.push().status().endpoints[endpoint].report.clone()
    }

    fn wait_until_delivered(&self, endpoint: usize) {
        wait_for("all is delivered", || self.report(endpoint).lag_events == 0);
    }

    fn command(&self, action: Action) -> Result<(), CommandError> {
        let command = Command {
            endpoint: "default".to_owned(),
            action,
        };
        self.push().control().command(command, PATIENCE)
    }
}

fn endpoint(receiver: &Receiver) -> EndpointSettings {
    let secret = SigningSecret::parse(SECRET).expect("a secret");
    EndpointSettings::new("default", receiver.url(), vec![secret])
}

#[test]
fn p1_p6_events_come_signed_in_order_and_from_the_first_one_on() {
    let receiver = Receiver::well();
    let mut stage = Stage::new("push-order");
    stage.open("before");
    stage.write_many("before", 3);
    stage.start(vec![endpoint(&receiver)]);
    stage.open("a");
    stage.open("b");
    let mut sent = Vec::new();
    for n in 0..60 {
        let name = ["a", "b", "before"][n % 3];
        sent.push(stage.write(name, "transcript.phrase"));
    }
    receiver.wait_for(60);
    stage.wait_until_delivered(0);
    let got = receiver.ids();
    assert_eq!(got.len(), 60, "each once, and nothing from before");
    for name in ["a", "b", "before"] {
        let key = stage.journals[name].key.to_string();
        let of = |ids: &[String]| -> Vec<String> {
            ids.iter()
                .filter(|id| id.starts_with(&key))
                .cloned()
                .collect()
        };
        assert_eq!(of(&got), of(&sent), "{name}");
    }
    for request in receiver.got() {
        assert!(request.is_signed_with(SECRET));
        assert_eq!(
            request.first_line,
            "POST /hook/hunter2?token=hunter2 HTTP/1.1"
        );
        assert_eq!(request.header("content-type"), "application/json");
        let agent = concat!("rtmsd/", env!("CARGO_PKG_VERSION"));
        assert_eq!(request.header("user-agent"), agent);
        assert_eq!(request.header("webhook-id"), request.ids()[0]);
        assert_eq!(request.header("cookie"), "");
    }
    stage.stop();
}

#[test]
fn p5_the_next_process_goes_on_where_this_one_was() {
    let receiver = Receiver::well();
    let mut stage = Stage::new("push-restart");
    stage.start(vec![endpoint(&receiver)]);
    stage.open("a");
    stage.open("b");
    stage.write_many("a", 5);
    stage.write_many("b", 2);
    receiver.wait_for(7);
    stage.wait_until_delivered(0);
    // What is written while no process sends, and what was delivered before, of streams that go on or not.
    stage.stop();
    let late = stage.write("a", "stream.ended");
    stage.board = Board::new(&stage.root.join("out"));
    stage.start(vec![endpoint(&receiver)]);
    assert_eq!(receiver.wait_for(8).last(), Some(&late));
    stage.open("b");
    let last = stage.write("b", "transcript.phrase");
    assert_eq!(receiver.wait_for(9).last(), Some(&last));
    stage.wait_until_delivered(0);
    for _ in 0..3 {
        stage.restart(vec![endpoint(&receiver)]);
    }
    stage.open("b");
    let last = stage.write("b", "transcript.phrase");
    assert_eq!(receiver.wait_for(10).last(), Some(&last));
    stage.wait_until_delivered(0);
    assert_eq!(receiver.ids().len(), 10, "nothing came twice");
    stage.stop();
}

#[test]
fn s10_lost_cursors_send_again_and_lose_nothing() {
    let receiver = Receiver::well();
    let mut stage = Stage::new("push-lost");
    stage.start(vec![endpoint(&receiver)]);
    stage.open("a");
    let mut sent = stage.write_many("a", 5);
    receiver.wait_for(5);
    stage.wait_until_delivered(0);
    for damage in [Some("garbage\n"), Some(""), None] {
        stage.stop();
        sent.extend(stage.write_many("a", 2));
        let file = stage.root.join("state/push-default");
        match damage {
            Some(text) => fs::write(&file, text).expect("written"),
            None => fs::remove_file(&file).expect("removed"),
        }
        stage.board = Board::new(&stage.root.join("out"));
        stage.start(vec![endpoint(&receiver)]);
        let last = sent.last().expect("one").clone();
        wait_for("the newest comes", || receiver.ids().contains(&last));
        stage.wait_until_delivered(0);
        let got = receiver.ids();
        assert!(sent.iter().all(|id| got.contains(id)), "{damage:?}");
    }
    stage.stop();
}

#[test]
fn p4_s6_no_redirect_is_followed_and_failures_are_tried_again() {
    let elsewhere = Receiver::well();
    let target = format!("http://{}/", elsewhere.address);
    let mut answers = vec![
        format!("HTTP/1.1 307 x\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n"),
        "reset".to_owned(),
    ];
    let receiver = Receiver::new(move |_| answers.pop().unwrap_or_else(|| status(200)));
    let mut stage = Stage::new("push-redirect");
    stage.start(vec![endpoint(&receiver)]);
    stage.open("a");
    let sent = stage.write_many("a", 1);
    wait_for("it is delivered", || stage.report(0).counts.events == 1);
    // The one that was reset had arrived, as far as the receiver is concerned.
    assert_eq!(receiver.ids(), [sent[0].clone(), sent[0].clone()]);
    assert_eq!(elsewhere.got().len(), 0);
    let counts = stage.report(0).counts;
    assert_eq!((counts.failed, counts.unanswered), (1, 1));
    stage.stop();
}

#[test]
fn retry_after_as_a_date_is_waited_for() {
    let mut is_first = true;
    let receiver = Receiver::new(move |_| {
        if !std::mem::take(&mut is_first) {
            return status(200);
        }
        let now = std::time::SystemTime::now();
        let date = |at| httpdate::fmt_http_date(at);
        let (now, then) = (date(now), date(now + Duration::from_secs(2)));
        format!("HTTP/1.1 503 x\r\nDate: {now}\r\nRetry-After: {then}\r\nContent-Length: 0\r\n\r\n")
    });
    let mut stage = Stage::new("push-after");
    stage.start(vec![endpoint(&receiver)]);
    stage.open("a");
    let begun = Instant::now();
    stage.write_many("a", 1);
    receiver.wait_for(1);
    assert!(begun.elapsed() >= Duration::from_secs(2));
    assert_eq!(stage.report(0).counts.busy, 1);
    stage.stop();
}

#[test]
fn one_dead_endpoint_and_one_that_is_well() {
    let well = Receiver::well();
    let closed = TcpListener::bind("127.0.0.1:0")
        .expect("a port")
        .local_addr()
        .expect("bound");
    let dead = PushUrl::parse(&format!("http://{closed}/")).expect("a URL");
    let dead = EndpointSettings {
        name: "dead".to_owned(),
        url: dead,
        ..endpoint(&well)
    };
    let mut stage = Stage::new("push-dead");
    stage.start(vec![dead, endpoint(&well)]);
    for name in ["a", "b", "c", "d"] {
        stage.open(name);
        stage.write_many(name, 25);
    }
    well.wait_for(100);
    stage.wait_until_delivered(1);
    wait_for("it rests", || stage.report(0).state == "resting");
    assert_eq!(stage.report(0).lag_events, 100);
    assert_eq!(stage.report(1).state, "ok");
    stage.stop();
}

#[test]
fn a_batch_is_refused_halved_and_delivered() {
    // Like a server that takes no more than so many bytes.
    let receiver = Receiver::new(|got| status(if got.body.len() > 3000 { 413 } else { 200 }));
    let mut stage = Stage::new("push-batch");
    let batches = EndpointSettings {
        batch: 100,
        linger: Duration::from_millis(50),
        ..endpoint(&receiver)
    };
    stage.start(vec![batches]);
    stage.open("a");
    let sent = stage.write_many("a", 100);
    assert_eq!(receiver.wait_for(100), sent);
    let got = receiver.got();
    assert!(
        got.len() < 50 && got.iter().all(|it| it.is_signed_with(SECRET)),
        "{}",
        got.len()
    );
    assert!(stage.report(0).counts.refused > 0);
    stage.stop();
}

#[test]
fn a_reload_changes_endpoints_while_events_flow() {
    let (first, second) = (Receiver::well(), Receiver::well());
    let mut stage = Stage::new("push-reload");
    let usual = endpoint(&first);
    stage.start(vec![usual.clone()]);
    stage.open("a");
    stage.write_many("a", 3);
    first.wait_for(3);
    // A change of secrets: both sign, then the new one alone.
    let other = SigningSecret::parse(OTHER_SECRET).expect("a secret");
    let both = EndpointSettings {
        secrets: vec![usual.secrets[0].clone(), other.clone()],
        ..usual.clone()
    };
    let crm = EndpointSettings {
        name: "crm".to_owned(),
        url: second.url(),
        events: KindFilter::from_text("chat.*").expect("a filter"),
        ..usual.clone()
    };
    assert!(stage.push().reload(vec![both, crm.clone()]));
    wait_for("two endpoints", || {
        stage.push().status().endpoints.len() == 2
    });
    let chat = stage.write("a", "chat.message");
    let both_sign = stage.write("a", "transcript.phrase");
    assert_eq!(
        second.wait_for(1),
        [chat],
        "P2, P6: from now on, and of its types alone"
    );
    let got = first.got()[0].clone();
    assert!(got.is_signed_with(SECRET) && !got.is_signed_with(OTHER_SECRET));
    let got = first.wait_for_event(&both_sign);
    assert!(got.is_signed_with(SECRET) && got.is_signed_with(OTHER_SECRET));
    let new = EndpointSettings {
        secrets: vec![other],
        ..usual.clone()
    };
    assert!(stage.push().reload(vec![new]));
    wait_for("one endpoint", || {
        stage.push().status().endpoints.len() == 1
    });
    let last = stage.write("a", "transcript.phrase");
    let got = first.wait_for_event(&last);
    assert!(!got.is_signed_with(SECRET) && got.is_signed_with(OTHER_SECRET));
    // P6: what was taken out by mistake and comes back has lost nothing.
    let missed = stage.write("a", "chat.message");
    assert!(stage.push().reload(vec![usual, crm]));
    second.wait_for_event(&missed);
    // Without endpoints the thread ends.
    assert!(stage.push().reload(Vec::new()));
    wait_for("it is over", || !stage.push().reload(Vec::new()));
    stage.stop();
}

#[test]
fn p12_pause_resume_and_replay() {
    let receiver = Receiver::well();
    let mut stage = Stage::new("push-commands");
    stage.start(vec![endpoint(&receiver)]);
    let key = stage.open("stream-of-a-meeting");
    let sent = stage.write_many("stream-of-a-meeting", 5);
    receiver.wait_for(5);
    stage.wait_until_delivered(0);
    assert_eq!(stage.command(Action::Pause), Ok(()));
    let late = stage.write("stream-of-a-meeting", "transcript.phrase");
    stage.restart(vec![endpoint(&receiver)]);
    assert_eq!(
        stage.report(0).state,
        "paused",
        "a pause survives a restart"
    );
    assert_eq!(stage.command(Action::Resume), Ok(()));
    assert_eq!(receiver.wait_for(6).last(), Some(&late));
    stage.wait_until_delivered(0);

    let replay = |from, stream: Option<&str>| Action::Replay {
        from,
        stream: stream.map(str::to_owned),
    };
    let third = From::Event { key, seq: 3 };
    let stream = Some("stream-of");
    assert_eq!(stage.command(replay(third, stream)), Ok(()));
    let got = receiver.wait_for(10);
    let expected = [&sent[2], &sent[3], &sent[4], &late];
    assert_eq!(got[6..].iter().collect::<Vec<_>>(), expected);
    stage.wait_until_delivered(0);
    // From a time before everything, of a journal that a new process does not know yet.
    stage.restart(vec![endpoint(&receiver)]);
    assert_eq!(stage.command(replay(From::Pos(1), None)), Ok(()));
    assert_eq!(receiver.wait_for(16).len(), 16);
    stage.wait_until_delivered(0);
    for (from, stream) in [
        (From::Event { key, seq: 99 }, None),
        (From::Pos(1), Some("strea")),
        (From::Pos(1), Some("unknown-stream")),
    ] {
        let found = stage.command(replay(from, stream));
        assert!(matches!(found, Err(CommandError::NotFound(_))), "{found:?}");
    }
    let unknown = Command {
        endpoint: "unknown".to_owned(),
        action: Action::Pause,
    };
    let found = stage.push().control().command(unknown, PATIENCE);
    assert_eq!(found, Err(CommandError::NoEndpoint));
    assert_eq!(receiver.ids().len(), 16);
    stage.stop();
}

/// Deleted by an upload after seven days, or by a person.
#[test]
fn j13_a_journal_that_was_deleted_is_counted_and_the_others_go_on() {
    let is_down = Arc::new(AtomicBool::new(true));
    let down = Arc::clone(&is_down);
    let receiver = Receiver::new(move |_| status(if down.load(Relaxed) { 503 } else { 204 }));
    let mut stage = Stage::new("push-expired");
    stage.start(vec![endpoint(&receiver)]);
    let key = stage.open("lost");
    stage.open("kept");
    stage.write_many("lost", 7);
    wait_for("it fails", || stage.report(0).counts.failed > 0);
    let kept = stage.write_many("kept", 3);
    stage.board.ended(key);
    assert!(!stage.board.may_delete(key, Duration::ZERO), "it is needed");
    // A paused endpoint needs nothing.
    assert_eq!(stage.command(Action::Pause), Ok(()));
    wait_for("it is free", || stage.board.may_delete(key, Duration::ZERO));
    assert_eq!(stage.command(Action::Resume), Ok(()));
    wait_for("it is held", || {
        !stage.board.may_delete(key, Duration::ZERO)
    });
    fs::remove_file(stage.journals["lost"].folder.join(FEED_NAME)).expect("a journal");
    stage.board.deleted(key);
    // Still down: a request that was under way when the file went would be taken otherwise.
    assert_eq!(stage.command(Action::Resume), Ok(()));
    wait_for("what is lost is counted", || {
        stage.report(0).counts.expired == 7
    });
    is_down.store(false, Relaxed);
    assert_eq!(stage.command(Action::Resume), Ok(()));
    stage.wait_until_delivered(0);
    assert_eq!(receiver.ids(), kept);
    stage.stop();
}

/// A reload and a restart take nothing away from an upload for ever: who starts may need any journal
/// until it has looked, and who has no endpoint any more needs none.
#[test]
fn j13_journals_are_held_from_the_start_and_released_with_the_last_endpoint() {
    let receiver = Receiver::new(|_| status(503));
    let mut stage = Stage::new("push-held");
    stage.start(vec![endpoint(&receiver)]);
    let key = stage.open("a");
    stage.write_many("a", 2);
    wait_for("it fails", || stage.report(0).counts.failed > 0);
    stage.board.ended(key);
    stage.restart(vec![endpoint(&receiver)]);
    wait_for("it is held", || stage.board.get(key).is_some());
    assert!(!stage.board.may_delete(key, Duration::ZERO));
    assert!(stage.push().reload(Vec::new()));
    wait_for("it is free", || stage.board.may_delete(key, Duration::ZERO));
    stage.stop();
}

#[test]
fn an_endpoint_that_is_gone_stays_gone_over_a_restart_and_lives_at_another_url() {
    let gone = Receiver::new(|_| status(410));
    let other = Receiver::well();
    let mut stage = Stage::new("push-gone");
    stage.start(vec![endpoint(&gone)]);
    stage.open("a");
    let sent = stage.write_many("a", 3);
    wait_for("it is gone", || stage.report(0).state == "gone");
    stage.restart(vec![endpoint(&gone)]);
    assert_eq!(stage.report(0).state, "gone");
    assert_eq!(stage.report(0).counts.gone, 0, "it was not asked again");
    stage.restart(vec![endpoint(&other)]);
    assert_eq!(other.wait_for(3), sent);
    stage.stop();
}

/// The limit is 15 s from the look-up to the last byte: who answers after 14 s has taken the event.
#[test]
#[ignore = "takes half a minute; .ci/nightly slow"]
fn an_answer_after_fourteen_seconds_counts_and_none_after_fifteen() {
    let times = Arc::new(Mutex::new(0));
    let receiver = Receiver::new(move |_| {
        let mut times = times.lock().expect("whole");
        *times += 1;
        // The first answer comes in time, the second too late, the third at once.
        let seconds = [14, 16, 0][(*times - 1).min(2)];
        let until = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < until {
            thread::park_timeout(until.saturating_duration_since(Instant::now()));
        }
        status(204)
    });
    let mut stage = Stage::new("push-slow");
    stage.start(vec![endpoint(&receiver)]);
    stage.open("a");
    let sent = stage.write_many("a", 2);
    let deadline = Instant::now() + 2 * PATIENCE;
    while stage.report(0).counts.delivered < 2 {
        assert!(Instant::now() < deadline, "{:?}", stage.report(0));
        thread::park_timeout(Duration::from_millis(20));
    }
    let counts = stage.report(0).counts;
    assert_eq!((counts.delivered, counts.unanswered), (2, 1));
    // What was answered too late came again, with its id.
    assert_eq!(
        receiver.ids(),
        [&sent[0], &sent[1], &sent[1]].map(Clone::clone)
    );
    stage.stop();
}

/// Workers end, and come again with the next event.
#[test]
#[ignore = "takes ten seconds; .ci/nightly slow"]
fn p7_a_worker_ends_after_ten_seconds_without_work() {
    let receiver = Receiver::well();
    let mut stage = Stage::new("push-idle");
    stage.start(vec![endpoint(&receiver)]);
    stage.open("a");
    let workers = |stage: &Stage| stage.push().shared.lock().endpoints[0].workers;
    stage.write_many("a", 3);
    receiver.wait_for(3);
    let delivered = Instant::now();
    assert!(workers(&stage) > 0);
    wait_for("they end", || workers(&stage) == 0);
    let idle = delivered.elapsed();
    assert!(idle > Duration::from_secs(9), "{idle:?}");
    stage.write_many("a", 1);
    receiver.wait_for(4);
    assert!(workers(&stage) > 0);
    stage.stop();
}

#[test]
fn p11_nothing_of_a_revoked_stream_is_sent() {
    let receiver = Receiver::new(|_| status(503));
    let mut stage = Stage::new("push-revoked");
    stage.start(vec![endpoint(&receiver)]);
    let key = stage.open("a");
    stage.write_many("a", 5);
    wait_for("it fails", || stage.report(0).counts.failed > 0);
    stage.board.revoke(key);
    wait_for("it is forgotten", || stage.report(0).lag_events == 0);
    let failed = stage.report(0).counts.failed;
    stage.open("b");
    stage.write_many("b", 1);
    wait_for("the other is tried", || {
        stage.report(0).counts.failed > failed
    });
    assert!(stage.report(0).blocked.iter().all(|it| it.key != key));
    stage.stop();
}

#[test]
fn p11_the_end_waits_for_what_is_under_way_as_long_as_it_may() {
    let (begin, begun) = std::sync::mpsc::channel();
    let receiver = Receiver::new(move |_| {
        let _ = begin.send(());
        thread::park_timeout(Duration::from_millis(300));
        status(200)
    });
    let mut stage = Stage::new("push-end");
    stage.start(vec![endpoint(&receiver)]);
    stage.open("a");
    stage.write_many("a", 2);
    begun.recv_timeout(PATIENCE).expect("a request");
    stage.stop();
    assert_eq!(receiver.ids().len(), 1, "it finished, and no other began");
    // A receiver that never answers is cut off.
    let (begin, begun) = std::sync::mpsc::channel();
    let silent = Receiver::new(move |_| {
        let _ = begin.send(());
        thread::park_timeout(PATIENCE);
        status(200)
    });
    stage.board = Board::new(&stage.root.join("out"));
    stage.start(vec![endpoint(&silent)]);
    begun.recv_timeout(PATIENCE).expect("a request");
    let push = stage.push.take().expect("it runs");
    let at = Instant::now();
    // Whether the last cursors are on the disk by then is up to the disk.
    push.stop(at + Duration::from_secs(2));
    let limit = request::TIMEOUT;
    assert!(
        at.elapsed() < limit,
        "it waited for the request's own limit"
    );
}
