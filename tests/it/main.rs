//! End-to-end tests of rtmsd's parts and of the binary, with real sockets, files and threads.

mod abrupt;
mod accounts;
mod admin;
mod api;
mod apps;
mod authorize;
mod connecting;
#[cfg(feature = "fleet")]
mod costs;
mod demo;
mod edge_daemon;
mod embed;
mod ends;
mod events;
mod examples;
mod feed;
mod few_files;
mod files;
#[cfg(feature = "fleet")]
mod fleet;
#[cfg(feature = "fleet")]
mod fleet_commands;
mod fleet_scripts;
#[cfg(feature = "fleet")]
mod fleet_store;
mod forget;
mod golden;
mod harness;
mod keeping;
mod kept;
mod kills;
mod links;
mod list;
mod live;
mod manual;
mod media;
mod meeting;
mod mux;
mod oauth;
mod observed;
mod out_lock;
mod packaged;
mod pages;
mod public;
mod push;
mod recipes;
mod released;
mod reload;
mod sealed;
mod service;
mod setup;
mod shutdown;
mod slow;
mod slow_disk;
mod streams_max;
mod survive;
mod tail;
mod tap;
mod tidy;
mod vtt;
