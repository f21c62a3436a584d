//! The name resolver for ureq. ureq's own starts an unnamed thread with a full stack, panics if the
//! system has no thread left, and does so even for an address that needs no look-up.
//!
//! The system's resolver has no deadline, so it runs on a thread that is abandoned at the time
//! limit and then ends by itself (glibc gives up after half a minute at most). Calls are limited in
//! number, so these threads are too.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use crate::log::app::inherit;

const STACK_BYTES: usize = 256 << 10;

/// Maximum addresses tried per name; ureq's list has no room for more.
const ADDRESSES_MAX: usize = 16;

#[derive(Debug)]
pub(crate) struct UreqResolver;

impl Resolver for UreqResolver {
    fn resolve(
        &self,
        uri: &Uri,
        _config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let place = match (uri.scheme(), uri.authority()) {
            (Some(scheme), Some(authority)) => DefaultResolver::host_and_port(scheme, authority),
            _ => None,
        };
        let place = place.ok_or_else(|| ureq::Error::BadUri("no host or no port".to_owned()))?;
        let found: Vec<SocketAddr> = match place.parse() {
            Ok(address) => vec![address],
            Err(_) => look_up(place, timeout)?,
        };
        if found.is_empty() {
            return Err(ureq::Error::HostNotFound);
        }
        let mut addresses = self.empty();
        for address in found.into_iter().take(ADDRESSES_MAX) {
            addresses.push(address);
        }
        Ok(addresses)
    }
}

fn look_up(place: String, timeout: NextTimeout) -> Result<Vec<SocketAddr>, ureq::Error> {
    let (sender, answer) = sync_channel(1);
    thread::Builder::new()
        .name("zoom-dns".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(inherit(move || {
            let found = place.to_socket_addrs().map(Iterator::collect);
            // The receiver has given up if it took too long.
            let _ = sender.send(found);
        }))
        .map_err(|error| io::Error::other(format!("no thread to look up a name: {error}")))?;
    match answer.recv_timeout(*timeout.after) {
        Ok(found) => Ok(found?),
        Err(RecvTimeoutError::Timeout) => Err(ureq::Error::Timeout(timeout.reason)),
        Err(RecvTimeoutError::Disconnected) => Err(ureq::Error::HostNotFound),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(uri: &str) -> Result<Vec<SocketAddr>, ureq::Error> {
        let uri = uri.parse().expect("an address");
        let found = UreqResolver.resolve(&uri, &Config::default(), NextTimeout::default())?;
        Ok(found.iter().copied().collect())
    }

    #[test]
    fn addresses_and_names() {
        for (uri, expected) in [
            ("https://192.0.2.1/x", "192.0.2.1:443"),
            ("http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("https://[2001:db8::1]:9", "[2001:db8::1]:9"),
        ] {
            let expected: SocketAddr = expected.parse().expect("an address");
            assert_eq!(resolve(uri).expect("no look-up"), [expected], "{uri}");
        }
        let found = resolve("http://localhost:7").expect("localhost is in every hosts file");
        assert!(
            found
                .iter()
                .all(|found| found.ip().is_loopback() && found.port() == 7)
        );
        assert!(matches!(resolve("/v2"), Err(ureq::Error::BadUri(_))));
    }
}
