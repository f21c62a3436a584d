//! The apps that the admin listener serves, and which of them a request is about.
//!
//! A request names its app with `app=NAME`. Without it, it is about the only app, or about the one that
//! has the stream it names. What is about no stream needs the name, if there are several.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::line;
use crate::daemon::handle::Output;
use crate::daemon::status::StatusSnapshot;
use crate::daemon::{Handle, Settings};
use crate::delivery::live::query::{Ask, decode};
use crate::delivery::live::{self, Access, Live, RETRY_AFTER_S, Times};
use crate::delivery::media;
use crate::gate::{Answer, Decision};

/// Time limit for a daemon, which answers in microseconds.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// The same for a daemon that is asked after one that hangs.
const ANSWER_MIN: Duration = Duration::from_millis(50);

/// The apps that are served. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Served(Arc<Mutex<Vec<Arc<ServedApp>>>>);

/// What is served of one app.
#[derive(Debug)]
pub(super) struct ServedApp {
    /// `None` for the only app of a process.
    pub(super) name: Option<Arc<str>>,
    pub(super) daemon: Handle,
    pub(super) live: live::Intake,
    pub(super) counters: Arc<live::Counters>,
    pub(super) media: media::Intake,
}

/// While it lives, an app is served.
#[derive(Debug)]
pub struct ServedPart {
    served: Served,
    app: Arc<ServedApp>,
    _live: Live,
    _media: media::Open,
}

/// The status of an app; `None` if its daemon does not answer.
pub(super) struct AppStatus {
    pub(super) name: Option<Arc<str>>,
    pub(super) status: Option<StatusSnapshot>,
    pub(super) live: Arc<live::Counters>,
}

impl Served {
    /// From now on this app is served, and its streams can be tapped.
    pub fn add(&self, name: Option<Arc<str>>, daemon: Handle, settings: &Settings) -> ServedPart {
        let asked = daemon.clone();
        let live = Live::new(live::Process {
            board: Box::new(move || Some(asked.output(ANSWER_MAX)?.board)),
            has_mark: settings.state.is_some(),
            times: Times::default(),
        });
        let media = daemon.media().open();
        let app = Arc::new(ServedApp {
            name,
            daemon,
            live: live.intake(),
            counters: Arc::clone(live.counters()),
            media: media.intake(),
        });
        self.change(|apps| apps.push(Arc::clone(&app)));
        ServedPart {
            served: self.clone(),
            app,
            _live: live,
            _media: media,
        }
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<ServedApp>>)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// All apps, by name.
    pub(super) fn all(&self) -> Vec<Arc<ServedApp>> {
        let mut apps = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        apps.sort_by(|a, b| a.name.cmp(&b.name));
        apps
    }

    /// The apps that a request may be about: one if its query names it.
    ///
    /// # Errors
    /// There is no such app.
    pub(super) fn meant(&self, query: Option<&str>) -> Result<Vec<Arc<ServedApp>>, Answer> {
        let apps = self.all();
        let Some(name) = app_in(query) else {
            return Ok(apps);
        };
        let is_meant = |app: &Arc<ServedApp>| app.name.as_deref() == Some(name.as_str());
        match apps.iter().find(|app| is_meant(app)) {
            Some(app) => Ok(vec![Arc::clone(app)]),
            // The only app of a process has no name to be called by.
            None => Err(line(
                404,
                &format!("there is no such app; {}", names(&apps)),
            )),
        }
    }

    /// The one app that a request is about.
    ///
    /// # Errors
    /// There is no such app, or there are several and none is named.
    pub(super) fn one(&self, query: Option<&str>) -> Result<Arc<ServedApp>, Answer> {
        let apps = self.meant(query)?;
        match apps.as_slice() {
            [one] => Ok(Arc::clone(one)),
            [] => Err(line(503, "no app is running")),
            _ => Err(which(&apps)),
        }
    }

    /// What is written of the apps that are meant, and by which.
    ///
    /// # Errors
    /// There is no such app, or a daemon does not answer.
    pub(super) fn outputs(&self, app: Option<&str>) -> Result<Vec<Output>, Answer> {
        let query = app.map(|name| format!("app={name}"));
        let outputs = self.meant(query.as_deref())?.into_iter();
        let outputs = outputs.map(|app| app.daemon.output(ANSWER_MAX));
        let silent = || line(503, "the daemon does not answer");
        outputs.map(|output| output.ok_or_else(silent)).collect()
    }

    /// The status of each app that is meant. All together answer within the time that one has.
    ///
    /// # Errors
    /// There is no such app.
    pub(super) fn statuses(&self, query: Option<&str>) -> Result<Vec<AppStatus>, Answer> {
        let until = Instant::now() + ANSWER_MAX;
        let ask = |app: &Arc<ServedApp>| {
            let left = until.saturating_duration_since(Instant::now());
            AppStatus {
                name: app.name.clone(),
                status: app.daemon.status(left.max(ANSWER_MIN)),
                live: Arc::clone(&app.counters),
            }
        };
        Ok(self.meant(query)?.iter().map(ask).collect())
    }

    /// Ends what is read with a link that was revoked.
    pub(super) fn look_at_links(&self) {
        for app in self.all() {
            app.live.look_at_links();
        }
    }
}

impl ServedApp {
    /// Events of this app.
    pub(super) fn follow(&self, ask: Ask, access: Access) -> Result<Decision, Answer> {
        if !self.live.has_room() {
            let answer = line(503, "there are too many clients, come again");
            return Err(answer.with("Retry-After", RETRY_AFTER_S.to_string()));
        }
        let live = self.live.clone();
        Ok(Decision::Take(Box::new(move |socket| {
            live.take(socket, ask, access)
        })))
    }
}

impl Drop for ServedPart {
    fn drop(&mut self) {
        let app = &self.app;
        self.served
            .change(|apps| apps.retain(|it| !Arc::ptr_eq(it, app)));
    }
}

/// The answer to a request that names no app.
pub(super) fn which(apps: &[Arc<ServedApp>]) -> Answer {
    line(
        400,
        &format!(
            "several apps are served, name one with app=NAME; {}",
            names(apps)
        ),
    )
}

fn names(apps: &[Arc<ServedApp>]) -> String {
    let names: Vec<&str> = apps.iter().filter_map(|app| app.name.as_deref()).collect();
    match names.is_empty() {
        true => "this server has one app, without a name".to_owned(),
        false => format!("here are {}", names.join(", ")),
    }
}

/// `app=` of a query.
pub(super) fn app_in(query: Option<&str>) -> Option<String> {
    let mut pairs = query.unwrap_or_default().split('&');
    let value = pairs.find_map(|pair| pair.strip_prefix("app="))?;
    decode(value).filter(|name| !name.is_empty())
}
