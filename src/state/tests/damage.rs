//! What happens to the state behind our back (F-44, F-45, B-51, B-52): the rows are exactly those that were
//! left, or the base is lost; never other rows, never a panic, and nothing is deleted.

use super::*;
use crate::state::tables::{Head, SCHEMA, Tables};

const ROWS: usize = 2_000;

/// Returns a state of generation 3 with [`ROWS`] rows.
async fn committed() -> Place {
    let world = Place::new();
    for part in [0..ROWS / 2, ROWS / 2..ROWS] {
        let opened = world.open().await;
        opened.store.commit(pair_record()).await.unwrap();
        opened.store.record(puts(&rows(part))).await.unwrap();
    }
    world.open().await.store.commit(pair_record()).await.unwrap();
    world
}

/// Opens, for looking and for writing, a state that must be lost.
async fn assert_lost(world: &Place, what: &str) -> String {
    let looked = world.try_open(Access::ReadOnly).await.unwrap();
    assert!(matches!(looked.found, Found::Lost { .. }), "{what}: {:?}", looked.found);
    assert!(scanned(looked.store.as_ref()).await.is_empty(), "{what}");
    drop(looked);
    let opened = world.open().await;
    let Found::Lost { why } = opened.found else { panic!("{what}: {:?}", opened.found) };
    assert_eq!(opened.store.pair_record(), None, "{what}");
    assert!(scanned(opened.store.as_ref()).await.is_empty(), "{what}");
    why
}

async fn assert_intact(world: &Place, what: &str) {
    let opened = world.open().await;
    assert_eq!(opened.found, Found::Intact, "{what}");
    assert_eq!(opened.store.pair_record(), Some(pair_record()), "{what}");
    assert_eq!(scanned(opened.store.as_ref()).await, shown(&rows(0..ROWS)), "{what}");
    assert!(world.names(".lost-").is_empty(), "{what}");
}

/// Opens a damaged state: whole or lost, both are right. Returns whether it was lost.
async fn assert_never_wrong(world: &Place, what: &str) -> bool {
    let files = fs::read_dir(world.layout().database()).map(Iterator::count);
    let opened = world.open().await;
    let rows_now = scanned(opened.store.as_ref()).await;
    match opened.found {
        Found::Intact => assert_eq!(rows_now, shown(&rows(0..ROWS)), "{what}"),
        Found::Nothing => panic!("{what}: a lost base passes for none"),
        Found::Lost { .. } => {
            assert!(rows_now.is_empty(), "{what}");
            let aside = world.names(".lost-");
            assert_eq!(aside.len(), 1, "{what}: {aside:?}");
            let kept = fs::read_dir(world.dir().join(&aside[0])).map(Iterator::count);
            assert!(kept.unwrap_or(0) >= files.unwrap_or(0), "{what}: files are gone");
            return true;
        }
    }
    false
}

/// The next number of a fixed sequence.
fn draw(seed: &mut u64, below: usize) -> usize {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    usize::try_from(*seed >> 33).unwrap() % below
}

/// Truncates a file, changes one bit or zeroes 512 bytes of it, somewhere. Returns where.
fn spoil(file: &Path, trial: usize, seed: &mut u64) -> usize {
    let mut bytes = fs::read(file).unwrap();
    let at = draw(seed, bytes.len());
    match trial % 3 {
        0 => bytes.truncate(at),
        1 => bytes[at] ^= 1 << draw(seed, 8),
        _ => bytes.iter_mut().skip(at).take(512).for_each(|byte| *byte = 0),
    }
    fs::write(file, bytes).unwrap();
    at
}

fn files_named(world: &Place, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(world.layout().database()).unwrap();
    let all = entries.map(|entry| entry.unwrap().path());
    all.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(prefix)).collect()
}

#[test]
fn f44_a_damaged_file_never_yields_wrong_rows() {
    run(async {
        let base = committed().await;
        assert_intact(&base.killed(), "not damaged").await;
        let (mut seed, mut lost) = (1, 0);
        for (prefix, count) in [("db", 150), ("snap.", 40), ("conf", 10)] {
            assert!(!files_named(&base, prefix).is_empty(), "{prefix}");
            for trial in 0..count {
                let world = base.killed();
                let file = files_named(&world, prefix).remove(0);
                let at = spoil(&file, trial, &mut seed);
                let what = format!("{prefix} trial {trial} at {at}");
                lost += usize::from(assert_never_wrong(&world, &what).await);
            }
        }
        assert!(lost > 20, "only {lost} lost: the damage does not reach the data");
    });
    println!("ci: state damage: 200 trials on the files of a state, each whole or lost, never wrong");
}

#[test]
fn f44_damage_after_the_last_commit_leaves_a_base_that_lags() {
    run(async {
        let base = committed().await;
        let opened = base.open().await;
        for number in 0..100 {
            opened.store.record(vec![(key(ROWS + number), Some(agreed(number)))]).await.unwrap();
        }
        drop(opened);
        let mut seed = 2;
        for trial in 0..30 {
            let world = base.killed();
            let file = files_named(&world, "db").remove(0);
            let at = spoil(&file, trial, &mut seed);
            let opened = world.open().await;
            let kept = scanned(opened.store.as_ref()).await;
            if matches!(opened.found, Found::Lost { .. }) {
                assert!(kept.is_empty(), "trial {trial} at {at}");
                continue;
            }
            let mut expected = rows(0..ROWS);
            expected.extend((0..kept.len() - ROWS).map(|number| (key(ROWS + number), agreed(number))));
            assert_eq!(kept, shown(&expected), "trial {trial} at {at}");
        }
    });
}

#[test]
fn f44_files_that_are_missing_empty_or_too_many() {
    run(async {
        let base = committed().await;
        for prefix in ["db", "snap.", "conf", "blobs"] {
            for empty in [false, true] {
                let world = base.killed();
                for path in files_named(&world, prefix) {
                    match (empty, path.is_dir()) {
                        (true, true) => {}
                        (true, false) => fs::write(path, "").unwrap(),
                        (false, true) => fs::remove_dir_all(path).unwrap(),
                        (false, false) => fs::remove_file(path).unwrap(),
                    }
                }
                assert_never_wrong(&world, &format!("{prefix} empty: {empty}")).await;
            }
        }
        // sled takes these two together for a new database.
        let world = base.killed();
        for path in [files_named(&world, "db"), files_named(&world, "snap.")].concat() {
            fs::write(path, "").unwrap();
        }
        assert_lost(&world, "all emptied").await;

        let world = base.killed();
        fs::write(world.layout().database().join("snap.FFFFFFFFFFFFFFFF.generating"), [7; 100]).unwrap();
        assert_intact(&world, "stray").await;
        assert_eq!(world.names(".stray-").len(), 1);

        let world = base.killed();
        fs::remove_dir_all(world.layout().database()).unwrap();
        fs::write(world.layout().database(), "a file in the place of the directory").unwrap();
        assert_lost(&world, "a file").await;
        assert_eq!(world.names(".lost-").len(), 1);
    });
}

#[test]
fn f45_a_state_deleted_emptied_or_restored_is_lost_until_the_next_commit() {
    run(async {
        let base = committed().await;
        for keep_empty in [false, true] {
            let world = base.killed();
            fs::remove_dir_all(world.layout().database()).unwrap();
            if keep_empty {
                fs::create_dir(world.layout().database()).unwrap();
            }
            assert_lost(&world, "deleted").await;
            assert_lost(&world, "deleted, second time").await;
            assert!(world.names(".lost-").is_empty(), "there was nothing to keep");
            let opened = world.open().await;
            opened.store.record(puts(&rows(0..3))).await.unwrap();
            drop(opened);
            assert_lost(&world.killed(), "recorded, not committed").await;
            world.open().await.store.commit(pair_record()).await.unwrap();
            assert_eq!(world.open().await.found, Found::Intact);
        }

        let world = base.killed();
        world.open().await.store.commit(pair_record()).await.unwrap();
        fs::remove_dir_all(world.layout().database()).unwrap();
        copy_tree(&base.layout().database(), &world.layout().database());
        let why = assert_lost(&world, "restored").await;
        assert!(why.contains("older copy"), "{why}");
        assert_eq!(world.names(".lost-").len(), 1);
        assert_lost(&world, "restored, second time").await;
        let opened = world.open().await;
        opened.store.commit(pair_record()).await.unwrap();
        drop(opened);
        // The old copy stays recognisable.
        fs::remove_dir_all(world.layout().database()).unwrap();
        copy_tree(&base.layout().database(), &world.layout().database());
        assert_lost(&world, "restored again").await;
    });
}

#[test]
fn b52_side_cars_that_disagree() {
    run(async {
        let base = committed().await;
        let id = pair_record().pair_id;
        let sidecar = |schema: u32, id: &str, generation: u64| {
            format!("{{\"schema\":{schema},\"pair_id\":\"{id}\",\"generation\":{generation}}}")
        };
        let written = fs::read_to_string(base.layout().sidecar()).unwrap();
        assert!(written.starts_with(sidecar(SCHEMA, &id, 3).trim_end_matches('}')), "{written}");
        for (what, text, intact) in [
            ("store ahead", sidecar(SCHEMA, &id, 2), true),
            ("store behind", sidecar(SCHEMA, &id, 4), false),
            ("store far behind", sidecar(SCHEMA, &id, u64::MAX), false),
            ("other pair", sidecar(SCHEMA, "ff", 3), false),
            ("newer schema", sidecar(SCHEMA + 1, &id, 3), false),
            ("garbage", "garbage".into(), true),
            ("empty", String::new(), true),
        ] {
            let world = base.killed();
            fs::write(world.layout().sidecar(), &text).unwrap();
            if intact {
                assert_intact(&world, what).await;
            } else {
                assert_lost(&world, what).await;
                assert_eq!(fs::read_to_string(world.layout().sidecar()).unwrap(), text, "{what}");
            }
        }
        let world = base.killed();
        fs::remove_file(world.layout().sidecar()).unwrap();
        assert_intact(&world, "missing").await;
    });
}

#[test]
fn b51_states_of_others() {
    run(async {
        let base = committed().await;
        let write_head = |world: &Place, change: &dyn Fn(&mut Head)| {
            let tables = Tables::open(&world.layout().database()).unwrap();
            let mut head = tables.head().unwrap().unwrap();
            change(&mut head);
            tables.put_head(&head).unwrap();
            tables.flush().unwrap();
        };
        let other = Sides::new("/other".into(), "/destination".into());
        for with_sidecar in [true, false] {
            for (what, change) in [
                ("newer schema", (&|head: &mut Head| head.schema = SCHEMA + 1) as &dyn Fn(&mut Head)),
                ("other pair", &|head| head.locations = other.clone()),
                ("other record", &|head| head.record.as_mut().unwrap().locations = other.clone()),
                ("a row too few", &|head| head.rows += 1),
                ("a row too many", &|head| head.rows -= 1),
                ("a fold that loses rows", &|head| (head.folding, head.rows) = (true, 1)),
                ("rows of nobody", &|head| (head.record, head.generation) = (None, 0)),
            ] {
                let world = base.killed();
                write_head(&world, change);
                if !with_sidecar {
                    fs::remove_file(world.layout().sidecar()).unwrap();
                }
                assert_lost(&world, what).await;
                assert_eq!(world.names(".lost-").len(), 1, "{what}");
                // Killed before it commits: still lost, not new.
                assert_lost(&world, what).await;
            }
        }
    });
}

#[test]
fn b51_blocks_and_journal_records_that_contradict_each_other() {
    run(async {
        let base = committed().await;
        base.open().await.store.record(puts(&rows(0..200))).await.unwrap();
        let damage = |what: &'static str, change: &dyn Fn(&Tables)| {
            let world = base.killed();
            let tables = Tables::open(&world.layout().database()).unwrap();
            change(&tables);
            tables.flush().unwrap();
            drop(tables);
            async move { assert_lost(&world, what).await }
        };
        damage("a block is missing", &|tables| {
            tables.with("", |trees| Ok(trees.blocks.pop_max().map(drop)?)).unwrap();
        })
        .await;
        damage("a block under another name", &|tables| {
            tables
                .with("", |trees| {
                    let (_, block) = trees.blocks.pop_max()?.unwrap();
                    Ok(trees.blocks.insert("zzz", block).map(drop)?)
                })
                .unwrap();
        })
        .await;
        damage("a block twice", &|tables| {
            tables
                .with("", |trees| {
                    let (name, block) = trees.blocks.first()?.unwrap();
                    Ok(trees.blocks.insert([&name[..], b"x"].concat(), block).map(drop)?)
                })
                .unwrap();
        })
        .await;
        damage("a changed byte", &|tables| {
            tables
                .with("", |trees| {
                    let (name, block) = trees.blocks.last()?.unwrap();
                    let mut bytes = block.to_vec();
                    bytes[100] ^= 4;
                    Ok(trees.blocks.insert(name, bytes).map(drop)?)
                })
                .unwrap();
        })
        .await;
        damage("the first record is missing", &|tables| {
            tables.with("", |trees| Ok(trees.journal.pop_min().map(drop)?)).unwrap();
        })
        .await;
        damage("a record in the middle is missing", &|tables| {
            tables
                .with("", |trees| {
                    let second = trees.journal.iter().keys().nth(1).unwrap()?;
                    Ok(trees.journal.remove(second).map(drop)?)
                })
                .unwrap();
        })
        .await;
        damage("a record is empty", &|tables| {
            tables
                .with("", |trees| {
                    let (name, _) = trees.journal.last()?.unwrap();
                    Ok(trees.journal.insert(name, b"").map(drop)?)
                })
                .unwrap();
        })
        .await;
    });
}
