//! The list of meetings and one of them in Chromium.

use std::fs;
use std::time::Duration;

use rtmsd::demo::{AudioScript, End, MeetingScript};
use serde_json::json;

use super::{Stage, speaker};
use crate::harness::{report, wait_until, wait_until_over};

const TEXT: &str = "document.body.innerText";
const ROWS: &str = "document.querySelectorAll('#days li').length";

/// A recording as an earlier server left it.
fn recorded(stage: &Stage, n: u64, topic: &str, speakers: &[&str]) {
    let day = 24 - n / 20;
    let folder = stage
        .harness
        .out()
        .join(format!("2026-11-{day:02}/m{n}/s{n}"));
    fs::create_dir_all(&folder).expect("a folder");
    let started_ms = 1_795_500_000_000 - n / 20 * 86_400_000 + (20 - n % 20) * 900_000;
    let meta = json!({
        "product": "meeting", "meeting_uuid": format!("uuid-{n}"), "stream_id": format!("s{n}"),
        "meeting_id": format!("848449622{n:02}"), "topic": topic, "started_ms": started_ms,
        "ended_ms": started_ms + 2_892_000, "state": "ended", "transcripts": 612,
        "words": 6204 + n, "speakers": speakers, "languages": ["en"],
    });
    fs::write(folder.join("meta.json"), meta.to_string()).expect("a file");
}

#[test]
#[ignore = "needs Chromium: .ci/partners"]
fn meetings_are_listed_by_day_found_and_paged() {
    let Some(mut stage) = Stage::start(&[]) else {
        return;
    };
    for n in 0..70 {
        let topic = match n % 4 {
            0 => "Weekly product sync",
            1 => "Interview <script>alert(1)</script>",
            2 => "予算会議",
            _ => {
                "A topic that is rather long, as topics are when people try to say in them all that will be said"
            }
        };
        recorded(
            &stage,
            n,
            topic,
            &["Ada Okafor", "Ines O'Neill", "山田 花子", "Tomás", "Priya"],
        );
    }
    stage.browser.open(&format!("{}/meetings", stage.origin));
    stage.browser.wait_for("document.getElementById('token')");
    stage.browser.assert_accessible("without a token");
    let running = stage.silent_meeting("Running now");
    running.say(&speaker(1, "Ada", 9), 0, &["Hello."]);
    stage.browser.open(&stage.page("/meetings"));
    stage.browser.wait_for(&format!("{ROWS} === 50"));
    assert_eq!(
        stage
            .browser
            .eval("document.querySelectorAll('#days script').length"),
        0
    );
    stage.look_at_all("meetings");
    assert!(stage.browser.text(TEXT).contains("Running now"));
    stage.browser.click("#more");
    stage.browser.wait_for(&format!("{ROWS} === 71"));
    assert!(stage.browser.eval("document.getElementById('more').hidden") == true);
    // By the keyboard: the search has a label, and says what it finds.
    stage.browser.eval("document.getElementById('q').focus()");
    stage.browser.type_text("予算");
    stage
        .browser
        .wait_for(&format!("{ROWS} === 17 && {TEXT}.includes('17 meetings')"));
    stage.browser.assert_accessible("found");
    stage.browser.reload();
    stage.browser.wait_for(&format!("{ROWS} === 17"));
    assert_eq!(
        stage.browser.text("document.getElementById('q').value"),
        "予算"
    );
    stage.browser.eval("document.getElementById('q').focus()");
    stage.browser.type_text("x%&#");
    stage
        .browser
        .wait_for(&format!("{TEXT}.includes('No meeting')"));
    stage.browser.assert_accessible("not found");
    stage.browser.screenshot("meetings-not-found");
    // What is looked for is not sent in the address of the page.
    stage.browser.assert_clean(&stage.origin);
    stage.harness.terminate();
}

/// A meeting with sound, which has ended.
fn spoken(stage: &Stage) -> (String, String) {
    let mut script = MeetingScript::plain("Weekly product sync");
    "Weekly product sync".clone_into(&mut script.topic);
    script.granted = 1 | 8;
    script.audio = Some(AudioScript {
        per_speaker: true,
        interval: Duration::from_millis(20),
        packets: Some(400),
        mute: Duration::ZERO,
    });
    let meeting = stage.meeting(script);
    let people = [
        speaker(16_778_240, "Ada Okafor", 9),
        speaker(16_779_264, "Jürgen Weiß", 14),
        speaker(16_780_288, "<b>Noor</b> نور", 1),
    ];
    for n in 0..60 {
        let text = match n % 3 {
            0 => format!("Let us begin with the numbers of last week, number {n}."),
            1 => format!("Die Prüfung läuft noch, größer wird es nicht ({n})."),
            _ => format!("صباح الخير، هل تسمعونني جميعا؟ {n}"),
        };
        meeting.say(&people[n / 2 % 3], n as u64 * 100, &[&text]);
    }
    meeting.change(&people[0], 0, "Let us begin, corrected.", 2);
    assert!(meeting.handle.wait_for_audio(400, crate::harness::PATIENCE));
    meeting.handle.end(End::meeting_ended());
    wait_until_over(&meeting.handle);
    let folder = stage.harness.stream_folder();
    wait_until("the files are complete", || {
        crate::harness::meta(&folder)["state"] == "ended"
    });
    (meeting.key, folder.display().to_string())
}

#[test]
#[ignore = "needs Chromium: .ci/partners"]
fn g2_a_meeting_is_read_searched_heard_and_kept() {
    let Some(mut stage) = Stage::start(&[
        ("RTMS_MEDIA", "transcript,audio"),
        ("RTMS_AUDIO_STREAMS", "per-speaker"),
    ]) else {
        return;
    };
    let (key, folder) = spoken(&stage);
    stage.browser.open(&stage.page(&format!("/meetings/{key}")));
    let phrases = "document.querySelectorAll('.phrase').length";
    stage.browser.wait_for(&format!("{phrases} === 60"));
    assert_eq!(stage.browser.eval("document.title"), "Weekly product sync");
    assert_eq!(
        stage
            .browser
            .eval("document.querySelector('.phrase .text').textContent"),
        "Let us begin, corrected."
    );
    assert_eq!(
        stage
            .browser
            .eval("document.querySelectorAll('main b').length"),
        0
    );
    stage
        .browser
        .wait_for("document.getElementById('audio').duration > 5");
    stage.look_at_all("meeting");

    // A phrase's time leads to its sound, and the phrase that is spoken is marked.
    stage
        .browser
        .eval("document.querySelectorAll('.phrase button.time')[30].click()");
    stage
        .browser
        .wait_for("document.getElementById('audio').currentTime > 2.9");
    stage
        .browser
        .wait_for("document.querySelectorAll('[aria-current=true]').length >= 1");
    stage
        .browser
        .eval("document.getElementById('audio').pause()");
    stage.browser.screenshot("meeting-playing");
    stage.browser.assert_accessible("playing");

    // The search counts, leads from hit to hit, and finds names, too.
    stage.browser.eval("document.getElementById('q').focus()");
    stage.browser.type_text("prüfung");
    stage
        .browser
        .wait_for("document.getElementById('hits').textContent === 'In 20 phrases'");
    for n in [1, 2, 3] {
        stage.browser.press("Enter");
        stage.browser.wait_for(&format!(
            "document.getElementById('hits').textContent === '{n} of 20'"
        ));
    }
    assert_eq!(stage.browser.eval("CSS.highlights.get('found').size"), 20);
    stage.browser.click("#previous");
    stage
        .browser
        .wait_for("document.getElementById('hits').textContent === '2 of 20'");
    stage.browser.screenshot("meeting-found");
    stage.browser.assert_accessible("found");
    stage
        .browser
        .eval("document.getElementById('q').value = '(('");
    stage
        .browser
        .eval("document.getElementById('q').dispatchEvent(new Event('input'))");
    stage
        .browser
        .wait_for("document.getElementById('hits').textContent === 'Not found'");

    // A file that is kept is the one of the folder.
    let kept = stage.harness.folder.join("kept");
    fs::create_dir_all(&kept).expect("a folder");
    let path = kept.display().to_string();
    stage.browser.call(
        "Page.setDownloadBehavior",
        json!({"behavior": "allow", "downloadPath": path}),
    );
    let name = stage
        .browser
        .text("document.querySelector('#files button').textContent");
    stage.browser.click("#files button");
    let original = fs::read(format!("{folder}/{name}")).expect("a file");
    wait_until("the file is kept", || {
        fs::read(kept.join(&name)).is_ok_and(|bytes| bytes == original)
    });
    report(&format!(
        "meeting: {name} was kept, {} bytes",
        original.len()
    ));
    stage.browser.assert_clean(&stage.origin);

    // A link with files shows the same and nothing more; one without leads to the captions alone.
    let link = stage.harness.run(&["link", &key, "--files"]).stdout;
    let link = link.trim().replace("/live/", "/meetings/");
    let mut other = super::Browser::start().expect("a second browser");
    other.open(&link);
    other.wait_for(&format!("{phrases} === 60"));
    assert_eq!(other.eval("document.getElementById('nav').hidden"), true);
    other.wait_for("document.getElementById('audio').duration > 5");
    other.screenshot("meeting-link");
    other.assert_clean(&stage.origin);
    let link = stage.harness.run(&["link", &key]).stdout;
    other.open(link.trim());
    other.wait_for(&format!("{phrases} === 60"));
    other.open(&link.trim().replace("/live/", "/meetings/"));
    other.wait_for("document.querySelector('[role=alert]')");
    other.screenshot("meeting-refused");
    stage.harness.terminate();
}

#[test]
#[ignore = "needs Chromium: .ci/partners"]
fn g2_g5_the_player_jumps_within_a_gigabyte_and_renews_its_ticket() {
    const BYTES: u32 = 1 << 30;
    let Some(mut stage) = Stage::start(&[]) else {
        return;
    };
    let folder = stage.harness.out().join("2026-11-24/m/s");
    fs::create_dir_all(&folder).expect("a folder");
    let started_ms = 1_795_500_000_000_u64;
    let meta = json!({
        "product": "meeting", "meeting_uuid": "u", "stream_id": "s", "topic": "All day",
        "started_ms": started_ms, "ended_ms": started_ms + 30_000_000, "state": "ended",
        "audio": [{"file": "audio.wav", "first_ms": started_ms, "offset_ms": 0}],
    });
    fs::write(folder.join("meta.json"), meta.to_string()).expect("a file");
    let cues = "WEBVTT\n\n1\n00:00:01.000 --> 00:00:02.000\n<v Ada &amp; Bo>First.\n\n\
                2\n08:20:00.000 --> 08:20:01.000\n<v Ines>Last &lt;one&gt;.\n\n";
    fs::write(folder.join("transcript.vtt"), cues).expect("a file");
    // 16 kHz, mono, 16 bits: nine hours of silence, of which the disk keeps nothing.
    let mut wav = Vec::new();
    for part in [
        &b"RIFF"[..],
        &(BYTES - 8).to_le_bytes(),
        b"WAVEfmt ",
        &16_u32.to_le_bytes(),
        &[1, 0, 1, 0],
        &16_000_u32.to_le_bytes(),
        &32_000_u32.to_le_bytes(),
        &[2, 0, 16, 0],
        b"data",
        &(BYTES - 44).to_le_bytes(),
    ] {
        wav.extend_from_slice(part);
    }
    fs::write(folder.join("audio.wav"), wav).expect("a file");
    let file = fs::OpenOptions::new()
        .write(true)
        .open(folder.join("audio.wav"));
    file.and_then(|file| file.set_len(BYTES.into()))
        .expect("a length");
    let list = stage.json("/meetings?format=json");
    let key = list["meetings"][0]["key"]
        .as_str()
        .expect("a key")
        .to_owned();
    stage.browser.open(&stage.page(&format!("/meetings/{key}")));
    stage
        .browser
        .wait_for("document.getElementById('audio').duration > 33000");
    stage
        .browser
        .wait_for("document.querySelectorAll('.phrase').length === 2");
    let last = "document.querySelectorAll('.phrase')[1]";
    assert_eq!(
        stage
            .browser
            .text(&format!("{last}.innerText.replace(/\\s+/g, ' ')")),
        "Ines 8:20:00 Last <one>."
    );
    let begun = std::time::Instant::now();
    stage
        .browser
        .eval(&format!("{last}.querySelector('button').click()"));
    stage
        .browser
        .wait_for("document.getElementById('audio').currentTime > 30000.2");
    report(&format!(
        "player: sound from the end of 1 GiB after {} ms",
        begun.elapsed().as_millis()
    ));
    stage
        .browser
        .wait_for(&format!("{last}.getAttribute('aria-current') === 'true'"));
    let parts = stage
        .browser
        .answered
        .iter()
        .filter(|(status, url)| *status == 206 && url.contains("audio.wav"));
    assert!(parts.count() > 0, "{:?}", stage.browser.answered);
    // Eleven minutes later the ticket is refused: the page gets another one, and plays on.
    stage.browser.eval(
        "Date.now = ((now) => () => now() + 660000)(Date.now); \
         window.audio = document.getElementById('audio'); audio.src = audio.src.replace(/t=.*/, 't=expired')",
    );
    stage
        .browser
        .wait_for("!audio.src.includes('expired') && audio.readyState > 1");
    stage.browser.assert_clean(&stage.origin);
    stage.harness.terminate();
}

#[test]
#[ignore = "needs Chromium: .ci/partners"]
fn a_long_transcript_is_shown_in_parts_and_searched_whole() {
    let Some(mut stage) = Stage::start(&[]) else {
        return;
    };
    let meeting = stage.silent_meeting("All hands");
    let ada = speaker(1, "Ada", 9);
    for n in 0..300 {
        let texts: Vec<String> = (n * 10..n * 10 + 10)
            .map(|n| format!("Phrase number {n}."))
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        meeting.say(&ada, n * 10_000, &texts);
    }
    meeting.handle.end(End::meeting_ended());
    wait_until_over(&meeting.handle);
    stage
        .browser
        .open(&stage.page(&format!("/meetings/{}", meeting.key)));
    let phrases = "document.querySelectorAll('.phrase').length";
    let first = "document.querySelector('.phrase .text').textContent";
    stage.browser.wait_for(&format!("{phrases} === 2000"));
    stage
        .browser
        .wait_for("document.getElementById('hits').textContent === '3,000 phrases'");
    stage.browser.eval("document.getElementById('q').focus()");
    stage.browser.type_text("number 2999.");
    stage.browser.press("Enter");
    stage
        .browser
        .wait_for("document.querySelector('.hit')?.textContent.includes('Phrase number 2999.')");
    assert_eq!(stage.browser.text(first), "Phrase number 1000.");
    stage.browser.click("#earlier");
    stage
        .browser
        .wait_for(&format!("{first} === 'Phrase number 0.'"));
    assert_eq!(stage.browser.eval(phrases), 2000);
    stage.browser.assert_clean(&stage.origin);
    // Without the journal the same stands in the file of captions.
    let journal = stage.harness.stream_folder().join("feed.jsonl");
    stage.harness.terminate();
    fs::remove_file(journal).expect("removable");
    stage.harness.set("RTMS_FEED", "off");
    stage.harness.start_server();
    stage.browser.reload();
    stage
        .browser
        .wait_for("document.getElementById('hits').textContent === '3,000 phrases'");
    assert_eq!(stage.browser.text(first), "Phrase number 0.");
    stage.browser.assert_clean(&stage.origin);
    stage.harness.terminate();
}
