//! The yardsticks, which do the least that can be done: a client that joins one stream and drops everything
//! it receives, and in [`server`] a program that receives many.

pub(crate) mod join;
pub(crate) mod server;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use rtmsd::demo::{Begin, MeetingScript, Options, SentDetail, Zoom};
use rtmsd::domain::secret::Secret;
use tungstenite::Message;

/// Phrases per second over one media socket, from the first to the last.
pub(crate) fn flood(phrases: u64) -> f64 {
    let options = Options {
        keep_alive: Duration::from_secs(300),
        ..Options::default()
    };
    let (id, secret) = (
        options.client_id.clone(),
        Secret::new(options.client_secret.clone()),
    );
    let zoom = Zoom::start(options).expect("the demo's Zoom starts");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let target = format!("http://{}/webhook", listener.local_addr().expect("bound"));
    zoom.set_webhook_target(&target).expect("a URL");
    let meeting = zoom.start_meeting(MeetingScript {
        begin: Begin::AtOnce,
        phrases: Some(phrases),
        phrases_per_second: 0.0,
        keep: SentDetail::Count,
        ..MeetingScript::plain("bare")
    });
    let started = loop {
        let webhook = join::webhook(&listener);
        if webhook["event"] == "meeting.rtms_started" {
            break webhook;
        }
    };
    let pem = std::fs::read(zoom.ca_file()).expect("the CA");
    // The buffer that is best for it.
    let (signaling, mut media) = join::join(&started["payload"], (&id, &secret), &pem, 128 << 10);
    let began = Instant::now();
    let mut count = 0;
    while count < phrases {
        if let Message::Text(text) = media.read().expect("the flood continues") {
            count += u64::from(text.contains("\"msg_type\":17"));
        }
    }
    let rate = phrases as f64 / began.elapsed().as_secs_f64();
    // The listener answers webhooks about the end, so it is dropped too.
    drop((meeting, signaling, media, listener));
    // The demo's complaints about a client that disappears do not matter here.
    let _ = zoom.stop();
    rate
}
