//! The fleet in `rtmsd check --online`: whether the store can be used as it is, who else is there, and what
//! differs.

use std::io::Write;

use crate::cli::exit;
use crate::config::Config;

/// Checks and reports, one finding a line; returns the exit code of the worst finding.
#[cfg(not(feature = "fleet"))]
pub(crate) fn run(_: &Config, _: &mut impl Write) -> u8 {
    exit::OK
}

#[cfg(feature = "fleet")]
pub(crate) use of_store::run;

#[cfg(feature = "fleet")]
mod of_store {
    use std::io;
    use std::time::{Duration, Instant};

    use super::{Config, Write, exit};
    use crate::admin::fleet::{FleetPage, NodeLine};
    use crate::cli::fleet::read::{open, page, stand_in};
    use crate::clock::now_ms;
    use crate::coordinator::fleet::call::{
        Boot, Call, Claimable, Member, Message, Reply, Routed, Row,
    };
    use crate::coordinator::fleet::record::StreamPhase;
    use crate::daemon::fleet_digests::{FleetDigests, is_must};
    use crate::daemon::fleet_store::direct::Direct;
    use crate::daemon::fleet_store::survey::{Survey, SurveyedNode};
    use crate::daemon::fleet_store::{Codec, Command, Script};
    use crate::domain::fleet::FleetSettings;
    use crate::domain::severity::Severity;

    /// How often the time of an answer is measured.
    const PINGS: usize = 20;
    /// The slowest of them, from which on a warning is given: each webhook waits for such an answer.
    const PING_WARN: Duration = Duration::from_millis(50);
    /// A difference of clocks from which on a warning is given; stamps and stop times would be off by it.
    const CLOCK_WARN_MS: u64 = 2_000;
    /// A difference with which webhooks will be refused before long.
    const CLOCK_FAULT_MS: u64 = 30_000;

    /// Checks and reports, one finding a line; returns the exit code of the worst finding.
    pub(crate) fn run(config: &Config, out: &mut impl Write) -> u8 {
        let Some(fleet) = &config.daemon.fleet else {
            return exit::OK;
        };
        let mut report = Report { out, exit_code: 0 };
        // If the reader is gone the report is lost, but the exit code is still right.
        let _ = report.check(config, fleet);
        let _ = report.out.flush();
        report.exit_code
    }

    struct Report<'a, W> {
        out: &'a mut W,
        exit_code: u8,
    }

    impl<W: Write> Report<'_, W> {
        fn check(&mut self, config: &Config, fleet: &FleetSettings) -> io::Result<()> {
            let app = config.app();
            let (id, secret) = (&app.credentials.id, app.credentials.secret.expose());
            // Everything that is tried has names of its own, which the ACL for this program covers.
            let trial = format!("check-{:08x}", random());
            let codec = Codec::new(id, secret, &trial, stand_in("check"));
            let mut direct = match open(config, fleet, codec) {
                Ok(direct) => direct,
                Err(why) => return self.fault("store", code_of(&why), &why),
            };
            let facts = direct.facts();
            let product = format!("{} {}", facts.name, facts.version);
            let findings = facts.findings();
            match pings(&mut direct) {
                Ok((median, slowest)) => {
                    let text = format!(
                        "{product} at {} answers in {}, the slowest of {PINGS} in {}",
                        fleet.store,
                        shown(median),
                        shown(slowest)
                    );
                    match slowest > PING_WARN {
                        true => {
                            let text = format!("{text}; each webhook waits for such an answer");
                            self.warn("store", &text)?;
                        }
                        false => self.fine("store", &text)?,
                    }
                }
                Err(why) => return self.fault("store", code_of(&why), &why),
            }
            for (severity, text) in findings {
                match severity {
                    Severity::Error => self.fault("store", exit::CONFIG, &text)?,
                    _ => self.warn("store", &text)?,
                }
            }
            self.try_scripts(&mut direct)?;
            let codec = Codec::new(id, secret, &fleet.name, stand_in(&fleet.node));
            let survey = open(config, fleet, codec).and_then(|mut direct| {
                Survey::take(&mut direct, now_ms).map_err(|fault| fault.to_string())
            });
            let survey = match survey {
                Ok(survey) => survey,
                Err(why) => return self.fault("nodes", code_of(&why), &why),
            };
            self.clock(survey.clock_ahead_ms())?;
            let page = page(&fleet.name, product, &survey);
            self.nodes(&page, fleet)?;
            self.differences(&FleetDigests::of(&config.daemon), &survey.nodes, fleet)?;
            self.capacity(&page)
        }

        /// Runs every script and every command that a node uses, on names that are removed afterwards.
        fn try_scripts(&mut self, direct: &mut Direct) -> io::Result<()> {
            let result = try_commands(direct).and_then(|()| try_all(direct));
            let removed = remove_trial(direct);
            match result.and(removed) {
                Ok(()) => self.fine("scripts", "all scripts and commands of a node work"),
                Err(why) => {
                    let text = format!(
                        "{why}; the user of the store needs the commands in \"rtmsd help fleet\""
                    );
                    self.fault("scripts", code_of(&why), &text)
                }
            }
        }

        fn clock(&mut self, ahead_ms: i64) -> io::Result<()> {
            let text = format!(
                "this machine is {:.1} s {} the store",
                ahead_ms.unsigned_abs() as f64 / 1000.0,
                if ahead_ms < 0 { "behind" } else { "ahead of" }
            );
            let remedy = "set the clock of the one that is wrong (timedatectl set-ntp true)";
            match ahead_ms.unsigned_abs() {
                CLOCK_FAULT_MS.. => self.fault("clock", exit::CONFIG, &format!("{text}; {remedy}")),
                CLOCK_WARN_MS.. => self.warn("clock", &format!("{text}; {remedy}")),
                _ => self.fine("clock", &text),
            }
        }

        fn nodes(&mut self, page: &FleetPage, fleet: &FleetSettings) -> io::Result<()> {
            let shown = |node: &NodeLine| {
                let (name, state) = (&node.name, &node.state);
                format!(
                    "{name} ({state}, {}, {} streams)",
                    node.version, node.streams
                )
            };
            let is_own = |node: &&NodeLine| node.name == fleet.node;
            let (own, others): (Vec<_>, Vec<_>) = page.nodes.iter().partition(is_own);
            let others = others.into_iter().map(shown).collect::<Vec<_>>().join(", ");
            let text = match others.as_str() {
                "" => format!("the fleet {} has no other node yet", fleet.name),
                others => format!("others in the fleet {}: {others}", fleet.name),
            };
            self.fine("nodes", &text)?;
            let living = own.into_iter().find(|node| node.state != "dead");
            match living {
                Some(node) => {
                    let text = format!(
                        "{} runs; if that is not the server on this machine, set another RTMS_NODE here",
                        shown(node)
                    );
                    self.fine("name", &text)
                }
                None => self.fine("name", &format!("{} is free", fleet.node)),
            }
        }

        fn differences(
            &mut self,
            ours: &FleetDigests,
            nodes: &[SurveyedNode],
            fleet: &FleetSettings,
        ) -> io::Result<()> {
            let mut is_alike = true;
            for node in nodes {
                let theirs = |key: &str| node.settings.get(key).map(String::as_str);
                let keys = ours.differing(theirs);
                if keys.is_empty() {
                    continue;
                }
                is_alike = false;
                let is_own = node.seen.node == fleet.node;
                let name = &node.seen.node;
                let text = match is_own {
                    true => format!(
                        "the running node {name} has other values of {}: reload or restart it",
                        keys.join(", ")
                    ),
                    false => format!("node {name} has other values of {}", keys.join(", ")),
                };
                match keys.iter().any(|key| is_must(key)) && !is_own {
                    true => {
                        let text = format!("{text}; no meetings are placed on the smaller group");
                        self.fault("settings", exit::CONFIG, &text)?;
                    }
                    false => self.warn("settings", &text)?,
                }
            }
            let is_comparable = nodes.iter().any(|node| !node.settings.is_empty());
            match is_alike && is_comparable {
                true => self.fine("settings", "as those of all nodes"),
                false => Ok(()),
            }
        }

        fn capacity(&mut self, page: &FleetPage) -> io::Result<()> {
            match page.load_without_one() {
                None => self.warn(
                    "capacity",
                    "fewer than two nodes run: no node takes over if one is away",
                ),
                Some((streams, rest)) if streams > rest => {
                    let text = format!(
                        "{streams} streams, but only {rest} places if the largest node is away; add a node, or \
                         set RTMS_NODE_STREAMS"
                    );
                    self.warn("capacity", &text)
                }
                Some((streams, rest)) => {
                    let text =
                        format!("{streams} streams, {rest} places if the largest node is away");
                    self.fine("capacity", &text)
                }
            }
        }

        fn fine(&mut self, what: &str, text: &str) -> io::Result<()> {
            writeln!(self.out, "ok    {what}: {text}")
        }

        fn warn(&mut self, what: &str, text: &str) -> io::Result<()> {
            writeln!(self.out, "warn  {what}: {text}")
        }

        fn fault(&mut self, what: &str, exit_code: u8, text: &str) -> io::Result<()> {
            self.exit_code = self.exit_code.max(exit_code);
            writeln!(self.out, "fault {what}: {text}")
        }
    }

    /// What the words of the store, or of the way to it, mean for the exit code.
    fn code_of(why: &str) -> u8 {
        let is = |words: &[&str]| words.iter().any(|word| why.contains(word));
        match () {
            () if is(&["NOAUTH", "WRONGPASS", "NOPERM"]) => exit::NO_PERMISSION,
            () if is(&["READONLY", "ERR ", "CROSSSLOT"]) => exit::CONFIG,
            () => exit::UNAVAILABLE,
        }
    }

    fn random() -> u32 {
        let mut bytes = [0; 4];
        // Two checks at the same time with the same name would disturb each other, no more.
        let _ = openssl::rand::rand_bytes(&mut bytes);
        u32::from_be_bytes(bytes)
    }

    /// The median and the slowest of some answers.
    fn pings(direct: &mut Direct) -> Result<(Duration, Duration), String> {
        let mut times = Vec::with_capacity(PINGS);
        for _ in 0..PINGS {
            let asked = Instant::now();
            direct.commands(&[Command::plain("PING", vec![], vec![])])?;
            times.push(asked.elapsed());
        }
        times.sort_unstable();
        let slowest = times.last().copied().unwrap_or_default();
        Ok((times[PINGS / 2], slowest))
    }

    fn shown(time: Duration) -> String {
        format!("{:.1} ms", time.as_secs_f64() * 1000.0)
    }

    /// Every command that scripts use, by itself: a script that may not run one does not say which.
    fn try_commands(direct: &mut Direct) -> Result<(), String> {
        let names = direct.codec().names().clone();
        let (hash, set) = (names.meeting("check"), names.owned("check"));
        let (text, stream) = (names.stream("check"), names.queue("check"));
        let command = |verb, key: &[u8], args: &[&str]| {
            let args = args.iter().map(|arg| arg.as_bytes().to_vec());
            Command::plain(verb, vec![key.to_vec()], args.collect())
        };
        direct.commands(&[
            command("HSET", &hash, &["check", "1"]),
            command("HGET", &hash, &["check"]),
            command("HMGET", &hash, &["check"]),
            command("HGETALL", &hash, &[]),
            command("HDEL", &hash, &["check"]),
            command("SADD", &set, &["check"]),
            command("SCARD", &set, &[]),
            command("SMEMBERS", &set, &[]),
            command("SREM", &set, &["check"]),
            command("SET", &text, &["check"]),
            command("GET", &text, &[]),
            command("PEXPIRE", &text, &["60000"]),
            command("EXISTS", &text, &[]),
            command("XADD", &stream, &["*", "m", "check"]),
            command("XLEN", &stream, &[]),
            command("XRANGE", &stream, &["-", "+"]),
            command("XDEL", &stream, &["1-0"]),
        ])?;
        remove_trial(direct)
    }

    /// The life of a meeting: a row, a claim, a message, a hand-over, a token.
    fn try_all(direct: &mut Direct) -> Result<(), String> {
        let me = direct.codec().me().clone();
        let meeting = "check".to_owned();
        let mut call = |call: &Call, is_right: fn(&Reply) -> bool| {
            let commands = direct.codec().encode(call);
            let sent = Instant::now();
            // The error of the store itself says more than a failed call.
            let values = direct.commands(&commands)?;
            let reply = direct.codec().decode(call, sent, &values);
            match is_right(&reply) {
                true => Ok(()),
                false => Err(format!("a script does not do what it should: {reply:?}")),
            }
        };
        let row = Row {
            boot: me.boot,
            seq: 1,
            layout: 1,
            version: String::new(),
            must: String::new(),
            streams: 0,
            capacity: 1,
            is_draining: false,
            admin: String::new(),
            since_ms: 0,
        };
        let beat = Call::Beat {
            row,
            previous: None,
        };
        call(&beat, |reply| matches!(reply, Reply::Beat { .. }))?;
        let claim = Call::Claim {
            meeting: meeting.clone(),
            expected: None,
            to: me.clone(),
            when: Claimable::Free,
            messages: Vec::new(),
        };
        call(&claim, |reply| matches!(reply, Reply::Claimed { .. }))?;
        let publish = Call::Publish {
            meeting: meeting.clone(),
            epoch: 1,
            previous: None,
            streams: vec![("check".to_owned(), StreamPhase::Joining)],
            is_over: false,
            entry: Some(b"check".to_vec()),
        };
        call(&publish, |reply| matches!(reply, Reply::Ok { .. }))?;
        let route = Call::Route {
            meeting: meeting.clone(),
            expected: Some(me.node.clone()),
            dead_after: Duration::from_secs(5),
            message: Message::Event(b"check".to_vec()),
        };
        call(&route, |reply| matches!(reply, Reply::Routed(Routed::Mine)))?;
        let send = Call::Send {
            node: me.node.clone(),
            message: Message::Event(b"check".to_vec()),
        };
        call(&send, |reply| {
            matches!(reply, Reply::Sent { has_room: true })
        })?;
        let read = Call::ReadQueue {
            node: me.node.clone(),
        };
        call(&read, |reply| matches!(reply, Reply::Queue(_)))?;
        let find = Call::Find {
            stream_id: "check".to_owned(),
        };
        call(&find, |reply| matches!(reply, Reply::Found { .. }))?;
        let owned = Call::Owned {
            node: me.node.clone(),
        };
        call(&owned, |reply| matches!(reply, Reply::Meetings(_)))?;
        let hand = Call::Hand {
            meeting,
            epoch: 1,
            heir: Member {
                node: "heir".to_owned(),
                boot: Boot(0),
            },
            entry: b"check".to_vec(),
            tails: vec![("check".to_owned(), vec![0; 8])],
        };
        call(&hand, |reply| {
            matches!(reply, Reply::Ok { .. } | Reply::QueueFull)
        })?;
        let names = direct.codec().names().clone();
        let bytes = |text: &str| text.as_bytes().to_vec();
        direct.commands(&[
            Command::script(
                Script::Grant,
                vec![names.grant("check")],
                vec![bytes("read"), bytes("0")],
            ),
            direct.codec().read_messages("0"),
        ])?;
        let to_delete = direct.codec().read_to_delete();
        let tail = vec![0; 8];
        let tails = direct.codec().tails([("check", &tail)].into_iter(), true);
        direct.commands(&tails)?;
        direct.commands(&[to_delete])?;
        Ok(())
    }

    fn remove_trial(direct: &mut Direct) -> Result<(), String> {
        let names = direct.codec().names().clone();
        let mut keys = vec![
            names.fleet(),
            names.nodes(),
            names.meeting("check"),
            names.stream("check"),
            names.grant("check"),
        ];
        for node in ["check", "heir"] {
            keys.extend([
                names.owned(node),
                names.tails(node),
                names.queue(node),
                names.to_delete(node),
            ]);
        }
        direct.commands(&[Command::plain("DEL", keys, vec![])])?;
        Ok(())
    }
}
