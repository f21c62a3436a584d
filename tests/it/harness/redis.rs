//! A real `redis-server`, and the smallest client for it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use rtmsd::daemon::fleet_store::Value;

use super::{KilledOnDrop, PATIENCE, TempDir, free_port, report, wait_until};

/// A server on a port and a Unix socket, in a folder of its own, without files unless told so.
pub(crate) struct Redis {
    program: String,
    /// What it calls itself, in small letters.
    pub(crate) product: &'static str,
    folder: TempDir,
    port: u16,
    options: Vec<String>,
    process: Mutex<Option<KilledOnDrop>>,
}

impl Redis {
    /// Starts one. `None`, with a line, where it is not installed. `RTMSD_REDIS` names another program, such as
    /// `valkey-server` or the path of a Redis 6.2, and requires it, as `.ci/run` does. It must be built with TLS.
    pub(crate) fn start(options: &[&str]) -> Option<Redis> {
        let wanted = std::env::var("RTMSD_REDIS").ok();
        let program = wanted.as_deref().unwrap_or("redis-server");
        let version = match Command::new(program).arg("--version").output() {
            Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
            Err(error) => {
                assert_eq!(wanted, None, "{program}: {error}");
                report("skipped: redis-server is not installed");
                return None;
            }
        };
        // Before 7.0 DEBUG is always allowed, and this option stops the server.
        let allow_debug: &[&str] = match version.contains(" v=6.") {
            true => &[],
            false => &["--enable-debug-command", "yes"],
        };
        let product = match version.starts_with("Valkey") {
            true => "valkey",
            false => "redis",
        };
        let options = allow_debug.iter().chain(options);
        let redis = Redis {
            program: program.to_owned(),
            product,
            folder: TempDir::new(),
            port: free_port(),
            options: options.map(|option| (*option).to_owned()).collect(),
            process: Mutex::new(None),
        };
        redis.run();
        Some(redis)
    }

    /// Its socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("redis.sock")
    }

    /// Its port of loopback.
    #[cfg(feature = "fleet")]
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Kills it, and waits until it is gone.
    #[cfg(feature = "fleet")]
    pub(crate) fn kill(&self) {
        *self.process.lock().expect("no panic before") = None;
        let _ = std::fs::remove_file(self.socket());
    }

    /// Starts it; it must not run.
    pub(crate) fn run(&self) {
        let process = Command::new(&self.program)
            .args(["--port", &self.port.to_string(), "--save", ""])
            .args(["--unixsocket", "redis.sock", "--dir", "."])
            .args(&self.options)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        let process = KilledOnDrop(process.expect("it starts"));
        *self.process.lock().expect("no panic before") = Some(process);
        wait_until("redis-server takes connections", || {
            UnixStream::connect(self.socket()).is_ok()
        });
    }

    /// A connection.
    pub(crate) fn client(&self) -> Client {
        let stream = UnixStream::connect(self.socket()).expect("redis-server runs");
        let patience = Some(PATIENCE.max(Duration::from_secs(1)));
        stream.set_read_timeout(patience).expect("a socket");
        Client(BufReader::new(stream))
    }
}

/// One command at a time; panics where the server does not speak RESP2.
pub(crate) struct Client(BufReader<UnixStream>);

impl Client {
    /// Sends words, and waits for the reply.
    pub(crate) fn words(&mut self, words: &[impl AsRef<[u8]>]) -> Value {
        self.send(words);
        self.reply()
    }

    /// Sends words.
    pub(crate) fn send(&mut self, words: &[impl AsRef<[u8]>]) {
        let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            let word = word.as_ref();
            bytes.extend(format!("${}\r\n", word.len()).into_bytes());
            bytes.extend(word);
            bytes.extend(b"\r\n");
        }
        self.0
            .get_mut()
            .write_all(&bytes)
            .expect("redis-server runs");
    }

    /// Sends the words of a line.
    pub(crate) fn line(&mut self, line: &str) -> Value {
        self.words(&line.split(' ').collect::<Vec<_>>())
    }

    /// Waits for a reply.
    pub(crate) fn reply(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a reply");
        let line = line.trim_end();
        let (kind, rest) = line.split_at(1);
        let number = || rest.parse::<i64>().expect("a number");
        match kind {
            "+" => Value::text(rest),
            "-" => Value::Error(rest.to_owned()),
            ":" => Value::Int(number()),
            "$" | "*" if number() < 0 => Value::Nil,
            "$" => {
                let mut bytes = vec![0; number() as usize + 2];
                self.0.read_exact(&mut bytes).expect("a reply");
                bytes.truncate(bytes.len() - 2);
                Value::Bytes(bytes)
            }
            "*" => Value::Array((0..number()).map(|_| self.reply()).collect()),
            _ => panic!("not RESP2: {line}"),
        }
    }
}
