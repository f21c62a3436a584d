//! End to end: the parts of rtmsd, and the whole binary, against real sockets, files and threads.

mod api;
mod public;
mod survive;
