//! The `rtmsd demo` command: runs the real server as a child process with meetings of the demo's
//! Zoom, and prints a table of the results.

pub(crate) mod chaos;
#[cfg(feature = "fleet")]
pub(crate) mod nodes;
pub(crate) mod odd;
pub(crate) mod push;
pub(crate) mod serve;
pub(crate) mod setup;
pub(crate) mod table;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::cli::args::{Demo, DemoKind};
use crate::cli::exit;
use crate::demo::player::handle::MeetingHandle;
use crate::demo::player::script::{AudioScript, Begin, DemoProduct, MeetingScript, Socket};
use crate::demo::process::{ServerCommand, own_program};
use crate::demo::receiver::Receiver;
use crate::demo::verify::files::judge;
use crate::demo::verify::phrases::{Comparison, compare, transcript_lines};
use crate::demo::zoom::oauth;
use crate::demo::zoom::record::{Step, left};
use crate::demo::{EventsBy, Options, Zoom, temporary_directory};
use crate::domain::product::Product;
use crate::protocol::{MediaKind, MediaSelection};
use table::{COLUMNS, media_table, table};

/// Time from the server's own start of a stream to its own stop, seconds (`RTMS_STOP_AFTER`).
const STOP_AFTER_SECONDS: u64 = 4;
/// Time limit for everything up to the last meeting's end.
const PLAY_MAX: Duration = Duration::from_secs(12);
/// Additional time for each stream that is started and stopped by a command.
const CONTROL_MAX: Duration = Duration::from_millis(200);
/// How long each speaker in turn is muted.
const MUTE: Duration = Duration::from_secs(1);
/// The server must have ended 3 s after SIGTERM.
const EXIT_MAX: Duration = Duration::from_secs(4);
/// From the end of the last meeting until its last event was pushed.
const PUSH_MAX: Duration = Duration::from_secs(10);

/// The options of the command line.
#[derive(Debug, Clone)]
pub(crate) struct DemoOptions {
    /// Folder of the meetings' files; if `None` a temporary folder, which is deleted at the end.
    pub out: Option<PathBuf>,
    /// Number of concurrent meetings.
    pub meetings: usize,
    /// The media that are played and received: `RTMS_MEDIA`.
    pub media: MediaSelection,
    /// The products that are played, in turn; not empty.
    pub products: Vec<DemoProduct>,
    /// By which way events come.
    pub events_by: EventsBy,
}

impl DemoOptions {
    fn new(command: Demo) -> DemoOptions {
        // There are three forms of each kind of fault; of several products each is played.
        let usual = match command.products.len() {
            _ if command.kind == DemoKind::Chaos => 3,
            // Both kinds of Zoom and both ways to begin, for each node one or more.
            _ if command.nodes.is_some() => 8,
            1 => 2,
            several => several,
        };
        DemoOptions {
            out: command.out,
            meetings: command.meetings.map_or(usual, |n| n as usize),
            media: command.media,
            products: command.products.into_iter().map(demo_product).collect(),
            events_by: match command.events_by_websocket {
                true => EventsBy::WebSocket,
                false => EventsBy::Webhooks,
            },
        }
    }

    /// Whether more than transcripts of meetings is played.
    fn is_more(&self) -> bool {
        self.media != MediaSelection::default() || self.products != [DemoProduct::Meeting]
    }

    fn script(&self, seed: &str, n: usize) -> MeetingScript {
        let mut script = MeetingScript::varied(seed, n);
        script.topic = format!("Demo {}", n + 1);
        script.product = self.products[n % self.products.len()];
        if !script.product.is_announced() {
            script.begin = Begin::Silent;
        }
        if !self.is_more() {
            return script;
        }
        let wants = |kind| self.media.is_wanted(kind);
        let kinds = MediaKind::SINGLE.into_iter().filter(|kind| wants(*kind));
        script.granted = kinds.map(MediaKind::bit).sum();
        // Several kinds of media need several URLs.
        script.url_per_type |= self.media.kinds().len() > 1;
        script.audio = wants(MediaKind::Audio).then_some(AudioScript {
            per_speaker: true,
            interval: Duration::from_millis(20),
            packets: None,
            mute: MUTE,
        });
        script.pictures = wants(MediaKind::Video) || wants(MediaKind::Share);
        script.chat_every = u64::from(wants(MediaKind::Chat));
        script
    }

    /// A temporary folder, the folder for the files of the meetings, and a Zoom.
    fn set_up(&self) -> io::Result<(Folder, PathBuf, Zoom)> {
        let folder = Folder(temporary_directory()?);
        let out = match &self.out {
            Some(out) => out.clone(),
            None => folder.0.join("out"),
        };
        fs::create_dir_all(&out)?;
        let out = fs::canonicalize(out)?;
        let zoom = Zoom::start(Options {
            // Frequent enough for several of them in a meeting of a few seconds.
            keep_alive: Duration::from_secs(1),
            directory: Some(folder.0.clone()),
            webhook_retries: WEBHOOK_RETRIES.to_vec(),
            events_by: self.events_by,
            ..Options::default()
        })?;
        Ok((folder, out, zoom))
    }

    /// The steps that a stream must reach.
    fn steps(&self, script: &MeetingScript) -> Vec<Step> {
        let is_expected = |step: &Step| match step {
            Step::MeetingAnswered => script.begin == Begin::ByRest,
            Step::FirstPhrase => self.media.is_wanted(MediaKind::Transcript),
            _ => true,
        };
        let steps = COLUMNS.iter().map(|(step, _)| *step);
        steps.filter(is_expected).collect()
    }
}

/// Plays the demo and prints the results. Returns the exit code: 0 only if every step was seen and
/// every phrase received once; 69 if the server could not be started; 70 otherwise. With `--setup`, that
/// of `rtmsd setup`.
pub(super) fn run(command: Demo) -> u8 {
    let (kind, nodes, store) = (command.kind, command.nodes, command.store.clone());
    let options = &DemoOptions::new(command);
    let code = |is_right| match is_right {
        true => exit::OK,
        false => exit::SOFTWARE,
    };
    let played = match kind {
        DemoKind::Meetings => play(options).map(code),
        DemoKind::Chaos => chaos::play(options).map(code),
        DemoKind::Fleet | DemoKind::FleetChaos => {
            let is_chaos = kind == DemoKind::FleetChaos;
            play_fleet(options, nodes.unwrap_or(2), store.as_deref(), is_chaos).map(code)
        }
        DemoKind::Odd => odd::play(options).map(code),
        DemoKind::Setup => setup::play(),
        DemoKind::Serve => serve::play(options).map(code),
    };
    match played {
        Ok(code) => code,
        Err(error) => {
            say(&format!("demo: {error}"));
            exit::UNAVAILABLE
        }
    }
}

#[cfg(feature = "fleet")]
fn play_fleet(
    options: &DemoOptions,
    nodes: u32,
    store: Option<&str>,
    is_chaos: bool,
) -> io::Result<bool> {
    nodes::play(options, nodes as usize, store, is_chaos)
}

#[cfg(not(feature = "fleet"))]
fn play_fleet(_: &DemoOptions, _: u32, _: Option<&str>, _: bool) -> io::Result<bool> {
    Err(io::Error::other(
        "this rtmsd was built without the feature \"fleet\", which several nodes need",
    ))
}

/// The demo shares no types with the server that it tests.
fn demo_product(product: Product) -> DemoProduct {
    match product {
        Product::Meeting => DemoProduct::Meeting,
        Product::Webinar => DemoProduct::Webinar,
        Product::Session => DemoProduct::Session,
        Product::ContactCenter => DemoProduct::ContactCenter,
        Product::Phone => DemoProduct::Phone,
    }
}

/// The waits before Zoom posts a webhook again: a disk that is busy with other things can make the
/// server answer 503, and a server that is down misses its first ones.
pub(crate) const WEBHOOK_RETRIES: [Duration; 4] = [
    Duration::from_millis(300),
    Duration::from_millis(700),
    Duration::from_millis(1500),
    Duration::from_millis(3000),
];

/// A folder that is deleted when the demo ends for any reason.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // If a temporary folder cannot be deleted, the system will do it.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn play(options: &DemoOptions) -> io::Result<bool> {
    let (folder, out, zoom) = options.set_up()?;
    let receiver = Receiver::start(push::SECRET)?;
    let command = server_command(options, &zoom, Some(&receiver), &folder.0, &out)?;
    let (mut server, is_up) = match options.events_by {
        EventsBy::Webhooks => {
            let (server, address) = command.listen()?;
            zoom.set_webhook_target(&format!("http://{address}/webhook"))?;
            zoom.challenge("demo-plain-token");
            (server, format!("listens on {address}"))
        }
        EventsBy::WebSocket => (
            command.connect()?,
            "has no port and is connected to Zoom's events".to_owned(),
        ),
    };
    say(&format!(
        "demo: the server {is_up}; {} {} of about {STOP_AFTER_SECONDS} s begin",
        options.meetings,
        match options.products[..] {
            [DemoProduct::Meeting] => "meetings",
            _ => "streams",
        }
    ));

    let seed = oauth::random();
    let mut faults = Vec::new();
    let meetings: Vec<MeetingHandle> = (0..options.meetings)
        .map(|n| zoom.start_meeting(options.script(&seed, n)))
        .collect();
    // A stream that no webhook announces is started and stopped by commands, as a person would.
    let by_hand: Vec<&MeetingScript> = meetings
        .iter()
        .map(MeetingHandle::script)
        .filter(|script| script.begin == Begin::Silent)
        .collect();
    let mut control = |word: &str| -> io::Result<()> {
        for script in &by_hand {
            let output = command.control(word, script.product, &script.id)?;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                faults.push(format!("{}: rtmsd {word}: {said}", script.topic));
            }
        }
        Ok(())
    };
    let begun = Instant::now();
    control("start")?;
    if !by_hand.is_empty() {
        std::thread::sleep(left(begun + Duration::from_secs(STOP_AFTER_SECONDS)));
        control("stop")?;
    }
    let until = begun + PLAY_MAX + CONTROL_MAX * by_hand.len() as u32;
    for meeting in &meetings {
        // A missing step is visible in the table.
        let _ = meeting.wait_for(Step::StoppedAnswered, left(until))
            && meeting.wait_for(Step::Closed, left(until));
    }
    push::wait_until_complete(&receiver, &out, meetings.len(), PUSH_MAX)?;
    let status = server.terminate(EXIT_MAX);
    let pushed = meetings.clone();
    let results = meetings
        .into_iter()
        .map(|meeting| {
            let lines = transcript_lines(&out, &meeting.script().id)?;
            let result = compare(&meeting.sent(), lines.iter().map(String::as_str));
            Ok((meeting, result))
        })
        .collect::<io::Result<Vec<_>>>()?;
    let keep_alives = zoom.keep_alive_latencies(Socket::Signaling);
    faults.extend(zoom.stop());
    for (meeting, result) in &results {
        faults.extend(missing(options, meeting, result));
    }
    let mut media = Vec::new();
    if options.is_more() {
        for (meeting, _) in &results {
            let judged = judged(options, meeting, &out, &mut faults)?;
            media.push((meeting.script(), judged));
        }
    }
    if status.and_then(|status| status.code()) != Some(0) {
        let found = status.map_or("still running".to_owned(), |status| status.to_string());
        faults.push(format!(
            "server after SIGTERM: found {found}, expected exit status 0 within 4 s"
        ));
    }

    say(&format!("\n{}", table(&results)));
    if !media.is_empty() {
        say(&media_table(&media));
    }
    faults.extend(push::judge(&receiver, &out, &pushed, false)?);
    if !keep_alives.is_empty() {
        say(&format!(
            "{} signaling keep-alives answered, median {:.1} ms, slowest {:.1} ms",
            keep_alives.len(),
            keep_alives.percentile(0.5).as_secs_f64() * 1000.0,
            keep_alives.percentile(1.0).as_secs_f64() * 1000.0
        ));
    }
    say(&match &options.out {
        Some(out) => format!("files are in {}", out.display()),
        None => "files were in a temporary folder; --out DIR keeps them".to_owned(),
    });
    for fault in &faults {
        say(&format!("failed: {fault}"));
    }
    if faults.is_empty() {
        say(match options.is_more() {
            false => "every step was seen, every phrase received once",
            true => {
                "every step was seen; every phrase, packet, frame, message and event received once"
            }
        });
    }
    Ok(faults.is_empty())
}

/// The server, configured for the selected media.
fn server_command(
    options: &DemoOptions,
    zoom: &Zoom,
    receiver: Option<&Receiver>,
    folder: &Path,
    out: &Path,
) -> io::Result<ServerCommand> {
    let mut command = ServerCommand::new(own_program()?, zoom, folder);
    (command.shows_stdout, command.shows_log) = (true, true);
    command.set("RTMS_STOP_AFTER", &STOP_AFTER_SECONDS.to_string());
    command.set("RTMS_OUT", &out.display().to_string());
    command.set("RTMS_STDOUT", "text");
    if options.events_by == EventsBy::WebSocket {
        command.set("PORT", "off");
    }
    if options.is_more() {
        command.set("RTMS_MEDIA", &options.media.to_string());
        command.set("RTMS_EVENTS", "all");
        command.set("RTMS_TRANSCRIPT", "jsonl,txt,vtt,srt");
        command.set("RTMS_AUDIO_STREAMS", "per-speaker");
        // Cameras as H.264, the shared screen as pictures.
        command.set("RTMS_VIDEO_CODEC", "h264");
        command.set("RTMS_VIDEO_FPS", "10");
        command.set("RTMS_SHARE_CODEC", "jpg");
    }
    if let Some(receiver) = receiver {
        push::configure(&mut command, receiver);
    }
    Ok(command)
}

/// The failures of a meeting, as texts.
fn missing(options: &DemoOptions, meeting: &MeetingHandle, result: &Comparison) -> Vec<String> {
    let script = meeting.script();
    let topic = &script.topic;
    let mut faults: Vec<String> = options
        .steps(script)
        .into_iter()
        .filter(|step| meeting.time_of(*step).is_none())
        .map(|step| format!("{topic}: not seen: {}", step.name()))
        .collect();
    let is_sent = result.sent > 0 || !options.media.is_wanted(MediaKind::Transcript);
    if !is_sent || !result.is_exact() {
        faults.push(format!("{topic}: {result:?}"));
    }
    faults
}

/// The results of everything except phrases. Failures are added to the list.
fn judged(
    options: &DemoOptions,
    meeting: &MeetingHandle,
    out: &Path,
    faults: &mut Vec<String>,
) -> io::Result<Vec<(&'static str, Comparison)>> {
    let script = meeting.script();
    let stream = meeting.streams().last().cloned().unwrap_or_default();
    let results = match judge(out, &stream, script, &meeting.media_sent()) {
        Ok(results) => results,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            faults.push(format!("{}: {error}", script.topic));
            Vec::new()
        }
        Err(error) => return Err(error),
    };
    for (medium, result) in &results {
        if result.sent == 0 || !result.is_exact() {
            faults.push(format!("{}: {medium}: {result:?}", script.topic));
        }
    }
    for kind in MediaKind::SINGLE {
        let is_there = kind == MediaKind::Transcript
            || results.iter().any(|(medium, _)| *medium == kind.name());
        if options.media.is_wanted(kind) && !is_there {
            faults.push(format!("{}: no {} was sent", script.topic, kind.name()));
        }
    }
    Ok(results)
}

/// Prints a line to stdout; if its reader is gone, the demo continues.
pub(crate) fn say(line: &str) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{line}");
    let _ = stdout.flush();
}
