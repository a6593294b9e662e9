//! The scenario tables of the reference page, row by row, and the rows that `--no-pull` changes.

use super::{Case, Step};

/// Mode, row, what the user does, both trees afterwards, what the run says.
type Row = (&'static str, &'static str, &'static str, &'static str, &'static str, &'static str);

const TWO_WAY: &str = "--mode twoWay";
const STD: &str = "--mode sourceToDestination";
const SB: &str = "--mode sourceBackup";
const STRICT: &str = "--mode sourceBackup --no-pull";
const DTS: &str = "--mode destinationToSource";
const DB: &str = "--mode destinationBackup";

const BOTH: &str = "f=first keep=keep";
const WITH_NEW: &str = "f=first keep=keep n=new";
const SECOND: &str = "f=second keep=keep";
const GONE: &str = "keep=keep";
const MOVED: &str = "g=first keep=keep";
const COPIED: &str = "f=first g=first keep=keep";

/// All start from a sync of `f` and `keep`.
const ROWS: &[Row] = &[
    (
        TWO_WAY,
        "a write n new",
        WITH_NEW,
        WITH_NEW,
        "uploaded=1 unchanged=2 bytes.uploaded=3",
        "add at source",
    ),
    (TWO_WAY, "b write n new", WITH_NEW, WITH_NEW, "downloaded=1 unchanged=2", "add at destination"),
    (TWO_WAY, "a write f second", SECOND, SECOND, "uploaded=1 unchanged=1 trash.b=first", "modify at source"),
    (
        TWO_WAY,
        "b write f second",
        SECOND,
        SECOND,
        "downloaded=1 unchanged=1 trash.a=first",
        "modify at destination",
    ),
    (
        TWO_WAY,
        "a write f second 2000; b write f third 1000",
        SECOND,
        SECOND,
        "uploaded=1 conflicts=1 unchanged=1 trash.b=third",
        "modify at both sides",
    ),
    (TWO_WAY, "a rm f", GONE, GONE, "deleted_destination=1 unchanged=1 trash.b=first", "delete at source"),
    (TWO_WAY, "b rm f", GONE, GONE, "deleted_source=1 unchanged=1 trash.a=first", "delete at destination"),
    (
        TWO_WAY,
        "a mv f g",
        MOVED,
        MOVED,
        "renamed_destination=1 unchanged=1 bytes.uploaded=0",
        "rename at source",
    ),
    (
        TWO_WAY,
        "b mv f g",
        MOVED,
        MOVED,
        "renamed_source=1 unchanged=1 bytes.downloaded=0",
        "rename at destination",
    ),
    (STD, "a write n new", WITH_NEW, WITH_NEW, "uploaded=1 unchanged=2", "add at source"),
    (STD, "b write n new", BOTH, BOTH, "deleted_destination=1 unchanged=2 trash.b=new", "add at destination"),
    (STD, "a write f second", SECOND, SECOND, "uploaded=1 unchanged=1 trash.b=first", "modify at source"),
    (STD, "b write f second", BOTH, BOTH, "uploaded=1 unchanged=1 trash.b=second", "modify at destination"),
    (STD, "a rm f", GONE, GONE, "deleted_destination=1 unchanged=1 trash.b=first", "delete at source"),
    (STD, "b rm f", BOTH, BOTH, "uploaded=1 unchanged=1", "delete at destination"),
    (STD, "a mv f g", MOVED, MOVED, "renamed_destination=1 unchanged=1 bytes.uploaded=0", "rename at source"),
    (SB, "a write n new", WITH_NEW, WITH_NEW, "uploaded=1 unchanged=2", "add at source"),
    (SB, "b write n new", WITH_NEW, WITH_NEW, "downloaded=1 unchanged=2", "add at destination"),
    (SB, "a write f second", SECOND, SECOND, "uploaded=1 unchanged=1 trash.b=first", "modify at source"),
    (
        SB,
        "b write f second",
        SECOND,
        SECOND,
        "downloaded=1 unchanged=1 trash.a=first",
        "modify at destination",
    ),
    (SB, "a rm f", GONE, BOTH, "left_alone=1 unchanged=1", "delete at source"),
    (SB, "b rm f", BOTH, BOTH, "uploaded=1 unchanged=1", "delete at destination"),
    (SB, "a mv f g", MOVED, COPIED, "renamed_destination=1 unchanged=1 bytes.uploaded=0", "rename at source"),
    (DTS, "a write n new", BOTH, BOTH, "deleted_source=1 unchanged=2 trash.a=new", "add at source"),
    (DTS, "b write n new", WITH_NEW, WITH_NEW, "downloaded=1 unchanged=2", "add at destination"),
    (DTS, "a write f second", BOTH, BOTH, "downloaded=1 unchanged=1 trash.a=second", "modify at source"),
    (
        DTS,
        "b write f second",
        SECOND,
        SECOND,
        "downloaded=1 unchanged=1 trash.a=first",
        "modify at destination",
    ),
    (DTS, "a rm f", BOTH, BOTH, "downloaded=1 unchanged=1", "delete at source"),
    (DTS, "b rm f", GONE, GONE, "deleted_source=1 unchanged=1 trash.a=first", "delete at destination"),
    (
        DTS,
        "b mv f g",
        MOVED,
        MOVED,
        "renamed_source=1 unchanged=1 bytes.downloaded=0",
        "rename at destination",
    ),
    (DB, "a write n new", WITH_NEW, BOTH, "left_alone=1 unchanged=2", "add at source"),
    (DB, "b write n new", WITH_NEW, WITH_NEW, "downloaded=1 unchanged=2", "add at destination"),
    (DB, "a write f second", BOTH, BOTH, "downloaded=1 unchanged=1 trash.a=second", "modify at source"),
    (
        DB,
        "b write f second",
        SECOND,
        SECOND,
        "downloaded=1 unchanged=1 trash.a=first",
        "modify at destination",
    ),
    (DB, "a rm f", BOTH, BOTH, "downloaded=1 unchanged=1", "delete at source"),
    (DB, "b rm f", BOTH, GONE, "left_alone=1 unchanged=1", "delete at destination"),
    (
        DB,
        "b mv f g",
        COPIED,
        MOVED,
        "renamed_source=1 unchanged=1 bytes.downloaded=0",
        "rename at destination",
    ),
    // The strict reading of the quick table.
    (STRICT, "a write n new", WITH_NEW, WITH_NEW, "uploaded=1 unchanged=2", "add at source"),
    (STRICT, "b write n new", BOTH, WITH_NEW, "left_alone=1 unchanged=2", "add at destination"),
    (STRICT, "a write f second", SECOND, SECOND, "uploaded=1 unchanged=1 trash.b=first", "modify at source"),
    (STRICT, "b write f second", BOTH, SECOND, "left_alone=1 unchanged=1", "modify at destination"),
    (STRICT, "a rm f", GONE, BOTH, "left_alone=1 unchanged=1", "delete at source"),
    (STRICT, "b rm f", BOTH, BOTH, "uploaded=1 unchanged=1", "delete at destination"),
    (
        STRICT,
        "a mv f g",
        MOVED,
        COPIED,
        "renamed_destination=1 unchanged=1 bytes.uploaded=0",
        "rename at source",
    ),
    // What the page leaves open, as docs/SEMANTICS.md decides it.
    (
        STD,
        "a write f second; b write f third",
        SECOND,
        SECOND,
        "uploaded=1 unchanged=1 trash.b=third",
        "modify both",
    ),
    (
        DTS,
        "a write f third; b write f second",
        SECOND,
        SECOND,
        "downloaded=1 unchanged=1 trash.a=third",
        "modify both",
    ),
    (
        SB,
        "a write f second; b write f third",
        SECOND,
        SECOND,
        "uploaded=1 conflicts=1 unchanged=1 trash.b=third",
        "modify both",
    ),
    (
        DB,
        "a write f third; b write f second",
        SECOND,
        SECOND,
        "downloaded=1 conflicts=1 unchanged=1 trash.a=third",
        "modify both",
    ),
    (
        SB,
        "a rm f; b write f second",
        GONE,
        SECOND,
        "left_alone=1 unchanged=1",
        "deleted at source, changed at destination",
    ),
    (
        DB,
        "b rm f; a write f second",
        SECOND,
        GONE,
        "left_alone=1 unchanged=1",
        "deleted at destination, changed at source",
    ),
    (
        STD,
        "a rm f; b write f second",
        GONE,
        GONE,
        "deleted_destination=1 unchanged=1 trash.b=second",
        "edit undone",
    ),
    (
        DTS,
        "b rm f; a write f second",
        GONE,
        GONE,
        "deleted_source=1 unchanged=1 trash.a=second",
        "edit undone",
    ),
    (
        STD,
        "b mv f g",
        BOTH,
        BOTH,
        "uploaded=1 deleted_destination=1 unchanged=1 trash.b=first",
        "rename undone",
    ),
    (DTS, "a mv f g", BOTH, BOTH, "downloaded=1 deleted_source=1 unchanged=1 trash.a=first", "rename undone"),
    (
        SB,
        "b mv f g",
        COPIED,
        COPIED,
        "uploaded=1 downloaded=1 unchanged=1",
        "rename at destination adds a name",
    ),
    (DB, "a mv f g", COPIED, BOTH, "downloaded=1 left_alone=1 unchanged=1", "rename at source is left"),
    (TWO_WAY, "a rm f; b rm f", GONE, GONE, "unchanged=1", "delete at both sides"),
];

/// Returns the rows as cases.
pub(super) fn cases() -> Vec<Case> {
    let case = |&(mode, edit, a, b, says, what): &Row| {
        let from_source = !matches!(mode, DTS | DB);
        let start: Step = if from_source {
            ("a write f first; a write keep keep", mode, BOTH, BOTH, "uploaded=2")
        } else {
            ("b write f first; b write keep keep", mode, BOTH, BOTH, "downloaded=2")
        };
        let steps: &'static [Step] = Vec::leak(vec![start, (edit, mode, a, b, says)]);
        let name: &'static str = String::leak(format!("{mode}: {what}"));
        (name, steps)
    };
    ROWS.iter().map(case).collect()
}
