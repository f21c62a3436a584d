//! Microbenchmarks of the functions that run for every message: `cargo bench --bench hot`.
//!
//! Times are per message; allocations are counted too, because after the first messages a stream
//! should make none for audio and hardly any for phrases.
#![allow(missing_docs, reason = "a bench")]

mod turn;

use std::hint::black_box;
use std::time::Instant;

use base64::Engine as _;
use divan::{AllocProfiler, Bencher};
use rtmsd::domain::phrase::Phrase;
use rtmsd::domain::product::Product;
use rtmsd::domain::stream_info::StreamInfo;
use rtmsd::protocol::StreamEvent;
use rtmsd::protocol::dedup::RecentPhrases;
use rtmsd::protocol::message::{Message, PacketKind, decode, keep_alive_answer};
use rtmsd::recorder::jsonl::Lines;
use rtmsd::recorder::packet_batch::PacketBatch;
use rtmsd::recorder::record_batch::RecordBatch;
use rtmsd::recorder::transcript::cues;
use rtmsd::recorder::transcript::cues::Position;

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

const PHRASE: &str = concat!(
    r#"{"msg_type":17,"content":{"user_id":16778240,"user_name":"Ada Lovelace","#,
    r#""start_time":1767000001000,"end_time":1767000002500,"timestamp":1767000002600,"#,
    r#""language":9,"data":"We shipped the new importer on Tuesday and nothing broke."}}"#
);
const KEEP_ALIVE: &str = r#"{"msg_type":12,"timestamp":1767000002600,"sequence":17}"#;

/// Time of arrival of these messages.
const ARRIVAL_MS: u64 = 1_767_000_002_650;

fn main() {
    divan::main();
}

/// Message 14 with twenty milliseconds of audio.
fn audio() -> String {
    let samples: Vec<u8> = (0..640_u32).map(|n| (n * 7) as u8).collect();
    let data = base64::engine::general_purpose::STANDARD.encode(samples);
    format!(
        r#"{{"msg_type":14,"content":{{"user_id":0,"data":"{data}","timestamp":1767000002600}}}}"#
    )
}

fn with_phrase<T>(use_it: impl FnOnce(Phrase<'_>) -> T) -> T {
    match decode(PHRASE, ARRIVAL_MS) {
        Ok(Message::Transcript(phrase)) => use_it(phrase),
        other => panic!("no phrase: {other:?}"),
    }
}

#[divan::bench]
fn parse_transcript() {
    let _ = black_box(decode(black_box(PHRASE), ARRIVAL_MS));
}

#[divan::bench]
fn parse_audio(bencher: Bencher<'_, '_>) {
    let message = audio();
    bencher.bench(|| decode(black_box(&message), ARRIVAL_MS).is_ok());
}

#[divan::bench]
fn parse_and_answer_keep_alive() -> String {
    match decode(black_box(KEEP_ALIVE), ARRIVAL_MS) {
        Ok(Message::KeepAlive(request)) => keep_alive_answer(&request),
        other => panic!("no keep-alive: {other:?}"),
    }
}

/// A packet is decoded into a batch that is reused.
#[divan::bench]
fn decode_base64(bencher: Bencher<'_, '_>) {
    let message = audio();
    let Ok(Message::Packet(_, packet)) = decode(&message, ARRIVAL_MS) else {
        panic!("no packet");
    };
    let mut batch = PacketBatch::default();
    bencher.bench_local(|| {
        if batch.count() == 300 {
            batch.clear();
        }
        batch.push(PacketKind::Audio, black_box(&packet));
    });
}

/// In a conversation the timestamps grow; in a flood many phrases have the same one.
#[divan::bench(args = [1, 1000])]
fn find_repetition(bencher: Bencher<'_, '_>, phrases_per_ms: u64) {
    let mut recent = RecentPhrases::default();
    let now = Instant::now();
    let mut count = 0;
    with_phrase(|phrase| {
        let mut phrase = phrase;
        bencher.bench_local(|| {
            count += 1;
            (phrase.start_ms, phrase.end_ms) = (count, count);
            phrase.timestamp_ms = count / phrases_per_ms;
            recent.insert_if_new(now, black_box(&phrase))
        });
    });
}

/// A phrase is copied into a reused batch for the disk thread.
#[divan::bench]
fn hand_over(bencher: Bencher<'_, '_>) {
    with_phrase(|phrase| {
        let event = StreamEvent::Transcript(phrase);
        let mut full = RecordBatch::default();
        (0..200).for_each(|_| full.push(&event));
        let mut records = RecordBatch::like(&full);
        bencher.bench_local(|| {
            if records.count() == full.count() {
                records = RecordBatch::like(&full);
            }
            records.push(black_box(&event));
        });
    });
}

/// Formats the default output of the disk thread for a phrase.
#[divan::bench]
fn format_jsonl_and_vtt(bencher: Bencher<'_, '_>) {
    let lines = Lines::new(&StreamInfo::new(
        Product::Meeting,
        "a/B+c==",
        "5f0c1d",
        1_767_000_000_000,
    ));
    let mut position = Position::default();
    let (mut jsonl, mut vtt) = (Vec::new(), Vec::new());
    with_phrase(|phrase| {
        bencher.bench_local(|| {
            jsonl.clear();
            vtt.clear();
            lines.phrase(&mut jsonl, black_box(&phrase));
            cues::vtt(
                &mut vtt,
                &mut position,
                1_767_000_000_000,
                black_box(&phrase),
            );
        });
    });
}

/// Formats the line for stdout.
#[divan::bench]
fn format_text(bencher: Bencher<'_, '_>) {
    let mut out = Vec::new();
    with_phrase(|phrase| {
        bencher.bench_local(|| {
            out.clear();
            cues::text(&mut out, black_box(&phrase));
        });
    });
}

/// A whole turn of a stream's poll loop, in real time: a phrase is written to its socket, its
/// thread wakes, reads, and passes the phrase to a sink that wakes us.
#[divan::bench]
fn poll_loop_turn(bencher: Bencher<'_, '_>) {
    let mut stream = turn::Joined::new(|event| matches!(event, StreamEvent::Transcript(_)));
    let mut stamp = 1_767_000_002_600_u64;
    bencher.bench_local(|| {
        stamp += 1;
        stream.turn(&PHRASE.replace("1767000002600", &stamp.to_string()));
    });
    stream.end();
}
