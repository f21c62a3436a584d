//! `RTMS_APPS`: two apps of one Zoom in one server, on the real binary. The app `meet` receives meetings,
//! the app `video` sessions; Zoom signs the webhooks of each with a token of its own.

use std::fs;
use std::path::{Path, PathBuf};

use rtmsd::demo::{Begin, DemoProduct, End, MeetingHandle, MeetingScript, Options};
use serde_json::Value;

use crate::accounts::{self, A, B, C, authorize_with};
use crate::harness::{
    Harness, files_below, meta, open, open_at_once, stream_folders, wait_until, wait_until_more,
    wait_until_over, wait_until_streaming,
};

/// The keys of each app, which are in no common file.
const OF_AN_APP: [&str; 5] = [
    "ZOOM_CLIENT_ID",
    "ZOOM_CLIENT_SECRET",
    "ZOOM_SECRET_TOKEN",
    "ZOOM_VIDEO_SDK_KEY",
    "ZOOM_VIDEO_SDK_SECRET",
];

struct Rig {
    harness: Harness,
    apps: PathBuf,
}

impl Rig {
    fn start(settings: &[(&str, &str)]) -> Rig {
        Rig::start_with(Options::default(), settings)
    }

    fn start_with(options: Options, settings: &[(&str, &str)]) -> Rig {
        let mut harness = Harness::builder(options)
            .admin()
            .settings(&OF_AN_APP.map(|key| (key, "")))
            .settings(settings)
            .without_server();
        let apps = harness.folder.join("apps");
        fs::create_dir(&apps).expect("a folder");
        let options = harness.zoom.options().clone();
        let rig = |harness: Harness| Rig { harness, apps };
        harness.set(
            "RTMS_APPS",
            &harness.folder.join("apps").display().to_string(),
        );
        let mut rig = rig(harness);
        rig.write(
            "meet",
            &[
                ("ZOOM_CLIENT_ID", &options.client_id),
                ("ZOOM_CLIENT_SECRET", &options.client_secret),
                ("ZOOM_SECRET_TOKEN", &options.secret_token),
            ],
        );
        rig.write(
            "video",
            &[
                ("ZOOM_CLIENT_ID", "the-video-app"),
                ("ZOOM_CLIENT_SECRET", "of-the-video-app"),
                ("ZOOM_SECRET_TOKEN", &options.sdk_secret_token),
                ("ZOOM_VIDEO_SDK_KEY", &options.sdk_key),
                ("ZOOM_VIDEO_SDK_SECRET", &options.sdk_secret),
                ("ZOOM_ACCOUNT_ID", ""),
                ("ZOOM_REDIRECT_URL", ""),
                ("RTMS_AUTO_START", "off"),
            ],
        );
        rig.harness.start_server();
        rig
    }

    fn write(&self, app: &str, lines: &[(&str, &str)]) {
        let lines = lines.iter().map(|(key, value)| format!("{key}={value}\n"));
        let path = self.apps.join(format!("{app}.conf"));
        fs::write(path, lines.collect::<String>()).expect("a file");
    }

    fn meeting(&self, seed: &str) -> MeetingHandle {
        self.harness.zoom.start_meeting(open(seed))
    }

    fn session(&self, seed: &str) -> MeetingHandle {
        self.harness.zoom.start_meeting(MeetingScript {
            product: DemoProduct::Session,
            begin: Begin::AtOnce,
            ..open(seed)
        })
    }

    /// The row of `/streams` of a stream.
    fn row(&self, meeting: &MeetingHandle) -> Value {
        let streams = self.harness.streams();
        let rows = streams["streams"].as_array().cloned().unwrap_or_default();
        let is_it = |row: &Value| row["stream_id"] == meeting.streams()[0].as_str();
        rows.into_iter().find(is_it).unwrap_or_default()
    }
}

/// What names a meeting: none of it may be where the other app's things are.
fn names_of(meeting: &MeetingHandle) -> Vec<String> {
    let script = meeting.script();
    let mut names = vec![script.id.clone(), script.topic.clone()];
    names.extend(meeting.streams());
    names
}

fn assert_absent(names: &[String], text: &str, place: &str) {
    for name in names {
        assert!(!text.contains(name.as_str()), "{name} in {place}: {text}");
    }
}

/// Every file below a folder, and its name.
fn texts(folder: &Path) -> Vec<(String, String)> {
    let files = files_below(folder).into_iter();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    files
        .map(|(path, bytes)| (path.display().to_string(), text(bytes)))
        .collect()
}

#[test]
fn nothing_of_one_app_reaches_the_other() {
    let mut rig = Rig::start(&[]);
    let (meeting, session) = (rig.meeting("alpha"), rig.session("omega"));
    wait_until_streaming(&meeting);
    wait_until_streaming(&session);
    assert_eq!(rig.row(&meeting)["app"], "meet");
    assert_eq!(rig.row(&session)["app"], "video");
    let harness = &rig.harness;
    // A command is about one app, or asks which.
    let status = harness.run(&["status", "--json", "--app", "video"]);
    assert!(
        status.stdout.contains(&session.streams()[0]),
        "{}",
        status.stdout
    );
    assert_absent(&names_of(&meeting), &status.stdout, "status");
    let which = harness.run(&["list"]);
    assert_eq!(which.code, Some(64), "{}", which.stderr);
    assert!(
        which.stderr.contains("--app with one of meet, video"),
        "{}",
        which.stderr
    );
    let tail = harness.run(&["tail", "--app", "video", "--json", "-n", "all"]);
    assert!(
        tail.stdout.contains(&session.streams()[0]),
        "{} {}",
        tail.stdout,
        tail.stderr
    );
    assert_absent(&names_of(&meeting), &tail.stdout, "tail");
    // What names a stream finds its app by itself.
    let tail = harness.run(&["tail", "--json", &meeting.streams()[0]]);
    assert!(
        tail.stdout.contains("\"app\":\"meet\""),
        "{} {}",
        tail.stdout,
        tail.stderr
    );
    for (app, count) in [("meet", 1.0), ("video", 1.0)] {
        let series = format!("rtmsd_streams_begun_total{{app=\"{app}\"}}");
        assert_eq!(harness.metric(&series), count, "{app}");
    }
    let page = harness.admin_page("/metrics");
    let all = [names_of(&meeting), names_of(&session)].concat();
    assert_absent(&all, &page, "metrics");
    for it in [&meeting, &session] {
        it.end(End::stopped(1));
        wait_until_over(it);
        harness.wait_until_logged(&["stream ended", &format!("stream={} ", it.streams()[0])]);
    }
    rig.harness.terminate();
    let harness = &rig.harness;
    let list = harness.run(&["list", "--app", "video", "--json"]);
    assert!(
        list.stdout.contains(&session.streams()[0]),
        "{}",
        list.stdout
    );
    assert_absent(&names_of(&meeting), &list.stdout, "list");
    let log = harness.server.log();
    for (app, own, other) in [("meet", &meeting, &session), ("video", &session, &meeting)] {
        let out = harness.out().join(app);
        let folders = stream_folders(&out);
        assert_eq!(folders.len(), 1, "{folders:?}");
        let meta = meta(&folders[0]);
        assert_eq!(
            (&meta["app"], &meta["state"]),
            (&app.into(), &"ended".into())
        );
        assert_eq!(meta["stream_id"], own.streams()[0].as_str());
        let feed = fs::read_to_string(folders[0].join("feed.jsonl")).expect("a journal");
        let named = format!(",\"app\":\"{app}\"");
        assert!(feed.lines().all(|line| line.contains(&named)), "{feed}");
        let state = harness.state().join("apps").join(app);
        for (path, text) in [texts(&out), texts(&state)].concat() {
            assert_absent(&names_of(other), &(path.clone() + &text), &path);
        }
        let tagged = format!(" app={app} ");
        let lines: Vec<&String> = log.iter().filter(|line| line.contains(&tagged)).collect();
        assert!(
            lines.iter().any(|line| line.contains("stream started")),
            "{lines:#?}"
        );
        for line in lines {
            assert_absent(&names_of(other), line, "the log");
        }
    }
    // No line about a stream is without its app.
    let ids = [&meeting, &session].map(|it| it.streams()[0].clone());
    for line in log
        .iter()
        .filter(|line| ids.iter().any(|id| line.contains(id)))
    {
        assert!(line.contains(" app="), "{line}");
    }
    harness.assert_no_violations();
}

#[test]
fn a_removed_app_ends_with_its_last_stream_and_a_faulty_file_disables_one_alone() {
    let mut rig = Rig::start(&[]);
    let (meeting, session) = (rig.meeting("stays"), rig.session("goes-on"));
    wait_until_streaming(&meeting);
    wait_until_streaming(&session);
    fs::remove_file(rig.apps.join("meet.conf")).expect("it was there");
    rig.write("bad", &[("ZOOM_CLIENT_ID", "bad"), ("PORT", "1")]);
    rig.harness.hup();
    rig.harness
        .wait_until_logged(&["app=meet", "the app was removed", "streams=1"]);
    rig.harness
        .wait_until_logged(&["app=bad", "bad.conf:2: PORT: found in the file of an app"]);
    let ready = rig.harness.admin_page("/readyz");
    assert!(ready.contains("app bad: disabled"), "{ready}");
    // Its stream goes on, and no other begins.
    wait_until_more(&meeting, 10);
    let refused = rig.harness.zoom.start_meeting(open_at_once("refused"));
    rig.harness
        .wait_until_logged(&["app=meet", "the app was removed", "event=rtms_started"]);
    assert_eq!(rig.row(&refused), Value::Null);
    meeting.end(End::meeting_ended());
    wait_until_over(&meeting);
    rig.harness.wait_until_logged(&["app=meet", "app ended"]);
    let folders = stream_folders(&rig.harness.out().join("meet"));
    assert_eq!(meta(&folders[0])["state"], "ended");
    let comparison = rig.harness.comparison(&meeting);
    assert!(
        comparison.sent > 0 && comparison.is_exact(),
        "{comparison:?}"
    );
    wait_until_more(&session, 10);
    // The file is corrected, and the app is back.
    fs::remove_file(rig.apps.join("bad.conf")).expect("it was there");
    let options = rig.harness.zoom.options().clone();
    rig.write(
        "again",
        &[
            ("ZOOM_CLIENT_ID", &options.client_id),
            ("ZOOM_CLIENT_SECRET", &options.client_secret),
            ("ZOOM_SECRET_TOKEN", &options.secret_token),
        ],
    );
    rig.harness.hup();
    let again = rig.meeting("under another name");
    wait_until_streaming(&again);
    wait_until("the row has the app", || rig.row(&again)["app"] == "again");
    rig.harness.terminate();
}

/// One app that three accounts have authorized, and another app beside it: a grant is revoked, an app is
/// removed, each for itself.
#[test]
fn two_apps_and_three_accounts() {
    let mut rig = Rig::start_with(accounts::options(), &[]);
    for account in [A, B, C] {
        authorize_with(&rig.harness, account, &["--app", "meet"]);
    }
    let of_account =
        |rig: &Rig, account: &str, seed: &str| accounts::meeting(&rig.harness, account, seed);
    let meetings = [A, B, C].map(|account| of_account(&rig, account, &format!("of {account}")));
    let session = rig.session("omega");
    meetings.iter().for_each(wait_until_streaming);
    wait_until_streaming(&session);

    rig.harness.zoom.revoke_account(C);
    let failed = of_account(&rig, C, "failed");
    rig.harness
        .wait_until_logged(&[" ERROR ", "app=meet", "the grant was revoked", C]);
    let more = of_account(&rig, B, "more");
    wait_until_streaming(&more);
    let ready = rig.harness.admin_page("/readyz");
    assert!(
        ready.contains(&format!("account {C}")) && !ready.contains("app video"),
        "{ready}"
    );

    fs::remove_file(rig.apps.join("video.conf")).expect("it was there");
    rig.harness.hup();
    rig.harness
        .wait_until_logged(&["app=video", "the app was removed", "streams=1"]);
    for meeting in meetings.iter().chain([&more, &session]) {
        wait_until_more(meeting, 3);
    }
    session.end(End::stopped(1));
    wait_until_over(&session);
    rig.harness.wait_until_logged(&["app=video", "app ended"]);
    for meeting in meetings.iter().chain([&more]) {
        wait_until_more(meeting, 3);
        meeting.end(End::meeting_ended());
        wait_until_over(meeting);
        let comparison = rig.harness.comparison(meeting);
        assert!(
            comparison.sent > 0 && comparison.is_exact(),
            "{comparison:?}"
        );
    }
    let page = rig.harness.admin_page("/metrics");
    rig.harness.terminate();

    let of_meet: Vec<String> = (meetings.iter().chain([&more, &failed]))
        .flat_map(names_of)
        .collect();
    let of_video = names_of(&session);
    assert_absent(&[&of_meet[..], &of_video].concat(), &page, "metrics");
    let log = rig.harness.server.log();
    for (app, count, others) in [("meet", 4, &of_video), ("video", 1, &of_meet)] {
        let out = rig.harness.out().join(app);
        assert_eq!(stream_folders(&out).len(), count, "{app}");
        let state = rig.harness.state().join("apps").join(app);
        for (path, text) in [texts(&out), texts(&state)].concat() {
            assert_absent(others, &(path.clone() + &text), &path);
        }
        let tagged = format!(" app={app} ");
        for line in log.iter().filter(|line| line.contains(&tagged)) {
            assert_absent(others, line, "the log");
        }
    }
}
