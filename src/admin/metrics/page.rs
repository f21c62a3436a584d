//! Writes samples.

use std::fmt::{Display, Write};

use super::facts::seconds;
use crate::domain::histogram::Histogram;

/// The page while samples of one app are written.
pub(super) struct Page<'a> {
    pub(super) text: &'a mut String,
    /// The value of the label `app`, if samples have it.
    pub(super) app: Option<&'a str>,
}

impl Page<'_> {
    /// Label values are words of this program or names of apps, which need no escape.
    pub(super) fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        let app = self.app.map(|app| format!("app=\"{app}\""));
        let labels = app
            .into_iter()
            .chain((!labels.is_empty()).then(|| labels.to_owned()));
        let labels: Vec<String> = labels.collect();
        let labels = match labels.is_empty() {
            true => String::new(),
            false => format!("{{{}}}", labels.join(",")),
        };
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "rtmsd_{name}{labels} {value}");
    }

    pub(super) fn histogram(&mut self, name: &str, histogram: &Histogram) {
        let bucket = format!("{name}_bucket");
        // Each is read once, because the last bucket and the count must be equal.
        let mut sum = 0;
        for (end, count) in histogram.counts() {
            sum += count;
            let end = end.map_or("+Inf".to_owned(), |end| seconds(end).to_string());
            self.sample(&bucket, &format!("le=\"{end}\""), sum);
        }
        self.sample(&format!("{name}_sum"), "", seconds(histogram.sum_us()));
        self.sample(&format!("{name}_count"), "", sum);
    }
}
