//! Tests of the command-line parser.

use super::usage::{CHECK, CONTROL, DEMO, HELP, LIST, MUX, PRINT, PUSH, SERVE, STATUS, TAIL};
use super::*;

fn read(line: &str) -> Result<Command, String> {
    let args = line.split_whitespace().map(OsString::from);
    parse(args).map_err(|error| error.to_string())
}

#[test]
fn commands() {
    let config = || Some(PathBuf::from("a.conf"));
    let control = |action, meeting_id: &str| Control {
        action,
        meeting_id: meeting_id.to_owned(),
        product: Product::Meeting,
        participant: None,
        account: None,
        json: false,
        config: None,
    };
    let check = |line: &str, expected| assert_eq!(read(line), Ok(expected), "{line}");
    check("", Command::Serve { config: None });
    check("--config a.conf", Command::Serve { config: config() });
    check("serve --config=a.conf", Command::Serve { config: config() });
    check(
        "--config a.conf check --online",
        Command::Check {
            config: config(),
            online: true,
        },
    );
    for (word, probe) in [("live", Probe::Live), ("ready", Probe::Ready)] {
        check(
            &format!("--config a.conf check --{word}"),
            Command::Probe {
                config: config(),
                probe,
            },
        );
    }
    check(
        "demo --out x --meetings 20 --chaos",
        Command::Demo(Demo {
            out: Some(PathBuf::from("x")),
            meetings: Some(20),
            kind: DemoKind::Chaos,
            media: MediaSelection::default(),
            products: vec![Product::Meeting],
            events_by_websocket: false,
            nodes: None,
            store: None,
        }),
    );
    check(
        "demo --media all --product call",
        Command::Demo(Demo {
            out: None,
            meetings: None,
            kind: DemoKind::Meetings,
            media: MediaSelection::from_text("all").expect("a selection"),
            products: vec![Product::Phone],
            events_by_websocket: false,
            nodes: None,
            store: None,
        }),
    );
    check(
        "demo --events websocket",
        Command::Demo(Demo {
            out: None,
            meetings: None,
            kind: DemoKind::Meetings,
            media: MediaSelection::default(),
            products: vec![Product::Meeting],
            events_by_websocket: true,
            nodes: None,
            store: None,
        }),
    );
    check(
        "demo --nodes 3 --chaos --store redis://127.0.0.1",
        Command::Demo(Demo {
            out: None,
            meetings: None,
            kind: DemoKind::FleetChaos,
            media: MediaSelection::default(),
            products: vec![Product::Meeting],
            events_by_websocket: false,
            nodes: Some(3),
            store: Some("redis://127.0.0.1".to_owned()),
        }),
    );
    check(
        "demo --odd",
        Command::Demo(Demo {
            out: None,
            meetings: None,
            kind: DemoKind::Odd,
            media: MediaSelection::default(),
            products: vec![Product::Meeting],
            events_by_websocket: false,
            nodes: None,
            store: None,
        }),
    );
    check(
        "demo --setup",
        Command::Demo(Demo {
            out: None,
            meetings: None,
            kind: DemoKind::Setup,
            media: MediaSelection::default(),
            products: vec![Product::Meeting],
            events_by_websocket: false,
            nodes: None,
            store: None,
        }),
    );
    check(
        "setup --config a.conf --events webhooks --rest s2s --set PORT=1 --set A=b=c",
        Command::Setup(setup::Answers {
            config: config(),
            events: Some("webhooks"),
            rest: Some("s2s"),
            values: vec![
                ("PORT".to_owned(), "1".to_owned()),
                ("A".to_owned(), "b=c".to_owned()),
            ],
        }),
    );
    check(
        "authorize --config a.conf",
        Command::Authorize { config: config() },
    );
    check(
        "accounts --json --config a.conf",
        Command::Accounts {
            config: config(),
            json: true,
        },
    );
    check(
        "start 812-3456-7890",
        Command::Control(control(RestAction::Start, "81234567890")),
    );
    check(
        "stop --product call --participant u1 --account acc1 --json --config a.conf -- -abc==",
        Command::Control(Control {
            product: Product::Phone,
            participant: Some("u1".to_owned()),
            account: Some("acc1".to_owned()),
            json: true,
            config: config(),
            ..control(RestAction::Stop, "-abc==")
        }),
    );
    check(
        "status --json --watch --json",
        Command::Status {
            config: None,
            json: true,
            watch: true,
            fleet: false,
        },
    );
    let plain = mux::Options {
        folder: PathBuf::from("r"),
        out: None,
        format: None,
        picture: None,
        copy: false,
        force: false,
        dry_run: false,
        feed: false,
    };
    check("mux r", Command::Mux(plain.clone()));
    check(
        "mux --print --out a --format=mkv --picture share --copy --force r",
        Command::Mux(mux::Options {
            out: Some(PathBuf::from("a")),
            format: Some(mux::Format::Mkv),
            picture: Some(mux::Picture::Share),
            copy: true,
            force: true,
            dry_run: true,
            ..plain
        }),
    );
    let plain = tail::Options {
        name: None,
        json: false,
        follow: false,
        count: Some(10),
        config: None,
    };
    check("tail", Command::Tail(plain.clone()));
    check(
        "tail -f -n all --json bdd2d5 --config a.conf",
        Command::Tail(tail::Options {
            name: Some("bdd2d5".to_owned()),
            json: true,
            follow: true,
            count: None,
            config: config(),
        }),
    );
    check(
        "tail --follow -n=0 -- -abc==",
        Command::Tail(tail::Options {
            name: Some("-abc==".to_owned()),
            follow: true,
            count: Some(0),
            ..plain
        }),
    );
    let plain = tap::Options {
        stream: "bdd2d5".to_owned(),
        kind: Kind::Audio,
        speaker: None,
        form: None,
        config: None,
    };
    check("tap bdd2d5 audio", Command::Tap(plain.clone()));
    check(
        "tap bdd2d5 audio --speaker Ada --format wav --config a.conf",
        Command::Tap(tap::Options {
            speaker: Some("Ada".to_owned()),
            form: Some(tap::sound::Form::Wav),
            config: config(),
            ..plain.clone()
        }),
    );
    check(
        "tap -- -abc== share",
        Command::Tap(tap::Options {
            stream: "-abc==".to_owned(),
            kind: Kind::Share,
            ..plain
        }),
    );
    check("print conf", Command::Print(Page::Conf));
    check("print unit", Command::Print(Page::Unit));
}

#[test]
fn help_and_version_need_nothing_else() {
    for (line, expected) in [
        ("--help", Command::Help(USAGE)),
        ("help", Command::Help(HELP)),
        ("help --help", Command::Help(HELP)),
        ("help start", Command::Help(CONTROL)),
        ("start --help", Command::Help(CONTROL)),
        ("print --help", Command::Help(PRINT)),
        ("--version", Command::Version),
        ("serve -V", Command::Version),
    ] {
        assert_eq!(read(line), Ok(expected), "{line}");
    }
    for text in [
        USAGE, SERVE, DEMO, CHECK, CONTROL, STATUS, TAIL, LIST, PUSH, MUX, PRINT, HELP,
    ] {
        assert!(text.lines().all(|line| line.len() <= 80));
    }
}

#[test]
fn help_prints_chapters() {
    // The list in the usage text is that of the chapters.
    let listed = HELP.lines().filter_map(|line| line.strip_prefix("  "));
    let listed: Vec<&str> = listed.filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(listed, manual::topics());
    for topic in listed {
        let Ok(Command::Help(text)) = read(&format!("help {topic}")) else {
            panic!("{topic}");
        };
        let title = text.lines().next().unwrap_or_default();
        assert_eq!(title.to_lowercase(), format!("# {topic}"));
    }
    let unknown = read("help medai").expect_err("no such topic");
    for topic in manual::topics() {
        assert!(unknown.contains(topic), "{unknown}");
    }
}

#[test]
fn wrong_command_lines_are_explained() {
    for (line, expected) in [
        ("serv", "unknown command \"serv\""),
        ("--conf x", "unknown option \"--conf\""),
        ("-x", "unknown option \"-x\""),
        ("serve now", "unexpected argument \"now\""),
        ("serve --online", "rtmsd serve has no option --online"),
        ("demo --config a", "rtmsd demo has no option --config"),
        ("--config", "--config: found nothing, expected a value"),
        ("--config= serve", "--config: found an empty value"),
        (
            "--config a --config b",
            "--config: found twice, expected once",
        ),
        (
            "check --live --online",
            "rtmsd check --live has no option --online",
        ),
        (
            "check --live --ready",
            "rtmsd check --live has no option --ready",
        ),
        (
            "check --online=yes",
            "--online: found a value, expected none",
        ),
        (
            "demo --meetings 0",
            "--meetings: found \"0\", expected a number from 1 to 1000",
        ),
        (
            "demo --nodes 1",
            "--nodes: found \"1\", expected a number from 2 to 9",
        ),
        (
            "demo --nodes 3 --media all",
            "rtmsd demo --nodes has no option --media",
        ),
        (
            "demo --store redis://127.0.0.1",
            "rtmsd demo has no option --store",
        ),
        (
            "demo --chaos --media all",
            "rtmsd demo --chaos has no option --media",
        ),
        (
            "demo --odd --chaos",
            "rtmsd demo --odd has no option --chaos",
        ),
        (
            "demo --media sound",
            "--media: found \"sound\", expected any of transcript,audio,video,share,chat, or all",
        ),
        (
            "demo --product phone",
            "--product: found \"phone\", expected meeting, webinar, session, engagement or \
             call, or all",
        ),
        ("start", "start: found nothing, expected a meeting id"),
        (
            "stop a/B+c==",
            "stop: found \"a/B+c==\", expected the meeting's number (REST does not take its \
             UUID)",
        ),
        ("start 1 2", "unexpected argument \"2\""),
        (
            "merge --out x",
            "merge: found nothing, expected the folders of a stream",
        ),
        (
            "merge s s.e2",
            "merge: found no --out, expected the name of the new folder",
        ),
        ("mux", "mux: found nothing, expected the folder of a stream"),
        (
            "mux r --format avi",
            "--format: found \"avi\", expected mp4, mkv or wav",
        ),
        ("mux r --config a", "rtmsd mux has no option --config"),
        (
            "tail -n some",
            "-n: found \"some\", expected a number or all",
        ),
        (
            "prune",
            "prune: expected either --dry-run, to see what would go, or --now",
        ),
        (
            "prune --now --dry-run",
            "prune: expected either --dry-run, to see what would go, or --now",
        ),
        (
            "link",
            "link: found nothing, expected a stream or a meeting",
        ),
        (
            "link bdd2d5 --for 8d",
            "--for: found \"8d\", expected a span of time up to 7d, as in 90m, 2h or 7d",
        ),
        (
            "link --revoke-all --files",
            "link --revoke-all: expected nothing else, it ends all links",
        ),
        ("tap", "tap: found nothing, expected a stream"),
        (
            "tap bdd2d5",
            "tap: found \"\", expected audio, video or share",
        ),
        (
            "tap bdd2d5 chat",
            "tap: found \"chat\", expected audio, video or share",
        ),
        (
            "tap bdd2d5 audio --format mp3",
            "--format: found \"mp3\", expected raw or wav",
        ),
        (
            "tap bdd2d5 video --format wav",
            "tap: --format is for audio",
        ),
        (
            "tap bdd2d5 share --speaker Ada",
            "tap: --speaker is for audio",
        ),
        ("tap bdd2d5 audio x", "unexpected argument \"x\""),
        ("tail a b", "unexpected argument \"b\""),
        ("tail --watch", "rtmsd tail has no option --watch"),
        (
            "start 1 --product phone",
            "--product: found \"phone\", expected meeting, webinar, session, engagement or call",
        ),
        (
            "print",
            "print: found nothing, expected conf, unit, socket, man, man-conf, schema, metrics or completions",
        ),
        (
            "print nan",
            "print: found \"nan\", expected conf, unit, socket, man, man-conf, schema, metrics or completions",
        ),
    ] {
        assert_eq!(
            read(line),
            Err(format!("{expected}; see rtmsd --help")),
            "{line}"
        );
    }
}
