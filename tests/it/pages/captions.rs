//! Live captions in Chromium.

use rtmsd::demo::End;
use serde_json::json;

use super::browser::{Browser, DESKTOP, NARROW, PHONE, PROJECTOR, Size};
use super::{Stage, now_ms, speaker};
use crate::harness::{report, wait_until_over};

const PHRASES: &str = "[...document.querySelectorAll('.phrase .text')].map((it) => it.textContent)";
const COUNT: &str = "document.querySelectorAll('.phrase').length";

fn set_theme(browser: &mut Browser, theme: &str) {
    browser.eval(&format!(
        "document.getElementById('theme').value = '{theme}'; \
         document.getElementById('theme').dispatchEvent(new Event('change'))"
    ));
}

fn has(text: &str) -> String {
    format!("{PHRASES}.includes({})", json!(text))
}

#[test]
#[ignore = "needs Chromium: .ci/partners"]
fn g7_captions_appear_at_once_and_survive_reloads_and_restarts() {
    let Some(mut stage) = Stage::start(&[]) else {
        return;
    };
    let meeting = stage.silent_meeting("Weekly product sync");
    let ada = speaker(16_778_240, "Ada Okafor", 9);
    meeting.say(&ada, 0, &["Before the page."]);
    let page = stage.page(&format!("/live/{}", meeting.key));
    stage.browser.open(&page);
    stage.browser.wait_for(&has("Before the page."));
    stage
        .browser
        .wait_for("document.getElementById('state').textContent === 'Live'");
    assert_eq!(stage.browser.eval("document.title"), "Weekly product sync");
    let address = stage.browser.text("location.href");
    assert!(!address.contains('#'), "{address}");
    let live = "document.getElementById('log').getAttribute('aria-live')";
    stage.browser.wait_for(&format!("{live} === 'polite'"));

    // From the frame that Zoom sends to the element on the page.
    stage.browser.eval(
        "window.seen = {}; new MutationObserver((list) => list.forEach((it) => it.addedNodes.forEach(\
         (node) => window.seen[node.lastElementChild.textContent] = Date.now()))).observe(\
         document.getElementById('log'), {childList: true})",
    );
    let mut took = Vec::new();
    for n in 0..40 {
        let text = format!("Phrase number {n}.");
        let sent = now_ms();
        meeting.say(&ada, 1000 + n * 1000, &[&text]);
        stage.browser.wait_for(&has(&text));
        let seen = stage.browser.eval(&format!("window.seen[{}]", json!(text)));
        took.push(seen.as_u64().expect("a time").saturating_sub(sent));
    }
    took.sort_unstable();
    report(&format!(
        "captions: from the socket to the page {} ms in the middle, {} ms at most (goal 300)",
        took[took.len() / 2],
        took[took.len() - 1]
    ));

    let all: Vec<String> = std::iter::once("Before the page.".to_owned())
        .chain((0..40).map(|n| format!("Phrase number {n}.")))
        .collect();
    stage.browser.reload();
    stage.browser.wait_for(&format!("{COUNT} >= 41"));
    assert_eq!(stage.browser.eval(PHRASES), json!(all));
    stage.browser.wait_for(&format!("{live} === 'polite'"));

    // A server that is killed, and one that ends: what is said then comes, once.
    for round in 0..2 {
        match round {
            0 => stage.harness.server.kill(),
            _ => stage.harness.terminate(),
        }
        stage
            .browser
            .wait_for("document.getElementById('state').textContent === 'Reconnecting'");
        stage.harness.start_server();
        crate::harness::wait_until("it receives again", || {
            stage.harness.streams()["streams"][0]["state"] == "receiving"
        });
        let text = format!("After restart {round}.");
        meeting.say(&ada, 60_000 + round * 1000, &[&text]);
        stage.browser.wait_for(&has(&text));
        stage
            .browser
            .wait_for("document.getElementById('state').textContent === 'Live'");
    }
    let shown = stage.browser.eval(PHRASES);
    assert_eq!(shown.as_array().expect("texts").len(), 43, "{shown}");
    // A change is made in place, a deletion takes the phrase away.
    meeting.change(&ada, 1000, "Phrase number 0, corrected.", 2);
    stage.browser.wait_for(&has("Phrase number 0, corrected."));
    meeting.change(&ada, 2000, "", 3);
    stage
        .browser
        .wait_for(&format!("!{}", has("Phrase number 1.")));
    let shown = stage.browser.eval(PHRASES);
    assert_eq!(shown[1], "Phrase number 0, corrected.");
    assert_eq!(shown[2], "Phrase number 2.");

    meeting.handle.end(End::meeting_ended());
    wait_until_over(&meeting.handle);
    stage
        .browser
        .wait_for("document.getElementById('state').textContent === 'Ended'");
    stage.browser.reload();
    stage.browser.wait_for(&format!("{COUNT} >= 42"));
    assert_eq!(stage.browser.eval(PHRASES), shown);
    assert_eq!(
        stage
            .browser
            .text("document.getElementById('state').textContent"),
        "Ended"
    );
    stage.browser.assert_clean(&stage.origin);
    stage.harness.terminate();
}

#[test]
#[ignore = "needs Chromium: .ci/partners"]
fn g7_a_withdrawn_stream_vanishes_and_stays_away() {
    let Some(mut stage) = Stage::start(&[]) else {
        return;
    };
    let meeting = stage.silent_meeting("Private talk");
    meeting.say(&speaker(1, "Ada", 9), 0, &["A secret."]);
    stage
        .browser
        .open(&stage.page(&format!("/live/{}", meeting.key)));
    stage.browser.wait_for(&has("A secret."));
    let mut end = End::meeting_ended();
    end.reason = 8;
    meeting.handle.end(end);
    stage
        .browser
        .wait_for("document.body.innerText.includes('Consent')");
    for _ in 0..2 {
        let page = stage
            .browser
            .text("document.title + document.body.innerText");
        assert!(
            !page.contains("secret") && !page.contains("Private"),
            "{page}"
        );
        stage.browser.reload();
        stage
            .browser
            .wait_for("document.body.innerText.includes('Consent')");
    }
    stage.browser.assert_accessible("withdrawn");
    stage.browser.screenshot("live-withdrawn");
    stage.browser.assert_clean(&stage.origin);
    stage.harness.terminate();
}

#[test]
#[ignore = "needs Chromium: .ci/partners"]
fn g1_a_token_is_asked_for_and_a_wrong_one_is_told() {
    let Some(mut stage) = Stage::start(&[]) else {
        return;
    };
    let meeting = stage.silent_meeting("Weekly");
    meeting.say(&speaker(1, "Ada", 9), 0, &["Good morning."]);
    let address = format!("{}/live/{}", stage.origin, meeting.key);
    stage.browser.open(&address);
    stage.browser.wait_for("document.getElementById('token')");
    stage.browser.assert_accessible("the form");
    stage.browser.screenshot("live-token");
    // By the keyboard alone.
    stage
        .browser
        .eval("document.getElementById('token').focus()");
    stage.browser.type_text("wrong");
    stage.browser.press("Enter");
    stage.browser.wait_for("document.querySelector('.trouble')");
    stage.browser.assert_accessible("the form with a fault");
    stage
        .browser
        .eval("document.getElementById('token').focus()");
    let token = stage.harness.own_token();
    stage.browser.type_text(&token);
    stage.browser.press("Enter");
    stage.browser.wait_for(&has("Good morning."));
    // It is for this tab, and survives a reload.
    stage.browser.reload();
    stage.browser.wait_for(&has("Good morning."));
    // A link whose page is open already is taken from the address, too.
    let link = format!("{address}#s=expired");
    stage
        .browser
        .eval(&format!("location.href = {}", json!(link)));
    stage
        .browser
        .wait_for("document.body.innerText.includes('This link has expired')");
    assert_eq!(stage.browser.text("location.href"), address);
    stage.browser.assert_accessible("an expired link");
    stage.browser.screenshot("live-expired");
    stage.browser.assert_clean(&stage.origin);
    stage.harness.terminate();
}

#[test]
#[ignore = "needs Chromium: .ci/partners"]
fn g4_g6_every_script_and_every_window_is_readable() {
    let Some(mut stage) = Stage::start(&[]) else {
        return;
    };
    let meeting = stage.silent_meeting("Weekly product sync <b>bold</b>");
    let people = [
        speaker(1, "Ada Okafor", 9),
        speaker(2, "Jürgen Weiß", 14),
        speaker(3, "山田 花子", 20),
        speaker(4, "نور حداد", 1),
        speaker(5, "<script>alert(1)</script>", 9),
        speaker(6, "<img src=x onerror=alert(1)>", 9),
        speaker(7, "Tomás \u{202e}Ruiz", 28),
        speaker(8, "Priya & Sam", 9),
    ];
    let texts: [&[&str]; 8] = [
        &[
            "Good morning everyone, can you all hear me?",
            "Let us begin with the numbers from last week.",
        ],
        &["Die Donaudampfschifffahrtsgesellschaftskapitänsmütze ist da."],
        &["おはようございます。資料は共有フォルダにあります。来週までに確認します。🙂"],
        &["صباح الخير، هل تسمعونني جميعا؟ سنبدأ بأرقام الأسبوع الماضي (42)."],
        &["<script>alert(1)</script> is my name."],
        &["\"><svg/onload=alert(1)> and {{7*7}} and ${7*7}"],
        &["¿Podemos empezar con el informe?"],
        &["We shipped the new importer on Tuesday and nothing broke. Well, almost nothing."],
    ];
    for (n, (who, texts)) in people.iter().zip(texts).enumerate() {
        meeting.say(who, n as u64 * 5000, texts);
    }
    let page = stage.page(&format!("/live/{}", meeting.key));
    stage.browser.open(&page);
    stage.browser.wait_for(&format!("{COUNT} === 9"));
    assert_eq!(
        stage
            .browser
            .eval("document.querySelectorAll('#log script, #log img, #log svg, h1 b').length"),
        0
    );
    let names = stage
        .browser
        .text("[...document.querySelectorAll('.who bdi')].map((it) => it.textContent).join('|')");
    assert!(
        names.contains("<script>alert(1)</script>|<img src=x onerror=alert(1)>"),
        "{names}"
    );
    let languages = stage
        .browser
        .text("[...document.querySelectorAll('.text')].map((it) => it.lang).join(' ')");
    assert!(
        languages.contains("de") && languages.contains("ja"),
        "{languages}"
    );
    // Right to left by its own first letter.
    let direction = "getComputedStyle([...document.querySelectorAll('.text')].find((it) => \
                     it.textContent.startsWith('صباح'))).direction";
    assert_eq!(stage.browser.eval(direction), "rtl");

    for (scheme, themes) in [
        ("light", &["auto"][..]),
        ("dark", &["auto", "contrast", "light"]),
    ] {
        stage.browser.prefer(&[("prefers-color-scheme", scheme)]);
        for theme in themes {
            set_theme(&mut stage.browser, theme);
            for (name, size) in [
                ("desktop", DESKTOP),
                ("phone", PHONE),
                ("projector", PROJECTOR),
                ("narrow", NARROW),
                ("short", Size::new(320, 256, true)),
            ] {
                stage.browser.resize(size);
                let what = format!("live-{scheme}-{theme}-{name}");
                stage.browser.assert_no_sideways(&what);
                stage.browser.assert_accessible(&what);
                stage.browser.screenshot(&what);
            }
        }
    }
    set_theme(&mut stage.browser, "auto");
    // The largest text, in the smallest window and across a room.
    for _ in 0..10 {
        stage.browser.click("#larger");
    }
    assert_eq!(
        stage
            .browser
            .text("document.getElementById('size').textContent"),
        "400 %"
    );
    for (name, size) in [("narrow", NARROW), ("projector", PROJECTOR)] {
        stage.browser.resize(size);
        let what = format!("live-400-{name}");
        stage.browser.assert_no_sideways(&what);
        stage.browser.screenshot(&what);
    }
    for _ in 0..10 {
        stage.browser.click("#smaller");
    }
    // Text spacing of 1.4.12, forced colours, and the settings open.
    stage.browser.resize(NARROW);
    stage.browser.eval(
        "for (const it of document.querySelectorAll('body *')) { it.style.setProperty('line-height', \
         '1.5', 'important'); it.style.setProperty('letter-spacing', '0.12em', 'important'); \
         it.style.setProperty('word-spacing', '0.16em', 'important'); }",
    );
    stage.browser.assert_no_sideways("text spacing");
    stage.browser.screenshot("live-spacing");
    stage.browser.reload();
    stage.browser.wait_for(&format!("{COUNT} === 9"));
    for (scheme, size) in [("light", DESKTOP), ("dark", PHONE), ("light", NARROW)] {
        stage.browser.prefer(&[("prefers-color-scheme", scheme)]);
        stage.browser.resize(size);
        stage
            .browser
            .eval("document.getElementById('settings').showPopover()");
        let what = format!("live-settings-{scheme}-{}", size.width);
        stage.browser.assert_no_sideways(&what);
        stage.browser.assert_accessible(&what);
        stage.browser.screenshot(&what);
    }
    stage.browser.prefer(&[("forced-colors", "active")]);
    stage.browser.resize(DESKTOP);
    stage.browser.screenshot("live-forced-colours");
    stage.browser.assert_clean(&stage.origin);
    stage.harness.terminate();
}

#[test]
#[ignore = "needs Chromium: .ci/partners"]
fn g7_a_phrase_a_second_costs_a_phone_little() {
    let Some(mut stage) = Stage::start(&[]) else {
        return;
    };
    let meeting = stage.silent_meeting("All hands");
    let people = [speaker(1, "Ada", 9), speaker(2, "Ines O'Neill", 9)];
    stage.browser.resize(PHONE);
    stage
        .browser
        .open(&stage.page(&format!("/live/{}", meeting.key)));
    for n in 0..190 {
        let texts: Vec<String> = (0..10)
            .map(|m| format!("Phrase {} of many that are said.", n * 10 + m))
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        meeting.say(&people[n % 2], n as u64 * 10_000, &texts);
    }
    stage.browser.wait_for(&format!("{COUNT} === 1900"));
    let (before, begun) = (stage.browser.page_seconds(), std::time::Instant::now());
    for n in 0..20 {
        let text = format!("What is said now, and it is the whole sentence {n}.");
        meeting.say(&people[n % 2], 2_100_000 + n as u64 * 1000, &[&text]);
        std::thread::park_timeout(std::time::Duration::from_secs(1));
    }
    let share = (stage.browser.page_seconds() - before) / begun.elapsed().as_secs_f64();
    report(&format!(
        "captions: {:.1} % of a core at a phrase a second, drawn without a graphics card (goal 5 on a phone)",
        share * 100.0
    ));
    stage.browser.assert_clean(&stage.origin);
    stage.harness.terminate();
}

#[test]
#[ignore = "needs Chromium: .ci/partners"]
fn the_picture_of_the_readme() {
    let Some(mut stage) = Stage::start(&[]) else {
        return;
    };
    let meeting = stage.silent_meeting("Weekly product sync");
    let people = [
        speaker(1, "Ada Okafor", 9),
        speaker(2, "Jürgen Weiß", 14),
        speaker(3, "山田 花子", 20),
    ];
    for (n, (who, text)) in [
        (0, "Good morning everyone, can you all hear me?"),
        (1, "Guten Morgen, schön, dass alle da sind."),
        (2, "おはようございます。"),
        (0, "Let us begin with the numbers from last week."),
        (
            0,
            "We shipped the new importer on Tuesday and nothing broke.",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        meeting.say(&people[who], n as u64 * 2000, &[text]);
    }
    stage.browser.resize(Size::new(880, 470, false));
    stage
        .browser
        .open(&stage.page(&format!("/live/{}", meeting.key)));
    stage.browser.wait_for(&format!("{COUNT} === 5"));
    stage.browser.screenshot("readme");
    stage.harness.terminate();
}

#[test]
#[ignore = "needs Chromium: .ci/partners"]
fn g6_the_keyboard_alone_reaches_everything() {
    let Some(mut stage) = Stage::start(&[]) else {
        return;
    };
    let meeting = stage.silent_meeting("Weekly");
    let ada = speaker(1, "Ada", 9);
    let texts: Vec<String> = (0..60).map(|n| format!("Line {n}.")).collect();
    meeting.say(
        &ada,
        0,
        &texts.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    stage
        .browser
        .open(&stage.page(&format!("/live/{}", meeting.key)));
    stage.browser.wait_for(&format!("{COUNT} === 60"));
    let focused = "document.activeElement.id || document.activeElement.value || document.activeElement.tagName";
    let mut seen = Vec::new();
    for _ in 0..3 {
        stage.browser.press("Tab");
        seen.push(stage.browser.text(focused));
    }
    assert_eq!(seen[..2], ["follow", "open"], "{seen:?}");
    stage
        .browser
        .eval("document.getElementById('open').focus()");
    stage.browser.press("Enter");
    stage
        .browser
        .wait_for("document.getElementById('settings').matches(':popover-open')");
    let mut seen = Vec::new();
    for _ in 0..6 {
        stage.browser.press("Tab");
        seen.push(stage.browser.text(focused));
    }
    assert_eq!(seen[..5], ["larger", "theme", "announce", "vtt", "txt"]);
    assert!(!seen.contains(&"new".to_owned()), "it follows still");
    stage
        .browser
        .eval("document.getElementById('larger').focus()");
    stage.browser.press("Enter");
    stage
        .browser
        .wait_for("document.getElementById('size').textContent === '125 %'");
    stage.browser.press("Escape");
    stage
        .browser
        .wait_for("!document.getElementById('settings').matches(':popover-open')");
    assert_eq!(stage.browser.text(focused), "open");
    // Standing still: what is new is counted, and nothing moves.
    stage
        .browser
        .eval("document.getElementById('follow').focus()");
    stage.browser.press("Enter");
    stage
        .browser
        .wait_for("document.getElementById('follow').textContent === 'Follow'");
    stage.browser.press("Home");
    stage.browser.wait_for("scrollY === 0");
    meeting.say(&ada, 100_000, &["New one.", "New two."]);
    stage
        .browser
        .wait_for("document.getElementById('new').textContent.includes('2 new captions')");
    assert_eq!(stage.browser.eval("scrollY"), 0);
    stage.browser.assert_accessible("standing still");
    stage.browser.screenshot("live-still");
    stage.browser.eval("document.getElementById('new').focus()");
    stage.browser.press("Enter");
    stage
        .browser
        .wait_for("document.getElementById('new').hidden");
    stage
        .browser
        .wait_for("document.documentElement.scrollHeight - innerHeight - scrollY < 2");
    stage.browser.assert_clean(&stage.origin);
    stage.harness.terminate();
}

#[test]
#[ignore = "needs Chromium: .ci/partners"]
fn g7_five_thousand_phrases_leave_two_thousand_on_the_page() {
    let Some(mut stage) = Stage::start(&[]) else {
        return;
    };
    let meeting = stage.silent_meeting("All hands");
    let people = [speaker(1, "Ada", 9), speaker(2, "Ines O'Neill", 9)];
    stage
        .browser
        .open(&stage.page(&format!("/live/{}", meeting.key)));
    stage
        .browser
        .wait_for("document.getElementById('state').textContent === 'Live'");
    let heap = "performance.memory.usedJSHeapSize";
    let mut after_first = 0;
    let mut n = 0;
    let begun = std::time::Instant::now();
    for round in 0..10 {
        let texts: Vec<String> = (n..n + 500)
            .map(|n| format!("Phrase number {n} of many."))
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        for (at, chunk) in texts.chunks(10).enumerate() {
            let who = &people[at % 2];
            meeting.say(who, (n + at as u64 * 10) * 1000, chunk);
        }
        n += 500;
        stage
            .browser
            .wait_for(&has(&format!("Phrase number {} of many.", n - 1)));
        stage.browser.call("HeapProfiler.collectGarbage", json!({}));
        let bytes = stage.browser.eval(heap).as_u64().expect("bytes");
        if round == 4 {
            after_first = bytes;
        }
        report(&format!(
            "captions: {n} phrases, {} KiB of heap",
            bytes >> 10
        ));
    }
    report(&format!(
        "captions: 5000 phrases in {:.1} s",
        begun.elapsed().as_secs_f64()
    ));
    let shown = stage.browser.eval(COUNT).as_u64().expect("a number");
    assert!((1800..=2000).contains(&shown), "{shown}");
    let first = stage
        .browser
        .text("document.querySelector('.text').textContent");
    assert_eq!(first, format!("Phrase number {} of many.", 5000 - shown));
    let bytes = stage.browser.eval(heap).as_u64().expect("bytes");
    assert!(
        bytes < after_first * 3 / 2 + (1 << 20),
        "{after_first} {bytes}"
    );
    // A page that is opened now has the last ones, and more on demand.
    stage.browser.reload();
    stage.browser.wait_for(&format!("{COUNT} === 200"));
    let first = "document.querySelector('.text').textContent";
    assert_eq!(stage.browser.text(first), "Phrase number 4800 of many.");
    for count in [400, 600] {
        stage.browser.click("#earlier");
        stage.browser.wait_for(&format!("{COUNT} === {count}"));
        assert_eq!(
            stage.browser.text(first),
            format!("Phrase number {} of many.", 5000 - count)
        );
    }
    let texts = stage.browser.eval(PHRASES);
    let expected: Vec<String> = (4400..5000)
        .map(|n| format!("Phrase number {n} of many."))
        .collect();
    assert_eq!(texts, json!(expected));
    stage.browser.assert_clean(&stage.origin);
    stage.harness.terminate();
}
