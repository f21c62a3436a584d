//! The files of a stream in the bucket, and taking a person out of them.
//!
//! Objects are named by the manifest. Texts are read, blanked and put again; what belongs to the person
//! alone goes; the manifest is put last, so that a crash in between leaves all that is needed to begin
//! again.

use std::io;

use sha2::{Digest, Sha256};

use super::blank::{self, Files, Plan};
use super::person::Person;
use crate::delivery::s3::client::{Client, bytes};
use crate::delivery::s3::fault::Fault;
use crate::delivery::s3::object_names::{MANIFEST, content_type};
use crate::delivery::s3::upload::Manifest;

/// The objects of one stream.
pub struct Objects<'a> {
    client: &'a Client,
    bucket: String,
    prefix: String,
    manifest: Manifest,
}

impl<'a> Objects<'a> {
    /// Those of the manifest; `None` where there is none.
    ///
    /// # Errors
    /// Why the bucket does not show it.
    pub fn open(
        client: &'a Client,
        bucket: &str,
        prefix: &str,
    ) -> Result<Option<Objects<'a>>, Fault> {
        let Some(text) = client.get(bucket, &format!("{prefix}{MANIFEST}"))? else {
            return Ok(None);
        };
        let manifest: Option<Manifest> = serde_json::from_slice(&text).ok();
        Ok(manifest.map(|mut manifest| {
            // It is ours, but it comes from outside.
            let is_below = |file: &str| !file.starts_with('/') && !file.contains("..");
            manifest
                .files
                .retain(|file| is_below(&file.file) && is_below(&file.local));
            Objects {
                client,
                bucket: bucket.to_owned(),
                prefix: prefix.to_owned(),
                manifest,
            }
        }))
    }

    /// Takes the person out of all of them. Returns what was done, by the names in the folder.
    ///
    /// # Errors
    /// Why not. It begins again then.
    pub fn apply(&mut self, person: &mut Person, with_mixed: bool) -> io::Result<Plan> {
        let plan = blank::plan(self, person, with_mixed)?;
        if plan.is_empty() {
            return Ok(plan);
        }
        let names = self.names()?;
        let words = blank::words(self, &names, person)?;
        let mut order: Vec<&String> = plan.blanked.keys().collect();
        order.sort_by_key(|name| blank::order(name));
        for name in order {
            let Some(before) = self.read(name)? else {
                continue;
            };
            let Some((blanked, _)) = blank::blank(name, &before, person, &words) else {
                continue;
            };
            let Some(row) = self
                .manifest
                .files
                .iter_mut()
                .find(|row| row.local == *name)
            else {
                continue;
            };
            let path = format!("{}{}", self.prefix, row.file);
            let mut body = blanked.as_slice();
            let etag = self
                .client
                .put(&path, bytes(&mut body), content_type(&row.file));
            row.etag = etag.map_err(failed)?;
            row.bytes = blanked.len() as u64;
            row.sha256 = hex::encode(Sha256::digest(&blanked));
        }
        for name in &plan.deleted {
            if let Some(row) = self.manifest.files.iter().find(|row| row.local == *name) {
                let path = format!("{}{}", self.prefix, row.file);
                self.client.delete(&self.bucket, &path).map_err(failed)?;
            }
        }
        self.manifest
            .files
            .retain(|row| !plan.deleted.contains(&row.local));
        let text = serde_json::to_vec(&self.manifest).unwrap_or_default();
        let path = format!("{}{MANIFEST}", self.prefix);
        let put = self
            .client
            .put(&path, bytes(&mut text.as_slice()), content_type(MANIFEST));
        put.map_err(failed)?;
        Ok(plan)
    }
}

impl Files for Objects<'_> {
    fn names(&self) -> io::Result<Vec<String>> {
        let rows = self.manifest.files.iter();
        Ok(rows.map(|row| row.local.clone()).collect())
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let Some(row) = self.manifest.files.iter().find(|row| row.local == name) else {
            return Ok(None);
        };
        let path = format!("{}{}", self.prefix, row.file);
        self.client.get_text(&self.bucket, &path).map_err(failed)
    }
}

/// Deletes objects that an upload which had not ended has sent.
///
/// # Errors
/// Why not.
pub fn delete_sent(client: &Client, bucket: &str, objects: &[String]) -> Result<(), Fault> {
    objects
        .iter()
        .try_for_each(|object| client.delete(bucket, object))
}

/// What the bucket said, as an error of files.
pub fn failed(fault: Fault) -> io::Error {
    io::Error::other(format!("the bucket: {fault}"))
}
