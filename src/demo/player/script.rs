//! What a meeting of the demo is made of, and what may befall it: plain data.
//!
//! How it is played is in `meeting`, `signaling` and `media`.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// A Zoom product, with its words on the wire as the demo knows them.
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
    /// All of them.
    pub const ALL: [DemoProduct; 5] = [
        DemoProduct::Meeting,
        DemoProduct::Webinar,
        DemoProduct::Session,
        DemoProduct::ContactCenter,
        DemoProduct::Phone,
    ];

    /// What `--product` calls it.
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

    /// What stands before `started`, `stopped` and `interrupted` in a webhook's event.
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

/// The host of every meeting, as webhooks name people.
pub(crate) const HOST_ID: &str = "demo-host";

/// Someone who speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Speaker {
    /// Zoom's number of the participant in this meeting.
    pub user_id: u64,
    /// The displayed name.
    pub user_name: String,
    /// Zoom's number of the language (9 is English).
    pub language: i64,
}

/// How a meeting comes to its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// `meeting.started` is posted; the stream waits for REST `start`.
    ByRest,
    /// `rtms_started` is posted at once, as with an auto-start rule.
    AtOnce,
    /// Nothing is posted; the test does it.
    Silent,
}

/// Where webhooks carry the fields of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadShape {
    /// Directly in `payload`, as the schema says.
    Flat,
    /// In `payload.object`, as several guides say.
    Object,
}

/// How ids that are numbers are written.
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
    /// One after the other.
    Both,
}

/// How much of what was sent is kept for a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SentDetail {
    /// Every phrase.
    Each,
    /// Only how many: for floods.
    Count,
}

/// The audio of a meeting: a tone per speaker, with the parameters that are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioScript {
    /// One series for each speaker, or one mixed with `user_id` 0.
    pub per_speaker: bool,
    /// Time between packets of a series; zero sends as fast as the socket takes them.
    pub interval: Duration,
    /// How many packets in each series; `None` goes on to the end of the stream.
    pub packets: Option<u64>,
    /// Of several speakers one is muted, and after so long, by the stamps, the next. Zero mutes
    /// nobody.
    pub mute: Duration,
}

impl AudioScript {
    /// Whether that one of so many series is muted then.
    pub(in crate::demo) fn is_muted(&self, series: usize, count: usize, since: Duration) -> bool {
        let turn = since.as_millis().checked_div(self.mute.as_millis());
        count > 1 && turn.is_some_and(|turn| turn % count as u128 == series as u128)
    }
}

/// What a second signaling connection meets while the first is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duplicates {
    /// The newer takes over and the older is closed.
    Displace,
    /// The newer is refused: status 8 on signaling, 16 on media.
    Refuse,
}

/// How the end of a stream is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// The stop reason (PROTOCOL.md §6.6).
    pub reason: i64,
    /// Message 8 with state 4 on signaling.
    pub by_state: bool,
    /// The `rtms_stopped` webhook.
    pub by_webhook: bool,
    /// The whole meeting ends: `meeting.ended` is posted too and a start is refused from then on.
    pub meeting_over: bool,
    /// Phrases still sent after the end was told, before the sockets close.
    pub trailing_phrases: u64,
}

impl End {
    /// Told in both ways; the meeting itself goes on.
    pub const fn stopped(reason: i64) -> End {
        End {
            reason,
            by_state: true,
            by_webhook: true,
            meeting_over: false,
            trailing_phrases: 0,
        }
    }

    /// The meeting is over (reason 6), told in every way.
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
    /// When the last phrase has gone out.
    AfterPhrases(End),
}

/// Where a socket's URL leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeFault {
    /// To the server that works.
    Open,
    /// To one that accepts TCP and never answers the TLS handshake.
    NoTls,
    /// To one that speaks TLS and never answers the upgrade.
    NoUpgrade,
    /// To one that answers the upgrade with 503.
    Unavailable,
    /// To a certificate of another host.
    WrongHost,
    /// To a certificate that is over.
    Expired,
    /// To a port where nobody listens.
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

/// A frame as a test wants it.
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
    /// Bytes that are written into TLS as they are.
    Raw(Vec<u8>),
}

/// What a handshake (message 1 or 3) is answered with instead of success.
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
    /// Nothing at all; the socket stays open.
    Silence,
    /// A text frame that is no JSON, then nothing.
    Garbage,
    /// Success, but without any media URL (signaling only).
    NoUrls,
    /// TCP reset.
    Reset,
}

/// What may befall a live stream.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// A socket is cut.
    Cut(Socket, Cut),
    /// A socket neither reads nor writes for so long (`None`: for ever), yet stays open.
    Stall(Socket, Option<Duration>),
    /// Event 7 on signaling: the media connection was interrupted.
    TellInterrupted,
    /// Message 8, state 2, reason 14 on signaling.
    TellMediaLost,
    /// The `rtms_interrupted` webhook.
    InterruptedWebhook,
    /// A newer `rtms_started` with new URLs; the old ones are refused from then on.
    FailOver {
        /// Cuts the old sockets too; else they stay until the client drops them.
        cut: bool,
    },
    /// So many of the next handshakes on that kind of socket are refused.
    Refuse(Socket, Refusal, usize),
    /// These frames, in this order.
    Frames(Socket, Vec<Frame>),
    /// A message whose bytes come one by one with that pause between; all else waits behind it.
    SlowWrite(Socket, Frame, Duration),
}

/// How a Zoom differs from its reference: what was observed, not what is documented.
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
    /// Of two URLs for each socket nobody listens on the first: a comma between them in the
    /// webhook, an array in message 2.
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
    /// Who brought the app into the meeting, and whether that is the original host.
    pub operator: (String, bool),
    /// How the stream comes to be.
    pub begin: Begin,
    /// The shape of webhooks.
    pub payload: PayloadShape,
    /// The form of ids.
    pub ids: IdForm,
    /// The kind of frames, on both sockets.
    pub frames: FrameKind,
    /// Who speaks, in turn.
    pub speakers: Vec<Speaker>,
    /// How many phrases; `None` goes on to the end of the stream.
    pub phrases: Option<u64>,
    /// Phrases a second; zero sends as fast as the socket takes them.
    pub phrases_per_second: f64,
    /// What is kept of them.
    pub keep: SentDetail,
    /// Audio, if it is granted and asked for.
    pub audio: Option<AudioScript>,
    /// Video and share, where they are granted and asked for.
    pub pictures: bool,
    /// A chat message with every so many phrases; zero sends none.
    pub chat_every: u64,
    /// The media types granted, as a sum of the bits 1, 2, 4, 8, 16 (PROTOCOL.md §6.3).
    pub granted: u32,
    /// Whether message 2 lists a URL for each type.
    pub url_per_type: bool,
    /// Whether message 2 lists `all`.
    pub url_all: bool,
    /// Sends the events that were subscribed to, and those that come unasked.
    pub events: bool,
    /// Sprinkles in messages and fields that no client knows.
    pub unknown: bool,
    /// When the stream ends by itself.
    pub ending: Ending,
    /// What a second connection meets.
    pub duplicates: Duplicates,
    /// How long a stream without signaling waits before it ends with reason 19.
    pub signaling_window: Duration,
    /// How long a ready stream without media waits before it ends with reason 14.
    pub media_window: Duration,
    /// How long a new stream waits for its first signaling handshake; then reason 11.
    pub join_window: Duration,
    /// Phrases that fall due while media is gone are sent after the reconnect; else they are lost
    /// and not counted as sent.
    pub buffer: bool,
    /// The phrases and the audio sent in so long a time before a loss are sent again after it.
    pub replay: Duration,
    /// Media lost while signaling lives is told by event 7, message 8, both, or not at all.
    pub tell_media_loss: (bool, bool),
    /// Signaling lost is told by the `rtms_interrupted` webhook.
    pub tell_signaling_loss: bool,
    /// From REST `start` accepted to `rtms_started` posted.
    pub start_delay: Duration,
    /// From the end of the stream to the close of its sockets by Zoom.
    pub linger: Duration,
    /// Where the signaling URL leads.
    pub signaling_door: HandshakeFault,
    /// Where media URLs lead.
    pub media_door: HandshakeFault,
    /// Refusals of the first handshakes, in order.
    pub refusals: Vec<(Socket, Refusal)>,
    /// What is odd about this Zoom.
    pub odd: Oddities,
}

impl MeetingScript {
    /// A meeting with the schema's own forms: three speakers, two phrases a second, transcript
    /// alone, started and stopped by REST. The seed keeps ids apart.
    pub fn plain(seed: &str) -> MeetingScript {
        let digest = Sha256::digest(seed.as_bytes());
        let number = u64::from_be_bytes(*digest.first_chunk().unwrap_or(&[0; 8]));
        MeetingScript {
            product: DemoProduct::Meeting,
            id: STANDARD.encode(&digest[..16]),
            number: 80_000_000_000 + number % 10_000_000_000,
            topic: format!("Weekly {seed}"),
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

    /// The `n`th of several meetings, each with other forms of what may vary on the wire: shape of
    /// webhooks, ids as numbers or strings, kinds of frame, awkward UUIDs, unknown messages.
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

/// So many speakers, with names that try a client a little.
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
