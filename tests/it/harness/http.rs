//! A minimal HTTP client that can break every rule.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;

/// A connection whose reads and writes have a deadline.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a listener");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream.set_write_timeout(Some(PATIENCE)).expect("a socket");
    stream
}

/// Sends these bytes on a new connection, and reads until the server closes it.
pub(crate) fn ask(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = connect(address);
    // An early refusal may stop our sending; only the answer counts.
    let _ = stream.write_all(bytes);
    read_all(&mut stream)
}

/// The answer to GET: its status, and its body.
pub(crate) fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    status_and_body(&ask(address, request.as_bytes()))
}

/// The bytes until the peer closes the connection in any way.
pub(crate) fn read_all(stream: &mut impl Read) -> String {
    let (mut all, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(n) => all.extend_from_slice(&piece[..n]),
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => break,
            Err(e) => panic!("no end after {:?}: {e}", String::from_utf8_lossy(&all)),
        }
    }
    String::from_utf8_lossy(&all).into_owned()
}

/// The status of an answer; 0 if there is none.
pub(crate) fn status(answer: &str) -> u16 {
    let digits = answer.split(' ').nth(1).unwrap_or("0");
    digits.parse().unwrap_or(0)
}

pub(crate) fn status_and_body(answer: &str) -> (u16, String) {
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body);
    (status(answer), body.unwrap_or_default().to_owned())
}
