//! Audio is passed from a message to its file without an allocation per message.
//!
//! A test binary of its own with one test, because every thread of the process is counted.

use std::alloc::System;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rtmsd::domain::product::Product;
use rtmsd::domain::secret::Secret;
use rtmsd::protocol::params::{AudioCodec, AudioParams};
use rtmsd::protocol::server_url::{AllowedHosts, ServerUrl};
use rtmsd::protocol::{
    LinkId, MediaKind, MediaParams, MediaSelection, Output, Stream, StreamConfig, StreamEvent,
};
use rtmsd::recorder::media_files::Media;
use rtmsd::recorder::meta::Meta;
use rtmsd::recorder::packet_batch::PacketBatch;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// 2029: far from now, and still thirteen digits.
const ZERO_MS: u64 = 1_861_920_000_000;
const SPEAKERS: u64 = 3;

/// A stream that receives audio.
fn stream() -> Stream {
    let hosts = AllowedHosts::default();
    let urls = vec![ServerUrl::parse("wss://s.zoom.us", &hosts).expect("an allowed host")];
    let secret = Secret::new("secret");
    let mut config = StreamConfig::new(Product::Meeting, "a/B+c==", "5f0c1d", urls, "id", secret);
    config.media = MediaSelection::from_text("audio").expect("a selection");
    config.unix_ms = ZERO_MS;
    let now = Instant::now();
    let mut stream = Stream::new(now, config);
    let audio = LinkId::Media(MediaKind::Audio);
    for (link, answer) in [
        (
            LinkId::Signaling,
            r#"{"msg_type":2,"status_code":0,"media_server":{"server_urls":{"audio":"wss://a.zoom.us"}}}"#,
        ),
        (audio, r#"{"msg_type":4,"status_code":0}"#),
    ] {
        stream.handle_opened(now, link);
        let event = stream.handle_message(now, link, answer).expect("a message");
        assert!(event.is_none());
        while !matches!(stream.poll_output(), Output::Wait(_)) {}
    }
    assert!(stream.is_ready());
    stream
}

/// 20 ms of each speaker.
fn messages(n: u64, payload: &[u8]) -> Vec<String> {
    let data = STANDARD.encode(payload);
    (0..SPEAKERS)
        .map(|user| {
            let stamp = ZERO_MS + 20 * n;
            format!(
                r#"{{"msg_type":14,"content":{{"user_id":{user},"user_name":"Ada","data":"{data}","length":640,"timestamp":{stamp}}}}}"#
            )
        })
        .collect()
}

#[test]
fn a_message_of_audio_needs_no_allocation_after_the_first_ones() {
    for (codec, payload) in [
        (AudioCodec::L16, vec![1; 640]),
        // The first byte says 20 ms.
        (AudioCodec::Opus, vec![0xf8; 40]),
        (AudioCodec::G711, vec![1; 160]),
        (AudioCodec::G722, vec![1; 160]),
    ] {
        measure(codec, &payload);
    }
}

fn measure(codec: AudioCodec, payload: &[u8]) {
    let name = format!("rtmsd-allocations-{codec:?}-{}", std::process::id());
    let folder: Arc<Path> = std::env::temp_dir().join(name).into();
    let (now, link) = (Instant::now(), LinkId::Media(MediaKind::Audio));
    let mut stream = stream();
    let mut meta = Meta::default();
    let params = MediaParams {
        audio: AudioParams::of(codec),
        ..MediaParams::default()
    };
    let mut media = Media::open(&folder, params, &meta, ZERO_MS);
    let mut batch = PacketBatch::default();
    let mut bytes = Vec::new();
    let all: Vec<Vec<String>> = (0..600).map(|n| messages(n, payload)).collect();
    let (warm, measured) = all.split_at(300);
    let mut run = |turns: &[Vec<String>]| {
        for turn in turns {
            for message in turn {
                let event = stream.handle_message(now, link, message);
                let Ok(Some(StreamEvent::Packet(kind, packet))) = event else {
                    panic!("no packet");
                };
                // What an embedder's sink does, and what ours does.
                bytes.clear();
                packet.decode_into(&mut bytes).expect("base64");
                batch.push(kind, &packet);
            }
            let missed = media.push(&batch, &mut meta);
            assert_eq!((missed.malformed, missed.dropped), (0, 0));
            batch.clear();
            media.write().expect("writable");
        }
    };
    run(warm);
    let region = Region::new(ALLOCATOR);
    run(measured);
    let change = region.change();
    assert_eq!(
        (change.allocations, change.reallocations),
        (0, 0),
        "{codec:?}: {change:?}"
    );
    std::fs::remove_dir_all(&folder).expect("it was written");
}
