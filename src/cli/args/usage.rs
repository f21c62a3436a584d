//! The usage texts, from which the manual page is made too.

#[cfg(feature = "demo")]
macro_rules! demo_line {
    () => {
        "  demo      plays meetings from a small Zoom on loopback to the server\n"
    };
}
#[cfg(not(feature = "demo"))]
macro_rules! demo_line {
    () => {
        ""
    };
}

/// `rtmsd --help`.
pub const USAGE: &str = concat!(
    "\
rtmsd receives Zoom Realtime Media Streams

usage: rtmsd [COMMAND] [OPTIONS]

  serve     runs the server; the default without a command
",
    demo_line!(),
    "  check     explains the configuration and finds faults in it
  setup     a guided first run: from nothing to the first phrase
  authorize lets a user authorize the app, and stores the token
  accounts  lists the users who have authorized the app, and whether that works
  start     starts the stream of a meeting
  stop      stops the stream of a meeting
  pause     pauses the stream of a meeting
  resume    resumes the stream of a meeting
  status    shows the streams of the running server
  tail      prints what the running server receives, as it comes
  tap       writes the sound or the pictures of a running stream, as they come
  link      makes an address by which others see one stream in a browser
  list      finds recordings by topic, speaker, number or id
  prune     removes recordings by RTMS_KEEP and RTMS_DISK_MAX, or shows which
  forget    deletes a meeting, an account's data or one person, with a receipt
  push      tries, pauses, resumes or replays an endpoint of HTTP push
  merge     makes one folder of what the nodes of a fleet received of a stream
  mux       makes one MP4, MKV or WAV of a recording, with ffmpeg
  print     prints configuration, systemd units, manual pages, completions
  help      prints a chapter of the manual; without a topic, the list of topics

  --config FILE   the configuration; default ./rtms.conf, then /etc/rtms.conf
  --help          prints this text; after a command, the text of that command
  --version       prints the version

exit codes: 0 fine, 64 usage, 69 cannot listen or reach, 70 bug, 77 permission,
78 configuration
"
);

pub(super) const SERVE: &str = "\
usage: rtmsd [serve] [--config FILE]

Waits for Zoom's webhooks and receives every stream they announce. Transcripts
go to standard output, the log to standard error, files to RTMS_OUT. SIGTERM and
SIGINT end the server, a second one at once. SIGHUP reads the configuration
again.
";

pub(super) const DEMO: &str = "\
usage: rtmsd demo [--out DIR] [--meetings N] [--media LIST] [--product NAME]
                  [--events NAME]
       rtmsd demo --serve [--out DIR] [--meetings N] [--media LIST]
       rtmsd demo --chaos [--out DIR] [--meetings N]
       rtmsd demo --nodes N [--chaos] [--store URL] [--out DIR] [--meetings N]
       rtmsd demo --odd [--out DIR]
       rtmsd demo --setup

Plays meetings from a small Zoom on loopback to the real server, and ends by
itself. The exit code is 0 only if every step happened and the files contain
what was sent: every phrase, audio packet, frame, chat message and event once.

  --out DIR        where to write the files; default a temporary directory
  --meetings N     how many meetings, 1 to 1000
  --media LIST     any of transcript,audio,video,share,chat, or all; default
                   transcript
  --product NAME   meeting (the default), webinar, session, engagement or call;
                   or all of them
  --events NAME    by which way Zoom's events come: webhooks (the default), or
                   websocket, with no listening port at all
  --serve          meetings that go on until Ctrl-C, new ones as others end, and
                   the addresses of their pages for a browser
  --chaos          with lost connections, refusals, failovers, a killed server
  --nodes N        a fleet of 2 to 9 servers behind a load balancer; one of them
                   leaves while its meetings go on. With --chaos servers are
                   killed and stopped, and the store is lost
  --store URL      the fleet's store, as in RTMS_FLEET; without it one that the
                   demo plays
  --odd            what was observed of Zoom and is not in its documents, each
                   with what became of it; takes about 70 seconds
  --setup          a rehearsal of the guided first run (rtmsd setup) with this
                   Zoom: prints what to answer
";

pub(super) const CHECK: &str = "\
usage: rtmsd check [--config FILE] [--online] [--app NAME]
       rtmsd check [--config FILE] --live | --ready

Explains what each setting means on this machine, and lists every fault. It
changes nothing, and without --online it does not use the network.

  --online   also gets a token, calls Zoom's API, compares the clocks, looks
             whether the event WebSocket answers, and tries the fleet's store
  --app NAME only this app of RTMS_APPS; without it all of them
  --live     only asks the running server's admin listener whether it is alive
             (/healthz): the health check of a container. Exit code 0 or 69
  --ready    the same whether it takes new streams (/readyz)
";

pub(super) const SETUP: &str = "\
usage: rtmsd setup [--config FILE] [OPTIONS]

Asks for what cannot be known, writes it to FILE (default ./rtms.conf, mode
0600), runs authorize and check --online, starts the server, and waits for the
first event and the first phrase. At each step it says what it saw, and what to
do at Zoom if nothing comes. It can be left with Ctrl-C and taken up again.

  --events NAME      websocket or webhooks: by which way Zoom's events come
  --rest NAME        user, s2s or none: how tokens for REST calls are obtained
  --set KEY=VALUE    answers the question about a key, as in
                     ZOOM_CLIENT_ID=abc; again for each key. A secret better as
                     ZOOM_CLIENT_SECRET_FILE=/path, or in the environment
  --config FILE      the configuration
";

pub(super) const AUTHORIZE: &str = "\
usage: rtmsd authorize [--app NAME] [--config FILE]

Lets a user authorize the app (user OAuth): prints the address of Zoom's page,
waits for the person to come back to ZOOM_REDIRECT_URL, shows user, account and
scopes, and stores the refresh token in RTMS_STATE. A running server uses it at
once. The address of the page that opens may be pasted, too.

  --app NAME      the app of RTMS_APPS, if there are several
  --config FILE   the configuration
";

pub(super) const ACCOUNTS: &str = "\
usage: rtmsd accounts [--json] [--app NAME] [--config FILE]

Lists the users who have authorized the app (user OAuth): account, user, when
it was authorized and last used, whether it works, and the scopes; below a
grant that does not work, what to do. The running server is asked; without one,
RTMS_STATE is read and not changed. Times are in UTC.

  --json          print one line of JSON
  --app NAME      the app of RTMS_APPS, if there are several
  --config FILE   the configuration
";

pub(super) const CONTROL: &str = "\
usage: rtmsd start|stop|pause|resume MEETING_ID [OPTIONS]

Makes one REST call with the configured credentials. MEETING_ID is the meeting's
number; for other products, the id of the session, engagement or call.

  --account ID       with the grant of this account, where users of several have
                     authorized the app (rtmsd accounts)
  --participant ID   act for this participant (a Zoom user id)
  --product NAME     meeting (the default), webinar, session, engagement or call
  --json             print the result as one line of JSON
  --app NAME         the app of RTMS_APPS, if there are several
  --config FILE      the configuration
";

pub(super) const STATUS: &str = "\
usage: rtmsd status [--fleet] [--json] [--watch] [--app NAME] [--config FILE]

Asks the running server, at RTMS_ADMIN, for its streams and prints them.

  --fleet      the servers and streams of the fleet (RTMS_FLEET), as its store
               has them: works beside any server, and if none runs
  --json       print one line of JSON
  --watch      repeat every two seconds, until interrupted
  --app NAME   only the streams of this app of RTMS_APPS
";

pub(super) const PUSH: &str = "\
usage: rtmsd push test|pause|resume [NAME] [OPTIONS]
       rtmsd push replay NAME --from TIME|ID [--stream STREAM] [OPTIONS]
       rtmsd push secret

Is about the endpoints of RTMS_PUSH_URL, which is called default, and of
RTMS_PUSH_<NAME>_URL. All but test and secret are done by the running server.

  test     send one event of type push.test from this process, and say what came
           of it
  pause    send nothing until resume
  resume   go on where it was; also after an answer 410
  replay   send events again, with their ids, before newer ones
  secret   print a new secret for RTMS_PUSH_SECRET

  --from TIME|ID    the first event: 2026-11-24T14:13:10Z, or its id
  --stream STREAM   of this stream alone: its id, its key, or the first 6
                    characters or more of one
  --app NAME        the app of RTMS_APPS, if there are several
  --config FILE     the configuration
";

pub(super) const MERGE: &str = "\
usage: rtmsd merge FOLDER... --out FOLDER [--json]

Makes one folder of the epochs of a stream: of what the nodes of a fleet received
of it one after the other, each in a folder of its own. FOLDER is one of them, or
a folder that holds some; copy them together from the nodes first. Each phrase
stands once, in order; sound and pictures stay as they are, beside each other.
The folders that are read are not changed. They must be of one stream, and that
must be over. rtmsd mux reads the new folder like any other.

  --out FOLDER     the new folder; it must not exist, nor be below RTMS_OUT
  --json           prints what was merged as one JSON object
";

pub(super) const MUX: &str = "\
usage: rtmsd mux FOLDER [OPTIONS]

Makes one file of a recording, with the installed ffmpeg (4.4 or later): each
frame at its time, the audio of all speakers mixed, the transcript as subtitles.
FOLDER is the folder of a stream. The file starts when the stream started, as
transcript.vtt does; the picture is black while no camera is on. Without ffmpeg
the command prints the command line to run on another machine.

  --out FILE       the file; the default is recording.mp4 in FOLDER, or
                   recording.wav without video
  --format NAME    mp4, mkv or wav (audio alone); the default is the ending of
                   FILE
  --picture NAME   camera (the default if there is one), share, or both: the
                   shared screen with the camera in a corner
  --copy           keep the H.264 as received, without encoding: fast, but only
                   for one resolution, and gaps show the last frame
  --force          replace a file that exists
  --dry-run        print the command line and do nothing else; also --print
  --feed           write to standard output what the printed ffmpeg reads:
                   pictures and subtitles with their times, as Matroska
";

pub(super) const LIST: &str = "\
usage: rtmsd list [TEXT] [OPTIONS]

Shows what was recorded, the newest first: start in UTC, topic, number,
duration, speakers, words and folder. TEXT is part of a topic, of a speaker's
name, of the number or of an id; capitals do not matter. Reads RTMS_OUT itself;
a running server is not needed.

  --since SPAN     started within that time: 90m, 12h, 7d, 2w
  --speaker NAME   one whose name has this part has spoken
  -n N             shows at most N recordings; the default is 50
  --json           one JSON object a line, with the names of the files
  --app NAME       the app of RTMS_APPS, if there are several
  --config FILE    the configuration, which names RTMS_OUT
";

pub(super) const PRUNE: &str = "\
usage: rtmsd prune --dry-run|--now [--json] [--app NAME] [--config FILE]

Shows what the rules of RTMS_KEEP, RTMS_KEEP_AUDIO, RTMS_KEEP_VIDEO,
RTMS_DISK_MAX and RTMS_DISK_FREE_MIN would remove at this moment, and what is
kept though it should go; or has it removed. A running server does that by
itself, once a minute, and does it here too, asked at RTMS_ADMIN; if none runs,
this command does it.

  --dry-run       only show it: start in UTC, meeting, topic, what goes, size,
                  and by which rule
  --now           remove it
  --json          one JSON object a line
  --app NAME      the app of RTMS_APPS, if there are several
  --config FILE   the configuration
";

pub(super) const TAIL: &str = "\
usage: rtmsd tail [STREAM|MEETING] [OPTIONS]

Prints the last phrases that the running server has received, and with --follow
those that come: of every running stream, or of the one that is named. STREAM is
its key, its id, or the first 6 characters or more of one; MEETING is the number
or the UUID of a meeting, and means its newest stream. Asks the server at
RTMS_ADMIN.

  --follow, -f     print what comes, and wait for a server that restarts; ends
                   with the stream that is named
  -n N             the last N phrases, or all; the default is 10
  --json           print the lines of the journal, one JSON object each, of
                   every type; -n counts lines
  --app NAME       the app of RTMS_APPS; it is needed without a name, if there
                   are several
  --config FILE    the configuration
";

pub(super) const FORGET: &str = "\
usage: rtmsd forget --meeting UUID | --account ID [OPTIONS]
       rtmsd forget --user NAME|ID [--meeting UUID] [--with-mixed] [OPTIONS]

Deletes everything of a meeting or of an account: files in every output folder,
journals, state, and objects in the bucket; a stream that runs is ended first. A
user goes from the recordings of others: their lines are blanked in every format,
their own files are deleted. Case does not matter in names; an id that means
different people needs --meeting. A running server does the work, or the next one
completes it. The receipt is kept in RTMS_STATE.

  --meeting UUID   the meeting, session, engagement or call
  --account ID     every stream of this Zoom account
  --user NAME|ID   a participant, by the whole name or by an id
  --with-mixed     also deletes files with sound or pictures of several people
  --dry-run        prints who and what would go, and changes nothing
  --json           prints the receipt as JSON
  --app NAME       the app of RTMS_APPS, if there are several
  --config FILE    the configuration
";

pub(super) const LINK: &str = "\
usage: rtmsd link STREAM|MEETING [--for SPAN] [--files] [OPTIONS]
       rtmsd link --revoke-all [--config FILE]

Prints an address at which a browser shows the captions of one stream, for
people who have no token. It is read only, is for this stream alone, and ends
by itself; what is open then is closed. STREAM is a key, an id, or the first 6
characters or more of one; MEETING is the number or the UUID of a meeting, and
means its newest stream. The server at RTMS_ADMIN makes it; RTMS_ADMIN_URL is
how browsers reach that server.

  --for SPAN       how long it is good: 90m, 2h, 7d; the default is 2h, the
                   longest 7d
  --files          also its page, with the transcript, and its files
  --revoke-all     ends every link that was made
  --app NAME       of this app of RTMS_APPS; without it, it is looked for in all
  --config FILE    the configuration
";

pub(super) const TAP: &str = "\
usage: rtmsd tap STREAM audio [--speaker NAME|ID] [--format raw|wav] [OPTIONS]
       rtmsd tap STREAM video|share [OPTIONS]

Writes the sound or the pictures of a running stream to standard output while
they are received, for another program: samples of 16 bits, little-endian
(A-law is expanded), Opus as Ogg, G.722 as it is; H.264 with start codes, JPEG
or PNG one after the other. Holes in the sound become silence. STREAM is its
key, its id, or the first 6 characters or more of one. Asks the server at
RTMS_ADMIN, and waits for one that restarts; ends with the stream, or when
standard output is closed.

  --speaker NAME|ID   only this participant, where RTMS_AUDIO_STREAMS keeps
                      speakers apart
  --format raw|wav    wav puts the head of a WAV file in front of the samples;
                      the default is raw
  --app NAME          of this app of RTMS_APPS; without it, it is looked for in
                      all
  --config FILE       the configuration
";

pub(super) const PRINT: &str = "\
usage: rtmsd print conf|unit|socket|man|man-conf|schema|metrics
       rtmsd print completions SHELL

  conf          the annotated configuration, as in rtms.conf.example
  unit          a hardened systemd unit for this binary
  socket        a systemd socket, so that webhooks wait during a restart
  man           the manual page rtmsd(8)
  man-conf      the manual page rtms.conf(5)
  schema        the JSON Schema of a line of feed.jsonl, the journal of a stream
  metrics       name, type, labels and meaning of each metric, a Markdown table
  completions   completions for bash, zsh or fish
";

/// `rtmsd help`. The topics are the chapters of [`crate::manual`].
pub(super) const HELP: &str = "\
usage: rtmsd help [TOPIC]

Prints a chapter of the manual, or the usage text of a command. The topics:

  operating        install, systemd, secrets, reload, upgrade, watch, alerts
  containers       the image, compose, Kubernetes; static binaries
  fleet            several machines: store, load balancer, failures, upgrade
  connecting       webhooks or a WebSocket, without a public port; gaps
  media            audio, video, share, chat; the files; an MP4 in sync
  delivery         standard output, the JSON lines, what is guaranteed
  pages            status, captions and meetings in a browser
  recipes          small programs and settings that connect rtmsd to others
  troubleshooting  what each symptom means and what to do
  privacy          where data goes, and how consent works
  embedding        rtmsd as a Rust library
  tuning           every constant that was chosen by measurement
  upgrading        what stays compatible, and how to go back
  security         what is promised, how to report a vulnerability
  contributing     how to build, test and change rtmsd
";

/// The commands of this binary, in the order of the usage text.
pub fn commands() -> impl Iterator<Item = &'static str> {
    let is_there = |command: &&str| cfg!(feature = "demo") || *command != "demo";
    COMMANDS.into_iter().filter(is_there)
}

const COMMANDS: [&str; 22] = [
    "serve",
    "demo",
    "setup",
    "check",
    "authorize",
    "accounts",
    "start",
    "stop",
    "pause",
    "resume",
    "status",
    "tail",
    "tap",
    "link",
    "list",
    "prune",
    "forget",
    "push",
    "merge",
    "mux",
    "print",
    "help",
];

/// The usage text of a command.
pub fn usage(command: &str) -> Option<&'static str> {
    match command {
        "serve" => Some(SERVE),
        "demo" if cfg!(feature = "demo") => Some(DEMO),
        "check" => Some(CHECK),
        "setup" => Some(SETUP),
        "authorize" => Some(AUTHORIZE),
        "accounts" => Some(ACCOUNTS),
        "start" | "stop" | "pause" | "resume" => Some(CONTROL),
        "status" => Some(STATUS),
        "tail" => Some(TAIL),
        "tap" => Some(TAP),
        "link" => Some(LINK),
        "list" => Some(LIST),
        "prune" => Some(PRUNE),
        "forget" => Some(FORGET),
        "push" => Some(PUSH),
        "merge" => Some(MERGE),
        "mux" => Some(MUX),
        "print" => Some(PRINT),
        "help" => Some(HELP),
        _ => None,
    }
}
