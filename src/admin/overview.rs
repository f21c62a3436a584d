//! What the status pages are made of: the status of each app, and what is wrong.

use std::sync::Arc;

use super::process::Process;
use super::served::AppStatus;
use super::{accounts, events, keeping_trouble, push_troubles, unready_reason};
use crate::daemon::status::StatusSnapshot;

/// The status of the server at one moment.
pub(super) struct Overview {
    /// By name. The only app of a process has none.
    pub(super) apps: Vec<AppStatus>,
    /// Whether there may be several apps.
    pub(super) is_several: bool,
    /// Apps that are configured and do not run, because of a fault.
    pub(super) disabled: Vec<Arc<str>>,
}

impl Overview {
    /// The apps that answer.
    pub(super) fn answering(&self) -> impl Iterator<Item = (&AppStatus, &StatusSnapshot)> {
        let apps = self.apps.iter();
        apps.filter_map(|app| Some((app, app.status.as_ref()?)))
    }

    /// Why the server is not alive; `None` if it is.
    pub(super) fn silence(&self) -> Option<String> {
        let silent = self.apps.iter().find(|app| app.status.is_none())?;
        Some(in_app(silent.name.as_deref(), "the daemon does not answer"))
    }

    /// Why the server should get no more work; `None` if it is ready.
    pub(super) fn unready_reason(&self, process: &Process) -> Option<String> {
        if self.apps.is_empty() {
            return Some("no app is running".to_owned());
        }
        let reasons = self.apps.iter().filter_map(|app| {
            let reason = app.unready_reason(process)?;
            Some(in_app(app.name.as_deref(), &reason))
        });
        let reasons: Vec<String> = reasons.collect();
        (!reasons.is_empty()).then(|| reasons.join("\n"))
    }

    /// Further lines of a server that is ready.
    pub(super) fn troubles(&self) -> String {
        let mut text = String::new();
        for (app, status) in self.answering() {
            // An endpoint that fails is no reason to send work elsewhere: its events wait on the disk.
            let troubles = push_troubles(status)
                + &events::troubles(status)
                + &accounts::troubles(status)
                + &keeping_trouble(status)
                + &fleet_trouble(status);
            for trouble in troubles.lines().filter(|line| !line.is_empty()) {
                text += &format!("\n{}", in_app(app.name.as_deref(), trouble));
            }
        }
        for name in &self.disabled {
            text += &format!("\napp {name}: disabled, because its configuration has a fault");
        }
        text
    }
}

impl AppStatus {
    /// Why this app should get no more work; `None` if it is ready.
    pub(super) fn unready_reason(&self, process: &Process) -> Option<String> {
        match &self.status {
            Some(status) => unready_reason(status, process),
            None => Some("the daemon does not answer".to_owned()),
        }
    }
}

/// That the store is away is no reason to send work elsewhere: it is away for every node.
fn fleet_trouble(status: &StatusSnapshot) -> String {
    let fleet = status.fleet.as_ref();
    let trouble = fleet.and_then(|fleet| fleet.trouble());
    trouble.map_or_else(String::new, |trouble| format!("\n{trouble}"))
}

fn in_app(name: Option<&str>, text: &str) -> String {
    match name {
        Some(name) => format!("app {name}: {text}"),
        None => text.to_owned(),
    }
}
