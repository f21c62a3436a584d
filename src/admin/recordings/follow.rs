//! Events of the stream or meeting that a request names, where several apps are served: first it is found
//! which of them has it.

use std::io::{self, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire};
use std::thread::Builder;

use super::find::find_named;
use super::{AT_ONCE, Place, STACK_BYTES, Shared, Shelf, WRITE_MAX, written};
use crate::admin::line;
use crate::admin::served::{ServedApp, which};
use crate::delivery::live::query::Ask;
use crate::delivery::live::{Access, RETRY_AFTER_S};
use crate::gate::{Answer, Decision, answer_bytes};

impl Shelf {
    /// Finds the app on a thread of its own, for it may read many folders, and hands the request over to
    /// it.
    pub(in crate::admin) fn follow(
        &self,
        apps: Vec<Arc<ServedApp>>,
        ask: Ask,
        access: Access,
    ) -> Result<Decision, Answer> {
        let name = match &access {
            Access::Stream { key, .. } => Some(key.to_string()),
            Access::All => ask.stream.clone().or_else(|| ask.meeting.clone()),
        };
        let name = name.ok_or_else(|| which(&apps))?;
        let running = self.0.answering.fetch_add(1, AcqRel);
        let place = Place {
            shared: Arc::clone(&self.0),
            is_file: false,
        };
        if running >= AT_ONCE || self.0.is_stopping.load(Acquire) {
            let answer = line(503, "there are too many requests at once, come again");
            return Err(answer.with("Retry-After", RETRY_AFTER_S.to_string()));
        }
        Ok(Decision::Take(Box::new(move |socket| {
            let spawned = Builder::new()
                .name("which-app".to_owned())
                .stack_size(STACK_BYTES)
                .spawn(move || {
                    let found = has_it(&place.shared, &apps, &name);
                    match found {
                        Ok(app) => app.live.take(socket, ask, access),
                        // The client may be gone.
                        Err(refusal) => drop(refuse(socket, &refusal)),
                    }
                });
            if let Err(error) = spawned {
                log::error!("live: no thread can be started: {error}");
            }
        })))
    }
}

/// The app that has this stream or meeting.
fn has_it(shared: &Shared, apps: &[Arc<ServedApp>], name: &str) -> Result<Arc<ServedApp>, Answer> {
    let mut refusal = None;
    for app in apps {
        let found = written(shared, app.name.as_deref())
            .and_then(|written| find_named(&shared.places, &written, name));
        match found {
            Err(answer) if answer.status == 404 => {
                refusal.get_or_insert(answer);
            }
            // What it says of a stream that was withdrawn, the app says itself.
            _ => return Ok(Arc::clone(app)),
        }
    }
    Err(refusal.unwrap_or_else(|| line(503, "no app is running")))
}

fn refuse(socket: OwnedFd, refusal: &Answer) -> io::Result<()> {
    // Only what all sockets have is used, so this may be a Unix socket as well.
    let mut stream = TcpStream::from(socket);
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(WRITE_MAX))?;
    let refusal = refusal.clone().with("Cache-Control", "no-store");
    stream.write_all(&answer_bytes(&refusal, false))?;
    stream.shutdown(std::net::Shutdown::Write)
}
