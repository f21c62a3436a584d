//! `rtmsd tap`: the sound or the pictures of a running stream on standard output, from `/media` of the
//! admin listener.
//!
//! It connects again when the server restarts, and ends with the stream. Sound is continuous: holes are
//! filled with silence, see [`sound`].
//!
//! Exit codes are those of `tail`: 0 the stream has ended, or the reader of the output is gone; 64 there is
//! no such stream, or it has no such kind; 69 the server cannot be reached at first, or has too many
//! clients; 77 it wants another token; 78 the configuration lacks something.

mod note;
pub mod sound;

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tungstenite::handshake::client::generate_key;
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error as WsError, Message, WebSocket};

use self::note::Note;
use self::sound::{Form, Sound};
use crate::cli::admin_client;
use crate::cli::admin_http::{Answer, Carrier, Client, Request};
use crate::cli::exit::{self, Failure};
use crate::cli::session::{End, Session, failed};
use crate::config::Config;
use crate::delivery::media::head::{Head, Kind};
use crate::domain::text::percent_encoded;
use crate::protocol::params::{AudioParams, AudioStreams};

/// For the head of an answer, which comes at once.
const HEAD_MAX: Duration = Duration::from_secs(15);
/// Silence of a connection on which the server sends a ping every 15 seconds.
const SILENCE_MAX: Duration = Duration::from_secs(50);
/// The first delay before a new connection: what is spoken meanwhile is lost.
const RETRY: Duration = Duration::from_millis(500);
/// A server that was started again takes its streams up within this time; Zoom waits no longer.
const REJOIN_MAX: Duration = Duration::from_secs(75);
/// Of one message: a picture of any size that Zoom sends.
const MESSAGE_BYTES_MAX: usize = 32 << 20;
const READ_BYTES: usize = 64 << 10;
/// Of the body of a refusal.
const REASON_BYTES_MAX: usize = 4 << 10;
const REASON_MAX: Duration = Duration::from_secs(10);
/// The reason of an end that is not the stream's: the server leaves it.
const LEFT: &str = "left";

/// What is tapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// STREAM.
    pub stream: String,
    /// Sound, cameras or the shared screen.
    pub kind: Kind,
    /// `--speaker`: a name or an id.
    pub speaker: Option<String>,
    /// `--format`.
    pub form: Option<Form>,
    /// `--config`.
    pub config: Option<PathBuf>,
}

/// Writes what the command line asks for to standard output.
pub fn run(options: &Options, config: &Config) -> u8 {
    match tap(options, config) {
        Ok(()) | Err(End::OutputClosed) => exit::OK,
        Err(End::Failed(Failure(code, text))) => {
            eprintln!("tap: {text}");
            code
        }
    }
}

fn tap(options: &Options, config: &Config) -> Result<(), End> {
    let stdout = io::stdout();
    if stdout.is_terminal() {
        let text = "standard output is a terminal; give it to a program, or to a file";
        return Err(failed(exit::USAGE, text.to_owned()));
    }
    let (address, token) = admin_client::access(config).map_err(End::Failed)?;
    let client = Client {
        address,
        token,
        head_max: HEAD_MAX,
        output: Some(stdout.as_fd()),
    };
    // Standard output of the library keeps what comes behind the last byte that looks like a line end.
    let out = stdout.as_fd().try_clone_to_owned();
    let out = out.map_err(|error| failed(exit::UNAVAILABLE, error.to_string()))?;
    let tap = Tap {
        options,
        app: config.app_query('&'),
        session: Session::new("tap", client, true),
        out: File::from(out),
        sound: None,
        has_begun: false,
        speakers: HashSet::new(),
    };
    tap.run()
}

struct Tap<'a> {
    options: &'a Options,
    /// The part of a query that says which app; empty for all.
    app: String,
    session: Session<'a>,
    out: File,
    /// What is written of sound, and in which format it comes.
    sound: Option<(Sound, AudioParams)>,
    /// It was connected once.
    has_begun: bool,
    /// The numbers of those that are wanted, on this connection.
    speakers: HashSet<u32>,
}

/// Why a connection ended.
enum Over {
    /// The stream has ended.
    Ended,
    /// There may be more on another connection.
    Lost(String),
}

impl<'a> Tap<'a> {
    fn run(mut self) -> Result<(), End> {
        let target = self.target();
        let mut away_since: Option<Instant> = None;
        loop {
            let key = generate_key();
            let request = Request {
                target: &target,
                json: None,
                accept: "*/*",
                last_id: "",
                upgrade: Some(&key),
            };
            let answer = self.session.get(&request, Some(RETRY))?;
            match answer.status {
                101 if answer.accept == derive_accept_key(key.as_bytes()) => {
                    self.has_begun = true;
                    away_since = None;
                    match self.read(answer)? {
                        Over::Ended => return self.end(),
                        Over::Lost(why) => self.session.lost(&why)?,
                    }
                }
                // After a restart the stream is taken up again; or it has ended meanwhile.
                404 if self.has_begun => {
                    let since = *away_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > REJOIN_MAX {
                        self.session
                            .say("the server has not taken the stream up again");
                        return self.end();
                    }
                }
                410 if self.has_begun => return self.end(),
                _ => return Err(self.refused(answer)),
            }
            self.session.pause(Some(RETRY), None)?;
        }
    }

    fn target(&self) -> String {
        let Options {
            stream,
            kind,
            speaker,
            ..
        } = self.options;
        let stream = percent_encoded(stream);
        let app = &self.app;
        let mut target = format!("/media?stream={stream}&kind={}{app}", kind.name());
        let is_id = |text: &&String| text.bytes().all(|b| b.is_ascii_digit());
        if let Some(id) = speaker.as_ref().filter(is_id) {
            target += &format!("&speaker={id}");
        }
        target
    }

    fn refused(&self, mut answer: Answer<'a>) -> End {
        let text = answer
            .text(REASON_MAX, REASON_BYTES_MAX)
            .unwrap_or_default();
        // Any 404 is about the name here, as one without a stream is not asked for.
        let name = Some(self.options.stream.as_str());
        match answer.status {
            101 => self.session.foreign("another protocol"),
            404 if !text.starts_with("no such stream") => {
                self.session.foreign("another page than /media")
            }
            404 => failed(
                exit::USAGE,
                format!("{:?}: {}", self.options.stream, text.trim_end()),
            ),
            status => self.session.refused(status, &text, name),
        }
    }

    /// Writes what comes on one connection.
    fn read(&mut self, answer: Answer<'a>) -> Result<Over, End> {
        self.speakers.clear();
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BYTES)
            .write_buffer_size(0)
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let carrier = answer.into_carrier(SILENCE_MAX);
        let mut socket = WebSocket::from_raw_socket(carrier, Role::Client, Some(config));
        loop {
            match socket.read() {
                Ok(Message::Binary(bytes)) => {
                    self.session.works();
                    self.take(&bytes)?;
                }
                Ok(Message::Text(text)) => match note::parse(&text) {
                    Some(Note::Format(format)) => self.set_format(&format)?,
                    Some(Note::Speaker(speaker)) => {
                        let wanted = self.options.speaker.as_deref();
                        if wanted.is_some_and(|text| speaker.is_named(text)) {
                            self.speakers.insert(speaker.speaker);
                        } else {
                            self.speakers.remove(&speaker.speaker);
                        }
                    }
                    Some(Note::End { reason }) if reason == LEFT => {
                        return Ok(Over::Lost("the server leaves".to_owned()));
                    }
                    Some(Note::End { .. }) => return Ok(Over::Ended),
                    Some(Note::Other) | None => {}
                },
                Ok(_) => {}
                Err(error) => return lost(&socket, &error),
            }
        }
    }

    fn set_format(&mut self, format: &note::Format) -> Result<(), End> {
        let Options {
            kind,
            speaker,
            form,
            ..
        } = self.options;
        if *kind != Kind::Audio {
            return Ok(());
        }
        let Some(params) = format.sound() else {
            return Err(self.session.foreign("a format of a later version"));
        };
        let usage = |text: &str| Err(failed(exit::USAGE, text.to_owned()));
        match (params.streams, speaker) {
            (AudioStreams::PerSpeaker, None) => {
                return usage(
                    "the sound of this stream comes speaker by speaker: name one with --speaker, or \
                     set RTMS_AUDIO_STREAMS=mixed for one sound of all",
                );
            }
            (AudioStreams::Mixed, Some(_)) => {
                return usage(
                    "the sound of this stream is mixed, RTMS_AUDIO_STREAMS=per-speaker keeps speakers \
                     apart",
                );
            }
            _ => {}
        }
        let form = form.unwrap_or(Form::Raw);
        if form == Form::Wav && !sound::can_be_wav(&params) {
            return usage("WAV is for the codecs l16 and g711; leave out --format");
        }
        match &mut self.sound {
            Some((sound, known)) if *known == params => sound.on_reconnect(),
            Some(_) => {
                let text = "the format of the sound has changed, which one output cannot hold; begin \
                            again";
                return Err(failed(exit::UNAVAILABLE, text.to_owned()));
            }
            None => {
                let sound = Sound::begin(&params, form, &mut self.out).map_err(unwritten)?;
                self.sound = Some((sound, params));
            }
        }
        Ok(())
    }

    fn take(&mut self, message: &[u8]) -> Result<(), End> {
        let Some((head, payload)) = Head::parse(message) else {
            return Ok(());
        };
        if self.options.speaker.is_some() && !self.speakers.contains(&head.speaker) {
            return Ok(());
        }
        let written = match (&mut self.sound, self.options.kind) {
            (Some((sound, _)), Kind::Audio) => {
                sound.push(head.timestamp_ms, payload, &mut self.out)
            }
            (None, Kind::Audio) => Ok(()),
            _ => self.out.write_all(payload),
        };
        written.map_err(unwritten)
    }

    fn end(&mut self) -> Result<(), End> {
        let written = match &mut self.sound {
            Some((sound, _)) => sound.end(&mut self.out),
            None => Ok(()),
        };
        written.map_err(unwritten)
    }
}

fn unwritten(error: io::Error) -> End {
    match error.kind() {
        ErrorKind::BrokenPipe => End::OutputClosed,
        _ => failed(exit::UNAVAILABLE, format!("standard output: {error}")),
    }
}

fn lost(socket: &WebSocket<Carrier<'_>>, error: &WsError) -> Result<Over, End> {
    if socket.get_ref().is_output_closed {
        return Err(End::OutputClosed);
    }
    Ok(Over::Lost(match error {
        WsError::ConnectionClosed => "the connection was closed".to_owned(),
        error => error.to_string(),
    }))
}
