//! `rtmsd` receives Zoom Realtime Media Streams: one synchronous daemon, one OS thread per stream.
//!
//! # The map
//!
//! Data flows one way, and the folders are the stations it passes:
//!
//! ```text
//! public (gate → webhook) → daemon (registry) → meeting → protocol → output
//!                               ↓
//!                            schedule → api
//! ```
//!
//! | station | what it is for | threads |
//! | --- | --- | --- |
//! | [`gate`] | takes one complete request from each connection of strangers, under limits | 1, and the server behind it |
//! | [`webhook`] | signature, payload, answer; then the event goes into the [`inbox`] | 2 workers |
//! | [`daemon`] | one inbox, one loop; starts and joins everything | the caller's, timer, state, signals |
//! | [`registry`] | decides what follows from each webhook, call and end; pure | |
//! | [`api`] | REST and OAuth | one for each call on its way |
//! | [`meeting`] | the poll loop and the sockets of one stream | one for each stream, one that opens connections |
//! | [`protocol`] | RTMS as a state machine; pure | |
//! | [`output`] | files and stdout | disk, stdout |
//!
//! Around them: [`config`] and [`args`] read what an operator wants, [`setup`] hands it to each part,
//! [`commands`] are what `rtmsd` can be told, [`state`] is the directory that a restart needs,
//! [`admin`] and [`systemd`] speak to those who operate it, and [`demo`] is a small Zoom.
//!
//! # What always holds
//!
//! - [`protocol`] and [`registry`] have no socket, clock, file or thread; a test reads the sources.
//! - Only the driver of a stream calls `handle_*` and `poll_output`, and it drains after each input.
//! - What strangers send has no effect before its signature is checked, and is untrusted afterwards.
//! - Every wait has a deadline, every queue a limit, every thread a name and an owner that joins it.
//!   Three can hang in the kernel (a disk, a reader of stdout, a name server); those are waited for
//!   until a deadline and then left to the end of the process.
//! - Stdout is data and belongs to [`output::stdout`]; stderr is the log.
//! - A phrase received is a phrase kept. What had to be dropped is counted, logged, and in
//!   `meta.json`.
//! - There is no unsafe code but for two calls, whose measured reasons stand beside them, in
//!   `daemon/wave.rs` and `meeting/sessions.rs`.
//!
//! Three ways in: the whole [`daemon::Daemon`]; one [`meeting::Meeting`], with webhooks taken
//! elsewhere; [`protocol::Stream`] alone, with sockets of one's own.
//!
//! # Embedding
//!
//! A [`Sink`](meeting::Sink) gets every kind of data as a
//! [`StreamEvent`](protocol::StreamEvent), borrowed from the socket's buffer; audio, video and share
//! are still in base64 then, see
//! [`Packet::decode_into`](protocol::message::Packet::decode_into).
//!
//! The daemon runs inside another program as it does in the binary: give it a listener, the app's
//! credentials, and a [`Sink`](meeting::Sink) for each stream. Nothing is written anywhere unless
//! [`Settings`](daemon::Settings) say so. While it runs, [`Handle`](daemon::Handle) tells how it is,
//! and takes other settings: secrets, media, what is written.
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

#[cfg(not(target_os = "linux"))]
compile_error!(
    "rtmsd is for Linux: streams wait with epoll(7), and files are synced with syncfs(2)"
);

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
