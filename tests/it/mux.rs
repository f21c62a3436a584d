//! `rtmsd mux`: a recording of the demo becomes one synchronous file, with the installed ffmpeg.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::{
    KilledOnDrop, RTMSD, TempDir, output_of, report, run_to_end, stream_folders, wait_until,
};

/// How long the camera is off, milliseconds.
const OFF_MS: u64 = 60_000;

/// The demo's clip has ten frames per second, one of them a key frame.
const RATE: usize = 10;

fn rtmsd(args: &[&str]) -> Command {
    let mut command = Command::new(RTMSD);
    command.args(args);
    command
}

struct Recording {
    top: TempDir,
    out: PathBuf,
    folder: PathBuf,
    meta: Value,
}

impl Recording {
    /// A meeting of the demo, with a name that a shell would misinterpret.
    fn of_demo() -> Recording {
        let top = TempDir::new();
        let out = top.join("it's $HOME");
        fs::create_dir_all(&out).expect("a folder for temporary files");
        let demo = ["demo", "--media", "all", "--meetings", "1", "--out"];
        let played = run_to_end(rtmsd(&demo).arg(&out));
        assert_eq!(played.code, Some(0), "{played:?}");
        let [folder] = <[PathBuf; 1]>::try_from(stream_folders(&out)).expect("one stream");
        let meta = fs::read(folder.join("meta.json")).expect("meta.json");
        Recording {
            top,
            out,
            folder,
            meta: serde_json::from_slice(&meta).expect("JSON"),
        }
    }

    fn mux(&self, args: &[&str]) -> Command {
        let mut command = rtmsd(&["mux"]);
        command.arg(&self.out).args(args);
        command
    }

    /// The camera is switched on a second late, and its first key frame is lost; it is switched off
    /// after the second second, and on again with frames whose key frame is lost.
    fn break_camera(&self) {
        let path = self.folder.join("video/frames.jsonl");
        let index = fs::read_to_string(&path).expect("the index");
        let mut kept = String::new();
        for (n, line) in index.lines().enumerate() {
            let mut frame: Value = serde_json::from_str(line).expect("JSON");
            if n >= 2 * RATE {
                let stamp = frame["timestamp_ms"].as_u64().expect("a stamp");
                frame["timestamp_ms"] = (stamp + OFF_MS).into();
            }
            if n != 0 && n != 2 * RATE {
                kept += &format!("{frame}\n");
            }
        }
        fs::write(path, kept).expect("written");
    }

    fn entries(&self) -> Vec<String> {
        let inside = fs::read_dir(&self.folder).expect("the folder").flatten();
        inside
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect()
    }
}

/// The output of ffmpeg for a file, raw.
fn decode(file: &Path, args: &[&str]) -> Vec<u8> {
    let mut command = Command::new("ffmpeg");
    command
        .args(["-v", "error", "-nostdin", "-i"])
        .arg(file)
        .args(args)
        .arg("-");
    let decoded = output_of(&mut command);
    assert!(decoded.status.success(), "{decoded:?}");
    decoded.stdout
}

fn has_ffmpeg() -> bool {
    let found = Command::new("ffmpeg").arg("-version").output();
    found.is_ok_and(|output| output.status.success())
}

#[test]
fn a_recording_becomes_one_file_in_sync() {
    let recording = Recording::of_demo();
    recording.break_camera();

    // Without ffmpeg, mux prints the command line for a machine that has one.
    let without = run_to_end(recording.mux(&[]).env("PATH", recording.top.path()));
    let line = &without.stdout;
    assert_eq!(without.code, Some(69), "{without:?}");
    assert!(line.starts_with("rtmsd mux --feed '"), "{line}");
    assert!(line.contains(" | ffmpeg -hide_banner "), "{line}");
    assert!(line.ends_with("/recording.mp4'\n"), "{line}");
    assert!(without.stderr.contains("apt-get install ffmpeg"));
    assert_eq!(run_to_end(&mut recording.mux(&["--dry-run"])).stdout, *line);
    if !has_ffmpeg() {
        report("skipped: nothing but the command line is proven without ffmpeg, which CI has");
        return;
    }

    let made = run_to_end(&mut recording.mux(&[]));
    assert_eq!(made.code, Some(0), "{made:?}");
    let file = recording.folder.join("recording.mp4");
    let head = format!("{}: ", file.display());
    assert!(made.stdout.starts_with(&head), "{made:?}");
    let left = recording.entries();
    assert!(!left.iter().any(|name| name.ends_with(".part")), "{left:?}");
    // An existing file is not replaced without a flag.
    let again = run_to_end(&mut recording.mux(&[]));
    assert_eq!(again.code, Some(64));
    assert!(again.stderr.contains("--force"), "{again:?}");

    // A picture where one can be decoded, black elsewhere.
    let offset_ms = recording.meta["video"]["offset_ms"]
        .as_i64()
        .expect("an offset") as usize;
    let size = 320 * 180;
    let pictures = decode(
        &file,
        &["-map", "0:v", "-f", "rawvideo", "-pix_fmt", "gray"],
    );
    let shown: Vec<bool> = pictures
        .chunks(size)
        .map(|picture| picture.iter().map(|byte| usize::from(*byte)).sum::<usize>() > 20 * size)
        .collect();
    let off = OFF_MS as usize / 1000 * RATE;
    let first = RATE + offset_ms * RATE / 1000;
    // On a busy machine the demo sends a little less.
    assert!(shown.len() >= off + 3 * RATE, "{}", shown.len());
    for (n, is_shown) in shown.iter().enumerate() {
        // The camera's last frame is kept for a second.
        let expected = n >= first && n < first + 2 * RATE || n >= first + off + 2 * RATE;
        let from_edge = [first, first + 2 * RATE, first + off + 2 * RATE]
            .map(|edge| n.abs_diff(edge))
            .into_iter()
            .min();
        // A frame may be rounded up or down.
        let is_edge = from_edge <= Some(1) || n + 2 * RATE > shown.len();
        assert!(*is_shown == expected || is_edge, "{n}: {is_shown}");
    }

    // Sound from its offset on.
    let offset_ms = recording.meta["audio"][0]["offset_ms"]
        .as_i64()
        .expect("an offset");
    let sound = decode(
        &file,
        &["-map", "0:a", "-f", "s16le", "-ac", "1", "-ar", "16000"],
    );
    let loud = sound
        .chunks_exact(2)
        .position(|two| i16::from_le_bytes([two[0], two[1]]) > 1000);
    let begin_ms = loud.expect("a sound") as i64 / 16;
    // A period of the tone, and the spread of the encoder.
    assert!(
        (begin_ms - offset_ms).abs() < 15,
        "{begin_ms} ms, expected {offset_ms} ms"
    );

    // Subtitles with names; no name is interpreted as markup.
    let subtitles = decode(&file, &["-map", "0:s", "-f", "srt"]);
    let subtitles = String::from_utf8_lossy(&subtitles).replace('\u{2060}', "");
    let transcript = fs::read_to_string(recording.folder.join("transcript.jsonl"));
    for line in transcript.expect("a transcript").lines() {
        let phrase: Value = serde_json::from_str(line).expect("JSON");
        let [name, said] = ["user_name", "text"].map(|key| phrase[key].as_str().expect("a text"));
        // Overlapping phrases are lines of one subtitle.
        let shown = format!("{name}: {said}");
        assert!(subtitles.contains(&shown), "{shown}{subtitles}");
    }

    // The printed command line makes the same file.
    let program = Path::new(RTMSD).parent().expect("a folder");
    let path = std::env::var("PATH").unwrap_or_default();
    fs::remove_file(&file).expect("removed");
    let mut shell = Command::new("sh");
    shell
        .args(["-c", line])
        .env("PATH", format!("{}:{path}", program.display()));
    let piped = run_to_end(&mut shell);
    assert_eq!(piped.code, Some(0), "{piped:?}");
    assert_eq!(
        decode(
            &file,
            &["-map", "0:v", "-f", "rawvideo", "-pix_fmt", "gray"]
        ),
        pictures
    );
}

/// Whether a process with that id runs; one that nothing has waited for does not.
fn runs(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    !state.is_empty() && !state.starts_with(['Z', 'X'])
}

/// However this program ends, ffmpeg ends with it, and no half-made file has the final name.
#[test]
fn ffmpeg_does_not_outlive_us() {
    let top = TempDir::new();
    let folder = top.join("stream");
    fs::create_dir_all(&folder).expect("a folder");
    let meta =
        r#"{"audio":[{"file":"audio-1.wav","codec":"l16","sample_rate":16000,"channels":1}]}"#;
    fs::write(folder.join("meta.json"), meta).expect("written");
    fs::write(folder.join("audio-1.wav"), [0; 44 + 32_000]).expect("written");
    // It takes for ever, and has begun to write.
    let script = "#!/bin/sh\nfor out; do :; done\necho half >\"$out\"\necho $$ >\"$PID_FILE.new\"\n\
        mv \"$PID_FILE.new\" \"$PID_FILE\"\nexec sleep 1000\n";
    fs::write(top.join("script"), script).expect("written");
    // Written by another process: what is open in ours, and so in a child of another test, cannot be
    // run.
    let mut install = Command::new("install");
    install.args(["-m", "755"]);
    install.args([top.join("script"), top.join("ffmpeg")]);
    assert_eq!(run_to_end(&mut install).code, Some(0));
    let path = std::env::var("PATH").unwrap_or_default();
    for (signal, code) in [
        (Signal::TERM, Some(143)),
        (Signal::INT, Some(130)),
        (Signal::KILL, None),
    ] {
        let pid_file = top.join(format!("{signal:?}"));
        let mux = rtmsd(&["mux"])
            .arg(&folder)
            .env("PATH", format!("{}:{path}", top.path().display()))
            .env("PID_FILE", &pid_file)
            .stderr(Stdio::null())
            .spawn();
        let mut mux = KilledOnDrop(mux.expect("it can be started"));
        wait_until("ffmpeg runs", || pid_file.exists());
        let ffmpeg = fs::read_to_string(&pid_file).expect("a process id");
        let ffmpeg: i32 = ffmpeg.trim().parse().expect("a number");
        assert!(runs(ffmpeg));
        kill_process(Pid::from_child(&mux.0), signal).expect("it runs");
        let status = mux.0.wait().expect("its status");
        assert_eq!(status.code(), code, "{signal:?}: {status:?}");
        wait_until("ffmpeg ends", || !runs(ffmpeg));
        let names = fs::read_dir(&folder).expect("the folder").flatten();
        let names: Vec<_> = names.map(|entry| entry.file_name()).collect();
        let parts = names.iter().filter(|name| {
            let name = name.to_string_lossy();
            name.starts_with(".recording.wav.") && name.ends_with(".part")
        });
        // After a SIGKILL the hidden one is left.
        assert_eq!(parts.count(), usize::from(code.is_none()), "{names:?}");
        assert!(!folder.join("recording.wav").exists(), "{names:?}");
    }
}

#[test]
fn folders_without_a_recording_are_refused() {
    let folder = TempDir::new();
    for stream in ["a", "b"] {
        fs::create_dir_all(folder.join(stream)).expect("a folder");
    }
    let check = |expected: &str| {
        let ran = run_to_end(rtmsd(&["mux", "--dry-run"]).arg(folder.path()));
        assert_eq!(ran.code, Some(64));
        assert!(ran.stderr.contains(expected), "{ran:?}");
    };
    check("found no meta.json, expected the folder of a stream");
    fs::write(folder.join("a/meta.json"), "{}").expect("written");
    check("found neither audio nor video");
    fs::write(folder.join("b/meta.json"), "torn").expect("written");
    check("found several recordings, expected one:");
    fs::remove_file(folder.join("a/meta.json")).expect("removed");
    check("b/meta.json: found ");
}
