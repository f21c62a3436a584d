//! What was measured, with the goal beside it.

/// What a number should be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    /// There is none; it is told for orientation.
    None,
    /// No more than this.
    Most(f64),
    /// No less than this.
    Least(f64),
}

/// A table on stdout, a line for each number as soon as it is known.
pub(crate) struct Table;

impl Table {
    pub(crate) fn begin() -> Table {
        println!("{:<34} {:>12} {:>12}", "", "measured", "goal");
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
        println!("{name:<34} {value:>12.digits$} {goal:>12}{mark}");
    }
}
