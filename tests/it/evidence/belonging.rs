//! What belongs to a file: owner, group, permissions, ACL and attributes, and who may use what is ours.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};

use super::{failed, sync, write};
use crate::local::skip;
use crate::support::bench::{Bench, Ran};
use crate::support::fuse::in_own_mounts;
use crate::support::stick::Stick;

fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        skip("only root can give files to others");
    }
    is_root
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

fn owner(path: &Path) -> (u32, u32) {
    let stat = fs::symlink_metadata(path).unwrap();
    (stat.uid(), stat.gid())
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Runs a program that must succeed, and returns what it says; `None`, having said so, if it is not there.
fn told(program: &str, words: &[&str], path: &Path) -> Option<String> {
    let output = Command::new(program).args(words).arg(path).output();
    match output {
        Ok(output) if output.status.success() => Some(String::from_utf8(output.stdout).unwrap()),
        other => {
            skip(&format!("{program}: {other:?}"));
            None
        }
    }
}

#[test]
fn a_run_as_root_leaves_every_file_to_whoever_it_belonged_to() {
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    let (a, b) = (bench.path("a"), bench.path("b"));
    write(&a, "diary=secret d/shared=1 d/tool=2");
    set_mode(&a.join("diary"), 0o600);
    set_mode(&a.join("d/shared"), 0o664);
    for (name, owner) in [("", 1234), ("diary", 1234), ("d", 1234), ("d/shared", 1235), ("d/tool", 1234)] {
        chown(a.join(name), Some(owner), Some(owner + 100)).unwrap();
    }
    chown(&b, Some(4321), Some(4321)).unwrap();
    assert_eq!(sync(&bench, &a, &b, &[]).0, 0);
    // Nothing is made that the owner of the tree could not use.
    for name in
        ["diary", "d", "d/shared", "d/tool", ".syncengine", ".syncengine/pairs", ".syncengine/.gitignore"]
    {
        assert_eq!(owner(&b.join(name)), (4321, 4321), "{name}");
    }
    assert_eq!(owner(&a.join(".syncengine")), (1234, 1334));
    write(&b, "diary=edited d/shared=edited d/tool=edited");
    set_mode(&b.join("d/tool"), 0o755);
    chown(b.join("d/tool"), Some(9), Some(9)).unwrap();
    let (code, report) = sync(&bench, &a, &b, &[]);
    assert_eq!((code, &report["counts"]["downloaded"]), (0, &3.into()), "{report}");
    assert_eq!((owner(&a.join("diary")), mode(&a.join("diary"))), ((1234, 1334), 0o600));
    assert_eq!((owner(&a.join("d/shared")), mode(&a.join("d/shared"))), ((1235, 1335), 0o664));
    // Only the right to execute comes with the content.
    assert_eq!((owner(&a.join("d/tool")), mode(&a.join("d/tool"))), ((1234, 1334), 0o755));
    let trash = a.join(".syncengine/trash");
    assert_eq!(owner(&trash), (1234, 1334));
    let run = fs::read_dir(&trash).unwrap().next().unwrap().unwrap().path();
    assert_eq!((owner(&run), owner(&run.join("diary"))), ((1234, 1334), (1234, 1334)));
}

/// The program as one user or another, on a folder that several may use.
fn as_user(bench: &Bench, user: u32, words: &str) -> Ran {
    let mut command = Command::new("setpriv");
    command.args([format!("--reuid={user}"), "--regid=2000".into(), "--clear-groups".into(), "--".into()]);
    command
        .arg(bench.path("syncengine"))
        .args(words.split(' '))
        .args(["--output", "json"])
        .stdin(Stdio::null());
    command.env_clear().env("HOME", bench.path("home")).env("TMPDIR", bench.path("tmp"));
    Ran::of(&command.current_dir(bench.dir.path()).output().unwrap())
}

/// A bench that everybody may enter, with the program in it.
fn open_bench() -> Bench {
    let bench = Bench::new();
    for name in ["", "home", "tmp"] {
        set_mode(&bench.path(name), 0o777);
    }
    bench.copy_program();
    bench
}

#[test]
fn neither_root_nor_a_second_account_locks_anybody_out_of_a_folder() {
    if !is_root() {
        return;
    }
    let bench = open_bench();
    for side in ["a", "b"] {
        chown(bench.path(side), Some(1234), Some(2000)).unwrap();
        set_mode(&bench.path(side), 0o2775);
    }
    write(&bench.path("a"), "f=1 d/g=2");
    for name in ["f", "d", "d/g"] {
        chown(bench.path("a").join(name), Some(1234), Some(2000)).unwrap();
    }
    let state = |user: &str| format!("sync a b --state-dir state-of-{user}");
    let by_root = bench.json(&["sync", "a", "b", "--state-dir", "state-of-root"]);
    assert_eq!(by_root.0, 0, "{by_root:?}");
    for (user, edit) in [(1234, "one"), (1235, "two"), (1234, "three"), (1236, "four")] {
        fs::write(bench.path("a/f"), edit).unwrap();
        let ran = as_user(&bench, user, &state(&user.to_string()));
        assert_eq!(ran.code, 0, "{user}: {ran:?}");
        assert_eq!(fs::read_to_string(bench.path("b/f")).unwrap(), edit, "{user}");
    }
    let trash = bench.path("b/.syncengine/trash");
    assert_eq!(mode(&trash) & 0o777, 0o775, "as open as the folder itself");
}

/// What an earlier release, or an account that is gone, has closed: the owner or root opens it again.
#[test]
fn what_is_ours_and_was_closed_is_opened_again_or_told_of() {
    if !is_root() {
        return;
    }
    let bench = open_bench();
    write(&bench.path("a"), "f=1");
    fs::create_dir_all(bench.path("a/.syncengine/trash/old")).unwrap();
    fs::create_dir_all(bench.path("a/.syncengine/pairs")).unwrap();
    for name in ["", ".syncengine", ".syncengine/trash", ".syncengine/trash/old", ".syncengine/pairs"] {
        set_mode(&bench.path("a").join(name), 0o700);
    }
    for side in ["a", "b", "a/f"] {
        chown(bench.path(side), Some(1234), Some(2000)).unwrap();
    }
    let ran = as_user(&bench, 1234, "sync a b --state-dir s1");
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(ran.stdout.contains("belongs to another account"), "it says what to do: {ran:?}");
    assert_eq!(bench.json(&["sync", "a", "b", "--state-dir", "s0"]).0, 0, "root mends it");
    for name in [".syncengine", ".syncengine/trash", ".syncengine/trash/old", ".syncengine/pairs"] {
        assert_eq!(owner(&bench.path("a").join(name)), (1234, 2000), "{name}");
    }
    let ran = as_user(&bench, 1234, "sync a b --state-dir s1");
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn what_replaces_a_file_has_its_acl_and_attributes_and_nobody_gains_a_right() {
    let bench = Bench::new();
    let (a, b) = (bench.path("a"), bench.path("b"));
    write(&a, "f=one plain=one");
    set_mode(&a.join("f"), 0o640);
    let set = |program: &str, words: &[&str], path: &Path| told(program, words, path).is_some();
    if !set("setfacl", &["-m", "u:1234:rw"], &a.join("f"))
        || !set("setfattr", &["-n", "user.comment", "-v", "mine"], &a.join("f"))
    {
        return;
    }
    let acl = |path: &Path| told("getfacl", &["-cpn"], path).unwrap();
    let before = acl(&a.join("f"));
    assert_eq!(sync(&bench, &a, &b, &[]).0, 0);
    // The folder would give to new files what the old one did not have.
    assert!(set("setfacl", &["-d", "-m", "u:4321:rwx"], &a));
    write(&b, "f=edited plain=edited new=new d/new=new");
    set_mode(&b.join("new"), 0o640);
    let plain = acl(&a.join("plain"));
    let (code, report) = sync(&bench, &a, &b, &[]);
    assert_eq!((code, failed(&report)), (0, Vec::new()), "{report}");
    assert_eq!(fs::read_to_string(a.join("f")).unwrap(), "edited");
    assert_eq!((acl(&a.join("f")), acl(&a.join("plain"))), (before, plain));
    let comment = told("getfattr", &["-n", "user.comment", "--only-values"], &a.join("f"));
    assert_eq!(comment.as_deref(), Some("mine"));
    // A new file is as the folder wants it, within what its origin lets.
    let made = acl(&a.join("new"));
    let lines: Vec<_> = made.split_whitespace().collect();
    let has = |line: &str| lines.contains(&line);
    assert!(has("user:4321:rwx") && has("mask::r--") && has("other::---"), "{made}");
}

#[test]
fn a_new_file_is_never_wider_than_its_origin_nor_is_its_folder() {
    let bench = Bench::new();
    let (a, b) = (bench.path("a"), bench.path("b"));
    write(&a, "private/deep/secret=1 tool=2 group=3 odd/x=4");
    for (name, bits) in [
        ("private", 0o700),
        ("private/deep", 0o750),
        ("private/deep/secret", 0o600),
        ("tool", 0o755),
        ("group", 0o640),
        ("odd", 0o555),
        ("odd/x", 0o444),
    ] {
        set_mode(&a.join(name), bits);
    }
    assert_eq!(sync(&bench, &a, &b, &[]).0, 0);
    for (name, bits) in [
        ("private", 0o700),
        ("private/deep", 0o750),
        ("private/deep/secret", 0o600),
        ("tool", 0o755),
        ("group", 0o640),
        // Its owner can always use it.
        ("odd", 0o755),
        ("odd/x", 0o644),
    ] {
        assert_eq!(mode(&b.join(name)), bits, "{name}");
    }
}

#[cfg(all(feature = "s3", feature = "embedded"))]
#[test]
fn bits_travel_through_a_store_with_the_content() {
    let bench = Bench::new();
    let store = ["--embedded-dir", "objects", "--state-dir", "state"];
    write(&bench.path("a"), "tool=1 secret=2 plain=3");
    for (name, bits) in [("tool", 0o755), ("secret", 0o600), ("plain", 0o644)] {
        set_mode(&bench.path("a").join(name), bits);
    }
    let large = vec![7; 20 << 20];
    fs::write(bench.path("a/large"), large).unwrap();
    set_mode(&bench.path("a/large"), 0o750);
    assert_eq!(bench.json(&[&["sync", "a", "embedded://vault"], &store[..]].concat()).0, 0);
    assert_eq!(bench.json(&[&["sync", "b", "embedded://vault"], &store[..]].concat()).0, 0);
    for (name, bits) in [("tool", 0o755), ("secret", 0o600), ("plain", 0o644), ("large", 0o750)] {
        assert_eq!(mode(&bench.path("b").join(name)), bits, "{name}");
    }
    // An edit takes the right to execute along, and what others may do there stays.
    fs::write(bench.path("b/plain"), "script").unwrap();
    set_mode(&bench.path("b/plain"), 0o777);
    set_mode(&bench.path("a/plain"), 0o640);
    assert_eq!(bench.json(&[&["sync", "b", "embedded://vault"], &store[..]].concat()).0, 0);
    assert_eq!(bench.json(&[&["sync", "a", "embedded://vault"], &store[..]].concat()).0, 0);
    assert_eq!(mode(&bench.path("a/plain")), 0o750);
}

#[test]
fn bits_of_a_stick_mean_nothing_in_either_direction() {
    if !in_own_mounts("evidence::belonging::bits_of_a_stick_mean_nothing_in_either_direction", skip) {
        return;
    }
    for kind in Stick::KINDS {
        let Some(stick) = Stick::new(kind, skip) else { continue };
        for mode_of_run in ["twoWay", "sourceToDestination", "destinationToSource"] {
            let (bench, there) = (Bench::new(), stick.path.join(mode_of_run));
            fs::create_dir(&there).unwrap();
            write(&there, "document=1");
            assert_ne!(mode(&there.join("document")) & 0o111, 0, "all is executable there");
            let here = bench.path("a");
            if mode_of_run == "destinationToSource" {
                assert_eq!(sync(&bench, &here, &there, &["--mode", mode_of_run]).0, 0);
            } else {
                assert_eq!(sync(&bench, &there, &here, &["--mode", mode_of_run]).0, 0);
            }
            assert_eq!(mode(&here.join("document")), 0o644, "{kind} {mode_of_run}");
            if mode_of_run != "twoWay" {
                continue;
            }
            // A tool keeps its right where it has one, whatever the stick says of it.
            write(&here, "tool=1");
            set_mode(&here.join("tool"), 0o750);
            assert_eq!(sync(&bench, &there, &here, &[]).0, 0, "{kind}");
            write(&there, "tool=edited document=edited");
            let (code, report) = sync(&bench, &there, &here, &[]);
            assert_eq!((code, mode(&here.join("tool"))), (0, 0o750), "{kind}: {report}");
            assert_eq!(mode(&here.join("document")), 0o644, "{kind}");
        }
    }
}

/// A state and a store that are used once by root stay their owner's.
#[cfg(all(feature = "s3", feature = "embedded"))]
#[test]
fn a_run_as_root_leaves_state_and_objects_to_their_owner() {
    if !is_root() {
        return;
    }
    let bench = open_bench();
    for folder in ["", "a", "home", "tmp"] {
        chown(bench.path(folder), Some(1234), Some(2000)).unwrap();
    }
    let words = "sync a embedded://vault --state-dir home/state/of/mine --embedded-dir home/objects";
    let as_root = || bench.run(&words.split(' ').collect::<Vec<_>>());
    for round in 0..3 {
        let name = format!("a/{round}");
        bench.write(&name, "x");
        chown(bench.path(&name), Some(1234), Some(2000)).unwrap();
        // Whichever of the two begins.
        let ran = if round == 1 { as_user(&bench, 1234, words) } else { as_root() };
        assert_eq!(ran.code, 0, "{round}: {ran:?}");
        let mut waiting = vec![bench.path("home")];
        while let Some(path) = waiting.pop() {
            assert_eq!(owner(&path), (1234, 2000), "{round}: {}", path.display());
            if path.is_dir() {
                waiting.extend(fs::read_dir(path).unwrap().map(|item| item.unwrap().path()));
            }
        }
    }
    let ran = as_user(&bench, 1234, words);
    assert_eq!((ran.code, &ran.document()["counts"]["unchanged"]), (0, &3.into()), "{ran:?}");
}

/// The ACL of `path` without its comments; `None`, having said so, if there is none to be had.
fn acl(path: &Path) -> Option<String> {
    told("getfacl", &["-n", "-c", "-p"], path)
}

/// Whoever an ACL lets into a folder may sync it, whoever comes first.
#[test]
fn a_folder_that_is_shared_by_an_acl_can_be_synced_by_each_who_may_use_it() {
    if !is_root() {
        return;
    }
    for order in [[1234, 1235], [1235, 1234]] {
        let bench = open_bench();
        let shared = bench.path("shared");
        fs::create_dir(&shared).unwrap();
        chown(&shared, Some(1234), Some(1234)).unwrap();
        set_mode(&shared, 0o700);
        for words in [["-m", "u:1235:rwx"], ["-dm", "u:1234:rwx,u:1235:rwx,m:rwx"]] {
            if told("setfacl", &words, &shared).is_none() {
                return;
            }
        }
        for user in order {
            let own = format!("tree-{user}");
            write(&bench.path(&own), &format!("f{user}=1"));
            for path in [own.clone(), format!("{own}/f{user}")] {
                chown(bench.path(&path), Some(user), Some(user)).unwrap();
            }
        }
        for (round, user) in order.into_iter().cycle().take(6).enumerate() {
            let own = format!("tree-{user}");
            if round > 1 {
                write(&bench.path(&own), &format!("common={round}"));
                chown(bench.path(&own).join("common"), Some(user), Some(user)).unwrap();
                set_mode(&bench.path(&own).join("common"), 0o664);
            }
            let ran = as_user(
                &bench,
                user,
                &format!("sync {own} shared --state-dir state-{user} --conflict source-wins"),
            );
            assert_eq!(ran.code, 0, "{order:?} {round} {user}: {ran:?}");
        }
        // Nobody has lost the file that the other one has replaced.
        let Some(acl) = acl(&shared.join("common")) else { return };
        assert!(acl.contains("mask::rw"), "{acl}");
        assert!(acl.contains("group::---") || acl.contains("group::rwx\t\t\t#effective:rw-"), "{acl}");
    }
}

/// What was in a folder that nobody else may enter is not to be read by others in the trash, or after a rename.
#[test]
fn what_is_private_stays_private_in_the_trash_and_under_another_name() {
    let bench = Bench::new();
    let (a, b) = (bench.path("a"), bench.path("b"));
    write(&a, "p/s=old p/q/t=old open/u=old");
    set_mode(&a.join("p"), 0o700);
    for side in [&a, &b] {
        set_mode(side, 0o755);
    }
    assert_eq!(sync(&bench, &a, &b, &[]).0, 0);
    write(&a, "p/s=newer p/q/t=newer open/u=newer");
    assert_eq!(sync(&bench, &a, &b, &[]).0, 0);
    let trash = fs::read_dir(b.join(".syncengine/trash")).unwrap().next().unwrap().unwrap().path();
    let open = mode(&a.join("open"));
    for (name, bits) in [("p", 0o700), ("p/q", open), ("open", open)] {
        assert_eq!(mode(&trash.join(name)), bits, "{name}");
    }
    for (mode_of_run, name) in [("twoWay", "renamed"), ("sourceBackup", "backed"), ("twoWay", "deep/er")] {
        fs::create_dir_all(a.join(name).parent().unwrap()).unwrap();
        fs::rename(a.join("p"), a.join(name)).unwrap();
        let (code, report) = sync(&bench, &a, &b, &["--mode", mode_of_run]);
        assert_eq!((code, failed(&report)), (0, Vec::new()), "{report}");
        assert_eq!(mode(&b.join(name)), 0o700, "{name}: {report}");
        fs::rename(a.join(name), a.join("p")).unwrap();
        assert_eq!(sync(&bench, &a, &b, &["--mode", mode_of_run]).0, 0);
    }
}
