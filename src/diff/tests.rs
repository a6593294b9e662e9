//! The join over streams in memory: against a map, out of order, and around what a side cannot judge.

use std::collections::{BTreeMap, BTreeSet};

use futures::stream;
use proptest::prelude::*;

use super::*;
use crate::filter::Rules;
use crate::fingerprint::{ETag, Fingerprint};

const LINK: SkipReason = SkipReason::Symlink;

fn key(name: &str) -> Key {
    Key::parse(name).unwrap()
}

fn entry(name: &str, tag: &str) -> Entry {
    let fingerprint = Fingerprint::Object(ETag::new(tag));
    Entry { key: key(name), size: 1, modified: None, stored: None, fingerprint }
}

fn file(name: &str) -> Listed {
    Listed::File(entry(name, "x"))
}

fn unreadable(name: &str) -> Listed {
    Listed::Unknown(key(name), Error::new(ErrorKind::PermissionDenied, format!("list `{name}`")))
}

fn unmappable(folder: &str) -> Listed {
    let error = Error::new(ErrorKind::Invalid, "a name");
    let (shown, name) = (format!("{folder}\\xff"), format!("{folder}\u{fffd}"));
    Listed::Unmappable { shown, name, is_folder: false, folder: folder.into(), error, files: Vec::new() }
}

fn rules(lines: &[&str]) -> Rules {
    let mut rules = Rules::default();
    for line in lines {
        rules.push(line).unwrap();
    }
    rules
}

fn row(name: &str) -> Row {
    (key(name), BaseRow::tombstone())
}

type Stream<'a, T> = BoxStream<'a, Result<T>>;

fn of<'a, T: Send + 'a>(items: Vec<T>) -> Stream<'a, T> {
    stream::iter(items.into_iter().map(Ok)).boxed()
}

/// What comes out, in words, and how it ended.
fn run(mut diff: Diff<'_>) -> (Vec<String>, Option<Error>) {
    let mut told = Vec::new();
    loop {
        match futures::executor::block_on(diff.next()) {
            Ok(None) => return (told, None),
            Ok(Some(found)) => told.push(say(&found)),
            Err(error) => return (told, Some(error)),
        }
    }
}

fn say(found: &Found) -> String {
    match found {
        Found::Path(Change { key, base, sides }) => {
            let word = |observed: &Observed| match observed {
                Observed::Absent => "absent",
                Observed::Unknown => "unknown",
                Observed::File(entry) => {
                    assert_eq!(entry.key, *key);
                    "file"
                }
            };
            let base = if base.is_some() { "base" } else { "new" };
            format!("{} {} {} {base}", key.as_str(), word(&sides.source), word(&sides.destination))
        }
        Found::Excluded(key) => format!("{} excluded", key.as_str()),
        Found::Held(side, key) => format!("{key} held at {side}"),
        Found::Note(side, note) => format!("{} note {side}", note.position()),
    }
}

fn joined(source: Vec<Listed>, destination: Vec<Listed>, base: Vec<Row>, lines: &[&str]) -> Vec<String> {
    let (told, error) = run(Diff::new(of(source), of(destination), of(base), Layers::new(&rules(lines))));
    assert!(error.is_none(), "{error:?} after {told:?}");
    told
}

#[test]
fn three_trees_come_out_as_one_in_the_order_of_the_keys() {
    let told = joined(
        vec![file("a"), file("a/b"), file("c")],
        vec![file("a"), file("b")],
        vec![row("a"), row("c"), row("z")],
        &[],
    );
    let expected = [
        "a file file base",
        "a/b file absent new",
        "b absent file new",
        "c file absent base",
        "z absent absent base",
    ];
    assert_eq!(told, expected);
    assert_eq!(joined(vec![], vec![], vec![], &[]), [""; 0]);
}

#[test]
fn i08_what_a_side_cannot_judge_covers_all_below_it_and_nothing_beside_it() {
    let below = ["d", "d-x", "d.t", "d/a", "d/e/f", "d0", "dd/a"];
    for unjudged in [
        unreadable as fn(&str) -> Listed,
        |name| Listed::Skipped(key(name), LINK),
        |name| Listed::Skipped(key(name), SkipReason::Special),
        |name| Listed::Skipped(key(name), SkipReason::OtherFileSystem),
        |name| Listed::Skipped(key(name), SkipReason::Special),
    ] {
        let base = || below.iter().map(|name| row(name)).collect();
        let expected = |words: [&str; 2]| {
            let [unknown, absent] = words;
            [
                format!("d {unknown} base"),
                format!("d-x {absent} base"),
                format!("d.t {absent} base"),
                format!("d/a {unknown} base"),
                format!("d/e/f {unknown} base"),
                format!("d0 {absent} base"),
                format!("dd/a {absent} base"),
            ]
        };
        let told = joined(vec![unjudged("d")], vec![], base(), &[]);
        assert_eq!(told[0], "d note source");
        assert_eq!(told[1..], expected(["unknown absent", "absent absent"]));
        let told = joined(vec![], vec![unjudged("d")], base(), &[]);
        assert_eq!(told[0], "d note destination");
        assert_eq!(told[1..], expected(["absent unknown", "absent absent"]));
    }
}

#[test]
fn an_empty_folder_leaves_nothing_unknown() {
    let note = Listed::Skipped(key("d"), SkipReason::EmptyFolder);
    let told = joined(vec![note], vec![], vec![row("d"), row("d/a")], &[]);
    assert_eq!(told, ["d note source", "d absent absent base", "d/a absent absent base"]);
}

#[test]
fn files_that_were_listed_are_seen_even_beside_something_unknown() {
    let source = vec![unreadable("d"), file("d-x")];
    let told = joined(source, vec![file("d/a")], vec![], &[]);
    assert_eq!(told, ["d note source", "d-x file absent new", "d/a unknown file new"]);
}

#[test]
fn unknown_folders_may_stand_next_to_and_in_each_other() {
    let source = vec![unreadable("a"), unreadable("a-b"), unreadable("b")];
    let base = vec![row("a-b/x"), row("a-c"), row("a/x"), row("b/x"), row("c")];
    let told = joined(source, vec![], base, &[]);
    let paths: Vec<_> = told.iter().filter(|line| !line.contains("note")).map(String::as_str).collect();
    let expected = [
        "a-b/x unknown absent base",
        "a-c absent absent base",
        "a/x unknown absent base",
        "b/x unknown absent base",
        "c absent absent base",
    ];
    assert_eq!(paths, expected);
}

#[test]
fn names_that_are_no_keys_leftovers_and_foreign_things_are_passed_on_and_hide_nothing() {
    let source = vec![
        unmappable(""),
        unmappable(""),
        Listed::Leftover(key(".syncengine-0123456789abcdef.tmp")),
        file("d/a"),
    ];
    let destination = vec![Listed::Foreign(key(".syncengine-x")), unmappable("d/"), file("d/a")];
    let told = joined(source, destination, vec![row("d/a"), row("d/b")], &[]);
    let expected = [
        " note source",
        " note source",
        ".syncengine-0123456789abcdef.tmp note source",
        ".syncengine-x note destination",
        "d/ note destination",
        "d/a file file base",
        "d/b absent absent base",
    ];
    assert_eq!(told, expected);
}

#[test]
fn excluded_paths_leave_the_base_and_are_not_seen() {
    let source = vec![file("a.tmp"), file("b"), file("skip/x")];
    let destination = vec![file("c.tmp"), file("skip/y")];
    let base = vec![row("a.tmp"), row("d.tmp"), row("skip/x")];
    let told = joined(source, destination, base, &["*.tmp", "skip/"]);
    let expected = ["a.tmp excluded", "b file absent new", "d.tmp excluded", "skip/x excluded"];
    assert_eq!(told, expected);
}

#[test]
fn rules_of_an_ignore_file_hold_for_all_three_trees() {
    let source = vec![
        Listed::Rules(String::new(), rules(&["*.o"])),
        file("a.o"),
        Listed::Rules("d".into(), rules(&["x"])),
        file("d/x"),
        file("d/y"),
    ];
    let base = vec![row("a.o"), row("d/x"), row("e/x")];
    let told = joined(source, vec![file("b.o"), file("d/x")], base, &[]);
    let expected = ["a.o excluded", "d/x excluded", "d/y file absent new", "e/x absent absent base"];
    assert_eq!(told, expected);
}

#[test]
fn i08_rules_for_files_do_not_make_an_unreadable_folder_look_empty() {
    // Everything but texts: the folder is not excluded although a file of that name would be.
    let lines = ["*", "!*/", "!*.txt"];
    for unjudged in [unreadable("d"), Listed::Skipped(key("d"), LINK)] {
        let told = joined(vec![unjudged], vec![file("d/a.txt")], vec![row("d/a.txt")], &lines);
        assert_eq!(told.last().unwrap(), "d/a.txt unknown file base");
    }
    // And the other way round: what is there now is no folder, so the rule says nothing about it.
    for unjudged in [unreadable("build"), Listed::Skipped(key("build"), LINK)] {
        let told = joined(vec![unjudged], vec![file("build")], vec![row("build")], &["build/"]);
        assert_eq!(told, ["build note source", "build unknown file base"]);
    }
}

#[test]
fn what_is_excluded_whatever_it_is_is_not_told() {
    let base = || vec![row("skip"), row("skip/a")];
    for note in [
        unreadable("skip"),
        Listed::Skipped(key("skip"), LINK),
        Listed::Skipped(key("skip"), SkipReason::EmptyFolder),
        Listed::Skipped(key("skip"), SkipReason::OtherFileSystem),
    ] {
        let told = joined(vec![note], vec![], base(), &["skip"]);
        assert_eq!(told, ["skip excluded", "skip/a excluded"]);
    }
    // A folder is judged as one, and a link as a file.
    let folder = |why| vec![Listed::Skipped(key("d"), why)];
    for why in [SkipReason::EmptyFolder, SkipReason::OtherFileSystem] {
        assert_eq!(joined(folder(why), vec![], vec![], &["d/"]), [""; 0]);
        assert_eq!(joined(folder(why), vec![], vec![], &["d", "!d/"]), ["d note source"]);
    }
    assert_eq!(joined(folder(LINK), vec![], vec![], &["d", "!d/"]), [""; 0]);
    assert_eq!(joined(folder(LINK), vec![], vec![], &["d/"]), ["d note source"]);
}

#[test]
fn a_stream_out_of_order_is_an_error_and_never_a_deletion() {
    let streams: [Vec<Listed>; 7] = [
        vec![file("b"), file("a")],
        vec![file("a"), file("a")],
        vec![file("d/a"), file("d-x")],
        vec![unreadable("a"), file("a")],
        vec![file("a"), Listed::Rules(String::new(), Rules::default())],
        vec![file("b"), unmappable("a/")],
        vec![Listed::Leftover(key("a")), Listed::Foreign(key("a"))],
    ];
    for stream in &streams {
        for side in Side::BOTH {
            let mut sides = Sides::new(Vec::new(), Vec::new());
            sides.get_mut(side).extend(stream.iter().map(again));
            let (told, error) =
                run(Diff::new(of(sides.source), of(sides.destination), of(vec![]), Layers::default()));
            let error = error.unwrap_or_else(|| panic!("{told:?}"));
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            let says = format!("the listing of the {side} is out of order: `");
            assert!(error.to_string().starts_with(&says), "{error}");
            assert!(error.hint().unwrap().contains("nothing was changed"));
            assert!(told.iter().all(|line| !line.ends_with("base")), "{told:?}");
        }
    }
    for rows in [vec![row("b"), row("a")], vec![row("a"), row("a")]] {
        let (_, error) = run(Diff::new(of(vec![]), of(vec![]), of(rows), Layers::default()));
        let error = error.unwrap();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains("the base is out of order"), "{error}");
    }
    let (_, error) =
        run(Diff::new(of(vec![file("b\n"), file("a")]), of(vec![]), of(vec![]), Layers::default()));
    let text = error.unwrap().to_string();
    assert_eq!(text, "the listing of the source is out of order: `a` came after `b\\u{a}`");
}

/// `Listed` cannot be cloned, because errors cannot.
fn again(listed: &Listed) -> Listed {
    match listed {
        Listed::File(entry) => Listed::File(entry.clone()),
        Listed::Skipped(key, why) => Listed::Skipped(key.clone(), *why),
        Listed::Unknown(key, _) => unreadable(key.as_str()),
        Listed::Unmappable { folder, .. } => unmappable(folder),
        Listed::Rules(folder, rules) => Listed::Rules(folder.clone(), rules.clone()),
        Listed::Leftover(key) => Listed::Leftover(key.clone()),
        Listed::Foreign(key) => Listed::Foreign(key.clone()),
    }
}

#[test]
fn a_stream_that_breaks_off_ends_the_join_with_its_error() {
    let broken = |names: &[&str]| {
        let items: Vec<_> = names.iter().map(|name| Ok(file(name))).collect();
        let error = Err(Error::new(ErrorKind::Unavailable, "list `a`"));
        stream::iter(items.into_iter().chain([error])).boxed()
    };
    let rest = || of(vec![file("a"), file("b"), file("z")]);
    for (source, destination) in [(broken(&["a", "b"]), rest()), (rest(), broken(&["a", "b"]))] {
        let (told, error) = run(Diff::new(source, destination, of(vec![]), Layers::default()));
        // Nothing comes out of the join that the broken stream could still have had.
        assert_eq!(told, ["a file file new", "b file file new"]);
        assert_eq!(error.unwrap().kind(), ErrorKind::Unavailable);
    }
    let rows = stream::iter(vec![Ok(row("b")), Err(Error::new(ErrorKind::Corrupt, "read the base"))]).boxed();
    let (told, error) = run(Diff::new(rest(), of(vec![]), rows, Layers::default()));
    assert_eq!(told, ["a file absent new", "b file absent base"]);
    assert_eq!(error.unwrap().to_string(), "read the base");
}

#[test]
fn a_stream_is_not_asked_again_after_its_end() {
    let mut ended = false;
    let once = stream::poll_fn(move |_| {
        assert!(!ended, "asked again");
        ended = true;
        std::task::Poll::Ready(None::<Result<Listed>>)
    });
    let told = run(Diff::new(once.boxed(), of(vec![file("a"), file("b")]), of(vec![]), Layers::default())).0;
    assert_eq!(told.len(), 2);
}

#[test]
fn a_join_shows_what_it_knows_to_be_unknown() {
    let mut diff = Diff::new(of(vec![unreadable("d")]), of(vec![]), of(vec![]), Layers::default());
    assert!(futures::executor::block_on(diff.next()).unwrap().is_some());
    let shown = format!("{diff:?}");
    assert!(shown.starts_with("Diff") && shown.contains("`d`"), "{shown}");
}

/// What a side of the model has under a name.
#[derive(Debug, Clone, Copy)]
enum Thing {
    File,
    Unreadable,
    Skipped(SkipReason),
}

type Tree = BTreeMap<String, Thing>;

fn name() -> impl Strategy<Value = String> {
    let segment = prop::sample::select(vec!["a", "b", "d", "d-x", "d.t", "d0", "o.tmp", "skip"]);
    prop::collection::vec(segment, 1..4).prop_map(|segments| segments.join("/"))
}

fn tree() -> impl Strategy<Value = Tree> {
    let thing = prop_oneof![
        8 => Just(Thing::File),
        1 => Just(Thing::Unreadable),
        1 => Just(Thing::Skipped(SkipReason::Symlink)),
        1 => Just(Thing::Skipped(SkipReason::OtherFileSystem)),
        1 => Just(Thing::Skipped(SkipReason::EmptyFolder)),
    ];
    prop::collection::btree_map(name(), thing, 0..20).prop_map(|mut tree: Tree| {
        // A listing shows nothing below what it cannot judge.
        let closed: Vec<_> =
            tree.iter().filter(|(_, thing)| !matches!(thing, Thing::File)).map(|(n, _)| n.clone()).collect();
        tree.retain(|name, _| !closed.iter().any(|above| key(name).is_below(above)));
        tree
    })
}

fn listing(tree: &Tree) -> Vec<Listed> {
    let listed = tree.iter().map(|(name, thing)| match thing {
        Thing::File => file(name),
        Thing::Unreadable => unreadable(name),
        Thing::Skipped(why) => Listed::Skipped(key(name), *why),
    });
    listed.collect()
}

fn excluded(name: &str) -> bool {
    name.split('/').any(|segment| matches!(segment, "skip" | "o.tmp"))
}

fn observed(tree: &Tree, name: &str) -> &'static str {
    let hides = |above: &str, thing: &Thing| {
        !matches!(thing, Thing::File | Thing::Skipped(SkipReason::EmptyFolder))
            && (above == name || key(name).is_below(above))
    };
    if matches!(tree.get(name), Some(Thing::File)) {
        "file"
    } else if tree.iter().any(|(above, thing)| hides(above, thing)) {
        "unknown"
    } else {
        "absent"
    }
}

proptest! {
    #[test]
    fn the_join_is_that_of_three_maps(
        source in tree(), destination in tree(), base in prop::collection::btree_set(name(), 0..20)
    ) {
        let rows = base.iter().map(|name| row(name)).collect();
        let told = joined(listing(&source), listing(&destination), rows, &["*.tmp", "skip"]);

        let files = [&source, &destination].into_iter().flat_map(|tree| {
            tree.iter().filter(|(_, thing)| matches!(thing, Thing::File)).map(|(name, _)| name)
        });
        let all: BTreeSet<&String> = files.chain(&base).collect();
        let expected: Vec<String> = all
            .into_iter()
            .filter(|name| !excluded(name) || base.contains(*name))
            .map(|name| {
                if excluded(name) {
                    return format!("{name} excluded");
                }
                let known = if base.contains(name) { "base" } else { "new" };
                format!("{name} {} {} {known}", observed(&source, name), observed(&destination, name))
            })
            .collect();
        let paths: Vec<_> = told.iter().filter(|line| !line.contains(" note ")).cloned().collect();
        prop_assert_eq!(paths, expected);

        let mut notes = Vec::new();
        for (side, tree) in [(Side::Source, &source), (Side::Destination, &destination)] {
            let told = tree.iter().filter(|(name, thing)| !matches!(thing, Thing::File) && !excluded(name));
            notes.extend(told.map(|(name, _)| (name.clone(), side)));
        }
        notes.sort();
        let notes: Vec<_> = notes.iter().map(|(name, side)| format!("{name} note {side}")).collect();
        let noted: Vec<_> = told.into_iter().filter(|line| line.contains(" note ")).collect();
        prop_assert_eq!(noted, notes);
    }
}
