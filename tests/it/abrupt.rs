//! Connections that are reset in the middle: everything that arrived before is kept.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use native_tls::TlsAcceptor;
use rtmsd::domain::product::Product;
use rtmsd::domain::secret::Secret;
use rtmsd::net::dial::Dialer;
use rtmsd::net::resolve::Resolver;
use rtmsd::net::tls_client::TlsClient;
use rtmsd::protocol::dedup::RecentPhrases;
use rtmsd::protocol::server_url::{AllowedHosts, ServerUrl};
use rtmsd::protocol::{Command, EndReason, StreamConfig, StreamEvent};
use rtmsd::stream::{Sink, StreamHandle, StreamOptions};
use rustix::net::sockopt::set_socket_linger;
use tungstenite::{Message, WebSocket, accept};

use crate::harness::certificates::acceptor;
use crate::harness::{PATIENCE, TempDir};

/// Each is followed by a keep-alive, whose answer the client writes to a closed socket. All of them
/// fit into one read of the client's kernel: bytes still on the way when a connection is reset are
/// not received.
const PHRASES: usize = 80;

struct Texts(Sender<String>);

impl Sink for Texts {
    fn on_event(&mut self, event: &StreamEvent<'_>) {
        if let StreamEvent::Transcript(phrase) = event {
            let _ = self.0.send(phrase.text.as_ref().to_owned());
        }
    }

    fn on_end(&mut self, _reason: &EndReason) {}
}

trait Transport: Read + Write {}

impl<T: Read + Write> Transport for T {}

/// The next connection after its handshake was read, and the TCP below it.
fn next(
    listener: &TcpListener,
    tls: Option<&TlsAcceptor>,
) -> (WebSocket<Box<dyn Transport>>, TcpStream) {
    let (tcp, _) = listener.accept().expect("the client connects");
    tcp.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    tcp.set_nodelay(true).expect("an option");
    let below = tcp.try_clone().expect("a descriptor");
    let stream: Box<dyn Transport> = match tls {
        Some(tls) => Box::new(tls.accept(tcp).expect("TLS")),
        None => Box::new(tcp),
    };
    let mut socket = accept(stream).expect("an upgrade");
    socket.read().expect("a handshake");
    (socket, below)
}

/// The bytes of an unmasked text frame.
fn frame(text: &str) -> Vec<u8> {
    let mut bytes = vec![0x81, 126];
    bytes.extend_from_slice(&(text.len() as u16).to_be_bytes());
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

#[test]
fn a_failed_write_loses_nothing_that_was_received() {
    reset_behind_a_burst(None, TlsClient::new(None).expect("no file to read"));
}

#[test]
fn a_failed_write_loses_nothing_under_tls() {
    let folder = TempDir::new();
    let ca_file = folder.join("ca.pem");
    let (tls, authority) = acceptor("127.0.0.1", 20);
    std::fs::write(&ca_file, authority.to_pem().expect("PEM")).expect("a file");
    let connector = TlsClient::new(Some(&ca_file)).expect("a certificate");
    reset_behind_a_burst(Some(&tls), connector);
}

/// The configuration of a stream that connects to that address, and its dialer.
fn stream_of(url: &str, connector: TlsClient) -> (StreamConfig, Dialer) {
    let allowed_hosts = AllowedHosts::parse("ws://127.0.0.1").expect("a host");
    let urls = vec![ServerUrl::parse(url, &allowed_hosts).expect("a URL")];
    let secret = Secret::new("secret");
    let mut config = StreamConfig::new(
        Product::Meeting,
        "a/B+c==",
        "abrupt",
        urls,
        "client",
        secret,
    );
    config.allowed_hosts = allowed_hosts;
    let resolver = Resolver::new(Box::new(|_| Ok(vec![Ipv4Addr::LOCALHOST.into()])));
    let dialer = Dialer::start(connector, resolver).expect("a thread");
    (config, dialer)
}

/// Sends phrases and keep-alives in one burst, and then resets the connection.
fn reset_behind_a_burst(tls: Option<&TlsAcceptor>, connector: TlsClient) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let scheme = if tls.is_some() { "wss" } else { "ws" };
    let address = listener.local_addr().expect("an address");
    let url = format!("{scheme}://{address}");
    let (config, dialer) = stream_of(&url, connector);
    let (sender, texts) = channel();
    let mut options = StreamOptions::new(config, dialer);
    options.sinks.push(Box::new(Texts(sender)));
    let meeting = StreamHandle::spawn(options).expect("a thread");

    let (mut signaling, _) = next(&listener, tls);
    let answer = format!(
        r#"{{"msg_type":2,"status_code":0,"media_server":{{"server_urls":{{"transcript":"{url}"}}}}}}"#
    );
    signaling.send(Message::text(answer)).expect("sent");
    let (mut media, below) = next(&listener, tls);
    let answer = r#"{"msg_type":4,"status_code":0}"#;
    media.send(Message::text(answer)).expect("sent");
    let ready = signaling.read().expect("CLIENT_READY_ACK");
    assert!(ready.to_text().expect("text").contains("\"msg_type\":7"));

    let mut burst = Vec::new();
    for n in 0..PHRASES {
        let stamp = 1_767_000_000_000 + n;
        burst.extend(frame(&format!(
            r#"{{"msg_type":17,"content":{{"user_id":1,"user_name":"Ada","timestamp":{stamp},"data":"{n:050}"}}}}"#
        )));
        burst.extend(frame(&format!(
            r#"{{"msg_type":12,"timestamp":{stamp},"padding":"{n:050}"}}"#
        )));
    }
    media.get_mut().write_all(&burst).expect("sent");
    set_socket_linger(&below, Some(Duration::ZERO)).expect("an option");
    drop((media, below));

    for n in 0..PHRASES {
        let text = texts.recv_timeout(PATIENCE).expect("each phrase arrives");
        assert_eq!(text, format!("{n:050}"));
    }
    assert!(meeting.command(Command::Leave));
    assert_eq!(meeting.join().expect("no panic"), EndReason::Left);
}

#[test]
fn a_hung_disk_at_a_rejoin_blocks_neither_the_daemon_nor_the_connection() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let url = format!("ws://{}", listener.local_addr().expect("an address"));
    let tls = TlsClient::new(None).expect("no file to read");
    let (config, dialer) = stream_of(&url, tls);
    let (disk_answers, disk) = channel();
    let load = move || {
        disk.recv_timeout(PATIENCE).expect("the disk answers");
        RecentPhrases::default()
    };
    // Returns although the earlier phrases are not loaded yet.
    let mut options = StreamOptions::new(config, dialer);
    options.recent = Box::new(load);
    let stream = StreamHandle::spawn(options).expect("a thread");
    // And it connects.
    let (tcp, _) = listener.accept().expect("the client connects");
    disk_answers.send(()).expect("the stream waits for it");
    tcp.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut socket = accept(tcp).expect("an upgrade");
    socket.read().expect("a handshake");
    assert!(stream.command(Command::Leave));
    assert_eq!(stream.join().expect("no panic"), EndReason::Left);
}
