//! `rtmsd` receives Zoom Realtime Media Streams: one synchronous daemon, one OS thread per stream.
//!
//! # The map
//!
//! Data flows one way, and the folders are the stations it passes:
//!
//! ```text
//! gate → webhook → daemon (registry) → meeting → protocol → output
//!                     ↓
//!                  schedule → api
//! ```
//!
//! # Embedding
//!
//! The daemon runs inside another program as it does in the binary: give it a listener, the app's
//! credentials, and a [`Sink`](meeting::Sink) for each stream. Nothing is written anywhere unless
//! [`Settings`](daemon::Settings) say so.
//!
//! ```
//! use std::net::TcpListener;
//!
//! use rtmsd::daemon::{Daemon, KeyPair, Settings};
//! use rtmsd::meeting::Sink;
//! use rtmsd::protocol::{EndReason, StreamEvent};
//! use rtmsd::secret::Secret;
//!
//! /// Counts words, on the stream's own thread: it must not block.
//! struct Words(usize);
//!
//! impl Sink for Words {
//!     fn event(&mut self, event: &StreamEvent<'_>) {
//!         if let StreamEvent::Transcript(phrase) = event {
//!             self.0 += phrase.text.split_whitespace().count();
//!         }
//!     }
//!
//!     fn end(&mut self, reason: &EndReason) {
//!         println!("{} words; {reason}", self.0);
//!     }
//! }
//!
//! let app = KeyPair {
//!     id: "client id".to_owned(),
//!     secret: Secret::new("client secret"),
//! };
//! let settings = Settings::new(app, vec![Secret::new("webhook secret token")]);
//! // In real life port 3000 behind a proxy with a certificate, or `settings.public.tls`.
//! let listener = TcpListener::bind("127.0.0.1:0")?;
//! let daemon = Daemon::start(
//!     vec![listener],
//!     settings,
//!     Some(Box::new(|_info| vec![Box::new(Words(0))])),
//! )?;
//! println!("webhooks are taken at http://{}/webhook", daemon.addresses()[0]);
//!
//! let handle = daemon.handle();
//! let thread = std::thread::spawn(move || daemon.run());
//! // … and when the program ends, or in a signal handler's thread:
//! handle.stop();
//! thread.join().expect("the daemon ends");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod admin;
pub mod api;
pub mod args;
pub mod commands;
pub mod config;
pub mod daemon;
pub mod demo;
pub mod exit;
pub mod gate;
pub mod inbox;
pub mod log;
pub mod meeting;
pub mod output;
pub mod pages;
pub mod protocol;
pub mod public;
pub mod registry;
pub mod secret;
pub mod setup;
pub mod state;
pub mod systemd;
pub mod time;
pub mod waker;
pub mod webhook;
