//! What carries a WebSocket: a connection, plain or encrypted.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use openssl::ssl::SslStream;

use super::read_ahead::Wire;
use super::tls_sessions;

/// A connection that stands.
#[derive(Debug)]
pub(crate) enum Carrier {
    /// Without TLS.
    Plain(Wire),
    /// With it.
    Tls(SslStream<Wire>),
}

impl Carrier {
    /// The TCP below, to wait on.
    pub(crate) fn tcp(&self) -> &Arc<TcpStream> {
        match self {
            Carrier::Plain(wire) => wire.tcp(),
            Carrier::Tls(stream) => stream.get_ref().tcp(),
        }
    }

    /// The TCP below, to read from.
    pub(crate) fn wire(&mut self) -> &mut Wire {
        match self {
            Carrier::Plain(wire) => wire,
            Carrier::Tls(stream) => stream.get_mut(),
        }
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        if let Carrier::Tls(stream) = self {
            tls_sessions::spare(stream);
        }
    }
}

impl Read for Carrier {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Carrier::Plain(wire) => wire.read(out),
            Carrier::Tls(stream) => {
                // OpenSSL would find out the same, on a longer way.
                if stream.ssl().pending() == 0 && stream.get_mut().has_nothing() {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                stream.read(out)
            }
        }
    }
}

impl Write for Carrier {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Carrier::Plain(wire) => wire.write(bytes),
            Carrier::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Carrier::Plain(wire) => wire.flush(),
            Carrier::Tls(stream) => stream.flush(),
        }
    }
}
