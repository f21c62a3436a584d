//! A proxy that connects a WebSocket to its server (`CONNECT`), driven without blocking.
//!
//! TLS is with the server behind the proxy, which sees its name and nothing else.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::address::Address;
use super::http_agent;
use super::proxy::ProxyEnv;
use crate::domain::secret::Secret;
use crate::protocol::server_url::ServerUrl;

/// Maximum bytes of the proxy's answer.
const HEAD_BYTES_MAX: usize = 8 << 10;

/// Where the proxy is, and our login there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConnectProxy {
    pub(super) host: String,
    pub(super) port: u16,
    authorization: Option<Secret>,
}

impl ConnectProxy {
    /// The proxy for that server, by the rules for REST calls. The error says what is wrong with the
    /// setting.
    pub(crate) fn for_server(
        proxies: &ProxyEnv,
        url: &ServerUrl,
    ) -> Result<Option<ConnectProxy>, String> {
        let scheme = if url.is_tls() { "https" } else { "http" };
        let address = Address::parse(&format!("{scheme}://{}", authority(url)))?;
        let Some(proxy) = http_agent::proxy(proxies, &address)? else {
            return Ok(None);
        };
        if proxy.protocol() != ureq::ProxyProtocol::Http {
            let text = "HTTPS_PROXY: found an https:// proxy, expected http:// for a WebSocket";
            return Err(text.to_owned());
        }
        let login = proxy.username().map(|user| {
            let password = proxy.password().unwrap_or_default();
            let login = STANDARD.encode(format!("{user}:{password}"));
            Secret::new(format!("Basic {login}"))
        });
        Ok(Some(ConnectProxy {
            host: proxy.host().to_owned(),
            port: proxy.port(),
            authorization: login,
        }))
    }
}

/// Host and port, as they stand in an address.
fn authority(url: &ServerUrl) -> String {
    match url.host().contains(':') {
        true => format!("[{}]:{}", url.host(), url.port()),
        false => format!("{}:{}", url.host(), url.port()),
    }
}

/// A connection to the proxy that asks for the server.
pub(super) struct Asking {
    pub(super) stream: TcpStream,
    /// What is left to send.
    unsent: Vec<u8>,
    received: Vec<u8>,
}

impl fmt::Debug for Asking {
    /// The request may have a password in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asking")
    }
}

/// State after [`Asking::advance`].
pub(super) enum Asked {
    Waiting(Asking),
    /// The connection leads to the server.
    Connected(TcpStream),
    Refused(String),
}

impl Asking {
    pub(super) fn new(stream: TcpStream, proxy: &ConnectProxy, url: &ServerUrl) -> Asking {
        let authority = authority(url);
        let mut head = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n");
        if let Some(authorization) = &proxy.authorization {
            head += &format!("Proxy-Authorization: {}\r\n", authorization.expose());
        }
        head += "\r\n";
        Asking {
            stream,
            unsent: head.into_bytes(),
            received: Vec::new(),
        }
    }

    /// Whether it waits for room to send.
    pub(super) fn wants_out(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Sends and reads as far as possible.
    pub(super) fn advance(mut self) -> Asked {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(0) => return Asked::Refused("the proxy closed the connection".to_owned()),
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if is_later(&error) => return Asked::Waiting(self),
                Err(error) => return Asked::Refused(format!("proxy: {error}")),
            }
        }
        loop {
            let mut chunk = [0; 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Asked::Refused("the proxy closed the connection".to_owned()),
                Ok(count) => self.received.extend_from_slice(&chunk[..count]),
                Err(error) if is_later(&error) => return Asked::Waiting(self),
                Err(error) => return Asked::Refused(format!("proxy: {error}")),
            }
            // The server behind it says nothing before we do.
            if self.received.ends_with(b"\r\n\r\n") {
                return self.judge();
            }
            if self.received.len() > HEAD_BYTES_MAX {
                return Asked::Refused("the proxy's answer is too long".to_owned());
            }
        }
    }

    fn judge(self) -> Asked {
        let line = self.received.split(|byte| *byte == b'\r').next();
        let line = String::from_utf8_lossy(line.unwrap_or_default()).into_owned();
        let mut words = line.split(' ');
        let is_http = words.next().is_some_and(|word| word.starts_with("HTTP/1."));
        let status: Option<u16> = words.next().and_then(|word| word.parse().ok());
        match status.filter(|_| is_http) {
            Some(200..=299) => Asked::Connected(self.stream),
            Some(407) => Asked::Refused(
                "the proxy asks for a login; put user and password into HTTPS_PROXY, as \
                 http://user:password@host:port"
                    .to_owned(),
            ),
            Some(status) => Asked::Refused(format!(
                "the proxy did not connect us (status {status}); check HTTPS_PROXY and NO_PROXY and what \
                 the proxy allows"
            )),
            None => Asked::Refused("the proxy answered something else than HTTP".to_owned()),
        }
    }
}

fn is_later(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::server_url::AllowedHosts;

    fn found(
        proxy: &str,
        none_for: Option<&str>,
        url: &str,
    ) -> Result<Option<ConnectProxy>, String> {
        let proxies = ProxyEnv {
            https: Some(proxy.to_owned()),
            http: None,
            none_for: none_for.map(str::to_owned),
        };
        let hosts = AllowedHosts::parse(".zoom.us,127.0.0.1").expect("hosts");
        let url = ServerUrl::parse(url, &hosts).expect("an allowed one");
        ConnectProxy::for_server(&proxies, &url)
    }

    #[test]
    fn the_proxy_is_that_of_rest_calls() {
        let zoom = "wss://ws.zoom.us/ws?subscriptionId=a";
        let proxy = found("http://me:pw@10.0.0.7:3128", None, zoom).expect("a proxy");
        let proxy = proxy.expect("one");
        assert_eq!((proxy.host.as_str(), proxy.port), ("10.0.0.7", 3128));
        assert_eq!(
            proxy.authorization.as_ref().map(Secret::expose),
            Some("Basic bWU6cHc=")
        );
        assert!(!format!("{proxy:?}").contains("bWU6"));
        assert_eq!(
            found("http://10.0.0.7:3128", Some("zoom.us"), zoom),
            Ok(None)
        );
        let own = "wss://127.0.0.1:4000/ws?subscriptionId=a";
        assert_eq!(found("http://10.0.0.7:3128", None, own), Ok(None));
        assert!(found("https://10.0.0.7:3128", None, zoom).is_err());
    }
}
