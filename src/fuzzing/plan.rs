//! The fuzz target of the plan: any base, source and destination, planned, carried out on contents, and
//! planned again.
//!
//! The judge is no second planner: it knows contents by a number, does what the plan says in the order in
//! which the transfer does it, and asks what must hold of the outcome.

use std::collections::{BTreeMap, BTreeSet};

use super::Choices;
use crate::entry::{Entry, Timestamp};
use crate::event::Line;
use crate::fingerprint::{ContentHash, ETag, Fingerprint};
use crate::key::Key;
use crate::mode::{ConflictStrategy, SyncMode};
use crate::plan::collide::Watch;
use crate::plan::conflict_name::CopyCounts;
use crate::plan::decide::decide;
use crate::plan::{Action, Base, Facts, Item, Plan, Policy, Sight, Step, Work};
use crate::side::{Side, Sides};
use crate::state::Agreed;

/// How many paths an input has at most.
const PATHS: usize = 16;

/// The segments that names are made of.
const SEGMENTS: [&str; 4] = ["a", "b", "a-", "c.txt"];

/// How many contents there are. Their sizes are the remainders of `SIZES`, so that some are equal and one is 0.
const CONTENTS: u8 = 16;
const SIZES: u8 = 5;

/// What the base has of a path. Of an agreed version also the side on which a rename to this name was announced,
/// and the old name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Past {
    None,
    Agreed { content: u8, hashed: bool, announced: Option<(Side, &'static str)> },
    Tombstone,
}

/// What a side has of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Now {
    Absent,
    Unknown,
    File { content: u8, touched: bool },
}

/// One path as all three trees have it.
#[derive(Debug, Clone, Copy)]
struct State {
    past: Past,
    now: Sides<Now>,
    newer: Option<Side>,
    /// Whether the contents are known where the base does not need them.
    hashed: bool,
}

type World = BTreeMap<Key, State>;

/// What is at which path of a side.
type Tree = BTreeMap<Key, u8>;

/// Plans a world, carries the plan out and plans again.
///
/// # Panics
/// If a right of the mode is broken, a version is lost, something is created where something else stays, or
/// the second plan has something to do.
pub fn plan(data: &[u8]) {
    let mut choices = Choices(data);
    let policy = Policy {
        mode: choices.of(SyncMode::ALL),
        pull: choices.below(2) == 0,
        conflict: choices.of(ConflictStrategy::ALL),
        first_sync_winner: choices.of(&[None, Some(Side::Source), Some(Side::Destination)]),
    };
    let mut world = World::new();
    for _ in 0..choices.below(PATHS + 1) {
        let depth = choices.below(3);
        let name: Vec<_> = (0..=depth).map(|_| choices.of(&SEGMENTS)).collect();
        if let Ok(key) = Key::parse(&name.join("/")) {
            world.insert(key, state(&mut choices));
        }
    }
    let plan = planned(&world, policy);
    keeps_rights(&plan, &world, policy);
    let after = carried_out(&plan, &world);
    loses_nothing(&plan, &world, &after, policy);
    let held = plan.actions.iter().any(|action| matches!(action.work, Work::Unresolved | Work::Blocked));
    if !held {
        let again = planned(&next(&plan, &world, &after), policy);
        let idle = again.actions.iter().all(|action| matches!(action.work, Work::LeaveAlone));
        assert!(idle, "{world:#?}\n{policy:?}\n{plan:#?}\nthen {again:#?}");
    }
}

fn state(choices: &mut Choices<'_>) -> State {
    let mut content = || u8::try_from(choices.below(usize::from(CONTENTS))).unwrap_or_default();
    let (old, new, other) = (content(), content(), content());
    let past = match choices.below(6) {
        0 => Past::None,
        1 => Past::Tombstone,
        number => {
            let side = [None, None, Some(Side::Source), Some(Side::Destination)][number - 2];
            let announced = side.map(|side| (side, choices.of(&SEGMENTS)));
            Past::Agreed { content: old, hashed: number != 3, announced }
        }
    };
    let mut now = || match choices.below(8) {
        0..=1 => Now::Absent,
        2 => Now::Unknown,
        3 => Now::File { content: old, touched: true },
        4..=5 => Now::File { content: old, touched: false },
        6 => Now::File { content: new, touched: false },
        _ => Now::File { content: other, touched: false },
    };
    let now = Sides::new(now(), now());
    let newer = choices.of(&[None, Some(Side::Source), Some(Side::Destination)]);
    State { past, now, newer, hashed: choices.below(2) == 0 }
}

fn hash(content: u8) -> ContentHash {
    ContentHash { md5: [content; 16], parts: None }
}

fn entry(key: &Key, content: u8) -> Entry {
    Entry {
        key: key.clone(),
        size: u64::from(content % SIZES),
        modified: Some(Timestamp::new(i64::from(content), 0)),
        stored: None,
        fingerprint: Fingerprint::Object(ETag::new(&hash(content).hex())),
    }
}

/// Returns the content of a version.
fn content(entry: &Entry) -> u8 {
    entry.modified.map_or(0, |time| u8::try_from(time.seconds).unwrap_or_default())
}

/// Returns the row that the base has of a path.
fn agreed(key: &Key, past: Past) -> Option<Agreed> {
    match past {
        Past::Agreed { content, hashed, announced } => {
            let Entry { size, fingerprint, .. } = entry(key, content);
            let seen = Sides::new(fingerprint.clone(), fingerprint);
            let row = Agreed::new(size, hashed.then(|| hash(content)), seen);
            Some(match announced.and_then(|(side, old)| Some((side, Key::parse(old).ok()?))) {
                Some((side, old)) => row.announced(side, &old),
                None => row,
            })
        }
        Past::None | Past::Tombstone => None,
    }
}

fn item(key: &Key, mut state: State, policy: Policy) -> Item {
    let is_file = |now: &Now| matches!(now, Now::File { .. });
    let has = Sides::new(is_file(&state.now.source), is_file(&state.now.destination));
    if agreed(key, state.past).is_some_and(|row| row.is_only_announced(has)) {
        state.past = Past::None;
    }
    let sight = |side: Side| match (state.past, *state.now.get(side)) {
        (_, Now::Absent) => Sight::Absent,
        (_, Now::Unknown) => Sight::Unknown,
        (Past::Agreed { announced, .. }, Now::File { .. }) if announced.is_some_and(|(on, _)| on == side) => {
            Sight::Changed
        }
        (Past::Agreed { content: old, .. }, Now::File { content, touched }) if content == old => {
            if touched {
                Sight::Touched
            } else {
                Sight::Same
            }
        }
        (Past::Agreed { .. }, Now::File { .. }) => Sight::Changed,
        (_, Now::File { .. }) => Sight::New,
    };
    let base = match state.past {
        Past::None => Base::None,
        Past::Agreed { .. } => Base::Agreed,
        Past::Tombstone => Base::Tombstone,
    };
    let file = |now: &Now| match now {
        Now::File { content, .. } => Some(*content),
        Now::Absent | Now::Unknown => None,
    };
    let files = Sides::new(file(&state.now.source), file(&state.now.destination));
    let facts = Facts {
        base,
        source: sight(Side::Source),
        destination: sight(Side::Destination),
        equal: files.source == files.destination,
        newer: state.newer,
    };
    let known = |file: Option<u8>| file.filter(|_| state.hashed).map(hash);
    Item {
        settled: None,
        key: key.clone(),
        base: agreed(key, state.past).map(Box::new),
        found: Sides::new(
            files.source.map(|content| entry(key, content)),
            files.destination.map(|content| entry(key, content)),
        ),
        hashes: Sides::new(known(files.source), known(files.destination)),
        facts,
        verdict: decide(facts, policy),
        strayed: None,
    }
}

fn planned(world: &World, policy: Policy) -> Plan {
    let (mut watch, mut copies) = (Watch::default(), CopyCounts::default());
    let mut items = Vec::new();
    for (key, state) in world {
        let file = |now: &Now| matches!(now, Now::File { .. });
        watch.see(key, Sides::new(file(&state.now.source), file(&state.now.destination)));
        copies.see(key, Sides::new(file(&state.now.source), file(&state.now.destination)));
        let item = item(key, *state, policy);
        for side in Side::BOTH {
            item.found.get(side).iter().for_each(|entry| copies.see_version(side, entry));
        }
        if item.verdict.step != Step::Nothing {
            items.push(item);
        }
    }
    Plan::new(items, policy, &watch.finish(), &copies)
}

/// Nothing is done that the mode has no right to, or to what nobody could judge.
fn keeps_rights(plan: &Plan, world: &World, policy: Policy) {
    assert!(plan.actions.is_sorted_by(|a, b| a.key < b.key), "out of order, or twice: {plan:#?}");
    let may_copy = |to: Side| match to {
        Side::Destination => policy.mode.allows_upload(),
        Side::Source => {
            policy.mode.allows_download() && (policy.pull || policy.mode != SyncMode::SourceBackup)
        }
    };
    for action in &plan.actions {
        let rightful = match &action.work {
            Work::Copy(copy) => may_copy(copy.to),
            Work::Delete { on, .. } => policy.mode.allows_delete(*on),
            Work::Rename { on, edited, keep_old, .. } => {
                may_copy(*on)
                    && (*keep_old || policy.mode.allows_delete(*on))
                    && (!edited || may_copy(on.other()))
            }
            Work::KeepBoth { .. } => may_copy(Side::Source) && may_copy(Side::Destination),
            _ => true,
        };
        assert!(rightful, "{policy:?}: {action:?}");
        for version in action.work.versions() {
            let state = world.get(&version.key);
            let known = state
                .is_some_and(|state| Side::BOTH.into_iter().all(|side| *state.now.get(side) != Now::Unknown));
            assert!(known, "nobody knows what is at {:?}: {action:?}", version.key);
        }
        // What is shown of it says no more than it does.
        let line = Line::planned(action);
        assert_eq!(line.is_none(), matches!(action.work, Work::Forget), "{action:?}");
    }
}

fn tree(world: &World, side: Side) -> Tree {
    let files = world.iter().filter_map(|(key, state)| match state.now.get(side) {
        Now::File { content, .. } => Some((key.clone(), *content)),
        Now::Absent | Now::Unknown => None,
    });
    files.collect()
}

/// Does what the plan says, in the order of the transfer: room is made, then renames, copies, deletions.
fn carried_out(plan: &Plan, world: &World) -> Sides<Tree> {
    let mut trees = Sides::new(tree(world, Side::Source), tree(world, Side::Destination));
    let phase = |action: &Action| match action.work {
        Work::Delete { clears_way, .. } => {
            if clears_way {
                0
            } else {
                3
            }
        }
        Work::Rename { .. } => 1,
        _ => 2,
    };
    for now in 0..4 {
        for action in plan.actions.iter().filter(|action| phase(action) == now) {
            carry_out(action, &mut trees);
        }
    }
    trees
}

fn carry_out(action: &Action, trees: &mut Sides<Tree>) {
    match &action.work {
        Work::Delete { on, entry, .. } => take(trees.get_mut(*on), entry),
        Work::Copy(copy) => {
            if let Some(replaced) = &copy.replaces {
                take(trees.get_mut(copy.to), replaced);
            }
            assert_eq!(trees.get(copy.to.other()).get(&copy.from.key), Some(&content(&copy.from)));
            put(trees.get_mut(copy.to), &action.key, content(&copy.from));
        }
        Work::Rename { on, entry, renamed, edited, keep_old, .. } => {
            if !keep_old {
                take(trees.get_mut(*on), entry);
            }
            put(trees.get_mut(*on), &action.key, content(entry));
            if *edited {
                take(trees.get_mut(on.other()), renamed);
                put(trees.get_mut(on.other()), &action.key, content(entry));
            } else {
                assert_eq!(content(entry), content(renamed), "renamed to another content: {action:?}");
            }
        }
        Work::KeepBoth { winner, versions, aside } => {
            let (kept, loser) = (versions.get(*winner), versions.get(winner.other()));
            take(trees.get_mut(winner.other()), loser);
            put(trees.get_mut(winner.other()), &action.key, content(kept));
            for side in Side::BOTH {
                put(trees.get_mut(side), aside, content(loser));
            }
        }
        _ => {}
    }
}

/// Takes a version away, which must be there.
fn take(tree: &mut Tree, version: &Entry) {
    let found = tree.remove(&version.key);
    assert_eq!(found, Some(content(version)), "another version than was planned for: {version:?}");
}

/// Puts a content where there must be room for it.
fn put(tree: &mut Tree, key: &Key, content: u8) {
    let in_the_way = tree
        .keys()
        .find(|other| *other == key || other.is_below(key.as_str()) || key.is_below(other.as_str()));
    assert_eq!(in_the_way, None, "in the way of {key:?}");
    tree.insert(key.clone(), content);
}

/// What is on no side any more was known to the base, lost a conflict, or was given up by a side's right.
fn loses_nothing(plan: &Plan, world: &World, after: &Sides<Tree>, policy: Policy) {
    let live: BTreeSet<u8> =
        Side::BOTH.into_iter().flat_map(|side| after.get(side).values()).copied().collect();
    for side in Side::BOTH {
        let before = tree(world, side);
        let leads = policy.mode.authority() == Some(side);
        assert!(
            !(leads && policy.mode.is_mirror()) || before == *after.get(side),
            "a mirror changed its source"
        );
        for (key, content) in before {
            let stays = after.get(side).contains_key(&key);
            assert!(stays || policy.mode.allows_delete(side), "{key:?} is gone at the {side} in {policy:?}");
            if policy.mode != SyncMode::TwoWay
                || policy.first_sync_winner.is_some()
                || live.contains(&content)
            {
                continue;
            }
            // A renamed file has the content that the base knows under its old name.
            let known = world
                .values()
                .any(|state| matches!(state.past, Past::Agreed { content: old, .. } if old == content));
            let lost = plan.actions.iter().any(|action| action.key == key && action.conflict);
            assert!(known || lost, "an edit of {key:?} is nowhere: {world:#?}\n{policy:?}\n{plan:#?}");
        }
    }
}

/// Returns what the next run finds: the rows that this one recorded, and the trees as it left them.
fn next(plan: &Plan, world: &World, after: &Sides<Tree>) -> World {
    let mut next = world.clone();
    for state in next.values_mut() {
        for side in Side::BOTH {
            if let Now::File { touched, .. } = state.now.get_mut(side) {
                *touched = false;
            }
        }
    }
    let absent =
        State { past: Past::None, now: Sides::new(Now::Absent, Now::Absent), newer: None, hashed: true };
    for action in &plan.actions {
        let mut record = |key: &Key, past: Past| next.entry(key.clone()).or_insert(absent).past = past;
        let agreed = |key: &Key| {
            let content = after.source.get(key).or_else(|| after.destination.get(key)).copied();
            content.map_or(Past::None, |content| Past::Agreed { content, hashed: true, announced: None })
        };
        match &action.work {
            Work::Copy(_) | Work::Adopt { .. } => record(&action.key, agreed(&action.key)),
            Work::Delete { .. } | Work::Forget => record(&action.key, Past::None),
            Work::Entomb => record(&action.key, Past::Tombstone),
            Work::Rename { entry, keep_old, .. } => {
                record(&action.key, agreed(&action.key));
                record(&entry.key, if *keep_old { Past::Tombstone } else { Past::None });
            }
            Work::KeepBoth { aside, .. } => {
                record(&action.key, agreed(&action.key));
                record(aside, agreed(aside));
            }
            Work::Unresolved | Work::Blocked | Work::Clash { .. } | Work::LeaveAlone => {}
        }
    }
    for (key, state) in &mut next {
        for side in Side::BOTH {
            let now = state.now.get_mut(side);
            let known = *now != Now::Unknown;
            match after.get(side).get(key) {
                Some(content) => *now = Now::File { content: *content, touched: false },
                None if known => *now = Now::Absent,
                None => {}
            }
        }
    }
    next
}
