//! The HTTP client for all our calls: ureq with verified TLS, our resolver, no redirects.
//!
//! An agent is expensive, because a TLS context needs almost a megabyte. It is created with the
//! first call.

use std::path::Path;
use std::time::Duration;

use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Proxy};

use super::address::Address;
use super::proxy::ProxyEnv;
use super::root_bundle;
use super::ureq_resolver::UreqResolver;
use crate::domain::causes::with_causes;

/// Maximum bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 32 * 1024;

/// After so long an idle connection is not used again.
const IDLE_AGE_MAX: Duration = Duration::from_secs(15);

/// The settings of an agent, in addition to its own limits.
#[derive(Debug, Clone)]
pub(crate) struct AgentOptions {
    pub(crate) proxy: Option<Proxy>,
    /// Roots of `RTMS_CA_FILE`, in addition to the system's.
    pub(crate) further_roots: Option<Vec<Certificate<'static>>>,
    /// From the name look-up to the last byte; `None` if each call has its own deadline.
    pub(crate) timeout: Option<Duration>,
    /// For the name look-up, and again for the connection.
    pub(crate) connect_timeout: Duration,
    /// Maximum idle connections to one host that are kept for later calls; twice as many in total.
    pub(crate) idle_connections: usize,
    /// Bytes per read or write.
    pub(crate) buffer_bytes: usize,
}

impl AgentOptions {
    /// Creates an agent. Reads the system's roots if there are further ones.
    pub(crate) fn build(&self) -> Agent {
        self.build_with(IDLE_AGE_MAX)
    }

    /// Likewise; a connection that was idle for so long is not used again.
    pub(crate) fn build_with(&self, idle_age: Duration) -> Agent {
        let config = Agent::config_builder()
            .tls_config(self.tls())
            .proxy(self.proxy.clone())
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(self.timeout)
            .timeout_resolve(Some(self.connect_timeout))
            .timeout_connect(Some(self.connect_timeout))
            .max_response_header_size(HEAD_BYTES_MAX)
            .max_idle_age(idle_age)
            .max_idle_connections(2 * self.idle_connections)
            .max_idle_connections_per_host(self.idle_connections)
            .input_buffer_size(self.buffer_bytes)
            .output_buffer_size(self.buffer_bytes)
            .user_agent(concat!("rtmsd/", env!("CARGO_PKG_VERSION")))
            .build();
        Agent::with_parts(config, DefaultConnector::new(), UreqResolver)
    }

    fn tls(&self) -> TlsConfig {
        let roots = match &self.further_roots {
            Some(further) => RootCerts::from(root_bundle::with(further)),
            None => RootCerts::PlatformVerifier,
        };
        TlsConfig::builder()
            .provider(TlsProvider::NativeTls)
            .root_certs(roots)
            .build()
    }
}

/// The roots of `RTMS_CA_FILE`, if it is set.
pub(crate) fn further_roots(
    ca_file: Option<&Path>,
) -> Result<Option<Vec<Certificate<'static>>>, String> {
    let roots = ca_file.map(root_bundle::from_file).transpose();
    roots.map_err(|error| with_causes(&error))
}

/// The proxy for an address. The error says what is wrong with the setting.
pub(crate) fn proxy(proxies: &ProxyEnv, address: &Address) -> Result<Option<Proxy>, String> {
    let Some(text) = proxies.proxy_for(address) else {
        return Ok(None);
    };
    // The value may contain a password, so no message repeats it.
    const EXPECTED: &str = "expected http://[USER:PASSWORD@]HOST:PORT";
    let proxy = Proxy::new(text).map_err(|_| format!("HTTPS_PROXY: found no proxy, {EXPECTED}"))?;
    match proxy.protocol() {
        ureq::ProxyProtocol::Http | ureq::ProxyProtocol::Https => Ok(Some(proxy)),
        // ureq would panic.
        other => Err(format!("HTTPS_PROXY: found {other}, {EXPECTED}")),
    }
}
