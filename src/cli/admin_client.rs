//! A request to the admin listener of the running server.

use std::fmt;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ureq::http::Request;

use super::exit::{self, Failure};
use crate::admin::{Settings, own_token};
use crate::config::Config;
use crate::domain::secret::Secret;

/// Size limit: `/streams` with ten thousand streams has a few MiB.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// What was answered, and where.
pub(super) struct Answer {
    pub(super) address: SocketAddr,
    pub(super) status: u16,
    pub(super) text: String,
}

impl Answer {
    /// The answer says that the server cannot be asked.
    pub(super) fn unreachable(&self, why: &dyn fmt::Display) -> Failure {
        unreachable(self.address, why)
    }
}

/// The address to ask.
pub(super) fn address(settings: &Settings) -> Result<SocketAddr, Failure> {
    let text = "RTMS_ADMIN is off, so the server cannot be asked; set it to 127.0.0.1:9464";
    let address = settings.address.map(reachable);
    address.ok_or_else(|| Failure(exit::CONFIG, text.to_owned()))
}

/// `RTMS_ADMIN_TOKEN`, or the token that the server made in its state directory.
pub(super) fn token(config: &Config) -> Result<Secret, Failure> {
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
                "there is no token in {}; a server with an endpoint makes it when it starts",
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
    address: SocketAddr,
    path: &str,
    json: Option<String>,
    token: Option<&Secret>,
    within: Duration,
) -> Result<Answer, Failure> {
    let agent = ureq::Agent::config_builder()
        .proxy(None)
        .max_redirects(0)
        .http_status_as_error(false)
        .timeout_global(Some(within))
        .build()
        .new_agent();
    let mut request = Request::builder().uri(format!("http://{address}{path}"));
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
                "no answer from http://{address} within {} s; the server may be out of files, or \
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
    Ok(Answer {
        address,
        status,
        text,
    })
}

fn unreachable(address: SocketAddr, why: &dyn fmt::Display) -> Failure {
    let text = format!("no answer from http://{address}: {why}; is the server running?");
    Failure(exit::UNAVAILABLE, text)
}

/// The address to ask for a server that listens on every address.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
