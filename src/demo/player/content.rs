//! The phrases of the demo's meetings, generated from their index, so that a phrase can be
//! generated again for a replay and compared with a client's files.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::script::{IdForm, MeetingScript, Speaker};
use crate::demo::zoom::record::unix_ms;

/// A transcript phrase as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phrase {
    /// Its index in the meeting, from 0.
    pub index: u64,
    /// The speaker.
    pub user_id: u64,
    /// The displayed name.
    pub user_name: String,
    /// Start of speech, Unix milliseconds.
    pub start_ms: u64,
    /// End of speech, Unix milliseconds.
    pub end_ms: u64,
    /// The timestamp of the phrase, Unix milliseconds.
    pub timestamp_ms: u64,
    /// Zoom's number of the language.
    pub language: i64,
    /// The text.
    pub text: String,
}

const SENTENCES: [(&str, &[&str]); 4] = [
    (
        "en",
        &[
            "Good morning everyone, can you all hear me?",
            "Loud and clear, thanks.",
            "Let us begin with the numbers from last week.",
            "We shipped the new importer on Tuesday and nothing broke.",
            "Well, almost nothing: the \"undo\" button was blue.",
            "I'd rather look at latency first & colour later.",
            "Is 3 < 5 still true after the migration?",
            "It is, and the tests say so --> all green.",
            "Sorry, I was muted.",
            "Could someone take the notes?",
            "The notes take themselves these days.",
            "Then we have time left for the garden project.",
            "I will water the beans until Friday.",
            "Any objections? No? Good.",
            "One more thing about the budget \\ forecast.",
            "It can wait until the next meeting.",
        ],
    ),
    (
        "de",
        &[
            "Guten Morgen, schön, dass alle da sind.",
            "Die Prüfung läuft noch, größer wird es nicht.",
            "Das übernehme ich gern bis Donnerstag.",
            "Über das Budget reden wir später.",
        ],
    ),
    (
        "ja",
        &[
            "おはようございます。",
            "資料は共有フォルダにあります。",
            "来週までに確認します。🙂",
            "ありがとうございました。",
        ],
    ),
    (
        "es",
        &[
            "Buenos días a todos.",
            "¿Podemos empezar con el informe?",
            "Mañana lo envío sin falta.",
            "Muchas gracias y hasta pronto.",
        ],
    ),
];

fn sentence(language: i64, index: u64) -> &'static str {
    let key = match language {
        14 => "de",
        20 => "ja",
        28 => "es",
        _ => "en",
    };
    let list = SENTENCES
        .iter()
        .find(|(name, _)| *name == key)
        .map_or(SENTENCES[0].1, |(_, list)| list);
    list[index as usize % list.len()]
}

/// The text and times of phrase `index`; `base_ms` is the time of phrase 0 and `step_ms` the
/// interval. Timestamps never repeat within a meeting.
pub(in crate::demo) fn phrase(
    script: &MeetingScript,
    base_ms: u64,
    step_ms: u64,
    index: u64,
) -> Phrase {
    let speaker = speaker_of(script, index);
    let text = sentence(speaker.language, index);
    let start_ms = base_ms + index * step_ms;
    let end_ms = start_ms + 40 * text.chars().count() as u64;
    Phrase {
        index,
        user_id: speaker.user_id,
        user_name: speaker.user_name.clone(),
        start_ms,
        end_ms,
        timestamp_ms: end_ms + 100,
        language: speaker.language,
        text: text.to_owned(),
    }
}

/// The speaker of phrase `index`: two phrases in a row, then the next speaker.
pub(in crate::demo) fn speaker_of(script: &MeetingScript, index: u64) -> &Speaker {
    static UNNAMED: Speaker = Speaker {
        user_id: 0,
        user_name: String::new(),
        language: 9,
    };
    let count = script.speakers.len().max(1);
    script
        .speakers
        .get((index / 2) as usize % count)
        .unwrap_or(&UNNAMED)
}

/// The channels of the two parties of a Contact Center call.
pub(crate) const CHANNELS: [&str; 2] = ["123abc", "456edf"];

/// The channel of a speaker, for products that identify speakers by channels only.
pub(in crate::demo) fn channel_of(script: &MeetingScript, speaker: &Speaker) -> &'static str {
    let place = script.speakers.iter().position(|one| one == speaker);
    CHANNELS[place.unwrap_or(0) % CHANNELS.len()]
}

/// Message 17.
pub(in crate::demo) fn phrase_message(script: &MeetingScript, phrase: &Phrase) -> Value {
    let mut message = json!({"msg_type": 17, "content": {
        "user_id": id_value(script.ids, phrase.user_id),
        "user_name": phrase.user_name,
        "start_time": phrase.start_ms,
        "end_time": phrase.end_ms,
        "timestamp": phrase.timestamp_ms,
        "language": phrase.language,
        "data": phrase.text,
    }});
    if script.odd.channels {
        let speaker = speaker_of(script, phrase.index);
        message["content"] = json!({
            "channel_id": channel_of(script, speaker),
            "start_time": phrase.start_ms,
            "end_time": phrase.end_ms,
            "timestamp": phrase.timestamp_ms,
            "language": phrase.language,
            "data": phrase.text,
        });
    }
    if script.unknown && phrase.index.is_multiple_of(3) {
        message["content"]["attribute"] = json!(0);
        message["content"]["shade_of_voice"] = json!({"warm": [0.5, null]});
    }
    message
}

/// Formats messages 17 without a tree of values, for floods.
pub(in crate::demo) struct FastPhrases {
    /// For each speaker and sentence: the pieces around the three times.
    ready: Vec<(String, String, u64)>,
    per_speaker: u64,
}

impl FastPhrases {
    pub(in crate::demo) fn new(script: &MeetingScript) -> FastPhrases {
        let per_speaker = 16;
        let ready = script
            .speakers
            .iter()
            .flat_map(|speaker| (0..per_speaker).map(move |n| (speaker, n)))
            .map(|(speaker, n)| {
                let text = sentence(speaker.language, n);
                let head = format!(
                    r#"{{"msg_type":17,"content":{{"user_id":{},"user_name":{},"#,
                    id_value(script.ids, speaker.user_id),
                    json!(speaker.user_name)
                );
                let tail = format!(
                    r#","language":{},"data":{}}}}}"#,
                    speaker.language,
                    json!(text)
                );
                (head, tail, 40 * text.chars().count() as u64)
            })
            .collect();
        FastPhrases { ready, per_speaker }
    }

    /// The same message as from `phrase` and `phrase_message`.
    pub(in crate::demo) fn message(
        &self,
        script: &MeetingScript,
        base_ms: u64,
        step_ms: u64,
        i: u64,
    ) -> String {
        let speaker = (i / 2) % script.speakers.len().max(1) as u64;
        let slot = speaker * self.per_speaker + i % self.per_speaker;
        let Some((head, tail, spoken_ms)) = self.ready.get(slot as usize) else {
            return phrase_message(script, &phrase(script, base_ms, step_ms, i)).to_string();
        };
        let start_ms = base_ms + i * step_ms;
        let end_ms = start_ms + spoken_ms;
        let mut text = String::with_capacity(head.len() + tail.len() + 90);
        text.push_str(head);
        // Writing into a String cannot fail.
        let _ = write!(
            text,
            r#""start_time":{start_ms},"end_time":{end_ms},"timestamp":{}"#,
            end_ms + 100
        );
        text.push_str(tail);
        text
    }
}

/// Message 18, number `index` of the meeting.
pub(in crate::demo) fn chat_message(script: &MeetingScript, index: u64) -> Value {
    let sender = speaker_of(script, index);
    json!({"msg_type": 18, "content": {
        "message_id": chat_id(index), "operation_type": 1,
        "chat_session": {"type": CHAT_SESSIONS[index as usize % CHAT_SESSIONS.len()].0},
        "sender": {"user_id": id_value(script.ids, sender.user_id), "user_name": sender.user_name},
        "timestamp": unix_ms(), "data": chat_text(index),
    }})
}

/// Types of chat, with the names that a client has for them.
pub(in crate::demo) const CHAT_SESSIONS: [(u64, &str); 3] =
    [(1, "everyone"), (2, "individual"), (3, "group")];

/// Its `message_id`.
pub(in crate::demo) fn chat_id(index: u64) -> String {
    format!("chat-{index}")
}

/// Its text.
pub(in crate::demo) fn chat_text(index: u64) -> String {
    format!("Note {index}: see the shared folder 🙂")
}

/// An id in the form of the script.
pub(in crate::demo) fn id_value(form: IdForm, id: u64) -> Value {
    match form {
        IdForm::Number => json!(id),
        IdForm::Text => json!(id.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fast_messages_equal_the_others() {
        let script = MeetingScript::plain("fast");
        let fast = FastPhrases::new(&script);
        for i in 0..200 {
            let slow = phrase_message(&script, &phrase(&script, 1_767_000_000_000, 3, i));
            let quick: Value =
                serde_json::from_str(&fast.message(&script, 1_767_000_000_000, 3, i))
                    .expect("it is JSON");
            assert_eq!(quick, slow);
        }
    }
}
