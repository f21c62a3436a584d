//! A request to the admin listener of the running server.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use ureq::http::Request;

use super::exit::{self, Failure};
use crate::admin::listen::reachable;
use crate::admin::{ListenAddress, Settings, own_token};
use crate::config::Config;
use crate::domain::secret::Secret;

/// Size limit: `/streams` with ten thousand streams has a few MiB.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

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
    let Some(state) = &config.daemon.state else {
        let text = "commands need RTMS_ADMIN_TOKEN, or RTMS_STATE";
        return Err(Failure(exit::CONFIG, text.to_owned()));
    };
    let place = state.join(own_token::NAME);
    match own_token::read(state) {
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
    let tcp = match address {
        ListenAddress::Tcp(tcp) => tcp,
        ListenAddress::Unix(socket) => {
            let asked = ask_socket(socket, path, json.as_deref(), within);
            let (status, text) = asked.map_err(|error| unreachable(address, &error))?;
            let address = address.clone();
            return Ok(Answer {
                address,
                status,
                text,
            });
        }
    };
    let agent = ureq::Agent::config_builder()
        .proxy(None)
        .max_redirects(0)
        .http_status_as_error(false)
        .timeout_global(Some(within))
        .build()
        .new_agent();
    let mut request = Request::builder().uri(format!("http://{tcp}{path}"));
    if let Some(token) = token {
        request = request.header("Authorization", format!("Bearer {}", token.expose()));
    }
    let sent = match json {
        Some(json) => request
            .method("POST")
            .header("Content-Type", "application/json")
            .body(json)
            .map_err(ureq::Error::from)
            .and_then(|request| agent.run(request)),
        None => request
            .body(())
            .map_err(ureq::Error::from)
            .and_then(|request| agent.run(request)),
    };
    let mut response = sent.map_err(|error| match error {
        ureq::Error::Timeout(_) => {
            let text = format!(
                "no answer from http://{tcp} within {} s; the server may be out of files, or \
                 hang: see its log",
                within.as_secs()
            );
            Failure(exit::UNAVAILABLE, text)
        }
        ureq::Error::Io(error) => unreachable(address, &error),
        error => unreachable(address, &error),
    })?;
    let status = response.status().as_u16();
    let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX);
    let text = body
        .read_to_string()
        .map_err(|error| unreachable(address, &error))?;
    let address = address.clone();
    Ok(Answer {
        address,
        status,
        text,
    })
}

/// Asks at a Unix socket: the status and the body of the answer.
fn ask_socket(
    socket: &Path,
    path: &str,
    json: Option<&str>,
    within: Duration,
) -> io::Result<(u16, String)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(within))?;
    stream.set_write_timeout(Some(within))?;
    let (method, fields) = match json {
        Some(json) => (
            "POST",
            format!(
                "Content-Type: application/json\r\nContent-Length: {}\r\n",
                json.len()
            ),
        ),
        None => ("GET", String::new()),
    };
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
    stream.write_all((head + json.unwrap_or_default()).as_bytes())?;
    // The server closes each connection.
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let body = answer
        .split_once("\r\n\r\n")
        .map(|(_, body)| body.to_owned());
    status
        .zip(body)
        .ok_or_else(|| io::Error::other("the answer is not HTTP"))
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
