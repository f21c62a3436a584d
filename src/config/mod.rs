//! The configuration: `rtms.conf` and the environment become the settings of each part.
//!
//! [`file_format`] knows the form of a line, `values` the form of a value, [`keys`] which keys there
//! are and what each means, `precedence` which source of a key counts, `completeness` which keys need
//! each other, `lint` finds unusual settings. With [`apps`] there are several configurations in one.
//! The process is read in `sources` alone: everything else is data
//! in, data out. Whether a path exists or a port is free is for `cli::check` and for the parts that
//! use them.

pub mod apps;
pub(crate) mod fault;
pub mod file_format;
mod fleet;
pub mod keys;
pub(crate) mod precedence;
pub(crate) mod print;
pub(crate) mod sources;
pub(crate) mod values;

pub(crate) mod completeness;
pub(crate) mod lint;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

pub use apps::{AppConf, Apps};
pub use fault::{Fault, Warning};
pub use precedence::{Loaded, Setting, load};
pub use print::conf;
pub use sources::{ETC_FILE, FileContent, LOCAL_FILE, Needs, Sources};

use crate::delivery::stdout::StdoutFormat;
use crate::domain::app::{App, AppCredentials};
use crate::domain::secret::Secret;
use crate::recorder::RecorderSettings;
use crate::state::DEFAULT_STATE;
use crate::{admin, daemon, log};

/// `HOST` where it is not set: every IPv4 address of this machine.
pub const DEFAULT_HOST: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
/// `PORT` where it is not set.
pub const DEFAULT_PORT: u16 = 3000;

/// Everything that can be configured: the settings of each part. [`keys::KEYS`] has the prose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `HOST`: where webhooks arrive.
    pub host: IpAddr,
    /// `PORT`; 0 for any free one, `None` for no webhook listener.
    pub port: Option<u16>,
    /// `RTMS_APPS`: the folder of the apps; `None` for one app, that of `daemon`.
    pub apps: Option<PathBuf>,
    /// The server itself.
    pub daemon: daemon::Settings,
    /// The admin listener.
    pub admin: admin::Settings,
    /// The log.
    pub log: log::Settings,
}

impl Config {
    /// The app whose streams are received.
    pub fn app(&self) -> &App {
        self.daemon.app()
    }

    /// `RTMS_STATE`: that of the server, in which its apps have folders of their own.
    pub fn server_state(&self) -> Option<&Path> {
        let state = self.daemon.state.as_deref()?;
        match self.app().name.is_empty() {
            true => Some(state),
            false => state.parent()?.parent(),
        }
    }

    /// What a request to the admin listener adds to its query, to be about this app alone.
    pub fn app_query(&self, begin: char) -> String {
        match self.app().name.as_str() {
            "" => String::new(),
            name => format!("{begin}app={name}"),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        let no_app = AppCredentials {
            id: String::new(),
            secret: Secret::new(""),
        };
        Config {
            host: DEFAULT_HOST,
            port: Some(DEFAULT_PORT),
            apps: None,
            daemon: daemon::Settings {
                disk: Some(RecorderSettings::default()),
                stdout: Some(StdoutFormat::default()),
                state: Some(DEFAULT_STATE.into()),
                ..daemon::Settings::new(App::new(no_app, Vec::new()))
            },
            admin: admin::Settings::default(),
            log: log::Settings::default(),
        }
    }
}
