//! Golden tables: the reference page row by row, and what it leaves open.

use super::super::*;

/// Every row of the page's Scenarios tables but those about renames, which are not decided path by path.
#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn the_rows_of_the_page() {
    use Sight::{Absent, Changed, New, Same};
    use SyncMode::*;
    let upload = Step::Copy { to: Side::Destination };
    let download = Step::Copy { to: Side::Source };
    let delete_source = Step::Delete { on: Side::Source };
    let delete_destination = Step::Delete { on: Side::Destination };
    let (source, destination) = (Side::Source, Side::Destination);
    let rows: &[(SyncMode, &str, &str, Sight, Sight, Step, Reason)] = &[
        (TwoWay, "Add file at source", "Upload to destination", New, Absent, upload, Reason::Added(source)),
        (
            TwoWay,
            "Add file at destination",
            "Download to source",
            Absent,
            New,
            download,
            Reason::Added(destination),
        ),
        (
            TwoWay,
            "Modify file at source",
            "Upload to destination",
            Changed,
            Same,
            upload,
            Reason::Changed(source),
        ),
        (
            TwoWay,
            "Modify file at destination",
            "Download to source",
            Same,
            Changed,
            download,
            Reason::Changed(destination),
        ),
        (
            TwoWay,
            "Modify file at both sides",
            "Conflict (resolve based on strategy)",
            Changed,
            Changed,
            download,
            Reason::Strategy(ConflictStrategy::NewestWins, destination),
        ),
        (
            TwoWay,
            "Delete file at source",
            "Delete at destination",
            Absent,
            Same,
            delete_destination,
            Reason::Deleted(source),
        ),
        (
            TwoWay,
            "Delete file at destination",
            "Delete at source",
            Same,
            Absent,
            delete_source,
            Reason::Deleted(destination),
        ),
        (
            SourceToDestination,
            "Add file at source",
            "Upload to destination",
            New,
            Absent,
            upload,
            Reason::Added(source),
        ),
        (
            SourceToDestination,
            "Add file at destination",
            "Delete at destination (not in source)",
            Absent,
            New,
            delete_destination,
            Reason::NotOnAuthority(source),
        ),
        (
            SourceToDestination,
            "Modify file at source",
            "Upload to destination",
            Changed,
            Same,
            upload,
            Reason::Changed(source),
        ),
        (
            SourceToDestination,
            "Modify file at destination",
            "Overwrite with source version",
            Same,
            Changed,
            upload,
            Reason::Reverted(source),
        ),
        (
            SourceToDestination,
            "Delete file at source",
            "Delete at destination",
            Absent,
            Same,
            delete_destination,
            Reason::Deleted(source),
        ),
        (
            SourceToDestination,
            "Delete file at destination",
            "Re-upload from source",
            Same,
            Absent,
            upload,
            Reason::Restored(destination),
        ),
        (
            SourceBackup,
            "Add file at source",
            "Upload to destination",
            New,
            Absent,
            upload,
            Reason::Added(source),
        ),
        (
            SourceBackup,
            "Add file at destination",
            "Download to source",
            Absent,
            New,
            download,
            Reason::Added(destination),
        ),
        (
            SourceBackup,
            "Modify file at source",
            "Upload to destination",
            Changed,
            Same,
            upload,
            Reason::Changed(source),
        ),
        (
            SourceBackup,
            "Modify file at destination",
            "Download to source",
            Same,
            Changed,
            download,
            Reason::Changed(destination),
        ),
        (
            SourceBackup,
            "Delete file at source",
            "NO ACTION (backup preserved)",
            Absent,
            Same,
            Step::Entomb,
            Reason::BackupKeeps(source),
        ),
        (
            SourceBackup,
            "Delete file at destination",
            "Re-upload from source",
            Same,
            Absent,
            upload,
            Reason::Restored(destination),
        ),
        (
            DestinationToSource,
            "Add file at source",
            "Delete at source (not in destination)",
            New,
            Absent,
            delete_source,
            Reason::NotOnAuthority(destination),
        ),
        (
            DestinationToSource,
            "Add file at destination",
            "Download to source",
            Absent,
            New,
            download,
            Reason::Added(destination),
        ),
        (
            DestinationToSource,
            "Modify file at source",
            "Overwrite with destination version",
            Changed,
            Same,
            download,
            Reason::Reverted(destination),
        ),
        (
            DestinationToSource,
            "Modify file at destination",
            "Download to source",
            Same,
            Changed,
            download,
            Reason::Changed(destination),
        ),
        (
            DestinationToSource,
            "Delete file at source",
            "Re-download from destination",
            Absent,
            Same,
            download,
            Reason::Restored(source),
        ),
        (
            DestinationToSource,
            "Delete file at destination",
            "Delete at source",
            Same,
            Absent,
            delete_source,
            Reason::Deleted(destination),
        ),
        (
            DestinationBackup,
            "Add file at source",
            "NO ACTION (ignored)",
            New,
            Absent,
            Step::LeaveAlone,
            Reason::NotTakenOver(source),
        ),
        (
            DestinationBackup,
            "Add file at destination",
            "Download to source",
            Absent,
            New,
            download,
            Reason::Added(destination),
        ),
        (
            DestinationBackup,
            "Modify file at source",
            "Overwrite with destination version",
            Changed,
            Same,
            download,
            Reason::Reverted(destination),
        ),
        (
            DestinationBackup,
            "Modify file at destination",
            "Download to source",
            Same,
            Changed,
            download,
            Reason::Changed(destination),
        ),
        (
            DestinationBackup,
            "Delete file at source",
            "Re-download from destination",
            Absent,
            Same,
            download,
            Reason::Restored(source),
        ),
        (
            DestinationBackup,
            "Delete file at destination",
            "NO ACTION (backup preserved)",
            Same,
            Absent,
            Step::Entomb,
            Reason::BackupKeeps(destination),
        ),
    ];
    for &(mode, change, action, at_source, at_destination, step, reason) in rows {
        let known = at_source != New && at_destination != New;
        let base = if known { Base::Agreed } else { Base::None };
        let newer = Some(Side::Destination);
        let facts = Facts { base, source: at_source, destination: at_destination, equal: false, newer };
        let policy =
            Policy { mode, pull: true, conflict: ConflictStrategy::default(), first_sync_winner: None };
        let verdict = decide(facts, policy);
        assert_eq!((verdict.step, verdict.reason), (step, reason), "{mode}: {change}: {action}");
    }
}

/// What the page leaves open, as decided in docs/SEMANTICS.md.
#[test]
fn the_rows_beside_the_page() {
    use Sight::*;
    use SyncMode::*;
    let case = |mode, pull, base, source, destination| {
        let facts = Facts { base, source, destination, equal: false, newer: Some(Side::Source) };
        let policy = Policy { mode, pull, conflict: ConflictStrategy::NewestWins, first_sync_winner: None };
        let verdict = decide(facts, policy);
        (verdict.step, verdict.reason, verdict.conflict)
    };
    let upload = Step::Copy { to: Side::Destination };
    let download = Step::Copy { to: Side::Source };
    let (src, dst) = (Side::Source, Side::Destination);
    // Deleted here, changed there.
    assert_eq!(
        case(TwoWay, true, Base::Agreed, Absent, Changed),
        (download, Reason::EditSurvives(dst), true)
    );
    assert_eq!(case(TwoWay, true, Base::Agreed, Changed, Absent), (upload, Reason::EditSurvives(src), true));
    assert_eq!(
        case(SourceBackup, true, Base::Agreed, Absent, Changed),
        (Step::Entomb, Reason::BackupKeeps(src), false)
    );
    assert_eq!(
        case(DestinationBackup, true, Base::Agreed, Changed, Absent),
        (Step::Entomb, Reason::BackupKeeps(dst), false)
    );
    // Changed on both sides, with authority.
    assert_eq!(
        case(SourceToDestination, true, Base::Agreed, Changed, Changed),
        (upload, Reason::AuthorityWins(src), false)
    );
    assert_eq!(
        case(SourceBackup, true, Base::Agreed, Changed, Changed),
        (upload, Reason::AuthorityWins(src), true)
    );
    assert_eq!(
        case(DestinationBackup, true, Base::None, New, New),
        (download, Reason::AuthorityWins(dst), true)
    );
    // Strict upload-only backup.
    assert_eq!(
        case(SourceBackup, false, Base::Agreed, Same, Changed),
        (Step::LeaveAlone, Reason::NotTakenOver(dst), false)
    );
    assert_eq!(
        case(SourceBackup, false, Base::None, Absent, New),
        (Step::LeaveAlone, Reason::NotTakenOver(dst), false)
    );
    // Tombstones.
    assert_eq!(
        case(SourceBackup, true, Base::Tombstone, Absent, New),
        (Step::LeaveAlone, Reason::BackupKeeps(src), false)
    );
    assert_eq!(
        case(SourceBackup, true, Base::Tombstone, New, New),
        (upload, Reason::AuthorityWins(src), true)
    );
    assert_eq!(case(SourceBackup, true, Base::Tombstone, New, Absent), (upload, Reason::Added(src), false));
    assert_eq!(
        case(DestinationBackup, true, Base::Tombstone, New, Absent),
        (Step::LeaveAlone, Reason::BackupKeeps(dst), false)
    );
    assert_eq!(
        case(SourceBackup, true, Base::Tombstone, Absent, Absent),
        (Step::Forget, Reason::GoneOnBoth, false)
    );
    // Nothing to do.
    assert_eq!(case(TwoWay, true, Base::Agreed, Same, Same), (Step::Nothing, Reason::Unchanged, false));
    assert_eq!(case(TwoWay, true, Base::Agreed, Same, Touched), (Step::Adopt, Reason::Touched, false));
    assert_eq!(case(TwoWay, true, Base::Agreed, Absent, Absent), (Step::Forget, Reason::GoneOnBoth, false));
    assert_eq!(case(TwoWay, true, Base::None, Absent, Absent), (Step::Nothing, Reason::Unchanged, false));
}

#[test]
fn reasons_are_words_for_people() {
    let (source, conflict) = (Side::Source, ConflictStrategy::NewestWins);
    for (reason, words) in [
        (Reason::Unchanged, "unchanged"),
        (Reason::Unknown, "could not be judged"),
        (Reason::Touched, "touched, same content"),
        (Reason::EqualContent, "same content on both sides"),
        (Reason::GoneOnBoth, "deleted on both sides"),
        (Reason::Added(source), "added at source"),
        (Reason::Changed(source), "changed at source"),
        (Reason::Deleted(source), "deleted at source"),
        (Reason::Restored(source), "missing at source, copied again"),
        (Reason::NotOnAuthority(source), "not at source, which is mirrored"),
        (Reason::Reverted(source), "changed at destination, overwritten with source"),
        (Reason::AuthorityWins(source), "changed on both sides, source wins"),
        (Reason::FirstSync(source), "first sync, source wins"),
        (Reason::EditSurvives(source), "changed at source and deleted at destination: the edit survives"),
        (Reason::Strategy(conflict, source), "conflict, newest-wins: source"),
        (Reason::Manual, "changed on both sides, left for you to decide"),
        (Reason::Tie, "changed on both sides at the same or an unknown time"),
        (Reason::BackupKeeps(source), "deleted at source, the backup keeps it"),
        (Reason::NotTakenOver(source), "only at source, this mode leaves it"),
        (Reason::Renamed(source), "renamed at source"),
        (Reason::FileAgainstFolder, "a file on one side, a folder on the other"),
        (Reason::NameCollision(source), "a file and a folder of the same name at source"),
        (Reason::TooManyCopies, "too many conflict copies of this file"),
        (Reason::CopyNameTaken, "the name for its conflict copy is that of another file"),
    ] {
        assert_eq!(reason.to_string(), words);
    }
}
