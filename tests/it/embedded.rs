//! `syncengine serve` from outside: killed with SIGKILL under load it has everything it acknowledged when it
//! starts again; it ends with the code of its signal; a folder has one server. `SYNCENGINE_KILLS=n` sets how
//! many kills.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use s3s::crypto::{Checksum, Sha256};
use syncengine::clock::{Clock, SystemClock};
use syncengine::embedded::{Disturb, Disturbance, EmbeddedOptions, EmbeddedServer, Request};

use crate::support::variable;

/// A server in a process of its own.
struct Server {
    child: Child,
    /// Host and port.
    host: String,
    line: serde_json::Value,
}

fn command(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_syncengine"));
    command.args(["serve", "--embedded-dir"]).arg(dir);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn serve(dir: &Path) -> Server {
    let mut child = command(dir).args(["--output", "jsonl"]).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    let host = line["endpoint"].as_str().unwrap().strip_prefix("http://").unwrap().to_owned();
    Server { child, host, line }
}

impl Server {
    fn signal(mut self, signal: &str) -> Option<i32> {
        assert!(
            Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success()
        );
        self.child.wait().unwrap().code()
    }
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    Sha256::checksum(bytes).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn hmac(key: &[u8], message: &str) -> Vec<u8> {
    let pad = |with: u8| (0..64).map(|at| key.get(at).unwrap_or(&0) ^ with).collect::<Vec<u8>>();
    let inner = sha256(&[pad(0x36), message.as_bytes().to_vec()].concat());
    sha256(&[pad(0x5c), inner].concat())
}

/// Sends a signed request; returns the status and the body, or nothing if the connection broke.
fn request(host: &str, method: &str, path: &str, body: &[u8]) -> Option<(u16, Vec<u8>)> {
    let time = SystemClock.now().compact();
    let date = &time[..8];
    let headers = format!("host:{host}\nx-amz-content-sha256:UNSIGNED-PAYLOAD\nx-amz-date:{time}\n");
    let signed = "host;x-amz-content-sha256;x-amz-date";
    let canonical = format!("{method}\n{path}\n\n{headers}\n{signed}\nUNSIGNED-PAYLOAD");
    let scope = format!("{date}/us-east-1/s3/aws4_request");
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(&sha256(canonical.as_bytes())));
    let key = [date, "us-east-1", "s3", "aws4_request"]
        .into_iter()
        .fold(b"AWS4embedded".to_vec(), |key, message| hmac(&key, message));
    let signature = hex(&hmac(&key, &to_sign));
    let head = format!(
        "{method} {path} HTTP/1.1\r\n{}connection: close\r\ncontent-length: {}\r\nauthorization: AWS4-HMAC-SHA256 \
         Credential=embedded/{scope}, SignedHeaders={signed}, Signature={signature}\r\n\r\n",
        headers.replace('\n', "\r\n"),
        body.len()
    );
    let mut connection = TcpStream::connect(host).ok()?;
    connection.write_all(head.as_bytes()).ok()?;
    connection.write_all(body).ok()?;
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).ok()?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let status = std::str::from_utf8(answer.get(9..12)?).ok()?.parse().ok()?;
    Some((status, answer.split_off(end + 4)))
}

/// Content that tells which write it is of: small ones, and such as become a file.
fn content(writer: usize, number: usize) -> Vec<u8> {
    let size = [10, 4_000, 65_536, 65_537, 300_000][number % 5];
    format!("{writer}/{number};").into_bytes().into_iter().cycle().take(size).collect()
}

/// How many different keys a writer writes, over and over.
const KEYS: usize = 50;

/// Writes until the server is gone; returns how many writes were acknowledged.
fn write_on(host: &str, writer: usize, from: usize, gone: &AtomicBool) -> usize {
    let mut number = from;
    while !gone.load(Ordering::Relaxed) {
        let path = format!("/box/{writer}/{}", number % KEYS);
        match request(host, "PUT", &path, &content(writer, number)) {
            Some((200, _)) => number += 1,
            Some((status, body)) => panic!("{status} {}", String::from_utf8_lossy(&body)),
            None => break,
        }
    }
    number
}

#[test]
fn a_killed_server_has_everything_it_acknowledged() {
    let kills = variable("SYNCENGINE_KILLS").map_or(6, |number| number.parse::<u64>().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let mut server = serve(dir.path());
    assert_eq!(request(&server.host, "PUT", "/box", b"").unwrap().0, 200);
    let mut done = [0_usize; 4];
    for kill in 0..kills {
        let gone = AtomicBool::new(false);
        thread::scope(|scope| {
            let (host, gone) = (&server.host, &gone);
            let writing: Vec<_> = (0..done.len())
                .map(|writer| (writer, done[writer]))
                .map(|(writer, from)| scope.spawn(move || write_on(host, writer, from, gone)))
                .collect();
            thread::sleep(Duration::from_millis(150 + 83 * (kill % 7)));
            server.child.kill().unwrap();
            gone.store(true, Ordering::Relaxed);
            for (writer, thread) in writing.into_iter().enumerate() {
                done[writer] = thread.join().unwrap();
            }
        });
        server.child.wait().unwrap();
        server = serve(dir.path());
        for (writer, done) in done.iter().enumerate() {
            for number in done.saturating_sub(KEYS)..*done {
                let path = format!("/box/{writer}/{}", number % KEYS);
                let found = request(&server.host, "GET", &path, b"").unwrap();
                // The write that was cut off may have been made.
                let cut_off = number + KEYS == *done && found.1 == content(writer, *done);
                assert!(
                    found == (200, content(writer, number)) || cut_off,
                    "kill {kill}, {path}: {}",
                    found.0
                );
            }
        }
    }
    assert!(done.iter().all(|done| *done > 0));
    assert_eq!(server.signal("-TERM"), Some(143));
    println!("ci: embedded server: {kills} kills, {} acknowledged writes", done.iter().sum::<usize>());
}

#[test]
fn serve_tells_where_it_is_and_ends_with_its_signal() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(dir.path());
    assert_eq!(server.line["schema"], 1);
    assert_eq!(
        (&server.line["access_key"], &server.line["secret_key"]),
        (&"embedded".into(), &"embedded".into())
    );
    let canonical = dir.path().canonicalize().unwrap();
    assert_eq!(server.line["dir"].as_str().unwrap(), canonical.to_str().unwrap());

    let second = command(dir.path()).output().unwrap();
    assert_eq!(second.status.code(), Some(4));
    let message = String::from_utf8(second.stderr).unwrap();
    assert!(message.contains(&format!("is in use by process {}", server.child.id())), "{message}");

    let other = tempfile::tempdir().unwrap();
    let port = server.host.rsplit(':').next().unwrap();
    let third = command(other.path()).args(["--port", port]).output().unwrap();
    assert_eq!(third.status.code(), Some(4));
    assert!(
        String::from_utf8(third.stderr).unwrap().contains(&format!("the port {port} of 127.0.0.1 is taken"))
    );

    assert_eq!(server.signal("-INT"), Some(130));
    assert_eq!(serve(dir.path()).signal("-TERM"), Some(143));
}

#[test]
fn a_secret_of_the_user_is_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    std::fs::write(&file, "hush-hush\n").unwrap();
    for output in ["human", "json"] {
        let mut child = command(&dir.path().join("store"))
            .args(["--access-key", "me", "--output", output, "--secret-key-file"])
            .arg(&file)
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut text = String::new();
        for _ in 0..if output == "human" { 4 } else { 1 } {
            out.read_line(&mut text).unwrap();
        }
        assert!(text.contains("me") && !text.contains("hush"), "{text}");
        assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(143));
    }
}

/// B-45: a secret key that is none is refused, and one that others may read is warned of; neither is shown.
#[test]
fn b45_a_secret_in_the_wrong_place_is_refused_or_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    let long = "hush".repeat(2000);
    for (content, in_variable, mode, expected) in [
        ("", false, 0o600, "empty"),
        ("\n", false, 0o600, "empty"),
        ("hush\nhush", false, 0o600, "line end"),
        ("hush\r\nhush\n", false, 0o600, "line end"),
        ("hush\u{1b}[2J", false, 0o600, "control character"),
        ("", true, 0o600, "empty"),
        ("hush\n", true, 0o600, "line end"),
        ("hush", false, 0o644, "warning: others"),
        ("hush", false, 0o620, "warning: others"),
        ("hush", false, 0o600, ""),
        ("hush\n", false, 0o400, ""),
        (long.as_str(), false, 0o600, ""),
    ] {
        std::fs::remove_file(&file).unwrap_or_default();
        std::fs::write(&file, content).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let mut command = command(&dir.path().join("store"));
        if in_variable {
            command.env("SYNCENGINE_SECRET_KEY", content);
        } else {
            command.arg("--secret-key-file").arg(&file);
        }
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let refused = !expected.is_empty() && !expected.starts_with("warning");
        if !refused {
            // It serves once it has said so.
            BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut String::new()).unwrap();
            assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
        }
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(if refused { 2 } else { 143 }), "{content:?} {output:?}");
        let said = String::from_utf8(output.stderr).unwrap() + &String::from_utf8(output.stdout).unwrap();
        assert!(said.contains(expected) && !said.contains("hush"), "{content:?} {mode:o}: {said}");
        assert_eq!(said.contains("warning"), expected.starts_with("warning"), "{content:?} {mode:o}: {said}");
    }
}

/// Disturbs by the name of the key.
#[derive(Debug)]
struct ByKey;

impl Disturb for ByKey {
    fn disturb(&self, request: &Request<'_>) -> Disturbance {
        match request.key {
            Some("refuse") => Disturbance::Refuse(503, "SlowDown".into()),
            Some("cut") => Disturbance::Cut,
            Some("cut-after") if request.operation == "PutObject" => Disturbance::CutAfter,
            Some("refuse-after") if request.operation == "PutObject" => {
                Disturbance::RefuseAfter(500, "InternalError".into())
            }
            Some("truncate") if request.operation == "GetObject" => Disturbance::Truncate(3),
            Some("delay") => Disturbance::Delay(Duration::from_millis(50)),
            _ => Disturbance::Pass,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_disturbed_as_a_test_asks() {
    let dir = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions { disturb: Some(Arc::new(ByKey)), ..EmbeddedOptions::new(dir.path()) };
    let server = EmbeddedServer::start(options).await.unwrap();
    let host = server.endpoint().strip_prefix("http://").unwrap().to_owned();
    let asking = tokio::task::spawn_blocking(move || {
        let put =
            |key: &str| request(&host, "PUT", &format!("/box/{key}"), b"content").map(|answer| answer.0);
        let get = |key: &str| request(&host, "GET", &format!("/box/{key}"), b"");
        assert_eq!(request(&host, "PUT", "/box", b"").unwrap().0, 200);
        assert_eq!((put("refuse"), get("refuse").unwrap().0), (Some(503), 503));
        assert_eq!((put("cut"), get("cut")), (None, None));
        assert_eq!((put("cut-after"), get("cut-after")), (None, Some((200, b"content".to_vec()))));
        assert_eq!((put("refuse-after"), get("refuse-after")), (Some(500), Some((200, b"content".to_vec()))));
        assert_eq!((put("truncate"), get("truncate")), (Some(200), Some((200, b"con".to_vec()))));
        assert_eq!((put("delay"), get("absent").unwrap().0), (Some(200), 404));
    });
    asking.await.unwrap();
    let counts = server.request_counts();
    assert_eq!((counts["PutObject"], counts["GetObject"], counts["CreateBucket"]), (6, 6, 1));
    server.stop().await.unwrap();
}
