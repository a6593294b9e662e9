//! A state that an earlier release has written is read, used and carried over, never given up.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use futures::TryStreamExt;
use syncengine::Key;
use syncengine::clock::{SystemClock, SystemEntropy};
use syncengine::side::Sides;
use syncengine::state::{self, Access, BaseRow, Found, Opened, RecordTail, RowTail, Wanted};

/// The state in `tests/data/state-1`, of release 0.1: 303 rows that were committed, one of them removed and two
/// added by a run that was cut off.
const NAME: &str = "2913b397d308e1b3345102bbe4506a24";

fn locations() -> Sides<String> {
    Sides::new("/fixture/source".into(), "s3://fixture/destination".into())
}

fn copy_of_the_old_state() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/state-1");
    std::fs::create_dir(dir.path().join(NAME)).unwrap();
    for file in [format!("{NAME}.json"), format!("{NAME}/conf"), format!("{NAME}/db")] {
        std::fs::copy(from.join(&file), dir.path().join(&file)).unwrap();
    }
    dir
}

async fn open(dir: &Path, access: Access) -> syncengine::Result<Opened> {
    let scratch = std::env::temp_dir();
    let wanted = Wanted { locations: locations(), found: None };
    state::open(dir.into(), wanted, access, scratch, Arc::new(SystemClock), Arc::new(SystemEntropy)).await
}

async fn rows(opened: &Opened) -> BTreeMap<Key, BaseRow> {
    opened.store.scan().try_collect().await.unwrap()
}

#[tokio::test]
async fn an_upgrade_never_costs_a_base() {
    let dir = copy_of_the_old_state();
    let looked = open(dir.path(), Access::ReadOnly).await.unwrap();
    assert_eq!(looked.found, Found::Intact);
    let before = rows(&looked).await;
    drop(looked);
    assert_eq!(before.len(), 304);
    let key = |name: &str| Key::parse(name).unwrap();
    let agreed = |name: &str| match before.get(&key(name)) {
        Some(BaseRow::Agreed(agreed)) => agreed.clone(),
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(before.get(&key("many/file-0001")), None);
    assert_eq!(before.get(&key("deleted")), Some(&BaseRow::tombstone()));
    assert_eq!(
        agreed("large").hash.map(|hash| hash.etag().to_string()).unwrap().split_once('-').unwrap().1,
        "3"
    );
    assert_eq!(agreed("later").size, 9);
    assert_eq!(agreed("renamed").announced_on(syncengine::Side::Destination), Some("old-name"));
    assert!(before.values().all(|row| matches!(row, BaseRow::Tombstone(tail) if tail.is_empty())
        || matches!(row, BaseRow::Agreed(agreed) if agreed.tail.is_empty())));

    // The next commit makes it a state of today, with fields that 0.1 knew nothing of.
    let written = open(dir.path(), Access::Write).await.unwrap();
    assert_eq!(written.found, Found::Intact);
    let record = written.store.pair_record().unwrap();
    assert_eq!(record.pair_id, "0123456789abcdef0123456789abcdef");
    let tail = RecordTail::default().with(9, "kept".into());
    written.store.commit(state::PairRecord { tail: tail.clone(), ..record }).await.unwrap();
    let with_field = BaseRow::Tombstone(RowTail::default().with(7, b"kept"));
    written.store.record(vec![(key("deleted"), Some(with_field.clone()))]).await.unwrap();
    drop(written);
    let sidecar = std::fs::read_to_string(dir.path().join(format!("{NAME}.json"))).unwrap();
    assert!(sidecar.contains("\"schema\":2"), "{sidecar}");
    let again = open(dir.path(), Access::Write).await.unwrap();
    assert_eq!((&again.found, again.store.pair_record().unwrap().tail), (&Found::Intact, tail));
    let mut expected = before;
    expected.insert(key("deleted"), with_field);
    assert_eq!(rows(&again).await, expected);
    // Through a fold as well, beside rows that change.
    again.store.record(vec![(key("deleted-too"), Some(BaseRow::tombstone()))]).await.unwrap();
    let record = again.store.pair_record().unwrap();
    again.store.commit(record).await.unwrap();
    expected.insert(key("deleted-too"), BaseRow::tombstone());
    assert_eq!(rows(&again).await, expected);
}

#[tokio::test]
async fn what_a_newer_program_says_must_be_known_is_not_guessed_and_not_given_up() {
    for in_record in [false, true] {
        let dir = copy_of_the_old_state();
        let written = open(dir.path(), Access::Write).await.unwrap();
        let mut record = written.store.pair_record().unwrap();
        if in_record {
            record.tail = RecordTail::default().with(64, true.into());
        } else {
            let row = BaseRow::Tombstone(RowTail::default().with(64, b"x"));
            written.store.record(vec![(Key::parse("new").unwrap(), Some(row))]).await.unwrap();
        }
        written.store.commit(record).await.unwrap();
        drop(written);
        for access in [Access::ReadOnly, Access::Write] {
            let error = open(dir.path(), access).await.unwrap_err();
            assert_eq!(error.kind(), syncengine::ErrorKind::Unsupported, "{error:?}");
            assert!(error.hint().is_some_and(|hint| hint.contains("newer version")), "{error:?}");
        }
        let names: Vec<_> =
            std::fs::read_dir(dir.path()).unwrap().map(|item| item.unwrap().file_name()).collect();
        assert!(names.iter().all(|name| !name.to_string_lossy().contains("lost")), "{names:?}");
    }
}
