//! Clients and proxies by others, for `.ci/partners`: httpx-sse, directly and through nginx and Caddy as
//! the manual sets them up, while the server is killed and started again.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use rtmsd::demo::End;

use super::{is_ended, key, written};
use crate::harness::{
    Harness, KilledOnDrop, TempDir, open, report, wait_until, wait_until_more, wait_until_over,
    wait_until_streaming,
};

const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/partners/sse_client.py");
const DELIVERY: &str = include_str!("../../../src/manual/delivery.md");

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound")
}

/// A block of the manual that begins so, for these addresses.
fn block(begin: &str, admin: SocketAddr) -> String {
    let mut blocks = DELIVERY.split("```");
    let block = blocks.find(|block| block.contains(begin)).expect("a block");
    let (_, block) = block.split_once('\n').expect("a language");
    assert!(block.contains("127.0.0.1:9464"));
    block.replace("127.0.0.1:9464", &admin.to_string())
}

fn listening(mut command: Command, address: SocketAddr) -> KilledOnDrop {
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let child = KilledOnDrop(child.expect("it starts"));
    wait_until("the proxy listens", || TcpStream::connect(address).is_ok());
    child
}

pub(crate) fn nginx(program: &str, folder: &Path, admin: SocketAddr) -> (KilledOnDrop, SocketAddr) {
    let (address, folder) = (free_address(), folder.display());
    let locations = block("# nginx", admin);
    let text = format!(
        "daemon off; master_process off; pid {folder}/pid; error_log {folder}/errors;\nevents {{}}\nhttp {{\n\
         access_log off; client_body_temp_path {folder}/a; proxy_temp_path {folder}/b;\n\
         fastcgi_temp_path {folder}/c; uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;\n\
         server {{ listen {address};\n{locations}\n}}\n}}\n"
    );
    let config = format!("{folder}/nginx.conf");
    fs::write(&config, text).expect("a file");
    let mut command = Command::new(program);
    command.args(["-e", &format!("{folder}/errors"), "-c", &config]);
    (listening(command, address), address)
}

fn caddy(program: &str, folder: &Path, admin: SocketAddr) -> (KilledOnDrop, SocketAddr) {
    let address = free_address();
    let site = block("# Caddyfile", admin);
    let site = site.replace("ops.example.com", &format!("http://{address}"));
    let config = folder.join("Caddyfile");
    fs::write(&config, format!("{{\n\tadmin off\n}}\n{site}")).expect("a file");
    let mut command = Command::new(program);
    command
        .env("HOME", folder)
        .args(["run", "--adapter", "caddyfile", "--config"]);
    command.arg(config);
    (listening(command, address), address)
}

#[test]
#[ignore = "needs httpx-sse, nginx and Caddy: .ci/partners"]
fn s5_httpx_sse_gets_each_event_once_also_through_proxies_and_over_a_kill() {
    let tool = |key: &str| std::env::var(key).ok().filter(|path| !path.is_empty());
    let Some(python) = tool("RTMSD_LIVE_PYTHON") else {
        return report("skipped: set RTMSD_LIVE_PYTHON to a Python with httpx-sse");
    };
    let folder = TempDir::new();
    let admin = free_address();
    let mut harness = Harness::with_admin(&[
        ("RTMS_ADMIN", &admin.to_string()),
        ("RTMS_ADMIN_URL", "http://localhost/rtms"),
    ]);
    let meeting = harness.zoom.start_meeting(open("live-partners"));
    wait_until_streaming(&meeting);
    let key = key(&harness, &meeting);
    let mut targets = vec![format!("http://{admin}/events")];
    let mut proxies = Vec::new();
    for (name, start) in [
        (
            "RTMSD_NGINX",
            nginx as fn(&str, &Path, SocketAddr) -> (KilledOnDrop, SocketAddr),
        ),
        ("RTMSD_CADDY", caddy),
    ] {
        let Some(program) = tool(name) else {
            report(&format!("skipped: set {name}"));
            continue;
        };
        let own = folder.join(name);
        fs::create_dir(&own).expect("a folder");
        let (proxy, address) = start(&program, &own, admin);
        proxies.push(proxy);
        targets.push(format!("http://{address}/rtms/events"));
        let metrics = format!("http://{address}/rtms/metrics");
        let status = Command::new(&python)
            .args([
                "-c",
                "import httpx,sys; print(httpx.get(sys.argv[1], trust_env=False).status_code)",
            ])
            .arg(metrics)
            .output()
            .expect("Python");
        assert_eq!(
            String::from_utf8_lossy(&status.stdout).trim(),
            "404",
            "{name}"
        );
    }
    let token = super::bearer(&harness);
    let token = token.trim_start_matches("Bearer ");
    let clients: Vec<_> = targets
        .iter()
        .map(|target| {
            let mut command = Command::new(&python);
            command
                .arg(CLIENT)
                .arg(format!("{target}?stream={key}&after=begin"))
                .arg(token);
            command
                .stdout(Stdio::piped())
                .stderr(Stdio::inherit())
                .spawn()
                .expect("Python")
        })
        .collect();
    wait_until_more(&meeting, 50);
    harness.server.kill();
    harness.start_server();
    wait_until_streaming(&meeting);
    wait_until_more(&meeting, 50);
    harness.terminate();
    harness.start_server();
    wait_until_streaming(&meeting);
    wait_until_more(&meeting, 20);
    meeting.end(End::meeting_ended());
    wait_until_over(&meeting);
    wait_until("the end is written", || is_ended(&harness, 1));
    let all = written(&harness);
    let expected: Vec<&str> = all.iter().filter_map(|line| line["pos"].as_str()).collect();
    assert!(expected.len() > 100);
    for (client, target) in clients.into_iter().zip(&targets) {
        let output = client.wait_with_output().expect("it ends");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(output.status.success(), "{target}");
        assert_eq!(text.lines().collect::<Vec<&str>>(), expected, "{target}");
    }
    drop(proxies);
    harness.terminate();
}
