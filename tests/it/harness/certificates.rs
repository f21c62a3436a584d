//! Certificates that the tests make themselves.

use std::fs;
use std::path::{Path, PathBuf};

use native_tls::{Identity, TlsAcceptor};
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509NameBuilder};
use rtmsd::gate::TlsFiles;

fn key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

/// A certificate for these names, signed by `issuer`, or a self-signed authority without one.
fn certificate(
    name: &str,
    key: &PKey<Private>,
    issuer: Option<(&X509, &PKey<Private>)>,
    until_days: i64,
) -> X509 {
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_text("CN", name).unwrap();
    let subject = subject.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let serial = BigNum::from_u32(if issuer.is_some() { 2 } else { 1 }).unwrap();
    builder
        .set_serial_number(&serial.to_asn1_integer().unwrap())
        .unwrap();
    builder.set_subject_name(&subject).unwrap();
    builder.set_pubkey(key).unwrap();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs() as i64;
    let day = 24 * 3600;
    let begin = Asn1Time::from_unix(now - 10 * day).unwrap();
    let end = Asn1Time::from_unix(now + until_days * day).unwrap();
    builder.set_not_before(&begin).unwrap();
    builder.set_not_after(&end).unwrap();
    let mut constraints = BasicConstraints::new();
    if issuer.is_none() {
        constraints.critical().ca();
    }
    builder
        .append_extension(constraints.build().unwrap())
        .unwrap();
    let (issuer_name, issuer_key) = match issuer {
        Some((certificate, issuer_key)) => {
            let mut names = SubjectAlternativeName::new();
            match name.parse::<std::net::IpAddr>() {
                Ok(_) => names.ip(name),
                Err(_) => names.dns(name),
            };
            let names = names.build(&builder.x509v3_context(None, None)).unwrap();
            builder.append_extension(names).unwrap();
            (certificate.subject_name(), issuer_key)
        }
        None => (&*subject, key),
    };
    builder.set_issuer_name(issuer_name).unwrap();
    builder.sign(issuer_key, MessageDigest::sha256()).unwrap();
    builder.build()
}

/// TLS with this name, and the authority that signed its certificate.
pub(crate) fn acceptor(name: &str, until_days: i64) -> (TlsAcceptor, X509) {
    let authority_key = key();
    let authority = certificate(&format!("authority of {name}"), &authority_key, None, 30);
    let own_key = key();
    let own = certificate(
        name,
        &own_key,
        Some((&authority, &authority_key)),
        until_days,
    );
    let identity = Identity::from_pkcs8(
        &own.to_pem().unwrap(),
        &own_key.private_key_to_pem_pkcs8().unwrap(),
    )
    .unwrap();
    (TlsAcceptor::new(identity).unwrap(), authority)
}

/// A self-signed certificate and its key in two files, named after `name`, which it has as its
/// subject.
pub(crate) fn tls_files(folder: &Path, name: &str) -> TlsFiles {
    let key = key();
    let files = TlsFiles {
        cert: folder.join(format!("{name}.crt")),
        key: folder.join(format!("{name}.key")),
    };
    let own = certificate(name, &key, None, 30);
    fs::write(&files.cert, own.to_pem().unwrap()).unwrap();
    // The older form of an EC key, as some ACME clients write it.
    let key_pem = key.ec_key().unwrap().private_key_to_pem().unwrap();
    fs::write(&files.key, key_pem).unwrap();
    files
}

/// A certificate with this name and its key in two files, and the authority that signed it in a third.
#[cfg(feature = "fleet")]
pub(crate) fn signed_files(folder: &Path, name: &str) -> (TlsFiles, PathBuf) {
    let (authority_key, own_key) = (key(), key());
    let authority = certificate(&format!("authority of {name}"), &authority_key, None, 30);
    let own = certificate(name, &own_key, Some((&authority, &authority_key)), 30);
    let files = TlsFiles {
        cert: folder.join(format!("{name}.crt")),
        key: folder.join(format!("{name}.key")),
    };
    let ca_file = folder.join(format!("{name}.ca"));
    fs::write(&files.cert, own.to_pem().unwrap()).unwrap();
    fs::write(&files.key, own_key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    fs::write(&ca_file, authority.to_pem().unwrap()).unwrap();
    (files, ca_file)
}
