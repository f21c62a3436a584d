//! What a configuration means, in sentences.

use std::time::Duration;

use super::count;
use super::keeping;
use super::report::{CheckLevel, Finding};
use crate::admin;
use crate::admin::ListenAddress;
use crate::config::Config;
use crate::daemon::{OnDeauthorized, OnExit, OnRevoked, Settings};
use crate::delivery::ends;
use crate::delivery::push::settings::EndpointSettings;
use crate::delivery::s3::{Encryption, FileChoice};
use crate::delivery::stdout::StdoutFormat;
use crate::domain::app::{App, RestCredentials};
use crate::domain::fleet::FleetSettings;
use crate::domain::product::Product;
use crate::feed::kind::KindFilter;
use crate::protocol::events::EventGroup;
use crate::protocol::params::{AudioStreams, MediaKind, MediaSelection, VideoStreams};
use crate::recorder::RecorderSettings;
use crate::source::webhook::route::own_path;

/// Meetings are longer. The 10 s of Zoom's quickstart are for a first look.
const STOP_AFTER_MIN: Duration = Duration::from_secs(60);

/// A topic and its explanation, in the order of a stream's course.
pub(super) fn of(config: &Config) -> Vec<(&'static str, String)> {
    let settings = &config.daemon;
    let mut lines = vec![
        ("webhooks", webhooks(config)),
        ("events by", events_by(config)),
        ("starting", starting(config)),
        ("tokens", tokens(config.app())),
        ("media", media(settings)),
    ];
    lines.extend(scopes(&settings.media).map(|text| ("scopes", text)));
    lines.extend(parameters(settings));
    lines.push(("events", events(settings)));
    lines.push(("connects to", connects(settings)));
    lines.extend(settings.disk.as_ref().map(|disk| ("meetings", files(disk))));
    let disk = settings.disk.as_ref();
    lines.extend(disk.map(|_| ("keeping", keeping::meaning(&settings.keeping))));
    lines.extend(
        settings
            .push
            .iter()
            .map(|endpoint| ("push", push(endpoint))),
    );
    lines.extend(ends(&settings.ends));
    lines.push(("consent", consent(settings)));
    lines.push(("app removed", app_removed(settings)));
    lines.push(("stdout", stdout(settings)));
    let state = settings.state.as_ref();
    lines.extend(state.map(|state| ("state", state.display().to_string())));
    lines.extend(settings.fleet.as_ref().map(|it| ("fleet", fleet(it))));
    lines.push(("at exit", at_exit(settings)));
    lines.push(("admin", admin(&config.admin)));
    lines.push((
        "log",
        format!("{} on stderr", config.log.level.as_str().to_lowercase()),
    ));
    lines
}

fn webhooks(config: &Config) -> String {
    let settings = &config.daemon.webhooks;
    let webhook = &settings.webhook;
    let scheme = if settings.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let port = match config.port {
        None => return "off (PORT=off)".to_owned(),
        Some(0) => "a free port".to_owned(),
        Some(port) => format!("port {port}"),
    };
    let mut text = format!("{scheme} on {} {port}, POST {}", config.host, webhook.path);
    let name = &config.app().name;
    if !name.is_empty() {
        text += &format!(" or {}", own_path(&webhook.path, name));
    }
    match &settings.tls {
        Some(tls) => {
            text += &format!(
                "; certificate {}, key {}",
                tls.cert.display(),
                tls.key.display()
            );
        }
        None => text += "; Zoom calls https only, so a proxy in front is required",
    }
    if webhook.verify {
        let tokens = count(config.app().secret_tokens.len(), "secret token");
        let age = webhook.max_age.as_secs();
        text += &format!("; signatures verified with {tokens}, up to {age} s old");
    } else {
        text += "; signatures NOT verified";
    }
    text
}

/// By which way Zoom's account events come.
fn events_by(config: &Config) -> String {
    let port = config.port.map(|_| "webhooks");
    match (&config.daemon.zoom_events, port) {
        (None, _) => "webhooks".to_owned(),
        (Some(events), port) => format!(
            "{}an outgoing WebSocket to {}; Zoom repeats nothing there after an interruption",
            port.map_or(String::new(), |port| format!("{port}, and ")),
            events.url.as_str()
        ),
    }
}

fn starting(config: &Config) -> String {
    let rest = &config.app().rest;
    let who = if !config.daemon.auto_start {
        "streams that Zoom starts are received; none is started here".to_owned()
    } else if !rest.credentials.is_some() {
        "streams that Zoom starts are received; without credentials none can be started here"
            .to_owned()
    } else {
        match &rest.participant_user_id {
            Some(user) => format!("each meeting's stream is started by REST for user {user}"),
            None => "each meeting's stream is started by REST".to_owned(),
        }
    };
    let who = match config.daemon.streams_max {
        Some(max) => format!("{who}, at most {max} at one time for each account"),
        None => who,
    };
    match config.daemon.stop_after {
        Some(after) => format!(
            "{who}; one started here is stopped after {} s, by RTMS_STOP_AFTER",
            after.as_secs()
        ),
        None => format!("{who}; it ends with the meeting"),
    }
}

/// The server does not warn by itself, because the value is fine for a first test.
pub(super) fn stopping(config: &Config) -> Option<Finding> {
    let starts = config.daemon.auto_start && config.app().rest.credentials.is_some();
    let after = config.daemon.stop_after.filter(|_| starts)?;
    (after < STOP_AFTER_MIN).then(|| {
        let text = format!(
            "every recording ends after {} s; remove RTMS_STOP_AFTER for real work",
            after.as_secs()
        );
        Finding::new(CheckLevel::Warn, "stopping", text)
    })
}

fn tokens(app: &App) -> String {
    let url = &app.rest.oauth_url;
    match &app.rest.credentials {
        RestCredentials::Static { .. } => {
            "access_token, as it is: works for an hour from when it was made".to_owned()
        }
        RestCredentials::ServerToServer {
            account_id,
            client_id,
            ..
        } => format!("server-to-server, account {account_id}, app {client_id}, {url}"),
        RestCredentials::UserRefresh {
            client_id,
            refresh_token,
            ..
        } if refresh_token.is_empty() => {
            let redirect = app.rest.redirect_url.as_deref().unwrap_or_default();
            format!(
                "user OAuth by \"rtmsd authorize\", app {client_id}, redirect {redirect}, {url}"
            )
        }
        RestCredentials::UserRefresh { client_id, .. } => {
            format!("user OAuth by refresh token, app {client_id}, {url}")
        }
        RestCredentials::None => "none: no REST calls".to_owned(),
    }
}

fn media(settings: &Settings) -> String {
    let names: Vec<&str> = settings
        .media
        .kinds()
        .iter()
        .map(|kind| kind.name())
        .collect();
    let early = if settings.buffer_data {
        "with what was said before the connection"
    } else {
        "from the connection on"
    };
    match settings.media.is_all() {
        true => format!("everything on one connection, {early}"),
        false => format!(
            "{}, each on a connection of its own, {early}",
            names.join(", ")
        ),
    }
}

/// The scopes that meetings need, which are the most often forgotten.
fn scopes(media: &MediaSelection) -> Option<String> {
    let wanted = MediaKind::SINGLE
        .into_iter()
        .filter(|kind| media.is_wanted(*kind));
    let scopes: Vec<&str> = wanted
        .filter_map(|kind| kind.scope(Product::Meeting))
        .collect();
    (!scopes.is_empty()).then(|| format!("the app needs {}", scopes.join(", ")))
}

fn parameters(settings: &Settings) -> Vec<(&'static str, String)> {
    let params = &settings.params;
    let mut lines = Vec::new();
    if settings.media.is_wanted(MediaKind::Audio) {
        let audio = &params.audio;
        let whose = match audio.streams {
            AudioStreams::Mixed => "all speakers mixed",
            AudioStreams::PerSpeaker => "a file for each speaker",
        };
        lines.push((
            "audio",
            format!(
                "{} at {} Hz, {}, {} ms in a packet, {whose}",
                audio.codec.name(),
                audio.sample_rate.hz(),
                audio.channels.name(),
                audio.send_rate_ms
            ),
        ));
    }
    if settings.media.is_wanted(MediaKind::Video) {
        let video = &params.video;
        let whose = match (video.streams, &settings.video_participant) {
            (VideoStreams::Active, _) => "of the active speaker".to_owned(),
            (VideoStreams::Individual, Some(name)) => format!("of {name}"),
            (VideoStreams::Individual, None) => {
                "of one participant, following who speaks".to_owned()
            }
        };
        let (codec, size) = (video.codec.name(), video.resolution.name());
        lines.push((
            "video",
            format!("{codec}, {size}, {} a second, {whose}", video.fps),
        ));
    }
    if settings.media.is_wanted(MediaKind::Share) {
        let share = &params.share;
        let (codec, size) = (share.codec.name(), share.resolution.name());
        lines.push(("share", format!("{codec}, {size}, {} a second", share.fps)));
    }
    if settings.media.is_wanted(MediaKind::Transcript) {
        let transcript = &params.transcript;
        let text = match (transcript.language, transcript.is_pinned) {
            (None, _) => "language detected by Zoom".to_owned(),
            (Some(language), true) => format!("{} throughout", language.name()),
            (Some(language), false) => {
                format!("{} for 30 s, then detected by Zoom", language.name())
            }
        };
        lines.push(("transcript", text));
    }
    lines
}

fn events(settings: &Settings) -> String {
    let names: Vec<&str> = settings
        .events
        .groups()
        .iter()
        .map(|group: &EventGroup| group.name())
        .collect();
    match names.as_slice() {
        [] => "none".to_owned(),
        names => names.join(", "),
    }
}

fn connects(settings: &Settings) -> String {
    let mut text = settings.allowed_hosts.to_string();
    if let Some(file) = &settings.ca_file {
        text += &format!("; also trusts the root certificates in {}", file.display());
    }
    text
}

fn files(disk: &RecorderSettings) -> String {
    let formats = disk.formats;
    let names = [
        (formats.jsonl, "jsonl"),
        (formats.txt, "txt"),
        (formats.vtt, "vtt"),
        (formats.srt, "srt"),
    ];
    let names: Vec<&str> = names
        .iter()
        .filter(|(on, _)| *on)
        .map(|(_, name)| *name)
        .collect();
    let folder = disk.root.display();
    match names.as_slice() {
        [] => format!("no transcript files, in {folder}"),
        names => format!("transcripts as {}, in {folder}", names.join(", ")),
    }
}

/// Where content goes, and how.
fn push(endpoint: &EndpointSettings) -> String {
    let events = match endpoint.events == KindFilter::default() {
        true => "every event",
        false => "events by RTMS_PUSH_EVENTS",
    };
    let batch = match endpoint.batch {
        1 => "one a request".to_owned(),
        n => format!("up to {n} a request"),
    };
    let signed = count(endpoint.secrets.len(), "secret");
    let mut text = format!(
        "{}: {events} to {}, {batch}, signed with {signed}",
        endpoint.name,
        endpoint.url.origin()
    );
    if endpoint.authorization.is_some() {
        text += ", with an Authorization header";
    }
    if let Some(time) = endpoint.give_up {
        text += &format!("; what is refused for {} s is skipped", time.as_secs());
    }
    if endpoint.url.is_readable_on_the_way() {
        text += "; IN THE CLEAR: what is said in meetings can be read on the way";
    }
    text
}

/// What is done with streams that have ended: where their content goes beside here.
fn ends(settings: &ends::Settings) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if let Some(bucket) = &settings.bucket {
        let what = match bucket.files {
            FileChoice::All => "all",
            FileChoice::Text => "text",
        };
        let (name, region, place) = (&bucket.bucket, &bucket.region, bucket.endpoint());
        let mut text = format!(
            "{what} files of streams that have ended go to the bucket \"{name}\" at {place}, region \
             {region}, below \"{}\"; credentials from {}",
            bucket.prefix,
            bucket.credentials.name()
        );
        if place.starts_with("http://") {
            text += "; UNENCRYPTED on the way, which RTMS_PLAINTEXT or a loopback address allows";
        }
        if bucket.encryption != Encryption::Off {
            text += &format!("; encrypted there by {}", bucket.encryption.name());
        }
        if bucket.deletes_local {
            text += "; then they are deleted here, all but meta.json";
        }
        lines.push(("bucket", text));
    }
    if let Some(hook) = &settings.hook {
        let text = format!(
            "{} runs when a stream has ended, with its names and topic, and can read its files; {} at \
             once, up to {} s each",
            hook.program().display(),
            hook.at_once,
            hook.timeout.as_secs()
        );
        lines.push(("hook", text));
    }
    lines
}

fn consent(settings: &Settings) -> String {
    match settings.on_revoked {
        OnRevoked::Delete => "withdrawn: the stream's files are deleted at once".to_owned(),
        OnRevoked::Keep => "withdrawn: files are KEPT, and an error is logged".to_owned(),
    }
}

fn app_removed(settings: &Settings) -> String {
    match settings.on_deauthorized {
        OnDeauthorized::Keep => "the account's data stays, tokens are deleted".to_owned(),
        OnDeauthorized::Delete => {
            "the account's data is forgotten, unless the event lets the app keep it".to_owned()
        }
    }
}

fn stdout(settings: &Settings) -> String {
    match settings.stdout {
        Some(StdoutFormat::Text) => "a line of text for every phrase".to_owned(),
        Some(StdoutFormat::Jsonl) => "a line of JSON for every phrase".to_owned(),
        None => "nothing".to_owned(),
    }
}

fn fleet(fleet: &FleetSettings) -> String {
    let streams = match fleet.streams {
        Some(streams) => streams.to_string(),
        None => "as many as open files allow".to_owned(),
    };
    let (node, name, store) = (&fleet.node, &fleet.name, &fleet.store);
    let user = match &store.user {
        Some(user) => format!(" as {user}"),
        None => String::new(),
    };
    format!("node {node} of the fleet {name}, by {store}{user}; streams: {streams}")
}

fn at_exit(settings: &Settings) -> String {
    match settings.on_exit {
        OnExit::Leave => {
            "streams are left open: back within a minute, they are rejoined".to_owned()
        }
        OnExit::Stop => "streams are stopped".to_owned(),
        OnExit::HandOver => "streams are handed over to other servers of the fleet".to_owned(),
    }
}

fn admin(settings: &admin::Settings) -> String {
    if settings.listen.is_empty() {
        return "off: no health, no metrics, no \"rtmsd status\", no live feed".to_owned();
    }
    let places = settings.listen.iter().map(|address| match address {
        ListenAddress::Tcp(address) => format!("http://{address}"),
        ListenAddress::Unix(_) => address.to_string(),
    });
    let token = match settings.token {
        Some(_) => "with token",
        None => "content with the token in admin-token of RTMS_STATE",
    };
    let places = places.collect::<Vec<String>>().join(", ");
    let url = settings.url.as_ref();
    let url = url.map_or_else(String::new, |url| format!("; outside {url}"));
    format!("{places} for /healthz, /readyz, /metrics, /streams, /events, /media; {token}{url}")
}
