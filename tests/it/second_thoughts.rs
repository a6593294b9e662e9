//! Runs that are killed, and a user who takes back what they were about to carry over.
//!
//! A killed run has changed one side and recorded nothing. Whoever then undoes the edit, the deletion or the renaming that it was
//! about wants the files of before on both sides: to the next run the side that he has not touched must not look edited.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use syncengine::Timestamp;

use crate::local::skip;
use crate::support::bench::{Bench, Ran};
use crate::support::bucket::Server;
use crate::support::endpoints;
use crate::support::middle::{Meeting, Passing, between};
use crate::support::world::World;
use crate::support::{Folder, Root, Tree, read_tree};

/// When the files of before were written.
const BEFORE: Timestamp = Timestamp { seconds: 1_600_000_000, nanoseconds: 123_456_789 };

/// Kills at the calls or requests with these numbers; later ones have all ended by then.
const KILLS: std::ops::RangeInclusive<i64> = 1..=6;

/// What a user does in a folder, and how he takes it back. `kept` is a folder beside it.
type Act = fn(&Path, &Path);

const ACTS: [(&str, Act, Act); 5] = [
    (
        "an edit",
        |side, kept| {
            fs::rename(side.join("f"), kept.join("f")).unwrap();
            fs::write(side.join("f"), "new").unwrap();
        },
        |side, kept| fs::rename(kept.join("f"), side.join("f")).unwrap(),
    ),
    (
        "an edit of a copy",
        |side, kept| {
            Command::new("cp").arg("-p").arg(side.join("f")).arg(kept.join("f")).status().unwrap();
            fs::write(side.join("f"), "new, and in place").unwrap();
        },
        |side, kept| {
            Command::new("cp").arg("-p").arg(kept.join("f")).arg(side.join("f")).status().unwrap();
        },
    ),
    (
        "a new file",
        |side, _| fs::write(side.join("d/new"), "new").unwrap(),
        |side, _| fs::remove_file(side.join("d/new")).unwrap(),
    ),
    (
        "a deletion",
        |side, kept| fs::rename(side.join("d/g"), kept.join("g")).unwrap(),
        |side, kept| fs::rename(kept.join("g"), side.join("d/g")).unwrap(),
    ),
    (
        "another name",
        |side, _| fs::rename(side.join("f"), side.join("d/h")).unwrap(),
        |side, _| fs::rename(side.join("d/h"), side.join("f")).unwrap(),
    ),
];

fn before(folder: &Folder) {
    folder.write("f", b"the file of before", BEFORE);
    folder.write("d/g", b"another one", BEFORE);
    folder.write("d/stays", b"and a third", BEFORE);
}

/// The two sides have what they had before, and a further run does nothing.
fn assert_as_before(what: &str, sync: &dyn Fn() -> Ran, trees: &dyn Fn() -> (Tree, Tree), expected: &Tree) {
    let first = sync();
    let (here, there) = trees();
    assert_eq!((first.code, &here, &there), (0, expected, expected), "{what}: {}", first.document());
    let second = sync().document();
    for (count, number) in second["counts"].as_object().unwrap() {
        assert!(count == "unchanged" || number == 0, "{what}: {second}");
    }
}

#[test]
fn what_a_killed_run_did_to_a_folder_can_be_taken_back_on_the_other() {
    if !Command::new("strace").arg("-V").output().is_ok_and(|output| output.status.success()) {
        return skip("strace kills at a system call");
    }
    let mut kills = 0;
    for (what, act, take_back) in ACTS {
        for (side, nth) in ["a", "b"].into_iter().flat_map(|side| KILLS.map(move |nth| (side, nth))) {
            let bench = Bench::new();
            before(&Folder(bench.path("a")));
            let words = ["sync", "a", "b", "--state-dir", "state", "--output", "json"];
            assert_eq!(bench.run(&words).code, 0);
            let expected = read_tree(&bench.path("a"));
            act(&bench.path(side), &bench.path("tmp"));
            kills += u32::from(is_killed(&bench, &words, nth));
            take_back(&bench.path(side), &bench.path("tmp"));
            let trees = || (read_tree(&bench.path("a")), read_tree(&bench.path("b")));
            let what = format!("{what} at {side}, killed at call {nth}");
            assert_as_before(&what, &|| bench.run(&words), &trees, &expected);
        }
    }
    assert!(kills > 30, "{kills} runs were killed");
}

/// What the run did not come to, or has done, the user does himself in the other folder.
#[test]
fn what_a_user_does_himself_after_a_kill_stays() {
    if !Command::new("strace").arg("-V").output().is_ok_and(|output| output.status.success()) {
        return skip("strace kills at a system call");
    }
    let acts: [(&str, &str, Act, Act); 3] = [
        (
            "an edit that he moves there",
            "f",
            |here, _| fs::write(here.join("f"), "new").unwrap(),
            |here, there| fs::rename(here.join("f"), there.join("f")).unwrap(),
        ),
        (
            "a new file that he copies there, and deletes",
            "d/new",
            |here, _| fs::write(here.join("d/new"), "new").unwrap(),
            |here, there| {
                fs::copy(here.join("d/new"), there.join("d/new")).unwrap();
                fs::remove_file(here.join("d/new")).unwrap();
            },
        ),
        (
            "a deletion that he takes back there",
            "f",
            |here, kept| fs::rename(here.join("f"), kept.join("f")).unwrap(),
            |here, there| {
                let kept = here.with_file_name("tmp").join("f");
                Command::new("cp").arg("-p").arg(kept).arg(there.join("f")).status().unwrap();
            },
        ),
    ];
    let mut judged = 0;
    for (what, name, act, by_hand) in acts {
        for nth in 1..=8 {
            let bench = Bench::new();
            let (here, there) = (bench.path("a"), bench.path("b"));
            before(&Folder(here.clone()));
            let words = ["sync", "a", "b", "--state-dir", "state", "--output", "json"];
            assert_eq!(bench.run(&words).code, 0);
            act(&here, &bench.path("tmp"));
            let then = fs::read(here.join(name)).ok();
            // Otherwise there is nothing left for him to do.
            if !is_killed(&bench, &words, nth) || fs::read(there.join(name)).ok() == then && then.is_some() {
                continue;
            }
            if then.is_none() && there.join(name).exists() {
                continue;
            }
            by_hand(&here, &there);
            let wanted = fs::read(there.join(name)).unwrap();
            let ran = bench.run(&words);
            let found = [&here, &there].map(|side| fs::read(side.join(name)).ok());
            let wanted = [Some(wanted.clone()), Some(wanted)];
            assert_eq!((ran.code, found), (0, wanted), "{what}, killed at call {nth}: {}", ran.document());
            judged += 1;
        }
    }
    assert!(judged > 6, "{judged} kills left him something to do");
}

/// Runs the program until the `nth` call that gives a file a name or takes it away, where it is killed. Returns whether it got there.
fn is_killed(bench: &Bench, words: &[&str], nth: i64) -> bool {
    let program = bench.command(words);
    let calls = "renameat2,linkat,unlinkat,renameat";
    let inject = format!("inject={calls}:signal=SIGKILL:when={nth}");
    let mut command = Command::new("strace");
    command.args(["-f", "-o", "/dev/null", "-e", &format!("trace={calls}"), "-e", &inject, "--"]);
    command.arg(program.get_program()).args(program.get_args()).current_dir(bench.dir.path()).env_clear();
    command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    !command.status().unwrap().success()
}

/// Lets so many requests that change something through, and holds what comes then.
#[derive(Debug, Default)]
struct Gate {
    left: AtomicI64,
    is_closed: AtomicBool,
}

impl Gate {
    fn meet(&self, passing: &Passing) -> Meeting {
        let changes = !["GetObject", "HeadObject", "ListObjectsV2", "ListParts", "ListMultipartUploads"]
            .contains(&passing.operation);
        if changes && self.left.fetch_sub(1, Ordering::SeqCst) <= 0 {
            self.is_closed.store(true, Ordering::SeqCst);
        }
        if !self.is_closed.load(Ordering::SeqCst) {
            return Meeting::Pass;
        }
        while self.is_closed.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        // Whoever asked is dead by now, and the store has never heard of it.
        Meeting::Instead(Vec::new())
    }

    fn open(&self, count: i64) {
        self.left.store(count, Ordering::SeqCst);
        self.is_closed.store(false, Ordering::SeqCst);
    }
}

fn sync(world: &World, endpoint: &str) -> Command {
    let location = format!("s3://{}", world.bucket.at);
    let words = ["sync", "a", &location, "--endpoint-url", endpoint, "--state-dir", "state"];
    let more = ["--multipart-threshold", "5MiB", "--output", "json"];
    let mut command = world.bench.command(&[&words[..], &more].concat());
    world.bucket.server.introduce(&mut command);
    command
}

/// As [`ACTS`], of a file that goes in parts.
const LARGE: (&str, Act, Act) = (
    "an edit of a large file",
    |side, kept| {
        fs::rename(side.join("f"), kept.join("f")).unwrap();
        fs::write(side.join("f"), vec![b'x'; 6 << 20]).unwrap();
    },
    |side, kept| fs::rename(kept.join("f"), side.join("f")).unwrap(),
);

#[test]
fn what_a_killed_run_did_to_a_bucket_can_be_taken_back_on_real_servers() {
    for (name, server) in endpoints::all() {
        let mut kills = 0;
        for (what, act, take_back) in ACTS.into_iter().chain([LARGE]) {
            for nth in KILLS {
                kills += u64::from(is_killed_and_taken_back(&server, (what, act, take_back), nth));
            }
        }
        println!("ci: on {name}: what {kills} killed runs did was taken back");
        assert!(kills > 10, "on {name} {kills} runs were killed");
    }
}

/// Returns whether the run was killed before it ended by itself.
fn is_killed_and_taken_back(server: &Server, (what, act, take_back): (&str, Act, Act), nth: i64) -> bool {
    let gate = Arc::new(Gate::default());
    let guard = Arc::clone(&gate);
    let endpoint = between(&server.endpoint, Box::new(move |passing| guard.meet(passing)));
    let world = World::on(server, "of this/");
    gate.open(i64::MAX);
    before(&world.folder);
    let run = || Ran::of(&sync(&world, &endpoint).output().unwrap());
    assert_eq!(run().code, 0);
    let (expected, kept) = (world.folder.files(), world.bench.path("tmp"));
    act(&world.folder.0, &kept);
    gate.open(nth - 1);
    let mut running = sync(&world, &endpoint).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut is_killed = false;
    while running.try_wait().unwrap().is_none() {
        if gate.is_closed.load(Ordering::SeqCst) {
            // What was sent before is answered by now.
            std::thread::sleep(Duration::from_millis(100));
            running.kill().unwrap();
            running.wait().unwrap();
            is_killed = true;
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    gate.open(i64::MAX);
    take_back(&world.folder.0, &kept);
    let what = format!("{what}, killed at request {nth}, on {}", server.endpoint);
    assert_as_before(&what, &run, &|| world.trees(), &expected);
    is_killed
}
