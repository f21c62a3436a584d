//! One joined stream, over loopback without TLS, and Zoom's end of its sockets.

use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use rtmsd::domain::product::Product;
use rtmsd::domain::secret::Secret;
use rtmsd::net::dial::Dialer;
use rtmsd::net::resolve::Resolver;
use rtmsd::net::tls_client::TlsClient;
use rtmsd::protocol::server_url::{AllowedHosts, ServerUrl};
use rtmsd::protocol::{Command, StreamConfig, StreamEvent};
use rtmsd::stream::{Sink, StreamHandle, StreamOptions};
use tungstenite::{Message, WebSocket};

type Socket = WebSocket<TcpStream>;

pub(crate) struct Joined {
    meeting: StreamHandle,
    media: Socket,
    _signaling: Socket,
    heard: Receiver<()>,
}

/// A sink that reports each matching event.
struct Tell(SyncSender<()>, fn(&StreamEvent<'_>) -> bool);

impl Sink for Tell {
    fn on_event(&mut self, event: &StreamEvent<'_>) {
        if (self.1)(event) {
            let _ = self.0.send(());
        }
    }
}

impl Joined {
    pub(crate) fn new(wanted: fn(&StreamEvent<'_>) -> bool) -> Joined {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("ws://{}/", listener.local_addr().expect("bound"));
        let allowed_hosts = AllowedHosts::parse("ws://127.0.0.1").expect("a host");
        let urls = vec![ServerUrl::parse(&url, &allowed_hosts).expect("an allowed URL")];
        let secret = Secret::new("secret");
        let mut config = StreamConfig::new(Product::Meeting, "bench", "bench", urls, "id", secret);
        config.allowed_hosts = allowed_hosts;
        let home = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
        let tls = TlsClient::new(None).expect("no file to read");
        let resolver = Resolver::new(Box::new(move |_| Ok(home.clone())));
        let dialer = Dialer::start(tls, resolver).expect("a thread");
        let (sender, heard) = sync_channel(1);
        let mut options = StreamOptions::new(config, dialer);
        options.sinks.push(Box::new(Tell(sender, wanted)));
        let meeting = StreamHandle::spawn(options).expect("a thread");
        let mut signaling = accept(&listener);
        say(
            &mut signaling,
            &format!(
                r#"{{"msg_type":2,"status_code":0,"media_server":{{"server_urls":{{"transcript":"{url}"}}}}}}"#
            ),
        );
        let mut media = accept(&listener);
        say(&mut media, r#"{"msg_type":4,"status_code":0}"#);
        // CLIENT_READY_ACK.
        signaling.read().expect("the stream is ready");
        Joined {
            meeting,
            media,
            _signaling: signaling,
            heard,
        }
    }

    pub(crate) fn turn(&mut self, message: &str) {
        say(&mut self.media, message);
        self.heard.recv().expect("the stream runs");
    }

    pub(crate) fn end(self) {
        self.meeting.command(Command::Leave);
        self.meeting.join().expect("no panic");
    }
}

/// The next connection, after its handshake was read.
fn accept(listener: &TcpListener) -> Socket {
    let (stream, _) = listener.accept().expect("the stream connects");
    stream.set_nodelay(true).expect("a socket");
    let mut socket = tungstenite::accept(stream).expect("an upgrade");
    socket.read().expect("a handshake");
    socket
}

fn say(socket: &mut Socket, message: &str) {
    socket.send(Message::text(message)).expect("it is sent");
}
