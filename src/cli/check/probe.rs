//! `rtmsd check --live` and `--ready`: asks the admin listener of the running server, for the health check
//! of a container whose image holds no other program that could ask.
//!
//! Exit codes: 0 yes; 69 no, or no answer; 78 the admin listener is off.

use std::io::Write;
use std::time::Duration;

use crate::admin;
use crate::cli::admin_client;
use crate::cli::exit::{self, Failure};

/// Time limit for the answer, which takes milliseconds: less than that of the health checks of Docker and
/// of the manual's manifest, so that the reason is printed.
const ANSWER_MAX: Duration = Duration::from_secs(4);

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// Whether the daemon responds; if not, it should be started again.
    Live,
    /// Whether it takes new streams.
    Ready,
}

impl Probe {
    fn path(self) -> &'static str {
        match self {
            Probe::Live => "/healthz",
            Probe::Ready => "/readyz",
        }
    }
}

/// Asks, and prints the server's answer, or why there is none.
pub fn run(settings: &admin::Settings, probe: Probe, out: &mut impl Write) -> u8 {
    let (code, text) = match ask(settings, probe) {
        Ok(text) => (exit::OK, text),
        Err(Failure(code, text)) => (code, format!("check: {text}")),
    };
    // A closed stdout changes no answer.
    let _ = writeln!(out, "{}", text.trim_end());
    code
}

fn ask(settings: &admin::Settings, probe: Probe) -> Result<String, Failure> {
    let address = admin_client::address(settings)?;
    let token = settings.token.as_ref();
    let answer = admin_client::ask(&address, probe.path(), None, token, ANSWER_MAX)?;
    match answer.status {
        200 => Ok(answer.text),
        status => {
            let place = admin_client::shown(&address);
            let text = format!("{place} answers {status}: {}", answer.text.trim_end());
            Err(Failure(exit::UNAVAILABLE, text))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;
    use crate::admin::ListenAddress;

    #[test]
    fn what_is_not_200_is_a_no_with_its_reason() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().expect("a client");
            let mut head = Vec::new();
            let mut part = [0; 1024];
            while !head.ends_with(b"\r\n\r\n") {
                let count = socket.read(&mut part).expect("a request");
                assert_ne!(count, 0, "the request is cut off");
                head.extend_from_slice(&part[..count]);
            }
            let body = "draining: the server is stopping\n";
            let length = body.len();
            write!(
                socket,
                "HTTP/1.1 503 Unavailable\r\nContent-Length: {length}\r\n\r\n{body}"
            )
            .expect("an answer");
            String::from_utf8(head).expect("text")
        });
        let settings = admin::Settings {
            listen: vec![ListenAddress::Tcp(address)],
            ..admin::Settings::default()
        };
        let mut out = Vec::new();
        assert_eq!(run(&settings, Probe::Ready, &mut out), exit::UNAVAILABLE);
        let text = String::from_utf8(out).expect("text");
        assert_eq!(
            text,
            format!("check: http://{address} answers 503: draining: the server is stopping\n")
        );
        let head = server.join().expect("no panic");
        assert!(head.starts_with("GET /readyz HTTP/1.1\r\n"), "{head}");
    }
}
