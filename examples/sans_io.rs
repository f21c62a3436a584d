//! The protocol alone, with a scripted peer in this file: no socket, no thread, no real time.
//!
//! A program with its own sockets does the same: it reports each input to the [`Stream`], with the
//! time, and then carries out the outputs until the next one is to wait or to end.
#![expect(clippy::print_stdout, reason = "it shows what it received")]

use std::time::{Duration, Instant};

use rtmsd::Secret;
use rtmsd::protocol::{
    AllowedHosts, LinkId, MediaKind, Output, Product, ServerUrl, Stream, StreamConfig, StreamEvent,
};

/// The peer's answer to a message of that type: like Zoom's, but minimal.
fn answer(text: &str) -> Option<&'static str> {
    if text.contains(r#""msg_type":1,"#) {
        Some(
            r#"{"msg_type":2,"status_code":0,"media_server":{"server_urls":{"transcript":"wss://media.zoom.us"}}}"#,
        )
    } else if text.contains(r#""msg_type":3,"#) {
        Some(r#"{"msg_type":4,"status_code":0}"#)
    } else {
        None
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = ServerUrl::parse("wss://signaling.zoom.us", &AllowedHosts::default())?;
    let config = StreamConfig::new(
        Product::Meeting,
        "meeting uuid",
        "stream id",
        vec![url],
        "client id",
        Secret::new("client secret"),
    );
    let mut now = Instant::now();
    let mut stream = Stream::new(now, config);
    let transcript = LinkId::Media(MediaKind::Transcript);
    let phrase =
        r#"{"msg_type":17,"content":{"user_id":1,"user_name":"Ada","data":"Good morning."}}"#;
    let stop = r#"{"msg_type":8,"state":4,"stop_reason":6}"#;
    loop {
        match stream.poll_output() {
            Output::Connect { link, url, .. } => {
                println!("connect {link} to {}", url.host());
                stream.handle_opened(now, link);
            }
            Output::Send(link, text) => {
                println!("send on {link}: {} bytes", text.len());
                if let Some(answer) = answer(&text) {
                    stream.handle_message(now, link, answer)?;
                }
                // Message 7: the client is ready, and data follows.
                if text.contains(r#""msg_type":7,"#) {
                    let event = stream.handle_message(now, transcript, phrase)?;
                    if let Some(StreamEvent::Transcript(phrase)) = event {
                        println!("{}: {}", phrase.user_name, phrase.text);
                    }
                    stream.handle_message(now, LinkId::Signaling, stop)?;
                }
            }
            Output::Wait(until) => {
                // A driver waits for its sockets until then. Here the time is advanced at once.
                now = until.max(now + Duration::from_millis(1));
                stream.handle_timeout(now);
            }
            Output::End(reason) => {
                println!("end: {reason}");
                return Ok(());
            }
            output => println!("{output:?}"),
        }
    }
}
