//! Runs each program in `examples/` once.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Once;

use rtmsd::demo::{Begin, End, MeetingHandle, MeetingScript, Zoom};

use crate::harness::{KilledOnDrop, PATIENCE, frequent_keep_alives, plain, run_to_end};

/// Cargo builds the examples together with all tests, but not for this test alone.
fn example(name: &str) -> Command {
    static BUILT: Once = Once::new();
    let this = std::env::current_exe().expect("this test has a path");
    let folder: PathBuf = this.ancestors().nth(2).expect("target/debug").into();
    let path = folder.join("examples").join(name);
    BUILT.call_once(|| {
        if !path.exists() {
            let built = Command::new(env!("CARGO"))
                .args(["build", "--quiet", "--locked", "--examples"])
                .current_dir(env!("CARGO_MANIFEST_DIR"))
                .status();
            assert!(
                built.is_ok_and(|status| status.success()),
                "the examples build"
            );
        }
    });
    Command::new(path)
}

/// An example that serves webhooks; killed at the end in any case.
struct Running {
    child: KilledOnDrop,
    lines: Box<dyn Iterator<Item = String>>,
}

impl Running {
    fn start(name: &str, zoom: &Zoom) -> Running {
        let options = zoom.options();
        let mut child = example(name)
            .arg("127.0.0.1:0")
            .env("ZOOM_CLIENT_ID", &options.client_id)
            .env("ZOOM_CLIENT_SECRET", &options.client_secret)
            .env("ZOOM_SECRET_TOKEN", &options.secret_token)
            .env("RTMS_ALLOWED_HOSTS", "127.0.0.1")
            .env("RTMS_CA_FILE", zoom.ca_file())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let output = child.stdout.take().expect("a pipe");
        let mut lines = BufReader::new(output).lines().map_while(Result::ok);
        let first = lines.next().expect("a line with its address");
        let address = first.strip_prefix("webhooks: ").expect("an address");
        zoom.set_webhook_target(address).expect("a target");
        Running {
            child: KilledOnDrop(child),
            lines: Box::new(lines),
        }
    }
}

fn meeting(zoom: &Zoom) -> MeetingHandle {
    let mut script: MeetingScript = plain("example", 4);
    script.begin = Begin::AtOnce;
    zoom.start_meeting(script)
}

fn receives_a_meeting(name: &str) {
    let zoom = Zoom::start(frequent_keep_alives(100)).expect("a Zoom");
    let mut running = Running::start(name, &zoom);
    let meeting = meeting(&zoom);
    assert!(meeting.wait_for_phrases(4, PATIENCE), "{name}");
    meeting.end(End::meeting_ended());
    let said: Vec<String> = running.lines.by_ref().collect();
    let phrases = said.iter().filter(|line| line.contains(": ")).count();
    assert!(phrases > 3, "{name}: {said:?}");
    let has_end = said
        .iter()
        .any(|line| line.starts_with("the stream ended: "));
    assert!(has_end, "{name}: {said:?}");
    assert!(running.child.0.wait().expect("it ends").success(), "{name}");
}

#[test]
fn the_daemon_in_another_program() {
    receives_a_meeting("embed");
}

#[test]
fn one_stream_with_webhooks_received_elsewhere() {
    receives_a_meeting("own_webhooks");
}

#[test]
fn the_protocol_without_a_socket() {
    let ran = run_to_end(&mut example("sans_io"));
    let text = &ran.stdout;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(text.contains("Ada: Good morning."), "{text}");
    assert!(
        text.ends_with("end: stopped by Zoom: 6 MEETING_ENDED\n"),
        "{text}"
    );
}
