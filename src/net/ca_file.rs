//! Reader of the file with further root certificates, `RTMS_CA_FILE`.

use std::error::Error;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use openssl::error::ErrorStack;
use openssl::x509::X509;

/// Maximum size of the file, in bytes. Debian's whole bundle has 220 KB; each parsed certificate
/// needs about 17 KB of memory.
pub(super) const FILE_BYTES_MAX: u64 = 4 << 20;

/// Why the file of further root certificates, `RTMS_CA_FILE`, cannot be used.
#[derive(Debug)]
pub struct CaFileError {
    file: PathBuf,
    fault: Fault,
}

#[derive(Debug)]
enum Fault {
    Unreadable(io::Error),
    Empty,
    Broken(ErrorStack),
}

impl fmt::Display for CaFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match &self.fault {
            Fault::Unreadable(_) => "unreadable",
            Fault::Empty => "without a certificate",
            Fault::Broken(_) => "with a broken certificate",
        };
        write!(
            f,
            "RTMS_CA_FILE: found {} {what}, expected certificates in PEM",
            self.file.display()
        )
    }
}

impl Error for CaFileError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.fault {
            Fault::Unreadable(error) => Some(error),
            Fault::Empty => None,
            Fault::Broken(error) => Some(error),
        }
    }
}

/// The certificates in this file, at least one.
pub(crate) fn read(file: &Path) -> Result<Vec<X509>, CaFileError> {
    let fault = |fault| CaFileError {
        file: file.to_owned(),
        fault,
    };
    let pem = read_pem(file).map_err(|error| fault(Fault::Unreadable(error)))?;
    let certificates = X509::stack_from_pem(&pem).map_err(|error| fault(Fault::Broken(error)))?;
    match certificates.is_empty() {
        true => Err(fault(Fault::Empty)),
        false => Ok(certificates),
    }
}

/// The content of a file of certificates.
pub(super) fn read_pem(file: &Path) -> io::Result<Vec<u8>> {
    let mut pem = Vec::new();
    File::open(file)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut pem)?;
    match pem.len() as u64 > FILE_BYTES_MAX {
        true => Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has more than {FILE_BYTES_MAX} bytes"),
        )),
        false => Ok(pem),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::causes::with_causes;
    use crate::net::tls_client::tests::Authority;
    use crate::testing::scratch;

    #[test]
    fn each_fault_of_the_file_is_named() {
        let folder = scratch("ca-file");
        let file = |name: &str, pem: &[u8]| {
            let path = folder.join(name);
            std::fs::write(&path, pem).expect("writable");
            path
        };
        let pem = Authority::new("a").certificate.to_pem().expect("PEM");
        let two = [pem.as_slice(), b"# a comment\n", &pem].concat();
        assert_eq!(
            read(&file("two.pem", &two)).map(|all| all.len()).ok(),
            Some(2)
        );

        let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let large = vec![b'\n'; FILE_BYTES_MAX as usize + 1];
        for (path, words) in [
            (
                folder.join("none"),
                "unreadable, expected certificates in PEM: No such file",
            ),
            (
                file("empty.pem", b"no PEM\n"),
                "without a certificate, expected",
            ),
            (
                file("broken.pem", &[&pem, broken.as_slice()].concat()),
                "with a broken certificate",
            ),
            (
                file("large.pem", &large),
                "PEM: it has more than 4194304 bytes",
            ),
        ] {
            let text = with_causes(&read(&path).expect_err("a fault"));
            let place = format!("RTMS_CA_FILE: found {} ", path.display());
            assert!(text.starts_with(&place) && text.contains(words), "{text}");
        }
    }
}
