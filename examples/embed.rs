//! The whole daemon inside another program, with a sink of its own and no files.
//!
//! Usage: `embed LISTEN_ADDRESS`, with `ZOOM_CLIENT_ID`, `ZOOM_CLIENT_SECRET` and
//! `ZOOM_SECRET_TOKEN` in the environment. `RTMS_ALLOWED_HOSTS` and `RTMS_CA_FILE` may name another
//! Zoom, such as the demo. It ends after the first stream.
#![expect(clippy::print_stdout, reason = "it shows what it received")]

use std::env::{args, var};
use std::net::TcpListener;
use std::sync::mpsc::{Sender, channel};

use rtmsd::protocol::{AllowedHosts, EndReason, StreamEvent};
use rtmsd::{App, AppCredentials, Daemon, Secret, Settings, Sink};

/// Prints phrases and counts words, on the stream's own thread: it must not block.
struct Words {
    count: usize,
    ended: Sender<usize>,
}

impl Sink for Words {
    fn on_event(&mut self, event: &StreamEvent<'_>) {
        if let StreamEvent::Transcript(phrase) = event {
            println!("{}: {}", phrase.user_name, phrase.text);
            self.count += phrase.text.split_whitespace().count();
        }
    }

    fn on_end(&mut self, reason: &EndReason) {
        println!("the stream ended: {reason}");
        let _ = self.ended.send(self.count);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let credentials = AppCredentials {
        id: var("ZOOM_CLIENT_ID")?,
        secret: Secret::new(var("ZOOM_CLIENT_SECRET")?),
    };
    let app = App::new(credentials, vec![Secret::new(var("ZOOM_SECRET_TOKEN")?)]);
    let mut settings = Settings::new(app);
    if let Ok(hosts) = var("RTMS_ALLOWED_HOSTS") {
        settings.allowed_hosts = AllowedHosts::parse(&hosts)?;
    }
    settings.ca_file = var("RTMS_CA_FILE").ok().map(Into::into);
    let address = args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let (ended, counts) = channel();
    let sinks = move |_info: &rtmsd::StreamInfo| -> Vec<Box<dyn Sink>> {
        vec![Box::new(Words {
            count: 0,
            ended: ended.clone(),
        })]
    };
    let daemon = Daemon::start(
        vec![TcpListener::bind(address)?],
        settings,
        Some(Box::new(sinks)),
    )?;
    println!("webhooks: http://{}/webhook", daemon.addresses()[0]);
    let handle = daemon.handle();
    let thread = std::thread::spawn(move || daemon.run());
    println!("{} words", counts.recv()?);
    handle.stop();
    thread.join().map_err(|_| "the daemon panicked")?;
    Ok(())
}
