//! The threads of the fleet's store, with a real `redis-server` and with peers that misbehave.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rtmsd::coordinator::fleet::call::{
    Boot, Call, Claimable, Member, Message, Queued, Reply, Routed, Row,
};
use rtmsd::coordinator::fleet::record::StreamPhase;
use rtmsd::daemon::fleet_store::direct::Direct;
use rtmsd::daemon::fleet_store::facts::{ACL, Facts};
use rtmsd::daemon::fleet_store::inbox::Inbox;
use rtmsd::daemon::fleet_store::store::{Limits, News, Reach, Store};
use rtmsd::daemon::fleet_store::{Codec, Command, Value};
use rtmsd::domain::fleet::StoreAddress;
use rtmsd::net::resolve::Resolver;
use rtmsd::net::tls_client::TlsClient;

use crate::harness::certificates::signed_files;
use crate::harness::redis::Redis;
use crate::harness::{PATIENCE, TempDir, free_port, wait_until};

pub(crate) fn reach(address: &str, ca_file: Option<&Path>) -> Reach {
    let address = StoreAddress::parse(address).expect("an address");
    Reach {
        address: Arc::new(address),
        resolver: Resolver::default(),
        tls: TlsClient::new(ca_file).expect("certificates"),
        seed: 1,
    }
}

/// Shorter than the three seconds that opening a connection may take.
const LONG: Duration = Duration::from_millis(2_500);

fn reach_of(redis: &Redis) -> Reach {
    reach(&format!("unix://{}", redis.socket().display()), None)
}

fn member(node: &str) -> Member {
    Member {
        node: node.to_owned(),
        boot: Boot(u64::from(node.as_bytes()[0])),
    }
}

fn codec(node: &str) -> Codec {
    Codec::new("client", "client secret", "default", member(node))
}

/// A node's connection to the store, and what it has said.
struct Node {
    store: Store,
    news: Receiver<News>,
    asked: u64,
    /// What was said besides replies.
    said: Vec<News>,
}

impl Node {
    /// One that has all the time that a busy machine may need.
    fn start(reach: &Reach, node: &str) -> Node {
        let limits = Limits {
            beat: PATIENCE,
            call: PATIENCE,
        };
        Node::start_within(limits, reach, node)
    }

    /// One with the limits of a server.
    fn in_a_hurry(reach: &Reach, node: &str) -> Node {
        Node::start_within(Limits::default(), reach, node)
    }

    fn start_within(limits: Limits, reach: &Reach, node: &str) -> Node {
        let (sender, news) = channel();
        let sender = Mutex::new(sender);
        let on_news = Box::new(move |news| {
            let _ = sender.lock().expect("no panic before").send(news);
        });
        Node {
            store: Store::start_within(limits, reach, codec(node), on_news).expect("a thread"),
            news,
            asked: 0,
            said: Vec::new(),
        }
    }

    /// One that has its connection.
    fn up(redis: &Redis, node: &str) -> Node {
        let mut node = Node::start(&reach_of(redis), node);
        node.wait_for_up();
        node
    }

    fn send(&mut self, call: Call) -> u64 {
        self.asked += 1;
        assert!(self.store.ask(self.asked, call), "the queue has room");
        self.asked
    }

    fn next(&mut self) -> News {
        self.news.recv_timeout(PATIENCE).expect("news in time")
    }

    fn reply(&mut self, wanted: u64) -> Reply {
        loop {
            match self.next() {
                News::Reply(id, reply) if id == wanted => return reply,
                News::Reply(..) => {}
                other => self.said.push(other),
            }
        }
    }

    fn ask(&mut self, call: Call) -> Reply {
        let id = self.send(call);
        self.reply(id)
    }

    fn beat(&mut self, seq: u64) -> Call {
        let row = Row {
            boot: member("a").boot,
            seq,
            layout: 1,
            version: "0.2.0".to_owned(),
            must: String::new(),
            streams: 0,
            capacity: 700,
            is_draining: false,
            admin: String::new(),
            since_ms: 0,
            events: None,
        };
        Call::Beat {
            row,
            previous: None,
        }
    }

    fn wait_for_up(&mut self) -> Facts {
        loop {
            if let News::Up(facts) = self.next() {
                return facts;
            }
        }
    }

    fn wait_for_down(&mut self) -> String {
        loop {
            if let News::Down(why) = self.next() {
                return why;
            }
        }
    }

    /// Asks until the store has answered.
    fn wait_until_answered(&mut self) {
        wait_until("the store answers again", || {
            self.ask(owned()) == Reply::Meetings(Vec::new())
        });
    }
}

fn owned() -> Call {
    Call::Owned {
        node: "unknown".to_owned(),
    }
}

fn publish(meeting: &str) -> Call {
    Call::Publish {
        meeting: meeting.to_owned(),
        epoch: 0,
        previous: None,
        streams: vec![("s".to_owned(), StreamPhase::Receiving)],
        is_over: false,
        entry: Some(b"entry".to_vec()),
    }
}

fn event(n: usize) -> Message {
    Message::Event(format!("{{\"n\":{n}}}").into_bytes())
}

fn send(node: &str, message: Message) -> Call {
    Call::Send {
        node: node.to_owned(),
        message,
    }
}

#[test]
fn calls_are_answered_in_any_number() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let mut a = Node::start(&reach_of(&redis), "a");
    let facts = a.wait_for_up();
    assert_eq!(
        (facts.name.as_str(), facts.is_replica),
        (redis.product, false)
    );
    let before = Instant::now();
    let beat = a.beat(1);
    let Reply::Beat { sent, rows, .. } = a.ask(beat) else {
        panic!("no beat");
    };
    assert!(sent >= before && sent <= Instant::now());
    assert_eq!(rows.len(), 1);
    // More than one write takes.
    let ids: Vec<u64> = (0..300).map(|n| a.send(publish(&n.to_string()))).collect();
    let last = *ids.last().expect("some");
    let (mut replies, mut seen) = (0, Vec::new());
    while seen.last() != Some(&last) {
        if let News::Reply(id, reply) = a.next() {
            assert_eq!(reply, Reply::Ok { epoch: 1 }, "{id}");
            replies += 1;
            seen.push(id);
        }
    }
    assert_eq!((replies, &seen), (300, &ids), "each once, in their order");
    let stream_id = "s".to_owned();
    let found = a.ask(Call::Find { stream_id });
    assert_eq!(
        found,
        Reply::Found {
            meeting: Some("299".to_owned())
        }
    );
}

/// What was asked before the end is still sent.
#[test]
fn the_end_is_in_order() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let mut a = Node::up(&redis, "a");
    let ids: Vec<u64> = (0..200).map(|n| a.send(publish(&n.to_string()))).collect();
    drop(a.store);
    let replies = a
        .news
        .iter()
        .filter(|news| matches!(news, News::Reply(_, Reply::Ok { .. })));
    assert_eq!(replies.count(), ids.len());
}

/// Calls fail while it sleeps, and neither wait for its end nor get the replies of others after it.
#[test]
fn a_store_that_stops_for_two_seconds_fails_calls_in_time() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let mut a = Node::in_a_hurry(&reach_of(&redis), "a");
    a.wait_for_up();
    let mut client = redis.client();
    client.send(&["DEBUG", "SLEEP", "2"]);
    let awake = std::thread::spawn(move || {
        client.reply();
        Instant::now()
    });
    wait_until("it sleeps", || a.ask(owned()) == Reply::Failed);
    let beat = a.beat(1);
    let ids = [a.send(beat), a.send(publish("m"))];
    let mut failed = Vec::new();
    while failed.len() < ids.len() {
        match a.next() {
            News::Reply(id, reply) => failed.push((id, reply)),
            other => a.said.push(other),
        }
    }
    failed.sort_unstable_by_key(|(id, _)| *id);
    assert_eq!(failed, ids.map(|id| (id, Reply::Failed)));
    let failed = Instant::now();
    assert!(
        failed < awake.join().expect("no panic"),
        "they waited for the sleeper"
    );
    a.wait_until_answered();
    assert!(
        a.said.iter().any(|news| matches!(news, News::Up(_))),
        "{:?}",
        a.said
    );
}

#[test]
fn removed_scripts_are_loaded_again() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let mut a = Node::up(&redis, "a");
    assert_eq!(a.ask(publish("m")), Reply::Ok { epoch: 1 });
    redis.client().line("SCRIPT FLUSH");
    let ids = [publish("m"), owned(), publish("n")].map(|call| a.send(call));
    let replies = ids.map(|_| match a.next() {
        News::Reply(id, reply) => (id, reply),
        other => panic!("{other:?}"),
    });
    for (id, reply) in replies {
        let expected = match id == ids[1] {
            true => Reply::Meetings(Vec::new()),
            false => Reply::Ok { epoch: 1 },
        };
        assert_eq!(reply, expected, "{id}");
    }
    assert_eq!(
        a.store
            .counters()
            .lost
            .load(std::sync::atomic::Ordering::Relaxed),
        0
    );
}

#[test]
fn a_store_that_is_killed_is_found_again() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let mut a = Node::up(&redis, "a");
    let era = |reply| match reply {
        Reply::Beat { era, .. } => era,
        other => panic!("{other:?}"),
    };
    let beat = a.beat(1);
    let first = era(a.ask(beat));
    redis.kill();
    assert_eq!(a.ask(owned()), Reply::Failed);
    assert_ne!(a.wait_for_down(), "");
    redis.run();
    a.wait_for_up();
    let beat = a.beat(2);
    assert_ne!(era(a.ask(beat)), first, "an empty store is another");
}

/// Accepts and says nothing: every wait has its end, and the end of the thread waits for none.
#[test]
fn a_silent_store_holds_no_caller() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    for scheme in ["redis", "rediss"] {
        let mut a = Node::in_a_hurry(&reach(&format!("{scheme}://{address}"), None), "a");
        let asked = Instant::now();
        assert_eq!(a.ask(owned()), Reply::Failed);
        let took = asked.elapsed();
        assert!(
            took >= Duration::from_millis(450),
            "it waits for the connection: {took:?}"
        );
        // It is not told why there is no connection: that is not known yet.
        assert_eq!(a.said, []);
        let ended = Instant::now();
        drop(a);
        assert!(ended.elapsed() < LONG, "{:?}", ended.elapsed());
    }
    let mut a = Node::start(&reach(&format!("rediss://{address}"), None), "a");
    assert_eq!(a.wait_for_down(), "TLS: no answer in time");
}

#[test]
fn a_name_that_never_resolves_holds_no_caller() {
    let (release, hold) = channel::<()>();
    let hold = Mutex::new(hold);
    let resolver = Resolver::new(Box::new(move |_| {
        let _ = hold.lock().expect("no panic").recv_timeout(PATIENCE);
        Err("too late".to_owned())
    }));
    let mut reach = reach("redis://hung.test", None);
    reach.resolver = resolver;
    let mut a = Node::in_a_hurry(&reach, "a");
    assert_eq!(a.ask(owned()), Reply::Failed);
    assert_eq!(a.wait_for_down(), "name look-up: no answer in time");
    let ended = Instant::now();
    drop(a);
    assert!(ended.elapsed() < LONG, "{:?}", ended.elapsed());
    drop(release);
}

#[test]
fn what_is_no_store_is_left() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("a connection");
        let mut bytes = [0; 64];
        let _ = socket.read(&mut bytes);
        let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let mut a = Node::start(&reach(&format!("redis://{address}"), None), "a");
    assert_eq!(a.wait_for_down(), "it does not speak RESP2");
    server.join().expect("no panic");
}

#[test]
fn a_full_queue_refuses() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let (release, hold) = channel::<()>();
    let release = Mutex::new(Some(release));
    let (sender, replies) = channel();
    let (sender, hold) = (Mutex::new(sender), Mutex::new(hold));
    // What takes the news does not return, so the thread takes no calls.
    let on_news = Box::new(move |news| {
        let _ = sender.lock().expect("no panic").send(news);
        let _ = hold.lock().expect("no panic").recv_timeout(PATIENCE);
    });
    let reach = reach(&format!("redis://{address}"), None);
    let store = Store::start(&reach, codec("a"), on_news).expect("a thread");
    assert!(store.ask(0, owned()));
    let first = replies.recv_timeout(PATIENCE).expect("a reply");
    assert_eq!(first, News::Reply(0, Reply::Failed));
    let taken = (1..2000).filter(|id| store.ask(*id, owned())).count();
    assert_eq!(taken, 1024);
    let full = &store.counters().full;
    assert_eq!(full.load(std::sync::atomic::Ordering::Relaxed), 1999 - 1024);
    // Each that was taken is answered.
    release.lock().expect("no panic").take();
    drop(store);
    assert_eq!(
        replies
            .iter()
            .filter(|news| matches!(news, News::Reply(..)))
            .count(),
        1024
    );
}

#[test]
fn a_store_without_memory_refuses_and_is_not_left() {
    let Some(redis) = Redis::start(&["--maxmemory-policy", "noeviction"]) else {
        return;
    };
    let mut a = Node::up(&redis, "a");
    let mut client = redis.client();
    client.line("CONFIG SET maxmemory 1");
    assert_eq!(a.ask(publish("m")), Reply::Failed);
    let refused = |news: &News| matches!(news, News::Refused(why) if why.starts_with("OOM"));
    assert!(a.said.iter().any(refused), "{:?}", a.said);
    assert_eq!(a.ask(owned()), Reply::Meetings(Vec::new()), "reading works");
    client.line("CONFIG SET maxmemory 0");
    assert_eq!(a.ask(publish("m")), Reply::Ok { epoch: 1 });
    let counters = a.store.counters();
    assert_eq!(
        counters.opened.load(std::sync::atomic::Ordering::Relaxed),
        1
    );
}

#[test]
fn a_server_that_becomes_a_replica_is_left() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let mut a = Node::up(&redis, "a");
    assert_eq!(a.ask(publish("m")), Reply::Ok { epoch: 1 });
    let mut client = redis.client();
    client.line(&format!("REPLICAOF 127.0.0.1 {}", free_port()));
    assert_eq!(a.ask(publish("m")), Reply::Failed);
    let left = a.wait_for_down();
    assert!(left.starts_with("READONLY "), "{left}");
    let refused = a.wait_for_down();
    assert!(refused.contains("is a replica"), "{refused}");
    client.line("REPLICAOF NO ONE");
    a.wait_for_up();
    assert_eq!(a.ask(publish("m")), Reply::Ok { epoch: 1 });
}

#[test]
fn a_store_that_is_too_old_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("a connection");
        let info = "# Server\r\nredis_version:6.0.16\r\n";
        let info = format!("${}\r\n{info}\r\n", info.len());
        for (command, reply) in [("PING", "+PONG\r\n"), ("INFO", &info)] {
            let mut bytes = vec![0; format!("*1\r\n$4\r\n{command}\r\n").len()];
            socket.read_exact(&mut bytes).expect("a command");
            assert!(String::from_utf8_lossy(&bytes).contains(command));
            socket.write_all(reply.as_bytes()).expect("a client");
        }
    });
    let mut a = Node::start(&reach(&format!("redis://{address}"), None), "a");
    let why = a.wait_for_down();
    assert_eq!(why, "redis 6.0.16 is too old");
    let explained = "redis 6.0.16 is too old; Redis 6.2 or later, or Valkey, is needed";
    assert_eq!(
        rtmsd::daemon::fleet_store::advice::explained(&why),
        explained
    );
    server.join().expect("no panic");
}

/// Every call, and the inbox, by a user who may do nothing else.
#[test]
fn the_acl_user_of_the_manual_is_enough() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let mut client = redis.client();
    let made = client.line(&format!("ACL SETUSER rtmsd on >sesame {ACL}"));
    assert_eq!(made, Value::text("OK"));
    client.line("CONFIG SET requirepass hidden");
    let address = |password: &str| {
        let mut address: StoreAddress = (*reach_of(&redis).address).clone();
        address.user = Some("rtmsd".to_owned());
        address.password = Some(rtmsd::Secret::new(password));
        address
    };
    let mut reach = reach_of(&redis);
    reach.address = Arc::new(address("wrong"));
    let mut a = Node::start(&reach, "a");
    let why = a.wait_for_down();
    assert!(
        why.starts_with("WRONGPASS") && !why.contains("wrong "),
        "{why}"
    );
    drop(a);
    reach.address = Arc::new(address("sesame"));
    let mut a = Node::start(&reach, "a");
    a.wait_for_up();
    let meeting = || "m".to_owned();
    let discard = Message::Discard {
        stream_id: "s".to_owned(),
        withdrawal: Vec::new(),
    };
    let beat = a.beat(1);
    let calls = [
        beat,
        publish("m"),
        Call::Find {
            stream_id: "s".to_owned(),
        },
        Call::Read { meeting: meeting() },
        Call::Route {
            meeting: meeting(),
            expected: None,
            dead_after: Duration::from_secs(5),
            message: event(1),
        },
        send("a", discard),
        send("a", event(2)),
        Call::Claim {
            meeting: "n".to_owned(),
            expected: None,
            to: member("b"),
            when: Claimable::Free,
            messages: vec![event(1)],
        },
        Call::Hand {
            meeting: meeting(),
            epoch: 1,
            heir: member("b"),
            entry: Vec::new(),
            tails: vec![("s".to_owned(), vec![1; 16])],
        },
        Call::Owned {
            node: "a".to_owned(),
        },
        Call::ReadQueue {
            node: "a".to_owned(),
        },
        Call::Remove {
            node: "a".to_owned(),
            ids: vec!["1-1 s".to_owned()],
        },
        Call::RemoveRow {
            node: "a".to_owned(),
            boot: member("a").boot,
        },
    ];
    for call in calls {
        let reply = a.ask(call.clone());
        assert_ne!(reply, Reply::Failed, "{call:?}: {:?}", a.said);
    }
    a.store.set_tail("s", vec![1; 16]);
    let tails = String::from_utf8(codec("a").names().tails("a")).expect("UTF-8");
    client.line("AUTH hidden");
    wait_until("the tail is there", || {
        client.line(&format!("HLEN {tails}")) == Value::Int(1)
    });
    let queue = Queue::start(&reach, "a");
    assert_eq!(queue.take().len(), 2);
    assert!(
        !a.said.iter().any(|news| matches!(news, News::Refused(_))),
        "{:?}",
        a.said
    );
    // Keys of other programs are not for it.
    let mut direct = Direct::open(&reach, codec("a")).expect("a connection");
    let foreign = Command::plain("GET", vec![b"foreign".to_vec()], vec![]);
    let refused = direct.commands(&[foreign]).expect_err("no right");
    assert!(refused.starts_with("NOPERM"), "{refused}");
}

#[test]
fn tls_with_an_authority_of_one_s_own() {
    let folder = TempDir::new();
    let (files, ca_file) = signed_files(folder.path(), "127.0.0.1");
    let port = free_port().to_string();
    let (cert, key) = (files.cert.to_string_lossy(), files.key.to_string_lossy());
    let options = [
        "--tls-port",
        &port,
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key,
        "--tls-auth-clients",
        "no",
        "--tls-ca-cert-file",
        &ca_file.to_string_lossy(),
    ];
    let Some(_redis) = Redis::start(&options) else {
        return;
    };
    let address = format!("rediss://127.0.0.1:{port}/3");
    let mut a = Node::start(&reach(&address, Some(&ca_file)), "a");
    a.wait_for_up();
    assert_eq!(a.ask(publish("m")), Reply::Ok { epoch: 1 });
    let mut direct = Direct::open(&reach(&address, Some(&ca_file)), codec("b")).expect("open");
    let route = Call::Route {
        meeting: "m".to_owned(),
        expected: None,
        dead_after: Duration::from_secs(5),
        message: event(1),
    };
    let moved = Routed::Moved {
        owner: "a".to_owned(),
    };
    assert_eq!(direct.call(&route), Ok(Reply::Routed(moved)));
    // Without the authority, no peer is believed.
    let mut b = Node::start(&reach(&address, None), "b");
    let why = b.wait_for_down();
    assert!(why.starts_with("TLS: "), "{why}");
}

/// An inbox, and what it has handed on.
struct Queue {
    inbox: Inbox,
    messages: Receiver<Vec<Queued>>,
}

impl Queue {
    fn start(reach: &Reach, node: &str) -> Queue {
        let (sender, messages) = channel();
        let sender = Mutex::new(sender);
        let on_messages = Box::new(move |messages| {
            let _ = sender.lock().expect("no panic").send(messages);
        });
        let inbox = Inbox::start(reach, codec(node), on_messages).expect("a thread");
        Queue { inbox, messages }
    }

    fn take(&self) -> Vec<Queued> {
        self.messages
            .recv_timeout(PATIENCE)
            .expect("messages in time")
    }
}

#[test]
fn messages_come_once_and_no_faster_than_they_are_taken() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let mut b = Node::up(&redis, "b");
    for n in 0..100 {
        b.send(send("a", event(n)));
    }
    let last = b.send(send("a", event(100)));
    assert_eq!(b.reply(last), Reply::Sent { has_room: true });
    let queue = Queue::start(&reach_of(&redis), "a");
    let mut all = queue.take();
    assert_eq!(all.len(), 64);
    // The rest stays in the store until there is room.
    assert!(
        queue
            .messages
            .recv_timeout(Duration::from_millis(50))
            .is_err()
    );
    queue.inbox.go_on();
    all.extend(queue.take());
    let messages: Vec<_> = all.iter().map(|queued| queued.message.clone()).collect();
    let expected: Vec<_> = (0..=100).map(|n| Some(event(n))).collect();
    assert_eq!(messages, expected);
    // Removed by the other thread, after they were saved. The next comes at once, and alone, also after the
    // connection was lost: what was not removed is in the store, and was handed on.
    let ids = all[..90].iter().map(|queued| queued.id.clone()).collect();
    let node = "a".to_owned();
    assert_eq!(b.ask(Call::Remove { node, ids }), Reply::Done);
    redis.client().line("CLIENT KILL TYPE normal SKIPME yes");
    queue.inbox.go_on();
    wait_until("there is a connection again", || {
        b.ask(send("a", event(101))) == Reply::Sent { has_room: true }
    });
    let next: Vec<_> = queue
        .take()
        .into_iter()
        .map(|queued| queued.message)
        .collect();
    assert_eq!(next, [Some(event(101))]);
    // A new process gets what was not removed.
    drop(queue);
    let queue = Queue::start(&reach_of(&redis), "a");
    assert_eq!(queue.take().len(), 12);
}

#[test]
fn a_message_wakes_the_inbox_and_the_end_does_not_wait() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let mut b = Node::up(&redis, "b");
    let queue = Queue::start(&reach_of(&redis), "a");
    let mut client = redis.client();
    wait_until("it waits", || {
        let list = client.line("INFO clients");
        list.str()
            .is_some_and(|info| info.contains("blocked_clients:1"))
    });
    // If each had to wait for the next read, five would take five seconds.
    let sent = Instant::now();
    for n in 0..5 {
        b.ask(send("a", event(n)));
        assert_eq!(queue.take().len(), 1);
        queue.inbox.go_on();
    }
    assert!(
        sent.elapsed() < Duration::from_secs(3),
        "{:?}",
        sent.elapsed()
    );
    let ended = Instant::now();
    drop(queue);
    assert!(ended.elapsed() < LONG, "{:?}", ended.elapsed());
}

/// What a node must delete is read first, and again after a restart until it is done.
#[test]
fn a_node_that_was_away_hears_what_to_delete() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let mut b = Node::up(&redis, "b");
    let discard = Message::Discard {
        stream_id: "s".to_owned(),
        withdrawal: b"{}".to_vec(),
    };
    b.ask(send("a", discard.clone()));
    // Its queue has gone in the meantime.
    let queue = String::from_utf8(codec("a").names().queue("a")).expect("UTF-8");
    redis.client().line(&format!("DEL {queue}"));
    let queue = Queue::start(&reach_of(&redis), "a");
    let listed = queue.take();
    assert_eq!(listed[0].message, Some(discard));
    let ids = vec![listed[0].id.clone()];
    let node = "a".to_owned();
    assert_eq!(b.ask(Call::Remove { node, ids }), Reply::Done);
    b.ask(send("a", event(1)));
    drop(queue);
    let queue = Queue::start(&reach_of(&redis), "a");
    assert_eq!(queue.take()[0].message, Some(event(1)));
}

#[test]
fn tails_are_sent_and_go_with_their_streams() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let mut client = redis.client();
    let key = String::from_utf8(codec("a").names().tails("a")).expect("UTF-8");
    // Of an earlier process of this name.
    client.line(&format!("HSET {key} old 1"));
    let mut a = Node::up(&redis, "a");
    for n in 0..50 {
        a.store.set_tail(&format!("s {n}"), vec![n; 264]);
    }
    let mut count = move |n| {
        wait_until(&format!("{n} tails"), || {
            client.line(&format!("HLEN {key}")) == Value::Int(n)
        });
    };
    count(50);
    a.store.set_tail("another", vec![1; 16]);
    a.store.drop_tail("s 7");
    a.store.drop_tail("s 8");
    count(49);
    // A restarted store has them again; the loss shows when something is asked, as a beat is every second.
    redis.kill();
    redis.run();
    a.wait_until_answered();
    let mut client = redis.client();
    let key = String::from_utf8(codec("a").names().tails("a")).expect("UTF-8");
    wait_until("49 tails", || {
        client.line(&format!("HLEN {key}")) == Value::Int(49)
    });
}

/// The store of the demo, by the same threads.
#[test]
fn the_demo_s_store_serves_a_node() {
    let clock = || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(0, |now| now.as_millis() as u64)
    };
    let server = rtmsd::demo::fleet_store::Server::start(Box::new(clock)).expect("a port");
    let reach = reach(&server.url(), None);
    let mut b = Node::start(&reach, "b");
    assert_eq!(b.wait_for_up().findings(), []);
    let queue = Queue::start(&reach, "a");
    assert_eq!(b.ask(publish("m")), Reply::Ok { epoch: 1 });
    let sent = Instant::now();
    for n in 0..5 {
        b.ask(send("a", event(n)));
        assert_eq!(queue.take()[0].message, Some(event(n)));
        queue.inbox.go_on();
    }
    assert!(
        sent.elapsed() < Duration::from_secs(3),
        "{:?}",
        sent.elapsed()
    );
    let mut hurried = Node::in_a_hurry(&reach, "c");
    hurried.wait_for_up();
    server.stall(true);
    assert_eq!(hurried.ask(publish("n")), Reply::Failed);
    server.stall(false);
    hurried.wait_until_answered();
    server.clear();
    assert_eq!(
        b.ask(publish("m")),
        Reply::Ok { epoch: 1 },
        "scripts are loaded again"
    );
    let ended = Instant::now();
    drop(server);
    assert!(ended.elapsed() < LONG, "{:?}", ended.elapsed());
    assert_eq!(b.ask(owned()), Reply::Failed);
    drop(queue);
}
