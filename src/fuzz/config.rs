//! Fuzz target for the configuration file: no panic, names and line numbers are in bounds, and a
//! file written from the values gives the same values.

use crate::config::file_format::parse;

/// Panics if one of these does not hold.
pub fn run(bytes: &[u8]) {
    let (entries, faults) = parse(bytes);
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count() + 1;
    let mut last = 0;
    for entry in &entries {
        assert!(entry.line > last && entry.line <= lines);
        last = entry.line;
        assert!(!entry.key.is_empty());
    }
    for fault in &faults {
        assert!(fault.line <= lines && !fault.text.is_empty());
    }
    assert!(faults.len() <= 21);
    // Single quotes can contain anything except single quotes.
    let is_plain = |text: &str| !text.contains(['\'', '\u{feff}', '\r']);
    if entries.iter().all(|entry| is_plain(&entry.value)) {
        let written: String = entries
            .iter()
            .map(|entry| format!("{}='{}'\n", entry.key, entry.value))
            .collect();
        if written.len() <= crate::config::file_format::FILE_BYTES_MAX {
            let (again, faults) = parse(written.as_bytes());
            assert_eq!(faults, []);
            let pairs = |entries: &[crate::config::file_format::Entry]| -> Vec<(String, String)> {
                let pair = |e: &crate::config::file_format::Entry| (e.key.clone(), e.value.clone());
                entries.iter().map(pair).collect()
            };
            assert_eq!(pairs(&again), pairs(&entries));
        }
    }
}
