//! Every guard at its exact boundaries, with and without its flag, over plans made by hand.

use super::*;
use crate::entry::Entry;
use crate::fingerprint::{ETag, Fingerprint};
use crate::key::Key;
use crate::plan::{Action, Copy, Reason};

const EVERY_FLAG: Limits = Limits {
    max_delete: None,
    allow_mass_delete: true,
    allow_empty_side: true,
    allow_unseen: true,
    accept_root: true,
    allow_mass_empty: true,
    accept_rollback: Some(AcceptRollback::KeepBoth),
};

fn entry(name: &str) -> Entry {
    let fingerprint = Fingerprint::Object(ETag::new("x"));
    Entry { key: Key::parse(name).unwrap(), size: 1, modified: None, stored: None, fingerprint }
}

fn plan_of(works: Vec<Work>) -> Plan {
    let actions = works.into_iter().enumerate().map(|(number, work)| Action {
        key: Key::parse(&format!("f{number:05}")).unwrap(),
        work,
        reason: Reason::Unchanged,
        conflict: false,
    });
    Plan { actions: actions.collect() }
}

fn delete(on: Side) -> Work {
    Work::Delete { on, entry: entry("old"), clears_way: false, copied_as: None }
}

fn copy(to: Side, over_stranger: bool) -> Work {
    Work::Copy(Copy { to, from: entry("new"), replaces: Some(entry("old")), over_stranger })
}

fn deletions(on: Side, count: usize) -> Plan {
    plan_of(vec![delete(on); count])
}

/// A view of two sides with as many files each as the base has.
fn level(files: u64) -> View {
    View { base: files, listed: Sides::new(files, files), ..View::default() }
}

fn codes(notices: &[Notice]) -> Vec<&'static str> {
    notices.iter().map(|notice| notice.code.as_str()).collect()
}

fn refusals(plan: &Plan, view: &View, limits: &Limits) -> Vec<&'static str> {
    codes(&judge(plan, view, limits).refusals)
}

fn warnings(view: &View, limits: &Limits) -> Vec<&'static str> {
    let judgement = judge(&Plan::default(), view, limits);
    assert_eq!(judgement.refusals, [], "{view:?}");
    codes(&judgement.warnings)
}

fn limit(text: &str) -> Limits {
    Limits { max_delete: Some(text.parse().unwrap()), ..Limits::default() }
}

/// Another disk in the place of the old one: an empty one may be a missing one, and files on it are somebody's.
#[test]
fn a_root_that_was_exchanged_is_asked_about_and_then_met_for_the_first_time() {
    let destination = Sides::new(false, true);
    let accept = Limits { accept_root: true, ..Limits::default() };
    let empty = View {
        mode: SyncMode::SourceToDestination,
        listed: Sides::new(30, 0),
        recognised: Sides::new(30, 0),
        root_differs: destination,
        exchanged: destination,
        went_back: destination,
        strayed: 30,
        ..level(30)
    };
    let nothing = Plan::default();
    assert_eq!(refusals(&nothing, &empty, &Limits::default()), ["empty-side", "root-changed"]);
    assert_eq!(refusals(&nothing, &empty, &accept), [""; 0]);
    // The same folder, emptied, is no other one.
    let emptied = View { exchanged: Sides::default(), root_differs: Sides::default(), ..empty.clone() };
    assert_eq!(refusals(&nothing, &emptied, &accept), ["empty-side"]);
    let strange = View { listed: Sides::new(30, 5), ..empty.clone() };
    let deletion = deletions(Side::Destination, 1);
    assert_eq!(refusals(&deletion, &strange, &accept), ["unseen-files"]);
    let unseen = Limits { allow_unseen: true, ..accept };
    assert_eq!(refusals(&deletion, &strange, &unseen), [""; 0]);
    // One that has most of the files went back, with all that is said of that.
    let most = View { listed: Sides::new(30, 20), recognised: Sides::new(30, 20), ..empty };
    assert_eq!(refusals(&deletion, &most, &Limits::default()), ["rolled-back"]);
    assert_eq!(refusals(&deletion, &View { strayed: 20, ..most }, &Limits::default()), [""; 0]);
}

#[test]
fn b41_limits_are_whole_numbers_of_files_or_whole_percentages() {
    use MaxDelete::{Files, Percent};
    for (text, expected) in [
        ("0", Files(0)),
        ("1", Files(1)),
        ("100", Files(100)),
        ("007", Files(7)),
        ("18446744073709551615", Files(u64::MAX)),
        ("0%", Percent(0)),
        ("50%", Percent(50)),
        ("100%", Percent(100)),
    ] {
        assert_eq!(text.parse::<MaxDelete>().unwrap(), expected, "{text}");
        let json = serde_json::to_string(&expected).unwrap();
        assert_eq!(serde_json::from_str::<MaxDelete>(&json).unwrap(), expected, "{json}");
    }
    assert_eq!((Files(12).to_string(), Percent(12).to_string()), ("12".into(), "12%".into()));
    assert_eq!(String::from(Percent(7)), "7%");
    for text in [
        "",
        "%",
        "101%",
        "-1",
        "-1%",
        "NaN",
        "inf",
        "+5",
        "+5%",
        " 5",
        "5 ",
        "5 %",
        "5%%",
        "%5",
        "1.5",
        "1e3",
        "0x10",
        "1_000",
        "half",
        "\u{665}",
        "18446744073709551616",
        "18446744073709551616%",
        "5\u{202e}",
    ] {
        let error = text.parse::<MaxDelete>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{text}");
        assert!(error.to_string().contains(&crate::key::escape(text.as_bytes())), "{error}");
        assert!(!error.to_string().contains('\u{202e}'), "{error}");
        assert!(error.hint().unwrap().contains('%'), "{text}");
        assert!(serde_json::from_value::<MaxDelete>(text.into()).is_err(), "{text}");
    }
    assert!(serde_json::from_str::<MaxDelete>("5").is_err(), "a number could be either");
}

#[test]
fn i10_the_default_asks_above_half_of_a_side_and_above_twenty_files() {
    // meant, base, listed on that side, refused
    for (meant, base, listed, refused) in [
        (0, 0, 0, false),
        (1, 1, 1, false),
        (9, 9, 9, false),
        (18, 21, 21, false),
        (20, 23, 23, false),
        (21, 21, 21, true),
        (21, 41, 41, true),
        (21, 42, 42, false),
        (22, 43, 43, true),
        (50, 100, 100, false),
        (51, 100, 100, true),
        // The larger of what was known and what is listed counts.
        (21, 42, 10, false),
        (21, 10, 42, false),
        (21, 41, 10, true),
        (21, 10, 41, true),
    ] {
        for side in Side::BOTH {
            let mut view = View { base, listed: Sides::new(1000, 1000), ..View::default() };
            *view.listed.get_mut(side) = listed;
            let plan = deletions(side, meant);
            // An empty side is another guard's business.
            let passing = Limits { allow_empty_side: true, ..Limits::default() };
            let judgement = judge(&plan, &view, &passing);
            let case = format!("{meant} of {base}/{listed} at {side}");
            if refused {
                let known = base.max(listed);
                assert_eq!(codes(&judgement.refusals), ["max-delete"], "{case}");
                let Notice { message, hint, .. } = &judgement.refusals[0];
                assert_eq!(
                    *message,
                    format!(
                        "{meant} files of {known} at the {side} would be deleted or overwritten unseen; \
                         the limit is 50%"
                    )
                );
                assert!(hint.contains("--allow-mass-delete"), "{hint}");
            } else {
                assert_eq!(judgement.refusals, [], "{case}");
            }
            let passing = Limits { allow_mass_delete: true, ..passing };
            assert_eq!(judge(&plan, &view, &passing).refusals, [], "{case}");
        }
    }
}

/// Nearly everything of a side goes only if something comes instead.
#[test]
fn i10_the_default_asks_before_a_side_is_cleared() {
    for (deleted, made, known, mode, refused) in [
        (10, 0, 10, SyncMode::TwoWay, true),
        (10, 0, 11, SyncMode::TwoWay, true),
        (10, 0, 12, SyncMode::TwoWay, false),
        (9, 0, 10, SyncMode::TwoWay, false),
        (10, 4, 10, SyncMode::TwoWay, true),
        (10, 5, 10, SyncMode::TwoWay, false),
        (20, 0, 20, SyncMode::SourceToDestination, true),
        (20, 10, 20, SyncMode::SourceToDestination, false),
        // A build of which every name has changed.
        (300, 150, 300, SyncMode::SourceToDestination, false),
        (300, 149, 300, SyncMode::SourceToDestination, true),
        (300, 300, 300, SyncMode::TwoWay, true),
    ] {
        for side in Side::BOTH {
            let mut works = vec![delete(side); deleted];
            let new = Work::Copy(Copy { to: side, from: entry("new"), replaces: None, over_stranger: false });
            works.extend(vec![new; made]);
            let view = View { mode, ..level(known) };
            let expected: &[&str] = if refused { &["max-delete"] } else { &[] };
            let case = format!("{deleted} of {known} at {side}, {made} new, {mode}");
            assert_eq!(refusals(&plan_of(works.clone()), &view, &Limits::default()), expected, "{case}");
            let passing = Limits { allow_mass_delete: true, ..Limits::default() };
            assert_eq!(refusals(&plan_of(works), &view, &passing), [""; 0], "{case}");
        }
    }
}

/// What comes makes up for what goes, not for what is overwritten unseen.
#[test]
fn i10_a_mirror_that_overwrites_everything_asks() {
    let new = || {
        Work::Copy(Copy { to: Side::Destination, from: entry("new"), replaces: None, over_stranger: false })
    };
    for (overwritten, deleted, made, refused) in
        [(100, 0, 0, true), (60, 2, 40, true), (21, 79, 79, false), (51, 49, 49, true), (20, 80, 80, false)]
    {
        let mut works = vec![copy(Side::Destination, true); overwritten];
        works.extend(vec![delete(Side::Destination); deleted]);
        works.extend((0..made).map(|_| new()));
        let view = View { mode: SyncMode::SourceToDestination, ..level(100) };
        let expected: &[&str] = if refused { &["max-delete"] } else { &[] };
        let case = format!("{overwritten} {deleted} {made}");
        assert_eq!(refusals(&plan_of(works.clone()), &view, &Limits::default()), expected, "{case}");
        // The answer to a side that went back passes no other guard.
        let accepted = Limits { accept_rollback: Some(AcceptRollback::Source), ..Limits::default() };
        assert_eq!(refusals(&plan_of(works), &view, &accepted), expected, "{case}");
    }
}

#[test]
fn a_first_meeting_deletes_and_overwrites_nothing_unasked() {
    let adopt = || {
        let versions = Box::new(Sides::new(entry("same"), entry("same")));
        Work::Adopt { versions, hash: None }
    };
    // Deleted, overwritten, equal, listed, winner.
    for (deleted, overwritten, equal, listed, winner, refused) in [
        (0, 0, 0, 5, None, false),
        (1, 0, 9, 10, None, true),
        (0, 1, 5, 10, None, false),
        (0, 1, 4, 10, None, true),
        (0, 6, 4, 10, None, true),
        (20, 0, 0, 20, Some(()), false),
        (15, 5, 0, 20, Some(()), false),
        (15, 6, 0, 21, Some(()), true),
        (50, 0, 50, 100, Some(()), false),
        (50, 1, 49, 100, Some(()), true),
    ] {
        for on in Side::BOTH {
            let mut works = vec![delete(on); deleted];
            works.extend(vec![copy(on, true); overwritten]);
            works.extend((0..equal).map(|_| adopt()));
            let plan = plan_of(works);
            let mode = match (winner, on) {
                (Some(()), _) => SyncMode::TwoWay,
                (None, Side::Destination) => SyncMode::SourceToDestination,
                (None, Side::Source) => SyncMode::DestinationToSource,
            };
            let first_sync_winner = winner.map(|()| on.other());
            let view = View {
                mode,
                first_sync: true,
                first_sync_winner,
                without_base: true,
                listed: Sides::new(listed, listed),
                ..View::default()
            };
            let case = format!("{deleted} {overwritten} {equal} {listed} {winner:?}");
            let expected: &[&str] = if refused { &["unseen-files"] } else { &[] };
            let limits = Limits { max_delete: Some(MaxDelete::Percent(100)), ..Limits::default() };
            assert_eq!(refusals(&plan, &view, &limits), expected, "{case}");
            for passing in [
                (view.clone(), Limits { allow_unseen: true, ..limits }),
                (view.clone(), Limits { allow_mass_delete: true, ..limits }),
                (View { is_known: true, ..view.clone() }, limits),
                (View { without_base: false, ..view.clone() }, limits),
            ] {
                assert_eq!(refusals(&plan, &passing.0, &passing.1), [""; 0], "{case}");
            }
        }
    }
}

#[test]
fn i10_a_limit_the_user_gives_has_no_floor() {
    for (text, meant, known, refused) in [
        ("0", 0, 10, false),
        ("0", 1, 10, true),
        ("3", 3, 3, false),
        ("3", 4, 1000, true),
        ("21", 21, 21, false),
        ("0%", 0, 10, false),
        ("0%", 1, 1000, true),
        ("50%", 1, 2, false),
        ("50%", 2, 3, true),
        ("10%", 1, 10, false),
        ("10%", 1, 9, true),
        ("100%", 30, 30, false),
    ] {
        for side in Side::BOTH {
            let found = judge(&deletions(side, meant), &level(known), &limit(text)).refusals;
            let case = format!("{text}: {meant} of {known}");
            assert_eq!(codes(&found), if refused { vec!["max-delete"] } else { vec![] }, "{case}");
            if refused {
                assert!(found[0].message.ends_with(&format!("the limit is {text}")), "{case}: {found:?}");
            }
            let passing = Limits { allow_mass_delete: true, ..limit(text) };
            assert_eq!(refusals(&deletions(side, meant), &level(known), &passing), [""; 0], "{case}");
        }
    }
    assert!(!over_share(u64::MAX, u64::MAX, 100), "no overflow");
    assert!(over_share(u64::MAX, u64::MAX, 99));
}

#[test]
fn i10_deletions_and_overwrites_of_strangers_count_and_nothing_else() {
    let versions = || Box::new(Sides::new(entry("a"), entry("a")));
    for side in Side::BOTH {
        let rename = Work::Rename {
            on: side,
            entry: entry("a"),
            renamed: entry("b"),
            hash: None,
            edited: true,
            keep_old: false,
        };
        let harmless = [
            copy(side, false),
            rename,
            Work::KeepBoth { winner: side, versions: versions(), aside: Key::parse("c").unwrap() },
            Work::Adopt { versions: versions(), hash: None },
            Work::Forget,
            Work::Entomb,
            Work::Unresolved,
            Work::Blocked,
            Work::LeaveAlone,
            // What is lost on the other side is judged there.
            delete(side.other()),
            copy(side.other(), true),
        ];
        for work in harmless {
            assert_eq!(meant(&plan_of(vec![work.clone(); 3]), side), 0, "{work:?}");
        }
        let plan = plan_of(vec![delete(side), copy(side, true), copy(side, false), delete(side)]);
        assert_eq!(meant(&plan, side), 3);
        assert_eq!(refusals(&plan, &level(100), &limit("3")), [""; 0]);
        assert_eq!(refusals(&plan, &level(100), &limit("2")), ["max-delete"]);
    }
    let both = plan_of(vec![delete(Side::Source), delete(Side::Destination)]);
    let judgement = judge(&both, &level(5), &limit("0"));
    assert_eq!(codes(&judgement.refusals), ["max-delete", "max-delete"]);
    assert!(judgement.refusals[0].message.starts_with("1 file of 5 at the source "));
    assert!(judgement.refusals[1].message.starts_with("1 file of 5 at the destination "));
}

#[test]
fn naming_the_winner_of_a_first_sync_is_consent_unless_it_is_empty() {
    for winner in Side::BOTH {
        let plan = deletions(winner.other(), 100);
        let mut view = View { first_sync: true, first_sync_winner: Some(winner), ..View::default() };
        *view.listed.get_mut(winner.other()) = 100;
        *view.listed.get_mut(winner) = 1;
        assert_eq!(refusals(&plan, &view, &Limits::default()), [""; 0]);
        assert_eq!(refusals(&plan, &view, &limit("99")), ["max-delete"], "a limit given still holds");
        *view.listed.get_mut(winner) = 0;
        let with_empty = Limits { allow_empty_side: true, ..Limits::default() };
        assert_eq!(refusals(&plan, &view, &with_empty), ["max-delete"]);
        let with_both = Limits { allow_mass_delete: true, ..with_empty };
        assert_eq!(refusals(&plan, &view, &with_both), [""; 0]);
        let mut both = refusals(&plan, &view, &Limits::default());
        both.sort_unstable();
        assert_eq!(both, ["empty-side", "max-delete"]);
    }
}

#[test]
fn i10_an_empty_side_stops_a_run_that_has_a_base_in_every_mode() {
    for &mode in SyncMode::ALL {
        for side in Side::BOTH {
            for files in [1, 7] {
                let mut view = View { mode, ..level(files) };
                *view.listed.get_mut(side) = 0;
                let judgement = judge(&Plan::default(), &view, &Limits::default());
                assert_eq!(codes(&judgement.refusals), ["empty-side"], "{mode} {side}");
                let Notice { message, hint, .. } = &judgement.refusals[0];
                let count = if files == 1 { "1 file was" } else { "7 files were" };
                assert_eq!(*message, format!("the {side} is empty, but {count} synced before"));
                assert!(hint.contains(&format!("the {side} is mounted")), "{hint}");
                assert!(hint.contains("--allow-empty-side"), "{hint}");
                let passing = Limits { allow_empty_side: true, ..Limits::default() };
                assert_eq!(refusals(&Plan::default(), &view, &passing), [""; 0], "{mode} {side}");
            }
        }
        let both = View { mode, base: 3, ..View::default() };
        assert_eq!(
            refusals(&Plan::default(), &both, &Limits::default()),
            ["empty-side", "empty-side"],
            "{mode}"
        );
        assert_eq!(refusals(&Plan::default(), &level(3), &Limits::default()), [""; 0], "{mode}");
        assert_eq!(refusals(&Plan::default(), &View { mode, ..level(0) }, &Limits::default()), [""; 0]);
    }
}

#[test]
fn i13_without_a_base_an_empty_side_stops_a_run_only_if_it_decides() {
    use Side::{Destination, Source};
    for &mode in SyncMode::ALL {
        for winner in [None, Some(Source), Some(Destination)] {
            for empty in Side::BOTH {
                let decides = match mode {
                    SyncMode::SourceToDestination => empty == Source,
                    SyncMode::DestinationToSource => empty == Destination,
                    _ => false,
                } || winner == Some(empty);
                let mut view = View { mode, first_sync_winner: winner, ..View::default() };
                assert_eq!(refusals(&Plan::default(), &view, &Limits::default()), [""; 0], "both are empty");
                *view.listed.get_mut(empty.other()) = 1;
                let judgement = judge(&Plan::default(), &view, &Limits::default());
                let case = format!("{mode} {winner:?} {empty}");
                if decides {
                    assert_eq!(codes(&judgement.refusals), ["empty-side"], "{case}");
                    assert_eq!(
                        judgement.refusals[0].message,
                        format!("the {empty} decides and is empty, while the {} has 1 file", empty.other())
                    );
                } else {
                    assert_eq!(judgement.refusals, [], "{case}");
                }
                let passing = Limits { allow_empty_side: true, ..Limits::default() };
                assert_eq!(refusals(&Plan::default(), &view, &passing), [""; 0], "{case}");
            }
        }
    }
}

#[test]
fn a_root_that_is_another_folder_needs_half_of_the_known_paths() {
    for (base, recognised, moved) in [
        (1, 0, false),
        (1, 1, true),
        (4, 1, false),
        (4, 2, true),
        (5, 2, false),
        (5, 3, true),
        (u64::MAX, u64::MAX, true),
    ] {
        for side in Side::BOTH {
            let mut view = level(base);
            *view.recognised.get_mut(side) = recognised;
            assert_eq!(warnings(&view, &Limits::default()), [""; 0], "the same folder");
            *view.root_differs.get_mut(side) = true;
            let judgement = judge(&Plan::default(), &view, &Limits::default());
            let case = format!("{recognised} of {base} at {side}");
            let told = if moved { &judgement.warnings } else { &judgement.refusals };
            assert_eq!(codes(told), [if moved { "root-moved" } else { "root-changed" }], "{case}");
            assert_eq!(judgement.warnings.len() + judgement.refusals.len(), 1, "{case}");
            assert_eq!(told[0].hint.contains("--accept-root"), !moved, "{case}");
            assert!(told[0].message.starts_with(&format!("the {side} is another folder")), "{case}");
            assert!(told[0].message.contains(&format!("{recognised} of {}", files(base))), "{case}");
            let passing = Limits { accept_root: true, ..Limits::default() };
            assert_eq!(warnings(&view, &passing), ["root-moved"], "{case}");
        }
    }
    let fresh = View {
        exchanged: Sides::new(false, false),
        root_differs: Sides::new(true, true),
        listed: Sides::new(3, 3),
        ..View::default()
    };
    assert_eq!(warnings(&fresh, &Limits::default()), [""; 0], "nothing is known of the old folder");
}

#[test]
fn all_known_files_changed_is_a_warning_from_ten_files_on() {
    for (base, changed, warned) in
        [(9, 9, false), (10, 10, true), (10, 9, false), (10, 0, false), (500, 500, true)]
    {
        for side in Side::BOTH {
            let mut view = level(base);
            *view.changed.get_mut(side) = changed;
            let expected = if warned { vec!["all-files-changed"] } else { vec![] };
            assert_eq!(warnings(&view, &Limits::default()), expected, "{changed} of {base} at {side}");
            assert_eq!(warnings(&view, &EVERY_FLAG), expected, "no flag silences it");
            if warned {
                let told = judge(&Plan::default(), &view, &Limits::default()).warnings;
                assert_eq!(
                    told[0].message,
                    format!("all {base} files known before have changed at the {side}")
                );
            }
        }
    }
}

#[test]
fn the_marker_of_another_pair_stops_source_wins_from_deleting() {
    let plan = deletions(Side::Destination, 1);
    let view = View {
        first_sync: true,
        first_sync_winner: Some(Side::Source),
        foreign_marker: true,
        listed: Sides::new(5, 5),
        ..View::default()
    };
    let limits = Limits::default();
    let judgement = judge(&plan, &view, &limits);
    assert_eq!(codes(&judgement.refusals), ["other-pair"]);
    assert!(judgement.refusals[0].hint.contains("--allow-mass-delete"));
    assert_eq!(refusals(&plan, &view, &Limits { allow_mass_delete: true, ..limits }), [""; 0]);
    assert_eq!(refusals(&deletions(Side::Source, 1), &view, &limits), [""; 0], "nothing is deleted there");
    assert_eq!(refusals(&plan_of(vec![copy(Side::Destination, true)]), &view, &limits), [""; 0]);
    for other in [None, Some(Side::Destination)] {
        assert_eq!(refusals(&plan, &View { first_sync_winner: other, ..view.clone() }, &limits), [""; 0]);
    }
    assert_eq!(refusals(&plan, &View { foreign_marker: false, ..view }, &limits), [""; 0]);
}

#[test]
fn a_lopsided_first_sync_is_told_from_ten_times_and_ten_more_on() {
    for (many, few, warned) in [
        (0, 0, false),
        (100, 0, false),
        (9, 1, false),
        (10, 1, false),
        (11, 1, true),
        (19, 2, false),
        (20, 2, true),
        (99, 10, false),
        (100, 10, true),
        (10, 10, false),
        (u64::MAX, u64::MAX / 10, true),
        (u64::MAX - 1, u64::MAX / 2, false),
    ] {
        for larger in Side::BOTH {
            let mut view = View { first_sync: true, ..View::default() };
            *view.listed.get_mut(larger) = many;
            *view.listed.get_mut(larger.other()) = few;
            let expected = if warned { vec!["lopsided-first-sync"] } else { vec![] };
            assert_eq!(warnings(&view, &Limits::default()), expected, "{many}, {few}, {larger}");
            let quiet = [
                View { first_sync: false, ..view.clone() },
                View { preference_given: true, ..view.clone() },
                View { mode: SyncMode::SourceBackup, ..view.clone() },
                View { mode: SyncMode::SourceToDestination, ..view },
            ];
            for view in quiet {
                assert_eq!(warnings(&view, &EVERY_FLAG), [""; 0], "{view:?}");
            }
        }
    }
    let view = View { first_sync: true, listed: Sides::new(200, 3), ..View::default() };
    let told = judge(&Plan::default(), &view, &Limits::default()).warnings;
    assert_eq!(
        told[0].message,
        "Source has 200 files but destination has only 3. Initial TWO_WAY sync will default to MERGE mode (no \
         deletions). To make source authoritative and delete destination-only files: --initial-sync source-wins"
    );
    let view = View { listed: Sides::new(3, 200), ..view };
    let told = judge(&Plan::default(), &view, &Limits::default()).warnings;
    assert!(told[0].message.starts_with("Destination has 200 files but source has only 3."), "{told:?}");
    assert!(told[0].message.ends_with("--initial-sync destination-wins"), "{told:?}");
}

#[test]
fn notices_are_written_without_empty_hints() {
    let with = serde_json::to_value(Notice::new(NoticeCode::Locked, "b", "c")).unwrap();
    assert_eq!(with, serde_json::json!({"code": "locked", "message": "b", "hint": "c"}));
    let without = serde_json::to_value(Notice::new(NoticeCode::Locked, "b", "")).unwrap();
    assert_eq!(without, serde_json::json!({"code": "locked", "message": "b"}));
}
