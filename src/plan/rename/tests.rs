//! Renames in worlds written as contents, and over random ones.

use proptest::prelude::*;

use super::*;
use crate::fingerprint::Parts;
use crate::mode::ConflictStrategy;
use crate::plan::tests::{Contents, TWO_WAY, entry, hash, in_mode, item, key, plan, say_all};
use crate::plan::{Plan, Reason};
use crate::side::Sides;

const X: Option<&str> = Some("xx");
const Y: Option<&str> = Some("yy");

/// Returns the contents of a path that only `side` and perhaps the base has.
fn only_on<'a>(side: Side, base: Option<&'a str>, content: Option<&'a str>) -> Contents<'a> {
    match side {
        Side::Source => [base, content, None],
        Side::Destination => [base, None, content],
    }
}

/// Returns the world of a rename on `side`, where the other side has the old name with `kept`.
fn renamed<'a>(
    side: Side,
    (old, new): (&'a str, &'a str),
    kept: Option<&'a str>,
) -> Vec<(&'a str, Contents<'a>)> {
    vec![(old, only_on(side.other(), X, kept)), (new, only_on(side, None, X))]
}

fn said(world: &[(&str, Contents<'_>)], policy: Policy) -> Vec<String> {
    say_all(&plan(world, policy))
}

#[test]
fn a_rename_on_either_side_is_one_on_the_other() {
    for side in Side::BOTH {
        let on = side.other();
        let plan = plan(&renamed(side, ("d/old", "new"), X), TWO_WAY);
        assert_eq!(say_all(&plan), [format!("new: rename_{on} from d/old")]);
        let action = &plan.actions[0];
        assert_eq!((action.reason, action.conflict), (Reason::Renamed(side), false));
        let Work::Rename { on: at, entry: old, renamed, hash: content, edited, keep_old } = &action.work
        else {
            panic!("{action:?}")
        };
        assert_eq!((*at, *edited, *keep_old), (on, false, false));
        assert_eq!((old, renamed), (&entry("d/old", "xx"), &entry("new", "xx")));
        assert_eq!(*content, Some(hash("xx")));
    }
}

#[test]
fn only_equal_content_that_is_known_and_not_empty_makes_a_rename() {
    let plain = ["new: upload", "old: delete_destination"];
    let world = |content| [("new", [None, Some(content), None]), ("old", [X, None, X])];
    assert_eq!(said(&world("zz"), TWO_WAY), plain, "the same size");
    assert_eq!(said(&world("xxx"), TWO_WAY), plain, "another size");
    let empty = Some("");
    assert_eq!(said(&[("new", [None, empty, None]), ("old", [empty, None, empty])], TWO_WAY), plain);
    assert_eq!(said(&world("xx"), TWO_WAY), ["new: rename_destination from old"]);

    let items = || vec![item("new", [None, X, None], TWO_WAY), item("old", [X, None, X], TWO_WAY)];
    assert_eq!(pair(&mut items(), TWO_WAY, &[], &CopyCounts::default()).len(), 1);
    let changes: [fn(&mut Vec<Item>); 6] = [
        |items| items[0].hashes = Sides::default(),
        |items| items[1].base.as_mut().unwrap().hash = None,
        |items| items[1].base.as_mut().unwrap().size = 3,
        |items| items[0].found.source.as_mut().unwrap().size = 3,
        // A hash in another form says nothing.
        |items| items[0].hashes.source.as_mut().unwrap().parts = Some(Parts { count: 1, size: 2 }),
        |items| items[0].facts.base = Base::Tombstone,
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut items = items();
        change(&mut items);
        assert!(pair(&mut items, TWO_WAY, &[], &CopyCounts::default()).is_empty(), "{number}");
        assert_eq!(items.len(), 2, "{number}");
    }
}

/// A copy and a name that has one may be what a `keep-both` that was cut off has done so far.
#[test]
fn i16_conflict_copies_and_what_has_them_are_no_new_names_of_others() {
    const COPY: &str = "new.conflict-20200913T122717Z-source-a4876286";
    for (new, copy) in
        [("new", Some(COPY)), (COPY, None), (COPY, Some(COPY)), ("new", None), ("other", Some(COPY))]
    {
        for side in Side::BOTH {
            let mut copies = CopyCounts::default();
            if let Some(copy) = copy {
                copies.see(&key(copy), Sides::new(true, false));
            }
            let world = renamed(side, ("old", new), X);
            let mut items: Vec<_> = world.into_iter().map(|(name, of)| item(name, of, TWO_WAY)).collect();
            let is_paired = new != COPY && (new, copy) != ("new", Some(COPY));
            assert_eq!(
                pair(&mut items, TWO_WAY, &[], &copies).len(),
                usize::from(is_paired),
                "{new} {copy:?}"
            );
        }
    }
}

/// A kill between the copy and the deletion of a rename in a store.
#[test]
fn i16_what_a_cut_off_rename_of_an_edited_file_left_is_finished() {
    let side_of = |side: Side, [base, here, there]: Contents<'static>| match side {
        Side::Source => [base, here, there],
        Side::Destination => [base, there, here],
    };
    let edit = Some("edited");
    let left = [("new", [X, X, edit]), ("old", [X, None, edit])];
    let planned = |side: Side, announced: bool, left: &[(&str, Contents<'static>)]| {
        let item = |(name, contents): &(&str, Contents<'static>)| {
            let mut item = item(name, side_of(side, *contents), TWO_WAY);
            if announced && name.starts_with("new") {
                item.base = item.base.map(|base| Box::new(base.announced(side.other(), &key("old"))));
            }
            item
        };
        let items: Vec<_> = left.iter().map(item).collect();
        let on = side.other();
        let wanted = wanted_contents(&items);
        let strangers = strangers(&items).len();
        assert!(wanted.iter().all(|(_, side)| *side == on), "{wanted:?}");
        let plan = Plan::new(items, TWO_WAY, &[], &CopyCounts::default());
        (wanted.len(), strangers, say_all(&plan), plan.actions.last().unwrap().reason)
    };
    for side in Side::BOTH {
        let (on, back) = (side.other(), if side == Side::Source { "download" } else { "upload" });
        let finished = vec![format!("new: {back}"), format!("old: delete_{on}")];
        assert_eq!(planned(side, true, &left), (2, 0, finished, Reason::Renamed(side)));
        // The base knows no such rename, or the store has another edit there.
        let apart = vec![format!("new: {back}"), format!("old: {back}")];
        assert_eq!(planned(side, false, &left), (0, 0, apart.clone(), Reason::EditSurvives(on)));
        for (other, wanted) in [("edited too", 0), ("EDITED", 2)] {
            let left = [("new", [X, X, Some(other)]), left[1]];
            assert_eq!(planned(side, true, &left), (wanted, 1, apart.clone(), Reason::EditSurvives(on)));
        }
        // Another file with the same past and the same edit is none of it.
        let twice = [left[0], left[1], ("older", [X, None, edit])];
        assert_eq!(planned(side, true, &twice).2.last(), Some(&format!("older: {back}")));
        // Edited on either side since: nothing is finished.
        let edited = [("new", [X, Y, edit]), left[1]];
        assert_eq!(planned(side, true, &edited).0, 0);
    }
}

#[test]
fn what_cannot_be_read_takes_with_it_what_may_have_been_renamed() {
    let edit = Some("edited");
    let of_parts = |announced: bool| {
        let mut new = item("new", [X, X, edit], TWO_WAY);
        new.base = new
            .base
            .filter(|_| announced)
            .map(|base| Box::new(base.announced(Side::Destination, &key("old"))));
        vec![new, item("old", [X, None, edit], TWO_WAY)]
    };
    let appeared =
        |content| vec![item("new", [None, content, None], TWO_WAY), item("old", [X, None, edit], TWO_WAY)];
    for (items, unread, side, expected) in [
        (of_parts(true), 0, Side::Destination, vec![1]),
        (of_parts(true), 1, Side::Destination, vec![0]),
        (of_parts(true), 0, Side::Source, vec![]),
        (of_parts(false), 0, Side::Destination, vec![]),
        (appeared(X), 0, Side::Source, vec![1]),
        (appeared(Some("longer")), 0, Side::Source, vec![]),
        (
            vec![item("new", [None, X, None], TWO_WAY), item("old", [X, None, X], TWO_WAY)],
            0,
            Side::Source,
            vec![],
        ),
    ] {
        assert_eq!(
            depend_on(&items, &CopyCounts::default(), unread, side),
            expected,
            "{unread} at {side} of {items:?}"
        );
    }
}

/// Edited on both sides, renamed on one to make room for another file, and one of the versions set aside by then.
#[test]
fn i16_an_edited_file_that_has_a_conflict_copy_was_not_renamed() {
    const COPY: &str = "old.conflict-20200913T122717Z-source-a4876286";
    for side in Side::BOTH {
        for (kept, copy, pairs) in
            [(X, None, 1), (Some("edited"), None, 1), (X, Some(COPY), 1), (Some("edited"), Some(COPY), 0)]
        {
            let mut copies = CopyCounts::default();
            if let Some(copy) = copy {
                copies.see(&key(copy), Sides::new(true, false));
            }
            let world = renamed(side, ("old", "new"), kept);
            let mut items: Vec<_> = world.into_iter().map(|(name, of)| item(name, of, TWO_WAY)).collect();
            assert_eq!(pair(&mut items, TWO_WAY, &[], &copies).len(), pairs, "{kept:?} {copy:?} {side}");
        }
    }
}

#[test]
fn the_same_file_name_goes_first_and_then_byte_order() {
    let old = |name| (name, [X, None, X]);
    let new = |name| (name, [None, X, None]);
    assert_eq!(
        said(&[old("a/x"), old("b/y"), new("c/y"), new("d/z")], TWO_WAY),
        ["c/y: rename_destination from b/y", "d/z: rename_destination from a/x"]
    );
    assert_eq!(
        said(&[old("a"), old("b"), new("c"), new("d")], TWO_WAY),
        ["c: rename_destination from a", "d: rename_destination from b"]
    );
    assert_eq!(
        said(&[old("y"), old("z"), new("b"), new("a")], TWO_WAY),
        ["a: rename_destination from y", "b: rename_destination from z"]
    );
    // What is left over is plain.
    assert_eq!(
        said(&[old("a"), old("b"), new("c")], TWO_WAY),
        ["b: delete_destination", "c: rename_destination from a"]
    );
    assert_eq!(
        said(&[old("a/n"), new("b"), new("c/n")], TWO_WAY),
        ["b: upload", "c/n: rename_destination from a/n"]
    );
}

#[test]
fn both_sides_may_rename_and_do_not_take_each_others_files() {
    let world = [("a", [X, None, X]), ("b", [None, X, None]), ("c", [X, X, None]), ("d", [None, None, X])];
    assert_eq!(said(&world, TWO_WAY), ["b: rename_destination from a", "d: rename_source from c"]);
    // Vanished here, appeared there: no rename.
    assert_eq!(
        said(&[("a", [X, None, X]), ("d", [None, None, X])], TWO_WAY),
        ["a: delete_destination", "d: download"]
    );
    // Renamed to two names, or to the same one: nothing is left under the old name.
    assert_eq!(
        said(&[("a", [X, None, None]), ("b", [None, X, None]), ("c", [None, None, X])], TWO_WAY),
        ["a: forget", "b: upload", "c: download"]
    );
    assert_eq!(said(&[("a", [X, None, None]), ("b", [None, X, X])], TWO_WAY), ["a: forget", "b: adopt"]);
}

#[test]
fn cycles_and_renames_onto_an_existing_name_are_plain_changes() {
    assert_eq!(said(&[("a", [X, Y, X]), ("b", [Y, X, Y])], TWO_WAY), ["a: upload", "b: upload"]);
    assert_eq!(
        said(&[("a", [X, None, X]), ("b", [Y, X, Y])], TWO_WAY),
        ["a: delete_destination", "b: upload"]
    );
    // The name is taken on the other side: a conflict, not a rename.
    assert_eq!(
        said(&[("a", [X, None, X]), ("b", [None, X, Y])], TWO_WAY),
        ["a: delete_destination", "b: unresolved"]
    );
}

#[test]
fn renamed_here_and_edited_there_both_apply_in_a_two_way_pair_only() {
    for side in Side::BOTH {
        let world = renamed(side, ("old", "new"), Some("edited"));
        let plan = plan(&world, TWO_WAY);
        assert_eq!(say_all(&plan), [format!("new: rename_{} from old", side.other())]);
        assert!(
            matches!(&plan.actions[0].work, Work::Rename { edited: true, entry, .. }
            if entry.size == 6),
            "{plan:?}"
        );
        for mode in [
            SyncMode::SourceToDestination,
            SyncMode::SourceBackup,
            SyncMode::DestinationToSource,
            SyncMode::DestinationBackup,
        ] {
            let said = said(&world, in_mode(mode));
            assert!(said.iter().all(|line| !line.contains("rename")), "{mode}: {said:?}");
        }
    }
}

#[test]
fn a_mirror_follows_the_renames_of_its_authority_only() {
    for (mode, authority) in
        [(SyncMode::SourceToDestination, Side::Source), (SyncMode::DestinationToSource, Side::Destination)]
    {
        let other = authority.other();
        assert_eq!(
            said(&renamed(authority, ("old", "new"), X), in_mode(mode)),
            [format!("new: rename_{other} from old")]
        );
        let back = if authority == Side::Source { "upload" } else { "download" };
        assert_eq!(
            said(&renamed(other, ("old", "new"), X), in_mode(mode)),
            [format!("new: delete_{other}"), format!("old: {back}")]
        );
    }
}

#[test]
fn a_backup_copies_to_the_new_name_and_keeps_the_old() {
    for (mode, authority) in
        [(SyncMode::SourceBackup, Side::Source), (SyncMode::DestinationBackup, Side::Destination)]
    {
        let plan = plan(&renamed(authority, ("old", "new"), X), in_mode(mode));
        assert_eq!(say_all(&plan), [format!("new: rename_{} from old", authority.other())]);
        assert!(matches!(plan.actions[0].work, Work::Rename { keep_old: true, edited: false, .. }));
        let said = said(&renamed(authority.other(), ("old", "new"), X), in_mode(mode));
        assert!(said.iter().all(|line| !line.contains("rename")), "{mode}: {said:?}");
    }
}

#[test]
fn what_stands_in_the_way_of_something_else_is_not_paired() {
    let on = Sides::new(true, false);
    let between =
        |above, below| Collision { above: key(above), below: key(below), above_on: on, below_on: on };
    let items = || vec![item("new", [None, X, None], TWO_WAY), item("old", [X, None, X], TWO_WAY)];
    for collision in
        [between("new", "new/x"), between("old", "old/x"), between("x", "new"), between("x", "old")]
    {
        let mut left = items();
        assert!(
            pair(&mut left, TWO_WAY, std::slice::from_ref(&collision), &CopyCounts::default()).is_empty(),
            "{collision:?}"
        );
        assert_eq!(left.len(), 2);
    }
    assert_eq!(pair(&mut items(), TWO_WAY, &[between("x", "x/new")], &CopyCounts::default()).len(), 1);
}

#[test]
fn the_content_of_new_files_is_wanted_in_the_form_the_base_has() {
    let mut parts = item("c", [Some("ccc"), None, Some("ccc")], TWO_WAY);
    let shape = Parts { count: 1, size: 8 };
    parts.base.as_mut().unwrap().hash.as_mut().unwrap().parts = Some(shape);
    let mut unread = item("e", [Some("eeeee"), None, Some("eeeee")], TWO_WAY);
    unread.base.as_mut().unwrap().hash = None;
    let items = [
        item("a", [X, None, X], TWO_WAY),
        item("b", [Some("b"), Some("b"), None], TWO_WAY),
        parts,
        item("d", [Some(""), None, Some("")], TWO_WAY),
        unread,
        item("f", [Some("ffffff"), None, None], TWO_WAY),
        item("g", [None, Some("ggggggg"), None], TWO_WAY),
        // Edited where it stayed: what vanished is still the base's version.
        item("h", [Some("hhhhhhhh"), None, Some("h")], TWO_WAY),
    ];
    let source = HashMap::from([(2, HashForm::Whole), (3, HashForm::Parts(8)), (8, HashForm::Whole)]);
    assert_eq!(wanted_hashes(&items, Side::Source), source);
    assert_eq!(wanted_hashes(&items, Side::Destination), HashMap::from([(1, HashForm::Whole)]));
}

#[test]
fn a_file_appeared_if_one_side_alone_has_it_and_it_is_to_be_copied() {
    let appears = |contents, policy, side| appeared(&item("a", contents, policy), side);
    for side in Side::BOTH {
        assert!(appears(only_on(side, None, X), TWO_WAY, side));
        assert!(!appears(only_on(side, None, X), TWO_WAY, side.other()));
        assert!(!appears(only_on(side, X, X), TWO_WAY, side), "the base knows it");
        assert!(!appears([None, X, X], TWO_WAY, side), "both have it");
        assert!(!appears([None, X, Y], TWO_WAY, side));
        let wins = if side == Side::Source {
            ConflictStrategy::SourceWins
        } else {
            ConflictStrategy::DestinationWins
        };
        let wins = Policy { conflict: wins, ..TWO_WAY };
        assert!(!appears([None, X, Y], wins, side), "it overwrites");
        assert!(!appears([X, Y, X], TWO_WAY, side) && !appears([X, X, Y], TWO_WAY, side), "an edit");
        let winner = Policy { first_sync_winner: Some(side.other()), ..TWO_WAY };
        assert!(!appears(only_on(side, None, X), winner, side), "it is to be deleted");
        let mut tombstone = item("a", only_on(side, None, X), TWO_WAY);
        tombstone.facts.base = Base::Tombstone;
        assert!(!appeared(&tombstone, side));
    }
}

fn content() -> impl Strategy<Value = Option<&'static str>> {
    prop::sample::select(vec![None, None, Some("x"), Some("y"), Some("zz"), Some("")])
}

proptest! {
    #[test]
    fn nothing_is_used_twice_and_what_is_not_paired_stays_as_it_was(
        world in prop::collection::btree_map("[ab]/[n-p]", (content(), content(), content()), 0..12),
        mode in prop::sample::select(SyncMode::ALL.to_vec()),
        blocked in "[ab]/[n-p]",
    ) {
        let policy = in_mode(mode);
        let before: Vec<Item> =
            world.iter().map(|(name, (b, s, d))| item(name, [*b, *s, *d], policy)).collect();
        let on = Sides::new(true, true);
        let collisions = [
            Collision { above: key(&blocked), below: key("zzz"), above_on: on, below_on: on }
        ];
        let mut after = before.clone();
        let actions = pair(&mut after, policy, &collisions, &CopyCounts::default());
        let find = |name: &Key| before.iter().find(|item| item.key == *name).unwrap();
        let mut used = HashSet::new();
        for action in &actions {
            let Work::Rename { on, entry: old, renamed, hash: content, edited, keep_old } = &action.work
            else { panic!("{action:?}") };
            let side = on.other();
            prop_assert!(used.insert(old.key.clone()) && used.insert(action.key.clone()));
            prop_assert!(action.key.as_str() != blocked && old.key.as_str() != blocked);
            let (old_item, new_item) = (find(&old.key), find(&action.key));
            prop_assert_eq!(&action.key, &renamed.key);
            prop_assert_eq!(new_item.found.get(side).as_ref(), Some(renamed));
            prop_assert_eq!(old_item.found.get(*on).as_ref(), Some(old));
            let base = old_item.base.as_ref().unwrap();
            prop_assert!(base.size > 0 && base.size == renamed.size);
            prop_assert_eq!(base.hash, *new_item.hashes.get(side));
            prop_assert_eq!(base.hash, *content);
            prop_assert!(new_item.base.is_none() && new_item.found.get(*on).is_none());
            prop_assert!(old_item.found.get(side).is_none());
            prop_assert_eq!(*edited, old.size != base.size || old.fingerprint != base.seen.source);
            prop_assert!(!edited || mode == SyncMode::TwoWay);
            prop_assert_eq!(*keep_old, !mode.allows_delete(*on));
            prop_assert!(mode == SyncMode::TwoWay || mode.authority() == Some(side));
        }
        let rest: Vec<_> = before.iter().filter(|item| !used.contains(&item.key)).collect();
        prop_assert_eq!(format!("{rest:?}"), format!("{:?}", after.iter().collect::<Vec<_>>()));
        // Nothing that belongs together was missed.
        for side in Side::BOTH {
            let missed = after.iter().any(|old| vanished(old, side)
                && old.key.as_str() != blocked
                && after.iter().any(|new| appeared(new, side)
                    && new.key.as_str() != blocked
                    && *new.hashes.get(side) == old.base.as_ref().unwrap().hash));
            prop_assert!(!missed, "{:?}", after);
        }
    }
}
