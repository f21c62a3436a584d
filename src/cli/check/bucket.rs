//! The part of `rtmsd check --online` that tries the bucket: one small object below the prefix is put,
//! looked at and deleted.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use crate::cli::exit;
use crate::delivery::s3::Settings;
use crate::delivery::s3::client::{Client, bytes};
use crate::delivery::s3::fault::{Fault, FaultKind};
use crate::net::proxy::ProxyEnv;

/// What the object's name ends with.
const NAME: &str = "v1/rtmsd-check";

/// Tries it, and reports in one line. Returns the exit code.
pub fn run(
    settings: &Settings,
    proxy: &ProxyEnv,
    ca_file: Option<&Path>,
    out: &mut impl Write,
) -> u8 {
    let client = Client::new(settings.clone(), proxy, ca_file, Arc::default());
    let (line, code) = match client.map(|client| attempt(&client)) {
        Ok(Ok(text)) => (format!("ok    bucket: {text}"), exit::OK),
        Ok(Err(fault)) => (format!("fault bucket: {fault}"), exit_code(&fault)),
        Err(text) => (format!("fault bucket: {text}"), exit::CONFIG),
    };
    // A reader that is gone does not want to know, but the exit code is still true.
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
    code
}

fn attempt(client: &Client) -> Result<String, Fault> {
    const TEXT: &[u8] = b"rtmsd check --online put this here, and deletes it\n";
    let settings = client.settings();
    let slash = if settings.prefix.is_empty() { "" } else { "/" };
    let object = format!("{}{slash}{NAME}-{}", settings.prefix, std::process::id());
    let put = client.put(&object, bytes(&mut &*TEXT), "text/plain");
    if put
        .as_ref()
        .is_err_and(|fault| fault.kind == FaultKind::Skewed)
    {
        // Signed with the bucket's time now.
        client.put(&object, bytes(&mut &*TEXT), "text/plain")?;
    } else {
        put?;
    }
    let head = client.head(&object);
    client.delete(&settings.bucket, &object)?;
    let head = head?;
    if head.bytes != TEXT.len() as u64 {
        let text = format!("found {} bytes, expected {}", head.bytes, TEXT.len());
        return Err(Fault::new(FaultKind::Differs, "look at object", text));
    }
    let mut text = "an object was put, looked at and deleted".to_owned();
    if settings.has_checksums && head.checksum.is_none() {
        text += "; the bucket shows no checksums";
        if settings.deletes_local {
            text += ", so RTMS_S3_DELETE_LOCAL deletes nothing: set RTMS_S3_CHECKSUM=off";
        }
    }
    Ok(text)
}

fn exit_code(fault: &Fault) -> u8 {
    match fault.kind {
        FaultKind::Denied => exit::NO_PERMISSION,
        FaultKind::NoBucket
        | FaultKind::WrongRegion
        | FaultKind::Checksum
        | FaultKind::Redirected
        | FaultKind::Credentials => exit::CONFIG,
        _ => exit::UNAVAILABLE,
    }
}
