//! `rtmsd status --fleet` and `rtmsd check --online` with a real store, in which nodes have written.

use std::time::Duration;

use rtmsd::coordinator::fleet::call::{Boot, Call, Claimable, Member, Message, Reply, Row};
use rtmsd::coordinator::fleet::record::StreamPhase;
use rtmsd::daemon::fleet_store::Codec;
use rtmsd::daemon::fleet_store::direct::Direct;
use rtmsd::daemon::fleet_store::facts::ACL;
use serde_json::{Value, json};

use crate::fleet_store::reach;
use crate::harness::redis::Redis;
use crate::harness::{Harness, TempDir, frequent_keep_alives, wait_until};

/// A node that writes what a server would.
struct Node(Direct);

impl Node {
    fn new(address: &str, credentials: (&str, &str), name: &str) -> Node {
        let me = Member {
            node: name.to_owned(),
            boot: Boot(u64::from(name.as_bytes()[0])),
        };
        let codec = Codec::new(credentials.0, credentials.1, "default", me);
        Node(Direct::open(&reach(address, None), codec).expect("a store"))
    }

    fn call(&mut self, call: &Call) -> Reply {
        self.0.call(call).expect("the store answers")
    }

    fn beat(&mut self, streams: u32, capacity: u32) {
        let row = Row {
            boot: self.0.codec().me().boot,
            seq: 1,
            layout: 1,
            version: "0.2.0".to_owned(),
            must: "m".to_owned(),
            streams,
            capacity,
            is_draining: false,
            admin: String::new(),
            since_ms: 1,
            events: None,
        };
        let reply = self.call(&Call::Beat {
            row,
            previous: None,
        });
        assert!(matches!(reply, Reply::Beat { .. }), "{reply:?}");
    }

    fn receive(&mut self, meeting: &str, stream: &str) {
        let publish = Call::Publish {
            meeting: meeting.to_owned(),
            epoch: 0,
            previous: None,
            streams: vec![(stream.to_owned(), StreamPhase::Receiving)],
            is_over: false,
            entry: Some(b"entry".to_vec()),
        };
        let reply = self.call(&publish);
        assert!(matches!(reply, Reply::Ok { .. }), "{reply:?}");
    }

    fn settings(&mut self, digests: &[(&'static str, &str)]) {
        let digests: Vec<_> = digests.iter().map(|(k, v)| (*k, (*v).to_owned())).collect();
        let commands = self.0.codec().settings(&digests);
        self.0.commands(&commands).expect("the store answers");
    }

    fn send(&mut self, to: &str, message: Message) {
        let reply = self.call(&Call::Send {
            node: to.to_owned(),
            message,
        });
        assert_eq!(reply, Reply::Sent { has_room: true });
    }
}

/// A configuration of the node `c`, which does not run, and two nodes that do.
fn fleet(redis: &Redis) -> (Harness, Node, Node) {
    let address = format!("unix://{}", redis.socket().display());
    let options = frequent_keep_alives(1000);
    let (id, secret) = (options.client_id.clone(), options.client_secret.clone());
    let harness = Harness::builder(options).settings(&[
        ("RTMS_FLEET", &address),
        ("RTMS_NODE", "c"),
        ("RTMS_STATE", "state"),
        ("RTMS_ADMIN", "off"),
    ]);
    let harness = harness.without_server();
    let credentials = (id.as_str(), secret.as_str());
    let mut a = Node::new(&address, credentials, "a");
    let mut b = Node::new(&address, credentials, "b");
    a.beat(1, 10);
    b.beat(1, 10);
    (harness, a, b)
}

#[test]
fn status_shows_the_fleet_as_its_store_has_it() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let (harness, mut a, mut b) = fleet(&redis);
    a.receive("m1==", "s1");
    b.receive("m2==", "s2");
    a.settings(&[("RTMS_MEDIA", "11111111"), ("RTMS_EVENTS", "22222222")]);
    b.settings(&[("RTMS_MEDIA", "33333333"), ("RTMS_EVENTS", "22222222")]);
    a.send("b", Message::Event(b"x".to_vec()));
    let withdrawal = Message::Discard {
        stream_id: "s9".to_owned(),
        withdrawal: b"{}".to_vec(),
    };
    a.send("b", withdrawal);
    // Another node placed it, and it is not taken yet.
    let placed = Call::Claim {
        meeting: "m3==".to_owned(),
        expected: None,
        to: b.0.codec().me().clone(),
        when: Claimable::Dead(Duration::from_secs(5)),
        messages: Vec::new(),
    };
    assert!(matches!(a.call(&placed), Reply::Claimed { .. }));

    let ran = harness.run(&["status", "--fleet", "--json"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let page: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!((&page["v"], &page["source"]), (&json!(1), &json!("store")));
    let nodes = page["nodes"].as_array().expect("nodes");
    let names: Vec<&Value> = nodes.iter().map(|node| &node["name"]).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(nodes[0]["state"], "sure");
    assert_eq!(nodes[0]["differs"], json!([]));
    assert_eq!(nodes[1]["differs"], json!(["RTMS_MEDIA"]));
    let streams = page["streams"].as_array().expect("streams");
    let found: Vec<_> = streams
        .iter()
        .map(|it| {
            (
                it["stream_id"].as_str(),
                it["node"].as_str(),
                it["phase"].as_str(),
            )
        })
        .collect();
    let expected = [("s1", "a"), ("s2", "b")];
    let expected = expected.map(|(s, n)| (Some(s), Some(n), Some("receiving")));
    assert_eq!(found, expected);
    // An event, a withdrawal, and the word to take a meeting.
    assert_eq!(page["queues"], json!({"a": 0, "b": 3}));
    assert_eq!(page["to_delete"], 1);

    let ran = harness.run(&["status", "--fleet"]);
    assert!(
        ran.stdout.starts_with(
            "fleet default: 2 nodes, 2 streams; files of 1 stream wait to be deleted\n"
        ),
        "{}",
        ran.stdout
    );
    // Neither the store nor a server.
    redis.kill();
    let ran = harness.run(&["status", "--fleet"]);
    assert_eq!(ran.code, Some(69), "{ran:?}");
}

#[test]
fn check_tries_the_store_and_compares_with_other_nodes() {
    let Some(redis) = Redis::start(&["--appendonly", "no"]) else {
        return;
    };
    let (harness, mut a, mut b) = fleet(&redis);
    let ran = harness.run(&["check", "--online"]);
    let report = &ran.stdout;
    for line in [
        "\nat the store of the fleet\n",
        &format!("\nok    store: {} ", redis.product),
        "\nwarn  store: it has neither a file",
        "\nok    scripts: all scripts and commands of a node work\n",
        "\nok    clock: this machine is ",
        "\nok    nodes: others in the fleet default: a (sure, 0.2.0, 1 streams), b (sure, 0.2.0, 1 streams)\n",
        "\nok    name: c is free\n",
        "\nok    capacity: 2 streams, 10 places if the largest node is away\n",
    ] {
        assert!(report.contains(line), "{line}\n{report}");
    }
    // What it tried is gone.
    let keys = redis.client().line("KEYS *check*");
    assert_eq!(keys.array().map(<[_]>::len), Some(0), "{keys:?}");

    a.settings(&[("RTMS_MEDIA", "00000000")]);
    b.settings(&[("ZOOM_SECRET_TOKEN", "00000000")]);
    b.beat(15, 10);
    let ran = harness.run(&["check", "--online"]);
    let report = &ran.stdout;
    assert_eq!(ran.code, Some(78), "{report}");
    for line in [
        "\nwarn  settings: node a has other values of RTMS_MEDIA\n",
        "\nfault settings: node b has other values of ZOOM_SECRET_TOKEN; no meetings are placed",
        "\nwarn  capacity: 16 streams, but only 10 places",
    ] {
        assert!(report.contains(line), "{line}\n{report}");
    }
}

#[test]
fn check_says_which_right_the_user_of_the_store_lacks() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let (mut harness, _a, _b) = fleet(&redis);
    let mut client = redis.client();
    let with = |acl: &str| format!("ACL SETUSER rtmsd reset on >hidden {acl}");
    client.line(&with(ACL));
    let address = format!("unix://{}?user=rtmsd", redis.socket().display());
    harness.set("RTMS_FLEET", &address);
    harness.set("RTMS_FLEET_PASSWORD", "hidden");
    let report = harness.run(&["check", "--online"]).stdout;
    assert!(report.contains("\nok    scripts: "), "{report}");

    client.line(&with(&ACL.replace("+xadd", "")));
    let ran = harness.run(&["check", "--online"]);
    let report = &ran.stdout;
    assert!(report.contains("\nfault scripts: "), "{report}");
    assert!(report.contains("xadd"), "{report}");
    assert_eq!(ran.code, Some(77), "{report}");
    assert!(!report.contains("hidden"), "{report}");

    harness.set("RTMS_FLEET_PASSWORD", "wrong");
    let ran = harness.run(&["check", "--online"]);
    let report = &ran.stdout;
    assert_eq!(ran.code, Some(77), "{report}");
    assert!(report.contains("\nfault store: "), "{report}");
}

#[test]
fn a_node_shows_its_fleet_also_when_the_store_is_away() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let store = format!("unix://{}", redis.socket().display());
    let state = TempDir::new();
    let harness = Harness::builder(frequent_keep_alives(1000));
    let harness = harness.admin().settings(&[
        ("RTMS_FLEET", &store),
        ("RTMS_NODE", "a"),
        ("RTMS_STATE", &state.path().display().to_string()),
    ]);
    let harness = harness.start();
    wait_until("the node is sure", || {
        harness.metric("rtmsd_fleet_sure") == 1.0
    });
    let page: Value = serde_json::from_str(&harness.admin_page("/fleet")).expect("JSON");
    assert_eq!(page["source"], "node");
    assert_eq!(page["nodes"][0]["name"], "a");
    assert_eq!(page["nodes"][0]["state"], "sure");
    assert_eq!(harness.metric("rtmsd_fleet_nodes{state=\"living\"}"), 1.0);
    // The digests of its settings come within a second.
    wait_until("the settings are in the store", || {
        let report = harness.run(&["check", "--online"]).stdout;
        report.contains("\nok    settings: as those of all nodes\n")
            && report.contains("\nok    name: a (sure, ")
    });

    redis.kill();
    wait_until("the node has noticed", || {
        harness.metric("rtmsd_fleet_sure") == 0.0
    });
    let ran = harness.run(&["status", "--fleet", "--json"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let page: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(page["source"], "node");
    assert_eq!(page["nodes"][0]["state"], "unsure");
    let ready = harness.admin_page("/readyz");
    assert!(
        ready.contains("ready\nthe fleet's store has not answered for "),
        "{ready}"
    );
    assert!(harness.metric("rtmsd_fleet_store_errors_total{kind=\"lost\"}") > 0.0);
    harness.end();
}

#[test]
fn without_a_fleet_nothing_of_it_is_shown() {
    let harness = Harness::with_admin(&[]);
    let metrics = harness.admin_page("/metrics");
    assert!(!metrics.contains("rtmsd_fleet"), "{metrics}");
    let ran = harness.run(&["status", "--fleet"]);
    assert_eq!(ran.code, Some(78), "{ran:?}");
    harness.end();
}
