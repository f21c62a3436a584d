//! The reference: a client that joins one stream and drops everything it receives.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use native_tls::{Certificate, TlsConnector, TlsStream};
use rtmsd::demo::{Begin, MeetingScript, Options, SentDetail, Zoom};
use rtmsd::domain::secret::Secret;
use rtmsd::protocol::handshake_signature;
use serde_json::{Value, json};
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Message, WebSocket};

type Socket = WebSocket<TlsStream<TcpStream>>;

/// Phrases per second over one media socket, from the first to the last.
pub(crate) fn flood(phrases: u64) -> f64 {
    let options = Options {
        keep_alive: Duration::from_secs(300),
        ..Options::default()
    };
    let (id, secret) = (
        options.client_id.clone(),
        Secret::new(options.client_secret.clone()),
    );
    let zoom = Zoom::start(options).expect("the demo's Zoom starts");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let target = format!("http://{}/webhook", listener.local_addr().expect("bound"));
    zoom.set_webhook_target(&target).expect("a URL");
    let meeting = zoom.start_meeting(MeetingScript {
        begin: Begin::AtOnce,
        phrases: Some(phrases),
        phrases_per_second: 0.0,
        keep: SentDetail::Count,
        ..MeetingScript::plain("bare")
    });
    let started = started_webhook(&listener);
    let field = |name: &str| {
        started["payload"][name]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let (uuid, stream) = (field("meeting_uuid"), field("rtms_stream_id"));
    let signature = handshake_signature(&id, &secret, &uuid, &stream);
    let pem = std::fs::read(zoom.ca_file()).expect("the CA");
    let tls = TlsConnector::builder()
        .add_root_certificate(Certificate::from_pem(&pem).expect("a certificate"))
        .build()
        .expect("TLS");

    let mut signaling = connect(&tls, &field("server_urls"));
    let hello = |kind: u64| {
        json!({"msg_type": kind, "protocol_version": 1, "sequence": 1, "meeting_uuid": uuid,
            "rtms_stream_id": stream, "signature": signature, "media_type": 8})
    };
    say(&mut signaling, &hello(1));
    let answer = hear(&mut signaling, 2);
    let url = answer["media_server"]["server_urls"]["transcript"]
        .as_str()
        .expect("a URL");
    let mut media = connect(&tls, url);
    say(&mut media, &hello(3));
    hear(&mut media, 4);
    say(
        &mut signaling,
        &json!({"msg_type": 7, "rtms_stream_id": stream}),
    );
    let began = Instant::now();
    let mut count = 0;
    while count < phrases {
        if let Message::Text(text) = media.read().expect("the flood continues") {
            count += u64::from(text.contains("\"msg_type\":17"));
        }
    }
    let rate = phrases as f64 / began.elapsed().as_secs_f64();
    // The listener answers webhooks about the end, so it is dropped too.
    drop((meeting, signaling, media, listener));
    // The demo's complaints about a client that disappears do not matter here.
    let _ = zoom.stop();
    rate
}

/// Answers webhooks until one announces the stream.
fn started_webhook(listener: &TcpListener) -> Value {
    loop {
        let (mut stream, _) = listener.accept().expect("a webhook");
        let mut request = Vec::new();
        let mut buffer = [0; 4096];
        let body = loop {
            let n = stream.read(&mut buffer).expect("a request");
            request.extend_from_slice(&buffer[..n]);
            let text = String::from_utf8_lossy(&request).into_owned();
            if let Some((_, body)) = text.split_once("\r\n\r\n")
                && let Ok(body) = serde_json::from_str::<Value>(body)
            {
                break body;
            }
        };
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        stream.write_all(answer.as_bytes()).expect("an answer");
        if body["event"] == "meeting.rtms_started" {
            return body;
        }
    }
}

fn connect(tls: &TlsConnector, url: &str) -> Socket {
    let authority = url
        .trim_start_matches("wss://")
        .split('/')
        .next()
        .expect("a host");
    let host = authority.split(':').next().expect("a host");
    let stream = TcpStream::connect(authority).expect("the demo listens");
    let stream = tls.connect(host, stream).expect("TLS");
    // The reference has the buffers that are best for it.
    let config = WebSocketConfig::default().read_buffer_size(128 << 10);
    tungstenite::client::client_with_config(url, stream, Some(config))
        .expect("an upgrade")
        .0
}

fn say(socket: &mut Socket, message: &Value) {
    socket
        .send(Message::text(message.to_string()))
        .expect("it is sent");
}

fn hear(socket: &mut Socket, kind: u64) -> Value {
    loop {
        let Message::Text(text) = socket.read().expect("an answer") else {
            continue;
        };
        let message: Value = serde_json::from_str(&text).expect("JSON");
        if message["msg_type"] == kind {
            return message;
        }
    }
}
