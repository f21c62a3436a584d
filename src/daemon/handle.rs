//! A handle to a running daemon for the other threads of the program: it sends events to the
//! daemon's inbox.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use super::forgetting::Forgetting;
use super::status::{Heartbeat, StatusSnapshot};
use super::{Error, Event, Reload, Settings};
use crate::delivery::ends::Ends;
use crate::delivery::media;
use crate::delivery::push;
use crate::domain::rest::ControlRequest;
use crate::feed::{Board, JournalKey};
use crate::inbox;
use crate::keeping;
use crate::recorder::OutLock;
use crate::source::authorization::{Authorizations, Code};
use crate::zoom_api::{self, OnlineCheck, UserGrant};

/// What the daemon writes.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    /// `RTMS_OUT`; `None` without files.
    pub(crate) root: Option<PathBuf>,
    /// How far the journals have grown, if there are any.
    pub(crate) board: Option<Arc<Board>>,
}

impl Output {
    /// Whether consent to this stream was withdrawn.
    pub(crate) fn is_revoked(&self, key: JournalKey) -> bool {
        self.board
            .as_ref()
            .is_some_and(|board| board.is_revoked(key))
    }
}

/// Sends requests to a running daemon; clones send to the same one.
#[derive(Debug, Clone)]
pub struct Handle {
    sender: inbox::Sender<Event>,
    ends: Ends,
    authorizations: Arc<Authorizations>,
    media: media::Hub,
    forgetting: Forgetting,
}

impl Handle {
    pub(super) fn new(
        sender: inbox::Sender<Event>,
        ends: Ends,
        authorizations: Arc<Authorizations>,
        media: media::Hub,
        forgetting: Forgetting,
    ) -> Handle {
        Handle {
            sender,
            ends,
            authorizations,
            media,
            forgetting,
        }
    }

    /// Requests to forget.
    pub(crate) fn forgetting(&self) -> &Forgetting {
        &self.forgetting
    }

    /// The streams whose sound and pictures can be tapped.
    pub(crate) fn media(&self) -> &media::Hub {
        &self.media
    }

    /// Ends it: [`Daemon::run`](super::Daemon::run) returns within [`GRACE`](super::GRACE) and a
    /// few milliseconds.
    pub fn stop(&self) {
        self.sender.send_always(Event::Stop);
    }

    /// Its app was taken out of the configuration: it begins nothing more, and ends with its last stream,
    /// unless it is reloaded before.
    pub(crate) fn leave(&self) {
        self.sender.send_always(Event::Leave);
    }

    /// To be called after the system resumed from suspend: connections may be dead without an
    /// error.
    pub fn system_resumed(&self) {
        self.sender.send_always(Event::SystemResumed);
    }

    /// Asks the daemon for its status. `None` if it has ended, its inbox is full, or it does not
    /// answer in time.
    pub fn status(&self, within: Duration) -> Option<StatusSnapshot> {
        self.ask(within, Event::Status)
    }

    /// Asks for the daemon's heartbeat, and makes its threads take one more turn for the next
    /// heartbeat.
    pub fn heartbeat(&self, within: Duration) -> Option<Heartbeat> {
        self.ask(within, Event::Heartbeat)
    }

    /// Makes a REST call with the server's settings, on the caller's thread, which waits for Zoom's
    /// answer. `None` if the daemon does not answer in time.
    ///
    /// # Errors
    /// Zoom refuses, cannot be reached, or issues no token.
    pub fn control(
        &self,
        request: &ControlRequest,
        within: Duration,
    ) -> Option<Result<(), zoom_api::Error>> {
        let api = self.ask(within, Event::Api)?;
        Some(api.control(request))
    }

    /// Looks at Zoom as the server sees it, on this thread: it takes as long as Zoom does. `None` if
    /// the daemon does not say within that time what to ask with.
    pub fn check_online(&self, within: Duration) -> Option<OnlineCheck> {
        let api = self.ask(within, Event::Api)?;
        Some(api.check_online())
    }

    /// Authorizations that were begun in this process.
    pub(crate) fn authorizations(&self) -> &Authorizations {
        &self.authorizations
    }

    /// The REST client in use; `None` if the daemon does not answer in time.
    pub(crate) fn api(&self, within: Duration) -> Option<Arc<zoom_api::Api>> {
        self.ask(within, Event::Api)
    }

    /// Exchanges a code for the tokens of a user, on this thread. From then on the server uses them, and
    /// tries again what had failed. `None` if the daemon does not answer in time.
    ///
    /// # Errors
    /// Zoom refuses the code, cannot be reached, or the token cannot be stored.
    pub(crate) fn authorize(
        &self,
        code: &Code,
        within: Duration,
    ) -> Option<Result<UserGrant, zoom_api::Error>> {
        let api = self.api(within)?;
        let granted = api.authorize(&code.code, &code.verifier);
        if granted.is_ok() {
            self.sender.send_always(Event::Authorized);
        }
        Some(granted)
    }

    /// Who delivers to endpoints: `None` within if there are none. `None` if the daemon does not answer
    /// in time.
    pub(crate) fn push(&self, within: Duration) -> Option<Option<push::Control>> {
        self.ask(within, Event::Push)
    }

    /// Who removes recordings: `None` within if no rule is set. `None` if the daemon does not answer in
    /// time.
    pub(crate) fn keeping(&self, within: Duration) -> Option<Option<keeping::Control>> {
        self.ask(within, Event::Keeping)
    }

    /// Where the daemon writes. `None` if it does not answer in time.
    pub(crate) fn output(&self, within: Duration) -> Option<Output> {
        self.ask(within, Event::Output)
    }

    /// Replaces the settings: all of them or, on an error, none. `None` if the daemon does not
    /// answer in time. Reads files (certificate, stored tokens), so it may wait for a disk.
    ///
    /// Everything that starts afterwards uses the new settings: streams, REST calls, webhooks.
    /// Running streams keep media, formats and folder; a new secret of their app signs their next
    /// handshake. Meetings whose start had failed for good are tried again. Not changed are the
    /// listeners, `state`, `ca_file`, and whether there are files and standard output at all.
    ///
    /// # Errors
    /// Not one app; an address or a credential for REST calls that cannot be used; a certificate that
    /// cannot be used; a folder for recordings that another server writes to; an object
    /// storage whose address or proxy cannot be used.
    pub fn reload(&self, settings: Settings, within: Duration) -> Option<Result<(), Error>> {
        let api = self.ask(within, Event::Api)?;
        if let Err(error) = settings.check() {
            return Some(Err(error));
        }
        let api = match api.renewed(settings.app().clone(), &settings.allowed_hosts) {
            Ok(api) => Arc::new(api),
            Err(error) => return Some(Err(Error::Api(error))),
        };
        let ingress = match settings.webhooks.prepare(&settings.apps) {
            Ok(ingress) => ingress,
            Err(error) => return Some(Err(Error::Ingress(error))),
        };
        let out_lock = settings.disk.as_ref().map(|disk| {
            let node = settings.fleet.as_ref().map(|fleet| fleet.node.as_str());
            OutLock::take_as(&disk.root, node)
        });
        let out_lock = match out_lock.transpose() {
            Ok(lock) => lock.flatten(),
            Err(error) if error.is_ours() => None,
            Err(error) => return Some(Err(Error::Out(error))),
        };
        let ends = match self.ends.prepare(&settings.ends) {
            Ok(ends) => ends,
            Err(text) => return Some(Err(Error::Storage(text))),
        };
        let reload = Reload {
            settings,
            out_lock,
            ingress,
            api,
        };
        self.ask(within, |reply| Event::Reload(Box::new(reload), reply))?;
        Some(self.ends.configure(ends).map_err(Error::Io))
    }

    fn ask<T>(&self, within: Duration, event: impl FnOnce(SyncSender<T>) -> Event) -> Option<T> {
        let (reply, answer) = sync_channel(1);
        // Reserves a place like a webhook does, so that requests to a daemon that hangs cannot fill
        // its memory.
        self.sender.reserve()?.send(event(reply));
        answer.recv_timeout(within).ok()
    }
}
