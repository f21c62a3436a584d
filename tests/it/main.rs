//! End-to-end tests: the real thing over real sockets.

mod public;
//! End to end: the parts of rtmsd against real sockets, files and threads.

mod api;
