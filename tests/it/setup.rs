//! `rtmsd setup`, through a pseudo-terminal as a person would, and by options alone.

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use rtmsd::demo::{Credentials, EventsBy, Options, Zoom};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::harness::{RTMSD, TempDir, free_port, http, open, report, run_to_end, wait_until};

/// `rtmsd setup` with this Zoom's addresses in its environment, as a demo would set them.
fn command(zoom: &Zoom, folder: &Path) -> Command {
    let mut command = Command::new(RTMSD);
    command
        .arg("setup")
        .arg("--config")
        .arg(folder.join("rtms.conf"))
        .env("ZOOM_API_URL", zoom.api_url())
        .env("ZOOM_OAUTH_URL", zoom.oauth_url())
        .env("RTMS_ALLOWED_HOSTS", &zoom.options().host)
        .env("RTMS_CA_FILE", zoom.ca_file())
        .env("RTMS_OUT", folder.join("out"))
        .env("RTMS_STATE", folder.join("state"))
        .env("RTMS_ADMIN", "off");
    command
}

/// A process whose terminal this is.
struct Terminal {
    child: Child,
    master: fs::File,
    said: Arc<Mutex<String>>,
    reader: JoinHandle<()>,
    seen: usize,
}

impl Terminal {
    fn start(mut command: Command) -> Terminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&master).expect("a terminal");
        unlockpt(&master).expect("a terminal");
        let name = ptsname(&master, Vec::new()).expect("a name");
        let slave = || {
            let mut options = fs::OpenOptions::new();
            let path = name.to_str().expect("a path");
            Stdio::from(
                options
                    .read(true)
                    .write(true)
                    .open(path)
                    .expect("its other end"),
            )
        };
        command.stdin(slave()).stdout(slave()).stderr(slave());
        let child = command.spawn().expect("it starts");
        // The slave's ends of this process are closed with the command.
        drop(command);
        let master = fs::File::from(master);
        let said = Arc::new(Mutex::new(String::new()));
        let (mut reader, kept) = (master.try_clone().expect("a file"), Arc::clone(&said));
        let reader = std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            // The read fails when the other end is closed.
            while let Ok(count @ 1..) = reader.read(&mut chunk) {
                let text = String::from_utf8_lossy(&chunk[..count]);
                kept.lock().expect("no panic").push_str(&text);
            }
        });
        Terminal {
            child,
            master,
            said,
            reader,
            seen: 0,
        }
    }

    fn said(&self) -> String {
        self.said.lock().expect("no panic").clone()
    }

    /// Waits until the screen shows this, after what was waited for before; returns what follows.
    #[track_caller]
    fn wait_for(&mut self, text: &str) -> String {
        let mut rest = String::new();
        wait_until(text, || {
            let said = self.said();
            let Some(at) = said[self.seen..].find(text) else {
                return false;
            };
            self.seen += at + text.len();
            rest = said[self.seen..].to_owned();
            true
        });
        rest
    }

    #[track_caller]
    fn answer(&mut self, question: &str, answer: &str) {
        self.wait_for(question);
        self.wait_for(": ");
        self.type_in(&format!("{answer}\n"));
    }

    fn type_in(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).expect("a terminal");
    }

    /// Waits for the end of the process; returns its code, and all that it said.
    #[track_caller]
    fn end(mut self) -> (Option<i32>, String) {
        let mut status = None;
        wait_until("its end", || {
            status = self.child.try_wait().expect("a child");
            status.is_some()
        });
        // Its last words may be on their way to the reader.
        wait_until("the end of its words", || self.reader.is_finished());
        (status.and_then(|status| status.code()), self.said())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if std::thread::panicking() {
            report(&format!("the screen:\n{}", self.said()));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_person_gets_from_nothing_to_the_first_phrase() {
    let port = free_port();
    let zoom = Zoom::start(Options {
        events_by: EventsBy::WebSocket,
        credentials: Credentials::Consent,
        redirect_url: format!("http://127.0.0.1:{port}/oauth"),
        ..Options::default()
    })
    .expect("a Zoom");
    let folder = TempDir::new();
    let options = zoom.options();
    let begun = Instant::now();
    let mut terminal = Terminal::start(command(&zoom, folder.path()));
    terminal.answer("Client ID", &options.client_id);
    terminal.answer("Client secret", &options.client_secret);
    terminal.answer("Which way (websocket, webhooks) [websocket]", "");
    // What people copy from the wrong place.
    terminal.answer("Address", "https://example.com/webhook");
    terminal.wait_for("expected the address on the app's page");
    terminal.answer("Address", &zoom.events_url());
    terminal.answer("Which one (user, s2s, none) [user]", "");
    terminal.answer("Redirect URL", &options.redirect_url);
    let rest = terminal.wait_for("is written, for you alone to read (mode 0600)");
    drop(rest);
    terminal.wait_for("/oauth/authorize?");
    terminal.wait_for("Then come back here");
    let said = terminal.said();
    let line = said.lines().find(|line| line.contains("/oauth/authorize?"));
    let address = line.expect("the address").trim();
    let location = zoom.consent(address, true).expect("a page");
    let target = &location[format!("http://127.0.0.1:{port}").len()..];
    assert_eq!(
        http::get(SocketAddr::from(([127, 0, 0, 1], port)), target).0,
        200
    );
    terminal.wait_for("user     Ada Demo");
    terminal.wait_for("ok    subscription: Zoom accepts the connection");
    terminal.wait_for("ok    redirect: ");
    terminal.wait_for("ok    the server is up");
    let meeting = zoom.start_meeting(open("setup"));
    for step in [
        "ok    an event has come from Zoom",
        "ok    a stream has started",
        "ok    the stream is connected",
        "ok    the first phrase: ",
        "It works, ",
    ] {
        terminal.wait_for(step);
    }
    let (code, said) = terminal.end();
    report(&format!(
        "setup: from start to the first phrase in {:.1} s",
        begun.elapsed().as_secs_f32()
    ));
    assert_eq!(code, Some(0), "{said}");
    assert!(
        !said.contains(&options.client_secret),
        "the secret is not shown"
    );
    let conf = folder.join("rtms.conf");
    let mode = fs::metadata(&conf).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = fs::read_to_string(&conf).expect("a file");
    assert!(text.contains("\nPORT=off\n"), "{text}");
    drop(meeting);
    assert_eq!(zoom.stop(), Vec::<String>::new());
}

#[test]
fn it_can_be_left_and_taken_up_again() {
    let zoom = Zoom::start(Options {
        events_by: EventsBy::WebSocket,
        ..Options::default()
    })
    .expect("a Zoom");
    let folder = TempDir::new();
    let options = zoom.options();
    let mut terminal = Terminal::start(command(&zoom, folder.path()));
    terminal.answer("Client ID", &options.client_id);
    terminal.answer("Client secret", &options.client_secret);
    terminal.wait_for("Which way");
    // Ctrl-D at the start of a line.
    terminal.type_in("\u{4}");
    let (code, said) = terminal.end();
    assert_eq!(code, Some(69), "{said}");
    assert!(
        said.contains("rtmsd setup continues where it was"),
        "{said}"
    );

    let mut terminal = Terminal::start(command(&zoom, folder.path()));
    terminal.answer(&format!("Client ID [{}]", options.client_id), "");
    terminal.answer("Client secret [keep the present one]", "");
    terminal.answer("Which way", "web");
    terminal.wait_for("Please answer websocket or webhooks.");
    terminal.answer("Which way", "webs");
    terminal.answer("Address", &zoom.events_url());
    terminal.answer("Which one", "s2s");
    terminal.answer("Account ID", "wrong");
    terminal.answer("Its client ID", &options.client_id);
    terminal.answer("Its client secret", &options.client_secret);
    // Zoom does not know that account: the check says so, and what was answered is kept.
    terminal.wait_for("fault token: ");
    let (code, said) = terminal.end();
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("then run rtmsd setup again"), "{said}");
    let mut terminal = Terminal::start(command(&zoom, folder.path()));
    for _ in 0..5 {
        terminal.wait_for("]: ");
        terminal.type_in("\n");
    }
    terminal.answer(
        "Account ID of the server-to-server app [wrong]",
        &options.account_id,
    );
    for _ in 0..2 {
        terminal.wait_for("]: ");
        terminal.type_in("\n");
    }
    terminal.wait_for("ok    the server is up");
    let meeting = zoom.start_meeting(open("again"));
    terminal.wait_for("It works, ");
    assert_eq!(terminal.end().0, Some(0));
    drop(meeting);
    assert_eq!(zoom.stop(), Vec::<String>::new());
}

#[test]
fn a_newcomer_can_rehearse_it_with_the_demo() {
    let demo = || {
        let mut command = Command::new(RTMSD);
        command.args(["demo", "--setup"]);
        Terminal::start(command)
    };
    let begun = Instant::now();
    let mut terminal = demo();
    terminal.wait_for("answer the questions of rtmsd setup with these");
    terminal.wait_for("Client ID: ");
    let said = terminal.said();
    let given = |name: &str| {
        let mut lines = said.lines();
        let line = lines.find_map(|line| line.trim_start().strip_prefix(name));
        line.expect(name).trim().to_owned()
    };
    let (id, secret) = (given("Client ID"), given("Client secret"));
    terminal.type_in(&format!("{id}\n"));
    terminal.answer("Client secret", &secret);
    terminal.answer("Which way", &given("Which way"));
    terminal.answer("Address", &given("Address"));
    terminal.answer("Which one", &given("Which one"));
    terminal.answer("Redirect URL", &given("Redirect URL"));
    terminal.wait_for("Then come back here");
    // What a browser does: the page, the link Allow, and where that leads to.
    let said = terminal.said();
    let place = |url: &str| {
        let rest = url.trim().strip_prefix("http://").expect("an address");
        let (host, path) = rest.split_once('/').expect("a path");
        let host: SocketAddr = host.parse().expect("an address");
        (host, format!("/{path}"))
    };
    let mut lines = said.lines();
    let page = lines.find(|line| line.contains("/oauth/authorize?"));
    let (zoom, path) = place(page.expect("the page"));
    let (status, page) = http::get(zoom, &path);
    assert_eq!(status, 200, "{page}");
    let mut links = page.split("href=\"");
    let link = links.find(|rest| rest.contains(">Allow</a>"));
    let link = link.and_then(|rest| rest.split('"').next());
    let link = link.expect("a link").replace("&amp;", "&");
    let request = format!("GET {link} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let answer = http::ask(zoom, request.as_bytes());
    let mut head = answer.lines();
    let location = head.find_map(|line| line.strip_prefix("Location: "));
    let (own, path) = place(location.expect("a redirect"));
    assert_eq!(http::get(own, &path).0, 200);
    terminal.wait_for("ok    the first phrase: ");
    terminal.wait_for("this was the rehearsal; its folder is removed");
    let (code, said) = terminal.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("failed:"), "{said}");
    report(&format!(
        "demo --setup: from start to the first phrase in {:.1} s",
        begun.elapsed().as_secs_f32()
    ));

    // Left, as setup itself is left.
    let mut terminal = demo();
    terminal.wait_for("Client ID: ");
    terminal.type_in("\u{4}");
    let (code, said) = terminal.end();
    assert_eq!(code, Some(69), "{said}");
}

#[test]
fn a_question_is_not_asked_without_end() {
    let zoom = Zoom::start(Options::default()).expect("a Zoom");
    let folder = TempDir::new();
    // A person.
    let mut terminal = Terminal::start(command(&zoom, folder.path()));
    terminal.answer("Client ID", "my-id");
    for _ in 0..5 {
        terminal.answer("Client secret", "");
        terminal.wait_for("This is needed. Ctrl-C leaves");
    }
    let (code, said) = terminal.end();
    assert_eq!(code, Some(69), "{said}");
    let left =
        "no answer to \"Client secret\" that can be used; rtmsd setup continues where it was";
    assert!(said.contains(left), "{said}");
    let mut terminal = Terminal::start(command(&zoom, folder.path()));
    terminal.answer("Client ID [my-id]", "");
    terminal.answer("Client secret", "its-secret");
    for _ in 0..5 {
        terminal.answer("Which way", "pigeon");
        terminal.wait_for("Please answer websocket or webhooks.");
    }
    let (code, said) = terminal.end();
    assert_eq!(code, Some(69), "{said}");
    assert!(
        said.contains("no answer to \"Which way (websocket, webhooks)\""),
        "{said}"
    );

    // Empty lines without an end, and a wrong answer among others: the next line is no second try.
    for (input, question) in [
        ("yes '' | \"$@\"", "Client secret"),
        (
            "printf '%s\\n' id secret pigeon websocket more | \"$@\"",
            "Which way (websocket, webhooks)",
        ),
    ] {
        let folder = TempDir::new();
        let setup = command(&zoom, folder.path());
        let mut shell = Command::new("sh");
        shell.args(["-c", input, "sh"]).arg(setup.get_program());
        shell.args(setup.get_args());
        for (key, value) in setup.get_envs() {
            shell.env(key, value.expect("a value"));
        }
        if question == "Client secret" {
            shell.env("ZOOM_CLIENT_ID", "id");
        }
        let ran = run_to_end(&mut shell);
        assert_eq!(ran.code, Some(69), "{ran:?}");
        let left = format!("no answer to \"{question}\" that can be used");
        assert!(ran.stdout.contains(&left), "{ran:?}");
        assert_eq!(ran.stdout.matches(question).count(), 2, "{ran:?}");
    }
}

#[test]
fn every_answer_can_be_an_option() {
    let zoom = Zoom::start(Options::default()).expect("a Zoom");
    let folder = TempDir::new();
    let options = zoom.options();
    let port = free_port();
    zoom.set_webhook_target(&format!("http://127.0.0.1:{port}/webhook"))
        .expect("a target");
    let secret = folder.join("secret");
    fs::write(&secret, &options.client_secret).expect("a file");
    let mut command = command(&zoom, folder.path());
    command.args(["--events", "webhooks", "--rest", "s2s"]);
    let secret = secret.display();
    for set in [
        format!("ZOOM_CLIENT_ID={}", options.client_id),
        format!("ZOOM_CLIENT_SECRET_FILE={secret}"),
        format!("PORT={port}"),
        format!("ZOOM_ACCOUNT_ID={}", options.account_id),
        format!("ZOOM_API_CLIENT_ID={}", options.client_id),
        format!("ZOOM_API_CLIENT_SECRET_FILE={secret}"),
    ] {
        command.args(["--set", &set]);
    }
    command.env("ZOOM_SECRET_TOKEN", options.secret_tokens().join(","));
    command.env("HOST", "127.0.0.1");
    command.stdin(Stdio::null());
    let ran = std::thread::scope(|scope| {
        let running = scope.spawn(|| run_to_end(&mut command));
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        wait_until("the server", || {
            std::net::TcpStream::connect(address).is_ok()
        });
        let meeting = zoom.start_meeting(open("options"));
        let ran = running.join().expect("no panic");
        drop(meeting);
        ran
    });
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("It works, "), "{ran:?}");
    assert!(!ran.stdout.contains(&options.client_secret), "{ran:?}");
}
