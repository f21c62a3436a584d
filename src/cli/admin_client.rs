//! A request to the admin listener of the running server.

use std::fmt;
use std::io::ErrorKind;
use std::time::Duration;

use super::admin_http::{Client, Request, Trouble};
use super::exit::{self, Failure};
use crate::admin::listen::reachable;
use crate::admin::{ListenAddress, Settings, own_token};
use crate::config::Config;
use crate::domain::secret::Secret;

/// Size limit: `/streams` with ten thousand streams has a few MiB.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// What was answered, and where.
pub(super) struct Answer {
    pub(super) address: ListenAddress,
    pub(super) status: u16,
    pub(super) text: String,
}

impl Answer {
    /// The answer says that the server cannot be asked.
    pub(super) fn unreachable(&self, why: &dyn fmt::Display) -> Failure {
        unreachable(&self.address, why)
    }
}

/// The address to ask for what needs no credential: the first one.
pub(super) fn address(settings: &Settings) -> Result<ListenAddress, Failure> {
    let text = "RTMS_ADMIN is off, so the server cannot be asked; set it to 127.0.0.1:9464";
    let first = settings.listen.first().map(to_ask);
    first.ok_or_else(|| Failure(exit::CONFIG, text.to_owned()))
}

/// Where to ask for what needs a credential, and the token to show: a TCP address, or else a Unix socket,
/// which needs none; the socket also where this user may not read the token.
pub(super) fn access(config: &Config) -> Result<(ListenAddress, Option<Secret>), Failure> {
    let is_socket = |address: &&ListenAddress| matches!(address, ListenAddress::Unix(_));
    let listen = &config.admin.listen;
    let socket = listen.iter().find(is_socket).cloned();
    let tcp = listen.iter().find(|address| !is_socket(address));
    let failure = match tcp.map(|tcp| (to_ask(tcp), token(config))) {
        Some((tcp, Ok(token))) => return Ok((tcp, Some(token))),
        Some((_, Err(failure))) => Err(failure),
        None => address(&config.admin).map(|address| (address, None)),
    };
    socket.map_or(failure, |socket| Ok((socket, None)))
}

/// The address of a client for one of the server.
fn to_ask(address: &ListenAddress) -> ListenAddress {
    match address {
        ListenAddress::Tcp(address) => ListenAddress::Tcp(reachable(*address)),
        ListenAddress::Unix(_) => address.clone(),
    }
}

/// `RTMS_ADMIN_TOKEN`, or the token that the server made in its state directory.
fn token(config: &Config) -> Result<Secret, Failure> {
    if let Some(token) = &config.admin.token {
        return Ok(token.clone());
    }
    let Some(state) = config.server_state() else {
        let text = "commands need RTMS_ADMIN_TOKEN, or RTMS_STATE";
        return Err(Failure(exit::CONFIG, text.to_owned()));
    };
    let place = state.join(own_token::NAME);
    match own_token::read(state, &config.daemon.state_keys) {
        Ok(Some(token)) => Ok(token),
        Ok(None) => Err(Failure(
            exit::UNAVAILABLE,
            format!(
                "there is no token in {}; the server makes it when it starts",
                place.display()
            ),
        )),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(Failure(
            exit::NO_PERMISSION,
            format!(
                "{} cannot be read; run this command as root (sudo) or as the user of the server",
                place.display()
            ),
        )),
        Err(error) => Err(Failure(
            exit::UNAVAILABLE,
            format!("{} cannot be read: {error}", place.display()),
        )),
    }
}

/// Asks: with this JSON a POST, otherwise a GET. Any status is an answer.
pub(super) fn ask(
    address: &ListenAddress,
    path: &str,
    json: Option<String>,
    token: Option<&Secret>,
    within: Duration,
) -> Result<Answer, Failure> {
    let client = Client {
        address: address.clone(),
        token: token.cloned(),
        head_max: within,
        output: None,
    };
    let request = Request {
        target: path,
        json: json.as_deref(),
        accept: "application/json",
        last_id: "",
        upgrade: None,
    };
    let answered = client.ask(&request).and_then(|mut answer| {
        let text = answer.text(within, ANSWER_BYTES_MAX)?;
        Ok(Answer {
            address: address.clone(),
            status: answer.status,
            text,
        })
    });
    answered.map_err(|trouble| match trouble {
        Trouble::Lost(error) if error.kind() == ErrorKind::TimedOut => {
            let text = format!(
                "no answer from {} within {} s; the server may be out of files, or hang: see its log",
                shown(address),
                within.as_secs()
            );
            Failure(exit::UNAVAILABLE, text)
        }
        Trouble::Lost(error) => unreachable(address, &error),
        // No output is watched.
        Trouble::OutputClosed => unreachable(address, &"the output was closed"),
    })
}

fn unreachable(address: &ListenAddress, why: &dyn fmt::Display) -> Failure {
    let place = shown(address);
    let text = format!("no answer from {place}: {why}; is the server running?");
    Failure(exit::UNAVAILABLE, text)
}

/// The address as a person reads it.
pub(super) fn shown(address: &ListenAddress) -> String {
    match address {
        ListenAddress::Tcp(address) => format!("http://{address}"),
        ListenAddress::Unix(_) => address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l9_the_socket_is_asked_where_there_is_no_other_address_or_no_token() {
        let tcp = |port| ListenAddress::Tcp(([127, 0, 0, 1], port).into());
        let socket = ListenAddress::Unix("/run/rtmsd/admin.sock".into());
        let any = ListenAddress::Tcp(([0, 0, 0, 0], 1).into());
        let token = Secret::new("hunter2");
        let access = |listen: &[&ListenAddress], token: Option<&Secret>| {
            let mut config = Config::default();
            config.admin.listen = listen.iter().map(|address| (*address).clone()).collect();
            config.admin.token = token.cloned();
            config.daemon.state = None;
            access(&config).map_err(|Failure(code, _)| code)
        };
        let with_token = |address| Ok((address, Some(token.clone())));
        let without = Ok((socket.clone(), None));
        assert_eq!(access(&[&socket, &any], Some(&token)), with_token(tcp(1)));
        assert_eq!(access(&[&tcp(2), &socket], None), without);
        assert_eq!(access(&[&socket], None), without);
        assert_eq!(access(&[&socket], Some(&token)), without);
        assert_eq!(access(&[&tcp(2)], None), Err(exit::CONFIG));
        assert_eq!(access(&[], Some(&token)), Err(exit::CONFIG));
    }
}
