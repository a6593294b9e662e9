//! Where the bucket keeps versions, the old version is the trash; where it does not for certain, a copy is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_s3::types::BucketVersioningStatus::{self, Enabled, Suspended};
use syncengine::client::Expiry;
use syncengine::embedded::Disturbance;
use syncengine::{Outcome, StorageClient, SyncController, SyncOptions, Timestamp};

use crate::hazards::{Meddled, Still, codes, one_by_one, refused, sync};
use crate::support::Root;
use crate::support::bucket::{Bucket, block};

/// Returns the names and contents of the versions that are not current.
fn past(bucket: &Bucket) -> Vec<(String, String)> {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    bucket.past().into_iter().map(|(name, _, bytes)| (name, text(bytes))).collect()
}

fn owned(words: &[(&str, &str)]) -> Vec<(String, String)> {
    words.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

/// Returns the copies in the trash of the bucket, sorted.
fn copies(world: &Meddled) -> Vec<String> {
    let [copies, _] = world.trash();
    copies.into_iter().map(|bytes| String::from_utf8(bytes).unwrap()).collect()
}

#[test]
fn b60_the_old_version_is_the_trash_where_the_bucket_keeps_it() {
    /// What is answered in place of the truth, if anything.
    type Refusal = Option<(u16, &'static str)>;
    const BUCKETS: &[(&str, Option<BucketVersioningStatus>, Refusal, bool)] = &[
        ("was never told to", None, None, false),
        ("keeps versions", Some(Enabled), None, true),
        ("keeps none any more", Some(Suspended), None, false),
        ("may not be asked", Some(Enabled), Some((403, "AccessDenied")), false),
        ("does not know the question", Some(Enabled), Some((501, "NotImplemented")), false),
        ("finds nothing wrong with it", Some(Enabled), Some((400, "InvalidRequest")), false),
    ];
    for (name, status, refusal, keeps) in BUCKETS {
        let world = Meddled::new();
        if let Some(status) = status {
            world.bucket.set_versioning(status.clone());
        }
        world.act("a write edited 1; a write gone 2; a write gone-too 3; a write kept 4");
        world.sync();
        world.act("a write edited new; a rm gone; a rm gone-too");
        world.calm();
        if let Some((status, code)) = *refusal {
            world.meddle(move |operation, _| match operation {
                "GetBucketVersioning" => refused(status, code),
                _ => Disturbance::Pass,
            });
        }
        let report = world.sync();
        assert_eq!((report.outcome, report.counts.failed), (Outcome::Synced, 0), "{name}");
        world.agrees("edited=new kept=4");
        let expected: &[&str] = if *keeps { &[] } else { &["1", "2", "3"] };
        assert_eq!(copies(&world), expected, "{name}");
        let noted = codes(&report.notes).contains(&"old-versions");
        assert_eq!(noted, *keeps, "{name}: {:?}", report.notes);
        if *keeps {
            let old = owned(&[("edited", "1"), ("gone", "2"), ("gone-too", "3")]);
            assert_eq!(past(&world.bucket), old, "{name}");
        }
        assert!(world.asked("GetBucketVersioning") > 0, "{name}: asked before anything was lost");
    }
}

#[test]
fn b60_nobody_asks_about_versions_before_something_could_be_lost() {
    let world = Meddled::new();
    world.bucket.set_versioning(Enabled);
    world.act("a write f 1; b write g 2");
    let report = world.sync();
    assert_eq!((report.outcome, world.asked("GetBucketVersioning")), (Outcome::Synced, 0));
    assert_eq!(codes(&report.notes), [""; 0]);
    // Nor where the user wants nothing kept.
    world.act("a write f 3; a rm g");
    let report = world.with(|pair| pair.trash(false));
    assert_eq!((report.outcome, world.asked("GetBucketVersioning")), (Outcome::Synced, 0));
}

/// A client may live longer than a run.
#[test]
fn f50_versioning_that_is_suspended_between_runs_loses_no_version() {
    // From before there were versions: these are lost when they are replaced while it is suspended.
    let world = Meddled::synced("a write x 1; a write y 2; a write z 3");
    let (engine, pair) = (world.engine(), world.pair(&SyncController::new()));
    let run = || sync(&engine, &pair, SyncOptions::new()).unwrap();
    for (status, script, tree, kept, old) in [
        (Enabled, "a write x 11", "x=11 y=2 z=3", &[][..], &[("x", "1")][..]),
        (Suspended, "a write y 22; a rm z", "x=11 y=22", &["2", "3"], &[("x", "1")]),
        (Enabled, "a write x 111", "x=111 y=22", &["2", "3"], &[("x", "11"), ("x", "1")]),
        // The marker is the null version of `x` now, as S3 has it, and takes the place of the one that was.
        (Suspended, "a rm x", "y=22", &["111", "2", "3"], &[("x", "111"), ("x", "11")]),
    ] {
        world.bucket.set_versioning(status);
        world.act(script);
        assert_eq!(run().outcome, Outcome::Synced, "{script}");
        world.agrees(tree);
        assert_eq!((copies(&world), past(&world.bucket)), (strings(kept), owned(old)), "{script}");
    }
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn f50_versioning_that_is_suspended_during_a_run_loses_no_version() {
    let world = Meddled::synced("a write a 1; a write d1 4; a write d2 5; a write p 2; a write q 3");
    world.bucket.set_versioning(Enabled);
    world.act("a write a 11; a write m-new 0; a write p 22; a write q 33; a rm d1; a rm d2");
    let bucket = world.bucket.clone();
    // When this is written, `a` has been replaced and the others have not.
    world.meddle(move |operation, key| {
        if operation == "PutObject" && key == "m-new" {
            bucket.set_versioning(Suspended);
        }
        Disturbance::Pass
    });
    let report = world.run(|pair| pair, one_by_one()).unwrap();
    assert_eq!(report.outcome, Outcome::Synced);
    world.agrees("a=11 m-new=0 p=22 q=33");
    assert_eq!(past(&world.bucket), owned(&[("a", "1")]));
    assert_eq!(copies(&world), ["2", "3", "4", "5"]);
}

#[test]
fn f50_where_a_store_cannot_keep_a_version_it_is_neither_replaced_nor_deleted() {
    for (operation, status, code) in [
        ("CopyObject", 403, "AccessDenied"),
        ("CopyObject", 403, "InvalidObjectState"),
        ("CopyObject", 507, "XMinioStorageFull"),
        ("CopyObject", 500, "InternalError"),
        ("CopyObject", 501, "NotImplemented"),
        ("GetBucketVersioning", 503, "SlowDown"),
        ("GetBucketVersioning", 500, "InternalError"),
    ] {
        let mut world =
            Meddled::synced("a write edited 1; a write gone 2; a write gone-too 3; a write kept 4");
        // It waits between its tries without taking time.
        world.clock = Arc::new(Still::default());
        world.act("a write edited new; a rm gone; a rm gone-too; a write other 5");
        world.meddle_with_ours(move |asked, key| {
            if asked == operation && !key.contains("/probe/") {
                refused(status, code)
            } else {
                Disturbance::Pass
            }
        });
        let report = world.sync();
        let what = format!("{operation} {status} {code}: {:?}", report.failures);
        assert_eq!((report.outcome, report.counts.failed), (Outcome::Partial, 3), "{what}");
        assert!(report.failures.iter().all(|failure| failure.error.lines().count() == 1), "{what}");
        world.has("edited=new kept=4 other=5", "edited=1 gone=2 gone-too=3 kept=4 other=5");
        world.calm();
        assert_eq!(world.sync().outcome, Outcome::Synced, "{what}");
        world.agrees("edited=new kept=4 other=5");
        assert_eq!(copies(&world), ["1", "2", "3"], "{what}");
    }
}

/// What somebody else writes just before is not deleted, be it one deletion or many, and whatever is answered.
#[test]
fn b60_deletions_stay_conditional_in_a_bucket_that_keeps_versions() {
    for (script, operation, answer) in [
        ("a rm f", "DeleteObject", None),
        ("a rm f; a rm g", "DeleteObjects", None),
        ("a rm f; a rm g", "DeleteObjects", Some((400, "MalformedXML"))),
        ("a rm f; a rm g", "DeleteObjects", Some((501, "NotImplemented"))),
    ] {
        let world = Meddled::new();
        world.bucket.set_versioning(Enabled);
        world.act("a write f 1; a write g 2; a write h 3");
        world.sync();
        world.act(script);
        let (bucket, done) = (world.bucket.clone(), AtomicBool::new(false));
        world.meddle(move |asked, _| {
            if asked == operation && !done.swap(true, Ordering::SeqCst) {
                bucket.put("f", b"theirs", Some(Timestamp::new(1_600_000_000, 0)));
                return answer.map_or(Disturbance::Pass, |(status, code)| refused(status, code));
            }
            Disturbance::Pass
        });
        let report = world.sync();
        let what = format!("{script}, {operation} {answer:?}: {:?}", report.failures);
        assert_eq!(world.bucket.files().get("f").map(Vec::as_slice), Some(&b"theirs"[..]), "{what}");
        world.calm();
        world.sync();
        assert_eq!(world.folder(), world.bucket.files(), "{what}");
        assert_eq!(world.folder()["f"], b"theirs", "{what}");
    }
}

/// A trash location is for what the bucket does not keep.
#[test]
fn b60_a_trash_location_and_versions() {
    for (of_tree, of_trash) in [(false, false), (true, false), (false, true), (true, true)] {
        let world = Meddled::new();
        let bin = world.bucket.server.bucket("bin", "x/");
        let options = "sync a s3://vault --trash-location s3://bin/x";
        for (bucket, keeps) in [(&world.bucket, of_tree), (&bin, of_trash)] {
            if keeps {
                bucket.set_versioning(Enabled);
            }
        }
        world.act("a write f 1; a write g 2; a write h 3");
        assert_eq!(world.binary(options).code, 0);
        world.act("a write f 11; a rm g");
        let ran = world.binary(options);
        assert_eq!(ran.code, 0, "{ran:?}");
        world.agrees("f=11 h=3");
        let in_trash = |name: &String| !name.contains("manifests/");
        let kept = bin.objects().into_iter().filter(|(name, _)| in_trash(name));
        let (mut kept, old) = (kept.map(|(_, bytes)| bytes).collect::<Vec<_>>(), past(&world.bucket));
        kept.sort();
        if of_tree {
            assert_eq!((kept.len(), old), (0, owned(&[("f", "1"), ("g", "2")])), "{ran:?}");
        } else {
            assert_eq!((kept, old.len()), (vec![b"1".to_vec(), b"2".to_vec()], 0), "{ran:?}");
        }
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert_eq!(said.contains("keeps old versions"), of_tree, "{said}");
    }
}

/// Old trash goes, be it from before the bucket kept versions. The versions of it, and of everything, stay.
#[test]
fn b60_old_trash_is_removed_and_no_version_is() {
    let world = Meddled::new();
    world.bucket.set_versioning(Enabled);
    let old = ".syncengine/trash/20200101T000000Z-00000001/f";
    let new = ".syncengine/trash/20990101T000000Z-00000001/f";
    for (name, text) in [("f", "1"), ("f", "2"), (old, "older"), (new, "newer")] {
        world.bucket.put(name, text.as_bytes(), None);
    }
    let versions = || {
        let list = world.bucket.sdk.list_object_versions().bucket(&world.bucket.at.name);
        let page = block(async { list.send().await.unwrap() });
        let ids = page.versions().iter().map(|one| (one.key().unwrap().to_owned(), one.version_id.clone()));
        let is_ours = |name: &str| name.contains("manifests/") || name.contains("/probe/");
        ids.filter(|(name, _)| !is_ours(name)).collect::<Vec<_>>()
    };
    let before = versions();
    // They are of a release that wrote no manifests: their age counts from when they are seen.
    for (day, expected) in [(0, 0), (29, 0), (31, 2)] {
        let now = Timestamp::new(1_700_000_000 + day * 86_400, 0);
        let expiry = Expiry { now, until: Some(now), pair_id: "p".into(), ..Expiry::default() };
        let purged = block(async { world.bucket.open(None).purge_trash(expiry).await });
        assert_eq!(purged.unwrap().runs, expected, "day {day}");
    }
    assert_eq!(world.bucket.names(), [".syncengine/trash-manifests/adopted", "f"]);
    assert_eq!((versions(), before.len()), (before, 4));
}
