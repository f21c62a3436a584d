//! A receipt and its candidates as text for people.

use std::fmt::Write;

use crate::domain::text::one_line;
use crate::forgetting::Receipt;
use crate::forgetting::receipt::{Candidate, Counts};

/// The receipt, a line for each thing.
pub(super) fn receipt(receipt: &Receipt) -> String {
    let mut text = String::new();
    let mut line = |topic: &str, what: &str| {
        let _ = writeln!(text, "{topic:<11}{}", one_line(what));
    };
    let state = match (receipt.dry_run, receipt.completed) {
        (true, _) => "plan, nothing is changed",
        (false, true) => "complete",
        (false, false) => "NOT complete",
    };
    line(&receipt.what, state);
    for folder in &receipt.folders {
        line("searched", &folder.display().to_string());
    }
    line("streams", &receipt.streams.len().to_string());
    let Counts {
        files_deleted,
        files_blanked,
        records_blanked,
        objects_deleted,
        objects_replaced,
    } = receipt.total;
    line(
        "files",
        &format!("{files_deleted} deleted, {files_blanked} blanked ({records_blanked} records)"),
    );
    line(
        "bucket",
        &format!("{objects_deleted} deleted, {objects_replaced} replaced"),
    );
    for (why, files) in &receipt.remains {
        line("remains", &format!("{files} files: {why}"));
    }
    if let Some(note) = &receipt.note {
        line("note", note);
    }
    for wait in &receipt.waits {
        line("waits", wait);
    }
    text + &candidates(&receipt.candidates)
}

/// Who was found, a line for each stream.
pub(super) fn candidates(candidates: &[Candidate]) -> String {
    let mut text = String::new();
    for Candidate {
        key,
        meeting,
        ids,
        names,
    } in candidates
    {
        let found = format!(
            "{key}  meeting {meeting}  ids {}  names {}",
            ids.join(", "),
            names.join(", ")
        );
        let _ = writeln!(text, "{:<11}{}", "found", one_line(&found));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_says_what_stays_and_what_waits() {
        let shown = receipt(&Receipt {
            what: "user".to_owned(),
            remains: [("mixed".to_owned(), 2)].into(),
            waits: vec!["stream k: is still received".to_owned()],
            total: Counts {
                files_blanked: 3,
                records_blanked: 14,
                ..Counts::default()
            },
            candidates: vec![Candidate {
                key: "k".to_owned(),
                meeting: "m".to_owned(),
                ids: vec!["7".to_owned()],
                names: vec!["A\u{1b}da".to_owned()],
            }],
            ..Receipt::default()
        });
        assert_eq!(
            shown,
            "user       NOT complete\n\
             streams    0\n\
             files      0 deleted, 3 blanked (14 records)\n\
             bucket     0 deleted, 0 replaced\n\
             remains    2 files: mixed\n\
             waits      stream k: is still received\n\
             found      k  meeting m  ids 7  names Ada\n"
        );
    }
}
