//! A media socket of a stream: message 3, then the data of its type.
//!
//! Phrases are sent when they are due by the meeting's clock, or as fast as the socket accepts
//! them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::connection_queue::{Command, ConnectionQueue};
use super::handshake;
use super::link::{Event, Gone, Link};
use super::record::Step;
use super::shared::Shared;
use super::signaling::{first, refuse};
use crate::demo::media::audio_source::{Tone, audio_message};
use crate::demo::media::sent_log::Sent;
use crate::demo::media::video_source::Film;
use crate::demo::player::content::{
    FastPhrases, channel_of, chat_message, id_value, phrase, phrase_message, speaker_of,
};
use crate::demo::player::script::{MeetingScript, Refusal, Socket};
use crate::demo::player::{ALL, AUDIO, Meeting, TRANSCRIPT};

/// Messages written before the socket is read again.
const BATCH: u32 = 256;

/// Serves one media connection.
pub(in crate::demo) fn serve(
    shared: &Arc<Shared>,
    mut link: Link,
    path: &str,
    connection: u64,
    mailbox: ConnectionQueue,
) {
    let Some((place, request)) = first(shared, &mut link, path, Step::MediaConnected) else {
        return;
    };
    let admitted =
        handshake::check(shared, Socket::Media, &request, &link.label).and_then(|meeting| {
            let id = request["rtms_stream_id"].as_str().unwrap_or_default();
            // The values checked before are single bits up to 32.
            let media_type = request["media_type"].as_u64().unwrap_or(0) as u32;
            if place.media_type != ALL && place.media_type != media_type {
                link.violation(&format!("media_type {media_type} on the URL of another"));
                return Err(Refusal::Status(7));
            }
            let odd = meeting.script.odd;
            if odd.silent_media == media_type {
                return Err(Refusal::Silence);
            }
            let audio = &request["media_params"]["audio"];
            if odd.phone_gateway && audio["content_type"] == 1 && audio["codec"] == 1 {
                return Err(Refusal::Status(22));
            }
            let place = (place.generation, media_type);
            meeting.admit_media(shared, id, place, connection, mailbox.clone())?;
            Ok((meeting, id.to_owned(), media_type))
        });
    let (meeting, id, media_type) = match admitted {
        Ok(admitted) => admitted,
        Err(refusal) => return refuse(&mut link, refusal, 4),
    };
    link.set_manners(&meeting.script);
    let params = effective(&request["media_params"], media_type);
    if meeting.script.odd.mock_server {
        meeting.begin_talk();
    } else {
        let _ = link.send(&json!({"msg_type": 4, "protocol_version": 1, "sequence": 0,
            "status_code": 0, "reason": "", "payload_encrypted": false, "media_params": params}));
    }
    let gone = run(shared, &mut link, &meeting, media_type, &params);
    drop(link);
    meeting.media_gone(shared, &id, media_type, connection, &gone);
}

/// The parameters in force: the requested ones, over Zoom's defaults.
fn effective(asked: &Value, media_type: u32) -> Value {
    let defaults = [
        (
            1,
            "audio",
            json!({"content_type": 2, "sample_rate": 1, "channel": 1, "codec": 1,
                "data_opt": 1, "send_rate": 20}),
        ),
        (
            2,
            "video",
            json!({"content_type": 3, "codec": 5, "resolution": 2, "data_opt": 3, "fps": 5}),
        ),
        (
            4,
            "deskshare",
            json!({"content_type": 3, "codec": 5, "resolution": 3, "fps": 1}),
        ),
        (
            8,
            "transcript",
            json!({"content_type": 5, "src_language": 9}),
        ),
        (16, "chat", json!({"content_type": 5})),
    ];
    let mut params = json!({});
    for (bit, name, mut default) in defaults {
        if media_type != ALL && media_type != bit {
            continue;
        }
        for (key, value) in asked[name].as_object().into_iter().flatten() {
            default[key] = value.clone();
        }
        // Granted as it is played: without RTP.
        default["content_type"] = match bit {
            1 => json!(2),
            2 | 4 => json!(3),
            _ => json!(5),
        };
        params[name] = default;
    }
    params
}

fn run(
    shared: &Arc<Shared>,
    link: &mut Link,
    meeting: &Arc<Meeting>,
    media_type: u32,
    params: &Value,
) -> Gone {
    let mut feed = Feed::new(meeting, media_type, params);
    if meeting.script.odd.mock_server {
        feed.go();
    }
    loop {
        if let Err(gone) = feed.produce(link).and_then(|()| link.flush()) {
            return gone;
        }
        feed.commit(shared, link);
        let until = if link.is_blocked() { None } else { feed.due() };
        match link.next(until) {
            Event::Timer => {}
            Event::Command(Command::Go) => feed.go(),
            Event::Command(Command::Finish(trailing)) => feed.finish(trailing),
            Event::Command(_) => {}
            Event::Message(message) => link.violation(&format!(
                "message {} does not belong on media here",
                message["msg_type"]
            )),
            Event::Gone(gone) => {
                // What arrived in spite of a cut counts as sent.
                feed.commit(shared, link);
                return gone;
            }
        }
    }
}

struct Feed<'a> {
    meeting: &'a Arc<Meeting>,
    script: &'a MeetingScript,
    carries_text: bool,
    carries_audio: bool,
    carries_chat: bool,
    text: Option<Text>,
    sound: Option<Sound>,
    params: &'a Value,
    films: Vec<Film>,
    /// Items sent since the last commit.
    pending: Vec<Sent>,
    is_finishing: bool,
}

struct Text {
    begun: Instant,
    base_ms: u64,
    /// Time between two phrases; zero is a flood.
    step: Duration,
    next: u64,
    limit: u64,
    replay: VecDeque<u64>,
    committed: u64,
    replayed: u64,
    fast: Option<FastPhrases>,
    last_speaker: Option<u64>,
}

struct Sound {
    begun: Instant,
    base_ms: u64,
    /// Time between packets.
    interval: Duration,
    /// The speaker's part of the message, and the tone.
    series: Vec<(String, Tone)>,
    next: u64,
    limit: u64,
    committed: u64,
}

impl<'a> Feed<'a> {
    fn new(meeting: &'a Arc<Meeting>, media_type: u32, params: &'a Value) -> Feed<'a> {
        let script = &meeting.script;
        let carries =
            |bit: u32| media_type == bit || (media_type == ALL && script.granted & bit != 0);
        Feed {
            meeting,
            script,
            carries_text: carries(TRANSCRIPT),
            carries_audio: carries(AUDIO) && !(script.odd.phone_gateway && media_type == ALL),
            carries_chat: carries(16) && script.chat_every > 0,
            text: None,
            sound: None,
            params,
            films: Vec::new(),
            pending: Vec::new(),
            is_finishing: false,
        }
    }

    fn go(&mut self) {
        if self.is_finishing {
            return;
        }
        let script = self.script;
        let step = match script.phrases_per_second {
            rate if rate > 0.0 => Duration::from_secs_f64(1.0 / rate),
            _ => Duration::ZERO,
        };
        // Chat alone on its socket is sent at the times of its phrases.
        if (self.carries_text || self.carries_chat)
            && self.text.is_none()
            && let Some(cue) = self.meeting.cue(step)
        {
            self.text = Some(Text {
                begun: cue.begun,
                base_ms: cue.base_ms,
                step,
                next: cue.next,
                limit: script.phrases.unwrap_or(u64::MAX),
                replay: cue.replay,
                committed: cue.next,
                replayed: 0,
                fast: (step.is_zero() && !script.unknown).then(|| FastPhrases::new(script)),
                last_speaker: None,
            });
        }
        if script.pictures
            && self.films.is_empty()
            && let Some((begun, base_ms)) = self.meeting.begun()
        {
            // The parameters name the kinds that this socket carries.
            for (bit, name) in [(2, "video"), (4, "deskshare")] {
                let params = &self.params[name];
                if params.is_object() && script.granted & bit != 0 {
                    self.films.push(Film::new(name, params, begun, base_ms));
                }
            }
        }
        if self.carries_audio
            && self.sound.is_none()
            && let (Some(audio), Some((begun, base_ms))) = (script.audio, self.meeting.begun())
        {
            let (next, again) = self.meeting.audio_cue();
            let params = &self.params["audio"];
            let series: Vec<(String, Tone)> = match audio.per_speaker {
                true => (script.speakers.iter().enumerate())
                    .map(|(n, speaker)| {
                        let id = id_value(script.ids, speaker.user_id);
                        let who = match script.odd.channels {
                            true => format!(r#""channel_id":"{}""#, channel_of(script, speaker)),
                            false => format!(
                                r#""user_id":{id},"user_name":{}"#,
                                json!(speaker.user_name)
                            ),
                        };
                        (who, Tone::new(params, n))
                    })
                    .collect(),
                false => vec![(r#""user_id":0"#.to_owned(), Tone::new(params, 0))],
            };
            self.sound = Some(Sound {
                begun,
                base_ms,
                interval: audio.interval,
                series,
                next: next - again,
                limit: audio.packets.unwrap_or(u64::MAX),
                committed: next,
            });
        }
    }

    /// Sends at most this many further phrases, at once.
    fn finish(&mut self, trailing: u64) {
        self.is_finishing = true;
        self.sound = None;
        self.films.clear();
        if let Some(text) = &mut self.text {
            text.limit = text.limit.min(text.next.saturating_add(trailing));
            text.step = text.step.min(Duration::from_nanos(1));
        }
    }

    /// When the next item is due.
    fn due(&self) -> Option<Instant> {
        let text = self.text.as_ref().and_then(|text| {
            if !text.replay.is_empty() {
                return Some(text.begun);
            }
            (text.next < text.limit).then(|| text.begun + mul(text.step, text.next))
        });
        let sound = self.sound.as_ref().and_then(|sound| {
            (sound.next < sound.limit).then(|| sound.begun + mul(sound.interval, sound.next))
        });
        let films = self.films.iter().map(Film::due);
        [text, sound].into_iter().flatten().chain(films).min()
    }

    /// Writes what is due, until the socket accepts no more or a batch is full.
    fn produce(&mut self, link: &mut Link) -> Result<(), Gone> {
        let now = Instant::now();
        for _ in 0..BATCH {
            if link.is_blocked() {
                break;
            }
            for film in &mut self.films {
                if let Some((frame, sent)) = film.frame(self.script, now) {
                    link.send(&frame)?;
                    self.pending.push(sent);
                }
            }
            let is_text_sent = self.produce_text(link, now)?;
            if !self.produce_sound(link, now)? && !is_text_sent {
                break;
            }
        }
        Ok(())
    }

    fn produce_text(&mut self, link: &mut Link, now: Instant) -> Result<bool, Gone> {
        let Some(text) = &mut self.text else {
            return Ok(false);
        };
        let step_ms = step_ms(self.script);
        if let Some(index) = text.replay.pop_front() {
            if self.carries_text {
                let phrase = phrase(self.script, text.base_ms, step_ms, index);
                link.send(&phrase_message(self.script, &phrase))?;
                text.replayed += 1;
            }
            return Ok(true);
        }
        if text.next >= text.limit || text.begun + mul(text.step, text.next) > now {
            return Ok(false);
        }
        let index = text.next;
        text.next += 1;
        if self.carries_text {
            if let Some(fast) = &text.fast {
                link.send_text(fast.message(self.script, text.base_ms, step_ms, index))?;
            } else {
                let speaker = speaker_of(self.script, index);
                if text.last_speaker.replace(speaker.user_id) != Some(speaker.user_id) {
                    self.meeting.speaker_changed(speaker);
                }
                let phrase = phrase(self.script, text.base_ms, step_ms, index);
                link.send(&phrase_message(self.script, &phrase))?;
                if self.script.unknown && index % 5 == 2 {
                    link.send(&json!({"msg_type": 26, "content": {"mood": "calm"}}))?;
                }
            }
        }
        if self.carries_chat && index % self.script.chat_every == 0 {
            link.send(&chat_message(self.script, index))?;
            self.pending.push(Sent::Chat(index));
        }
        Ok(true)
    }

    fn produce_sound(&mut self, link: &mut Link, now: Instant) -> Result<bool, Gone> {
        let Some(sound) = &mut self.sound else {
            return Ok(false);
        };
        if sound.next >= sound.limit || sound.begun + mul(sound.interval, sound.next) > now {
            return Ok(false);
        }
        for (series, (who, tone)) in sound.series.iter().enumerate() {
            let stamp_ms = sound.base_ms + tone.packet_ms * sound.next;
            let since = Duration::from_millis(stamp_ms - sound.base_ms);
            if self
                .script
                .audio
                .is_some_and(|audio| audio.is_muted(series, sound.series.len(), since))
            {
                continue;
            }
            link.send_text(audio_message(who, tone, sound.next, stamp_ms))?;
            // Replayed packets were noted the first time.
            if sound.next >= sound.committed {
                self.pending.push(Sent::Audio { series, stamp_ms });
            }
        }
        sound.next += 1;
        Ok(true)
    }

    /// Reports what the kernel has accepted.
    fn commit(&mut self, shared: &Arc<Shared>, link: &Link) {
        if !link.is_flushed() {
            return;
        }
        if let Some(text) = &mut self.text
            && self.carries_text
            && (text.next > text.committed || text.replayed > 0)
        {
            let range = text.committed..text.next;
            let replayed = std::mem::take(&mut text.replayed);
            text.committed = text.next;
            self.meeting
                .phrases_sent(shared, range, replayed, step_ms(self.script));
        }
        if let Some(sound) = &mut self.sound
            && sound.next > sound.committed
        {
            sound.committed = sound.next;
            self.meeting.audio_reached(sound.series.len(), sound.next);
        }
        if !self.pending.is_empty() {
            self.meeting.media_sent(&mut self.pending);
        }
    }
}

/// The interval of two phrases' timestamps: that of the script, or 1 ms in a flood.
fn step_ms(script: &MeetingScript) -> u64 {
    match script.phrases_per_second {
        rate if rate > 0.0 => ((1000.0 / rate) as u64).max(1),
        _ => 1,
    }
}

fn mul(step: Duration, count: u64) -> Duration {
    Duration::from_nanos((step.as_nanos() as u64).saturating_mul(count))
}
