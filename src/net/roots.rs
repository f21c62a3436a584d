//! The system's root certificates, each read when a certificate chain needs it.
//!
//! Parsed all at once, a bundle of 140 roots needs 2.4 MiB, a fifth of an idle daemon, and Zoom's
//! servers use one of them. Most systems also keep each root in a file of its own, in a folder
//! where OpenSSL finds it by the hash of its name.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use openssl::error::ErrorStack;
use openssl::ssl::{SslContextBuilder, SslFiletype};
use openssl::x509::store::{X509Lookup, X509Store, X509StoreBuilder};
use openssl_probe::ProbeResult;
use rustix::io::Errno;

/// Location of the system's roots.
pub(crate) struct Roots {
    found: ProbeResult,
    /// A folder with all of them.
    folder: Option<String>,
}

impl Roots {
    /// Finds the location.
    pub(crate) fn from_system() -> Roots {
        let found = openssl_probe::probe();
        // If the environment names a bundle, only the bundle counts.
        let is_named = std::env::var_os(openssl_probe::ENV_CERT_FILE).is_some();
        let folder = match is_named {
            true => None,
            false => complete_folder(&found).map(str::to_owned),
        };
        Roots { found, folder }
    }

    /// Whether [`Roots::add`] has to read and parse them all.
    pub(crate) fn are_in_a_bundle(&self) -> bool {
        self.folder.is_none()
    }

    /// Adds the roots to a configuration that is being built.
    ///
    /// # Errors
    /// The library fails; or the bundle cannot be opened at the moment, for lack of file descriptors or
    /// memory: without its roots the configuration would trust no server, as long as the process lives.
    pub(crate) fn add(&self, context: &mut SslContextBuilder) -> Result<(), String> {
        let text = |error: ErrorStack| error.to_string();
        if let Some(folder) = &self.folder {
            context.set_cert_store(looked_up_in(folder).map_err(text)?);
            return Ok(());
        }
        if let Some(bundle) = &self.found.cert_file
            && let Err(error) = File::open(bundle)
            && is_temporary(&error)
        {
            return Err(format!(
                "the system's roots in {}: {error}",
                bundle.display()
            ));
        }
        context.set_default_verify_paths().map_err(text)?;
        // A library that was built elsewhere has other default paths.
        let bundle = self
            .found
            .cert_file
            .iter()
            .map(|file| (Some(&**file), None));
        let folders = self
            .found
            .cert_dir
            .iter()
            .map(|folder| (None, Some(&**folder)));
        for (file, folder) in bundle.chain(folders) {
            let place = file.or(folder).unwrap_or(Path::new(""));
            // The library's binding accepts only UTF-8.
            if place.to_str().is_none() {
                continue;
            }
            if let Err(error) = context.load_verify_locations(file, folder) {
                log::warn!("the system's roots in {}: {error}", place.display());
            }
        }
        Ok(())
    }
}

/// Whether the system has too few resources now, and may have more later.
fn is_temporary(error: &io::Error) -> bool {
    let found = Errno::from_io_error(error);
    matches!(found, Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM))
}

/// A store that reads a root from that folder when it is needed.
fn looked_up_in(folder: &str) -> Result<X509Store, ErrorStack> {
    let mut store = X509StoreBuilder::new()?;
    store
        .add_lookup(X509Lookup::hash_dir())?
        .add_dir(folder, SslFiletype::PEM)?;
    Ok(store.build())
}

/// The folder in which OpenSSL finds at least as many roots as the bundle has.
fn complete_folder(found: &ProbeResult) -> Option<&str> {
    let needed = found.cert_file.as_deref().map_or(1, roots_in).max(1);
    let mut folders = found.cert_dir.iter();
    folders
        .find(|folder| hashed_in(folder) >= needed)
        .and_then(|folder| folder.to_str())
}

/// Number of certificates in a bundle; 0 if it cannot be read.
fn roots_in(bundle: &Path) -> usize {
    let pem = fs::read(bundle).unwrap_or_default();
    let lines = pem.split(|byte| *byte == b'\n');
    lines
        .filter(|line| line.starts_with(b"-----BEGIN ") && line.ends_with(b"CERTIFICATE-----"))
        .count()
}

/// Number of files in a folder that OpenSSL can find: `5ed36f99.0`, a link to an existing file.
fn hashed_in(folder: &Path) -> usize {
    let is_hashed = |name: &str| {
        name.split_once('.').is_some_and(|(hash, number)| {
            hash.len() == 8
                && hash.bytes().all(|b| b.is_ascii_hexdigit())
                && number.bytes().all(|b| b.is_ascii_digit())
        })
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_str().is_some_and(is_hashed))
        .filter(|entry| entry.path().is_file())
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::tls_client::tests::{Authority, shake};
    use crate::testing::scratch;

    #[test]
    fn only_files_that_openssl_finds_are_counted() {
        let folder = scratch("roots");
        let file = |name: &str| fs::write(folder.join(name), "").expect("writable");
        for name in [
            "5ed36f99.0",
            "5ed36f99.1",
            "ca.pem",
            "5ed36f99",
            "5ed36f99.r0",
        ] {
            file(name);
        }
        std::os::unix::fs::symlink("gone.pem", folder.join("00000000.0")).expect("a link");
        assert_eq!(hashed_in(&folder), 2);
        assert_eq!(hashed_in(&folder.join("none")), 0);
    }

    #[test]
    fn a_root_is_read_on_demand() {
        let folder = scratch("roots-hashed");
        let path = folder.to_str().expect("UTF-8");
        let (known, unknown) = (Authority::new("known"), Authority::new("unknown"));
        let context = || {
            let mut context = crate::net::tls_client::unrooted().expect("a context");
            context.set_cert_store(looked_up_in(path).expect("a store"));
            context.build()
        };
        let early = context();
        let hash = known.certificate.subject_name_hash();
        let pem = known.certificate.to_pem().expect("PEM");
        fs::write(folder.join(format!("{hash:08x}.0")), pem).expect("writable");
        for context in [&early, &context()] {
            assert_eq!(shake(context, "a.test", &known.signs("DNS:a.test")), Ok(()));
            let refused = shake(context, "a.test", &unknown.signs("DNS:a.test"));
            assert!(refused.is_err_and(|why| why.contains("certificate")));
        }
    }

    #[test]
    fn a_folder_with_fewer_roots_than_the_bundle_is_not_used() {
        let folder = scratch("roots-less");
        let hashed = folder.join("certs");
        fs::create_dir(&hashed).expect("writable");
        let bundle = folder.join("bundle.pem");
        fs::write(&bundle, "-----BEGIN CERTIFICATE-----\n".repeat(2)).expect("writable");
        let found = ProbeResult {
            cert_file: Some(bundle),
            cert_dir: vec![folder.join("none"), hashed.clone()],
        };
        assert_eq!(complete_folder(&found), None);
        fs::write(hashed.join("5ed36f99.0"), "").expect("writable");
        assert_eq!(complete_folder(&found), None);
        let alone = ProbeResult {
            cert_file: None,
            cert_dir: found.cert_dir.clone(),
        };
        assert_eq!(complete_folder(&alone), hashed.to_str());
        fs::write(hashed.join("5ed36f99.1"), "").expect("writable");
        assert_eq!(complete_folder(&found), hashed.to_str());
    }

    #[test]
    fn certificates_of_a_bundle_are_counted() {
        let folder = scratch("roots-bundle");
        let bundle = folder.join("bundle.pem");
        let pem = "# a root\n-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n\
                   -----BEGIN TRUSTED CERTIFICATE-----\nAA==\n-----END TRUSTED CERTIFICATE-----\n";
        fs::write(&bundle, pem).expect("writable");
        assert_eq!(roots_in(&bundle), 2);
        assert_eq!(roots_in(&folder.join("none")), 0);
    }

    #[test]
    fn a_lack_of_files_is_temporary_and_a_missing_bundle_is_not() {
        for (errno, expected) in [
            (Errno::MFILE, true),
            (Errno::NFILE, true),
            (Errno::NOENT, false),
            (Errno::ACCESS, false),
        ] {
            let error = io::Error::from_raw_os_error(errno.raw_os_error());
            assert_eq!(is_temporary(&error), expected, "{error}");
        }
    }
}
