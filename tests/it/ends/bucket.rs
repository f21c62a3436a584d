//! A small and strict object storage: it checks signatures, digests and checksums by code of its own,
//! and answers as badly as a test wants.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sha::sha256;
use openssl::sign::Signer;

pub(crate) const BUCKET: &str = "meetings";
pub(crate) const KEY_ID: &str = "AKIDEXAMPLE";
pub(crate) const SECRET: &str = "hunter2/hunter2+hunter2";
const REGION: &str = "eu-test-1";
/// What S3 allows.
const SKEW_MAX_S: u64 = 900;
/// Where it is for those who name the bucket in the host, behind a proxy.
pub(crate) const HOST: &str = "s3.example.test";

/// An object, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Object {
    pub(crate) bytes: Vec<u8>,
    /// How many there were, also where they are not kept.
    pub(crate) size: u64,
    /// `x-amz-checksum-sha256`.
    pub(crate) checksum: Option<String>,
    pub(crate) content_type: String,
}

/// What is wrong with an answer.
#[derive(Debug, Clone)]
pub(crate) enum Trouble {
    /// This status, code and further elements of the error, instead of doing it.
    Refuse(u16, &'static str, &'static str),
    /// Does it, and says with status 200 that it did not.
    ErrorBehind200,
    /// Does it, and says nothing.
    Reset,
    /// Does nothing, and says nothing, until the client is gone.
    Hang,
    /// Redirects to another place.
    Redirect,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Object>,
    /// By upload id: the object, and its parts.
    uploads: BTreeMap<String, (String, BTreeMap<u32, Object>)>,
    next_upload: u64,
    /// Requests by method, object and query.
    requests: Vec<String>,
    /// What a request breaks, that was rightly sent.
    violations: Vec<String>,
    /// For the next requests in whose line these words are.
    troubles: VecDeque<(&'static str, Trouble)>,
    /// What its clock is ahead, seconds.
    ahead_s: i64,
    shows_no_checksums: bool,
    /// Large bodies are checked and thrown away.
    keeps_little: bool,
    /// Requests under way, and the most there were.
    running: usize,
    most_running: usize,
    /// How long each answer takes.
    delay: Duration,
    /// Key id, secret and token of those who may sign, beside [`KEY_ID`].
    role: Option<[&'static str; 3]>,
}

/// Larger bodies are thrown away where little is kept.
const LITTLE_BYTES: usize = 1 << 20;

/// The storage. Its threads end with the process.
#[derive(Clone)]
pub(crate) struct Bucket {
    state: Arc<Mutex<State>>,
    pub(crate) endpoint: String,
}

/// A request that is under way.
struct Running<'a>(&'a Bucket);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.lock().running -= 1;
    }
}

impl Bucket {
    pub(crate) fn start() -> Bucket {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let bucket = Bucket {
            state: Arc::default(),
            endpoint: format!("http://{address}"),
        };
        let own = bucket.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let own = own.clone();
                thread::spawn(move || drop(own.serve(stream)));
            }
        });
        bucket
    }

    /// The settings of a server that uploads here.
    pub(crate) fn settings(&self) -> Vec<(&'static str, String)> {
        [
            ("RTMS_S3_BUCKET", BUCKET),
            ("RTMS_S3_ENDPOINT", &self.endpoint),
            ("RTMS_S3_REGION", REGION),
            ("RTMS_S3_PREFIX", "a b/c+d"),
            ("RTMS_S3_ACCESS_KEY_ID", KEY_ID),
            ("RTMS_S3_SECRET_ACCESS_KEY", SECRET),
        ]
        .map(|(key, value)| (key, value.to_owned()))
        .into()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no panic")
    }

    pub(crate) fn objects(&self) -> BTreeMap<String, Object> {
        self.lock().objects.clone()
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.lock().requests.clone()
    }

    pub(crate) fn uploads_open(&self) -> usize {
        self.lock().uploads.len()
    }

    /// Another program deletes the object whose name ends so.
    pub(crate) fn remove(&self, name: &str) {
        let objects = &mut self.lock().objects;
        let before = objects.len();
        objects.retain(|key, _| !key.ends_with(name));
        assert_eq!(objects.len() + 1, before, "{name}");
    }

    /// From now on each answer takes that long.
    pub(crate) fn set_delay(&self, delay: Duration) {
        self.lock().delay = delay;
    }

    /// The most requests that were under way at one time.
    pub(crate) fn most_running(&self) -> usize {
        self.lock().most_running
    }

    /// The next request with these words, of method, object and query, meets this.
    pub(crate) fn trouble(&self, request: &'static str, trouble: Trouble) {
        self.lock().troubles.push_back((request, trouble));
    }

    pub(crate) fn troubles_left(&self) -> usize {
        self.lock().troubles.len()
    }

    pub(crate) fn set_clock_ahead(&self, seconds: i64) {
        self.lock().ahead_s = seconds;
    }

    pub(crate) fn keep_little(&self) {
        self.lock().keeps_little = true;
    }

    /// From now on these keys sign, with a session token.
    pub(crate) fn expect_role(&self, role: [&'static str; 3]) {
        self.lock().role = Some(role);
    }

    pub(crate) fn address(&self) -> std::net::SocketAddr {
        let address = self.endpoint.strip_prefix("http://").expect("http");
        address.parse().expect("an address")
    }

    pub(crate) fn hide_checksums(&self) {
        self.lock().shows_no_checksums = true;
    }

    #[track_caller]
    pub(crate) fn assert_no_violations(&self) {
        assert_eq!(self.lock().violations, Vec::<String>::new());
    }

    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut stream = stream;
        while let Some(request) = read_head(&mut reader)? {
            if request.header("expect") == Some("100-continue") {
                stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
            let length = request
                .header("content-length")
                .and_then(|text| text.parse().ok());
            let mut body = vec![0; length.unwrap_or(0)];
            reader.read_exact(&mut body)?;
            let line = format!("{} {} {}", request.method, request.object(), request.query);
            let (trouble, delay) = {
                let mut state = self.lock();
                state.requests.push(line.clone());
                state.running += 1;
                state.most_running = state.most_running.max(state.running);
                let delay = state.delay;
                let trouble = match state.troubles.front() {
                    Some((wanted, _)) if wanted.split(' ').all(|word| line.contains(word)) => {
                        state.troubles.pop_front()
                    }
                    _ => None,
                };
                (trouble, delay)
            };
            thread::park_timeout(delay);
            let _running = Running(self);
            let answer = match trouble.map(|(_, trouble)| trouble) {
                None => self.answer(&request, &body),
                Some(Trouble::Refuse(status, code, more)) => Answer::error(status, code, more),
                Some(Trouble::ErrorBehind200) => {
                    let _ = self.answer(&request, &body);
                    let error = "   \n\n<Error><Code>InternalError</Code></Error>";
                    Answer {
                        body: error.to_owned().into(),
                        ..Answer::new(200)
                    }
                }
                Some(Trouble::Reset) => {
                    let _ = self.answer(&request, &body);
                    return Ok(());
                }
                Some(Trouble::Hang) => {
                    let _ = reader.read(&mut [0]);
                    return Ok(());
                }
                Some(Trouble::Redirect) => Answer::new(307).with("Location", "http://127.0.0.1:1/"),
            };
            answer.write(&mut stream, request.method == "HEAD", self.now_s())?;
        }
        Ok(())
    }

    fn now_s(&self) -> u64 {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970");
        now.as_secs().saturating_add_signed(self.lock().ahead_s)
    }

    fn answer(&self, request: &Request, body: &[u8]) -> Answer {
        let role = self.lock().role;
        if let Err(what) = check(request, body, role) {
            self.lock().violations.push(what.clone());
            let code = match what.contains("signature") {
                true => "SignatureDoesNotMatch",
                false => "InvalidRequest",
            };
            return Answer::error(403, code, "");
        }
        let stamp = request.header("x-amz-date").unwrap_or_default();
        if unix(stamp).abs_diff(self.now_s()) > SKEW_MAX_S {
            return Answer::error(403, "RequestTimeTooSkewed", "");
        }
        if request.bucket() != BUCKET {
            return Answer::error(404, "NoSuchBucket", "");
        }
        let object = request.object();
        let checksum = request.header("x-amz-checksum-sha256");
        let keeps_little = self.lock().keeps_little;
        let new = || Object {
            bytes: match keeps_little && body.len() > LITTLE_BYTES {
                true => Vec::new(),
                false => body.to_vec(),
            },
            size: body.len() as u64,
            checksum: checksum.map(str::to_owned),
            content_type: request
                .header("content-type")
                .unwrap_or_default()
                .to_owned(),
        };
        let etag = format!("\"{}\"", &hex::encode(sha256(body))[..32]);
        let mut state = self.lock();
        match (request.method.as_str(), request.argument("uploadId")) {
            ("PUT", None) => {
                state.objects.insert(object, new());
                Answer::new(200).with("ETag", &etag)
            }
            ("PUT", Some(id)) => {
                let Some((_, parts)) = state.uploads.get_mut(&id) else {
                    return Answer::error(404, "NoSuchUpload", "");
                };
                let number = request
                    .argument("partNumber")
                    .and_then(|text| text.parse().ok());
                parts.insert(number.expect("a number"), new());
                Answer::new(200).with("ETag", &etag)
            }
            ("POST", None) if request.argument("uploads").is_some() => {
                state.next_upload += 1;
                let id = format!("upload+{}/=", state.next_upload);
                state.uploads.insert(id.clone(), (object, BTreeMap::new()));
                let body = format!(
                    "<?xml version=\"1.0\"?><InitiateMultipartUploadResult xmlns=\"x\"><UploadId>{id}\
                     </UploadId></InitiateMultipartUploadResult>"
                );
                Answer {
                    body: body.into(),
                    ..Answer::new(200)
                }
            }
            ("POST", Some(id)) => {
                let Some((object, parts)) = state.uploads.remove(&id) else {
                    return Answer::error(404, "NoSuchUpload", "");
                };
                complete(&mut state, object, &parts, &String::from_utf8_lossy(body))
            }
            ("DELETE", Some(id)) => match state.uploads.remove(&id) {
                Some(_) => Answer::new(204),
                None => Answer::error(404, "NoSuchUpload", ""),
            },
            ("DELETE", None) => {
                state.objects.remove(&object);
                Answer::new(204)
            }
            ("GET" | "HEAD", None) => match state.objects.get(&object) {
                None => Answer::error(404, "NoSuchKey", ""),
                Some(found) => {
                    let wants = request.header("x-amz-checksum-mode") == Some("ENABLED");
                    let shown = found.checksum.clone();
                    let shown = shown.filter(|_| wants && !state.shows_no_checksums);
                    let answer = Answer {
                        body: found.bytes.clone(),
                        length: (request.method == "HEAD").then_some(found.size),
                        ..Answer::new(200)
                    };
                    match shown {
                        Some(checksum) => answer.with("x-amz-checksum-sha256", &checksum),
                        None => answer,
                    }
                }
            },
            _ => Answer::error(405, "MethodNotAllowed", ""),
        }
    }
}

fn complete(
    state: &mut State,
    object: String,
    parts: &BTreeMap<u32, Object>,
    body: &str,
) -> Answer {
    let named = body.matches("<Part>").count();
    let digests: Vec<String> = body
        .split("<ChecksumSHA256>")
        .skip(1)
        .filter_map(|rest| rest.split('<').next().map(str::to_owned))
        .collect();
    let sent: Vec<String> = parts
        .values()
        .filter_map(|part| part.checksum.clone())
        .collect();
    if named != parts.len() || digests != sent {
        state
            .violations
            .push(format!("completion of {object} names other parts: {body}"));
        return Answer::error(400, "InvalidPart", "");
    }
    let bytes = parts.values().flat_map(|part| part.bytes.clone()).collect();
    let size = parts.values().map(|part| part.size).sum();
    let raw: Vec<u8> = digests
        .iter()
        .flat_map(|text| STANDARD.decode(text).expect("base64"))
        .collect();
    let checksum = format!("{}-{}", STANDARD.encode(sha256(&raw)), parts.len());
    let object_found = Object {
        bytes,
        size,
        checksum: (!digests.is_empty()).then_some(checksum),
        content_type: String::new(),
    };
    state.objects.insert(object, object_found);
    let body = "<CompleteMultipartUploadResult><ETag>&quot;whole-2&quot;</ETag>\
                </CompleteMultipartUploadResult>";
    Answer {
        body: body.into(),
        ..Answer::new(200)
    }
}

struct Request {
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }

    /// The bucket that the host names.
    fn bucket_of_host(&self) -> Option<&str> {
        let host = self.header("host").unwrap_or_default();
        host.strip_suffix(HOST)?.strip_suffix('.')
    }

    fn bucket(&self) -> String {
        match self.bucket_of_host() {
            Some(bucket) => bucket.to_owned(),
            None => decoded(self.path.split('/').nth(1).unwrap_or_default()),
        }
    }

    fn object(&self) -> String {
        let skipped = if self.bucket_of_host().is_some() {
            1
        } else {
            2
        };
        let rest = self.path.splitn(skipped + 1, '/').nth(skipped);
        decoded(rest.unwrap_or_default())
    }

    fn argument(&self, name: &str) -> Option<String> {
        let mut pairs = self
            .query
            .split('&')
            .filter_map(|pair| pair.split_once('='));
        pairs
            .find(|(found, _)| *found == name)
            .map(|(_, value)| decoded(value))
    }
}

fn read_head(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.trim_end().split(' ');
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().unwrap_or_default().to_owned();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let (path, query) = (path.to_owned(), query.to_owned());
    Ok(Some(Request {
        method,
        path,
        query,
        headers,
    }))
}

/// What S3 would refuse, and what rtmsd promises beyond that.
fn check(request: &Request, body: &[u8], role: Option<[&str; 3]>) -> Result<(), String> {
    let [key_id, secret, token] = role.unwrap_or([KEY_ID, SECRET, ""]);
    let place = format!("{} {}", request.method, request.path);
    let wrong = |what: &str| Err(format!("{place}: {what}"));
    let header = |name: &str| request.header(name).unwrap_or_default();
    if request.header("transfer-encoding").is_some() || !header("content-encoding").is_empty() {
        return wrong("a body that is not sent as it is");
    }
    if request.method == "PUT" && request.header("content-length").is_none() {
        return wrong("no Content-Length");
    }
    let digest = sha256(body);
    if header("x-amz-content-sha256") != hex::encode(digest) {
        return wrong("x-amz-content-sha256 is not that of the body");
    }
    if let Some(checksum) = request.header("x-amz-checksum-sha256")
        && checksum != STANDARD.encode(digest)
    {
        return wrong("x-amz-checksum-sha256 is not that of the body");
    }
    let authorization = header("authorization");
    let part = |name: &str| {
        let rest = authorization
            .split_once(&format!("{name}="))
            .map(|(_, rest)| rest);
        rest.and_then(|rest| rest.split([',', ' ']).next())
            .unwrap_or_default()
    };
    let signed: Vec<&str> = part("SignedHeaders").split(';').collect();
    for (name, _) in &request.headers {
        let must = name == "host" || name == "content-type" || name.starts_with("x-amz-");
        if must && !signed.contains(&name.as_str()) {
            return wrong(&format!("{name} is not in the signature"));
        }
    }
    let date = header("x-amz-date");
    let scope = format!(
        "{}/{REGION}/s3/aws4_request",
        date.get(..8).unwrap_or_default()
    );
    if header("x-amz-security-token") != token {
        return wrong("another session token, or none");
    }
    if part("Credential") != format!("{key_id}/{scope}") {
        return wrong("another key or scope in the signature");
    }
    let mut lines = String::new();
    for name in &signed {
        lines += &format!("{name}:{}\n", header(name));
    }
    let mut query: Vec<&str> = request
        .query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .collect();
    query.sort_unstable();
    let canonical = format!(
        "{}\n{}\n{}\n{lines}\n{}\n{}",
        request.method,
        request.path,
        query.join("&"),
        signed.join(";"),
        header("x-amz-content-sha256")
    );
    let hash = hex::encode(sha256(canonical.as_bytes()));
    let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{hash}");
    let mut key = format!("AWS4{secret}").into_bytes();
    for word in scope.split('/') {
        key = mac(&key, word);
    }
    match hex::encode(mac(&key, &to_sign)) == part("Signature") {
        true => Ok(()),
        false => wrong("the signature is wrong"),
    }
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let key = PKey::hmac(key).expect("a key");
    let mut signer = Signer::new(MessageDigest::sha256(), &key).expect("a digest");
    signer.update(text.as_bytes()).expect("memory");
    signer.sign_to_vec().expect("memory")
}

/// `20130524T000000Z` as Unix seconds, by way of an HTTP date.
fn unix(stamp: &str) -> u64 {
    let number = |from: usize, to: usize| stamp.get(from..to).and_then(|d| d.parse::<usize>().ok());
    let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let month = number(4, 6)
        .and_then(|n| months.get(n.wrapping_sub(1)))
        .unwrap_or(&"");
    let text = |from, to| stamp.get(from..to).unwrap_or_default();
    let date = format!(
        "Sun, {} {month} {} {}:{}:{} GMT",
        text(6, 8),
        text(0, 4),
        text(9, 11),
        text(11, 13),
        text(13, 15)
    );
    let days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
    let mut found = days
        .iter()
        .filter_map(|day| httpdate::parse_http_date(&date.replace("Sun", day)).ok());
    let date = found.next().unwrap_or(UNIX_EPOCH);
    date.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits: String = rest.by_ref().take(2).map(char::from).collect();
                u8::from_str_radix(&digits, 16).expect("two digits")
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).expect("UTF-8")
}

struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// `Content-Length`, where it is not that of the body.
    length: Option<u64>,
}

impl Answer {
    fn new(status: u16) -> Answer {
        Answer {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            length: None,
        }
    }

    fn with(mut self, name: &'static str, value: &str) -> Answer {
        self.headers.push((name, value.to_owned()));
        self
    }

    fn error(status: u16, code: &str, more: &str) -> Answer {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>no</Message>\
             {more}</Error>"
        );
        Answer {
            body: body.into(),
            ..Answer::new(status)
        }
    }

    fn write(&self, stream: &mut TcpStream, is_head: bool, now_s: u64) -> io::Result<()> {
        let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(now_s));
        let mut head = format!("HTTP/1.1 {} x\r\nDate: {date}\r\n", self.status);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        if self.status != 204 {
            let length = self.length.unwrap_or(self.body.len() as u64);
            head += &format!("Content-Length: {length}\r\n");
        }
        head += "\r\n";
        stream.write_all(head.as_bytes())?;
        match is_head {
            true => Ok(()),
            false => stream.write_all(&self.body),
        }
    }
}
