//! `rtmsd demo --odd`: undocumented behavior observed of Zoom and of other servers with its
//! protocol. All of it is played to one server at once; a table shows the results.
//!
//! Each oddity is one function: it plays a meeting, waits for the expected result, ends it, reads
//! the files, and returns what it found.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{DemoOptions, EXIT_MAX, say};
use crate::demo::Zoom;
use crate::demo::player::content::CHANNELS;
use crate::demo::player::handle::MeetingHandle;
use crate::demo::player::script::{
    AudioScript, Begin, Cut, DemoProduct, End, Fault, Frame, HOST_ID, MeetingScript, Oddities,
    Refusal, Socket,
};
use crate::demo::process::{ServerCommand, ServerProcess, own_program};
use crate::demo::verify::files::{judge, lines, stream_folder};
use crate::demo::zoom::oauth;
use crate::demo::zoom::record::{Step, unix_ms};

/// Time limit for everything without a time limit of its own.
const PATIENCE: Duration = Duration::from_secs(30);
/// The server gives up a kind of media after 65 s, see `MEDIA_WINDOW`.
const GIVE_UP_MAX: Duration = Duration::from_secs(80);
/// A stream that needs an answer for good ends after 60 s without one.
const STAY: Duration = Duration::from_secs(65);
/// More than the limit of a transcript link: 4 MiB.
const OVERSIZE_BYTES: usize = 5 << 20;

/// What is played, and the expected result.
struct Oddity {
    name: &'static str,
    play: fn(&Stage, &'static str) -> Result<String, String>,
}

const ODDITIES: [Oddity; 10] = [
    Oddity {
        name: "Contact Center: text channels, no names",
        play: contact_center,
    },
    Oddity {
        name: "Phone: no audio on `all`",
        play: phone,
    },
    Oddity {
        name: "join before host: start refused (2308)",
        play: join_before_host,
    },
    Oddity {
        name: "two operators in one meeting",
        play: two_operators,
    },
    Oddity {
        name: "two server URLs, the first one dead",
        play: dead_first_url,
    },
    Oddity {
        name: "mock server: data, never message 4",
        play: mock_server,
    },
    Oddity {
        name: "text that is no UTF-8",
        play: broken_text,
    },
    Oddity {
        name: "a message of 5 MiB",
        play: oversize,
    },
    Oddity {
        name: "audio sent again after a reconnect",
        play: audio_again,
    },
    Oddity {
        name: "audio that is never answered",
        play: silent_audio,
    },
];

/// Plays all oddities; returns whether each had the expected result.
pub(crate) fn play(options: &DemoOptions) -> io::Result<bool> {
    let (folder, out, zoom) = options.set_up()?;
    let mut command = ServerCommand::new(own_program()?, &zoom, &folder.0);
    command.set("RTMS_OUT", &out.display().to_string());
    command.set("RTMS_MEDIA", "audio,transcript");
    command.set("RTMS_AUDIO_STREAMS", "per-speaker");
    command.set("RTMS_EVENTS", "all");
    command.set("RTMS_STDOUT", "off");
    let stage = Stage {
        server: command.serve(&zoom)?,
        zoom,
        out,
        seed: oauth::random(),
    };
    say(&format!(
        "demo: {} oddities are played at once; the longest takes about 70 s",
        ODDITIES.len()
    ));
    let results: Vec<Result<String, String>> = thread::scope(|scope| {
        let stage = &stage;
        let plays = ODDITIES.map(|oddity| {
            scope.spawn(move || {
                let result = (oddity.play)(stage, oddity.name);
                let (Ok(text) | Err(text)) = &result;
                say(&format!("{}: {text}", oddity.name));
                result
            })
        });
        let panicked = |_| Err("the player panicked".to_owned());
        plays
            .map(|play| play.join().unwrap_or_else(panicked))
            .into()
    });
    stage.finish(&results, options)
}

struct Stage {
    server: ServerProcess,
    zoom: Zoom,
    out: PathBuf,
    seed: String,
}

impl Stage {
    fn finish(
        mut self,
        results: &[Result<String, String>],
        options: &DemoOptions,
    ) -> io::Result<bool> {
        let status = self.server.terminate(EXIT_MAX);
        let mut faults = Vec::new();
        if status.and_then(|status| status.code()) != Some(0) {
            faults.push("server after SIGTERM: found no exit status 0 within 4 s".to_owned());
        }
        faults.extend(self.zoom.stop());
        let is_well = faults.is_empty() && results.iter().all(Result::is_ok);
        say(&format!("\n{}", table(results)));
        if !is_well {
            self.server.log().iter().for_each(|line| say(line));
        }
        if let Some(out) = &options.out {
            say(&format!("files are in {}", out.display()));
        }
        for fault in &faults {
            say(&format!("failed: {fault}"));
        }
        Ok(is_well)
    }

    /// A meeting with a stream that starts by itself, and five phrases per second.
    fn script(&self, name: &str, odd: Oddities) -> MeetingScript {
        MeetingScript {
            topic: name.to_owned(),
            begin: Begin::AtOnce,
            phrases_per_second: 5.0,
            odd,
            ..MeetingScript::plain(&format!("{} {name}", self.seed))
        }
    }

    /// Plays it until `phrases` phrases were sent.
    fn join(&self, script: MeetingScript, phrases: u64) -> Result<MeetingHandle, String> {
        let meeting = self.zoom.start_meeting(script);
        self.hear(&meeting, phrases)?;
        Ok(meeting)
    }

    fn hear(&self, meeting: &MeetingHandle, more: u64) -> Result<(), String> {
        let count = meeting.sent_count() + more;
        match meeting.wait_for_phrases(count, PATIENCE) {
            true => Ok(()),
            false => Err(format!("{} of {count} phrases sent", meeting.sent_count())),
        }
    }

    /// Ends the stream and reads its files.
    fn end(&self, meeting: &MeetingHandle) -> Result<Recording, String> {
        meeting.end(End::stopped(6));
        for step in [Step::StoppedAnswered, Step::Closed] {
            if !meeting.wait_for(step, PATIENCE) {
                return Err(format!("not seen: {}", step.name()));
            }
        }
        let stream = meeting.streams().pop().unwrap_or_default();
        let mut recording = None;
        wait_for("a completed meta.json", PATIENCE, || {
            recording = self.recording(&stream);
            let meta = recording.as_ref().map(|recording| &recording.meta);
            meta.is_some_and(|meta| meta["state"] == "ended")
        })?;
        recording
            .filter(|recording| recording.meta["stop_reason"] == 6)
            .ok_or_else(|| "it did not end with Zoom's stop".to_owned())
    }

    fn recording(&self, stream: &str) -> Option<Recording> {
        let (folder, meta) = stream_folder(&self.out, stream).ok()??;
        let phrases = lines(&folder.join("transcript.jsonl")).ok()?;
        Some(Recording { meta, phrases })
    }

    /// Whether the log has a line with all these words.
    fn is_logged(&self, words: &[&str]) -> bool {
        let log = self.server.log();
        log.iter()
            .any(|line| words.iter().all(|word| line.contains(word)))
    }

    /// How many audio packets were sent, if each was written once and at its position.
    fn audio(&self, meeting: &MeetingHandle) -> Result<usize, String> {
        let stream = meeting.streams().pop().unwrap_or_default();
        let judged = judge(&self.out, &stream, meeting.script(), &meeting.media_sent());
        let judged = judged.map_err(|error| error.to_string())?;
        let audio = judged.iter().find(|(medium, _)| *medium == "audio");
        match audio {
            Some((_, result)) if result.is_exact() && result.sent > 0 => Ok(result.sent),
            other => Err(format!("audio: {other:?}")),
        }
    }
}

/// The files of a stream.
struct Recording {
    meta: Value,
    phrases: Vec<Value>,
}

impl Recording {
    /// How many phrases were sent, if each was written once and in order, and no other.
    fn phrases_of(&self, meeting: &MeetingHandle) -> Result<usize, String> {
        let sent = meeting.sent();
        let is_written = |(phrase, line): (&crate::demo::Phrase, &Value)| {
            line["text"] == phrase.text && line["timestamp_ms"] == phrase.timestamp_ms
        };
        let is_exact =
            sent.len() == self.phrases.len() && sent.iter().zip(&self.phrases).all(is_written);
        match is_exact && !sent.is_empty() {
            true => Ok(sent.len()),
            false => Err(format!(
                "{} phrases were sent, {} are written, and they differ",
                sent.len(),
                self.phrases.len()
            )),
        }
    }
}

fn audio_script() -> AudioScript {
    AudioScript {
        per_speaker: true,
        interval: Duration::from_millis(20),
        packets: None,
        mute: Duration::ZERO,
    }
}

fn contact_center(stage: &Stage, name: &'static str) -> Result<String, String> {
    let mut script = stage.script(name, Oddities::default());
    script.odd.channels = true;
    script.product = DemoProduct::ContactCenter;
    script.granted = 9;
    script.speakers.truncate(2);
    script.audio = Some(audio_script());
    let meeting = stage.join(script, 10)?;
    let recording = stage.end(&meeting)?;
    let phrases = recording.phrases_of(&meeting)?;
    let rows = |key: &str| recording.meta[key].as_array().cloned().unwrap_or_default();
    let (audio, parties) = (rows("audio"), rows("participants"));
    let mut labels = Vec::new();
    for (channel, speaker) in CHANNELS.iter().zip(&meeting.script().speakers) {
        let of_channel = |row: &&Value| row["channel_id"] == *channel;
        let files = audio.iter().filter(of_channel).count();
        if files != 1 {
            return Err(format!(
                "{files} audio files for channel {channel}: {audio:?}"
            ));
        }
        let party = parties.iter().find(of_channel);
        let is_named = |row: &&Value| row["user_name"] == speaker.user_name;
        if party
            .filter(is_named)
            .is_none_or(|party| party["mode"].is_null() || party["queue_name"] != "Billing")
        {
            return Err(format!("participants in meta.json: {parties:?}"));
        }
        let last = recording.phrases.iter().rev().find(of_channel);
        if last.filter(is_named).is_none() {
            return Err(format!("the last phrase of channel {channel}: {last:?}"));
        }
        labels.push(format!("{channel} is {}", speaker.user_name));
    }
    Ok(format!(
        "{phrases} phrases, an audio file a channel, {}",
        labels.join(", ")
    ))
}

fn phone(stage: &Stage, name: &'static str) -> Result<String, String> {
    let mut script = stage.script(name, Oddities::default());
    script.odd.phone_gateway = true;
    script.product = DemoProduct::Phone;
    // A call id has 19 digits.
    script.id = (7_000_000_000_000_000_000 + script.number).to_string();
    script.granted = 9;
    script.url_per_type = false;
    script.audio = Some(audio_script());
    let meeting = stage.join(script, 10)?;
    let recording = stage.end(&meeting)?;
    let phrases = recording.phrases_of(&meeting)?;
    let packets = stage.audio(&meeting)?;
    Ok(format!(
        "{phrases} phrases and {packets} packets of audio with a socket per kind"
    ))
}

fn join_before_host(stage: &Stage, name: &'static str) -> Result<String, String> {
    let mut script = stage.script(name, Oddities::default());
    script.odd.awaits_host = true;
    script.begin = Begin::ByRest;
    let number = script.number.to_string();
    let meeting = stage.zoom.start_meeting(script);
    let refused = || {
        let calls = stage.zoom.rest_calls().into_iter();
        calls
            .filter(|call| call.target == number && call.status == 400)
            .count()
    };
    wait_for("a refused start", PATIENCE, || refused() > 0)?;
    wait_for("a log line about the host", PATIENCE, || {
        stage.is_logged(&["waiting for the host to join", &number])
    })?;
    let refusals = refused();
    let joined = Instant::now();
    meeting.host_joins();
    if !meeting.wait_for(Step::StartCalled, PATIENCE) {
        return Err("no start after the host joined".to_owned());
    }
    let after = joined.elapsed();
    stage.hear(&meeting, 5)?;
    let recording = stage.end(&meeting)?;
    let phrases = recording.phrases_of(&meeting)?;
    Ok(format!(
        "{refusals} refused; started {} ms after the host joined, {phrases} phrases",
        after.as_millis()
    ))
}

fn two_operators(stage: &Stage, name: &'static str) -> Result<String, String> {
    let host = stage.script(name, Oddities::default());
    let guest = MeetingScript {
        operator: ("demo-guest".to_owned(), false),
        ..host.clone()
    };
    let mut found = Vec::new();
    let meetings = [host, guest].map(|script| stage.zoom.start_meeting(script));
    for meeting in &meetings {
        stage.hear(meeting, 10)?;
    }
    for meeting in &meetings {
        let recording = stage.end(meeting)?;
        let phrases = recording.phrases_of(meeting)?;
        let (operator, is_host) = &meeting.script().operator;
        let is_said = |value: &Value| {
            value["operator_id"] == *operator && value["is_original_host"] == *is_host
        };
        if !is_said(&recording.meta) || !recording.phrases.iter().all(is_said) {
            return Err(format!("{operator} is not named: {}", recording.meta));
        }
        found.push(format!("{phrases} phrases of {operator}"));
    }
    Ok(format!("two streams: {}", found.join(", ")))
}

fn dead_first_url(stage: &Stage, name: &'static str) -> Result<String, String> {
    let odd = Oddities {
        first_url_dead: true,
        ..Oddities::default()
    };
    let meeting = stage.join(stage.script(name, odd), 10)?;
    let recording = stage.end(&meeting)?;
    let phrases = recording.phrases_of(&meeting)?;
    let ready = meeting.time_of(Step::Ready).unwrap_or_default();
    Ok(format!(
        "ready after {} ms by the second URLs, {phrases} phrases",
        ready.as_millis()
    ))
}

fn mock_server(stage: &Stage, name: &'static str) -> Result<String, String> {
    const PHRASES: u64 = 20;
    let mut script = stage.script(name, Oddities::default());
    script.odd.mock_server = true;
    script.phrases = Some(PHRASES);
    // Its refusals have no status code.
    script.refusals = vec![(Socket::Signaling, Refusal::NoStatus)];
    let meeting = stage.join(script, PHRASES)?;
    thread::sleep(STAY);
    if meeting.count(Step::Lost) > 0 || meeting.stop_reason().is_some() {
        return Err("the stream did not stay".to_owned());
    }
    let recording = stage.end(&meeting)?;
    let phrases = recording.phrases_of(&meeting)?;
    Ok(format!(
        "{phrases} of {PHRASES} phrases, alive {} s later, ended by Zoom's stop",
        STAY.as_secs()
    ))
}

fn broken_text(stage: &Stage, name: &'static str) -> Result<String, String> {
    let mut script = stage.script(name, Oddities::default());
    script.begin = Begin::Silent;
    // A topic that was truncated within an emoji.
    let mut body = format!(
        r#"{{"event":"meeting.started","event_ts":{},"payload":{{"account_id":"{}","object":{{"id":{},"uuid":"{}","host_id":"{HOST_ID}","topic":"Weekly "#,
        unix_ms(),
        stage.zoom.options().account_id,
        script.number,
        script.id
    )
    .into_bytes();
    body.extend_from_slice(b"\xf0\x9f\x98\"}}}");
    let meeting = stage.zoom.start_meeting(script);
    let timestamp = (unix_ms() / 1000).to_string();
    let signature = stage.zoom.sign(&timestamp, &body);
    let headers = [
        ("x-zm-request-timestamp", timestamp.as_str()),
        ("x-zm-signature", signature.as_str()),
    ];
    let delivery = stage.zoom.post_raw(&headers, &body);
    if !delivery.is_accepted() {
        return Err(format!("the webhook was answered {:?}", delivery.status));
    }
    stage.hear(&meeting, 5)?;
    let now = unix_ms();
    let said = |stamp: u64, name: &[u8], text: &[u8]| {
        let head = format!(
            r#"{{"msg_type":17,"content":{{"user_id":7,"start_time":{stamp},"end_time":{stamp},"timestamp":{stamp},"language":9,"user_name":""#
        );
        [head.as_bytes(), name, br#"","data":""#, text, b"\"}}"].concat()
    };
    let half = said(now, b"Ad\xe4", b"half \xf0\x9f\x98 an emoji");
    let lone = said(now + 1, br"Ad\ud83d", br"lone \ud83d surrogate");
    let lone = String::from_utf8_lossy(&lone).into_owned();
    let frames = vec![
        Frame::BadText(half.clone()),
        Frame::Binary(said(now + 2, b"Ad\xe4", b"binary \xff frame")),
        Frame::Text(lone),
    ];
    meeting.fault(Fault::Frames(Socket::Media, frames));
    stage.hear(&meeting, 10)?;
    let mut recording = stage.end(&meeting)?;
    let expected = [
        "half \u{fffd} an emoji",
        "binary \u{fffd} frame",
        "lone \u{fffd} surrogate",
    ];
    let is_odd = |line: &Value| line["user_id"] == 7;
    let odd: Vec<Value> = recording
        .phrases
        .extract_if(.., |line| is_odd(line))
        .collect();
    let is_repaired =
        |(line, text): (&Value, &str)| line["text"] == text && line["user_name"] == "Ad\u{fffd}";
    if odd.len() != expected.len() || !odd.iter().zip(expected).all(is_repaired) {
        return Err(format!("what came of the odd phrases: {odd:?}"));
    }
    let phrases = recording.phrases_of(&meeting)?;
    if meeting.count(Step::Lost) > 0 {
        return Err("a connection was lost by it".to_owned());
    }
    Ok(format!(
        "start not lost; {} phrases with U+FFFD, {phrases} others, no connection lost",
        odd.len()
    ))
}

fn oversize(stage: &Stage, name: &'static str) -> Result<String, String> {
    let meeting = stage.join(stage.script(name, Oddities::default()), 5)?;
    let data = "x".repeat(OVERSIZE_BYTES);
    let message = json!({"msg_type": 17, "content": {"user_id": 7, "data": data}});
    let frames = vec![Frame::Text(message.to_string())];
    meeting.fault(Fault::Frames(Socket::Media, frames));
    stage.hear(&meeting, 10)?;
    let recording = stage.end(&meeting)?;
    let phrases = recording.phrases_of(&meeting)?;
    if meeting.count(Step::Lost) > 0 {
        return Err("a connection was lost by it".to_owned());
    }
    let stream = meeting.streams().pop().unwrap_or_default();
    match stage.is_logged(&["message too large, skipped", &stream]) {
        true => Ok(format!(
            "skipped, {phrases} phrases around it, no connection lost"
        )),
        false => Err("no log line says that it was skipped".to_owned()),
    }
}

fn audio_again(stage: &Stage, name: &'static str) -> Result<String, String> {
    let mut script = stage.script(name, Oddities::default());
    script.granted = 9;
    script.audio = Some(audio_script());
    script.replay = Duration::from_secs(1);
    let meeting = stage.zoom.start_meeting(script);
    let audio = |packets: u64| match meeting.wait_for_audio(packets, PATIENCE) {
        true => Ok(()),
        false => Err(format!("no {packets} packets of audio were sent")),
    };
    audio(100)?;
    meeting.fault(Fault::Cut(Socket::Media, Cut::Reset));
    if !meeting.wait_for_times(Step::Ready, 2, PATIENCE) {
        return Err("not ready again".to_owned());
    }
    audio(250)?;
    let recording = stage.end(&meeting)?;
    let phrases = recording.phrases_of(&meeting)?;
    let packets = stage.audio(&meeting)?;
    match meeting.audio_replayed() {
        0 => Err("no audio was sent again".to_owned()),
        again => Ok(format!(
            "{again} packets of each speaker sent again; {packets} packets and {phrases} phrases \
             written once"
        )),
    }
}

fn silent_audio(stage: &Stage, name: &'static str) -> Result<String, String> {
    let mut script = stage.script(name, Oddities::default());
    script.granted = 9;
    script.odd.silent_media = 1;
    script.audio = Some(audio_script());
    let meeting = stage.join(script, 10)?;
    let stream = meeting.streams().pop().unwrap_or_default();
    let mut why = Value::Null;
    wait_for("media_given_up in meta.json", GIVE_UP_MAX, || {
        let found = stage.recording(&stream);
        why = found.map_or(Value::Null, |found| {
            found.meta["media_given_up"]["audio"].clone()
        });
        why.is_string()
    })?;
    let given_up = meeting.time_of(Step::Ready).unwrap_or_default();
    stage.hear(&meeting, 10)?;
    let recording = stage.end(&meeting)?;
    let phrases = recording.phrases_of(&meeting)?;
    Ok(format!(
        "ready without it after {:.1} s, given up ({}), {phrases} phrases",
        given_up.as_secs_f64(),
        why.as_str().unwrap_or_default()
    ))
}

/// Waits until the condition is true.
fn wait_for(what: &str, within: Duration, mut is_so: impl FnMut() -> bool) -> Result<(), String> {
    let until = Instant::now() + within;
    while !is_so() {
        if Instant::now() >= until {
            return Err(format!("not seen within {} s: {what}", within.as_secs()));
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// One line for each oddity: whether it had the expected result, and what was found.
fn table(results: &[Result<String, String>]) -> String {
    let names = ODDITIES.iter().map(|oddity| oddity.name.chars().count());
    let width = names.max().unwrap_or(0);
    let mut text = String::new();
    for (Oddity { name, .. }, result) in ODDITIES.iter().zip(results) {
        let (verdict, found) = match result {
            Ok(found) => ("ok", found),
            Err(found) => ("NOT OK", found),
        };
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{verdict:<6}  {name:<width$}  {found}");
    }
    text
}
