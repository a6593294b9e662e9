//! Names count only as they are listed: on sticks with exFAT and NTFS, and on disks that the test serves itself.

use std::fs;
use std::path::Path;

use super::{failed, shown, sync, write};
use crate::local::skip;
use crate::support::bench::Bench;
use crate::support::fuse::{Disk, case_folded, in_own_mounts, plain};
use crate::support::stick::Stick;

/// Calls `each` with every kind of stick.
fn on_sticks(test: &str, mut each: impl FnMut(&Bench, &mut Stick)) {
    if !in_own_mounts(test, skip) {
        return;
    }
    for kind in Stick::KINDS {
        if let Some(mut stick) = Stick::new(kind, skip) {
            each(&Bench::new(), &mut stick);
        }
    }
}

/// What somebody does to names, and what both sides have in the end. A pair of names is a rename, `name=content` an edit.
const RESPELLED: [(&str, &str, &str); 11] = [
    ("readme.md=one o=two", "readme.md README.md", "README.md=one o=two"),
    ("readme.md=one o=two", "readme.md README.md;README.md=edited", "README.md=edited o=two"),
    ("d/readme=one d/o=two", "d/readme d/ReadMe", "d/ReadMe=one d/o=two"),
    ("Docs/a=1 Docs/b=2 Docs/c/d=3 o=4", "Docs docs", "docs/a=1 docs/b=2 docs/c/d=3 o=4"),
    ("x/Docs/a=1 x/Docs/b=2", "x/Docs x/docs", "x/docs/a=1 x/docs/b=2"),
    ("A/B/c=1 A/B/d=2", "A a;a/B a/b", "a/b/c=1 a/b/d=2"),
    ("Docs/a=1 Docs/b=2", "Docs docs;docs/a docs/A", "docs/A=1 docs/b=2"),
    ("Docs/a=1 Docs/b=2", "Docs docs;docs/a=edited;docs/n=new", "docs/a=edited docs/b=2 docs/n=new"),
    ("Docs/a=1 Docs/b=2", "Docs docs;docs/a moved", "docs/b=2 moved=1"),
    ("empty= o=two", "empty EMPTY", "EMPTY= o=two"),
    ("File=one file2=two", "File tmp;file2 FILE;tmp FILE2", "FILE=two FILE2=one"),
];

fn act(root: &Path, deeds: &str) {
    for deed in deeds.split(';') {
        match deed.split_once(' ') {
            // By way of another name, as whoever works on such a disk must.
            Some((old, new)) => {
                fs::rename(root.join(old), root.join("between")).unwrap();
                fs::rename(root.join("between"), root.join(new)).unwrap();
            }
            None => write(root, deed),
        }
    }
}

#[test]
fn a_rename_of_case_alone_arrives_on_a_stick_and_comes_back_from_it() {
    let mut count = 0;
    on_sticks(
        "evidence::names::a_rename_of_case_alone_arrives_on_a_stick_and_comes_back_from_it",
        |bench, stick| {
            for mode in ["twoWay", "sourceToDestination"] {
                for (number, (before, deeds, after)) in RESPELLED.into_iter().enumerate() {
                    for at_stick in [false, true] {
                        if at_stick && mode != "twoWay" {
                            continue;
                        }
                        let what = format!("{} {mode} {at_stick} {before}: {deeds}", stick.path.display());
                        let name = format!("{mode}{number}{at_stick}");
                        let (here, there) = (bench.path(&format!("here{name}")), stick.path.join(&name));
                        fs::create_dir(&here).unwrap();
                        fs::create_dir(&there).unwrap();
                        write(&here, before);
                        let options = ["--mode", mode, "--allow-mass-delete"];
                        assert_eq!(sync(bench, &here, &there, &options).0, 0, "{what}");
                        assert_eq!(shown(&there), shown(&here), "{what}");
                        act(if at_stick { &there } else { &here }, deeds);
                        // What cannot be paired as a rename may take a run more: its old name goes first.
                        let (code, report) = sync(bench, &here, &there, &options);
                        assert_eq!((code, failed(&report)), (0, Vec::new()), "{what}: {report}");
                        assert_eq!(
                            (shown(&here), shown(&there)),
                            (after.into(), after.into()),
                            "{what}: {report}"
                        );
                        if number < 2 {
                            stick.replug();
                        }
                        let (code, report) = sync(bench, &here, &there, &options);
                        let counts = &report["counts"];
                        assert_eq!((code, counts["failed"].as_u64()), (0, Some(0)), "{what}: {report}");
                        assert_eq!(
                            (shown(&here), shown(&there)),
                            (after.into(), after.into()),
                            "{what}: {report}"
                        );
                        let files = u64::try_from(after.split(' ').count()).unwrap();
                        assert_eq!(counts["unchanged"], files, "{what}: {report}");
                        count += 1;
                    }
                }
            }
        },
    );
    if count > 0 {
        println!("ci: renames of case alone on sticks: {count}");
    }
}

#[test]
fn of_two_names_that_a_stick_cannot_hold_apart_both_fail_and_neither_is_touched() {
    let test =
        "evidence::names::of_two_names_that_a_stick_cannot_hold_apart_both_fail_and_neither_is_touched";
    on_sticks(test, |bench, stick| {
        let folds = {
            write(&stick.path, "probe=1");
            let folds = stick.path.join("PROBE").exists();
            fs::remove_file(stick.path.join("probe")).unwrap();
            folds
        };
        for mode in ["twoWay", "sourceToDestination", "sourceBackup"] {
            for (number, (files, clashing)) in [
                ("list.txt=lower LIST.txt=UPPER o=other", vec!["LIST.txt", "list.txt"]),
                ("D/a=1 d/b=2 o=other", vec!["D/a", "d/b"]),
                ("x/D/a=1 x/d/a=2 o=other", vec!["x/D/a", "x/d/a"]),
            ]
            .into_iter()
            .enumerate()
            {
                let what = format!("{} {mode} {files}", stick.path.display());
                let name = format!("{mode}{number}");
                let (here, there) = (bench.path(&format!("here{name}")), stick.path.join(&name));
                fs::create_dir(&here).unwrap();
                fs::create_dir(&there).unwrap();
                write(&here, files);
                let before = shown(&here);
                for run in 0..3 {
                    let (code, report) = sync(bench, &here, &there, &["--mode", mode]);
                    assert_eq!(shown(&here), before, "{what} {run}: {report}");
                    if folds {
                        let expected: Vec<_> = clashing
                            .iter()
                            .map(|name| ((*name).to_owned(), "name-clash".to_owned()))
                            .collect();
                        assert_eq!((code, failed(&report)), (1, expected), "{what} {run}: {report}");
                        assert_eq!(shown(&there), "o=other", "{what} {run}");
                    } else {
                        assert_eq!((code, shown(&there)), (0, before.clone()), "{what} {run}: {report}");
                    }
                    if mode == "twoWay" {
                        stick.replug();
                    }
                }
            }
        }
    });
}

/// A name that was synced, and then another one that is the same there: neither is touched until one of them is gone.
#[test]
fn a_clash_with_what_is_there_is_told_of_both_and_ends_with_it() {
    let test = "evidence::names::a_clash_with_what_is_there_is_told_of_both_and_ends_with_it";
    if !in_own_mounts(test, skip) {
        return;
    }
    for mode in ["twoWay", "sourceToDestination"] {
        let (bench, disk) = (Bench::new(), Disk::new(case_folded, plain).mount());
        let (here, there) = (bench.path("a"), disk.folder("tree"));
        write(&here, "list=1 o=2");
        assert_eq!(sync(&bench, &here, &there, &["--mode", mode]).0, 0);
        write(&here, "LIST=3 list=edited");
        for run in 0..3 {
            let (code, report) = sync(&bench, &here, &there, &["--mode", mode]);
            let clash = |name: &str| (name.to_owned(), "name-clash".to_owned());
            assert_eq!(
                (code, failed(&report)),
                (1, vec![clash("LIST"), clash("list")]),
                "{mode} {run}: {report}"
            );
            for failure in report["failures"].as_array().unwrap() {
                let message = failure["error"].as_str().unwrap();
                assert!(message.contains("`LIST`") && message.contains("`list`"), "{message}");
            }
            assert_eq!(shown(&there), "list=1 o=2", "{mode} {run}");
            let (_, plan) = bench.json(&[
                "plan",
                here.to_str().unwrap(),
                there.to_str().unwrap(),
                "--state-dir",
                "state",
                "--mode",
                mode,
            ]);
            assert_eq!(failed(&plan), [clash("LIST"), clash("list")], "a plan tells it too: {plan}");
        }
        fs::remove_file(here.join("list")).unwrap();
        // What was there leaves first; then the other one can come.
        let (code, report) = sync(&bench, &here, &there, &["--mode", mode]);
        assert_eq!((code, shown(&there)), (0, "LIST=3 o=2".into()), "{mode}: {report}");
        assert_eq!(shown(&here), "LIST=3 o=2", "{mode}");
    }
}

/// A disk that begins to fold names has lost one of two: that is no deletion.
#[test]
fn a_name_whose_place_another_one_has_taken_is_not_deleted_at_the_other_side() {
    let test = "evidence::names::a_name_whose_place_another_one_has_taken_is_not_deleted_at_the_other_side";
    if !in_own_mounts(test, skip) {
        return;
    }
    for (one, other) in [("File", "file"), ("D/x", "d/x")] {
        let (bench, disk) = (Bench::new(), Disk::new(plain, plain).mount());
        let (here, there) = (bench.path("a"), disk.folder("tree"));
        write(&here, &format!("{one}=1 {other}=2 o=3"));
        assert_eq!(sync(&bench, &here, &there, &[]).0, 0);
        let before = shown(&here);
        let gone = Path::new(other).components().next().unwrap();
        let gone = there.join(gone);
        if gone.is_dir() {
            fs::remove_dir_all(gone).unwrap();
        } else {
            fs::remove_file(gone).unwrap();
        }
        disk.disk().begin_to_fold(case_folded);
        for run in 0..2 {
            let (code, report) = sync(&bench, &here, &there, &[]);
            assert_eq!(shown(&here), before, "{one} {run}: {report}");
            let codes: Vec<_> = failed(&report).into_iter().map(|(_, code)| code).collect();
            assert_eq!((code, codes), (1, vec!["name-clash".to_owned(); 2]), "{one} {run}: {report}");
        }
    }
}

/// As lowntfs-3g does with `ignore_case`: what is made as `Photo.JPG` is listed as `photo.jpg`.
#[test]
fn a_disk_that_keeps_small_letters_only_takes_no_other_names() {
    let test = "evidence::names::a_disk_that_keeps_small_letters_only_takes_no_other_names";
    if !in_own_mounts(test, skip) {
        return;
    }
    for mode in ["twoWay", "sourceToDestination", "sourceBackup"] {
        let (bench, disk) = (Bench::new(), Disk::new(case_folded, case_folded).mount());
        let (here, there) = (bench.path("a"), disk.folder("tree"));
        write(&here, "Photo.JPG=precious Docs/a=1 o=two");
        for run in 0..3 {
            let (code, report) = sync(&bench, &here, &there, &["--mode", mode]);
            assert_eq!(shown(&here), "Docs/a=1 Photo.JPG=precious o=two", "{mode} {run}: {report}");
            let expected = ["Docs/a", "Photo.JPG"].map(|name| (name.into(), "unmappable-name".into()));
            assert_eq!((code, failed(&report)), (1, expected.to_vec()), "{mode} {run}: {report}");
            assert_eq!(shown(&there), "o=two", "{mode} {run}: {report}");
        }
        // The trash has small letters there too.
        write(&here, "o=edited");
        assert_eq!(sync(&bench, &here, &there, &["--mode", mode]).0, 1);
        let trash = || fs::read_dir(there.join(".syncengine/trash")).unwrap().count();
        assert_eq!(trash(), 1, "{mode}");
        sync(&bench, &here, &there, &["--mode", mode, "--trash-max", "1"]);
        assert_eq!(trash(), 0, "{mode}");
    }
}

#[test]
fn a_name_that_a_stick_cannot_hold_is_said_to_be_one() {
    let test = "evidence::names::a_name_that_a_stick_cannot_hold_is_said_to_be_one";
    on_sticks(test, |bench, stick| {
        // NTFS takes any name here.
        if stick.path.join("?").to_str().is_some_and(|probe| fs::write(probe, "x").is_ok()) {
            return;
        }
        let (here, there) = (bench.path("a"), stick.path.join("tree"));
        fs::create_dir(&there).unwrap();
        write(&here, "q?x:y=1 d:e/f=2 fine=3");
        for _ in 0..2 {
            let (code, report) = sync(bench, &here, &there, &[]);
            let expected = ["d:e/f", "q?x:y"].map(|name| (name.into(), "unmappable-name".into()));
            assert_eq!((code, failed(&report)), (1, expected.to_vec()), "{report}");
            assert_eq!(shown(&there), "fine=3");
        }
    });
}

/// What is ours keeps being ours, whatever somebody has made of its name.
#[test]
fn what_is_ours_is_known_by_any_spelling() {
    if !in_own_mounts("evidence::names::what_is_ours_is_known_by_any_spelling", skip) {
        return;
    }
    for mode in ["twoWay", "sourceToDestination", "sourceBackup"] {
        let (bench, disk) = (Bench::new(), Disk::new(case_folded, plain).mount());
        let (here, there) = (bench.path("a"), disk.folder("tree"));
        write(&here, "f=1 k=2");
        assert_eq!(sync(&bench, &here, &there, &["--mode", mode]).0, 0);
        fs::rename(there.join(".syncengine"), there.join("between")).unwrap();
        fs::rename(there.join("between"), there.join(".SYNCENGINE")).unwrap();
        for edit in ["f=two", "f=three", "f=four"] {
            write(&here, edit);
            let (code, report) = sync(&bench, &here, &there, &["--mode", mode]);
            assert_eq!((code, failed(&report)), (0, Vec::new()), "{mode} {edit}: {report}");
            assert_eq!(report["counts"]["deleted_destination"], 0, "{mode} {edit}: {report}");
            assert_eq!(shown(&here), format!("{edit} k=2"), "{mode}");
        }
    }
}

#[test]
fn empty_folders_in_another_spelling_give_way_to_many_files_at_once() {
    let test = "evidence::names::empty_folders_in_another_spelling_give_way_to_many_files_at_once";
    if !in_own_mounts(test, skip) {
        return;
    }
    let files: Vec<_> = (0..40).map(|number| format!("ab/c{}/f{number}=x", number % 5)).collect();
    for mode in ["twoWay", "sourceToDestination", "sourceBackup"] {
        let (bench, disk) = (Bench::new(), Disk::new(case_folded, plain).mount());
        let (here, there) = (bench.path("a"), disk.folder("tree"));
        fs::create_dir_all(there.join("Ab/C3")).unwrap();
        fs::create_dir_all(there.join("Ab/x")).unwrap();
        write(&here, &files.join(" "));
        let (code, report) = sync(&bench, &here, &there, &["--mode", mode]);
        assert_eq!((code, failed(&report)), (0, Vec::new()), "{mode}: {report}");
        assert_eq!(shown(&there), shown(&here), "{mode}");
    }
}

/// A folder is spelled anew on one side, while files are added to it on the other one, which folds names.
#[test]
fn what_is_added_to_a_folder_that_is_spelled_anew_elsewhere_goes_with_it() {
    let test = "evidence::names::what_is_added_to_a_folder_that_is_spelled_anew_elsewhere_goes_with_it";
    if !in_own_mounts(test, skip) {
        return;
    }
    for mode in ["twoWay", "sourceBackup"] {
        for swapped in [false, true] {
            if swapped && mode != "twoWay" {
                continue;
            }
            let (bench, disk) = (Bench::new(), Disk::new(case_folded, plain).mount());
            let (here, there) = (bench.path("a"), disk.folder("tree"));
            let run = || {
                let sides = if swapped { [&there, &here] } else { [&here, &there] };
                sync(&bench, sides[0], sides[1], &["--mode", mode])
            };
            write(&here, "Cd/ef=1 Cd/Gh/i=2 ab=3");
            assert_eq!(run().0, 0);
            fs::rename(here.join("Cd"), here.join("cD")).unwrap();
            fs::rename(here.join("cD/Gh"), here.join("cD/gH")).unwrap();
            write(&there, "Cd/new=4 Cd/Gh/new=5");
            for _ in 0..2 {
                let (code, report) = run();
                assert_eq!((code, failed(&report)), (0, Vec::new()), "{mode} {swapped}: {report}");
                let expected = "ab=3 cD/ef=1 cD/gH/i=2 cD/gH/new=5 cD/new=4";
                assert_eq!(shown(&here), expected, "{mode} {swapped}: {report}");
                assert_eq!(shown(&there), expected, "{mode} {swapped}: {report}");
            }
        }
    }
}
