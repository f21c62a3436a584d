//! The table of measurements, with goals.

/// The goal of a number.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    /// None; it is printed for information.
    None,
    /// At most this.
    Most(f64),
    /// At least this.
    Least(f64),
}

/// A table on stdout, with a line for each number as soon as it is known.
pub(crate) struct Table;

impl Table {
    pub(crate) fn begin() -> Table {
        println!("{:<44} {:>12} {:>12}", "", "measured", "goal");
        Table
    }

    pub(crate) fn row(&self, name: &str, value: f64, digits: usize, goal: Goal) {
        let (sign, limit, is_met) = match goal {
            Goal::None => ("", None, true),
            Goal::Most(limit) => ("<= ", Some(limit), value <= limit),
            Goal::Least(limit) => (">= ", Some(limit), value >= limit),
        };
        let goal = limit.map_or(String::new(), |limit| {
            format!("{sign}{limit:.0$}", {
                if limit.fract() == 0.0 { 0 } else { digits }
            })
        });
        let mark = if is_met { "" } else { "  missed" };
        println!("{name:<44} {value:>12.digits$} {goal:>12}{mark}");
    }
}
