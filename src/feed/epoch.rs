//! The folders of one stream: `<stream>`, and `<stream>.e<n>` for what a node of a fleet received under epoch
//! n > 1, so that neither a shared disk nor a stream that comes back mixes two.
#![cfg_attr(
    not(test),
    deny(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::disallowed_macros
    )
)]

/// The name of the folder of an epoch; `stream` is that of the first one.
pub fn folder_name(stream: String, epoch: u64) -> String {
    match epoch {
        0 | 1 => stream,
        epoch => format!("{stream}.e{epoch}"),
    }
}

/// The name of the first epoch's folder, which has no dot, and the epoch.
pub fn split(folder: &str) -> (&str, u64) {
    let Some((stream, digits)) = folder.rsplit_once(".e") else {
        return (folder, 1);
    };
    let is_usual = digits.starts_with(|c: char| matches!(c, '1'..='9'));
    match digits.parse() {
        Ok(epoch) if is_usual && epoch > 1 => (stream, epoch),
        _ => (folder, 1),
    }
}

/// Whether a folder is one of the stream whose first one is called so.
pub fn is_of(folder: &str, stream: &str) -> bool {
    split(folder).0 == stream
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_stream_and_epoch() {
        for (epoch, name) in [
            (0, "s-1"),
            (1, "s-1"),
            (2, "s-1.e2"),
            (u64::MAX, "s-1.e18446744073709551615"),
        ] {
            assert_eq!(folder_name("s-1".to_owned(), epoch), name);
            assert_eq!(split(name), ("s-1", epoch.max(1)));
            assert!(is_of(name, "s-1") && !is_of(name, "s"));
        }
        for other in [
            "s-1.e", "s-1.e1", "s-1.e0", "s-1.e02", "s-1.e+2", "s-1.x2", "s-1.e2x",
        ] {
            assert_eq!(split(other), (other, 1));
        }
    }
}
