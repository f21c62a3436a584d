//! A small Zoom on loopback: OAuth and REST, signed webhooks, signaling and media over TLS.
//!
//! The `demo` command, the end-to-end tests and the benches all play their meetings here. It is as
//! strict as Zoom and records every rule that a client breaks. It shares no code with the parts
//! that talk to the real Zoom, so that one mistake cannot be on both sides.
//!
//! ```no_run
//! use std::time::Duration;
//! use rtmsd::demo::{End, MeetingScript, Options, Step, Zoom};
//!
//! let zoom = Zoom::start(Options::default())?;
//! // Start a server with the settings of `zoom.environment()`, then say where it listens.
//! zoom.set_webhook_target("http://127.0.0.1:3000/webhook")?;
//! let meeting = zoom.start_meeting(MeetingScript::plain("first"));
//! assert!(meeting.wait_for_phrases(10, Duration::from_secs(10)));
//! meeting.end(End::meeting_ended());
//! assert!(meeting.wait_for(Step::Closed, Duration::from_secs(5)));
//! assert_eq!(zoom.stop(), Vec::<String>::new());
//! # Ok::<(), std::io::Error>(())
//! ```

pub mod balancer;
pub mod fleet_store;
pub mod media;
pub(crate) mod player;
pub(crate) mod process;
pub mod receiver;
#[cfg(test)]
mod tests;
pub mod verify;
pub mod zoom;

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use player::Meeting;
use zoom::certificate::Certificates;
use zoom::clock::Clock;
use zoom::connection_queue::Command;
use zoom::listeners::Doors;
use zoom::record::lock;
use zoom::shared::Shared;
use zoom::webhooks::Webhooks;

pub use balancer::Balancer;
pub use media::audio_source::tone_hz;
pub use media::sent_log::{Frame as SentFrame, Sent};
pub use player::content::Phrase;
pub use player::handle::MeetingHandle;
pub use player::script::{
    AudioScript, Begin, Cut, DemoProduct, Duplicates, End, Ending, Fault, Frame, FrameKind,
    HandshakeFault, IdForm, MeetingScript, Oddities, PayloadShape, Refusal, SentDetail, Socket,
    Speaker, speakers,
};
pub use process::{ServerCommand, ServerProcess};
pub use verify::phrases::{Comparison, compare, transcript_lines};
pub use zoom::events::{EventsBy, EventsRefusal};
pub use zoom::oauth::{Credentials, DemoUser};
pub use zoom::record::{Latencies, Step};
pub use zoom::rest::{Answer, Call};
pub use zoom::webhooks::Delivery;

/// How long Zoom waits for the answer to a webhook.
const MAX_ACK: Duration = Duration::from_secs(3);

/// Settings of a demo's Zoom. Ids and secrets are invented, and only these are accepted.
#[derive(Debug, Clone)]
pub struct Options {
    /// `ZOOM_CLIENT_ID`.
    pub client_id: String,
    /// `ZOOM_CLIENT_SECRET`.
    pub client_secret: String,
    /// The secret token of the General app, for meetings, webinars and calls.
    pub secret_token: String,
    /// The secret token of the Video SDK app.
    pub sdk_secret_token: String,
    /// The secret token of the Contact Center app.
    pub contact_center_secret_token: String,
    /// `ZOOM_ACCOUNT_ID`.
    pub account_id: String,
    /// Users of other accounts, who may authorize the app as well.
    pub further_users: Vec<DemoUser>,
    /// The token that REST accepts with [`Credentials::Static`].
    pub access_token: String,
    /// The first refresh token with [`Credentials::Refresh`].
    pub refresh_token: String,
    /// `ZOOM_VIDEO_SDK_KEY`.
    pub sdk_key: String,
    /// `ZOOM_VIDEO_SDK_SECRET`.
    pub sdk_secret: String,
    /// The kind of credentials for REST.
    pub credentials: Credentials,
    /// `ZOOM_REDIRECT_URL` with [`Credentials::Consent`].
    pub redirect_url: String,
    /// By which way events are sent.
    pub events_by: EventsBy,
    /// The subscription in the address of the event WebSocket.
    pub subscription_id: String,
    /// `expires_in` of issued tokens, whole seconds.
    pub token_lifetime: Duration,
    /// How much longer than `expires_in` says they are accepted, so that a busy machine renews them in time.
    pub token_grace: Duration,
    /// `scope` of issued tokens.
    pub scopes: String,
    /// Interval of keep-alives on each socket; zero sends none.
    pub keep_alive: Duration,
    /// A socket with this many unanswered keep-alives is cut. Zoom's number is 3; with much more
    /// frequent keep-alives it is higher, because the time counts, not the number.
    pub unanswered_max: usize,
    /// The host in all URLs: `127.0.0.1` or `localhost`; `127.0.0.2` with a proxy before it.
    pub host: String,
    /// Folder of the CA's certificate; if `None` a temporary folder, which is deleted at the end.
    pub directory: Option<PathBuf>,
    /// Maximum concurrent webhooks.
    pub webhook_threads: usize,
    /// The delays before a failed webhook is posted again; a failure after the last one is a
    /// violation.
    pub webhook_retries: Vec<Duration>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            client_id: "DemoClientId_0123456789".to_owned(),
            client_secret: "demo-client-secret-aTq83LxV".to_owned(),
            secret_token: "demo-secret-token-Zk20pWm1".to_owned(),
            sdk_secret_token: "demo-sdk-token-Jv48bTc9".to_owned(),
            contact_center_secret_token: "demo-zcc-token-Ue73kHn5".to_owned(),
            account_id: "DemoAccount-7Qx".to_owned(),
            further_users: Vec::new(),
            access_token: "demo-access-token-Hf55sYc0".to_owned(),
            refresh_token: "demo-refresh-token-Rb91oUe4".to_owned(),
            sdk_key: "DemoSdkKey_987654".to_owned(),
            sdk_secret: "demo-sdk-secret-Gd37nTq6".to_owned(),
            credentials: Credentials::Account,
            redirect_url: "https://rtms.example.com/oauth".to_owned(),
            events_by: EventsBy::Webhooks,
            subscription_id: "demoSubscription_Xc5".to_owned(),
            token_lifetime: Duration::from_secs(3600),
            token_grace: Duration::ZERO,
            scopes: "meeting:update:participant_rtms_app_status:admin \
                     meeting:read:meeting_transcript meeting:read:meeting_audio \
                     rtms:read:rtms_started:admin rtms:read:rtms_stopped:admin \
                     rtms:read:rtms_interrupted:admin"
                .to_owned(),
            keep_alive: Duration::from_secs(10),
            unanswered_max: 3,
            host: "127.0.0.1".to_owned(),
            directory: None,
            webhook_threads: 8,
            webhook_retries: Vec::new(),
        }
    }
}

impl Options {
    /// The secret tokens of all apps: `ZOOM_SECRET_TOKEN`.
    pub fn secret_tokens(&self) -> [&str; 3] {
        [
            &self.secret_token,
            &self.sdk_secret_token,
            &self.contact_center_secret_token,
        ]
    }

    /// The secret token that signs webhooks with that event.
    fn secret_token_of(&self, event: &str) -> &str {
        match event.split('.').next() {
            Some("session") => &self.sdk_secret_token,
            Some("contact_center") => &self.contact_center_secret_token,
            _ => &self.secret_token,
        }
    }
}

/// A running Zoom. Dropping it stops it.
pub struct Zoom {
    shared: Arc<Shared>,
    is_directory_ours: bool,
}

impl Zoom {
    /// Binds its ports, makes its certificates and starts its threads.
    ///
    /// # Errors
    /// If a port cannot be bound, a thread not started or the CA's file not written.
    pub fn start(options: Options) -> io::Result<Zoom> {
        let certificates = Certificates::new()?;
        let (directory, is_directory_ours) = match &options.directory {
            Some(directory) => (directory.clone(), false),
            None => (temporary_directory()?, true),
        };
        fs::write(directory.join(CA_FILE), &certificates.ca_pem)?;
        let (listeners, ports) = Doors::bind()?;
        let (clock, ticking) = Clock::new();
        let pool = options.webhook_threads.max(1);
        let shared = Arc::new(Shared::new(options, directory, certificates, ports, clock)?);
        let zoom = Zoom {
            shared: Arc::clone(&shared),
            is_directory_ours,
        };
        shared.spawn("zoom-clock", ticking)?;
        for _ in 0..pool {
            let again = Arc::clone(&shared);
            shared.spawn("zoom-webhooks", move || Webhooks::run(&again))?;
        }
        let again = Arc::clone(&shared);
        shared.spawn("zoom-doors", move || listeners.run(&again))?;
        Ok(zoom)
    }

    /// The settings it was started with.
    pub fn options(&self) -> &Options {
        &self.shared.options
    }

    /// The base of REST: `ZOOM_API_URL`.
    pub fn api_url(&self) -> String {
        format!(
            "http://{}:{}",
            self.shared.options.host,
            self.shared.ports.rest()
        )
    }

    /// The token endpoint: `ZOOM_OAUTH_URL`.
    pub fn oauth_url(&self) -> String {
        format!("{}/oauth/token", self.api_url())
    }

    /// The address of the event WebSocket: `ZOOM_EVENTS_URL`.
    pub fn events_url(&self) -> String {
        format!(
            "wss://{}:{}/ws?subscriptionId={}",
            self.shared.options.host,
            self.shared.ports.events(),
            self.shared.options.subscription_id
        )
    }

    /// The ports of 127.0.0.1 where it serves REST, signaling and media: for a proxy before it, which listens
    /// on the same ports of [`Options::host`].
    pub fn ports(&self) -> [u16; 3] {
        self.shared.ports.good()
    }

    /// The same of the event WebSocket.
    pub fn events_port(&self) -> u16 {
        self.shared.ports.events()
    }

    /// The certificate to trust: `RTMS_CA_FILE`.
    pub fn ca_file(&self) -> PathBuf {
        self.shared.directory.join(CA_FILE)
    }

    /// Settings, by their names in `rtms.conf`, with which a server works with this Zoom. The
    /// caller adds those about listening and files.
    pub fn environment(&self) -> Vec<(String, String)> {
        let options = &self.shared.options;
        let mut pairs = vec![
            ("ZOOM_CLIENT_ID", options.client_id.clone()),
            ("ZOOM_CLIENT_SECRET", options.client_secret.clone()),
            match options.events_by {
                EventsBy::Webhooks => ("ZOOM_SECRET_TOKEN", options.secret_tokens().join(",")),
                EventsBy::WebSocket => ("ZOOM_EVENTS_URL", self.events_url()),
            },
            ("ZOOM_VIDEO_SDK_KEY", options.sdk_key.clone()),
            ("ZOOM_VIDEO_SDK_SECRET", options.sdk_secret.clone()),
            ("ZOOM_API_URL", self.api_url()),
            ("ZOOM_OAUTH_URL", self.oauth_url()),
            ("RTMS_ALLOWED_HOSTS", options.host.clone()),
            ("RTMS_CA_FILE", self.ca_file().display().to_string()),
        ];
        pairs.push(match options.credentials {
            Credentials::Static => ("access_token", options.access_token.clone()),
            Credentials::Account => ("ZOOM_ACCOUNT_ID", options.account_id.clone()),
            Credentials::Refresh => ("ZOOM_REFRESH_TOKEN", options.refresh_token.clone()),
            Credentials::Consent => ("ZOOM_REDIRECT_URL", options.redirect_url.clone()),
        });
        pairs
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    }

    /// Where webhooks are posted: `http://127.0.0.1:3000/webhook`, or `https` with a certificate of
    /// this Zoom's CA.
    ///
    /// # Errors
    /// If the URL has no scheme, host or port.
    pub fn set_webhook_target(&self, url: &str) -> io::Result<()> {
        self.shared.webhooks.set_target(url)
    }

    /// Starts a meeting by its script.
    pub fn start_meeting(&self, script: MeetingScript) -> MeetingHandle {
        let meeting = Arc::new(Meeting::new(script));
        {
            let mut meetings = lock(&self.shared.meetings);
            let again = || Arc::clone(&meeting);
            meetings.by_number.insert(meeting.script.number, again());
            meetings.by_id.insert(meeting.script.id.clone(), again());
        }
        let begun = Instant::now();
        meeting.begin(&self.shared);
        MeetingHandle {
            shared: Arc::clone(&self.shared),
            meeting,
            begun,
        }
    }

    /// Forgets a meeting that is over: from then on its number is unknown.
    pub(crate) fn forget_meeting(&self, over: &MeetingHandle) {
        let script = &over.meeting.script;
        let mut meetings = lock(&self.shared.meetings);
        meetings.by_number.remove(&script.number);
        meetings.by_id.remove(&script.id);
    }

    /// Signs and posts a webhook at once.
    pub fn post_webhook(&self, body: &Value) -> Delivery {
        self.shared.webhooks.post_now(&self.shared, body)
    }

    /// Sends an event once on the event WebSocket, also if this Zoom posts webhooks.
    pub fn send_event(&self, body: &Value) -> Delivery {
        self.shared.events.send(body)
    }

    /// Posts these headers and bytes unchanged: forged, stale, malformed. Content type and length
    /// are added.
    pub fn post_raw(&self, headers: &[(&str, &str)], body: &[u8]) -> Delivery {
        self.shared.webhooks.post_raw(headers, body)
    }

    /// The value of `x-zm-signature` of the General app, for that timestamp (seconds) and body.
    pub fn sign(&self, timestamp: &str, body: &[u8]) -> String {
        zoom::webhooks::sign(&self.shared.options.secret_token, timestamp, body)
    }

    /// Posts `endpoint.url_validation`; a wrong answer is a violation.
    pub fn challenge(&self, plain_token: &str) -> Delivery {
        self.shared.webhooks.challenge(&self.shared, plain_token)
    }

    /// How many connections of the event WebSocket were accepted so far.
    pub fn events_accepted(&self) -> usize {
        self.shared.events.accepted()
    }

    /// How many were made, refused ones included.
    pub fn events_attempts(&self) -> usize {
        self.shared.events.attempts()
    }

    /// Whether a client is connected to the event WebSocket.
    pub fn has_events_client(&self) -> bool {
        self.shared.events.is_connected()
    }

    /// How many heartbeats came on the event WebSocket.
    pub fn events_heartbeats(&self) -> usize {
        self.shared.events.heartbeats()
    }

    /// How many WebSocket pings came on the event WebSocket.
    pub fn events_pings(&self) -> usize {
        self.shared.events.pings()
    }

    /// The names of events that were sent while no client was connected.
    pub fn events_missed(&self) -> Vec<String> {
        self.shared.events.missed()
    }

    /// Ends the connection of the event WebSocket in that way.
    pub fn cut_events(&self, cut: Cut) {
        self.shared.events.command(Command::Cut(cut));
    }

    /// Leaves the connection of the event WebSocket open without reading or sending.
    pub fn stall_events(&self) {
        self.shared.events.command(Command::Stall(None));
    }

    /// Refuses the next connections of the event WebSocket.
    pub fn refuse_events(&self, refusal: EventsRefusal, times: usize) {
        self.shared.events.refuse(refusal, times);
    }

    /// Another client connects whenever ours does, which closes ours.
    pub fn set_events_rival(&self, is_there: bool) {
        self.shared.events.set_rival(is_there);
    }

    /// Every webhook posted so far, except raw ones.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.shared.webhooks.deliveries()
    }

    /// Times from posting webhooks to their answers.
    pub fn webhook_latencies(&self) -> Latencies {
        self.shared.webhooks.latencies()
    }

    /// Times from sending keep-alives on that kind of socket to their answers.
    pub fn keep_alive_latencies(&self, socket: Socket) -> Latencies {
        match socket {
            Socket::Signaling => lock(&self.shared.signaling_keep_alives).clone(),
            Socket::Media => lock(&self.shared.media_keep_alives).clone(),
        }
    }

    /// Answers the next call of REST control like this; for one target (a meeting number or other
    /// id) or for the next one of any target.
    pub fn script_rest(&self, target: Option<&str>, answer: Answer) {
        let target = target.map(str::to_owned);
        lock(&self.shared.rest)
            .control_script
            .push((target, answer));
    }

    /// Answers the next token request like this.
    pub fn script_oauth(&self, answer: Answer) {
        lock(&self.shared.rest).token_script.push(answer);
    }

    /// What a person's browser does with the address of the authorization page: where it is sent after
    /// the choice.
    ///
    /// # Errors
    /// What is wrong with the address.
    pub fn consent(&self, address: &str, allows: bool) -> Result<String, String> {
        self.consent_of(&self.options().account_id, address, allows)
    }

    /// As [`Zoom::consent`], for a user of that account.
    ///
    /// # Errors
    /// What is wrong with the address, or that there is no such account.
    pub fn consent_of(&self, account: &str, address: &str, allows: bool) -> Result<String, String> {
        let page = format!("{}/oauth/authorize?", self.api_url());
        let Some(query) = address.strip_prefix(&page) else {
            return Err(format!("found {address}, expected {page}…"));
        };
        let mut oauth = lock(&self.shared.oauth);
        match oauth.consent_fault(query) {
            Some(fault) => Err(fault),
            None => oauth.consent(account, query, allows),
        }
    }

    /// Every call of REST control so far.
    pub fn rest_calls(&self) -> Vec<Call> {
        lock(&self.shared.rest).control_calls.clone()
    }

    /// Every token request so far.
    pub fn oauth_calls(&self) -> Vec<Call> {
        lock(&self.shared.rest).token_calls.clone()
    }

    /// Makes all access tokens issued so far invalid.
    pub fn revoke_access_tokens(&self) {
        lock(&self.shared.oauth).revoke_access();
    }

    /// Makes all access tokens and the refresh token invalid: the app was removed.
    pub fn revoke_everything(&self) {
        lock(&self.shared.oauth).revoke_all();
    }

    /// Makes the tokens of one account's user invalid: that user removed the app.
    pub fn revoke_account(&self, account: &str) {
        lock(&self.shared.oauth).revoke_account(account);
    }

    /// The refresh token that is valid now, if there is one.
    pub fn refresh_token(&self) -> Option<String> {
        self.refresh_token_of(&self.options().account_id)
    }

    /// That of the user of one account.
    pub fn refresh_token_of(&self, account: &str) -> Option<String> {
        lock(&self.shared.oauth).refresh_token(account)
    }

    /// How many TLS handshakes failed, including a client's refusal of a bad certificate.
    pub fn tls_failures(&self) -> u64 {
        self.shared.tls_failures.load(Ordering::Relaxed)
    }

    /// Number of WebSocket connections that are open or being opened.
    pub fn connections(&self) -> usize {
        lock(&self.shared.connections).len()
    }

    /// Every rule that was broken, as texts.
    pub fn violations(&self) -> Vec<String> {
        lock(&self.shared.violations).list()
    }

    /// Cuts all connections, joins every thread, and returns the violations.
    pub fn stop(self) -> Vec<String> {
        self.halt();
        self.violations()
    }

    fn halt(&self) {
        self.shared.stop(self.shared.options.webhook_threads.max(1));
        if self.is_directory_ours {
            // If a temporary folder cannot be deleted, the system will do it.
            let _ = fs::remove_dir_all(&self.shared.directory);
        }
    }
}

impl Drop for Zoom {
    fn drop(&mut self) {
        self.halt();
    }
}

const CA_FILE: &str = "demo-ca.pem";

pub(crate) fn temporary_directory() -> io::Result<PathBuf> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = format!(
        "rtmsd-demo-{}-{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed),
        zoom::oauth::random()
    );
    let directory = std::env::temp_dir().join(name);
    let made = fs::DirBuilder::new().mode(0o700).create(&directory);
    made.map_err(|error| {
        let text = format!(
            "{}: cannot be made: {error}; TMPDIR names another place",
            directory.display()
        );
        io::Error::new(error.kind(), text)
    })?;
    Ok(directory)
}
