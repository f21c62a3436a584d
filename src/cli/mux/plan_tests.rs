//! Tests of the plan: recordings, and the command lines for them.

use super::super::h264::ParameterSets;
use super::super::recording::{Frame, Place};
use super::*;

const ZERO: u64 = 1_767_000_000_000;

fn file(file: &str, codec: AudioFormat, offset_ms: u64, length_ms: u64) -> AudioFile {
    AudioFile {
        file: file.to_owned(),
        codec,
        rate_hz: 16_000,
        channels: 1,
        first_ms: ZERO + offset_ms,
        length_ms,
    }
}

/// Frames of `(offset, width, height)`, each a key frame.
fn track(codec: VideoCodec, frames: &[(u64, u32, u32)]) -> VideoTrack {
    let frame = |(offset, width, height): &(u64, u32, u32)| Frame {
        stamp_ms: ZERO + offset,
        user_id: 7,
        size: (*width, *height),
        is_key: true,
        bytes: 1,
        place: Place::Piece { file: 0, offset: 0 },
    };
    VideoTrack {
        kind: "video",
        codec,
        frames: frames.iter().map(frame).collect(),
        files: vec!["video.h264".to_owned()],
        stops_ms: Vec::new(),
    }
}

fn h264(frames: &[(u64, u32, u32)]) -> VideoTrack {
    track(VideoCodec::H264(ParameterSets::default()), frames)
}

fn recording() -> Recording {
    Recording {
        folder: PathBuf::from("/r"),
        title: "-y Plan".to_owned(),
        started_ms: ZERO,
        ended_ms: Some(ZERO + 3_600_000),
        ..Recording::default()
    }
}

/// The command line from `-n` on.
fn line(plan: &Plan<'_>) -> String {
    let word = |arg| match arg {
        Arg::Word(word) => word.to_string_lossy().into_owned(),
        Arg::Feed(n) => format!("FEED{n}"),
    };
    let args: Vec<String> = plan.args(&plan.out, false).into_iter().map(word).collect();
    assert_eq!(
        args[..4],
        ["-hide_banner", "-nostdin", "-loglevel", "error"]
    );
    args[4..].join(" ")
}

#[test]
fn cameras_and_speakers() {
    let recording = Recording {
        audio: vec![
            file("audio-1.wav", AudioFormat::Wav, 0, 700_000),
            file("audio-2.opus", AudioFormat::OggOpus, 60_250, 1000),
            file("audio-1.2.g722", AudioFormat::G722, 700_000, 500),
        ],
        camera: Some(h264(&[
            (2000, 320, 180),
            (2040, 641, 359),
            (602_000, 320, 180),
        ])),
        cues: vec![Cue {
            start_ms: ZERO + 1500,
            end_ms: ZERO + 2500,
            text: "Ada: hello".to_owned(),
        }],
        ..recording()
    };
    let plan = plan(&recording, &Choice::default()).expect("a plan");
    assert_eq!(plan.length_ms, 700_500);
    assert_eq!(
        line(&plan),
        "-n -itsoffset 1.500 -reinit_filter 0 -f matroska -i FEED0 -f wav -i /r/audio-1.wav \
         -f ogg -i /r/audio-2.opus -f g722 -i /r/audio-1.2.g722 -filter_complex \
         [0:v]scale=642:360:force_original_aspect_ratio=decrease:eval=frame:out_range=tv,\
         pad=642:360:-1:-1:eval=frame,setsar=1,format=yuv420p,fps=10:start_time=0,\
         tpad=stop=-1:stop_mode=clone,drawbox=color=black:t=fill:enable='\
         gte(t,0.000)*lt(t,2.000)+gte(t,3.040)*lt(t,602.000)+gte(t,603.000)*lt(t,700.500)'[v];\
         [1:a]aresample=48000,aformat=sample_fmts=fltp:channel_layouts=mono[a0];\
         [2:a]aresample=48000,aformat=sample_fmts=fltp:channel_layouts=mono,\
         adelay=60250:all=1[a1];\
         [3:a]aresample=48000,aformat=sample_fmts=fltp:channel_layouts=mono,\
         adelay=700000:all=1[a2];\
         [a0][a1][a2]amix=inputs=3:normalize=0[a] -map [v] -map [a] -map 0:s \
         -c:v libx264 -preset veryfast -crf 23 -g 50 -c:a aac -b:a 128k -c:s mov_text \
         -movflags +faststart -metadata title=-y Plan \
         -metadata creation_time=2025-12-29T09:20:00.000Z -t 700.500 -f mp4 /r/recording.mp4"
    );
}

#[test]
fn a_camera_beside_a_shared_screen() {
    let recording = Recording {
        camera: Some(h264(&[(0, 320, 180), (40, 320, 180)])),
        share: Some(VideoTrack {
            kind: "share",
            stops_ms: vec![ZERO + 9000],
            ..track(VideoCodec::Jpg, &[(2000, 1920, 1080), (12_000, 1920, 1080)])
        }),
        ..recording()
    };
    let choice = Choice {
        picture: Some(Picture::Both),
        ..Choice::default()
    };
    let both = plan(&recording, &choice).expect("a plan");
    let line = line(&both);
    let graph = "-itsoffset 0.000 -reinit_filter 0 -f matroska -i FEED0 -itsoffset 2.000 \
         -reinit_filter 0 -f matroska -i FEED1 -filter_complex \
         [0:v]scale=1920:1080:force_original_aspect_ratio=decrease:eval=frame:out_range=tv,\
         setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709,\
         pad=1920:1080:-1:-1:eval=frame,setsar=1,format=yuv420p,fps=25:start_time=0,\
         tpad=stop=-1:stop_mode=clone,drawbox=color=black:t=fill:enable='\
         gte(t,1.040)*lt(t,12.040)',split[camera][corner];[corner]scale=384:-2[inset];\
         [1:v]scale=1920:1080:force_original_aspect_ratio=decrease:eval=frame:out_range=tv:\
         out_color_matrix=bt709,setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709,\
         pad=1920:1080:-1:-1:eval=frame,setsar=1,format=yuv420p,fps=25:start_time=0,\
         tpad=stop=-1:stop_mode=clone[share];[camera][share]overlay=enable='\
         not(gte(t,0.000)*lt(t,2.000)+gte(t,9.000)*lt(t,12.000))'[main];\
         [main][inset]overlay=x=W-w:y=0:enable='\
         not(gte(t,0.000)*lt(t,2.000)+gte(t,9.000)*lt(t,12.000))*not(gte(t,1.040)*lt(t,12.040))'[v] -map [v] -c:v libx264 ";
    assert!(line.starts_with(&format!("-n {graph}")), "{line}");
    // One of them is enough.
    let alone = Recording {
        camera: None,
        ..recording
    };
    let share = plan(&alone, &choice).expect("a plan");
    assert_eq!(share.feeds.len(), 1);
}

#[test]
fn sound_alone() {
    let recording = Recording {
        audio: vec![file("audio-mixed.wav", AudioFormat::Wav, 250, 4000)],
        ended_ms: None,
        ..recording()
    };
    let choice = Choice::default();
    let plan = plan(&recording, &choice).expect("a plan");
    assert!(plan.feeds.is_empty());
    assert_eq!(
        line(&plan),
        "-n -ignore_length 1 -f wav -i /r/audio-mixed.wav -filter_complex \
         [0:a]aresample=16000,aformat=sample_fmts=fltp:channel_layouts=mono,\
         adelay=250:all=1[a] -map [a] -c:a pcm_s16le -rf64 auto -metadata title=-y Plan \
         -t 4.250 -f wav /r/recording.wav"
    );
}

#[test]
fn names_and_formats() {
    let recording = Recording {
        audio: vec![file("audio-mixed.wav", AudioFormat::Wav, 0, 4000)],
        camera: Some(h264(&[(0, 320, 180), (40, 320, 180)])),
        ..recording()
    };
    let check = |out: Option<&str>, format, copy, expected: &str| {
        let choice = Choice {
            out: out.map(PathBuf::from),
            format,
            copy,
            picture: None,
        };
        let line = plan(&recording, &choice).map(|plan| line(&plan));
        match line {
            Ok(line) => assert!(line.ends_with(expected), "{line}"),
            Err(error) => assert_eq!(error, expected),
        }
    };
    check(None, None, false, "-f mp4 /r/recording.mp4");
    check(Some("/o/a.MKV"), None, false, "-f matroska /o/a.MKV");
    check(Some("/o/a.wav"), None, false, "-f wav /o/a.wav");
    check(Some("/o/a"), Some(Format::Mp4), true, "-f mp4 /o/a");
    check(
        Some("/o/a.avi"),
        None,
        false,
        "--out: found /o/a.avi, expected a name that ends in .mp4, .mkv or .wav, or --format",
    );
    let relative = Choice {
        out: Some(PathBuf::from("-y.mp4")),
        copy: true,
        ..Choice::default()
    };
    let plan = plan(&recording, &relative).expect("a plan");
    assert!(plan.out.is_absolute(), "or it would be an option");
    assert!(line(&plan).contains(" -map 0:v -map [a] -c:v copy "));
}

#[test]
fn what_cannot_be_made() {
    let check = |recording: &Recording, choice: Choice, expected: &str| {
        let error = plan(recording, &choice).map(|_| ()).expect_err("a fault");
        assert!(error.contains(expected), "{error}");
    };
    let picture = |picture| Choice {
        picture: Some(picture),
        ..Choice::default()
    };
    let copy = || Choice {
        copy: true,
        ..Choice::default()
    };
    let empty = recording();
    check(&empty, Choice::default(), "found neither audio nor video");
    check(&empty, picture(Picture::Camera), "no pictures of a camera");
    let pictures = Recording {
        camera: Some(track(VideoCodec::Jpg, &[(0, 320, 180)])),
        ..recording()
    };
    check(
        &pictures,
        picture(Picture::Share),
        "no pictures of a shared screen",
    );
    check(&pictures, copy(), "found single pictures");
    let wav = Choice {
        format: Some(Format::Wav),
        ..Choice::default()
    };
    check(&pictures, wav, "found no audio");
    let grows = Recording {
        camera: Some(h264(&[(0, 320, 180), (40, 640, 360)])),
        ..recording()
    };
    check(&grows, copy(), "up to 640x360");
}

#[test]
fn the_output_begins_with_what_is_oldest() {
    let at = |started_ms, first_ms| Recording {
        started_ms,
        audio: vec![
            AudioFile {
                first_ms,
                ..file("a", AudioFormat::Wav, 0, 1)
            },
            file("b", AudioFormat::Wav, 500, 1),
        ],
        ..recording()
    };
    assert_eq!(at(ZERO, ZERO + 5000).origin_ms(), ZERO);
    assert_eq!(at(ZERO, ZERO - 5000).origin_ms(), ZERO - 5000);
    // Missing stamps, and stamps of another clock, do not count.
    assert_eq!(at(ZERO, 0).origin_ms(), ZERO);
    assert_eq!(at(ZERO, 5000).origin_ms(), ZERO);
    assert_eq!(at(5000, ZERO).origin_ms(), ZERO);
    assert_eq!(at(0, u64::MAX).origin_ms(), ZERO + 500);
    assert_eq!(at(ZERO, 0).length_ms_max(), 4_200_000);
    assert_eq!(at(ZERO, 0).offset_ms(5000), 0);
    assert_eq!(at(ZERO, 0).offset_ms(ZERO + 5_000_000), 0);
}
