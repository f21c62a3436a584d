//! Every key there is, once: its names, its default, what it means, how it is read.
//!
//! This table drives the parser, the faults about unknown keys, `rtms.conf.example`, and whatever
//! else has to list the keys. Its order is the order of the example.

use std::path::PathBuf;

use super::Config;
use super::values as read;
use crate::domain::secret::Secret;
use crate::protocol::events::EventSelection;
use crate::protocol::params::{
    AudioCodec, AudioStreams, Channels, Content, FPS_MAX, MediaSelection, Resolution, SampleRate,
    TranscriptParams, VideoCodec, VideoStreams,
};

/// A key of the configuration.
#[derive(Debug)]
pub struct Key {
    /// The heading it stands under.
    pub section: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Other names that mean the same.
    pub aliases: &'static [&'static str],
    /// The text of its default; empty for none.
    pub default: &'static str,
    /// What it means, in lines as they are printed.
    pub prose: &'static str,
    /// Whether its value is hidden, and may come from a file of its own.
    pub is_secret: bool,
    /// What the example sets it to, where it does.
    pub example: Option<&'static str>,
    pub(super) set: fn(&mut Draft, &str) -> Result<(), String>,
}

impl Key {
    /// Whether this is one of its names.
    pub fn is_named(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name)
    }

    /// All names, those for a secret in a file included.
    pub fn names(&self) -> impl Iterator<Item = String> {
        let names = std::iter::once(self.name).chain(self.aliases.iter().copied());
        let is_secret = self.is_secret;
        names.flat_map(move |name| {
            let file = is_secret.then(|| format!("{name}_FILE"));
            std::iter::once(name.to_owned()).chain(file)
        })
    }
}

/// A configuration in the making: what several keys decide together is not yet in it.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) config: Config,
    pub(super) tls_cert: Option<PathBuf>,
    pub(super) tls_key: Option<PathBuf>,
    pub(super) video_sdk_key: Option<String>,
    pub(super) video_sdk_secret: Option<Secret>,
    pub(super) api_client_id: Option<String>,
    pub(super) api_client_secret: Option<Secret>,
    pub(super) out: Option<PathBuf>,
    pub(super) state: Option<PathBuf>,
    pub(super) audio: AudioDraft,
    pub(super) video: PictureDraft,
    pub(super) video_streams: Option<VideoStreams>,
    pub(super) share: PictureDraft,
}

/// What was chosen of audio.
#[derive(Default)]
pub(super) struct AudioDraft {
    pub(super) content: Option<Content>,
    pub(super) codec: Option<AudioCodec>,
    pub(super) sample_rate: Option<SampleRate>,
    pub(super) channels: Option<Channels>,
    pub(super) streams: Option<AudioStreams>,
    pub(super) send_rate_ms: Option<u16>,
}

/// What was chosen of video or share.
#[derive(Default)]
pub(super) struct PictureDraft {
    pub(super) codec: Option<VideoCodec>,
    pub(super) resolution: Option<Resolution>,
    pub(super) fps: Option<u8>,
}

/// Writes one entry of the table in few words.
macro_rules! keys {
    ($( [$section:literal] $( $name:literal $(| $alias:literal)* $(= $default:literal)? $(; $example:literal)? $($secret:ident)? => $set:expr, $prose:literal; )+ )+) => {
        &[ $($( Key {
            section: $section,
            name: $name,
            aliases: &[$($alias),*],
            default: keys!(@text $($default)?),
            prose: $prose,
            is_secret: keys!(@secret $($secret)?),
            example: keys!(@example $($example)?),
            set: $set,
        }, )+)+ ]
    };
    (@text) => { "" };
    (@text $default:literal) => { $default };
    (@secret) => { false };
    (@secret secret) => { true };
    (@example) => { None };
    (@example $example:literal) => { Some($example) };
}

/// Stores what was read in a place of the draft.
macro_rules! to {
    ($place:ident $(. $field:ident)* , $read:expr) => {
        |draft: &mut Draft, text: &str| -> Result<(), String> {
            draft.$place$(.$field)* = $read(text)?.into();
            Ok(())
        }
    };
}

/// Every key, in the order of `rtms.conf.example`.
pub const KEYS: &[Key] = keys! {
    ["The app"]
    "ZOOM_CLIENT_ID" => to!(config.client_id, read::id),
        "Client id of the app whose streams are received. Required.";
    "ZOOM_CLIENT_SECRET" secret => to!(config.client_secret, secret),
        "Client secret of that app; signs the handshakes of every stream. Required.";
    "ZOOM_SECRET_TOKEN" secret => to!(config.secret_tokens, super::precedence::secrets),
        "Webhook secret token of that app; proves that a webhook comes from Zoom. Required unless\n\
         RTMS_VERIFY_WEBHOOKS=off. Several with commas between them, for several apps or while a\n\
         token is changed.";
    "ZOOM_VIDEO_SDK_KEY" => to!(video_sdk_key, |text| read::id(text).map(Some)),
        "SDK key, if sessions of the Video SDK are received.";
    "ZOOM_VIDEO_SDK_SECRET" secret => to!(video_sdk_secret, |text| secret(text).map(Some)),
        "SDK secret, beside ZOOM_VIDEO_SDK_KEY.";

    ["Calling Zoom: one of the three ways to obtain an access token, tried in this order"]
    "access_token" | "ZOOM_ACCESS_TOKEN" secret => to!(config.access_token, |text| secret(text).map(Some)),
        "An access token as it is, as in Zoom's quickstart. Such a token lives for an hour.";
    "ZOOM_ACCOUNT_ID" => to!(config.account_id, |text| read::id(text).map(Some)),
        "Account id, for server-to-server OAuth. The app that receives streams cannot be of that\n\
         kind, so it usually goes with ZOOM_API_CLIENT_ID and ZOOM_API_CLIENT_SECRET.";
    "ZOOM_REFRESH_TOKEN" secret => to!(config.refresh_token, |text| secret(text).map(Some)),
        "Refresh token, for user OAuth. Zoom replaces it with every use; the newest one is kept in\n\
         RTMS_STATE, and a token written here later than that is taken instead.";
    "ZOOM_API_CLIENT_ID" => to!(api_client_id, |text| read::id(text).map(Some)),
        "Client id for OAuth, if that is another app than ZOOM_CLIENT_ID.";
    "ZOOM_API_CLIENT_SECRET" secret => to!(api_client_secret, |text| secret(text).map(Some)),
        "Its client secret.";
    "ZOOM_API_URL" = "https://api.zoom.us" => to!(config.api_url, read::url),
        "Where REST calls go; https://api.zoomgov.com for the government cloud. http:// is taken\n\
         for loopback addresses only.";
    "ZOOM_OAUTH_URL" = "https://zoom.us/oauth/token" => to!(config.oauth_url, read::url),
        "Where tokens are obtained; https://zoomgov.com/oauth/token for the government cloud.";

    ["Webhooks"]
    "HOST" = "0.0.0.0" => to!(config.host, read::address),
        "Address to listen on: 127.0.0.1 behind a proxy on this machine, :: for IPv6 too.";
    "PORT" = "3000" => to!(config.port, read::port),
        "Port to listen on; 0 for any free one.";
    "WEBHOOK_PATH" = "/webhook" => to!(config.webhook_path, read::webhook_path),
        "Path of the event notification endpoint URL that the app has at Zoom.";
    "RTMS_TLS_CERT" => to!(tls_cert, path),
        "Certificate chain (PEM) to serve HTTPS without a proxy. Zoom wants a publicly trusted one.";
    "RTMS_TLS_KEY" => to!(tls_key, path),
        "Private key (PEM), beside RTMS_TLS_CERT.";
    "RTMS_VERIFY_WEBHOOKS" = "on" => to!(config.verify_webhooks, read::on_off),
        "\"off\" only for trials: anyone who reaches the port can then start and stop streams.";
    "RTMS_WEBHOOK_MAX_AGE" = "300" => to!(config.webhook_max_age, |text| read::seconds(text, 1)),
        "How many seconds the time in a webhook's signature may differ from now.";

    ["Starting and stopping"]
    "RTMS_AUTO_START" = "on" => to!(config.auto_start, read::on_off),
        "Start a stream by REST when a meeting starts. Without it, streams come when Zoom starts\n\
         them: by the account's rules, by a person, by \"rtmsd start\".";
    "RTMS_STOP_AFTER" = "0"; "10" => stop_after,
        "Seconds after our own start of a stream until our own stop; 0 lets it run until the\n\
         meeting ends. The 10 is that of Zoom's quickstart: take it out for real work.";
    "RTMS_PARTICIPANT_USER_ID" => to!(config.participant_user_id, |text| read::id(text).map(Some)),
        "Start the stream for this participant (a Zoom user id), if not for the token's owner.";
    "RTMS_ON_EXIT" = "leave" => to!(config.on_exit, read::on_exit),
        "What the server's end does to running streams: \"leave\" them, so that it can rejoin them if\n\
         it is back within a minute, or \"stop\" them.";

    ["Media"]
    "RTMS_MEDIA" = "transcript" => to!(config.media, MediaSelection::from_text),
        "What to receive: any of transcript,audio,video,share,chat, or all. Each needs its scope at\n\
         the app; \"all\" comes on one connection, anything else on one for each.";
    "RTMS_EVENTS" = "speaker,participants,sharing" => to!(config.events, EventSelection::from_text),
        "Events to receive: any of speaker,participants,sharing,video,chat, for Contact Center also\n\
         consumer,agent,monitor,transfer,conference; or all, or off.";
    "RTMS_BUFFER_DATA" = "on" => to!(config.buffer_data, read::on_off),
        "Also receive what was said between the start of the stream and our connection.";
    "RTMS_TRANSCRIPT_LANGUAGE" = "auto" => to!(config.params.transcript, TranscriptParams::from_text),
        "Language that a meeting begins in, as tag or English name: de, german. Zoom follows what is\n\
         spoken after 30 seconds; with \",pin\" (de,pin) it stays with that language.";
    "RTMS_AUDIO_CODEC" = "l16" => to!(audio.codec, AudioCodec::from_text),
        "l16, opus, g711 or g722.";
    "RTMS_AUDIO_SAMPLE_RATE" = "16000" => to!(audio.sample_rate, SampleRate::from_text),
        "8000, 16000, 32000 or 48000 with l16. Without this key, what the codec needs: 48000 for\n\
         opus, 8000 for g711, 16000 for g722.";
    "RTMS_AUDIO_CHANNELS" = "mono" => to!(audio.channels, Channels::from_text),
        "mono, or stereo with l16 and opus.";
    "RTMS_AUDIO_STREAMS" = "mixed" => to!(audio.streams, AudioStreams::from_text),
        "mixed, or per-speaker for a file of each.";
    "RTMS_AUDIO_SEND_RATE" = "20" => to!(audio.send_rate_ms, |text| read::number(text, 20_u16, 1000)),
        "Milliseconds of sound in a packet: 20 to 1000, a multiple of 20, with l16; else 20.";
    "RTMS_AUDIO_CONTENT" = "raw" => to!(audio.content, Content::from_text),
        "raw, or rtp with opus, g711 and g722.";
    "RTMS_VIDEO" = "active" => to!(video_streams, VideoStreams::from_text),
        "Whose camera: the active speaker's, or an individual participant's.";
    "RTMS_VIDEO_PARTICIPANT" => to!(config.video_participant, |text| name(text).map(Some)),
        "With RTMS_VIDEO=individual: that participant's user id or name. Without, the active\n\
         speaker's own camera is followed.";
    "RTMS_VIDEO_CODEC" = "jpg" => to!(video.codec, VideoCodec::from_text),
        "jpg or png up to 5 frames a second, h264 above. Without this key, what the rate needs.";
    "RTMS_VIDEO_FPS" = "5" => to!(video.fps, |text| read::number(text, 1_u8, FPS_MAX)),
        "Frames a second, up to 30. Without this key, 25 for h264.";
    "RTMS_VIDEO_RESOLUTION" = "hd" => to!(video.resolution, Resolution::from_text),
        "sd, hd (720p), fhd (1080p) or qhd (1440p).";
    "RTMS_SHARE_CODEC" = "jpg" => to!(share.codec, VideoCodec::from_text),
        "jpg or png at 1 frame a second, h264 above. Without this key, what the rate needs.";
    "RTMS_SHARE_FPS" = "1" => to!(share.fps, |text| read::number(text, 1_u8, FPS_MAX)),
        "Frames a second, up to 30. Without this key, 10 for h264.";
    "RTMS_SHARE_RESOLUTION" = "fhd" => to!(share.resolution, Resolution::from_text),
        "sd, hd (720p), fhd (1080p) or qhd (1440p).";

    ["What is written"]
    "RTMS_OUT" = "./rtms-out" => to!(out, path),
        "Where meetings are written, by one server at a time. Under systemd, with StateDirectory=,\n\
         the default is $STATE_DIRECTORY/meetings.";
    "RTMS_STATE" = "./rtms-state" => to!(state, path),
        "What a restart needs: running streams, webhooks seen, tokens. Under systemd, with\n\
         StateDirectory=, the default is $STATE_DIRECTORY.";
    "RTMS_TRANSCRIPT" = "jsonl,vtt" => to!(config.transcript, read::transcript_formats),
        "Transcript files: any of jsonl,txt,vtt,srt, or off.";
    "RTMS_STDOUT" = "text" => to!(config.stdout, read::stdout_mode),
        "Transcripts on standard output: text, jsonl or off.";
    "RTMS_ON_REVOKED" = "delete" => to!(config.on_revoked, read::on_revoked),
        "When consent is withdrawn (stop reason 8): \"delete\" all files of the stream at once, or\n\
         \"keep\" them and log an error.";

    ["Whom we connect to"]
    "RTMS_ALLOWED_HOSTS" = ".zoom.us,.zoom.com,.zoomgov.com" => to!(config.allowed_hosts, read::allowed_hosts),
        "Hosts that a webhook may send us to: a domain with a dot in front for all below it, or a\n\
         host, which may then be a private address too. ws://127.0.0.1 allows connections without\n\
         TLS to that loopback address.";
    "RTMS_CA_FILE" => to!(config.ca_file, path),
        "Root certificates (PEM) to trust beside those of the system.";

    ["Operation"]
    "RTMS_ADMIN" = "127.0.0.1:9464" => to!(config.admin, read::admin),
        "Address and port of health, metrics and the list of streams; off for none.";
    "RTMS_ADMIN_TOKEN" secret => to!(config.admin_token, |text| secret(text).map(Some)),
        "Token that a client of RTMS_ADMIN must show as Bearer. Required if that is not a loopback\n\
         address.";
    "RTMS_LOG" = "info" => to!(config.log_level, read::log_level),
        "off, error, warn, info, debug or trace. At trace, transcripts and names are in the log.";
    "RTMS_LOG_FORMAT" = "auto" => to!(config.log_format, read::log_format),
        "text, json, or auto: text, with priorities instead of times under systemd.";
};

fn secret(text: &str) -> Result<Secret, String> {
    read::token(text).map(Secret::new)
}

fn path(text: &str) -> Result<Option<PathBuf>, String> {
    Ok(Some(PathBuf::from(text)))
}

/// A person's name; control characters are refused for every key.
fn name(text: &str) -> Result<String, String> {
    if text.len() <= 256 {
        Ok(text.to_owned())
    } else {
        Err("a name of at most 256 bytes".to_owned())
    }
}

fn stop_after(draft: &mut Draft, text: &str) -> Result<(), String> {
    let time = read::seconds(text, 0)?;
    draft.config.stop_after = (!time.is_zero()).then_some(time);
    Ok(())
}
