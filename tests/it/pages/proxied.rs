//! The pages behind nginx, below a path, as the manual sets it up.

use rtmsd::demo::Options;

use super::{Browser, Meeting, Stage, speaker};
use crate::harness::{Harness, TempDir, report};
use crate::live::partners::nginx;

#[test]
#[ignore = "needs Chromium and nginx: .ci/partners"]
fn pages_work_below_a_path_of_a_proxy() {
    let program = std::env::var("RTMSD_NGINX").unwrap_or_default();
    let (Some(browser), false) = (Browser::start(), program.is_empty()) else {
        return report("skipped: set RTMSD_CHROMIUM and RTMSD_NGINX");
    };
    let harness = Harness::builder(Options::default())
        .admin()
        .settings(&[("RTMS_ADMIN_URL", "http://localhost/rtms")])
        .start();
    let folder = TempDir::new();
    let (_proxy, address) = nginx(&program, folder.path(), harness.admin());
    let origin = format!("http://{address}");
    let mut stage = Stage {
        harness,
        browser,
        origin,
    };
    let meeting: Meeting = stage.silent_meeting("Weekly product sync");
    let ada = speaker(1, "Ada", 9);
    meeting.say(&ada, 0, &["Before."]);
    let page = stage.page(&format!("/rtms/live/{}", meeting.key));
    stage.browser.open(&page);
    let has = |text: &str| format!("document.getElementById('log').innerText.includes('{text}')");
    stage.browser.wait_for(&has("Before."));
    meeting.say(&ada, 1000, &["And now."]);
    stage.browser.wait_for(&has("And now."));
    stage.browser.open(&stage.page("/rtms/"));
    stage
        .browser
        .wait_for("document.body.innerText.includes('No status at this address')");
    stage.browser.click("nav a[href=meetings]");
    stage.browser.wait_for("document.querySelector('#days a')");
    stage.browser.click("#days a");
    stage
        .browser
        .wait_for("document.querySelectorAll('.phrase').length === 2");
    stage.browser.assert_clean(&stage.origin);
    stage.harness.terminate();
}
