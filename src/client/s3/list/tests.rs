//! Listings through the real SDK from a peer that answers what a test says.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;

use super::*;
use crate::client::StorageClient;
use crate::client::s3::tests::peer::{Answer, Asked, Peer, answer, object, page, refusal, store};
use crate::client::s3::{Ports, Setup};
use crate::clock::{Clock, SystemEntropy};
use crate::control::SyncController;
use crate::location::Bucket;
use crate::timestamp::Timestamp;

/// A clock by which no wait takes any time.
#[derive(Debug, Default)]
struct Hurried(AtomicU64);

impl Clock for Hurried {
    fn now(&self) -> Timestamp {
        Timestamp::default()
    }

    fn monotonic(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::SeqCst))
    }

    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }
}

fn client_at(endpoint: &str, keys: (&str, &str), at: Bucket, clock: &Arc<Hurried>) -> S3Client {
    let clock = Arc::clone(clock);
    let ports = Ports { clock, entropy: Arc::new(SystemEntropy), control: SyncController::new() };
    S3Client::open_embedded(at, endpoint, keys, Path::new("/nowhere"), Arc::new(()), Setup::new(ports))
}

fn client(peer: &Peer) -> S3Client {
    client_by(peer, &Arc::default())
}

fn client_by(peer: &Peer, clock: &Arc<Hurried>) -> S3Client {
    let at = Bucket { name: "vault".into(), prefix: "p/".into() };
    client_at(&peer.endpoint, ("a", "b"), at, clock)
}

/// Answers request after request with `answers`, and with the last one again and again.
fn script(answers: Vec<Answer>) -> impl FnMut(&Asked) -> Answer + Send {
    let mut next = 0;
    move |_| {
        let answer = answers[next.min(answers.len() - 1)].clone();
        next += 1;
        answer
    }
}

fn good(names: &[&str], token: &str) -> Answer {
    answer(200, "", page(names, token))
}

/// What is listed, up to the first error.
async fn listed(client: &S3Client) -> (Vec<String>, Option<Error>) {
    let mut stream = client.list_all(false);
    let mut names = Vec::new();
    while let Some(item) = stream.next().await {
        match item {
            Ok(item) => names.push(item.position().into_owned()),
            Err(error) => {
                assert!(stream.next().await.is_none(), "nothing comes behind an error");
                return (names, Some(error));
            }
        }
    }
    (names, None)
}

async fn names(client: &S3Client) -> Vec<String> {
    let (names, error) = listed(client).await;
    assert!(error.is_none(), "{}", error.unwrap().chain());
    names
}

fn below(prefix: &str, names: &[String]) -> Vec<String> {
    names.iter().map(|name| format!("{prefix}{name}")).collect()
}

/// Names with everything that XML, URLs and orders get wrong, in byte order.
fn odd_names(count: usize) -> Vec<String> {
    let odd = [
        "a b",
        "a+b",
        "a%20b",
        "a%2Bb",
        "%",
        "%%",
        "~",
        "é",
        "e\u{301}",
        "日本/語",
        "😀",
        "&amp;",
        "<x>",
        "\"q\"",
        "'",
        "a\nb",
        "\u{1}",
        "\u{7f}",
        "\r",
        "\t x ",
        "a\\b",
        "a-b",
        "a/b",
        "a.b",
        "a",
        "#?=&",
        "\u{202e}x",
        "[]{}|^`",
        "\u{fffd}",
        "\u{feff}b",
        ":;,@$!*()",
    ];
    let numbered = (0..).flat_map(|round: usize| odd.map(|name| format!("{name}{round}")));
    let mut names: Vec<String> = odd.map(str::to_owned).into_iter().chain(numbered).take(count).collect();
    names.sort();
    names
}

#[tokio::test]
async fn b59_odd_names_come_through_any_number_of_pages() {
    for (count, most, requests) in [(2500, 1000, 3), (2500, 70, 36), (200, 1, 200)] {
        let expected = odd_names(count);
        let peer = Peer::start(store(below("p/", &expected), most));
        let client = client(&peer);
        assert_eq!(names(&client).await, expected, "pages of {most}");
        assert_eq!(peer.asked("encoding-type"), vec!["url"; requests]);
        assert_eq!(client.store.log.counts().list, requests as u64);
        assert!(peer.asked("delimiter").iter().all(|value| value == "-"));
        assert_eq!(peer.asked("prefix")[0], "p/", "I-31");
    }
}

type Row = (&'static str, Vec<Answer>, ErrorKind);

/// Second pages, and what may follow them, of stores that lose the thread or are no stores.
fn broken_pages() -> Vec<Row> {
    use ErrorKind::{Corrupt, Disordered, NotFound, PermissionDenied, Unavailable};
    let end = "</ListBucketResult>".len();
    let whole = page(&["p/c", "p/d"], "");
    let cut = |bytes: usize| answer(200, "", &whole[..whole.len() - bytes]);
    let lost = |bytes: usize| {
        let sent = good(&["p/c", "p/d"], "");
        sent[..sent.len() - bytes].to_vec()
    };
    let closed =
        format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}", &whole[..whole.len() - 150]).into_bytes();
    let token = "<NextContinuationToken>T</NextContinuationToken>";
    let going_on = |token_element: &str| answer(200, "", page(&["p/c"], "T").replace(token, token_element));
    let html = answer(200, "content-type: text/html\r\n", "<html><body>log in</body></html>");
    let one = |names: &[&str], token: &str| vec![good(names, token)];
    let repeated = vec![good(&["p/c"], "one"), good(&["p/d"], "t"), good(&["p/e"], "t")];
    let cycle = vec![good(&["p/c"], "x"), good(&["p/d"], "y"), good(&["p/e"], "z"), good(&["p/f"], "x")];
    vec![
        ("F-32 no token", vec![going_on("")], Unavailable),
        ("F-32 empty token", vec![going_on("<NextContinuationToken/>")], Unavailable),
        ("F-32 repeated token", repeated, Corrupt),
        ("F-32 token cycle", cycle, Corrupt),
        ("F-32 the first token again", one(&["p/c"], "first"), Corrupt),
        ("F-33 cut in an element", vec![cut(60)], Unavailable),
        ("F-33 cut between elements", vec![cut(end)], Unavailable),
        ("F-33 cut between objects", vec![cut(object("p/d").len() + end)], Unavailable),
        ("F-33 connection lost", vec![lost(30)], Unavailable),
        ("F-33 closed early, without length", vec![closed], Unavailable),
        ("F-34 500", vec![refusal(500, "InternalError")], Unavailable),
        ("F-34 reset", vec![Vec::new()], Unavailable),
        ("F-35 nothing in it", vec![answer(200, "", "<ListBucketResult/>")], Unavailable),
        ("F-35 nothing between", vec![answer(200, "", "<ListBucketResult></ListBucketResult>")], Unavailable),
        ("F-35 empty body", vec![answer(200, "", "")], Unavailable),
        ("F-35 204", vec![answer(204, "", "")], Unavailable),
        ("F-35 404", vec![refusal(404, "NoSuchBucket")], NotFound),
        ("F-35 403", vec![refusal(403, "AccessDenied")], PermissionDenied),
        ("F-26 200 with an error", vec![refusal(200, "InternalError")], Unavailable),
        ("F-27 HTML", vec![html], Unavailable),
        ("F-27 JSON", vec![answer(200, "", "{\"Contents\":[]}")], Unavailable),
        ("206", vec![answer(206, "", &whole)], Unavailable),
        ("F-36 duplicate over pages", one(&["p/b"], ""), Corrupt),
        ("F-36 duplicate in a page", one(&["p/c", "p/c"], ""), Corrupt),
        ("F-36 unsorted in a page", one(&["p/d", "p/c"], ""), Disordered),
        ("F-36 unsorted over pages", one(&["p/a"], ""), Disordered),
        ("F-36 outside the prefix", one(&["p/c", "q"], ""), Unavailable),
        ("B-17 beside the prefix", one(&["p2/c"], ""), Unavailable),
    ]
}

/// Second pages with something wrong in them, all to be asked for again.
fn broken_objects() -> Vec<Row> {
    let changed = |from: &str, to: &[u8]| {
        let whole = page(&["p/NAME"], "");
        let (before, after) = whole.split_once(from).unwrap();
        answer(200, "", [before.as_bytes(), to, after.as_bytes()].concat())
    };
    let rows: [(&str, &str, &[u8]); 12] = [
        ("B-56 no size", "<Size>1</Size>", b""),
        ("B-56 size too large", "<Size>1", b"<Size>100000000000000000000"),
        ("B-56 negative size", "<Size>1", b"<Size>-5"),
        ("B-56 no key", "<Key>p/NAME</Key>", b""),
        ("B-56 empty key", "p/NAME", b""),
        ("IsTruncated missing", "<IsTruncated>false</IsTruncated>", b""),
        ("IsTruncated maybe", "<IsTruncated>false", b"<IsTruncated>maybe"),
        ("a wrong count", "<KeyCount>1", b"<KeyCount>2"),
        ("another bucket", "vault", b"other"),
        ("B-14 not UTF-8", "NAME", b"\xff"),
        ("B-14 encoded, not UTF-8", "NAME", b"%ED%A0%80"),
        ("B-55 unknown entity", "NAME", b"&foo;"),
    ];
    rows.map(|(row, from, to)| (row, vec![changed(from, to)], ErrorKind::Unavailable)).into()
}

#[tokio::test]
async fn a_listing_that_cannot_be_whole_ends_with_an_error() {
    for (row, then, kind) in [broken_pages(), broken_objects()].concat() {
        let peer = Peer::start(script([vec![good(&["p/a", "p/b"], "first")], then].concat()));
        let (names, error) = listed(&client(&peer)).await;
        let error = error.unwrap_or_else(|| panic!("{row}: ended well after {names:?}"));
        assert_eq!(error.kind(), kind, "{row}: {}", error.chain());
        assert!(names.starts_with(&["a".into(), "b".into()]), "{row}: {names:?}");
        let is_loop = row.starts_with("F-32") && kind == ErrorKind::Corrupt;
        assert_eq!(
            error.chain().contains("goes on where it already was"),
            is_loop,
            "{row}: {}",
            error.chain()
        );
        assert!(error.to_string().starts_with("list `embedded://vault/p`"), "{row}");
        assert!(peer.asked("prefix").len() < 20, "{row}: asked too often");
    }
}

/// Nothing needs it, so no page is given up for it.
#[tokio::test]
async fn b56_a_time_that_is_none_is_passed_over() {
    for time in ["yesterday", "", "0000-00-00T00:00:00Z", "99999999999"] {
        let whole = page(&["p/a", "p/b", "p/c"], "").replacen("2026-01-02T03:04:05.006Z", time, 2);
        let peer = Peer::start(script(vec![answer(200, "", whole)]));
        assert_eq!(names(&client(&peer)).await, ["a", "b", "c"], "{time:?}");
        assert_eq!(peer.asked("prefix").len(), 1, "{time:?}");
        let head = format!("etag: \"0cc175b9c0f1b6a831c399e269772661\"\r\nlast-modified: {time}\r\n");
        let peer = Peer::start(script(vec![answer(200, &head, "")]));
        let found = client(&peer).head(&Key::parse("a").unwrap()).await;
        assert!(matches!(&found, Ok(Some(_))), "{time:?}: {found:?}");
    }
}

#[tokio::test]
async fn f34_a_page_that_fails_is_asked_for_again() {
    let mut cut = good(&["p/b", "p/c"], "");
    cut.truncate(cut.len() - 30);
    let html = answer(200, "", "<html>busy</html>");
    let answers = vec![
        refusal(503, "SlowDown"),
        good(&["p/a"], "t"),
        refusal(500, "InternalError"),
        cut,
        Vec::new(),
        html,
    ];
    let peer = Peer::start(script([answers, vec![good(&["p/b", "p/c"], "")]].concat()));
    assert_eq!(names(&client(&peer)).await, ["a", "b", "c"]);
    assert_eq!(peer.asked("continuation-token"), ["-", "-", "t", "t", "t", "t", "t"]);
}

#[tokio::test]
async fn b59_empty_pages_are_legal_up_to_a_bound() {
    let mut count = 0;
    let peer = Peer::start(move |_| {
        count += 1;
        if count == 500 { good(&["p/a"], "") } else { good(&[], &format!("t{count}")) }
    });
    assert_eq!(names(&client(&peer)).await, ["a"]);
    let mut count = 0;
    let peer = Peer::start(move |_| {
        count += 1;
        good(&[], &format!("t{count}"))
    });
    let (_, error) = listed(&client(&peer)).await;
    assert_eq!((error.unwrap().kind(), peer.asked("prefix").len()), (ErrorKind::Corrupt, 1001));
}

/// The order of a store that walks folders, such as SeaweedFS.
fn by_folders(mut names: Vec<String>) -> Vec<String> {
    names.sort_by(|a, b| a.split('/').cmp(b.split('/')));
    names
}

#[tokio::test]
async fn a_store_that_walks_folders_is_noticed_once_and_sorted_from_then_on() {
    let mut expected: Vec<String> = (0..300)
        .flat_map(|n| [format!("a{n}"), format!("a{n}-b"), format!("a{n}.c"), format!("a{n}/d")])
        .collect();
    expected.push(".syncengine/trash/20260101T000000Z-0000000a/x".into());
    let peer = Peer::start(store(by_folders(below("p/", &expected)), 100));
    let client = client(&peer);
    let (_, error) = listed(&client).await;
    assert_eq!(error.unwrap().kind(), ErrorKind::Disordered);
    expected.pop();
    expected.sort();
    assert_eq!(names(&client).await, expected);
    assert!(peer.asked("start-after").iter().all(|value| value == "-"), "no jump without an order");
    assert_eq!(names(&client).await, expected, "and again");
}

#[tokio::test]
async fn a_look_at_the_root_already_notices_the_order() {
    let names_of = ["a/b", "a-b", "c"].map(|name| format!("p/{name}")).to_vec();
    let peer = Peer::start(store(names_of, 1000));
    let client = client(&peer);
    assert!(client.bucket_exists().await.unwrap());
    assert_eq!(names(&client).await, ["a-b", "a/b", "c"]);
    assert_eq!(peer.asked("prefix").len(), 1);
}

#[tokio::test]
async fn f36_a_name_that_comes_twice_is_refused_in_any_order() {
    let names_of = ["b", "a", "b"].map(|name| format!("p/{name}")).to_vec();
    let peer = Peer::start(store(names_of, 2));
    let client = client(&peer);
    assert_eq!(listed(&client).await.1.unwrap().kind(), ErrorKind::Disordered);
    assert_eq!(listed(&client).await.1.unwrap().kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn the_trash_is_jumped_over() {
    let trash = (0..5000).map(|n| format!("p/.syncengine/trash/20260101T000000Z-0000000a/{n:04}"));
    let mut all: Vec<String> = trash.collect();
    all.extend(
        ["p/!a", "p/.syncengine/pairs/id", "p/.syncengine/probe/x", "p/.syncengine/z", "p/.z", "p/z"]
            .map(String::from),
    );
    all.sort();
    let peer = Peer::start(store(all, 1000));
    let client = client(&peer);
    assert_eq!(names(&client).await, ["!a", ".z", "z"]);
    assert_eq!(peer.asked("start-after"), ["-", "p/.syncengine/trash0"]);
}

#[tokio::test]
async fn an_empty_page_behind_the_trash_is_not_asked_for_again() {
    let pages = vec![good(&["p/.syncengine/trash/r/a"], "t"), good(&[], "u"), good(&["p/z"], "")];
    let peer = Peer::start(script(pages));
    assert_eq!(names(&client(&peer)).await, ["z"]);
    assert_eq!(peer.asked("continuation-token"), ["-", "-", "u"]);
}

#[tokio::test]
async fn f32_a_loop_ends_without_an_order_too() {
    let of_markers = |token| page(&["p/.syncengine/pairs/id"], token).replace("<Prefix>p/</Prefix>", "");
    let pages = ["x", "y", "z", "x"].map(|token| answer(200, "", of_markers(token)));
    let peer = Peer::start(script(pages.to_vec()));
    assert_eq!(client(&peer).list_markers().await.unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(peer.asked("prefix").len(), 4);
}

#[tokio::test]
async fn localstack_is_asked_plainly_from_the_second_page_on() {
    let seen = "x-localstack: true\r\n";
    let second = page(&["p/é"], "").replace("%C3%A9", "é").replace("<EncodingType>url</EncodingType>", "");
    let pages = vec![answer(200, seen, page(&["p/a b"], "t")), answer(200, seen, second)];
    let peer = Peer::start(script(pages));
    assert_eq!(names(&client(&peer)).await, ["a b", "é"]);
    assert_eq!(peer.asked("encoding-type"), ["url", "-"]);
    let odd = page(&["p/b"], "").replace("p/b", "p/b\u{1}");
    let peer = Peer::start(script(vec![answer(200, seen, page(&["p/a"], "t")), answer(200, seen, odd)]));
    assert_eq!(names(&client(&peer)).await, ["a", "b\u{1}"]);
}

#[tokio::test]
async fn a_store_whose_tokens_are_names_is_not_asked_for_a_name_that_xml_cannot_carry() {
    // SeaweedFS 4.48 ends such a listing early, and well, behind the name in the token.
    let first = answer(200, "", page(&["p/a", "p/b\u{1}"], "p/b\u{fffd}"));
    let peer = Peer::start(script(vec![first, good(&["p/b\u{2}"], "")]));
    assert_eq!(names(&client(&peer)).await, ["a", "b\u{1}", "b\u{2}"]);
    assert_eq!(peer.asked("start-after"), ["-", "p/b\u{1}"]);
    assert_eq!(peer.asked("continuation-token"), ["-", "-"]);
}

#[tokio::test]
async fn a_run_over_a_small_tree_sends_one_listing() {
    let names_of =
        [".syncengine/pairs/id", ".syncengine/pairs/x/y", "a", "z"].map(|name| format!("p/{name}"));
    let peer = Peer::start(store(names_of.to_vec(), 1000));
    let client = client(&peer);
    assert!(client.bucket_exists().await.unwrap());
    assert_eq!(marker_names(&client).await, ["id"]);
    assert_eq!(names(&client).await, ["a", "z"]);
    assert_eq!(peer.asked("max-keys"), ["1000"]);
    assert!(client.bucket_exists().await.unwrap());
    assert_eq!(names(&client).await, ["a", "z"], "a second listing asks again");
    assert_eq!(marker_names(&client).await, ["id"]);
    assert_eq!(peer.asked("max-keys"), ["1000", "1", "1000", "1000"]);
    assert_eq!(peer.asked("prefix")[3], "p/.syncengine/pairs/");
}

#[tokio::test]
async fn a_page_of_more_than_10_seconds_ago_is_not_used() {
    let peer = Peer::start(store(vec!["p/a".into()], 1000));
    let clock = Arc::<Hurried>::default();
    let client = client_by(&peer, &clock);
    assert!(client.bucket_exists().await.unwrap());
    clock.0.store(10, Ordering::SeqCst);
    assert_eq!(marker_names(&client).await, Vec::<String>::new());
    assert_eq!(names(&client).await, ["a"]);
    assert_eq!(peer.asked("prefix"), ["p/", "p/.syncengine/pairs/", "p/"]);
}

async fn marker_names(client: &S3Client) -> Vec<String> {
    client.list_markers().await.unwrap().into_iter().map(|marker| marker.name).collect()
}

#[tokio::test]
async fn markers_are_read_off_the_first_page_only_if_it_comes_past_them() {
    let before: Vec<String> =
        (0..1500).map(|n| format!("p/!{n:04}")).chain(["p/.syncengine/pairs/id".into()]).collect();
    let peer = Peer::start(store(before, 1000));
    let one = client(&peer);
    assert!(one.bucket_exists().await.unwrap());
    assert_eq!(marker_names(&one).await, ["id"]);
    assert_eq!(peer.asked("prefix"), ["p/", "p/.syncengine/pairs/"]);
    assert_eq!(names(&one).await.len(), 1500);
    assert_eq!(peer.asked("prefix").len(), 3, "the first page was kept for the listing");
    let behind: Vec<String> = ["p/.syncengine/pairs/id".into()]
        .into_iter()
        .chain((0..1500).map(|n| format!("p/a{n:04}")))
        .collect();
    let peer = Peer::start(store(behind, 1000));
    let other = client(&peer);
    assert!(other.bucket_exists().await.unwrap());
    assert_eq!(marker_names(&other).await, ["id"]);
    assert_eq!(peer.asked("prefix"), ["p/"]);
}

#[tokio::test]
async fn markers_are_read_off_a_page_that_is_the_whole_listing() {
    for (names_of, expected) in [(vec![], vec![]), (vec!["p/.syncengine/pairs/id".to_owned()], vec!["id"])] {
        let peer = Peer::start(store(names_of, 1000));
        let client = client(&peer);
        assert!(client.bucket_exists().await.unwrap());
        assert_eq!(marker_names(&client).await, expected);
        assert_eq!(peer.asked("prefix"), ["p/"]);
    }
}

#[tokio::test]
async fn a_bucket_that_is_missing_is_no_error_but_any_other_404_is() {
    for (reply, expected) in [
        (refusal(404, "NoSuchBucket"), Ok(false)),
        (answer(404, "", "<html>not here</html>"), Err(ErrorKind::NotFound)),
        (refusal(403, "AccessDenied"), Err(ErrorKind::PermissionDenied)),
        (good(&[], ""), Ok(true)),
    ] {
        let peer = Peer::start(script(vec![reply]));
        let exists = client(&peer).bucket_exists().await;
        assert_eq!(exists.map_err(|error| error.kind()), expected);
    }
}

fn seen(view: &mut View, name: &str, size: u64) -> String {
    let etag = (name != "odd").then(|| crate::fingerprint::ETag::new("x"));
    let object = Object { key: format!("p/{name}"), size, etag, modified: None };
    match view.show(object) {
        None => "nothing".into(),
        Some(item) => {
            assert!(matches!(item, Listed::Unmappable { .. }) || item.position() == name);
            match item {
                Listed::File(entry) => {
                    assert_eq!((entry.size, entry.modified), (size, None));
                    "file".into()
                }
                Listed::Unknown(..) => "unknown".into(),
                Listed::Unmappable { shown, folder, .. } => {
                    assert_eq!(folder, name, "stands where the store has it");
                    format!("unmappable {shown}")
                }
                Listed::Leftover(_) => "leftover".into(),
                Listed::Foreign(_) => "foreign".into(),
                other => format!("{other:?}"),
            }
        }
    }
}

#[test]
fn what_the_engine_is_told_of_an_object() {
    for (name, size, expected) in [
        ("a", 1, "file"),
        ("a/b", 0, "file"),
        ("", 0, "nothing"),
        ("", 3, "nothing"),
        ("a/", 0, "nothing"),
        ("a/b/", 0, "nothing"),
        ("a/", 1, "unmappable a/"),
        ("/", 0, "unmappable /"),
        ("a//", 0, "unmappable a//"),
        ("a//b", 1, "unmappable a//b"),
        ("/a", 1, "unmappable /a"),
        ("../a", 1, "unmappable ../a"),
        ("..", 0, "unmappable .."),
        ("./", 0, "unmappable ./"),
        ("a\0", 1, "unmappable a\\u{0}"),
        ("\u{1b}[31m", 1, "file"),
        ("odd", 1, "unknown"),
        (".syncengine/trash/r/a", 1, "nothing"),
        (".syncengine/pairs/id", 1, "nothing"),
        (".syncengine/probe/1", 1, "nothing"),
        (".syncengine/probe/", 0, "nothing"),
        (".syncengine/probe/../x", 1, "nothing"),
        (".syncengine/later/1", 1, "nothing"),
        (".syncengine/", 0, "nothing"),
        (".syncengine", 1, "foreign"),
        (".syncengine-0123456789abcdef.tmp", 1, "foreign"),
        ("a/.syncengine/probe/x", 1, "foreign"),
        (".syncengines", 1, "file"),
    ] {
        assert_eq!(seen(&mut View::new(2, false), name, size), expected, "{name}");
    }
}

/// Between two stores.
#[test]
fn names_that_no_file_can_have_are_those_of_objects() {
    for (name, size, expected) in [
        ("a/", 0, "nothing"),
        ("a/", 1, "file"),
        ("a//", 0, "file"),
        ("a//b", 1, "file"),
        ("/a", 1, "file"),
        ("../a", 1, "file"),
        ("a\0", 1, "unmappable a\\u{0}"),
        ("//.syncengine/x", 1, "foreign"),
        (".syncengine/trash/r//a", 1, "nothing"),
    ] {
        assert_eq!(seen(&mut View::new(2, true), name, size), expected, "{name}");
    }
}

#[test]
fn a_foreign_folder_is_told_of_once() {
    let mut view = View::new(2, false);
    let told: Vec<_> =
        [".syncengine-x/1", ".syncengine-x/2", ".syncengine-xy", "a", "b/.syncengine/c", "b/.syncengine/d"]
            .map(|name| seen(&mut view, name, 1))
            .into();
    assert_eq!(told, ["foreign", "nothing", "foreign", "file", "foreign", "nothing"]);
}
