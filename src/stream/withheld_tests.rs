//! The driver asks for its permit before it connects, and again before message 1. With sockets on loopback.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use tungstenite::{Message, WebSocket, accept};

use super::permit::boot_time;
use super::{Permits, StreamHandle, StreamOptions, StreamPhase};
use crate::domain::product::Product;
use crate::domain::secret::Secret;
use crate::net::dial::Dialer;
use crate::net::resolve::Resolver;
use crate::net::tls_client::TlsClient;
use crate::protocol::server_url::{AllowedHosts, ServerUrl};
use crate::protocol::{Command, EndReason, LinkId, Loss, StreamConfig};
use crate::testing::{PATIENCE, wait_until};

const HOUR: Duration = Duration::from_secs(3600);

struct Server {
    listener: TcpListener,
    url: String,
}

impl Server {
    fn new() -> Server {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        Server {
            listener,
            url: format!("ws://{address}"),
        }
    }

    fn stream(&self, permits: &Permits, window: Duration) -> StreamHandle {
        let allowed_hosts = AllowedHosts::parse("ws://127.0.0.1").expect("a host");
        let urls = vec![ServerUrl::parse(&self.url, &allowed_hosts).expect("a URL")];
        let secret = Secret::new("secret");
        let mut config = StreamConfig::new(Product::Meeting, "m", "s", urls, "client", secret);
        config.allowed_hosts = allowed_hosts;
        config.window = window;
        let resolver = Resolver::new(Box::new(|_| Ok(vec![Ipv4Addr::LOCALHOST.into()])));
        let tls = TlsClient::new(None).expect("no file to read");
        let dialer = Dialer::start(tls, resolver).expect("a thread");
        let mut options = StreamOptions::new(config, dialer);
        options.permit = Some(permits.for_stream());
        StreamHandle::spawn(options).expect("a thread")
    }

    fn next_tcp(&self) -> TcpStream {
        self.listener.set_nonblocking(true).expect("an option");
        let mut found = None;
        wait_until("it connects", || {
            found = self.listener.accept().ok();
            found.is_some()
        });
        let (tcp, _) = found.expect("it was awaited");
        tcp.set_nonblocking(false).expect("an option");
        tcp.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        tcp
    }

    fn has_connection(&self) -> bool {
        self.listener.set_nonblocking(true).expect("an option");
        self.listener.accept().is_ok()
    }

    /// Both links of a stream, after their handshakes.
    fn join(&self) -> [WebSocket<TcpStream>; 2] {
        let mut signaling = accept(self.next_tcp()).expect("an upgrade");
        assert_eq!(message_type(&mut signaling), 1);
        let urls = format!(r#"{{"transcript":"{}"}}"#, self.url);
        let answer =
            format!(r#"{{"msg_type":2,"status_code":0,"media_server":{{"server_urls":{urls}}}}}"#);
        signaling.send(Message::text(answer)).expect("sent");
        let mut media = accept(self.next_tcp()).expect("an upgrade");
        assert_eq!(message_type(&mut media), 3);
        let answer = r#"{"msg_type":4,"status_code":0}"#;
        media.send(Message::text(answer)).expect("sent");
        assert_eq!(message_type(&mut signaling), 7);
        [signaling, media]
    }
}

fn message_type(socket: &mut WebSocket<TcpStream>) -> i64 {
    let message = socket.read().expect("a message");
    let text = message.to_text().expect("text");
    let value: serde_json::Value = serde_json::from_str(text).expect("JSON");
    value["msg_type"].as_i64().expect("a number")
}

fn end(stream: StreamHandle) {
    assert!(stream.command(Command::HandOver { heir: None }));
    let end = stream.join().expect("no panic");
    assert_eq!(end, EndReason::HandedOver { heir: None });
}

#[test]
fn what_lacks_a_permit_connects_when_there_is_one() {
    let (server, permits) = (Server::new(), Permits::new());
    let stream = server.stream(&permits, HOUR);
    wait_until("it waits", || permits.waiting() == 1);
    // Being woken for something else changes nothing.
    stream.command(Command::ClientSecret(Secret::new("other")));
    assert!(!server.has_connection());
    assert_eq!(stream.phase(), StreamPhase::Joining);
    permits.renew(boot_time() + HOUR);
    let [signaling, media] = server.join();
    wait_until("it is its own", || stream.phase() == StreamPhase::Receiving);
    let stats = stream.stats();
    assert_eq!(stats.losses_total(), 0, "waiting is no failure");

    // The running stream needs no permit, and its media link neither.
    permits.renew(Duration::ZERO);
    drop(media);
    let mut media = accept(server.next_tcp()).expect("an upgrade");
    assert_eq!(message_type(&mut media), 3);
    // A lost one does.
    drop(signaling);
    wait_until("it waits", || permits.waiting() == 1);
    assert_eq!(stream.phase(), StreamPhase::Lost);
    assert!(!server.has_connection());
    permits.renew(boot_time() + HOUR);
    let _links = server.join();
    end(stream);
    assert_eq!(permits.waiting(), 0);
}

#[test]
fn a_permit_that_runs_out_while_connecting_sends_no_message_1() {
    let (server, permits) = (Server::new(), Permits::new());
    permits.renew(boot_time() + HOUR);
    let stream = server.stream(&permits, HOUR);
    let tcp = server.next_tcp();
    permits.renew(Duration::ZERO);
    let mut signaling = accept(tcp).expect("an upgrade");
    let end_of_it = signaling.read();
    assert!(
        !matches!(&end_of_it, Ok(Message::Text(_) | Message::Binary(_))),
        "{end_of_it:?}"
    );
    wait_until("it waits", || permits.waiting() == 1);
    permits.renew(boot_time() + HOUR);
    let _links = server.join();
    assert_eq!(stream.stats().losses_total(), 0);
    end(stream);
}

#[test]
fn one_try_may_be_allowed() {
    let (server, permits) = (Server::new(), Permits::new());
    let stream = server.stream(&permits, HOUR);
    wait_until("it waits", || permits.waiting() == 1);
    stream.permit_once();
    let mut signaling = accept(server.next_tcp()).expect("an upgrade");
    assert_eq!(message_type(&mut signaling), 1);
    let answer = r#"{"msg_type":2,"status_code":8,"reason":"duplicate"}"#;
    signaling.send(Message::text(answer)).expect("sent");
    wait_until("it knows", || stream.is_held_elsewhere());
    wait_until("it waits again", || permits.waiting() == 1);
    assert!(!server.has_connection());
    assert_eq!(stream.phase(), StreamPhase::Joining);
    // The next one is accepted.
    stream.permit_once();
    let _links = server.join();
    wait_until("it is its own", || stream.phase() == StreamPhase::Receiving);
    assert!(!stream.is_held_elsewhere());
    end(stream);
}

#[test]
fn the_window_runs_on_while_a_stream_waits() {
    let (server, permits) = (Server::new(), Permits::new());
    let stream = server.stream(&permits, Duration::from_millis(100));
    let end = stream.join().expect("no panic");
    assert_eq!(end, EndReason::Lost(LinkId::Signaling, Loss::TimedOut));
    assert!(!server.has_connection());
    assert_eq!(permits.waiting(), 0);
}
