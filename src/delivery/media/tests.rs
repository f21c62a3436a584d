//! Rings with their clients, without sockets: by rule, and a seeded simulation.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::head::{Codec, KEY, Kind, MIX};
use super::place::{Delivery, Place};
use super::ring::{Charge, MEDIA_BYTES_MAX, RING_MS, ring_bytes};
use super::tap::{Meta, Tap};
use super::*;
use crate::domain::id::Id;
use crate::domain::product::Product;
use crate::protocol::codes::StopReason;
use crate::protocol::message::{Packet, PacketKind};
use crate::protocol::{EndReason, MediaKind, Notice, StreamEvent};
use crate::stream::Sink;

const T: u64 = 1_767_000_000_000;

fn tap(kind: Kind) -> (Tap, Arc<AtomicUsize>) {
    let all = Arc::default();
    (Tap::new(kind, Some("format".into()), &all), all)
}

fn push(tap: &mut Tap, user: u64, codec: Codec, payload: Vec<u8>, now_ms: u64) {
    let meta = Meta {
        user_id: &Id::Number(user),
        channel_id: None,
        user_name: "Ada",
        timestamp_ms: T + now_ms,
        codec,
    };
    tap.push(&meta, payload, now_ms);
}

fn sound(tap: &mut Tap, user: u64, bytes: usize, now_ms: u64) {
    push(tap, user, Codec::Pcm, vec![7; bytes], now_ms);
}

fn all(place: &mut Place, tap: &Tap) -> Vec<Delivery> {
    std::iter::from_fn(|| place.next(tap.ring())).collect()
}

/// Number, and dropped before it.
fn counts(deliveries: &[Delivery]) -> Vec<(u32, u32)> {
    let counts = deliveries.iter().map(|it| (it.head.seq, it.head.dropped));
    counts.collect()
}

#[test]
fn m1_the_oldest_frames_go_by_age_and_by_size_and_are_counted() {
    let (mut tap, used) = tap(Kind::Audio);
    let mut place = Place::new(Kind::Audio, None, tap.ring());
    for n in 0..=200 {
        sound(&mut tap, 0, 640, n * 20);
    }
    let got = all(&mut place, &tap);
    // The newest is of 4,000 ms, so those before 2,000 are gone.
    assert_eq!(got[0].head.timestamp_ms, T + 4_000 - RING_MS);
    assert_eq!(counts(&got[..2]), [(101, 100), (102, 0)]);
    assert_eq!((got.len(), got[0].head.flags), (101, MIX));
    drop(got);
    // Within one millisecond there are more than fit.
    let mib = ring_bytes(Kind::Audio);
    for _ in 0..100 {
        sound(&mut tap, 0, mib / 10, 4_000);
    }
    assert!(tap.ring().bytes() <= mib);
    let got = all(&mut place, &tap);
    assert_eq!(
        counts(&got),
        (0..10)
            .map(|n| (292 + n, if n == 0 { 90 } else { 0 }))
            .collect::<Vec<_>>()
    );
    drop(got);
    assert_eq!(used.load(Relaxed), tap.ring().bytes());
    drop(tap);
    assert_eq!(used.load(Relaxed), 0, "all is freed");
}

#[test]
fn m1_all_rings_together_have_a_limit() {
    let used = Arc::<AtomicUsize>::default();
    let mut taps: Vec<Tap> = (0..12)
        .map(|_| Tap::new(Kind::Video, Some("format".into()), &used))
        .collect();
    let mut places: Vec<Place> = taps
        .iter()
        .map(|tap| Place::new(Kind::Video, None, tap.ring()))
        .collect();
    for _ in 0..8 {
        taps.iter_mut()
            .for_each(|tap| push(tap, 1, Codec::Jpeg, vec![0; 1 << 20], 0));
    }
    assert_eq!(used.load(Relaxed), MEDIA_BYTES_MAX);
    // What a slow client is still sent counts, though its ring has let it go.
    let held = places[0].next(taps[0].ring()).expect("a frame");
    taps[0].clear();
    assert_eq!(
        used.load(Relaxed),
        MEDIA_BYTES_MAX - (5 << 20),
        "of six, one is being sent"
    );
    drop(held);
    push(&mut taps[1], 1, Codec::Jpeg, vec![0; 1 << 20], 0);
    let got = counts(&all(&mut places[1], &taps[1]));
    // Those that found no memory are counted like any other.
    assert_eq!((got.len(), got[5], got[6]), (7, (6, 0), (9, 2)), "{got:?}");
    assert!(Charge::take(usize::MAX, &used).is_none());
}

#[test]
fn m2_a_decoder_begins_and_goes_on_after_a_drop_with_an_idr() {
    const CODE: [u8; 4] = [0, 0, 0, 1];
    let unit = |kinds: &[u8]| {
        kinds
            .iter()
            .flat_map(|kind| [&CODE[..], &[*kind, 1]].concat())
            .collect()
    };
    let frame = |tap: &mut Tap, user, kinds: &[u8]| push(tap, user, Codec::H264, unit(kinds), 0);
    let (mut tap, _) = tap(Kind::Video);
    let mut place = Place::new(Kind::Video, None, tap.ring());
    frame(&mut tap, 1, &[1]);
    frame(&mut tap, 1, &[5]);
    assert!(
        place.next(tap.ring()).is_none(),
        "no parameter sets are known"
    );
    frame(&mut tap, 1, &[7, 8, 5]);
    frame(&mut tap, 1, &[1]);
    let got = all(&mut place, &tap);
    assert_eq!(
        counts(&got),
        [(1, 0), (2, 0)],
        "what was before is not missed"
    );
    assert_eq!((got[0].head.flags, got[1].head.flags), (KEY, 0));
    // Another camera is decoded from its own first key frame on.
    frame(&mut tap, 2, &[1]);
    frame(&mut tap, 1, &[1]);
    frame(&mut tap, 2, &[7, 8, 5]);
    frame(&mut tap, 1, &[1]);
    let got = all(&mut place, &tap);
    assert_eq!(counts(&got), [(4, 1), (5, 0), (6, 0)]);
    // Frames are lost; the next IDR comes without sets, so they are put in front.
    for _ in 0..10 {
        push(&mut tap, 1, Codec::H264, vec![9; 2 << 20], 0);
    }
    frame(&mut tap, 1, &[1]);
    frame(&mut tap, 1, &[5]);
    frame(&mut tap, 1, &[1]);
    let got = all(&mut place, &tap);
    assert_eq!(counts(&got), [(18, 11), (19, 0)]);
    let whole: Vec<u8> = unit(&[7, 8, 5]);
    assert_eq!(got[0].frame.payload, whole);
}

#[test]
fn a_client_of_one_speaker_gets_and_misses_only_that_ones_frames() {
    let (mut tap, _) = tap(Kind::Audio);
    sound(&mut tap, 2, 100, 0);
    let mut place = Place::new(Kind::Audio, Some(Id::Number(2)), tap.ring());
    for n in 0..400 {
        sound(&mut tap, 1 + n % 2, 100, n * 10);
        if n == 3 {
            assert_eq!(counts(&all(&mut place, &tap)), [(1, 0), (2, 0)]);
        }
    }
    let got = all(&mut place, &tap);
    assert!(
        got.iter().all(|it| it.head.speaker == 1),
        "the first that was heard"
    );
    // 200 were his in all, the last one at 3,990; from 1,990 on they are there.
    assert_eq!((got[0].head.seq, got[0].head.dropped), (100, 97));
    assert_eq!(got.last().map(|it| it.head.seq), Some(200));
}

#[test]
fn a_speaker_is_announced_again_when_the_name_becomes_known() {
    let (mut tap, _) = tap(Kind::Audio);
    let mut place = Place::new(Kind::Audio, None, tap.ring());
    for name in ["", "Ada", "", "Ada"] {
        let meta = Meta {
            user_id: &Id::Number(7),
            channel_id: None,
            user_name: name,
            timestamp_ms: T,
            codec: Codec::Pcm,
        };
        tap.push(&meta, vec![1], 0);
    }
    let got = all(&mut place, &tap);
    let names: Vec<&str> = got
        .iter()
        .map(|it| {
            it.frame
                .speaker
                .as_ref()
                .expect("a speaker")
                .user_name
                .as_str()
        })
        .collect();
    assert_eq!(names, ["", "Ada", "Ada", "Ada"]);
    assert!(got.iter().all(|it| it.head.speaker == 1));
}

/// Numbers as random as a test needs.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// Many clients of other speeds read while frames of all sizes come.
#[test]
fn m1_every_frame_is_delivered_or_counted_once_and_in_order() {
    for seed in 1..=20 {
        let mut random = Random(seed * 0x9e37_79b9);
        let (mut tap, used) = tap(Kind::Audio);
        struct Client {
            place: Place,
            speaker: Option<u64>,
            speed: u64,
            /// Frames for it, since it came.
            due: u64,
            got: u64,
            dropped: u64,
            last_seq: u32,
            last_sent: u64,
        }
        let mut clients: Vec<Client> = Vec::new();
        let mut now_ms = 0;
        let mut sent = 0;
        for _ in 0..2_000 {
            if clients.len() < 6 && random.below(100) == 0 {
                let speaker = (random.below(2) == 0).then(|| 1 + random.below(3));
                clients.push(Client {
                    place: Place::new(Kind::Audio, speaker.map(Id::Number), tap.ring()),
                    speaker,
                    speed: random.below(4),
                    due: 0,
                    got: 0,
                    dropped: 0,
                    last_seq: 0,
                    last_sent: 0,
                });
            }
            now_ms += random.below(60);
            let user = 1 + random.below(3);
            sent += 1;
            // The payload says which one it is.
            let mut payload = u64::to_be_bytes(sent).to_vec();
            payload.resize(8 + random.below(20_000) as usize, 0);
            push(&mut tap, user, Codec::Pcm, payload, now_ms);
            for client in &mut clients {
                client.due += u64::from(client.speaker.is_none_or(|it| it == user));
                for _ in 0..client.speed * random.below(3) {
                    client.read(&tap);
                }
            }
            assert!(used.load(Relaxed) <= ring_bytes(Kind::Audio) + 25_000);
        }
        impl Client {
            fn read(&mut self, tap: &Tap) -> bool {
                let Some(Delivery { head, frame }) = self.place.next(tap.ring()) else {
                    return false;
                };
                let (number, _) = frame.payload.split_first_chunk().expect("eight bytes");
                let number = u64::from_be_bytes(*number);
                assert!(number > self.last_sent, "in order, and once");
                assert_eq!(head.seq, self.last_seq + 1 + head.dropped);
                (self.last_sent, self.last_seq) = (number, head.seq);
                self.got += 1;
                self.dropped += u64::from(head.dropped);
                true
            }
        }
        for client in &mut clients {
            while client.read(&tap) {}
            let missing = client.due - client.got - client.dropped;
            match client.speaker {
                None => assert_eq!(missing, 0, "seed {seed}"),
                // What one speaker sent before the first frame that it got is not known.
                Some(_) => assert!(missing == 0 || client.speed == 0 || client.got > 0),
            }
        }
    }
}

fn packet(data: &str) -> Packet<'_> {
    Packet {
        user_id: Id::Number(7),
        user_name: "Ada".into(),
        channel_id: None,
        timestamp_ms: T,
        data: data.into(),
    }
}

fn info(stream_id: &str) -> StreamInfo {
    StreamInfo::new(Product::Meeting, "meeting==", stream_id, T)
}

fn granted(params: MediaParams) -> Notice {
    Notice::Granted(Box::new(params.granted(MediaKind::All, "{}")))
}

fn media(words: &str) -> MediaSelection {
    MediaSelection::from_text(words).expect("kinds")
}

#[test]
fn m3_without_a_tap_nothing_is_kept_and_with_the_last_client_all_is_freed() {
    let hub = Hub::default();
    let params = MediaParams::default();
    assert!(
        hub.sink(&info("a"), &media("audio"), params).is_none(),
        "no listener is open"
    );
    let open = hub.open();
    let mut sink = hub
        .sink(&info("a"), &media("audio"), params)
        .expect("a sink");
    sink.on_notice(&granted(params));
    let event = |sink: &mut MediaSink| {
        sink.on_event(&StreamEvent::Packet(PacketKind::Audio, packet("AQID")));
    };
    event(&mut sink);
    let Search::One(Found::Running(source)) = open.0.lock().find("a") else {
        panic!("it runs");
    };
    assert!(source.lock().tap(Kind::Audio).is_none());
    let mut place = source.open_tap(Kind::Audio, None, &open.0);
    event(&mut sink);
    let delivery = {
        let state = source.lock();
        place.next(state.tap(Kind::Audio).expect("a tap").ring())
    };
    let delivery = delivery.expect("a frame");
    assert_eq!(delivery.frame.payload, [1, 2, 3]);
    assert!(
        delivery.frame.format.contains("16000"),
        "{}",
        delivery.frame.format
    );
    // What is not base64 is no frame.
    sink.on_event(&StreamEvent::Packet(PacketKind::Audio, packet("***")));
    source.open_tap(Kind::Audio, None, &open.0);
    source.close_tap(Kind::Audio);
    assert!(source.lock().tap(Kind::Audio).is_some(), "one is left");
    source.close_tap(Kind::Audio);
    assert!(source.lock().tap(Kind::Audio).is_none());
    drop(delivery);
    assert_eq!(hub.counters().bytes(), 0);
}

#[test]
fn m4_a_stream_is_found_by_key_id_or_prefix_and_refused_with_a_reason() {
    let hub = Hub::default();
    let open = hub.open();
    let sink = |id: &str, words: &str| {
        hub.sink(&info(id), &media(words), MediaParams::default())
            .expect("a sink")
    };
    let (mut first, second) = (
        sink("stream-one", "audio"),
        sink("stream-two", "transcript,video"),
    );
    let found = |name: &str| match open.0.lock().find(name) {
        Search::One(Found::Running(source)) => source.stream_id.clone(),
        Search::One(Found::Revoked) => "revoked".to_owned(),
        Search::Several => "several".to_owned(),
        Search::None => "none".to_owned(),
    };
    let key = crate::recorder::path::journal_key(&info("stream-one")).to_string();
    for (name, expected) in [
        ("stream-one", "stream-one"),
        ("stream-t", "stream-two"),
        ("stream", "several"),
        ("strea", "none"),
        ("stream-three", "none"),
        (&key, "stream-one"),
        (&key[..6], "stream-one"),
        (&key[..5], "none"),
    ] {
        assert_eq!(found(name), expected, "{name}");
    }
    let Search::One(Found::Running(source)) = open.0.lock().find("stream-one") else {
        panic!("it runs");
    };
    assert_eq!(source.refusal(Kind::Audio, false), None);
    assert!(
        source
            .refusal(Kind::Audio, true)
            .is_some_and(|text| text.contains("mixed"))
    );
    assert!(source.refusal(Kind::Video, false).is_some());
    first.on_notice(&Notice::NotGranted {
        kind: MediaKind::Audio,
        scope: None,
    });
    assert!(
        source.refusal(Kind::Audio, false).is_some(),
        "Zoom does not grant it"
    );
    // It ends, by a withdrawal or otherwise.
    first.on_end(&EndReason::Stopped(StopReason::STREAM_REVOKED));
    assert_eq!(
        (found("stream-one"), found(&key[..6])),
        ("revoked".into(), "revoked".into())
    );
    assert_eq!(source.lock().end, Some("revoked"));
    drop(first);
    drop(second);
    assert_eq!(found("stream-two"), "none");
}

#[test]
fn m1_a_sink_that_is_tapped_never_makes_its_stream_wait() {
    let hub = Hub::default();
    let open = hub.open();
    let params = MediaParams::default();
    let mut sink = hub
        .sink(&info("a"), &media("audio"), params)
        .expect("a sink");
    sink.on_notice(&granted(params));
    let Search::One(Found::Running(source)) = open.0.lock().find("a") else {
        panic!("it runs");
    };
    let mut place = source.open_tap(Kind::Audio, None, &open.0);
    let data = "AAAA".repeat(2_000);
    for _ in 0..2_000 {
        sink.on_event(&StreamEvent::Packet(PacketKind::Audio, packet(&data)));
        sink.flush();
        assert!(!sink.is_backlogged());
    }
    assert!(hub.counters().bytes() <= 2 * ring_bytes(Kind::Audio) as u64);
    let state = source.lock();
    let tap = state.tap(Kind::Audio).expect("a tap");
    let got = all(&mut place, tap);
    let dropped: u32 = got.iter().map(|it| it.head.dropped).sum();
    assert_eq!(got.len() as u32 + dropped, 2_000);
    assert!(dropped > 0);
}

#[test]
fn speakers_are_bounded() {
    let (mut tap, _) = tap(Kind::Audio);
    let mut place = Place::new(Kind::Audio, None, tap.ring());
    let mut numbers: HashMap<u32, u64> = HashMap::new();
    for user in 1..=1_200 {
        sound(&mut tap, user, 1, 0);
    }
    for delivery in all(&mut place, &tap) {
        *numbers.entry(delivery.head.speaker).or_default() += 1;
    }
    assert_eq!((numbers.len(), numbers[&0]), (1_001, 200));
}
