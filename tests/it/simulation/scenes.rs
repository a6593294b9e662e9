//! Fixed scenes, in which everything there is to do has to be done, and every call that can go wrong does once.

use std::sync::Arc;

use bytes::Bytes;
use syncengine::examine::Examiner;
use syncengine::fingerprint::{ContentHash, HashForm};
use syncengine::plan::Policy;
use syncengine::plan::rollback::Rollback;
use syncengine::{
    ComparisonMode, ConflictStrategy, InitialSyncPreference, Result, Side, Sides, StorageClient, SyncMode,
};

use super::life::on_paused_time;
use super::machines::{Ended, Machines};
use super::place::{Ignored, Inodes, Kind, LARGE, Place};
use super::port::Port;
use super::store::SimStore;
use super::world::{Trouble, Universe, Weather};
use crate::support::Random;

/// A pair of places, what is done to them, and how they are synced.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scene {
    pub(crate) kinds: [Kind; 2],
    pub(crate) mode: SyncMode,
    pub(crate) conflict: ConflictStrategy,
    /// Only a few files.
    pub(crate) is_small: bool,
}

pub(crate) const BUCKET: Kind =
    Kind::Bucket { opaque: false, ignores: Ignored { create: false, replace: false, delete: false } };
pub(crate) const FOLDER: Kind = Kind::Folder { tick: 1, folds: false, inodes: Inodes::Last };

/// All scenes: each mode, and each strategy that settles, from folder to bucket, back, and between two of a kind.
pub(crate) fn all() -> Vec<Scene> {
    let mut scenes = Vec::new();
    for kinds in [[FOLDER, BUCKET], [BUCKET, FOLDER], [FOLDER, FOLDER], [BUCKET, BUCKET]] {
        let mut add = |mode, conflict| scenes.push(Scene { kinds, mode, conflict, is_small: false });
        for conflict in [ConflictStrategy::NewestWins, ConflictStrategy::KeepBoth, ConflictStrategy::Manual] {
            add(SyncMode::TwoWay, conflict);
        }
        for mode in SyncMode::ALL.iter().filter(|mode| **mode != SyncMode::TwoWay) {
            add(*mode, ConflictStrategy::NewestWins);
        }
    }
    scenes
}

/// One scene for each mode and strategy, and each kind of place on either side.
pub(crate) fn handful() -> Vec<Scene> {
    all()
        .into_iter()
        .enumerate()
        .filter(|(at, _)| [0, 4, 6, 8, 10, 15, 19, 23].contains(at))
        .map(|(_, scene)| scene)
        .collect()
}

/// A small scene for what is tried in pairs.
pub(crate) fn small() -> Scene {
    Scene {
        kinds: [FOLDER, BUCKET],
        mode: SyncMode::TwoWay,
        conflict: ConflictStrategy::KeepBoth,
        is_small: true,
    }
}

/// What befalls the run of a scene.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Befalls {
    Nothing,
    /// The machine stops before this call; the power may go with it.
    Crash {
        call: u64,
        is_power_cut: bool,
    },
    /// Once more, in the run after it.
    Crashes(u64, u64),
    Trouble(u64, Trouble),
    /// Every call can be overtaken by others, as chance will have it.
    Interleaving(u64),
}

/// What a scene came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) trees: Vec<std::collections::BTreeMap<String, Bytes>>,
    pub(crate) trash: Vec<Bytes>,
    pub(crate) rows: Vec<String>,
    pub(crate) broken: Vec<String>,
    /// Calls of the run that was disturbed, and of the one after it.
    pub(crate) calls: [u64; 2],
    pub(crate) failed: bool,
}

impl Scene {
    /// Plays the scene.
    pub(crate) fn play(self, befalls: Befalls) -> Outcome {
        on_paused_time(self.act(befalls))
    }

    async fn act(self, befalls: Befalls) -> Outcome {
        let pairs = [Sides::new(0, 1)];
        let world = Arc::new(Universe::new(1, self.kinds.map(Place::new).into(), &pairs, false));
        let mut machines = Machines::new(&world, &pairs);
        machines.set(0, self.mode, self.conflict, InitialSyncPreference::Merge);
        self.before(&world);
        machines.calm_run(0).await;
        self.edits(&world);
        machines.calm_down();
        let first = world.inner().machines[0].calls;
        let is_power_cut = matches!(befalls, Befalls::Crash { is_power_cut: true, .. });
        {
            let mut world = world.inner();
            match befalls {
                Befalls::Nothing => {}
                Befalls::Crash { call, .. } | Befalls::Crashes(call, _) => {
                    world.machines[0].crash_at = Some(first + call);
                }
                Befalls::Trouble(call, trouble) => world.machines[0].fails_at = Some((first + call, trouble)),
                Befalls::Interleaving(seed) => {
                    world.chance = Random::new(seed);
                    world.weather = Weather { pauses: 500, ..Weather::default() };
                }
            }
        }
        let ended = machines.run(0).await;
        let failed = !matches!(&ended, Ended::Told(report) if report.counts.failed == 0);
        machines.after(0, &ended, is_power_cut);
        let second = world.inner().machines[0].calls;
        if let Befalls::Crashes(_, call) = befalls {
            world.inner().machines[0].crash_at = Some(second + call);
            let ended = machines.run(0).await;
            machines.after(0, &ended, false);
        }
        let rows_then = machines.owners[0].states.current().content().rows;
        if !matches!(befalls, Befalls::Interleaving(_)) {
            machines.settle(0).await;
        }
        let mut inner = world.inner();
        let trash =
            inner.places.iter().flat_map(|place| place.trash.iter().map(|(_, content)| content.clone()));
        let mut trash: Vec<Bytes> = trash.collect();
        trash.sort();
        let rows = rows_then.iter().map(|(key, row)| match row {
            syncengine::state::BaseRow::Agreed(row) => format!("{key} {} {:?}", row.size, row.hash),
            syncengine::state::BaseRow::Tombstone(_) => format!("{key} gone"),
            syncengine::state::BaseRow::Begun(_) => format!("{key} begun"),
            syncengine::state::BaseRow::Deleted(row) => format!("{key} deleted at {}", row.on),
        });
        let (rows, broken) = (rows.collect(), std::mem::take(&mut inner.broken));
        let calls = [second - first, inner.machines[0].calls - second];
        drop(inner);
        Outcome { trees: machines.trees(), trash, rows, broken, calls, failed }
    }

    fn before(self, world: &Universe) {
        let mut world = world.inner();
        let names: &[&str] = if self.is_small {
            &["both", "gone", "moved", "moved here"]
        } else {
            &[
                "a",
                "a-b",
                "both",
                "d/e/f",
                "edited",
                "folder/x",
                "gone",
                "gone too",
                "moved",
                "moved here",
                "moved there",
                "moved too",
                "stays",
            ]
        };
        for name in names {
            world.place_file(0, name, &format!("{name} as it was"));
        }
    }

    /// Conflicts, renames, replacements, deletions, a large new file, and a file in the place of a folder.
    fn edits(self, world: &Universe) {
        let mut world = world.inner();
        let large = "x".repeat(3 * LARGE);
        if self.is_small {
            world.place_file(0, "both", "both, of the source");
            world.place_file(1, "both", "both, of the destination");
            world.rename(0, "moved", "d/moved");
            world.rename(0, "moved here", "y");
            world.place_file(1, "moved here", "edited there while it was moved here");
            world.delete(1, "gone");
            return;
        }
        for (name, text) in
            [("a", "a, edited"), ("both", "both, of the source"), ("large", &large), ("new/here", "new")]
        {
            world.place_file(0, name, text);
        }
        world.rename(0, "moved", "d/moved");
        world.delete(0, "gone");
        world.delete(0, "folder/x");
        world.place_file(0, "folder", "no folder any more");
        for (name, text) in
            [("edited", "edited there"), ("both", "both, of the destination"), ("new/there", "new!")]
        {
            world.place_file(1, name, text);
        }
        world.rename(1, "moved too", "z");
        world.rename(0, "moved here", "y/here");
        world.place_file(1, "moved here", "edited there while it was moved here");
        world.rename(1, "moved there", "y/there");
        world.place_file(0, "moved there", "edited here while it was moved there");
        world.place_file(1, "a-b", "a-b, edited there as well");
        world.delete(1, "gone too");
        world.delete(1, "d/e/f");
    }
}

/// A user deletes a file, the run that carries it over is cut off before a call, and the user gets the file back from a
/// backup. Returns whether the run had ended before, and what the places have after the next one.
pub(crate) fn get_back(
    kinds: [Kind; 2],
    call: u64,
) -> (bool, Vec<std::collections::BTreeMap<String, Bytes>>) {
    on_paused_time(async {
        let pairs = [Sides::new(0, 1)];
        let world = Arc::new(Universe::new(1, kinds.map(Place::new).into(), &pairs, false));
        let mut machines = Machines::new(&world, &pairs);
        machines.set(0, SyncMode::TwoWay, ConflictStrategy::KeepBoth, InitialSyncPreference::Merge);
        for name in ["got back", "stays"] {
            world.inner().place_file(0, name, name);
        }
        machines.calm_run(0).await;
        let backup = world.inner().places[1].moments.len() - 1;
        world.inner().delete(1, "got back");
        let ended = machines.run_to(call, false).await;
        world.inner().put_back_to(1, backup);
        machines.calm_down();
        let last = machines.run(0).await;
        assert!(matches!(last, Ended::Told(_)), "{last:?}");
        (matches!(ended, Ended::Told(_)), machines.trees())
    })
}

/// The other side excludes a file that this side has deleted, and its rules lose against those of this side. The power is cut
/// before a call of the run that takes them. Returns whether the run had ended before, and what the other side has
/// after two more runs.
pub(crate) fn lose_rules(
    kinds: [Kind; 2],
    mode: SyncMode,
    (call, seed): (u64, u64),
) -> (bool, std::collections::BTreeMap<String, Bytes>) {
    on_paused_time(async {
        let pairs = [Sides::new(0, 1)];
        let world = Arc::new(Universe::new(seed, kinds.map(Place::new).into(), &pairs, false));
        let mut machines = Machines::new(&world, &pairs);
        machines.set(0, mode, ConflictStrategy::SourceWins, InitialSyncPreference::Merge);
        for name in ["secret", "stays"] {
            world.inner().place_file(0, name, name);
        }
        machines.calm_run(0).await;
        {
            let mut world = world.inner();
            world.place_file(1, ".syncignore", "secret\n");
            world.delete(0, "secret");
            world.place_file(0, ".syncignore", "# nothing\n");
        }
        let ended = machines.run_to(call, true).await;
        for _ in 0..2 {
            machines.calm_down();
            let ended = machines.run(0).await;
            assert!(matches!(ended, Ended::Told(_)), "{ended:?}");
        }
        (matches!(ended, Ended::Told(_)), machines.trees().swap_remove(1))
    })
}

/// An older copy of a folder, which has got the same new file, takes its place; the run that gives it an id of its own is cut off
/// before a call, and the copy is put back to a moment when it had not that file yet. Returns whether the run had ended
/// before, and what the places have after two more.
pub(crate) fn put_back_a_copy(call: u64) -> (bool, Vec<std::collections::BTreeMap<String, Bytes>>) {
    on_paused_time(async {
        let pairs = [Sides::new(0, 1)];
        let places = [FOLDER, BUCKET, FOLDER].map(Place::new).into();
        let world = Arc::new(Universe::new(1, places, &pairs, false));
        let mut machines = Machines::new(&world, &pairs);
        machines.set(0, SyncMode::TwoWay, ConflictStrategy::KeepBoth, InitialSyncPreference::Merge);
        world.inner().place_file(0, "stays", "stays");
        machines.calm_run(0).await;
        let early = world.inner().places[0].moments.len() - 1;
        world.inner().copy_root(0, 2);
        world.inner().place_file(0, "late", "late");
        machines.calm_run(0).await;
        {
            let mut world = world.inner();
            world.places.swap(0, 2);
            world.place_file(0, "late", "late");
        }
        let ended = machines.run_to(call, false).await;
        world.inner().put_back_to(0, early);
        for _ in 0..2 {
            machines.calm_down();
            let ended = machines.run(0).await;
            assert!(matches!(ended, Ended::Told(_)), "{ended:?}");
        }
        (matches!(ended, Ended::Told(_)), machines.trees())
    })
}

/// A user renames a folder and deletes a file beside it, and the folder cannot be listed under its new name, or another one
/// that has long been there cannot. Returns what the other side has after the next run.
pub(crate) fn rename_unlisted(mode: SyncMode, unlisted: &str) -> std::collections::BTreeMap<String, Bytes> {
    on_paused_time(async {
        let pairs = [Sides::new(0, 1)];
        let world = Arc::new(Universe::new(1, vec![Place::new(FOLDER), Place::new(BUCKET)], &pairs, false));
        let mut machines = Machines::new(&world, &pairs);
        machines.set(0, mode, ConflictStrategy::KeepBoth, InitialSyncPreference::Merge);
        for name in ["gone", "known/x", "old/x", "old/y"] {
            world.inner().place_file(0, name, name);
        }
        machines.calm_run(0).await;
        {
            let mut world = world.inner();
            world.delete(0, "gone");
            world.rename(0, "old/x", "new/x");
            world.rename(0, "old/y", "new/y");
        }
        machines.calm_down();
        world.inner().places[0].unreadable = Some(unlisted.to_owned());
        let ended = machines.run(0).await;
        assert!(
            matches!(&ended, Ended::Told(report) if report.outcome == syncengine::Outcome::Partial),
            "{ended:?}"
        );
        machines.trees().swap_remove(1)
    })
}

/// Hashes a file of a bucket as the engine does when it compares, where so many of 1,000 pieces are damaged.
pub(crate) fn hash_of(text: &str, form: HashForm, flips: usize) -> Result<Vec<ContentHash>> {
    let pairs = [Sides::new(0, 1)];
    let world = Arc::new(Universe::new(1, vec![Place::new(BUCKET), Place::new(BUCKET)], &pairs, false));
    world.inner().place_file(0, "a", text);
    world.inner().weather = Weather { flips, ..Weather::default() };
    let entry = world.inner().listed(0, "a").unwrap();
    let client = |place| -> Arc<dyn StorageClient> {
        let port = Port { world: Arc::clone(&world), machine: 0, place };
        Arc::new(SimStore { port, location: String::new() })
    };
    let policy = Policy {
        mode: SyncMode::TwoWay,
        pull: true,
        conflict: ConflictStrategy::Manual,
        first_sync_winner: None,
    };
    let clients = Sides::new(client(0), client(1));
    let examiner = Examiner {
        clients,
        compare: ComparisonMode::HashOnly,
        policy,
        tombstones_hold: false,
        rollback: Rollback::default(),
    };
    on_paused_time(examiner.hash(Side::Source, &entry, &[form]))
}
