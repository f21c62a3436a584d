//! Requests that outlive a restart of the server: once it has answered, they wait until it does again.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use super::admin_client::shown;
use super::admin_http::{Answer, Client, Request, Trouble};
use super::exit::{self, Failure};
use crate::domain::text::{bounded, one_line};
use crate::domain::waits::Waits;

/// The first delay between connections, where the server has named none; it names two seconds itself.
const DELAY_FIRST: Duration = Duration::from_secs(2);
/// No shorter one, whatever a server names.
const DELAY_MIN: Duration = Duration::from_millis(100);
/// No longer one: a server that is back is found within so long.
const DELAY_MAX: Duration = Duration::from_secs(30);
/// Longest pause that a server may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
/// For the whole of an answer that is not a stream of events. The server looks for at most 25 seconds.
const TEXT_MAX: Duration = Duration::from_secs(60);
/// Size limit of such an answer: one of `/events` has about a MiB, `/streams` can have a few.
const TEXT_BYTES_MAX: usize = 64 << 20;
/// Of what a server says in a refusal.
const REASON_BYTES_MAX: usize = 300;

/// Why the command ends before its work is done.
#[derive(Debug)]
pub(super) enum End {
    /// The reader of the output is gone, which is no fault.
    OutputClosed,
    Failed(Failure),
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) content_type: String,
    pub(super) text: String,
}

/// Asks one server.
#[derive(Debug)]
pub(super) struct Session<'a> {
    /// The command, for what it says.
    name: &'static str,
    client: Client<'a>,
    /// To wait for a server that is away, once it has answered.
    is_patient: bool,
    has_answered: bool,
    is_lost: bool,
    delays: Delays,
}

impl<'a> Session<'a> {
    pub(super) fn new(name: &'static str, client: Client<'a>, is_patient: bool) -> Session<'a> {
        Session {
            name,
            client,
            is_patient,
            has_answered: false,
            is_lost: false,
            delays: Delays::new(random()),
        }
    }

    /// Asks until there is an answer that says something about the request: any but one of the 5xx.
    /// `retry` is the first delay between tries.
    pub(super) fn get(
        &mut self,
        request: &Request<'_>,
        retry: Option<Duration>,
    ) -> Result<Answer<'a>, End> {
        loop {
            let (why, pause) = match self.client.ask(request) {
                Ok(mut answer) if answer.status >= 500 => {
                    let text = answer.text(TEXT_MAX, TEXT_BYTES_MAX);
                    let why = format!("{} {}", answer.status, reason(&text.unwrap_or_default()));
                    (why, answer.retry_after)
                }
                Ok(answer) => {
                    self.has_answered = true;
                    if std::mem::take(&mut self.is_lost) {
                        self.say("connected again");
                    }
                    return Ok(answer);
                }
                Err(Trouble::OutputClosed) => return Err(End::OutputClosed),
                Err(Trouble::Lost(error)) => (error.to_string(), None),
            };
            self.lost(&why)?;
            self.pause(retry, pause)?;
        }
    }

    /// Likewise with the whole answer.
    pub(super) fn reply(&mut self, target: &str) -> Result<Reply, End> {
        let request = Request {
            target,
            json: None,
            accept: "application/json",
            last_id: "",
            upgrade: None,
        };
        loop {
            let mut answer = self.get(&request, None)?;
            match answer.text(TEXT_MAX, TEXT_BYTES_MAX) {
                Ok(text) => {
                    self.delays.tries = 0;
                    return Ok(Reply {
                        status: answer.status,
                        content_type: answer.content_type,
                        text,
                    });
                }
                Err(Trouble::OutputClosed) => return Err(End::OutputClosed),
                Err(Trouble::Lost(error)) => self.lost(&error.to_string())?,
            }
            self.pause(None, None)?;
        }
    }

    /// The server is away: that is said once, or is the end.
    pub(super) fn lost(&mut self, why: &str) -> Result<(), End> {
        let place = shown(&self.client.address);
        if !self.is_patient || !self.has_answered {
            let text = format!("no answer from {place}: {why}; is the server running?");
            return Err(failed(exit::UNAVAILABLE, text));
        }
        if !std::mem::replace(&mut self.is_lost, true) {
            self.say(&format!(
                "no answer from {place}: {why}; waiting for the server"
            ));
        }
        Ok(())
    }

    /// To the person at the terminal; standard output is data.
    pub(super) fn say(&self, text: &str) {
        eprintln!("{}: {text}", self.name);
    }

    /// Data arrives.
    pub(super) fn works(&mut self) {
        self.delays.tries = 0;
    }

    /// Waits before the next try, at least as long as the server asks for.
    pub(super) fn pause(
        &mut self,
        retry: Option<Duration>,
        at_least: Option<Duration>,
    ) -> Result<(), End> {
        let delay = self.delays.next(retry);
        let at_least = at_least.unwrap_or_default().min(RETRY_AFTER_MAX);
        match self.client.pause(delay.max(at_least)) {
            Ok(()) => Ok(()),
            Err(Trouble::OutputClosed) => Err(End::OutputClosed),
            Err(Trouble::Lost(error)) => Err(failed(exit::UNAVAILABLE, error.to_string())),
        }
    }

    /// The end by an answer that refuses the request. `name` is the stream or meeting asked for.
    pub(super) fn refused(&self, status: u16, text: &str, name: Option<&str>) -> End {
        let text = reason(text);
        match (status, name) {
            (401 | 403, _) => failed(exit::NO_PERMISSION, text),
            (404, Some(name)) => {
                let text = format!("{name:?} is neither a stream nor a meeting here: {text}");
                failed(exit::USAGE, text)
            }
            (400 | 409 | 410, _) => failed(exit::USAGE, text),
            (404, None) => failed(exit::UNAVAILABLE, text),
            _ => self.foreign(&status.to_string()),
        }
    }

    /// The end by an answer that is not rtmsd's.
    pub(super) fn foreign(&self, what: &str) -> End {
        let text = format!(
            "something else than rtmsd answers at {}, with {what}; is RTMS_ADMIN that of the server, \
             and the server of this version?",
            shown(&self.client.address)
        );
        failed(exit::UNAVAILABLE, text)
    }
}

pub(super) fn failed(code: u8, text: String) -> End {
    End::Failed(Failure(code, text))
}

fn reason(text: &str) -> String {
    one_line(bounded(text, REASON_BYTES_MAX)).into_owned()
}

/// The delays of one outage.
#[derive(Debug)]
struct Delays {
    waits: Waits,
    tries: u32,
}

impl Delays {
    fn new(seed: u64) -> Delays {
        Delays {
            waits: Waits::new(seed),
            tries: 0,
        }
    }

    /// The delay before the next try. `named` is what the server wants before the first.
    fn next(&mut self, named: Option<Duration>) -> Duration {
        let first = named.unwrap_or(DELAY_FIRST).clamp(DELAY_MIN, DELAY_MAX);
        self.tries = self.tries.saturating_add(1);
        self.waits.draw(self.tries, first, DELAY_MAX)
    }
}

/// A random number: a hasher of the standard library has a random key.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l9_delays_double_up_to_a_bound_and_the_server_names_the_first_within_reason() {
        let ms = Duration::from_millis;
        for (named, wholes_ms) in [
            (None, [2_000, 4_000, 8_000, 16_000, 30_000, 30_000]),
            (Some(ms(0)), [100, 200, 400, 800, 1_600, 3_200]),
            (Some(ms(500)), [500, 1_000, 2_000, 4_000, 8_000, 16_000]),
            (Some(Duration::MAX), [30_000; 6]),
        ] {
            let mut delays = Delays::new(7);
            for whole in wholes_ms.map(ms) {
                let delay = delays.next(named);
                assert!(delay >= whole / 2 && delay <= whole, "{named:?}: {delay:?}");
            }
            delays.tries = 0;
            assert!(delays.next(named) <= ms(wholes_ms[0]));
        }
    }
}
