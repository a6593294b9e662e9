//! Guards: what they stop, that nothing is changed then, and the flag that lets it pass.

use super::Case;

const THIRTY: &str = "a many n 30";
const SYNCED: &str = "n[0..30]";
const TWO: &str = "a write f first; a write g second";
const BOTH: &str = "f=first g=second";

macro_rules! side_emptied {
    ($mode:literal, $side:literal, $refused:literal, $a:expr, $b:expr, $says:literal) => {
        (
            concat!("f11: ", $mode, ", ", $side, " is emptied"),
            &[
                (TWO, $mode, BOTH, BOTH, "uploaded=2"),
                (concat!($side, " rm f; ", $side, " rm g"), $mode, "=", "=", $refused),
                ("", concat!($mode, " --allow-empty-side"), $a, $b, $says),
            ],
        )
    };
}

pub(super) const CASES: &[Case] = &[
    (
        "21 of 30 deleted is refused, and done with the flag",
        &[
            (THIRTY, "", SYNCED, SYNCED, "uploaded=30"),
            ("a fewer n 21", "", "=", "=", "exit=3 refused=max-delete"),
            ("", "--allow-mass-delete", "=", "n[21..30]", "deleted_destination=21 unchanged=9 trash.b=*"),
        ],
    ),
    (
        "21 of 30 deleted at the destination too",
        &[
            (THIRTY, "", SYNCED, SYNCED, "uploaded=30"),
            ("b fewer n 21", "", "=", "=", "exit=3 refused=max-delete"),
            ("", "--max-delete 21", "n[21..30]", "=", "deleted_source=21 unchanged=9 trash.a=*"),
        ],
    ),
    (
        "20 of 30 is below the floor",
        &[
            (THIRTY, "", SYNCED, SYNCED, "uploaded=30"),
            ("a fewer n 20", "", "=", "n[20..30]", "deleted_destination=20 unchanged=10 trash.b=*"),
        ],
    ),
    (
        "25 of 50 is not more than half",
        &[
            ("a many n 50", "", "n[0..50]", "n[0..50]", "uploaded=50"),
            ("a fewer n 25", "", "=", "n[25..50]", "deleted_destination=25 unchanged=25 trash.b=*"),
        ],
    ),
    (
        "26 of 50 is",
        &[
            ("a many n 50", "", "n[0..50]", "n[0..50]", "uploaded=50"),
            ("a fewer n 26", "", "=", "=", "exit=3 refused=max-delete"),
        ],
    ),
    (
        "0 forbids every deletion",
        &[
            (TWO, "--max-delete 0", BOTH, BOTH, "uploaded=2"),
            ("a rm f", "--max-delete 0", "=", "=", "exit=3 refused=max-delete"),
            ("", "--max-delete 0%", "=", "=", "exit=3 refused=max-delete"),
            (
                "",
                "--max-delete 0 --allow-mass-delete",
                "=",
                "g=second",
                "deleted_destination=1 unchanged=1 trash.b=first",
            ),
        ],
    ),
    (
        "a refused deletion does not hold back what was added: nothing at all is done",
        &[
            (TWO, "--max-delete 0", BOTH, BOTH, "uploaded=2"),
            (
                "a rm f; a write n new; b write m more",
                "--max-delete 0",
                "=",
                "=",
                "exit=3 refused=max-delete",
            ),
        ],
    ),
    (
        "a number of files",
        &[
            (THIRTY, "", SYNCED, SYNCED, "uploaded=30"),
            ("a fewer n 4", "--max-delete 3", "=", "=", "exit=3 refused=max-delete"),
            ("", "--max-delete 4", "=", "n[4..30]", "deleted_destination=4 unchanged=26 trash.b=*"),
        ],
    ),
    (
        "a percentage",
        &[
            (THIRTY, "", SYNCED, SYNCED, "uploaded=30"),
            ("a fewer n 4", "--max-delete 10%", "=", "=", "exit=3 refused=max-delete"),
            (
                "a write n/003 n003",
                "--max-delete 10%",
                "=",
                "n[3..30]",
                "deleted_destination=3 unchanged=27 trash.b=*",
            ),
        ],
    ),
    (
        "edits of what the base knows are ordinary work",
        &[
            (TWO, "--max-delete 0", BOTH, BOTH, "uploaded=2"),
            (
                "a write f other; a write g another",
                "--max-delete 0",
                "=",
                "f=other g=another",
                "uploaded=2 trash.b=first trash.b=second",
            ),
        ],
    ),
    (
        "overwriting a version nobody has seen counts",
        &[(
            "a write f ours; b write f theirs",
            "--mode std --max-delete 0",
            "=",
            "=",
            "exit=3 refused=max-delete refused=unseen-files",
        )],
    ),
    (
        "a first mirror onto a full destination",
        &[
            (
                "a write f one; b many n 30",
                "--mode std",
                "=",
                "=",
                "exit=3 refused=max-delete refused=unseen-files",
            ),
            (
                "",
                "--mode std --allow-mass-delete",
                "=",
                "f=one",
                "uploaded=1 deleted_destination=30 trash.b=*",
            ),
        ],
    ),
    side_emptied!(
        "--mode tw",
        "a",
        "exit=3 refused=empty-side",
        "=",
        "",
        "deleted_destination=2 trash.b=first trash.b=second"
    ),
    side_emptied!(
        "--mode tw",
        "b",
        "exit=3 refused=empty-side",
        "",
        "=",
        "deleted_source=2 trash.a=first trash.a=second"
    ),
    side_emptied!(
        "--mode std",
        "a",
        "exit=3 refused=empty-side",
        "=",
        "",
        "deleted_destination=2 trash.b=first trash.b=second"
    ),
    side_emptied!("--mode std", "b", "exit=3 refused=empty-side", "=", BOTH, "uploaded=2"),
    side_emptied!("--mode sb", "a", "exit=3 refused=empty-side", "=", "=", "left_alone=2"),
    side_emptied!("--mode sb", "b", "exit=3 refused=empty-side", "=", BOTH, "uploaded=2"),
    (
        "f11: dts, a is emptied",
        &[
            ("b write f first; b write g second", "--mode dts", BOTH, BOTH, "downloaded=2"),
            ("a rm f; a rm g", "--mode dts", "=", "=", "exit=3 refused=empty-side"),
            ("", "--mode dts --allow-empty-side", BOTH, "=", "downloaded=2"),
        ],
    ),
    (
        "f11: dts, b is emptied",
        &[
            ("b write f first; b write g second", "--mode dts", BOTH, BOTH, "downloaded=2"),
            ("b rm f; b rm g", "--mode dts", "=", "=", "exit=3 refused=empty-side"),
            ("", "--mode dts --allow-empty-side", "", "=", "deleted_source=2 trash.a=first trash.a=second"),
        ],
    ),
    (
        "f11: db, a is emptied",
        &[
            ("b write f first; b write g second", "--mode db", BOTH, BOTH, "downloaded=2"),
            ("a rm f; a rm g", "--mode db", "=", "=", "exit=3 refused=empty-side"),
            ("", "--mode db --allow-empty-side", BOTH, "=", "downloaded=2"),
        ],
    ),
    (
        "f11: db, b is emptied",
        &[
            ("b write f first; b write g second", "--mode db", BOTH, BOTH, "downloaded=2"),
            ("b rm f; b rm g", "--mode db", "=", "=", "exit=3 refused=empty-side"),
            ("", "--mode db --allow-empty-side", "=", "=", "left_alone=2"),
        ],
    ),
    (
        "a mirror of an empty source onto one file, at first",
        &[
            ("b write f only", "--mode std", "=", "=", "exit=3 refused=empty-side"),
            (
                "",
                "--mode std --allow-empty-side --allow-unseen",
                "=",
                "",
                "deleted_destination=1 trash.b=only",
            ),
        ],
    ),
    (
        "a mirror of an empty destination onto one file, at first",
        &[
            ("a write f only", "--mode dts", "=", "=", "exit=3 refused=empty-side"),
            ("", "--mode dts --allow-empty-side --allow-unseen", "", "=", "deleted_source=1 trash.a=only"),
        ],
    ),
    (
        "the winner of a first sync is empty",
        &[
            ("b write f only", "--initial-sync source-wins", "=", "=", "exit=3 refused=empty-side"),
            (
                "",
                "--initial-sync source-wins --allow-empty-side",
                "=",
                "",
                "deleted_destination=1 trash.b=only notes=unseen-files",
            ),
        ],
    ),
    (
        "an empty winner is no consent",
        &[
            (
                "a many n 30",
                "--initial-sync destination-wins --allow-empty-side",
                "=",
                "=",
                "exit=3 refused=max-delete refused=unseen-files",
            ),
            (
                "",
                "--initial-sync destination-wins --allow-empty-side --allow-mass-delete",
                "",
                "=",
                "deleted_source=30 trash.a=* notes=unseen-files",
            ),
        ],
    ),
    ("two empty sides are in agreement", &[("", "", "=", "=", "")]),
    (
        "a copy takes the place of the root",
        &[
            (TWO, "", BOTH, BOTH, "uploaded=2"),
            (
                "a copyroot; b write n new",
                "",
                "f=first g=second n=new",
                "=",
                "downloaded=1 unchanged=2 warns=root-moved",
            ),
            ("a rm n", "", "=", BOTH, "deleted_destination=1 unchanged=2 trash.b=new"),
        ],
    ),
    (
        "a copy takes the place of the destination",
        &[
            (TWO, "--mode sb", BOTH, BOTH, "uploaded=2"),
            ("b copyroot", "--mode sb", "=", "=", "unchanged=2 warns=root-moved"),
        ],
    ),
    (
        "half of what was known is enough",
        &[
            (TWO, "", BOTH, BOTH, "uploaded=2"),
            (
                "a copyroot; a rm f",
                "",
                "=",
                "g=second",
                "deleted_destination=1 unchanged=1 trash.b=first warns=root-moved",
            ),
        ],
    ),
    (
        "f11: another folder takes the place of the root",
        &[
            (TWO, "", BOTH, BOTH, "uploaded=2"),
            ("a newroot; a write z other", "", "=", "=", "exit=3 refused=root-changed"),
            (
                "",
                "--accept-root",
                "f=first g=second z=other",
                "f=first g=second z=other",
                "uploaded=1 downloaded=2 warns=root-moved",
            ),
        ],
    ),
    (
        "f11: another folder takes the place of a mirror's source",
        &[
            (TWO, "--mode std", BOTH, BOTH, "uploaded=2"),
            ("a newroot; a write z other", "--mode std", "=", "=", "exit=3 refused=root-changed"),
        ],
    ),
    (
        "f11: a new destination in a backup",
        &[
            (TWO, "--mode sb", BOTH, BOTH, "uploaded=2"),
            ("b newroot; b write z other", "--mode sb", "=", "=", "exit=3 refused=root-changed"),
            (
                "",
                "--mode sb --accept-root",
                "f=first g=second z=other",
                "f=first g=second z=other",
                "uploaded=2 downloaded=1 warns=root-moved",
            ),
        ],
    ),
    (
        "f11: the mount is gone and the empty mount point is there",
        &[
            (TWO, "", BOTH, BOTH, "uploaded=2"),
            ("a newroot", "", "=", "=", "exit=3 refused=empty-side refused=root-changed"),
        ],
    ),
    (
        "all files of a side have changed",
        &[
            ("a many n 10", "", "n[0..10]", "n[0..10]", "uploaded=10"),
            (
                "b rm n; b many m 10; b mv m/000 n/000; b mv m/001 n/001; b mv m/002 n/002; b mv m/003 n/003; \
                 b mv m/004 n/004; b mv m/005 n/005; b mv m/006 n/006; b mv m/007 n/007; b mv m/008 n/008; \
                 b mv m/009 n/009; b rm m",
                "",
                "n/000=m000 n/001=m001 n/002=m002 n/003=m003 n/004=m004 n/005=m005 n/006=m006 n/007=m007 n/008=m008 \
                 n/009=m009",
                "=",
                "downloaded=10 trash.a=* warns=all-files-changed",
            ),
        ],
    ),
];
