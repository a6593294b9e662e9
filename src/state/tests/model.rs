//! Random changes, commits, reopenings and kills against a map.

use proptest::prelude::*;

use super::*;
use crate::state::row::tests::row;

#[derive(Debug, Clone)]
enum Step {
    Record(Vec<(usize, Option<BaseRow>)>),
    /// Forgets every path from one number to another.
    Clear(usize, usize),
    Commit,
    Reopen,
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    let change = (0..600_usize, proptest::option::weighted(0.8, row()));
    prop_oneof![
        4 => proptest::collection::vec(change, 1..200).prop_map(Step::Record),
        1 => (0..600_usize, 0..400_usize).prop_map(|(from, count)| Step::Clear(from, from + count)),
        3 => Just(Step::Commit),
        1 => Just(Step::Reopen),
        1 => Just(Step::Kill),
    ]
}

async fn follow(steps: Vec<Step>) {
    let mut world = Place::new();
    let mut opened = world.open().await;
    assert_eq!(opened.found, Found::Nothing);
    opened.store.commit(pair_record()).await.unwrap();
    let mut model = Model::new();
    for step in steps {
        let changes = match step {
            Step::Record(changes) => changes.into_iter().map(|(number, row)| (key(number), row)).collect(),
            Step::Clear(from, to) => (from..to).map(|number| (key(number), None)).collect(),
            Step::Commit => {
                opened.store.commit(pair_record()).await.unwrap();
                Vec::new()
            }
            Step::Reopen => {
                drop(opened);
                opened = world.open().await;
                Vec::new()
            }
            Step::Kill => {
                let killed = world.killed();
                drop(opened);
                world = killed;
                opened = world.open().await;
                Vec::new()
            }
        };
        assert!(matches!(opened.found, Found::Intact | Found::Nothing), "{:?}", opened.found);
        opened.store.record(changes.clone()).await.unwrap();
        for (key, row) in changes {
            match row {
                Some(row) => model.insert(key, row),
                None => model.remove(&key),
            };
        }
        assert_eq!(scanned(opened.store.as_ref()).await, shown(&model));
    }
    for number in (0..1_000).step_by(7) {
        let row = opened.store.get(&key(number)).await.unwrap();
        assert_eq!(row.as_ref().map(exact), model.get(&key(number)).map(exact));
    }
    drop(opened);
    let looked = world.try_open(Access::ReadOnly).await.unwrap();
    assert_eq!((looked.found, looked.store.pair_record()), (Found::Intact, Some(pair_record())));
    assert_eq!(scanned(looked.store.as_ref()).await, shown(&model));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_store_is_a_map_that_survives_reopening_and_kills(
        steps in proptest::collection::vec(step(), 1..16),
    ) {
        run(follow(steps));
    }
}
