//! A strict client of server-sent events.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use crate::harness::http::{connect, status};

/// An answer as it arrives.
pub(crate) struct Sse {
    stream: TcpStream,
    pub(crate) status: u16,
    pub(crate) head: String,
    bytes: Vec<u8>,
}

/// One event.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    /// The last `id`.
    pub(crate) pos: String,
    /// The `event` field; empty if there was none.
    pub(crate) name: String,
    pub(crate) data: Value,
}

impl Event {
    pub(crate) fn id(&self) -> String {
        self.data["id"].as_str().expect("an id").to_owned()
    }

    pub(crate) fn kind(&self) -> &str {
        self.data["type"].as_str().expect("a type")
    }
}

impl Sse {
    /// Asks for `/events` with that query and those header fields, and reads the head.
    pub(crate) fn open(address: SocketAddr, query: &str, fields: &[(&str, &str)]) -> Sse {
        let mut stream = connect(address);
        let fields: String = fields
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let request = format!("GET /events{query} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
        stream.write_all(request.as_bytes()).expect("it is sent");
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(at) = bytes.windows(4).position(|it| it == b"\r\n\r\n") {
                break at + 4;
            }
            if read(&mut stream, &mut bytes) == 0 {
                break bytes.len();
            }
        };
        let head = String::from_utf8(bytes.drain(..end).collect()).expect("ASCII");
        Sse {
            stream,
            status: status(&head),
            head,
            bytes,
        }
    }

    /// The next event; `None` once the connection is closed. A browser reads likewise: an event that is
    /// cut off is none.
    pub(crate) fn next(&mut self) -> Option<Event> {
        let (mut event, mut data) = (None::<(String, String)>, None);
        loop {
            let line = self.line()?;
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
            match field {
                "" if line.is_empty() => {
                    let (pos, name) = event.expect("an empty line stands only behind an event");
                    let data: String = data.expect("an empty line stands only behind data");
                    let data: Value = serde_json::from_str(&data).expect("JSON");
                    assert_eq!(data["pos"], pos.as_str());
                    return Some(Event { pos, name, data });
                }
                "" | "retry" => assert!(event.is_none(), "in an event: {line}"),
                "id" => event = Some((value, String::new())),
                "event" => event.as_mut().expect("an id before").1 = value,
                "data" => assert!(data.replace(value).is_none(), "one line of data"),
                _ => panic!("{line}"),
            }
        }
    }

    /// All events up to the end.
    pub(crate) fn rest(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.next()).collect()
    }

    /// The rest of an answer that is no stream of events.
    pub(crate) fn text(mut self) -> String {
        while read(&mut self.stream, &mut self.bytes) > 0 {}
        String::from_utf8(self.bytes).expect("UTF-8")
    }

    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.bytes.iter().position(|b| *b == b'\n') {
                let line = self.bytes.drain(..=at).collect();
                let line = String::from_utf8(line).expect("UTF-8");
                return Some(line.trim_end_matches('\n').to_owned());
            }
            if read(&mut self.stream, &mut self.bytes) == 0 {
                return None;
            }
        }
    }
}

fn read(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> usize {
    let mut piece = [0; 4096];
    let read = match stream.read(&mut piece) {
        Ok(read) => read,
        // The server was killed.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
        Err(error) => panic!("nothing came: {error}"),
    };
    bytes.extend_from_slice(&piece[..read]);
    read
}
