//! The `rtmsd` command.

fn main() {}
