//! HAProxy before the nodes, configured as the manual says.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{SETTINGS, all_speak, bounded, end, last_gap, meetings_of, options, speaking};
use crate::harness::fleet::Fleet;
use crate::harness::{KilledOnDrop, TempDir, free_port, http, report, wait_until};

const MANUAL: &str = include_str!("../../../src/manual/fleet.md");

/// The manual's configuration, without its certificate and with these servers.
fn configuration(port: u16, servers: &[u16]) -> String {
    let (_, rest) = MANUAL.split_once("# haproxy.cfg\n").expect("an example");
    let (example, _) = rest.split_once("```").expect("its end");
    let mut servers = servers.iter();
    let lines = example.lines().map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["bind", ..] => format!("bind 127.0.0.1:{port}"),
            ["server", name, _] => {
                let server = servers.next().expect("a node for each server");
                format!("server {name} 127.0.0.1:{server}")
            }
            _ => line.to_owned(),
        }
    });
    let lines: Vec<String> = lines.collect();
    assert_eq!(servers.next(), None, "a server for each node");
    lines.join("\n") + "\n"
}

fn start(folder: &Path, servers: &[u16]) -> (KilledOnDrop, SocketAddr) {
    let port = free_port();
    let file = folder.join("haproxy.cfg");
    std::fs::write(&file, configuration(port, servers)).expect("a file");
    let child = Command::new("haproxy")
        .arg("-db")
        .arg("-f")
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let child = KilledOnDrop(child.expect("haproxy starts"));
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    wait_until("haproxy listens and has a server", || {
        std::net::TcpStream::connect(address).is_ok() && http::get(address, "/readyz").0 == 200
    });
    (child, address)
}

/// Every node is restarted in turn, then one is killed: each webhook is answered by another, and no meeting
/// is lost.
#[test]
fn one_after_the_other_and_a_kill() {
    if Command::new("haproxy").arg("-v").output().is_err() {
        return report("skipped: haproxy is not installed");
    }
    let Some(mut fleet) = Fleet::start(0, options(), &[]) else {
        return;
    };
    let ports = [(); 3].map(|()| free_port());
    for (name, port) in ["a", "b", "c"].into_iter().zip(ports) {
        let port = port.to_string();
        let mut settings = SETTINGS.to_vec();
        settings.push(("PORT", &port));
        fleet.add(name, &settings);
    }
    fleet.wait_until_sure();
    let folder = TempDir::new();
    let (_haproxy, address) = start(folder.path(), &ports);
    let target = format!("http://{address}/webhook");
    fleet.zoom.set_webhook_target(&target).expect("a target");
    let mut meetings = speaking(&fleet, "before", 3);
    let mut worst = Duration::ZERO;
    for at in 0..3 {
        fleet.terminate(at);
        worst = meetings
            .iter()
            .map(last_gap)
            .max()
            .unwrap_or(worst)
            .max(worst);
        meetings.extend(speaking(&fleet, &format!("without {at}"), 1));
        fleet.start_node(at);
        fleet.wait_until_sure();
    }
    bounded("upgrade of one node after the other", worst, 2.0);
    assert_eq!(fleet.zoom.violations(), Vec::<String>::new());
    let of_killed = meetings_of(&fleet, &meetings, 0);
    fleet.kill(0);
    meetings.extend(speaking(&fleet, "after", 1));
    for meeting in &of_killed {
        fleet.wait_for_receiver(&meeting.streams()[0], &[1, 2]);
    }
    all_speak(&meetings, 10);
    end(&fleet, &meetings);
    for delivery in fleet.zoom.deliveries() {
        let is_taken = matches!(delivery.status, Ok(200 | 204));
        assert!(is_taken, "{}: {:?}", delivery.event, delivery.status);
    }
    for meeting in &meetings {
        let comparison = fleet.comparison(meeting);
        let was_killed = of_killed.iter().any(|it| it.streams() == meeting.streams());
        assert!(was_killed || comparison.is_exact(), "{comparison:?}");
        assert_eq!(comparison.doubled, 0, "{comparison:?}");
    }
}
