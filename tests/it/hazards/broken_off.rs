//! Runs that are cancelled, and requests that fail: what is not done is not taken for done.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use syncengine::embedded::Disturbance;
use syncengine::{ErrorKind, Event, LocalClient, Observer, Outcome, SyncController, SyncEngine, SyncMode};
use syncengine::{SyncOptions, SyncPair};
use tokio::sync::Notify;

use super::{Meddled, codes, one_by_one, refused, sync};
use crate::scenarios::{act, snapshot};
use crate::support::bench::Bench;
use crate::support::read_tree;

/// Cancels a run when the `nth` request of an operation arrives.
fn cancel_at(world: &Meddled, operation: &'static str, nth: usize, control: &SyncController) {
    let (control, seen) = (control.clone(), AtomicUsize::new(0));
    world.meddle(move |asked, _| {
        if asked == operation && seen.fetch_add(1, Ordering::Relaxed) + 1 == nth {
            control.cancel();
        }
        Disturbance::Pass
    });
}

#[test]
fn h01_what_a_cancelled_upload_left_is_uploaded_by_the_next_run() {
    let world = Meddled::new();
    world.act("a many n 12");
    let options = one_by_one();
    cancel_at(&world, "PutObject", 3, &options.controller);
    let report = world.run(|pair| pair, options).unwrap();
    assert_eq!(report.outcome, Outcome::Cancelled);
    assert!(world.bucket.file_names().len() < 12, "some were not uploaded");
    world.calm();
    let report = world.sync();
    assert_eq!((report.outcome, report.counts.deleted_source), (Outcome::Synced, 0));
    world.agrees("n[0..12]");
}

#[test]
fn h02_a_cancelled_run_never_looks_like_success_and_the_next_one_starts_clean() {
    let world = Meddled::new();
    world.act("a many n 5");
    let control = SyncController::new();
    control.cancel();
    for _ in 0..2 {
        let report = world.run(|pair| pair, SyncOptions::new().controller(control.clone())).unwrap();
        assert_eq!((report.outcome, report.counts.uploaded), (Outcome::Cancelled, 0));
        assert!(!report.is_success());
    }
    let report = world.sync();
    assert_eq!((report.outcome, report.counts.uploaded), (Outcome::Synced, 5));
    assert_eq!(world.sync().counts.unchanged, 5);
    world.agrees("n[0..5]");
}

#[test]
fn h03_a_cancelled_mirror_deletes_nothing() {
    for operation in ["ListObjectsV2", "PutObject"] {
        let world = Meddled::synced("a many n 3; a many z 3");
        world.act("a rm n/000; a write new 1; a write newer 2; b write extra 3");
        let options = one_by_one();
        cancel_at(&world, operation, 1, &options.controller);
        let report = world.run(|pair| pair.mode(SyncMode::SourceToDestination), options).unwrap();
        assert_eq!(report.outcome, Outcome::Cancelled, "{operation}");
        let left = world.bucket.file_names();
        for name in ["n/000", "n/001", "n/002", "z/000", "z/001", "z/002", "extra"] {
            assert!(left.contains(&name.to_owned()), "{operation}: {name} of {left:?}");
        }
        world.calm();
        // What was to be deleted still is.
        assert_eq!(world.mode(SyncMode::SourceToDestination).counts.deleted_destination, 2, "{operation}");
    }
}

/// Lets listings fail from the `nth` request on; returns the error of a run and how many listings were asked for.
fn fails_to_list(world: &Meddled, mode: SyncMode, nth: usize, fault: &Disturbance) -> (ErrorKind, usize) {
    world.calm();
    let (seen, fault) = (AtomicUsize::new(0), fault.clone());
    world.meddle(move |asked, _| match asked {
        "ListObjectsV2" if seen.fetch_add(1, Ordering::Relaxed) + 1 >= nth => fault.clone(),
        _ => Disturbance::Pass,
    });
    let kind = world.run(|pair| pair.mode(mode), SyncOptions::new()).unwrap_err().kind();
    let asked = world.asked("ListObjectsV2");
    for operation in ["PutObject", "CopyObject", "DeleteObject", "DeleteObjects", "GetObject"] {
        assert_eq!(world.asked(operation), 0, "{operation} after a listing that failed");
    }
    world.calm();
    (kind, asked)
}

#[test]
fn h05_a_listing_that_fails_ends_a_two_way_run_before_anything_is_changed() {
    // More than a page of names, so that a later page can fail too.
    const MANY: &str = "n[0..1020]";
    let world = Meddled::synced("a many n 1020; b many n 1020");
    for (nth, fault) in [
        (1, refused(403, "AccessDenied")),
        (1, refused(404, "NoSuchBucket")),
        (1, refused(400, "InvalidRequest")),
        (2, refused(403, "AccessDenied")),
    ] {
        let (_, asked) = fails_to_list(&world, SyncMode::TwoWay, nth, &fault);
        assert!(asked >= nth, "page {nth} was asked for");
    }
    world.agrees(MANY);
    let report = world.sync();
    assert_eq!((report.outcome, report.counts.unchanged), (Outcome::Synced, 1020));
}

#[test]
fn h30_a_listing_that_fails_ends_a_source_mode_and_uploads_nothing_again() {
    for mode in [SyncMode::SourceToDestination, SyncMode::SourceBackup] {
        let world = Meddled::new();
        world.act("a many n 3");
        world.mode(mode);
        let (kind, _) = fails_to_list(&world, mode, 1, &refused(403, "AccessDenied"));
        assert_ne!(kind, ErrorKind::Cancelled, "{mode}");
        assert_eq!(world.mode(mode).counts.unchanged, 3, "{mode}");
    }
}

#[test]
fn h11_a_download_that_breaks_half_way_leaves_no_part_of_a_file() {
    let content = "0123456789".repeat(1000);
    let world = Meddled::new();
    world.act(&format!("b write f {content}; b write g second"));
    let tries = AtomicUsize::new(0);
    world.meddle(move |operation, key| match (operation, key) {
        ("GetObject", "f") if tries.fetch_add(1, Ordering::Relaxed) == 0 => Disturbance::Truncate(3000),
        ("GetObject", "f") => refused(403, "AccessDenied"),
        _ => Disturbance::Pass,
    });
    let report = world.sync();
    assert_eq!((report.outcome, report.counts.failed), (Outcome::Partial, 1), "{:?}", report.failures);
    assert!(world.asked("GetObject") >= 3, "it broke, was asked for again, and was refused");
    assert_eq!(world.folder(), crate::scenarios::tree("g=second"), "neither a part nor a temporary");
    world.calm();
    assert_eq!(world.sync().counts.downloaded, 1);
    world.agrees(&format!("f={content} g=second"));
}

#[test]
fn h23_a_deletion_that_failed_is_tried_again() {
    let world = Meddled::synced("a write f first; a write g second");
    world.act("a rm f");
    world.meddle(|operation, key| match operation {
        "DeleteObject" if key == "f" => refused(403, "AccessDenied"),
        "DeleteObjects" => refused(403, "AccessDenied"),
        _ => Disturbance::Pass,
    });
    let report = world.sync();
    assert_eq!((report.counts.failed, report.failures[0].path.as_str()), (1, "f"));
    world.has("g=second", "f=first g=second");
    world.calm();
    let report = world.sync();
    assert_eq!((report.counts.downloaded, report.counts.deleted_destination), (0, 1));
    world.agrees("g=second");
}

#[test]
fn h25_a_failed_upload_is_counted_named_shown_even_if_quiet_and_turns_the_exit_code() {
    let world = Meddled::new();
    world.act("a write f first; a write g second");
    world.meddle(|operation, key| match (operation, key) {
        ("PutObject", "f") => refused(403, "AccessDenied"),
        _ => Disturbance::Pass,
    });
    let report = world.sync();
    assert_eq!((report.outcome, report.counts.failed, report.stats().errors), (Outcome::Partial, 1, 1));
    let failure = &report.failures[0];
    assert_eq!((failure.path.as_str(), failure.action.as_str()), ("f", "upload"));
    assert!(!failure.error.is_empty() && !failure.hint.is_empty(), "{failure:?}");
    let ran = world.binary("sync a s3://vault --quiet");
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("failed: upload `f`"), "{ran:?}");
}

#[test]
fn h43_both_directions_try_again_what_may_pass_and_nothing_else() {
    for (operation, script) in [("PutObject", "a write f first"), ("GetObject", "b write f first")] {
        let world = Meddled::new();
        world.act(script);
        let tries = AtomicUsize::new(0);
        world.meddle(move |asked, _| match tries.load(Ordering::Relaxed) {
            before if asked == operation && before < 2 => {
                tries.fetch_add(1, Ordering::Relaxed);
                refused(503, "SlowDown")
            }
            _ => Disturbance::Pass,
        });
        let report = world.sync();
        assert_eq!((report.outcome, world.asked(operation)), (Outcome::Synced, 3), "{operation}");
        world.agrees("f=first");
        // A name is no reason to try again.
        let world = Meddled::new();
        world.act(&script.replace(" f ", " 503 "));
        world.meddle(
            move |asked, _| {
                if asked == operation { refused(403, "AccessDenied") } else { Disturbance::Pass }
            },
        );
        assert_eq!((world.sync().counts.failed, world.asked(operation)), (1, 1), "{operation}");
    }
}

/// Pauses a run as soon as bytes have been copied, and says so.
#[derive(Debug)]
struct PauseAtFirst(SyncController, Arc<Notify>);

impl Observer for PauseAtFirst {
    fn observe(&self, event: &Event) {
        if matches!(event, Event::Moved { .. }) {
            self.0.pause();
            self.1.notify_one();
        }
    }
}

#[test]
fn h44_a_paused_run_can_be_cancelled_and_then_nothing_of_it_goes_on() {
    let bench = Bench::new();
    act(&bench, "a many n 50");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (mut options, paused) = (one_by_one(), Arc::new(Notify::new()));
    let control = options.controller.clone();
    options.observer = Arc::new(PauseAtFirst(control.clone(), Arc::clone(&paused)));
    let engine = SyncEngine::new(bench.path("state"));
    let client = |name: &str| Arc::new(LocalClient::open(&bench.path(name)).unwrap());
    let pair = SyncPair::with_clients(client("a"), client("b"));
    let report = runtime.block_on(async {
        let cancel = async {
            paused.notified().await;
            assert!(control.is_paused());
            control.cancel();
        };
        tokio::join!(engine.sync_pair(&pair, options), cancel).0.unwrap()
    });
    assert_eq!(report.outcome, Outcome::Cancelled);
    assert_eq!(runtime.metrics().num_alive_tasks(), 0, "a task outlives its run");
    let copied = snapshot(&bench.path("b"));
    // Waits for the threads that files are written on.
    drop(runtime);
    assert_eq!(snapshot(&bench.path("b")), copied);
    let files = read_tree(&bench.path("b"));
    assert!(!files.is_empty() && files.len() < 50, "{}", files.len());
    assert!(files.keys().all(|name| name.starts_with("n/0")), "a temporary is left: {files:?}");
}

#[test]
fn h51_a_second_run_of_a_pair_is_refused_while_the_first_one_works() {
    let world = Meddled::new();
    world.act("a write f first");
    let second = Arc::new(Mutex::new(None));
    let (engine, found) = (world.engine(), Arc::clone(&second));
    let (folder, bucket) = (world.bench.path("a"), world.bucket.clone());
    world.meddle(move |operation, _| {
        if operation == "PutObject" {
            let pair = SyncPair::with_clients(
                Arc::new(LocalClient::open(&folder).unwrap()),
                Arc::new(bucket.open(None)),
            );
            *found.lock().unwrap() = Some(sync(&engine, &pair, SyncOptions::new()).unwrap());
        }
        Disturbance::Pass
    });
    assert_eq!(world.sync().counts.uploaded, 1);
    let second = second.lock().unwrap().take().unwrap();
    assert_eq!((second.outcome, codes(&second.refused_by)), (Outcome::Refused, vec!["locked"]));
    world.agrees("f=first");
}
