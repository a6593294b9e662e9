//! First syncs: preferences, the warning about lopsided sides, and the ways of comparing.

use super::Case;

const MERGE: &str = "--initial-sync merge";
const SOURCE: &str = "--initial-sync source-wins";
const DESTINATION: &str = "--initial-sync destination-wins";
const NONE: &str = "";

/// One-sided files, and one that differs.
const MIXED: &str = "a write x ax; a write f ours 1000; b write y by; b write f theirs 2000";

pub(super) const CASES: &[Case] = &[
    (
        "merge is the default: nothing is deleted, the newer version wins",
        &[(
            MIXED,
            NONE,
            "f=theirs x=ax y=by",
            "f=theirs x=ax y=by",
            "uploaded=1 downloaded=2 conflicts=1 trash.a=ours",
        )],
    ),
    (
        "merge by name",
        &[(
            MIXED,
            MERGE,
            "f=theirs x=ax y=by",
            "f=theirs x=ax y=by",
            "uploaded=1 downloaded=2 conflicts=1 trash.a=ours",
        )],
    ),
    (
        "merge with another strategy",
        &[(
            MIXED,
            "--initial-sync merge --conflict source-wins",
            "f=ours x=ax y=by",
            "f=ours x=ax y=by",
            "uploaded=2 downloaded=1 conflicts=1 trash.b=theirs",
        )],
    ),
    (
        "source-wins acts once and is then spent",
        &[
            (
                MIXED,
                SOURCE,
                "f=ours x=ax",
                "f=ours x=ax",
                "uploaded=2 deleted_destination=1 trash.b=by trash.b=theirs notes=unseen-files",
            ),
            (
                "b write z bz",
                SOURCE,
                "f=ours x=ax z=bz",
                "f=ours x=ax z=bz",
                "downloaded=1 unchanged=2 notes=preference-spent",
            ),
        ],
    ),
    (
        "destination-wins acts once and is then spent",
        &[
            (
                MIXED,
                DESTINATION,
                "f=theirs y=by",
                "f=theirs y=by",
                "downloaded=2 deleted_source=1 trash.a=ax trash.a=ours notes=unseen-files",
            ),
            (
                "a write z az; b rm y",
                DESTINATION,
                "f=theirs z=az",
                "f=theirs z=az",
                "uploaded=1 deleted_source=1 unchanged=1 trash.a=by notes=preference-spent",
            ),
        ],
    ),
    (
        "a vault is restored into an empty folder",
        &[("b write f vault", DESTINATION, "f=vault", "f=vault", "downloaded=1")],
    ),
    (
        "a folder goes to an empty destination",
        &[("a write f work", SOURCE, "f=work", "f=work", "uploaded=1")],
    ),
    (
        "naming the winner is consent to what the first sync deletes",
        &[("a write f one; b many n 30", SOURCE, "=", "=", "exit=3 refused=unseen-files")],
    ),
    (
        "but not beyond a limit that was given",
        &[(
            "a write f one; b many n 30",
            "--initial-sync source-wins --max-delete 29",
            "=",
            "=",
            "exit=3 refused=max-delete refused=unseen-files",
        )],
    ),
    (
        "lopsided: 1 and 11",
        &[(
            "a write f one; b many n 11",
            NONE,
            "f=one n[0..11]",
            "f=one n[0..11]",
            "uploaded=1 downloaded=11 warns=lopsided-first-sync",
        )],
    ),
    (
        "lopsided the other way: 20 and 2",
        &[(
            "a many n 20; b write f one; b write g two",
            NONE,
            "f=one g=two n[0..20]",
            "f=one g=two n[0..20]",
            "uploaded=20 downloaded=2 warns=lopsided-first-sync",
        )],
    ),
    (
        "not lopsided: 1 and 10 are not 10 apart",
        &[(
            "a write f one; b many n 10",
            NONE,
            "f=one n[0..10]",
            "f=one n[0..10]",
            "uploaded=1 downloaded=10",
        )],
    ),
    (
        "not lopsided: 19 is not 10 times 2",
        &[(
            "a write f one; a write g two; b many n 19",
            NONE,
            "f=one g=two n[0..19]",
            "f=one g=two n[0..19]",
            "uploaded=2 downloaded=19",
        )],
    ),
    (
        "not lopsided: a preference was given",
        &[(
            "a write f one; b many n 11",
            MERGE,
            "f=one n[0..11]",
            "f=one n[0..11]",
            "uploaded=1 downloaded=11",
        )],
    ),
    ("not lopsided: one side is empty", &[("b many n 11", NONE, "n[0..11]", "n[0..11]", "downloaded=11")]),
    (
        "not lopsided: mirrors know who decides",
        &[(
            "a write f one; b many n 11",
            "--mode std --allow-mass-delete",
            "f=one",
            "f=one",
            "uploaded=1 deleted_destination=11 trash.b=*",
        )],
    ),
    (
        "a first mirror makes the destination equal to the source",
        &[(
            MIXED,
            "--mode std --allow-unseen",
            "f=ours x=ax",
            "f=ours x=ax",
            "uploaded=2 deleted_destination=1 trash.b=by trash.b=theirs",
        )],
    ),
    (
        "a first mirror the other way",
        &[(
            MIXED,
            "--mode dts --allow-unseen",
            "f=theirs y=by",
            "f=theirs y=by",
            "downloaded=2 deleted_source=1 trash.a=ax trash.a=ours",
        )],
    ),
    (
        "a first backup adds to both sides",
        &[(
            MIXED,
            "--mode sb --allow-unseen",
            "f=ours x=ax y=by",
            "f=ours x=ax y=by",
            "uploaded=2 downloaded=1 conflicts=1 trash.b=theirs",
        )],
    ),
    (
        "a first strict backup does not pull",
        &[(
            MIXED,
            "--mode sb --no-pull --allow-unseen",
            "=",
            "f=ours x=ax y=by",
            "uploaded=2 conflicts=1 left_alone=1 trash.b=theirs",
        )],
    ),
    (
        "a first backup of the destination",
        &[(
            MIXED,
            "--mode db --allow-unseen",
            "f=theirs x=ax y=by",
            "=",
            "downloaded=2 conflicts=1 left_alone=1 trash.a=ours",
        )],
    ),
    // Same size and time, other content.
    ("hash-then-mtime reads two folders", &[(SAME_STAT, "", "=", "=", "exit=3 conflicts=1 unresolved=1")]),
    ("hash-only reads", &[(SAME_STAT, "--compare hash-only", "=", "=", "exit=3 conflicts=1 unresolved=1")]),
    (
        "size-only takes sizes for content",
        &[(SAME_STAT, "--compare size-only", "=", "=", "unchanged=1 warns=weak-comparison")],
    ),
    (
        "mtime-only takes times for content",
        &[(SAME_STAT, "--compare mtime-only", "=", "=", "unchanged=1 warns=weak-comparison")],
    ),
    (
        "size-and-mtime takes both for content",
        &[(SAME_STAT, "--compare size-and-mtime", "=", "=", "unchanged=1 warns=weak-comparison")],
    ),
    // Same content, other time.
    ("hash-then-mtime does not care about times", &[(SAME_CONTENT, "", "=", "=", "unchanged=1")]),
    (
        "hash-only does not care about times",
        &[(SAME_CONTENT, "--compare hash-only", "=", "=", "unchanged=1")],
    ),
    (
        "size-only does not care about times",
        &[(SAME_CONTENT, "--compare size-only", "=", "=", "unchanged=1 warns=weak-comparison")],
    ),
    (
        "mtime-only sees a newer file",
        &[(
            SAME_CONTENT,
            "--compare mtime-only",
            "f=aaa",
            "f=aaa",
            "downloaded=1 conflicts=1 trash.a=aaa warns=weak-comparison",
        )],
    ),
    (
        "size-and-mtime sees a newer file",
        &[(
            SAME_CONTENT,
            "--compare size-and-mtime",
            "f=aaa",
            "f=aaa",
            "downloaded=1 conflicts=1 trash.a=aaa warns=weak-comparison",
        )],
    ),
    (
        "times 2 s apart are equal",
        &[(
            "a write f aaa 1000; b write f bbbb 1002",
            "--compare mtime-only",
            "=",
            "=",
            "unchanged=1 warns=weak-comparison",
        )],
    ),
    (
        "times 3 s apart are not",
        &[(
            "a write f aaa 1000; b write f bbbb 1003",
            "--compare mtime-only",
            "f=bbbb",
            "f=bbbb",
            "downloaded=1 conflicts=1 trash.a=aaa warns=weak-comparison",
        )],
    ),
    (
        "both changed against the base is judged by content whatever the mode",
        &[
            (
                "a write f first; b write f first",
                "--compare size-only",
                "=",
                "=",
                "unchanged=1 warns=weak-comparison",
            ),
            (
                "a write f aaaa 1000; b write f bbbb 2000",
                "--compare size-only",
                "f=bbbb",
                "f=bbbb",
                "downloaded=1 conflicts=1 trash.a=aaaa warns=weak-comparison",
            ),
        ],
    ),
];

const SAME_STAT: &str = "a write f aaa 1000; b write f bbb 1000";
const SAME_CONTENT: &str = "a write f aaa 1000; b write f aaa 9000";
