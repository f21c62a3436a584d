//! What both yardsticks need until data flows: a webhook, two connections, four messages.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use native_tls::{Certificate, TlsConnector, TlsStream};
use rtmsd::domain::secret::Secret;
use rtmsd::protocol::handshake_signature;
use serde_json::{Value, json};
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Message, WebSocket};

pub(crate) type Socket = WebSocket<TlsStream<TcpStream>>;

/// Answers the next webhook.
pub(crate) fn webhook(listener: &TcpListener) -> Value {
    let (mut stream, _) = listener.accept().expect("a webhook");
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    let body = loop {
        let n = stream.read(&mut buffer).expect("a request");
        assert!(n > 0, "a whole request");
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
    body
}

/// Joins the stream of a `meeting.rtms_started` for transcripts, with this much room for what is read at once;
/// returns signaling and media.
pub(crate) fn join(
    payload: &Value,
    (id, secret): (&str, &Secret),
    pem: &[u8],
    buffer: usize,
) -> (Socket, Socket) {
    let field = |name: &str| payload[name].as_str().unwrap_or_default();
    let (uuid, stream) = (field("meeting_uuid"), field("rtms_stream_id"));
    let signature = handshake_signature(id, secret, uuid, stream);
    let tls = TlsConnector::builder()
        .add_root_certificate(Certificate::from_pem(pem).expect("a certificate"))
        .build()
        .expect("TLS");
    let hello = |kind: u64| {
        json!({"msg_type": kind, "protocol_version": 1, "sequence": 1, "meeting_uuid": uuid,
            "rtms_stream_id": stream, "signature": signature, "media_type": 8})
    };
    let mut signaling = connect(&tls, field("server_urls"), buffer);
    say(&mut signaling, &hello(1));
    let answer = hear(&mut signaling, 2);
    let url = answer["media_server"]["server_urls"]["transcript"]
        .as_str()
        .expect("a URL");
    let mut media = connect(&tls, url, buffer);
    say(&mut media, &hello(3));
    hear(&mut media, 4);
    say(
        &mut signaling,
        &json!({"msg_type": 7, "rtms_stream_id": stream}),
    );
    (signaling, media)
}

fn connect(tls: &TlsConnector, url: &str, buffer: usize) -> Socket {
    let authority = url
        .trim_start_matches("wss://")
        .split('/')
        .next()
        .expect("a host");
    let host = authority.split(':').next().expect("a host");
    let stream = TcpStream::connect(authority).expect("the demo listens");
    stream.set_nodelay(true).expect("a TCP socket");
    let stream = tls.connect(host, stream).expect("TLS");
    let config = WebSocketConfig::default().read_buffer_size(buffer);
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
