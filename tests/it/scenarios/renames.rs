//! Renames: what moves no bytes, and what is no rename.

use super::Case;

const START: &str = "a write f first; a write g second; a write keep keep";
const SYNCED: &str = "f=first g=second keep=keep";

pub(super) const CASES: &[Case] = &[
    (
        "a folder of 50 files",
        &[
            ("a many n 50; a write keep keep", "", "keep=keep n[0..50]", "keep=keep n[0..50]", "uploaded=51"),
            (
                "a mv n m",
                "",
                "=",
                FIFTY,
                "renamed_destination=50 unchanged=1 bytes.uploaded=0 bytes.downloaded=0",
            ),
        ],
    ),
    (
        "two names are swapped: plain changes",
        &[
            (START, "", SYNCED, SYNCED, "uploaded=3"),
            (
                "a mv f t; a mv g f; a mv t g",
                "",
                "f=second g=first keep=keep",
                "f=second g=first keep=keep",
                "uploaded=2 unchanged=1 trash.b=first trash.b=second",
            ),
        ],
    ),
    (
        "a rename onto a name that exists: a change and a deletion",
        &[
            (START, "", SYNCED, SYNCED, "uploaded=3"),
            (
                "a mv f g",
                "",
                "g=first keep=keep",
                "g=first keep=keep",
                "uploaded=1 deleted_destination=1 unchanged=1 trash.b=first trash.b=second",
            ),
        ],
    ),
    (
        "renamed here and edited there: both apply",
        &[
            (START, "", SYNCED, SYNCED, "uploaded=3"),
            (
                "a mv f h; b write f edited",
                "",
                "g=second h=edited keep=keep",
                "g=second h=edited keep=keep",
                "renamed_destination=1 downloaded=1 unchanged=2 trash.a=first",
            ),
        ],
    ),
    (
        "renamed there and edited here: both apply",
        &[
            (START, "", SYNCED, SYNCED, "uploaded=3"),
            (
                "b mv f h; a write f edited",
                "",
                "g=second h=edited keep=keep",
                "g=second h=edited keep=keep",
                "renamed_source=1 uploaded=1 unchanged=2 trash.b=first",
            ),
        ],
    ),
    (
        "renamed to two names: both are kept",
        &[
            (START, "", SYNCED, SYNCED, "uploaded=3"),
            (
                "a mv f h; b mv f i",
                "",
                "g=second h=first i=first keep=keep",
                "g=second h=first i=first keep=keep",
                "uploaded=1 downloaded=1 unchanged=2",
            ),
        ],
    ),
    (
        "renamed to the same name on both sides",
        &[(START, "", SYNCED, SYNCED, "uploaded=3"), ("a mv f h; b mv f h", "", "=", "=", "unchanged=3")],
    ),
    (
        "renamed and edited in one go is a new file and a deletion",
        &[
            (START, "", SYNCED, SYNCED, "uploaded=3"),
            (
                "a mv f h; a write h other",
                "",
                "g=second h=other keep=keep",
                "g=second h=other keep=keep",
                "uploaded=1 deleted_destination=1 unchanged=2 trash.b=first",
            ),
        ],
    ),
    (
        "a copy is no rename",
        &[
            (START, "", SYNCED, SYNCED, "uploaded=3"),
            (
                "a write h first",
                "",
                "f=first g=second h=first keep=keep",
                "f=first g=second h=first keep=keep",
                "uploaded=1 unchanged=3",
            ),
        ],
    ),
    (
        "among equals the same file name goes first, then byte order",
        &[
            (
                "a write p/x same; a write p/y same; a write keep keep",
                "",
                "keep=keep p/x=same p/y=same",
                "keep=keep p/x=same p/y=same",
                "uploaded=3",
            ),
            (
                "a mv p/y a/y; a mv p/x z/x; a rm p",
                "",
                "a/y=same keep=keep z/x=same",
                "a/y=same keep=keep z/x=same",
                "renamed_destination=2 unchanged=1 bytes.uploaded=0",
            ),
        ],
    ),
    (
        "a backup keeps the old name and does not bring it back",
        &[
            (START, "--mode sb", SYNCED, SYNCED, "uploaded=3"),
            (
                "a mv f h",
                "--mode sb",
                "g=second h=first keep=keep",
                "f=first g=second h=first keep=keep",
                "renamed_destination=1 unchanged=2 bytes.uploaded=0 bytes.copied_server_side=5",
            ),
            ("", "--mode sb", "=", "=", "unchanged=3 left_alone=1"),
            (
                "a write h edited",
                "--mode sb",
                "g=second h=edited keep=keep",
                "f=first g=second h=edited keep=keep",
                "uploaded=1 unchanged=2 left_alone=1 trash.b=first",
            ),
        ],
    ),
    (
        "the other backup too",
        &[
            (
                "b write f first; b write keep keep",
                "--mode db",
                "f=first keep=keep",
                "f=first keep=keep",
                "downloaded=2",
            ),
            (
                "b mv f h",
                "--mode db",
                "f=first h=first keep=keep",
                "h=first keep=keep",
                "renamed_source=1 unchanged=1 bytes.downloaded=0",
            ),
            ("", "--mode db", "=", "=", "unchanged=2 left_alone=1"),
        ],
    ),
    (
        "a renamed folder does not count as deletions",
        &[
            ("a many n 50; a write keep keep", "", "keep=keep n[0..50]", "keep=keep n[0..50]", "uploaded=51"),
            ("b mv n m", "--max-delete 0", FIFTY, "=", "renamed_source=50 unchanged=1 bytes.downloaded=0"),
        ],
    ),
    (
        "empty files are not paired",
        &[
            ("a empty e; a write keep keep", "", "e= keep=keep", "e= keep=keep", "uploaded=2"),
            (
                "a mv e h",
                "",
                "h= keep=keep",
                "h= keep=keep",
                "uploaded=1 deleted_destination=1 unchanged=1 trash.b=",
            ),
        ],
    ),
];

/// Fifty files that were made in `n`.
const FIFTY: &str = "keep=keep m/000=n000 m/001=n001 m/002=n002 m/003=n003 m/004=n004 m/005=n005 m/006=n006 \
    m/007=n007 m/008=n008 m/009=n009 m/010=n010 m/011=n011 m/012=n012 m/013=n013 m/014=n014 \
    m/015=n015 m/016=n016 m/017=n017 m/018=n018 m/019=n019 m/020=n020 m/021=n021 m/022=n022 \
    m/023=n023 m/024=n024 m/025=n025 m/026=n026 m/027=n027 m/028=n028 m/029=n029 m/030=n030 \
    m/031=n031 m/032=n032 m/033=n033 m/034=n034 m/035=n035 m/036=n036 m/037=n037 m/038=n038 \
    m/039=n039 m/040=n040 m/041=n041 m/042=n042 m/043=n043 m/044=n044 m/045=n045 m/046=n046 \
    m/047=n047 m/048=n048 m/049=n049";
