//! The system's root certificates together with those of `RTMS_CA_FILE`, for REST.
//!
//! ureq accepts either the system's roots or a list, so the list is made here.

use std::io;
use std::path::Path;

use ureq::tls::{Certificate, PemItem, parse_pem};

use super::ca_file;
use super::ca_file::CaFileError;

/// The roots of this file.
pub(crate) fn from_file(file: &Path) -> Result<Vec<Certificate<'static>>, CaFileError> {
    // What was parsed has a DER form.
    let roots = ca_file::read(file)?.into_iter();
    let roots = roots.filter_map(|root| root.to_der().ok());
    Ok(roots
        .map(|der| Certificate::from_der(&der).to_owned())
        .collect())
}

/// These roots and those of the system.
pub(crate) fn with(further: &[Certificate<'static>]) -> Vec<Certificate<'static>> {
    let mut roots = further.to_vec();
    roots.extend(from_system());
    roots
}

/// What native-tls would use: the bundle or, without one, the files of the directories.
fn from_system() -> Vec<Certificate<'static>> {
    let found = openssl_probe::probe();
    if let Some(roots) = found.cert_file.and_then(|file| read(&file).ok()) {
        return roots;
    }
    found
        .cert_dir
        .iter()
        .filter_map(|directory| std::fs::read_dir(directory).ok())
        .flatten()
        .flatten()
        .filter_map(|entry| read(&entry.path()).ok())
        .flatten()
        .collect()
}

fn read(file: &Path) -> io::Result<Vec<Certificate<'static>>> {
    let pem = ca_file::read_pem(file)?;
    Ok(parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(root)) => Some(root),
            _ => None,
        })
        .collect())
}
