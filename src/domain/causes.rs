//! An error with its causes, as one line of text.

use std::error::Error;

/// The error's text followed by that of each of its causes: `Display` of an error only describes
/// its own layer.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    #[derive(Debug)]
    struct Layer(&'static str, Option<Box<Layer>>);

    impl fmt::Display for Layer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Layer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|inner| inner as &dyn Error)
        }
    }

    #[test]
    fn each_cause_follows_its_error() {
        let disk = Layer("disk full", None);
        let file = Layer("cannot write a", Some(Box::new(disk)));
        assert_eq!(with_causes(&file), "cannot write a: disk full");
        let start = Layer("cannot start", Some(Box::new(file)));
        assert_eq!(
            with_causes(&start),
            "cannot start: cannot write a: disk full"
        );
    }
}
