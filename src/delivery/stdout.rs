//! The thread that owns standard output.
//!
//! If the reader does not read, lines are dropped and counted, and nothing else is affected.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle, Thread};
use std::time::{Duration, Instant};

use super::coalesce;
use crate::domain::phrase::Change;
use crate::domain::stream_info::StreamInfo;
use crate::protocol::{EndReason, StreamEvent};
use crate::recorder::jsonl::Lines;
use crate::recorder::transcript::cues;
use crate::stream::Sink;

/// Maximum bytes that wait for the reader: about fifteen thousand lines.
const WAITING_BYTES_MAX: usize = 1 << 20;
/// A stream's batch is passed on at this size at the latest.
const BATCH_BYTES: usize = 16 << 10;
/// A buffer larger than this is freed once it is empty, unless it was filled: in a flood the next
/// batch fills it again.
const BUFFER_KEPT_BYTES: usize = 4 << 10;

/// The format of phrases: `RTMS_STDOUT`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum StdoutFormat {
    /// `12:04:31  Ada: good morning`.
    #[default]
    Text,
    /// The line of `transcript.jsonl`.
    Jsonl,
}

impl StdoutFormat {
    /// All of them.
    pub(crate) const ALL: [StdoutFormat; 2] = [StdoutFormat::Text, StdoutFormat::Jsonl];

    /// The word in `RTMS_STDOUT`.
    pub const fn name(self) -> &'static str {
        match self {
            StdoutFormat::Text => "text",
            StdoutFormat::Jsonl => "jsonl",
        }
    }
}

/// Handle of the stdout thread.
#[derive(Debug)]
pub struct Stdout {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

/// State that all streams share with the thread.
#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    dropped: Arc<AtomicU64>,
}

/// Whole lines.
#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    lines: u64,
    /// The thread waits for a wake-up.
    is_asleep: bool,
    is_over: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stdout {
    /// Starts the thread.
    pub fn start() -> io::Result<Stdout> {
        Stdout::start_on(io::stdout())
    }

    /// Starts the thread with another writer than standard output.
    pub fn start_on(out: impl Write + Send + 'static) -> io::Result<Stdout> {
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        let thread = Builder::new()
            .name("stdout".to_owned())
            .stack_size(128 << 10)
            .spawn(move || write_all(out, &own))?;
        Ok(Stdout { shared, thread })
    }

    /// A sink for one stream.
    pub fn sink(&self, info: &StreamInfo, format: StdoutFormat) -> StdoutSink {
        StdoutSink {
            format,
            jsonl: Lines::new(info),
            shared: Arc::clone(&self.shared),
            thread: self.thread.thread().clone(),
            bytes: Vec::new(),
            lines: 0,
        }
    }

    /// Lines that were dropped because the reader was too slow.
    pub fn dropped(&self) -> &Arc<AtomicU64> {
        &self.shared.dropped
    }

    /// Waits until everything is written, until `deadline` at the latest. A stuck reader is not
    /// waited for: then the thread is left running, and the waiting lines are counted as dropped.
    pub fn stop(self, deadline: Instant) -> bool {
        self.shared.lock().is_over = true;
        self.shared.changed.notify_one();
        self.thread.thread().unpark();
        while !self.thread.is_finished() && Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(2));
        }
        if !self.thread.is_finished() {
            let unread = std::mem::take(&mut self.shared.lock().lines);
            self.shared.dropped.fetch_add(unread, Relaxed);
        }
        self.thread.is_finished() && self.thread.join().is_ok()
    }
}

fn write_all(mut out: impl Write, shared: &Shared) {
    let (mut bytes, mut is_gone) = (Vec::new(), false);
    let mut pace = coalesce::Pace::default();
    loop {
        let mut waiting = shared.lock();
        while waiting.bytes.is_empty() && !waiting.is_over {
            waiting.is_asleep = true;
            let woken = shared.changed.wait(waiting);
            waiting = woken.unwrap_or_else(PoisonError::into_inner);
            waiting.is_asleep = false;
        }
        if waiting.bytes.is_empty() {
            return;
        }
        drop(waiting);
        pace.before_write();
        let mut waiting = shared.lock();
        std::mem::swap(&mut bytes, &mut waiting.bytes);
        let lines = std::mem::take(&mut waiting.lines);
        drop(waiting);
        if is_gone {
            shared.dropped.fetch_add(lines, Relaxed);
        } else if let Err(error) = out.write_all(&bytes).and_then(|()| out.flush()) {
            is_gone = true;
            shared.dropped.fetch_add(lines, Relaxed);
            log::warn!("standard output is gone: {error}; dropping its lines");
        }
        empty(&mut bytes);
        pace.after_write();
    }
}

fn empty(buffer: &mut Vec<u8>) {
    let is_filled = buffer.len() >= buffer.capacity() / 4;
    buffer.clear();
    if !is_filled {
        buffer.shrink_to(BUFFER_KEPT_BYTES);
    }
}

/// Formats the lines of one stream.
#[derive(Debug)]
pub struct StdoutSink {
    format: StdoutFormat,
    jsonl: Lines,
    shared: Arc<Shared>,
    /// The thread, to wake it.
    thread: Thread,
    bytes: Vec<u8>,
    lines: u64,
}

impl Sink for StdoutSink {
    fn on_event(&mut self, event: &StreamEvent<'_>) {
        let StreamEvent::Transcript(phrase) = event else {
            return;
        };
        match self.format {
            StdoutFormat::Text if phrase.change == Change::Delete => return,
            StdoutFormat::Text => cues::text(&mut self.bytes, phrase),
            StdoutFormat::Jsonl => self.jsonl.phrase(&mut self.bytes, phrase),
        }
        self.lines += 1;
        if self.bytes.len() >= BATCH_BYTES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.lines == 0 {
            return;
        }
        let lines = std::mem::take(&mut self.lines);
        let mut waiting = self.shared.lock();
        let before = waiting.bytes.len();
        let is_taken = before + self.bytes.len() <= WAITING_BYTES_MAX && !waiting.is_over;
        if is_taken {
            waiting.bytes.extend_from_slice(&self.bytes);
            waiting.lines += lines;
        }
        let is_asleep = std::mem::take(&mut waiting.is_asleep);
        drop(waiting);
        if is_asleep {
            self.shared.changed.notify_one();
        } else if coalesce::is_enough(before, self.bytes.len()) {
            self.thread.unpark();
        }
        if !is_taken && self.shared.dropped.fetch_add(lines, Relaxed) == 0 {
            log::warn!("stdout reader too slow: dropping lines");
        }
        empty(&mut self.bytes);
    }

    fn on_end(&mut self, _reason: &EndReason) {
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::jsonl::tests::info;
    use std::sync::mpsc::{Sender, channel};

    fn say(sink: &mut StdoutSink, text: &str) {
        let json = serde_json::json!({"msg_type": 17, "content": {
            "user_id": 1, "user_name": "Ada", "start_time": 1_767_000_001_000_u64, "data": text}})
        .to_string();
        match crate::protocol::message::decode(&json, 1_767_000_001_000) {
            Ok(crate::protocol::message::Message::Transcript(transcript)) => {
                sink.on_event(&StreamEvent::Transcript(transcript));
            }
            other => panic!("no transcript: {other:?}"),
        }
        sink.flush();
    }

    struct Reader(Sender<Vec<u8>>, std::sync::mpsc::Receiver<()>);

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Blocks until the test continues it.
            let _ = self.1.recv();
            let _ = self.0.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn with_a_stuck_reader_lines_are_dropped_and_counted() {
        let ((out, seen), (go, wait)) = (channel(), channel());
        let stdout = Stdout::start_on(Reader(out, wait)).expect("a thread");
        let mut sink = stdout.sink(&info(), StdoutFormat::Text);
        let text = "x".repeat(64 << 10);
        let fits = (WAITING_BYTES_MAX / text.len()) as u64;
        let sent = 3 * fits;
        for _ in 0..sent {
            say(&mut sink, &text);
        }
        let dropped = stdout.dropped().load(Relaxed);
        // One write is in progress, and may have as many lines as the waiting one.
        assert!(dropped >= sent - 2 * fits, "{dropped} of {sent} dropped");
        drop(sink);
        drop(go);
        assert!(stdout.stop(Instant::now() + Duration::from_secs(20)));
        let lines = seen.iter().flatten().filter(|b| *b == b'\n').count();
        assert_eq!(lines as u64 + dropped, sent);
    }
}
