//! TLS sessions that were verified a while ago, and are gone on with.
//!
//! A session that is resumed needs no certificates: neither the time to verify them, nor the memory to
//! keep them, which would be a sixth of a stream's. Streams of one account meet the same servers over
//! and over. Where a server does not know the session any more, the handshake is a whole one, and
//! nothing is lost.
//!
//! A certificate is looked at again after `AGE_MAX`, however often its session was resumed meanwhile
//! (RFC 8446, 4.6.1). With TLS 1.3 each session is resumed once, so that an observer cannot tell
//! whose it is (C.4): with every resumption the server gives a new one.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use openssl::error::ErrorStack;
use openssl::ex_data::Index;
use openssl::ssl::{
    ShutdownState, Ssl, SslContextBuilder, SslRef, SslSession, SslSessionCacheMode, SslStream,
    SslVersion,
};

/// How long a verified certificate is believed without being shown again.
const AGE_MAX: Duration = Duration::from_secs(3600);

/// Sessions kept in all, a kilobyte each; with more, the oldest goes.
const SESSIONS_MAX: usize = 256;

/// The sessions of one configuration. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct TlsSessionCache {
    /// The oldest first.
    kept: Arc<Mutex<Vec<Kept>>>,
}

#[derive(Clone)]
struct Kept {
    host: Arc<str>,
    session: SslSession,
    verified: Instant,
}

/// What a connection knows of this.
struct Owner {
    host: Arc<str>,
    sessions: TlsSessionCache,
    /// When the certificate was verified of the session that it may resume.
    verified: Option<Instant>,
}

/// Where a connection has its owner.
fn owner_index() -> Result<Index<Ssl, Owner>, ErrorStack> {
    static INDEX: OnceLock<Index<Ssl, Owner>> = OnceLock::new();
    if let Some(index) = INDEX.get() {
        return Ok(*index);
    }
    let index = Ssl::new_ex_index()?;
    Ok(*INDEX.get_or_init(|| index))
}

fn owner(connection: &SslRef) -> Option<&Owner> {
    connection.ex_data(owner_index().ok()?)
}

impl TlsSessionCache {
    /// Has the sessions of a configuration in the making kept.
    pub(crate) fn new(context: &mut SslContextBuilder) -> TlsSessionCache {
        context
            .set_session_cache_mode(SslSessionCacheMode::CLIENT | SslSessionCacheMode::NO_INTERNAL);
        context.set_new_session_callback(|connection, session| {
            if let Some(owner) = owner(connection) {
                let resumed = owner.verified.filter(|_| connection.session_reused());
                owner.sessions.keep(Kept {
                    host: Arc::clone(&owner.host),
                    session,
                    verified: resumed.unwrap_or_else(Instant::now),
                });
            }
        });
        TlsSessionCache::default()
    }

    /// Prepares a connection of that configuration: it resumes a session of the host, if there is one.
    #[expect(
        unsafe_code,
        reason = "measured: 1,000 streams from one host are 86 MiB without it and 73 with it, and to \
                  join fifty takes 0.18 CPU seconds without it and 0.11 with it"
    )]
    pub(crate) fn resume(
        &self,
        connection: &mut Ssl,
        host: &str,
        now: Instant,
    ) -> Result<(), ErrorStack> {
        let known = self.take(host, now);
        if let Some(kept) = &known {
            // SAFETY: it wants a session of the connection's own configuration. Those that are kept
            // here come from connections that had `self` for their owner, and those are of the one
            // configuration that it was made for.
            unsafe { connection.set_session(&kept.session)? };
        }
        let verified = known.as_ref().map(|kept| kept.verified);
        let owner = Owner {
            host: known.map_or_else(|| Arc::from(host), |kept| kept.host),
            sessions: self.clone(),
            verified,
        };
        connection.set_ex_data(owner_index()?, owner);
        Ok(())
    }

    /// The newest of a host. Before TLS 1.3 a session stays good for others.
    fn take(&self, host: &str, now: Instant) -> Option<Kept> {
        let mut kept = self.lock();
        kept.retain(|kept| now.saturating_duration_since(kept.verified) < AGE_MAX);
        let at = kept.iter().rposition(|kept| &*kept.host == host)?;
        match kept[at].session.protocol_version() {
            SslVersion::TLS1_3 => Some(kept.remove(at)),
            _ => Some(kept[at].clone()),
        }
    }

    fn keep(&self, session: Kept) {
        let mut kept = self.lock();
        if kept.len() == SESSIONS_MAX {
            kept.remove(0);
        }
        kept.push(session);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// To be told before a connection is dropped: that it ends without a word is no fault of its session.
/// OpenSSL would not resume it any more (a rule that TLS 1.1 has withdrawn), and after an outage all
/// streams come back at once.
pub(crate) fn mark_shutdown_sent<S: Read + Write>(stream: &mut SslStream<S>) {
    stream.set_shutdown(ShutdownState::SENT);
}

/// Forgets the sessions of a host with which a handshake failed: the next one is a whole one.
pub(crate) fn forget(connection: &SslRef) {
    if let Some(Owner { host, sessions, .. }) = owner(connection) {
        sessions.lock().retain(|kept| kept.host != *host);
    }
}

#[cfg(test)]
mod tests {
    use openssl::ssl::SslAcceptor;

    use super::*;
    use crate::net::tls_client::Context;
    use crate::net::tls_client::tests::{Authority, acceptor, meet, trusting};

    const VERSIONS: [SslVersion; 2] = [SslVersion::TLS1_2, SslVersion::TLS1_3];

    /// Connects, and says whether that resumed a session.
    fn is_resumed(
        context: &Context,
        host: &str,
        now: Instant,
        server: &SslAcceptor,
    ) -> Result<bool, String> {
        let session = context.session(host, now).expect("a session");
        let mut stream = meet(session, server)?;
        let is_resumed = stream.ssl().session_reused();
        mark_shutdown_sent(&mut stream);
        Ok(is_resumed)
    }

    #[test]
    fn a_host_that_was_verified_is_met_again_without_certificates() {
        let authority = Authority::new("authority");
        for version in VERSIONS {
            let server = acceptor(&authority.signs("DNS:a.test,DNS:b.test"), version);
            let context = trusting(&authority);
            let meet = |host, now| is_resumed(&context, host, now, &server);
            let now = Instant::now();
            assert_eq!(meet("a.test", now), Ok(false));
            for _ in 0..9 {
                assert_eq!(meet("a.test", now), Ok(true), "{version:?}");
            }
            assert_eq!(meet("b.test", now), Ok(false), "another host");
            assert_eq!(meet("b.test", now), Ok(true));
            // However often it was resumed, the certificate is looked at again.
            assert_eq!(meet("a.test", Instant::now() + AGE_MAX), Ok(false));
            assert_eq!(meet("a.test", now), Ok(true));
        }
    }

    #[test]
    fn whoever_does_not_know_the_session_shows_a_certificate() {
        let (authority, other) = (Authority::new("authority"), Authority::new("other"));
        for version in VERSIONS {
            let context = trusting(&authority);
            let meet = |server: &_| is_resumed(&context, "a.test", Instant::now(), server);
            let server = || acceptor(&authority.signs("DNS:a.test"), version);
            let (first, second) = (server(), server());
            assert_eq!(meet(&first), Ok(false));
            assert_eq!(meet(&first), Ok(true));
            assert_eq!(meet(&second), Ok(false), "it has other keys");
            assert_eq!(meet(&second), Ok(true), "its own sessions are the newest");
            for stranger in [authority.signs("DNS:b.test"), other.signs("DNS:a.test")] {
                let refused = meet(&acceptor(&stranger, version));
                assert!(refused.is_err_and(|why| why.contains("certificate")));
            }
            assert_eq!(meet(&second), Ok(false), "a failure takes them with it");
        }
    }

    #[test]
    fn no_more_are_kept_than_that() {
        let authority = Authority::new("authority");
        let context = trusting(&authority);
        let server = acceptor(&authority.signs("DNS:*.a.test"), SslVersion::TLS1_3);
        let meet = |n: usize| {
            let host = format!("{n}.a.test");
            is_resumed(&context, &host, Instant::now(), &server)
        };
        for n in 0..=SESSIONS_MAX {
            assert_eq!(meet(n), Ok(false));
        }
        assert_eq!(meet(SESSIONS_MAX), Ok(true));
        assert_eq!(meet(0), Ok(false), "the oldest went");
    }
}
