use std::time::{Duration, Instant};

use super::served::AppStatus;
use super::*;
use crate::daemon::status::{StreamStatus, Totals};
use crate::domain::count::Count;
use crate::domain::product::Product;
use crate::domain::stream_info::StreamInfo;
use crate::recorder::disk::DiskCounters;
use crate::source::ingress;
use crate::stream::StatsSnapshot;

fn status() -> StatusSnapshot {
    let transcripts = Count {
        messages: 3,
        bytes: 300,
    };
    let stats = StatsSnapshot {
        readies: 2,
        transcripts,
        ..StatsSnapshot::default()
    };
    let mut totals = Totals {
        stats: stats.clone(),
        ..Totals::default()
    };
    totals.ended.insert("panicked", 1);
    totals.stats.losses.insert("silent", 4);
    totals.account.insert("start_failed", 5);
    StatusSnapshot {
        is_draining: false,
        waiting_streams: 0,
        places: Default::default(),
        unready_reason: None,
        streams: vec![StreamStatus {
            info: StreamInfo {
                meeting_id: Some("81234567890".to_owned()),
                topic: Some("Board \"meeting\"".to_owned()),
                ..StreamInfo::new(Product::Meeting, "uuid==", "stream-1", 0)
            },
            since: Instant::now(),
            is_ready: true,
            last_data_ms: None,
            given_up: Vec::new(),
            stats,
        }],
        totals,
        inbox_len: 0,
        ingress: ingress::Counters {
            gate: Arc::default(),
            webhook: Arc::default(),
            unclaimed: Arc::default(),
        },
        events: None,
        has_only_events: false,
        events_gap: None,
        api: Arc::default(),
        grants: None,
        accounts_without_grant: Vec::new(),
        is_state_failing: false,
        fleet: None,
        disk: Some(Arc::new(DiskCounters::default())),
        ends: Arc::default(),
        stdout_dropped: None,
        push: None,
        keeping: None,
        forgetting: Arc::default(),
        media: Arc::default(),
    }
}

fn process() -> Process {
    Process {
        open_files: 10,
        files_max: 1024,
        ..Process::default()
    }
}

/// What is known of these apps; of one without a name.
fn overview(apps: Vec<(Option<&str>, Option<StatusSnapshot>)>) -> Overview {
    let is_several = apps.first().is_none_or(|(name, _)| name.is_some());
    let apps = apps.into_iter().map(|(name, status)| AppStatus {
        name: name.map(Into::into),
        status,
        live: Arc::default(),
    });
    Overview {
        apps: apps.collect(),
        is_several,
        disabled: Vec::new(),
    }
}

fn one(status: StatusSnapshot) -> Overview {
    overview(vec![(None, Some(status))])
}

fn page(overview: &Overview) -> String {
    metrics::text(overview, &process())
}

/// Checks the rules of the text format that matter here.
fn validate(page: &str) {
    let mut families = std::collections::HashMap::new();
    let mut samples = std::collections::HashSet::new();
    let mut pending_help = None;
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a name and its help");
            assert!(!help.is_empty(), "{line}");
            pending_help = Some(name.to_owned());
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and its type");
            assert_eq!(pending_help.take().as_deref(), Some(name));
            assert!(matches!(kind, "counter" | "gauge" | "histogram"), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            let is_new = families.insert(name.to_owned(), kind.to_owned()).is_none();
            assert!(is_new, "{name} twice");
        } else {
            let (series, value) = line.rsplit_once(' ').expect("a series and its value");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(samples.insert(series.to_owned()), "{series} twice");
            let name = series.split('{').next().unwrap_or_default();
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end).filter(|n| families.contains_key(*n)))
                .unwrap_or(name);
            assert!(families.contains_key(family), "{line}");
            assert!(name.starts_with("rtmsd_"), "{line}");
            let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            assert!(name.chars().all(is_plain), "{line}");
        }
    }
    assert!(page.ends_with('\n'));
}

#[test]
fn the_metrics_are_well_formed_and_contain_no_names() {
    let status = status();
    status.ingress.gate.ack.record(Duration::from_micros(300));
    status.ingress.gate.ack.record(Duration::from_secs(9));
    let page = page(&one(status));
    validate(&page);
    for line in [
        "rtmsd_webhook_ack_seconds_bucket{le=\"0.00025\"} 0",
        "rtmsd_webhook_ack_seconds_bucket{le=\"0.0005\"} 1",
        "rtmsd_webhook_ack_seconds_bucket{le=\"3\"} 1",
        "rtmsd_webhook_ack_seconds_bucket{le=\"+Inf\"} 2",
        "rtmsd_webhook_ack_seconds_count 2",
        "rtmsd_streams{state=\"receiving\"} 1",
        "rtmsd_messages_total{media=\"transcript\"} 3",
        "rtmsd_message_bytes_total{media=\"transcript\"} 300",
        "rtmsd_connections_lost_total{cause=\"silent\"} 4",
        "rtmsd_panics_total{where=\"stream\"} 1",
        "rtmsd_account_events_total{event=\"start_failed\"} 5",
        "rtmsd_account_events_total{event=\"app_deauthorized\"} 0",
        "rtmsd_live_clients{kind=\"sse\"} 0",
        "rtmsd_live_clients{kind=\"json\"} 0",
        "rtmsd_live_refused_total 0",
        "rtmsd_ready 1",
    ] {
        assert!(page.lines().any(|l| l == line), "{line} in\n{page}");
    }
    for personal in ["uuid==", "stream-1", "81234567890", "Board"] {
        assert!(!page.contains(personal), "{personal}");
    }
}

#[test]
fn every_reason_of_an_end_is_counted_from_zero() {
    let page = page(&one(status()));
    for word in ["stopped", "lost", "no_resources", "bad_url", "left"] {
        let line = format!("rtmsd_streams_ended_total{{reason=\"{word}\"}} 0");
        assert!(page.contains(&line), "{line}");
    }
}

#[test]
fn ready_says_why_not() {
    let why = |status: &StatusSnapshot, process: &Process| {
        unready_reason(status, process).unwrap_or_default()
    };
    let fine = status();
    assert_eq!(unready_reason(&fine, &process()), None);
    let draining = StatusSnapshot {
        is_draining: true,
        ..status()
    };
    assert!(why(&draining, &process()).starts_with("draining"));
    let down = StatusSnapshot {
        unready_reason: Some("the gate has stopped"),
        ..status()
    };
    assert_eq!(why(&down, &process()), "the gate has stopped");
    fine.disk
        .as_ref()
        .expect("the counters exist")
        .failing_streams
        .store(2, Relaxed);
    assert!(why(&fine, &process()).starts_with("cannot write to the disk: files of 2 streams"));
    let forgetful = StatusSnapshot {
        is_state_failing: true,
        ..status()
    };
    assert!(why(&forgetful, &process()).ends_with("under RTMS_STATE"));
    let full = Process {
        open_files: 922,
        ..process()
    };
    assert!(why(&status(), &full).starts_with("at capacity: 922 of 1024 files"));
    let crowded = StatusSnapshot {
        waiting_streams: 3,
        ..status()
    };
    assert!(why(&crowded, &process()).starts_with("at capacity: 3 streams wait for"));
    let flooded = StatusSnapshot {
        inbox_len: INBOX_MAX,
        ..status()
    };
    assert!(why(&flooded, &process()).starts_with("at capacity: 4096 webhooks"));
}

#[test]
fn paths_methods_and_a_daemon_that_is_silent() {
    let code = |method, url| answer(method, url, 0, || Ok(one(status()))).status;
    assert_eq!(code("GET", "/healthz"), 200);
    assert_eq!(code("HEAD", "/metrics"), 200);
    assert_eq!(code("GET", "/streams"), 200);
    assert_eq!(code("POST", "/streams"), 405);
    assert_eq!(code("GET", "/"), 404);
    assert_eq!(code("GET", "/streams/"), 404);
    let silent = || Ok(overview(vec![(None, None)]));
    assert_eq!(answer("GET", "/healthz", 0, silent).status, 503);
    assert_eq!(answer("GET", "/metrics", 0, silent).status, 503);
}

#[test]
fn of_several_apps_each_has_its_label_and_its_troubles() {
    let draining = || StatusSnapshot {
        is_draining: true,
        ..status()
    };
    let several = || Overview {
        disabled: vec!["gamma".into()],
        ..overview(vec![
            (Some("acme"), Some(status())),
            (Some("beta"), None),
            (Some("delta"), Some(draining())),
        ])
    };
    let page = page(&several());
    validate(&page);
    for line in [
        "rtmsd_ready{app=\"acme\"} 1",
        "rtmsd_ready{app=\"delta\"} 0",
        "rtmsd_streams{app=\"acme\",state=\"receiving\"} 1",
        "rtmsd_webhooks_total{app=\"\",result=\"forged\"} 0",
        "rtmsd_webhooks_total{app=\"acme\",result=\"accepted\"} 0",
        "rtmsd_panics_total{app=\"\",where=\"gate\"} 0",
        "rtmsd_panics_total{app=\"acme\",where=\"stream\"} 1",
        "rtmsd_gate_connections_total 0",
        "rtmsd_webhook_ack_seconds_count 0",
    ] {
        assert!(page.lines().any(|l| l == line), "{line} in\n{page}");
    }
    assert!(!page.contains("panics_total{app=\"acme\",where=\"gate\"}"));
    let text = |answer: Answer| String::from_utf8(answer.body).expect("text");
    let ready = answer("GET", "/readyz", 0, || Ok(several()));
    assert_eq!(ready.status, 503);
    assert_eq!(
        text(ready),
        "app beta: the daemon does not answer\napp delta: draining: the server is stopping\n"
    );
    let alive = answer("GET", "/healthz", 0, || Ok(several()));
    assert_eq!(alive.status, 503);
    let rest = || {
        Ok(Overview {
            disabled: vec!["gamma".into()],
            ..overview(vec![(Some("acme"), Some(status()))])
        })
    };
    assert_eq!(
        text(answer("GET", "/readyz", 0, rest)),
        "ready\napp gamma: disabled, because its configuration has a fault\n"
    );
    let found = streams::Streams::from_overview(&several(), &process(), None);
    let apps: Vec<_> = found.streams.iter().map(|it| it.app.as_deref()).collect();
    assert_eq!(apps.len(), 2);
    assert!(apps.contains(&Some("acme")) && apps.contains(&Some("delta")));
    let states = found.apps.expect("there are several");
    let states: Vec<_> = states.iter().map(|app| (&*app.name, &*app.state)).collect();
    assert_eq!(
        states,
        [
            ("acme", "running"),
            ("beta", "running"),
            ("delta", "running"),
            ("gamma", "disabled")
        ]
    );
}

#[test]
fn streams_are_listed_as_json() {
    let found = streams::Streams::from_overview(&one(status()), &process(), None);
    let line = &found.streams[0];
    assert_eq!((line.state.as_str(), line.reconnects), ("receiving", 1));
    assert_eq!(line.waits_for.as_deref(), Some("first data"));
    assert_eq!(line.media.len(), 1);
    let json = serde_json::to_string(&found).expect("it is plain data");
    assert_eq!(
        serde_json::from_str::<streams::Streams>(&json).ok(),
        Some(found)
    );
}

#[test]
fn a_grant_that_does_not_work_is_named_and_the_server_stays_ready() {
    use crate::zoom_api::{GrantState, GrantStatus};
    let grant = |account: &str, state| GrantStatus {
        account_id: account.to_owned(),
        user_id: format!("{account}-user"),
        user: "Ada <ada@example.com>".to_owned(),
        scopes: Vec::new(),
        authorized_ms: None,
        used_ms: None,
        state,
        is_configured: false,
    };
    let grants = vec![
        grant("acc1", GrantState::Ok),
        grant("acc2", GrantState::Revoked),
    ];
    let ask = || {
        Ok(one(StatusSnapshot {
            grants: Some(grants.clone()),
            accounts_without_grant: vec![("acc3".to_owned(), 2)],
            ..status()
        }))
    };
    let get = |path: &str| {
        let answer = answer("GET", path, 0, ask);
        (
            answer.status,
            String::from_utf8_lossy(&answer.body).into_owned(),
        )
    };
    let expected = "ready\n\
        account acc2: the grant of user acc2-user is revoked: authorize again (rtmsd authorize)\n\
        account acc3: no user has authorized the app, calls not made: 2; run rtmsd authorize\n";
    assert_eq!(get("/readyz"), (200, expected.to_owned()));
    let (_, metrics) = get("/metrics");
    for line in [
        "rtmsd_grants{state=\"ok\"} 1",
        "rtmsd_grants{state=\"revoked\"} 1",
        "rtmsd_accounts_without_grant 1",
    ] {
        assert!(metrics.contains(line), "{line}");
    }
    let (_, streams) = get("/streams");
    assert!(
        streams.contains(r#""accounts":{"working":1,"broken":[{"account_id":"acc2""#),
        "{streams}"
    );
    // Names and addresses are for those who may read the state.
    assert!(!streams.contains("ada@example.com"));
}

#[test]
fn of_a_fleet_there_are_metrics_only_with_one() {
    use crate::daemon::fleet_status::{Counts, FleetStatus, FleetStream, Times, Took};
    let is_of_fleet = |metric: &&metrics::Metric| metric.name.starts_with("fleet_");
    assert!(metrics::all().filter(is_of_fleet).count() > 20);
    assert!(
        !page(&one(status())).contains("rtmsd_fleet_"),
        "there is none"
    );

    let mut counts = Counts {
        yielded: 2,
        not_joined: 1,
        ..Counts::default()
    };
    counts.routed.insert("queued", 7);
    counts.claims.insert(("dead", "claimed"), 3);
    let times = Times::default();
    times.beat.record(Duration::from_millis(2));
    times.record(Took::TakeOver, Duration::from_secs(9));
    let stream = FleetStream {
        stream_id: "stream-1".to_owned(),
        meeting: "uuid==".to_owned(),
        epoch: 2,
        phase: "receiving",
    };
    let fleet = FleetStatus {
        fleet: "default".to_owned(),
        node: "node-a".to_owned(),
        state: "sure",
        store: "redis://store.example.com:6379/0".to_owned(),
        down_for: None,
        is_minority: false,
        rows: Vec::new(),
        events_node: None,
        differing: 0,
        meetings: 1,
        streams: vec![stream],
        intents: 4,
        queue: 5,
        to_delete: 6,
        counts,
        times: Arc::new(times),
        down_in_all: Duration::from_millis(1500),
        clock_offset_ms: Some(-2500),
        store_errors: [
            ("not_reached", 1),
            ("lost", 0),
            ("late", 0),
            ("refused", 0),
            ("full", 0),
        ],
    };
    let mut of_node = status();
    of_node.totals.stats.refused_elsewhere = 8;
    of_node.fleet = Some(fleet);
    let page = page(&one(of_node));
    validate(&page);
    for line in [
        "rtmsd_fleet_sure 1",
        "rtmsd_fleet_nodes{state=\"living\"} 0",
        "rtmsd_fleet_intents 4",
        "rtmsd_fleet_queue_length 5",
        "rtmsd_fleet_to_delete 6",
        "rtmsd_fleet_yielded_total 2",
        "rtmsd_fleet_accepted_not_joined_total 1",
        "rtmsd_fleet_refused_8_total 8",
        "rtmsd_fleet_routed_total{result=\"queued\"} 7",
        "rtmsd_fleet_routed_total{result=\"full\"} 0",
        "rtmsd_fleet_claims_total{why=\"dead\",result=\"claimed\"} 3",
        "rtmsd_fleet_claims_total{why=\"new\",result=\"failed\"} 0",
        "rtmsd_fleet_handed_total{result=\"given\"} 0",
        "rtmsd_fleet_beat_seconds_bucket{le=\"0.0025\"} 1",
        "rtmsd_fleet_takeover_seconds_bucket{le=\"5\"} 0",
        "rtmsd_fleet_takeover_seconds_bucket{le=\"10\"} 1",
        "rtmsd_fleet_takeover_seconds_sum 9",
        "rtmsd_fleet_handover_gap_seconds_count 0",
        "rtmsd_fleet_route_seconds_count 0",
        "rtmsd_fleet_store_down_seconds_total 1.5",
        "rtmsd_fleet_store_errors_total{kind=\"not_reached\"} 1",
        "rtmsd_fleet_clock_offset_seconds -2.5",
        "rtmsd_fleet_rollbacks_total 0",
        "rtmsd_fleet_settings_differ 0",
        "rtmsd_fleet_meetings 1",
    ] {
        assert!(page.lines().any(|l| l == line), "{line} in\n{page}");
    }
    for hidden in ["uuid==", "stream-1", "node-a", "store.example.com"] {
        assert!(!page.contains(hidden), "{hidden}");
    }
    for metric in metrics::all().filter(is_of_fleet) {
        let name = format!("# TYPE rtmsd_{} ", metric.name);
        assert!(page.contains(&name), "{name}");
    }
}
