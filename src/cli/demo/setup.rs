//! `rtmsd demo --setup`: the guided first run with the demo's Zoom, to rehearse it.
//!
//! `rtmsd setup` runs in this terminal, in a temporary folder, with the addresses of the demo's Zoom in its
//! environment. As soon as its server is connected, a meeting starts.

use std::io;
use std::net::TcpListener;
use std::ops::Range;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::{Folder, say};
use crate::cli::exit;
use crate::demo::player::script::MeetingScript;
use crate::demo::process::own_program;
use crate::demo::{Credentials, EventsBy, Options, Zoom, temporary_directory};

/// Ports for the redirect.
const PORTS: Range<u16> = 8765..8865;

/// How often it is looked whether the server is connected.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Plays it. Returns the exit code of `rtmsd setup`, or 70 if it did what Zoom would not accept.
pub(super) fn play() -> io::Result<u8> {
    let folder = Folder(temporary_directory()?);
    // A port for the redirect: the one that setup suggests, or the next free one.
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let port = PORTS.into_iter().find(is_free).unwrap_or(PORTS.start);
    let zoom = Arc::new(Zoom::start(Options {
        directory: Some(folder.0.clone()),
        credentials: Credentials::Consent,
        events_by: EventsBy::WebSocket,
        redirect_url: format!("http://127.0.0.1:{port}/oauth"),
        ..Options::default()
    })?);
    let options = zoom.options();
    say(&format!(
        "demo: answer the questions of rtmsd setup with these\n\n  Client ID      {}\n  Client secret  {}\n  \
         Which way      websocket\n  Address        {}\n  Which one      user\n  Redirect URL   {}\n",
        options.client_id,
        options.client_secret,
        zoom.events_url(),
        options.redirect_url
    ));
    let is_over = Arc::new(AtomicBool::new(false));
    let player = start_player(&zoom, &is_over)?;
    let status = Command::new(own_program()?)
        .arg("setup")
        .arg("--config")
        .arg(folder.0.join("rtms.conf"))
        .env("ZOOM_API_URL", zoom.api_url())
        .env("ZOOM_OAUTH_URL", zoom.oauth_url())
        .env("RTMS_ALLOWED_HOSTS", &options.host)
        .env("RTMS_CA_FILE", zoom.ca_file())
        .env("RTMS_OUT", folder.0.join("out"))
        .env("RTMS_STATE", folder.0.join("state"))
        .env("RTMS_ADMIN", "off")
        .status();
    is_over.store(true, Relaxed);
    let _ = player.join();
    for violation in zoom.violations() {
        say(&format!("failed: {violation}"));
    }
    let code = status?.code().and_then(|code| u8::try_from(code).ok());
    let code = code.unwrap_or(exit::SOFTWARE);
    if code == exit::OK {
        say(
            "demo: this was the rehearsal; its folder is removed. Without the demo: rtmsd setup, with what the \
             page of your app shows",
        );
    }
    match zoom.violations().is_empty() {
        true => Ok(code),
        false => Ok(exit::SOFTWARE),
    }
}

/// Starts a meeting once a server that stays is connected.
fn start_player(zoom: &Arc<Zoom>, is_over: &Arc<AtomicBool>) -> io::Result<JoinHandle<()>> {
    let (zoom, is_over) = (Arc::clone(zoom), Arc::clone(is_over));
    let work = move || {
        let mut connected = 0;
        while !is_over.load(Relaxed) {
            // The check connects for a moment, the server for longer.
            connected = if zoom.has_events_client() {
                connected + 1
            } else {
                0
            };
            if connected == 5 {
                let mut script = MeetingScript::plain("setup");
                script.topic = "Rehearsal".to_owned();
                zoom.start_meeting(script);
                return;
            }
            std::thread::park_timeout(LOOK_EVERY);
        }
    };
    Builder::new().name("demo-meeting".to_owned()).spawn(work)
}
