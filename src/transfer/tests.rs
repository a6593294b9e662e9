//! Plans that no planner makes: what a mode does not allow is refused where it would be done.

use super::*;
use crate::client::memory::MemoryClient;
use crate::client::{Listed, StorageClient};
use crate::clock::{SystemClock, SystemEntropy};
use crate::event::Silent;
use crate::plan::Copy;
use crate::report::Report;
use crate::state::memory::MemoryState;
use crate::timestamp::Timestamp;

fn key(name: &str) -> Key {
    Key::parse(name).unwrap()
}

/// Two trees with the files `a` and `b` each.
fn trees() -> Sides<Arc<MemoryClient>> {
    let tree = |side: &str| {
        let client = MemoryClient::new(side);
        for name in ["a", "b"] {
            client.put(key(name), format!("{name} of the {side}"), Timestamp::new(1, 0));
        }
        Arc::new(client)
    };
    Sides::new(tree("source"), tree("destination"))
}

async fn entry(client: &MemoryClient, name: &str) -> Entry {
    match client.head(&key(name)).await {
        Ok(Some(Listed::File(entry))) => entry,
        other => panic!("{name} is {other:?}"),
    }
}

/// Carries out one action under `rights` and returns whether anything at all was changed on either side.
async fn changes(trees: &Sides<Arc<MemoryClient>>, rights: Rights, action: Action) -> Sides<bool> {
    let before = [trees.source.tree(), trees.destination.tree()];
    let clients: Clients = Sides::new(Arc::clone(&trees.source) as _, Arc::clone(&trees.destination) as _);
    let state: Arc<dyn StateStore> = Arc::new(MemoryState::new());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    let report = Report::new("source".into(), "destination".into(), rights.mode, false);
    let recorder = Recorder::new(report, Arc::new(Silent));
    let control = SyncController::new();
    let disposal = Disposal::Trash { run: "run".into() };
    let ports = (&clock, &entropy);
    let tuning = Tuning::default();
    let transfer = Transfer::new(&clients, &state, rights, disposal, 1, tuning, &control, ports, &recorder);
    let fine = || async { Ok(()) }.boxed();
    let carried_out = async {
        let executed = transfer.execute(Plan { actions: vec![action] }, &Doubts::default(), fine()).await?;
        transfer.delete(executed.deletions, false, &Doubts::default(), fine()).await
    };
    let refused = carried_out.await.is_err() || recorder.with(|report| report.counts.failed) > 0;
    let changed = Sides::new(before[0] != trees.source.tree(), before[1] != trees.destination.tree());
    assert_eq!(refused, !(changed.source || changed.destination), "it is done or it is refused");
    changed
}

/// Returns each kind of effect on `on`, and whether `mode` with these rights to copy allows it.
async fn effects(
    trees: &Sides<Arc<MemoryClient>>,
    rights: Rights,
    on: Side,
) -> Vec<(Work, &'static str, bool)> {
    let (here, there) = (trees.get(on), trees.get(on.other()));
    let (copies, deletes) = (*rights.copy.get(on), rights.mode.allows_delete(on));
    let copy = |replaces| async {
        Work::Copy(Copy { to: on, from: entry(there, "a").await, replaces, over_stranger: false })
    };
    let rename = |keep_old| async move {
        let (entry, renamed) = (entry(here, "b").await, entry(there, "b").await);
        Work::Rename { on, entry, renamed, hash: None, edited: false, keep_old }
    };
    let delete = |clears_way| async move {
        Work::Delete { on, entry: entry(here, "a").await, clears_way, copied_as: None }
    };
    vec![
        (copy(Some(entry(here, "a").await)).await, "a", copies),
        (rename(false).await, "c", copies && deletes),
        (rename(true).await, "c", copies),
        (delete(false).await, "a", deletes),
        (delete(true).await, "a", deletes),
    ]
}

#[tokio::test]
async fn i14_what_the_mode_does_not_allow_is_refused_where_it_would_be_done() {
    let (mut allowed, mut refused) = (0, 0);
    for mode in SyncMode::ALL {
        for pull in [true, false] {
            let pair = crate::pair::SyncPair::new("source", "destination").mode(*mode).pull(pull);
            let copy = Sides::new(pair.allows_download(), pair.allows_upload());
            let rights = Rights { mode: *mode, copy };
            for on in Side::BOTH {
                for number in 0..5 {
                    let trees = trees();
                    let (work, name, expected) = effects(&trees, rights, on).await.swap_remove(number);
                    if matches!(work, Work::Delete { .. }) {
                        // Else the other side would still have it, and it is not deleted for that.
                        trees.get(on.other()).remove_now(&key(name));
                    }
                    let action = Action { key: key(name), work, reason: Reason::Unchanged, conflict: false };
                    let changed = changes(&trees, rights, action).await;
                    assert_eq!(*changed.get(on), expected, "{mode} {pull} {on} {number}");
                    assert!(!changed.get(on.other()), "{mode} {pull} {on} {number}");
                    *if expected { &mut allowed } else { &mut refused } += 1;
                }
            }
        }
    }
    assert_eq!((allowed, refused), (50, 50));
}
