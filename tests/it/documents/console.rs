//! Blocks of kind `console` in the README and in docs/WALKTHROUGHS.md are run, and must print what they show.
//!
//! A line that begins with `$ ` is a command, what follows up to the next one is what it prints. A document's
//! section, or the whole README, is run in one folder that is also the home; it is shown as `/home/user`.
//! What differs from run to run is not compared: seconds that something took, dates and times, names of runs,
//! ids, memory; nor is what a slow machine is told about the progress. A command that does not end with 0 must be
//! followed by `echo $?`.
//!
//! `SYNCENGINE_WRITE_DOCUMENTS=1` writes what was printed into the documents instead of failing.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{blocks, read};
use crate::support::variable;

/// How the home is shown.
const HOME: &str = "/home/user";

/// How the README runs the program.
const CARGO: &str = "cargo run --release -- ";

/// A command and what a document says that it prints.
#[derive(Debug)]
struct Step {
    /// The index of the first line of output in the document.
    first: usize,
    command: String,
    expected: Vec<String>,
}

/// What one reader types, one after the other.
#[derive(Debug)]
struct Walk {
    name: String,
    steps: Vec<Step>,
}

/// Returns the walks of a document, a section each, or all as one.
fn walks(text: &str, as_one: bool) -> Vec<Walk> {
    let mut walks: Vec<Walk> = Vec::new();
    for block in blocks(text, "console") {
        if walks.last().is_none_or(|walk| walk.name != block.section && !as_one) {
            walks.push(Walk { name: block.section.clone(), steps: Vec::new() });
        }
        let steps = &mut walks.last_mut().unwrap().steps;
        let begins = block.lines.first().is_some_and(|line| line.starts_with("$ "));
        assert!(begins, "line {}: a block begins with a command", block.first + 1);
        for (line, index) in block.lines.iter().zip(block.first..) {
            match line.strip_prefix("$ ") {
                Some(command) => {
                    steps.push(Step { first: index + 1, command: command.to_owned(), expected: Vec::new() });
                }
                None => steps.last_mut().unwrap().expected.push(line.clone()),
            }
        }
    }
    walks
}

/// A home with the program on its path.
struct Home {
    dir: tempfile::TempDir,
    programs: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        let programs = tempfile::tempdir().unwrap();
        symlink(env!("CARGO_BIN_EXE_syncengine"), programs.path().join("syncengine")).unwrap();
        Self { dir: tempfile::tempdir().unwrap(), programs }
    }

    /// Where it is, as the program shows it.
    fn path(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap()
    }

    /// Runs a command; `status` is that of the one before. Returns its status and the lines it printed.
    fn run(&self, command: &str, status: i32) -> (i32, Vec<String>) {
        let typed = command.replace(CARGO, "syncengine ");
        let script = format!("exec 2>&1\n(exit {status})\n{typed}");
        let path = format!("{}:/usr/bin:/bin", self.programs.path().display());
        let mut shell = Command::new("sh");
        shell.env_clear().env("HOME", self.path()).env("PATH", path).env("LANG", "C").env("TZ", "UTC");
        shell.current_dir(self.path()).stdin(Stdio::null()).args(["-c", &script]);
        let output = shell.output().unwrap();
        assert!(output.stderr.is_empty(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        let printed = String::from_utf8(output.stdout).unwrap();
        let printed = printed.replace(self.path().to_str().unwrap(), HOME);
        let lines = printed.lines().filter(|line| !is_progress(line)).map(str::to_owned);
        (output.status.code().unwrap(), lines.collect())
    }
}

/// Returns whether a line tells how far a run has come, as it is told every few seconds.
fn is_progress(line: &str) -> bool {
    let copied = line.starts_with("copied ") && line.contains("/s");
    copied || (line.starts_with("listing: ") && line.ends_with(" at the destination"))
}

/// Returns a line without what differs from run to run.
fn steady(line: &str) -> String {
    for number in ["\"elapsed_seconds\": ", "\"peak_memory_bytes\": "] {
        if let Some((before, _)) = line.split_once(number) {
            return format!("{before}{number}...");
        }
    }
    let mut steady = String::new();
    let mut rest = line;
    while !rest.is_empty() {
        let part = |c: char| c.is_ascii_alphanumeric() || ":.-".contains(c);
        let end = rest.find(|c| !part(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let took = steady.ends_with('(') && after.starts_with(" s)");
        steady.push_str(if took { "..." } else { steady_word(word) });
        let gap = after.find(part).unwrap_or(after.len());
        steady.push_str(&after[..gap]);
        rest = &after[gap..];
    }
    steady
}

fn steady_word(word: &str) -> &str {
    let shape: String = word.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let is_id = word.len() == 32 && word.chars().all(|c| c.is_ascii_hexdigit());
    match shape.as_str() {
        "0000-00-00" | "00:00:00" => "...",
        _ if shape.starts_with("00000000T000000Z-") || is_id => "...",
        // The loser of a conflict.
        _ if shape.contains(".conflict-00000000T000000Z-") => "...",
        _ => word,
    }
}

#[test]
fn only_what_differs_from_run_to_run_is_not_compared() {
    for (line, expected) in [
        ("0 files unchanged (0.2 s)", "0 files unchanged (... s)"),
        ("letter.txt  (12 B)  changed", "letter.txt  (12 B)  changed"),
        ("last sync: 2026-11-23 22:39:58 UTC", "last sync: ... ... UTC"),
        ("trash/20261123T224001Z-5f3c/a.txt", "trash/.../a.txt"),
        ("  \"peak_memory_bytes\": 38473728,", "  \"peak_memory_bytes\": ..."),
        ("pairs/c5485c73773fdd2047b52297e1b8730d", "pairs/..."),
        ("a.conflict-20261123T224001Z-source-59e158b4.txt", "..."),
        ("ä (3 s) (4)", "ä (... s) (4)"),
    ] {
        assert_eq!(steady(line), expected);
    }
    assert!(is_progress("copied 855 of 1,203 files, 4.8 MiB of 5.5 MiB, 490.0 KiB/s, 1.0 s left"));
    assert!(is_progress("listing: 12 files at the source, 1 file at the destination"));
    assert!(!is_progress("uploaded     403 files (2.6 MiB) to `embedded://vault`"));
}

/// Walks through a document and returns how many commands it has. `prepare` makes what it takes for granted.
fn walk_through(path: &str, as_one: bool, prepare: fn(&Path)) -> (usize, usize) {
    let text = read(path);
    let walks = walks(&text, as_one);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let mut wrong = Vec::new();
    for walk in &walks {
        let home = Home::new();
        prepare(&home.path());
        let mut status = 0;
        for step in &walk.steps {
            let asked = step.command == "echo $?";
            assert!(status == 0 || asked, "{path}: `{}` comes after exit code {status}", step.command);
            let (code, printed) = home.run(&step.command, status);
            status = code;
            let same = |a: &[String], b: &[String]| {
                a.iter().map(|line| steady(line)).eq(b.iter().map(|line| steady(line)))
            };
            if !same(&printed, &step.expected) {
                let told = format!("{path}:{}: {}\n{}", step.first, step.command, printed.join("\n"));
                wrong.push((step.first, step.expected.len(), printed, told));
            }
        }
        assert_eq!(status, 0, "{path}: {} ends without a look at the exit code", walk.name);
    }
    let told: Vec<_> = wrong.iter().map(|(_, _, _, told)| told.clone()).collect();
    if variable("SYNCENGINE_WRITE_DOCUMENTS").is_some() {
        for (first, length, printed, _) in wrong.into_iter().rev() {
            lines.splice(first..first + length, printed);
        }
        fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(path), lines.join("\n") + "\n").unwrap();
    } else {
        assert!(told.is_empty(), "these commands print something else:\n{}", told.join("\n\n"));
    }
    (walks.iter().map(|walk| walk.steps.len()).sum(), walks.len())
}

/// The folder of the README's examples.
fn some_folder(home: &Path) {
    let folder = home.join("some-folder");
    for year in 2021..2026 {
        let photos = folder.join(format!("photos/{year}"));
        fs::create_dir_all(&photos).unwrap();
        for number in 0..80_usize {
            let content: Vec<u8> = (0..=255_u8).cycle().skip(number).take(4000 + 70 * number).collect();
            fs::write(photos.join(format!("{number:03}.jpg")), content).unwrap();
        }
    }
    for (name, content) in [("notes.txt", "one line\n"), ("draft.txt", "a draft\n"), ("old.txt", "old\n")] {
        fs::write(folder.join(name), content).unwrap();
    }
}

#[test]
fn the_readme_prints_what_it_shows() {
    let (commands, _) = walk_through("README.md", true, some_folder);
    assert!(commands >= 5, "{commands}");
    println!("ci: documents: {commands} commands of the README run");
}

#[test]
fn walk_throughs_print_what_they_show() {
    let (commands, walks) = walk_through("docs/WALKTHROUGHS.md", false, |_| {});
    assert!(walks == 5 && commands >= 90, "{walks} {commands}");
    println!("ci: documents: {commands} commands of {walks} walk-throughs run");
}
