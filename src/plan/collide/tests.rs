//! Files against folders: noticing them, making room for them, and holding back what cannot be done.

use proptest::prelude::*;

use super::*;
use crate::mode::{ConflictStrategy, SyncMode};
use crate::plan::Policy;
use crate::plan::tests::{Contents, TWO_WAY, in_mode, key, plan, say_all};

const X: Option<&str> = Some("xx");
const Y: Option<&str> = Some("yyy");

fn said(world: &[(&str, Contents<'_>)], policy: Policy) -> Vec<String> {
    say_all(&plan(world, policy))
}

/// Swaps the sides of a world.
fn swapped<'a>(world: &[(&'a str, Contents<'a>)]) -> Vec<(&'a str, Contents<'a>)> {
    world.iter().map(|(name, [base, s, d])| (*name, [*base, *d, *s])).collect()
}

fn swapped_words(lines: &[&str]) -> Vec<String> {
    let swap = |line: &str| {
        let line = line.replace("upload", "\0").replace("download", "upload").replace('\0', "download");
        line.replace("source", "\0").replace("destination", "source").replace('\0', "destination")
    };
    lines.iter().map(|line| swap(line)).collect()
}

/// Checks a two-way plan and its mirror image.
fn two_way(world: &[(&str, Contents<'_>)], expected: &[&str]) {
    assert_eq!(said(world, TWO_WAY), expected);
    assert_eq!(said(&swapped(world), TWO_WAY), swapped_words(expected));
}

#[test]
fn a_file_replaced_by_a_folder_is_deleted_before_what_is_in_the_folder() {
    two_way(
        &[("a", [X, None, X]), ("a/b", [None, Y, None]), ("a/c/d", [None, Y, None]), ("z", [None, Y, None])],
        &["a: clear way at destination", "a/b: upload", "a/c/d: upload", "z: upload"],
    );
}

#[test]
fn a_folder_replaced_by_a_file_is_deleted_before_the_file() {
    two_way(
        &[
            ("a", [None, Y, None]),
            ("a-x", [X, None, X]),
            ("a/b", [X, None, X]),
            ("a/c/d", [X, None, X]),
            ("b", [X, None, X]),
        ],
        &[
            "a: upload",
            "a-x: delete_destination",
            "a/b: clear way at destination",
            "a/c/d: clear way at destination",
            "b: delete_destination",
        ],
    );
}

#[test]
fn an_edit_below_or_above_leaves_the_whole_name_to_the_user() {
    two_way(
        &[("a", [X, None, Y]), ("a/b", [None, Y, None]), ("b", [None, X, None])],
        &["a: unresolved", "a/b: unresolved", "b: upload"],
    );
    two_way(
        &[("a", [None, Y, None]), ("a/b", [X, None, Y]), ("a/c", [X, None, X])],
        &["a: unresolved", "a/b: unresolved", "a/c: unresolved"],
    );
    two_way(&[("a", [None, Y, None]), ("a/b", [None, None, X])], &["a: unresolved", "a/b: unresolved"]);
    for action in plan(&[("a", [None, Y, None]), ("a/b", [None, None, X])], TWO_WAY).actions {
        assert_eq!((action.reason, action.conflict), (Reason::FileAgainstFolder, true));
    }
}

#[test]
fn mirrors_make_room_for_their_authority() {
    let world = [("a", [X, None, Y]), ("a/b", [None, Y, None])];
    let expected = ["a: clear way at destination", "a/b: upload"];
    assert_eq!(said(&world, in_mode(SyncMode::SourceToDestination)), expected);
    assert_eq!(said(&swapped(&world), in_mode(SyncMode::DestinationToSource)), swapped_words(&expected));
    let world = [("a", [None, Y, None]), ("a/b", [None, None, X])];
    let expected = ["a: upload", "a/b: clear way at destination"];
    assert_eq!(said(&world, in_mode(SyncMode::SourceToDestination)), expected);
}

#[test]
fn a_backup_deletes_nothing_to_make_room() {
    for (mode, world) in [
        (SyncMode::SourceBackup, vec![("a", [X, None, X]), ("a/b", [None, Y, None])]),
        (SyncMode::DestinationBackup, vec![("a", [X, X, None]), ("a/b", [None, None, Y])]),
    ] {
        assert_eq!(said(&world, in_mode(mode)), ["a: entomb", "a/b: unresolved"], "{mode}");
    }
    let strict = Policy { pull: false, ..in_mode(SyncMode::SourceBackup) };
    let world = [("a", [None, None, X]), ("a/b", [None, Y, None])];
    assert_eq!(said(&world, strict), ["a: skip", "a/b: unresolved"]);
}

#[test]
fn a_file_in_the_way_about_which_nothing_is_decided_stays() {
    // Nobody can tell what the source has at `a`, so the plan says nothing about it.
    let collision = Collision {
        above: key("a"),
        below: key("a/b"),
        above_on: Sides::new(false, true),
        below_on: Sides::new(true, false),
    };
    let mut actions = plan(&[("a/b", [None, Y, None])], TWO_WAY).actions;
    sort_out(&mut actions, std::slice::from_ref(&collision));
    assert_eq!(say_all(&crate::plan::Plan { actions }), ["a/b: unresolved"]);
    // Gone on that side before: nothing is in the way.
    let gone = Collision { above_on: Sides::new(false, false), ..collision };
    let mut actions = plan(&[("a/b", [None, Y, None])], TWO_WAY).actions;
    sort_out(&mut actions, &[gone]);
    assert_eq!(say_all(&crate::plan::Plan { actions }), ["a/b: upload"]);
}

#[test]
fn a_deletion_on_the_other_side_makes_no_room() {
    let collision = Collision {
        above: key("a"),
        below: key("a/b"),
        above_on: Sides::new(false, true),
        below_on: Sides::new(true, false),
    };
    let mut actions = plan(&[("a", [X, X, None]), ("a/b", [None, Y, None])], TWO_WAY).actions;
    actions.sort_by(|a, b| a.key.cmp(&b.key));
    sort_out(&mut actions, &[collision]);
    assert!(actions.iter().all(|action| matches!(action.work, Work::Unresolved | Work::Blocked)));
}

#[test]
fn replacing_a_file_needs_no_room() {
    // `a` vanishes with the folder untouched: an update of a file is no creation.
    let collision = Collision {
        above: key("a"),
        below: key("a/b"),
        above_on: Sides::new(true, false),
        below_on: Sides::new(false, true),
    };
    let mut actions = plan(&[("a", [X, Y, X])], TWO_WAY).actions;
    sort_out(&mut actions, &[collision]);
    assert_eq!(say_all(&crate::plan::Plan { actions }), ["a: upload"]);
}

#[test]
fn a_file_and_a_folder_on_the_same_side_block_the_name() {
    // Only an object store can have both.
    let world =
        [("a", [None, None, X]), ("a/b", [None, None, X]), ("a/c", [X, Y, X]), ("b", [None, X, None])];
    let blocked = plan(&world, TWO_WAY);
    assert_eq!(say_all(&blocked), ["a: blocked", "a/b: blocked", "a/c: blocked", "b: upload"]);
    for action in &blocked.actions[..3] {
        assert_eq!((action.reason, action.conflict), (Reason::NameCollision(Side::Destination), false));
    }
    let swapped = plan(&swapped(&world), TWO_WAY);
    assert_eq!(swapped.actions[0].reason, Reason::NameCollision(Side::Source));
    // It is told where nothing was to be done, once.
    let world = [("a", [X, X, X]), ("a/b", [X, X, X]), ("a/c", [X, X, X]), ("b", [None, X, None])];
    let told = plan(&world, TWO_WAY);
    assert_eq!(say_all(&told), ["a: blocked", "b: upload"]);
    assert_eq!(
        (told.actions[0].reason, told.actions[0].conflict),
        (Reason::NameCollision(Side::Source), false)
    );
    // And at once where it would be remembered as equal.
    let world = [("a", [None, X, X]), ("a/b", [None, X, X])];
    assert_eq!(said(&world, TWO_WAY), ["a: blocked", "a/b: adopt"]);
    // Renames and losers of conflicts wait too.
    let keep = Policy { conflict: ConflictStrategy::KeepBoth, ..TWO_WAY };
    let world = [("a", [None, X, Y]), ("a/b", [X, None, X]), ("c", [None, X, None])];
    assert_eq!(said(&world, keep), ["a: blocked", "a/b: blocked", "c: upload"]);
}

#[test]
fn bookkeeping_goes_on_below_a_blocked_name() {
    let world = [("a", [None, None, X]), ("a/b", [X, None, None]), ("a/c", [None, None, X])];
    assert_eq!(said(&world, TWO_WAY), ["a: blocked", "a/b: forget", "a/c: blocked"]);
}

#[test]
fn nested_names_are_one_group_and_others_are_left_alone() {
    // `a/b` is a file at the destination and a folder at the source, and all of it goes for the file `a`.
    let world = [
        ("a", [None, Y, None]),
        ("a/b", [X, None, X]),
        ("a/b/c", [X, None, None]),
        ("k", [None, Y, None]),
        ("k/l", [X, None, Y]),
        ("m", [X, None, X]),
        ("m/n", [None, Y, None]),
    ];
    let expected = [
        "a: upload",
        "a/b: clear way at destination",
        "a/b/c: forget",
        "k: unresolved",
        "k/l: unresolved",
        "m: clear way at destination",
        "m/n: upload",
    ];
    two_way(&world, &expected);
    // The edit of `a/b/c` holds back everything under the topmost name.
    let world =
        [("a", [X, None, X]), ("a/b", [None, Y, None]), ("a/b/c", [None, None, Y]), ("b", [None, X, None])];
    // `a` and `a/b/c` on one side.
    assert_eq!(said(&world, TWO_WAY), ["a: blocked", "a/b: blocked", "a/b/c: blocked", "b: upload"]);
}

#[test]
fn groups_go_by_the_topmost_name() {
    let no = Sides::new(false, false);
    let between =
        |above, below| Collision { above: key(above), below: key(below), above_on: no, below_on: no };
    let all = [
        between("a", "a/b"),
        between("a", "a/b/c"),
        between("a/b", "a/b/c"),
        between("a-", "a-/x"),
        between("d/e", "d/e/f"),
        between("d/g", "d/g/h"),
    ];
    let groups: Vec<Vec<_>> =
        groups(&all).iter().map(|group| group.iter().map(|c| c.below.as_str()).collect()).collect();
    assert_eq!(groups, [vec!["a/b", "a/b/c", "a/b/c"], vec!["a-/x"], vec!["d/e/f"], vec!["d/g/h"]]);
}

proptest! {
    #[test]
    fn every_pair_of_a_name_and_one_below_it_is_noticed(
        keys in prop::collection::btree_map(
            "[ab](-|\\.)?(/[ab](-|0)?){0,3}", (any::<bool>(), any::<bool>()), 0..24
        )
    ) {
        let keys: Vec<_> =
            keys.iter().map(|(name, (s, d))| (key(name), Sides::new(*s, *d))).collect();
        let mut watch = Watch::default();
        for (key, on) in &keys {
            watch.see(key, *on);
        }
        let found = watch.finish();
        let mut expected = Vec::new();
        for (below, below_on) in &keys {
            for (above, above_on) in &keys {
                if below.as_str().starts_with(&format!("{}/", above.as_str())) {
                    let (above, below) = (above.clone(), below.clone());
                    expected.push(Collision { above, below, above_on: *above_on, below_on: *below_on });
                }
            }
        }
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn no_plan_creates_a_file_where_something_stays(
        world in prop::collection::btree_map(
            "[ab](/[ab]){0,2}", prop::array::uniform3(prop::sample::select(vec![None, X, Y])), 1..8
        ),
        mode in prop::sample::select(SyncMode::ALL.to_vec()),
    ) {
        let world: Vec<_> = world.iter().map(|(name, contents)| (name.as_str(), *contents)).collect();
        let plan = plan(&world, in_mode(mode));
        for side in Side::BOTH {
            let here = |contents: &Contents<'_>| {
                if side == Side::Source { contents[1].is_some() } else { contents[2].is_some() }
            };
            let mut stays: Vec<Key> = Vec::new();
            for (name, contents) in &world {
                let first = plan.actions.iter().any(|action| action.key.as_str() == *name
                    && matches!(action.work, Work::Delete { on, clears_way: true, .. } if on == side));
                if here(contents) && !first {
                    stays.push(key(name));
                }
            }
            let created = plan.actions.iter().filter(|action| match &action.work {
                Work::Copy(copy) => copy.to == side && copy.replaces.is_none(),
                Work::Rename { on, .. } => *on == side,
                _ => false,
            });
            for action in created {
                for stayed in &stays {
                    prop_assert!(
                        !action.key.is_below(stayed.as_str()) && !stayed.is_below(action.key.as_str()),
                        "{stayed} stands in the way of {action:?}"
                    );
                }
            }
        }
    }
}
