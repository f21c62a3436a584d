//! What a stream carries beside transcripts, in files: the real binary against the demo's Zoom.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rtmsd::demo::{
    AudioScript, Begin, DemoProduct, End, MeetingScript, Options, ServerCommand, ServerProcess,
    Zoom, tone_hz,
};
use serde_json::Value;

/// Nothing in these tests takes longer unless it is broken.
const PATIENCE: Duration = Duration::from_secs(20);

struct Harness {
    zoom: Zoom,
    server: ServerProcess,
    command: ServerCommand,
    folder: PathBuf,
}

impl Harness {
    /// Whether a restart would know of this stream.
    fn has_change_of(&self, stream_id: &str) -> bool {
        let log = fs::read_to_string(self.folder.join("state/intents.log")).unwrap_or_default();
        log.lines()
            .any(|line| line.contains(" effect ") && line.contains(stream_id))
    }

    fn start(name: &str, settings: &[(&str, &str)]) -> Harness {
        let folder =
            std::env::temp_dir().join(format!("rtmsd-media-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder for temporary files");
        let zoom = Zoom::start(Options::default()).expect("the small Zoom starts");
        let mut all = zoom.environment();
        let path = |name: &str| folder.join(name).display().to_string();
        let own = [
            ("HOST", "127.0.0.1".to_owned()),
            ("PORT", "0".to_owned()),
            ("RTMS_ADMIN", "off".to_owned()),
            ("RTMS_STDOUT", "off".to_owned()),
            ("RTMS_OUT", path("out")),
            ("RTMS_STATE", path("state")),
        ];
        let given = settings
            .iter()
            .map(|(key, value)| (*key, (*value).to_owned()));
        for (key, value) in own.into_iter().chain(given) {
            all.retain(|(other, _)| other != key);
            all.push((key.to_owned(), value));
        }
        let command = ServerCommand {
            program: env!("CARGO_BIN_EXE_rtmsd").into(),
            folder: folder.clone(),
            settings: all,
            shows_stdout: false,
            shows_log: false,
        };
        let server = command.start().expect("the server starts");
        let stage = Harness {
            zoom,
            server,
            command,
            folder,
        };
        stage.aim();
        stage
    }

    fn aim(&self) {
        let Some(address) = self.server.address(PATIENCE) else {
            panic!("no address in the log: {:#?}", self.server.log());
        };
        let target = format!("http://{address}/webhook");
        self.zoom.set_webhook_target(&target).expect("an address");
    }

    /// SIGKILL, and a new process with the same configuration.
    fn crash(&mut self) {
        self.server.kill();
        self.server = self.command.start().expect("the server starts");
        self.aim();
    }

    /// The one stream's folder, once it is made.
    fn find_stream(&self) -> Option<PathBuf> {
        let mut folder = self.folder.join("out");
        for _ in 0..3 {
            let mut inside = fs::read_dir(&folder).ok()?;
            folder = inside.next()?.ok()?.path();
        }
        Some(folder)
    }

    fn stream(&self) -> PathBuf {
        self.find_stream().expect("one stream")
    }

    /// Null before it is written.
    fn meta(&self) -> Value {
        let folder = self.find_stream().unwrap_or_default();
        let text = fs::read(folder.join("meta.json")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    fn wait(&self, what: &str, done: impl Fn() -> bool) {
        let until = Instant::now() + PATIENCE;
        while !done() {
            assert!(Instant::now() < until, "{what}: {:#?}", self.server.log());
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    fn wait_until_ended(&self) {
        self.wait("the end in meta.json", || self.meta()["state"] == "ended");
    }

    fn finish(mut self) {
        let status = self.server.terminate(PATIENCE).expect("it ends");
        assert_eq!(status.code(), Some(0), "{:#?}", self.server.log());
        assert_eq!(self.zoom.stop(), Vec::<String>::new());
        let _ = fs::remove_dir_all(&self.folder);
    }
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

/// The samples of a WAV file of one channel at 16 kHz, whose head tells the truth.
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

/// How often a sound at 16 kHz swings through zero upwards, a second.
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
fn a_tone_for_each_speaker_in_files_of_their_own() {
    let stage = Harness::start(
        "speakers",
        &[
            ("RTMS_MEDIA", "transcript,audio"),
            ("RTMS_AUDIO_STREAMS", "per-speaker"),
        ],
    );
    let meeting = stage.zoom.start_meeting(audio(true, 200));
    assert!(
        meeting.wait_for_audio(200, PATIENCE),
        "{:#?}",
        stage.server.log()
    );
    meeting.end(End::meeting_ended());
    stage.wait_until_ended();
    let meta = stage.meta();
    let parts = meta["audio"].as_array().expect("files");
    assert_eq!(parts.len(), 3);
    for (n, part) in parts.iter().enumerate() {
        let found = samples(&stage.stream().join(part["file"].as_str().expect("a name")));
        assert_eq!(found.len(), 200 * 320);
        let hz = frequency(&found);
        assert!((hz - f64::from(tone_hz(n))).abs() < 5.0, "{hz} {part}");
        assert_eq!(part["user_id"], meeting.script().speakers[n].user_id);
        let offset = part["first_ms"].as_i64().expect("a stamp")
            - meta["started_ms"].as_i64().expect("a stamp");
        assert_eq!(part["offset_ms"], offset);
    }
    stage.finish();
}

#[test]
fn each_codec_becomes_a_file_of_its_kind_with_silence_where_nobody_spoke() {
    /// Of each speaker's two seconds, by the stamps; the mute goes round every half second.
    const PACKETS: u64 = 100;
    for (codec, rate_hz) in [("g711", 8000), ("g722", 16_000), ("opus", 48_000)] {
        let settings = [
            ("RTMS_MEDIA", "audio"),
            ("RTMS_AUDIO_STREAMS", "per-speaker"),
            ("RTMS_AUDIO_CODEC", codec),
        ];
        let stage = Harness::start(&format!("codec-{codec}"), &settings);
        let mut script = audio(true, PACKETS);
        script.granted = 1;
        script.audio = script.audio.map(|audio| AudioScript {
            mute: Duration::from_millis(500),
            ..audio
        });
        let meeting = stage.zoom.start_meeting(script);
        assert!(meeting.wait_for_audio(PACKETS, PATIENCE), "{codec}");
        meeting.end(End::meeting_ended());
        stage.wait_until_ended();
        let meta = stage.meta();
        let first = meeting.script().speakers[0].user_id;
        for part in meta["audio"].as_array().expect("files") {
            assert_eq!(
                (&part["codec"], &part["sample_rate"]),
                (&codec.into(), &rate_hz.into())
            );
            let path = stage.stream().join(part["file"].as_str().expect("a name"));
            let bytes = fs::read(&path).expect("readable");
            let n = (part["user_id"].as_u64().expect("a number") - first) as usize / 1024;
            // The first is muted in the first turn, which is not in its file, and in the fourth,
            // which is its end; the others in the middle.
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
        stage.finish();
    }
}

#[test]
fn one_mixed_file_survives_a_crash() {
    let mut stage = Harness::start("crash", &[("RTMS_MEDIA", "audio")]);
    let mut script = audio(false, 1500);
    script.granted = 1;
    // Its webhook would find nobody while the server is gone.
    script.tell_signaling_loss = false;
    let meeting = stage.zoom.start_meeting(script);
    assert!(
        meeting.wait_for_audio(300, PATIENCE),
        "{:#?}",
        stage.server.log()
    );
    let file = |stage: &Harness| {
        let folder = stage.find_stream().unwrap_or_default();
        folder.join("audio-mixed.wav")
    };
    stage.wait("sound on the disk", || {
        fs::metadata(file(&stage)).is_ok_and(|meta| meta.len() > 640 * 100)
    });
    stage.wait("the stream in the state", || {
        stage.has_change_of(&meeting.streams()[0])
    });
    stage.crash();
    let before = fs::metadata(file(&stage)).expect("there").len();
    assert!(
        meeting.wait_for_audio(1500, PATIENCE),
        "{:#?}",
        stage.server.log()
    );
    stage.wait("sound after the crash", || {
        fs::metadata(file(&stage)).is_ok_and(|meta| meta.len() > before)
    });
    meeting.end(End::meeting_ended());
    stage.wait_until_ended();
    let found = samples(&file(&stage));
    // What was lost in between is silence: the last sound is where its stamp says.
    assert!(found.len() <= 1500 * 320 && found.len() as u64 > before / 2);
    assert_eq!(found.len() % 320, 0);
    assert!((frequency(&found[..320 * 100]) - f64::from(tone_hz(0))).abs() < 5.0);
    assert_eq!(stage.meta()["openings"], 2);
    stage.finish();
}

#[test]
fn a_killed_recording_that_nobody_goes_on_with_is_whole() {
    // Zoom ended the stream meanwhile; or the state is gone, and with it the stream's name.
    for is_state_lost in [false, true] {
        let name = format!("abandoned-{is_state_lost}");
        let settings = [("RTMS_MEDIA", "all"), ("RTMS_AUDIO_STREAMS", "per-speaker")];
        let mut stage = Harness::start(&name, &settings);
        let mut script = audio(true, 100_000);
        (script.granted, script.pictures, script.chat_every) = (31, true, 1);
        script.tell_signaling_loss = false;
        let meeting = stage.zoom.start_meeting(script);
        assert!(meeting.wait_for_audio(200, PATIENCE));
        let out = stage.folder.join("out");
        let sounds = || -> Vec<(PathBuf, Vec<u8>)> {
            let mut found = files(&out);
            found.retain(|(path, _)| path.extension().is_some_and(|end| end == "wav"));
            found
        };
        stage.wait("sound of each on the disk", || {
            let found = sounds();
            found.len() == 3 && found.iter().all(|(_, bytes)| bytes.len() > 640 * 100)
        });
        stage.wait("the stream in the state", || {
            stage.has_change_of(&meeting.streams()[0])
        });
        stage.server.kill();
        let killed = sounds();
        assert_eq!(stage.meta()["state"], "receiving");
        meeting.end(End {
            by_webhook: false,
            ..End::stopped(6)
        });
        if is_state_lost {
            fs::remove_dir_all(stage.folder.join("state")).expect("removable");
        }
        stage.server = stage.command.start().expect("the server starts");
        stage.aim();
        stage.wait_until_ended();
        let end = if is_state_lost {
            "abandoned"
        } else {
            "refused"
        };
        assert_eq!(stage.meta()["end"], end);
        for (path, bytes) in killed {
            // The head tells the truth, and no complete packet is missing.
            let found = samples(&path);
            assert_eq!(found.len(), (bytes.len() - 44) / 2, "{}", path.display());
        }
        for line in fs::read_to_string(stage.stream().join("transcript.jsonl"))
            .expect("readable")
            .lines()
        {
            serde_json::from_str::<Value>(line).expect("JSON");
        }
        stage.finish();
    }
}

#[test]
fn cameras_and_screens_and_chat() {
    let stage = Harness::start(
        "pictures",
        &[
            ("RTMS_MEDIA", "all"),
            ("RTMS_VIDEO_CODEC", "h264"),
            ("RTMS_SHARE_CODEC", "png"),
        ],
    );
    let script = MeetingScript {
        granted: 31,
        pictures: true,
        chat_every: 1,
        ..audio(false, 100)
    };
    let meeting = stage.zoom.start_meeting(script);
    let index = |kind: &str| -> Vec<Value> {
        let folder = stage.find_stream().unwrap_or_default();
        let text = fs::read_to_string(folder.join(kind).join("frames.jsonl"));
        let text = text.unwrap_or_default();
        let whole = text.lines().filter(|line| line.ends_with('}'));
        whole
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    };
    stage.wait("another speaker in the picture", || {
        index("video").len() > 22
    });
    assert!(meeting.wait_for_phrases(2, PATIENCE));
    meeting.end(End::meeting_ended());
    stage.wait_until_ended();
    let stream = stage.stream();
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
    let meta = stage.meta();
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
    stage.finish();
}

#[test]
fn what_is_not_granted_is_named_and_the_rest_comes() {
    for media in ["transcript,audio,chat", "all"] {
        let stage = Harness::start(&format!("granted-{media}"), &[("RTMS_MEDIA", media)]);
        let script = MeetingScript {
            begin: Begin::AtOnce,
            phrases_per_second: 20.0,
            ..MeetingScript::plain("granted")
        };
        let meeting = stage.zoom.start_meeting(script);
        assert!(meeting.wait_for_phrases(3, PATIENCE), "{media}");
        for scope in ["meeting:read:meeting_audio", "meeting:read:meeting_chat"] {
            let log = stage.server.log();
            let is_told = |line: &String| line.contains("WARN") && line.contains(scope);
            assert!(log.iter().any(is_told), "{scope}: {log:#?}");
        }
        meeting.end(End::meeting_ended());
        stage.wait_until_ended();
        assert!(stage.meta()["transcripts"].as_u64() >= Some(3));
        stage.finish();
    }
}

#[test]
fn one_camera_at_a_time_is_asked_for_by_rule() {
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
        let stage = Harness::start(&format!("camera-{named}"), &settings);
        let expected: Vec<u64> = match named {
            true => vec![third.user_id],
            // Two phrases of each.
            false => script.speakers.iter().map(|s| s.user_id).collect(),
        };
        let meeting = stage.zoom.start_meeting(script);
        assert!(
            meeting.wait_for_phrases(6, PATIENCE),
            "{:#?}",
            stage.server.log()
        );
        stage.wait("the subscriptions", || {
            let mut found = meeting.cameras();
            found.dedup();
            found.starts_with(&expected)
        });
        meeting.end(End::meeting_ended());
        stage.wait_until_ended();
        stage.finish();
    }
}

/// Every file below a folder, with what is in it.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => found.extend(files(&path)),
            path => {
                let bytes = fs::read(&path).unwrap_or_default();
                found.push((path, bytes));
            }
        }
    }
    found
}

#[test]
fn of_withdrawn_consent_no_byte_is_left() {
    let mut stage = Harness::start(
        "revoked",
        &[
            ("RTMS_MEDIA", "all"),
            ("RTMS_AUDIO_STREAMS", "per-speaker"),
            ("RTMS_TRANSCRIPT", "jsonl,txt,vtt,srt"),
        ],
    );
    let script = MeetingScript {
        granted: 31,
        pictures: true,
        chat_every: 1,
        phrases_per_second: 20.0,
        ..audio(true, 100_000)
    };
    let meeting = stage.zoom.start_meeting(script);
    assert!(
        meeting.wait_for_phrases(5, PATIENCE),
        "{:#?}",
        stage.server.log()
    );
    meeting.end(End::stopped(2));
    stage.wait_until_ended();
    let first = stage.stream();
    let kept = files(&first);

    assert!(meeting.open_stream());
    let out = stage.folder.join("out");
    stage.wait("the second stream's files", || {
        let all = files(&out);
        let of_second = |name: &str| {
            all.iter().any(|(path, bytes)| {
                !path.starts_with(&first)
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
    let mut metas = files(&out).into_iter().map(|(path, _)| path);
    let meta = metas.find(|path| !path.starts_with(&first) && path.ends_with("meta.json"));
    let folder = meta.as_deref().and_then(Path::parent).expect("a folder");
    meeting.end(End::stopped(8));
    stage.wait("word of the deletion", || {
        let log = stage.server.log();
        log.iter()
            .any(|line| line.contains("consent withdrawn: deleted"))
    });
    assert!(kept.len() > 10);
    assert!(
        files(&out) == kept,
        "the first stream stays to the byte, and nothing else"
    );

    // In the state only the ids are left, so that the stream is not taken up again.
    let script = meeting.script();
    stage.wait("the state without the stream's facts", || {
        let state = fs::read_to_string(stage.folder.join("state/registry.json"));
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
    for (path, bytes) in files(&stage.folder.join("state")) {
        let text = String::from_utf8_lossy(&bytes);
        let found = words.iter().find(|word| text.contains(**word));
        assert_eq!(found, None, "in {}", path.display());
        // Neither sound nor picture.
        let is_media = |four: &[u8]| four == b"RIFF" || four == [0xff, 0xd8, 0xff, 0xe0];
        assert!(!bytes.windows(4).any(is_media), "in {}", path.display());
    }

    // Had it been killed before all was deleted, the next process would have seen to it.
    stage.server.kill();
    fs::create_dir_all(folder).expect("writable");
    fs::write(folder.join("transcript.jsonl"), "left").expect("writable");
    stage.server = stage.command.start().expect("the server starts");
    stage.wait("the deletion", || files(&out) == kept);
    stage.finish();
}

#[test]
fn every_product_from_its_webhook_to_its_files() {
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
        let stage = Harness::start(
            &format!("product-{name}"),
            &[
                ("RTMS_MEDIA", "transcript,audio"),
                ("RTMS_AUTO_START", "off"),
            ],
        );
        // The demo's Zoom refuses another key, id or signature, and tells of it at the end.
        let script = MeetingScript {
            product,
            phrases_per_second: 50.0,
            ..audio(false, 20)
        };
        let meeting = stage.zoom.start_meeting(script);
        assert!(
            meeting.wait_for_phrases(3, PATIENCE),
            "{name} {:#?}",
            stage.server.log()
        );
        assert!(meeting.wait_for_audio(20, PATIENCE), "{name}");
        meeting.end(End::stopped(1));
        stage.wait_until_ended();
        let meta = stage.meta();
        assert_eq!(meta["product"], name, "{meta}");
        assert_eq!(meta[id_key], meeting.script().id.as_str(), "{meta}");
        assert_eq!(
            samples(&stage.stream().join("audio-mixed.wav")).len(),
            20 * 320
        );
        stage.finish();
    }
}

#[test]
fn the_demo_plays_every_medium_of_every_product() {
    let out = std::env::temp_dir().join(format!("rtmsd-media-demo-{}", std::process::id()));
    let played = Command::new(env!("CARGO_BIN_EXE_rtmsd"))
        .args(["demo", "--media", "all", "--product", "all", "--out"])
        .arg(&out)
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&played.stdout);
    assert!(played.status.success(), "{said}");
    for product in ["meeting", "webinar", "session", "engagement", "call"] {
        for medium in ["audio", "video", "share", "chat", "events"] {
            let is_row = |line: &str| {
                let words: Vec<&str> = line.split_whitespace().skip(2).collect();
                words.starts_with(&[product, medium]) && words.ends_with(&["0", "0"])
            };
            assert!(said.lines().any(is_row), "{product} {medium}: {said}");
        }
    }
    fs::remove_dir_all(&out).expect("it was kept");
}
