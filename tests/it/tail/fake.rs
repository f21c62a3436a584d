//! A small admin listener for `rtmsd tail`: `/streams`, and both forms of `/events`, over lines in
//! memory. It can cut its answers at any byte, refuse, and be away.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::net::sockopt::set_socket_reuseaddr;
use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};
use serde_json::{Value, json};

pub(crate) const KEY: &str = "bdd2d51ed67606f5";
pub(crate) const OTHER_KEY: &str = "0123456789abcdef";
const NUMBER: &str = "84844962250";
const UUID: &str = "55key==";
/// Lines of one JSON answer, so that several are needed.
const PAGE_LINES: usize = 7;

/// A type and its data.
pub(crate) type Event = (&'static str, Value);

/// A phrase with this number, of a speaker.
pub(crate) fn phrase(n: u64, name: &str) -> Event {
    let data = json!({
        "v": 1, "type": "transcript", "user_id": 7, "user_name": name,
        "start_ms": 1_795_529_589_109_u64, "end_ms": 1_795_529_590_829_u64,
        "timestamp_ms": 1_795_529_590_929_u64, "text": format!("phrase {n}"),
    });
    ("transcript.phrase", data)
}

/// Any other event.
pub(crate) fn event(kind: &'static str) -> Event {
    (kind, json!({"v": 1, "text": "a\u{1b}b"}))
}

#[derive(Debug)]
struct Line {
    pos: u64,
    key: String,
    kind: &'static str,
    text: String,
}

/// A port that stays this test's own while no listener is on it.
#[derive(Debug)]
pub(crate) struct Place(OwnedFd);

impl Place {
    pub(crate) fn new() -> Place {
        let place = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        set_socket_reuseaddr(&place, true).expect("a socket");
        bind(&place, &SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        Place(place)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        let address = getsockname(&self.0).expect("an address");
        address.try_into().expect("an address")
    }
}

/// What outlives a restart.
#[derive(Debug, Default)]
pub(crate) struct State {
    token: String,
    lines: Vec<Line>,
    running: BTreeSet<String>,
    /// The next streams of events are cut after so many bytes.
    cuts: Vec<u64>,
    /// So many of the next requests are answered 503.
    refusals: usize,
    followers: usize,
    polls: usize,
    /// Keeps the port without a listener.
    _place: Option<Place>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    is_over: AtomicBool,
}

pub(crate) struct Fake {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Fake {
    pub(crate) fn start(token: &str) -> Fake {
        let place = Place::new();
        let address = place.address();
        let state = State {
            token: token.to_owned(),
            _place: Some(place),
            ..State::default()
        };
        Fake::restart(address, state)
    }

    /// A server at this address with the lines of an earlier one.
    pub(crate) fn restart(address: SocketAddr, state: State) -> Fake {
        let listener = TcpListener::bind(address).expect("its own port");
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                followers: 0,
                ..state
            }),
            ..Shared::default()
        });
        let own = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let mut threads = Vec::new();
            while let Ok((socket, _)) = listener.accept() {
                if own.is_over.load(SeqCst) {
                    break;
                }
                let own = Arc::clone(&own);
                threads.push(std::thread::spawn(move || {
                    // A client may leave at any time.
                    let _ = own.serve(&socket);
                    let _ = socket.shutdown(Shutdown::Both);
                }));
            }
            threads.into_iter().for_each(|thread| {
                thread.join().expect("no panic");
            });
        });
        Fake {
            address,
            shared,
            thread: Some(thread),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn stop(self) -> SocketAddr {
        self.address
    }

    /// Closes the listener and every connection.
    pub(crate) fn stop_for_restart(self) -> (SocketAddr, State) {
        let (address, shared) = (self.address, Arc::clone(&self.shared));
        drop(self);
        let mut state = shared.lock();
        (address, std::mem::take(&mut state))
    }

    pub(crate) fn set_token(&self, token: &str) {
        token.clone_into(&mut self.shared.lock().token);
    }

    pub(crate) fn run_stream(&self, key: &str) {
        self.shared.lock().running.insert(key.to_owned());
    }

    pub(crate) fn end_stream(&self, key: &str) {
        self.shared.lock().running.remove(key);
        self.shared.changed.notify_all();
    }

    pub(crate) fn add(&self, key: &str, (kind, data): &Event) {
        let mut state = self.shared.lock();
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = u64::try_from(now.expect("after 1970").as_micros()).expect("a time");
        let pos = state.lines.last().map_or(now, |last| now.max(last.pos + 1));
        let seq = 1 + state.lines.iter().filter(|line| line.key == key).count();
        let text = format!(
            r#"{{"pos":"{pos}","seq":{seq},"id":"{key}-{seq}","type":"{kind}","subject":"{UUID}","meetingid":"{NUMBER}","data":{data}}}"#
        );
        let key = key.to_owned();
        state.lines.push(Line {
            pos,
            key,
            kind,
            text,
        });
        drop(state);
        self.shared.changed.notify_all();
    }

    pub(crate) fn lines(&self, key: &str) -> Vec<String> {
        let state = self.shared.lock();
        let lines = state.lines.iter().filter(|line| line.key == key);
        lines.map(|line| line.text.clone()).collect()
    }

    pub(crate) fn cut_next(&self, bytes: u64) {
        self.shared.lock().cuts.push(bytes);
        self.shared.changed.notify_all();
    }

    pub(crate) fn refuse_next(&self, requests: usize) {
        self.shared.lock().refusals += requests;
    }

    /// Answers in JSON that were asked for.
    pub(crate) fn polls(&self) -> usize {
        self.shared.lock().polls
    }

    /// Streams of events that were asked for.
    pub(crate) fn followers(&self) -> usize {
        self.shared.lock().followers
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.shared.is_over.store(true, SeqCst);
        self.shared.changed.notify_all();
        // Ends accept(2).
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A request.
struct Request {
    path: String,
    query: Vec<(String, String)>,
    fields: Vec<(String, String)>,
}

impl Request {
    fn read(socket: &TcpStream) -> Option<Request> {
        let mut lines = BufReader::new(socket).lines().map_while(Result::ok);
        let first = lines.next()?;
        let target = first.split(' ').nth(1)?;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let pair = |text: &str, by: char| {
            let (name, value) = text.split_once(by)?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        };
        Some(Request {
            path: path.to_owned(),
            query: query
                .split('&')
                .filter_map(|text| pair(text, '='))
                .collect(),
            fields: lines
                .take_while(|line| !line.is_empty())
                .filter_map(|line| pair(&line, ':'))
                .collect(),
        })
    }

    fn value<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
        let mut pairs = pairs.iter();
        let found = pairs.find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }

    fn serve(&self, socket: &TcpStream) -> std::io::Result<()> {
        let Some(request) = Request::read(socket) else {
            return Ok(());
        };
        let mut state = self.lock();
        let shown = Request::value(&request.fields, "authorization");
        if shown != Some(&format!("Bearer {}", state.token)) {
            return reply(socket, 401, "text/plain", "the bearer token is wrong\n");
        }
        if state.refusals > 0 {
            state.refusals -= 1;
            return reply(socket, 503, "text/plain", "too many clients\n");
        }
        if request.path == "/streams" {
            let streams: Vec<_> = state.running.iter().map(stream).collect();
            let page = json!({
                "v": 1, "version": "0", "started_ms": 0, "now_ms": 1, "trouble": null,
                "omitted": 0, "streams": streams,
            });
            return reply(socket, 200, "application/json", &page.to_string());
        }
        if request.path == "/meetings" {
            // Nothing was removed.
            let page = json!({"v": 1, "meetings": [], "next": null});
            return reply(socket, 200, "application/json", &page.to_string());
        }
        let key = match self.key(&request) {
            Ok(key) => key,
            Err((status, text)) => return reply(socket, status, "text/plain", text),
        };
        let last_id = Request::value(&request.fields, "last-event-id");
        // One that cannot be read counts as absent.
        let last_id = last_id.filter(|id| id.parse::<u64>().is_ok());
        let after = last_id.or(Request::value(&request.query, "after"));
        let newest = state.lines.last().map_or(1, |line| line.pos);
        let mut cursor = match after {
            None | Some("now") => newest,
            Some("begin") => 0,
            Some(pos) => pos.parse().expect("a position"),
        };
        let types = Request::value(&request.query, "types").unwrap_or_default();
        let types: Vec<String> = types.split(',').map(str::to_owned).collect();
        let is_wanted = move |line: &Line, cursor: u64| {
            line.pos > cursor
                && key.as_ref().is_none_or(|key| line.key == *key)
                && (types[0].is_empty() || types.iter().any(|kind| *kind == line.kind))
        };
        // A meeting may get another stream.
        let is_stream = Request::value(&request.query, "stream").is_some();
        let is_over = |state: &State, cursor: u64, key: &Option<String>| {
            key.as_ref().filter(|_| is_stream).is_some_and(|key| {
                let mut rest = state.lines.iter().filter(|line| line.pos > cursor);
                !state.running.contains(key) && !rest.any(|line| line.key == *key)
            })
        };
        let key = self.key(&request).unwrap_or_default();
        if is_over(&state, cursor, &key) {
            return reply(socket, 204, "text/plain", "");
        }
        if let Some(wait) = Request::value(&request.query, "wait") {
            state.polls += 1;
            let until = Instant::now() + Duration::from_secs(wait.parse().expect("seconds"));
            while !state.lines.iter().any(|line| is_wanted(line, cursor))
                && Instant::now() < until
                && !self.is_over.load(SeqCst)
            {
                let pause = Duration::from_millis(20);
                let waited = self.changed.wait_timeout(state, pause).expect("no panic");
                state = waited.0;
            }
            let newest = state.lines.last().map_or(1, |line| line.pos);
            let mut found = state.lines.iter().filter(|line| is_wanted(line, cursor));
            let lines: Vec<&Line> = found.by_ref().take(PAGE_LINES).collect();
            let has_more = found.next().is_some();
            let next = match (has_more, lines.last()) {
                (true, Some(line)) => line.pos,
                _ => newest,
            };
            let lines: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
            let page = format!(
                "{{\"v\":1,\"events\":[{}],\"next\":\"{next:016}\",\"more\":{has_more}}}",
                lines.join(",")
            );
            return reply(socket, 200, "application/json", &page);
        }
        state.followers += 1;
        let mut left = state.cuts.pop();
        let mut send = |text: &str| -> std::io::Result<bool> {
            let length = text.len().min(left.map_or(usize::MAX, |n| n as usize));
            left = left.map(|n| n - length as u64);
            (&*socket).write_all(&text.as_bytes()[..length])?;
            Ok(left != Some(0))
        };
        let mut text = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
            Connection: close\r\n\r\nretry: 1\n: fake\n"
            .to_owned();
        loop {
            let lines = state.lines.iter().filter(|line| is_wanted(line, cursor));
            let mut last = cursor;
            for line in lines {
                text += &format!("id: {}\ndata: {}\n\n", line.pos, line.text);
                last = line.pos;
            }
            cursor = last;
            let is_over = is_over(&state, cursor, &key) || self.is_over.load(SeqCst);
            drop(state);
            if !send(&text)? || is_over {
                return Ok(());
            }
            text.clear();
            state = self.lock();
            let waited = self
                .changed
                .wait_timeout(state, Duration::from_millis(20))
                .expect("no panic");
            state = waited.0;
            // A connection that waits is cut now.
            if state.cuts.pop().is_some() {
                return Ok(());
            }
        }
    }

    /// The stream that a request is about.
    fn key(&self, request: &Request) -> Result<Option<String>, (u16, &'static str)> {
        let stream = Request::value(&request.query, "stream");
        let meeting = Request::value(&request.query, "meeting");
        match (stream, meeting) {
            (None, None) => Ok(None),
            (Some("several"), _) => Err((409, "it fits several streams\n")),
            (Some(name), _) if name.len() >= 6 && KEY.starts_with(name) => Ok(Some(KEY.to_owned())),
            (_, Some(name)) if name == NUMBER || name == "55key%3D%3D" => Ok(Some(KEY.to_owned())),
            // One that may still begin.
            (_, Some(name)) if name.len() > 4 => Ok(Some("of no stream".to_owned())),
            _ => Err((404, "nothing has that name\n")),
        }
    }
}

/// A stream of `/streams`.
fn stream(key: &String) -> Value {
    json!({
        "stream_id": "s", "key": key, "product": "meeting", "id": UUID, "meeting_id": NUMBER,
        "topic": null, "state": "receiving", "waits_for": null, "age_s": 1, "media": {},
        "last_data_ms": null, "reconnects": 0, "losses": 0, "keep_alives": 0,
    })
}

fn reply(mut socket: &TcpStream, status: u16, kind: &str, body: &str) -> std::io::Result<()> {
    let answer = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(answer.as_bytes())
}
