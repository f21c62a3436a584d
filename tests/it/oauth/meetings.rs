//! Meetings that start while tokens expire, Zoom has faults, or an answer is lost.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

use rtmsd::demo::{Answer, Credentials, MeetingHandle, Options, Step};

use super::*;

#[test]
fn fifty_meetings_at_once_are_one_token() {
    let harness = Harness::start(Options::default(), &[]);

    // The token server answers late, so that all of them wait for it.
    harness
        .zoom
        .script_oauth(Answer::Late(Duration::from_millis(300)));
    let meetings: Vec<MeetingHandle> = (0..50)
        .map(|n| meet(&harness, &format!("fifty {n}")))
        .collect();
    for meeting in &meetings {
        wait_until_step(meeting, Step::FirstPhrase);
        assert_eq!(harness.rest_statuses(meeting), [204]);
    }
    assert_eq!(harness.zoom.oauth_calls().len(), 1);
    harness.leave();
}

#[test]
fn an_expired_token_is_replaced_at_run_time() {
    outlive_a_token(Options::default()).leave();
}

#[test]
fn a_refused_token_is_replaced_once() {
    let harness = Harness::start(Options::default(), &[]);

    let first = meet(&harness, "first");
    wait_until_step(&first, Step::StartedAnswered);
    harness.zoom.revoke_access_tokens();
    let second = meet(&harness, "second");
    wait_until_step(&second, Step::StartedAnswered);
    assert_eq!(harness.rest_statuses(&second), [401, 204]);
    assert_eq!(harness.zoom.oauth_calls().len(), 2);
    harness.leave();
}

#[test]
fn a_revoked_app_is_logged_with_its_remedy_and_not_retried() {
    let harness = Harness::start(refreshing(), &[]);

    let first = meet(&harness, "first");
    wait_until_step(&first, Step::StartedAnswered);
    harness.zoom.revoke_everything();
    let second = meet(&harness, "second");
    harness.wait_until_logged(&[
        " ERROR ",
        "code 4741",
        "authorize the app again (rtmsd authorize), or put the new refresh token into ZOOM_REFRESH_TOKEN",
    ]);
    assert_eq!(harness.rest_statuses(&second), [401]);
    // Another meeting does not ask again at once.
    let errors = || harness.count_logged(&["code 4741"]);
    let before = errors();
    let third = meet(&harness, "third");
    wait_until("a third error", || errors() > before);
    assert_eq!(harness.rest_statuses(&third), Vec::<u16>::new());
    assert_eq!(harness.zoom.oauth_calls().len(), 2);
    harness.leave();
}

#[test]
fn a_rate_limit_is_respected_in_both_of_its_forms() {
    let harness = Harness::start(Options::default(), &[]);

    harness.zoom.script_oauth(Answer::retry_after_seconds(1));
    let script = |seed: &str| MeetingScript::plain(seed).number.to_string();
    harness
        .zoom
        .script_rest(Some(&script("seconds")), Answer::retry_after_seconds(1));
    let at = SystemTime::now() + Duration::from_secs(4);
    harness
        .zoom
        .script_rest(Some(&script("date")), Answer::retry_after_date(at));
    let begun = Instant::now();
    let meetings = ["seconds", "date"].map(|seed| meet(&harness, seed));
    for meeting in &meetings {
        wait_until_step(meeting, Step::StartedAnswered);
        assert_eq!(harness.rest_statuses(meeting), [429, 204]);
    }
    let tokens = harness.zoom.oauth_calls();
    let statuses: Vec<u16> = tokens.iter().map(|call| call.status).collect();
    assert_eq!(statuses, [429, 200]);
    assert!(tokens[1].at - tokens[0].at >= Duration::from_secs(1));
    let calls = harness.zoom.rest_calls();
    let times = |meeting: &MeetingHandle| {
        let number = meeting.script().number.to_string();
        let of = calls.iter().filter(|call| call.target == number);
        of.map(|call| call.at).collect::<Vec<_>>()
    };
    let seconds = times(&meetings[0]);
    assert!(seconds[1] - seconds[0] >= Duration::from_secs(1));
    // The date has whole seconds.
    assert!(times(&meetings[1])[1] - begun >= Duration::from_secs(3));
    harness.wait_until_logged(&[
        " WARN ",
        "limits the rate",
        "retry after 1 s",
        "tried again in",
    ]);
    harness.leave();
}

#[test]
fn temporary_faults_of_calls_are_retried() {
    let harness = Harness::start(Options::default(), &[]);

    let fault = |status| Answer::Json(status, serde_json::json!({}), Vec::new());
    let troubles: [(&str, Vec<Answer>); 6] = [
        ("storm", vec![fault(500), fault(503)]),
        ("reset", vec![Answer::Reset]),
        ("page", vec![Answer::Html(502)]),
        ("portal", vec![Answer::Html(200)]),
        ("truncated", vec![Answer::Truncated(500)]),
        // Zoom's REST servers do not know the meeting yet.
        (
            "early",
            vec![
                Answer::error(404, 3001, "Meeting does not exist."),
                Answer::error(404, 3001, "Meeting does not exist."),
            ],
        ),
    ];
    for (seed, answers) in &troubles {
        let number = MeetingScript::plain(seed).number.to_string();
        for answer in answers {
            harness.zoom.script_rest(Some(&number), answer.clone());
        }
    }
    let meetings = troubles.each_ref().map(|(seed, _)| meet(&harness, seed));
    for (meeting, (seed, answers)) in meetings.iter().zip(&troubles) {
        wait_until_step(meeting, Step::Ready);
        let statuses = harness.rest_statuses(meeting);
        assert_eq!(statuses.len(), answers.len() + 1, "{seed}: {statuses:?}");
        assert_eq!(statuses.last(), Some(&204));
    }
    for words in [
        ["zoom reports an internal error", "status.zoom.us"],
        ["the connection broke", "check the route to Zoom"],
        ["found an HTML page instead of JSON", "HTTPS_PROXY"],
        ["perhaps only too early", "give the meeting number"],
    ] {
        harness.wait_until_logged(&[" WARN ", "will be tried again in", words[0], words[1]]);
    }
    harness.leave();
}

#[test]
fn temporary_faults_of_tokens_are_retried() {
    let harness = Harness::start(Options::default(), &[]);

    harness.zoom.script_oauth(Answer::Reset);
    harness.zoom.script_oauth(Answer::Truncated(200));
    let meeting = meet(&harness, "first");
    wait_until_step(&meeting, Step::Ready);
    assert_eq!(oauth_statuses(&harness), [0, 200, 200]);
    for words in [
        ["the connection broke", "check the route to Zoom"],
        ["the answer was cut off", "check the proxy"],
    ] {
        harness.wait_until_logged(&[
            " WARN ",
            "fetch access token",
            "will be tried again in",
            words[0],
            words[1],
        ]);
    }
    harness.leave();
}

#[test]
fn permanent_faults_are_logged_once_with_the_remedy() {
    let harness = Harness::start(Options::default(), &[]);

    let rows = [
        (400, 2310, "check plan and credits"),
        (400, 4711, "add meeting:update:participant_rtms_app_status"),
        (400, 4738, "ask the administrator"),
    ];
    let meetings = rows.map(|(status, code, remedy)| {
        let seed = format!("row {code}");
        let number = MeetingScript::plain(&seed).number.to_string();
        harness
            .zoom
            .script_rest(Some(&number), Answer::error(status, code, "no"));
        (meet(&harness, &seed), code, remedy)
    });
    for (meeting, code, remedy) in &meetings {
        let code = format!("code {code}");
        let line = harness.wait_until_logged(&[" ERROR ", &code, remedy]);
        let number = meeting.script().number.to_string();
        assert!(line.contains(&format!("start meeting {number}:")), "{line}");
        assert_eq!(harness.rest_statuses(meeting), [400]);
    }
    harness.leave();
}

/// The token of a quickstart has expired when the meeting starts; after a restart with a new one
/// the meeting is received.
#[test]
fn a_restart_with_valid_credentials_starts_failed_meetings() {
    let options = Options {
        credentials: Credentials::Static,
        // The second server may start the meeting before Zoom knows its address.
        webhook_retries: vec![Duration::from_millis(100); 100],
        ..Options::default()
    };
    let right = options.access_token.clone();
    let mut harness = Harness::start(options, &[("access_token", "of-yesterday")]);
    let meeting = meet(&harness, "late");
    harness.wait_until_logged(&[
        " ERROR ",
        "start meeting",
        "the configured access token",
        "put a fresh one into access_token",
    ]);
    harness.terminate();
    harness.set("access_token", &right);
    harness.start_server();
    wait_until_step(&meeting, Step::Ready);
    assert_eq!(harness.rest_statuses(&meeting), [401, 204]);
    harness.leave();
}

/// Zoom starts the stream and the answer is lost: the stream shows the success, and the planned
/// retry is not made.
#[test]
fn a_meeting_that_has_a_stream_is_not_started_again() {
    let harness = Harness::start(Options::default(), &[]);

    let number = MeetingScript::plain("lost").number.to_string();
    harness.zoom.script_rest(Some(&number), Answer::Lost);
    let meeting = meet(&harness, "lost");
    wait_until_step(&meeting, Step::FirstPhrase);
    // Two phrases a second: longer than the wait before a second try.
    assert!(meeting.wait_for_phrases(6, PATIENCE));
    assert_eq!(harness.rest_statuses(&meeting), [204]);
    assert_eq!(meeting.streams().len(), 1);
    harness.leave();
}

#[test]
fn every_start_names_another_meeting() {
    let harness = Harness::start(Options::default(), &[]);

    let meetings = ["one", "two", "three"].map(|seed| meet(&harness, seed));
    for meeting in &meetings {
        wait_until_step(meeting, Step::Ready);
    }
    let calls = harness.zoom.rest_calls();
    let targets: BTreeSet<&str> = calls.iter().map(|call| call.target.as_str()).collect();
    assert_eq!((calls.len(), targets.len()), (3, 3));
    harness.leave();
}

/// As above, in a fixed order: first the failure, then the planned retry, then the stream.
#[test]
fn a_planned_start_is_dropped_when_the_stream_is_there() {
    use rtmsd::coordinator;
    use rtmsd::coordinator::{Action, Coordinator, Now};
    use rtmsd::domain::product::Product;
    use rtmsd::domain::secret::Secret;
    use rtmsd::source::webhook::payload::webhook;
    use rtmsd::zoom_api::{Api, App, AppCredentials, ControlRequest, Process, RestCredentials};

    let mut registry = Coordinator::new(coordinator::Settings {
        auto_start: true,
        can_call: true,
        stop_after: Some(Duration::from_secs(10)),
        streams: coordinator::StreamChoice::All,
        participant_user_id: None,
        app: None,
        node: None,
    });
    let instant = Instant::now();
    let unix_ms = 1_795_000_000_000;
    let now = Now { instant, unix_ms };
    let body = |event: &str, payload: serde_json::Value| {
        let body = serde_json::json!({"event": event, "event_ts": unix_ms, "payload": payload});
        webhook(body.to_string().as_bytes()).unwrap()
    };
    let begun = body(
        "meeting.started",
        serde_json::json!({"object": {"id": 81_234_567_890_u64, "uuid": "u=="}}),
    );
    let actions = registry.handle_zoom_event(now, begun);
    let [Action::CallRest(call)] = &actions[..] else {
        panic!("{actions:?}");
    };
    // A port without a server.
    let credentials = AppCredentials {
        id: "app".to_owned(),
        secret: Secret::new("s"),
    };
    let mut nowhere = App::new(credentials, Vec::new());
    nowhere.rest.api_url = "http://127.0.0.1:1".to_owned();
    nowhere.rest.credentials = RestCredentials::Static {
        token: Secret::new("t"),
    };
    let control = ControlRequest::new(
        rtmsd::domain::rest::RestAction::Start,
        Product::Meeting,
        "81234567890",
    );
    let error = Api::new(nowhere, Process::default())
        .unwrap()
        .control(&control)
        .unwrap_err();
    let actions = registry.handle_call(now, call, Err(error.failed_call()));
    let is_planned = matches!(&actions[..], [Action::Log(..), Action::CallRest(_)]);
    assert!(is_planned, "{actions:?}");
    let started = body(
        "meeting.rtms_started",
        serde_json::json!({"meeting_uuid": "u==", "rtms_stream_id": "s", "server_urls": "wss://rtms.zoom.us"}),
    );
    let actions = registry.handle_zoom_event(now, started);
    // The planned retry is dropped first, then the scheduled stop is planned.
    let [
        Action::Cancel { meeting },
        Action::CallRest(stop),
        Action::Start(_),
    ] = &actions[..]
    else {
        panic!("{actions:?}");
    };
    assert_eq!(meeting, "u==");
    assert_eq!(stop.request.action, rtmsd::domain::rest::RestAction::Stop);
}
