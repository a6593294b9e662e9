//! The whole engine in a simulated world: one seed decides every fault, crash, edit and interleaving.
//!
//! Behind the ports stand a bucket, a folder and a base that fail as real ones do, and users who edit while the
//! engine runs. Promises are judged at every effect (`simulation/rules.rs`), after every run, and once nothing
//! is disturbed any more. Every seed is lived twice and must take the same course. A failure prints the command
//! that repeats it; `tests/simulate` lives as many seeds as there is time for.

use std::collections::BTreeMap;

use bytes::Bytes;
use syncengine::fingerprint::HashForm;
use syncengine::{ErrorKind, SyncMode};

use crate::support::variable;
use life::Scope;
use scenes::{BUCKET, Befalls, FOLDER, Outcome, Scene};
use world::Trouble;

mod base;
mod folder;
mod life;
mod machines;
mod model;
mod place;
mod port;
mod rules;
mod scenes;
mod states;
mod store;
mod users;
mod world;

/// Seeds that once broke a promise.
const REGRESSIONS: &[u64] = &[
    909, 8229, 12_268, 17_190, 26_910, 99_328, 1_001_196, 1_002_913, 1_020_429, 2_591_310, 5_309_989,
    30_050_645, 30_716_252, 30_897_422, 30_975_394, 12_965, 34_298,
];

/// As before, of lives with rules, clocks of years and whatever else was added later.
const ODD_REGRESSIONS: &[u64] = &[32_471, 51_799];

/// As before, of lives with disks that are exchanged and folders that are copied.
const WHOLE_REGRESSIONS: &[u64] = &[
    217_256, 309_585, 311_696, 344_558, 348_729, 350_425, 352_910, 394_020, 396_238, 1_014_576, 2_015_399,
    2_067_482, 7_415_305, 2_093_571, 2_153_289, 2_166_600, 2_202_400, 2_395_126, 2_530_943, 10_072_138,
    10_026_802, 10_180_596, 20_041_412, 20_156_690, 20_228_013, 20_351_485, 31_069_324, 31_011_703,
    31_088_531, 31_056_763, 40_001_418, 40_016_381, 40_006_094, 40_010_286,
];

/// What must have happened in any 10,000 lives, and in fewer in proportion; else the simulation is idle. That a state is of
/// the first schema should hardly ever matter: it must have been asked whether it did.
const IMPORTANT: &[(&str, u64)] = &[
    ("conflicts", 1000),
    ("renames", 500),
    ("renames announced", 50),
    ("crashes", 1000),
    ("power cuts", 500),
    ("files undone by power cuts", 50),
    ("edits during runs", 5000),
    ("edits just before a call", 2000),
    ("faults that pass", 1000),
    ("refusals", 300),
    ("errors of the system", 300),
    ("lost answers", 1000),
    ("flipped bits", 50),
    ("panics", 200),
    ("failures of the state", 300),
    ("states deleted", 200),
    ("states lost", 200),
    ("states put back", 100),
    ("places put back", 1000),
    ("stale listings", 500),
    ("races where conditions are ignored", 10),
    ("clock jumps", 300),
    ("clocks years off", 1000),
    ("markers lost", 500),
    ("rules written", 1000),
    ("rules taken away", 100),
    ("states of the first schema", 500),
    ("folders nobody can read", 200),
    ("temporaries swept", 200),
    ("files removed", 1000),
    ("files replaced", 2000),
    ("two machines", 500),
    ("names taken for others", 10),
    ("names that differ by case", 200),
    ("names spelled anew", 20),
    ("disks put in again", 2000),
    ("inode numbers found not to last", 200),
    ("disks exchanged", 30),
    ("disks copied", 10),
    ("folders overwritten by copies", 10),
    ("places put back, that mattered", 50),
    ("markers lost, that mattered", 5),
    ("states deleted, that mattered", 10),
    ("states lost, that mattered", 10),
    ("states put back, that mattered", 10),
    ("states of the first schema, weighed", 100),
    ("clocks years off, that mattered", 50),
];

type Kinds = BTreeMap<&'static str, u64>;

fn numbers(name: &str) -> Option<u64> {
    Some(variable(name)?.parse().unwrap())
}

/// Lives one seed, or lives it twice to see that it takes the same course; an error says what broke and how to see it
/// again, with all that happened if the seed was asked for.
fn judge(seed: u64, scope: Scope, is_twice: bool) -> Result<Kinds, String> {
    let lived = life::live(seed, scope, false);
    let mut broken = lived.broken;
    if is_twice && lived.trace != life::live(seed, scope, false).trace {
        broken.push("two lives of the seed take different courses".into());
    }
    if broken.is_empty() {
        return Ok(lived.kinds);
    }
    let log = if numbers("SYNCENGINE_SEED").is_some() {
        life::live(seed, scope, true).log.join("\n")
    } else {
        String::new()
    };
    let broken = broken.join("\n");
    let command = "cargo test --no-default-features --test it simulation::random";
    Err(format!("{log}\nseed {seed}:\n{broken}\nSYNCENGINE_SEED={seed} {command}"))
}

/// Makes so many trials on all cores; of those that broke something the first few are told.
fn spread(count: u64, trial: impl Fn(u64) -> Result<Kinds, String> + Sync) -> (Kinds, Vec<String>) {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let add = |kinds: &mut Kinds, more: Kinds| {
        for (kind, count) in more {
            *kinds.entry(kind).or_default() += count;
        }
    };
    let some = |first: u64| {
        let (mut kinds, mut failures) = (Kinds::new(), Vec::new());
        for number in (first..count).step_by(usize::try_from(cores).unwrap()) {
            match trial(number) {
                Ok(more) => add(&mut kinds, more),
                Err(failure) => failures.push(failure),
            }
            if failures.len() >= 20 {
                break;
            }
        }
        (kinds, failures)
    };
    let (mut kinds, mut failures) = (Kinds::new(), Vec::new());
    std::thread::scope(|scope| {
        let some = &some;
        let workers: Vec<_> = (0..cores).map(|first| scope.spawn(move || some(first))).collect();
        for worker in workers {
            let (more, failed) = worker.join().unwrap();
            add(&mut kinds, more);
            failures.extend(failed);
        }
    });
    (kinds, failures)
}

/// I-01 to I-04, I-08, I-14 to I-16, I-19, I-23, I-27, I-29, I-32, F-02, F-05, F-37, F-39, F-41, F-46, F-47.
#[test]
fn random_lives_break_no_promise() {
    let seeds = if let Some(seed) = numbers("SYNCENGINE_SEED") {
        seed..seed + 1
    } else {
        let first = numbers("SYNCENGINE_FIRST_SEED").unwrap_or(0);
        first..first + numbers("SYNCENGINE_SEEDS").unwrap_or(2000)
    };
    let count = seeds.end - seeds.start;
    let (kinds, failures) = spread(count, |number| {
        let seed = seeds.start + number;
        let scope = if seed.is_multiple_of(4) { Scope::Rules } else { Scope::Whole };
        // In very long runs each tenth is enough.
        judge(seed, scope, count <= 10_000 || seed.is_multiple_of(10))
    });
    let told: Vec<String> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    println!("ci: simulation: {count} seeds, {}", told.join(", "));
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    for (kind, least) in IMPORTANT {
        let found = kinds.get(kind).copied().unwrap_or(0);
        assert!(count < 1000 || found >= least * count / 10_000, "only {found} {kind} in {count} lives");
    }
}

#[test]
fn seeds_that_once_broke_a_promise_keep_it() {
    let seeds =
        [(Scope::First, REGRESSIONS), (Scope::Odd, ODD_REGRESSIONS), (Scope::Whole, WHOLE_REGRESSIONS)];
    let all = seeds.iter().flat_map(|(scope, seeds)| seeds.iter().map(|seed| (*scope, *seed)));
    let failures: Vec<String> = all.filter_map(|(scope, seed)| judge(seed, scope, true).err()).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// What a user got back from a backup stays, wherever the run was cut off that carried its deletion over.
#[test]
fn a_file_that_is_got_back_after_a_run_that_was_cut_off_stays() {
    for kinds in [[FOLDER, FOLDER], [FOLDER, BUCKET], [BUCKET, BUCKET]] {
        for call in 1.. {
            let (is_over, trees) = scenes::get_back(kinds, call);
            for tree in &trees {
                assert!(tree.keys().eq(["got back", "stays"]), "{kinds:?} call {call}: {trees:?}");
            }
            if is_over {
                assert!(call > 20, "{kinds:?}: nothing was cut off");
                break;
            }
        }
    }
}

/// 8.3: what a side excludes stays there, wherever the power is cut in the run that takes its rules away.
#[test]
fn what_a_side_excludes_stays_although_a_run_that_takes_its_rules_loses_power() {
    for kinds in [[FOLDER, FOLDER], [FOLDER, BUCKET], [BUCKET, FOLDER]] {
        for mode in [SyncMode::TwoWay, SyncMode::SourceToDestination] {
            let trials = (1..).flat_map(|call| (1..=5).map(move |seed| (call, seed)));
            for (call, seed) in trials {
                let (is_over, tree) = scenes::lose_rules(kinds, mode, (call, seed));
                assert!(tree.contains_key("secret"), "{kinds:?} {mode} call {call}, seed {seed}: {tree:?}");
                if is_over {
                    assert!(call > 20, "{kinds:?} {mode}: nothing was cut off");
                    break;
                }
            }
        }
    }
}

/// 8.2: wherever the run is cut off in which a copy of a folder gets an id of its own, what the copy lacks after it was put back
/// nobody has deleted.
#[test]
fn a_copy_that_is_put_back_after_a_run_that_was_cut_off_deletes_nothing() {
    for call in 1.. {
        let (is_over, trees) = scenes::put_back_a_copy(call);
        assert!(trees[..2].iter().all(|tree| tree.contains_key("late")), "call {call}: {trees:?}");
        if is_over {
            assert!(call > 15, "nothing was cut off");
            break;
        }
    }
}

/// 8.8: what is missing may be in a new folder that nobody can look into.
#[test]
fn a_new_folder_that_cannot_be_listed_may_have_what_is_missing() {
    for (mode, unlisted, expected) in [
        (SyncMode::TwoWay, "new", "gone known/x old/x old/y"),
        (SyncMode::TwoWay, "known", "known/x new/x new/y"),
        (SyncMode::SourceToDestination, "new", "gone known/x old/x old/y"),
        (SyncMode::SourceToDestination, "known", "gone known/x new/x new/y"),
    ] {
        let tree = scenes::rename_unlisted(mode, unlisted);
        let names: Vec<&str> = tree.keys().map(String::as_str).collect();
        assert_eq!(names.join(" "), expected, "{mode}, `{unlisted}` cannot be listed");
    }
}

/// A version that is read to be compared, and is damaged on its way, is an error and no other content.
#[test]
fn f29_a_flipped_bit_is_no_edit() {
    for (text, form) in
        [("short", HashForm::Whole), ("short", HashForm::Parts(7)), (&*"long ".repeat(20), HashForm::Whole)]
    {
        for flips in [0, 1000] {
            let hashed = scenes::hash_of(text, form, flips);
            assert_eq!(hashed.is_ok(), flips == 0, "{text} {form:?} {hashed:?}");
            assert!(
                hashed.is_err_and(|error| error.kind() == ErrorKind::Unavailable) || flips == 0,
                "{text} {form:?}"
            );
        }
    }
}

/// A scene, what an undisturbed run of it comes to, and what befalls it instead.
type Trial<'a> = (Scene, &'a Outcome, Befalls);

/// Plays a scene with something going wrong, and tells what is different in the end from an undisturbed run.
fn compare((scene, wanted, befalls): Trial<'_>) -> Result<Kinds, String> {
    let played = scene.play(befalls);
    let mut wrong = played.broken;
    for (place, (found, expected)) in played.trees.iter().zip(&wanted.trees).enumerate() {
        let differ = |name: &&String| found.get(*name) != expected.get(*name);
        for name in found.keys().chain(expected.keys()).filter(differ) {
            let (found, expected) = (found.get(name), expected.get(name));
            wrong.push(format!("I-16: at place {place} {name} is {found:?} instead of {expected:?}"));
        }
    }
    let is_live = |kept: &Bytes| played.trees.iter().any(|tree| tree.values().any(|live| live == kept));
    for missing in wanted.trash.iter().filter(|kept| !played.trash.contains(kept) && !is_live(kept)) {
        wrong.push(format!("I-16: {missing:?} is not in the trash"));
    }
    if wrong.is_empty() {
        return Ok(Kinds::from([("trials", 1), ("that fail something", u64::from(played.failed))]));
    }
    Err(format!("{scene:?} {befalls:?}\n{}", wrong.join("\n")))
}

fn compare_all(trials: &[Trial<'_>]) -> Kinds {
    let trial = |number: u64| compare(trials[usize::try_from(number).unwrap()]);
    let (kinds, wrong) = spread(trials.len() as u64, trial);
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n\n"));
    kinds
}

/// Returns the scenes and what an undisturbed run of each comes to; all there are if there is time.
fn undisturbed() -> Vec<(Scene, Outcome)> {
    let scenes = if numbers("SYNCENGINE_SEEDS").is_some() { scenes::all() } else { scenes::handful() };
    let played: Vec<_> = scenes.into_iter().map(|scene| (scene, scene.play(Befalls::Nothing))).collect();
    for (scene, wanted) in &played {
        assert!(wanted.broken.is_empty() && wanted.calls[0] > 30, "{scene:?} {wanted:?}");
    }
    played
}

/// F-01, F-02, F-03.
#[test]
fn i16_a_crash_at_any_call_ends_where_an_undisturbed_run_does() {
    let played = undisturbed();
    let mut trials: Vec<Trial<'_>> = Vec::new();
    for (scene, wanted) in &played {
        for call in 1..=wanted.calls[0] {
            for is_power_cut in [false, true] {
                trials.push((*scene, wanted, Befalls::Crash { call, is_power_cut }));
            }
        }
    }
    let small = scenes::small();
    let wanted = small.play(Befalls::Nothing);
    for first in 1..=wanted.calls[0] {
        let after = small.play(Befalls::Crash { call: first, is_power_cut: false });
        // Those of the run after it, and of one more that does nothing.
        trials.extend((1..=after.calls[1]).map(|second| (small, &wanted, Befalls::Crashes(first, second))));
    }
    let kinds = compare_all(&trials);
    println!("ci: simulation: crashes at every call of {} scenes, {kinds:?}", played.len());
}

/// F-05, I-27, I-29, I-32: the rules judge each effect after it.
#[test]
fn i16_trouble_at_any_call_ends_where_an_undisturbed_run_does() {
    let played = undisturbed();
    let mut trials: Vec<Trial<'_>> = Vec::new();
    for (scene, wanted) in &played {
        for call in 1..=wanted.calls[0] {
            trials.extend(Trouble::ALL.map(|trouble| (*scene, wanted, Befalls::Trouble(call, trouble))));
        }
    }
    let kinds = compare_all(&trials);
    println!("ci: simulation: trouble of 5 kinds at every call of {} scenes, {kinds:?}", played.len());
    assert!(kinds["that fail something"] * 3 > kinds["trials"], "most of it went unnoticed: {kinds:?}");
}

#[test]
fn i17_one_plan_in_any_interleaving_ends_in_equal_trees() {
    let mut count = 0;
    for scene in scenes::handful() {
        let wanted = scene.play(Befalls::Interleaving(0));
        for seed in 1..=50 {
            count += 1;
            let played = scene.play(Befalls::Interleaving(seed));
            assert!(played.broken.is_empty(), "{scene:?} {seed} {:?}", played.broken);
            assert_eq!((&played.trees, &played.trash), (&wanted.trees, &wanted.trash), "{scene:?} {seed}");
            assert_eq!(played.rows, wanted.rows, "{scene:?} {seed}");
        }
    }
    println!("ci: simulation: {count} interleavings of {} plans", scenes::handful().len());
}

/// 8.2 to 8.6: whatever becomes of sides, states and roots in eight steps, nothing is lost, deleted or replaced that no
/// user gave up.
#[test]
fn in_eight_steps_of_any_kind_nothing_goes_that_no_user_gave_up() {
    let worlds = usize::try_from(numbers("SYNCENGINE_MODEL_WORLDS").unwrap_or(25)).unwrap();
    let walks = usize::try_from(numbers("SYNCENGINE_MODEL_WALKS").unwrap_or(10)).unwrap();
    let only = variable("SYNCENGINE_MODEL_THEME");
    let mut trials = Vec::new();
    for theme in model::THEMES.iter().filter(|theme| only.as_deref().is_none_or(|only| theme.name == only)) {
        let is_meant = |mode: &&SyncMode| !theme.is_two_way || **mode == SyncMode::TwoWay;
        for mode in SyncMode::ALL.iter().filter(is_meant) {
            let kinds = [false, true].into_iter().filter(|is_bucket| !(theme.is_of_folders && *is_bucket));
            trials.extend(kinds.map(|is_bucket| (theme, *mode, is_bucket)));
        }
    }
    let trial = |number: u64| {
        let (theme, mode, is_bucket) = trials[usize::try_from(number).unwrap()];
        let tried = model::explore(theme, mode, is_bucket, worlds, walks);
        let kind = if is_bucket { "a bucket" } else { "a folder" };
        println!(
            "{}, {mode}, {kind}: {} worlds, {} runs, {} killed, up to {} steps",
            theme.name, tried.worlds, tried.runs, tried.kills, tried.deepest
        );
        let told = tried.wrong.iter().map(|what| format!("{}, {mode}, {kind}: {what}", theme.name));
        if tried.wrong.is_empty() {
            let count = |number: usize| u64::try_from(number).unwrap();
            return Ok(Kinds::from([
                ("worlds", count(tried.worlds)),
                ("runs", count(tried.runs)),
                ("killed", count(tried.kills)),
            ]));
        }
        Err(told.collect::<Vec<_>>().join("\n"))
    };
    let (kinds, failures) = spread(trials.len() as u64, trial);
    println!("ci: model: {} themes in {} modes and kinds, {kinds:?}", model::THEMES.len(), trials.len());
    assert!(failures.is_empty(), "{} wrong\n{}", failures.len(), failures.join("\n\n"));
}
