//! States that get other places in the state directory: whatever moment a kill comes at, each is found once and whole.

use super::*;
use crate::state::catalogue::{all_kept, keep_waiting, kept_at, knows};
use crate::state::layout::Sidecar;

fn elsewhere() -> Sides<String> {
    Sides::new("/source".into(), "/moved".into())
}

async fn open_at(world: &Place, locations: Sides<String>, found: Option<Kept>) -> Opened {
    let wanted = Wanted { locations, found };
    let (dir, scratch) = (world.dir(), world.scratch());
    open(dir, wanted, Access::Write, scratch, Arc::new(Standing), Arc::new(SystemEntropy)).await.unwrap()
}

async fn committed() -> Place {
    let world = Place::new();
    let opened = world.open().await;
    opened.store.record(puts(&rows(0..100))).await.unwrap();
    opened.store.commit(pair_record()).await.unwrap();
    world
}

async fn every(world: &Place) -> Vec<Kept> {
    all_kept(world.dir(), world.scratch(), Arc::new(SystemEntropy)).await.unwrap()
}

/// Returns the one state of the pair.
async fn only(world: &Place) -> Kept {
    let mut all = every(world).await;
    all.retain(|kept| kept.pair_id == pair_record().pair_id);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

async fn assert_whole(world: &Place, what: &str) {
    let opened = open_at(world, elsewhere(), Some(only(world).await)).await;
    assert_eq!(opened.found, Found::Intact, "{what}");
    assert_eq!(scanned(opened.store.as_ref()).await, shown(&rows(0..100)), "{what}");
    let record = opened.store.pair_record().unwrap();
    assert_eq!(record.locations, elsewhere(), "{what}");
    opened.store.commit(record).await.unwrap();
    drop(opened);
    let kept = kept_at(world.dir(), elsewhere()).await.unwrap().unwrap();
    assert_eq!((kept.pair_id, kept.at.locations), (pair_record().pair_id, elsewhere()), "{what}");
    assert_eq!(kept_at(world.dir(), locations()).await.unwrap(), None, "{what}");
    assert_eq!(open_at(world, elsewhere(), None).await.found, Found::Intact, "{what}");
}

#[test]
fn a_state_is_taken_to_other_locations_whatever_a_kill_left() {
    run(async {
        for step in 0..8 {
            let world = committed().await;
            let (from, to) = (world.layout(), Layout::new(world.dir(), &elsewhere()));
            // That of an earlier release does not say where the pair was; whoever moves it says it.
            let told = only(&world).await.at;
            if step >= 4 {
                forget_where(&world);
            }
            let step = step % 4;
            if step > 0 {
                let layout::Trace::Readable(sidecar) = from.read_sidecar().unwrap() else { panic!("{step}") };
                to.put_sidecar(&Sidecar { at: Some(told), ..sidecar }).unwrap();
            }
            if step > 1 {
                fs::rename(from.database(), to.database()).unwrap();
            }
            if step > 2 {
                fs::remove_file(from.sidecar()).unwrap();
            }
            assert_whole(&world, &format!("after {step} steps")).await;
        }
    });
}

/// The database tells of its new locations before its side-car does.
#[test]
fn a_state_whose_side_car_tells_of_the_old_locations_is_whole() {
    run(async {
        let world = committed().await;
        let (dir, kept) = (world.dir(), only(&world).await);
        assert!(!move_to(dir, kept, elsewhere(), &Standing).await.unwrap());
        let layout = Layout::new(world.dir(), &elsewhere());
        let generation = match layout.read_sidecar().unwrap() {
            layout::Trace::Readable(sidecar) => sidecar.generation,
            trace => panic!("{trace:?}"),
        };
        layout.put_sidecar(&Sidecar::of(&pair_record(), generation)).unwrap();
        assert_whole(&world, "").await;
    });
}

#[test]
fn what_waits_and_what_takes_its_place_are_exchanged_again_and_again() {
    run(async {
        let world = committed().await;
        let first = pair_record();
        let second = PairRecord { pair_id: "fedcba9876543210fedcba9876543210".into(), ..first.clone() };
        {
            let opened = world.open().await;
            keep_waiting(world.dir(), opened.store.as_ref(), opened.lock.clone(), Standing.now())
                .await
                .unwrap();
            opened.store.record(puts(&rows(100..150))).await.unwrap();
            opened.store.commit(second.clone()).await.unwrap();
        }
        for turn in 0..5 {
            let (record, count) = if turn % 2 == 0 { (&first, 100) } else { (&second, 150) };
            let all = every(&world).await;
            assert_eq!(all.len(), 2, "{turn} {all:?}");
            let kept = all.into_iter().find(|kept| kept.pair_id == record.pair_id);
            let opened = open_at(&world, locations(), kept).await;
            assert_eq!(
                (&opened.found, opened.store.pair_record().as_ref()),
                (&Found::Intact, Some(record)),
                "{turn}"
            );
            assert_eq!(scanned(opened.store.as_ref()).await, shown(&rows(0..count)), "{turn}");
        }
        assert!(knows(world.dir(), second.pair_id).await.unwrap());
        assert!(!knows(world.dir(), "0".repeat(32)).await.unwrap());
    });
}

/// A state of the place to which another one is moved is set aside, not deleted.
#[test]
fn what_is_replaced_is_kept_and_still_known() {
    run(async {
        let world = committed().await;
        let own = PairRecord { pair_id: "aa".repeat(16), locations: elsewhere(), ..pair_record() };
        open_at(&world, elsewhere(), None).await.store.commit(own.clone()).await.unwrap();
        let kept = only(&world).await;
        assert!(move_to(world.dir(), kept, elsewhere(), &Standing).await.unwrap());
        assert_eq!(world.names(".replaced-").len(), 2);
        assert!(knows(world.dir(), own.pair_id).await.unwrap());
        assert_whole(&world, "").await;
    });
}

/// Makes the side-car one of an earlier release.
fn forget_where(world: &Place) {
    let path = world.layout().sidecar();
    let mut document: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert!(document.as_object_mut().unwrap().remove("at").is_some());
    fs::write(&path, document.to_string()).unwrap();
}

/// A database that was given up and not used since can be moved too.
#[test]
fn a_lost_state_is_lost_in_its_new_place_too() {
    run(async {
        let world = committed().await;
        let kept = only(&world).await;
        fs::write(world.layout().database().join("db"), "garbage").unwrap();
        assert!(matches!(world.open().await.found, Found::Lost { .. }));
        let opened = open_at(&world, elsewhere(), Some(kept)).await;
        assert!(matches!(opened.found, Found::Lost { .. }), "{:?}", opened.found);
    });
}

/// Side-cars of earlier releases do not say where the pair was; the database does.
#[test]
fn states_of_earlier_releases_are_found_too() {
    run(async {
        let world = committed().await;
        forget_where(&world);
        let kept = kept_at(world.dir(), locations()).await.unwrap().unwrap();
        assert_eq!((kept.at.locations, kept.at.roots.source), (locations(), None));
        assert_eq!(only(&world).await.at.roots, pair_record().roots);
        assert_whole(&world, "").await;
    });
}

/// Killed runs can leave the place before last in the database: its id says whose it is.
#[test]
fn a_state_is_known_by_its_id_wherever_it_says_that_it_was() {
    run(async {
        let world = committed().await;
        let third = Sides::new("/other".into(), "/moved".into());
        let mut kept = only(&world).await;
        assert!(!move_to(world.dir(), kept.clone(), elsewhere(), &Standing).await.unwrap());
        kept.name = only(&world).await.name;
        let opened = open_at(&world, third.clone(), Some(kept)).await;
        assert_eq!(opened.found, Found::Intact);
        assert_eq!(opened.store.pair_record().unwrap().locations, third);
        drop(opened);
        // Of another pair it is not.
        let strange = Kept { pair_id: "ff".repeat(16), ..only(&world).await };
        fs::remove_file(Layout::new(world.dir(), &third).sidecar()).unwrap();
        let wanted = Wanted { locations: locations(), found: Some(strange) };
        let opened = open(
            world.dir(),
            wanted,
            Access::ReadOnly,
            world.scratch(),
            Arc::new(Standing),
            Arc::new(SystemEntropy),
        );
        assert!(matches!(opened.await.unwrap().found, Found::Lost { .. }));
    });
}
