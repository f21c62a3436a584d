//! One stream into the bucket: its files, small or in parts, and last the manifest.
//!
//! A file is read twice, once for its digest and once to be sent, in small pieces. What was reached is
//! reported at each step, so that a crash repeats one file or one part.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::client::{Client, PIECE_BYTES, Payload, bytes, checksum};
use super::fault::{Fault, FaultKind};
use super::object_names::{self, MANIFEST, Named};
use crate::delivery::ends::entry::{
    Deletion, Entry, EntryChange, FileState, Multipart, Sent, Upload,
};

/// Files above this size go up in parts.
pub const MULTIPART_ABOVE: u64 = 64 << 20;
/// The size of a part, unless there would be more than [`PARTS_MAX`].
pub const PART_BYTES: u64 = 16 << 20;
/// The most parts that S3 takes.
pub const PARTS_MAX: u64 = 10_000;
/// The largest `meta.json` that names are taken from.
const META_BYTES_MAX: u64 = 16 << 20;

/// Hears what was reached. It returns when that is on the disk, or, where it may, will soon be.
pub type Report<'a> = &'a dyn Fn(EntryChange, Durable);

/// How sure it must be that a step is not forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durable {
    /// Before anything else is sent.
    Now,
    /// Within seconds: to send one file again does no harm.
    Soon,
}

/// `manifest.json`, by which a reader knows that all is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    v: u32,
    key: String,
    stream_id: String,
    /// What is there.
    pub files: Vec<ManifestFile>,
}

/// A file in the bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// Its object, relative to the stream's prefix.
    pub file: String,
    /// Its name in the stream's folder.
    pub local: String,
    /// Its size.
    pub bytes: u64,
    /// Hex SHA-256.
    pub sha256: String,
    /// As the bucket gave it.
    pub etag: String,
}

/// Work for one stream.
pub struct Task<'a> {
    /// The bucket.
    pub client: &'a Client,
    /// The work is not wanted any more.
    pub is_cancelled: &'a AtomicBool,
    /// From this size on a file goes up in parts, and in parts of this size.
    pub sizes: Sizes,
}

/// When a file goes up in parts.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// [`MULTIPART_ABOVE`].
    pub multipart_above: u64,
    /// [`PART_BYTES`].
    pub part_bytes: u64,
}

impl Default for Sizes {
    fn default() -> Sizes {
        Sizes {
            multipart_above: MULTIPART_ABOVE,
            part_bytes: PART_BYTES,
        }
    }
}

impl Sizes {
    /// The size of the parts of a file: never more than [`PARTS_MAX`] of them.
    fn of_parts(self, bytes: u64) -> u64 {
        const MIB: u64 = 1 << 20;
        let least = bytes.div_ceil(PARTS_MAX).div_ceil(MIB) * MIB;
        self.part_bytes.max(least)
    }
}

impl Task<'_> {
    /// Sends what is not in the bucket yet. Returns the upload as it is then, complete.
    ///
    /// # Errors
    /// Why it cannot go on now. What was reached was reported.
    pub fn upload(&self, entry: &Entry, report: Report<'_>) -> Result<Upload, Fault> {
        let mut upload = entry.upload.clone().unwrap_or_default();
        if upload.is_complete {
            return Ok(upload);
        }
        let settings = self.client.settings();
        if upload.bucket != settings.bucket {
            if !upload.bucket.is_empty() {
                log::warn!(
                    "upload begins again in another bucket stream={} key={}; what is in the former one \
                     stays there",
                    entry.ids.stream_id,
                    entry.key
                );
            }
            upload = self.begin(entry)?;
            report(whole(entry, &upload), Durable::Now);
        }
        for at in 0..upload.files.len() {
            if upload.files[at].sent.is_none() {
                let sent = self.send_file(entry, &mut upload, at, report)?;
                report(
                    EntryChange::File(entry.key.clone(), at, sent.clone()),
                    Durable::Soon,
                );
                upload.files[at].sent = Some(sent);
            }
        }
        self.send_manifest(entry, &upload)?;
        (upload.is_complete, upload.multipart) = (true, None);
        report(whole(entry, &upload), Durable::Now);
        Ok(upload)
    }

    /// Lists the files, and says under which names they go up.
    fn begin(&self, entry: &Entry) -> Result<Upload, Fault> {
        let settings = self.client.settings();
        let files = list(&entry.folder).map_err(|error| local("list files", &error))?;
        let meta = read_meta(&entry.folder);
        let account = entry.ids.account_id.as_deref();
        let plan = object_names::plan(&files, &meta, settings.files);
        Ok(Upload {
            bucket: settings.bucket.clone(),
            prefix: object_names::stream_prefix(
                &settings.prefix,
                entry.ids.started_ms,
                account,
                &entry.key,
                entry.ids.epoch,
            ),
            files: plan
                .into_iter()
                .map(|Named { local, object }| FileState {
                    local,
                    object,
                    sent: None,
                })
                .collect(),
            multipart: None,
            is_complete: false,
        })
    }

    fn send_file(
        &self,
        entry: &Entry,
        upload: &mut Upload,
        at: usize,
        report: Report<'_>,
    ) -> Result<Sent, Fault> {
        let FileState {
            local: name,
            object,
            ..
        } = upload.files[at].clone();
        let read = |error: io::Error| local("read file", &error);
        let mut file = File::open(entry.folder.join(&name)).map_err(read)?;
        let size = file.metadata().map_err(read)?.len();
        let path = format!("{}{object}", upload.prefix);
        if size > self.sizes.multipart_above {
            return self.send_parts(entry, upload, &object, &mut file, size, report);
        }
        let sha256 = hex::encode(self.digest(&mut file, size, &mut |_| {})?);
        file.rewind().map_err(read)?;
        let mut reader = self.exactly(&file, size);
        let payload = Payload {
            reader: &mut reader,
            bytes: size,
            sha256: sha256.clone(),
        };
        let etag = self
            .client
            .put(&path, payload, object_names::content_type(&object))?;
        let checksum = checksum(&sha256).filter(|_| self.client.settings().has_checksums);
        Ok(Sent {
            bytes: size,
            sha256,
            etag,
            checksum,
        })
    }

    fn send_parts(
        &self,
        entry: &Entry,
        upload: &mut Upload,
        object: &str,
        file: &mut File,
        size: u64,
        report: Report<'_>,
    ) -> Result<Sent, Fault> {
        let read = |error: io::Error| local("read file", &error);
        let path = format!("{}{object}", upload.prefix);
        let fits = |parts: &&Multipart| parts.object == object && parts.bytes == size;
        let mut parts = match upload.multipart.as_ref().filter(fits) {
            Some(parts) => parts.clone(),
            None => {
                if let Some(old) = upload.multipart.take() {
                    let path = format!("{}{}", upload.prefix, old.object);
                    self.client
                        .abort_parts(&upload.bucket, &path, &old.upload_id)?;
                }
                let kind = object_names::content_type(object);
                Multipart {
                    object: object.to_owned(),
                    upload_id: self.client.begin_parts(&path, kind)?,
                    bytes: size,
                    part_bytes: self.sizes.of_parts(size),
                    etags: Vec::new(),
                }
            }
        };
        let tell = |parts: &Multipart| {
            report(
                EntryChange::Parts(entry.key.clone(), Some(parts.clone())),
                Durable::Now,
            );
        };
        tell(&parts);
        upload.multipart = Some(parts.clone());
        let mut digests = Vec::new();
        let whole = self.digest_parts(file, size, parts.part_bytes, &mut digests)?;
        let count = digests.len();
        while parts.etags.len() < count {
            let number = parts.etags.len();
            let begin = number as u64 * parts.part_bytes;
            let length = parts.part_bytes.min(size - begin);
            file.seek(SeekFrom::Start(begin)).map_err(read)?;
            let mut reader = self.exactly(file, length);
            let payload = Payload {
                reader: &mut reader,
                bytes: length,
                sha256: hex::encode(digests[number]),
            };
            let sent = self
                .client
                .put_part(&path, &parts.upload_id, number + 1, payload);
            let etag = self.unless_forgotten(sent, entry, upload, report)?;
            parts.etags.push(etag);
            upload.multipart = Some(parts.clone());
            tell(&parts);
        }
        let hex: Vec<String> = digests.iter().map(hex::encode).collect();
        let done = self
            .client
            .complete_parts(&path, &parts.upload_id, &parts.etags, &hex);
        let etag = self.unless_forgotten(done, entry, upload, report)?;
        upload.multipart = None;
        report(EntryChange::Parts(entry.key.clone(), None), Durable::Soon);
        let composite = hex::encode(Sha256::digest(digests.concat()));
        let checksum = checksum(&composite).filter(|_| self.client.settings().has_checksums);
        Ok(Sent {
            bytes: size,
            sha256: hex::encode(whole),
            etag,
            checksum: checksum.map(|text| format!("{text}-{count}")),
        })
    }

    /// An upload in parts that the bucket no longer knows starts again with the next try.
    fn unless_forgotten<T>(
        &self,
        result: Result<T, Fault>,
        entry: &Entry,
        upload: &mut Upload,
        report: Report<'_>,
    ) -> Result<T, Fault> {
        if result
            .as_ref()
            .is_err_and(|fault| fault.kind == FaultKind::NoUpload)
        {
            upload.multipart = None;
            report(EntryChange::Parts(entry.key.clone(), None), Durable::Now);
        }
        result
    }

    fn send_manifest(&self, entry: &Entry, upload: &Upload) -> Result<(), Fault> {
        let files = upload.files.iter().filter_map(|file| {
            let sent = file.sent.as_ref()?;
            Some(ManifestFile {
                file: file.object.clone(),
                local: file.local.clone(),
                bytes: sent.bytes,
                sha256: sent.sha256.clone(),
                etag: sent.etag.clone(),
            })
        });
        let manifest = Manifest {
            v: 1,
            key: entry.key.clone(),
            stream_id: entry.ids.stream_id.clone(),
            files: files.collect(),
        };
        // A struct of texts and numbers can always be written as JSON.
        let text = serde_json::to_vec(&manifest).unwrap_or_default();
        self.check()?;
        let path = format!("{}{MANIFEST}", upload.prefix);
        let mut text = text.as_slice();
        self.client
            .put(
                &path,
                bytes(&mut text),
                object_names::content_type(MANIFEST),
            )
            .map(drop)
    }

    /// Whether the bucket shows each object as it was sent.
    ///
    /// # Errors
    /// The first that it does not.
    pub fn verify(&self, upload: &Upload) -> Result<(), Fault> {
        const CALL: &str = "look at object";
        for file in &upload.files {
            let Some(sent) = &file.sent else {
                return Err(Fault::new(FaultKind::NotFound, CALL, "it was not sent"));
            };
            self.check()?;
            let head = self
                .client
                .head(&format!("{}{}", upload.prefix, file.object))?;
            if head.bytes != sent.bytes {
                let text = format!("found {} bytes, expected {}", head.bytes, sent.bytes);
                return Err(Fault::new(FaultKind::Differs, CALL, text));
            }
            match (&sent.checksum, &head.checksum) {
                (Some(_), None) => {
                    let text = "the bucket shows no x-amz-checksum-sha256";
                    return Err(Fault::new(FaultKind::Checksum, CALL, text));
                }
                (Some(sent), Some(shown)) if sent != shown => {
                    let text = "the checksum is another one";
                    return Err(Fault::new(FaultKind::Differs, CALL, text));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Deletes what is in the bucket of a stream: objects that are known, those that the manifest
    /// names, and the manifest last.
    ///
    /// # Errors
    /// Why not all of it. It begins again then.
    pub fn delete(&self, deletion: &Deletion) -> Result<(), Fault> {
        let Deletion {
            bucket,
            prefix,
            objects,
            multipart,
            ..
        } = deletion;
        if let Some((object, upload_id)) = multipart {
            self.client
                .abort_parts(bucket, &format!("{prefix}{object}"), upload_id)?;
        }
        let manifest = format!("{prefix}{MANIFEST}");
        let named: Vec<String> = match self.client.get(bucket, &manifest)? {
            Some(text) => {
                let manifest: Option<Manifest> = serde_json::from_slice(&text).ok();
                let files = manifest.into_iter().flat_map(|manifest| manifest.files);
                // It is ours, but it comes from outside.
                let is_below = |file: &String| !file.starts_with('/') && !file.contains("..");
                files.map(|file| file.file).filter(is_below).collect()
            }
            None => Vec::new(),
        };
        let known: std::collections::BTreeSet<&String> = objects.iter().chain(&named).collect();
        for object in known {
            self.check()?;
            self.client.delete(bucket, &format!("{prefix}{object}"))?;
        }
        self.client.delete(bucket, &manifest)
    }

    fn check(&self) -> Result<(), Fault> {
        match self.is_cancelled.load(Relaxed) {
            true => Err(Fault::new(FaultKind::Stopping, "upload", "")),
            false => Ok(()),
        }
    }

    fn exactly<'a>(&'a self, file: &'a File, bytes: u64) -> Exactly<'a> {
        Exactly {
            file,
            left: bytes,
            is_cancelled: self.is_cancelled,
        }
    }

    /// The digest of so many bytes, each piece of which is shown to `also`.
    fn digest(
        &self,
        file: &mut File,
        bytes: u64,
        also: &mut dyn FnMut(&[u8]),
    ) -> Result<[u8; 32], Fault> {
        let mut hash = Sha256::new();
        let mut reader = self.exactly(file, bytes);
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            let count = reader
                .read(&mut buffer)
                .map_err(|error| match self.check() {
                    Err(fault) => fault,
                    Ok(()) => local("read file", &error),
                })?;
            if count == 0 {
                return Ok(hash.finalize().into());
            }
            hash.update(&buffer[..count]);
            also(&buffer[..count]);
        }
    }

    /// The digest of the whole file, and of each of its parts.
    fn digest_parts(
        &self,
        file: &mut File,
        bytes: u64,
        part_bytes: u64,
        digests: &mut Vec<[u8; 32]>,
    ) -> Result<[u8; 32], Fault> {
        file.rewind().map_err(|error| local("read file", &error))?;
        let (mut part, mut filled) = (Sha256::new(), 0_u64);
        let whole = self.digest(file, bytes, &mut |mut piece| {
            while !piece.is_empty() {
                let room = usize::try_from(part_bytes - filled).unwrap_or(usize::MAX);
                let (now, later) = piece.split_at(room.min(piece.len()));
                part.update(now);
                filled += now.len() as u64;
                piece = later;
                if filled == part_bytes {
                    digests.push(std::mem::take(&mut part).finalize().into());
                    filled = 0;
                }
            }
        })?;
        if filled > 0 {
            digests.push(part.finalize().into());
        }
        Ok(whole)
    }
}

/// So many bytes of a file, in pieces; fewer are an error, and so is the work not being wanted.
struct Exactly<'a> {
    file: &'a File,
    left: u64,
    is_cancelled: &'a AtomicBool,
}

impl Read for Exactly<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.is_cancelled.load(Relaxed) {
            return Err(io::Error::other("not wanted any more"));
        }
        let room = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let bytes = (&*self.file).read(&mut buffer[..room])?;
        if bytes == 0 && room > 0 {
            let text = "the file is shorter than it was";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        self.left -= bytes as u64;
        Ok(bytes)
    }
}

fn whole(entry: &Entry, upload: &Upload) -> EntryChange {
    EntryChange::Upload(entry.key.clone(), Box::new(upload.clone()))
}

fn local(call: &'static str, error: &io::Error) -> Fault {
    Fault::new(FaultKind::Local, call, error.to_string())
}

/// The files of a stream's folder and of those one level below it.
fn list(folder: &Path) -> io::Result<Vec<String>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let kind = entry.file_type()?;
        if kind.is_file() {
            files.push(name);
        } else if kind.is_dir() {
            for below in fs::read_dir(entry.path())? {
                let below = below?;
                if let (true, Ok(inner)) = (
                    below.file_type()?.is_file(),
                    below.file_name().into_string(),
                ) {
                    files.push(format!("{name}/{inner}"));
                }
            }
        }
    }
    Ok(files)
}

fn read_meta(folder: &Path) -> Value {
    let mut text = Vec::new();
    let file = File::open(folder.join("meta.json"));
    let read = file.and_then(|file| file.take(META_BYTES_MAX).read_to_end(&mut text));
    match read {
        Ok(_) => serde_json::from_slice(&text).unwrap_or_default(),
        Err(_) => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn u2_parts_are_as_large_as_it_takes_for_ten_thousand_of_them() {
        const MIB: u64 = 1 << 20;
        const GIB: u64 = 1 << 30;
        let sizes = Sizes::default();
        assert_eq!(
            (sizes.multipart_above, sizes.part_bytes),
            (64 * MIB, 16 * MIB)
        );
        for (bytes, part_bytes) in [
            (64 * MIB + 1, 16 * MIB),
            (10_000 * 16 * MIB, 16 * MIB),
            (10_000 * 16 * MIB + 1, 17 * MIB),
            (5 * 1024 * GIB, 525 * MIB),
        ] {
            assert_eq!(sizes.of_parts(bytes), part_bytes, "{bytes}");
            assert!(bytes.div_ceil(part_bytes) <= PARTS_MAX);
            // What S3 takes of a part.
            assert!((5 * MIB..=5 * GIB).contains(&part_bytes));
        }
    }
}
