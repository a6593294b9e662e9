//! Stores behind TLS whose certificate the system does not know, or that is not theirs, or not any more (F-48, I-45).

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::bench::{Bench, Ran};
use crate::support::bucket::{self, Bucket};
use crate::support::variable;

/// Puts TLS before a server, on a port that it prints. Python has TLS; to build one more for a test costs minutes.
const PROXY: &str = r#"
import socket, ssl, sys, threading
host, port = sys.argv[1].split(":")
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2], sys.argv[3])
def pump(a, b):
    try:
        while data := a.recv(65536):
            b.sendall(data)
    except OSError:
        pass
    for end in (a, b):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
def serve(plain):
    try:
        outer = context.wrap_socket(plain, server_side=True)
    except OSError:
        return
    inner = socket.create_connection((host, int(port)))
    threading.Thread(target=pump, args=(outer, inner), daemon=True).start()
    pump(inner, outer)
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"#;

/// A process that ends with the test.
struct Proxy(Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn data(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tls").join(name).to_str().unwrap().to_owned()
}

/// Returns the address at which the embedded server has this certificate, or `None` without Python.
fn behind_tls(certificate: &str) -> Option<(Proxy, String)> {
    let behind = bucket::embedded().endpoint.trim_start_matches("http://").to_owned();
    let mut command = Command::new("python3");
    command.args(["-c", PROXY, &behind, &data(certificate), &data("key.pem")]);
    let mut proxy = Proxy(command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().ok()?);
    let mut port = String::new();
    BufReader::new(proxy.0.stdout.take()?).read_line(&mut port).ok()?;
    Some((proxy, format!("https://127.0.0.1:{}", port.trim())))
}

fn sync(bench: &Bench, bucket: &Bucket, endpoint: &str, options: &[&str]) -> Ran {
    let location = format!("s3://{}", bucket.at);
    let words = ["sync", "a", &location, "--endpoint-url", endpoint, "--state-dir", "state"];
    let mut command = bench.command(&[&words[..], &["--output", "json"], options].concat());
    let server = &bucket.server;
    command.env("AWS_ACCESS_KEY_ID", &server.access_key).env("AWS_SECRET_ACCESS_KEY", &server.secret_key);
    command.env("AWS_EC2_METADATA_DISABLED", "true");
    Ran::of(&command.output().unwrap())
}

fn python_is_missing() {
    assert!(variable("SYNCENGINE_REQUIRE_ALL").is_none(), "python3 is missing");
}

fn world() -> (Bench, Bucket) {
    let bench = Bench::new();
    bench.write("a/x", "1");
    (bench, bucket::embedded().bucket(&bucket::fresh_name(), ""))
}

#[test]
fn f48_an_expired_certificate_and_that_of_another_host_are_refused() {
    for (certificate, expected) in [("expired.pem", "has expired"), ("foreign.pem", "another host")] {
        let Some((_proxy, endpoint)) = behind_tls(certificate) else {
            println!("skipped: python3 is missing");
            return python_is_missing();
        };
        let (bench, bucket) = world();
        for options in [&[][..], &["--ca-bundle", &data(certificate)]] {
            let refused = sync(&bench, &bucket, &endpoint, options);
            let error = refused.document()["error"].to_string();
            assert_eq!(refused.code, 4, "{certificate}: {error}");
            assert!(error.contains("certificate"), "{certificate}: {error}");
            assert!(options.is_empty() || error.contains(expected), "{certificate}: {error}");
            assert!(bucket.names().is_empty() && bench.read("a/x") == "1", "{certificate}");
        }
    }
}

#[test]
fn an_unknown_authority_is_refused_until_it_is_named() {
    let Some((_proxy, endpoint)) = behind_tls("certificate.pem") else {
        println!("skipped: python3 is missing");
        return python_is_missing();
    };
    let (bench, bucket) = world();
    let sync = |options: &[&str]| sync(&bench, &bucket, &endpoint, options);
    let refused = sync(&[]);
    let error = refused.document()["error"].to_string();
    assert_eq!(refused.code, 4, "{error}");
    assert!(error.contains("certificate") && error.contains("--ca-bundle"), "{error}");
    assert!(bucket.names().is_empty(), "nothing was sent");
    let trusted = sync(&["--ca-bundle", &data("certificate.pem")]);
    assert_eq!(trusted.code, 0, "{}", trusted.document());
    assert_eq!(bucket.get("x"), b"1");
}
