//! What a run remembers: lost state, changed filters, changed modes, the state's side of guards.

use serde_json::Value;

use super::{Case, act, codes, database, snapshot, sync};
use crate::support::bench::Bench;
use crate::support::read_tree;

const TWO: &str = "a write f first; a write g second";
const BOTH: &str = "f=first g=second";

pub(super) const CASES: &[Case] = &[
    (
        "i12: the state directory is gone: a deletion comes back, whatever preference is given",
        &[
            (TWO, "", BOTH, BOTH, "uploaded=2"),
            (
                "a rm f; b rm g; state lose",
                "--initial-sync source-wins",
                BOTH,
                BOTH,
                "uploaded=1 downloaded=1 warns=state-lost notes=preference-spent",
            ),
            ("a rm f", "", "g=second", "g=second", "deleted_destination=1 unchanged=1 trash.b=first"),
        ],
    ),
    (
        "i12: the same with the other preference, and files that differ",
        &[
            (TWO, "", BOTH, BOTH, "uploaded=2"),
            (
                "a write f ours 2000; b write f theirs 1000; state lose",
                "--initial-sync destination-wins",
                "f=ours g=second",
                "f=ours g=second",
                "uploaded=1 conflicts=1 unchanged=1 trash.b=theirs warns=state-lost notes=preference-spent",
            ),
        ],
    ),
    (
        "b51: the database is damaged",
        &[
            (TWO, "", BOTH, BOTH, "uploaded=2"),
            ("a rm f; state damage", "", BOTH, BOTH, "downloaded=1 unchanged=1 warns=state-lost"),
        ],
    ),
    (
        "b52: the database is gone, its side-car is not",
        &[
            (TWO, "", BOTH, BOTH, "uploaded=2"),
            ("b rm f; state empty", "", BOTH, BOTH, "uploaded=1 unchanged=1 warns=state-lost"),
        ],
    ),
    (
        "a backup without its state deletes nothing and keeps what it has",
        &[
            (TWO, "--mode sb", BOTH, BOTH, "uploaded=2"),
            (
                "a rm f; b rm g; state empty",
                "--mode sb",
                BOTH,
                BOTH,
                "uploaded=1 downloaded=1 warns=state-lost",
            ),
        ],
    ),
    (
        "a strict backup without its state leaves what only the destination has",
        &[
            (TWO, "--mode sb --no-pull", BOTH, BOTH, "uploaded=2"),
            (
                "a rm f; state damage",
                "--mode sb --no-pull",
                "=",
                "=",
                "unchanged=1 left_alone=1 warns=state-lost",
            ),
        ],
    ),
    (
        "the other backup without its state",
        &[
            ("b write f first; b write g second", "--mode db", BOTH, BOTH, "downloaded=2"),
            (
                "b rm f; a rm g; state empty",
                "--mode db",
                BOTH,
                "g=second",
                "downloaded=1 left_alone=1 warns=state-lost",
            ),
        ],
    ),
    (
        "a mirror without its state does as always, into the trash",
        &[
            (TWO, "--mode std", BOTH, BOTH, "uploaded=2"),
            (
                "a rm f; b write x extra; state empty",
                "--mode std",
                "=",
                "g=second",
                "deleted_destination=2 unchanged=1 trash.b=extra trash.b=first warns=state-lost",
            ),
        ],
    ),
    (
        "a mirror without its state is still guarded",
        &[
            ("a many n 30", "--mode std", "n[0..30]", "n[0..30]", "uploaded=30"),
            (
                "a fewer n 21; state damage",
                "--mode std",
                "=",
                "=",
                "exit=3 refused=max-delete warns=state-lost",
            ),
        ],
    ),
    (
        "the state directory of a mirror leaves no trace when it goes: a first sync",
        &[
            (
                TWO,
                "--mode dts --allow-empty-side --allow-unseen",
                "",
                "",
                "deleted_source=2 trash.a=first trash.a=second",
            ),
            ("b write f vault; state lose", "--mode dts", "f=vault", "=", "downloaded=1"),
        ],
    ),
    (
        "i13: newly excluded stays on both sides, newly included has no past",
        &[
            (
                "a write f first; a write x.log old",
                "",
                "f=first x.log=old",
                "f=first x.log=old",
                "uploaded=2",
            ),
            ("", "--exclude *.log", "=", "=", "unchanged=1 notes=filter-changed"),
            ("a rm x.log", "--exclude *.log", "=", "=", "unchanged=1"),
            ("", "", "f=first x.log=old", "=", "downloaded=1 unchanged=1"),
        ],
    ),
    (
        "i13: an excluded file that changed on both sides meanwhile is a conflict when it is included again",
        &[
            (
                "a write f first; a write x.log old",
                "",
                "f=first x.log=old",
                "f=first x.log=old",
                "uploaded=2",
            ),
            ("", "--exclude *.log", "=", "=", "unchanged=1 notes=filter-changed"),
            (
                "a write x.log ours 1000; b write x.log theirs 1000",
                "--exclude *.log",
                "=",
                "=",
                "unchanged=1",
            ),
            ("", "", "=", "=", "exit=3 unchanged=1 conflicts=1 unresolved=1"),
        ],
    ),
    (
        "a mirror never deletes what is excluded",
        &[
            (
                "a write f first; b write x.log theirs; b write d/y.log deep",
                "--mode std --exclude *.log",
                "=",
                "d/y.log=deep f=first x.log=theirs",
                "uploaded=1",
            ),
            (
                "a rm f; a write g second",
                "--mode std --exclude *.log",
                "=",
                "d/y.log=deep g=second x.log=theirs",
                "uploaded=1 deleted_destination=1 trash.b=first",
            ),
        ],
    ),
    (
        "a mirror does not delete what becomes excluded at its source",
        &[
            ("a write f first; a write x.log old", "--mode std", "=", "f=first x.log=old", "uploaded=2"),
            ("a rm x.log", "--mode std --exclude *.log", "=", "=", "unchanged=1 notes=filter-changed"),
        ],
    ),
    (
        "a nested .syncignore counts below its folder, and is synced itself",
        &[
            (
                "a write d/.syncignore *.tmp; a write d/x.tmp one; a write x.tmp two; a write d/e/x.tmp three; a write d/k keep",
                "",
                "=",
                "d/.syncignore=*.tmp d/k=keep x.tmp=two",
                "uploaded=3",
            ),
            (
                "a write d/e/.syncignore !x.tmp; b write d/e/.syncignore !x.tmp",
                "",
                "=",
                "d/.syncignore=*.tmp d/e/.syncignore=!x.tmp d/e/x.tmp=three d/k=keep x.tmp=two",
                "uploaded=1 unchanged=4",
            ),
            (
                "a rm d/e/.syncignore",
                "",
                "=",
                "d/.syncignore=*.tmp d/e/x.tmp=three d/k=keep x.tmp=two",
                "deleted_destination=1 unchanged=3 trash.b=!x.tmp notes=filter-changed",
            ),
        ],
    ),
    (
        "a .syncignore at the destination counts as much",
        &[(
            "a write x.tmp one; b write .syncignore *.tmp",
            "--mode sb --no-pull",
            "=",
            ".syncignore=*.tmp",
            "left_alone=1",
        )],
    ),
    (
        "another mode drops tombstones: the backup's file comes back",
        &[
            (TWO, "--mode sb", BOTH, BOTH, "uploaded=2"),
            ("a rm f", "--mode sb", "=", "=", "left_alone=1 unchanged=1"),
            ("", "--mode tw", BOTH, "=", "downloaded=1 unchanged=1"),
        ],
    ),
    (
        "another mode drops tombstones: a mirror deletes the backup's file",
        &[
            (TWO, "--mode sb", BOTH, BOTH, "uploaded=2"),
            ("a rm f", "--mode sb", "=", "=", "left_alone=1 unchanged=1"),
            ("", "--mode std", "=", "g=second", "deleted_destination=1 unchanged=1 trash.b=first"),
        ],
    ),
    (
        "another mode keeps the agreed rows",
        &[
            (TWO, "--mode std", BOTH, BOTH, "uploaded=2"),
            ("b rm f", "--mode tw", "g=second", "=", "deleted_source=1 unchanged=1 trash.a=first"),
        ],
    ),
    (
        "there and back: a dropped tombstone is not remembered",
        &[
            (TWO, "--mode sb --no-pull", BOTH, BOTH, "uploaded=2"),
            ("a rm f", "--mode sb --no-pull", "=", "=", "left_alone=1 unchanged=1"),
            ("", "--mode db", BOTH, "=", "downloaded=1 unchanged=1"),
            ("", "--mode sb --no-pull", "=", "=", "unchanged=2"),
        ],
    ),
    (
        "a tombstone ends when the file returns",
        &[
            (TWO, "--mode sb", BOTH, BOTH, "uploaded=2"),
            ("a rm f", "--mode sb", "=", "=", "left_alone=1 unchanged=1"),
            (
                "a write f back",
                "--mode sb",
                "=",
                "f=back g=second",
                "uploaded=1 conflicts=1 unchanged=1 trash.b=first",
            ),
            (
                "b write f theirs",
                "--mode sb",
                "f=theirs g=second",
                "=",
                "downloaded=1 unchanged=1 trash.a=back",
            ),
        ],
    ),
    (
        "i01: what was deleted on both sides is not remembered",
        &[
            (TWO, "", BOTH, BOTH, "uploaded=2"),
            ("a rm f; b rm f", "", "g=second", "g=second", "unchanged=1"),
            ("b write f again", "", "f=again g=second", "=", "downloaded=1 unchanged=1"),
        ],
    ),
];

#[test]
fn b51_the_state_of_another_pair_is_moved_aside() {
    let bench = Bench::new();
    act(&bench, "a write f first; a write g second");
    assert_eq!(sync(&bench, "").0, 0);
    // A second pair, the other way round, that agrees about other files.
    let other = database(&bench);
    let pair = ["sync", "c", "d", "--state-dir", "elsewhere", "--create"];
    std::fs::create_dir(bench.path("c")).unwrap();
    act(&bench, "c write f first; c write g second; c write h third");
    assert_eq!(bench.run(&pair).code, 0);
    let mut theirs = std::fs::read_dir(bench.path("elsewhere")).unwrap().map(|entry| entry.unwrap().path());
    let theirs = theirs.find(|path| path.is_dir()).unwrap();
    std::fs::remove_dir_all(&other).unwrap();
    std::fs::rename(theirs, &other).unwrap();
    act(&bench, "a rm f");
    let (code, report) = sync(&bench, "");
    assert_eq!((code, codes(&report, "warnings")), (0, vec!["state-lost".to_owned()]), "{report}");
    assert!(report["warnings"][0]["message"].as_str().unwrap().contains("another pair"), "{report}");
    assert_eq!(read_tree(&bench.path("a")), super::tree("f=first g=second"));
    assert_eq!(read_tree(&bench.path("b")), super::tree("f=first g=second"));
    let aside = std::fs::read_dir(bench.path("state")).unwrap().map(|entry| entry.unwrap().file_name());
    let aside: Vec<_> = aside.filter(|name| name.to_string_lossy().contains(".lost")).collect();
    assert!(!aside.is_empty(), "what was found is moved aside, not deleted");
}

#[test]
fn b51_a_damaged_state_is_kept_and_told_in_one_line() {
    let bench = Bench::new();
    act(&bench, "a write f first; a write g second");
    assert_eq!(sync(&bench, "").0, 0);
    act(&bench, "state damage");
    let damaged: Vec<_> = snapshot(&database(&bench)).into_values().map(|(.., content)| content).collect();
    let (code, report) = sync(&bench, "");
    assert_eq!((code, codes(&report, "warnings")), (0, vec!["state-lost".to_owned()]), "{report}");
    let warning = &report["warnings"][0];
    assert_eq!(warning["message"].as_str().unwrap().lines().count(), 1, "{warning}");
    assert!(!warning["hint"].as_str().unwrap().is_empty(), "{warning}");
    let kept: Vec<_> = snapshot(&bench.path("state")).into_values().map(|(.., content)| content).collect();
    assert!(damaged.iter().all(|content| kept.contains(content)), "the damaged base is moved aside whole");
    let (code, report) = sync(&bench, "");
    assert_eq!((code, &report["warnings"]), (0, &Value::Array(Vec::new())), "said once");
}
