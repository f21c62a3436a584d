//! Recordings over HTTP: the list of meetings, one of them, and the captions so far.
//!
//! Each request has a thread of its own, for it may read many folders; there are few at once. The socket
//! left the gate, so that neither health nor webhooks wait for a disk.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::thread::Builder;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::line;
use crate::daemon::handle::Output;
use crate::delivery::live::query::decode;
use crate::delivery::live::{Access, RETRY_AFTER_S};
use crate::feed::JournalKey;
use crate::feed::folders::StreamFolders;
use crate::gate::{Answer, answer_bytes, open_answer_bytes};
use crate::recorder::captions::{CaptionFormat, write_captions};
use crate::recorder::catalog::{Query, Recording, Search};
use crate::recorder::meta::FILE_NAME;

/// Requests at one time.
const AT_ONCE: usize = 4;
/// A client that takes nothing for so long is cut off.
const WRITE_MAX: Duration = Duration::from_secs(10);
/// For the request under way, at the end of the server.
const STOP_MAX: Duration = Duration::from_millis(500);
const STACK_BYTES: usize = 512 << 10;
/// Meetings of an answer, unless the request says otherwise.
const LIMIT: usize = 50;
const LIMIT_MAX: usize = 500;
/// A larger `meta.json` is none of ours.
const META_BYTES_MAX: u64 = 16 << 20;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The list.
    Meetings {
        /// Part of topic, speaker, number or id, in lower case.
        text: String,
        limit: usize,
        /// Those behind this one.
        after: Option<JournalKey>,
    },
    /// `meta.json` of one, and its files.
    Meeting(JournalKey),
    /// The captions of one.
    Captions(JournalKey, CaptionFormat),
}

impl Wanted {
    /// Whether a path is one of these.
    pub(super) fn is_path(path: &str) -> bool {
        path == "/meetings" || path.starts_with("/meetings/") || path.starts_with("/live/")
    }

    /// Reads a request; an error is the status and what was expected.
    pub(super) fn parse(path: &str, query: Option<&str>) -> Result<Wanted, (u16, String)> {
        let parts = parts(query)?;
        let part = |name: &str| parts.get(name).map(String::as_str);
        let unknown = || {
            let text = "here are /meetings?format=json, /meetings/KEY?format=json, /live/KEY.vtt and \
                        /live/KEY.txt";
            (404, text.to_owned())
        };
        if let Some(name) = path.strip_prefix("/live/") {
            let (key, format) = match name.rsplit_once('.') {
                Some((key, "vtt")) => (key, CaptionFormat::Vtt),
                Some((key, "txt")) => (key, CaptionFormat::Txt),
                _ => return Err(unknown()),
            };
            let key = key.parse().map_err(|_| unknown())?;
            return Ok(Wanted::Captions(key, format));
        }
        if part("format") != Some("json") {
            return Err(unknown());
        }
        if let Some(key) = path.strip_prefix("/meetings/") {
            return key.parse().map(Wanted::Meeting).map_err(|_| unknown());
        }
        let expected = |name: &str, what: &str| (400, format!("{name}: expected {what}"));
        let limit = part("limit").map(|text| {
            let limit = text.parse().ok().filter(|n| (1..=LIMIT_MAX).contains(n));
            limit.ok_or_else(|| expected("limit", "a number from 1 to 500"))
        });
        let after = part("after").map(|text| {
            text.parse()
                .map_err(|_| expected("after", "the key of a stream, 16 digits from 0 to f"))
        });
        Ok(Wanted::Meetings {
            text: part("q").unwrap_or_default().trim().to_lowercase(),
            limit: limit.transpose()?.unwrap_or(LIMIT),
            after: after.transpose()?,
        })
    }

    /// Whether this may be had: a link is for one stream.
    fn is_allowed(&self, access: Access) -> bool {
        match (self, access) {
            (_, Access::All) => true,
            (Wanted::Meetings { .. }, Access::Stream { .. }) => false,
            (Wanted::Meeting(key), Access::Stream { has_files, .. }) => {
                has_files && access.is_for(*key)
            }
            (Wanted::Captions(key, _), Access::Stream { .. }) => access.is_for(*key),
        }
    }
}

/// The parts of a query, decoded.
fn parts<'a>(query: Option<&'a str>) -> Result<BTreeMap<&'a str, String>, (u16, String)> {
    let pairs = query
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty());
    let pair = |pair: &'a str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        // Forms write a blank so.
        let value = decode(&value.replace('+', "%20")).filter(|it| !it.contains('\0'));
        let value = value.ok_or_else(|| {
            let text = "the query: expected text in the percent encoding";
            (400, text.to_owned())
        })?;
        Ok((name, value))
    };
    pairs.map(pair).collect()
}

/// Where the recordings are; asked for each request.
type Ask = Box<dyn Fn() -> Option<Output> + Send + Sync>;

/// Serves recordings. Dropping it cuts off what is under way.
pub(super) struct Recordings(Arc<Shared>);

struct Shared {
    ask: Ask,
    running: AtomicUsize,
    is_stopping: AtomicBool,
}

impl fmt::Debug for Recordings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recordings")
    }
}

impl Drop for Recordings {
    fn drop(&mut self) {
        self.0.is_stopping.store(true, Release);
        let until = Instant::now() + STOP_MAX;
        while self.0.running.load(Acquire) > 0 && Instant::now() < until {
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
}

/// Takes requests for recordings. Never waits.
#[derive(Clone)]
pub(super) struct Shelf(Arc<Shared>);

impl Recordings {
    pub(super) fn new(ask: Ask) -> Recordings {
        Recordings(Arc::new(Shared {
            ask,
            running: AtomicUsize::new(0),
            is_stopping: AtomicBool::new(false),
        }))
    }

    pub(super) fn shelf(&self) -> Shelf {
        Shelf(Arc::clone(&self.0))
    }
}

/// A place among the requests at one time.
struct Place(Arc<Shared>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, AcqRel);
    }
}

impl Shelf {
    /// Answers a request on a thread of its own, or says why not.
    pub(super) fn open(&self, wanted: Wanted, access: Access) -> Result<Serve, Answer> {
        if !wanted.is_allowed(access) {
            return Err(line(403, "this link is not for that"));
        }
        let running = self.0.running.fetch_add(1, AcqRel);
        let place = Place(Arc::clone(&self.0));
        if running >= AT_ONCE || self.0.is_stopping.load(Acquire) {
            let answer = line(503, "there are too many requests at once, come again");
            return Err(answer.with("Retry-After", RETRY_AFTER_S.to_string()));
        }
        Ok(Serve { place, wanted })
    }
}

/// A request that is to be answered.
pub(super) struct Serve {
    place: Place,
    wanted: Wanted,
}

impl Serve {
    /// Answers it.
    pub(super) fn start(self, socket: OwnedFd) {
        let spawned = Builder::new()
            .name("recordings".into())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let Serve { place, wanted } = self;
                // The client may be gone, or reads too slowly.
                if let Err(error) = answer(&place.0, &wanted, socket) {
                    log::debug!("recordings: an answer was cut off: {error}");
                }
            });
        if let Err(error) = spawned {
            log::error!("recordings: no thread can be started: {error}");
        }
    }
}

fn answer(shared: &Shared, wanted: &Wanted, socket: OwnedFd) -> io::Result<()> {
    // Only what all sockets have is used, so this may be a Unix socket as well.
    let stream = TcpStream::from(socket);
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(WRITE_MAX))?;
    let mut out = BufWriter::with_capacity(32 << 10, &stream);
    let answered = match (shared.ask)() {
        None => Err(line(503, "the daemon does not answer")),
        Some(Output { root: None, .. }) => {
            Err(line(404, "no files are written: RTMS_OUT is not set"))
        }
        Some(output) => answer_from(shared, &output, wanted, &mut out),
    };
    match answered {
        Ok(done) => done?,
        Err(refusal) => {
            let refusal = refusal.with("Cache-Control", "no-store");
            out.write_all(&answer_bytes(&refusal, false))?;
        }
    }
    out.flush()?;
    drop(out);
    stream.shutdown(Shutdown::Write)
}

fn answer_from(
    shared: &Shared,
    output: &Output,
    wanted: &Wanted,
    out: &mut dyn Write,
) -> Result<io::Result<()>, Answer> {
    let root = output.root.as_deref().unwrap_or(Path::new(""));
    let json = |value: &Value| {
        let answer = Answer::text(200, format!("{value}\n")).of_type("application/json");
        answer_bytes(&answer.with("Cache-Control", "no-store"), false)
    };
    match wanted {
        Wanted::Meetings { text, limit, after } => {
            let found = list(shared, output, root, text, *limit, *after);
            Ok(out.write_all(&json(&found)))
        }
        Wanted::Meeting(key) => {
            let recording = find(output, root, *key)?;
            let found = meeting(&recording)
                .map_err(|error| line(503, &format!("meta.json cannot be read: {error}")))?;
            Ok(out.write_all(&json(&found)))
        }
        Wanted::Captions(key, format) => {
            let recording = find(output, root, *key)?;
            let head = Answer::text(200, "").of_type(format.media_type());
            let head = open_answer_bytes(&head.with("Cache-Control", "no-store"));
            let may_go_on = || !shared.is_stopping.load(Acquire) && !output.is_revoked(*key);
            let written = out.write_all(&head);
            Ok(written.and_then(|()| write_captions(&recording, *format, out, &may_go_on)))
        }
    }
}

/// A page of the list.
fn list(
    shared: &Shared,
    output: &Output,
    root: &Path,
    text: &str,
    limit: usize,
    after: Option<JournalKey>,
) -> Value {
    let query = Query {
        text: text.to_owned(),
        ..Query::default()
    };
    let is_stopping = || shared.is_stopping.load(Acquire);
    let after = after.map(|key| key.to_string());
    let mut found = Search::new(root, &query)
        .take_while(|_| !is_stopping())
        .filter(|recording| !is_revoked(output, recording));
    if let Some(after) = after {
        found.find(|recording| recording.key == after);
    }
    let mut meetings: Vec<Recording> = found.take(limit + 1).collect();
    let is_more = meetings.len() > limit;
    meetings.truncate(limit);
    let next = meetings
        .last()
        .filter(|_| is_more)
        .map(|last| last.key.clone());
    let meetings: Vec<Value> = meetings.iter().map(Recording::to_json).collect();
    json!({"v": 1, "meetings": meetings, "next": next})
}

/// `meta.json`, with what the files are.
fn meeting(recording: &Recording) -> io::Result<Value> {
    let mut file = io::Read::take(
        fs::File::open(recording.folder.join(FILE_NAME))?,
        META_BYTES_MAX,
    );
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut file, &mut bytes)?;
    let mut meta: Value = serde_json::from_slice(&bytes)?;
    let files = recording.files().into_iter().filter_map(|name| {
        let file = fs::metadata(recording.folder.join(&name)).ok()?;
        Some(json!({"name": name, "bytes": file.len(), "type": media_type(&name)}))
    });
    meta["files"] = files.collect();
    Ok(meta)
}

/// What a file is, by the end of its name.
fn media_type(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "jsonl" => "application/x-ndjson",
        "json" => "application/json",
        "txt" => "text/plain; charset=utf-8",
        "vtt" => "text/vtt; charset=utf-8",
        "srt" => "application/x-subrip",
        "wav" => "audio/wav",
        "ogg" | "opus" => "audio/ogg",
        "jpg" | "jpeg" => "image/jpeg",
        "png" => "image/png",
        "mp4" => "video/mp4",
        _ => "application/octet-stream",
    }
}

/// The recording of that stream, unless consent to it was withdrawn.
fn find(output: &Output, root: &Path, key: JournalKey) -> Result<Recording, Answer> {
    if output.is_revoked(key) {
        return Err(line(410, "consent to this stream was withdrawn"));
    }
    let on_board = output.board.as_ref().and_then(|board| board.get(key));
    let folder = match on_board {
        Some(journal) => Some(journal.folder.to_path_buf()),
        None => {
            let mut folders = StreamFolders::below(root);
            let key_of = |folder: &Path| {
                let below = folder.strip_prefix(root).unwrap_or(folder);
                JournalKey::of_folder(below)
            };
            folders.find(|folder| key_of(folder) == key)
        }
    };
    let recording = folder.and_then(|folder| {
        let below = folder.strip_prefix(root).ok()?;
        Recording::read(root, below)
    });
    match recording {
        Some(recording) if is_revoked(output, &recording) => {
            Err(line(410, "consent to this stream was withdrawn"))
        }
        Some(recording) => Ok(recording),
        None => Err(line(404, "there is no such stream")),
    }
}

fn is_revoked(output: &Output, recording: &Recording) -> bool {
    let key = recording.key.parse();
    recording.is_revoked || key.is_ok_and(|key| output.is_revoked(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_queries() {
        let key: JournalKey = "bdd2d51ed67606f5".parse().expect("a key");
        let list = |text: &str, limit, after| Wanted::Meetings {
            text: text.to_owned(),
            limit,
            after,
        };
        for (path, query, expected) in [
            ("/meetings", "format=json", list("", 50, None)),
            (
                "/meetings",
                "format=json&q=Weekly+Sync&limit=7&after=bdd2d51ed67606f5",
                list("weekly sync", 7, Some(key)),
            ),
            (
                "/meetings/bdd2d51ed67606f5",
                "format=json",
                Wanted::Meeting(key),
            ),
            (
                "/live/bdd2d51ed67606f5.vtt",
                "",
                Wanted::Captions(key, CaptionFormat::Vtt),
            ),
            (
                "/live/bdd2d51ed67606f5.txt",
                "x",
                Wanted::Captions(key, CaptionFormat::Txt),
            ),
        ] {
            assert!(Wanted::is_path(path));
            assert_eq!(
                Wanted::parse(path, Some(query)),
                Ok(expected),
                "{path}?{query}"
            );
        }
        for (path, query, status) in [
            ("/meetings", "", 404),
            ("/meetings/", "format=json", 404),
            ("/meetings/bdd2d5", "format=json", 404),
            ("/meetings/../etc/passwd", "format=json", 404),
            ("/live/bdd2d51ed67606f5", "", 404),
            ("/live/bdd2d51ed67606f5.srt", "", 404),
            ("/live/.vtt", "", 404),
            ("/meetings", "format=json&limit=0", 400),
            ("/meetings", "format=json&limit=501", 400),
            ("/meetings", "format=json&after=x", 400),
            ("/meetings", "format=json&q=%ff", 400),
        ] {
            let found = Wanted::parse(path, Some(query));
            assert_eq!(
                found.map_err(|(status, _)| status),
                Err(status),
                "{path}?{query}"
            );
        }
    }

    #[test]
    fn g3_a_link_is_for_the_captions_of_one_stream_and_perhaps_its_files() {
        let key = |n: u8| format!("{n:016x}").parse().expect("a key");
        let captions = |n| Wanted::Captions(key(n), CaptionFormat::Vtt);
        let link = |has_files| Access::Stream {
            key: key(1),
            has_files,
        };
        let list = Wanted::parse("/meetings", Some("format=json")).expect("the list");
        assert!(list.is_allowed(Access::All) && !list.is_allowed(link(true)));
        assert!(captions(1).is_allowed(link(false)) && !captions(2).is_allowed(link(true)));
        assert!(Wanted::Meeting(key(1)).is_allowed(link(true)));
        assert!(!Wanted::Meeting(key(1)).is_allowed(link(false)));
        assert!(!Wanted::Meeting(key(2)).is_allowed(link(true)));
    }
}
