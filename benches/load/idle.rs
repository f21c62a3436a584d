//! A server without a stream: what it holds, how often it wakes, and what each feature adds once it is
//! configured.

use std::time::{Duration, Instant};

use rtmsd::demo::Zoom;

use crate::process::{self, Server};
use crate::table::{Goal, Table};
use crate::{finish, zoom};

/// As with Zoom, where the system's roots are enough: with custom roots OpenSSL reads them at the start,
/// which needs two megabytes.
const SYSTEM_ROOTS: (&str, &str) = ("RTMS_CA_FILE", "");

/// On by default, and off in the other rows.
const ADMIN: (&str, &str) = ("RTMS_ADMIN", "127.0.0.1:0");

/// Everything that belongs to the start is over by then.
const SETTLED: Duration = Duration::from_secs(7);

/// A row, and what is configured for it. No address in it is ever asked: nothing happens.
type Feature = (&'static str, &'static [(&'static str, &'static str)]);

const FEATURES: [Feature; 8] = [
    ("nothing more", &[]),
    ("no journal", &[("RTMS_FEED", "off")]),
    ("no stdout", &[("RTMS_STDOUT", "off")]),
    ("no admin listener", &[("RTMS_ADMIN", "off")]),
    (
        "push",
        &[
            ("RTMS_PUSH_URL", "https://push.example.com/"),
            ("RTMS_PUSH_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        ],
    ),
    ("a hook", &[("RTMS_ON_STREAM_END", "/bin/true")]),
    (
        "uploads",
        &[
            ("RTMS_S3_BUCKET", "bucket"),
            ("RTMS_S3_ENDPOINT", "https://storage.example.com"),
            ("RTMS_S3_ACCESS_KEY_ID", "id"),
            ("RTMS_S3_SECRET_ACCESS_KEY", "secret"),
        ],
    ),
    ("keeping", &[("RTMS_KEEP", "30d"), ("RTMS_DISK_MAX", "1T")]),
];

pub(crate) fn idle(table: &Table) {
    let zoom = zoom(Duration::from_secs(10));
    let start = start_ms(&zoom);
    let server = Server::start(&zoom, &[SYSTEM_ROOTS, ADMIN]);
    server.ask();
    std::thread::park_timeout(SETTLED);
    let before = server.usage();
    std::thread::park_timeout(Duration::from_secs(10));
    let used = server.usage().since(&before);
    let standing = server.standing();
    table.row("idle: threads", standing.threads, 0, Goal::Most(16.0));
    let anonymous = standing.anonymous_mib;
    table.row("idle: anonymous, MiB", anonymous, 1, Goal::Most(3.0));
    let proportional = standing.proportional_mib;
    table.row("idle: PSS, MiB", proportional, 1, Goal::Most(5.0));
    table.row("idle: RSS, MiB", standing.rss_mib, 1, Goal::None);
    let wake_ups = used.switches as f64;
    table.row("idle: wake-ups in 10 s", wake_ups, 0, Goal::Most(0.0));
    table.row(
        "idle: start to first answer, ms",
        start,
        1,
        Goal::Most(30.0),
    );
    let size = process::binary_bytes() as f64 / 1e6;
    table.row("binary, MB", size, 2, Goal::Most(5.0));
    finish(server, zoom, &[]);
}

/// The median of five.
fn start_ms(zoom: &Zoom) -> f64 {
    let mut starts: Vec<Duration> = (0..5)
        .map(|_| {
            let began = Instant::now();
            let server = Server::start(zoom, &[]);
            server.ask();
            let took = began.elapsed();
            server.stop();
            took
        })
        .collect();
    starts.sort_unstable();
    starts[starts.len() / 2].as_secs_f64() * 1e3
}

/// What each feature adds to an idle server.
pub(crate) fn features(table: &Table) {
    let zoom = zoom(Duration::from_secs(10));
    for (name, settings) in FEATURES {
        let mut all = vec![SYSTEM_ROOTS, ADMIN];
        all.extend_from_slice(settings);
        let server = Server::start(&zoom, &all);
        server.ask();
        std::thread::park_timeout(SETTLED);
        let standing = server.standing();
        let row = |what: &str| format!("{name}: {what}");
        table.row(&row("threads"), standing.threads, 0, Goal::None);
        table.row(&row("descriptors"), standing.descriptors, 0, Goal::None);
        let anonymous = standing.anonymous_mib;
        table.row(&row("anonymous, MiB"), anonymous, 2, Goal::None);
        let proportional = standing.proportional_mib;
        table.row(&row("PSS, MiB"), proportional, 1, Goal::None);
        table.row(&row("RSS, MiB"), standing.rss_mib, 1, Goal::None);
        server.stop();
    }
    for violation in zoom.stop() {
        println!("violation: {violation}");
    }
}
