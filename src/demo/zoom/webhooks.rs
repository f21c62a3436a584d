//! Sends webhooks: signs and posts them, and measures the answers.
//!
//! A pool of threads delivers them, so that one slow answer does not delay other meetings.
//! `meeting` creates their content.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use native_tls::{Certificate, TlsConnector};
use serde_json::{Value, json};

use super::events::EventsBy;
use super::http;
use super::record::{Latencies, left, lock, unix_ms};
use super::shared::{Shared, hmac_hex};
use crate::demo::MAX_ACK;

/// One attempt to deliver a webhook.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The `event` of the body; empty for raw ones.
    pub event: String,
    /// The HTTP status, or why there was none.
    pub status: Result<u16, String>,
    /// The body of the answer.
    pub answer: Vec<u8>,
    /// Time from the connect to the end of the answer.
    pub taken: Duration,
    /// When it was started.
    pub at: Instant,
}

impl Delivery {
    /// Whether it counts as delivered for Zoom: 200 or 204 within 3 s.
    pub fn is_accepted(&self) -> bool {
        matches!(self.status, Ok(200 | 204)) && self.taken <= MAX_ACK
    }
}

type Callback = Box<dyn FnOnce(&Arc<Shared>, &Delivery) + Send>;

pub(in crate::demo) struct Job {
    body: Value,
    attempt: usize,
    then: Callback,
}

/// The queue of the pool, and the result of each webhook.
pub(in crate::demo) struct Webhooks {
    target: Mutex<Option<Target>>,
    sender: Sender<Option<Job>>,
    receiver: Mutex<Receiver<Option<Job>>>,
    deliveries: Mutex<Vec<Delivery>>,
    latencies: Mutex<Latencies>,
    tls: TlsConnector,
}

#[derive(Clone)]
struct Target {
    is_tls: bool,
    host: String,
    port: u16,
    path: String,
}

impl Webhooks {
    pub(in crate::demo) fn new(ca_pem: &[u8]) -> io::Result<Webhooks> {
        let (sender, receiver) = mpsc::channel();
        let authority = Certificate::from_pem(ca_pem).map_err(io::Error::other)?;
        let tls = TlsConnector::builder()
            .add_root_certificate(authority)
            .build()
            .map_err(io::Error::other)?;
        Ok(Webhooks {
            target: Mutex::new(None),
            sender,
            receiver: Mutex::new(receiver),
            deliveries: Mutex::default(),
            latencies: Mutex::default(),
            tls,
        })
    }

    /// The target of webhooks: `http://` or `https://`, host, port and path.
    pub(in crate::demo) fn set_target(&self, url: &str) -> io::Result<()> {
        let target = parse_url(url).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("webhook target: found {url:?}, expected http(s)://host:port/path"),
            )
        })?;
        *lock(&self.target) = Some(target);
        Ok(())
    }

    /// Queues a webhook; `then` runs on a thread of the pool after the last attempt.
    pub(in crate::demo) fn post(
        &self,
        body: Value,
        then: impl FnOnce(&Arc<Shared>, &Delivery) + Send + 'static,
    ) {
        self.enqueue(Job {
            body,
            attempt: 0,
            then: Box::new(then),
        });
    }

    fn enqueue(&self, job: Job) {
        // If the receiver is gone, the demo is stopping.
        let _ = self.sender.send(Some(job));
    }

    /// Ends this many threads of the pool.
    pub(in crate::demo) fn stop(&self, threads: usize) {
        for _ in 0..threads {
            let _ = self.sender.send(None);
        }
    }

    /// The loop of one thread of the pool.
    pub(in crate::demo) fn run(shared: &Arc<Shared>) {
        loop {
            let received = lock(&shared.webhooks.receiver).recv();
            let Ok(Some(job)) = received else { return };
            if !shared.is_stopping() {
                shared.webhooks.deliver(shared, job);
            }
        }
    }

    fn deliver(&self, shared: &Arc<Shared>, mut job: Job) {
        let delivery = self.post_now(shared, &job.body);
        // On the event WebSocket nothing is sent twice.
        if !delivery.is_accepted() && shared.options.events_by == EventsBy::Webhooks {
            if let Some(&delay) = shared.options.webhook_retries.get(job.attempt) {
                job.attempt += 1;
                let again = Arc::clone(shared);
                shared
                    .clock
                    .after(delay, move || again.webhooks.enqueue(job));
                return;
            }
            if !shared.is_stopping() {
                shared.violation(format!(
                    "webhook {}: found {:?} after {} ms, expected 200 or 204 within 3000 ms",
                    delivery.event,
                    delivery.status,
                    delivery.taken.as_millis()
                ));
            }
        }
        (job.then)(shared, &delivery);
    }

    /// Signs and posts at once, on this thread; or sends it on the event WebSocket.
    pub(in crate::demo) fn post_now(&self, shared: &Shared, body: &Value) -> Delivery {
        if shared.options.events_by == EventsBy::WebSocket {
            return shared.events.send(body);
        }
        let bytes = body.to_string();
        let timestamp = (unix_ms() / 1000).to_string();
        let event = body["event"].as_str().unwrap_or_default();
        let secret = shared.options.secret_token_of(event);
        let signature = sign(secret, &timestamp, bytes.as_bytes());
        let mut delivery = self.post_raw(
            &[
                ("x-zm-request-timestamp", &timestamp),
                ("x-zm-signature", &signature),
                ("x-zm-trackingid", "demo"),
            ],
            bytes.as_bytes(),
        );
        delivery.event = body["event"].as_str().unwrap_or_default().to_owned();
        lock(&self.latencies).add(delivery.taken);
        lock(&self.deliveries).push(delivery.clone());
        delivery
    }

    /// Posts these headers and bytes unchanged. Not recorded.
    pub(in crate::demo) fn post_raw(&self, headers: &[(&str, &str)], body: &[u8]) -> Delivery {
        let at = Instant::now();
        let result = self.exchange(headers, body, at + Duration::from_secs(10));
        let taken = at.elapsed();
        let (status, answer) = match result {
            Ok((status, answer)) => (Ok(status), answer),
            Err(error) => (Err(error.to_string()), Vec::new()),
        };
        Delivery {
            event: String::new(),
            status,
            answer,
            taken,
            at,
        }
    }

    fn exchange(
        &self,
        headers: &[(&str, &str)],
        body: &[u8],
        deadline: Instant,
    ) -> io::Result<(u16, Vec<u8>)> {
        let target = lock(&self.target)
            .clone()
            .ok_or_else(|| io::Error::other("no webhook target was set"))?;
        let stream = TcpStream::connect((target.host.as_str(), target.port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(left(deadline).max(Duration::from_millis(1))))?;
        stream.set_write_timeout(Some(Duration::from_secs(5)))?;
        let mut request = format!(
            "POST {} HTTP/1.1\r\nHost: {}:{}\r\nContent-Type: application/json; charset=utf-8\r\n\
             User-Agent: Zoom Marketplace/1.0a\r\nContent-Length: {}\r\nConnection: close\r\n",
            target.path,
            target.host,
            target.port,
            body.len()
        );
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        let mut bytes = request.into_bytes();
        bytes.extend_from_slice(body);
        if target.is_tls {
            let tls = self
                .tls
                .connect(&target.host, stream)
                .map_err(|error| io::Error::other(error.to_string()))?;
            talk(tls, &bytes, deadline)
        } else {
            talk(stream, &bytes, deadline)
        }
    }

    pub(in crate::demo) fn deliveries(&self) -> Vec<Delivery> {
        lock(&self.deliveries).clone()
    }

    pub(in crate::demo) fn latencies(&self) -> Latencies {
        lock(&self.latencies).clone()
    }

    /// Sends the challenge of `endpoint.url_validation` and checks the answer.
    pub(in crate::demo) fn challenge(&self, shared: &Shared, plain: &str) -> Delivery {
        let delivery = self.post_now(
            shared,
            &json!({"event": "endpoint.url_validation", "event_ts": unix_ms(),
                    "payload": {"plainToken": plain}}),
        );
        let expected = json!({"plainToken": plain,
            "encryptedToken": hmac_hex(&shared.options.secret_token, plain.as_bytes())});
        let found = serde_json::from_slice::<Value>(&delivery.answer).unwrap_or(Value::Null);
        if found != expected {
            shared.violation(format!(
                "url_validation: found status {:?} and {} bytes that are not the expected answer",
                delivery.status,
                delivery.answer.len()
            ));
        }
        delivery
    }
}

/// The value of `x-zm-signature`.
pub(in crate::demo) fn sign(secret: &str, timestamp: &str, body: &[u8]) -> String {
    let mut message = format!("v0:{timestamp}:").into_bytes();
    message.extend_from_slice(body);
    format!("v0={}", hmac_hex(secret, &message))
}

fn talk(
    mut stream: impl Read + Write,
    request: &[u8],
    deadline: Instant,
) -> io::Result<(u16, Vec<u8>)> {
    stream.write_all(request)?;
    stream.flush()?;
    let answer = http::read(&mut stream, deadline)?
        .ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
    let status = answer.line[1]
        .parse()
        .map_err(|_| io::Error::other("no status in the answer"))?;
    Ok((status, answer.body))
}

fn parse_url(url: &str) -> Option<Target> {
    let (is_tls, rest) = match url.split_once("://")? {
        ("http", rest) => (false, rest),
        ("https", rest) => (true, rest),
        _ => return None,
    };
    let (authority, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, "/"),
    };
    let (host, port) = authority.rsplit_once(':')?;
    Some(Target {
        is_tls,
        host: host.trim_matches(['[', ']']).to_owned(),
        port: port.parse().ok()?,
        path: path.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_match_the_vectors() {
        let body = br#"{"event":"meeting.started","event_ts":1732313171881,"payload":{"object":{"id":123456789,"uuid":"4444AAAiAAAAAiAiAiiAii==","host_id":"x8yAAAAAAAAA","topic":"Weekly"}}}"#;
        assert_eq!(
            sign("DyBoLm8OZoJT2Pi3-kY2px", "1739923528", body),
            "v0=cf245ab9ee18ba6ccd92b6e6db1048e45122ecd38ffdba25f0c995300db42611"
        );
    }
}
