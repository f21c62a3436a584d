//! Exit codes, after BSD's sysexits: they tell a service manager which failures a restart cannot fix.

/// A failure of a command, as a text, with its exit code.
#[derive(Debug)]
pub(super) struct Failure(pub(super) u8, pub(super) String);

/// Success.
pub const OK: u8 = 0;
/// The command line cannot be parsed; a restart will not help.
pub const USAGE: u8 = 64;
/// Cannot listen, or cannot reach Zoom or the running server.
pub const UNAVAILABLE: u8 = 69;
/// A bug in this program.
pub const SOFTWARE: u8 = 70;
/// The system or Zoom denies permission.
pub const NO_PERMISSION: u8 = 77;
/// The configuration is faulty; a restart will not help.
pub const CONFIG: u8 = 78;
