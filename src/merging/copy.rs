//! Copies of files in which silence stays a hole.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use rustix::fs::{SeekFrom as Place, seek};
use rustix::io::Errno;

use crate::recorder::append_file::create_file;

/// Copies a file. What is added to it meanwhile is not copied.
pub(super) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut input = File::open(from)?;
    let mut output = create_file(to)?;
    let length = input.metadata()?.len();
    output.set_len(length)?;
    let mut at = 0;
    while let Some((data, hole)) = next_data(&input, at, length)? {
        input.seek(SeekFrom::Start(data))?;
        output.seek(SeekFrom::Start(data))?;
        io::copy(&mut (&input).take(hole - data), &mut output)?;
        at = hole;
    }
    Ok(())
}

/// Where data begins at or after this place, and where it ends; `None` if only a hole follows.
fn next_data(file: &File, at: u64, length: u64) -> io::Result<Option<(u64, u64)>> {
    if at >= length {
        return Ok(None);
    }
    let data = match seek(file, Place::Data(at)) {
        Ok(data) => data,
        Err(Errno::NXIO) => return Ok(None),
        // A file system without holes.
        Err(Errno::INVAL) => return Ok(Some((at, length))),
        Err(error) => return Err(error.into()),
    };
    let hole = seek(file, Place::Hole(data))?;
    Ok((data < length).then_some((data, hole.min(length))))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt, MetadataExt};

    use super::*;
    use crate::testing::scratch;

    #[test]
    fn a_copy_has_every_byte_and_its_holes() {
        let folder = scratch("merging-copy");
        let [from, to] = ["from", "to"].map(|name| folder.join(name));
        for length in [0, 5, 3 << 20] {
            let file = File::create(&from).expect("a file");
            file.set_len(length).expect("room");
            if length > 0 {
                file.write_all_at(b"begin", 0).expect("room");
                file.write_all_at(b"later", length / 2).expect("room");
            }
            copy(&from, &to).expect("a copy");
            let [original, copied] = [&from, &to].map(|path| std::fs::read(path).expect("it"));
            assert!(original == copied, "{length} bytes");
            let [original, copied] = [&from, &to].map(|path| path.metadata().expect("it").blocks());
            assert!(copied <= original + 16, "{copied} blocks for {original}");
        }
    }
}
