//! What is removed for good: the trash of runs of ours that is old, and nothing that only looks like it.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::support::bench::Bench;
use crate::support::bucket::{AtRest, Bucket};
use crate::support::{Folder, Root};

/// What others have called like the trash of a run, or almost.
const FOREIGN: [&str; 3] =
    ["20200101T000000Z-nightly/db.dump", "20200101T000000Z-0123abcd/db.dump", "20200101T000000Z/db.dump"];

/// What others have put beside what a run has thrown away.
const AMONG_OURS: &str = "put aside.txt";

/// Where a trash is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Folder,
    Bucket,
    Location,
}

struct Scene {
    bench: Bench,
    place: Place,
}

impl Scene {
    fn new(place: Place) -> Self {
        Self { bench: Bench::new(), place }
    }

    /// Edits the file, and syncs with a state of that name.
    fn sync(&self, text: &str, state: &str) {
        self.bench.write("a/f", text);
        let to = if self.place == Place::Folder { "b" } else { "embedded://vault" };
        let words =
            format!("sync a {to} --mode sourceToDestination --trash-keep 1s --create --state-dir {state}");
        let mut words: Vec<&str> = words.split(' ').collect();
        if self.place != Place::Folder {
            words.extend(["--embedded-dir", "server"]);
        }
        if self.place == Place::Location {
            words.extend(["--trash-location", "embedded://bin/backups"]);
        }
        let ran = self.bench.run(&words);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(!ran.stderr.contains("warning"), "{ran:?}");
    }

    fn at_rest(&self) -> (AtRest, &'static str) {
        let (name, prefix) =
            if self.place == Place::Location { ("bin", "backups/") } else { ("vault", ".syncengine/trash/") };
        (AtRest { dir: self.bench.path("server"), name: name.into() }, prefix)
    }

    /// Puts what others have into the trash.
    fn add_foreign(&self) {
        if self.place == Place::Folder {
            let trash = self.bench.path("b/.syncengine/trash");
            for run in fs::read_dir(&trash).unwrap() {
                fs::write(run.unwrap().path().join(AMONG_OURS), AMONG_OURS).unwrap();
            }
            for name in FOREIGN {
                self.bench.write(&format!("b/.syncengine/trash/{name}"), name);
            }
            return;
        }
        let (bucket, prefix) = self.at_rest();
        bucket.with(|bucket| {
            let ours =
                bucket.objects().into_keys().filter(|name| name.starts_with(prefix) && name.ends_with("/f"));
            for name in ours.collect::<Vec<_>>() {
                let name = name.replace("/f", &format!("/{AMONG_OURS}"));
                bucket.put(&name, AMONG_OURS.as_bytes(), None);
            }
            for name in FOREIGN {
                bucket.put(&format!("{prefix}{name}"), name.as_bytes(), None);
            }
        });
    }

    /// Returns what is in the trash, by the file names.
    fn trash(&self) -> Vec<String> {
        let all: Vec<Vec<u8>> = if self.place == Place::Folder {
            Folder(self.bench.path("b")).trash()
        } else {
            let (bucket, prefix) = self.at_rest();
            let objects: BTreeMap<String, Vec<u8>> = bucket.with(Bucket::objects);
            let is_kept = |name: &String| name.starts_with(prefix) && !name.contains("manifests/");
            objects.into_iter().filter(|(name, _)| is_kept(name)).map(|(_, bytes)| bytes).collect()
        };
        let mut all: Vec<String> = all.into_iter().map(|text| String::from_utf8(text).unwrap()).collect();
        all.sort();
        all
    }
}

/// So that what is kept for a second is old, by the clock of the run before too.
fn pass() {
    std::thread::sleep(Duration::from_millis(2_100));
}

#[test]
fn a_purge_removes_nothing_that_no_manifest_lists() {
    for place in [Place::Folder, Place::Bucket, Place::Location] {
        let scene = Scene::new(place);
        if place == Place::Location {
            AtRest { dir: scene.bench.path("server"), name: "bin".into() }.with(|_| ());
        }
        scene.sync("1", "state");
        scene.sync("2", "state");
        scene.add_foreign();
        let mut expected: Vec<String> =
            FOREIGN.iter().chain([&AMONG_OURS]).map(|name| (*name).to_owned()).collect();
        expected.sort();
        assert_eq!(scene.trash(), [&["1".to_owned()][..], &expected].concat(), "{place:?}");
        pass();
        scene.sync("3", "state");
        pass();
        scene.sync("4", "state");
        // What was taken for ours in the third run would be old by the clocks of the fifth and the fourth.
        pass();
        scene.sync("5", "state");
        let left = scene.trash();
        assert!(!left.contains(&"1".to_owned()), "{place:?}: what is old has gone: {left:?}");
        assert!(left.contains(&"4".to_owned()), "{place:?}: what is young stays: {left:?}");
        assert!(
            expected.iter().all(|name| left.contains(name)),
            "{place:?}: what others have stays: {left:?}"
        );
    }
}

/// As in CI: each run has a state of its own.
#[test]
fn the_trash_of_runs_without_a_past_goes_too() {
    for place in [Place::Folder, Place::Bucket] {
        let scene = Scene::new(place);
        for number in 1..=4 {
            scene.sync(&number.to_string(), &format!("state-{number}"));
            pass();
        }
        assert!(!scene.trash().contains(&"1".to_owned()), "{place:?}: {:?}", scene.trash());
        assert!(scene.trash().contains(&"3".to_owned()), "{place:?}: {:?}", scene.trash());
    }
}

#[test]
fn the_trash_of_a_folder_goes_from_its_copy_too() {
    let scene = Scene::new(Place::Folder);
    scene.sync("1", "state");
    scene.sync("2", "state");
    let at = |name: &str| scene.bench.path(name);
    fs::rename(at("b"), at("original")).unwrap();
    assert!(Command::new("cp").arg("-a").args([at("original"), at("b")]).status().unwrap().success());
    assert_eq!(scene.trash(), ["1"]);
    // To the new state it is of before the pair began: its age counts from when it was seen.
    for text in ["3", "4", "5", "6"] {
        pass();
        scene.sync(text, "another-state");
    }
    assert!(!scene.trash().contains(&"1".to_owned()), "{:?}", scene.trash());
    assert!(scene.trash().contains(&"4".to_owned()), "{:?}", scene.trash());
    assert_eq!(Folder(at("original")).trash(), [b"1"], "that of the original stays");
}
