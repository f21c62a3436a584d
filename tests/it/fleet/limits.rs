//! Too many meetings, and clocks that are wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rtmsd::demo::fleet_store::Server as Store;

use super::{SETTINGS, Watch, all_speak, end, options, speaking};
use crate::harness::fleet::Fleet;
use crate::harness::wait_until;

#[test]
fn full_nodes_refuse_nothing() {
    let mut settings = SETTINGS.to_vec();
    settings.push(("RTMS_NODE_STREAMS", "1"));
    let Some(fleet) = Fleet::start(2, options(), &settings) else {
        return;
    };
    let mut meetings = speaking(&fleet, "first", 2);
    wait_until("each says that it is full", || {
        let status = fleet.status();
        let mut nodes = status["nodes"].as_array().into_iter().flatten();
        nodes.all(|node| node["streams"].as_u64() >= node["capacity"].as_u64())
    });
    meetings.extend(speaking(&fleet, "more", 2));
    let told = |node: &crate::harness::fleet::Node| {
        node.server.count_logged(&["ERROR", "RTMS_NODE_STREAMS"])
    };
    assert!(
        fleet.nodes.iter().map(told).sum::<usize>() > 0,
        "no line says so"
    );
    for delivery in fleet.zoom.deliveries() {
        assert!(delivery.is_accepted(), "{delivery:?}");
    }
    end(&fleet, &meetings);
    for meeting in &meetings {
        let comparison = fleet.comparison(meeting);
        assert!(comparison.is_exact(), "{comparison:?}");
    }
    assert_eq!(fleet.end(), Vec::<String>::new());
}

/// Two nodes with a store whose clock can be set: the program takes the time of its machine from no other source.
fn with_clock() -> Option<(Fleet, Store, Arc<AtomicI64>)> {
    let ahead = Arc::new(AtomicI64::new(0));
    let own = Arc::clone(&ahead);
    let clock = move || {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("a clock");
        (now.as_millis() as u64).saturating_add_signed(own.load(Relaxed))
    };
    let store = Store::start(Box::new(clock)).expect("a port");
    let mut fleet = Fleet::start(0, options(), &[])?;
    let url = store.url();
    let mut settings = SETTINGS.to_vec();
    settings.push(("RTMS_FLEET", &url));
    for name in ["a", "b"] {
        fleet.add(name, &settings);
    }
    fleet.wait_until_sure();
    Some((fleet, store, ahead))
}

#[test]
fn a_wrong_clock_is_named() {
    let Some((fleet, _store, ahead)) = with_clock() else {
        return;
    };
    for (ahead_ms, line) in [
        (0, "\nok    clock: this machine is "),
        (
            3_000,
            "\nwarn  clock: this machine is 3.0 s behind the store; ",
        ),
        (
            -40_000,
            "\nfault clock: this machine is 40.0 s ahead of the store; ",
        ),
    ] {
        ahead.store(ahead_ms, Relaxed);
        let ran = fleet.run(0, &["check", "--online"]);
        assert!(ran.stdout.contains(line), "{line}: {ran:?}");
    }
    ahead.store(0, Relaxed);
    // By more than five minutes webhooks are refused, and the balancer sees it.
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock");
    for (old, status) in [(0, 200), (290, 200), (310, 401)] {
        let stamp = (now.as_secs() - old).to_string();
        let body = br#"{"event":"meeting.participant_joined","payload":{"object":{"id":1}}}"#;
        let signature = fleet.zoom.sign(&stamp, body);
        let headers = [
            ("x-zm-request-timestamp", stamp.as_str()),
            ("x-zm-signature", signature.as_str()),
        ];
        let delivery = fleet.zoom.post_raw(&headers, body);
        assert_eq!(
            delivery.status.as_ref().ok(),
            Some(&status),
            "{old}: {delivery:?}"
        );
    }
}

#[test]
fn a_jump_of_the_store_s_clock_kills_no_node() {
    let Some((fleet, _store, ahead)) = with_clock() else {
        return;
    };
    let meetings = speaking(&fleet, "jump", 2);
    let settled = Instant::now();
    wait_until("they judge each other", || {
        settled.elapsed() >= Duration::from_secs(5)
    });
    let watch = Watch::new(&meetings);
    ahead.store(3_600_000, Relaxed);
    let jumped = Instant::now();
    // Each has written its row, and looked at the other's, more than once.
    wait_until("some beats", || jumped.elapsed() >= Duration::from_secs(3));
    all_speak(&meetings, 10);
    watch.are_untouched();
    for node in &fleet.nodes {
        assert_eq!(node.metric("rtmsd_fleet_sure"), 1.0);
        assert_eq!(node.metric("rtmsd_fleet_nodes{state=\"living\"}"), 2.0);
        assert_eq!(
            node.server.count_logged(&["is silent"]),
            0,
            "{:?}",
            node.server.log()
        );
    }
    end(&fleet, &meetings);
    assert_eq!(fleet.end(), Vec::<String>::new());
}
