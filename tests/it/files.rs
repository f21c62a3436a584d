//! Tickets and files with the whole binary, over HTTP as a browser speaks it.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use rtmsd::demo::{End, MeetingHandle};
use serde_json::Value;

use crate::harness::{
    Harness, http, open, plain, wait_until, wait_until_over, wait_until_streaming,
};
use crate::links::{get, link, token};

/// An answer: status, head and body.
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn field(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1);
        let mut fields = lines.filter_map(|line| line.split_once(": "));
        fields.find_map(|(it, value)| it.eq_ignore_ascii_case(name).then_some(value))
    }

    fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("UTF-8")
    }
}

fn ask(harness: &Harness, line: &str, fields: &[(&str, &str)], body: &str) -> Answer {
    let mut stream = http::connect(harness.admin());
    let host = match fields.iter().any(|(name, _)| *name == "Host") {
        true => String::new(),
        false => format!("Host: {}\r\n", harness.admin()),
    };
    let fields: String = fields
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let length = match body {
        "" => String::new(),
        body => format!("Content-Length: {}\r\n", body.len()),
    };
    let request = format!("{line} HTTP/1.1\r\n{host}{fields}{length}\r\n{body}");
    stream.write_all(request.as_bytes()).expect("it is sent");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an answer");
    let end = bytes.windows(4).position(|it| it == b"\r\n\r\n");
    let body = bytes.split_off(end.expect("a head") + 4);
    let head = String::from_utf8(bytes).expect("ASCII");
    Answer {
        status: http::status(&head),
        head,
        body,
    }
}

fn bearer(harness: &Harness) -> String {
    let token = harness.own_token();
    format!("Bearer {}", token.trim())
}

fn ticket(harness: &Harness, key: &str, file: &str, bearer: &str) -> Answer {
    let body = serde_json::json!({"key": key, "file": file}).to_string();
    let fields = [
        ("Authorization", bearer),
        ("Content-Type", "application/json"),
    ];
    ask(harness, "POST /tickets", &fields, &body)
}

fn json(answer: &Answer) -> Value {
    serde_json::from_str(&answer.text()).expect("JSON")
}

/// A stream that has ended, with a file of sound in its folder: its key, and the folder.
fn ended(harness: &Harness, seed: &str) -> (String, std::path::PathBuf) {
    let meeting = harness.zoom.start_meeting(plain(seed, 20));
    wait_until_over(&meeting);
    harness.wait_until_ended(&meeting);
    let folder = harness.folders_of(&meeting).pop().expect("a folder");
    let bytes: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
    fs::write(folder.join("audio-1-Zo\u{eb}.wav"), bytes).expect("a file");
    let mut meta = Value::Null;
    wait_until("the end in meta.json", || {
        meta = crate::harness::meta(&folder);
        meta["state"] == "ended"
    });
    (meta["key"].as_str().expect("a key").to_owned(), folder)
}

const SOUND: &str = "audio-1-Zo\u{eb}.wav";

#[test]
fn g2_g5_a_ticket_opens_one_file_of_which_each_part_can_be_had() {
    let harness = Harness::with_admin(&[]);
    let (key, folder) = ended(&harness, "files");
    let bearer = bearer(&harness);
    let whole = fs::read(folder.join(SOUND)).expect("a file");

    let made = ticket(&harness, &key, SOUND, &bearer);
    assert_eq!(made.status, 200, "{}", made.head);
    let made = json(&made);
    let url = made["url"].as_str().expect("an address").to_owned();
    assert!(
        url.starts_with(&format!("files/{key}/audio-1-Zo%C3%AB.wav?t=")),
        "{url}"
    );
    assert!(made["expires_ms"].as_u64() > Some(1_700_000_000_000));
    let get = |fields: &[(&str, &str)]| ask(&harness, &format!("GET /{url}"), fields, "");

    let answer = get(&[]);
    assert_eq!((answer.status, &answer.body), (200, &whole));
    for (name, value) in [
        ("Content-Type", "audio/wav"),
        ("Content-Length", "100000"),
        ("Accept-Ranges", "bytes"),
        ("Content-Security-Policy", "sandbox"),
        ("X-Content-Type-Options", "nosniff"),
        ("Cache-Control", "no-store"),
    ] {
        assert_eq!(answer.field(name), Some(value), "{}", answer.head);
    }
    assert_eq!(answer.field("Content-Disposition"), None);
    assert_eq!(answer.field("Access-Control-Allow-Origin"), None);
    let etag = answer.field("ETag").expect("a tag").to_owned();
    for (range, if_range, expected) in [
        ("bytes=0-", None, Some((0, 99_999))),
        ("bytes=44-99", None, Some((44, 99))),
        ("bytes=-500", None, Some((99_500, 99_999))),
        (
            "bytes=99000-200000",
            Some(etag.as_str()),
            Some((99_000, 99_999)),
        ),
        ("bytes=44-99", Some("\"another\""), None),
        ("bytes=0-1,5-6", None, None),
        ("bytes=9-1", None, None),
    ] {
        let mut fields = vec![("Range", range)];
        fields.extend(if_range.map(|tag| ("If-Range", tag)));
        let answer = get(&fields);
        let Some((first, last)) = expected else {
            assert_eq!((answer.status, &answer.body), (200, &whole), "{range}");
            continue;
        };
        assert_eq!(answer.status, 206, "{range}: {}", answer.head);
        let said = format!("bytes {first}-{last}/100000");
        assert_eq!(answer.field("Content-Range"), Some(said.as_str()));
        assert_eq!(answer.body, whole[first..=last], "{range}");
    }
    let gone = get(&[("Range", "bytes=100000-")]);
    assert_eq!(gone.status, 416);
    assert_eq!(gone.field("Content-Range"), Some("bytes */100000"));
    let head = ask(&harness, &format!("HEAD /{url}"), &[], "");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.field("Content-Length"), Some("100000"));
    assert_eq!(
        ask(&harness, &format!("DELETE /{url}"), &[], "").status,
        405
    );

    // The ticket is for nothing else.
    let (_, secret) = url.split_once("?t=").expect("a ticket");
    for target in [
        format!("/files/{key}/meta.json?t={secret}"),
        format!("/files/0123456789abcdef/audio-1-Zo%C3%AB.wav?t={secret}"),
        format!("/files/{key}/audio-1-Zo%C3%AB.wav?t=x"),
        format!("/files/{key}/audio-1-Zo%C3%AB.wav"),
        format!("/live/{key}.vtt?t={secret}"),
        format!("/meetings/{key}?format=json&t={secret}"),
        format!("/events?t={secret}"),
    ] {
        let answer = ask(&harness, &format!("GET {target}"), &[], "");
        assert_eq!(answer.status, 401, "{target}");
    }
    // By a header field a program has every file, and no other path.
    let by = |target: &str| {
        ask(
            &harness,
            &format!("GET {target}"),
            &[("Authorization", &bearer)],
            "",
        )
    };
    let meta = by(&format!("/files/{key}/meta.json"));
    assert_eq!(
        meta.body,
        fs::read(folder.join("meta.json")).expect("a file")
    );
    let said = "attachment; filename=\"meta.json\"; filename*=UTF-8''meta.json";
    assert_eq!(meta.field("Content-Disposition"), Some(said));
    for name in [
        "..%2f..%2f..%2ffeed.jsonl",
        "../../../feed.jsonl",
        "%2fetc%2fpasswd",
        ".",
        "",
        "%00",
        "%ff",
        "nothing.wav",
    ] {
        assert_eq!(by(&format!("/files/{key}/{name}")).status, 404, "{name}");
    }
    let refused = |key: &str, file: &str| ticket(&harness, key, file, &bearer).status;
    assert_eq!(refused(&key, "../x"), 404);
    assert_eq!(refused("0123456789abcdef", SOUND), 404);
    assert_eq!(refused("x", SOUND), 400);

    let meeting = by(&format!("/meetings/{key}?format=json")).text();
    let meeting: Value = serde_json::from_str(&meeting).expect("JSON");
    assert_eq!(meeting["is_open"], false);
    assert_eq!(meeting["folder"], folder.to_str().expect("UTF-8"));
    let mut files = meeting["files"].as_array().expect("files").iter();
    let sound = files.find(|it| it["name"] == SOUND).expect("the sound");
    assert_eq!(
        (&sound["bytes"], &sound["is_sound"]),
        (&100_000.into(), &true.into())
    );
    // No URL with a query is logged.
    assert_eq!(harness.count_logged(&[secret]), 0);
    harness.end();
}

#[test]
fn s1_s3_s4_files_and_tickets_need_a_credential_an_own_host_and_an_own_origin() {
    let harness = Harness::with_admin(&[("RTMS_ADMIN_URL", "https://ops.example.com/rtms")]);
    let (key, _) = ended(&harness, "files-guard");
    let bearer = bearer(&harness);
    let url = json(&ticket(&harness, &key, SOUND, &bearer));
    let url = url["url"].as_str().expect("an address").to_owned();
    let own = format!("http://{}", harness.admin());
    let body = format!("{{\"key\":\"{key}\",\"file\":\"meta.json\"}}");
    let (token, json) = (
        ("Authorization", bearer.as_str()),
        ("Content-Type", "application/json"),
    );
    for (fields, expected) in [
        (&[token, json][..], 200),
        (&[token, json, ("Origin", &own)], 200),
        (&[token, json, ("Origin", "https://ops.example.com")], 200),
        (&[token, json, ("Origin", "https://evil.example")], 403),
        (&[token, json, ("Origin", "null")], 403),
        (&[token, json, ("Host", "evil.example")], 421),
        (&[token, json, ("Host", "127.0.0.1.evil.example")], 421),
        (&[token], 415),
        (&[token, ("Content-Type", "text/plain")], 415),
        (&[json], 401),
        (&[("Authorization", "Bearer wrong"), json], 401),
    ] {
        let answer = ask(&harness, "POST /tickets", fields, &body);
        assert_eq!(answer.status, expected, "{fields:?}");
        assert_eq!(answer.field("Access-Control-Allow-Origin"), None);
        let links = format!("{{\"stream\":\"{key}\"}}");
        let answer = ask(&harness, "POST /links", fields, &links);
        assert_eq!(answer.status, expected, "/links: {fields:?}");
    }
    assert_eq!(ask(&harness, "GET /tickets", &[token], "").status, 405);
    let long = format!("{{\"key\":\"{key}\",\"file\":\"{}\"}}", "x".repeat(5000));
    let answer = ask(&harness, "POST /tickets", &[token, json], &long);
    assert_eq!(answer.status, 413);
    for (host, expected) in [
        ("localhost", 200),
        ("ops.example.com", 200),
        ("evil.example", 421),
    ] {
        let answer = ask(&harness, &format!("GET /{url}"), &[("Host", host)], "");
        assert_eq!(answer.status, expected, "{host}");
    }
    // With a link: its stream, where it is for files.
    let captions = format!("Bearer {}", self::token(&link(&harness, &[&key])));
    let files = format!(
        "Bearer {}",
        self::token(&link(&harness, &[&key, "--files"]))
    );
    assert_eq!(ticket(&harness, &key, "meta.json", &captions).status, 403);
    assert_eq!(ticket(&harness, &key, "meta.json", &files).status, 200);
    let other = ticket(&harness, "0123456789abcdef", "meta.json", &files);
    assert_eq!(other.status, 403);
    let by_link = [("Authorization", files.as_str())];
    let target = format!("GET /files/{key}/meta.json");
    assert_eq!(ask(&harness, &target, &by_link, "").status, 200);
    // Tickets end with all links.
    let revoked = harness.run(&["link", "--revoke-all"]);
    assert_eq!(revoked.code, Some(0), "{revoked:?}");
    assert_eq!(ask(&harness, &format!("GET /{url}"), &[], "").status, 401);
    harness.end();
}

/// Grows a file without writing to it.
fn grow(place: &Path, bytes: u64) {
    let file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(place);
    file.expect("a file").set_len(bytes).expect("it grows");
}

#[test]
fn g5_a_withdrawn_stream_is_410_also_for_a_download_under_way() {
    let harness = Harness::with_admin(&[("RTMS_ON_REVOKED", "keep")]);
    let meeting: MeetingHandle = harness.zoom.start_meeting(open("files-revoked"));
    wait_until_streaming(&meeting);
    let key = harness.key_of(&meeting);
    let folder = harness.folders_of(&meeting).pop().expect("a folder");
    // Far more than the sockets hold; the file has holes.
    grow(&folder.join("audio-big.wav"), 256 << 20);
    let bearer = bearer(&harness);
    let made = json(&ticket(&harness, &key, "audio-big.wav", &bearer));
    let url = made["url"].as_str().expect("an address").to_owned();
    // As many as there may be at one time; health is answered meanwhile.
    let request = format!("GET /{url} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut streams: Vec<TcpStream> = (0..32)
        .map(|_| {
            let mut stream = http::connect(harness.admin());
            stream.write_all(request.as_bytes()).expect("it is sent");
            let mut begin = [0; 12];
            stream.read_exact(&mut begin).expect("an answer");
            assert_eq!(&begin, b"HTTP/1.1 200");
            stream
        })
        .collect();
    let refused = ask(&harness, &format!("GET /{url}"), &[], "");
    assert_eq!(
        (refused.status, refused.field("Retry-After")),
        (503, Some("5"))
    );
    assert_eq!(http::get(harness.admin(), "/healthz").0, 200);
    let mut stream = streams.pop().expect("one");
    drop(streams);
    let mut end = End::meeting_ended();
    end.reason = 8;
    meeting.end(end);
    wait_until_over(&meeting);
    wait_until("consent was withdrawn", || {
        get(&harness, &format!("/live/{key}.txt"), &bearer[7..]).0 == 410
    });
    let mut rest = Vec::new();
    // It can also be reset.
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.len() < 64 << 20, "{} bytes came", rest.len());
    // Once the threads of the others have ended.
    wait_until("there is room", || {
        let status = ask(&harness, &format!("GET /{url}"), &[], "").status;
        assert!(matches!(status, 410 | 503), "{status}");
        status == 410
    });
    assert_eq!(ticket(&harness, &key, "meta.json", &bearer).status, 410);
    harness.leave();
}
