//! What stores answer when something is wrong: with the credentials, the address, the bucket, or the store.
//!
//! A pair that was in agreement meets each answer. It must say what is wrong and what to do, in one line, end with
//! the documented code, and change nothing on either side.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use syncengine::Timestamp;
use syncengine::embedded::{Disturb, Disturbance, Request};

use crate::support::bench::{Bench, Ran};
use crate::support::bucket::{self, Bucket, Embedded, Server};
use crate::support::{Folder, Root, read_tree};

/// Refuses everything with what is set.
#[derive(Debug, Default)]
struct Refusing(Mutex<Option<(u16, &'static str)>>);

impl Disturb for Refusing {
    fn disturb(&self, _: &Request<'_>) -> Disturbance {
        let answer = *self.0.lock().unwrap();
        answer.map_or(Disturbance::Pass, |(status, code)| Disturbance::Refuse(status, code.into()))
    }
}

fn sync(bench: &Bench, server: &Server, options: &[&str]) -> (i32, Value) {
    let words = ["sync", "a", "--endpoint-url", &server.endpoint, "--state-dir", "state", "--output", "json"];
    let mut command = bench.command(&[&words[..], options].concat());
    command.env("AWS_ACCESS_KEY_ID", &server.access_key).env("AWS_SECRET_ACCESS_KEY", &server.secret_key);
    command.env("AWS_EC2_METADATA_DISABLED", "true");
    let ran = Ran::of(&command.output().unwrap());
    (ran.code, ran.document())
}

/// Holds an error against what it must say.
fn says(what: &str, (code, document): &(i32, Value), expected_code: i32, expected: &str) {
    let error = &document["error"];
    let message = error["message"].as_str().unwrap_or_default();
    let said = format!("{message} {}", error["hint"].as_str().unwrap_or_default());
    assert_eq!(*code, expected_code, "{what}: {document}");
    assert_eq!(message.lines().count(), 1, "{what}: {document}");
    assert!(said.contains(expected), "{what} says {said:?}, not {expected:?}");
}

/// F-38, F-39, F-40, F-48: refusals of a store, and of a proxy on the way to it.
#[test]
fn what_a_store_refuses_is_told_with_what_to_do() {
    let refusing = Arc::new(Refusing::default());
    let embedded = Embedded::disturbed(Arc::clone(&refusing) as Arc<dyn Disturb>);
    let bucket = embedded.server.bucket("vault", "");
    let bench = Bench::new();
    bench.write("a/x", "1");
    assert_eq!(sync(&bench, &embedded.server, &["s3://vault"]).0, 0);
    bench.write("a/x", "edited");
    let before = (bench.snapshot(), bucket.objects());
    for (status, code, expected) in [
        (400, "ExpiredToken", "the credentials have expired"),
        (403, "RequestTimeTooSkewed", "the clock of this machine"),
        (403, "AccessDenied", "check that the credentials may do this"),
        (403, "InvalidAccessKeyId", "the store does not know the access key"),
        (400, "AuthorizationHeaderMalformed", "--region"),
        (301, "PermanentRedirect", "--region"),
        (404, "NoSuchBucket", "--create"),
        (501, "NotImplemented", "501"),
        (407, "ProxyAuthenticationRequired", "a proxy on the way wants a password"),
    ] {
        *refusing.0.lock().unwrap() = Some((status, code));
        let exit = if matches!(code, "NoSuchBucket" | "PermanentRedirect") { 2 } else { 4 };
        says(code, &sync(&bench, &embedded.server, &["s3://vault"]), exit, expected);
        *refusing.0.lock().unwrap() = None;
        assert!((bench.snapshot(), bucket.objects()) == before, "{code} changed something");
    }
    let wrong = Server { secret_key: "wrong".into(), ..embedded.server.clone() };
    says("a wrong secret", &sync(&bench, &wrong, &["s3://vault"]), 4, "the secret key is not the one");
    let unknown = Server { access_key: "nobody".into(), ..embedded.server.clone() };
    says("an unknown key", &sync(&bench, &unknown, &["s3://vault"]), 4, "the access key");
    says("no bucket", &sync(&bench, &embedded.server, &["s3://valut"]), 2, "--create");
    assert_eq!(sync(&bench, &embedded.server, &["s3://vault"]).0, 0, "all was well again");
}

/// Lets so many requests pass and refuses the rest.
#[derive(Debug)]
struct Expiring(AtomicU64);

impl Disturb for Expiring {
    fn disturb(&self, _: &Request<'_>) -> Disturbance {
        match self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) {
            Ok(_) => Disturbance::Pass,
            Err(_) => Disturbance::Refuse(403, "ExpiredToken".into()),
        }
    }
}

#[test]
fn f38_credentials_that_expire_during_the_run_are_exit_4() {
    for good in 1..6 {
        let expiring = Arc::new(Expiring(AtomicU64::new(1000)));
        let embedded = Embedded::disturbed(Arc::clone(&expiring) as Arc<dyn Disturb>);
        let bucket = embedded.server.bucket("vault", "");
        let bench = Bench::new();
        for name in ["a/x", "a/y", "a/z"] {
            bench.write(name, "1");
        }
        assert_eq!(sync(&bench, &embedded.server, &["s3://vault"]).0, 0);
        bench.write("a/x", "edited");
        bench.write("a/new", "new");
        std::fs::remove_file(bench.path("a/y")).unwrap();
        bucket.remove("z");
        expiring.0.store(good, Ordering::SeqCst);
        let ran = sync(&bench, &embedded.server, &["s3://vault"]);
        expiring.0.store(1000, Ordering::SeqCst);
        says(&format!("after {good}"), &ran, 4, "the credentials have expired");
        assert_eq!(ran.1["counts"]["failed"], 0, "no path is to blame: {}", ran.1);
        assert_eq!((bench.read("a/x"), bench.read("a/new")), ("edited".into(), "new".into()), "{good}");
        assert!(bench.has("a/z") && bucket.names().contains(&"y".to_owned()), "{good} deleted something");
        let (code, document) = sync(&bench, &embedded.server, &["s3://vault"]);
        assert_eq!((code, bucket.file_names()), (0, vec!["new".to_owned(), "x".to_owned()]), "{document}");
    }
}

/// F-48: what is sent to a store is shown to nobody else, whatever the environment says.
#[test]
fn f48_proxies_that_the_environment_names_are_not_used() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap());
    let (bench, bucket) = world("");
    bench.write("a/x", "1");
    let server = &bucket.server;
    let location = format!("s3://{}", bucket.at);
    let mut command =
        bench.command(&["sync", "a", &location, "--endpoint-url", &server.endpoint, "--state-dir", "state"]);
    command.env("AWS_ACCESS_KEY_ID", &server.access_key).env("AWS_SECRET_ACCESS_KEY", &server.secret_key);
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        command.env(name, &proxy);
    }
    let ran = Ran::of(&command.output().unwrap());
    assert_eq!((ran.code, bucket.get("x")), (0, b"1".to_vec()), "{ran:?}");
    assert!(listener.accept().is_err(), "the proxy was asked");
}

/// Answers every request with the same bytes and ends the connection.
fn answering(bytes: Vec<u8>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let answer = move |mut stream: TcpStream| {
        let mut asked = [0; 8 * 1024];
        drop(stream.read(&mut asked));
        drop(stream.write_all(&bytes));
    };
    // It ends with the process of the test.
    std::thread::spawn(move || listener.incoming().flatten().for_each(&answer));
    Server { endpoint, access_key: "a".into(), secret_key: "b".into() }
}

fn answer(kind: &str, length: usize, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
        .into_bytes()
}

/// F-27, F-33, F-35: a success that is none. Nothing may be made of it.
#[test]
fn an_answer_that_is_no_listing_is_not_taken_for_an_empty_one() {
    let page = "<html><body>Sign in to the network</body></html>";
    let listing = "<?xml version=\"1.0\"?><ListBucketResult><Name>vault</Name><Prefix></Prefix><KeyCount>1";
    let other = "<?xml version=\"1.0\"?><ListBucketResult><Name>other</Name><Prefix></Prefix><KeyCount>0</KeyCount>\
                 <MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>";
    let answers = [
        ("a page of HTML", answer("text/html", page.len(), page)),
        ("an empty answer", answer("application/xml", 0, "")),
        ("a listing that is cut", answer("application/xml", listing.len() + 500, listing)),
        ("a listing that ends early", answer("application/xml", listing.len(), listing)),
        ("the listing of another bucket", answer("application/xml", other.len(), other)),
    ];
    // Each is asked for again for a while.
    std::thread::scope(|scope| {
        for (what, bytes) in answers {
            scope.spawn(move || {
                let bench = Bench::new();
                bench.write("a/x", "1");
                let options = ["s3://vault", "--mode", "dts", "--allow-empty-side"];
                says(what, &sync(&bench, &answering(bytes), &options), 4, "");
                assert_eq!(bench.read("a/x"), "1", "{what} deleted a file");
            });
        }
    });
}

fn world(prefix: &str) -> (Bench, Bucket) {
    (Bench::new(), bucket::embedded().bucket(&bucket::fresh_name(), prefix))
}

/// I-10: a typing mistake in a prefix is an empty side.
#[test]
fn a_prefix_that_is_a_typing_mistake_deletes_nothing() {
    let (bench, bucket) = world("photos/");
    let folder = Folder(bench.path("a"));
    for at in 0..3 {
        folder.write(&at.to_string(), b"photo", Timestamp::new(1_600_000_000, 0));
    }
    let location = |prefix: &str| format!("s3://{}/{prefix}", bucket.at.name);
    assert_eq!(sync(&bench, &bucket.server, &[&location("photos")]).0, 0);
    for mode in ["dts", "std"] {
        let (code, document) = sync(&bench, &bucket.server, &[&location("phtoos"), "--mode", mode]);
        if mode == "dts" {
            assert_eq!(code, 3, "{document}");
            assert!(document["refused_by"].to_string().contains("empty"), "{document}");
        }
        assert_eq!(folder.files().len(), 3, "{mode}");
        assert_eq!(bucket.files().len(), 3, "{mode}");
    }
}

/// B-01 to B-09: names that would leave the folder, or cannot be in one.
#[test]
fn objects_whose_names_leave_the_root_are_named_and_left() {
    let (bench, bucket) = world("");
    let bad = ["../out", "/abs", "d/../../out", "x//y", "./z", "d/..", "e/."];
    for name in bad.iter().chain(&["good", "Case", "case"]) {
        bucket.put(name, name.as_bytes(), Some(Timestamp::new(1_600_000_000, 0)));
    }
    let around = || std::fs::read_dir(bench.dir.path()).unwrap().count();
    let location = format!("s3://{}", bucket.at);
    let (code, document) = sync(&bench, &bucket.server, &[&location]);
    assert_eq!((code, around()), (1, 5), "a, b, home, tmp and the state: {document}");
    let failures = document["failures"].as_array().unwrap();
    assert_eq!(failures.len(), bad.len(), "{document:#}");
    let tree = read_tree(&bench.path("a"));
    let found: Vec<_> = tree.keys().filter(|name| !name.starts_with(".syncengine")).collect();
    assert_eq!(
        found,
        ["Case", "case", "good"],
        "names that differ by case are two where the folder has both"
    );
    // A mirror of the folder does not delete what it cannot name.
    let (code, document) = sync(&bench, &bucket.server, &[&location, "--mode", "std"]);
    assert_eq!(
        (code, bucket.names().iter().filter(|name| bad.contains(&name.as_str())).count()),
        (1, bad.len()),
        "{document}"
    );
}
