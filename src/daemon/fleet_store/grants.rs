//! The grants that the nodes share, for the threads that make REST calls and for commands.
//!
//! A connection of its own, opened when it is needed: tokens are fetched once an hour, and such a thread may wait.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::direct::Direct;
use super::encode::Codec;
use super::grant::{Grant, GrantCall, GrantReply, Tokens};
use super::store::Reach;
use crate::coordinator::fleet::call::{Boot, Member};
use crate::daemon::Settings;
use crate::net::resolve::Resolver;
use crate::net::tls_client::TlsClient;
use crate::zoom_api::{SharedGrant, SharedState, SharedTokens, StoreDown};

/// The grants in the store of the settings.
#[derive(Debug)]
pub(crate) struct StoreGrants {
    reach: Reach,
    codec: Codec,
    direct: Mutex<Option<Direct>>,
}

impl StoreGrants {
    /// Connects to nothing yet. `None` without a fleet.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub(crate) fn of(
        settings: &Settings,
        tls: &TlsClient,
    ) -> std::io::Result<Option<Arc<dyn SharedGrant>>> {
        let Some(fleet) = &settings.fleet else {
            return Ok(None);
        };
        // Tells apart who holds a lock. It need not be the node's: a command is no node.
        let mut boot = [0; 8];
        openssl::rand::rand_bytes(&mut boot)?;
        let me = Member {
            node: fleet.node.clone(),
            boot: Boot(u64::from_be_bytes(boot)),
        };
        let app = &settings.app().credentials;
        Ok(Some(Arc::new(StoreGrants {
            reach: Reach {
                address: Arc::new(fleet.store.clone()),
                resolver: Resolver::default(),
                tls: tls.clone(),
                seed: 0,
            },
            codec: Codec::new(&app.id, app.secret.expose(), &fleet.name, me),
            direct: Mutex::default(),
        })))
    }

    /// Asks; a second time over a new connection, because one that lay idle may be closed. Each call is
    /// idempotent.
    fn ask(&self, grant: &str, call: &GrantCall) -> Result<GrantReply, StoreDown> {
        let mut kept = self.direct.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut direct) = kept.take()
            && let Ok(reply) = direct.grant(grant, call)
        {
            *kept = Some(direct);
            return Ok(reply);
        }
        let mut direct = Direct::open(&self.reach, self.codec.clone()).map_err(StoreDown)?;
        let reply = direct.grant(grant, call).map_err(StoreDown)?;
        *kept = Some(direct);
        Ok(reply)
    }

    fn write(&self, grant: &str, call: &GrantCall) -> Result<bool, StoreDown> {
        match self.ask(grant, call)? {
            GrantReply::Put => Ok(true),
            GrantReply::Refused { .. } => Ok(false),
            _ => Err(unexpected()),
        }
    }
}

impl SharedGrant for StoreGrants {
    fn read(&self, grant: &str) -> Result<SharedState, StoreDown> {
        match self.ask(grant, &GrantCall::Read)? {
            GrantReply::Read(found) => Ok(state(found)),
            _ => Err(unexpected()),
        }
    }

    fn lock(&self, grant: &str) -> Result<(bool, SharedState), StoreDown> {
        match self.ask(grant, &GrantCall::Lock)? {
            GrantReply::Locked(found) => Ok((true, state(found))),
            GrantReply::Busy(found) => Ok((false, state(found))),
            _ => Err(unexpected()),
        }
    }

    fn put(&self, grant: &str, generation: u64, tokens: &SharedTokens) -> Result<bool, StoreDown> {
        let tokens = written(tokens);
        self.write(grant, &GrantCall::Put { generation, tokens })
    }

    fn restore(
        &self,
        grant: &str,
        generation: u64,
        tokens: &SharedTokens,
    ) -> Result<bool, StoreDown> {
        let tokens = written(tokens);
        self.write(grant, &GrantCall::Restore { generation, tokens })
    }

    fn forget(&self, grant: &str) -> Result<(), StoreDown> {
        match self.ask(grant, &GrantCall::Forget)? {
            GrantReply::Forgotten => Ok(()),
            _ => Err(unexpected()),
        }
    }

    fn pause(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

fn unexpected() -> StoreDown {
    StoreDown("its answer is of an unknown form".to_owned())
}

fn state(found: Grant) -> SharedState {
    SharedState {
        generation: found.generation,
        tokens: found.tokens.map(|tokens| SharedTokens {
            access: tokens.access,
            expires_ms: tokens.expires_ms,
            refresh: tokens.refresh,
        }),
        is_forgotten: found.is_forgotten,
    }
}

fn written(tokens: &SharedTokens) -> Tokens {
    Tokens {
        access: tokens.access.clone(),
        expires_ms: tokens.expires_ms,
        refresh: tokens.refresh.clone(),
    }
}
