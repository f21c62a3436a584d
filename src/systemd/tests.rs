use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixDatagram;
use std::sync::Mutex;

use super::*;
use crate::testing::PATIENCE;

/// A socket like systemd's.
struct Manager {
    socket: UnixDatagram,
    name: String,
}

impl Manager {
    fn with_path(test: &str) -> Manager {
        let folder = std::env::temp_dir();
        let name = format!("{}/rtmsd-{test}-{}", folder.display(), std::process::id());
        let socket = UnixDatagram::bind(&name).expect("a socket");
        Manager::of(socket, name)
    }

    fn of(socket: UnixDatagram, name: String) -> Manager {
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        Manager { socket, name }
    }

    fn notifier(&self) -> Notifier {
        Notifier::to(self.name.as_ref()).expect("a name")
    }

    fn hears(&self) -> String {
        let mut bytes = [0; 4096];
        let n = self.socket.recv(&mut bytes).expect("a datagram");
        String::from_utf8_lossy(&bytes[..n]).into_owned()
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.name);
    }
}

fn heartbeat(gate_turned: Instant, timer_turns: u64) -> Heartbeat {
    Heartbeat {
        gate_turned,
        timer_turns,
        streams: 2,
        receiving: 1,
        unready_reason: None,
        events_down: None,
        is_disk_hung: false,
    }
}

#[test]
fn a_datagram_reaches_a_path_and_an_abstract_name() {
    let manager = Manager::with_path("path");
    assert!(manager.notifier().send("READY=1"));
    assert_eq!(manager.hears(), "READY=1");
    manager.notifier().reloading();
    let heard = manager.hears();
    let us = heard.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
    assert!(us.is_some_and(|us| us.parse::<u64>().is_ok()), "{heard}");
    manager.notifier().stopping();
    assert_eq!(manager.hears(), "STOPPING=1\nSTATUS=stopping");

    let name = format!("rtmsd-abstract-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).expect("a name");
    let socket = UnixDatagram::bind_addr(&address).expect("a socket");
    let manager = Manager::of(socket, format!("@{name}"));
    assert!(manager.notifier().send("READY=1"));
    assert_eq!(manager.hears(), "READY=1");
    assert!(Notifier::to("relative".as_ref()).is_err());
    let gone = Notifier::to("/nowhere/at/all".as_ref()).expect("a path");
    assert!(!gone.send("READY=1"));
}

#[test]
fn the_watchdog_counts_only_for_the_named_process() {
    let second = Some(Duration::from_secs(1));
    for (usec, pid, expected) in [
        (Some("1000000"), None, second),
        (Some("1000000"), Some("7"), second),
        (Some("1000000"), Some("8"), None),
        (Some("0"), None, None),
        (Some("x"), None, None),
        (None, Some("7"), None),
    ] {
        assert_eq!(notify::watchdog(usec, pid, 7), expected, "{usec:?} {pid:?}");
    }
}

#[test]
fn each_thread_that_hangs_is_found() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut progress = ProgressCheck::default();
    // The first check has no earlier one to compare with.
    assert_eq!(progress.check(at(0), Some(heartbeat(start, 0))), Ok(()));
    assert_eq!(progress.check(at(10), Some(heartbeat(at(0), 1))), Ok(()));
    // One request is not answered; then everything works again.
    assert_eq!(progress.check(at(20), None), Err("the daemon's loop"));
    assert_eq!(progress.check(at(30), Some(heartbeat(at(10), 2))), Ok(()));
    // The gate took its last turn before it was asked to.
    assert_eq!(
        progress.check(at(40), Some(heartbeat(at(29), 3))),
        Err("the gate")
    );
    assert_eq!(progress.check(at(50), Some(heartbeat(at(40), 4))), Ok(()));
    // The timer thread has not taken a turn.
    assert_eq!(
        progress.check(at(60), Some(heartbeat(at(50), 4))),
        Err("the timer")
    );
}

/// What the manager receives of a server whose threads hang in some rounds.
#[test]
fn the_watchdog_is_notified_only_while_there_is_progress() {
    let manager = Manager::with_path("watchdog");
    let rounds = Mutex::new(0_u64);
    let (over, is_over) = mpsc::channel();
    std::thread::scope(|scope| {
        let notifier = manager.notifier();
        let rounds = &rounds;
        Builder::new()
            .spawn_scoped(scope, move || {
                run(&notifier, Some(Duration::from_millis(5)), &is_over, |_| {
                    let mut round = rounds.lock().expect("no panics");
                    *round += 1;
                    match *round {
                        // Loop, gate and timer hang in turn; only progress is reported.
                        3 => None,
                        5 => Some(heartbeat(Instant::now() - Duration::from_secs(60), 5)),
                        7 => Some(heartbeat(Instant::now(), 6)),
                        8.. => Some(Heartbeat {
                            streams: 9,
                            ..heartbeat(Instant::now(), *round)
                        }),
                        turns => Some(heartbeat(Instant::now(), turns)),
                    }
                });
            })
            .expect("a thread");
        assert_eq!(
            manager.hears(),
            "READY=1\nSTATUS=2 streams, 1 receiving\nWATCHDOG=1"
        );
        // In rounds 2, 4 and 6 all is well; in 3, 5 and 7 nothing is sent.
        for _ in 0..3 {
            assert_eq!(manager.hears(), "WATCHDOG=1");
        }
        assert_eq!(manager.hears(), "STATUS=9 streams, 1 receiving\nWATCHDOG=1");
        drop(over);
    });
}

#[test]
fn a_disk_that_hangs_is_named_and_the_watchdog_is_fed() {
    let hung = Heartbeat {
        is_disk_hung: true,
        ..heartbeat(Instant::now(), 1)
    };
    let told = status(&hung);
    assert!(
        told.ends_with("; the disk under RTMS_OUT does not answer"),
        "{told}"
    );
    let mut check = ProgressCheck::default();
    assert!(check.check(Instant::now(), Some(hung)).is_ok());
}

#[test]
fn an_event_connection_that_is_down_is_named() {
    let fine = heartbeat(Instant::now(), 1);
    let down = Heartbeat {
        events_down: Some("displaced"),
        ..fine
    };
    assert_eq!(status(&down), "2 streams, 1 receiving; events displaced");
    let both = Heartbeat {
        is_disk_hung: true,
        ..down
    };
    let told = status(&both);
    assert!(
        told.ends_with("; the disk under RTMS_OUT does not answer; events displaced"),
        "{told}"
    );
}
