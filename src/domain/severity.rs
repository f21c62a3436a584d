//! The severity of a line that a person reads, without a logger.

/// How much a line matters. The daemon makes a level of the log of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// For those who look for a fault in this program or its environment.
    Debug,
    /// What happens while all is well.
    Info,
    /// Something failed that may pass by itself, or data may be incomplete.
    Warn,
    /// A person has to act.
    Error,
}
