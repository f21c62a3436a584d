//! A program of its own that receives streams and does nothing else: one thread for each, which waits with
//! epoll for its two sockets, appends each phrase to two files as it came, and answers keep-alives. It reads no
//! JSON once a stream has been joined, checks nothing, survives nothing. What rtmsd needs beyond it is the
//! price of being rtmsd.
//!
//! The bench starts itself again as this program, so that the kernel counts its time apart from the demo's.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::{env, fs};

use rtmsd::demo::Zoom;
use rtmsd::domain::secret::Secret;
use rustix::event::epoll::{self, EventData, EventFlags};
use serde_json::Value;
use tungstenite::{Error, Message};

use super::join::{self, Socket};

/// The folder of its files; that it is set makes the bench this program.
const FOLDER: &str = "RTMSD_BENCH_BARE";

const SIGNALING: u64 = 0;
const MEDIA: u64 = 1;

/// The program as a child of the bench.
pub(crate) struct BareServer {
    child: Child,
    pub(crate) out: PathBuf,
}

impl BareServer {
    /// Starts it and sends a Zoom's webhooks to it.
    pub(crate) fn start(zoom: &Zoom) -> BareServer {
        let out = env::temp_dir().join(format!("rtmsd-bench-bare-{}", std::process::id()));
        let _ = fs::remove_dir_all(&out);
        fs::create_dir_all(&out).expect("a temporary folder");
        let mut child = Command::new(env::current_exe().expect("this program"))
            .envs(zoom.environment())
            .env(FOLDER, &out)
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts");
        let mut address = String::new();
        BufReader::new(child.stdout.take().expect("piped"))
            .read_line(&mut address)
            .expect("its address");
        zoom.set_webhook_target(&format!("http://{}/webhook", address.trim()))
            .expect("a URL");
        BareServer { child, out }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn stop(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.out);
    }
}

/// Becomes the program if the bench has started this process as such.
pub(crate) fn run_if_it_is_one() {
    let Some(out) = env::var_os(FOLDER).map(PathBuf::from) else {
        return;
    };
    let of = |name: &str| env::var(name).expect("the bench sets it");
    let app = (of("ZOOM_CLIENT_ID"), Secret::new(of("ZOOM_CLIENT_SECRET")));
    let pem = fs::read(of("RTMS_CA_FILE")).expect("the CA");
    let shared = Arc::new((app, pem, out));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    println!("{}", listener.local_addr().expect("bound"));
    for count in 0.. {
        let webhook = join::webhook(&listener);
        if webhook["event"] == "meeting.rtms_started" {
            let shared = Arc::clone(&shared);
            let stream = move || {
                let ((id, secret), pem, out) = &*shared;
                receive(
                    &webhook["payload"],
                    (id, secret),
                    pem,
                    out.join(count.to_string()),
                )
            };
            thread::Builder::new()
                .stack_size(256 << 10)
                .spawn(stream)
                .expect("a thread");
        }
    }
}

/// Receives a stream until Zoom closes it.
fn receive(payload: &Value, app: (&str, &Secret), pem: &[u8], folder: PathBuf) {
    // Room for several phrases, and no more, for there are thousands of streams.
    let (mut signaling, mut media) = join::join(payload, app, pem, 4096);
    fs::create_dir(&folder).expect("a folder");
    let mut files = ["transcript.jsonl", "second.jsonl"].map(|name| append(folder.join(name)));
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("epoll");
    for (socket, which) in [(&mut signaling, SIGNALING), (&mut media, MEDIA)] {
        let tcp = socket.get_mut().get_mut();
        tcp.set_nonblocking(true).expect("a TCP socket");
        epoll::add(
            &epoll,
            tcp.as_fd(),
            EventData::new_u64(which),
            EventFlags::IN,
        )
        .expect("a socket");
    }
    let mut events = Vec::with_capacity(2);
    loop {
        // What came with the last answer of joining is read before the first wait.
        if drain(&mut signaling, &mut []).is_err() || drain(&mut media, &mut files).is_err() {
            return;
        }
        events.clear();
        match epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("epoll: {error}"),
        }
    }
}

fn append(path: PathBuf) -> File {
    let mut options = OpenOptions::new();
    options
        .create(true)
        .append(true)
        .open(path)
        .expect("a file")
}

/// Takes what has come; an error ends the stream.
fn drain(socket: &mut Socket, files: &mut [File]) -> Result<(), Error> {
    loop {
        let message = match socket.read() {
            Ok(Message::Text(text)) => text,
            Ok(_) => continue,
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        if let Some((before, after)) = message.split_once("\"msg_type\":12") {
            socket.send(Message::text(format!("{before}\"msg_type\":13{after}")))?;
        } else if message.contains("\"msg_type\":17") {
            for file in &mut *files {
                let mut line = Vec::with_capacity(message.len() + 1);
                line.extend_from_slice(message.as_bytes());
                line.push(b'\n');
                file.write_all(&line).expect("it is written");
            }
        }
    }
}
