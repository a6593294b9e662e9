//! What a bucket with versions does, asked by the SDK: the embedded server and every named one by one table.
//!
//! A script is a list of commands: `enable`, `suspend`, `put KEY TEXT`, `parts KEY TEXT` (an upload in parts), `new KEY
//! TEXT` (only where there is none), `edit KEY TEXT` (only in place of what is current), `cp KEY[@VERSION] KEY`, `get KEY[@VERSION]`, `head KEY[@VERSION]`,
//! `rm KEY[@VERSION]`, `rms KEY[@VERSION]...` (one request), `ls`, `versions`, `drop` (the bucket).
//!
//! Each says what was answered. Versions are called `v1`, `v2` in the order in which they are first seen; `null` is
//! a name of S3's own, and `-` is none. In a listing of versions `*` marks the latest, and `!` a marker of a deletion.
//!
//! The embedded server must answer word for word. Of the others, which differ in what they tell besides, only what is
//! there afterwards counts: `get`, `ls` and `versions`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    BucketVersioningStatus, CompletedMultipartUpload, CompletedPart, Delete, ObjectIdentifier,
    VersioningConfiguration,
};

use crate::support::bucket::{self, Bucket, Server, block};
use crate::support::endpoints;

/// A name, a script, and what is answered.
type Row = (&'static str, &'static str, &'static str);

const ROWS: &[Row] = &[
    (
        "a bucket that was never told to has one version of each, without a name",
        "put k one; put k two; get k; get k@null; versions; rm k; rm k; versions; ls",
        "- - two two [k@null*] - - [] []",
    ),
    (
        "what is replaced is kept, and read by its name",
        "enable; put k one; put k two; get k; get k@v1; head k@v1; get k@v2; versions; ls",
        "ok v1 v2 two@v2 one@v1 3@v1 two@v2 [k@v2* k@v1] [k]",
    ),
    (
        "a deletion is a marker, and is taken back by removing it",
        "enable; put k one; rm k; get k; head k; get k@v1; get k@v2; head k@v2; versions; ls; rm k@v2; get k; versions",
        "ok v1 !v2 404! 404! one@v1 405! 405! [k@v2*! k@v1] [] !v2 one@v1 [k@v1*]",
    ),
    (
        "what is absent is marked too, and each time anew",
        "enable; rm k; rm k; versions; rm k@v1; rm k@v2; versions; get k",
        "ok !v1 !v2 [k@v2*! k@v1!] !v1 !v2 [] 404",
    ),
    (
        "without the latest version the one before it is the latest",
        "enable; put k one; put k two; put k three; rm k@v3; get k; rm k@v1; get k; versions; rm k@v2; get k; versions; ls",
        "ok v1 v2 v3 v3 two@v2 v1 two@v2 [k@v2*] v2 404 [] []",
    ),
    (
        "an old version is removed from below a marker",
        "enable; put k one; put k two; rm k; rm k@v2; versions; get k; rm k@v3; get k",
        "ok v1 v2 !v3 v2 [k@v3*! k@v1] 404! !v3 one@v1",
    ),
    (
        "what was there before is kept under the name null",
        "put k one; enable; get k; put k two; versions; get k@null; rm k@null; versions; put l one; rm k@null",
        "- ok one@null v1 [k@v1* k@null] one@null null [k@v1*] v2 null",
    ),
    (
        "while suspended, null replaces null and nothing else",
        "enable; put k one; suspend; put k two; put k three; versions; get k@null; get k@v1; put l four; ls",
        "ok v1 ok - - [k@null* k@v1] three@null one@v1 - [k l]",
    ),
    (
        "while suspended, a null version from before is replaced although it is not current",
        "put k one; enable; put k two; suspend; put k three; versions; get k@null",
        "- ok v1 ok - [k@null* k@v1] three@null",
    ),
    (
        "while suspended, a deletion takes the null version and is one",
        "enable; put k one; suspend; put k two; rm k; versions; get k; rm k@null; versions; get k",
        "ok v1 ok - !null [k@null*! k@v1] 404! !null [k@v1*] one@v1",
    ),
    (
        "while suspended, a marker is replaced by what is put",
        "enable; suspend; put k one; rm k; put k two; versions; get k",
        "ok ok - !null - [k@null*] two@null",
    ),
    (
        "switched on again, the null version is kept",
        "enable; put k one; suspend; put k two; enable; put k three; rm k; versions; get k@null",
        "ok v1 ok - ok v2 !v3 [k@v3*! k@v2 k@null k@v1] two@null",
    ),
    (
        "a copy is a new version, and an old one can be copied over the current one",
        "enable; put k one; put k two; cp k@v1 k; get k; cp k l; get l; cp k@v2 l; get l; versions",
        "ok v1 v2 v3 one@v3 v4 one@v4 v5 two@v5 [k@v3* k@v2 k@v1 l@v5* l@v4]",
    ),
    (
        "an upload in parts is a new version",
        "enable; put k one; parts k two; get k; get k@v1; versions",
        "ok v1 v2 two@v2 one@v1 [k@v2* k@v1]",
    ),
    (
        "conditions are about the current version, and a marker is nothing",
        "enable; new k one; new k two; rm k; new k two; edit k three; get k; versions",
        "ok v1 412 !v2 v3 v4 three@v4 [k@v4* k@v3 k@v2! k@v1]",
    ),
    (
        "many are deleted with one request, by names and by versions",
        "enable; put k one; put k two; put l one; put m one; rms k@v1 l m; versions; rms l@v5 m@v6; versions; ls",
        "ok v1 v2 v3 v4 k@v1,l!v5,m!v6 [k@v2* l@v5*! l@v3 m@v6*! m@v4] l!v5,m!v6 [k@v2* l@v3* m@v4*] [k l m]",
    ),
    (
        "a bucket with nothing but markers is not empty",
        "enable; rm k; ls; drop; rm k@v1; drop",
        "ok !v1 [] 409 !v1 ok",
    ),
    (
        "names are in order of their bytes, and each in order of its versions",
        "enable; put a/b one; put a one; put a-b one; put a two; versions; ls",
        "ok v1 v2 v3 v4 [a@v4* a@v2 a-b@v3* a/b@v1*] [a a-b a/b]",
    ),
];

/// One script on its way, in a bucket of its own.
struct Play {
    bucket: Bucket,
    /// The names of the versions, in the order in which they were first seen.
    names: Mutex<Vec<String>>,
    /// The keys that were written, and what the versions are called, in this order.
    written: Mutex<Vec<(String, String)>>,
}

/// Returns the status of a refusal, and whether it was told that a marker is there.
fn refusal<E: ProvideErrorMetadata>(
    error: &SdkError<E, aws_smithy_runtime_api::client::orchestrator::HttpResponse>,
) -> String {
    let answer = error.raw_response().unwrap();
    let marked = answer.headers().get("x-amz-delete-marker") == Some("true");
    format!("{}{}", answer.status().as_u16(), if marked { "!" } else { "" })
}

impl Play {
    /// Returns what a version is called.
    fn call(&self, name: Option<&str>) -> String {
        let Some(name) = name.filter(|name| !name.is_empty()) else { return "-".into() };
        if name == "null" {
            return name.into();
        }
        let mut names = self.names.lock().unwrap();
        let at = names.iter().position(|known| known == name).unwrap_or_else(|| {
            names.push(name.to_owned());
            names.len() - 1
        });
        format!("v{}", at + 1)
    }

    /// Notes that a key was written, and returns what the version is called.
    fn note(&self, key: &str, version: Option<&str>) -> String {
        let name = self.call(version);
        self.written.lock().unwrap().push((key.to_owned(), name.clone()));
        name
    }

    /// Returns when a version was written, later ones being greater: an answer has the markers apart.
    fn age(&self, key: &str, name: &str) -> Option<usize> {
        let known = |noted: &str| noted == name || name == "null" && noted == "-";
        let written = self.written.lock().unwrap();
        written.iter().rposition(|(of, noted)| of == key && known(noted))
    }

    /// Reads `KEY[@VERSION]`.
    fn named(&self, word: &str) -> (String, Option<String>) {
        let (key, version) = word.split_once('@').map_or((word, None), |(key, name)| (key, Some(name)));
        let version = version.map(|name| match name.strip_prefix('v') {
            Some(number) => {
                let at = number.parse::<usize>().unwrap() - 1;
                self.names.lock().unwrap().get(at).map_or(name, String::as_str).to_owned()
            }
            None => name.to_owned(),
        });
        (key.to_owned(), version)
    }

    async fn versioning(&self, status: BucketVersioningStatus) -> String {
        let configuration = VersioningConfiguration::builder().status(status.clone()).build();
        let (sdk, name) = (&self.bucket.sdk, &self.bucket.at.name);
        let put = sdk.put_bucket_versioning().bucket(name).versioning_configuration(configuration);
        put.send().await.unwrap();
        assert_eq!(sdk.get_bucket_versioning().bucket(name).send().await.unwrap().status, Some(status));
        "ok".into()
    }

    async fn put(
        &self,
        key: &str,
        text: &str,
        if_none_match: Option<&str>,
        if_match: Option<String>,
    ) -> String {
        let put = self.bucket.sdk.put_object().bucket(&self.bucket.at.name).key(key);
        let put = put.body(ByteStream::from(text.as_bytes().to_vec())).set_if_match(if_match);
        match put.set_if_none_match(if_none_match.map(str::to_owned)).send().await {
            Ok(answer) => self.note(key, answer.version_id()),
            Err(error) => refusal(&error),
        }
    }

    async fn tag(&self, key: &str) -> Option<String> {
        let head = self.bucket.sdk.head_object().bucket(&self.bucket.at.name).key(key);
        head.send().await.unwrap().e_tag
    }

    async fn parts(&self, key: &str, text: &str) -> String {
        let (sdk, name) = (&self.bucket.sdk, &self.bucket.at.name);
        let begun = sdk.create_multipart_upload().bucket(name).key(key).send().await.unwrap();
        let id = begun.upload_id.unwrap();
        let part = sdk.upload_part().bucket(name).key(key).upload_id(&id).part_number(1);
        let tag = part.body(ByteStream::from(text.as_bytes().to_vec())).send().await.unwrap().e_tag;
        let part = CompletedPart::builder().part_number(1).set_e_tag(tag).build();
        let end = sdk.complete_multipart_upload().bucket(name).key(key).upload_id(id);
        let end = end.multipart_upload(CompletedMultipartUpload::builder().parts(part).build());
        self.note(key, end.send().await.unwrap().version_id())
    }

    async fn get(&self, word: &str) -> String {
        let (key, version) = self.named(word);
        let get = self.bucket.sdk.get_object().bucket(&self.bucket.at.name).key(key);
        match get.set_version_id(version).send().await {
            Err(error) => refusal(&error),
            Ok(answer) => {
                let version = answer.version_id.clone();
                let bytes = answer.body.collect().await.unwrap().into_bytes();
                self.at(&String::from_utf8_lossy(&bytes), version.as_deref())
            }
        }
    }

    async fn head(&self, word: &str) -> String {
        let (key, version) = self.named(word);
        let head = self.bucket.sdk.head_object().bucket(&self.bucket.at.name).key(key);
        match head.set_version_id(version).send().await {
            Err(error) => refusal(&error),
            Ok(answer) => self.at(&answer.content_length.unwrap().to_string(), answer.version_id()),
        }
    }

    fn at(&self, what: &str, version: Option<&str>) -> String {
        version.map_or_else(|| what.to_owned(), |version| format!("{what}@{}", self.call(Some(version))))
    }

    async fn copy(&self, from: &str, to: &str) -> String {
        let (key, version) = self.named(from);
        let name = &self.bucket.at.name;
        let version = version.map(|version| format!("?versionId={version}")).unwrap_or_default();
        let copy = self.bucket.sdk.copy_object().bucket(name).key(to);
        match copy.copy_source(format!("{name}/{key}{version}")).send().await {
            Ok(answer) => self.note(to, answer.version_id()),
            Err(error) => refusal(&error),
        }
    }

    async fn delete(&self, word: &str) -> String {
        let (key, version) = self.named(word);
        let delete = self.bucket.sdk.delete_object().bucket(&self.bucket.at.name).key(&key);
        match delete.set_version_id(version.clone()).send().await {
            Err(error) => refusal(&error),
            Ok(answer) => {
                let mark = if answer.delete_marker == Some(true) { "!" } else { "" };
                let removed = version.is_some();
                let name = answer.version_id();
                format!("{mark}{}", if removed { self.call(name) } else { self.note(&key, name) })
            }
        }
    }

    async fn delete_many(&self, words: &[&str]) -> String {
        let object = |word: &&str| {
            let (key, version) = self.named(word);
            ObjectIdentifier::builder().key(key).set_version_id(version).build().unwrap()
        };
        let delete = Delete::builder().set_objects(Some(words.iter().map(object).collect())).build().unwrap();
        let many = self.bucket.sdk.delete_objects().bucket(&self.bucket.at.name).delete(delete);
        let mut deleted = many.send().await.unwrap().deleted.unwrap();
        deleted.sort_by(|a, b| a.key.cmp(&b.key));
        let shown = deleted.iter().map(|one| {
            let key = one.key().unwrap();
            match one.delete_marker {
                Some(true) if one.version_id.is_none() => {
                    format!("{key}!{}", self.note(key, one.delete_marker_version_id()))
                }
                Some(true) => format!("{key}!{}", self.call(one.delete_marker_version_id())),
                _ => format!("{key}@{}", self.call(one.version_id())),
            }
        });
        shown.collect::<Vec<_>>().join(",")
    }

    /// Returns the names of a listing, read in pages of `most` items.
    async fn names(&self, most: i32) -> Vec<String> {
        let list = self.bucket.sdk.list_objects_v2().bucket(&self.bucket.at.name).max_keys(most);
        let mut pages = list.into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let objects = page.unwrap().contents.unwrap_or_default();
            found.extend(objects.into_iter().filter_map(|object| object.key));
        }
        found
    }

    /// Returns the versions of a listing, read in pages of `most` items, and the names that were rolled up.
    async fn versions(&self, most: i32, delimiter: Option<&str>) -> Vec<String> {
        let mut found = Vec::new();
        let (mut key, mut version) = (None, None);
        loop {
            let list = self.bucket.sdk.list_object_versions().bucket(&self.bucket.at.name).max_keys(most);
            let list = list.set_key_marker(key).set_version_id_marker(version);
            let page = list.set_delimiter(delimiter.map(str::to_owned)).send().await.unwrap();
            let item = |key: Option<&str>, version, latest: Option<bool>, mark: &'static str| {
                let (key, name) = (key.unwrap().to_owned(), self.call(version));
                let star = if latest == Some(true) { "*" } else { "" };
                let shown = format!("{key}@{name}{star}{mark}");
                let age = self.age(&key, &name);
                (key, std::cmp::Reverse(age), shown)
            };
            let objects = page.versions().iter().map(|v| item(v.key(), v.version_id(), v.is_latest(), ""));
            let markers = page.delete_markers().iter();
            let markers = markers.map(|v| item(v.key(), v.version_id(), v.is_latest(), "!"));
            let mut items: Vec<_> = objects.chain(markers).collect();
            items.sort();
            let count = items.len() + page.common_prefixes().len();
            assert!(count <= usize::try_from(most).unwrap(), "{count} items of {most}");
            found.extend(items.into_iter().map(|(.., shown)| shown));
            found.extend(page.common_prefixes().iter().map(|one| one.prefix().unwrap().to_owned()));
            if page.is_truncated != Some(true) {
                return found;
            }
            (key, version) = (page.next_key_marker, page.next_version_id_marker);
        }
    }

    async fn answer(&self, words: &[&str]) -> String {
        match words {
            ["enable"] => self.versioning(BucketVersioningStatus::Enabled).await,
            ["suspend"] => self.versioning(BucketVersioningStatus::Suspended).await,
            ["put", key, text] => self.put(key, text, None, None).await,
            ["new", key, text] => self.put(key, text, Some("*"), None).await,
            ["edit", key, text] => self.put(key, text, None, self.tag(key).await).await,
            ["parts", key, text] => self.parts(key, text).await,
            ["cp", from, to] => self.copy(from, to).await,
            ["get", word] => self.get(word).await,
            ["head", word] => self.head(word).await,
            ["rm", word] => self.delete(word).await,
            ["rms", words @ ..] => self.delete_many(words).await,
            ["ls"] => format!("[{}]", self.names(1000).await.join(" ")),
            ["versions"] => format!("[{}]", self.versions(1000, None).await.join(" ")),
            ["drop"] => match self.bucket.sdk.delete_bucket().bucket(&self.bucket.at.name).send().await {
                Ok(_) => "ok".into(),
                Err(error) => refusal(&error),
            },
            other => panic!("no such command: {other:?}"),
        }
    }

    fn new(server: &Server) -> Self {
        Self {
            bucket: server.bucket(&bucket::fresh_name(), ""),
            names: Mutex::default(),
            written: Mutex::default(),
        }
    }

    /// Plays a script and returns what was answered, command by command.
    async fn play(&self, script: &str) -> Vec<String> {
        let mut said = Vec::new();
        for command in script.split(';') {
            said.push(self.answer(&command.split_whitespace().collect::<Vec<_>>()).await);
        }
        said
    }
}

/// Where a server is known to do something else: its name, the name of the row, and what it does.
const OTHERWISE: &[Row] = &[
    ("minio", "what is absent is marked too, and each time anew", "marks nothing"),
    (
        "minio",
        "names are in order of their bytes, and each in order of its versions",
        "hides `a/b` below `a`",
    ),
    ("seaweedfs", "while suspended, a deletion takes the null version and is one", "keeps the marker"),
    (
        "localstack",
        "a copy is a new version, and an old one can be copied over the current one",
        "refuses a copy of an old version to its own name",
    ),
    ("radosgw", "what is absent is marked too, and each time anew", "marks it once"),
    ("radosgw", "conditions are about the current version, and a marker is nothing", "ignores a condition"),
];

/// Cuts a row's answers apart.
fn answers(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match found.last_mut().filter(|last| last.starts_with('[') && !last.ends_with(']')) {
            Some(last) => {
                last.push(' ');
                last.push_str(word);
            }
            None => found.push(word.to_owned()),
        }
    }
    found
}

/// Returns what the answers to a script say of what is there, in no order.
fn essence(script: &str, answers: &[String]) -> Vec<String> {
    let of_one = |(command, answer): (&str, &String)| {
        let answer = match command.split_whitespace().next().unwrap() {
            "get" if answer.starts_with('4') => "none",
            "get" => answer.split('@').next().unwrap(),
            "ls" | "versions" => answer.trim_matches(['[', ']']),
            _ => return None,
        };
        let mut words: Vec<_> = answer.split(' ').collect();
        words.sort_unstable();
        Some(format!("{}: {}", command.trim(), words.join(" ")))
    };
    script.split(';').zip(answers).filter_map(of_one).collect()
}

#[test]
fn b60_versions_on_real_servers() {
    let named = endpoints::named_or_skipped(|line| println!("{line}"));
    let servers = std::iter::once(("embedded".to_owned(), bucket::embedded())).chain(named);
    let mut wrong = Vec::new();
    for (server, at) in servers {
        let (mut passed, mut otherwise) = (0, 0);
        for (name, script, expected) in ROWS {
            let play = Play::new(&at);
            let found = catch_unwind(AssertUnwindSafe(|| block(async { play.play(script).await })));
            let (mut found, mut expected) = (found.unwrap_or_default(), answers(expected));
            if server != "embedded" {
                (found, expected) = (essence(script, &found), essence(script, &expected));
            }
            let known = OTHERWISE.iter().find(|(other, row, _)| *other == server && row == name);
            match (found == expected, known) {
                (true, None) => passed += 1,
                (false, Some(_)) => otherwise += 1,
                (true, Some((.., what))) => wrong.push(format!("{server} no longer {what}")),
                (false, None) => {
                    wrong.push(format!(
                        "on {server}: {name}\n  {script}\n  found    {found:?}\n  expected {expected:?}"
                    ));
                }
            }
        }
        println!(
            "ci: on {server}: {passed} of {} rows about versions passed, {otherwise} known to differ",
            ROWS.len()
        );
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Whatever the size of the pages, a listing of versions has the same items, each once.
#[test]
fn b60_pages_of_versions() {
    let play = Play::new(&bucket::embedded());
    block(async {
        let script = "put a one; enable; put a two; put a three; rm a; put b/c one; put b/c two; put b/d one; rm b/d; \
                      rm b/e; put c one; suspend; put c two; put c three; rm d; put e/f/g one; put z one";
        play.play(script).await;
        let (whole, rolled) = (play.versions(1000, None).await, play.versions(1000, Some("/")).await);
        assert_eq!((whole.len(), rolled.len()), (14, 10), "{whole:?} {rolled:?}");
        for most in 1..=17 {
            assert_eq!(play.versions(most, None).await, whole, "{most}");
            let mut paged = play.versions(most, Some("/")).await;
            // Rolled up names are told apart from the others, page by page.
            paged.sort();
            let mut rolled = rolled.clone();
            rolled.sort();
            assert_eq!(paged, rolled, "{most}");
        }
    });
}
