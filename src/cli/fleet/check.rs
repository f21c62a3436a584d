//! The fleet in `rtmsd check --online`: whether the store can be used as it is, who else is there, and what
//! differs.

use std::io::Write;
use std::time::{Duration, Instant};

use super::read::{open, page, stand_in};
use super::trial;
use crate::admin::fleet::{FleetPage, NodeLine};
use crate::cli::check::report::Report;
use crate::cli::exit;
use crate::clock::now_ms;
use crate::config::Config;
use crate::daemon::fleet_digests::{FleetDigests, is_must};
use crate::daemon::fleet_store::advice::{Cause, cause, explained};
use crate::daemon::fleet_store::direct::Direct;
use crate::daemon::fleet_store::survey::{Survey, SurveyedNode};
use crate::daemon::fleet_store::{Codec, Command};
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
pub(crate) fn run(config: &Config, fleet: &FleetSettings, out: &mut impl Write) -> u8 {
    let mut report = Report::new(out);
    check(&mut report, config, fleet);
    report.end()
}

fn check(report: &mut Report<impl Write>, config: &Config, fleet: &FleetSettings) {
    let app = config.app();
    let (id, secret) = (&app.credentials.id, app.credentials.secret.expose());
    let codec = Codec::new(id, secret, &trial::fleet(), stand_in("check"));
    let mut direct = match open(config, fleet, codec) {
        Ok(direct) => direct,
        Err(why) => return report.fault("store", code_of(&why), &why),
    };
    let facts = direct.facts();
    let product = facts.product();
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
                    report.warn("store", &text);
                }
                false => report.fine("store", &text),
            }
        }
        Err(why) => return report.fault("store", code_of(&why), &explained(&why)),
    }
    for (severity, text) in findings {
        match severity {
            Severity::Error => report.fault("store", exit::CONFIG, &text),
            _ => report.warn("store", &text),
        }
    }
    match trial::run(&mut direct) {
        Ok(()) => report.fine("scripts", "all scripts and commands of a node work"),
        Err(why) => report.fault("scripts", code_of(&why), &explained(&why)),
    }
    let codec = Codec::new(id, secret, &fleet.name, stand_in(&fleet.node));
    let survey = open(config, fleet, codec)
        .and_then(|mut direct| Survey::take(&mut direct, now_ms).map_err(|why| explained(&why)));
    let survey = match survey {
        Ok(survey) => survey,
        Err(why) => return report.fault("nodes", code_of(&why), &why),
    };
    clock(report, survey.clock_ahead_ms());
    let page = page(&fleet.name, product, &survey);
    nodes(report, &page, fleet);
    differences(
        report,
        &FleetDigests::of(&config.daemon),
        &survey.nodes,
        fleet,
    );
    capacity(report, &page)
}

fn clock(report: &mut Report<impl Write>, ahead_ms: i64) {
    let text = format!(
        "this machine is {:.1} s {} the store",
        ahead_ms.unsigned_abs() as f64 / 1000.0,
        if ahead_ms < 0 { "behind" } else { "ahead of" }
    );
    let remedy = "set the clock of the one that is wrong (timedatectl set-ntp true)";
    match ahead_ms.unsigned_abs() {
        CLOCK_FAULT_MS.. => report.fault("clock", exit::CONFIG, &format!("{text}; {remedy}")),
        CLOCK_WARN_MS.. => report.warn("clock", &format!("{text}; {remedy}")),
        _ => report.fine("clock", &text),
    }
}

fn nodes(report: &mut Report<impl Write>, page: &FleetPage, fleet: &FleetSettings) {
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
    report.fine("nodes", &text);
    let living = own.into_iter().find(|node| node.state != "dead");
    match living {
        Some(node) => {
            let text = format!(
                "{} runs; if that is not the server on this machine, set another RTMS_NODE here",
                shown(node)
            );
            report.fine("name", &text)
        }
        None => report.fine("name", &format!("{} is free", fleet.node)),
    }
}

fn differences(
    report: &mut Report<impl Write>,
    ours: &FleetDigests,
    nodes: &[SurveyedNode],
    fleet: &FleetSettings,
) {
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
                let text = format!(
                    "{text}; no meetings are placed on the smaller group: give all nodes the same, and reload them"
                );
                report.fault("settings", exit::CONFIG, &text);
            }
            false => report.warn("settings", &text),
        }
    }
    let is_comparable = nodes.iter().any(|node| !node.settings.is_empty());
    if is_alike && is_comparable {
        report.fine("settings", "as those of all nodes");
    }
}

fn capacity(report: &mut Report<impl Write>, page: &FleetPage) {
    match page.load_without_one() {
        None => report.warn(
            "capacity",
            "fewer than two nodes run: no node takes over if one is away",
        ),
        Some((streams, rest)) if streams > rest => {
            let text = format!(
                "{streams} streams, but only {rest} places if the largest node is away; add a node, or \
                     set RTMS_NODE_STREAMS"
            );
            report.warn("capacity", &text)
        }
        Some((streams, rest)) => {
            let text = format!("{streams} streams, {rest} places if the largest node is away");
            report.fine("capacity", &text)
        }
    }
}

/// The exit code of what the store says, or of the way to it.
fn code_of(why: &str) -> u8 {
    match cause(why) {
        Cause::Rights => exit::NO_PERMISSION,
        Cause::Settings => exit::CONFIG,
        Cause::Away => exit::UNAVAILABLE,
    }
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
