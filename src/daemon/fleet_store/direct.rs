//! Calls without a thread: for commands, which ask a few things and end.

use std::time::{Duration, Instant};

use super::command::Command;
use super::connection::{Connection, Fault, OPEN_MAX, Purpose};
use super::encode::Codec;
use super::facts::Facts;
use super::grant::{GrantCall, GrantReply};
use super::store::Reach;
use super::value::Value;
use crate::coordinator::fleet::call::{Call, Reply};

/// How long one call may take.
const CALL_MAX: Duration = Duration::from_secs(2);

/// An open connection.
#[derive(Debug)]
pub struct Direct {
    connection: Connection,
    codec: Codec,
    facts: Facts,
}

impl Direct {
    /// Connects, within three seconds.
    ///
    /// # Errors
    /// Why there is no connection, for a person.
    pub fn open(reach: &Reach, codec: Codec) -> Result<Direct, Fault> {
        let deadline = Instant::now() + OPEN_MAX;
        let net = reach.net();
        let (connection, facts) = Connection::open(&reach.address, &net, Purpose::Calls, deadline)?;
        Ok(Direct {
            connection,
            codec,
            facts,
        })
    }

    /// The translation.
    pub fn codec(&self) -> &Codec {
        &self.codec
    }

    /// What the store is.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Asks, and waits for the reply.
    ///
    /// # Errors
    /// The connection is lost; or the store refuses the call.
    pub fn call(&mut self, call: &Call) -> Result<Reply, Fault> {
        let sent = Instant::now();
        let values = self.commands(&self.codec.encode(call))?;
        Ok(self.codec.decode(call, sent, &values))
    }

    /// Asks about a grant, and waits for the reply.
    ///
    /// # Errors
    /// The connection is lost; or the store refuses the call.
    pub fn grant(&mut self, grant: &str, call: &GrantCall) -> Result<GrantReply, Fault> {
        let command = self.codec.encode_grant(grant, call);
        let values = self.commands(&[command])?;
        let reply = values
            .first()
            .map(|value| self.codec.decode_grant(grant, value));
        Ok(reply.unwrap_or(GrantReply::Failed))
    }

    /// Sends commands, and waits for the replies.
    ///
    /// # Errors
    /// The connection is lost; or the store refuses one.
    pub fn commands(&mut self, commands: &[Command]) -> Result<Vec<Value>, Fault> {
        let values = self
            .connection
            .exchange(commands, Instant::now() + CALL_MAX)?;
        let error = values.iter().find_map(|value| match value {
            Value::Error(error) => Some(error.clone()),
            _ => None,
        });
        error.map_or(Ok(values), Err)
    }
}
