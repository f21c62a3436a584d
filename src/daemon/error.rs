//! Why a daemon cannot start.

use std::fmt;
use std::io;

use crate::net::ca_file::CaFileError;
use crate::protocol::server_url::UrlError;
use crate::recorder::OutInUse;
use crate::source::ingress;
use crate::state;
use crate::zoom_api;

/// Why the daemon cannot start, or cannot use other settings.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The webhook listener: its certificate, its directory, a socket.
    Ingress(ingress::Error),
    /// The directory of [`Settings::state`](super::Settings::state).
    State(state::Error),
    /// Another server writes to the folder of [`Settings::disk`](super::Settings::disk).
    Out(OutInUse),
    /// The file of [`Settings::ca_file`](super::Settings::ca_file).
    CaFile(CaFileError),
    /// The REST client: an address or a credential of [`App::rest`](crate::domain::app::App::rest).
    Api(zoom_api::Error),
    /// [`Settings::ends`](super::Settings::ends): an address or a proxy of the object storage.
    Storage(String),
    /// [`Settings::zoom_events`](super::Settings::zoom_events): the address may not be connected to.
    EventsUrl(UrlError),
    /// [`Settings::apps`](super::Settings::apps) has this many apps, not one.
    Apps(usize),
    /// [`Settings::fleet`](super::Settings::fleet) lacks what it needs.
    Fleet(&'static str),
    /// The system refuses a thread or a socket.
    Io(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Ingress(error) => error.fmt(f),
            Error::State(error) => error.fmt(f),
            Error::Out(error) => error.fmt(f),
            Error::CaFile(error) => error.fmt(f),
            Error::Api(error) => error.fmt(f),
            Error::Storage(text) => f.write_str(text),
            Error::EventsUrl(error) => write!(f, "ZOOM_EVENTS_URL: {error}"),
            Error::Apps(count) => write!(f, "found {count} apps in the settings, expected one"),
            Error::Fleet(text) => write!(f, "RTMS_FLEET: {text}"),
            Error::Io(_) => f.write_str("cannot start"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Ingress(error) => error.source(),
            Error::State(error) => error.source(),
            Error::CaFile(error) => error.source(),
            Error::Api(error) => error.source(),
            Error::Storage(_)
            | Error::EventsUrl(_)
            | Error::Apps(_)
            | Error::Fleet(_)
            | Error::Out(_) => None,
            Error::Io(error) => Some(error),
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        Error::Io(error)
    }
}
