//! The status page in Chromium.

use rtmsd::demo::End;

use super::{Stage, speaker};
use crate::harness::wait_until_over;

const TEXT: &str = "document.body.innerText";

#[test]
#[ignore = "needs Chromium: .ci/partners"]
fn what_keeps_people_out_is_found() {
    let Some(mut stage) = Stage::start(&[]) else {
        return;
    };
    stage.browser.open(&format!("{}/", stage.origin));
    stage.browser.wait_for("document.getElementById('token')");
    assert_eq!(stage.browser.accessibility_faults(), [""; 0]);
    stage
        .browser
        .eval("document.querySelector('label').remove()");
    let faults = stage.browser.accessibility_faults();
    let is_known = std::env::var_os("RTMSD_AXE").is_none();
    assert!(
        is_known || faults.iter().any(|it| it.starts_with("label: ")),
        "{faults:?}"
    );
    // The policy of the pages holds in this browser.
    stage.browser.eval(
        "document.addEventListener('securitypolicyviolation', (it) => window.broken = it.violatedDirective); \
         try { document.body.innerHTML = '<b>x</b>' } catch { }",
    );
    stage
        .browser
        .wait_for("window.broken === 'require-trusted-types-for'");
    stage.harness.terminate();
}

#[test]
#[ignore = "needs Chromium: .ci/partners"]
fn the_status_is_of_now_and_says_when_it_is_not() {
    let Some(mut stage) = Stage::start(&[
        ("RTMS_PUSH_URL", "http://127.0.0.1:9/hook"),
        ("RTMS_PUSH_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
    ]) else {
        return;
    };
    // Without a token there is what /streams has, and no more.
    stage.browser.open(&format!("{}/", stage.origin));
    stage
        .browser
        .wait_for(&format!("{TEXT}.includes('No stream is running')"));
    stage.browser.wait_for("document.getElementById('token')");
    stage.browser.assert_accessible("without a token");
    stage.browser.screenshot("status-empty");
    let over = stage.silent_meeting("Budget");
    over.say(&speaker(1, "Ada", 9), 0, &["It can wait."]);
    over.handle.end(End::meeting_ended());
    wait_until_over(&over.handle);
    let meeting = stage.silent_meeting("Weekly product sync");
    let other = stage.silent_meeting("Interview <i>");
    meeting.say(&speaker(1, "Ada", 9), 0, &["Good morning.", "Hello."]);
    stage
        .browser
        .wait_for(&format!("{TEXT}.includes('2 phrases')"));
    assert!(!stage.browser.text(TEXT).contains("Budget"));
    let page = stage.page("/");
    stage.browser.open(&page);
    stage.browser.wait_for(&format!(
        "{TEXT}.includes('2 phrases') && {TEXT}.includes('Budget')"
    ));
    assert_eq!(
        stage.browser.eval("document.getElementById('token')"),
        serde_json::Value::Null
    );
    stage.look_at_all("status");
    // A focused link stays, whatever comes.
    stage
        .browser
        .eval("document.querySelector('#streams a').focus()");
    meeting.say(&speaker(1, "Ada", 9), 5000, &["One more."]);
    stage
        .browser
        .wait_for(&format!("{TEXT}.includes('3 phrases')"));
    assert_eq!(stage.browser.eval("document.activeElement.tagName"), "A");
    other.handle.end(End::meeting_ended());
    wait_until_over(&other.handle);
    stage
        .browser
        .wait_for("document.querySelectorAll('#streams li').length === 1");
    // It does not go on showing a server that is gone.
    stage.harness.terminate();
    stage
        .browser
        .wait_for(&format!("{TEXT}.includes('No answer')"));
    stage.browser.assert_accessible("no answer");
    stage.browser.screenshot("status-gone");
    stage.harness.start_server();
    stage
        .browser
        .wait_for("document.getElementById('ready').textContent.startsWith('Ready')");
    // The way to the captions.
    stage
        .browser
        .wait_for("document.querySelector('#streams a')");
    stage.browser.click("#streams a");
    stage
        .browser
        .wait_for("document.title === 'Weekly product sync' && document.querySelector('.phrase')");
    stage.browser.assert_clean(&stage.origin);
    stage.harness.terminate();
}
