//! Chromium, driven over its debugging protocol: <https://chromedevtools.github.io/devtools-protocol/>.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

use crate::harness::{KilledOnDrop, PATIENCE, TempDir};

/// One tab of a browser of its own.
pub(crate) struct Browser {
    socket: WebSocket<TcpStream>,
    session: String,
    last_id: u64,
    /// What a page must not do.
    faults: Vec<String>,
    /// Every URL that was asked for.
    requested: Vec<String>,
    /// The status and the URL of every answer.
    pub(crate) answered: Vec<(u64, String)>,
    _child: KilledOnDrop,
    _profile: TempDir,
}

/// The size of a window, in CSS pixels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) is_phone: bool,
}

pub(crate) const DESKTOP: Size = Size::new(1280, 800, false);
pub(crate) const PHONE: Size = Size::new(390, 844, true);
pub(crate) const NARROW: Size = Size::new(320, 640, true);
pub(crate) const PROJECTOR: Size = Size::new(1920, 1080, false);

impl Size {
    pub(crate) const fn new(width: u32, height: u32, is_phone: bool) -> Size {
        Size {
            width,
            height,
            is_phone,
        }
    }
}

impl Browser {
    /// Starts a browser; `None` where the variable names none.
    pub(crate) fn start() -> Option<Browser> {
        let program = std::env::var("RTMSD_CHROMIUM").ok()?;
        let profile = TempDir::new();
        let mut child = Command::new(program)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--disable-extensions",
                "--force-color-profile=srgb",
                "--lang=en-GB",
                "--remote-debugging-port=0",
                "about:blank",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .env("TZ", "UTC")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the browser of RTMSD_CHROMIUM starts");
        let stderr = child.stderr.take().expect("a pipe");
        let child = KilledOnDrop(child);
        let mut lines = BufReader::new(stderr).lines();
        let url = lines.by_ref().find_map(|line| {
            let line = line.ok()?;
            line.strip_prefix("DevTools listening on ")
                .map(str::to_owned)
        });
        // It goes on writing; a full pipe would stop it.
        std::thread::spawn(move || lines.for_each(drop));
        let url = url.expect("it says where it listens");
        let place = url.trim_start_matches("ws://").split('/').next();
        let stream = TcpStream::connect(place.expect("a place")).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream.set_nodelay(true).expect("a socket");
        let (socket, _) = tungstenite::client(url, stream).expect("a WebSocket");
        let mut browser = Browser {
            socket,
            session: String::new(),
            last_id: 0,
            faults: Vec::new(),
            requested: Vec::new(),
            answered: Vec::new(),
            _child: child,
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = browser.call("Target.attachToTarget", attach);
        session["sessionId"]
            .as_str()
            .expect("a session")
            .clone_into(&mut browser.session);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser.resize(DESKTOP);
        Some(browser)
    }

    /// One command; its result.
    #[track_caller]
    pub(crate) fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.last_id += 1;
        let mut command = json!({"id": self.last_id, "method": method, "params": parameters});
        if !self.session.is_empty() {
            command["sessionId"] = self.session.as_str().into();
        }
        let sent = self.socket.send(Message::text(command.to_string()));
        sent.expect("the browser listens");
        loop {
            let answer = self.read();
            if answer["id"] == self.last_id {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].clone();
            }
        }
    }

    fn read(&mut self) -> Value {
        let message = self.socket.read().expect("the browser answers");
        let value: Value =
            serde_json::from_str(message.to_text().unwrap_or("null")).unwrap_or_default();
        self.notice(&value);
        value
    }

    /// Keeps what an event says about the page.
    fn notice(&mut self, event: &Value) {
        let parameters = &event["params"];
        match event["method"].as_str().unwrap_or_default() {
            "Network.requestWillBeSent" => {
                let url = parameters["request"]["url"].as_str().unwrap_or_default();
                self.requested.push(url.to_owned());
            }
            "Network.responseReceived" => {
                let answer = &parameters["response"];
                let url = answer["url"].as_str().unwrap_or_default();
                let status = answer["status"].as_u64().unwrap_or_default();
                self.answered.push((status, url.to_owned()));
            }
            "Runtime.exceptionThrown" => {
                self.faults.push(parameters["exceptionDetails"].to_string());
            }
            // Refused requests are logged as network errors; the pages say so in words.
            "Log.entryAdded" => {
                let source = parameters["entry"]["source"].as_str();
                if !matches!(source, Some("network" | "recommendation")) {
                    self.faults.push(parameters["entry"].to_string());
                }
            }
            "Runtime.consoleAPICalled" if parameters["type"] != "log" => {
                self.faults.push(parameters["args"].to_string());
            }
            _ => {}
        }
    }

    /// The time that the page's process has used of cores so far, seconds.
    pub(crate) fn page_seconds(&mut self) -> f64 {
        // The browser knows, not the page.
        let session = std::mem::take(&mut self.session);
        let info = self.call("SystemInfo.getProcessInfo", json!({}));
        self.session = session;
        let all = info["processInfo"].as_array().into_iter().flatten();
        let pages = all.filter(|it| it["type"] == "renderer");
        pages.filter_map(|it| it["cpuTime"].as_f64()).sum()
    }

    #[track_caller]
    pub(crate) fn open(&mut self, url: &str) {
        // So that an address that differs in its fragment alone is loaded, too.
        self.call("Page.navigate", json!({"url": "about:blank"}));
        self.wait_for("location.href === 'about:blank'");
        self.call("Page.navigate", json!({"url": url}));
        self.wait_for("location.href !== 'about:blank' && document.readyState === 'complete'");
    }

    #[track_caller]
    pub(crate) fn reload(&mut self) {
        self.eval("window.isOld = true");
        self.call("Page.reload", json!({}));
        self.wait_for("!window.isOld && document.readyState === 'complete'");
    }

    /// The value of an expression, a promise's once it has one.
    #[track_caller]
    pub(crate) fn eval(&mut self, expression: &str) -> Value {
        let result = self.try_eval(expression);
        result.unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    fn try_eval(&mut self, expression: &str) -> Result<Value, Value> {
        let parameters = json!({"expression": expression, "returnByValue": true, "awaitPromise": true,
            "userGesture": true});
        let result = self.call("Runtime.evaluate", parameters);
        match result["exceptionDetails"].is_null() {
            true => Ok(result["result"]["value"].clone()),
            false => Err(result["exceptionDetails"].clone()),
        }
    }

    #[track_caller]
    pub(crate) fn text(&mut self, expression: &str) -> String {
        let value = self.eval(expression);
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, expression: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            // While a page is loaded there may be nothing to ask.
            if matches!(
                self.try_eval(&format!("Boolean({expression})")),
                Ok(Value::Bool(true))
            ) {
                return;
            }
            if Instant::now() >= until {
                let body = self.text("document.body?.innerText ?? ''");
                panic!("timed out: {expression}\n{body}\n{:#?}", self.faults);
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    #[track_caller]
    pub(crate) fn click(&mut self, selector: &str) {
        self.eval(&format!(
            "document.querySelector({}).click()",
            json!(selector)
        ));
    }

    /// Presses a key, as `Tab`, `Enter`, `Escape` or ` `.
    pub(crate) fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            "Escape" => (27, ""),
            " " => (32, " "),
            "ArrowRight" => (39, ""),
            "Home" => (36, ""),
            "End" => (35, ""),
            other => panic!("{other}"),
        };
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            let event = json!({"type": kind, "key": key, "code": key, "text": text,
                "windowsVirtualKeyCode": code, "nativeVirtualKeyCode": code});
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    pub(crate) fn type_text(&mut self, text: &str) {
        self.call("Input.insertText", json!({"text": text}));
    }

    pub(crate) fn resize(&mut self, size: Size) {
        let metrics = json!({"width": size.width, "height": size.height,
            "deviceScaleFactor": 1, "mobile": size.is_phone});
        self.call("Emulation.setDeviceMetricsOverride", metrics);
    }

    /// As in a browser with these preferences, `("prefers-color-scheme", "dark")`.
    pub(crate) fn prefer(&mut self, features: &[(&str, &str)]) {
        let features: Vec<Value> = features
            .iter()
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect();
        self.call("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    /// Writes what is seen to a PNG file in the folder of RTMSD_SCREENSHOTS, if it is set.
    pub(crate) fn screenshot(&mut self, name: &str) {
        let Ok(folder) = std::env::var("RTMSD_SCREENSHOTS") else {
            return;
        };
        // What moves has come to rest.
        self.eval("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50)))");
        let image = self.call("Page.captureScreenshot", json!({"format": "png"}));
        let bytes = STANDARD.decode(image["data"].as_str().expect("data"));
        let path = Path::new(&folder).join(format!("{name}.png"));
        fs::create_dir_all(folder).expect("a folder");
        fs::write(path, bytes.expect("base64")).expect("a file");
    }

    #[track_caller]
    pub(crate) fn assert_accessible(&mut self, what: &str) {
        assert_eq!(self.accessibility_faults(), [""; 0], "{what}");
    }

    /// What axe-core finds wrong with the page, if RTMSD_AXE names its file.
    #[track_caller]
    pub(crate) fn accessibility_faults(&mut self) -> Vec<String> {
        let Ok(path) = std::env::var("RTMSD_AXE") else {
            return Vec::new();
        };
        if self.eval("typeof axe") == "undefined" {
            let source = fs::read_to_string(path).expect("the file of RTMSD_AXE");
            // By the debugger, as the policy of the page lets no other script in.
            self.eval(&format!("{source};0"));
        }
        let found = self.eval(
            "axe.run(document, {resultTypes: ['violations']}).then((it) => it.violations.map((v) => \
             v.id + ': ' + v.nodes.map((n) => n.html + ' ' + n.failureSummary).join(' | ')))",
        );
        serde_json::from_value(found).expect("a list of texts")
    }

    /// The page is not wider than the window.
    #[track_caller]
    pub(crate) fn assert_no_sideways(&mut self, what: &str) {
        let wide = self
            .eval("document.documentElement.scrollWidth - document.documentElement.clientWidth");
        assert_eq!(wide, 0, "{what}");
    }

    /// No exception, no violation of the policy, and no request to anybody else.
    #[track_caller]
    pub(crate) fn assert_clean(&mut self, origin: &str) {
        // So that events that are under way have come.
        self.eval("1");
        assert_eq!(self.faults, Vec::<String>::new());
        let own = |url: &String| {
            let begins = [origin, "about:", "data:", "blob:"];
            begins.iter().any(|begin| url.starts_with(begin))
        };
        let foreign: Vec<&String> = self.requested.iter().filter(|url| !own(url)).collect();
        assert!(foreign.is_empty(), "{foreign:?}");
        assert!(!self.requested.is_empty());
        let secret = self.requested.iter().find(|url| url.contains("#"));
        assert_eq!(secret, None);
    }
}
