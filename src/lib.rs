//! `rtmsd` receives Zoom Realtime Media Streams: one synchronous daemon, one OS thread per stream.
//!
//! This page is for those who read or embed the code. How to operate the program is in the
//! [`manual`].
//!
//! # The map
//!
//! Folders are the stages that a message passes through. Data flows in one direction:
//!
//! ```text
//! source/webhook ─▶ gate ─▶ daemon ─▶ stream ─▶ recorder (files)
//!  (Zoom events)            │    ▲      │  ▲      delivery (stdout)
//!                           ▼    │      ▼  │
//!                      coordinator     protocol
//!                           │
//!                           ▼
//!                       zoom_api (REST)
//! ```
//!
//! | folder | what it does | threads |
//! | --- | --- | --- |
//! | [`domain`] | plain data that all parts share; pure | |
//! | [`protocol`] | RTMS as a state machine; pure | |
//! | [`coordinator`] | decides what follows from each Zoom event, REST call and stream end; pure | |
//! | [`gate`] | reads one complete HTTP request from each connection, under limits | 1, and the backend's |
//! | [`source`] | Zoom events, by webhook or by an outgoing WebSocket | 2 workers, `events` |
//! | [`daemon`] | one inbox, one loop; starts and joins everything. For several apps: one of them each | the caller's, REST timer; `app …` |
//! | [`zoom_api`] | REST and OAuth | one for each call |
//! | [`net`] | names, addresses, proxies, TLS and WebSockets for every connection | `dial`, `resolve` |
//! | [`stream`] | the poll loop of one stream | one for each stream |
//! | [`feed`] | the journal: its format, and reading it | the reader's |
//! | [`recorder`] | the files of a stream | `disk`, `sync` |
//! | [`delivery`] | where data goes: standard output, HTTP push, the live feed, live media, what follows a stream's end | `stdout`, `push`, `live`, `media`, and others while they have work |
//! | [`keeping`] | removes recordings by age and space | `keeping`, where a rule is set |
//! | [`merging`] | makes one folder of what several nodes received of a stream | |
//! | [`state`] | the private directory that a restart needs, and the intent log | `state` |
//! | [`config`] | turns `rtms.conf` and the environment into settings | |
//! | [`cli`] | the commands | signals |
//! | [`admin`], [`systemd`] | health, metrics, streams, and who may ask for content; readiness and watchdog | one for each request for recordings or a file |
//! | [`demo`] | a small, strict, independent Zoom on loopback | |
//!
//! # What always holds
//!
//! - [`domain`], [`protocol`] and [`coordinator`] have no socket, clock, file or thread.
//! - Only the driver of a stream calls `handle_*` and `poll_output`, and it drains after each input.
//! - What arrives from the network has no effect before its signature is checked, and is untrusted
//!   afterwards.
//! - Every wait has a deadline, every queue a limit, every thread a name and an owner that joins it.
//!   Five threads can block in the kernel (disk, sync, state, stdout, name resolution); the owner waits
//!   for these until a deadline and then leaves them to the end of the process.
//! - The end of the process is a protocol with times: `daemon/shutdown.rs`.
//! - A Zoom event is on the disk before its webhook is answered 200, and is passed on after that.
//! - Stdout is data and belongs to [`delivery::stdout`]; stderr is the log.
//! - A received phrase is written. Whatever has to be dropped is counted, logged, and noted in
//!   `meta.json`.
//! - Unsafe code is in two places only, `daemon/heap_trim.rs` and `net/tls_sessions.rs`, each with
//!   its measured reason.
//!
//! # Embedding
//!
//! There are three ways: the whole [`daemon::Daemon`]; one [`stream::StreamHandle`], if your program
//! receives the webhooks; [`protocol::Stream`] alone, with sockets of your own.
//!
//! The daemon runs inside your program as it does in the binary: give it a listener, the app's
//! credentials, and a function that makes the [`Sink`]s of each stream. It writes
//! nothing unless [`Settings`] say so. While it runs, [`Handle`]
//! reports its status and applies other settings: secrets, media, formats.
//!
//! A sink gets each message as a [`StreamEvent`](protocol::StreamEvent), borrowed from the socket's
//! buffer. Audio, video and share are still base64 then, see
//! [`Packet::decode_into`](protocol::message::Packet::decode_into).
//!
//! ```
//! use std::net::TcpListener;
//!
//! use rtmsd::protocol::{EndReason, StreamEvent};
//! use rtmsd::{App, AppCredentials, Daemon, Secret, Settings, Sink};
//!
//! /// Counts words, on the stream's own thread: it must not block.
//! struct Words(usize);
//!
//! impl Sink for Words {
//!     fn on_event(&mut self, event: &StreamEvent<'_>) {
//!         if let StreamEvent::Transcript(phrase) = event {
//!             self.0 += phrase.text.split_whitespace().count();
//!         }
//!     }
//!
//!     fn on_end(&mut self, reason: &EndReason) {
//!         println!("{} words; {reason}", self.0);
//!     }
//! }
//!
//! let credentials = AppCredentials {
//!     id: "client id".to_owned(),
//!     secret: Secret::new("client secret"),
//! };
//! let app = App::new(credentials, vec![Secret::new("webhook secret token")]);
//! let settings = Settings::new(app);
//! // In production: port 3000 behind a proxy that serves HTTPS, or a certificate in the settings.
//! let listener = TcpListener::bind("127.0.0.1:0")?;
//! let daemon = Daemon::start(
//!     vec![listener],
//!     settings,
//!     Some(Box::new(|_info| vec![Box::new(Words(0))])),
//! )?;
//! println!("webhooks are accepted at http://{}/webhook", daemon.addresses()[0]);
//!
//! let handle = daemon.handle();
//! let thread = std::thread::spawn(move || daemon.run());
//! // When the program ends, or on the thread that handles signals:
//! handle.stop();
//! thread.join().expect("the daemon ends");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(not(target_os = "linux"))]
compile_error!(
    "rtmsd is for Linux: streams wait with epoll(7), and files are synced with syncfs(2)"
);

// The public face: an embedder needs these names and the modules `webhook`, `protocol` and `feed`. All other
// modules are hidden and may change in any version; tests and benches reach inner parts through them.
pub use daemon::status::{StatusSnapshot, StreamStatus, Totals};
pub use daemon::{
    Daemon, Ending, Error, Handle, OnDeauthorized, OnExit, OnRevoked, Settings, SinkFactory,
};
pub use delivery::stdout::StdoutFormat;
pub use domain::app::{App, AppCredentials, RestCredentials, RestSettings};
pub use domain::count::Count;
pub use domain::fleet::{FleetSettings, StoreAddress, StorePlace};
pub use domain::secret::Secret;
pub use domain::stream_info::StreamInfo;
pub use gate::{Gate, Limits, TlsFiles};
pub use net::ca_file::CaFileError;
pub use net::dial::Dialer;
pub use net::proxy::ProxyEnv;
pub use net::resolve::Resolver;
pub use net::tls_client::TlsClient;
pub use net::waker::Waker;
pub use recorder::{RecorderSettings, TranscriptFormats};
pub use source::ingress::Settings as ListenerSettings;
pub use state::seal::StateKeys;
pub use stream::{Panicked, Sink, StatsSnapshot, StreamHandle, StreamOptions};

/// Zoom events by webhook, for programs with an HTTP server of their own.
pub mod webhook {
    pub use crate::domain::zoom_event::{
        MeetingInfo, StreamInterrupted, StreamStarted, StreamStopped, ZoomEvent, ZoomEventKind,
    };
    pub use crate::source::webhook::respond::{
        Settings as WebhookSettings, WebhookAnswer, WebhookRequest, respond,
    };
}

pub mod feed;
pub mod manual;
pub mod protocol;

#[doc(hidden)]
pub mod admin;
#[doc(hidden)]
pub mod cli;
#[doc(hidden)]
pub mod clock;
#[doc(hidden)]
pub mod config;
#[doc(hidden)]
pub mod coordinator;
#[doc(hidden)]
pub mod daemon;
#[doc(hidden)]
pub mod delivery;
#[cfg(feature = "demo")]
#[doc(hidden)]
pub mod demo;
#[doc(hidden)]
pub mod domain;
#[doc(hidden)]
pub mod forgetting;
#[doc(hidden)]
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
#[doc(hidden)]
pub mod gate;
#[doc(hidden)]
pub mod inbox;
#[doc(hidden)]
pub mod keeping;
#[doc(hidden)]
pub mod log;
#[doc(hidden)]
pub mod merging;
#[doc(hidden)]
pub mod net;
#[doc(hidden)]
pub mod recorder;
#[doc(hidden)]
pub mod source;
#[doc(hidden)]
pub mod state;
#[doc(hidden)]
pub mod stream;
#[doc(hidden)]
pub mod systemd;
#[cfg(test)]
mod testing;
#[doc(hidden)]
pub mod zoom_api;

/// The example of the README, as a doc test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
