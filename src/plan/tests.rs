//! From decisions to work: every verdict, the losers' names, and what an action says of itself.
//!
//! The worlds below are written as contents: a path's letters in the base and on both sides say what is the
//! same and what was edited, as examining them would find.

use super::*;
use crate::entry::Timestamp;
use crate::fingerprint::{ETag, Fingerprint, HashForm, Hasher};
use crate::mode::{ConflictStrategy, SyncMode};
use decide::decide;

pub(super) const TWO_WAY: Policy = Policy {
    mode: SyncMode::TwoWay,
    pull: true,
    conflict: ConflictStrategy::NewestWins,
    first_sync_winner: None,
};

pub(super) fn in_mode(mode: SyncMode) -> Policy {
    Policy { mode, ..TWO_WAY }
}

pub(super) fn key(name: &str) -> Key {
    Key::parse(name).unwrap()
}

pub(super) fn hash(content: &str) -> ContentHash {
    let mut hasher = Hasher::new(HashForm::Whole);
    hasher.update(content.as_bytes());
    hasher.finish()
}

pub(super) fn entry(name: &str, content: &str) -> Entry {
    Entry {
        key: key(name),
        size: content.len() as u64,
        modified: Some(Timestamp::new(1_700_000_000, 5)),
        stored: None,
        fingerprint: Fingerprint::Object(ETag::new(content)),
    }
}

/// Contents of the base, the source and the destination.
pub(super) type Contents<'a> = [Option<&'a str>; 3];

/// Returns the item for a path as examining it would, with every hash known.
pub(super) fn item(name: &str, [base, source, destination]: Contents<'_>, policy: Policy) -> Item {
    let sight = |content: Option<&str>| match (base, content) {
        (_, None) => Sight::Absent,
        (Some(base), Some(content)) if base == content => Sight::Same,
        (Some(_), Some(_)) => Sight::Changed,
        (None, Some(_)) => Sight::New,
    };
    let facts = Facts {
        base: if base.is_some() { Base::Agreed } else { Base::None },
        source: sight(source),
        destination: sight(destination),
        equal: source == destination,
        newer: None,
    };
    let seen = |content: &str| Fingerprint::Object(ETag::new(content));
    Item {
        settled: None,
        key: key(name),
        base: base.map(|content| {
            Box::new(Agreed {
                size: content.len() as u64,
                hash: Some(hash(content)),
                tail: crate::state::RowTail::default(),
                seen: Sides::new(seen(content), seen(content)),
            })
        }),
        found: Sides::new(
            source.map(|content| entry(name, content)),
            destination.map(|content| entry(name, content)),
        ),
        hashes: Sides::new(source.map(hash), destination.map(hash)),
        facts,
        verdict: decide(facts, policy),
        strayed: None,
    }
}

/// Returns the plan for a world, given path by path.
pub(super) fn plan(world: &[(&str, Contents<'_>)], policy: Policy) -> Plan {
    let mut world = world.to_vec();
    world.sort_by_key(|(name, _)| *name);
    let mut watch = collide::Watch::default();
    let mut copies = conflict_name::CopyCounts::default();
    for (name, [_, source, destination]) in &world {
        watch.see(&key(name), Sides::new(source.is_some(), destination.is_some()));
        copies.see(&key(name), Sides::new(true, true));
    }
    let items = world.iter().map(|(name, contents)| item(name, *contents, policy));
    let items = items.filter(|item| item.verdict.step != Step::Nothing).collect();
    Plan::new(items, policy, &watch.finish(), &copies)
}

/// Returns an action in a few words: what, where, and what it replaces.
pub(super) fn say(action: &Action) -> String {
    let what = match &action.work {
        Work::Delete { clears_way: true, on, .. } => format!("clear way at {on}"),
        Work::Rename { entry, .. } => {
            format!("{} from {}", action.code().unwrap(), entry.key.as_str())
        }
        Work::Unresolved => "unresolved".into(),
        Work::Blocked => "blocked".into(),
        Work::Forget => "forget".into(),
        Work::Entomb => "entomb".into(),
        Work::KeepBoth { winner, .. } => format!("keep both, {winner} wins"),
        _ => action.code().unwrap().to_string(),
    };
    format!("{}: {what}", action.key.as_str())
}

pub(super) fn say_all(plan: &Plan) -> Vec<String> {
    plan.actions.iter().map(say).collect()
}

/// Returns the one action for one path.
fn only(contents: Contents<'_>, policy: Policy) -> Action {
    let mut plan = plan(&[("d/a.txt", contents)], policy);
    assert_eq!(plan.actions.len(), 1);
    plan.actions.remove(0)
}

#[test]
fn a_copy_carries_the_version_it_was_decided_on_and_the_one_it_replaces() {
    let (old, new) = (Some("old"), Some("newer"));
    for (contents, to, replaced) in [
        ([None, new, None], Side::Destination, None),
        ([None, None, new], Side::Source, None),
        ([old, new, old], Side::Destination, old),
        ([old, old, new], Side::Source, old),
        // The edit survives.
        ([old, new, None], Side::Destination, None),
        ([old, None, new], Side::Source, None),
    ] {
        let action = only(contents, TWO_WAY);
        let Work::Copy(copy) = &action.work else { panic!("{action:?}") };
        assert_eq!((copy.to, action.receiver()), (to, Some(to)));
        assert_eq!(copy.from, entry("d/a.txt", "newer"));
        assert_eq!(copy.replaces, replaced.map(|content| entry("d/a.txt", content)));
        assert!(!copy.over_stranger, "the base knows it: {contents:?}");
        assert_eq!(
            action.code().map(ActionCode::as_str),
            Some(if to == Side::Source { "download" } else { "upload" })
        );
        assert_eq!(action.size(), 5);
        let versions: Vec<_> = std::iter::once(&copy.from).chain(&copy.replaces).collect();
        assert_eq!(action.work.versions(), versions);
        assert_eq!(action.conflict, contents[0].is_some() && replaced.is_none());
    }
}

#[test]
fn an_overwritten_version_that_the_base_does_not_know_is_a_stranger() {
    let (old, source, destination) = (Some("old"), Some("s"), Some("d"));
    let strategy = |conflict| Policy { conflict, ..TWO_WAY };
    let winner = |side| Policy { first_sync_winner: Some(side), ..TWO_WAY };
    for (contents, policy, to) in [
        ([old, source, destination], strategy(ConflictStrategy::SourceWins), Side::Destination),
        ([old, source, destination], strategy(ConflictStrategy::DestinationWins), Side::Source),
        ([None, source, destination], winner(Side::Source), Side::Destination),
        ([None, source, destination], winner(Side::Destination), Side::Source),
        ([old, old, destination], in_mode(SyncMode::SourceToDestination), Side::Destination),
        ([old, source, old], in_mode(SyncMode::DestinationToSource), Side::Source),
        ([old, source, destination], in_mode(SyncMode::SourceBackup), Side::Destination),
        ([None, source, destination], in_mode(SyncMode::DestinationBackup), Side::Source),
    ] {
        let action = only(contents, policy);
        let Work::Copy(copy) = &action.work else { panic!("{action:?}") };
        assert_eq!((copy.to, copy.over_stranger), (to, true), "{contents:?} {policy:?}");
    }
    // Known to the base, although its stat was touched.
    let mut touched = item("a", [old, source, old], TWO_WAY);
    touched.facts.destination = Sight::Touched;
    let plan = Plan::new(vec![touched], TWO_WAY, &[], &conflict_name::CopyCounts::default());
    assert!(
        matches!(&plan.actions[0].work, Work::Copy(copy) if !copy.over_stranger && copy.replaces.is_some())
    );
}

#[test]
fn deletions_take_the_version_of_their_side() {
    let old = Some("old");
    for (contents, on, name) in [
        ([old, None, old], Side::Destination, "delete_destination"),
        ([old, old, None], Side::Source, "delete_source"),
    ] {
        let action = only(contents, TWO_WAY);
        let Work::Delete { on: at, entry: gone, clears_way: false, copied_as: None } = &action.work else {
            panic!("{action:?}")
        };
        assert_eq!((*at, gone), (on, &entry("d/a.txt", "old")));
        assert_eq!(
            (action.code().map(ActionCode::as_str), action.size(), action.receiver()),
            (Some(name), 3, Some(on))
        );
        assert_eq!(action.work.versions(), [gone]);
    }
}

#[test]
fn bookkeeping_changes_no_tree() {
    let old = Some("old");
    for (contents, policy, expected, name) in [
        ([old, None, None], TWO_WAY, "d/a.txt: forget", None),
        ([old, None, old], in_mode(SyncMode::SourceBackup), "d/a.txt: entomb", Some("skip")),
        ([None, Some("s"), Some("d")], TWO_WAY, "d/a.txt: unresolved", Some("conflict")),
        ([None, Some("s"), None], in_mode(SyncMode::DestinationBackup), "d/a.txt: skip", Some("skip")),
    ] {
        let action = only(contents, policy);
        assert_eq!((say(&action).as_str(), action.code().map(ActionCode::as_str)), (expected, name));
        assert_eq!((action.receiver(), action.size(), action.old_key()), (None, 0, None));
        assert!(action.work.versions().is_empty());
    }
    assert!(plan(&[("a", [old, old, old]), ("b", [None, None, None])], TWO_WAY).actions.is_empty());
    let blocked = Action { work: Work::Blocked, ..only([old, None, None], TWO_WAY) };
    assert_eq!(
        (blocked.code().map(ActionCode::as_str), blocked.work.versions().len()),
        (Some("conflict"), 0)
    );
}

#[test]
fn an_adopted_path_keeps_the_hash_of_what_both_sides_have_now() {
    let adopt = |item: Item| {
        let plan = Plan::new(vec![item], TWO_WAY, &[], &conflict_name::CopyCounts::default());
        let action = &plan.actions[0];
        assert_eq!(
            (action.code().map(ActionCode::as_str), action.size(), action.receiver()),
            (Some("adopt"), 3, None)
        );
        let Work::Adopt { versions, hash } = action.work.clone() else { panic!("{action:?}") };
        assert_eq!(action.work.versions(), [&versions.source, &versions.destination]);
        hash
    };
    // Touched: the content is the base's, and so is the hash, whatever a listing said.
    let mut touched = item("a", [Some("old"), Some("old"), Some("old")], TWO_WAY);
    touched.facts.source = Sight::Touched;
    touched.verdict = decide(touched.facts, TWO_WAY);
    touched.hashes = Sides::default();
    assert_eq!(adopt(touched.clone()), Some(hash("old")));
    touched.base = None;
    assert_eq!(adopt(touched), None);
    // Changed to the same content on both sides: the base's hash is out of date.
    let changed = item("a", [Some("before"), Some("new"), Some("new")], TWO_WAY);
    assert_eq!(adopt(changed.clone()), Some(hash("new")));
    let known = |source, destination| Item { hashes: Sides::new(source, destination), ..changed.clone() };
    assert_eq!(adopt(known(None, Some(hash("new")))), Some(hash("new")));
    assert_eq!(adopt(known(Some(hash("new")), None)), Some(hash("new")));
    assert_eq!(adopt(known(None, None)), None);
    assert_eq!(adopt(item("a", [None, Some("new"), Some("new")], TWO_WAY)), Some(hash("new")));
}

#[test]
fn keep_both_gives_the_loser_a_name_of_its_own_until_there_are_too_many() {
    let policy = Policy { conflict: ConflictStrategy::KeepBoth, ..TWO_WAY };
    let world = ("d/a.txt", [None, Some("ssss"), Some("dd")]);
    let action = plan(&[world], policy).actions.remove(0);
    let Work::KeepBoth { winner, versions, aside } = &action.work else { panic!("{action:?}") };
    assert_eq!(*winner, Side::Source);
    let expected = format!("d/a.conflict-20231114T221320Z-destination-{}.txt", &hash("dd").hex()[..8]);
    assert_eq!(aside.as_str(), expected);
    assert_eq!(
        (action.code().map(ActionCode::as_str), action.size(), action.receiver()),
        (Some("conflict"), 4, None)
    );
    assert_eq!(action.work.versions(), [&versions.source, &versions.destination]);
    assert!(action.conflict);

    let mut newer = item(world.0, world.1, policy);
    newer.facts.newer = Some(Side::Destination);
    newer.verdict = decide(newer.facts, policy);
    let plan_of = |item: &Item, copies: &_| Plan::new(vec![item.clone()], policy, &[], copies);
    let action = plan_of(&newer, &conflict_name::CopyCounts::default()).actions.remove(0);
    assert!(
        matches!(&action.work, Work::KeepBoth { winner: Side::Destination, aside, .. }
        if aside.as_str().contains("-source-")),
        "{action:?}"
    );
    assert_eq!(action.size(), 2);

    let mut copies = conflict_name::CopyCounts::default();
    for number in 0..conflict_name::MAX_COPIES {
        assert!(matches!(plan_of(&newer, &copies).actions[0].work, Work::KeepBoth { .. }), "{number}");
        let copy = key(&format!("d/a.conflict-20260101T000000Z-source-0123456{number}.txt"));
        copies.see(&copy, Sides::new(true, false));
    }
    let action = plan_of(&newer, &copies).actions.remove(0);
    assert!(matches!(action.work, Work::Unresolved));
    assert_eq!((action.reason, action.conflict), (Reason::TooManyCopies, true));
}

#[test]
fn a_decision_about_a_version_that_is_not_there_is_no_action() {
    let whole = item("a", [None, Some("s"), Some("d")], TWO_WAY);
    let steps = [
        Step::Copy { to: Side::Source },
        Step::Copy { to: Side::Destination },
        Step::Delete { on: Side::Source },
        Step::Delete { on: Side::Destination },
        Step::Adopt,
        Step::KeepBoth { winner: Side::Source },
    ];
    for step in steps {
        let mut empty = whole.clone();
        empty.found = Sides::default();
        empty.verdict.step = step;
        let plan = Plan::new(vec![empty], TWO_WAY, &[], &conflict_name::CopyCounts::default());
        assert!(plan.actions.is_empty(), "{step:?}");
    }
}

#[test]
fn a_plan_is_in_the_order_of_its_keys_renames_too() {
    let (x, y) = (Some("x"), Some("y"));
    let plan = plan(
        &[
            ("a", [None, y, None]),
            ("m", [x, None, x]),
            ("z", [None, x, None]),
            ("b", [y, y, None]),
            ("same", [x, x, x]),
        ],
        TWO_WAY,
    );
    let expected = ["a: upload", "b: delete_source", "z: rename_destination from m"];
    assert_eq!(say_all(&plan), expected);
    let rename = &plan.actions[2];
    assert_eq!((rename.size(), rename.receiver()), (1, Some(Side::Destination)));
    assert_eq!(rename.old_key(), Some(&key("m")));
    assert_eq!(rename.work.versions(), [&entry("m", "x"), &entry("z", "x")]);
    assert_eq!(plan.actions[0].old_key(), None);
}
