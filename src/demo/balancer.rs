//! A load balancer before several servers: round robin by connection, without a look into what is said.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::zoom::record::lock;

/// A server that does not take a connection in this time is passed over.
const CONNECT_MAX: Duration = Duration::from_millis(250);
/// How long a server may say nothing. Zoom waits for 3 s.
const SILENT_MAX: Duration = Duration::from_secs(4);
const STACK_BYTES: usize = 128 << 10;

/// Passes connections on. Dropping it ends it.
pub struct Balancer {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    servers: Mutex<Vec<Option<SocketAddr>>>,
    is_over: AtomicBool,
}

impl Balancer {
    /// Starts it on a free port of loopback, with no server behind it.
    ///
    /// # Errors
    /// If there is no port or no thread.
    pub fn start() -> io::Result<Balancer> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        let thread = Builder::new()
            .name("demo balancer".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || own.accept(&listener))?;
        Ok(Balancer {
            address,
            shared,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The `at`-th server is there from now on; or gets nothing any more.
    pub fn set(&self, at: usize, server: Option<SocketAddr>) {
        let mut servers = lock(&self.shared.servers);
        if servers.len() <= at {
            servers.resize(at + 1, None);
        }
        servers[at] = server;
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Relaxed);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect_timeout(&self.address, CONNECT_MAX);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn accept(&self, listener: &TcpListener) {
        let mut relays: Vec<JoinHandle<()>> = Vec::new();
        let mut turn: usize = 0;
        while !self.is_over.load(Relaxed) {
            let client = match listener.accept() {
                Ok((client, _)) => client,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => {
                    // Out of descriptors: until others end.
                    std::thread::park_timeout(CONNECT_MAX);
                    continue;
                }
            };
            relays.retain(|relay| !relay.is_finished());
            let servers: Vec<SocketAddr> = lock(&self.servers).iter().flatten().copied().collect();
            turn = turn.wrapping_add(1);
            let relay = Builder::new()
                .name("demo relay".to_owned())
                .stack_size(STACK_BYTES)
                .spawn(move || {
                    let count = servers.len();
                    let mut order = (0..count).map(|n| servers[(turn + n) % count]);
                    let connect = |server| TcpStream::connect_timeout(&server, CONNECT_MAX).ok();
                    if let Some(server) = order.find_map(connect) {
                        relay(client, server);
                    }
                });
            relays.extend(relay.ok());
        }
        for relay in relays {
            let _ = relay.join();
        }
    }
}

/// Copies both ways until both have said everything, or one says nothing for too long.
fn relay(client: TcpStream, server: TcpStream) {
    for socket in [&client, &server] {
        let _ = socket.set_read_timeout(Some(SILENT_MAX));
        let _ = socket.set_write_timeout(Some(SILENT_MAX));
    }
    std::thread::scope(|scope| {
        // Without a thread nothing is copied, and both connections end.
        let request = Builder::new()
            .name("demo relay".to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, || copy(&client, &server));
        if request.is_ok() {
            copy(&server, &client);
            // No node waits for the rest of a request that was answered.
            let _ = client.shutdown(Shutdown::Read);
        }
    });
}

fn copy(mut from: &TcpStream, mut to: &TcpStream) {
    let mut bytes = [0; 16 << 10];
    loop {
        match from.read(&mut bytes) {
            Ok(0) | Err(_) => break,
            Ok(count) if to.write_all(&bytes[..count]).is_err() => break,
            Ok(_) => {}
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers each connection with a word.
    fn server(word: &'static str) -> (SocketAddr, JoinHandle<()>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let thread = std::thread::spawn(move || {
            for _ in 0..2 {
                let (mut socket, _) = listener.accept().expect("a connection");
                let mut asked = [0; 4];
                socket.read_exact(&mut asked).expect("a question");
                socket.write_all(word.as_bytes()).expect("it listens");
            }
        });
        (address, thread)
    }

    fn ask(balancer: &Balancer) -> String {
        let mut socket = TcpStream::connect(balancer.address()).expect("it listens");
        socket.write_all(b"who?").expect("it reads");
        let mut answer = String::new();
        // One that is not served is closed with the question unread.
        match socket.read_to_string(&mut answer) {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
            _ => answer,
        }
    }

    #[test]
    fn connections_go_round_and_pass_over_who_is_gone() {
        let balancer = Balancer::start().expect("a port");
        assert_eq!(ask(&balancer), "", "no server is there");
        let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let ((a, first), (b, second)) = (server("a"), server("b"));
        balancer.set(0, Some(a));
        balancer.set(2, Some(b));
        let mut answers: Vec<String> = (0..2).map(|_| ask(&balancer)).collect();
        balancer.set(1, gone.local_addr().ok());
        drop(gone);
        while answers.len() < 4 {
            answers.push(ask(&balancer));
        }
        assert_eq!(answers.concat().len(), 4, "{answers:?}");
        drop(balancer);
        for thread in [first, second] {
            thread.join().expect("each was asked twice");
        }
    }
}
