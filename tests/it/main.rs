//! End-to-end tests: the real thing over real sockets.

mod public;
