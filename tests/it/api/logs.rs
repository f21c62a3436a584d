//! Captures everything that this process logs at trace level, in the operator's format, and
//! searches it for secrets.

use std::sync::{Mutex, Once};

use rtmsd::log::SENSITIVE_LOG_TARGETS;

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Capture;

impl log::Log for Capture {
    fn enabled(&self, of: &log::Metadata<'_>) -> bool {
        let target = of.target();
        let is_loud = SENSITIVE_LOG_TARGETS.iter().any(|loud| {
            target
                .strip_prefix(loud)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        });
        !is_loud || of.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            LINES.lock().unwrap().push(format!(
                "{} {} {}",
                record.level(),
                record.target(),
                record.args()
            ));
        }
    }

    fn flush(&self) {}
}

/// Captures from now on; calling it again has no effect.
pub(crate) fn capture() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Capture).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
    });
}

/// All lines so far.
pub(crate) fn lines() -> Vec<String> {
    LINES.lock().unwrap().clone()
}
