//! End to end: the parts of rtmsd, and the whole binary, against real sockets, files and threads.

mod api;
mod connecting;
mod embed;
mod meeting;
mod public;
mod shutdown;
mod stage;
mod vtt;
