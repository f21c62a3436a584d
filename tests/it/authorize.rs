//! `rtmsd authorize` with the real binary: by the public listener, by a loopback port, pasted.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rtmsd::demo::{Credentials, Options, Step};

use crate::harness::{
    Harness, RTMSD, Secrets, free_port, http, open, plain, report, wait_until, wait_until_over,
    wait_until_streaming,
};

const REDIRECT: &str = "https://rtms.example.com/oauth";

/// A Zoom whose app no user has authorized.
pub(crate) fn consent() -> Options {
    Options {
        credentials: Credentials::Consent,
        ..Options::default()
    }
}

/// The running command.
pub(crate) struct Authorizing {
    child: Child,
    stdin: Option<ChildStdin>,
    said: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Authorizing {
    /// Starts it with this configuration.
    pub(crate) fn start(config: &std::path::Path) -> Authorizing {
        Authorizing::start_with(config, &[])
    }

    /// Likewise, with further arguments.
    pub(crate) fn start_with(config: &std::path::Path, arguments: &[&str]) -> Authorizing {
        let mut command = Command::new(RTMSD);
        command.arg("authorize").arg("--config").arg(config);
        command.args(arguments);
        let pipes = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = pipes.spawn().expect("it starts");
        let said = Arc::new(Mutex::new(String::new()));
        let stdout = child.stdout.take().expect("piped");
        let kept = Arc::clone(&said);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let mut kept = kept.lock().expect("no panic");
                kept.push_str(&line);
                kept.push('\n');
            }
        });
        Authorizing {
            stdin: child.stdin.take(),
            child,
            said,
            reader: Some(reader),
        }
    }

    fn said(&self) -> String {
        self.said.lock().expect("no panic").clone()
    }

    /// The address that a person should open.
    pub(crate) fn address(&self) -> String {
        let mut address = String::new();
        wait_until("the address", || {
            let said = self.said();
            let found = said.lines().find(|line| line.contains("/oauth/authorize?"));
            address = found.map(|line| line.trim().to_owned()).unwrap_or_default();
            // The line behind it is there too.
            !address.is_empty() && said.contains("Then ")
        });
        address
    }

    fn paste(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().expect("it is open");
        let written = writeln!(stdin, "{text}");
        // It may have read enough, and be gone.
        if written.is_err_and(|error| error.kind() != io::ErrorKind::BrokenPipe) {
            panic!("it does not read");
        }
    }

    /// Waits for its end: exit code, and what it said on both streams.
    pub(crate) fn end(mut self) -> (i32, String) {
        let mut status = None;
        wait_until("its end", || {
            status = self.child.try_wait().expect("a child");
            status.is_some()
        });
        let _ = self.reader.take().map(JoinHandle::join);
        let mut stderr = String::new();
        let pipe = self.child.stderr.as_mut().expect("piped");
        pipe.read_to_string(&mut stderr).expect("text");
        let code = status.and_then(|status| status.code()).expect("a code");
        (code, format!("{}{stderr}", self.said()))
    }
}

impl Drop for Authorizing {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let mut stderr = String::new();
            let pipe = self.child.stderr.as_mut();
            let _ = pipe.map(|pipe| pipe.read_to_string(&mut stderr));
            report(&format!("the command said: {}{stderr}", self.said()));
        }
    }
}

/// What a browser gets at the place to which it was sent, if the proxy leads there.
pub(crate) fn follow(server: SocketAddr, location: &str) -> (u16, String) {
    let target = location
        .strip_prefix("https://rtms.example.com")
        .expect("the redirect");
    http::get(server, target)
}

#[test]
fn a_running_server_takes_the_token_of_a_person_who_comes_back() {
    let harness = Harness::start(consent(), &[("RTMS_LOG", "trace")]);
    // Before anybody has authorized the app, a meeting cannot be started.
    let meeting = harness.zoom.start_meeting(open("early"));
    harness.wait_until_logged(&[
        " ERROR ",
        "no user has authorized the app yet",
        "rtmsd authorize",
    ]);
    assert!(meeting.time_of(Step::StartCalled).is_none());

    let command = Authorizing::start(&harness.folder.join("rtms.conf"));
    let address = command.address();
    let location = harness.zoom.consent(&address, true).expect("a page");
    assert!(location.starts_with(REDIRECT), "{location}");
    // A forged or foreign callback is not accepted, and changes nothing.
    let state = location.split("state=").nth(1).expect("a state");
    for wrong in [
        "/oauth".to_owned(),
        "/oauth?code=stolen&state=guessed".to_owned(),
        format!("/oauth?code=stolen&state={}x", state),
    ] {
        let (status, said) = http::get(harness.address(), &wrong);
        assert_eq!(status, 400, "{wrong}: {said}");
    }
    let (status, said) = follow(harness.address(), &location);
    assert_eq!(status, 200, "{said}");
    // The same address once more.
    assert_eq!(follow(harness.address(), &location).0, 400);
    let (code, said) = command.end();
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("user     Ada Demo <ada@example.com>"),
        "{said}"
    );
    assert!(said.contains("account  DemoAccount-7Qx"), "{said}");
    assert!(
        said.contains("scopes   meeting:update:participant_rtms_app_status:admin"),
        "{said}"
    );
    // The server uses it at once: the meeting that could not be started is.
    wait_until_streaming(&meeting);
    assert_eq!(follow(harness.address(), &location).0, 400);

    let secrets = Secrets::of(&harness.zoom, &[&meeting])
        .and("code", "demo-code-")
        .and("a stolen code", "stolen");
    secrets.assert_not_in("the command", &said);
    secrets.assert_not_in("the log", &harness.server.log().join("\n"));
    secrets.assert_not_below(&harness.state(), "grant-1.json");
    harness.leave();
}

#[test]
fn a_loopback_port_takes_the_code_and_a_later_server_uses_the_token() {
    let port = free_port();
    let mut harness = Harness::builder(Options {
        redirect_url: format!("http://127.0.0.1:{port}/oauth"),
        ..consent()
    })
    .without_server();
    let checked = harness.run_with(&[], &["check"]);
    assert!(
        checked.stdout.contains("user OAuth by \"rtmsd authorize\""),
        "{checked:?}"
    );
    let command = Authorizing::start(&harness.folder.join("command.conf"));
    let address = command.address();
    // The page that a person sees.
    let rest: SocketAddr = harness.zoom.api_url()["http://".len()..]
        .parse()
        .expect("one");
    let path = &address[harness.zoom.api_url().len()..];
    let (status, page) = http::get(rest, path);
    assert!(
        status == 200 && page.contains(">Allow</a>"),
        "{status} {page}"
    );
    let location = harness.zoom.consent(&address, true).expect("a page");
    let target = &location[format!("http://127.0.0.1:{port}").len()..];
    let own: SocketAddr = ([127, 0, 0, 1], port).into();
    assert_eq!(http::get(own, "/favicon.ico").0, 404);
    for wrong in ["/oauth", "/oauth?x", "/oauth?code=x&state=y"] {
        assert_eq!(http::get(own, wrong).0, 400, "{wrong}");
    }
    assert_eq!(http::get(own, target).0, 200);
    let (code, said) = command.end();
    assert_eq!(code, 0, "{said}");
    harness.start_server();
    let meeting = harness.zoom.start_meeting(plain("later", 10));
    wait_until_over(&meeting);
    harness.end();
}

#[test]
fn what_goes_wrong_is_said() {
    let harness = Harness::start(
        Options {
            scopes: "meeting:read:meeting_transcript user:read:user".to_owned(),
            ..consent()
        },
        &[],
    );
    let config = harness.folder.join("rtms.conf");

    let command = Authorizing::start(&config);
    let address = command.address();
    let location = harness.zoom.consent(&address, false).expect("a page");
    assert_eq!(follow(harness.address(), &location).0, 200);
    let (code, said) = command.end();
    assert_eq!(code, 77, "{said}");
    assert!(
        said.contains("not authorized: Zoom's page says \"access_denied\""),
        "{said}"
    );

    // Pasted; at first something else.
    let mut command = Authorizing::start(&config);
    let address = command.address();
    command.paste("https://rtms.example.com/oauth?code=demo-code-other&state=another");
    wait_until("the refusal", || {
        command
            .said()
            .contains("That is not what Zoom's page led to")
    });
    let location = harness.zoom.consent(&address, true).expect("a page");
    command.paste(&location);
    let (code, said) = command.end();
    assert_eq!(code, 77, "{said}");
    let missing = "the token lacks meeting:update:participant_rtms_app_status";
    assert!(said.contains(missing), "{said}");

    // A code that Zoom has taken already.
    let mut command = Authorizing::start(&config);
    let address = command.address();
    let used = location.split(['=', '&']).nth(1).expect("a code");
    let fresh = harness.zoom.consent(&address, true).expect("a page");
    let state = fresh.split("state=").nth(1).expect("a state");
    command.paste(&format!("{REDIRECT}?code={used}&state={state}"));
    let (code, said) = command.end();
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("code 4733"), "{said}");
    assert!(!said.contains(used), "{said}");
    harness.end();
}

#[test]
fn what_is_pasted_without_end_is_not_read_without_end() {
    // The server would notice a person who comes back.
    let harness = Harness::start(consent(), &[]);
    let mut command = Authorizing::start(&harness.folder.join("rtms.conf"));
    let address = command.address();
    for _ in 0..5 {
        command.paste("https://rtms.example.com/oauth?code=a&state=b");
    }
    // It would be taken if more were read.
    let location = harness.zoom.consent(&address, true).expect("a page");
    command.paste(&location);
    wait_until("the last refusal", || {
        command.said().matches("That is not what").count() == 5
    });
    assert_eq!(follow(harness.address(), &location).0, 200);
    let (code, said) = command.end();
    assert_eq!(code, 0, "{said}");
    harness.end();

    // Without a server, nothing else can happen; nor after the end of the input.
    for paste in ["\n\n\n\n\n\n\n", "two words\n\n"] {
        let harness = Harness::builder(consent()).without_server();
        let _ = harness.run_with(&[], &["check"]);
        let mut command = Authorizing::start(&harness.folder.join("command.conf"));
        command.address();
        command.paste(paste);
        command.stdin = None;
        let (code, said) = command.end();
        assert_eq!(code, 69, "{said}");
        assert!(
            said.contains("nothing more can be pasted; start again"),
            "{said}"
        );
    }
}

#[test]
fn other_credentials_are_named_before_anybody_opens_a_page() {
    let harness = Harness::builder(Options::default()).without_server();
    let ran = harness.run_with(&[], &["authorize"]);
    assert_eq!(ran.code, Some(78));
    assert!(
        ran.stdout.contains("ZOOM_REDIRECT_URL: not given"),
        "{ran:?}"
    );
    let harness = Harness::builder(Options::default())
        .settings(&[("ZOOM_REDIRECT_URL", REDIRECT)])
        .without_server();
    let ran = harness.run_with(&[], &["authorize"]);
    assert_eq!(ran.code, Some(78));
    assert!(ran.stdout.contains("ZOOM_ACCOUNT_ID: found"), "{ran:?}");
}
