//! The policies of docs/IAM.md are enough for the modes they are for, and have nothing in them that is not needed.
//!
//! The real program runs against a server that refuses whatever a policy does not allow. Two things are seen
//! less sharply than by IAM: which objects one DeleteObjects is about, so names are looked at afterwards, and
//! what a CopyObject reads, which is taken to be some file of the tree.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use syncengine::embedded::{Disturb, Disturbance, Request};

use super::{blocks, read};
use crate::support::bucket::Bucket;
use crate::support::world::World;

/// Every action of S3 that has a place in these policies, by its name in IAM.
const ACTIONS: &[&str] = &[
    "s3:AbortMultipartUpload",
    "s3:ListMultipartUploadParts",
    "s3:CreateBucket",
    "s3:DeleteObject",
    "s3:GetBucketVersioning",
    "s3:GetObject",
    "s3:ListBucket",
    "s3:ListBucketMultipartUploads",
    "s3:PutObject",
];

/// Actions on a trash elsewhere that only time, size or doubt makes necessary: copies above 5 GiB, old trash,
/// an answer that got lost.
const SELDOM: &[&str] = &["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject"];

/// An object of the tree.
const SOME_FILE: &str = "arn:aws:s3:::vault/documents/some file";

/// Returns the actions that a request needs, and on what.
fn needed(request: &Request<'_>) -> Vec<(&'static str, String)> {
    let bucket = format!("arn:aws:s3:::{}", request.bucket.unwrap_or_default());
    let object = format!("{bucket}/{}", request.key.unwrap_or_default());
    match request.operation {
        "ListObjectsV2" | "HeadBucket" => vec![("s3:ListBucket", bucket)],
        "GetObject" | "HeadObject" => vec![("s3:GetObject", object)],
        "PutObject" | "CreateMultipartUpload" | "UploadPart" | "CompleteMultipartUpload" => {
            vec![("s3:PutObject", object)]
        }
        "CopyObject" | "UploadPartCopy" => {
            vec![("s3:PutObject", object), ("s3:GetObject", SOME_FILE.to_owned())]
        }
        "DeleteObject" => vec![("s3:DeleteObject", object)],
        // Which objects these are is not known here.
        "DeleteObjects" => vec![("s3:DeleteObject", format!("{bucket}/documents/.syncengine/some"))],
        "AbortMultipartUpload" => vec![("s3:AbortMultipartUpload", object)],
        "ListParts" => vec![("s3:ListMultipartUploadParts", object)],
        "ListMultipartUploads" => vec![("s3:ListBucketMultipartUploads", bucket)],
        "GetBucketVersioning" => vec![("s3:GetBucketVersioning", bucket)],
        "CreateBucket" => vec![("s3:CreateBucket", bucket)],
        _ => vec![("an action that no policy here has", bucket)],
    }
}

/// What is allowed: actions and where.
#[derive(Debug, Clone, Default)]
struct Policy(Vec<(String, String)>);

impl Policy {
    fn of(text: &str) -> Self {
        let policy: Value = serde_json::from_str(text).unwrap();
        assert_eq!(policy["Version"], "2012-10-17");
        let mut allowed = Vec::new();
        for statement in policy["Statement"].as_array().unwrap() {
            assert_eq!(statement["Effect"], "Allow", "{statement}");
            let resource = statement["Resource"].as_str().unwrap();
            for action in texts(&statement["Action"]) {
                assert!(ACTIONS.contains(&action.as_str()), "{action} is no action that is known here");
                let of_bucket = action.contains("Bucket");
                assert_eq!(of_bucket, !resource.contains('/'), "{action} on {resource}");
                allowed.push((action, resource.to_owned()));
            }
        }
        Self(allowed)
    }

    fn with(&self, other: &Self) -> Self {
        Self([&self.0[..], &other.0[..]].concat())
    }

    fn actions(&self) -> BTreeSet<String> {
        self.0.iter().map(|(action, _)| action.clone()).collect()
    }

    fn allows(&self, action: &str, resource: &str) -> bool {
        self.0.iter().any(|(allowed, pattern)| {
            allowed == action
                && match pattern.strip_suffix('*') {
                    Some(beginning) => resource.starts_with(beginning),
                    None => resource == pattern,
                }
        })
    }

    /// Returns whether files of the tree can be deleted.
    fn deletes(&self) -> bool {
        self.allows("s3:DeleteObject", "arn:aws:s3:::vault/documents/file")
    }
}

fn texts(value: &Value) -> Vec<String> {
    let one = value.as_str().map(|text| vec![text.to_owned()]);
    one.unwrap_or_else(|| {
        value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
    })
}

/// Returns the policies of the document by their headings.
fn policies() -> BTreeMap<String, Policy> {
    let text = read("docs/IAM.md");
    let found = blocks(&text, "json").into_iter();
    found.map(|block| (block.section, Policy::of(&block.lines.join("\n")))).collect()
}

/// Returns the rows of the table: a mode, and the policy for a bucket at the destination and at the source.
fn rows() -> Vec<(String, [String; 2])> {
    let text = read("docs/IAM.md");
    let table = text.lines().skip_while(|line| !line.starts_with("| Mode |")).skip(2);
    let rows = table.take_while(|line| line.starts_with('|')).map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        (cells[0].trim_matches('`').to_owned(), [cells[1].to_owned(), cells[2].to_owned()])
    });
    rows.collect()
}

/// Allows what a policy allows, and writes down what was asked.
#[derive(Debug, Default)]
struct Gate(Mutex<Asked>);

#[derive(Debug, Default)]
struct Asked {
    /// Without one nothing is refused.
    policy: Option<Policy>,
    used: BTreeSet<(String, String)>,
    refused: Vec<String>,
    /// The upload of this name is begun, and nobody is told so.
    cut: Option<&'static str>,
}

impl Disturb for Gate {
    fn disturb(&self, request: &Request<'_>) -> Disturbance {
        let mut asked = self.0.lock().unwrap();
        let Some(policy) = asked.policy.clone() else { return Disturbance::Pass };
        // A right that every mode can do without.
        if request.operation == "ListBuckets" {
            return Disturbance::Refuse(403, "AccessDenied".into());
        }
        for (action, resource) in needed(request) {
            if !policy.allows(action, &resource) {
                asked.refused.push(format!("{} {resource}: {action}", request.operation));
                return Disturbance::Refuse(403, "AccessDenied".into());
            }
            asked.used.insert((action.to_owned(), resource));
        }
        if request.operation == "CreateMultipartUpload"
            && asked.cut.is_some_and(|name| request.key.is_some_and(|key| key.ends_with(name)))
        {
            asked.cut = None;
            return Disturbance::CutAfter;
        }
        Disturbance::Pass
    }
}

/// A world whose store stands behind a gate.
struct Gated {
    world: World,
    gate: Arc<Gate>,
}

impl std::ops::Deref for Gated {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

impl Gated {
    fn new() -> Self {
        let gate = Arc::new(Gate::default());
        let world = World::without_bucket("documents/", Arc::clone(&gate) as Arc<dyn Disturb>);
        Self { world, gate }
    }

    /// Returns the bucket, made if it is missing. Only to be used while nothing is refused.
    fn bucket(&self) -> Bucket {
        self.bucket.server.bucket("vault", "documents/")
    }

    /// Runs a command under a policy: exit code 0, nothing refused. Returns the document.
    fn run(&self, policy: &Policy, words: &[&str]) -> Value {
        let server = &self.bucket.server;
        let more = ["--output", "json", "--state-dir", "state", "--endpoint-url", server.endpoint.as_str()];
        let mut command = self.bench.command(&[words, &more].concat());
        server.introduce(&mut command);
        self.gate.0.lock().unwrap().policy = Some(policy.clone());
        let output = command.output().unwrap();
        let mut asked = self.gate.0.lock().unwrap();
        asked.policy = None;
        let document = String::from_utf8_lossy(&output.stdout);
        let refused = std::mem::take(&mut asked.refused);
        assert!(refused.is_empty(), "{words:?} was refused {refused:#?}: {document}");
        assert_eq!(output.status.code(), Some(0), "{words:?}: {document}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Returns which actions were needed on a bucket.
    fn used(&self, bucket: &str) -> BTreeSet<String> {
        let asked = self.gate.0.lock().unwrap();
        let on_it = asked.used.iter().filter(|(_, resource)| {
            let name = resource.rsplit(":::").next().unwrap_or_default();
            name.split('/').next() == Some(bucket)
        });
        on_it.map(|(action, _)| action.clone()).collect()
    }

    fn write_tree(&self) {
        for name in ["edited", "deleted", "also deleted", "renamed", "kept"] {
            self.bench.write(&format!("a/{name}"), &format!("content of {name}"));
        }
        for name in ["there edited", "there deleted", "there renamed", "there kept"] {
            self.bucket().put(name, name.as_bytes(), None);
        }
        // Of a run that was killed; who may only read leaves it.
        self.bucket().put(".syncengine/probe/0123456789abcdef", b"probe", None);
    }

    /// Edits, deletes and renames on both sides; a large file whose upload is cut off once.
    fn edit(&self) {
        let (path, bucket) = (|name: &str| self.bench.path(&format!("a/{name}")), self.bucket());
        let names = bucket.names();
        let there = |name: &str| names.iter().any(|known| known == name);
        if path("edited").exists() {
            fs::write(path("edited"), "edited since").unwrap();
            fs::remove_file(path("deleted")).unwrap();
            fs::remove_file(path("also deleted")).unwrap();
            fs::rename(path("renamed"), path("renamed now")).unwrap();
        }
        fs::write(path("large"), vec![7; 17 * 1024 * 1024]).unwrap();
        self.gate.0.lock().unwrap().cut = Some("large");
        if there("there edited") {
            bucket.put("there edited", b"edited there since", None);
            bucket.remove("there deleted");
            bucket.relocate("there renamed", "there renamed now");
        }
    }
}

/// Runs a mode with the bucket on one side until nothing is left to do; returns what it needed.
fn live_through(mode: &str, at_source: bool, policy: &Policy, more: &[&str]) -> Gated {
    let world = Gated::new();
    world.write_tree();
    let sides = if at_source { ["s3://vault/documents", "a"] } else { ["a", "s3://vault/documents"] };
    let mode: Vec<&str> = mode.split(' ').collect();
    let words = [&["sync"][..], &sides, &["--mode"], &mode, &["--allow-mass-delete"], more].concat();
    world.run(policy, &words);
    world.edit();
    let before = world.bucket().names();
    world.run(policy, &words);
    // An upload that was cut off is looked for, and aborted.
    world.run(policy, &words);
    let last = world.run(policy, &words);
    for count in ["uploaded", "downloaded", "deleted_source", "deleted_destination"] {
        assert_eq!(last["counts"][count], 0, "{words:?}: {last:#}");
    }
    assert!(world.bucket().uploads().is_empty(), "{words:?}");
    let after: BTreeSet<String> = world.bucket().names().into_iter().collect();
    let gone: Vec<_> = before.into_iter().filter(|name| !after.contains(name)).collect();
    assert!(policy.deletes() || gone.is_empty(), "{words:?} deleted {gone:?}");
    world
}

#[test]
fn policies_are_enough_for_their_modes_and_no_more() {
    let policies = policies();
    let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut modes = BTreeSet::new();
    let mut cases = 0;
    for (mode, names) in rows() {
        modes.insert(mode.split(' ').next().unwrap().to_owned());
        for (name, at_source) in names.into_iter().zip([false, true]) {
            let world = live_through(&mode, at_source, &policies[&name], &[]);
            used.entry(name).or_default().extend(world.used("vault"));
            cases += 1;
        }
    }
    assert_eq!(modes.len(), 5, "a row for each mode: {modes:?}");
    for (name, used) in &used {
        assert_eq!(&policies[name].actions(), used, "{name}: what is allowed, and what was needed");
    }
    println!("ci: documents: {} policies enough for {cases} modes and sides", policies.len());
}

#[test]
fn a_bucket_is_made_with_one_action_more() {
    let policies = policies();
    let world = Gated::new();
    world.bench.write("a/file", "content");
    let policy = policies["Writing"].with(&policies["Making the bucket"]);
    let report = world.run(&policy, &["sync", "a", "s3://vault/documents", "--create"]);
    assert_eq!(report["counts"]["uploaded"], 1, "{report:#}");
    assert!(world.used("vault").contains("s3:CreateBucket"));
}

#[test]
fn a_trash_elsewhere_needs_no_more_than_it_says() {
    let policies = policies();
    let policy = policies["Writing"].with(&policies["A trash elsewhere"]);
    let world = Gated::new();
    world.bucket.server.bucket("bin", "documents/");
    world.write_tree();
    let words = ["sync", "a", "s3://vault/documents", "--trash-location", "s3://bin/documents"];
    world.run(&policy, &words);
    world.edit();
    world.run(&policy, &words);
    let bin = world.bucket.server.bucket("bin", "documents/");
    assert!(bin.names().len() >= 3, "{:?}", bin.names());
    let mut needed = world.used("bin");
    needed.extend(SELDOM.iter().map(|action| (*action).to_owned()));
    assert_eq!(needed, policies["A trash elsewhere"].actions());
}

#[test]
fn a_policy_allows_what_it_names_and_nothing_else() {
    let keeping = &policies()["Keeping"];
    for (action, resource, allowed) in [
        ("s3:GetObject", "vault/documents/a/b", true),
        ("s3:GetObject", "vault/document", false),
        ("s3:GetObject", "other/documents/a", false),
        ("s3:DeleteObject", "vault/documents/.syncengine/probe/1", true),
        ("s3:DeleteObject", "vault/documents/a", false),
        ("s3:ListBucket", "vault", true),
        ("s3:ListBucket", "vaults", false),
        ("s3:CreateBucket", "vault", false),
    ] {
        assert_eq!(
            keeping.allows(action, &format!("arn:aws:s3:::{resource}")),
            allowed,
            "{action} {resource}"
        );
    }
    assert!(!keeping.deletes() && policies()["Writing"].deletes());
}
