//! A client of `/media`, which checks what every message must be.

use std::io::{Read, Write};
use std::net::TcpStream;

use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::net::{AddressFamily, SocketType, connect, socket};
use serde_json::Value;
use tungstenite::client::client_with_config;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{ClientRequestBuilder, HandshakeError, Message, WebSocket};

use super::bearer;
use crate::harness::{Harness, PATIENCE};

/// A connection.
pub(super) struct Media {
    pub(super) socket: WebSocket<TcpStream>,
    last_seq: u32,
}

/// A message.
#[derive(Debug)]
pub(super) enum Said {
    Text(Value),
    Frame(Frame),
    /// The code of the end.
    Closed(Option<u16>),
}

/// A binary message, taken apart.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) codec: u8,
    pub(super) flags: u8,
    pub(super) timestamp_ms: u64,
    pub(super) speaker: u32,
    pub(super) dropped: u32,
    pub(super) payload: Vec<u8>,
}

/// What is asked for, besides the query.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Ask<'a> {
    pub(super) origin: Option<&'a str>,
    pub(super) without_token: bool,
    /// Of the socket, if it is not the system's.
    pub(super) receive_bytes: Option<usize>,
}

impl Media {
    /// Opens one, or returns the status of the refusal and its text.
    pub(super) fn ask(
        harness: &Harness,
        query: &str,
        ask: Ask<'_>,
    ) -> Result<Media, (u16, String)> {
        let admin = harness.admin();
        let stream = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        if let Some(bytes) = ask.receive_bytes {
            set_socket_recv_buffer_size(&stream, bytes).expect("a socket");
        }
        connect(&stream, &admin).expect("it listens");
        let stream = TcpStream::from(stream);
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let uri = format!("ws://{admin}/media?{query}")
            .parse()
            .expect("an address");
        let mut request = ClientRequestBuilder::new(uri);
        if !ask.without_token {
            request = request.with_header("Authorization", bearer(harness));
        }
        if let Some(origin) = ask.origin {
            request = request.with_header("Origin", origin);
        }
        let config = WebSocketConfig::default().max_message_size(Some(32 << 20));
        match client_with_config(request, stream, Some(config)) {
            Ok((socket, answer)) => {
                assert!(answer.headers().get("Sec-WebSocket-Extensions").is_none());
                let last_seq = 0;
                Ok(Media { socket, last_seq })
            }
            Err(HandshakeError::Failure(tungstenite::Error::Http(answer))) => {
                let body = answer.body().clone().unwrap_or_default();
                Err((
                    answer.status().as_u16(),
                    String::from_utf8_lossy(&body).into_owned(),
                ))
            }
            Err(error) => panic!("{error}"),
        }
    }

    pub(super) fn open(harness: &Harness, query: &str) -> Media {
        match Media::ask(harness, query, Ask::default()) {
            Ok(media) => media,
            Err(refusal) => panic!("{refusal:?}"),
        }
    }

    pub(super) fn next(&mut self) -> Said {
        loop {
            match self.socket.read().expect("a message") {
                Message::Text(text) => {
                    return Said::Text(serde_json::from_str(&text).expect("JSON"));
                }
                Message::Binary(bytes) => return Said::Frame(self.frame(&bytes)),
                Message::Close(frame) => return Said::Closed(frame.map(|it| it.code.into())),
                _ => {}
            }
        }
    }

    fn frame(&mut self, bytes: &[u8]) -> Frame {
        let (head, payload) = bytes.split_first_chunk::<24>().expect("a head");
        let word = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().expect("four"));
        let (seq, dropped) = (word(4), word(20));
        assert_eq!((head[0], seq), (1, self.last_seq + 1 + dropped));
        self.last_seq = seq;
        Frame {
            kind: head[1],
            codec: head[2],
            flags: head[3],
            timestamp_ms: u64::from_be_bytes(head[8..16].try_into().expect("eight")),
            speaker: word(16),
            dropped,
            payload: payload.to_vec(),
        }
    }

    /// The next text message; frames are thrown away.
    pub(super) fn text(&mut self) -> Value {
        loop {
            if let Said::Text(text) = self.next() {
                return text;
            }
        }
    }

    /// The next frame, if it comes before another message that is not about a speaker.
    pub(super) fn next_frame(&mut self) -> Option<Frame> {
        loop {
            match self.next() {
                Said::Frame(frame) => return Some(frame),
                Said::Text(text) if text["type"] == "speaker" => {}
                _ => return None,
            }
        }
    }
}

/// The answer to these bytes on a new connection.
pub(super) fn ask_plainly(harness: &Harness, head: &str) -> String {
    let mut stream = TcpStream::connect(harness.admin()).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream.write_all(head.as_bytes()).expect("it is sent");
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    text
}
