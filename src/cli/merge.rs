//! `rtmsd merge`: one folder of the epochs of a stream.

use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::json;

use crate::cli::exit;
use crate::merging::{self, Fault, Merged};

/// The options of the command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The folders of the epochs, or folders that hold some. Not empty.
    pub folders: Vec<PathBuf>,
    /// `--out`.
    pub out: PathBuf,
    /// `--json`.
    pub json: bool,
}

/// Runs the command; the result goes to `out`, errors and notes to standard error.
pub fn run(options: &Options, out: &mut impl Write) -> u8 {
    let merged = match merging::merge(&options.folders, &options.out) {
        Ok(merged) => merged,
        Err(fault) => {
            let _ = writeln!(io::stderr(), "rtmsd merge: {fault}");
            return match fault {
                Fault::Input(_) => exit::USAGE,
                Fault::Io(_, error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    exit::NO_PERMISSION
                }
                Fault::Io(..) => exit::UNAVAILABLE,
            };
        }
    };
    // A closed stdout is no error.
    if options.json {
        let _ = writeln!(out, "{}", as_json(options, &merged));
        return exit::OK;
    }
    for note in &merged.notes {
        let _ = writeln!(io::stderr(), "note: {note}");
    }
    let numbers = merged.epochs.iter().map(|part| part.epoch.to_string());
    let _ = writeln!(
        out,
        "{}: {} phrases from epoch {}; {} stood in two epochs",
        options.out.display(),
        merged.phrases,
        numbers.collect::<Vec<_>>().join(", "),
        merged.repeated
    );
    exit::OK
}

fn as_json(options: &Options, merged: &Merged) -> serde_json::Value {
    let epochs = merged.epochs.iter().map(|part| {
        json!({
            "epoch": part.epoch,
            "node": Some(&part.node).filter(|node| !node.is_empty()),
            "folder": part.folder,
        })
    });
    json!({
        "v": 1,
        "folder": options.out,
        "stream_id": merged.stream_id,
        "epochs": epochs.collect::<Vec<_>>(),
        "phrases": merged.phrases,
        "repeated": merged.repeated,
        "notes": merged.notes,
    })
}
