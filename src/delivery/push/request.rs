//! One POST to an endpoint: verified TLS, deadlines on everything, no redirects, no cookies.

use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use ureq::http::{HeaderMap, Request, Response};
use ureq::{Agent, Body, Proxy};

use super::answer::{Answer, Fault, RETRY_AFTER_MAX};
use super::settings::{CONNECTIONS_MAX, EndpointSettings};
use super::signature;
use crate::domain::retry_after;
use crate::net::address::Address;
use crate::net::http_agent;
use crate::net::http_agent::AgentOptions;
use crate::net::proxy::ProxyEnv;

/// From the look-up of the name to the answer's last byte.
pub const TIMEOUT: Duration = Duration::from_secs(15);
/// For the look-up, and again for the connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// So much of an answer is read, and thrown away, so that the connection can be used again.
const BODY_BYTES_MAX: u64 = 64 << 10;
/// Servers close what is idle for five seconds (Node.js) or more: a connection that is about to be
/// closed is not used again.
const IDLE_AGE_MAX: Duration = Duration::from_secs(4);
/// A body of 20 kB and its head go out in few writes.
const BUFFER_BYTES: usize = 16 << 10;

/// Makes the connections of all endpoints.
#[derive(Debug)]
pub struct Client {
    proxies: ProxyEnv,
    ca_file: Option<PathBuf>,
    /// One for each proxy: a TLS context costs most of a megabyte. `None` when it is over.
    agents: Mutex<Option<Agents>>,
}

/// Each proxy, or none, with its agent.
type Agents = Vec<(Option<Proxy>, Agent)>;

/// What came of a request.
#[derive(Debug)]
pub struct Exchange {
    /// The answer.
    pub answer: Answer,
    /// How long it took.
    pub took: Duration,
    /// `Date` of the answer.
    pub date: Option<SystemTime>,
    /// What went wrong, for the person at the terminal who tries an endpoint. Never for the log.
    pub detail: String,
}

impl Client {
    /// Prepares requests through these proxies; `ca_file` is trusted beside the system's roots, and
    /// read for the first request.
    pub fn new(proxies: ProxyEnv, ca_file: Option<PathBuf>) -> Client {
        Client {
            proxies,
            ca_file,
            agents: Mutex::new(Some(Vec::new())),
        }
    }

    /// Ends the requests under way and refuses further ones.
    pub fn shutdown(&self) {
        let agents = self
            .agents
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        for (_, agent) in agents.into_iter().flatten() {
            agent.shutdown();
        }
    }

    /// The proxy on the way to an endpoint.
    ///
    /// # Errors
    /// One that cannot be used.
    pub fn proxy(&self, endpoint: &EndpointSettings) -> Result<Option<Proxy>, String> {
        let address = Address::parse_with_http(endpoint.url.origin())?;
        http_agent::proxy(&self.proxies, &address)
    }

    fn agent(&self, endpoint: &EndpointSettings) -> Result<Agent, String> {
        let proxy = self.proxy(endpoint)?;
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        let agents = agents.as_mut().ok_or("the server is stopping")?;
        if let Some((_, agent)) = agents.iter().find(|(known, _)| *known == proxy) {
            return Ok(agent.clone());
        }
        let options = AgentOptions {
            proxy: proxy.clone(),
            further_roots: http_agent::further_roots(self.ca_file.as_deref())?,
            timeout: Some(TIMEOUT),
            connect_timeout: CONNECT_TIMEOUT,
            idle_connections: CONNECTIONS_MAX as usize,
            buffer_bytes: BUFFER_BYTES,
        };
        let agent = options.build_with(IDLE_AGE_MAX);
        agents.push((proxy, agent.clone()));
        Ok(agent)
    }

    /// Sends a body, signed for this moment.
    pub fn post(
        &self,
        endpoint: &EndpointSettings,
        id: &str,
        content_type: &str,
        body: &[u8],
        unix_s: u64,
    ) -> Exchange {
        let begun = Instant::now();
        let sent = self.agent(endpoint).map_err(|text| (Fault::Internal, text));
        let sent = sent.and_then(|agent| {
            // A panic within the package must cost no more than this request.
            let send = || send(&agent, endpoint, id, content_type, body, unix_s);
            let outcome = catch_unwind(AssertUnwindSafe(send));
            outcome
                .unwrap_or_else(|_| Err((Fault::Internal, "the HTTP client panicked".to_owned())))
        });
        let (answer, date, detail) = match sent {
            Ok((answer, date)) => (answer, date, String::new()),
            Err((fault, detail)) => (Answer::None(fault), None, detail),
        };
        Exchange {
            answer,
            took: begun.elapsed(),
            date,
            detail,
        }
    }
}

type Failure = (Fault, String);

fn send(
    agent: &Agent,
    endpoint: &EndpointSettings,
    id: &str,
    content_type: &str,
    body: &[u8],
    unix_s: u64,
) -> Result<(Answer, Option<SystemTime>), Failure> {
    let signature = signature::sign(&endpoint.secrets, id, unix_s, body);
    let mut request = Request::builder()
        .method("POST")
        .uri(endpoint.url.expose())
        .header("content-type", content_type)
        .header("webhook-id", id)
        .header("webhook-timestamp", unix_s)
        .header("webhook-signature", signature);
    if let Some(authorization) = &endpoint.authorization {
        request = request.header("authorization", authorization.expose());
    }
    let unfit = |_| {
        (
            Fault::Internal,
            "URL or Authorization do not fit into HTTP".to_owned(),
        )
    };
    let request = request.body(body).map_err(unfit)?;
    let mut response = agent.run(request).map_err(|error| failure(&error))?;
    let status = response.status().as_u16();
    let date = header(response.headers(), "date");
    let date = date.and_then(|text| httpdate::parse_http_date(text).ok());
    let retry_after = header(response.headers(), "retry-after");
    let retry_after = retry_after
        .and_then(|text| retry_after::parse(text, date.unwrap_or_else(SystemTime::now)))
        .map(|after| after.min(RETRY_AFTER_MAX));
    // The status counts, whatever becomes of the rest.
    let _ = throw_away(&mut response);
    let answer = Answer::Status {
        status,
        retry_after,
    };
    Ok((answer, date))
}

fn throw_away(response: &mut Response<Body>) -> io::Result<u64> {
    let body = response.body_mut().as_reader();
    io::copy(&mut body.take(BODY_BYTES_MAX), &mut io::sink())
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

fn failure(error: &ureq::Error) -> Failure {
    use std::io::ErrorKind as Io;
    use ureq::Error;
    let fault = match error {
        Error::Timeout(_) => Fault::Timeout,
        Error::Io(e) => match e.kind() {
            Io::TimedOut | Io::WouldBlock => Fault::Timeout,
            Io::UnexpectedEof | Io::ConnectionReset | Io::ConnectionAborted | Io::BrokenPipe => {
                Fault::Reset
            }
            _ => Fault::Connect,
        },
        Error::HostNotFound => Fault::Name,
        Error::ConnectionFailed => Fault::Connect,
        Error::NativeTls(_) | Error::Tls(_) => Fault::Tls,
        Error::ConnectProxyFailed(_) => Fault::Proxy,
        Error::BadUri(_) | Error::InvalidProxyUrl => Fault::Internal,
        _ => Fault::Malformed,
    };
    (fault, error.to_string())
}
