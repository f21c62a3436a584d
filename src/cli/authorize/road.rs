//! Who exchanges the code: the running server, or this process with the state directory.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::state;
use crate::admin::control_socket::{self, AuthorizeAnswer, AuthorizeQuestion};
use crate::cli::exit::{self, Failure};
use crate::config::Config;
use crate::source::authorization::{Authorizations, Progress, RANDOM_BYTES};
use crate::state::StateDir;
use crate::zoom_api::{Api, Error, Process, UserGrant};

/// How long a server that is starting may take until it answers commands.
const START_MAX: Duration = Duration::from_secs(5);
const START_POLL: Duration = Duration::from_millis(100);

/// An authorization that was begun.
pub(super) struct Begun {
    pub(super) address: String,
    pub(super) state: String,
}

/// What has become of it.
pub(super) enum Outcome {
    Waiting,
    Done(UserGrant),
}

/// See the module.
pub(super) enum Road {
    Server(PathBuf),
    Own(Box<Api>, Authorizations),
}

impl Road {
    /// The running server, if there is one.
    pub(super) fn find(config: &Config) -> Result<Road, Failure> {
        let Some(folder) = state(config) else {
            let text = "RTMS_STATE: not given, expected a directory to store the token in";
            return Err(Failure(exit::CONFIG, text.to_owned()));
        };
        let until = Instant::now() + START_MAX;
        let state = loop {
            match control_socket::is_served(folder) {
                Ok(true) => return Ok(Road::Server(folder.to_owned())),
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                    let text = format!(
                        "the server's state is in {}, which this user may not enter; run this command as root \
                         (sudo) or as the user of the server",
                        folder.display()
                    );
                    return Err(Failure(exit::NO_PERMISSION, text));
                }
                Ok(false) | Err(_) => {}
            }
            let keys = config.daemon.state_keys.clone();
            match StateDir::open_sealed(folder, keys) {
                Ok(state) => break state,
                // A server that is starting has the directory before it answers.
                Err(crate::state::Error::InUse { .. }) if Instant::now() < until => {
                    std::thread::sleep(START_POLL);
                }
                Err(error @ crate::state::Error::InUse { .. }) => {
                    let text = format!(
                        "{error}; the server that runs there was started without ZOOM_REDIRECT_URL: restart it, \
                         then authorize"
                    );
                    return Err(Failure(exit::UNAVAILABLE, text));
                }
                Err(error) => return Err(failed(&Error::of_state(&error))),
            }
        };
        let settings = &config.daemon;
        let process = Process {
            ca_file: settings.ca_file.clone(),
            proxy: settings.proxy.clone(),
            state: Some(Arc::new(state)),
            allowed_hosts: settings.allowed_hosts.clone(),
            shared: crate::cli::shared_grants(settings),
            ..Process::default()
        };
        let api = Api::new(config.app().clone(), process).map_err(|error| failed(&error))?;
        Ok(Road::Own(Box::new(api), Authorizations::default()))
    }

    pub(super) fn is_server(&self) -> bool {
        matches!(self, Road::Server(_))
    }

    pub(super) fn begin(&mut self) -> Result<Begun, Failure> {
        match self {
            Road::Server(_) => match self.ask(AuthorizeQuestion::Begin)? {
                AuthorizeAnswer::Begun { address, state } => Ok(Begun { address, state }),
                other => Err(unexpected(other)),
            },
            Road::Own(api, open) => {
                let mut random = [0; RANDOM_BYTES];
                openssl::rand::rand_bytes(&mut random)
                    .map_err(|error| Failure(exit::SOFTWARE, error.to_string()))?;
                let begun = open.begin(Instant::now(), &random);
                let address = api.authorization_address(&begun.state, &begun.challenge);
                let address = address.ok_or_else(|| {
                    let text = "the configuration has no credentials of a user";
                    Failure(exit::CONFIG, text.to_owned())
                })?;
                Ok(Begun {
                    address,
                    state: begun.state,
                })
            }
        }
    }

    /// What was pasted, or came to the loopback port. `false` if it belongs to nothing.
    pub(super) fn paste(&mut self, state: &str, text: &str) -> Result<bool, Failure> {
        match self {
            Road::Server(_) => {
                let question = AuthorizeQuestion::Paste {
                    state: state.to_owned(),
                    text: text.to_owned(),
                };
                match self.ask(question)? {
                    AuthorizeAnswer::Pasted { is_ours } => Ok(is_ours),
                    other => Err(unexpected(other)),
                }
            }
            Road::Own(_, open) => Ok(open.paste(Instant::now(), state, text)),
        }
    }

    /// Whether someone came back; then the code is exchanged.
    pub(super) fn poll(&mut self, state: &str) -> Result<Outcome, Failure> {
        match self {
            Road::Server(_) => {
                let state = state.to_owned();
                match self.ask(AuthorizeQuestion::Poll { state })? {
                    AuthorizeAnswer::Waiting => Ok(Outcome::Waiting),
                    AuthorizeAnswer::Done(grant) => Ok(Outcome::Done(grant)),
                    other => Err(unexpected(other)),
                }
            }
            Road::Own(api, open) => match open.take(Instant::now(), state) {
                Progress::Waiting => Ok(Outcome::Waiting),
                Progress::Code(code) => api
                    .authorize(&code.code, &code.verifier)
                    .map(Outcome::Done)
                    .map_err(|error| failed(&error)),
                Progress::Refused(why) => Err(refused(&why)),
                Progress::Unknown => Err(gone()),
            },
        }
    }

    fn ask(&self, question: AuthorizeQuestion) -> Result<AuthorizeAnswer, Failure> {
        let Road::Server(folder) = self else {
            return Err(gone());
        };
        match control_socket::authorize(folder, question) {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => {
                let text = "the server has ended; start again";
                Err(Failure(exit::UNAVAILABLE, text.to_owned()))
            }
            Err(error) => {
                let text = format!(
                    "the server does not answer: {error}; restart it if it is older than this program"
                );
                Err(Failure(exit::UNAVAILABLE, text))
            }
        }
    }
}

fn unexpected(answer: AuthorizeAnswer) -> Failure {
    match answer {
        AuthorizeAnswer::Refused { why } => refused(&why),
        AuthorizeAnswer::Unknown => gone(),
        AuthorizeAnswer::Failed { exit_code, text } => Failure(exit_code, text),
        _ => Failure(
            exit::UNAVAILABLE,
            "the server has another version; restart it".to_owned(),
        ),
    }
}

fn failed(error: &Error) -> Failure {
    Failure(error.exit_code(), error.to_string())
}

fn refused(why: &str) -> Failure {
    let text = format!(
        "not authorized: Zoom's page says \"{why}\"; nothing was changed. Start again, and choose Allow"
    );
    Failure(exit::NO_PERMISSION, text)
}

fn gone() -> Failure {
    let text = "this authorization is over: it was used, or is older than ten minutes; start again";
    Failure(exit::UNAVAILABLE, text.to_owned())
}
