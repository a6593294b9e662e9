//! Conflicts: every strategy, edits against deletions, and what only looks like a conflict.

use super::Case;

/// What all of these start from.
const START: &str = "a write n.txt first; a write keep keep";
const SYNCED: &str = "keep=keep n.txt=first";

macro_rules! strategies {
    ($($name:literal, $edit:literal, $options:literal, $a:literal, $b:literal, $says:literal;)*) => {
        &[$(($name, &[(START, $options, SYNCED, SYNCED, "uploaded=2"), ($edit, $options, $a, $b, $says)])),*]
    };
}

pub(super) const CASES: &[Case] = strategies! {
    "newest-wins, the source is newer", "a write n.txt ours 2000; b write n.txt theirs 1000", "--conflict newest-wins",
        "keep=keep n.txt=ours",
        "keep=keep n.txt=ours",
        "uploaded=1 conflicts=1 unchanged=1 trash.b=theirs";
    "newest-wins, the destination is newer", "a write n.txt ours 1000; b write n.txt theirs 2000", "--conflict newest-wins",
        "keep=keep n.txt=theirs",
        "keep=keep n.txt=theirs",
        "downloaded=1 conflicts=1 unchanged=1 trash.a=ours";
    "newest-wins, a tie", "a write n.txt ours 1000; b write n.txt theirs 1000", "--conflict newest-wins",
        "=",
        "=",
        "exit=3 conflicts=1 unresolved=1 unchanged=1";
    "source-wins, the source is newer", "a write n.txt ours 2000; b write n.txt theirs 1000", "--conflict source-wins",
        "keep=keep n.txt=ours",
        "keep=keep n.txt=ours",
        "uploaded=1 conflicts=1 unchanged=1 trash.b=theirs";
    "source-wins, the destination is newer", "a write n.txt ours 1000; b write n.txt theirs 2000", "--conflict source-wins",
        "keep=keep n.txt=ours",
        "keep=keep n.txt=ours",
        "uploaded=1 conflicts=1 unchanged=1 trash.b=theirs";
    "source-wins, a tie", "a write n.txt ours 1000; b write n.txt theirs 1000", "--conflict source-wins",
        "keep=keep n.txt=ours",
        "keep=keep n.txt=ours",
        "uploaded=1 conflicts=1 unchanged=1 trash.b=theirs";
    "destination-wins, the source is newer", "a write n.txt ours 2000; b write n.txt theirs 1000", "--conflict destination-wins",
        "keep=keep n.txt=theirs",
        "keep=keep n.txt=theirs",
        "downloaded=1 conflicts=1 unchanged=1 trash.a=ours";
    "destination-wins, the destination is newer", "a write n.txt ours 1000; b write n.txt theirs 2000", "--conflict destination-wins",
        "keep=keep n.txt=theirs",
        "keep=keep n.txt=theirs",
        "downloaded=1 conflicts=1 unchanged=1 trash.a=ours";
    "destination-wins, a tie", "a write n.txt ours 1000; b write n.txt theirs 1000", "--conflict destination-wins",
        "keep=keep n.txt=theirs",
        "keep=keep n.txt=theirs",
        "downloaded=1 conflicts=1 unchanged=1 trash.a=ours";
    "keep-both, the source is newer", "a write n.txt ours 2000; b write n.txt theirs 1000", "--conflict keep-both",
        "keep=keep n.conflict-19700101T001640Z-destination-ce97a90e.txt=theirs n.txt=ours",
        "keep=keep n.conflict-19700101T001640Z-destination-ce97a90e.txt=theirs n.txt=ours",
        "uploaded=1 downloaded=1 conflicts=1 unchanged=1";
    "keep-both, the destination is newer", "a write n.txt ours 1000; b write n.txt theirs 2000", "--conflict keep-both",
        "keep=keep n.conflict-19700101T001640Z-source-abdc793c.txt=ours n.txt=theirs",
        "keep=keep n.conflict-19700101T001640Z-source-abdc793c.txt=ours n.txt=theirs",
        "uploaded=1 downloaded=1 conflicts=1 unchanged=1";
    "keep-both, a tie", "a write n.txt ours 1000; b write n.txt theirs 1000", "--conflict keep-both",
        "keep=keep n.conflict-19700101T001640Z-destination-ce97a90e.txt=theirs n.txt=ours",
        "keep=keep n.conflict-19700101T001640Z-destination-ce97a90e.txt=theirs n.txt=ours",
        "uploaded=1 downloaded=1 conflicts=1 unchanged=1";
    "manual, the source is newer", "a write n.txt ours 2000; b write n.txt theirs 1000", "--conflict manual",
        "=",
        "=",
        "exit=3 conflicts=1 unresolved=1 unchanged=1";
    "manual, the destination is newer", "a write n.txt ours 1000; b write n.txt theirs 2000", "--conflict manual",
        "=",
        "=",
        "exit=3 conflicts=1 unresolved=1 unchanged=1";
    "manual, a tie", "a write n.txt ours 1000; b write n.txt theirs 1000", "--conflict manual",
        "=",
        "=",
        "exit=3 conflicts=1 unresolved=1 unchanged=1";
    "newest-wins, deleted in a and edited in b: the edit survives", "a rm n.txt; b write n.txt edited", "--conflict newest-wins",
        "keep=keep n.txt=edited",
        "keep=keep n.txt=edited",
        "downloaded=1 conflicts=1 unchanged=1";
    "newest-wins, deleted in b and edited in a: the edit survives", "b rm n.txt; a write n.txt edited", "--conflict newest-wins",
        "keep=keep n.txt=edited",
        "keep=keep n.txt=edited",
        "uploaded=1 conflicts=1 unchanged=1";
    "source-wins, deleted in a and edited in b: the edit survives", "a rm n.txt; b write n.txt edited", "--conflict source-wins",
        "keep=keep n.txt=edited",
        "keep=keep n.txt=edited",
        "downloaded=1 conflicts=1 unchanged=1";
    "source-wins, deleted in b and edited in a: the edit survives", "b rm n.txt; a write n.txt edited", "--conflict source-wins",
        "keep=keep n.txt=edited",
        "keep=keep n.txt=edited",
        "uploaded=1 conflicts=1 unchanged=1";
    "destination-wins, deleted in a and edited in b: the edit survives", "a rm n.txt; b write n.txt edited", "--conflict destination-wins",
        "keep=keep n.txt=edited",
        "keep=keep n.txt=edited",
        "downloaded=1 conflicts=1 unchanged=1";
    "destination-wins, deleted in b and edited in a: the edit survives", "b rm n.txt; a write n.txt edited", "--conflict destination-wins",
        "keep=keep n.txt=edited",
        "keep=keep n.txt=edited",
        "uploaded=1 conflicts=1 unchanged=1";
    "keep-both, deleted in a and edited in b: the edit survives", "a rm n.txt; b write n.txt edited", "--conflict keep-both",
        "keep=keep n.txt=edited",
        "keep=keep n.txt=edited",
        "downloaded=1 conflicts=1 unchanged=1";
    "keep-both, deleted in b and edited in a: the edit survives", "b rm n.txt; a write n.txt edited", "--conflict keep-both",
        "keep=keep n.txt=edited",
        "keep=keep n.txt=edited",
        "uploaded=1 conflicts=1 unchanged=1";
    "manual, deleted in a and edited in b: the edit survives", "a rm n.txt; b write n.txt edited", "--conflict manual",
        "keep=keep n.txt=edited",
        "keep=keep n.txt=edited",
        "downloaded=1 conflicts=1 unchanged=1";
    "manual, deleted in b and edited in a: the edit survives", "b rm n.txt; a write n.txt edited", "--conflict manual",
        "keep=keep n.txt=edited",
        "keep=keep n.txt=edited",
        "uploaded=1 conflicts=1 unchanged=1";
    "both changed to the same content", "a write n.txt same 1000; b write n.txt same 2000", "--conflict manual",
        "=",
        "=",
        "unchanged=2";
    "touched at the source", "a touch n.txt 1000", "--conflict manual",
        "=",
        "=",
        "unchanged=2";
    "touched at both sides", "a touch n.txt 1000; b touch n.txt 2000", "--conflict manual",
        "=",
        "=",
        "unchanged=2";
    "touched here, edited there", "a touch n.txt 9000; b write n.txt edited 1000", "--conflict manual",
        "keep=keep n.txt=edited",
        "keep=keep n.txt=edited",
        "downloaded=1 unchanged=1 trash.a=first";
    "touched here, deleted there", "a touch n.txt 9000; b rm n.txt", "--conflict manual",
        "keep=keep",
        "keep=keep",
        "deleted_source=1 unchanged=1 trash.a=first";
    "times are compared at the coarser precision: a tie", "a write n.txt ours 1000.9; b write n.txt theirs 1000", "--conflict newest-wins",
        "=",
        "=",
        "exit=3 conflicts=1 unresolved=1 unchanged=1";
    "fractions of a second count where both have them", "a write n.txt ours 1000.9; b write n.txt theirs 1000.8", "--conflict newest-wins",
        "keep=keep n.txt=ours",
        "keep=keep n.txt=ours",
        "uploaded=1 conflicts=1 unchanged=1 trash.b=theirs";
};

pub(super) const LATER: &[Case] = &[
    (
        "what manual left is judged by the strategy then in force",
        &[
            (START, "--conflict manual", SYNCED, SYNCED, "uploaded=2"),
            (CLASH, "--conflict manual", "=", "=", "exit=3 conflicts=1 unresolved=1 unchanged=1"),
            ("", "--conflict manual", "=", "=", "exit=3 conflicts=1 unresolved=1 unchanged=1"),
            (
                "",
                "--conflict destination-wins",
                THEIRS,
                THEIRS,
                "downloaded=1 conflicts=1 unchanged=1 trash.a=ours",
            ),
        ],
    ),
    (
        "a tie is settled by hand: one version goes, the other is an edit that survives",
        &[
            (START, "", SYNCED, SYNCED, "uploaded=2"),
            (CLASH, "", "=", "=", "exit=3 conflicts=1 unresolved=1 unchanged=1"),
            (
                "b rm n.txt",
                "",
                "keep=keep n.txt=ours",
                "keep=keep n.txt=ours",
                "uploaded=1 conflicts=1 unchanged=1",
            ),
        ],
    ),
    (
        "without the trash a loser is discarded",
        &[
            (START, "", SYNCED, SYNCED, "uploaded=2"),
            (
                CLASH,
                "--conflict destination-wins --trash off",
                THEIRS,
                THEIRS,
                "downloaded=1 conflicts=1 unchanged=1",
            ),
        ],
    ),
    (
        "b26: a file becomes a folder at the source",
        &[
            (START, "", SYNCED, SYNCED, "uploaded=2"),
            (
                "a rm n.txt; a write n.txt/in deep",
                "",
                "keep=keep n.txt/in=deep",
                "keep=keep n.txt/in=deep",
                "uploaded=1 deleted_destination=1 unchanged=1 trash.b=first",
            ),
            (
                "b rm n.txt; b write n.txt flat",
                "",
                "keep=keep n.txt=flat",
                "keep=keep n.txt=flat",
                "downloaded=1 deleted_source=1 unchanged=1 trash.a=deep",
            ),
        ],
    ),
    (
        "b26: a file becomes a folder here and is edited there",
        &[
            (START, "--conflict source-wins", SYNCED, SYNCED, "uploaded=2"),
            (
                "a rm n.txt; a write n.txt/in deep; b write n.txt edited",
                "--conflict source-wins",
                "=",
                "=",
                "exit=3 conflicts=2 unresolved=2 unchanged=1",
            ),
        ],
    ),
    (
        "b26: a folder becomes a file here and gets another file there",
        &[
            ("a write d/x dx; a write keep keep", "", "d/x=dx keep=keep", "d/x=dx keep=keep", "uploaded=2"),
            (
                "a rm d; a write d flat; b write d/y new",
                "",
                "=",
                "=",
                "exit=3 conflicts=3 unresolved=3 unchanged=1",
            ),
        ],
    ),
    (
        "b26: mirrors, the authority wins",
        &[
            (START, "--mode std", SYNCED, SYNCED, "uploaded=2"),
            (
                "a rm n.txt; a write n.txt/in deep; b write n.txt edited",
                "--mode std",
                "keep=keep n.txt/in=deep",
                "keep=keep n.txt/in=deep",
                "uploaded=1 deleted_destination=1 unchanged=1 trash.b=edited",
            ),
            (
                "b rm n.txt; b write n.txt flat",
                "--mode std",
                "keep=keep n.txt/in=deep",
                "keep=keep n.txt/in=deep",
                "uploaded=1 deleted_destination=1 unchanged=1 trash.b=flat",
            ),
        ],
    ),
    (
        "b26: mirrors, the other authority wins",
        &[
            (
                START,
                "--mode dts --allow-empty-side --allow-unseen",
                "",
                "",
                "deleted_source=2 trash.a=first trash.a=keep",
            ),
            ("b write d/x dx; b write k k", "--mode dts", "d/x=dx k=k", "d/x=dx k=k", "downloaded=2"),
            (
                "b rm d; b write d flat; a write d/y new",
                "--mode dts",
                "d=flat k=k",
                "d=flat k=k",
                "downloaded=1 deleted_source=2 unchanged=1 trash.a=dx trash.a=new",
            ),
        ],
    ),
    (
        "b26: a backup does not delete, so nothing makes room",
        &[
            (START, "--mode sb", SYNCED, SYNCED, "uploaded=2"),
            (
                "a rm n.txt; a write n.txt/in deep",
                "--mode sb",
                "=",
                "=",
                "exit=3 conflicts=1 unresolved=1 left_alone=1 unchanged=1",
            ),
        ],
    ),
    (
        "b26: nor does the other backup",
        &[
            ("b write n.txt first; b write keep keep", "--mode db", SYNCED, SYNCED, "downloaded=2"),
            (
                "b rm n.txt; b write n.txt/in deep",
                "--mode db",
                "=",
                "=",
                "exit=3 conflicts=1 unresolved=1 left_alone=1 unchanged=1",
            ),
        ],
    ),
    (
        "b26: file here and folder there, both new: newest-wins",
        &[(
            "a write d flat; b write d/x dx; a write keep keep",
            "--conflict newest-wins",
            "d=flat keep=keep",
            "d/x=dx keep=keep",
            "exit=3 uploaded=1 conflicts=2 unresolved=2",
        )],
    ),
    (
        "b26: file here and folder there, both new: destination-wins",
        &[(
            "a write d flat; b write d/x dx; a write keep keep",
            "--conflict destination-wins",
            "d=flat keep=keep",
            "d/x=dx keep=keep",
            "exit=3 uploaded=1 conflicts=2 unresolved=2",
        )],
    ),
    (
        "b26: file here and folder there, both new: keep-both",
        &[(
            "a write d flat; b write d/x dx; a write keep keep",
            "--conflict keep-both",
            "d=flat keep=keep",
            "d/x=dx keep=keep",
            "exit=3 uploaded=1 conflicts=2 unresolved=2",
        )],
    ),
    (
        "b26: file here and folder there, both new: manual",
        &[(
            "a write d flat; b write d/x dx; a write keep keep",
            "--conflict manual",
            "d=flat keep=keep",
            "d/x=dx keep=keep",
            "exit=3 uploaded=1 conflicts=2 unresolved=2",
        )],
    ),
    (
        "keep-both: the eleventh copy is left to the user",
        &[
            (
                "a write n.txt first; a write n.conflict-20200100T000000Z-source-00000000.txt c0; a write \
                 n.conflict-20200101T000000Z-source-00000001.txt c1; a write \
                 n.conflict-20200102T000000Z-source-00000002.txt c2; a write \
                 n.conflict-20200103T000000Z-source-00000003.txt c3; a write \
                 n.conflict-20200104T000000Z-source-00000004.txt c4; a write \
                 n.conflict-20200105T000000Z-source-00000005.txt c5; a write \
                 n.conflict-20200106T000000Z-source-00000006.txt c6; a write \
                 n.conflict-20200107T000000Z-source-00000007.txt c7; a write \
                 n.conflict-20200108T000000Z-source-00000008.txt c8; a write \
                 n.conflict-20200109T000000Z-source-00000009.txt c9",
                "--conflict keep-both",
                "n.txt=first n.conflict-20200100T000000Z-source-00000000.txt=c0 \
                 n.conflict-20200101T000000Z-source-00000001.txt=c1 \
                 n.conflict-20200102T000000Z-source-00000002.txt=c2 \
                 n.conflict-20200103T000000Z-source-00000003.txt=c3 \
                 n.conflict-20200104T000000Z-source-00000004.txt=c4 \
                 n.conflict-20200105T000000Z-source-00000005.txt=c5 \
                 n.conflict-20200106T000000Z-source-00000006.txt=c6 \
                 n.conflict-20200107T000000Z-source-00000007.txt=c7 \
                 n.conflict-20200108T000000Z-source-00000008.txt=c8 \
                 n.conflict-20200109T000000Z-source-00000009.txt=c9",
                "n.txt=first n.conflict-20200100T000000Z-source-00000000.txt=c0 \
                 n.conflict-20200101T000000Z-source-00000001.txt=c1 \
                 n.conflict-20200102T000000Z-source-00000002.txt=c2 \
                 n.conflict-20200103T000000Z-source-00000003.txt=c3 \
                 n.conflict-20200104T000000Z-source-00000004.txt=c4 \
                 n.conflict-20200105T000000Z-source-00000005.txt=c5 \
                 n.conflict-20200106T000000Z-source-00000006.txt=c6 \
                 n.conflict-20200107T000000Z-source-00000007.txt=c7 \
                 n.conflict-20200108T000000Z-source-00000008.txt=c8 \
                 n.conflict-20200109T000000Z-source-00000009.txt=c9",
                "uploaded=11",
            ),
            (CLASH, "--conflict keep-both", "=", "=", "exit=3 conflicts=1 unresolved=1 unchanged=10"),
            (
                "a rm n.conflict-20200103T000000Z-source-00000003.txt",
                "--conflict source-wins",
                ELEVEN,
                ELEVEN,
                "uploaded=1 conflicts=1 deleted_destination=1 unchanged=9 trash.b=c3 trash.b=theirs",
            ),
        ],
    ),
];

const ELEVEN: &str = "n.txt=ours n.conflict-20200100T000000Z-source-00000000.txt=c0 \
                 n.conflict-20200101T000000Z-source-00000001.txt=c1 \
                 n.conflict-20200102T000000Z-source-00000002.txt=c2 \
                 n.conflict-20200104T000000Z-source-00000004.txt=c4 \
                 n.conflict-20200105T000000Z-source-00000005.txt=c5 \
                 n.conflict-20200106T000000Z-source-00000006.txt=c6 \
                 n.conflict-20200107T000000Z-source-00000007.txt=c7 \
                 n.conflict-20200108T000000Z-source-00000008.txt=c8 \
                 n.conflict-20200109T000000Z-source-00000009.txt=c9";
const CLASH: &str = "a write n.txt ours 1000; b write n.txt theirs 1000";
const THEIRS: &str = "keep=keep n.txt=theirs";
