//! The table of all keys: names, default, meaning, and parser.
//!
//! This table drives the parser, the faults about unknown keys, `rtms.conf.example`, and everything
//! else that lists the keys. Its order is the order of the example.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::values as read;
use super::{Config, DEFAULT_HOST, DEFAULT_PORT};
use crate::admin;
use crate::admin::host::AdminUrl;
use crate::coordinator::StreamChoice;
use crate::daemon::{DEFAULT_AUTO_START, DEFAULT_BUFFER_DATA, OnDeauthorized, OnExit, OnRevoked};
use crate::delivery::ends::hook;
use crate::delivery::ends::hook::words;
use crate::delivery::push::batch::{BATCH_MAX, Format};
use crate::delivery::push::settings::{CONNECTIONS, CONNECTIONS_MAX, LINGER_MS_MAX};
use crate::delivery::push::signature::SigningSecret;
use crate::delivery::push::url::PushUrl;
use crate::delivery::s3;
use crate::delivery::stdout::StdoutFormat;
use crate::domain::app::{App, DEFAULT_API_URL, DEFAULT_OAUTH_URL};
use crate::domain::fleet::{DEFAULT_FLEET_NAME, StoreAddress};
use crate::domain::secret::Secret;
use crate::feed::kind::KindFilter;
use crate::log;
use crate::log::LogFormat;
use crate::protocol::events::EventSelection;
use crate::protocol::params::{
    AudioCodec, AudioParams, AudioStreams, Channels, Content, FPS_MAX, MediaSelection, Resolution,
    SampleRate, ShareParams, TranscriptParams, VideoCodec, VideoParams, VideoStreams,
};
use crate::protocol::server_url::{AllowedHosts, DEFAULT_ALLOWED_HOSTS};
use crate::recorder::{DEFAULT_OUT, TranscriptFormats};
use crate::source::events;
use crate::source::events::EventsUrl;
use crate::source::webhook::respond::{DEFAULT_MAX_AGE_S, DEFAULT_PATH, DEFAULT_VERIFY};
use crate::state::DEFAULT_STATE;

/// A key of the configuration.
#[derive(Debug)]
pub struct Key {
    /// The heading of its section.
    pub section: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Other names with the same meaning.
    pub aliases: &'static [&'static str],
    /// Its meaning, in lines as they are printed.
    pub prose: &'static str,
    /// Whether its value is hidden, and may be in a separate file.
    pub is_secret: bool,
    /// Its value in the example, if there is one.
    pub example: Option<&'static str>,
    default: fn() -> String,
    pub(super) set: fn(&mut Draft, &str) -> Result<(), String>,
}

impl Key {
    /// Whether this is one of its names.
    pub fn is_named(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name)
    }

    /// The text of its default; empty for none.
    pub fn default(&self) -> String {
        (self.default)()
    }

    /// All names, including those for a secret in a file.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.names_for("")
    }

    /// All names of the key of a further endpoint, see [`Key::name_for`].
    pub fn names_for(&self, endpoint: &str) -> impl Iterator<Item = String> {
        let aliases = self.aliases.iter().map(|name| (*name).to_owned());
        let names = std::iter::once(self.name_for(endpoint)).chain(aliases);
        let is_secret = self.is_secret;
        names.flat_map(move |name| {
            let file = is_secret.then(|| format!("{name}_FILE"));
            std::iter::once(name).chain(file)
        })
    }

    /// Whether a further endpoint has such a key of its own, with its name behind `RTMS_PUSH_`.
    pub fn is_of_an_endpoint(&self) -> bool {
        self.name.starts_with(ENDPOINT_PREFIX)
    }

    /// The name of this key for an endpoint with a name: `RTMS_PUSH_CRM_URL`. Without a name, or for a
    /// key that endpoints do not have, the name of the key.
    pub fn name_for(&self, endpoint: &str) -> String {
        match self.name.strip_prefix(ENDPOINT_PREFIX) {
            Some(rest) if !endpoint.is_empty() => format!("{ENDPOINT_PREFIX}{endpoint}_{rest}"),
            _ => self.name.to_owned(),
        }
    }

    /// The name of the endpoint in a key such as `RTMS_PUSH_CRM_URL`, if this is the key.
    pub fn endpoint_in<'a>(&self, name: &'a str) -> Option<&'a str> {
        let own = self.name.strip_prefix(ENDPOINT_PREFIX)?;
        let name = name.strip_prefix(ENDPOINT_PREFIX)?;
        let endpoint = name.strip_suffix(own)?.strip_suffix('_')?;
        let is_plain = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit();
        let fits = (1..=ENDPOINT_CHARS_MAX).contains(&endpoint.len());
        (fits && endpoint.bytes().all(is_plain)).then_some(endpoint)
    }
}

/// Highest limit of streams.
const STREAMS_MAX: usize = 100_000;
/// Highest capacity of a server in a fleet.
const NODE_STREAMS_MAX: u32 = 100_000;
/// What the keys of endpoints begin with.
const ENDPOINT_PREFIX: &str = "RTMS_PUSH_";
/// Longest name of an endpoint.
const ENDPOINT_CHARS_MAX: usize = 16;

/// An incomplete configuration: settings that depend on several keys are not yet in it.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) config: Config,
    pub(super) tls_cert: Option<PathBuf>,
    pub(super) tls_key: Option<PathBuf>,
    pub(super) video_sdk_key: Option<String>,
    pub(super) video_sdk_secret: Option<Secret>,
    pub(super) access_token: Option<Secret>,
    pub(super) account_id: Option<String>,
    pub(super) refresh_token: Option<Secret>,
    pub(super) api_client_id: Option<String>,
    pub(super) api_client_secret: Option<Secret>,
    pub(super) out: Option<PathBuf>,
    pub(super) transcript: TranscriptFormats,
    pub(super) feed: Option<bool>,
    pub(super) feed_source: Option<String>,
    pub(super) state: Option<PathBuf>,
    pub(super) state_key_files: Vec<PathBuf>,
    pub(super) audio: AudioDraft,
    pub(super) video: PictureDraft,
    pub(super) video_streams: Option<VideoStreams>,
    pub(super) share: PictureDraft,
    pub(super) plaintext: bool,
    /// By the name as it is in the keys; empty for the one without a name.
    pub(super) endpoints: BTreeMap<String, EndpointDraft>,
    /// Of which endpoint the next key is.
    pub(super) endpoint: String,
    pub(super) ends: EndsDraft,
    pub(super) fleet: FleetDraft,
    pub(super) on_exit: Option<OnExit>,
}

impl Draft {
    fn app(&mut self) -> &mut App {
        &mut self.config.daemon.apps[0]
    }

    fn push(&mut self) -> &mut EndpointDraft {
        self.endpoints.entry(self.endpoint.clone()).or_default()
    }
}

/// What was chosen of an endpoint.
#[derive(Default)]
pub(super) struct EndpointDraft {
    pub(super) url: Option<PushUrl>,
    pub(super) secrets: Option<Vec<SigningSecret>>,
    pub(super) events: Option<KindFilter>,
    pub(super) batch: Option<u8>,
    pub(super) linger: Option<Duration>,
    pub(super) format: Option<Format>,
    pub(super) authorization: Option<Secret>,
    pub(super) connections: Option<u32>,
    pub(super) give_up: Option<Duration>,
}

/// The chosen audio parameters.
#[derive(Default)]
pub(super) struct AudioDraft {
    pub(super) content: Option<Content>,
    pub(super) codec: Option<AudioCodec>,
    pub(super) sample_rate: Option<SampleRate>,
    pub(super) channels: Option<Channels>,
    pub(super) streams: Option<AudioStreams>,
    pub(super) send_rate_ms: Option<u16>,
}

/// The chosen parameters of video or share.
#[derive(Default)]
pub(super) struct PictureDraft {
    pub(super) codec: Option<VideoCodec>,
    pub(super) resolution: Option<Resolution>,
    pub(super) fps: Option<u8>,
}

/// What was chosen for streams that have ended.
#[derive(Default)]
pub(super) struct EndsDraft {
    pub(super) command: Option<Vec<String>>,
    pub(super) timeout: Option<Duration>,
    pub(super) at_once: Option<usize>,
    pub(super) bucket: Option<String>,
    pub(super) region: Option<String>,
    pub(super) endpoint: Option<String>,
    pub(super) prefix: String,
    pub(super) style: s3::Style,
    pub(super) files: s3::FileChoice,
    pub(super) deletes_local: bool,
    pub(super) has_checksums: Option<bool>,
    pub(super) encryption: s3::Encryption,
    pub(super) kms_key: Option<String>,
    pub(super) access_key_id: Option<Secret>,
    pub(super) secret_access_key: Option<Secret>,
    pub(super) session_token: Option<Secret>,
    pub(super) credentials: Option<CredentialsChoice>,
}

/// What was chosen for a fleet.
#[derive(Default)]
pub(super) struct FleetDraft {
    pub(super) store: Option<StoreAddress>,
    pub(super) password: Option<Secret>,
    pub(super) name: Option<String>,
    pub(super) node: Option<String>,
    pub(super) streams: Option<u32>,
}

/// `RTMS_S3_CREDENTIALS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CredentialsChoice {
    File { path: PathBuf, profile: String },
    Ecs,
    Imds,
}

/// Defines one entry of the table.
macro_rules! keys {
    ($( [$section:literal] $( $name:literal $(| $alias:literal)* $($secret:ident)? $(= $default:expr)? $(; $example:literal)? => $set:expr, $prose:literal; )+ )+) => {
        &[ $($( Key {
            section: $section,
            name: $name,
            aliases: &[$($alias),*],
            default: || keys!(@text $($default)?).to_string(),
            prose: $prose,
            is_secret: keys!(@secret $($secret)?),
            example: keys!(@example $($example)?),
            set: $set,
        }, )+)+ ]
    };
    (@text) => { "" };
    (@text $default:expr) => { $default };
    (@secret) => { false };
    (@secret secret) => { true };
    (@example) => { None };
    (@example $example:literal) => { Some($example) };
}

/// Stores a parsed value in the draft.
macro_rules! to {
    (app . $($field:ident).+ , $read:expr) => {
        |draft: &mut Draft, text: &str| -> Result<(), String> {
            draft.app().$($field).+ = $read(text)?.into();
            Ok(())
        }
    };
    (push . $($field:ident).+ , $read:expr) => {
        |draft: &mut Draft, text: &str| -> Result<(), String> {
            draft.push().$($field).+ = Some($read(text)?);
            Ok(())
        }
    };
    ($($field:ident).+ , $read:expr) => {
        |draft: &mut Draft, text: &str| -> Result<(), String> {
            draft.$($field).+ = $read(text)?.into();
            Ok(())
        }
    };
}

/// Every key, in the order of `rtms.conf.example`.
pub const KEYS: &[Key] = keys! {
    ["The app"]
    "ZOOM_CLIENT_ID" => to!(app.credentials.id, read::id),
        "Client id of the app whose streams rtmsd receives. Required.";
    "ZOOM_CLIENT_SECRET" secret => to!(app.credentials.secret, secret),
        "Client secret of that app. It signs the handshakes of every stream. Required.";
    "ZOOM_SECRET_TOKEN" secret => to!(app.secret_tokens, super::precedence::secrets),
        "Webhook secret token of that app. It proves that a webhook comes from Zoom. Required unless\n\
         RTMS_VERIFY_WEBHOOKS=off. For several apps, or while you change the token: several tokens,\n\
         separated by commas.";
    "ZOOM_VIDEO_SDK_KEY" => to!(video_sdk_key, |text| read::id(text).map(Some)),
        "SDK key, to receive sessions of the Video SDK.";
    "ZOOM_VIDEO_SDK_SECRET" secret => to!(video_sdk_secret, |text| secret(text).map(Some)),
        "SDK secret. Required together with ZOOM_VIDEO_SDK_KEY.";

    ["REST calls: one of four ways to get an access token; the first that is set is used"]
    "access_token" | "ZOOM_ACCESS_TOKEN" secret => to!(access_token, |text| secret(text).map(Some)),
        "An access token, as in Zoom's quickstart. It is valid for one hour only.";
    "ZOOM_ACCOUNT_ID" => to!(account_id, |text| read::id(text).map(Some)),
        "Account id, for server-to-server OAuth. That needs a second app, because an app that\n\
         receives streams cannot be of this kind: set ZOOM_API_CLIENT_ID and\n\
         ZOOM_API_CLIENT_SECRET too.";
    "ZOOM_REFRESH_TOKEN" secret => to!(refresh_token, |text| secret(text).map(Some)),
        "Refresh token, for user OAuth. Zoom replaces the token at each use, and rtmsd stores the\n\
         newest one in RTMS_STATE. If you write a new token here, rtmsd uses that one.";
    "ZOOM_REDIRECT_URL" => to!(app.rest.redirect_url, |text| read::redirect_url(text).map(Some)),
        "For user OAuth without a refresh token here: a redirect URL of the app's page at Zoom, where\n\
         Zoom sends the person back. \"rtmsd authorize\" then stores the token in RTMS_STATE. Either this\n\
         server's public address with a path of its own, https://rtms.example.com/oauth; or a loopback\n\
         port, where the command listens, http://127.0.0.1:8765/oauth; or any other, to be pasted.";
    "ZOOM_API_CLIENT_ID" => to!(api_client_id, |text| read::id(text).map(Some)),
        "Client id of the app for REST calls, if that is another app than ZOOM_CLIENT_ID.";
    "ZOOM_API_CLIENT_SECRET" secret => to!(api_client_secret, |text| secret(text).map(Some)),
        "Client secret of that app.";
    "ZOOM_API_URL" = DEFAULT_API_URL => to!(app.rest.api_url, read::url),
        "Address of Zoom's REST API; for the government cloud https://api.zoomgov.com. Unless you set\n\
         another one, calls go to the address that Zoom's token answer names (api_url), if\n\
         RTMS_ALLOWED_HOSTS allows its host. http:// is accepted for loopback addresses only.";
    "ZOOM_OAUTH_URL" = DEFAULT_OAUTH_URL => to!(app.rest.oauth_url, read::url),
        "Address that issues tokens; for the government cloud https://zoomgov.com/oauth/token.";

    ["Several apps"]
    "RTMS_APPS" => to!(config.apps, path),
        "Folder of further files, each of which is an app of this server: acme.conf is the app acme. Such\n\
         a file has the keys in which the app differs: its ids, secrets, events, media, folder, delivery.\n\
         The others come from this file, which is then no app itself. An empty value means that the app\n\
         does not have the key.";

    ["Webhooks"]
    "HOST" = DEFAULT_HOST => to!(config.host, read::address),
        "Address to listen on. 127.0.0.1 behind a proxy on this machine; :: for IPv4 and IPv6.";
    "PORT" = DEFAULT_PORT => to!(config.port, read::port),
        "Port to listen on; 0 for any free port. off: no webhooks; events come by ZOOM_EVENTS_URL.";
    "WEBHOOK_PATH" = DEFAULT_PATH => to!(config.daemon.webhooks.webhook.path, read::webhook_path),
        "Path of the app's event notification endpoint URL at Zoom.";
    "RTMS_TLS_CERT" => to!(tls_cert, path),
        "Certificate chain (PEM file), to serve HTTPS without a proxy. Zoom accepts only publicly\n\
         trusted certificates.";
    "RTMS_TLS_KEY" => to!(tls_key, path),
        "Private key (PEM file). Required together with RTMS_TLS_CERT.";
    "RTMS_VERIFY_WEBHOOKS" = read::switch(DEFAULT_VERIFY) => to!(config.daemon.webhooks.webhook.verify, read::on_off),
        "Check the signatures of webhooks. off only for trials: anyone who reaches the port can\n\
         then start and stop streams.";
    "RTMS_WEBHOOK_MAX_AGE" = DEFAULT_MAX_AGE_S => to!(config.daemon.webhooks.webhook.max_age, |text| read::seconds(text, 1)),
        "By how many seconds the time in a webhook's signature may differ from this machine's\n\
         clock.";

    ["Events without a public port"]
    "ZOOM_EVENTS_URL" => to!(config.daemon.zoom_events, |text| EventsUrl::parse(text).map(events::Settings::new).map(Some)),
        "Address of the app's event subscription with the method WebSocket, as the app's page shows it:\n\
         wss://ws.zoom.us/ws?subscriptionId=abc. rtmsd then connects to Zoom for its events, behind any\n\
         NAT or firewall. Zoom repeats nothing there that happens while rtmsd is not connected. Webhooks\n\
         are accepted as well, unless PORT=off.";

    ["Starting and stopping"]
    "RTMS_AUTO_START" = read::switch(DEFAULT_AUTO_START) => to!(config.daemon.auto_start, read::on_off),
        "Start a stream by REST when a meeting starts. With off, rtmsd receives the streams that\n\
         others start: the account's rules, a person in the meeting, \"rtmsd start\".";
    "RTMS_STOP_AFTER" = "0"; "10" => stop_after,
        "A stream that rtmsd started is stopped after so many seconds; 0 means when the meeting\n\
         ends. 10 is the value of Zoom's quickstart: REMOVE THIS LINE for real work, or every\n\
         recording ends after ten seconds.";
    "RTMS_PARTICIPANT_USER_ID" => to!(app.rest.participant_user_id, |text| read::id(text).map(Some)),
        "Start the stream for this participant (a Zoom user id) instead of the token's owner.";
    "RTMS_STREAMS" = StreamChoice::default().name() => to!(config.daemon.streams, read::stream_choice),
        "Which streams of a meeting are received when several people bring the app. all: each of them\n\
         has a stream. host: only that of the meeting's host.";
    "RTMS_STREAMS_MAX" = 0 => streams_max,
        "Most streams of one account at one time; 0: no limit. A further one is refused, and begins when\n\
         one of them ends while Zoom still waits for it, which is one minute.";
    "RTMS_ON_EXIT" = OnExit::default().name() => to!(on_exit, read::on_exit),
        "What happens to running streams when the server ends. leave: they stay open at Zoom, and\n\
         a server that starts again within a minute joins them again. stop: they are ended. hand-over,\n\
         which is the default with RTMS_FLEET: other servers of the fleet get them.";

    ["Media"]
    "RTMS_MEDIA" = MediaSelection::default() => to!(config.daemon.media, MediaSelection::from_text),
        "What to receive: any of transcript,audio,video,share,chat, or all. The app needs the scope\n\
         of each. all uses one connection, a list uses one connection for each medium.";
    "RTMS_EVENTS" = EventSelection::default() => to!(config.daemon.events, EventSelection::from_text),
        "Meeting events to receive: any of speaker,participants,sharing,video,chat; for Contact\n\
         Center also consumer,agent,monitor,transfer,conference; or all, or off.";
    "RTMS_BUFFER_DATA" = read::switch(DEFAULT_BUFFER_DATA) => to!(config.daemon.buffer_data, read::on_off),
        "Also receive what was said between the start of the stream and rtmsd's connection.";
    "RTMS_TRANSCRIPT_LANGUAGE" = TranscriptParams::AUTO => to!(config.daemon.params.transcript, TranscriptParams::from_text),
        "Language at the start of the meeting, as tag or English name: de, german. After 30 seconds\n\
         Zoom detects the spoken language; with \",pin\" (de,pin) it keeps this one.";
    "RTMS_AUDIO_CODEC" = AudioParams::default().codec.name() => to!(audio.codec, AudioCodec::from_text),
        "l16, opus, g711 or g722.";
    "RTMS_AUDIO_SAMPLE_RATE" = AudioParams::default().sample_rate.hz() => to!(audio.sample_rate, SampleRate::from_text),
        "Samples a second: 8000, 16000, 32000 or 48000 with l16. Without this key, the rate of the\n\
         codec: 16000 for l16 and g722, 48000 for opus, 8000 for g711.";
    "RTMS_AUDIO_CHANNELS" = AudioParams::default().channels.name() => to!(audio.channels, Channels::from_text),
        "mono; with l16 and opus also stereo.";
    "RTMS_AUDIO_STREAMS" = AudioParams::default().streams.name() => to!(audio.streams, AudioStreams::from_text),
        "mixed: one file of all speakers. per-speaker: one file for each speaker.";
    "RTMS_AUDIO_SEND_RATE" = AudioParams::default().send_rate_ms => to!(audio.send_rate_ms, |text| read::number(text, 20_u16, 1000)),
        "Milliseconds of audio in a packet. With l16 a multiple of 20, from 20 to 1000; else 20.";
    "RTMS_AUDIO_CONTENT" = AudioParams::default().content.name() => to!(audio.content, Content::from_text),
        "raw; with opus, g711 and g722 also rtp.";
    "RTMS_VIDEO" = VideoParams::default().streams.name() => to!(video_streams, VideoStreams::from_text),
        "Whose camera. active: the active speaker's. individual: one participant's.";
    "RTMS_VIDEO_PARTICIPANT" => to!(config.daemon.video_participant, |text| name(text).map(Some)),
        "With RTMS_VIDEO=individual: the participant's user id or name. Without this key, rtmsd\n\
         follows the active speaker.";
    "RTMS_VIDEO_CODEC" = VideoParams::default().codec.name() => to!(video.codec, VideoCodec::from_text),
        "jpg or png up to 5 frames a second, h264 above. Without this key, rtmsd chooses by the\n\
         frame rate.";
    "RTMS_VIDEO_FPS" = VideoParams::default().fps => to!(video.fps, |text| read::number(text, 1_u8, FPS_MAX)),
        "Frames a second, up to 30. Without this key, 5, or 25 with h264.";
    "RTMS_VIDEO_RESOLUTION" = VideoParams::default().resolution.name() => to!(video.resolution, Resolution::from_text),
        "sd, hd (720p), fhd (1080p) or qhd (1440p).";
    "RTMS_SHARE_CODEC" = ShareParams::default().codec.name() => to!(share.codec, VideoCodec::from_text),
        "jpg or png at 1 frame a second, h264 above. Without this key, rtmsd chooses by the frame\n\
         rate.";
    "RTMS_SHARE_FPS" = ShareParams::default().fps => to!(share.fps, |text| read::number(text, 1_u8, FPS_MAX)),
        "Frames a second, up to 30. Without this key, 1, or 10 with h264.";
    "RTMS_SHARE_RESOLUTION" = ShareParams::default().resolution.name() => to!(share.resolution, Resolution::from_text),
        "sd, hd (720p), fhd (1080p) or qhd (1440p).";

    ["What is written"]
    "RTMS_OUT" = DEFAULT_OUT => to!(out, path),
        "Directory for the files of meetings. Only one server at a time may use it. Under systemd,\n\
         with StateDirectory=, the default is $STATE_DIRECTORY/meetings.";
    "RTMS_STATE" = DEFAULT_STATE => to!(state, path),
        "Directory for what a restart needs: running streams, webhooks received, tokens. Under\n\
         systemd, with StateDirectory=, the default is $STATE_DIRECTORY.";
    "RTMS_STATE_KEY_FILE" => to!(state_key_files, paths),
        "File with a key of 32 bytes or more (openssl rand 32): tokens, keys and state in RTMS_STATE are\n\
         encrypted with it, see \"rtmsd help security\". Behind it, after commas, former keys. Under\n\
         systemd the key may be the credential RTMS_STATE_KEY instead.";
    "RTMS_TRANSCRIPT" = TranscriptFormats::default() => to!(transcript, read::transcript_formats),
        "Transcript files: any of jsonl,txt,vtt,srt, or off.";
    "RTMS_FEED" = "on" => to!(feed, read::on_off),
        "The journal of each stream, feed.jsonl: every text event in order, for programs.";
    "RTMS_FEED_SOURCE" => to!(feed_source, |text| read::source(text).map(Some)),
        "What the journal's lines name as their source, a URI or a path. Without this key, /rtmsd/ and\n\
         this machine's name.";
    "RTMS_STDOUT" = StdoutFormat::default().name() => to!(config.daemon.stdout, read::stdout_format),
        "Form of the transcripts on standard output: text, jsonl or off.";
    "RTMS_ON_DEAUTHORIZED" = OnDeauthorized::default().name() => to!(config.daemon.on_deauthorized, read::on_deauthorized),
        "What happens to the data of an account that removes the app (app_deauthorized). keep: it\n\
         stays. delete: everything of the account is forgotten as by rtmsd forget --account, unless\n\
         the event says that the app may keep it (user_data_retention).";
    "RTMS_ON_REVOKED" = OnRevoked::default().name() => to!(config.daemon.on_revoked, read::on_revoked),
        "What happens when a participant withdraws consent (stop reason 8). delete: all files of the\n\
         stream are deleted at once. keep: they stay, and an error is logged.";

    ["How long it is kept: without these keys, for ever"]
    "RTMS_KEEP" => to!(config.daemon.keeping.keep, read::span),
        "How long a stream is kept after its end, as in 30d, 12h or 90m; off: for ever. Then its folder\n\
         is removed, and a line in removed.jsonl of the day tells ids, dates and the reason. Streams\n\
         that run, or that a push endpoint, an upload or the end program waits for, stay until then.";
    "RTMS_KEEP_AUDIO" => to!(config.daemon.keeping.keep_audio, read::span),
        "The same for the sound of a stream; its transcript stays.";
    "RTMS_KEEP_VIDEO" => to!(config.daemon.keeping.keep_video, read::span),
        "The same for cameras and shared screens.";
    "RTMS_DISK_MAX" => to!(config.daemon.keeping.disk_max, read::amount),
        "What everything below RTMS_OUT may take: a size as in 50G, or a share of the file system as\n\
         in 80%. Above it, whole streams are removed, the one that ended first at first.";
    "RTMS_DISK_FREE_MIN" => to!(config.daemon.keeping.disk_free_min, read::amount),
        "What must stay free on the file system of RTMS_OUT: 5G or 5%. Below it, the same.";

    ["HTTP push: every event of the journals to your own endpoints"]
    "RTMS_PUSH_URL" secret => to!(push.url, PushUrl::parse),
        "Where events are sent by POST: https, or http to a loopback address. Only scheme and host are\n\
         ever shown. RTMS_PUSH_CRM_URL, RTMS_PUSH_CRM_SECRET and so on set a further endpoint that is\n\
         called crm; there can be eight.";
    "RTMS_PUSH_SECRET" secret => to!(push.secrets, read::signing_secrets),
        "Secret that signs each request (Standard Webhooks), from \"rtmsd push secret\". Required\n\
         together with RTMS_PUSH_URL. While you change it: two or three, separated by commas.";
    "RTMS_PUSH_EVENTS" = "all" => to!(push.events, KindFilter::from_text),
        "Types of events to send: all, or types and families separated by commas, as in\n\
         transcript.*,stream.ended.";
    "RTMS_PUSH_BATCH" = 1 => to!(push.batch, |text| read::number(text, 1_u8, BATCH_MAX)),
        "Most events in one request, up to 100. With 1, each request is one event.";
    "RTMS_PUSH_LINGER" = 0 => to!(push.linger, linger),
        "Milliseconds to wait for more events, up to 1000, if RTMS_PUSH_BATCH is above 1.";
    "RTMS_PUSH_FORMAT" = "webhook" => to!(push.format, read::push_format),
        "webhook: JSON, a batch is an object (Standard Webhooks). cloudevents: the media types of\n\
         CloudEvents, a batch is an array.";
    "RTMS_PUSH_AUTHORIZATION" secret => to!(push.authorization, header_value),
        "Value of an Authorization header to send beside the signature, as in \"Bearer abc\".";
    "RTMS_PUSH_CONNECTIONS" = CONNECTIONS => to!(push.connections, |text| read::number(text, 1_u32, CONNECTIONS_MAX)),
        "Requests under way at once, from 1 to 32. The requests of one stream never overlap.";
    "RTMS_PUSH_GIVE_UP" = "0" => to!(push.give_up, |text| read::seconds(text, 0)),
        "Seconds after which an event that the endpoint refuses is skipped and counted, while it takes\n\
         others. 0: never; the stream waits.";

    ["When a stream has ended"]
    "RTMS_ON_STREAM_END" => to!(ends.command, |text| words(text).map(Some)),
        "Program that runs when the files of a stream are complete: its absolute path, and arguments.\n\
         Blanks separate them, double quotes group; there is no shell. It gets meta.json on standard\n\
         input and RTMSD_* variables; its folder is the stream's.";
    "RTMS_HOOK_TIMEOUT" = hook::DEFAULT_TIMEOUT.as_secs() => to!(ends.timeout, |text| read::seconds(text, 1).map(Some)),
        "Seconds after which that program is ended, and tried again.";
    "RTMS_HOOKS_AT_ONCE" = hook::DEFAULT_AT_ONCE => to!(ends.at_once, |text| read::number(text, 1_usize, hook::AT_ONCE_MAX).map(Some)),
        "How many of these programs run at the same time.";
    "RTMS_S3_BUCKET" => to!(ends.bucket, |text| read::bucket(text).map(Some)),
        "Bucket of an S3 object storage that the files of each stream are copied to when it has ended.";
    "RTMS_S3_REGION" = s3::DEFAULT_REGION => to!(ends.region, |text| read::id(text).map(Some)),
        "Region of the bucket.";
    "RTMS_S3_ENDPOINT" => to!(ends.endpoint, |text| read::endpoint(text).map(Some)),
        "Address of an object storage other than AWS: https://host[:port].";
    "RTMS_S3_PREFIX" => to!(ends.prefix, read::object_prefix),
        "What the names of all objects begin with, as in recordings/zoom.";
    "RTMS_S3_STYLE" = s3::Style::default().name() => to!(ends.style, read::s3_style),
        "Where the bucket's name stands in an address: path, host, or auto. auto is path with\n\
         RTMS_S3_ENDPOINT or with a dot in the bucket's name, else host.";
    "RTMS_S3_FILES" = s3::FileChoice::default().name() => to!(ends.files, read::file_choice),
        "all, or text: no audio, video and share.";
    "RTMS_S3_DELETE_LOCAL" = "off" => to!(ends.deletes_local, read::on_off),
        "Delete the files here, all but meta.json, once the bucket shows all of them and the program\n\
         of RTMS_ON_STREAM_END has ended.";
    "RTMS_S3_CHECKSUM" = "on" => to!(ends.has_checksums, |text| read::on_off(text).map(Some)),
        "Send x-amz-checksum-sha256 with each object. off for a storage that does not know it.";
    "RTMS_S3_SSE" = s3::Encryption::default().name() => to!(ends.encryption, read::s3_encryption),
        "Encryption by the storage: off (what the bucket does by itself), AES256 or aws:kms.";
    "RTMS_S3_KMS_KEY" => to!(ends.kms_key, |text| read::id(text).map(Some)),
        "Key of aws:kms, if not the bucket's own.";
    "RTMS_S3_ACCESS_KEY_ID" secret => to!(ends.access_key_id, |text| secret(text).map(Some)),
        "Access key id for the bucket.";
    "RTMS_S3_SECRET_ACCESS_KEY" secret => to!(ends.secret_access_key, |text| secret(text).map(Some)),
        "Secret access key. Required together with RTMS_S3_ACCESS_KEY_ID.";
    "RTMS_S3_SESSION_TOKEN" secret => to!(ends.session_token, |text| secret(text).map(Some)),
        "Session token, of temporary credentials.";
    "RTMS_S3_CREDENTIALS" => to!(ends.credentials, |text| read::s3_credentials(text).map(Some)),
        "Instead of keys, where they come from: file:/path or file:/path#profile (a credentials file\n\
         of AWS's tools), ecs (the container's role) or imds (the machine's role).";
    "RTMS_PLAINTEXT" = "off" => to!(plaintext, read::on_off),
        "Allow http to other machines in RTMS_PUSH_URL and RTMS_S3_ENDPOINT. What is said in meetings\n\
         then crosses the network in the clear. Also: no warning about redis:// in RTMS_FLEET.";

    ["Several machines that take over each other's streams, with a store between them"]
    "RTMS_FLEET" secret => to!(fleet.store, |text| StoreAddress::parse(text).map(Some)),
        "Address of the store, Redis or Valkey: redis://host:6379/0, rediss://user@host:6379/0 (TLS), or\n\
         unix:///run/redis.sock. All servers of a fleet have the same one, and each its own RTMS_NODE and\n\
         RTMS_STATE. Without this key, the server is alone. See \"rtmsd help fleet\".";
    "RTMS_FLEET_PASSWORD" secret => to!(fleet.password, |text| secret(text).map(Some)),
        "Password of the store, if it does not stand in RTMS_FLEET.";
    "RTMS_FLEET_NAME" = DEFAULT_FLEET_NAME => to!(fleet.name, |text| read::fleet_name(text).map(Some)),
        "Name of the fleet: two fleets of the same app on one store, as production and a trial, need two.";
    "RTMS_NODE" => to!(fleet.node, |text| read::fleet_name(text).map(Some)),
        "Name of this server, which no other one of the fleet has. Without this key, the name of this\n\
         machine. A server with a name that stays has its streams back at once after a restart.";
    "RTMS_NODE_STREAMS" => to!(fleet.streams, |text| read::number(text, 1_u32, NODE_STREAMS_MAX).map(Some)),
        "Streams beyond which this server gets no new meetings while others have room. It takes those of\n\
         dead servers up to a quarter more. Without this key, as many as open files allow.";

    ["Connections"]
    "RTMS_ALLOWED_HOSTS" = DEFAULT_ALLOWED_HOSTS => to!(config.daemon.allowed_hosts, AllowedHosts::parse),
        "Hosts that a webhook may direct rtmsd to. An entry with a dot in front means all hosts of\n\
         that domain; an entry without a dot in front is one host, which may have a private\n\
         address. ws://127.0.0.1 allows connections without TLS to that loopback address.";
    "RTMS_CA_FILE" => to!(config.daemon.ca_file, path),
        "Root certificates (PEM file) to trust in addition to those of the system.";

    ["Operation"]
    "RTMS_ADMIN" = admin::DEFAULT_ADDRESS => to!(config.admin.listen, read::admin),
        "Address and port of the admin listener: health, metrics, list of streams, live feed. Several\n\
         are separated by commas. unix:/run/rtmsd/admin.sock is a socket that the server's user and\n\
         group may open, without a token. off: none.";
    "RTMS_ADMIN_TOKEN" secret => to!(config.admin.token, |text| secret(text).map(Some)),
        "Token that clients of RTMS_ADMIN must send as Bearer. Required if an address of RTMS_ADMIN is\n\
         not a loopback address. Without it, the server makes one for content and commands, in\n\
         admin-token of RTMS_STATE.";
    "RTMS_ADMIN_URL" => to!(config.admin.url, |text| AdminUrl::parse(text).map(Some)),
        "How browsers reach RTMS_ADMIN through a proxy, as in https://ops.example.com/rtms.";
    "RTMS_LOG" = read::level_name(log::Settings::default().level) => to!(config.log.level, read::log_level),
        "Log level: off, error, warn, info, debug or trace. Only trace logs transcripts and names.";
    "RTMS_LOG_FORMAT" = LogFormat::default().name() => to!(config.log.format, read::log_format),
        "Form of log lines: text, json, or auto. auto is text; under systemd with priorities\n\
         instead of times.";
};

fn secret(text: &str) -> Result<Secret, String> {
    read::token(text).map(Secret::new)
}

fn path(text: &str) -> Result<Option<PathBuf>, String> {
    Ok(Some(PathBuf::from(text)))
}

fn paths(text: &str) -> Result<Vec<PathBuf>, String> {
    Ok(text
        .split(',')
        .map(|path| PathBuf::from(path.trim()))
        .collect())
}

fn linger(text: &str) -> Result<Duration, String> {
    read::number(text, 0, LINGER_MS_MAX).map(Duration::from_millis)
}

/// A value of a header: what is visible, and blanks within it.
fn header_value(text: &str) -> Result<Secret, String> {
    let is_plain = |b: u8| b.is_ascii_graphic() || b == b' ';
    if text.len() <= 8192 && text.bytes().all(is_plain) {
        Ok(Secret::new(text))
    } else {
        Err("at most 8192 letters, digits, signs and blanks".to_owned())
    }
}

/// A person's name; control characters are refused for every key.
fn name(text: &str) -> Result<String, String> {
    if text.len() <= 256 {
        Ok(text.to_owned())
    } else {
        Err("a name of at most 256 bytes".to_owned())
    }
}

fn streams_max(draft: &mut Draft, text: &str) -> Result<(), String> {
    let max = read::number(text, 0_usize, STREAMS_MAX)?;
    draft.config.daemon.streams_max = (max > 0).then_some(max);
    Ok(())
}

fn stop_after(draft: &mut Draft, text: &str) -> Result<(), String> {
    let time = read::seconds(text, 0)?;
    draft.config.daemon.stop_after = (!time.is_zero()).then_some(time);
    Ok(())
}
