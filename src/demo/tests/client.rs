//! A minimal client: blocking, one socket at a time; and a receiver of webhooks.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base64::Engine as _;
use native_tls::{Certificate, TlsConnector, TlsStream};
use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

use crate::demo::Zoom;
use crate::demo::zoom::{http, webhooks};

/// Time limit for everything in these tests.
pub(super) const WITHIN: Duration = crate::testing::PATIENCE;

pub(super) struct Client {
    ws: WebSocket<TlsStream<TcpStream>>,
    /// Keep-alives are not answered, but returned like other messages.
    pub(super) is_mute: bool,
}

impl Client {
    pub(super) fn connect(url: &str, ca: &Path) -> Client {
        Client::try_connect(url, ca).expect("the demo accepts")
    }

    pub(super) fn try_connect(url: &str, ca: &Path) -> Result<Client, String> {
        let address = url
            .strip_prefix("wss://")
            .and_then(|rest| rest.split('/').next())
            .expect("the URL has a host");
        let pem = std::fs::read(ca).expect("the CA was written");
        let connector = TlsConnector::builder()
            .add_root_certificate(Certificate::from_pem(&pem).expect("it is PEM"))
            .build()
            .expect("TLS is there");
        let stream = TcpStream::connect(address).expect("the port is open");
        stream.set_read_timeout(Some(WITHIN)).expect("it is set");
        let host = address.split(':').next().expect("it has a host");
        let tls = connector
            .connect(host, stream)
            .map_err(|error| error.to_string())?;
        let (ws, _) = tungstenite::client(url, tls).map_err(|error| error.to_string())?;
        Ok(Client { ws, is_mute: false })
    }

    pub(super) fn send(&mut self, message: &Value) {
        self.ws
            .send(Message::text(message.to_string()))
            .expect("the demo reads");
    }

    fn next(&mut self) -> Result<Value, tungstenite::Error> {
        loop {
            let message = match self.ws.read()? {
                Message::Text(text) => serde_json::from_str(&text),
                Message::Binary(bytes) => serde_json::from_slice(&bytes),
                _ => continue,
            };
            let message: Value = message.expect("the demo sends JSON");
            if message["msg_type"] != 12 || self.is_mute {
                return Ok(message);
            }
            self.answer(message);
        }
    }

    fn answer(&mut self, mut keep_alive: Value) {
        keep_alive["msg_type"] = json!(13);
        // A socket that is being closed need not be answered.
        let _ = self.ws.send(Message::text(keep_alive.to_string()));
    }

    /// Waits for a keep-alive and answers it.
    pub(super) fn answer_keep_alive(&mut self) {
        self.is_mute = true;
        let keep_alive = self.expect(12);
        self.is_mute = false;
        self.answer(keep_alive);
    }

    /// The next message of that type; others are skipped.
    pub(super) fn expect(&mut self, msg_type: u32) -> Value {
        loop {
            let message = self.next().expect("the message comes before the end");
            if message["msg_type"] == msg_type {
                return message;
            }
        }
    }

    /// Reads until the demo closes the connection.
    pub(super) fn expect_close(&mut self) {
        loop {
            match self.next() {
                Ok(_) => continue,
                Err(tungstenite::Error::Io(error))
                    if error.kind() == std::io::ErrorKind::WouldBlock =>
                {
                    panic!("the connection stays open");
                }
                Err(_) => return,
            }
        }
    }
}

/// Receives webhooks, checks their signatures, answers 200.
pub(super) struct Hooks {
    pub(super) url: String,
    bodies: Receiver<Value>,
    thread: JoinHandle<()>,
}

impl Hooks {
    pub(super) fn start(secret: String) -> Hooks {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let (sender, bodies) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("it is accepted");
                let Ok(Some(request)) = http::read(&mut stream, Instant::now() + WITHIN) else {
                    return;
                };
                let stamp = request.header("x-zm-request-timestamp").expect("signed");
                let signature = webhooks::sign(&secret, stamp, &request.body);
                assert_eq!(request.header("x-zm-signature"), Some(signature.as_str()));
                let body = serde_json::from_slice(&request.body).expect("it is JSON");
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                stream.write_all(answer).expect("the demo reads");
                if sender.send(body).is_err() {
                    return;
                }
            }
        });
        Hooks {
            url: format!("http://{address}/webhook"),
            bodies,
            thread,
        }
    }

    /// The next webhook, which must be this event.
    pub(super) fn expect(&self, event: &str) -> Value {
        let body = self.bodies.recv_timeout(WITHIN).expect("a webhook comes");
        assert_eq!(body["event"], event);
        body
    }

    pub(super) fn stop(self) {
        let address = self.url["http://".len()..]
            .split('/')
            .next()
            .expect("it has a host")
            .to_owned();
        // A connection without a request ends the thread.
        drop(TcpStream::connect(address));
        self.thread.join().expect("every webhook was signed");
    }
}

/// One HTTP request: status and body.
pub(super) fn http(
    base: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, String) {
    let address = base.strip_prefix("http://").expect("it is plain");
    let mut stream = TcpStream::connect(address).expect("the port is open");
    stream.set_read_timeout(Some(WITHIN)).expect("it is set");
    let mut request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    stream
        .write_all(format!("{request}\r\n{body}").as_bytes())
        .expect("the demo reads");
    let answer = http::read(&mut stream, Instant::now() + WITHIN)
        .expect("an answer")
        .expect("an answer");
    (
        answer.line[1].parse().expect("a status"),
        String::from_utf8(answer.body).expect("text"),
    )
}

/// A token from server-to-server OAuth.
pub(super) fn token(zoom: &Zoom) -> String {
    let options = zoom.options();
    let basic = base64::engine::general_purpose::STANDARD
        .encode(format!("{}:{}", options.client_id, options.client_secret));
    let (status, body) = http(
        &zoom.api_url(),
        "POST",
        "/oauth/token",
        &[("Authorization", &format!("Basic {basic}"))],
        &format!(
            "grant_type=account_credentials&account_id={}",
            options.account_id
        ),
    );
    assert_eq!(status, 200, "{body}");
    let body: Value = serde_json::from_str(&body).expect("it is JSON");
    body["access_token"].as_str().expect("a token").to_owned()
}

/// Checks for exactly one violation, with those words.
pub(super) fn assert_one(violations: &[String], words: &str) {
    assert!(
        violations.len() == 1 && violations[0].contains(words),
        "{violations:?}"
    );
}
