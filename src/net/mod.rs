//! Shared parts of all connections: names, addresses, proxies, TLS, WebSockets, wakers.

pub mod address;
pub mod ca_file;
pub mod connect_attempt;
pub(crate) mod connect_proxy;
pub mod dial;
pub mod file_limit;
pub mod frame_filter;
pub mod host_name;
pub mod http_agent;
pub mod maybe_tls;
pub mod proxy;
pub mod read_ahead;
pub mod resolve;
pub mod root_bundle;
pub mod roots;
pub mod tls_client;
pub mod tls_sessions;
pub mod upgrade;
pub mod ureq_resolver;
pub mod waker;
pub mod websocket;
