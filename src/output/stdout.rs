//! The thread that owns standard output.
//!
//! A reader that does not read costs lines, which are counted, and nothing else.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use super::cue;
use super::jsonl::Lines;
use super::record::{Attribute, Phrase, StreamInfo};
use crate::meeting::Sink;
use crate::protocol::{EndReason, StreamEvent};

/// Most batches that wait for the reader.
const BATCHES_MAX: usize = 256;
/// A batch is handed over at this size, also in a flood: with [`BATCHES_MAX`], 4 MiB wait at most.
const BATCH_BYTES: usize = 16 << 10;

/// How a phrase is shown: `RTMS_STDOUT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StdoutFormat {
    /// `12:04:31  Ada: good morning`.
    Text,
    /// The line of `transcript.jsonl`.
    Jsonl,
}

/// The owner of the stdout thread.
#[derive(Debug)]
pub struct Stdout {
    sender: SyncSender<Batch>,
    thread: JoinHandle<()>,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Batch {
    bytes: Vec<u8>,
    lines: u64,
}

impl Stdout {
    /// Starts the thread.
    pub fn start() -> io::Result<Stdout> {
        Stdout::start_on(io::stdout())
    }

    /// Starts the thread on something else than standard output.
    pub fn start_on(out: impl Write + Send + 'static) -> io::Result<Stdout> {
        let (sender, batches) = sync_channel(BATCHES_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&dropped);
        let thread = Builder::new()
            .name("stdout".to_owned())
            .stack_size(128 << 10)
            .spawn(move || write_all(out, &batches, &counter))?;
        Ok(Stdout {
            sender,
            thread,
            dropped,
        })
    }

    /// A sink for one stream.
    pub fn sink(&self, info: &StreamInfo, format: StdoutFormat) -> StdoutSink {
        StdoutSink {
            format,
            lines: Lines::new(info),
            sender: self.sender.clone(),
            dropped: Arc::clone(&self.dropped),
            batch: Batch {
                bytes: Vec::new(),
                lines: 0,
            },
        }
    }

    /// Lines that nobody read.
    pub fn dropped(&self) -> &Arc<AtomicU64> {
        &self.dropped
    }

    /// Waits until what was handed over is out, at the latest until `deadline`. The sinks must be
    /// gone. A reader that is stuck cannot be waited for: then the thread is left behind.
    pub fn stop(self, deadline: Instant) -> bool {
        drop(self.sender);
        while !self.thread.is_finished() && Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(2));
        }
        self.thread.is_finished() && self.thread.join().is_ok()
    }
}

fn write_all(mut out: impl Write, batches: &Receiver<Batch>, dropped: &AtomicU64) {
    let mut is_gone = false;
    while let Ok(batch) = batches.recv() {
        if is_gone {
            dropped.fetch_add(batch.lines, Relaxed);
            continue;
        }
        if let Err(error) = out.write_all(&batch.bytes).and_then(|()| out.flush()) {
            is_gone = true;
            dropped.fetch_add(batch.lines, Relaxed);
            log::warn!("standard output is gone: {error}; its lines are dropped from here on");
        }
    }
}

/// Shows what one stream receives.
#[derive(Debug)]
pub struct StdoutSink {
    format: StdoutFormat,
    lines: Lines,
    sender: SyncSender<Batch>,
    dropped: Arc<AtomicU64>,
    batch: Batch,
}

impl Sink for StdoutSink {
    fn event(&mut self, event: &StreamEvent<'_>) {
        let StreamEvent::Transcript(transcript) = event else {
            return;
        };
        let phrase = Phrase::from(transcript);
        match self.format {
            StdoutFormat::Text if phrase.attribute == Attribute::Delete => return,
            StdoutFormat::Text => cue::text(&mut self.batch.bytes, &phrase),
            StdoutFormat::Jsonl => self.lines.phrase(&mut self.batch.bytes, &phrase),
        }
        self.batch.lines += 1;
        if self.batch.bytes.len() >= BATCH_BYTES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.batch.lines == 0 {
            return;
        }
        let batch = std::mem::replace(
            &mut self.batch,
            Batch {
                bytes: Vec::new(),
                lines: 0,
            },
        );
        let lines = batch.lines;
        if self.sender.try_send(batch).is_err() && self.dropped.fetch_add(lines, Relaxed) == 0 {
            log::warn!("nobody reads standard output fast enough: lines are dropped and counted");
        }
    }

    fn end(&mut self, _reason: &EndReason) {
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::super::jsonl::tests::info;
    use super::*;
    use std::sync::mpsc::{Sender, channel};

    fn say(sink: &mut StdoutSink, text: &str) {
        let json = serde_json::json!({"msg_type": 17, "content": {
            "user_id": 1, "user_name": "Ada", "start_time": 1_767_000_001_000_u64, "data": text}})
        .to_string();
        match crate::protocol::message::decode(&json) {
            Ok(crate::protocol::message::Message::Transcript(transcript)) => {
                sink.event(&StreamEvent::Transcript(transcript));
            }
            other => panic!("no transcript: {other:?}"),
        }
        sink.flush();
    }

    struct Reader(Sender<Vec<u8>>, std::sync::mpsc::Receiver<()>);

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Stuck until told to go on.
            let _ = self.1.recv();
            let _ = self.0.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stuck_reader_costs_lines_that_are_counted() {
        let ((out, seen), (go, wait)) = (channel(), channel());
        let stdout = Stdout::start_on(Reader(out, wait)).expect("a thread");
        let mut sink = stdout.sink(&info(), StdoutFormat::Text);
        let sent = BATCHES_MAX as u64 * 3;
        for n in 0..sent {
            say(&mut sink, &format!("line {n}"));
        }
        let dropped = stdout.dropped().load(Relaxed);
        assert!(
            dropped >= sent - BATCHES_MAX as u64 - 1,
            "{dropped} of {sent} dropped"
        );
        drop(sink);
        drop(go);
        assert!(stdout.stop(Instant::now() + Duration::from_secs(20)));
        assert_eq!(seen.iter().count() as u64 + dropped, sent);
    }
}
