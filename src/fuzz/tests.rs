//! Runs every fuzz target for a short time with the stable compiler. `RTMSD_FUZZ_RUNS` sets the
//! number of mutations instead of 10,000.

use std::path::Path;

use crate::domain::split_mix::SplitMix;

use super::{
    callback, config, ends, events, links, live, message, push, range, request, s3_xml, server_url,
    webhook,
};

/// Fragments that are difficult for parsers, in addition to the seeds.
const FRAGMENTS: [&[u8]; 36] = [
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
    b"=",
    b"#",
    b"/",
    b"?",
    b"%00",
    b"@",
    b".",
    b"0",
    b":0",
    b"-0",
    b"null",
    b"1e999",
    b"18446744073709551616",
    b"\xef\xbb\xbf",
    b"\xff",
    b"\xc3\xa9",
    b"Host: a\r\n",
    b"Content-Length: 1\r\n",
    b"Transfer-Encoding: chunked\r\n",
];

/// Delimiters of words and lines in the tested formats.
const DELIMITERS: &[u8] = b"\n\"':,/{}[]=@?# ";

const INPUT_BYTES_MAX: usize = 4096;

struct Random(SplitMix);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        (self.0.next() % n as u64) as usize
    }
}

/// A position from `from` on, half of the time beside a delimiter.
fn place(bytes: &[u8], from: usize, random: &mut Random) -> usize {
    let at = from + random.below(bytes.len() - from + 1);
    match random.below(2) {
        0 => at,
        _ => (at..bytes.len())
            .find(|at| DELIMITERS.contains(&bytes[*at]))
            .map_or(bytes.len(), |found| found + random.below(2)),
    }
}

/// One to four changes: flips a bit, or removes, repeats or inserts a piece of this seed, another
/// seed, or a fragment.
fn mutated(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(4) {
        let at = place(&bytes, 0, random);
        let end = match random.below(2) {
            0 => place(&bytes, at, random),
            _ => at + random.below((bytes.len() - at).min(16) + 1),
        };
        match random.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let piece = bytes[at..end].repeat(1 << random.below(10));
                bytes.splice(at..at, piece);
            }
            3 => {
                let other = &seeds[random.below(seeds.len())];
                let from = place(other, 0, random);
                let to = place(other, from, random);
                bytes.splice(at..end, other[from..to].iter().copied());
            }
            4 => bytes.truncate(at),
            5 => {
                let fragment = FRAGMENTS[random.below(FRAGMENTS.len())];
                bytes.splice(at..end, fragment.iter().copied());
            }
            _ => {
                let fragment = FRAGMENTS[random.below(FRAGMENTS.len())];
                bytes.splice(at..at, fragment.iter().copied());
            }
        }
        bytes.truncate(INPUT_BYTES_MAX);
    }
    bytes
}

#[expect(clippy::print_stderr, reason = "a failing test must show its input")]
fn smoke(target: &str, run: fn(&[u8])) {
    let runs = std::env::var("RTMSD_FUZZ_RUNS").map_or(10_000, |n| n.parse().expect("a number"));
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
    let mut random = Random(SplitMix::new(1));
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
fn any_request_to_the_live_feed() {
    smoke("live", live::run);
}

#[test]
fn s10_any_link_ticket_and_path_of_a_file() {
    // A seed that is not accepted would show nothing.
    let seed = include_str!("../../fuzz/seeds/links/files");
    let secret = [7; crate::admin::links::signed::SECRET_BYTES];
    let link = seed.lines().next().unwrap_or_default();
    assert!(crate::admin::links::token::Link::read(link, &secret).is_some());
    smoke("links", links::run);
}

#[test]
fn s10_any_range() {
    smoke("range", range::run);
}

#[test]
fn any_ends_json() {
    smoke("ends", ends::run);
}

#[test]
fn any_answer_of_object_storage() {
    smoke("s3_xml", s3_xml::run);
}

#[test]
fn any_message() {
    smoke("message", message::run);
}

#[test]
fn any_file_of_push() {
    smoke("push", push::run);
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

#[test]
fn any_message_of_the_event_websocket() {
    smoke("events", events::run);
}

#[test]
fn any_callback_of_an_authorization() {
    smoke("callback", callback::run);
}
