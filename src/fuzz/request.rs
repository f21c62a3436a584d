//! Fuzz target for the gate's HTTP parser: the verdict does not depend on how the bytes are split,
//! the buffered bytes are within the limits, and a request is passed on with the intended meaning
//! only.

use crate::gate::http_request::{Arrival, Collector, Request, SizeLimits, Verdict};

const LIMITS: SizeLimits = SizeLimits {
    head_bytes_max: 512,
    body_bytes_max: 256,
};

fn judged<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Verdict, Option<Request>) {
    let mut collector = Collector::new(LIMITS, Arrival::default());
    let mut last = Verdict::More;
    for piece in pieces {
        let verdict = collector.handle_bytes(piece);
        let limit = LIMITS.head_bytes_max + LIMITS.body_bytes_max;
        // A vector at most doubles.
        assert!(collector.held_bytes() <= 2 * (limit + piece.len()));
        last = match verdict {
            Verdict::Continue => Verdict::More,
            Verdict::Complete => return (Verdict::Complete, Some(collector.into_request())),
            refused @ Verdict::Refuse(_) => return (refused, None),
            more => more,
        };
    }
    (last, None)
}

/// Panics if one of these does not hold.
pub fn run(bytes: &[u8]) {
    // The first byte determines how the rest is split into packets.
    let Some((step, bytes)) = bytes.split_first() else {
        return;
    };
    let whole = judged(std::iter::once(bytes));
    assert_eq!(whole, judged(bytes.chunks(usize::from(*step).max(1))));
    assert_eq!(whole, judged(bytes.chunks(1)));
    if let Some(request) = whole.1 {
        let end = request.bytes.windows(4).position(|w| w == b"\r\n\r\n");
        let end = end.expect("a head ends") + 4;
        let (head, body) = request.bytes.split_at(end);
        assert!(head.is_ascii() && body.len() <= LIMITS.body_bytes_max);
        let head = std::str::from_utf8(head)
            .expect("ASCII")
            .to_ascii_lowercase();
        assert!(!head.contains("\ntransfer-encoding:") && !head.contains("\nexpect:"));
        let lengths: Vec<&str> = head
            .lines()
            .filter_map(|line| line.strip_prefix("content-length: "))
            .collect();
        match body.len() {
            0 => assert!(lengths.is_empty()),
            n => assert_eq!(lengths, [n.to_string()]),
        }
        // A request that was passed on would be passed on again unchanged.
        let again = judged(std::iter::once(request.bytes.as_slice()));
        if request.bytes.len() - body.len() <= LIMITS.head_bytes_max {
            match again {
                (Verdict::Complete, Some(again)) => assert_eq!(again.bytes, request.bytes),
                // A POST without a body is passed on without a length.
                (refused, _) => assert!(body.is_empty(), "{refused:?}"),
            }
        }
    }
}
