//! The `rtmsd` command; all of it is in [`rtmsd::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    rtmsd::cli::run()
}
