//! The system's root certificates together with those of `RTMS_CA_FILE`.
//!
//! ureq takes either the system's roots or a list of its own, so the list is put together here.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use ureq::tls::{Certificate, PemItem, parse_pem};

/// The most that is read of a file of certificates; Debian's bundle has 220 KB.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The roots of this file.
pub(crate) fn of(file: &Path) -> Result<Vec<Certificate<'static>>, String> {
    let fault = |what: &str| {
        format!(
            "RTMS_CA_FILE: found {} {what}, expected certificates in PEM",
            file.display()
        )
    };
    let roots = read(file).map_err(|e| fault(&format!("unreadable ({e})")))?;
    if roots.is_empty() {
        return Err(fault("without a certificate"));
    }
    if roots
        .iter()
        .any(|root| openssl::x509::X509::from_der(root.der()).is_err())
    {
        return Err(fault("with a broken certificate"));
    }
    Ok(roots)
}

/// These roots and those of the system.
pub(crate) fn with(further: &[Certificate<'static>]) -> Vec<Certificate<'static>> {
    let mut roots = further.to_vec();
    roots.extend(from_system());
    roots
}

/// What native-tls would use: the bundle, or where there is none, the files of the directories.
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

fn read(file: &Path) -> std::io::Result<Vec<Certificate<'static>>> {
    let mut pem = Vec::new();
    File::open(file)?
        .take(FILE_BYTES_MAX)
        .read_to_end(&mut pem)?;
    Ok(parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(root)) => Some(root),
            _ => None,
        })
        .collect())
}
