//! A scripted HTTP/1.1 server, with faults.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use native_tls::TlsAcceptor;

use super::PATIENCE;

/// A received request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map_or("", |(_, value)| value.as_str())
    }
}

/// What to answer.
#[derive(Clone)]
pub(crate) enum Answer {
    /// A valid answer.
    Http {
        status: u16,
        headers: Vec<(String, String)>,
        body: String,
    },
    /// These bytes, then the connection is closed.
    Raw(Vec<u8>),
    /// The connection is reset.
    Reset,
    /// No answer until the server is dropped.
    Hang,
}

impl Answer {
    pub(crate) fn json(status: u16, body: impl Into<String>) -> Answer {
        Answer::Http {
            status,
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            body: body.into(),
        }
    }

    pub(crate) fn empty(status: u16) -> Answer {
        Answer::Http {
            status,
            headers: Vec::new(),
            body: String::new(),
        }
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Answer {
        if let Answer::Http { headers, .. } = &mut self {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }
}

type Script = dyn Fn(&Request) -> Answer + Send + Sync;

/// The server; dropping it closes all connections.
pub(crate) struct Scripted {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
    scheme: &'static str,
}

struct Shared {
    script: Box<Script>,
    tls: Option<TlsAcceptor>,
    requests: Mutex<Vec<Request>>,
    is_over: AtomicBool,
    over: (Mutex<bool>, Condvar),
}

impl Scripted {
    pub(crate) fn start(script: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Scripted {
        Scripted::with_tls(None, script)
    }

    /// At an address of this machine.
    pub(crate) fn at(
        address: &str,
        script: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> Scripted {
        Scripted::listen(TcpListener::bind(address).unwrap(), None, script)
    }

    pub(crate) fn with_tls(
        tls: Option<TlsAcceptor>,
        script: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> Scripted {
        Scripted::listen(TcpListener::bind("127.0.0.1:0").unwrap(), tls, script)
    }

    fn listen(
        listener: TcpListener,
        tls: Option<TlsAcceptor>,
        script: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> Scripted {
        let address = listener.local_addr().unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let shared = Arc::new(Shared {
            script: Box::new(script),
            tls,
            requests: Mutex::default(),
            is_over: AtomicBool::new(false),
            over: (Mutex::new(false), Condvar::new()),
        });
        let for_acceptor = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if for_acceptor.is_over.load(Ordering::SeqCst) {
                    break;
                }
                let shared = Arc::clone(&for_acceptor);
                let stream = stream.unwrap();
                // A client that disconnects in the middle is not a fault of the test.
                std::thread::spawn(move || shared.serve(stream));
            }
        });
        Scripted {
            address,
            shared,
            acceptor: Some(acceptor),
            scheme,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        *self.shared.over.0.lock().unwrap() = true;
        self.shared.over.1.notify_all();
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.join().unwrap();
        }
    }
}

trait Both: Read + Write {}
impl<T: Read + Write> Both for T {}

impl Shared {
    fn serve(&self, stream: TcpStream) {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let socket = stream.try_clone().unwrap();
        let stream: Box<dyn Both> = match &self.tls {
            Some(tls) => match tls.accept(stream) {
                Ok(stream) => Box::new(stream),
                Err(_) => return,
            },
            None => Box::new(stream),
        };
        let mut stream = BufReader::new(stream);
        while let Some(request) = read(&mut stream) {
            self.requests.lock().unwrap().push(request.clone());
            let out = stream.get_mut();
            match (self.script)(&request) {
                Answer::Http {
                    status,
                    headers,
                    body,
                } => {
                    let mut head = format!("HTTP/1.1 {status} Scripted\r\n");
                    for (name, value) in headers {
                        head.push_str(&format!("{name}: {value}\r\n"));
                    }
                    if status != 204 {
                        head.push_str(&format!("content-length: {}\r\n", body.len()));
                    }
                    let answer = format!("{head}\r\n{body}");
                    if out.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                    let _ = out.flush();
                }
                Answer::Raw(bytes) => {
                    let _ = out.write_all(&bytes);
                    let _ = out.flush();
                    let _ = socket.shutdown(std::net::Shutdown::Both);
                    return;
                }
                Answer::Reset => {
                    // With a linger time of zero, closing is a reset.
                    rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).unwrap();
                    return;
                }
                Answer::Hang => {
                    let over = self.over.0.lock().unwrap();
                    let _over = self.over.1.wait_while(over, |over| !*over).unwrap();
                    return;
                }
            }
        }
    }
}

fn read(stream: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    if stream.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let mut words = line.split(' ');
    let mut request = Request {
        method: words.next()?.to_owned(),
        path: words.next()?.to_owned(),
        ..Request::default()
    };
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        request
            .headers
            .push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = request.header("content-length").parse().unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    request.body = String::from_utf8(body).ok()?;
    Some(request)
}
