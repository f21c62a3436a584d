//! End to end: the parts of rtmsd against real sockets, files and threads.

mod api;
