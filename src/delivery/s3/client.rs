//! The calls to object storage: signed, with verified TLS, without redirects, within deadlines.

use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use httpdate::parse_http_date;
use ureq::http::{HeaderMap, Request as HttpRequest, Response};
use ureq::tls::Certificate;
use ureq::{Agent, Body, Proxy, SendBody};

use super::credentials::Provider;
use super::fault::{Fault, FaultKind};
use super::sigv4::{self, Credentials, Request, Stamp};
use super::{Encryption, Settings, xml};
use crate::clock::now_ms;
use crate::domain::secret::Secret;
use crate::net::address::Address;
use crate::net::http_agent;
use crate::net::http_agent::AgentOptions;
use crate::net::proxy::ProxyEnv;

/// For a name, and again for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Without a byte sent or received for so long, a call is over.
const STALL_MAX: Duration = Duration::from_secs(60);
/// A completion of ten thousand parts takes its time.
const ANSWER_MAX: Duration = Duration::from_secs(300);
/// For a call with a small body.
const CALL_MAX: Duration = Duration::from_secs(60);
/// A body is given up where it is slower than this, bytes a second.
const SLOWEST: u64 = 16 << 10;
/// What is read of a file, and sent, at once.
pub const PIECE_BYTES: usize = 64 << 10;
/// From this size on the server is asked before the body is sent: a refusal costs no body then.
const ASK_FIRST_ABOVE: u64 = 1 << 20;
/// The largest manifest that is read.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;
/// The largest file of text that is read back.
const TEXT_BYTES_MAX: u64 = 512 << 20;

/// Object storage, as configured. Shared by those who upload.
#[derive(Debug)]
pub struct Client {
    settings: Settings,
    endpoint: Address,
    proxy: Option<Proxy>,
    further_roots: Option<Vec<Certificate<'static>>>,
    agent: Mutex<Option<Agent>>,
    credentials: Provider,
    /// What the server's clock is ahead of ours, milliseconds, once it has complained.
    ahead_ms: AtomicI64,
    is_stopping: AtomicBool,
    /// Bytes of bodies sent.
    pub sent_bytes: Arc<AtomicU64>,
}

/// An object, as a HEAD shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Its size.
    pub bytes: u64,
    /// `x-amz-checksum-sha256`, where the server shows it.
    pub checksum: Option<String>,
}

/// A body and what is known of it.
pub struct Payload<'a> {
    /// Yields exactly so many bytes.
    pub reader: &'a mut dyn Read,
    /// How many.
    pub bytes: u64,
    /// Hex SHA-256.
    pub sha256: String,
}

/// A call to make.
struct Call<'a> {
    name: &'static str,
    method: &'static str,
    bucket: &'a str,
    object: &'a str,
    query: &'a [(&'a str, &'a str)],
    headers: Vec<(&'static str, String)>,
    /// The largest object that is read.
    body_max: u64,
}

/// An answer with status 2xx.
struct Answer {
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Client {
    /// Looks at the settings; nothing is sent.
    ///
    /// # Errors
    /// What is wrong with the endpoint, the proxy or the file of roots.
    pub fn new(
        settings: Settings,
        proxy: &ProxyEnv,
        ca_file: Option<&Path>,
        sent_bytes: Arc<AtomicU64>,
    ) -> Result<Client, String> {
        // Whether it may be plain is decided with the configuration.
        let endpoint = Address::parse_with_http(&settings.endpoint())
            .map_err(|text| format!("RTMS_S3_ENDPOINT: {text}"))?;
        // What NO_PROXY may name: with the bucket in the host that is another host.
        let origin = origin(&endpoint, &host(&settings, &endpoint, &settings.bucket));
        let called =
            Address::parse_with_http(&origin).map_err(|text| format!("RTMS_S3_BUCKET: {text}"))?;
        let proxy = http_agent::proxy(proxy, &called)?;
        let further_roots = http_agent::further_roots(ca_file)?;
        let credentials = Provider::new(settings.credentials.clone());
        Ok(Client {
            settings,
            endpoint,
            proxy,
            further_roots,
            agent: Mutex::new(None),
            credentials,
            ahead_ms: AtomicI64::new(0),
            is_stopping: AtomicBool::new(false),
            sent_bytes,
        })
    }

    /// What was configured.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Ends calls under way, and refuses further ones.
    pub fn stop(&self) {
        self.is_stopping.store(true, Relaxed);
        self.credentials.stop();
        if let Some(agent) = self.lock().take() {
            agent.shutdown();
        }
    }

    /// Ends calls under way; those that are still wanted are made again.
    pub fn cut(&self) {
        if let Some(agent) = self.lock().take() {
            agent.shutdown();
        }
    }

    /// Sends an object whole. Returns its ETag.
    ///
    /// # Errors
    /// Why not.
    pub fn put(
        &self,
        object: &str,
        payload: Payload<'_>,
        content_type: &str,
    ) -> Result<String, Fault> {
        let mut headers = vec![("content-type", content_type.to_owned())];
        headers.extend(self.encryption());
        headers.extend(self.checksum(&payload.sha256));
        let call = self.call("put object", "PUT", object, &[], headers);
        let answer = self.send(&call, Some(payload))?;
        Ok(etag(&answer))
    }

    /// Begins an upload in parts. Returns its id.
    ///
    /// # Errors
    /// Why not.
    pub fn begin_parts(&self, object: &str, content_type: &str) -> Result<String, Fault> {
        let mut headers = vec![("content-type", content_type.to_owned())];
        headers.extend(self.encryption());
        if self.settings.has_checksums {
            headers.push(("x-amz-checksum-algorithm", "SHA256".to_owned()));
        }
        let call = self.call("begin upload", "POST", object, &[("uploads", "")], headers);
        let answer = self.send(&call, None)?;
        let id = xml::value(&answer.body, "UploadId").filter(|id| !id.is_empty());
        id.ok_or_else(|| Fault::new(FaultKind::Malformed, call.name, "no UploadId in the answer"))
    }

    /// Sends one part, counted from 1. Returns its ETag.
    ///
    /// # Errors
    /// Why not.
    pub fn put_part(
        &self,
        object: &str,
        upload_id: &str,
        number: usize,
        payload: Payload<'_>,
    ) -> Result<String, Fault> {
        let number = number.to_string();
        let query = [("partNumber", number.as_str()), ("uploadId", upload_id)];
        let headers = self.checksum(&payload.sha256).into_iter().collect();
        let call = self.call("put part", "PUT", object, &query, headers);
        let answer = self.send(&call, Some(payload))?;
        Ok(etag(&answer))
    }

    /// Makes the object of its parts: ETags, and with checksums the hex SHA-256 of each. Returns the
    /// object's ETag.
    ///
    /// # Errors
    /// Why not; also where the status is 200 and the body an error.
    pub fn complete_parts(
        &self,
        object: &str,
        upload_id: &str,
        etags: &[String],
        sha256s: &[String],
    ) -> Result<String, Fault> {
        let mut body = "<CompleteMultipartUpload>".to_owned();
        for (n, tag) in etags.iter().enumerate() {
            let tag = xml::escaped(tag);
            body += &format!(
                "<Part><PartNumber>{}</PartNumber><ETag>&quot;{tag}&quot;</ETag>",
                n + 1
            );
            if let Some(checksum) = sha256s.get(n).and_then(|hex| self.checksum(hex)) {
                body += &format!("<ChecksumSHA256>{}</ChecksumSHA256>", checksum.1);
            }
            body += "</Part>";
        }
        body += "</CompleteMultipartUpload>";
        let mut body = body.as_bytes();
        let headers = vec![("content-type", "application/xml".to_owned())];
        let query = [("uploadId", upload_id)];
        let call = self.call("complete upload", "POST", object, &query, headers);
        let answer = self.send(&call, Some(bytes(&mut body)))?;
        if let Some(error) = xml::error(&answer.body) {
            return Err(Fault::of_answer(call.name, 200, None, Some(error)));
        }
        match xml::value(&answer.body, "ETag") {
            Some(tag) => Ok(tag.trim_matches('"').to_owned()),
            None => Err(Fault::new(
                FaultKind::Malformed,
                call.name,
                "no ETag in the answer",
            )),
        }
    }

    /// Drops the parts of an upload. One that is not known is as good.
    ///
    /// # Errors
    /// Why not.
    pub fn abort_parts(&self, bucket: &str, object: &str, upload_id: &str) -> Result<(), Fault> {
        let query = [("uploadId", upload_id)];
        let call = self.call("abort upload", "DELETE", object, &query, Vec::new());
        match self.send(&Call { bucket, ..call }, None) {
            Err(fault) if matches!(fault.kind, FaultKind::NoUpload | FaultKind::NotFound) => Ok(()),
            result => result.map(drop),
        }
    }

    /// Deletes an object. One that is not there is as good.
    ///
    /// # Errors
    /// Why not.
    pub fn delete(&self, bucket: &str, object: &str) -> Result<(), Fault> {
        let call = self.call("delete object", "DELETE", object, &[], Vec::new());
        match self.send(&Call { bucket, ..call }, None) {
            Err(fault) if fault.kind == FaultKind::NotFound => Ok(()),
            result => result.map(drop),
        }
    }

    /// Looks at an object.
    ///
    /// # Errors
    /// Why not.
    pub fn head(&self, object: &str) -> Result<Head, Fault> {
        let mut headers = Vec::new();
        if self.settings.has_checksums {
            headers.push(("x-amz-checksum-mode", "ENABLED".to_owned()));
        }
        let call = self.call("look at object", "HEAD", object, &[], headers);
        let answer = self.send(&call, None)?;
        let value = |name| text(&answer.headers, name).map(str::to_owned);
        let bytes = value("content-length").and_then(|text| text.parse().ok());
        Ok(Head {
            bytes: bytes.ok_or_else(|| {
                Fault::new(
                    FaultKind::Malformed,
                    call.name,
                    "no Content-Length in the answer",
                )
            })?,
            checksum: value("x-amz-checksum-sha256"),
        })
    }

    /// Reads an object; `None` if it is not there.
    ///
    /// # Errors
    /// Why not.
    pub fn get(&self, bucket: &str, object: &str) -> Result<Option<Vec<u8>>, Fault> {
        self.get_up_to(bucket, object, MANIFEST_BYTES_MAX)
    }

    /// The same for a file of text, which may be larger.
    ///
    /// # Errors
    /// Why not.
    pub fn get_text(&self, bucket: &str, object: &str) -> Result<Option<Vec<u8>>, Fault> {
        self.get_up_to(bucket, object, TEXT_BYTES_MAX)
    }

    fn get_up_to(
        &self,
        bucket: &str,
        object: &str,
        body_max: u64,
    ) -> Result<Option<Vec<u8>>, Fault> {
        let call = self.call("get object", "GET", object, &[], Vec::new());
        let call = Call {
            bucket,
            body_max,
            ..call
        };
        match self.send(&call, None) {
            Ok(answer) => Ok(Some(answer.body)),
            Err(fault) if fault.kind == FaultKind::NotFound => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    fn call<'a>(
        &'a self,
        name: &'static str,
        method: &'static str,
        object: &'a str,
        query: &'a [(&'a str, &'a str)],
        headers: Vec<(&'static str, String)>,
    ) -> Call<'a> {
        let bucket = self.settings.bucket.as_str();
        Call {
            name,
            method,
            bucket,
            object,
            query,
            headers,
            body_max: MANIFEST_BYTES_MAX,
        }
    }

    fn encryption(&self) -> Vec<(&'static str, String)> {
        let encryption = self.settings.encryption;
        if encryption == Encryption::Off {
            return Vec::new();
        }
        let mut headers = vec![("x-amz-server-side-encryption", encryption.name().to_owned())];
        if let Some(key) = self
            .settings
            .kms_key
            .as_ref()
            .filter(|_| encryption == Encryption::Kms)
        {
            headers.push(("x-amz-server-side-encryption-aws-kms-key-id", key.clone()));
        }
        headers
    }

    fn checksum(&self, sha256: &str) -> Option<(&'static str, String)> {
        let value = checksum(sha256).filter(|_| self.settings.has_checksums);
        value.map(|value| ("x-amz-checksum-sha256", value))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Agent>> {
        self.agent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The agent, made for the first call.
    fn agent(&self, call: &'static str) -> Result<Agent, Fault> {
        let mut agent = self.lock();
        if self.is_stopping.load(Relaxed) {
            return Err(Fault::new(FaultKind::Stopping, call, ""));
        }
        let make = || {
            AgentOptions {
                proxy: self.proxy.clone(),
                further_roots: self.further_roots.clone(),
                timeout: None,
                connect_timeout: CONNECT_TIMEOUT,
                idle_connections: 2,
                buffer_bytes: PIECE_BYTES,
            }
            .build()
        };
        Ok(agent.get_or_insert_with(make).clone())
    }

    /// Makes the call; any status but 2xx is a fault. A clock that is off is corrected once.
    fn send(&self, call: &Call<'_>, payload: Option<Payload<'_>>) -> Result<Answer, Fault> {
        let agent = self.agent(call.name)?;
        let credentials = self.credentials.get()?;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            self.send_by(&agent, &credentials, call, payload)
        }));
        let outcome = outcome.unwrap_or_else(|_| {
            Err(Fault::new(
                FaultKind::Malformed,
                call.name,
                "the HTTP client panicked",
            ))
        });
        outcome.map_err(|fault| match self.is_stopping() {
            true => Fault::new(FaultKind::Stopping, call.name, ""),
            false => fault,
        })
    }

    fn is_stopping(&self) -> bool {
        self.is_stopping.load(Relaxed)
    }

    fn send_by(
        &self,
        agent: &Agent,
        credentials: &Credentials,
        call: &Call<'_>,
        payload: Option<Payload<'_>>,
    ) -> Result<Answer, Fault> {
        let path = self.path(call);
        let query = sigv4::encode_query(call.query);
        let here = now_ms();
        let stamp = Stamp::from_unix_ms(here.saturating_add_signed(self.ahead_ms.load(Relaxed)));
        let sha256 = match &payload {
            Some(payload) => payload.sha256.clone(),
            None => sigv4::EMPTY_SHA256.to_owned(),
        };
        let host = host(&self.settings, &self.endpoint, call.bucket);
        let mut headers: Vec<(&str, &str)> = vec![
            ("host", &host),
            ("x-amz-content-sha256", &sha256),
            ("x-amz-date", &stamp.date_time),
        ];
        headers.extend(
            call.headers
                .iter()
                .map(|(name, value)| (*name, value.as_str())),
        );
        let token = credentials.session_token.as_ref().map(Secret::expose);
        headers.extend(token.map(|token| ("x-amz-security-token", token)));
        let authorization = sigv4::authorization(
            &Request {
                method: call.method,
                path: &path,
                query: call.query,
                headers: &headers,
                body_sha256: &sha256,
            },
            credentials,
            &self.settings.region,
            &stamp,
        );
        let separator = if query.is_empty() { "" } else { "?" };
        let url = format!("{}{path}{separator}{query}", origin(&self.endpoint, &host));
        let bytes = payload.as_ref().map(|payload| payload.bytes);
        let mut request = HttpRequest::builder().method(call.method).uri(url);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request = request.header("authorization", authorization.expose());
        let response = match payload {
            Some(payload) => {
                request = request.header("content-length", payload.bytes);
                if payload.bytes > ASK_FIRST_ABOVE {
                    request = request.header("expect", "100-continue");
                }
                let mut counted = Counted {
                    reader: payload.reader,
                    sum: &self.sent_bytes,
                };
                let request = request.body(SendBody::from_reader(&mut counted));
                run(
                    agent,
                    call.name,
                    request.map_err(|_| unsendable(call.name))?,
                    bytes,
                )
            }
            None if call.method == "POST" => {
                let request = request
                    .body(Vec::new())
                    .map_err(|_| unsendable(call.name))?;
                run(agent, call.name, request, bytes)
            }
            None => {
                let request = request.body(()).map_err(|_| unsendable(call.name))?;
                run(agent, call.name, request, bytes)
            }
        }?;
        self.answer(call, here, response)
    }

    fn answer(
        &self,
        call: &Call<'_>,
        here: u64,
        mut response: Response<Body>,
    ) -> Result<Answer, Fault> {
        let status = response.status().as_u16();
        let limit = match call.method {
            "GET" if status == 200 => call.body_max,
            _ => xml::XML_BYTES_MAX as u64,
        };
        let body = response.body_mut().with_config().limit(limit).read_to_vec();
        let headers = response.headers().clone();
        if response.status().is_success() {
            let body = body.map_err(|error| failure(call.name, &error))?;
            return Ok(Answer { headers, body });
        }
        let region = text(&headers, "x-amz-bucket-region");
        let error = xml::error(&body.unwrap_or_default());
        let fault = Fault::of_answer(call.name, status, region, error);
        if fault.kind == FaultKind::Skewed {
            self.correct_clock(here, &headers);
        }
        Err(fault)
    }

    /// By the date of the answer; the next try is signed with it.
    fn correct_clock(&self, here: u64, headers: &HeaderMap) {
        let there = text(headers, "date").and_then(|date| parse_http_date(date).ok());
        let there = there.and_then(|date| date.duration_since(std::time::UNIX_EPOCH).ok());
        let Some(there) = there.and_then(|since| i64::try_from(since.as_millis()).ok()) else {
            return;
        };
        let ahead_ms = there.saturating_sub_unsigned(here);
        self.ahead_ms.store(ahead_ms, Relaxed);
        log::warn!(
            "this machine's clock is off: the bucket's is ahead by seconds={}; calls are signed with the \
             bucket's time; set the clock (timedatectl set-ntp true)",
            ahead_ms / 1000
        );
    }

    fn path(&self, call: &Call<'_>) -> String {
        let base = self.endpoint.path();
        let object = sigv4::encode_path(call.object);
        match self.settings.is_path_style() {
            true => format!("{base}/{}/{object}", sigv4::encode_path(call.bucket)),
            false => format!("{base}/{object}"),
        }
    }
}

/// Where a bucket is, as `Host` names it.
fn host(settings: &Settings, endpoint: &Address, bucket: &str) -> String {
    let authority = endpoint.authority();
    match settings.is_path_style() {
        true => authority.to_owned(),
        false => format!("{bucket}.{authority}"),
    }
}

fn origin(endpoint: &Address, host: &str) -> String {
    let scheme = match endpoint.is_https() {
        true => "https",
        false => "http",
    };
    format!("{scheme}://{host}")
}

/// `x-amz-checksum-sha256` of a hex SHA-256: padded base64.
pub fn checksum(sha256: &str) -> Option<String> {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    Some(STANDARD.encode(hex::decode(sha256).ok()?))
}

/// A body that is in memory.
pub fn bytes<'a>(body: &'a mut &[u8]) -> Payload<'a> {
    Payload {
        bytes: body.len() as u64,
        sha256: sigv4::hex_sha256(body),
        reader: body,
    }
}

fn unsendable(call: &'static str) -> Fault {
    let text = "a key, a token or a name does not fit into an HTTP request";
    Fault::new(FaultKind::Credentials, call, text)
}

fn run(
    agent: &Agent,
    name: &'static str,
    request: HttpRequest<impl ureq::AsSendBody>,
    bytes: Option<u64>,
) -> Result<Response<Body>, Fault> {
    let body_max = CALL_MAX + Duration::from_secs(bytes.unwrap_or(0) / SLOWEST);
    let request = agent
        .configure_request(request)
        .timeout_global(Some(body_max + ANSWER_MAX))
        .timeout_per_write(Some(STALL_MAX))
        .timeout_send_body(Some(body_max))
        .timeout_recv_response(Some(ANSWER_MAX))
        .timeout_recv_body(Some(ANSWER_MAX))
        .build();
    agent.run(request).map_err(|error| failure(name, &error))
}

fn failure(call: &'static str, error: &ureq::Error) -> Fault {
    use std::io::ErrorKind as Io;
    use ureq::Error;
    let kind = match error {
        Error::Timeout(_) => FaultKind::Timeout,
        Error::Io(e) if matches!(e.kind(), Io::TimedOut | Io::WouldBlock) => FaultKind::Timeout,
        // A file that is shorter than it was.
        Error::Io(e) if e.kind() == Io::InvalidData => FaultKind::Local,
        Error::Io(_) | Error::HostNotFound | Error::ConnectionFailed => FaultKind::Unreachable,
        Error::NativeTls(e) if e.to_string().contains("certificate") => FaultKind::Certificate,
        Error::NativeTls(_) | Error::Tls(_) | Error::ConnectProxyFailed(_) => {
            FaultKind::Unreachable
        }
        Error::BadUri(_) => FaultKind::Refused,
        _ => FaultKind::Malformed,
    };
    Fault::new(kind, call, error.to_string())
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

fn etag(answer: &Answer) -> String {
    let tag = text(&answer.headers, "etag").unwrap_or_default();
    tag.trim_matches('"').chars().take(256).collect()
}

/// Counts what is sent.
struct Counted<'a> {
    reader: &'a mut dyn Read,
    sum: &'a AtomicU64,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let bytes = self.reader.read(buffer)?;
        self.sum.fetch_add(bytes as u64, Relaxed);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;

    use super::super::{CredentialSource, FileChoice, Style};
    use super::*;

    fn settings(endpoint: &str, style: Style) -> Settings {
        Settings {
            bucket: "meetings".to_owned(),
            region: "eu-test-1".to_owned(),
            endpoint: Some(endpoint.to_owned()),
            prefix: String::new(),
            style,
            files: FileChoice::All,
            deletes_local: false,
            has_checksums: true,
            encryption: Encryption::Off,
            kms_key: None,
            credentials: CredentialSource::Static {
                access_key_id: Secret::new("id"),
                secret_access_key: Secret::new("hunter2"),
                session_token: None,
            },
        }
    }

    /// What becomes of a completion that is answered with status 200 and this body.
    fn completed(body: &'static str) -> Result<String, Fault> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
            let (mut line, mut length) = (String::new(), 0);
            while reader.read_line(&mut line).expect("a head") > 2 {
                let lower = line.to_ascii_lowercase();
                if let Some(digits) = lower.strip_prefix("content-length:") {
                    length = digits.trim().parse().expect("a number");
                }
                line.clear();
            }
            let mut sent = vec![0; length];
            reader.read_exact(&mut sent).expect("a body");
            let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: ";
            write!(stream, "{head}{}\r\n\r\n{body}", body.len()).expect("sent");
        });
        let settings = settings(&format!("http://{address}"), Style::Path);
        let client = Client::new(settings, &ProxyEnv::default(), None, Arc::default());
        let client = client.expect("right settings");
        let done = client.complete_parts("a.wav", "id", &["tag".to_owned()], &[]);
        server.join().expect("no panic");
        done
    }

    #[test]
    fn u3_a_completion_may_fail_with_status_200() {
        let xml = "<?xml version=\"1.0\"?>\n";
        let good =
            "<CompleteMultipartUploadResult><ETag>\"t-1\"</ETag></CompleteMultipartUploadResult>";
        let whole = Box::leak(format!("{xml}{good}").into_boxed_str());
        assert_eq!(completed(whole).expect("done"), "t-1");
        // White space first keeps the connection open while the service works.
        let error = "   \n\n<Error><Code>InternalError</Code><Message>try again</Message></Error>";
        let fault = completed(error).expect_err("an error");
        assert!(
            fault.to_string().contains("status 200, InternalError"),
            "{fault}"
        );
        assert!(completed("   \n").is_err(), "neither the one nor the other");
    }

    #[test]
    fn no_proxy_names_the_host_that_is_called() {
        let is_direct = |style: Style, none_for: &str| {
            let settings = settings("https://s3.example.com:9000", style);
            let proxies = ProxyEnv {
                https: Some("http://proxy.example.com:3128".to_owned()),
                http: None,
                none_for: Some(none_for.to_owned()),
            };
            let client = Client::new(settings, &proxies, None, Arc::default());
            client.expect("right settings").proxy.is_none()
        };
        for (style, none_for, expected) in [
            (Style::Host, "meetings.s3.example.com", true),
            (Style::Host, ".example.com", true),
            (Style::Host, "s3.example.com", true),
            (Style::Host, "other.s3.example.com", false),
            (Style::Path, "meetings.s3.example.com", false),
            (Style::Path, "s3.example.com", true),
            (Style::Path, "example.org", false),
        ] {
            assert_eq!(is_direct(style, none_for), expected, "{style:?} {none_for}");
        }
    }
}
