//! The script of a demo's meeting, and faults: plain data.
//!
//! `meeting`, `signaling` and `media` play it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// A Zoom product, with its names on the wire as the demo knows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DemoProduct {
    /// Zoom Meetings.
    Meeting,
    /// Zoom Webinars.
    Webinar,
    /// A Video SDK session.
    Session,
    /// A Contact Center voice engagement.
    ContactCenter,
    /// A Zoom Phone call.
    Phone,
}

impl DemoProduct {
    /// All products.
    pub const ALL: [DemoProduct; 5] = [
        DemoProduct::Meeting,
        DemoProduct::Webinar,
        DemoProduct::Session,
        DemoProduct::ContactCenter,
        DemoProduct::Phone,
    ];

    /// The word for `--product`.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            DemoProduct::Meeting => "meeting",
            DemoProduct::Webinar => "webinar",
            DemoProduct::Session => "session",
            DemoProduct::ContactCenter => "engagement",
            DemoProduct::Phone => "call",
        }
    }

    /// Whether a webhook announces it, so that the server can start its stream by itself.
    pub(crate) const fn is_announced(self) -> bool {
        matches!(self, DemoProduct::Meeting | DemoProduct::Webinar)
    }

    /// The key of the id in messages 1 and 3 and in webhooks.
    pub(in crate::demo) const fn id_key(self) -> &'static str {
        match self {
            DemoProduct::Meeting | DemoProduct::Webinar => "meeting_uuid",
            DemoProduct::Session => "session_id",
            DemoProduct::ContactCenter => "engagement_id",
            DemoProduct::Phone => "call_id",
        }
    }

    /// The prefix of `started`, `stopped` and `interrupted` in a webhook's event.
    pub(in crate::demo) const fn event_prefix(self) -> &'static str {
        match self {
            DemoProduct::Meeting => "meeting.rtms_",
            DemoProduct::Webinar => "webinar.rtms_",
            DemoProduct::Session => "session.rtms_",
            DemoProduct::ContactCenter => "contact_center.voice_rtms_",
            DemoProduct::Phone => "phone.rtms_",
        }
    }
}

/// The host of every meeting, as named in webhooks.
pub(crate) const HOST_ID: &str = "demo-host";

/// A speaker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Speaker {
    /// Zoom's number of the participant in this meeting.
    pub user_id: u64,
    /// The displayed name.
    pub user_name: String,
    /// Zoom's number of the language (9 is English).
    pub language: i64,
}

/// How a meeting's stream is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// `meeting.started` is posted; the stream waits for REST `start`.
    ByRest,
    /// `rtms_started` is posted at once, as with an auto-start rule.
    AtOnce,
    /// Nothing is posted; the test does it.
    Silent,
}

/// Where webhooks have the fields of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadShape {
    /// Directly in `payload`, as the schema says.
    Flat,
    /// In `payload.object`, as several guides say.
    Object,
}

/// The form of ids that are numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdForm {
    /// As JSON numbers.
    Number,
    /// As JSON strings.
    Text,
}

/// The kind of WebSocket frame that carries a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// Text frames.
    Text,
    /// Binary frames.
    Binary,
    /// Alternating.
    Both,
}

/// How much of what was sent is kept for a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SentDetail {
    /// Every phrase.
    Each,
    /// Only the number: for floods.
    Count,
}

/// The audio of a meeting: a tone per speaker, with the requested parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioScript {
    /// One series per speaker, or a mixed one with `user_id` 0.
    pub per_speaker: bool,
    /// Interval of a series' packets; zero sends as fast as the socket accepts them.
    pub interval: Duration,
    /// Packets per series; `None` continues to the end of the stream.
    pub packets: Option<u64>,
    /// Of several speakers one is muted for this time, by the timestamps, then the next one. Zero
    /// mutes no speaker.
    pub mute: Duration,
}

impl AudioScript {
    /// Whether this series, of `count`, is muted at that time.
    pub(in crate::demo) fn is_muted(&self, series: usize, count: usize, since: Duration) -> bool {
        let turn = since.as_millis().checked_div(self.mute.as_millis());
        count > 1 && turn.is_some_and(|turn| turn % count as u128 == series as u128)
    }
}

/// What happens to a second signaling connection while the first is live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duplicates {
    /// The newer one takes over and the older one is closed.
    Displace,
    /// The newer one is refused: status 8 on signaling, 16 on media.
    Refuse,
}

/// How the end of a stream is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// The stop reason (PROTOCOL.md §6.6).
    pub reason: i64,
    /// Message 8 with state 4 on signaling.
    pub by_state: bool,
    /// The `rtms_stopped` webhook.
    pub by_webhook: bool,
    /// The whole meeting ends: `meeting.ended` is posted too, and a start is refused from then on.
    pub meeting_over: bool,
    /// Phrases still sent after the report of the end, before the sockets are closed.
    pub trailing_phrases: u64,
}

impl End {
    /// Reported in both ways; the meeting itself continues.
    pub const fn stopped(reason: i64) -> End {
        End {
            reason,
            by_state: true,
            by_webhook: true,
            meeting_over: false,
            trailing_phrases: 0,
        }
    }

    /// The meeting is over (reason 6), reported in every way.
    pub const fn meeting_ended() -> End {
        End {
            meeting_over: true,
            ..End::stopped(6)
        }
    }
}

/// When a stream ends by itself. REST `stop` and message 21 always end it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Ending {
    /// Never.
    Open,
    /// When the last phrase has been sent.
    AfterPhrases(End),
}

/// The target of a socket's URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeFault {
    /// The working server.
    Open,
    /// A server that accepts TCP and never answers the TLS handshake.
    NoTls,
    /// A server that uses TLS and never answers the upgrade.
    NoUpgrade,
    /// A server that answers the upgrade with 503.
    Unavailable,
    /// A server with a certificate for another host.
    WrongHost,
    /// A server with an expired certificate.
    Expired,
    /// A port without a server.
    Refused,
}

/// One of the two kinds of socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Socket {
    /// Signaling.
    Signaling,
    /// Media, all of them.
    Media,
}

/// How a socket is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// A Close frame with that code, then TCP's ordinary end.
    Close(u16),
    /// TCP's ordinary end without a Close frame.
    Fin,
    /// A TCP reset.
    Reset,
}

/// A frame given by a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A text frame.
    Text(String),
    /// A binary frame.
    Binary(Vec<u8>),
    /// A ping.
    Ping(Vec<u8>),
    /// A text frame with these bytes, UTF-8 or not.
    BadText(Vec<u8>),
    /// Bytes that are written into TLS unchanged.
    Raw(Vec<u8>),
}

/// The answer to a handshake (message 1 or 3) instead of success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// That status code, then a close.
    Status(i64),
    /// That status code and reason text, then a close.
    StatusAndReason(i64, String),
    /// An answer without `status_code`, which is a refusal.
    NoStatus,
    /// A Close frame instead of an answer.
    Close(u16),
    /// No answer; the socket stays open.
    Silence,
    /// A text frame that is not JSON, then nothing.
    Garbage,
    /// Success, but without any media URL (signaling only).
    NoUrls,
    /// TCP reset.
    Reset,
}

/// Faults of a live stream.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// A socket is cut.
    Cut(Socket, Cut),
    /// A socket neither reads nor writes for this time (`None`: for ever), but stays open.
    Stall(Socket, Option<Duration>),
    /// Event 7 on signaling: the media connection was interrupted.
    TellInterrupted,
    /// Message 8, state 2, reason 14 on signaling.
    TellMediaLost,
    /// The `rtms_interrupted` webhook.
    InterruptedWebhook,
    /// A newer `rtms_started` with new URLs; the old ones are refused from then on.
    FailOver {
        /// Cuts the old sockets too; otherwise they stay open until the client closes them.
        cut: bool,
    },
    /// This many of the next handshakes on that kind of socket are refused.
    Refuse(Socket, Refusal, usize),
    /// These frames, in this order.
    Frames(Socket, Vec<Frame>),
    /// A message whose bytes are sent one by one with that pause in between; all other data waits.
    SlowWrite(Socket, Frame, Duration),
}

/// How a Zoom differs from its reference: observed, not documented.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Oddities {
    /// Contact Center: phrases and audio carry a text `channel_id` and neither user nor name; events
    /// 8 to 11 name the parties (PROTOCOL.md §10.1).
    pub channels: bool,
    /// A Phone gateway: `all` carries no audio, RTP with L16 is refused, webhooks are called
    /// `phone.call_rtms_*` (PROTOCOL.md §10.2).
    pub phone_gateway: bool,
    /// REST `start` is refused with 2308 until the host has joined.
    pub awaits_host: bool,
    /// Zoom's published mock server: data without message 4, keep-alives without `sequence` and
    /// now and then without `timestamp` (PROTOCOL.md §10.3).
    pub mock_server: bool,
    /// The first of two URLs for each socket has no server: separated by a comma in the webhook, an
    /// array in message 2.
    pub first_url_dead: bool,
    /// The media type whose message 3 is never answered; 0 for none.
    pub silent_media: u32,
}

/// One meeting from its first webhook to its last.
#[derive(Debug, Clone, PartialEq)]
pub struct MeetingScript {
    /// The product; most of them have no meeting number.
    pub product: DemoProduct,
    /// The meeting UUID, session id, engagement id or call id.
    pub id: String,
    /// The meeting number that REST uses. Exceeds 32 bits.
    pub number: u64,
    /// The topic.
    pub topic: String,
    /// The account of the meeting; `None` for the demo's first.
    pub account: Option<String>,
    /// Who brought the app into the meeting, and whether that is the original host.
    pub operator: (String, bool),
    /// How the stream is started.
    pub begin: Begin,
    /// The shape of webhooks.
    pub payload: PayloadShape,
    /// The form of ids.
    pub ids: IdForm,
    /// The kind of frames, on both sockets.
    pub frames: FrameKind,
    /// The speakers, in turn.
    pub speakers: Vec<Speaker>,
    /// Number of phrases; `None` continues to the end of the stream.
    pub phrases: Option<u64>,
    /// Phrases per second; zero sends as fast as the socket accepts them.
    pub phrases_per_second: f64,
    /// How much of them is kept.
    pub keep: SentDetail,
    /// Audio, if it is granted and requested.
    pub audio: Option<AudioScript>,
    /// Video and share, if they are granted and requested.
    pub pictures: bool,
    /// A chat message with every this many phrases; zero sends none.
    pub chat_every: u64,
    /// The media types granted, as a sum of the bits 1, 2, 4, 8, 16 (PROTOCOL.md §6.3).
    pub granted: u32,
    /// Whether message 2 lists a URL for each type.
    pub url_per_type: bool,
    /// Whether message 2 lists `all`.
    pub url_all: bool,
    /// Sends the events that were subscribed to, and those without a subscription.
    pub events: bool,
    /// Adds messages and fields that no client knows.
    pub unknown: bool,
    /// When the stream ends by itself.
    pub ending: Ending,
    /// What happens to a second connection.
    pub duplicates: Duplicates,
    /// How long a stream without signaling waits before it ends with reason 19.
    pub signaling_window: Duration,
    /// How long a ready stream without media waits before it ends with reason 14.
    pub media_window: Duration,
    /// How long a new stream waits for its first signaling handshake; then reason 11.
    pub join_window: Duration,
    /// Phrases that are due while there is no media connection are sent after the reconnect;
    /// otherwise they are lost and not counted as sent.
    pub buffer: bool,
    /// Phrases and audio sent in this time before a loss are sent again after it.
    pub replay: Duration,
    /// A loss of media while signaling is live is reported by event 7, message 8, both, or not at
    /// all.
    pub tell_media_loss: (bool, bool),
    /// A loss of signaling is reported by the `rtms_interrupted` webhook.
    pub tell_signaling_loss: bool,
    /// Time from accepting REST `start` to posting `rtms_started`.
    pub start_delay: Duration,
    /// Time from the end of the stream to Zoom's closing of its sockets.
    pub linger: Duration,
    /// The target of the signaling URL.
    pub signaling_door: HandshakeFault,
    /// The target of media URLs.
    pub media_door: HandshakeFault,
    /// Refusals of the first handshakes, in order.
    pub refusals: Vec<(Socket, Refusal)>,
    /// The differences of this Zoom.
    pub odd: Oddities,
}

impl MeetingScript {
    /// A meeting with the schema's own forms: three speakers, two phrases per second, transcript
    /// only, started and stopped by REST. Different seeds give different ids.
    pub fn plain(seed: &str) -> MeetingScript {
        let digest = Sha256::digest(seed.as_bytes());
        let number = u64::from_be_bytes(*digest.first_chunk().unwrap_or(&[0; 8]));
        MeetingScript {
            product: DemoProduct::Meeting,
            id: STANDARD.encode(&digest[..16]),
            number: 80_000_000_000 + number % 10_000_000_000,
            topic: format!("Weekly {seed}"),
            account: None,
            operator: (HOST_ID.to_owned(), true),
            begin: Begin::ByRest,
            payload: PayloadShape::Flat,
            ids: IdForm::Number,
            frames: FrameKind::Text,
            speakers: speakers(3, number % 1000),
            phrases: None,
            phrases_per_second: 2.0,
            keep: SentDetail::Each,
            audio: None,
            pictures: false,
            chat_every: 0,
            granted: 8,
            url_per_type: true,
            url_all: true,
            events: true,
            unknown: false,
            ending: Ending::Open,
            duplicates: Duplicates::Displace,
            signaling_window: Duration::from_secs(60),
            media_window: Duration::from_secs(65),
            join_window: Duration::from_secs(60),
            buffer: true,
            replay: Duration::ZERO,
            tell_media_loss: (true, true),
            tell_signaling_loss: true,
            start_delay: Duration::ZERO,
            linger: Duration::from_millis(300),
            signaling_door: HandshakeFault::Open,
            media_door: HandshakeFault::Open,
            refusals: Vec::new(),
            odd: Oddities::default(),
        }
    }

    /// The `n`th of several meetings, each with other variants of the wire format: form of
    /// webhooks, ids as numbers or strings, kinds of frame, unusual UUIDs, unknown messages.
    pub fn varied(seed: &str, n: usize) -> MeetingScript {
        let mut script = MeetingScript::plain(&format!("{seed} {n}"));
        script.payload = [PayloadShape::Flat, PayloadShape::Object][n % 2];
        script.ids = [IdForm::Number, IdForm::Text][(n / 2) % 2];
        script.frames = [FrameKind::Text, FrameKind::Binary, FrameKind::Both][n % 3];
        script.unknown = n % 2 == 1;
        script.url_per_type = n % 4 != 3;
        script.tell_media_loss = [(true, true), (true, false), (false, true)][n % 3];
        script.id = match n % 3 {
            0 => script.id,
            1 => format!("/{}", &script.id[1..]),
            _ => format!("{}//+{}", &script.id[..4], &script.id[8..]),
        };
        script.speakers = speakers(2 + n % 3, script.number % 1000);
        script
    }
}

/// Speakers, with names that are a little difficult for a client.
pub fn speakers(count: usize, seed: u64) -> Vec<Speaker> {
    const NAMES: [(&str, i64); 8] = [
        ("Ada Okafor", 9),
        ("Jürgen Weiß", 14),
        ("Noor Haddad", 9),
        ("山田 花子", 20),
        ("Ines O'Neill", 9),
        ("Tomás <Ruiz>", 28),
        ("Priya & Sam", 9),
        ("+41 *** ** 17", 9),
    ];
    (0..count)
        .map(|n| {
            let (name, language) = NAMES[(n + seed as usize) % NAMES.len()];
            Speaker {
                user_id: 16_778_240 + 1024 * n as u64,
                user_name: name.to_owned(),
                language,
            }
        })
        .collect()
}
