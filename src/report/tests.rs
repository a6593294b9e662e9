//! The fold of events, the outcome, and the keys of the JSON document.

use super::*;
use crate::code::NoticeCode;
use crate::entry::Entry;
use crate::error::{Error, ErrorKind};
use crate::event::{Effects, Silent};
use crate::fingerprint::{ETag, Fingerprint};
use crate::key::Key;
use crate::plan::Reason;
use crate::side::Side;

fn key(name: &str) -> Key {
    Key::parse(name).unwrap()
}

fn report(dry_run: bool) -> Report {
    Report::new("here".into(), "there".into(), SyncMode::TwoWay, dry_run)
}

fn line(action: &str) -> Line {
    let action = *ActionCode::ALL.iter().find(|code| code.as_str() == action).unwrap();
    Line {
        action,
        path: key("a/b.txt"),
        old_path: None,
        size: 3,
        reason: Reason::Changed(Side::Source),
        conflict: false,
        version: None,
        effects: Effects::default(),
    }
}

fn failure() -> Event {
    let error = Error::new(ErrorKind::PermissionDenied, "read `a`").with_hint("look");
    Event::Failed(Failure::new("a", "upload", &error))
}

fn notice(code: NoticeCode) -> Notice {
    Notice::new(code, "message", "")
}

/// Returns the finished report of these events.
fn folded(dry_run: bool, events: &[Event]) -> Report {
    let mut report = report(dry_run);
    for event in events {
        report.apply(event);
    }
    report.finish();
    report
}

#[test]
fn every_action_is_counted_once_under_its_name() {
    let effects = Effects { uploaded: (1, 10), downloaded: (2, 200), copied_within: 3000, unresolved: false };
    let events: Vec<_> = [
        "upload",
        "download",
        "adopt",
        "skip",
        "delete_source",
        "delete_destination",
        "rename_source",
        "rename_destination",
        "conflict",
    ]
    .into_iter()
    .enumerate()
    .flat_map(|(index, action)| vec![Event::Done(line(action)); index + 1])
    .chain([Event::Compared { unchanged: 100, first_sync: true }])
    .chain([Event::Done(Line { effects, ..line("rename_source") })])
    .collect();
    let report = folded(false, &events);
    let expected = Counts {
        unchanged: 103,
        uploaded: 1,
        downloaded: 2,
        left_alone: 4,
        deleted_source: 5,
        deleted_destination: 6,
        renamed_source: 8,
        renamed_destination: 8,
        ..Counts::default()
    };
    assert_eq!(report.counts, expected);
    assert_eq!(report.bytes, Bytes { uploaded: 10, downloaded: 200, copied_server_side: 3000 });
    assert!(report.first_sync);
    let stats = SyncStats {
        uploads: 1,
        downloads: 2,
        deletes_source: 5,
        deletes_destination: 6,
        renames_source: 8,
        renames_destination: 8,
        skips: 107,
        conflicts: 0,
        errors: 0,
    };
    assert_eq!(report.stats(), stats);
}

#[test]
fn numbers_add_up_over_the_events_of_a_run() {
    let effects = Effects { uploaded: (1, 5), downloaded: (1, 7), copied_within: 9, unresolved: true };
    let done = Event::Done(Line { conflict: true, effects, ..line("conflict") });
    let skipped = Event::Skipped { path: key("l"), side: Side::Source, why: SkipReason::Symlink };
    let passing = [
        Event::Listed { side: Side::Source, files: 1000 },
        Event::Planned { files: 1, bytes: 2, deletions: 3, renames: 4 },
        Event::Moved { bytes: 5 },
    ];
    let told = [
        Event::Warned(notice(NoticeCode::WeakPublish)),
        Event::Noted(notice(NoticeCode::FilterChanged)),
        Event::Refused(notice(NoticeCode::MaxDelete)),
        failure(),
    ];
    let events: Vec<_> =
        [done.clone(), done, skipped].into_iter().chain(passing).chain(told.clone()).chain(told).collect();
    let mut report = report(false);
    for event in &events {
        report.apply(event);
    }
    let expected = Counts {
        uploaded: 2,
        downloaded: 2,
        conflicts: 2,
        unresolved: 2,
        skipped: 1,
        failed: 2,
        ..Counts::default()
    };
    assert_eq!(report.counts, expected);
    assert_eq!(report.bytes, Bytes { uploaded: 10, downloaded: 14, copied_server_side: 18 });
    assert_eq!(report.warnings, [notice(NoticeCode::WeakPublish), notice(NoticeCode::WeakPublish)]);
    assert_eq!(report.notes, [notice(NoticeCode::FilterChanged), notice(NoticeCode::FilterChanged)]);
    assert_eq!(report.refused_by, [notice(NoticeCode::MaxDelete), notice(NoticeCode::MaxDelete)]);
    assert_eq!(report.failures.len(), 2);
    assert_eq!((report.failures[0].error.as_str(), report.failures[0].hint.as_str()), ("read `a`", "look"));
    let stats = report.stats();
    assert_eq!((stats.skips, stats.conflicts, stats.errors), (1, 2, 2));
}

#[test]
fn a_run_tells_its_deletions_renames_and_conflicts_and_a_plan_tells_all() {
    for (action, worth_telling) in [
        ("upload", false),
        ("download", false),
        ("adopt", false),
        ("skip", false),
        ("delete_source", true),
        ("delete_destination", true),
        ("rename_source", true),
        ("rename_destination", true),
        ("conflict", true),
    ] {
        let events = [Event::Done(line(action))];
        assert_eq!(folded(false, &events).actions.len(), usize::from(worth_telling), "{action}");
        assert_eq!(folded(true, &events).actions, [line(action)], "{action}");
        let settled = Line { conflict: true, ..line(action) };
        assert_eq!(folded(false, &[Event::Done(settled.clone())]).actions, [settled], "{action}");
    }
}

#[test]
fn the_outcome_is_the_worst_that_happened() {
    let unresolved = Effects { unresolved: true, ..Effects::default() };
    let waiting = || Event::Done(Line { conflict: true, effects: unresolved, ..line("conflict") });
    let refused = || Event::Refused(notice(NoticeCode::MaxDelete));
    let settled = || Event::Done(Line { conflict: true, ..line("upload") });
    for (dry_run, events, outcome, is_success) in [
        (false, vec![], Outcome::Synced, true),
        (false, vec![settled(), Event::Warned(notice(NoticeCode::WeakPublish))], Outcome::Synced, true),
        (false, vec![waiting()], Outcome::Partial, false),
        (false, vec![failure()], Outcome::Partial, false),
        (false, vec![failure(), waiting(), refused()], Outcome::Refused, false),
        (true, vec![], Outcome::Planned, true),
        (true, vec![waiting(), failure()], Outcome::Planned, true),
        (true, vec![refused()], Outcome::Refused, false),
    ] {
        let report = folded(dry_run, &events);
        assert_eq!((report.outcome, report.is_success()), (outcome, is_success), "{dry_run} {events:?}");
        for ended in [Outcome::Failed, Outcome::Cancelled] {
            let mut report = report.clone();
            report.outcome = ended;
            report.finish();
            assert_eq!((report.outcome, report.is_success()), (ended, false));
        }
    }
    assert_eq!(report(true).outcome, Outcome::Planned);
    assert_eq!(report(false).outcome, Outcome::Synced);
}

#[test]
fn what_is_skipped_is_told_once_with_ten_names_at_most() {
    let skipped = |number: usize, why| Event::Skipped {
        path: key(&format!("p{number}")),
        side: Side::Destination,
        why,
    };
    let names = |count: usize| (0..count).map(|n| format!("p{n}")).collect::<Vec<_>>().join(", ");
    for (count, listed, more) in [(1, 1, ""), (10, 10, ""), (11, 10, " and 1 more"), (25, 10, " and 15 more")]
    {
        let mut events: Vec<_> = (0..count).map(|n| skipped(n, SkipReason::EmptyFolder)).collect();
        events.push(skipped(3, SkipReason::Symlink));
        let mut report = folded(false, &events);
        assert_eq!(report.counts.skipped, count as u64 + 1);
        let expected = [
            Notice::new(NoticeCode::SkippedSymlinks, "symbolic links are not synced: 1 skipped (p3)", ""),
            Notice::new(
                NoticeCode::SkippedEmptyFolders,
                format!("empty folders are not synced: {count} skipped ({}{more})", names(listed)),
                "",
            ),
        ];
        assert_eq!(report.warnings, expected);
        assert_eq!(report.outcome, Outcome::Synced, "skipping is no failure");
        report.finish();
        assert_eq!(report.warnings.len(), 2, "told once");
    }
    let odd = [Event::Skipped { path: key("a\n"), side: Side::Source, why: SkipReason::Special }];
    assert!(folded(false, &odd).warnings[0].message.ends_with("(a\\u{a})"));
}

#[test]
fn the_document_has_every_key_of_the_contract() {
    let mut report = folded(
        true,
        &[
            Event::Done(Line { old_path: Some(key("old")), ..line("rename_source") }),
            Event::Refused(Notice::new(NoticeCode::MaxDelete, "m", "h")),
            Event::Warned(notice(NoticeCode::LopsidedFirstSync)),
            failure(),
        ],
    );
    report.conditions.put_if_match = Some(true);
    let json = serde_json::to_value(&report).unwrap();
    let keys = |at: &str| -> Vec<String> {
        let mut keys: Vec<_> = json.pointer(at).unwrap().as_object().unwrap().keys().cloned().collect();
        keys.sort();
        keys
    };
    assert_eq!(
        keys(""),
        [
            "actions",
            "bytes",
            "conditions",
            "counts",
            "destination",
            "dry_run",
            "elapsed_seconds",
            "failures",
            "first_sync",
            "mode",
            "notes",
            "outcome",
            "peak_memory_bytes",
            "refused_by",
            "requests",
            "schema",
            "source",
            "warnings",
        ]
    );
    assert_eq!(
        keys("/counts"),
        [
            "conflicts",
            "deleted_destination",
            "deleted_source",
            "downloaded",
            "failed",
            "left_alone",
            "renamed_destination",
            "renamed_source",
            "skipped",
            "unchanged",
            "unresolved",
            "uploaded",
        ]
    );
    assert_eq!(keys("/bytes"), ["copied_server_side", "downloaded", "uploaded"]);
    assert_eq!(keys("/requests"), ["copy", "delete", "get", "head", "list", "multipart", "put"]);
    assert_eq!(keys("/conditions"), ["delete_if_match", "put_if_match", "put_if_none_match"]);
    assert_eq!(keys("/refused_by/0"), ["code", "hint", "message"]);
    assert_eq!(keys("/warnings/0"), ["code", "message"]);
    assert_eq!(keys("/failures/0"), ["action", "code", "error", "hint", "path"]);
    assert_eq!(keys("/actions/0"), ["action", "old_path", "path", "reason", "size"]);
    assert_eq!(json["schema"], 1);
    assert_eq!((&json["outcome"], &json["mode"]), (&"refused".into(), &"twoWay".into()));
    assert_eq!(
        json["conditions"],
        serde_json::json!({
            "put_if_none_match": null, "put_if_match": true, "delete_if_match": null
        })
    );
    assert_eq!(json["actions"][0]["reason"], "changed at source");
}

#[test]
fn outcomes_and_errors_are_written_in_words() {
    let names = [
        (Outcome::Synced, "synced"),
        (Outcome::Planned, "planned"),
        (Outcome::Partial, "partial"),
        (Outcome::Refused, "refused"),
        (Outcome::Failed, "failed"),
        (Outcome::Cancelled, "cancelled"),
    ];
    for (outcome, name) in names {
        assert_eq!(serde_json::to_value(outcome).unwrap(), name);
    }
    let error = Error::new(ErrorKind::NotFound, "open the source").with_hint("create it");
    let mut report = report(false);
    assert!(serde_json::to_value(&report).unwrap().get("error").is_none());
    report.error = Some(ErrorLine::of(&error));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["error"], serde_json::json!({"message": "open the source", "hint": "create it"}));
}

#[test]
fn a_recorder_counts_an_event_before_it_passes_it_on() {
    #[derive(Debug, Default)]
    struct Names(Mutex<Vec<String>>);
    impl Observer for Names {
        fn observe(&self, event: &Event) {
            self.0.lock().unwrap().push(format!("{event:?}"));
        }
    }
    let names = Arc::new(Names::default());
    let recorder = Recorder::new(report(false), Arc::clone(&names) as Arc<dyn Observer>);
    recorder.fail("a", "upload", &Error::new(ErrorKind::Internal, "write `a`"));
    recorder.emit(&Event::Compared { unchanged: 2, first_sync: false });
    assert_eq!(recorder.with(|report| (report.counts.failed, report.counts.unchanged)), (1, 2));
    assert_eq!(recorder.with(|report| report.failures[0].action.clone()), "upload");
    assert_eq!(names.0.lock().unwrap().len(), 2);
    Silent.observe(&failure());
}

#[test]
fn a_line_counts_what_its_action_moves() {
    use crate::plan::{Action, Copy, Work};
    use crate::side::Sides;
    let entry = |size| Entry {
        key: key("a"),
        size,
        modified: None,
        stored: None,
        fingerprint: Fingerprint::Object(ETag::new("x")),
    };
    let of = |work| {
        Line::of(&Action { key: key("new"), work, reason: Reason::Unchanged, conflict: false })
            .map(|line| (line.action.as_str(), line.effects, line.size, line.old_path))
    };
    let copy = |to| Work::Copy(Copy { to, from: entry(7), replaces: None, over_stranger: false });
    let none = Effects::default();
    let up = Effects { uploaded: (1, 7), ..none };
    let down = Effects { downloaded: (1, 7), ..none };
    assert_eq!(of(copy(Side::Destination)), Some(("upload", up, 7, None)));
    assert_eq!(of(copy(Side::Source)), Some(("download", down, 7, None)));
    let rename = |on, edited, keep_old| Work::Rename {
        on,
        entry: entry(7),
        renamed: entry(8),
        hash: None,
        edited,
        keep_old,
    };
    let old = || Some(key("a"));
    for (on, edited, keep_old, name, effects) in [
        (Side::Source, false, false, "rename_source", none),
        (Side::Destination, false, true, "rename_destination", Effects { copied_within: 7, ..none }),
        (Side::Destination, true, false, "rename_destination", down),
        (Side::Source, true, false, "rename_source", up),
    ] {
        assert_eq!(of(rename(on, edited, keep_old)), Some((name, effects, 8, old())));
    }
    let keep = |winner| Work::KeepBoth {
        winner,
        versions: Box::new(Sides::new(entry(1), entry(20))),
        aside: key("c"),
    };
    let both = Effects { uploaded: (1, 1), downloaded: (1, 20), ..none };
    assert_eq!(of(keep(Side::Source)), Some(("conflict", both, 1, None)));
    assert_eq!(of(keep(Side::Destination)), Some(("conflict", both, 20, None)));
    assert_eq!(of(Work::Unresolved), Some(("conflict", Effects { unresolved: true, ..none }, 0, None)));
    assert_eq!(of(Work::Blocked), Some(("conflict", none, 0, None)));
    assert_eq!(of(Work::Forget), None);
}
