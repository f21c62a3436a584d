//! The severity of a log line, independent of a logger.

/// How important a line is. The daemon turns it into a log level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// For finding a fault in this program or its environment.
    Debug,
    /// Normal operation.
    Info,
    /// A failure that may be temporary, or data that may be incomplete.
    Warn,
    /// A person must act.
    Error,
}
