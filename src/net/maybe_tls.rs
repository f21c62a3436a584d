//! The transport of a WebSocket: TCP with or without TLS.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use openssl::ssl::SslStream;

use super::read_ahead::ReadAheadTcp;
use super::tls_sessions;

/// An open connection.
#[derive(Debug)]
pub(crate) enum MaybeTlsStream {
    /// Without TLS.
    Plain(ReadAheadTcp),
    /// With TLS.
    Tls(SslStream<ReadAheadTcp>),
}

impl MaybeTlsStream {
    /// The TCP socket, to wait on.
    pub(crate) fn tcp(&self) -> &Arc<TcpStream> {
        match self {
            MaybeTlsStream::Plain(wire) => wire.tcp(),
            MaybeTlsStream::Tls(stream) => stream.get_ref().tcp(),
        }
    }

    /// The TCP reader.
    pub(crate) fn wire(&mut self) -> &mut ReadAheadTcp {
        match self {
            MaybeTlsStream::Plain(wire) => wire,
            MaybeTlsStream::Tls(stream) => stream.get_mut(),
        }
    }
}

impl Drop for MaybeTlsStream {
    fn drop(&mut self) {
        if let MaybeTlsStream::Tls(stream) = self {
            tls_sessions::mark_shutdown_sent(stream);
        }
    }
}

impl Read for MaybeTlsStream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            MaybeTlsStream::Plain(wire) => wire.read(out),
            MaybeTlsStream::Tls(stream) => {
                // OpenSSL would find the same, with more work.
                if stream.ssl().pending() == 0 && stream.get_mut().known_empty() {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                stream.read(out)
            }
        }
    }
}

impl Write for MaybeTlsStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            MaybeTlsStream::Plain(wire) => wire.write(bytes),
            MaybeTlsStream::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            MaybeTlsStream::Plain(wire) => wire.flush(),
            MaybeTlsStream::Tls(stream) => stream.flush(),
        }
    }
}
