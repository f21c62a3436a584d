//! The demo's own certificate authority, created at the start and never stored.
//!
//! It signs one valid certificate for loopback and two bad ones, so that a test can see a client
//! refuse them. `listeners` serves TLS with them.

use std::io;

use native_tls::{Identity, TlsAcceptor};
use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName,
    SubjectKeyIdentifier,
};
use openssl::x509::{X509, X509Builder, X509Name};

const DAY_SECONDS: i64 = 24 * 60 * 60;

/// The authority's certificate and acceptors for the certificates it signed.
pub(in crate::demo) struct Certificates {
    /// The root certificate that a client must trust.
    pub(in crate::demo) ca_pem: Vec<u8>,
    /// For 127.0.0.1, ::1, localhost, and 127.0.0.2, where a proxy before it may listen.
    pub(in crate::demo) good: TlsAcceptor,
    /// Valid, but for another host.
    pub(in crate::demo) wrong_host: TlsAcceptor,
    /// For loopback, but expired since yesterday.
    pub(in crate::demo) expired: TlsAcceptor,
}

impl Certificates {
    /// Creates everything: three keys on P-256, a few milliseconds.
    pub(in crate::demo) fn new() -> io::Result<Certificates> {
        let authority = Authority::new()?;
        let loopback = |names: &mut SubjectAlternativeName| {
            names.dns("localhost");
            names.ip("127.0.0.1").ip("::1").ip("127.0.0.2");
        };
        let elsewhere = |names: &mut SubjectAlternativeName| {
            names.dns("rtms.example.test");
        };
        Ok(Certificates {
            good: authority.acceptor(loopback, -DAY_SECONDS, 30 * DAY_SECONDS)?,
            wrong_host: authority.acceptor(elsewhere, -DAY_SECONDS, 30 * DAY_SECONDS)?,
            expired: authority.acceptor(loopback, -2 * DAY_SECONDS, -DAY_SECONDS)?,
            ca_pem: authority.certificate.to_pem()?,
        })
    }
}

struct Authority {
    key: PKey<Private>,
    certificate: X509,
}

impl Authority {
    fn new() -> Result<Authority, ErrorStack> {
        let key = p256()?;
        let name = name("rtmsd demo authority")?;
        let mut builder = builder(&key, -DAY_SECONDS, 30 * DAY_SECONDS)?;
        builder.set_subject_name(&name)?;
        builder.set_issuer_name(&name)?;
        builder.append_extension(BasicConstraints::new().critical().ca().pathlen(0).build()?)?;
        builder.append_extension(
            KeyUsage::new()
                .critical()
                .key_cert_sign()
                .crl_sign()
                .build()?,
        )?;
        let id = SubjectKeyIdentifier::new().build(&builder.x509v3_context(None, None))?;
        builder.append_extension(id)?;
        builder.sign(&key, MessageDigest::sha256())?;
        Ok(Authority {
            key,
            certificate: builder.build(),
        })
    }

    fn acceptor(
        &self,
        names: impl Fn(&mut SubjectAlternativeName),
        from_seconds: i64,
        until_seconds: i64,
    ) -> io::Result<TlsAcceptor> {
        let key = p256()?;
        let certificate = self.sign(&key, names, from_seconds, until_seconds)?;
        let identity =
            Identity::from_pkcs8(&certificate.to_pem()?, &key.private_key_to_pem_pkcs8()?)
                .map_err(io::Error::other)?;
        TlsAcceptor::new(identity).map_err(io::Error::other)
    }

    fn sign(
        &self,
        key: &PKey<Private>,
        names: impl Fn(&mut SubjectAlternativeName),
        from_seconds: i64,
        until_seconds: i64,
    ) -> Result<X509, ErrorStack> {
        let mut builder = builder(key, from_seconds, until_seconds)?;
        let subject = name("rtmsd demo")?;
        builder.set_subject_name(&subject)?;
        builder.set_issuer_name(self.certificate.subject_name())?;
        builder.append_extension(BasicConstraints::new().critical().build()?)?;
        builder.append_extension(KeyUsage::new().critical().digital_signature().build()?)?;
        builder.append_extension(ExtendedKeyUsage::new().server_auth().build()?)?;
        let mut alternative = SubjectAlternativeName::new();
        names(&mut alternative);
        let alternative =
            alternative.build(&builder.x509v3_context(Some(&self.certificate), None))?;
        builder.append_extension(alternative)?;
        let authority_id = AuthorityKeyIdentifier::new()
            .keyid(true)
            .build(&builder.x509v3_context(Some(&self.certificate), None))?;
        builder.append_extension(authority_id)?;
        builder.sign(&self.key, MessageDigest::sha256())?;
        Ok(builder.build())
    }
}

fn p256() -> Result<PKey<Private>, ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    PKey::from_ec_key(EcKey::generate(&group)?)
}

fn name(common: &str) -> Result<X509Name, ErrorStack> {
    let mut name = X509Name::builder()?;
    name.append_entry_by_nid(Nid::COMMONNAME, common)?;
    Ok(name.build())
}

fn builder(
    key: &PKey<Private>,
    from_seconds: i64,
    until_seconds: i64,
) -> Result<X509Builder, ErrorStack> {
    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    let mut serial = BigNum::new()?;
    serial.rand(127, MsbOption::MAYBE_ZERO, false)?;
    let serial = serial.to_asn1_integer()?;
    builder.set_serial_number(&serial)?;
    builder.set_pubkey(key)?;
    let now = super::record::unix_ms() as i64 / 1000;
    let from = Asn1Time::from_unix(now + from_seconds)?;
    let until = Asn1Time::from_unix(now + until_seconds)?;
    builder.set_not_before(&from)?;
    builder.set_not_after(&until)?;
    Ok(builder)
}
