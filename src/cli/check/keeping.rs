//! What `rtmsd check` says of how long recordings are kept.

use std::path::Path;
use std::time::Duration;

use super::count;
use super::report::{CheckLevel, Finding};
use crate::cli::exit::Failure;
use crate::cli::prune;
use crate::daemon::Settings;
use crate::keeping::{Bytes, Rules};
use crate::recorder::removal::Reason;

/// What the rules mean.
pub(super) fn meaning(rules: &Rules) -> String {
    if !rules.is_some() {
        return "everything, for ever".to_owned();
    }
    let ages = [
        (rules.keep, "a stream"),
        (rules.keep_audio, "its sound"),
        (rules.keep_video, "its pictures"),
    ];
    let mut parts: Vec<String> = ages
        .into_iter()
        .filter_map(|(keep, what)| Some(format!("{what} for {}", span(keep?))))
        .collect();
    if rules.keep.is_none() && !parts.is_empty() {
        parts.push("the rest for ever".to_owned());
    }
    if let Some(max) = rules.disk_max {
        parts.push(format!("the newest in {max}"));
    }
    if let Some(min) = rules.disk_free_min {
        parts.push(format!("the newest that leave {min} free"));
    }
    parts.join(", ")
}

/// `30 days`, in the largest unit that it is a whole number of.
fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let units = [(86_400, "day"), (3600, "hour"), (60, "minute")];
    let unit = units
        .into_iter()
        .find(|(unit, _)| seconds.is_multiple_of(*unit));
    match unit {
        Some((unit, name)) => count((seconds / unit) as usize, name),
        None => format!("{seconds} s"),
    }
}

/// Rules that have no effect, and what would go now.
pub(super) fn findings(settings: &Settings) -> Vec<Finding> {
    const WHAT: &str = "keeping";
    let rules = &settings.keeping;
    let mut findings = Vec::new();
    let parts = [
        (rules.keep_audio, "RTMS_KEEP_AUDIO"),
        (rules.keep_video, "RTMS_KEEP_VIDEO"),
    ];
    for (part, key) in parts {
        if let (Some(part), Some(keep)) = (part, rules.keep)
            && part >= keep
        {
            let text = format!("{key} has no effect, for RTMS_KEEP removes the stream before");
            findings.push(Finding::new(CheckLevel::Warn, WHAT, text));
        }
    }
    let root = settings.disk.as_ref().map(|disk| disk.root.as_path());
    if let Some(root) = root.filter(|root| rules.is_some() && root.is_dir()) {
        findings.push(due(settings, root));
    }
    findings
}

fn due(settings: &Settings, root: &Path) -> Finding {
    const WHAT: &str = "keeping";
    let survey = match prune::survey(settings, root) {
        Ok(survey) => survey,
        Err(Failure(_, text)) => return Finding::new(CheckLevel::Warn, WHAT, text),
    };
    let plan = &survey.plan;
    let reasons = Reason::ALL.into_iter().filter_map(|reason| {
        let due = plan.removals.iter().filter(|it| it.reason == reason);
        let due = due.count();
        (due > 0).then(|| format!("{due} by {}", reason.by()))
    });
    let reasons: Vec<String> = reasons.collect();
    let used = Bytes(survey.space.used);
    let mut text = match reasons.is_empty() {
        true => format!("{used} are recorded, nothing would go now"),
        false => format!(
            "{used} are recorded, {} would go now: {}; \"rtmsd prune --dry-run\" shows which",
            Bytes(plan.bytes()),
            reasons.join(", ")
        ),
    };
    if !plan.held.is_empty() {
        let held = count(plan.held.len(), "removal");
        text +=
            &format!("; {held} would wait for a stream, a push endpoint, an upload or a program");
    }
    let short = plan.over_max.max(plan.under_free);
    if short > 0 {
        text += &format!("; {} are too much even then", Bytes(short));
        return Finding::new(CheckLevel::Warn, WHAT, text);
    }
    Finding::new(CheckLevel::Fine, WHAT, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keeping::Amount;

    #[test]
    fn rules_in_words() {
        assert_eq!(meaning(&Rules::default()), "everything, for ever");
        let rules = Rules {
            keep: Some(Duration::from_secs(30 * 86_400)),
            keep_audio: Some(Duration::from_secs(3600)),
            keep_video: Some(Duration::from_secs(90)),
            disk_max: Some(Amount::Bytes(50 << 30)),
            disk_free_min: Some(Amount::Percent(5)),
        };
        assert_eq!(
            meaning(&rules),
            "a stream for 30 days, its sound for 1 hour, its pictures for 90 s, the newest in 50 GiB, \
             the newest that leave 5% of the file system free"
        );
        let sound = Rules {
            keep_audio: Some(Duration::from_secs(7 * 86_400)),
            ..Rules::default()
        };
        assert_eq!(meaning(&sound), "its sound for 7 days, the rest for ever");
    }
}
