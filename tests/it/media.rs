//! Files of audio, video, share and chat: the real binary with the demo's Zoom.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rtmsd::demo::{AudioScript, Begin, DemoProduct, End, MeetingScript, Options, tone_hz};
use serde_json::Value;

use crate::harness::{Harness, PATIENCE, files_below, meta, wait_until};

fn start(settings: &[(&str, &str)]) -> Harness {
    Harness::builder(Options::default())
        .settings(&[("RTMS_STDOUT", "off")])
        .settings(settings)
        .start()
}

/// Whether the state contains this stream.
fn has_change_of(harness: &Harness, stream_id: &str) -> bool {
    let log = fs::read_to_string(harness.state().join("intents.log")).unwrap_or_default();
    log.lines()
        .any(|line| line.contains(" effect ") && line.contains(stream_id))
}

/// `meta.json` of the only stream; null before it is written.
fn meta_of(harness: &Harness) -> Value {
    let folder = harness.stream_folders().pop();
    folder.map(|folder| meta(&folder)).unwrap_or_default()
}

fn wait_until_ended(harness: &Harness) {
    wait_until("the end in meta.json", || {
        meta_of(harness)["state"] == "ended"
    });
}

fn audio(per_speaker: bool, packets: u64) -> MeetingScript {
    MeetingScript {
        audio: Some(AudioScript {
            per_speaker,
            interval: Duration::from_millis(2),
            packets: Some(packets),
            mute: Duration::ZERO,
        }),
        begin: Begin::AtOnce,
        granted: 1 | 8,
        ..MeetingScript::plain("media")
    }
}

/// The samples of a WAV file of one channel at 16 kHz; checks the sizes in its header.
fn samples(path: &Path) -> Vec<i16> {
    samples_at(16_000, path)
}

fn samples_at(rate_hz: u32, path: &Path) -> Vec<i16> {
    let bytes = fs::read(path).expect("readable");
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four"));
    assert_eq!(
        (&bytes[..4], &bytes[8..16]),
        (&b"RIFF"[..], &b"WAVEfmt "[..])
    );
    assert_eq!((number(22) & 0xffff, number(24)), (1, rate_hz));
    assert_eq!(
        (number(4) + 8, number(40) + 44),
        (bytes.len() as u32, bytes.len() as u32)
    );
    let pairs = bytes[44..].chunks_exact(2);
    pairs
        .map(|pair| i16::from_le_bytes([pair[0], pair[1]]))
        .collect()
}

/// How often a sound at 16 kHz crosses zero upwards, per second.
fn frequency(samples: &[i16]) -> f64 {
    frequency_at(16_000.0, samples)
}

fn frequency_at(rate_hz: f64, samples: &[i16]) -> f64 {
    let rising = samples
        .windows(2)
        .filter(|pair| pair[0] < 0 && pair[1] >= 0)
        .count();
    rising as f64 * rate_hz / samples.len() as f64
}

#[test]
fn each_speakers_tone_is_in_a_file_of_its_own() {
    let harness = start(&[
        ("RTMS_MEDIA", "transcript,audio"),
        ("RTMS_AUDIO_STREAMS", "per-speaker"),
    ]);
    let meeting = harness.zoom.start_meeting(audio(true, 200));
    assert!(meeting.wait_for_audio(200, PATIENCE));
    meeting.end(End::meeting_ended());
    wait_until_ended(&harness);
    let meta = meta_of(&harness);
    let parts = meta["audio"].as_array().expect("files");
    assert_eq!(parts.len(), 3);
    for (n, part) in parts.iter().enumerate() {
        let found = samples(
            &harness
                .stream_folder()
                .join(part["file"].as_str().expect("a name")),
        );
        assert_eq!(found.len(), 200 * 320);
        let hz = frequency(&found);
        assert!((hz - f64::from(tone_hz(n))).abs() < 5.0, "{hz} {part}");
        assert_eq!(part["user_id"], meeting.script().speakers[n].user_id);
        let offset = part["first_ms"].as_i64().expect("a stamp")
            - meta["started_ms"].as_i64().expect("a stamp");
        assert_eq!(part["offset_ms"], offset);
    }
    harness.end();
}

#[test]
fn each_codec_has_its_file_format_with_silence_during_mutes() {
    /// Two seconds of each speaker by their timestamps; the speakers are muted in turn, each for
    /// half a second.
    const PACKETS: u64 = 100;
    for (codec, rate_hz) in [("g711", 8000), ("g722", 16_000), ("opus", 48_000)] {
        let settings = [
            ("RTMS_MEDIA", "audio"),
            ("RTMS_AUDIO_STREAMS", "per-speaker"),
            ("RTMS_AUDIO_CODEC", codec),
        ];
        let harness = start(&settings);
        let mut script = audio(true, PACKETS);
        script.granted = 1;
        script.audio = script.audio.map(|audio| AudioScript {
            mute: Duration::from_millis(500),
            ..audio
        });
        let meeting = harness.zoom.start_meeting(script);
        assert!(meeting.wait_for_audio(PACKETS, PATIENCE), "{codec}");
        meeting.end(End::meeting_ended());
        wait_until_ended(&harness);
        let meta = meta_of(&harness);
        let first = meeting.script().speakers[0].user_id;
        for part in meta["audio"].as_array().expect("files") {
            assert_eq!(
                (&part["codec"], &part["sample_rate"]),
                (&codec.into(), &rate_hz.into())
            );
            let path = harness
                .stream_folder()
                .join(part["file"].as_str().expect("a name"));
            let bytes = fs::read(&path).expect("readable");
            let n = (part["user_id"].as_u64().expect("a number") - first) as usize / 1024;
            // The first speaker is muted in the first turn, which is not in the file, and in the
            // fourth, which is at its end; the others in the middle.
            let (turns, muted) = [(2, None), (4, Some(1)), (4, Some(2))][n];
            let samples_of = |turn: usize, rate: usize| turn * rate / 2..(turn + 1) * rate / 2;
            match codec {
                "g711" => {
                    let found = samples_at(8000, &path);
                    assert_eq!(found.len(), turns * 4000, "{part}");
                    for turn in 0..turns {
                        let found = &found[samples_of(turn, 8000)];
                        match muted == Some(turn) {
                            true => assert!(found.iter().all(|sample| *sample == 0)),
                            false => {
                                let error = frequency_at(8000.0, found) - f64::from(tone_hz(n));
                                assert!(error.abs() < 5.0, "{error} {part}");
                            }
                        }
                    }
                }
                "g722" => {
                    assert_eq!(bytes.len(), turns * 4000, "{part}");
                    let is_silent = |turn: usize| bytes[samples_of(turn, 8000)] == [0xfd; 4000];
                    for turn in 0..turns {
                        assert_eq!(is_silent(turn), muted == Some(turn), "{part}");
                    }
                }
                _ => {
                    let last = bytes.windows(4).rposition(|four| four == b"OggS");
                    let at = last.expect("pages") + 6;
                    let end = u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight"));
                    assert_eq!(end, turns as u64 * 24_000, "{part}");
                }
            }
        }
        harness.end();
    }
}

#[test]
fn one_mixed_file_survives_a_crash() {
    let mut harness = start(&[("RTMS_MEDIA", "audio")]);
    let mut script = audio(false, 1500);
    script.granted = 1;
    // Its webhook would arrive while no server runs.
    script.tell_signaling_loss = false;
    let meeting = harness.zoom.start_meeting(script);
    assert!(meeting.wait_for_audio(300, PATIENCE));
    let file = |harness: &Harness| {
        let folder = harness.stream_folders().pop().unwrap_or_default();
        folder.join("audio-mixed.wav")
    };
    wait_until("sound on the disk", || {
        fs::metadata(file(&harness)).is_ok_and(|meta| meta.len() > 640 * 100)
    });
    wait_until("the stream in the state", || {
        has_change_of(&harness, &meeting.streams()[0])
    });
    harness.server.kill();
    harness.start_server();
    let before = fs::metadata(file(&harness)).expect("there").len();
    assert!(meeting.wait_for_audio(1500, PATIENCE));
    wait_until("sound after the crash", || {
        fs::metadata(file(&harness)).is_ok_and(|meta| meta.len() > before)
    });
    meeting.end(End::meeting_ended());
    wait_until_ended(&harness);
    let found = samples(&file(&harness));
    // What was lost in between is silence: the last sound is at the time of its timestamp.
    assert!(found.len() <= 1500 * 320 && found.len() as u64 > before / 2);
    assert_eq!(found.len() % 320, 0);
    assert!((frequency(&found[..320 * 100]) - f64::from(tone_hz(0))).abs() < 5.0);
    assert_eq!(meta_of(&harness)["openings"], 2);
    harness.end();
}

#[test]
fn a_killed_recording_that_is_not_continued_is_completed() {
    // Zoom ended the stream meanwhile; or the state is lost, and with it the stream.
    for is_state_lost in [false, true] {
        let settings = [("RTMS_MEDIA", "all"), ("RTMS_AUDIO_STREAMS", "per-speaker")];
        let mut harness = start(&settings);
        let mut script = audio(true, 100_000);
        (script.granted, script.pictures, script.chat_every) = (31, true, 1);
        script.tell_signaling_loss = false;
        let meeting = harness.zoom.start_meeting(script);
        assert!(meeting.wait_for_audio(200, PATIENCE));
        let out = harness.out();
        let sounds = || -> BTreeMap<PathBuf, Vec<u8>> {
            let mut found = files_below(&out);
            found.retain(|path, _| path.extension().is_some_and(|end| end == "wav"));
            found
        };
        wait_until("sound of each on the disk", || {
            let found = sounds();
            found.len() == 3 && found.values().all(|bytes| bytes.len() > 640 * 100)
        });
        wait_until("the stream in the state", || {
            has_change_of(&harness, &meeting.streams()[0])
        });
        harness.server.kill();
        let killed = sounds();
        assert_eq!(meta_of(&harness)["state"], "receiving");
        meeting.end(End {
            by_webhook: false,
            ..End::stopped(6)
        });
        if is_state_lost {
            fs::remove_dir_all(harness.state()).expect("removable");
        }
        harness.start_server();
        wait_until_ended(&harness);
        let end = if is_state_lost {
            "abandoned"
        } else {
            "refused"
        };
        assert_eq!(meta_of(&harness)["end"], end);
        for (path, bytes) in killed {
            // The header has the right sizes, and no complete packet is missing.
            let found = samples(&out.join(&path));
            assert_eq!(found.len(), (bytes.len() - 44) / 2, "{}", path.display());
        }
        for line in fs::read_to_string(harness.stream_folder().join("transcript.jsonl"))
            .expect("readable")
            .lines()
        {
            serde_json::from_str::<Value>(line).expect("JSON");
        }
        harness.end();
    }
}

#[test]
fn cameras_and_screens_and_chat() {
    let harness = start(&[
        ("RTMS_MEDIA", "all"),
        ("RTMS_VIDEO_CODEC", "h264"),
        ("RTMS_SHARE_CODEC", "png"),
    ]);
    let script = MeetingScript {
        granted: 31,
        pictures: true,
        chat_every: 1,
        ..audio(false, 100)
    };
    let meeting = harness.zoom.start_meeting(script);
    let index = |kind: &str| -> Vec<Value> {
        let folder = harness.stream_folders().pop().unwrap_or_default();
        let text = fs::read_to_string(folder.join(kind).join("frames.jsonl"));
        let text = text.unwrap_or_default();
        let whole = text.lines().filter(|line| line.ends_with('}'));
        whole
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    };
    wait_until("another speaker in the picture", || {
        index("video").len() > 22
    });
    assert!(meeting.wait_for_phrases(2, PATIENCE));
    meeting.end(End::meeting_ended());
    wait_until_ended(&harness);
    let stream = harness.stream_folder();
    let video = fs::read(stream.join("video.h264")).expect("readable");
    let frames = index("video");
    let mut at = 0;
    for frame in &frames {
        assert_eq!(frame["offset"], at);
        let unit = &video[at as usize..];
        assert!(unit.starts_with(&[0, 0, 0, 1, 9]), "{frame}");
        at += frame["bytes"].as_u64().expect("a size");
        assert_eq!(
            (&frame["width"], &frame["height"]),
            (&320.into(), &180.into())
        );
    }
    assert_eq!(at, video.len() as u64);
    let turns = frames
        .iter()
        .filter(|frame| frame["changed"].is_array())
        .count();
    assert_eq!(turns, frames.len().div_ceil(20));
    for frame in index("share") {
        let picture = fs::read(
            stream
                .join("share")
                .join(frame["file"].as_str().expect("a name")),
        );
        assert!(picture.expect("readable").starts_with(b"\x89PNG"));
    }
    let meta = meta_of(&harness);
    assert_eq!(
        (&meta["video"]["codec"], &meta["share"]["codec"]),
        (&"h264".into(), &"png".into())
    );
    assert!(meta["video"]["offset_ms"].is_i64());
    let people = meta["participants"].as_array().expect("a list");
    assert_eq!(people.len(), 3);
    assert!(people[0]["joined_ms"].is_u64(), "{people:?}");
    assert_eq!(samples(&stream.join("audio-mixed.wav")).len(), 100 * 320);
    assert!(fs::metadata(stream.join("chat.jsonl")).is_ok());
    harness.end();
}

#[test]
fn media_that_are_not_granted_are_named_and_others_received() {
    for media in ["transcript,audio,chat", "all"] {
        let harness = start(&[("RTMS_MEDIA", media)]);
        let script = MeetingScript {
            begin: Begin::AtOnce,
            phrases_per_second: 20.0,
            ..MeetingScript::plain("granted")
        };
        let meeting = harness.zoom.start_meeting(script);
        assert!(meeting.wait_for_phrases(3, PATIENCE), "{media}");
        for scope in ["meeting:read:meeting_audio", "meeting:read:meeting_chat"] {
            assert!(harness.count_logged(&["WARN", scope]) > 0, "{scope}");
        }
        meeting.end(End::meeting_ended());
        wait_until_ended(&harness);
        assert!(meta_of(&harness)["transcripts"].as_u64() >= Some(3));
        harness.end();
    }
}

#[test]
fn one_camera_at_a_time_is_subscribed_to() {
    for named in [true, false] {
        let script = MeetingScript {
            begin: Begin::AtOnce,
            granted: 2 | 8,
            pictures: true,
            phrases_per_second: 20.0,
            ..MeetingScript::plain("camera")
        };
        let third = &script.speakers[2];
        let participant = if named { &third.user_name } else { "" };
        let mut settings = vec![
            ("RTMS_MEDIA", "transcript,video"),
            ("RTMS_VIDEO", "individual"),
        ];
        if named {
            settings.push(("RTMS_VIDEO_PARTICIPANT", participant));
        }
        let harness = start(&settings);
        let expected: Vec<u64> = match named {
            true => vec![third.user_id],
            // Two phrases of each.
            false => script.speakers.iter().map(|s| s.user_id).collect(),
        };
        let meeting = harness.zoom.start_meeting(script);
        assert!(meeting.wait_for_phrases(6, PATIENCE));
        wait_until("the subscriptions", || {
            let mut found = meeting.cameras();
            found.dedup();
            found.starts_with(&expected)
        });
        meeting.end(End::meeting_ended());
        wait_until_ended(&harness);
        harness.end();
    }
}

#[test]
fn after_withdrawn_consent_no_byte_is_left() {
    // The server's own journal says which stream it was, by its ids.
    let files_below = |folder: &Path| {
        let mut files = files_below(folder);
        files.remove(Path::new("feed.jsonl"));
        files
    };
    let mut harness = start(&[
        ("RTMS_MEDIA", "all"),
        ("RTMS_AUDIO_STREAMS", "per-speaker"),
        ("RTMS_TRANSCRIPT", "jsonl,txt,vtt,srt"),
    ]);
    let script = MeetingScript {
        granted: 31,
        pictures: true,
        chat_every: 1,
        phrases_per_second: 20.0,
        ..audio(true, 100_000)
    };
    let meeting = harness.zoom.start_meeting(script);
    assert!(meeting.wait_for_phrases(5, PATIENCE));
    meeting.end(End::stopped(2));
    wait_until_ended(&harness);
    let out = harness.out();
    let first = harness.stream_folder();
    let first = first.strip_prefix(&out).expect("below");
    let kept = files_below(&out);

    assert!(meeting.open_stream());
    wait_until("the second stream's files", || {
        let all = files_below(&out);
        let of_second = |name: &str| {
            all.iter().any(|(path, bytes)| {
                !path.starts_with(first)
                    && path.to_string_lossy().contains(name)
                    && bytes.len() > 44
            })
        };
        [
            "transcript.srt",
            "chat.jsonl",
            ".wav",
            ".jpg",
            "events.jsonl",
        ]
        .into_iter()
        .all(of_second)
    });
    let second = meeting.streams()[1].clone();
    let mut metas = files_below(&out).into_keys();
    let meta = metas.find(|path| !path.starts_with(first) && path.ends_with("meta.json"));
    let folder = meta.as_deref().and_then(Path::parent).expect("a folder");
    let folder = out.join(folder);
    meeting.end(End::stopped(8));
    harness.wait_until_logged(&["consent withdrawn: deleted"]);
    assert!(kept.len() > 10);
    assert!(
        files_below(&out) == kept,
        "only the first stream is left, unchanged"
    );

    // The state keeps only the ids, so that the stream is not rejoined.
    let script = meeting.script();
    wait_until("the state without the stream's facts", || {
        let state = fs::read_to_string(harness.state().join("registry.json"));
        let text = state.unwrap_or_default();
        let json: Value = serde_json::from_str(&text).unwrap_or_default();
        let entry = &json["streams"][&second]["started"];
        entry["server_urls"].as_array().is_some_and(Vec::is_empty)
    });
    let names = script.speakers.iter().map(|speaker| &speaker.user_name);
    let phrases = meeting.sent();
    let words: Vec<&str> = names
        .chain(phrases.iter().map(|phrase| &phrase.text))
        .map(String::as_str)
        .chain([script.topic.as_str(), "see the shared folder"])
        .collect();
    for (path, bytes) in files_below(&harness.state()) {
        let text = String::from_utf8_lossy(&bytes);
        let found = words.iter().find(|word| text.contains(**word));
        assert_eq!(found, None, "in {}", path.display());
        // Neither sound nor picture.
        let is_media = |four: &[u8]| four == b"RIFF" || four == [0xff, 0xd8, 0xff, 0xe0];
        assert!(!bytes.windows(4).any(is_media), "in {}", path.display());
    }

    // If it had been killed before everything was deleted, the next process would delete the rest.
    harness.server.kill();
    fs::create_dir_all(&folder).expect("writable");
    fs::write(folder.join("transcript.jsonl"), "left").expect("writable");
    harness.start_server();
    wait_until("the deletion", || files_below(&out) == kept);
    harness.end();
}

#[test]
fn every_product_is_received_from_webhook_to_files() {
    let products = [
        (DemoProduct::Webinar, "webinar", "meeting_uuid"),
        (DemoProduct::Session, "session", "session_id"),
        (
            DemoProduct::ContactCenter,
            "contact_center",
            "engagement_id",
        ),
        (DemoProduct::Phone, "phone", "call_id"),
    ];
    for (product, name, id_key) in products {
        let harness = start(&[
            ("RTMS_MEDIA", "transcript,audio"),
            ("RTMS_AUTO_START", "off"),
        ]);
        // The demo's Zoom refuses a wrong key, id or signature, and reports it at the end.
        let script = MeetingScript {
            product,
            phrases_per_second: 50.0,
            ..audio(false, 20)
        };
        let meeting = harness.zoom.start_meeting(script);
        assert!(meeting.wait_for_phrases(3, PATIENCE), "{name}");
        assert!(meeting.wait_for_audio(20, PATIENCE), "{name}");
        meeting.end(End::stopped(1));
        wait_until_ended(&harness);
        let meta = meta_of(&harness);
        assert_eq!(meta["product"], name, "{meta}");
        assert_eq!(meta[id_key], meeting.script().id.as_str(), "{meta}");
        assert_eq!(
            samples(&harness.stream_folder().join("audio-mixed.wav")).len(),
            20 * 320
        );
        harness.end();
    }
}
