//! Command lines, quoted for a shell.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// One command: the words, quoted where needed, with blanks between them.
pub(super) fn line<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> Vec<u8> {
    let mut out = Vec::new();
    for word in words {
        if !out.is_empty() {
            out.push(b' ');
        }
        quote(&mut out, word.as_ref().as_bytes());
    }
    out
}

fn quote(out: &mut Vec<u8>, word: &[u8]) {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-./:=,+@%".contains(byte);
    if !word.is_empty() && word.iter().all(is_plain) {
        out.extend_from_slice(word);
        return;
    }
    out.push(b'\'');
    for byte in word {
        match byte {
            b'\'' => out.extend_from_slice(b"'\\''"),
            byte => out.push(*byte),
        }
    }
    out.push(b'\'');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_stays_one_word() {
        let check = |words: &[&str], expected: &str| {
            assert_eq!(String::from_utf8_lossy(&line(words)), expected);
        };
        check(&["ffmpeg", "-i", "/a/b.wav"], "ffmpeg -i /a/b.wav");
        check(&["", "a b", "it's", "$(rm)"], "'' 'a b' 'it'\\''s' '$(rm)'");
        check(&["[0:a]x=1;[a]"], "'[0:a]x=1;[a]'");
        check(&["~/x", "#", "é\n"], "'~/x' '#' 'é\n'");
    }
}
