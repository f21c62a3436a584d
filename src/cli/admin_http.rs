//! One request to the admin listener, over TCP or a Unix socket, and its answer as it arrives; or the
//! connection, if it was upgraded.
//!
//! Each wait has a deadline, and ends when the reader of our output is gone.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Read, Write as _};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::admin::ListenAddress;
use crate::domain::secret::Secret;

/// For a connection and for sending the request, on this machine or beside it.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Size limit of a head.
const HEAD_BYTES_MAX: usize = 32 << 10;
/// Bytes of one read.
const READ_BYTES: usize = 64 << 10;

/// Why there is no answer, or no more of it.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The reader of our output is gone.
    OutputClosed,
    /// The connection failed.
    Lost(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Trouble::Lost(error)
    }
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    /// Path and query.
    pub(super) target: &'a str,
    /// With this JSON it is a POST, otherwise a GET.
    pub(super) json: Option<&'a str>,
    pub(super) accept: &'a str,
    /// `Last-Event-ID`; empty for none.
    pub(super) last_id: &'a str,
    /// The key of an upgrade to a WebSocket.
    pub(super) upgrade: Option<&'a str>,
}

/// A client of one listener.
#[derive(Debug, Clone)]
pub(super) struct Client<'a> {
    pub(super) address: ListenAddress,
    pub(super) token: Option<Secret>,
    /// Time limit for the head of an answer.
    pub(super) head_max: Duration,
    /// Where the output goes, if it can be watched.
    pub(super) output: Option<BorrowedFd<'a>>,
}

/// The head of an answer, and its body while it arrives.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    pub(super) status: u16,
    pub(super) content_type: String,
    /// `Sec-WebSocket-Accept`, of an upgrade.
    pub(super) accept: String,
    /// Seconds of `Retry-After`.
    pub(super) retry_after: Option<Duration>,
    socket: Socket,
    /// Received with the head.
    first: Vec<u8>,
    /// Bytes that follow, if their number is known; else the end of the connection is that of the body.
    left: Option<u64>,
    output: Option<BorrowedFd<'a>>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl<'a> Client<'a> {
    /// Sends a request and reads the head of its answer.
    pub(super) fn ask(&self, request: &Request<'_>) -> Result<Answer<'a>, Trouble> {
        let mut socket = Socket::connect(&self.address)?;
        let body = request.json.unwrap_or_default();
        socket.write_all((self.head(request) + body).as_bytes())?;
        socket.set_nonblocking()?;
        let deadline = Instant::now() + self.head_max;
        let mut bytes = Vec::new();
        loop {
            if socket.read_more(&mut bytes, self.output, deadline)? == 0 {
                return Err(cut_off().into());
            }
            if let Some((length, mut answer)) = parsed(&bytes)? {
                bytes.drain(..length);
                answer.first = bytes;
                return Ok(answer.on(socket, self.output));
            }
            if bytes.len() > HEAD_BYTES_MAX {
                return Err(io::Error::from(ErrorKind::InvalidData).into());
            }
        }
    }

    fn head(&self, request: &Request<'_>) -> String {
        let host = match &self.address {
            ListenAddress::Tcp(address) => address.to_string(),
            ListenAddress::Unix(_) => "localhost".to_owned(),
        };
        let method = request.json.map_or("GET", |_| "POST");
        let mut head = format!(
            "{method} {} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: rtmsd/{}\r\nAccept: {}\r\n",
            request.target,
            env!("CARGO_PKG_VERSION"),
            request.accept
        );
        // Writing to a String cannot fail.
        if let Some(token) = &self.token {
            let _ = write!(head, "Authorization: Bearer {}\r\n", token.expose());
        }
        if let Some(json) = request.json {
            let length = json.len();
            let _ = write!(
                head,
                "Content-Type: application/json\r\nContent-Length: {length}\r\n"
            );
        }
        if !request.last_id.is_empty() {
            let _ = write!(head, "Last-Event-ID: {}\r\n", request.last_id);
        }
        let _ = match request.upgrade {
            Some(key) => write!(
                head,
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: {key}\r\n"
            ),
            None => write!(head, "Connection: close\r\n"),
        };
        head + "\r\n"
    }

    /// Waits for a while.
    pub(super) fn pause(&self, span: Duration) -> Result<(), Trouble> {
        match wait(None, self.output, Instant::now() + span) {
            Err(Trouble::Lost(error)) if error.kind() == ErrorKind::TimedOut => Ok(()),
            other => other,
        }
    }
}

/// The fields of a head that matter here.
struct Head {
    status: u16,
    content_type: String,
    accept: String,
    retry_after: Option<Duration>,
    left: Option<u64>,
    first: Vec<u8>,
}

impl Head {
    fn on<'a>(self, socket: Socket, output: Option<BorrowedFd<'a>>) -> Answer<'a> {
        Answer {
            status: self.status,
            content_type: self.content_type,
            accept: self.accept,
            retry_after: self.retry_after,
            socket,
            first: self.first,
            left: self.left,
            output,
        }
    }
}

/// The head at the start of these bytes, and its length; `None` if it is not complete.
fn parsed(bytes: &[u8]) -> io::Result<Option<(usize, Head)>> {
    let other = || io::Error::new(ErrorKind::InvalidData, "the answer is not HTTP");
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut fields);
    let length = match response.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(other()),
    };
    let field = |name: &str| {
        let mut fields = response.headers.iter();
        let found = fields.find(|field| field.name.eq_ignore_ascii_case(name));
        found.and_then(|field| std::str::from_utf8(field.value).ok())
    };
    if field("transfer-encoding").is_some() {
        // Only something between us and the server does that.
        return Err(other());
    }
    let status = response.code.unwrap_or(0);
    let seconds = field("retry-after").and_then(|text| text.trim().parse().ok());
    let head = Head {
        status,
        content_type: field("content-type").unwrap_or_default().to_owned(),
        accept: field("sec-websocket-accept")
            .unwrap_or_default()
            .trim()
            .to_owned(),
        retry_after: seconds.map(Duration::from_secs),
        left: match status {
            204 => Some(0),
            _ => field("content-length").and_then(|digits| digits.trim().parse().ok()),
        },
        first: Vec::new(),
    };
    Ok(Some((length, head)))
}

impl Answer<'_> {
    /// Appends what has arrived; `false` at the end of the body. Nothing for so long is a lost
    /// connection.
    pub(super) fn read(&mut self, body: &mut Vec<u8>, silence: Duration) -> Result<bool, Trouble> {
        if self.left == Some(0) {
            return Ok(false);
        }
        let before = body.len();
        if self.first.is_empty() {
            let deadline = Instant::now() + silence;
            self.socket.read_more(body, self.output, deadline)?;
        } else {
            body.append(&mut self.first);
        }
        let found = (body.len() - before) as u64;
        match &mut self.left {
            Some(_) if found == 0 => Err(cut_off().into()),
            Some(left) => {
                *left = left.saturating_sub(found);
                Ok(true)
            }
            None => Ok(found > 0),
        }
    }

    /// The whole body, within a time and a size.
    pub(super) fn text(&mut self, within: Duration, bytes_max: usize) -> Result<String, Trouble> {
        let deadline = Instant::now() + within;
        let mut body = Vec::new();
        while self.read(
            &mut body,
            deadline.saturating_duration_since(Instant::now()),
        )? {
            if body.len() > bytes_max {
                let error = io::Error::new(ErrorKind::InvalidData, "the answer is too long");
                return Err(error.into());
            }
        }
        Ok(String::from_utf8_lossy(&body).into_owned())
    }
}

/// The connection of an upgrade, once it is open: reads wait, up to a time of silence.
#[derive(Debug)]
pub(super) struct Carrier<'a> {
    answer: Answer<'a>,
    silence: Duration,
    /// The reader of our output is gone.
    pub(super) is_output_closed: bool,
}

impl<'a> Answer<'a> {
    /// Goes on with another protocol.
    pub(super) fn into_carrier(self, silence: Duration) -> Carrier<'a> {
        Carrier {
            answer: self,
            silence,
            is_output_closed: false,
        }
    }
}

impl Read for Carrier<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let answer = &mut self.answer;
        if !answer.first.is_empty() {
            let count = answer.first.len().min(out.len());
            out[..count].copy_from_slice(&answer.first[..count]);
            answer.first.drain(..count);
            return Ok(count);
        }
        let deadline = Instant::now() + self.silence;
        loop {
            match wait(Some(answer.socket.fd()), answer.output, deadline) {
                Ok(()) => {}
                Err(Trouble::Lost(error)) => return Err(error),
                Err(Trouble::OutputClosed) => {
                    self.is_output_closed = true;
                    return Err(ErrorKind::BrokenPipe.into());
                }
            }
            let found = match &mut answer.socket {
                Socket::Tcp(socket) => socket.read(out),
                Socket::Unix(socket) => socket.read(out),
            };
            match found {
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                found => return found,
            }
        }
    }
}

/// Never waits: what is written is a few bytes, from time to time.
impl io::Write for Carrier<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.answer.socket {
            Socket::Tcp(socket) => socket.write(bytes),
            Socket::Unix(socket) => socket.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Socket {
    fn connect(address: &ListenAddress) -> io::Result<Socket> {
        Ok(match address {
            ListenAddress::Tcp(address) => {
                let socket = TcpStream::connect_timeout(address, CONNECT_MAX)?;
                socket.set_write_timeout(Some(CONNECT_MAX))?;
                Socket::Tcp(socket)
            }
            ListenAddress::Unix(path) => {
                let socket = UnixStream::connect(path)?;
                socket.set_write_timeout(Some(CONNECT_MAX))?;
                Socket::Unix(socket)
            }
        })
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Socket::Tcp(socket) => socket.write_all(bytes),
            Socket::Unix(socket) => socket.write_all(bytes),
        }
    }

    fn set_nonblocking(&self) -> io::Result<()> {
        match self {
            Socket::Tcp(socket) => socket.set_nonblocking(true),
            Socket::Unix(socket) => socket.set_nonblocking(true),
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Tcp(socket) => socket.as_fd(),
            Socket::Unix(socket) => socket.as_fd(),
        }
    }

    /// Appends what has arrived, as soon as something has; 0 bytes at the end of the connection.
    fn read_more(
        &mut self,
        bytes: &mut Vec<u8>,
        output: Option<BorrowedFd<'_>>,
        deadline: Instant,
    ) -> Result<usize, Trouble> {
        let before = bytes.len();
        loop {
            wait(Some(self.fd()), output, deadline)?;
            bytes.resize(before + READ_BYTES, 0);
            let found = match self {
                Socket::Tcp(socket) => socket.read(&mut bytes[before..]),
                Socket::Unix(socket) => socket.read(&mut bytes[before..]),
            };
            bytes.truncate(before + *found.as_ref().unwrap_or(&0));
            match found {
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                found => return Ok(found?),
            }
        }
    }
}

fn cut_off() -> io::Error {
    io::Error::new(
        ErrorKind::UnexpectedEof,
        "the connection ended before the answer",
    )
}

/// Waits until there is something to read.
fn wait(
    socket: Option<BorrowedFd<'_>>,
    output: Option<BorrowedFd<'_>>,
    deadline: Instant,
) -> Result<(), Trouble> {
    loop {
        // A pipe without a reader, or a terminal that was closed, reports itself unasked.
        let output = output.map(|output| PollFd::from_borrowed_fd(output, PollFlags::empty()));
        let socket = socket.map(|socket| PollFd::from_borrowed_fd(socket, PollFlags::IN));
        let (watches_output, mut fds) = (output.is_some(), Vec::new());
        fds.extend(output);
        fds.extend(socket);
        let left = deadline.saturating_duration_since(Instant::now());
        // Up to a whole millisecond more, so that the time is over afterwards.
        let left = Timespec::try_from(left + Duration::from_millis(1)).ok();
        let ready = match poll(&mut fds, left.as_ref()) {
            Err(rustix::io::Errno::INTR) => continue,
            ready => ready.map_err(io::Error::from)?,
        };
        if ready == 0 {
            let error = io::Error::new(ErrorKind::TimedOut, "nothing arrives");
            return Err(error.into());
        }
        let gone = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
        if watches_output && fds[0].revents().intersects(gone) {
            return Err(Trouble::OutputClosed);
        }
        return Ok(());
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;
    use std::thread::spawn;

    use super::*;
    use crate::testing::scratch;

    const SILENCE: Duration = Duration::from_secs(20);

    fn client(address: ListenAddress) -> Client<'static> {
        Client {
            address,
            token: Some(Secret::new("hunter2")),
            head_max: SILENCE,
            output: None,
        }
    }

    const REQUEST: Request<'_> = Request {
        target: "/events?after=now",
        json: None,
        accept: "text/event-stream",
        last_id: "7",
        upgrade: None,
    };

    /// The answer's status and body, to a server that says this and closes; and what it was asked.
    fn answered(says: &'static [u8]) -> (Result<(u16, String), Trouble>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = spawn(move || {
            let (mut socket, _) = listener.accept().expect("a client");
            let mut asked = vec![0; 4096];
            let length = socket.read(&mut asked).expect("a request");
            socket.write_all(says).expect("a client");
            String::from_utf8_lossy(&asked[..length]).into_owned()
        });
        let text = client(ListenAddress::Tcp(address))
            .ask(&REQUEST)
            .and_then(|mut answer| Ok((answer.status, answer.text(SILENCE, 1000)?)));
        (text, server.join().expect("no panic"))
    }

    #[test]
    fn a_body_ends_by_its_length_or_with_the_connection() {
        let (answer, asked) = answered(b"HTTP/1.1 200 OK\r\n\r\nab\n");
        assert_eq!(answer.expect("an answer"), (200, "ab\n".to_owned()));
        assert!(asked.starts_with("GET /events?after=now HTTP/1.1\r\nHost: 127.0.0.1:"));
        for field in [
            "Accept: text/event-stream",
            "Authorization: Bearer hunter2",
            "Last-Event-ID: 7",
            "Connection: close",
        ] {
            assert!(asked.contains(&format!("\r\n{field}\r\n")), "{asked}");
        }
        let (answer, _) = answered(b"HTTP/1.1 401 X\r\nContent-Length: 3\r\n\r\nabc");
        assert_eq!(answer.expect("an answer"), (401, "abc".to_owned()));
        let (answer, _) = answered(b"HTTP/1.1 204 X\r\n\r\n");
        assert_eq!(answer.expect("an answer"), (204, String::new()));
    }

    #[test]
    fn with_json_it_is_a_post() {
        let client = client(ListenAddress::Tcp(([127, 0, 0, 1], 1).into()));
        let head = |json| client.head(&Request { json, ..REQUEST });
        let post = head(Some("{}"));
        assert!(post.starts_with("POST /events?after=now HTTP/1.1\r\n"));
        assert!(post.contains("\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"));
        assert!(!head(None).contains("Content-"));
    }

    #[test]
    fn an_answer_that_is_cut_off_or_none_is_a_lost_connection() {
        for says in [
            &b""[..],
            b"HTTP/1.1 200 OK\r\nContent-Le",
            b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"SSH-2.0-OpenSSH\r\n",
        ] {
            let (answer, _) = answered(says);
            assert!(matches!(answer, Err(Trouble::Lost(_))), "{says:?}");
        }
        let long = Box::leak(vec![b'x'; 100 << 10].into_boxed_slice());
        let text = [b"HTTP/1.1 200 OK\r\nA: ", &*long].concat();
        let (answer, _) = answered(Box::leak(text.into_boxed_slice()));
        assert!(matches!(answer, Err(Trouble::Lost(_))));
    }

    #[test]
    fn l9_a_socket_in_the_file_system_is_as_good() {
        let folder = scratch("tail-unix");
        let path = folder.join("admin.sock");
        let listener = UnixListener::bind(&path).expect("a socket");
        let server = spawn(move || {
            let (mut socket, _) = listener.accept().expect("a client");
            let mut asked = [0; 4096];
            let length = socket.read(&mut asked).expect("a request");
            socket
                .write_all(b"HTTP/1.1 200 OK\r\n\r\nab")
                .expect("a client");
            String::from_utf8_lossy(&asked[..length]).into_owned()
        });
        let client = client(ListenAddress::Unix(path));
        let mut answer = client.ask(&REQUEST).expect("an answer");
        assert_eq!(answer.text(SILENCE, 1000).expect("a body"), "ab");
        let asked = server.join().expect("no panic");
        assert!(asked.contains("\r\nHost: localhost\r\n"), "{asked}");
    }

    #[test]
    fn silence_ends_and_so_does_an_output_without_a_reader() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = spawn(move || {
            let (mut socket, _) = listener.accept().expect("a client");
            socket
                .write_all(b"HTTP/1.1 200 OK\r\n\r\n")
                .expect("a client");
            // Until the client has gone.
            let _ = socket.read_to_end(&mut Vec::new());
        });
        let (output, reader) = UnixStream::pair().expect("a pair");
        let client = Client {
            output: Some(output.as_fd()),
            ..client(ListenAddress::Tcp(address))
        };
        let mut answer = client.ask(&REQUEST).expect("an answer");
        let mut read = |silence| answer.read(&mut Vec::new(), silence);
        let silent = read(Duration::from_millis(10));
        assert!(matches!(&silent, Err(Trouble::Lost(e)) if e.kind() == ErrorKind::TimedOut));
        client.pause(Duration::from_millis(1)).expect("a pause");
        drop(reader);
        assert!(matches!(read(SILENCE), Err(Trouble::OutputClosed)));
        assert!(matches!(client.pause(SILENCE), Err(Trouble::OutputClosed)));
        drop(answer);
        server.join().expect("no panic");
    }
}
