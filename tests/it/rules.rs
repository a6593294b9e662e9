//! Whose rules count: those of either side, wherever they lie, and for the other side's files also those that are gone.

use std::sync::Arc;

use syncengine::code::NoticeCode;
use syncengine::state::Found;
use syncengine::{MemoryClient, Report, SyncEngine, SyncMode, SyncOptions, SyncPair, Timestamp};

use crate::support::{Folder, Root, fresh_engine};

/// A folder of a machine, and what that machine remembers.
struct Machine {
    folder: Folder,
    engine: SyncEngine,
    pair: SyncPair,
    options: SyncOptions,
}

/// Machines around one store.
struct Scene {
    dir: tempfile::TempDir,
    store: Arc<MemoryClient>,
    clock: std::cell::Cell<i64>,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir, store: Arc::new(MemoryClient::new("store")), clock: std::cell::Cell::new(1_600_000_000) }
    }

    fn machine(&self, name: &str, mode: SyncMode) -> Machine {
        let folder = Folder::new(self.dir.path(), name);
        let pair = SyncPair::with_clients(folder.client(), Root::client(&self.store)).mode(mode);
        let engine = fresh_engine(Found::Nothing);
        Machine { folder, engine, pair, options: SyncOptions::new() }
    }

    fn write(&self, at: &dyn Root, name: &str, text: &str) {
        self.clock.set(self.clock.get() + 60);
        at.write(name, text.as_bytes(), Timestamp::new(self.clock.get(), 1));
    }
}

impl Machine {
    async fn sync(&self) -> Report {
        self.engine.sync_pair(&self.pair, self.options.clone()).await.unwrap()
    }
}

fn names(at: &dyn Root) -> String {
    at.files().into_keys().collect::<Vec<_>>().join(" ")
}

fn widened(report: &Report) -> Vec<&str> {
    let of = report.warnings.iter().filter(|warning| warning.code == NoticeCode::RulesWidened);
    of.map(|warning| warning.message.as_str()).collect()
}

#[tokio::test]
async fn a_machine_that_joins_uploads_nothing_that_the_rules_in_the_store_exclude() {
    let scene = Scene::new();
    let (first, second) = (scene.machine("a", SyncMode::TwoWay), scene.machine("b", SyncMode::TwoWay));
    scene.write(&first.folder, ".syncignore", "secrets/");
    scene.write(&first.folder, "doc", "1");
    first.sync().await;
    scene.write(&second.folder, "secrets/token", "mine");
    scene.write(&second.folder, "other", "1");
    second.sync().await;
    assert_eq!(names(&scene.store), ".syncignore doc other");
    assert_eq!(names(&second.folder), ".syncignore doc other secrets/token");
}

#[tokio::test]
async fn rules_in_a_store_cost_a_listing_when_they_change_and_nothing_else() {
    let scene = Scene::new();
    let machine = scene.machine("a", SyncMode::TwoWay);
    let listed = |scene: &Scene| scene.store.requests().get("list").copied().unwrap_or_default();
    scene.write(&machine.folder, ".syncignore", "*.log");
    for (edit, listings) in [("", 1), ("", 2), ("", 1), ("*.tmp", 2), ("", 1)] {
        if !edit.is_empty() {
            scene.write(&scene.store, ".syncignore", edit);
        }
        let before = listed(&scene);
        machine.sync().await;
        assert_eq!(listed(&scene) - before, listings, "{edit}");
    }
}

/// What is excluded is never deleted, and the rules that say so are not either.
#[tokio::test]
async fn rules_that_only_the_receiving_side_of_a_mirror_has_are_its_own() {
    let scene = Scene::new();
    let machine = scene.machine("a", SyncMode::DestinationToSource);
    scene.write(&scene.store, "doc", "1");
    scene.write(&machine.folder, ".syncignore", "local/");
    scene.write(&machine.folder, "local/notes", "mine");
    for _ in 0..3 {
        let report = machine.sync().await;
        assert_eq!((report.counts.failed, report.counts.left_alone), (0, 1), "{report:?}");
        assert_eq!(names(&machine.folder), ".syncignore doc local/notes");
    }
}

#[tokio::test]
async fn what_was_excluded_stays_when_the_rules_move_away_with_their_folder() {
    for mode in [SyncMode::SourceToDestination, SyncMode::TwoWay] {
        for is_deleted in [false, true] {
            let scene = Scene::new();
            let (from, to) = (Folder::new(scene.dir.path(), "from"), Folder::new(scene.dir.path(), "to"));
            let pair = SyncPair::with_clients(from.client(), to.client()).mode(mode);
            let engine = fresh_engine(Found::Nothing);
            let sync = |options: SyncOptions| engine.sync_pair(&pair, options);
            scene.write(&from, "proj/.syncignore", "build/");
            scene.write(&from, "proj/main.c", "code");
            scene.write(&from, "stays", "1");
            sync(SyncOptions::new()).await.unwrap();
            scene.write(&to, "proj/build/out", "hours of compiling");
            sync(SyncOptions::new()).await.unwrap();
            for name in [".syncignore", "main.c"] {
                if is_deleted {
                    from.delete(&format!("proj/{name}"));
                } else {
                    from.rename(&format!("proj/{name}"), &format!("moved/{name}"));
                }
            }
            for run in 0..3 {
                let report = sync(SyncOptions::new()).await.unwrap();
                assert!(names(&to).contains("proj/build/out"), "{mode} {run}");
                assert!(!names(&from).contains("out"), "{mode} {run}");
                if run > 0 {
                    assert_eq!(widened(&report).len(), 1, "{mode} {report:?}");
                }
            }
            let mut options = SyncOptions::new();
            options.accept_rules = true;
            sync(options).await.unwrap();
            // Now it is a file as any other one.
            assert_eq!(names(&to).contains("out"), mode == SyncMode::TwoWay, "{mode}");
            assert_eq!(names(&from).contains("out"), mode == SyncMode::TwoWay, "{mode}");
        }
    }
}

/// Loosened before the other side was ever seen with the rule, and while its folder cannot be read.
#[tokio::test]
async fn a_rule_that_is_loosened_frees_nothing_of_the_other_side() {
    for mode in [SyncMode::SourceToDestination, SyncMode::TwoWay] {
        for quiet_runs in [0, 1] {
            let scene = Scene::new();
            let (from, to) = (Folder::new(scene.dir.path(), "from"), Folder::new(scene.dir.path(), "to"));
            let pair = SyncPair::with_clients(from.client(), to.client()).mode(mode);
            let engine = fresh_engine(Found::Nothing);
            scene.write(&from, ".syncignore", "*.log");
            scene.write(&from, "doc", "1");
            scene.write(&from, "ours.log", "1");
            scene.write(&to, "theirs.log", "1");
            for _ in 0..=quiet_runs {
                engine.sync_pair(&pair, SyncOptions::new()).await.unwrap();
            }
            scene.write(&from, ".syncignore", "*.tmp");
            for run in 0..4 {
                let report = engine.sync_pair(&pair, SyncOptions::new()).await.unwrap();
                let case = format!("{mode} {quiet_runs} {run} {report:?}");
                assert!(names(&to).contains("theirs.log") && !names(&from).contains("theirs.log"), "{case}");
                // What is ours is free as soon as no rule excludes it.
                assert_eq!(names(&to).contains("ours.log"), run > 0, "{case}");
            }
        }
    }
}

#[tokio::test]
async fn a_rule_that_one_machine_deletes_frees_nothing_of_the_other() {
    let scene = Scene::new();
    let (first, mut second) = (scene.machine("a", SyncMode::TwoWay), scene.machine("b", SyncMode::TwoWay));
    scene.write(&first.folder, ".syncignore", "private/");
    scene.write(&first.folder, "doc", "1");
    first.sync().await;
    second.sync().await;
    scene.write(&first.folder, "private/a", "of the first");
    scene.write(&second.folder, "private/b", "of the second");
    first.sync().await;
    second.sync().await;
    assert_eq!(names(&scene.store), ".syncignore doc");
    // The first machine has no more use for the rule: what is its own goes up.
    first.folder.delete(".syncignore");
    for _ in 0..2 {
        first.sync().await;
    }
    assert_eq!(names(&scene.store), "doc private/a");
    for run in 0..3 {
        let report = second.sync().await;
        assert!(!names(&scene.store).contains("private/b"), "{run} {report:?}");
        if run > 0 {
            assert!(widened(&report).iter().any(|warning| warning.contains("`private/b`")), "{report:?}");
        }
    }
    second.options.accept_rules = true;
    second.sync().await;
    assert_eq!(names(&scene.store), "doc private/a private/b");
}

/// A line that lets something in lets in what its user has, wherever it stands.
#[tokio::test]
async fn a_line_in_a_new_file_of_rules_lets_in_nothing_of_the_other_side() {
    let scene = Scene::new();
    let (first, second) = (scene.machine("a", SyncMode::TwoWay), scene.machine("b", SyncMode::TwoWay));
    scene.write(&first.folder, ".syncignore", "*.log");
    for name in ["d/doc", "d/a.log"] {
        scene.write(&first.folder, name, "1");
    }
    first.sync().await;
    second.sync().await;
    scene.write(&second.folder, "d/.syncignore", "!*.log");
    scene.write(&second.folder, "d/b.log", "1");
    for _ in 0..2 {
        second.sync().await;
        first.sync().await;
    }
    assert!(!names(&scene.store).contains("d/a.log"), "{}", names(&scene.store));
    assert_eq!(names(&second.folder), ".syncignore d/.syncignore d/b.log d/doc");
}

/// A crash of the machine lets go of no rule.
#[tokio::test]
async fn rules_that_a_crash_has_emptied_stop_the_run() {
    for renamed in [false, true] {
        let scene = Scene::new();
        let machine = scene.machine("a", SyncMode::TwoWay);
        scene.write(&machine.folder, "d/.syncignore", "secret");
        for name in ["d/doc", "d/secret"] {
            scene.write(&machine.folder, name, "1");
        }
        machine.sync().await;
        let rules = machine.folder.0.join("d/.syncignore");
        let then = std::fs::metadata(&rules).unwrap().modified().unwrap();
        std::fs::write(&rules, "").unwrap();
        std::fs::File::options().write(true).open(&rules).unwrap().set_modified(then).unwrap();
        if renamed {
            std::fs::rename(machine.folder.0.join("d"), machine.folder.0.join("e")).unwrap();
        }
        let report = machine.engine.sync_pair(&machine.pair, machine.options.clone()).await;
        assert!(report.is_err(), "{renamed}: {report:?}");
        assert_eq!(names(&scene.store), "d/.syncignore d/doc", "{renamed}");
    }
}

/// As soon as a rule has come, who uses the side can let go of it: what it held there is his.
#[tokio::test]
async fn a_rule_that_came_when_a_machine_joined_is_let_go_by_deleting_it() {
    for quiet_runs in [0, 1] {
        let scene = Scene::new();
        let (first, second) = (scene.machine("a", SyncMode::TwoWay), scene.machine("b", SyncMode::TwoWay));
        scene.write(&first.folder, ".syncignore", "*.log");
        scene.write(&first.folder, "doc", "1");
        first.sync().await;
        scene.write(&second.folder, "b.log", "1");
        for _ in 0..=quiet_runs {
            second.sync().await;
        }
        second.folder.delete(".syncignore");
        for _ in 0..2 {
            let report = second.sync().await;
            assert_eq!(widened(&report), [""; 0], "{quiet_runs}");
        }
        assert_eq!(names(&scene.store), "b.log doc", "{quiet_runs}");
    }
}

/// What a user of the other side did to rules that both had: taken away, changed, renamed with their folder, deleted with it.
#[tokio::test]
async fn rules_that_a_run_carries_away_go_on_to_hold_the_files_of_the_side_they_are_taken_from() {
    let dir = tempfile::tempdir().unwrap();
    for (number, (mode, done)) in [
        (SyncMode::TwoWay, "deleted"),
        (SyncMode::TwoWay, "loosened"),
        (SyncMode::TwoWay, "renamed"),
        (SyncMode::TwoWay, "removed"),
        (SyncMode::DestinationToSource, "deleted"),
        (SyncMode::DestinationToSource, "renamed"),
        (SyncMode::DestinationToSource, "removed"),
    ]
    .into_iter()
    .enumerate()
    {
        let place = dir.path().join(number.to_string());
        std::fs::create_dir(&place).unwrap();
        let (a, b) = (Folder::new(&place, "a"), Folder::new(&place, "b"));
        let when = Timestamp::new(1_600_000_000, 1);
        let rules = if matches!(done, "renamed" | "removed") { "p/.syncignore" } else { ".syncignore" };
        a.write(rules, b"secret*\n", when);
        for name in ["p/x", "p/secret", "y"] {
            a.write(name, name.as_bytes(), when);
        }
        let engine = fresh_engine(Found::Nothing);
        let pair = SyncPair::with_clients(a.client(), b.client());
        let options = SyncOptions { allow_mass_delete: true, allow_empty_side: true, ..SyncOptions::new() };
        let sync =
            async |mode: SyncMode| engine.sync_pair(&pair.clone().mode(mode), options.clone()).await.unwrap();
        sync(SyncMode::TwoWay).await;
        assert!(!b.files().contains_key("p/secret"));
        b.write("p/secret-b", b"of b", when);
        match done {
            "deleted" => b.delete(rules),
            "loosened" => b.write(rules, b"# nothing\n", Timestamp::new(1_600_000_009, 1)),
            "renamed" => std::fs::rename(b.0.join("p"), b.0.join("q")).unwrap(),
            _ => ["p/.syncignore", "p/x", "p/secret-b"].iter().for_each(|name| b.delete(name)),
        }
        for round in 0..3 {
            let report = sync(mode).await;
            let (here, there) = (a.files(), b.files());
            assert!(here.contains_key("p/secret"), "{mode} {done} {round}: {:?} {report:?}", here.keys());
            assert!(!there.contains_key("p/secret"), "{mode} {done} {round}: {:?} {report:?}", there.keys());
        }
    }
}

/// 8.3: however rules are let go, a file that they excluded neither goes nor shows at the other side, unless who uses its side
/// lets it in. Each step is what users do before a run: `a FILE RULES` with `+` between lines, or `a FILE` for a deletion.
#[tokio::test]
async fn only_who_uses_a_side_lets_in_what_was_excluded_there() {
    let edits: Vec<String> = (0..12).map(|number| format!("a .syncignore #{number}")).collect();
    let edited: Vec<&str> = ["a .syncignore"].into_iter().chain(edits.iter().map(String::as_str)).collect();
    let more: Vec<String> = (0..20).map(|number| format!("a .syncignore x{number}")).collect();
    let replaced: Vec<&str> = more.iter().map(String::as_str).collect();
    let shared = "a .syncignore sec*+tmp";
    for (what, begin, steps) in [
        ("let in by rules of a folder", shared, vec!["a d/.syncignore !sec*"]),
        (
            "let in by rules of a folder, and edited",
            shared,
            vec!["a d/.syncignore !sec*", "a d/.syncignore !s*"],
        ),
        ("let in by a line", shared, vec!["a .syncignore sec*+!sec1"]),
        ("edited again and again", shared, edited),
        ("replaced again and again", shared, replaced),
        ("loosened, and edited there", shared, vec!["a .syncignore tmp", "b .syncignore tmp+# mine"]),
        ("loosened, and more let in there", shared, vec!["a .syncignore tmp", "b .syncignore tmp+!x"]),
        ("deleted, and written there", shared, vec!["a .syncignore", "b .syncignore other"]),
        ("moved into a folder", shared, vec!["a .syncignore tmp; a e/.syncignore sec*"]),
        ("both made rules, these win", "b .syncignore sec*; a .syncignore key", vec![]),
        ("both made rules, those win", "a .syncignore key; b .syncignore sec*", vec![]),
        ("the other one's rules replaced", "b .syncignore sec*", vec!["a .syncignore zz"]),
    ] {
        for mode in [SyncMode::TwoWay, SyncMode::SourceToDestination, SyncMode::DestinationToSource] {
            for trash in [true, false] {
                let scene = Scene::new();
                let (a, b) = (Folder::new(scene.dir.path(), "a"), Folder::new(scene.dir.path(), "b"));
                let act = |step: &str| {
                    for act in step.split("; ").filter(|act| !act.is_empty()) {
                        let mut words = act.splitn(3, ' ');
                        let at = if words.next() == Some("a") { &a } else { &b };
                        let name = words.next().unwrap();
                        match words.next() {
                            Some(rules) => scene.write(at, name, &rules.replace('+', "\n")),
                            None if at.files().contains_key(name) => at.delete(name),
                            None => {}
                        }
                    }
                };
                for name in ["doc", "d/x", "e/y"] {
                    scene.write(&a, name, "1");
                    scene.write(&b, name, "1");
                }
                act(begin);
                let pair = SyncPair::with_clients(a.client(), b.client()).mode(mode).trash(trash);
                let engine = fresh_engine(Found::Nothing);
                let private = [(&a, "sec-a"), (&b, "sec-b"), (&a, "d/sec-a"), (&b, "d/sec-b")];
                for (at, name) in private {
                    scene.write(at, name, "private");
                }
                let options =
                    SyncOptions { allow_mass_delete: true, allow_unseen: true, ..SyncOptions::new() };
                for (round, step) in [""].iter().chain(&steps).chain(&["", ""]).enumerate() {
                    act(step);
                    for _ in 0..2 {
                        let report = engine.sync_pair(&pair, options.clone()).await.unwrap();
                        let case = format!("{what}, {mode}, trash {trash}, round {round}: {report:?}");
                        // Nothing of `b` was let in by its user, nor did `b` let in anything of `a`.
                        for name in ["sec-b", "d/sec-b"] {
                            assert!(names(&b).split(' ').any(|there| there == name), "{name} went, {case}");
                            assert!(!names(&a).split(' ').any(|there| there == name), "{name} came, {case}");
                        }
                        // Who lets in what only the receiver of a mirror has lets it go.
                        let is_receiver = mode == SyncMode::DestinationToSource;
                        assert!(is_receiver || names(&a).contains("sec-a"), "{case}");
                    }
                }
                if what == "let in by rules of a folder" && mode == SyncMode::TwoWay {
                    assert!(names(&b).contains("d/sec-a"), "what its user lets in stays out: {}", names(&b));
                }
            }
        }
    }
}

/// Two pairs of one folder: what a run of one takes from it its user has not let go.
#[tokio::test]
async fn rules_that_a_run_of_another_pair_takes_away_go_on_to_hold_the_files_of_the_shared_folder() {
    for (what, is_own, mode) in [
        ("deleted", false, SyncMode::TwoWay),
        ("deleted", false, SyncMode::SourceToDestination),
        ("loosened", false, SyncMode::TwoWay),
        ("loosened", false, SyncMode::SourceBackup),
        ("renamed with its folder", false, SyncMode::TwoWay),
        ("deleted", true, SyncMode::TwoWay),
        ("loosened", true, SyncMode::SourceToDestination),
    ] {
        let scene = Scene::new();
        let shared = Folder::new(scene.dir.path(), "shared");
        let with = |name: &str, mode: SyncMode| {
            let other = Folder::new(scene.dir.path(), name);
            let pair = SyncPair::with_clients(shared.client(), other.client()).mode(mode);
            let engine = fresh_engine(Found::Nothing);
            Machine { folder: other, engine, pair, options: SyncOptions::new() }
        };
        let (near, far) = (with("near", SyncMode::TwoWay), with("far", mode));
        scene.write(&shared, "d/.syncignore", "*.key\n*.tmp\n");
        scene.write(&shared, "d/doc", "1");
        scene.write(&shared, "d/my.key", "secret");
        near.sync().await;
        far.sync().await;
        let at = if is_own { &shared } else { &near.folder };
        match what {
            "deleted" => at.delete("d/.syncignore"),
            "loosened" => scene.write(at, "d/.syncignore", "*.tmp\n"),
            _ => {
                at.rename("d/.syncignore", "e/.syncignore");
                at.rename("d/doc", "e/doc");
            }
        }
        near.sync().await;
        // In the first run the far side's copy of the rules still excludes what they did.
        far.sync().await;
        let report = far.sync().await;
        let (has, is_told) = (names(&far.folder).contains("my.key"), !widened(&report).is_empty());
        assert_eq!((has, is_told), (is_own, !is_own), "{what}, own {is_own}, {mode}: {report:?}");
        assert!(names(&shared).contains("my.key"), "{what}, {mode}");
    }
}
