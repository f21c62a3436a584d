//! Runs every script and every command that a node uses, on names of its own, which are removed afterwards.

use std::time::{Duration, Instant};

use crate::coordinator::fleet::call::{Boot, Call, Claimable, Member, Message, Reply, Routed, Row};
use crate::coordinator::fleet::record::StreamPhase;
use crate::daemon::fleet_store::direct::Direct;
use crate::daemon::fleet_store::{Command, Script};

/// A name for the fleet of a trial, which the ACL for this program covers.
pub(super) fn fleet() -> String {
    let mut bytes = [0; 4];
    // Two checks at the same time with the same name would disturb each other, no more.
    let _ = openssl::rand::rand_bytes(&mut bytes);
    format!("check-{:08x}", u32::from_be_bytes(bytes))
}

/// Runs them; the error is that of the store.
pub(super) fn run(direct: &mut Direct) -> Result<(), String> {
    let result = try_commands(direct).and_then(|()| try_all(direct));
    let removed = remove_trial(direct);
    result.and(removed)
}

/// Every command that scripts use, by itself: a script that may not run one does not say which.
fn try_commands(direct: &mut Direct) -> Result<(), String> {
    let names = direct.codec().names().clone();
    let (hash, set) = (names.meeting("check"), names.owned("check"));
    let (text, stream) = (names.stream("check"), names.queue("check"));
    let command = |verb, key: &[u8], args: &[&str]| {
        let args = args.iter().map(|arg| arg.as_bytes().to_vec());
        Command::plain(verb, vec![key.to_vec()], args.collect())
    };
    direct.commands(&[
        command("HSET", &hash, &["check", "1"]),
        command("HGET", &hash, &["check"]),
        command("HMGET", &hash, &["check"]),
        command("HGETALL", &hash, &[]),
        command("HDEL", &hash, &["check"]),
        command("SADD", &set, &["check"]),
        command("SCARD", &set, &[]),
        command("SMEMBERS", &set, &[]),
        command("SREM", &set, &["check"]),
        command("SET", &text, &["check"]),
        command("GET", &text, &[]),
        command("PEXPIRE", &text, &["60000"]),
        command("EXISTS", &text, &[]),
        command("XADD", &stream, &["*", "m", "check"]),
        command("XLEN", &stream, &[]),
        command("XRANGE", &stream, &["-", "+"]),
        command("XDEL", &stream, &["1-0"]),
    ])?;
    remove_trial(direct)
}

/// The life of a meeting: a row, a claim, a message, a hand-over, a token.
fn try_all(direct: &mut Direct) -> Result<(), String> {
    let me = direct.codec().me().clone();
    let meeting = "check".to_owned();
    let mut call = |call: &Call, is_right: fn(&Reply) -> bool| {
        let commands = direct.codec().encode(call);
        let sent = Instant::now();
        // The error of the store itself says more than a failed call.
        let values = direct.commands(&commands)?;
        let reply = direct.codec().decode(call, sent, &values);
        match is_right(&reply) {
            true => Ok(()),
            false => Err(format!("a script does not do what it should: {reply:?}")),
        }
    };
    let row = Row {
        boot: me.boot,
        seq: 1,
        layout: 1,
        version: String::new(),
        must: String::new(),
        streams: 0,
        capacity: 1,
        is_draining: false,
        admin: String::new(),
        since_ms: 0,
        events: None,
    };
    let beat = Call::Beat {
        row,
        previous: None,
    };
    call(&beat, |reply| matches!(reply, Reply::Beat { .. }))?;
    let claim = Call::Claim {
        meeting: meeting.clone(),
        expected: None,
        to: me.clone(),
        when: Claimable::Free,
        messages: Vec::new(),
    };
    call(&claim, |reply| matches!(reply, Reply::Claimed { .. }))?;
    let publish = Call::Publish {
        meeting: meeting.clone(),
        epoch: 1,
        previous: None,
        streams: vec![("check".to_owned(), StreamPhase::Joining)],
        is_over: false,
        entry: Some(b"check".to_vec()),
    };
    call(&publish, |reply| matches!(reply, Reply::Ok { .. }))?;
    let route = Call::Route {
        meeting: meeting.clone(),
        expected: Some(me.node.clone()),
        dead_after: Duration::from_secs(5),
        message: Message::Event(b"check".to_vec()),
    };
    call(&route, |reply| matches!(reply, Reply::Routed(Routed::Mine)))?;
    let send = Call::Send {
        node: me.node.clone(),
        message: Message::Event(b"check".to_vec()),
    };
    call(&send, |reply| {
        matches!(reply, Reply::Sent { has_room: true })
    })?;
    let read = Call::ReadQueue {
        node: me.node.clone(),
    };
    call(&read, |reply| matches!(reply, Reply::Queue(_)))?;
    let find = Call::Find {
        stream_id: "check".to_owned(),
    };
    call(&find, |reply| matches!(reply, Reply::Found { .. }))?;
    let owned = Call::Owned {
        node: me.node.clone(),
    };
    call(&owned, |reply| matches!(reply, Reply::Meetings(_)))?;
    let hand = Call::Hand {
        meeting,
        epoch: 1,
        heir: Member {
            node: "heir".to_owned(),
            boot: Boot(0),
        },
        entry: b"check".to_vec(),
        tails: vec![("check".to_owned(), vec![0; 8])],
    };
    call(&hand, |reply| {
        matches!(reply, Reply::Ok { .. } | Reply::QueueFull)
    })?;
    let names = direct.codec().names().clone();
    let bytes = |text: &str| text.as_bytes().to_vec();
    direct.commands(&[
        Command::script(
            Script::Grant,
            vec![names.grant("check")],
            vec![bytes("read"), bytes("0")],
        ),
        direct.codec().read_messages("0"),
    ])?;
    let to_delete = direct.codec().read_to_delete();
    let tail = vec![0; 8];
    let tails = direct.codec().tails([("check", &tail)].into_iter(), true);
    direct.commands(&tails)?;
    direct.commands(&[to_delete])?;
    Ok(())
}

fn remove_trial(direct: &mut Direct) -> Result<(), String> {
    let names = direct.codec().names().clone();
    let mut keys = vec![
        names.fleet(),
        names.nodes(),
        names.meeting("check"),
        names.stream("check"),
        names.grant("check"),
    ];
    for node in ["check", "heir"] {
        keys.extend([
            names.owned(node),
            names.tails(node),
            names.queue(node),
            names.to_delete(node),
        ]);
    }
    direct.commands(&[Command::plain("DEL", keys, vec![])])?;
    Ok(())
}
