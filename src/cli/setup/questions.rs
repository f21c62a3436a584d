//! What `rtmsd setup` asks for: only what cannot be known.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use super::conf_file::ConfFile;
use super::prompt::{Question, ask};
use super::{Answers, Quit};
use crate::cli::lines::{Lines, Refusals};
use crate::config::{FileContent, Needs, Sources, load};

/// The default of the redirect URL: a port of the command's own.
const REDIRECT: &str = "http://127.0.0.1:8765/oauth";

/// A key that is asked for.
struct Asked {
    key: &'static str,
    text: &'static str,
    is_secret: bool,
}

const fn plain(key: &'static str, text: &'static str) -> Asked {
    Asked {
        key,
        text,
        is_secret: false,
    }
}

const fn secret(key: &'static str, text: &'static str) -> Asked {
    Asked {
        key,
        text,
        is_secret: true,
    }
}

/// Asks everything, and sets the keys.
pub(super) fn ask_all(
    file: &mut ConfFile,
    answers: &Answers,
    lines: &mut Lines,
    out: &mut impl Write,
) -> Result<(), Quit> {
    let mut asking = Asking {
        file,
        answers,
        lines,
        out,
    };
    asking.say(
        "\nThe app that receives the streams: in the Zoom App Marketplace, Develop, Build App, General App.",
    )?;
    asking.key(&plain("ZOOM_CLIENT_ID", "Client ID"))?;
    asking.key(&secret("ZOOM_CLIENT_SECRET", "Client secret"))?;
    asking.events()?;
    asking.rest()
}

struct Asking<'a, W> {
    file: &'a mut ConfFile,
    answers: &'a Answers,
    lines: &'a mut Lines,
    out: &'a mut W,
}

impl<W: Write> Asking<'_, W> {
    fn say(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{text}")
    }

    /// By which way events come.
    fn events(&mut self) -> Result<(), Quit> {
        self.say(
            "\nZoom's events (a meeting has started, a stream is there) come by one of two ways:\n\
             \x20 websocket  rtmsd connects to Zoom; no public address, works everywhere; what happens while\n\
             \x20            it is cut off is not repeated\n\
             \x20 webhooks   Zoom posts to your public HTTPS address, and repeats what was not taken",
        )?;
        let present = match self.file.get("ZOOM_SECRET_TOKEN").is_some() {
            true if self.file.get("ZOOM_EVENTS_URL").is_none() => "webhooks",
            _ => "websocket",
        };
        let words = ["websocket", "webhooks"];
        match self.choice("Which way", &words, present, self.answers.events)? {
            "websocket" => {
                self.say(
                    "On the app's page: Features, Event Subscriptions, Add, method WebSocket; events: Meeting\n\
                     started, ended, participant joined; RTMS started, interrupted, stopped. Save; the page\n\
                     then shows an address.",
                )?;
                self.key(&plain(
                    "ZOOM_EVENTS_URL",
                    "Address (wss://ws.zoom.us/ws?subscriptionId=…)",
                ))?;
                self.file.set("PORT", Some("off"));
                self.file.set("ZOOM_SECRET_TOKEN", None);
            }
            _ => {
                self.say(
                    "On the app's page: Features, Event Subscriptions, Add, method Webhook; events: Meeting\n\
                     started, ended, participant joined; RTMS started, interrupted, stopped. The endpoint is the\n\
                     public address that leads to this server, with the path /webhook.",
                )?;
                self.key(&secret("ZOOM_SECRET_TOKEN", "Secret token"))?;
                if self.file.get("PORT").as_deref() == Some("off") {
                    self.file.set("PORT", None);
                }
                self.key_or("PORT", "Port to listen on", "3000")?;
                self.file.set("ZOOM_EVENTS_URL", None);
            }
        }
        Ok(())
    }

    /// How tokens for REST calls are obtained.
    fn rest(&mut self) -> Result<(), Quit> {
        self.say(
            "\nTo start streams by itself, rtmsd needs a token for Zoom's REST API:\n\
             \x20 user  a user authorizes the app in a browser\n\
             \x20 s2s   a second app of the kind Server-to-Server OAuth\n\
             \x20 none  Zoom or people start the streams",
        )?;
        let present = match () {
            () if self.file.get("ZOOM_ACCOUNT_ID").is_some() => "s2s",
            () if self.file.get("RTMS_AUTO_START").as_deref() == Some("off") => "none",
            () => "user",
        };
        let chosen = self.choice(
            "Which one",
            &["user", "s2s", "none"],
            present,
            self.answers.rest,
        )?;
        let is_started_here = chosen != "none";
        self.file
            .set("RTMS_AUTO_START", (!is_started_here).then_some("off"));
        if chosen != "s2s" {
            for key in [
                "ZOOM_ACCOUNT_ID",
                "ZOOM_API_CLIENT_ID",
                "ZOOM_API_CLIENT_SECRET",
            ] {
                self.file.set(key, None);
            }
        }
        match chosen {
            "user" => {
                self.say(
                    "On the app's page, under OAuth, add this redirect URL (a port that rtmsd itself listens on;\n\
                     any other works too, then you paste an address).",
                )?;
                self.key_or("ZOOM_REDIRECT_URL", "Redirect URL", REDIRECT)?;
            }
            "s2s" => {
                self.file.set("ZOOM_REDIRECT_URL", None);
                self.key(&plain(
                    "ZOOM_ACCOUNT_ID",
                    "Account ID of the server-to-server app",
                ))?;
                self.key(&plain("ZOOM_API_CLIENT_ID", "Its client ID"))?;
                self.key(&secret("ZOOM_API_CLIENT_SECRET", "Its client secret"))?;
            }
            _ => self.file.set("ZOOM_REDIRECT_URL", None),
        }
        Ok(())
    }

    fn key(&mut self, asked: &Asked) -> Result<(), Quit> {
        let present = self.file.get(asked.key);
        self.ask_until_right(asked, present)
    }

    fn key_or(&mut self, key: &'static str, text: &'static str, default: &str) -> Result<(), Quit> {
        let present = self.file.get(key).or_else(|| Some(default.to_owned()));
        self.ask_until_right(&plain(key, text), present)
    }

    /// A value from the command line, or asked until it is one that the configuration takes.
    fn ask_until_right(&mut self, asked: &Asked, present: Option<String>) -> Result<(), Quit> {
        if let Some(value) = self.answers.value(asked.key).map_err(Quit::failed)? {
            self.file.set(asked.key, Some(&value));
            return match self.fault(asked.key) {
                None => Ok(()),
                Some(fault) => Err(Quit::Fault(fault)),
            };
        }
        let question = Question {
            text: asked.text,
            default: present,
            is_secret: asked.is_secret,
        };
        let before = self.file.get(asked.key);
        let mut refusals = Refusals::of_answers();
        loop {
            let Some(value) = ask(&question, self.lines, self.out)? else {
                return Err(Quit::Left);
            };
            let fault = match value.as_str() {
                "" => "This is needed. Ctrl-C leaves; what was answered is asked again next time."
                    .to_owned(),
                value => {
                    self.file.set(asked.key, Some(value));
                    match self.fault(asked.key) {
                        None => {
                            // What was answered so far is there when this is taken up again.
                            self.file.save()?;
                            return Ok(());
                        }
                        Some(fault) => fault,
                    }
                }
            };
            self.say(&fault)?;
            if refusals.add() {
                self.file.set(asked.key, before.as_deref());
                return Err(Quit::Refused(asked.text.to_owned()));
            }
        }
    }

    /// One of these words, by the command line or asked.
    fn choice(
        &mut self,
        text: &str,
        words: &[&'static str],
        present: &str,
        given: Option<&'static str>,
    ) -> Result<&'static str, Quit> {
        if let Some(given) = given {
            return Ok(given);
        }
        let question = Question {
            text: &format!("{text} ({})", words.join(", ")),
            default: Some(present.to_owned()),
            is_secret: false,
        };
        let mut refusals = Refusals::of_answers();
        loop {
            let Some(answer) = ask(&question, self.lines, self.out)? else {
                return Err(Quit::Left);
            };
            // The first letters are enough.
            let fits = |word: &&&str| !answer.is_empty() && word.starts_with(&answer);
            let fitting: Vec<_> = words.iter().filter(fits).collect();
            match fitting[..] {
                [one] => return Ok(one),
                _ => self.say(&format!("Please answer {}.", words.join(" or ")))?,
            }
            if refusals.add() {
                return Err(Quit::Refused(question.text.to_owned()));
            }
        }
    }

    /// What is wrong with the value of a key, as the server would say it.
    fn fault(&self, key: &str) -> Option<String> {
        let read = |path: &Path| {
            let bytes = fs::read(path)?;
            Ok(FileContent { bytes, mode: None })
        };
        let content = FileContent {
            bytes: self.file.text().as_bytes().to_vec(),
            mode: None,
        };
        let sources = Sources {
            needs: Needs::Admin,
            file: Some(("answer".to_owned(), content)),
            environment: std::env::vars_os().collect(),
            host_name: String::new(),
            read: &read,
            list: &|_| Ok(Vec::new()),
        };
        let faults = load(&sources).err()?;
        let fault = faults.iter().find(|fault| fault.key == key)?;
        Some(format!("{}: {}", fault.key, fault.text))
    }
}
