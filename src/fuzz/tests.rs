//! A short fuzzing of every target with the stable compiler. `RTMSD_FUZZ_RUNS` says how many mutations
//! instead of 2,000.

use std::path::Path;

use super::{config, message, request, server_url, webhook};

/// What parsers trip over, beside what the seeds hold.
const FRAGMENTS: [&[u8]; 28] = [
    b"\0",
    b"\n",
    b"\r",
    b"\r\n",
    b"\r\n\r\n",
    b"\"",
    b"'",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"\\udc00",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"%00",
    b"@",
    b"null",
    b"-0",
    b"1e999",
    b"18446744073709551616",
    b"\xef\xbb\xbf",
    b"\xff",
    b"\xc3\xa9",
    b"Content-Length: 1\r\n",
    b"Transfer-Encoding: chunked\r\n",
];

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
}

/// One to four changes: a byte, a piece removed, repeated, taken from another seed, a fragment put in.
fn mutated(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        let end = at + random.below((bytes.len() - at).min(64) + 1);
        match random.below(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            3 => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len() + 1);
                let piece = &other[from..from + random.below(other.len() - from + 1)];
                bytes.splice(at..end, piece.iter().copied());
            }
            4 => bytes.truncate(at),
            _ => {
                let fragment = FRAGMENTS[random.below(FRAGMENTS.len())];
                bytes.splice(at..end, fragment.iter().copied());
            }
        }
    }
    bytes
}

#[expect(clippy::print_stderr, reason = "a failing test must show its input")]
fn smoke(target: &str, run: fn(&[u8])) {
    let runs = std::env::var("RTMSD_FUZZ_RUNS").map_or(2000, |n| n.parse().expect("a number"));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
    let mut files: Vec<_> = std::fs::read_dir(folder.join(target))
        .expect("seeds")
        .map(|entry| entry.expect("a seed").path())
        .collect();
    files.sort();
    let seeds: Vec<_> = files
        .iter()
        .map(|file| std::fs::read(file).expect("a seed"))
        .collect();
    let mut random = Random(1);
    let mutations = (0..runs).map(|_| mutated(&seeds, &mut random));
    for input in seeds.iter().cloned().chain(mutations) {
        if let Err(panic) = std::panic::catch_unwind(|| run(&input)) {
            eprintln!("{target}: b\"{}\"", input.escape_ascii());
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn any_configuration_file() {
    smoke("config", config::run);
}

#[test]
fn any_message() {
    smoke("message", message::run);
}

#[test]
fn any_http_request() {
    smoke("request", request::run);
}

#[test]
fn any_server_url() {
    smoke("server_url", server_url::run);
}

#[test]
fn any_webhook_payload() {
    smoke("webhook", webhook::run);
}
