//! One WebSocket connection attempt: name look-up, TCP, TLS and upgrade. Each step proceeds without
//! blocking, driven by poll(2). The protocol sets the time limit, and gives up a link that takes
//! too long.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use openssl::ssl::MidHandshakeSslStream;
use rustix::event::PollFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use tungstenite::client::client_with_config;
use tungstenite::handshake::client::{ClientHandshake, Response};
use tungstenite::handshake::{HandshakeError, MidHandshake};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error as WsError, WebSocket};

use super::connect_proxy::{Asked, Asking, ConnectProxy};
use super::frame_filter::FrameFilter;
use super::maybe_tls::MaybeTlsStream;
use super::read_ahead::ReadAheadTcp;
use super::resolve::{Pending, Resolver};
use super::tls_client;
use super::tls_client::{Handshake, TlsClient, TlsProgress};
use super::upgrade::UpgradeReader;
use crate::net::waker::Waker;
use crate::protocol::Loss;
use crate::protocol::server_url::ServerUrl;

/// Initial read buffer of a WebSocket: two phrases. The default would be 128 KiB per link; a buffer
/// that is too small for the largest of the usual messages grows and stays grown.
const READ_BUFFER_BYTES: usize = 1 << 10;
/// Limit for unsent output. We send about a hundred bytes now and then: if a peer lets this fill,
/// it has stopped reading.
const WRITE_BUFFER_BYTES_MAX: usize = 64 << 10;
/// If sent data stays unacknowledged for this long, the kernel closes the connection.
const UNACKNOWLEDGED_MS_MAX: u32 = 20_000;
/// Time limit per address while further addresses are left.
const ADDRESS_MAX: Duration = Duration::from_secs(3);
/// Maximum addresses tried per connection.
const ADDRESSES_MAX: usize = 8;

/// A connection that is not yet open.
pub(crate) struct ConnectAttempt {
    url: ServerUrl,
    /// Who connects us to it, if we do not do that ourselves.
    proxy: Option<ConnectProxy>,
    message_bytes_max: usize,
    step: Step,
}

/// A WebSocket that skips messages above a limit.
pub(crate) type FilteredSocket = WebSocket<FrameFilter<UpgradeReader<MaybeTlsStream>>>;

enum Step {
    Resolving(Pending),
    Tcp {
        stream: TcpStream,
        others: VecDeque<SocketAddr>,
        until: Option<Instant>,
    },
    Proxy(Asking),
    Connected(ReadAheadTcp),
    Tls(MidHandshakeSslStream<ReadAheadTcp>),
    Upgrading(Box<MidHandshake<ClientHandshake<UpgradeReader<MaybeTlsStream>>>>),
    Over,
}

/// State after [`ConnectAttempt::advance`].
pub(crate) enum Progress {
    /// Not yet open.
    Pending,
    /// The WebSocket is open.
    Opened(Box<FilteredSocket>),
    /// The attempt failed.
    Failed(Loss),
}

/// Result of a step.
enum Next {
    /// Continue with this step when something has arrived.
    Wait(Step),
    /// The attempt succeeded.
    Done(Box<FilteredSocket>),
    /// TCP is connected, to the server or to the proxy.
    Reached(TcpStream),
    /// The attempt failed; why.
    Fail(String),
}

type Upgraded = (WebSocket<UpgradeReader<MaybeTlsStream>>, Response);

type UpgradeResult =
    Result<Upgraded, HandshakeError<ClientHandshake<UpgradeReader<MaybeTlsStream>>>>;

impl ConnectAttempt {
    /// Starts with the name look-up. `waker` is woken when the name is resolved. Once the WebSocket
    /// is open, messages of more than `message_bytes_max` bytes are skipped.
    pub(crate) fn new(
        url: ServerUrl,
        proxy: Option<ConnectProxy>,
        message_bytes_max: usize,
        resolver: &Resolver,
        waker: Waker,
    ) -> ConnectAttempt {
        let host = proxy.as_ref().map_or(url.host(), |proxy| &proxy.host);
        let step = Step::Resolving(resolver.resolve(host, waker));
        ConnectAttempt {
            url,
            proxy,
            message_bytes_max,
            step,
        }
    }

    /// When the current address is given up for the next.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match &self.step {
            Step::Tcp { until, .. } => *until,
            _ => None,
        }
    }

    /// The file descriptor and the events to wait for; `None` during the name look-up, which uses
    /// the waker.
    pub(crate) fn interest(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        match &self.step {
            Step::Resolving(_) | Step::Connected(_) | Step::Over => None,
            Step::Tcp { stream, .. } => Some((stream.as_fd(), PollFlags::OUT)),
            Step::Proxy(asking) => {
                let mut flags = PollFlags::IN;
                flags.set(PollFlags::OUT, asking.wants_out());
                Some((asking.stream.as_fd(), flags))
            }
            Step::Tls(handshake) => Some((handshake.get_ref().tcp().as_fd(), PollFlags::IN)),
            Step::Upgrading(handshake) => {
                let upgrade = handshake.get_ref().get_ref();
                Some((upgrade.carrier().tcp().as_fd(), PollFlags::IN))
            }
        }
    }

    /// Whether TCP is connected, so that [`ConnectAttempt::start_tls`] is next.
    pub(crate) fn is_connected(&self) -> bool {
        matches!(self.step, Step::Connected(_))
    }

    /// Starts TLS on a connected socket, or the upgrade if the URL is unencrypted.
    pub(crate) fn start_tls(&mut self, tls: &TlsClient) -> Progress {
        let next = match std::mem::replace(&mut self.step, Step::Over) {
            Step::Connected(stream) if self.url.is_tls() => {
                self.encrypted(tls.connect(self.url.host(), stream))
            }
            Step::Connected(stream) => self.upgrade(MaybeTlsStream::Plain(stream)),
            other => Next::Wait(other),
        };
        self.apply(next)
    }

    /// Proceeds as far as possible without blocking. Does not start TLS.
    pub(crate) fn advance(&mut self, now: Instant) -> Progress {
        let next = match std::mem::replace(&mut self.step, Step::Over) {
            Step::Resolving(pending) => match pending.poll() {
                None => Next::Wait(Step::Resolving(pending)),
                Some(Ok(ips)) => self.choose_address(ips, now),
                Some(Err(why)) => {
                    let host = (self.proxy.as_ref()).map_or(self.url.host(), |proxy| &proxy.host);
                    Next::Fail(format!("{host}: {why}"))
                }
            },
            Step::Tcp {
                stream,
                others,
                until,
            } => self.connected(tcp(stream, others, until, now)),
            Step::Proxy(asking) => asked(asking.advance()),
            Step::Tls(handshake) => self.encrypted(tls_client::resume_handshake(handshake)),
            Step::Upgrading(handshake) => upgraded(handshake.handshake(), self.message_bytes_max),
            connected @ Step::Connected(_) => Next::Wait(connected),
            Step::Over => Next::Fail("the connection was given up".to_owned()),
        };
        self.apply(next)
    }

    fn apply(&mut self, next: Next) -> Progress {
        match next {
            Next::Wait(step) => {
                self.step = step;
                Progress::Pending
            }
            // `connected` has made a step of it.
            Next::Reached(_) => Progress::Failed(Loss::Connect("a bug: no step".to_owned())),
            Next::Done(socket) => Progress::Opened(socket),
            Next::Fail(why) => Progress::Failed(Loss::Connect(why)),
        }
    }

    /// A proxy is asked for the server first.
    fn connected(&self, next: Next) -> Next {
        match (next, &self.proxy) {
            (Next::Reached(stream), None) => Next::Wait(Step::Connected(ReadAheadTcp::new(stream))),
            (Next::Reached(stream), Some(proxy)) => {
                asked(Asking::new(stream, proxy, &self.url).advance())
            }
            (other, _) => other,
        }
    }

    /// Checks the resolved addresses and connects to the first one.
    fn choose_address(&self, ips: Vec<IpAddr>, now: Instant) -> Next {
        if ips.is_empty() {
            return Next::Fail(format!("{}: no address", self.url.host()));
        }
        // The operator has named the proxy, which may be anywhere; it resolves the server's name itself.
        let allowed = ips
            .iter()
            .filter(|ip| self.proxy.is_some() || self.url.allows_address(**ip))
            .take(ADDRESSES_MAX);
        let port = (self.proxy.as_ref()).map_or(self.url.port(), |proxy| proxy.port);
        let others: VecDeque<SocketAddr> = allowed.map(|ip| SocketAddr::new(*ip, port)).collect();
        if others.is_empty() {
            return Next::Fail(format!(
                "{} resolves to a private address, expected a public one; name the host in \
                 RTMS_ALLOWED_HOSTS if that is intended",
                self.url.host()
            ));
        }
        next_address(others, now, "no address".to_owned())
    }

    fn encrypted(&self, handshake: Handshake<ReadAheadTcp>) -> Next {
        match handshake {
            Ok(TlsProgress::Done(stream)) => self.upgrade(MaybeTlsStream::Tls(stream)),
            Ok(TlsProgress::Waiting(waiting)) => Next::Wait(Step::Tls(waiting)),
            Err(why) => Next::Fail(format!("TLS: {why}")),
        }
    }

    fn upgrade(&self, carrier: MaybeTlsStream) -> Next {
        let carrier = UpgradeReader::new(carrier);
        let limits = limits(self.message_bytes_max);
        let upgrade = client_with_config(self.url.to_string(), carrier, Some(limits));
        upgraded(upgrade, self.message_bytes_max)
    }
}

fn limits(message_bytes_max: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
        .max_message_size(Some(message_bytes_max))
        .max_frame_size(Some(message_bytes_max))
}

fn tcp(
    stream: TcpStream,
    others: VecDeque<SocketAddr>,
    until: Option<Instant>,
    now: Instant,
) -> Next {
    let failed = match (stream.take_error(), stream.peer_addr()) {
        (Ok(None), Ok(_)) => None,
        (Ok(None), Err(error)) if error.kind() == io::ErrorKind::NotConnected => {
            if until.is_none_or(|until| now < until) {
                return Next::Wait(Step::Tcp {
                    stream,
                    others,
                    until,
                });
            }
            Some("no answer".to_owned())
        }
        (Ok(Some(error)) | Err(error), _) | (Ok(None), Err(error)) => Some(error.to_string()),
    };
    if let Some(why) = failed {
        return next_address(others, now, why);
    }
    // Both options are optional improvements; a failure is ignored.
    let _ = stream.set_nodelay(true);
    let _ = sockopt::set_tcp_user_timeout(&stream, UNACKNOWLEDGED_MS_MAX);
    Next::Reached(stream)
}

fn asked(asked: Asked) -> Next {
    match asked {
        Asked::Waiting(asking) => Next::Wait(Step::Proxy(asking)),
        Asked::Connected(stream) => Next::Wait(Step::Connected(ReadAheadTcp::new(stream))),
        Asked::Refused(why) => Next::Fail(why),
    }
}

fn upgraded(result: UpgradeResult, message_bytes_max: usize) -> Next {
    match result {
        Ok((socket, _response)) => {
            // A new WebSocket, without the buffer that the upgrade was read into.
            let mut carrier = socket.into_inner();
            carrier.pass_through();
            let carrier = FrameFilter::new(carrier, message_bytes_max);
            let limits = limits(message_bytes_max);
            let socket = WebSocket::from_raw_socket(carrier, Role::Client, Some(limits));
            Next::Done(Box::new(socket))
        }
        Err(HandshakeError::Interrupted(waiting)) => Next::Wait(Step::Upgrading(Box::new(waiting))),
        Err(HandshakeError::Failure(WsError::Http(response))) => Next::Fail(format!(
            "HTTP status {}, expected 101; redirects are not followed",
            response.status()
        )),
        Err(HandshakeError::Failure(error)) => Next::Fail(format!("WebSocket upgrade: {error}")),
    }
}

fn next_address(mut others: VecDeque<SocketAddr>, now: Instant, mut why: String) -> Next {
    while let Some(address) = others.pop_front() {
        match begin_tcp(address) {
            Ok(stream) => {
                let until = (!others.is_empty()).then_some(now + ADDRESS_MAX);
                return Next::Wait(Step::Tcp {
                    stream,
                    others,
                    until,
                });
            }
            Err(error) => why = format!("{address}: {error}"),
        }
    }
    Next::Fail(why)
}

fn begin_tcp(address: SocketAddr) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS | rustix::io::Errno::INTR) => {
            Ok(TcpStream::from(socket))
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::waker::waker;
    use crate::protocol::server_url::AllowedHosts;
    use std::net::TcpListener;

    /// Connects and waits for the outcome, as the driver does; the host of `url` resolves to
    /// `addresses`.
    fn connect(url: &str, allowed: &AllowedHosts, addresses: &[&str]) -> Result<(), String> {
        let addresses: Vec<IpAddr> = addresses.iter().map(|a| a.parse().expect("one")).collect();
        let resolver = Resolver::new(Box::new(move |_| Ok(addresses.clone())));
        let (waker, wakeable) = waker().expect("a file");
        let url = ServerUrl::parse(url, allowed).expect("an allowed URL");
        let tls = TlsClient::new(None).expect("no file to read");
        let mut opening = ConnectAttempt::new(url, None, 1 << 20, &resolver, waker);
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let progress = match opening.is_connected() {
                true => opening.start_tls(&tls),
                false => opening.advance(Instant::now()),
            };
            match progress {
                Progress::Opened(_) => return Ok(()),
                Progress::Failed(loss) => return Err(loss.to_string()),
                Progress::Pending => assert!(Instant::now() < deadline, "no outcome"),
            }
            if opening.is_connected() {
                continue;
            }
            let mut fds = vec![rustix::event::PollFd::new(&wakeable, PollFlags::IN)];
            let waits = opening.interest();
            fds.extend(waits.map(|(fd, flags)| rustix::event::PollFd::from_borrowed_fd(fd, flags)));
            let tick = rustix::event::Timespec {
                tv_sec: 1,
                tv_nsec: 0,
            };
            let _ = rustix::event::poll(&mut fds, Some(&tick));
        }
    }

    #[test]
    fn a_zoom_name_with_a_private_address_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a listener");
        let port = listener.local_addr().expect("an address").port();
        let url = format!("wss://rwg1.zoom.us:{port}/");
        let zoom = AllowedHosts::default();
        for private in ["127.0.0.1", "::1", "::ffff:127.0.0.1", "0.0.0.0"] {
            let failed = connect(&url, &zoom, &[private, "127.0.0.1"]).expect_err("refused");
            assert!(failed.contains("resolves to a private address"), "{failed}");
        }
        let nothing = connect(&url, &zoom, &[]).expect_err("no address");
        assert!(nothing.contains("no address"), "{nothing}");
        let error = listener.accept().expect_err("no connection");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);

        // If the operator lists the name, a private address is allowed.
        let named = AllowedHosts::parse("rwg1.zoom.us").expect("a host");
        let home = std::thread::Builder::new().spawn(move || {
            listener.set_nonblocking(false).expect("a listener");
            drop(listener.accept().expect("a client"));
        });
        let failed = connect(&url, &named, &["127.0.0.1"]).expect_err("the server has no TLS");
        assert!(failed.contains("TLS"), "{failed}");
        home.expect("a thread").join().expect("a connection");
    }
}
