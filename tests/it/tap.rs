//! Live media with the whole binary: `/media`, and `rtmsd tap`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rtmsd::demo::{AudioScript, Begin, End, MeetingHandle, MeetingScript, Options};
use serde_json::Value;
use tungstenite::Message;

use crate::harness::{Harness, KilledOnDrop, PATIENCE, RTMSD, meta, wait_until, wait_until_over};
use crate::tail::fake::Place;

mod client;
mod partners;

use client::{Ask, Media, Said, ask_plainly};

fn bearer(harness: &Harness) -> String {
    format!("Bearer {}", harness.own_token())
}

/// Sound until the meeting ends; its packets come faster than they are spoken.
fn speaking(seed: &str, per_speaker: bool) -> MeetingScript {
    MeetingScript {
        audio: Some(AudioScript {
            per_speaker,
            interval: Duration::from_millis(10),
            packets: None,
            mute: Duration::ZERO,
        }),
        begin: Begin::AtOnce,
        granted: 1,
        ..MeetingScript::plain(seed)
    }
}

/// A meeting whose sound arrives, and the key of its stream.
fn meeting(harness: &Harness, script: MeetingScript) -> (MeetingHandle, String) {
    let meeting = harness.zoom.start_meeting(script);
    assert!(meeting.wait_for_audio(10, PATIENCE));
    let key = harness.key_of(&meeting);
    (meeting, key)
}

fn wait_until_ended(harness: &Harness) -> Value {
    let folder = harness.stream_folder();
    wait_until("the end in meta.json", || meta(&folder)["state"] == "ended");
    meta(&folder)
}

/// The samples of a WAV file.
fn samples(folder: &Path, file: &Value) -> Vec<u8> {
    let bytes = fs::read(folder.join(file.as_str().expect("a name"))).expect("readable");
    bytes[44..].to_vec()
}

/// The names of the server's threads.
fn threads(harness: &Harness) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", harness.server.id())).expect("it runs");
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.map(|name| name.trim().to_owned()).collect()
}

/// A `tap` whose output goes to a file.
struct Tapping {
    child: KilledOnDrop,
    out: PathBuf,
}

impl Tapping {
    fn start(harness: &Harness, name: &str, arguments: &[&str]) -> Tapping {
        let out = harness.folder.path().join(name);
        let child = harness
            .client("tap")
            .args(arguments)
            .stdout(File::create(&out).expect("a file"))
            .stderr(Stdio::piped())
            .spawn();
        let child = KilledOnDrop(child.expect("the program can be started"));
        Tapping { child, out }
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(&self.out).expect("a file")
    }

    fn wait_until_more(&self) {
        let before = self.bytes().len();
        wait_until("more of the tap", || self.bytes().len() > before + 10_000);
    }

    /// Its exit code, what it wrote, and what it said.
    fn end(mut self) -> (Option<i32>, Vec<u8>, String) {
        let mut said = String::new();
        let mut stderr = self.child.0.stderr.take().expect("a pipe");
        stderr.read_to_string(&mut said).expect("text");
        let code = self.child.0.wait().expect("it ends").code();
        (code, self.bytes(), said)
    }
}

#[test]
fn m1_sound_and_pictures_are_those_of_the_files_and_the_end_says_why() {
    let harness = Harness::with_admin(&[
        ("RTMS_MEDIA", "audio,video"),
        ("RTMS_AUDIO_STREAMS", "per-speaker"),
    ]);
    let mut script = speaking("tapped", true);
    (script.granted, script.pictures) = (1 | 2, true);
    let (meeting, key) = meeting(&harness, script);
    assert!(
        !threads(&harness).contains(&"media".to_owned()),
        "no client taps"
    );
    let mut sound = Media::open(&harness, &format!("stream={}&kind=audio", &key[..6]));
    let first = meeting.script().speakers[0].user_id;
    let one = format!("stream={}&kind=audio&speaker={first}", meeting.streams()[0]);
    let mut one = Media::open(&harness, &one);
    let mut video = Media::open(&harness, &format!("stream={key}&kind=video"));
    assert!(threads(&harness).contains(&"media".to_owned()));
    assert_eq!(harness.metric("rtmsd_media_clients{kind=\"audio\"}"), 2.0);

    let format = sound.text();
    assert_eq!(
        (&format["type"], &format["streams"]),
        (&"format".into(), &"per-speaker".into())
    );
    assert_eq!(
        (&format["codec"], &format["sample_rate"]),
        (&"l16".into(), &16_000.into())
    );
    assert_eq!(video.text()["codec"], "jpg");
    let picture = video.next_frame().expect("a picture");
    assert_eq!((picture.kind, picture.codec), (2, 16));
    assert!(picture.payload.starts_with(&[0xff, 0xd8]), "a JPEG");
    assert_eq!(one.text()["type"], "format");
    let mut only = one.next_frame().expect("a frame").payload;
    let mut heard: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    let mut names: BTreeMap<u32, Value> = BTreeMap::new();
    let (mut count, mut end) = (0, None);
    let code = loop {
        match sound.next() {
            Said::Frame(frame) => {
                assert_eq!((frame.kind, frame.codec, frame.flags), (1, 1, 0));
                assert!(frame.timestamp_ms > 0);
                assert!(names.contains_key(&frame.speaker), "it was announced");
                heard
                    .entry(frame.speaker)
                    .or_default()
                    .extend(frame.payload);
                count += 1;
                if count == 150 {
                    meeting.end(End::meeting_ended());
                }
            }
            Said::Text(text) if text["type"] == "speaker" => {
                let number = text["speaker"].as_u64().expect("a number") as u32;
                names.insert(number, text);
            }
            Said::Text(text) => assert!(end.replace(text).is_none()),
            Said::Closed(code) => break code,
        }
    };
    assert_eq!(code, Some(1000));
    assert_eq!(
        end.expect("an end"),
        serde_json::json!({"type": "end", "reason": "stopped"})
    );
    while let Some(frame) = one.next_frame() {
        only.extend(frame.payload);
    }
    let meta = wait_until_ended(&harness);
    let folder = harness.stream_folder();
    let parts = meta["audio"].as_array().expect("files");
    assert_eq!((parts.len(), heard.len()), (3, 3));
    for part in parts {
        let file = samples(&folder, &part["file"]);
        let named = |it: &(&u32, &Value)| it.1["user_id"] == part["user_id"];
        let (number, text) = names.iter().find(named).expect("it was announced");
        assert_eq!(text["user_name"], part["user_name"]);
        assert!(file.ends_with(&heard[number]), "byte for byte");
        if part["user_id"] == first {
            assert!(file.ends_with(&only));
        }
    }
    assert!(only.len() > 640);
    drop((sound, one, video));
    wait_until("nothing is kept", || {
        harness.metric("rtmsd_media_buffered_bytes") == 0.0
    });
    assert_eq!(harness.metric("rtmsd_media_clients{kind=\"video\"}"), 0.0);
    harness.end();
}

#[test]
fn m4_requests_are_refused_with_a_plain_status_before_the_upgrade() {
    let harness = Harness::with_admin(&[("RTMS_MEDIA", "audio")]);
    let (first, key) = meeting(&harness, speaking("refused", false));
    let good = format!("stream={key}&kind=audio");
    let status = |query: &str, ask: Ask<'_>| match Media::ask(&harness, query, ask) {
        Ok(_) => (101, String::new()),
        Err(refusal) => refusal,
    };
    let plain = Ask::default();
    for (query, expected, words) in [
        ("stream=0123456789abcdef&kind=audio", 404, "no such stream"),
        ("stream=bdd&kind=audio", 404, "no such stream"),
        (&*format!("stream={key}&kind=video"), 409, "no video"),
        (&*format!("stream={key}&kind=audio&speaker=7"), 409, "mixed"),
        (
            &*format!("stream={key}&kind=chat"),
            400,
            "expected audio, video or share",
        ),
        ("kind=audio", 400, "stream"),
        (&*good, 101, ""),
    ] {
        let (status, text) = status(query, plain);
        assert_eq!(status, expected, "{query} {text}");
        assert!(text.contains(words), "{text}");
    }
    let ask = |origin| Ask { origin, ..plain };
    let own = format!("http://{}", harness.admin());
    assert_eq!(status(&good, ask(Some(&own))).0, 101);
    assert_eq!(
        status(&good, ask(Some("https://evil.example"))).0,
        403,
        "S4"
    );
    assert_eq!(status(&good, ask(Some("null"))).0, 403, "S4");
    let without_token = Ask {
        without_token: true,
        ..plain
    };
    assert_eq!(status(&good, without_token).0, 401, "S1");
    let head = format!(
        "GET /media?{good} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\n",
        bearer(&harness)
    );
    let answer = ask_plainly(&harness, &format!("{head}\r\n"));
    assert!(answer.starts_with("HTTP/1.1 426 "), "{answer}");
    let old = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 8\r\n";
    let answer = ask_plainly(&harness, &format!("{head}{old}\r\n"));
    assert!(
        answer.contains("\r\nSec-WebSocket-Version: 13\r\n"),
        "{answer}"
    );

    wait_until("no client is left", || {
        harness.metric("rtmsd_media_clients{kind=\"audio\"}") == 0.0
    });
    let mut all: Vec<Media> = (0..64).map(|_| Media::open(&harness, &good)).collect();
    let (full, _) = status(&good, plain);
    assert_eq!(
        (full, harness.metric("rtmsd_media_refused_total")),
        (503, 1.0)
    );
    // A client that says something has its end.
    let mut talker = all.pop().expect("one");
    talker
        .socket
        .send(Message::text("hello"))
        .expect("it is sent");
    let code = loop {
        if let Said::Closed(code) = talker.next() {
            break code;
        }
    };
    assert_eq!(code, Some(1008));
    drop(talker);
    wait_until("there is room again", || status(&good, plain).0 == 101);
    // Pings are answered between the frames.
    let asker = &mut all[0];
    asker
        .socket
        .send(Message::Ping("hey".into()))
        .expect("it is sent");
    let is_pong = |message: &Message| matches!(message, Message::Pong(it) if it == "hey");
    while !is_pong(&asker.socket.read().expect("a message")) {}
    drop(all);

    // Another stream that begins alike does not exist; a revoked one did.
    first.end(End::stopped(8));
    wait_until("the stream is revoked", || status(&good, plain).0 == 410);
    let beginning = format!("stream={}&kind=audio", &key[..6]);
    assert_eq!(status(&beginning, plain).0, 410);
    harness.end();
}

#[test]
fn m1_a_stalled_client_misses_frames_that_are_counted_and_others_get_all() {
    let harness = Harness::with_admin(&[
        ("RTMS_MEDIA", "audio"),
        ("RTMS_AUDIO_SAMPLE_RATE", "32000"),
        ("RTMS_AUDIO_SEND_RATE", "1000"),
    ]);
    let mut script = speaking("stalled", false);
    // Three megabytes a second.
    script.audio = script.audio.map(|audio| AudioScript {
        interval: Duration::from_millis(20),
        ..audio
    });
    let (meeting, key) = meeting(&harness, script);
    let query = format!("stream={key}&kind=audio");
    let small = Ask {
        receive_bytes: Some(4096),
        ..Ask::default()
    };
    let mut stalled = Media::ask(&harness, &query, small).unwrap_or_else(|it| panic!("{it:?}"));
    let mut reading = Media::open(&harness, &query);
    assert_eq!(stalled.text()["type"], "format");
    assert_eq!(reading.text()["send_rate_ms"], 1000);
    // More than the ring and the sockets hold.
    let mut got = (0, 0);
    for _ in 0..60 {
        let frame = reading.next_frame().expect("a frame");
        got = (got.0 + 1, got.1 + frame.dropped);
        assert_eq!((frame.payload.len(), frame.flags), (64_000, 1), "the mix");
    }
    let (mut late, mut frames) = (0, 0);
    while late == 0 {
        let frame = stalled.next_frame().expect("a frame");
        frames += 1;
        late = frame.dropped;
    }
    assert!(frames < 60, "{frames}");
    meeting.end(End::meeting_ended());
    let mut late = (frames, late);
    while let Some(frame) = stalled.next_frame() {
        late = (late.0 + 1, late.1 + frame.dropped);
    }
    while let Some(frame) = reading.next_frame() {
        got = (got.0 + 1, got.1 + frame.dropped);
    }
    let dropped = harness.metric("rtmsd_media_dropped_total{kind=\"audio\"}");
    assert_eq!(dropped, f64::from(late.1 + got.1));
    assert!(late.1 > got.1, "{late:?} {got:?}");
    wait_until_over(&meeting);
    // Each frame is one packet, so the file has them all.
    let meta = wait_until_ended(&harness);
    let file = samples(&harness.stream_folder(), &meta["audio"][0]["file"]);
    assert!(file.len() as u32 / 64_000 >= got.0 + got.1);
    harness.end();
}

#[test]
fn m1_a_withdrawal_ends_a_tap_at_once() {
    let harness = Harness::with_admin(&[("RTMS_MEDIA", "audio")]);
    let (meeting, key) = meeting(&harness, speaking("withdrawn", false));
    let query = format!("stream={key}&kind=audio");
    let mut tap = Media::open(&harness, &query);
    let format = tap.text();
    assert_eq!(format["type"], "format");
    let tapping = Tapping::start(&harness, "withdrawn", &[&key, "audio"]);
    tapping.wait_until_more();
    meeting.end(End::stopped(8));
    while tap.next_frame().is_some() {}
    let (code, _, said) = tapping.end();
    assert_eq!((code, said.as_str()), (Some(0), ""));
    harness.end();
}

#[test]
fn m5_tap_writes_what_the_recorder_writes_also_over_a_restart() {
    // The same for both processes.
    let place = Place::new();
    let mut harness = Harness::builder(Options::default()).without_server();
    harness.set("RTMS_ADMIN", &place.address().to_string());
    harness.set("RTMS_STDOUT", "off");
    harness.set("RTMS_MEDIA", "audio");
    harness.set("RTMS_AUDIO_STREAMS", "per-speaker");
    harness.start_server();
    let mut script = speaking("tap", true);
    script.audio = script.audio.map(|audio| AudioScript {
        mute: Duration::from_millis(400),
        ..audio
    });
    let (meeting, key) = meeting(&harness, script);
    let ada = meeting.script().speakers[1].clone();
    let by_name = ada.user_name.to_uppercase();
    let by_id = ada.user_id.to_string();
    let wav = ["--format", "wav"];
    let named = [&[&*key, "audio", "--speaker", &by_name], &wav[..]].concat();
    let taps = [
        Tapping::start(&harness, "named.wav", &named),
        Tapping::start(&harness, "raw", &[&key[..6], "audio", "--speaker", &by_id]),
    ];
    let all = Tapping::start(&harness, "all", &[&key, "audio"]);
    let (code, bytes, said) = all.end();
    assert_eq!((code, bytes.len()), (Some(64), 0), "{said}");
    assert!(said.contains("RTMS_AUDIO_STREAMS=mixed"), "{said}");
    taps.iter().for_each(Tapping::wait_until_more);
    // A closed pipe is no fault.
    let mut child = Command::new(RTMSD)
        .args(["tap", &key, "audio", "--speaker", &by_id])
        .env_clear()
        .env("RTMS_ADMIN", harness.admin().to_string())
        .env("RTMS_STATE", harness.state())
        .stdout(Stdio::piped())
        .spawn()
        .map(KilledOnDrop)
        .expect("it starts");
    let mut pipe = child.0.stdout.take().expect("a pipe");
    pipe.read_exact(&mut [0; 1000]).expect("sound");
    drop(pipe);
    assert_eq!(child.0.wait().expect("it ends").code(), Some(0));

    harness.terminate();
    harness.start_server();
    taps.iter().for_each(Tapping::wait_until_more);
    meeting.end(End::meeting_ended());
    let meta = wait_until_ended(&harness);
    let parts = meta["audio"].as_array().expect("files");
    let part = parts
        .iter()
        .find(|it| it["user_id"] == ada.user_id)
        .expect("a file");
    let file = samples(&harness.stream_folder(), &part["file"]);
    for (tap, head) in taps.into_iter().zip([44, 0]) {
        let (code, bytes, said) = tap.end();
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("waiting for the server") && said.contains("connected again"));
        let sound = &bytes[head..];
        assert!(sound.len() > 20_000, "{}", sound.len());
        // What was sent before the tap was connected again is silence, but for some jitter.
        let last = &file[file.len() - 640..];
        assert!(sound.ends_with(last), "the last packet");
        assert!(sound.len() <= file.len() + 32 * 200, "{}", sound.len());
    }
    harness.end();
}

#[test]
fn m5_tap_is_byte_equal_to_the_file_with_silence_for_holes() {
    let harness = Harness::with_admin(&[
        ("RTMS_MEDIA", "audio"),
        ("RTMS_AUDIO_STREAMS", "per-speaker"),
        ("RTMS_AUDIO_CODEC", "g711"),
    ]);
    let mut script = speaking("holes", true);
    script.audio = script.audio.map(|audio| AudioScript {
        mute: Duration::from_millis(400),
        ..audio
    });
    let (meeting, key) = meeting(&harness, script);
    let ada = meeting.script().speakers[0].clone();
    let arguments = [
        &*key,
        "audio",
        "--speaker",
        &ada.user_name,
        "--format",
        "wav",
    ];
    let tap = Tapping::start(&harness, "holes.wav", &arguments);
    tap.wait_until_more();
    tap.wait_until_more();
    meeting.end(End::meeting_ended());
    let (code, bytes, said) = tap.end();
    assert_eq!((code, said.as_str()), (Some(0), ""));
    assert_eq!(
        (&bytes[..4], &bytes[4..8], &bytes[40..44]),
        (&b"RIFF"[..], &[0xff; 4][..], &[0xff; 4][..])
    );
    let meta = wait_until_ended(&harness);
    let parts = meta["audio"].as_array().expect("files");
    let part = parts
        .iter()
        .find(|it| it["user_id"] == ada.user_id)
        .expect("a file");
    let file = samples(&harness.stream_folder(), &part["file"]);
    let silence = [0; 2 * 8 * 300];
    assert!(
        bytes.windows(silence.len()).any(|it| it == silence),
        "there was a hole"
    );
    assert!(file.ends_with(&bytes[44..]), "byte for byte");

    // What cannot be is said, with the codes of `tail`.
    let gone = harness.run(&["tap", &key, "audio"]);
    assert_eq!(gone.code, Some(64), "{gone:?}");
    assert!(
        gone.stderr.contains("no such stream is running"),
        "{gone:?}"
    );
    let elsewhere = [
        ("RTMS_ADMIN", "127.0.0.1:1"),
        ("RTMS_ADMIN_TOKEN", "hunter2"),
    ];
    let away = harness.run_with(&elsewhere, &["tap", &key, "audio"]);
    assert_eq!(away.code, Some(69), "{away:?}");
    let address = harness.admin().to_string();
    let token = [
        ("RTMS_ADMIN", address.as_str()),
        ("RTMS_ADMIN_TOKEN", "hunter2"),
    ];
    let refused = harness.run_with(&token, &["tap", &key, "audio"]);
    assert_eq!(refused.code, Some(77), "{refused:?}");
    harness.end();
}
