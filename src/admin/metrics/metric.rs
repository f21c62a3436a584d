//! A metric: a row of the page, with any number of samples.

use std::fmt::Write;

use super::facts::{Facts, Of};
use super::page::Page;
use crate::delivery::push::machine::Report;
use crate::domain::histogram::Histogram;

/// One metric.
#[derive(Debug)]
pub struct Metric {
    /// Its name, without `rtmsd_` in front.
    pub name: &'static str,
    /// What it counts, in a sentence.
    pub help: &'static str,
    value: Value,
}

/// How a metric is read: a counter only grows, a gauge goes up and down.
#[derive(Debug)]
pub(super) enum Value {
    Count(fn(&Facts<'_>) -> u64),
    /// A counter with a fraction: seconds.
    Seconds(fn(&Facts<'_>) -> f64),
    /// Counters that differ in one label.
    Counts(&'static str, Samples),
    /// Counters that differ in two labels.
    CountPairs([&'static str; 2], PairSamples),
    Gauge(fn(&Facts<'_>) -> u64),
    GaugeSeconds(fn(&Facts<'_>) -> f64),
    Gauges(&'static str, Samples),
    /// A histogram. Nothing is on the page without one.
    Times(for<'a> fn(&Facts<'a>) -> Option<&'a Histogram>),
    /// Counters and gauges of the endpoints of HTTP push.
    PushCounts(PushSamples),
    PushGauges(PushSamples),
}

/// Values of a label, each with its number.
type Samples = fn(&Facts<'_>) -> Vec<(&'static str, u64)>;

/// Values of two labels, with their number.
type PairSamples = fn(&Facts<'_>) -> Vec<((&'static str, &'static str), u64)>;

/// Numbers of one endpoint, with further labels: `,result="delivered"`, or nothing.
type PushSamples = fn(&Report) -> Vec<(&'static str, u64)>;

/// Whose a metric is, where there may be several apps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Process,
    App,
    /// Some of its samples are those of an app.
    Either,
}

pub(super) const fn row(name: &'static str, help: &'static str, value: Value) -> Metric {
    Metric { name, help, value }
}

impl Metric {
    /// The names of its labels; `le` of histograms is left out.
    pub(super) fn labels(&self) -> Vec<&'static str> {
        match self.value {
            Value::Counts(label, _) | Value::Gauges(label, _) => vec![label],
            Value::CountPairs(labels, _) => labels.into(),
            Value::PushCounts(values) | Value::PushGauges(values) => {
                let first = values(&Report::default())
                    .first()
                    .map(|(labels, _)| *labels);
                let further = first.and_then(|labels| labels.strip_prefix(',')?.split('=').next());
                std::iter::once("endpoint").chain(further).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Prometheus' name of the type.
    pub(super) fn kind(&self) -> &'static str {
        match self.value {
            Value::Count(_) | Value::Seconds(_) | Value::Counts(..) => "counter",
            Value::CountPairs(..) | Value::PushCounts(_) => "counter",
            Value::Gauge(_) | Value::GaugeSeconds(_) | Value::Gauges(..) => "gauge",
            Value::PushGauges(_) => "gauge",
            Value::Times(_) => "histogram",
        }
    }

    fn owner(&self) -> Owner {
        let begins = ["process_", "gate_"];
        match self.name {
            "build_info" | "webhook_ack_seconds" => Owner::Process,
            "webhooks_total" | "panics_total" => Owner::Either,
            name if begins.iter().any(|begin| name.starts_with(begin)) => Owner::Process,
            _ => Owner::App,
        }
    }

    /// Whether it is read from facts about that.
    fn is_read_from(&self, of: Of<'_>) -> bool {
        match of {
            Of::Both => true,
            Of::Process => self.owner() != Owner::App,
            Of::App(_) => self.owner() != Owner::Process,
        }
    }

    /// Of what is not there, nothing is on the page: endpoints, a fleet.
    fn is_there(&self, facts: &Facts<'_>) -> bool {
        match self.name.split_once('_') {
            Some(("push", _)) => facts.push().is_some(),
            Some(("fleet", _)) => facts.fleet().is_some(),
            _ => true,
        }
    }

    pub(super) fn write(&self, facts: &[Facts<'_>], page: &mut String) {
        let facts = facts.iter();
        let facts = facts.filter(|facts| self.is_read_from(facts.of) && self.is_there(facts));
        let facts: Vec<&Facts<'_>> = facts.collect();
        if facts.is_empty() {
            return;
        }
        let Metric { name, help, .. } = self;
        let kind = self.kind();
        // Writing to a string does not fail.
        let _ = write!(
            page,
            "# HELP rtmsd_{name} {help}\n# TYPE rtmsd_{name} {kind}\n"
        );
        for facts in facts {
            let app = match facts.of {
                Of::App(name) => Some(name),
                Of::Process if self.owner() == Owner::Either => Some(""),
                _ => None,
            };
            self.write_samples(facts, &mut Page { text: page, app });
        }
    }

    fn write_samples(&self, facts: &Facts<'_>, page: &mut Page<'_>) {
        let name = self.name;
        match &self.value {
            Value::Count(value) | Value::Gauge(value) => page.sample(name, "", value(facts)),
            Value::Seconds(value) | Value::GaugeSeconds(value) => {
                page.sample(name, "", value(facts));
            }
            Value::Counts(label, values) | Value::Gauges(label, values) => {
                for (text, value) in values(facts) {
                    page.sample(name, &format!("{label}=\"{text}\""), value);
                }
            }
            Value::CountPairs([first, second], values) => {
                for ((a, b), value) in values(facts) {
                    page.sample(name, &format!("{first}=\"{a}\",{second}=\"{b}\""), value);
                }
            }
            Value::Times(value) => {
                if let Some(histogram) = value(facts) {
                    page.histogram(name, histogram);
                }
            }
            Value::PushCounts(values) | Value::PushGauges(values) => {
                for endpoint in facts.push().iter().flat_map(|push| &push.endpoints) {
                    for (labels, value) in values(&endpoint.report) {
                        // A name is of letters and digits, so it needs no escape.
                        let labels = format!("endpoint=\"{}\"{labels}", endpoint.name);
                        page.sample(name, &labels, value);
                    }
                }
            }
        }
    }
}
