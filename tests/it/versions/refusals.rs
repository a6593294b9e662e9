//! Objects that cannot be read, replaced or deleted: archived ones, locked ones, and those encrypted with keys of
//! others. Each is named, nothing else is held up, and nothing is made of it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use aws_sdk_s3::types::BucketVersioningStatus::Enabled;
use syncengine::embedded::Disturbance;
use syncengine::event::Failure;
use syncengine::{Outcome, SyncMode, SyncOptions};

use crate::hazards::{Meddled, refused};
use crate::support::Root;
use crate::support::bucket::{Bucket, Server};

/// Most requests that one object is worth before it is given up.
const ENOUGH: usize = 8;

#[test]
fn f49_b60_an_object_that_cannot_be_read_is_named_and_left() {
    for (what, status, code, hint) in [
        ("archived", 403, "InvalidObjectState", "restore it first"),
        ("encrypted with a key that we may not use", 403, "AccessDenied", "credentials"),
        ("encrypted with a key that we do not have", 400, "InvalidRequest", ""),
        ("paid for by who asks", 403, "AccessDenied", "credentials"),
    ] {
        for mode in [SyncMode::TwoWay, SyncMode::DestinationToSource, SyncMode::DestinationBackup] {
            let world = Meddled::new();
            world.act("b write closed 1; b write open 2");
            let asked = Arc::new(AtomicUsize::new(0));
            for run in 1..=2 {
                let count = Arc::clone(&asked);
                world.meddle(move |operation, key| match (operation, key) {
                    ("GetObject", "closed") => {
                        count.fetch_add(1, Ordering::SeqCst);
                        refused(status, code)
                    }
                    ("HeadObject", "closed") if status == 400 => refused(status, code),
                    _ => Disturbance::Pass,
                });
                let report = world.mode(mode);
                world.calm();
                let said = format!("{what}, {mode}, run {run}: {:?}", report.failures);
                assert_eq!((report.outcome, report.counts.failed), (Outcome::Partial, 1), "{said}");
                let failure = &report.failures[0];
                assert_eq!(failure.path, "closed", "{said}");
                assert!(failure.hint.contains(hint), "{said}");
                world.has("open=2", "closed=1 open=2");
                assert!(asked.swap(0, Ordering::SeqCst) <= ENOUGH, "{said}");
            }
            // As the authority of a mirror, or new on its side, it is never taken for absent.
            assert_eq!(world.mode(mode).outcome, Outcome::Synced, "{what}, {mode}");
            world.agrees("closed=1 open=2");
        }
    }
}

/// How a listing says where an object is, and how it says that this is an archive, in as many bytes.
const AT_HAND: &[u8] = b"<StorageClass>STANDARD</StorageClass>";
const ARCHIVED: &[u8] = b"<StorageClass>GLACIER</StorageClass >";

/// Passes on what a server answers; while `archived` its objects are said to be in an archive.
fn pass_on(mut from: TcpStream, mut to: TcpStream, archived: &AtomicBool) {
    let (mut waiting, mut buffer) = (Vec::new(), [0; 16 * 1024]);
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        waiting.extend_from_slice(&buffer[..length]);
        if archived.load(Ordering::SeqCst) {
            while let Some(at) = waiting.windows(AT_HAND.len()).position(|window| window == AT_HAND) {
                waiting[at..at + ARCHIVED.len()].copy_from_slice(ARCHIVED);
            }
        }
        // What may be the beginning of the words waits for the rest of them.
        let begun = (1..AT_HAND.len()).rev().find(|length| waiting.ends_with(&AT_HAND[..*length]));
        let ready = waiting.len() - begun.unwrap_or(0);
        if to.write_all(&waiting[..ready]).is_err() {
            break;
        }
        waiting.drain(..ready);
    }
    drop((to.write_all(&waiting), to.shutdown(Shutdown::Both)));
}

/// Returns the way to a server through [`pass_on`].
fn through(server: &Server, archived: &Arc<AtomicBool>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (address, archived) = (server.endpoint.replace("http://", ""), Arc::clone(archived));
    // It ends with the process of the test.
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(upstream) = TcpStream::connect(&address) else { continue };
            let (mut asking, mut asked) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
            std::thread::spawn(move || {
                drop(std::io::copy(&mut asking, &mut asked));
                drop(asked.shutdown(Shutdown::Write));
            });
            let archived = Arc::clone(&archived);
            std::thread::spawn(move || pass_on(upstream, client, &archived));
        }
    });
    Server { endpoint, ..server.clone() }
}

#[test]
fn f49_objects_in_an_archive_are_compared_replaced_and_deleted_like_any_other() {
    for &mode in SyncMode::ALL {
        let archived = Arc::new(AtomicBool::new(false));
        let mut world = Meddled::new();
        world.bucket = through(&world.bucket.server, &archived).bucket("vault", "");
        world.act("a write edited 1; a write gone 2; a write kept 3; a write d/below 4");
        world.sync();
        world.agrees("edited=1 gone=2 kept=3 d/below=4");
        world.act("a write edited 11; a rm gone; a write d/below 44");
        archived.store(true, Ordering::SeqCst);
        for _ in 0..2 {
            // No guard is to be what saves them.
            let options =
                SyncOptions { allow_empty_side: true, allow_mass_delete: true, ..SyncOptions::new() };
            let report = world.run(|pair| pair.mode(mode), options).unwrap();
            let said = format!("{mode}: {:?} {:?}", report.counts, report.refused_by);
            assert_eq!((report.counts.skipped, report.counts.failed), (0, 0), "{said}");
        }
        // Only reading one is impossible, and nothing here reads one.
        match mode {
            SyncMode::TwoWay | SyncMode::SourceToDestination => world.agrees("edited=11 kept=3 d/below=44"),
            SyncMode::SourceBackup => {
                world.has("edited=11 kept=3 d/below=44", "edited=11 gone=2 kept=3 d/below=44");
            }
            _ => {}
        }
    }
}

#[test]
fn f49_an_archived_object_is_replaced_or_deleted_only_where_it_is_kept() {
    for keeps in [false, true] {
        let world = Meddled::new();
        if keeps {
            world.bucket.set_versioning(Enabled);
        }
        world.act("a write f 1; a write g 2; a write h 3");
        world.sync();
        world.act("a write f 11; a rm g");
        world.meddle_with_ours(|operation, key| match operation {
            "CopyObject" | "GetObject" if !key.contains("/probe/") => refused(403, "InvalidObjectState"),
            _ => Disturbance::Pass,
        });
        let report = world.sync();
        if keeps {
            // The bucket keeps it in its archive.
            assert_eq!(report.outcome, Outcome::Synced, "{:?}", report.failures);
        } else {
            assert_eq!(report.counts.failed, 2, "{:?}", report.failures);
            let told = |failure: &Failure| failure.hint.contains("restore it first");
            assert!(report.failures.iter().all(told), "{:?}", report.failures);
            world.calm();
            world.has("f=11 h=3", "f=1 g=2 h=3");
            assert_eq!(world.sync().outcome, Outcome::Synced);
        }
        world.calm();
        world.agrees("f=11 h=3");
        let [copies, _] = world.trash();
        assert_eq!(copies.len(), if keeps { 0 } else { 2 });
    }
}

#[test]
fn f49_b60_an_object_lock_is_named_and_holds_nothing_else_up() {
    for keeps in [false, true] {
        for (script, operation, status, code) in [
            ("a rm f", "DeleteObject", 403, "AccessDenied"),
            ("a rm f; a rm g", "DeleteObjects", 403, "AccessDenied"),
            ("a rm f", "DeleteObject", 400, "InvalidRequest"),
            ("a write f 11", "PutObject", 403, "AccessDenied"),
            ("a write f 11", "PutObject", 400, "InvalidRequest"),
        ] {
            let world = Meddled::new();
            if keeps {
                world.bucket.set_versioning(Enabled);
            }
            world.act("a write f 1; a write g 2; a write h 3");
            world.sync();
            world.act(script);
            world.act("a write other 4; b write theirs 5");
            let failing = script.split(';').count();
            let asked = Arc::new(AtomicUsize::new(0));
            let count = Arc::clone(&asked);
            world.meddle(move |now, key| {
                if now == operation && matches!(key, "f" | "") {
                    count.fetch_add(1, Ordering::SeqCst);
                    return refused(status, code);
                }
                Disturbance::Pass
            });
            for run in 1..=2 {
                let report = world.sync();
                let said = format!("{script}, {status} {code}, run {run}: {:?}", report.failures);
                let failed = usize::try_from(report.counts.failed).unwrap();
                assert_eq!((report.outcome, failed), (Outcome::Partial, failing), "{said}");
                assert!(report.failures.iter().all(|failure| failure.error.contains(code)), "{said}");
                assert!((1..=ENOUGH).contains(&asked.swap(0, Ordering::SeqCst)), "{said}");
                let found = world.bucket.files();
                assert_eq!((&found["f"][..], &found["g"][..]), (&b"1"[..], &b"2"[..]), "{said}");
                assert_eq!((&found["other"][..], world.folder()["theirs"].len()), (&b"4"[..], 1), "{said}");
            }
            world.calm();
            assert_eq!(world.sync().outcome, Outcome::Synced, "{script}");
            assert_eq!(world.folder(), world.bucket.files(), "{script}");
        }
    }
}

#[test]
fn f49_a_marker_of_a_deletion_is_a_deletion_and_taking_it_back_is_a_new_file() {
    let world = Meddled::new();
    world.bucket.set_versioning(Enabled);
    world.act("a write f 1; a write h 3");
    world.sync();
    world.bucket.remove("f");
    let report = world.sync();
    assert_eq!((report.outcome, report.counts.deleted_source), (Outcome::Synced, 1));
    world.agrees("h=3");
    take_back(&world.bucket, "f");
    let report = world.sync();
    assert_eq!((report.outcome, report.counts.downloaded), (Outcome::Synced, 1));
    world.agrees("f=1 h=3");
}

/// Whether we have deleted it, or somebody else: it can be taken back at once.
#[test]
fn f49_what_this_pair_deleted_can_be_taken_back_in_the_bucket() {
    for done in ["a rm f", "a rm f; a rm h", "a mv f g"] {
        let world = Meddled::new();
        world.bucket.set_versioning(Enabled);
        world.act("a write f 1; a write h 3; a write other 4");
        world.sync();
        world.act(done);
        world.sync();
        assert!(!world.bucket.files().contains_key("f"), "{done}");
        take_back(&world.bucket, "f");
        let report = world.sync();
        assert_eq!((report.outcome, report.counts.downloaded), (Outcome::Synced, 1), "{done}: {report:?}");
        assert_eq!(world.folder()["f"], b"1", "{done}");
        assert_eq!(world.folder(), world.bucket.files(), "{done}");
    }
}

/// Removes the marker that is the latest version: without it the object is there again.
fn take_back(bucket: &Bucket, key: &str) {
    let (sdk, name) = (&bucket.sdk, &bucket.at.name);
    crate::support::bucket::block(async {
        let page = sdk.list_object_versions().bucket(name).prefix(key).send().await.unwrap();
        let marker = page.delete_markers()[0].version_id().unwrap();
        sdk.delete_object().bucket(name).key(key).version_id(marker).send().await.unwrap();
    });
}

/// It is listed, and when it is read it is gone behind a marker.
#[test]
fn f49_a_marker_that_is_met_on_the_way_is_no_failure() {
    for (mode, tree) in [(SyncMode::TwoWay, "h=3"), (SyncMode::DestinationToSource, "h=3")] {
        let world = Meddled::new();
        world.bucket.set_versioning(Enabled);
        world.act("b write f 1; b write h 3");
        let bucket = world.bucket.clone();
        world.meddle(move |operation, key| {
            if (operation, key) == ("GetObject", "f") && bucket.file_names().contains(&"f".to_owned()) {
                bucket.remove("f");
            }
            Disturbance::Pass
        });
        let report = world.mode(mode);
        assert_eq!((report.outcome, report.counts.failed), (Outcome::Synced, 0), "{:?}", report.failures);
        world.calm();
        world.agrees(tree);
        assert_eq!(world.mode(mode).counts.unchanged, 1);
    }
}
