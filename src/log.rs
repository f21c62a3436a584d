//! The log: lines on stderr, behind the facade of the `log` crate.
//!
//! Every record is one line and one write, whatever text it contains. Levels: *error*, a human is
//! needed; *warn*, degraded; *info*, a stream starts or ends; *debug*, names of messages and
//! changes of state; *trace*, their content. Lines of a stream's own thread start with `stream=`
//! and its full id, and other threads' lines about a stream name it in the same way, so one id
//! finds them all; in JSON it is a field of both. Where several apps are served, `app=` follows.
//! Call sites that may warn often use a `WarnLimiter`.

pub(crate) mod app;
pub(crate) mod stderr;
pub(crate) mod warn_limiter;

use std::cell::OnceCell;
use std::fmt::Write as _;
use std::io;
use std::sync::{Mutex, OnceLock, PoisonError};

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::clock::now_ms;
use crate::domain::text::bounded;
use crate::domain::time::Utc;
use stderr::{Stderr, stderr};

/// Maximum bytes of a message; a longer one is truncated, with a mark.
const MESSAGE_BYTES_MAX: usize = 16 * 1024;

/// Crates whose log lines below `warn` may contain tokens and the data of meetings. A program that
/// embeds us with its own logger must limit these targets, and all below them, to `warn`.
pub const SENSITIVE_LOG_TARGETS: [&str; 4] = ["ureq", "ureq_proto", "tungstenite", "tiny_http"];

/// The settings of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// `RTMS_LOG`.
    pub level: LevelFilter,
    /// `RTMS_LOG_FORMAT`.
    pub format: LogFormat,
}

/// The levels, each with its word in `RTMS_LOG`.
pub(crate) const LEVELS: [(&str, LevelFilter); 6] = [
    ("off", LevelFilter::Off),
    ("error", LevelFilter::Error),
    ("warn", LevelFilter::Warn),
    ("info", LevelFilter::Info),
    ("debug", LevelFilter::Debug),
    ("trace", LevelFilter::Trace),
];

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            level: LevelFilter::Info,
            format: LogFormat::default(),
        }
    }
}

/// The format of log lines: `RTMS_LOG_FORMAT`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// [`LogFormat::Text`], in the form that journald reads if stderr is the journal.
    #[default]
    Auto,
    /// `key=value`.
    Text,
    /// One JSON object per line.
    Json,
}

impl LogFormat {
    /// All of them.
    pub(crate) const ALL: [LogFormat; 3] = [LogFormat::Auto, LogFormat::Text, LogFormat::Json];

    /// The word in `RTMS_LOG_FORMAT`.
    pub const fn name(self) -> &'static str {
        match self {
            LogFormat::Auto => "auto",
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        }
    }
}

/// The format of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineFormat {
    /// `2026-11-23T12:04:31.500Z INFO thread=main target=rtmsd: message`.
    Text,
    /// The same without a time and with a priority prefix, for journald.
    Journal,
    /// `{"time":…,"level":…,"thread":…,"target":…,"message":…}`.
    Json,
}

/// The origin of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LogOrigin<'a> {
    /// A thread with this name.
    Thread(&'a str),
    /// The thread of the stream with this id.
    Stream(&'a str),
}

/// Writes records as lines.
struct Logger {
    form: LineFormat,
    stderr: Mutex<Stderr<io::Stderr>>,
}

static LOGGER: OnceLock<Logger> = OnceLock::new();

thread_local! {
    /// The stream of this thread.
    static STREAM: OnceCell<Box<str>> = const { OnceCell::new() };
}

/// Marks everything that this thread logs as being about a stream.
pub fn set_thread_stream(stream_id: &str) {
    STREAM.with(|stream| drop(stream.set(stream_id.into())));
}

/// Starts logging. The format is fixed then; a second call only changes the level.
pub fn start(settings: Settings) {
    let form = match settings.format {
        LogFormat::Text => LineFormat::Text,
        LogFormat::Json => LineFormat::Json,
        LogFormat::Auto if is_journal() => LineFormat::Journal,
        LogFormat::Auto => LineFormat::Text,
    };
    let logger = LOGGER.get_or_init(|| Logger {
        form,
        stderr: Mutex::new(stderr()),
    });
    // A program that embeds us may have its own logger; then that one is used.
    let _ = log::set_logger(logger);
    set_level(settings.level);
}

/// Changes the level at run time.
pub fn set_level(level: LevelFilter) {
    log::set_max_level(level);
}

/// Whether systemd reads our stderr: then the journal adds the time itself.
fn is_journal() -> bool {
    let given = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    // A service also has its unit's id when stderr goes to a file; a shell that a service started
    // inherits JOURNAL_STREAM. If both are set, this is a service whose stderr is the journal.
    given("JOURNAL_STREAM") && given("INVOCATION_ID")
}

/// The highest level at which a target is logged. Below `warn`, other crates are logged at `trace`
/// only, and [`SENSITIVE_LOG_TARGETS`] never.
fn cap(target: &str, level: LevelFilter) -> LevelFilter {
    let package = target.split(':').next().unwrap_or(target);
    match package {
        "rtmsd" => level,
        _ if SENSITIVE_LOG_TARGETS.contains(&package) => level.min(LevelFilter::Warn),
        _ if level == LevelFilter::Trace => LevelFilter::Trace,
        _ => level.min(LevelFilter::Warn),
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= cap(metadata.target(), log::max_level())
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let mut message = record.args().to_string();
        cut(&mut message);
        let write = |place: LogOrigin<'_>| {
            let (level, target) = (record.level(), record.target());
            let app = app::current();
            let from = (place, app.as_deref());
            self.write(&line(self.form, now_ms(), level, from, target, &message));
        };
        STREAM.with(|stream| match stream.get() {
            Some(stream) => write(LogOrigin::Stream(stream)),
            None => write(LogOrigin::Thread(
                std::thread::current().name().unwrap_or("unnamed"),
            )),
        });
    }

    fn flush(&self) {}
}

impl Logger {
    fn write(&self, line: &str) {
        let mut stderr = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        stderr.write(line, |lost| {
            let message = format!("log lines lost, stderr reader too slow lines={lost}");
            let place = LogOrigin::Thread("log");
            crate::log::line(
                self.form,
                now_ms(),
                Level::Warn,
                (place, None),
                "rtmsd::log",
                &message,
            )
        });
    }
}

fn cut(message: &mut String) {
    if message.len() > MESSAGE_BYTES_MAX {
        message.truncate(bounded(message, MESSAGE_BYTES_MAX).len());
        message.push('…');
    }
}

/// Formats one record as one line, including its line break.
fn line(
    form: LineFormat,
    ms: u64,
    level: Level,
    (place, app): (LogOrigin, Option<&str>),
    target: &str,
    message: &str,
) -> String {
    let (key, word) = match place {
        LogOrigin::Thread(name) => ("thread", name),
        LogOrigin::Stream(id) => ("stream", id),
    };
    let mut line = String::with_capacity(message.len() + 80);
    // Writing to a string does not fail.
    let _ = match form {
        LineFormat::Text => write!(line, "{} {level} ", Utc::from_unix_ms(ms)),
        LineFormat::Journal => write!(line, "<{}>", priority(level)),
        LineFormat::Json => {
            let name = level.as_str().to_ascii_lowercase();
            let named = match place {
                LogOrigin::Thread(_) => stream_in(message),
                LogOrigin::Stream(_) => None,
            };
            let stream = named.map_or_else(String::new, |id| format!("\"stream\":{},", json(id)));
            let app = app.map_or_else(String::new, |app| format!("\"app\":{},", json(app)));
            write!(
                line,
                "{{\"time\":\"{}\",\"level\":\"{name}\",\"{key}\":{},{app}{stream}\"target\":{},\"message\":{}}}",
                Utc::from_unix_ms(ms),
                json(word),
                json(target),
                json(message),
            )
        }
    };
    if form != LineFormat::Json {
        line.push_str(key);
        line.push('=');
        push_word(&mut line, word);
        if let Some(app) = app {
            line.push_str(" app=");
            push_word(&mut line, app);
        }
        if target != "rtmsd" && !target.starts_with("rtmsd::") {
            line.push_str(" target=");
            push_word(&mut line, target);
        }
        line.push(' ');
        push_escaped(&mut line, message);
    }
    line.push('\n');
    line
}

/// The id of the stream in a message of another thread.
fn stream_in(message: &str) -> Option<&str> {
    let mut words = message.split(' ');
    let id = words.find_map(|word| word.strip_prefix("stream="))?;
    Some(id.trim_end_matches([':', ';', ',']))
}

/// Priorities of syslog, as journald reads them at the start of a line.
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

fn push_word(line: &mut String, word: &str) {
    let is_plain = |c: char| c.is_alphanumeric() || "_-.:/+#=".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        line.push_str(word);
    } else {
        line.push('"');
        push_escaped(line, &word.replace(['"', '\\'], "'"));
        line.push('"');
    }
}

/// Text from outside must neither end the line nor control a terminal. In addition to control
/// characters this includes separators that some readers treat as line breaks, and marks that
/// change the direction of text.
fn push_escaped(line: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\t' => line.push(' '),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            c if is_unprintable(c) => {
                let _ = write!(line, "\\u{{{:x}}}", u32::from(c));
            }
            c => line.push(c),
        }
    }
}

fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn json(text: &str) -> String {
    // JSON does not escape DEL, C1 controls and the separators, but a terminal would interpret
    // them.
    let mut json = String::with_capacity(text.len() + 2);
    for c in serde_json::Value::from(text).to_string().chars() {
        if is_unprintable(c) {
            let _ = write!(json, "\\u{:04x}", u32::from(c));
        } else {
            json.push(c);
        }
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line() {
        let check = |form, level, thread, target, message, expected: &str| {
            let place = LogOrigin::Thread(thread);
            let found = line(
                form,
                1_795_435_471_500,
                level,
                (place, None),
                target,
                message,
            );
            assert_eq!(found, format!("{expected}\n"));
        };
        check(
            LineFormat::Text,
            Level::Info,
            "meeting 8f3a",
            "rtmsd::stream",
            "stream started media=transcript",
            "2026-11-23T12:04:31.500Z INFO thread=\"meeting 8f3a\" stream started media=transcript",
        );
        check(
            LineFormat::Journal,
            Level::Error,
            "main",
            "ureq",
            "evil\nname\u{1b}[31m\u{2028}\u{85}\u{202e}",
            "<3>thread=main target=ureq evil\\nname\\u{1b}[31m\\u{2028}\\u{85}\\u{202e}",
        );
        check(
            LineFormat::Json,
            Level::Warn,
            "a\"b",
            "rtmsd",
            "x\ny\u{7f}\u{2028}",
            "{\"time\":\"2026-11-23T12:04:31.500Z\",\"level\":\"warn\",\"thread\":\"a\\\"b\",\
             \"target\":\"rtmsd\",\"message\":\"x\\ny\\u007f\\u2028\"}",
        );
        check(
            LineFormat::Journal,
            Level::Debug,
            "a\"\n",
            "rtmsd",
            "",
            "<7>thread=\"a'\\n\" ",
        );
    }

    #[test]
    fn lines_of_a_stream_carry_its_id() {
        let place = LogOrigin::Stream("a+b/c==");
        let by_main = LogOrigin::Thread("main");
        let text = "stopped stream=a+b/c==: 18";
        assert_eq!(
            line(
                LineFormat::Json,
                0,
                Level::Info,
                (by_main, None),
                "rtmsd",
                text
            ),
            "{\"time\":\"1970-01-01T00:00:00.000Z\",\"level\":\"info\",\"thread\":\"main\",\
             \"stream\":\"a+b/c==\",\"target\":\"rtmsd\",\"message\":\"stopped stream=a+b/c==: 18\"}\n"
        );
        for (form, expected) in [
            (LineFormat::Journal, "<6>stream=a+b/c== receiving\n"),
            (
                LineFormat::Json,
                "{\"time\":\"1970-01-01T00:00:00.000Z\",\"level\":\"info\",\"stream\":\"a+b/c==\",\
                 \"target\":\"rtmsd\",\"message\":\"receiving\"}\n",
            ),
        ] {
            let found = line(form, 0, Level::Info, (place, None), "rtmsd", "receiving");
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn lines_of_an_app_carry_its_name() {
        let place = (LogOrigin::Stream("a+b"), Some("acme"));
        for (form, expected) in [
            (LineFormat::Journal, "<6>stream=a+b app=acme receiving\n"),
            (
                LineFormat::Json,
                "{\"time\":\"1970-01-01T00:00:00.000Z\",\"level\":\"info\",\"stream\":\"a+b\",\
                 \"app\":\"acme\",\"target\":\"rtmsd\",\"message\":\"receiving\"}\n",
            ),
        ] {
            let found = line(form, 0, Level::Info, place, "rtmsd", "receiving");
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn other_crates_are_logged_at_trace_only() {
        use LevelFilter::{Debug, Error, Info, Trace, Warn};
        for (target, level, expected) in [
            ("rtmsd", Trace, Trace),
            ("rtmsd::stream", Debug, Debug),
            ("rtmsd_other", Debug, Warn),
            ("ureq::pool", Info, Warn),
            ("native_tls", Debug, Warn),
            ("native_tls", Trace, Trace),
            ("tiny_http", Error, Error),
        ] {
            assert_eq!(cap(target, level), expected, "{target} {level}");
        }
        for target in SENSITIVE_LOG_TARGETS {
            assert_eq!(cap(&format!("{target}::inner"), Trace), Warn, "{target}");
        }
    }

    #[test]
    fn a_long_message_is_cut() {
        let mut message = "ä".repeat(MESSAGE_BYTES_MAX);
        cut(&mut message);
        assert_eq!(message.len(), MESSAGE_BYTES_MAX + "…".len());
    }
}
