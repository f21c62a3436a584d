//! Programs by others, for `.ci/partners`: both examples of the manual as they are printed, and many taps.
//! `RTMSD_TAP_SECONDS` is how long ffmpeg and the taps run.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::{park_timeout, scope};
use std::time::{Duration, Instant};

use rtmsd::demo::{AudioScript, End, MeetingScript};

use super::client::Media;
use super::{meeting, speaking};
use crate::harness::{Harness, KilledOnDrop, RTMSD, output_of, report, wait_until};

const DELIVERY: &str = include_str!("../../../src/manual/delivery.md");

/// The block of the manual in that language that has these words.
fn block(language: &str, words: &str) -> &'static str {
    let begin = format!("```{language}\n");
    let blocks = DELIVERY.split(&begin).skip(1);
    let blocks = blocks.map(|rest| rest.split("```").next().unwrap_or_default());
    blocks
        .into_iter()
        .find(|block| block.contains(words))
        .expect("a block")
}

fn seconds() -> Duration {
    let given = std::env::var("RTMSD_TAP_SECONDS").ok();
    Duration::from_secs(given.and_then(|it| it.parse().ok()).unwrap_or(10))
}

/// At the speed of speech.
fn at_ease(seed: &str, per_speaker: bool, mute: Duration) -> MeetingScript {
    let script = speaking(seed, per_speaker);
    MeetingScript {
        audio: script.audio.map(|audio| AudioScript {
            interval: Duration::from_millis(20),
            mute,
            ..audio
        }),
        ..script
    }
}

/// A program that finds `rtmsd` and the server.
fn program(harness: &Harness, name: &str) -> Command {
    let folder = harness.folder.path();
    let place = folder.join("rtmsd");
    if !place.exists() {
        symlink(RTMSD, place).expect("a link");
    }
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(name);
    command
        .env("PATH", format!("{}:{path}", folder.display()))
        .env("RTMS_ADMIN", harness.admin().to_string())
        .env("RTMS_STATE", harness.state())
        .current_dir(folder)
        .stdin(Stdio::null());
    command
}

/// The first time of a track and the end of its last packet, seconds.
fn span(file: &Path, track: &str) -> (f64, f64) {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-select_streams", track, "-of", "csv=p=0"]);
    command
        .args(["-show_entries", "packet=pts_time,duration_time"])
        .arg(file);
    let output = output_of(&mut command);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let packets: Vec<(f64, f64)> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split(',').map(|word| word.parse().unwrap_or(0.0));
            Some((words.next()?, words.next()?))
        })
        .collect();
    let begin = packets.iter().map(|it| it.0).fold(f64::MAX, f64::min);
    let end = packets.iter().map(|it| it.0 + it.1).fold(0.0, f64::max);
    (begin, end)
}

#[test]
#[ignore = "needs ffmpeg: .ci/partners"]
fn m5_ffmpeg_makes_a_live_stream_of_picture_and_sound() {
    if Command::new("ffprobe").arg("-version").output().is_err() {
        return report("skipped: needs ffmpeg");
    }
    let settings = [("RTMS_MEDIA", "audio,video"), ("RTMS_VIDEO_CODEC", "h264")];
    let harness = Harness::with_admin(&settings);
    let mut script = at_ease("flv", false, Duration::ZERO);
    (script.granted, script.pictures) = (1 | 2, true);
    let (meeting, key) = meeting(&harness, script);
    let flv = harness.folder.path().join("meeting.flv");
    let code = block("bash", "meeting.flv").replace("bdd2d5", &key[..6]);
    let log = fs::File::create(harness.folder.path().join("ffmpeg.log")).expect("a file");
    let mut command = program(&harness, "bash");
    let child = command
        .args(["-c", &code])
        .stdout(Stdio::null())
        .stderr(log)
        .spawn();
    let mut ffmpeg = KilledOnDrop(child.expect("bash can be started"));
    wait_until("the file begins", || {
        fs::metadata(&flv).is_ok_and(|it| it.len() > 10_000)
    });
    park_timeout(seconds());
    meeting.end(End::meeting_ended());
    let status = ffmpeg.0.wait().expect("it ends");
    let log = fs::read_to_string(harness.folder.path().join("ffmpeg.log")).expect("text");
    assert!(status.success(), "{log}");
    let (video, audio) = (span(&flv, "v"), span(&flv, "a"));
    let drift = audio.1 - video.1;
    report(&format!(
        "flv: video {:.2} to {:.2} s, audio {:.2} to {:.2} s; the ends are {:.0} ms apart",
        video.0,
        video.1,
        audio.0,
        audio.1,
        drift * 1000.0
    ));
    assert!(video.1 - video.0 >= seconds().as_secs_f64(), "{log}");
    // A picture lasts 100 ms here, and ffmpeg reads 128 ms of sound together.
    assert!(drift.abs() < 0.4, "{log}");
    harness.end();
}

#[test]
#[ignore = "needs websockets: .ci/partners"]
fn m4_the_speech_program_of_the_manual_hears_each_speaker() {
    let python = std::env::var("RTMSD_LIVE_PYTHON")
        .ok()
        .filter(|path| !path.is_empty());
    let Some(python) = python else {
        return report("skipped: set RTMSD_LIVE_PYTHON to a Python with websockets");
    };
    let harness = Harness::with_admin(&[
        ("RTMS_MEDIA", "audio"),
        ("RTMS_AUDIO_STREAMS", "per-speaker"),
    ]);
    let (meeting, key) = meeting(&harness, at_ease("speech", true, Duration::from_secs(1)));
    let code = block("python", "Recognizer")
        .replace("127.0.0.1:9464", &harness.admin().to_string())
        .replace("/var/lib/rtmsd", &harness.state().display().to_string());
    let folder = harness.folder.path();
    fs::write(folder.join("speech.py"), code).expect("a file");
    let printed = folder.join("printed");
    let mut command = program(&harness, &python);
    let child = command
        .args(["speech.py", &key])
        .stdout(fs::File::create(&printed).expect("a file"))
        .spawn();
    let mut python = KilledOnDrop(child.expect("python can be started"));
    let names = meeting
        .script()
        .speakers
        .iter()
        .map(|it| it.user_name.clone());
    let names: Vec<String> = names.collect();
    wait_until("each speaker is heard", || {
        let text = fs::read_to_string(&printed).expect("text");
        names
            .iter()
            .all(|name| text.contains(&format!(" {name} speaks\n")))
    });
    meeting.end(End::meeting_ended());
    assert!(python.0.wait().expect("it ends").success());
    harness.end();
}

#[test]
#[ignore = "takes ten seconds; .ci/partners"]
fn m1_twenty_taps_get_everything_and_keep_alives_do_not_wait() {
    let harness = Harness::with_admin(&[("RTMS_MEDIA", "audio")]);
    let (meeting, key) = meeting(&harness, at_ease("twenty", false, Duration::ZERO));
    let query = format!("stream={key}&kind=audio");
    let mut taps: Vec<Media> = (0..20).map(|_| Media::open(&harness, &query)).collect();
    let begun = Instant::now();
    let least = (seconds().as_millis() / 20 * 9 / 10) as usize;
    let got: Vec<(usize, u32)> = scope(|scope| {
        let meeting = &meeting;
        let read = |tap: &mut Media| {
            assert_eq!(tap.text()["type"], "format");
            let (mut frames, mut dropped) = (0, 0);
            while let Some(frame) = tap.next_frame() {
                (frames, dropped) = (frames + 1, dropped + frame.dropped);
                if begun.elapsed() > seconds() {
                    meeting.end(End::meeting_ended());
                }
            }
            (frames, dropped)
        };
        let threads: Vec<_> = taps
            .iter_mut()
            .map(|tap| scope.spawn(move || read(tap)))
            .collect();
        threads
            .into_iter()
            .map(|it| it.join().expect("no panic"))
            .collect()
    });
    assert!(
        got.iter()
            .all(|(frames, dropped)| *frames >= least && *dropped == 0),
        "{got:?}"
    );
    report(&format!("20 taps: {} frames each, none dropped", got[0].0));
    harness.end();
}
