//! WebSocket messages (RFC 6455) as this server sends and takes them.
//!
//! What is sent has no mask, no compression, and is never in pieces. A client has nothing to say but
//! answers to pings, pings of its own, and its goodbye.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

use std::io::Cursor;

use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

/// Payload of a control message (RFC 6455, 5.5).
const CONTROL_BYTES_MAX: u64 = 125;
/// Characters of a key: 16 bytes in base64.
const KEY_CHARS: usize = 24;

/// The fields of a request that make it an upgrade.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fields<'a> {
    /// `Upgrade`.
    pub upgrade: Option<&'a str>,
    /// `Connection`.
    pub connection: Option<&'a str>,
    /// `Sec-WebSocket-Version`.
    pub version: Option<&'a str>,
    /// `Sec-WebSocket-Key`.
    pub key: Option<&'a str>,
}

/// The answer to an upgrade; otherwise what was expected.
pub fn accept(fields: &Fields<'_>) -> Result<String, &'static str> {
    let has = |value: Option<&str>, word: &str| {
        let mut words = value.unwrap_or_default().split(',');
        words.any(|it| it.trim().eq_ignore_ascii_case(word))
    };
    if !has(fields.upgrade, "websocket") || !has(fields.connection, "upgrade") {
        return Err("expected a WebSocket: Upgrade: websocket, Connection: Upgrade");
    }
    if fields.version.map(str::trim) != Some("13") {
        return Err("expected Sec-WebSocket-Version: 13");
    }
    let key = fields.key.map(str::trim).unwrap_or_default();
    if key.len() != KEY_CHARS {
        return Err("expected a Sec-WebSocket-Key of 24 characters");
    }
    Ok(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    ))
}

fn put_header(out: &mut Vec<u8>, opcode: OpCode, bytes: usize) {
    let header = FrameHeader {
        opcode,
        ..FrameHeader::default()
    };
    // Writing to memory cannot fail.
    let _ = header.format(bytes as u64, out);
}

/// A text message.
pub fn put_text(out: &mut Vec<u8>, text: &str) {
    put_header(out, OpCode::Data(Data::Text), text.len());
    out.extend_from_slice(text.as_bytes());
}

/// What stands before the content of a binary message.
pub fn put_binary_header(out: &mut Vec<u8>, bytes: usize) {
    put_header(out, OpCode::Data(Data::Binary), bytes);
}

/// A ping without content.
pub fn put_ping(out: &mut Vec<u8>) {
    put_header(out, OpCode::Control(Control::Ping), 0);
}

/// The answer to a ping.
pub fn put_pong(out: &mut Vec<u8>, payload: &[u8]) {
    put_header(out, OpCode::Control(Control::Pong), payload.len());
    out.extend_from_slice(payload);
}

/// The end of a connection.
pub fn put_close(out: &mut Vec<u8>, code: CloseCode, reason: &str) {
    put_header(out, OpCode::Control(Control::Close), 2 + reason.len());
    out.extend_from_slice(&u16::from(code).to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

/// What a client may say.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// To be answered with the same payload.
    Ping(Vec<u8>),
    /// The answer to a ping.
    Pong,
    /// It closes.
    Close,
}

/// Reads what a client says.
#[derive(Debug, Default)]
pub struct Listener(Vec<u8>);

impl Listener {
    /// Takes bytes that arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The next message; `None` until it is complete.
    ///
    /// # Errors
    /// Anything else than a client may say: the code to close with.
    pub fn hear(&mut self) -> Result<Option<Said>, CloseCode> {
        let mut cursor = Cursor::new(&self.0);
        let parsed = FrameHeader::parse(&mut cursor).map_err(|_| CloseCode::Protocol)?;
        let Some((header, bytes)) = parsed else {
            return Ok(None);
        };
        let OpCode::Control(control) = header.opcode else {
            return Err(CloseCode::Policy);
        };
        let is_valid = header.is_final && !(header.rsv1 || header.rsv2 || header.rsv3);
        let mask = header
            .mask
            .filter(|_| is_valid && bytes <= CONTROL_BYTES_MAX);
        let mask = mask.ok_or(CloseCode::Protocol)?;
        let begin = usize::try_from(cursor.position()).unwrap_or(usize::MAX);
        let end = begin.saturating_add(usize::try_from(bytes).unwrap_or(usize::MAX));
        let Some(payload) = self.0.get(begin..end) else {
            return Ok(None);
        };
        let masks = mask.iter().cycle();
        let payload = payload
            .iter()
            .zip(masks)
            .map(|(byte, mask)| byte ^ mask)
            .collect();
        self.0.drain(..end);
        Ok(Some(match control {
            Control::Ping => Said::Ping(payload),
            Control::Pong => Said::Pong,
            Control::Close => Said::Close,
            Control::Reserved(_) => return Err(CloseCode::Protocol),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Fields<'_> = Fields {
        upgrade: Some("WebSocket"),
        connection: Some("keep-alive, Upgrade"),
        version: Some("13"),
        key: Some("dGhlIHNhbXBsZSBub25jZQ=="),
    };

    #[test]
    fn m4_an_upgrade_is_accepted_as_the_standard_shows_it() {
        let answer = accept(&GOOD).expect("an upgrade");
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        assert!(answer.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"));
        assert!(
            !answer.to_ascii_lowercase().contains("extensions"),
            "no compression"
        );
        for bad in [
            Fields {
                upgrade: None,
                ..GOOD
            },
            Fields {
                upgrade: Some("h2c"),
                ..GOOD
            },
            Fields {
                connection: Some("close"),
                ..GOOD
            },
            Fields {
                version: Some("8"),
                ..GOOD
            },
            Fields { key: None, ..GOOD },
            Fields {
                key: Some("short"),
                ..GOOD
            },
        ] {
            assert!(accept(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn messages_have_lengths_of_three_forms() {
        let header = |bytes: usize| {
            let mut out = Vec::new();
            put_binary_header(&mut out, bytes);
            out
        };
        assert_eq!(header(125), [0x82, 125]);
        assert_eq!(header(126), [0x82, 126, 0, 126]);
        assert_eq!(header(70_000), [0x82, 127, 0, 0, 0, 0, 0, 1, 0x11, 0x70]);
        let mut out = Vec::new();
        put_close(&mut out, CloseCode::Policy, "no");
        assert_eq!(out, [0x88, 4, 0x03, 0xf0, b'n', b'o']);
    }

    fn said(bytes: &[u8]) -> Result<Option<Said>, CloseCode> {
        let mut listener = Listener::default();
        listener.push(bytes);
        listener.hear()
    }

    #[test]
    fn m4_a_client_says_pong_ping_and_goodbye_and_nothing_else() {
        let masked = |first: u8, payload: &[u8]| {
            let mut bytes = vec![first, 0x80 | payload.len() as u8, 1, 2, 3, 4];
            bytes.extend(
                payload
                    .iter()
                    .zip([1, 2, 3, 4].iter().cycle())
                    .map(|(a, b)| a ^ b),
            );
            bytes
        };
        assert_eq!(said(&masked(0x8a, b"")), Ok(Some(Said::Pong)));
        assert_eq!(said(&masked(0x88, b"\x03\xe8")), Ok(Some(Said::Close)));
        assert_eq!(
            said(&masked(0x89, b"hello")),
            Ok(Some(Said::Ping(b"hello".to_vec())))
        );
        for data in [0x81, 0x82, 0x01, 0x80] {
            assert_eq!(
                said(&masked(data, b"x")),
                Err(CloseCode::Policy),
                "{data:#x}"
            );
        }
        // Not masked, in pieces, a reserved bit, reserved numbers, too long.
        for bad in [&[0x8a, 0][..], &masked(0x0a, b""), &masked(0xca, b"")] {
            assert_eq!(said(bad), Err(CloseCode::Protocol), "{bad:?}");
        }
        for bad in [
            &masked(0x8b, b"")[..],
            &masked(0x83, b""),
            &[0x89, 0xfe, 0, 126, 1, 2, 3, 4],
        ] {
            assert!(said(bad).is_err(), "{bad:?}");
        }
        // A byte at a time, two after each other.
        let (mut listener, mut heard) = (Listener::default(), Vec::new());
        for byte in [masked(0x89, b"1"), masked(0x8a, b"23")].concat() {
            listener.push(&[byte]);
            heard.extend(listener.hear().expect("valid"));
        }
        assert_eq!(heard, [Said::Ping(b"1".to_vec()), Said::Pong]);
    }
}
