//! Each kind of request, through the real SDK, to a peer that answers what a test says.
//!
//! Whatever is no answer of a store must end as an error: nothing is made of it, and an upload is aborted.

use bytes::Bytes;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use futures::stream::{self, StreamExt, TryStreamExt};

use self::peer::{Answer, Asked, Behind, Peer, Reply, answer, object, page, refusal};
use super::*;
use crate::clock::{Clock, SystemClock, SystemEntropy};
use crate::control::SyncController;
use crate::entry::Timestamp;
use crate::fingerprint::{ETag, Fingerprint};
use crate::retry::RETRY_BUDGET;

mod budget;
pub(in crate::client::s3) mod peer;

/// The hash of `a`, which is what the peer has as `old`.
const OLD: &str = "0cc175b9c0f1b6a831c399e269772661";

/// The hash of `b`, which is what is written.
const NEW: &str = "92eb5ffee6ae2fec3ad71c777531578f";

/// The ETag of an upload of `bbb` in one part.
const NEW_PARTS: &str = "11f2cc52896044574b1e9fdfbbfa0e04-1";

/// An ETag of `b` as an upload of parts would have it, if it were made otherwise.
const NEW_OF_PARTS: &str = "92eb5ffee6ae2fec3ad71c777531578f-1";

/// The requests that are made, each with a call that makes it.
const REQUESTS: [&str; 10] = [
    "ListObjectsV2",
    "HeadObject",
    "GetObject",
    "PutObject",
    "CreateMultipartUpload",
    "UploadPart",
    "CompleteMultipartUpload",
    "CopyObject",
    "DeleteObject",
    "DeleteObjects",
];

/// A clock by which waits take a thousandth of their time.
#[derive(Debug)]
struct Brisk;

impl Clock for Brisk {
    fn now(&self) -> Timestamp {
        Timestamp::default()
    }

    fn monotonic(&self) -> Duration {
        SystemClock.monotonic()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        SystemClock.sleep(duration / 1000)
    }
}

/// Times that do not pass in a test, and lengths that are soon reached.
pub(super) fn limits() -> Limits {
    Limits {
        stall: Duration::from_hours(10),
        list_bytes: 256 * 1024,
        answer_bytes: 64 * 1024,
        ..Limits::default()
    }
}

/// A client that does not ask what the store can do: it can do everything, and keeps old versions.
pub(super) fn client(peer: &Peer, limits: Limits) -> S3Client {
    client_at(&peer.endpoint, limits, RETRY_BUDGET, 2)
}

fn client_at(endpoint: &str, limits: Limits, budget: Duration, threshold: u64) -> S3Client {
    let ports =
        Ports { clock: Arc::new(Brisk), entropy: Arc::new(SystemEntropy), control: SyncController::new() };
    let setup = Setup { multipart_threshold: Some(threshold), retry_budget: budget, ..Setup::new(ports) };
    let at = Bucket { name: "vault".into(), prefix: "p/".into() };
    let log = RequestLog::default();
    let connection = connect::connect_embedded(endpoint, ("a", "b"), log.clone(), limits);
    let store = Store::new(connection, at.name.clone(), log, &setup);
    let client = S3Client::new("embedded://vault/p".into(), "x".into(), at, store, setup, None);
    let able = Capabilities {
        put_if_none_match: true,
        put_if_match: true,
        unquoted: false,
        complete_if_none_match: true,
        complete_if_match: true,
        delete_if_match: true,
        delete_many_if_match: true,
        copy_if_none_match: true,
        enforces_crc32: true,
        // What it answers is made of nothing.
        md5_etags: false,
        copy_source_if_match: true,
        folds_names: false,
    };
    client.probe.answer.set(able).unwrap();
    S3Client { versioning: Versioning::trusted("run"), ..client }
}

/// What a store answers that has `old` and takes everything.
fn well(asked: &Asked) -> Answer {
    let tag = |tag: &str| format!("etag: \"{tag}\"\r\n");
    match asked.operation() {
        "ListObjectsV2" => answer(200, "", page(&["p/old"], "")),
        "HeadObject" if asked.path.ends_with("old") => answer(200, &tag(OLD), "a"),
        "HeadObject" => answer(404, "", ""),
        "GetObject" => answer(200, &tag(OLD), "a"),
        "PutObject" | "UploadPart" => answer(200, &tag(NEW), ""),
        "CreateMultipartUpload" => answer(
            200,
            "",
            "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>",
        ),
        "CompleteMultipartUpload" => {
            let tag = format!("<ETag>&quot;{NEW_PARTS}&quot;</ETag>");
            answer(200, "", format!("<CompleteMultipartUploadResult>{tag}</CompleteMultipartUploadResult>"))
        }
        "CopyObject" => {
            answer(200, "", format!("<CopyObjectResult><ETag>&quot;{OLD}&quot;</ETag></CopyObjectResult>"))
        }
        "DeleteObject" | "AbortMultipartUpload" => b"HTTP/1.1 204 X\r\nconnection: close\r\n\r\n".to_vec(),
        "DeleteObjects" => {
            let deleted = ["p/old", "p/older"].map(|key| format!("<Deleted><Key>{key}</Key></Deleted>"));
            answer(200, "", format!("<DeleteResult>{}</DeleteResult>", deleted.concat()))
        }
        operation => panic!("{operation} was asked for"),
    }
}

/// Answers well, but for the requests of one kind.
fn but_for(operation: &'static str, bad: impl Into<Reply>) -> impl FnMut(&Asked) -> Reply + Send {
    let bad = bad.into();
    move |asked| if asked.operation() == operation { bad.clone() } else { well(asked).into() }
}

fn key(name: &str) -> Key {
    Key::parse(name).unwrap()
}

fn old(name: &str) -> Entry {
    let fingerprint = Fingerprint::Object(ETag::new(OLD));
    Entry { key: key(name), size: 1, modified: None, stored: None, fingerprint }
}

fn body(content: &'static str) -> Body {
    let chunks = stream::iter([Ok(Bytes::from_static(content.as_bytes()))]).boxed();
    Body {
        size: content.len() as u64,
        modified: None,
        mode: None,
        folder_modes: Vec::new(),
        proof: None,
        chunks,
    }
}

fn target(name: &str, replaces: Option<Entry>) -> Target {
    Target {
        key: key(name),
        replaces,
        heir_of: None,
        disposal: Disposal::Trash { run: "run".into() },
        run_tag: 1,
    }
}

async fn content(client: &S3Client, entry: &Entry) -> Result<Bytes> {
    let mut chunks = client.read(entry).await?.chunks;
    let mut content = BytesMut::new();
    while let Some(chunk) = chunks.try_next().await? {
        content.extend_from_slice(&chunk);
    }
    Ok(content.freeze())
}

/// Makes a call that sends a request of this kind.
async fn ask(client: &S3Client, operation: &str) -> Result<()> {
    match operation {
        "ListObjectsV2" => client.list(ListRequest::default()).try_collect::<Vec<_>>().await.map(drop),
        "HeadObject" => client.head(&key("old")).await.map(drop),
        "GetObject" => content(client, &old("old")).await.map(drop),
        "PutObject" => client.stage(target("new", None), body("b")).await.map(drop),
        "CopyObject" => client.copy(&old("old"), target("new", None)).await.map(drop),
        "DeleteObject" => client.remove(vec![old("old")], &Disposal::Discard).await.remove(0),
        "DeleteObjects" => {
            client.remove(vec![old("old"), old("older")], &Disposal::Discard).await.into_iter().collect()
        }
        _ => client.stage(target("new", None), body("bbb")).await.map(drop),
    }
}

/// What became of a request of each kind that was answered badly, and what the peer was asked in all.
async fn outcomes(bad: &Reply, limits: &Limits) -> Vec<(&'static str, Result<()>, Vec<&'static str>)> {
    let asked = REQUESTS.map(|operation| async move {
        let peer = Peer::start(but_for(operation, bad.clone()));
        let outcome = ask(&client(&peer, limits.clone()), operation).await;
        (operation, outcome, peer.operations())
    });
    futures::future::join_all(asked).await
}

/// Holds every kind of request against answers that are none.
async fn all_end_as(kind: ErrorKind, limits: &Limits, answers: Vec<(&str, Reply)>) -> usize {
    let mut cases = 0;
    for (row, bad) in answers {
        for (operation, outcome, asked) in outcomes(&bad, limits).await {
            let error = outcome.err().unwrap_or_else(|| panic!("{row}: {operation} ended well"));
            assert_eq!(error.kind(), kind, "{row}: {operation}: {}", error.chain());
            assert!(error.chain().len() < 1000, "{row}: {operation}: {}", error.chain());
            let begun = matches!(operation, "UploadPart" | "CompleteMultipartUpload");
            assert_eq!(asked.contains(&"AbortMultipartUpload"), begun, "{row}: {operation}: {asked:?}");
            assert!(asked.len() < 30, "{row}: {operation}: asked {} times", asked.len());
            cases += 1;
        }
    }
    cases
}

#[tokio::test]
async fn every_request_that_is_answered_well_ends_well() {
    for operation in REQUESTS {
        let mut has_copied = false;
        let peer = Peer::start(move |asked: &Asked| {
            has_copied |= asked.operation() == "CopyObject";
            let is_copy = has_copied && asked.operation() == "HeadObject";
            Reply::from(if is_copy { answer(200, &format!("etag: \"{OLD}\"\r\n"), "a") } else { well(asked) })
        });
        ask(&client(&peer, limits()), operation).await.unwrap_or_else(|error| panic!("{}", error.chain()));
        assert!(peer.operations().contains(&operation), "{operation}: {:?}", peer.operations());
    }
}

#[tokio::test]
async fn f26_f27_a_success_that_is_none_is_an_error_of_every_request() {
    let page = "<!DOCTYPE html><html><body>Sign in to the network</body></html>";
    let answers = vec![
        ("HTML", answer(200, "content-type: text/html\r\n", page).into()),
        ("HTML that does not say so", answer(200, "", page).into()),
        ("JSON", answer(200, "content-type: application/json\r\n", "{\"ok\":true}").into()),
        ("an error in the body", refusal(200, "InternalError").into()),
        ("nothing", answer(200, "", "").into()),
        ("the answer to another request", answer(200, "", "<ListAllMyBucketsResult/>").into()),
    ];
    let cases = all_end_as(ErrorKind::Unavailable, &limits(), answers).await;
    println!("ci: successes that are none {cases}");
}

#[tokio::test]
async fn f40_i45_no_request_follows_a_redirect() {
    for status in [301, 302, 303, 307, 308] {
        let met = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&met);
        let second = Peer::start(move |asked: &Asked| {
            count.fetch_add(1, Ordering::SeqCst);
            well(asked)
        });
        let head = format!("location: {}/vault/p/old?list-type=2\r\n", second.endpoint);
        let text = format!(
            "<Error><Code>PermanentRedirect</Code><Endpoint>{}</Endpoint></Error>",
            second.endpoint.trim_start_matches("http://")
        );
        let answers = vec![("a redirect", answer(status, &head, text).into())];
        all_end_as(ErrorKind::Invalid, &limits(), answers).await;
        assert_eq!(met.load(Ordering::SeqCst), 0, "{status}: the second host was asked");
    }
}

#[tokio::test]
async fn b57_impossible_headers_are_an_error_of_every_request() {
    let tag = format!("etag: \"{OLD}\"\r\n");
    let with = |head: &str| format!("HTTP/1.1 200 OK\r\nconnection: close\r\n{tag}{head}\r\na").into_bytes();
    let many = "x-amz-meta-a: x\r\n".repeat(10_000);
    let endless = Reply {
        bytes: b"HTTP/1.1 200 OK\r\netag: \"".to_vec(),
        behind: Behind::Flood(vec![b'0'; 16 * 1024]),
    };
    let answers = vec![
        ("two lengths", with("content-length: 1\r\ncontent-length: 2\r\n").into()),
        ("a negative length", with("content-length: -1\r\n").into()),
        ("a length that is no number", with("content-length: one\r\n").into()),
        ("a length beyond all", with("content-length: 99999999999999999999999\r\n").into()),
        ("ten thousand headers", with(&format!("content-length: 1\r\n{many}")).into()),
        ("an ETag without end", endless),
        ("no HTTP", b"220 mail.example.org ESMTP\r\n".to_vec().into()),
    ];
    let cases = all_end_as(ErrorKind::Unavailable, &limits(), answers).await;
    println!("ci: impossible headers {cases}");
}

#[tokio::test]
async fn b58_i22_an_answer_without_end_is_cut_off() {
    let flood = |status: u16, chunked: bool, piece: &str| {
        let head = if chunked { "transfer-encoding: chunked\r\n" } else { "" };
        let bytes = format!(
            "HTTP/1.1 {status} X\r\netag: \"{OLD}\"\r\n{head}\r\n<?xml version=\"1.0\"?><Error><Code>"
        )
        .into_bytes();
        let piece = piece.repeat(64);
        let piece = if chunked { format!("{:x}\r\n{piece}\r\n", piece.len()) } else { piece };
        let bytes = if chunked { bytes[..bytes.len() - 34].to_vec() } else { bytes };
        Reply { bytes, behind: Behind::Flood(piece.into_bytes()) }
    };
    let answers = vec![
        ("an error", flood(500, false, "<x>never enough</x>")),
        ("a refusal", flood(403, false, "<x>never enough</x>")),
        ("a refusal in chunks", flood(403, true, "<x>never enough</x>")),
        ("a success", flood(200, false, "<x>never enough</x>")),
        ("a success in chunks", flood(200, true, "<x>never enough</x>")),
    ];
    for (row, bad) in answers {
        for (operation, outcome, _) in outcomes(&bad, &limits()).await {
            let error = outcome.err().map(|error| (error.kind(), error.chain()));
            // The answer to a HEAD is its head, and whatever comes behind it is not read.
            let (kind, what) = error.unwrap_or_else(|| panic!("{row}: {operation} ended well"));
            let is_head = operation == "HeadObject" && kind == ErrorKind::PermissionDenied;
            assert!(is_head || kind == ErrorKind::Unavailable, "{row}: {operation}: {what}");
        }
    }
}

#[tokio::test]
async fn b55_hostile_xml_is_no_listing() {
    let whole = page(&["p/NAME"], "");
    let inside = |what: &str| answer(200, "", whole.replace("NAME", what));
    let before = |what: &str| answer(200, "", whole.replacen("<ListBucketResult>", what, 1));
    let named = |what: &str| answer(200, "", whole.replace("p/NAME", what));
    let [open, close] = ["<Owner>", "</Owner>"].map(|tag| tag.repeat(100_000));
    let deep = answer(200, "", whole.replace("<Size>", &format!("{open}{close}<Size>")));
    let roomy = Limits { list_bytes: 32 * 1024 * 1024, ..limits() };
    // What is odd and means what it says.
    for (row, fine) in [
        ("a document type", before("<!DOCTYPE x SYSTEM \"http://127.0.0.1:1/x\"><ListBucketResult>")),
        ("a comment", before("<!-- x --><ListBucketResult>")),
        ("another namespace", before("<ListBucketResult xmlns=\"http://example.org/\">")),
        ("CDATA", named("<![CDATA[p/NAME]]>")),
        ("a character by its number", named("p/NAM&#x45;")),
        ("many levels", deep),
    ] {
        let peer = Peer::start(but_for("ListObjectsV2", fine));
        let listed = client(&peer, roomy.clone()).list(ListRequest::default()).try_collect::<Vec<_>>().await;
        let names = listed.map(|items| items.iter().map(|item| item.position().into_owned()).collect());
        let names: Result<Vec<_>, _> = names.map_err(|error| error.kind());
        let ok = names == Ok(vec!["NAME".to_owned()]);
        assert!(ok || names == Err(ErrorKind::Unavailable), "{row}: {names:?}");
    }
    let bomb = "<!DOCTYPE x [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\">\
                <!ENTITY c \"&b;&b;&b;&b;&b;&b;&b;&b;\">]><ListBucketResult>";
    let file = "<!DOCTYPE x [<!ENTITY a SYSTEM \"file:///etc/passwd\">]><ListBucketResult>";
    let going_on = Reply {
        bytes: [b"HTTP/1.1 200 OK\r\n\r\n", whole.split("</ListBucketResult>").next().unwrap().as_bytes()]
            .concat(),
        behind: Behind::Flood(object("p/x").repeat(100).into_bytes()),
    };
    let rows: Vec<(&str, Reply)> = vec![
        ("an entity", inside("&a;").into()),
        (
            "an entity bomb",
            answer(200, "", whole.replacen("<ListBucketResult>", bomb, 1).replace("NAME", "&c;")).into(),
        ),
        (
            "a file",
            answer(200, "", whole.replacen("<ListBucketResult>", file, 1).replace("NAME", "&a;")).into(),
        ),
        ("levels that stay open", inside(&open).into()),
        ("a page without end", going_on),
    ];
    for (row, bad) in rows {
        let limits = if row == "a page without end" { limits() } else { roomy.clone() };
        let peer = Peer::start(but_for("ListObjectsV2", bad));
        let outcome = ask(&client(&peer, limits), "ListObjectsV2").await;
        let error = outcome.err().unwrap_or_else(|| panic!("{row}: it was a listing"));
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{row}: {}", error.chain());
        assert!(error.chain().len() < 1000, "{row}: {}", error.chain());
    }
}

/// What an object is found to be whose HEAD is answered so, and that the listing shows so.
async fn found(head: &Answer, names: &[&str]) -> Result<Option<u64>, ErrorKind> {
    let (head, listing) = (head.clone(), answer(200, "", page(names, "").replace("<Prefix>p/</Prefix>", "")));
    let peer = Peer::start(move |asked: &Asked| match asked.operation() {
        "HeadObject" => head.clone().into(),
        "ListObjectsV2" => listing.clone().into(),
        _ => Reply::from(well(asked)),
    });
    match client(&peer, limits()).head(&key("old")).await {
        Ok(Some(Listed::File(entry))) => Ok(Some(entry.size)),
        Ok(None) => Ok(None),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.kind()),
    }
}

#[tokio::test]
async fn what_a_look_does_not_tell_the_listing_does() {
    let forbidden = answer(403, "", "");
    let unmeasured = format!("HTTP/1.1 200 OK\r\netag: \"{OLD}\"\r\n\r\n").into_bytes();
    for (head, names, expected) in [
        (&forbidden, &["p/old"][..], Ok(Some(1))),
        (&forbidden, &["p/older"], Ok(None)),
        (&forbidden, &[], Ok(None)),
        (&unmeasured, &["p/old"], Ok(Some(1))),
        (&answer(500, "", ""), &["p/old"], Err(ErrorKind::Unavailable)),
        (&answer(404, "", ""), &["p/old"], Ok(None)),
    ] {
        assert_eq!(found(head, names).await, expected, "{:?} {names:?}", String::from_utf8_lossy(head));
    }
}

#[tokio::test]
async fn a_deletion_of_many_whose_answer_cannot_be_read_is_looked_into() {
    for (left, expected) in [(false, Ok(())), (true, Err(ErrorKind::Unavailable))] {
        let peer = Peer::start(move |asked: &Asked| match asked.operation() {
            "DeleteObjects" => answer(200, "", "<DeleteResult><Deleted>").into(),
            "HeadObject" if left => answer(200, &format!("etag: \"{OLD}\"\r\n"), "a").into(),
            "HeadObject" => answer(404, "", "").into(),
            _ => Reply::from(well(asked)),
        });
        let removed =
            client(&peer, limits()).remove(vec![old("old"), old("older")], &Disposal::Discard).await;
        for outcome in removed {
            assert_eq!(outcome.map_err(|error| error.kind()), expected, "{left}");
        }
        assert_eq!(peer.operations().iter().filter(|name| **name == "DeleteObjects").count(), 1);
    }
}

#[tokio::test]
async fn f31_i22_an_answer_that_drips_or_stalls_ends_every_request() {
    let brief = Duration::from_millis(60);
    let short = Limits { beginning: brief, end: brief * 2, stall: brief * 1000, patience: brief, ..limits() };
    let head = format!("HTTP/1.1 200 OK\r\netag: \"{OLD}\"\r\ncontent-length: 1000000\r\n\r\n").into_bytes();
    let reply = |bytes: &[u8], behind: Behind| Reply { bytes: bytes.to_vec(), behind };
    let answers = vec![
        ("no answer", reply(b"", Behind::Silence)),
        ("half a head", reply(&head[..30], Behind::Silence)),
        ("a head that drips", reply(b"HTTP/1.1 200 OK\r\n", Behind::Drops(b"x-amz-x: y\r\n"))),
        ("half a body", reply(&head, Behind::Silence)),
        ("a body that drips", reply(&head, Behind::Drops(b"<!-- -->"))),
    ];
    for (row, bad) in answers {
        for (operation, outcome, asked) in outcomes_of_large(&bad, &short).await {
            // A HEAD has no body that could stall.
            let is_head = operation == "HeadObject" && row.contains("body");
            let kind = outcome.err().map(|error| error.kind());
            assert_eq!(kind, (!is_head).then_some(ErrorKind::Unavailable), "{row}: {operation}");
            assert!(asked.len() < 30, "{row}: {operation}");
        }
    }
}

/// As [`outcomes`], of an object as long as the answers in question.
async fn outcomes_of_large(
    bad: &Reply,
    limits: &Limits,
) -> Vec<(&'static str, Result<()>, Vec<&'static str>)> {
    let asked = REQUESTS.map(|operation| async move {
        let peer = Peer::start(but_for(operation, bad.clone()));
        let client = client(&peer, limits.clone());
        let outcome = if operation == "GetObject" {
            content(&client, &Entry { size: 1_000_000, ..old("old") }).await.map(drop)
        } else {
            ask(&client, operation).await
        };
        (operation, outcome, peer.operations())
    });
    futures::future::join_all(asked).await
}

#[tokio::test]
async fn f28_b20_a_body_counts_only_if_it_is_the_one_that_was_listed() {
    use ErrorKind::{Changed, Unavailable};
    let tag = format!("etag: \"{OLD}\"\r\n");
    let raw = |head: &str, body: &str| format!("HTTP/1.1 200 OK\r\n{tag}{head}\r\n{body}").into_bytes();
    let chunked = "transfer-encoding: chunked\r\n";
    let flood =
        |bytes: Vec<u8>, piece: &str| Reply { bytes, behind: Behind::Flood(piece.repeat(1000).into_bytes()) };
    let other = format!("etag: \"{NEW}\"\r\n");
    let weak = format!("etag: W/\"{OLD}\"\r\n");
    let rows: Vec<(&str, Reply, Result<&str, ErrorKind>)> = vec![
        ("whole", answer(200, &tag, "0123456789").into(), Ok("0123456789")),
        ("whole, more behind it", flood(raw("content-length: 10\r\n", "0123456789"), "x"), Ok("0123456789")),
        ("cut", raw("content-length: 10\r\n", "0123").into(), Err(Unavailable)),
        ("cut behind its head", raw("content-length: 10\r\n", "").into(), Err(Unavailable)),
        ("without length, whole", raw("", "0123456789").into(), Err(Unavailable)),
        ("without length, cut", raw("", "0123").into(), Err(Unavailable)),
        ("without length, endless", flood(raw("", "0123456789"), "x"), Err(Unavailable)),
        ("chunked, whole", raw(chunked, "a\r\n0123456789\r\n0\r\n\r\n").into(), Err(Unavailable)),
        ("chunked, cut in a chunk", raw(chunked, "a\r\n01234").into(), Err(Unavailable)),
        ("chunked, cut between", raw(chunked, "5\r\n01234\r\n").into(), Err(Unavailable)),
        ("chunked, endless", flood(raw(chunked, ""), "1\r\nx\r\n"), Err(Unavailable)),
        ("shorter than listed", answer(200, &tag, "012345678").into(), Err(Changed)),
        ("longer than listed", answer(200, &tag, "0123456789x").into(), Err(Changed)),
        ("empty", answer(200, &tag, "").into(), Err(Changed)),
        ("another version", answer(200, &other, "0123456789").into(), Err(Changed)),
        ("a weak ETag", answer(200, &weak, "0123456789").into(), Ok("0123456789")),
        ("no version", answer(200, "", "0123456789").into(), Err(Unavailable)),
        ("an empty ETag", answer(200, "etag: \"\"\r\n", "0123456789").into(), Err(Changed)),
        ("gone", refusal(404, "NoSuchKey").into(), Err(Changed)),
        ("changed", refusal(412, "PreconditionFailed").into(), Err(Changed)),
        ("an error", refusal(500, "InternalError").into(), Err(Unavailable)),
    ];
    for (row, bad, expected) in rows {
        let peer = Peer::start(but_for("GetObject", bad));
        let came = content(&client(&peer, limits()), &Entry { size: 10, ..old("old") }).await;
        let came = came.map_err(|error| error.kind());
        assert_eq!(came, expected.map(|text| Bytes::from(text.to_owned())), "{row}");
    }
}

#[tokio::test]
async fn f28_b20_a_range_counts_only_if_it_is_the_one_that_was_asked_for() {
    const SIZE: u64 = 17 * 1024 * 1024;
    let tag = format!("etag: \"{OLD}\"\r\n");
    let rows: [(&str, &str, Option<usize>, ErrorKind); 4] = [
        ("no range", "", None, ErrorKind::Unavailable),
        ("another range", "content-range: bytes 5-8388612/17825792\r\n", None, ErrorKind::Unavailable),
        ("a shorter range", "content-range: bytes 0-99/17825792\r\n", Some(100), ErrorKind::Changed),
        ("a cut range", "content-range: bytes 0-8388607/17825792\r\n", Some(0), ErrorKind::Unavailable),
    ];
    for (row, range, bytes, kind) in rows {
        let whole = vec![b'x'; 8 * 1024 * 1024];
        let bad = match bytes {
            None => answer(206, &format!("{tag}{range}"), &whole),
            Some(0) => {
                let mut cut = answer(206, &format!("{tag}{range}"), &whole);
                cut.truncate(1000);
                cut
            }
            Some(bytes) => answer(206, &format!("{tag}{range}"), &whole[..bytes]),
        };
        let peer = Peer::start(but_for("GetObject", bad));
        let came = content(&client(&peer, limits()), &Entry { size: SIZE, ..old("old") }).await;
        assert_eq!(came.map_err(|error| error.kind()), Err(kind), "{row}");
    }
}

/// What a PUT of `b` over `old` comes to, if it is answered with this head and a HEAD then says this.
async fn written(told: &str, then: Answer, replaces: bool) -> Result<ETag, ErrorKind> {
    let told = answer(200, told, "");
    let peer = Peer::start(move |asked: &Asked| match asked.operation() {
        "PutObject" => told.clone(),
        "HeadObject" => then.clone(),
        _ => well(asked),
    });
    let (name, replaced) = if replaces { ("old", Some(old("old"))) } else { ("new", None) };
    let modified = Some(Timestamp::new(7, 0));
    let staged = client(&peer, limits()).stage(target(name, replaced), Body { modified, ..body("b") }).await;
    let Held::Published(entry) = staged.map_err(|error| error.kind())?.held else { panic!("it is visible") };
    let Fingerprint::Object(etag) = entry.fingerprint else { panic!("it is an object") };
    Ok(etag)
}

#[tokio::test]
async fn f30_what_a_write_is_told_is_taken_or_looked_into() {
    use ErrorKind::{Changed, Unavailable};
    let head = |etag: &str, size: &str, mtime: &str| {
        answer(200, &format!("etag: {etag}\r\nx-amz-meta-mtime: {mtime}\r\n"), size)
    };
    let new = format!("\"{NEW}\"");
    let old = format!("\"{OLD}\"");
    let none = || answer(404, "", "");
    let rows: Vec<(&str, String, Answer, Result<&str, ErrorKind>)> = vec![
        ("ours", format!("etag: {new}\r\n"), none(), Ok(NEW)),
        ("ours, without quotes", format!("etag: {NEW}\r\n"), none(), Ok(NEW)),
        ("none, ours is there", String::new(), head(&new, "b", "7"), Ok(NEW)),
        ("none, and it is not made of the content", String::new(), head("\"x\"", "b", "7"), Ok("x")),
        (
            "empty, and it is not made of the content",
            "etag: \"\"\r\n".into(),
            head("\"x\"", "b", "7"),
            Ok("x"),
        ),
        ("weak", format!("etag: W/{new}\r\n"), head(&new, "b", "7"), Ok(NEW)),
        (
            "of parts",
            format!("etag: \"{NEW_OF_PARTS}\"\r\n"),
            head(&format!("\"{NEW_OF_PARTS}\""), "b", "7"),
            Ok(NEW_OF_PARTS),
        ),
        ("none, nothing is there", String::new(), none(), Err(Unavailable)),
        ("none, another size is there", String::new(), head("\"x\"", "bb", "7"), Err(Changed)),
        ("none, another time is there", String::new(), head("\"x\"", "b", "8"), Err(Changed)),
        ("none, a HEAD without ETag", String::new(), answer(200, "", "b"), Err(Unavailable)),
    ];
    for (row, told, then, expected) in rows {
        for replaces in [false, true] {
            let etag = written(&told, then.clone(), replaces).await;
            assert_eq!(etag, expected.map(ETag::new), "{row}, replaces: {replaces}");
        }
    }
    // A version of the same size that is still the old one is not the new one.
    for told in [String::new(), "etag: \"x\"\r\n".into()] {
        assert_eq!(written(&told, head(&old, "a", "7"), true).await, Err(Unavailable), "{told}");
    }
}

#[tokio::test]
async fn i34_f18_a_source_of_another_length_is_never_completed() {
    let broken = || Err(Error::new(ErrorKind::Unavailable, "the network is down"));
    let bytes = |text: &'static str| Ok(Bytes::from_static(text.as_bytes()));
    for (what, chunks) in [
        ("too short", vec![bytes("1234")]),
        ("too long", vec![bytes("123456")]),
        ("long in pieces", vec![bytes("12345"), bytes("6")]),
        ("broken", vec![bytes("12345"), broken()]),
        ("empty", vec![]),
    ] {
        let peer = Peer::start(well);
        let chunks = stream::iter(chunks).boxed();
        let body =
            Body { size: 5, modified: None, mode: None, folder_modes: Vec::new(), proof: None, chunks };
        assert!(client(&peer, limits()).stage(target("new", None), body).await.is_err(), "{what}");
        let asked = peer.operations();
        assert_eq!(asked.last(), Some(&"AbortMultipartUpload"), "{what}: {asked:?}");
        assert!(!asked.contains(&"CompleteMultipartUpload"), "{what}: {asked:?}");
    }
}

/// A store whose ETags are something else than when it was asked is asked anew in the next run, and not believed for 30 days.
#[tokio::test]
async fn a_store_that_does_other_than_it_answered_is_asked_anew() {
    for (operation, expected) in [("PutObject", false), ("UploadPart", false), ("HeadObject", true)] {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("probe.json");
        std::fs::write(&file, "what it answered").unwrap();
        let mut is_there = false;
        let peer = Peer::start(move |asked: &Asked| {
            is_there |= asked.operation() == "PutObject";
            match asked.operation() {
                "PutObject" | "UploadPart" => answer(200, &format!("etag: \"{OLD}\"\r\n"), ""),
                "HeadObject" if is_there => answer(200, &format!("etag: \"{OLD}\"\r\n"), "b"),
                _ => well(asked),
            }
        });
        let client = client(&peer, limits());
        let can = Capabilities { md5_etags: true, ..*client.probe.answer.get().unwrap() };
        let probe = Probe::new(Some(file.clone()), "p/".into(), true);
        probe.answer.set(can).unwrap();
        let client = S3Client { probe, ..client };
        assert_eq!(ask(&client, operation).await.is_ok(), expected, "{operation}");
        assert_eq!(file.exists(), expected, "{operation}");
    }
}

/// And one whose ETags are hashes, although it had answered that they are none.
#[tokio::test]
async fn a_store_whose_etags_have_become_hashes_is_asked_anew() {
    for (operation, is_asked) in [("PutObject", true), ("GetObject", true), ("HeadObject", false)] {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("probe.json");
        std::fs::write(&file, "what it answered").unwrap();
        let peer = Peer::start(|asked: &Asked| Reply::from(well(asked)));
        let client = client(&peer, limits());
        let probe = Probe::new(Some(file.clone()), "p/".into(), true);
        probe.answer.set(*client.probe.answer.get().unwrap()).unwrap();
        let client = S3Client { probe, ..client };
        ask(&client, operation).await.unwrap();
        client.settle(false).await;
        assert_eq!(file.exists(), !is_asked, "{operation}");
    }
}
