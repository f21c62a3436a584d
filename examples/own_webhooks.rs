//! One stream, with webhooks received by your own HTTP server: here a minimal one.
//!
//! Usage and environment as in `embed`. It ends after the first stream.
#![expect(clippy::print_stdout, reason = "it shows what it received")]

use std::env::{args, var};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rtmsd::protocol::{AllowedHosts, EndReason, ServerUrl, StreamConfig, StreamEvent};
use rtmsd::webhook::{WebhookAnswer, WebhookRequest, WebhookSettings, ZoomEventKind, respond};
use rtmsd::{Dialer, Resolver, Secret, Sink, StreamHandle, StreamOptions, TlsClient};

struct Printer;

impl Sink for Printer {
    fn on_event(&mut self, event: &StreamEvent<'_>) {
        if let StreamEvent::Transcript(phrase) = event {
            println!("{}: {}", phrase.user_name, phrase.text);
        }
    }

    fn on_end(&mut self, reason: &EndReason) {
        println!("the stream ended: {reason}");
    }
}

struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// A real server limits sizes and times here, see `gate/http_request.rs`.
fn read_request(stream: &TcpStream) -> std::io::Result<Request> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut reader = BufReader::new(stream.take(1 << 20));
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split(' ').map(str::to_owned);
    let (method, path) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let mut headers = Vec::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        let (name, value) = (name.to_ascii_lowercase(), value.trim().to_owned());
        if name == "content-length" {
            length = value.parse().unwrap_or(0);
        }
        headers.push((name, value));
    }
    let mut body = vec![0; length.min(256 << 10)];
    reader.read_exact(&mut body)?;
    Ok(Request {
        method,
        path,
        headers,
        body,
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (client_id, client_secret) = (var("ZOOM_CLIENT_ID")?, var("ZOOM_CLIENT_SECRET")?);
    let tokens = [Secret::new(var("ZOOM_SECRET_TOKEN")?)];
    let allowed_hosts = match var("RTMS_ALLOWED_HOSTS") {
        Ok(hosts) => AllowedHosts::parse(&hosts)?,
        Err(_) => AllowedHosts::default(),
    };
    let ca_file = var("RTMS_CA_FILE").ok();
    let tls = TlsClient::new(ca_file.as_deref().map(std::path::Path::new))?;
    let dialer = Dialer::start(tls, Resolver::default())?;
    let settings = WebhookSettings::default();
    let address = args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(address)?;
    println!(
        "webhooks: http://{}{}",
        listener.local_addr()?,
        settings.path
    );
    for stream in listener.incoming() {
        let mut stream = stream?;
        let Ok(request) = read_request(&stream) else {
            continue;
        };
        let header = |name: &str| {
            let found = request.headers.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.as_str())
        };
        let answer = respond(
            &settings,
            &tokens,
            &WebhookRequest {
                method: &request.method,
                path: &request.path,
                signature: header("x-zm-signature"),
                timestamp: header("x-zm-request-timestamp"),
                body: &request.body,
                now_s: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
            },
        );
        let (status, body, event) = match answer {
            WebhookAnswer::Accept(event) => (200, String::new(), Some(event)),
            WebhookAnswer::Challenge(json) => (200, json, None),
            WebhookAnswer::Up | WebhookAnswer::Unknown(_) => (200, String::new(), None),
            _ => (401, String::new(), None),
        };
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 {status} \r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )?;
        drop(stream);
        let Some(ZoomEventKind::StreamStarted(started)) = event.map(|event| event.event) else {
            continue;
        };
        let urls = ServerUrl::all(&started.server_urls, &allowed_hosts)?;
        let mut config = StreamConfig::new(
            started.product,
            started.id,
            started.stream_id,
            urls,
            client_id.clone(),
            Secret::new(client_secret.as_str()),
        );
        config.allowed_hosts = allowed_hosts.clone();
        let mut options = StreamOptions::new(config, dialer.clone());
        options.sinks.push(Box::new(Printer));
        let handle = StreamHandle::spawn(options)?;
        // A real program keeps receiving webhooks, and passes a newer `rtms_started` of this
        // stream, `rtms_interrupted` and `rtms_stopped` on by `StreamHandle::command`.
        handle.join()?;
        return Ok(());
    }
    Ok(())
}
