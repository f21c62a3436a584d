//! End-to-end tests of rtmsd's parts and of the binary, with real sockets, files and threads.

mod abrupt;
mod admin;
mod api;
mod connecting;
mod edge_daemon;
mod embed;
mod examples;
mod golden;
mod harness;
mod kept;
mod manual;
mod media;
mod meeting;
mod mux;
mod oauth;
mod observed;
mod packaged;
mod public;
mod reload;
mod service;
mod shutdown;
mod slow;
mod slow_disk;
mod survive;
mod tidy;
mod vtt;
