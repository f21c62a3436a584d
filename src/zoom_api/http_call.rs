//! One HTTP call with ureq: verified TLS, deadlines on everything, no redirects, bounded bodies.
//!
//! `reply` interprets the answer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use ureq::http::{HeaderMap, Request};
use ureq::tls::Certificate;
use ureq::{Agent, Proxy};

use super::errors::Kind;
use super::reply;
use super::reply::{RETRY_AFTER_MAX, Reply};
use super::{Process, RestSettings};
use crate::domain::app::DEFAULT_API_URL;
use crate::domain::retry_after;
use crate::domain::secret::Secret;
use crate::net::address::{Address, AllowedHosts};
use crate::net::http_agent;
use crate::net::http_agent::AgentOptions;
use crate::net::proxy::ProxyEnv;

/// Maximum bytes read of an answer; Zoom's are below 4 KiB.
const BODY_BYTES_MAX: u64 = 64 * 1024;
/// Connections kept open to the two servers.
const IDLE_CONNECTIONS_MAX: usize = 8;
/// Calls and answers are small.
const BUFFER_BYTES: usize = 16 * 1024;

/// Longest address that an access token may name.
const API_URL_BYTES_MAX: usize = 256;

/// One of Zoom's two servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Server {
    Api,
    OAuth,
}

/// Why a call got no answer.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) kind: Kind,
    pub(super) text: String,
}

/// A call to make.
pub(super) struct HttpCall<'a> {
    pub(super) server: Server,
    /// Another address for this call than the server's.
    pub(super) base: Option<&'a Address>,
    pub(super) method: &'static str,
    /// The path after the server's base address.
    pub(super) path: &'a str,
    pub(super) authorization: Option<&'a Secret>,
    /// Content type and content.
    pub(super) body: Option<(&'static str, Vec<u8>)>,
}

/// The client for both servers.
#[derive(Debug)]
pub(crate) struct Http {
    api: Address,
    oauth: Address,
    api_proxy: Option<Proxy>,
    oauth_proxy: Option<Proxy>,
    /// The roots of `RTMS_CA_FILE`.
    further_roots: Option<Vec<Certificate<'static>>>,
    timeout: Duration,
    state: Mutex<State>,
    /// Token requests in progress.
    token_requests: AtomicUsize,
    /// The hosts that an access token may name for REST calls; `None` with a `ZOOM_API_URL`.
    api_hosts: Option<AllowedHosts>,
    /// The last such address that was refused.
    refused: Mutex<String>,
    proxies: ProxyEnv,
}

/// State shared by the calls.
#[derive(Debug)]
enum State {
    /// No call was made yet: the system's roots and the agents are loaded only with the first one.
    Unused,
    Used(Agents),
    /// Stopping; the agents, if any, are to be shut down after the last token request.
    Stopping(Option<Agents>),
}

#[derive(Debug, Clone)]
struct Agents {
    api: Agent,
    oauth: Agent,
}

impl Agents {
    fn shutdown(self) {
        self.api.shutdown();
        self.oauth.shutdown();
    }
}

impl Http {
    /// Checks the settings. The error names the configuration key and what is wrong with it.
    pub(super) fn new(rest: &RestSettings, process: &Process) -> Result<Http, String> {
        let api = Address::parse(&rest.api_url).map_err(|e| format!("ZOOM_API_URL: {e}"))?;
        let oauth = Address::parse(&rest.oauth_url).map_err(|e| format!("ZOOM_OAUTH_URL: {e}"))?;
        Ok(Http {
            api_proxy: http_agent::proxy(&process.proxy, &api)?,
            oauth_proxy: http_agent::proxy(&process.proxy, &oauth)?,
            api,
            oauth,
            further_roots: http_agent::further_roots(process.ca_file.as_deref())?,
            timeout: process.timeout,
            state: Mutex::new(State::Unused),
            token_requests: AtomicUsize::new(0),
            api_hosts: (rest.api_url == DEFAULT_API_URL).then(|| process.allowed_hosts.clone()),
            refused: Mutex::default(),
            proxies: process.proxy.clone(),
        })
    }

    /// Aborts calls in progress and refuses further ones. If `is_rotating`, a token request in
    /// progress may finish: Zoom may have replaced the refresh token already, and losing its answer
    /// would lose the grant.
    pub(super) fn stop(&self, is_rotating: bool) {
        let mut state = self.lock();
        if let State::Used(agents) = std::mem::replace(&mut *state, State::Stopping(None)) {
            // The two servers may share one agent, so nothing is aborted before that request ends.
            match is_rotating && self.token_requests.load(Relaxed) > 0 {
                true => *state = State::Stopping(Some(agents)),
                false => agents.shutdown(),
            }
        }
    }

    /// Whether further calls are refused.
    pub(crate) fn is_stopping(&self) -> bool {
        matches!(*self.lock(), State::Stopping(_))
    }

    /// Has the next call make other agents.
    fn forget_agents(&self) {
        let mut state = self.lock();
        if matches!(*state, State::Used(_)) {
            *state = State::Unused;
        }
    }

    /// The address for REST calls that Zoom names with an access token. `None` if it is not to be used:
    /// `ZOOM_API_URL` names another one, or it is not one that tokens may be sent to, which is logged
    /// once.
    pub(crate) fn named_api(&self, url: &str) -> Option<Address> {
        let api_hosts = self.api_hosts.as_ref()?;
        let fault = match Address::parse(url) {
            _ if url.len() > API_URL_BYTES_MAX => "it is too long".to_owned(),
            Ok(address) if address.has_path() => "it has a path".to_owned(),
            Ok(address) if address.is_allowed(api_hosts) => return Some(address),
            Ok(_) => "RTMS_ALLOWED_HOSTS does not allow the host".to_owned(),
            Err(fault) => fault,
        };
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if *refused != url {
            url.clone_into(&mut refused);
            log::warn!(
                "api_url of the access token is not used url=\"{}\": {fault}; REST calls go to {}",
                reply::clean(url, &[]),
                self.api.text()
            );
        }
        None
    }

    /// Shuts down the agents that were kept for the last token request.
    fn finish_stop(&self) {
        if let State::Stopping(agents) = &mut *self.lock()
            && let Some(agents) = agents.take()
        {
            agents.shutdown();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The agents, created with the first call; `None` while stopping.
    fn agents(&self) -> Option<Agents> {
        let mut state = self.lock();
        if let State::Unused = *state {
            *state = State::Used(self.make_agents());
        }
        match &*state {
            State::Used(agents) => Some(agents.clone()),
            _ => None,
        }
    }

    fn options(&self, proxy: &Option<Proxy>) -> AgentOptions {
        AgentOptions {
            proxy: proxy.clone(),
            further_roots: self.further_roots.clone(),
            timeout: Some(self.timeout),
            connect_timeout: self.timeout / 2,
            idle_connections: IDLE_CONNECTIONS_MAX,
            buffer_bytes: BUFFER_BYTES,
        }
    }

    fn make_agents(&self) -> Agents {
        let api = self.options(&self.api_proxy).build();
        // A TLS context costs almost a megabyte, so the two servers share one if they can.
        let oauth = match self.api_proxy == self.oauth_proxy {
            true => api.clone(),
            false => self.options(&self.oauth_proxy).build(),
        };
        Agents { api, oauth }
    }

    /// The agent for an address that an access token names. Most often it is the one of the API server.
    fn agent_to(&self, base: &Address, agents: &Agents) -> Result<Agent, Failure> {
        let proxy = http_agent::proxy(&self.proxies, base).map_err(|text| Failure {
            kind: Kind::Configuration,
            text,
        })?;
        Ok(match proxy {
            proxy if proxy == self.api_proxy => agents.api.clone(),
            proxy if proxy == self.oauth_proxy => agents.oauth.clone(),
            proxy => self.options(&proxy).build(),
        })
    }

    /// Makes the call. Any answer with a status is a reply.
    pub(super) fn call(&self, call: HttpCall<'_>, now: SystemTime) -> Result<Reply, Failure> {
        let stopping = || Failure {
            kind: Kind::Stopping,
            text: String::new(),
        };
        let agents = self.agents().ok_or_else(stopping)?;
        let (address, agent) = match call.server {
            Server::Api => (&self.api, agents.api.clone()),
            Server::OAuth => (&self.oauth, agents.oauth.clone()),
        };
        let (address, agent) = match call.base {
            Some(base) => (base, self.agent_to(base, &agents)?),
            None => (address, agent),
        };
        let url = format!("{}{}", address.text(), call.path);
        log::debug!("{} {url}", call.method);
        // A panic in ureq must fail only this call.
        let is_token_request = call.server == Server::OAuth;
        if is_token_request {
            self.token_requests.fetch_add(1, Relaxed);
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| send(&agent, &url, call, now)));
        if is_token_request && self.token_requests.fetch_sub(1, Relaxed) == 1 {
            self.finish_stop();
        }
        let outcome = outcome.unwrap_or_else(|_| {
            Err(Failure {
                kind: Kind::Internal,
                text: "the HTTP client panicked".to_owned(),
            })
        });
        match &outcome {
            Ok(reply) => log::debug!("{url}: status {}", reply.status),
            Err(failure) => log::debug!("{url}: {}: {}", failure.kind.name(), failure.text),
        }
        // The roots may have been read when there were too few file descriptors; the agents keep them.
        if matches!(&outcome, Err(failure) if failure.kind == Kind::Certificate) {
            self.forget_agents();
        }
        if outcome.is_err() && matches!(*self.lock(), State::Stopping(_)) {
            return Err(stopping());
        }
        outcome
    }
}

fn send(agent: &Agent, url: &str, call: HttpCall<'_>, now: SystemTime) -> Result<Reply, Failure> {
    let mut request = Request::builder()
        .method(call.method)
        .uri(url)
        .header("accept", "application/json");
    if let Some(authorization) = call.authorization {
        request = request.header("authorization", authorization.expose());
    }
    let sent = match call.body {
        Some((content_type, bytes)) => request
            .header("content-type", content_type)
            .body(bytes)
            .map(|request| agent.run(request)),
        None => request.body(()).map(|request| agent.run(request)),
    };
    let mut response = sent
        .map_err(|_| Failure {
            kind: Kind::Configuration,
            text: "a token or an id does not fit into an HTTP request".to_owned(),
        })?
        .map_err(|e| failure(&e, false))?;

    let (body, fault) = match response
        .body_mut()
        .with_config()
        .limit(BODY_BYTES_MAX)
        .read_to_vec()
    {
        Ok(body) => (body, None),
        Err(e) => (Vec::new(), Some(failure(&e, true))),
    };
    let headers = response.headers();
    let date = header(headers, "date").and_then(|text| httpdate::parse_http_date(text).ok());
    Ok(Reply {
        status: response.status().as_u16(),
        retry_after: header(headers, "retry-after")
            .and_then(|text| retry_after::parse(text, date.unwrap_or(now)))
            .map(|after| after.min(RETRY_AFTER_MAX)),
        date,
        is_html: header(headers, "content-type")
            .is_some_and(|text| text.to_ascii_lowercase().contains("html")),
        body,
        fault,
    })
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

fn failure(error: &ureq::Error, in_body: bool) -> Failure {
    use std::io::ErrorKind as Io;
    use ureq::Error;
    let kind = match error {
        Error::Timeout(_) => Kind::Timeout,
        Error::Io(e) => match e.kind() {
            Io::TimedOut | Io::WouldBlock => Kind::Timeout,
            Io::UnexpectedEof if in_body => Kind::Truncated,
            Io::UnexpectedEof | Io::ConnectionReset | Io::ConnectionAborted | Io::BrokenPipe => {
                Kind::Reset
            }
            _ => Kind::Unreachable,
        },
        Error::HostNotFound | Error::ConnectionFailed => Kind::Unreachable,
        Error::NativeTls(e) if e.to_string().contains("certificate") => Kind::Certificate,
        Error::NativeTls(_) | Error::Tls(_) => Kind::Reset,
        Error::ConnectProxyFailed(text) if text.contains("407") => Kind::ProxyLogin,
        Error::ConnectProxyFailed(_) => Kind::Proxy,
        Error::BadUri(_) | Error::InvalidProxyUrl => Kind::Configuration,
        _ if in_body => Kind::Truncated,
        _ => Kind::Malformed,
    };
    Failure {
        kind,
        text: reply::clean(&error.to_string(), &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_sent_to_no_host_that_is_not_allowed() {
        let named = |api_url: &str, hosts: &str, url: &str| {
            let rest = RestSettings {
                api_url: api_url.to_owned(),
                ..RestSettings::default()
            };
            let process = Process {
                allowed_hosts: AllowedHosts::parse(hosts).expect("hosts"),
                ..Process::default()
            };
            let http = Http::new(&rest, &process).expect("settings");
            http.named_api(url).map(|address| address.text().to_owned())
        };
        for (url, expected) in [
            ("https://api-us.zoom.us", Some("https://api-us.zoom.us")),
            ("https://API-US.zoom.us/", Some("https://API-US.zoom.us")),
            ("https://zoom.us.example.com", None),
            ("https://api-us.zoom.us/elsewhere", None),
            ("https://me:x@api-us.zoom.us", None),
            ("http://api-us.zoom.us", None),
            ("http://127.0.0.1:80", None),
            ("https://127.0.0.1", None),
            ("wss://api-us.zoom.us", None),
            ("", None),
        ] {
            let found = named(DEFAULT_API_URL, ".zoom.us", url);
            assert_eq!(found.as_deref(), expected, "{url}");
        }
        let plain = named(DEFAULT_API_URL, "ws://127.0.0.1", "http://127.0.0.1:80");
        assert_eq!(plain.as_deref(), Some("http://127.0.0.1:80"));
        let configured = named(
            "https://api.zoomgov.com",
            ".zoom.us",
            "https://api-us.zoom.us",
        );
        assert_eq!(configured, None);
    }
}
