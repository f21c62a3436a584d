//! `rtmsd demo --chaos`: meetings run while connections and the server are broken in every way.
//!
//! There are several rounds; in each, another fault happens to every meeting at the same time, and
//! all of them must have recovered before the next one. The demo's Zoom guarantees what Zoom does:
//! a phrase that is due while there is no media connection is sent once there is one again, and
//! after a loss the phrases of the last [`REPLAY`] are sent again, because bytes in a kernel's
//! buffer may be lost when a connection is reset or a process killed. So no phrase may be lost, and
//! phrases that are sent twice must be written once. The events also go by HTTP push to a receiver that
//! refuses some, resets some, and takes nothing at all in some rounds.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::table::{CHAOS_COLUMNS, chaos_table};
use super::{DemoOptions, push, say};
use crate::demo::Zoom;
use crate::demo::player::handle::MeetingHandle;
use crate::demo::player::script::{Begin, Cut, End, Fault, MeetingScript, Refusal, Socket};
use crate::demo::process::{ServerCommand, ServerProcess, own_program};
use crate::demo::receiver::{Habit, Receiver};
use crate::demo::verify::phrases::{Comparison, compare, transcript_lines};
use crate::demo::zoom::oauth;
use crate::demo::zoom::record::{Step, left};

/// Everything sent in this time before a loss is sent again after it.
const REPLAY: Duration = Duration::from_secs(2);
const PHRASES_PER_SECOND: f64 = 5.0;
/// Delay between losses: the server retries at once, even after a short connection.
const BETWEEN: Duration = Duration::from_secs(1);
/// A report of lost media counts as an old one until a connection has lasted this long.
const SETTLED: Duration = Duration::from_millis(5300);
const STALL: Duration = Duration::from_secs(2);
/// From a fault to data on a new connection: two refusals and their delays.
const RECOVERY_MAX: Duration = Duration::from_secs(20);
const EXIT_MAX: Duration = Duration::from_secs(4);

/// In these rounds the receiver of pushed events takes nothing; in the last one the server is killed.
const DOWN_ROUNDS: [usize; 2] = [3, 7];

/// Faults that happen to all meetings at once.
enum Round {
    /// One of these for each meeting, in turn. Each has a name and a list of faults.
    Faults(Duration, Vec<(&'static str, Vec<Fault>)>),
    /// The server is killed and started again; these faults happen before.
    Kill(&'static str, Vec<Fault>),
}

fn rounds() -> Vec<Round> {
    use Socket::{Media, Signaling};
    let cut = |socket, cut| Fault::Cut(socket, cut);
    let refuse = |socket, status| Fault::Refuse(socket, Refusal::Status(status), 1);
    vec![
        Round::Faults(
            BETWEEN,
            vec![
                ("media reset", vec![cut(Media, Cut::Reset)]),
                ("media ended by FIN", vec![cut(Media, Cut::Fin)]),
                ("media closed", vec![cut(Media, Cut::Close(1000))]),
            ],
        ),
        Round::Faults(
            BETWEEN,
            vec![
                ("signaling closed", vec![cut(Signaling, Cut::Close(1000))]),
                ("signaling reset", vec![cut(Signaling, Cut::Reset)]),
                ("signaling ended by FIN", vec![cut(Signaling, Cut::Fin)]),
            ],
        ),
        Round::Kill("killed (SIGKILL) and started again", vec![]),
        Round::Faults(
            BETWEEN,
            vec![
                (
                    "both reset",
                    vec![cut(Media, Cut::Reset), cut(Signaling, Cut::Reset)],
                ),
                (
                    "failed over, old sockets open",
                    vec![Fault::FailOver { cut: false }],
                ),
                (
                    "failed over, old sockets reset",
                    vec![Fault::FailOver { cut: true }],
                ),
            ],
        ),
        Round::Faults(
            SETTLED,
            vec![
                (
                    "told by event 7 that media is lost",
                    vec![Fault::TellInterrupted],
                ),
                (
                    "told by state 2 that media is lost",
                    vec![Fault::TellMediaLost],
                ),
                (
                    "told by webhook that signaling is lost",
                    vec![Fault::InterruptedWebhook],
                ),
            ],
        ),
        Round::Faults(
            BETWEEN,
            vec![
                (
                    "signaling cut, then refused as duplicate (8)",
                    vec![refuse(Signaling, 8), cut(Signaling, Cut::Fin)],
                ),
                (
                    "media cut, then refused as duplicate (16)",
                    vec![refuse(Media, 16), cut(Media, Cut::Reset)],
                ),
                (
                    "media cut, then refused as duplicate (15)",
                    vec![refuse(Media, 15), cut(Media, Cut::Close(1000))],
                ),
            ],
        ),
        Round::Faults(
            BETWEEN,
            vec![
                (
                    "media stalled for 2 s",
                    vec![Fault::Stall(Media, Some(STALL))],
                ),
                (
                    "signaling stalled for 2 s",
                    vec![Fault::Stall(Signaling, Some(STALL))],
                ),
                (
                    "both stalled for 2 s",
                    vec![
                        Fault::Stall(Media, Some(STALL)),
                        Fault::Stall(Signaling, Some(STALL)),
                    ],
                ),
            ],
        ),
        Round::Kill(
            "killed (SIGKILL) right after its media was cut, and started again",
            vec![cut(Media, Cut::Reset)],
        ),
    ]
}

/// Plays all rounds; returns whether nothing failed.
pub(crate) fn play(options: &DemoOptions) -> io::Result<bool> {
    let (folder, out, zoom) = options.set_up()?;
    let receiver = Receiver::start(push::SECRET)?;
    let mut command = ServerCommand::new(own_program()?, &zoom, &folder.0);
    command.set("RTMS_OUT", &out.display().to_string());
    command.set("RTMS_STDOUT", "off");
    push::configure(&mut command, &receiver);
    let mut stage = Stage {
        command,
        server: None,
        address: None,
        restarts: Vec::new(),
        receiver,
        zoom,
        out,
    };
    let began = Instant::now();
    stage.start_server()?;
    let seed = oauth::random();
    let meetings: Vec<MeetingHandle> = (0..options.meetings)
        .map(|n| stage.zoom.start_meeting(script(&seed, n)))
        .collect();
    let mut faults = Vec::new();
    let until = Instant::now() + RECOVERY_MAX;
    for meeting in &meetings {
        if !meeting.wait_for(Step::FirstPhrase, left(until)) {
            faults.push(format!("{}: no phrase was sent", meeting.script().topic));
        }
    }
    for (n, round) in rounds().into_iter().enumerate() {
        if faults.is_empty() {
            faults.extend(stage.round(n, &round, &meetings, began)?);
        }
    }
    stage.finish(&meetings, faults, options)
}

fn script(seed: &str, n: usize) -> MeetingScript {
    let mut script = MeetingScript::varied(seed, n);
    script.topic = format!("Chaos {}", n + 1);
    script.phrases_per_second = PHRASES_PER_SECOND;
    script.replay = REPLAY;
    if n % 2 == 1 {
        script.begin = Begin::AtOnce;
    }
    script
}

struct Stage {
    command: ServerCommand,
    server: Option<ServerProcess>,
    /// Of the first start.
    address: Option<SocketAddr>,
    /// Times from each restart until every meeting was ready again.
    restarts: Vec<Duration>,
    receiver: Receiver,
    zoom: Zoom,
    out: PathBuf,
}

impl Stage {
    fn start_server(&mut self) -> io::Result<()> {
        let (server, address) = self.command.listen()?;
        self.server = Some(server);
        if self.address.replace(address).is_none() {
            // The next process listens there, too, so that webhooks reach it.
            self.command.set("PORT", &address.port().to_string());
            self.zoom
                .set_webhook_target(&format!("http://{address}/webhook"))?;
            say(&format!("chaos: the server listens on {address}"));
        }
        Ok(())
    }

    /// Plays a round and waits until all meetings have recovered. Returns the failures as texts.
    fn round(
        &mut self,
        n: usize,
        round: &Round,
        meetings: &[MeetingHandle],
        began: Instant,
    ) -> io::Result<Vec<String>> {
        let rest = match round {
            Round::Faults(rest, _) => *rest,
            Round::Kill(..) => BETWEEN,
        };
        // Data flows in this time, so that the next loss can lose something.
        std::thread::park_timeout(rest);
        let habit = match DOWN_ROUNDS.contains(&n) {
            true => Habit::Down,
            false => Habit::Moody,
        };
        self.receiver.set_habit(habit);
        if habit == Habit::Down {
            say(&told(began, "the receiver: takes nothing in this round"));
        }
        let before: Vec<(usize, u64)> = meetings
            .iter()
            .map(|meeting| (meeting.count(Step::Ready), meeting.sent_count()))
            .collect();
        let mut names = Vec::new();
        let mut reconnects = vec![true; meetings.len()];
        match round {
            Round::Faults(_, variants) => {
                for (m, meeting) in meetings.iter().enumerate() {
                    let (name, faults) = &variants[(n + m) % variants.len()];
                    for fault in faults {
                        meeting.fault(fault.clone());
                        reconnects[m] &= !matches!(fault, Fault::Stall(..));
                    }
                    names.push(format!("{}: {name}", meeting.script().topic));
                }
                say(&told(began, &names.join("; ")));
            }
            Round::Kill(name, faults) => {
                for meeting in meetings {
                    for fault in faults {
                        meeting.fault(fault.clone());
                    }
                }
                say(&told(began, &format!("the server: {name}")));
                if let Some(mut server) = self.server.take() {
                    server.kill();
                }
                self.start_server()?;
            }
        }
        let restarted = Instant::now();
        let until = restarted + RECOVERY_MAX;
        let mut faults = Vec::new();
        for ((meeting, before), reconnects) in meetings.iter().zip(&before).zip(reconnects) {
            if reconnects && !meeting.wait_for_times(Step::Ready, before.0 + 1, left(until)) {
                let topic = &meeting.script().topic;
                faults.push(format!("{topic}: not connected again in round {}", n + 1));
            }
        }
        if matches!(round, Round::Kill(..)) {
            self.restarts.push(restarted.elapsed());
        }
        for (meeting, before) in meetings.iter().zip(&before) {
            if !meeting.wait_for_phrases(before.1 + 5, left(until)) {
                let topic = &meeting.script().topic;
                faults.push(format!("{topic}: no phrases after round {}", n + 1));
            }
        }
        Ok(faults)
    }

    fn finish(
        mut self,
        meetings: &[MeetingHandle],
        mut faults: Vec<String>,
        options: &DemoOptions,
    ) -> io::Result<bool> {
        let until = Instant::now() + RECOVERY_MAX;
        self.receiver.set_habit(Habit::Well);
        for meeting in meetings {
            meeting.end(End::meeting_ended());
        }
        for meeting in meetings {
            if !(meeting.wait_for(Step::StoppedAnswered, left(until))
                && meeting.wait_for(Step::Closed, left(until)))
            {
                faults.push(format!("{}: not closed at the end", meeting.script().topic));
            }
        }
        push::wait_until_complete(&self.receiver, &self.out, meetings.len(), RECOVERY_MAX)?;
        if let Some(server) = &mut self.server {
            let status = server.terminate(EXIT_MAX);
            if status.and_then(|status| status.code()) != Some(0) {
                faults.push("server after SIGTERM: found no exit status 0 within 4 s".to_owned());
            }
        }
        let results = meetings
            .iter()
            .map(|meeting| {
                let lines = transcript_lines(&self.out, &meeting.script().id)?;
                let result = compare(&meeting.sent(), lines.iter().map(String::as_str));
                Ok((meeting.clone(), result))
            })
            .collect::<io::Result<Vec<(MeetingHandle, Comparison)>>>()?;
        for (meeting, result) in &results {
            let topic = &meeting.script().topic;
            for (step, _) in CHAOS_COLUMNS {
                if meeting.count(step) == 0 {
                    faults.push(format!("{topic}: not seen: {}", step.name()));
                }
            }
            if result.sent == 0 || !result.is_exact() {
                faults.push(format!("{topic}: {result:?}"));
            }
        }
        say(&format!("\n{}", chaos_table(&results)));
        faults.extend(push::judge(&self.receiver, &self.out, meetings, true)?);
        for (n, taken) in self.restarts.iter().enumerate() {
            let ms = taken.as_millis();
            say(&format!(
                "restart {}: every meeting ready {ms} ms after the server listened again",
                n + 1
            ));
        }
        if let (false, Some(server)) = (faults.is_empty(), &self.server) {
            let log = server.log();
            let last = log.len().saturating_sub(60);
            log[last..].iter().for_each(|line| say(line));
        }
        faults.extend(self.zoom.stop());
        if let Some(out) = &options.out {
            say(&format!("files are in {}", out.display()));
        }
        for fault in &faults {
            say(&format!("failed: {fault}"));
        }
        if faults.is_empty() {
            say("nothing was lost, nothing was duplicated");
        }
        Ok(faults.is_empty())
    }
}

fn told(began: Instant, what: &str) -> String {
    format!("{:5.1} s  {what}", began.elapsed().as_secs_f64())
}
