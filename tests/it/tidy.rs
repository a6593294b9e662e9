//! The rules of the house, held by reading the source.
//!
//! `docs/ARCHITECTURE.md` states them as invariants; each has a test here that names the file and line that
//! breaks it. Comments are not looked at, and test code may do what it likes unless a rule says otherwise.

use std::fs;
use std::path::{Path, PathBuf};

/// Longest file of code, test modules not counted.
const MAX_CODE_LINES: usize = 600;

/// The modules that see nothing but values: no runtime, no files, no clock, no chance.
const PURE: &[&str] = &[
    "src/key.rs",
    "src/entry.rs",
    "src/fingerprint.rs",
    "src/filter.rs",
    "src/filter/",
    "src/mode.rs",
    "src/plan.rs",
    "src/plan/",
    "src/guard.rs",
];

/// Words that only some places may say: a place is a file, or a folder or other beginning of a path.
const RESERVED_WORDS: &[(&[&str], &[&str])] = &[
    (&["sled"], &["src/state/"]),
    (
        &[
            "aws_sdk_s3",
            "aws_config",
            "aws_types",
            "aws_credential_types",
            "aws_smithy_types",
            "aws_smithy_http_client",
            "aws_smithy_runtime_api",
        ],
        &["src/client/s3"],
    ),
    (&["redb", "s3s", "hyper_util"], &["src/embedded"]),
    (&["clap", "indicatif", "tracing_subscriber"], &["src/bin/"]),
    (&["println!", "eprintln!", "print!", "eprint!"], &["src/bin/"]),
    (
        &["std::fs", "tokio::fs"],
        &[
            "src/client/local/",
            "src/client/s3/",
            "src/embedded/",
            "src/lock.rs",
            "src/ownership.rs",
            "src/state/",
            "src/bin/",
        ],
    ),
    (
        &["rustix"],
        &[
            "src/client/local/",
            "src/client/s3/ledger.rs",
            "src/embedded/",
            "src/lock.rs",
            "src/ownership.rs",
            "src/state/",
            "src/bin/syncengine/signals.rs",
            "src/bin/syncengine/umask.rs",
        ],
    ),
    (&["canonicalize"], &["src/client/local/", "src/embedded/dir.rs", "src/engine/ground.rs", "src/bin/"]),
    (&["SystemTime", "Instant", "getrandom"], &["src/clock.rs"]),
    (&["tokio::spawn"], &[]),
    // The effects of a plan.
    (&[".stage(", ".publish(", ".rename(", ".discard("], &["src/transfer", "src/client/"]),
];

/// Uses of `std::env` and `std::process` outside the command line, each with its reason.
const OF_THE_PROCESS: &[(&str, &str)] = &[
    // The default folder for the copies of the base that dry runs work on.
    ("src/engine.rs", "std::env::temp_dir"),
    // The holder of a lock is named by its process id.
    ("src/lock.rs", "std::process::id"),
];

/// How documents name the tests of each binary, and where their modules are.
const BINARIES: &[(&str, &str)] = &[("lib ", "src/"), ("bin ", "src/bin/syncengine/"), ("it ", "tests/it/")];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns the files below `folder` whose name ends in `ending`, with their paths from the root.
fn files(folder: &str, ending: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path.to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "nothing in {folder}: the check would check nothing");
    found
}

fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

fn is_in(path: &str, places: &[&str]) -> bool {
    places.iter().any(|place| path.starts_with(place))
}

/// Returns the lines of a file that are no comments and not in its test module, with their numbers.
fn code(text: &str) -> Vec<(usize, &str)> {
    let mut code = Vec::new();
    let mut lines = text.lines().enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        if line == "#[cfg(test)]" {
            match lines.next() {
                Some((_, next)) if next.starts_with("mod ") && next.ends_with('{') => break,
                _ => continue,
            }
        }
        if !line.trim_start().starts_with("//") {
            code.push((index + 1, line));
        }
    }
    code
}

/// Returns whether `line` contains `word` with nothing of a name before or after it.
fn says(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + word.len()..]);
        let begins = !word.starts_with(part) || !before.ends_with(part);
        begins && (!word.ends_with(part) || !after.starts_with(part))
    })
}

/// Returns where code of the library or the command line says one of `words`.
fn sayings(words: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for path in files("src", ".rs").into_iter().filter(|path| !is_test_file(path)) {
        for (number, line) in code(&read(&path)) {
            if words.iter().any(|word| says(line, word)) {
                found.push((path.clone(), format!("{path}:{number}: {}", line.trim())));
            }
        }
    }
    found
}

fn none(what: &str, offences: &[String]) {
    assert!(offences.is_empty(), "{what}:\n{}", offences.join("\n"));
}

#[test]
fn words_are_said_only_where_they_belong() {
    for (words, places) in RESERVED_WORDS {
        let found = sayings(words).into_iter().filter(|(path, _)| !is_in(path, places));
        let found: Vec<_> = found.map(|(_, line)| line).collect();
        none(&format!("{words:?} belong in {places:?}"), &found);
    }
}

#[test]
fn only_the_command_line_knows_its_process() {
    let found = sayings(&["std::env", "std::process"]).into_iter().filter(|(path, line)| {
        !is_in(path, &["src/bin/"])
            && !OF_THE_PROCESS.iter().any(|(at, use_)| path == at && line.contains(use_))
    });
    let found: Vec<_> = found.map(|(_, line)| line).collect();
    none("environment and process belong in src/bin/", &found);
}

#[test]
fn pure_modules_see_only_values() {
    let words =
        ["tokio", "futures", "async", ".await", "std::fs", "std::io", "std::net", "rustix", "tracing"];
    let found = sayings(&words).into_iter().filter(|(path, _)| is_in(path, PURE));
    let found: Vec<_> = found.map(|(_, line)| line).collect();
    none("these modules are pure", &found);
    let found: Vec<_> = sayings(&["tokio"])
        .into_iter()
        .filter(|(path, _)| path == "src/diff.rs")
        .map(|(_, line)| line)
        .collect();
    none("the join names no runtime", &found);
}

#[test]
fn lints_are_expected_not_allowed() {
    let attributes = [concat!("#[", "allow"), concat!("#![", "allow")];
    let mut offences = Vec::new();
    for path in ["src", "tests", "benches", "examples"].into_iter().flat_map(|folder| files(folder, ".rs")) {
        for (index, line) in read(&path).lines().enumerate() {
            if attributes.iter().any(|attribute| line.trim_start().starts_with(attribute)) {
                offences.push(format!("{path}:{}: {}", index + 1, line.trim()));
            }
        }
    }
    none("write #[expect(..., reason = ...)]", &offences);
}

#[test]
fn files_are_short_enough_to_be_read() {
    let mut offences = Vec::new();
    for path in files("src", ".rs").into_iter().filter(|path| !is_test_file(path)) {
        let text = read(&path);
        let last = code(&text).last().map_or(0, |(number, _)| *number);
        if last > MAX_CODE_LINES {
            offences.push(format!("{path}: {last} lines"));
        }
    }
    none(&format!("split by noun; the limit is {MAX_CODE_LINES}"), &offences);
}

#[test]
fn every_file_says_what_it_is_for() {
    let mut offences = Vec::new();
    let folders = ["src", "tests/it", "benches", "examples", "fuzz/fuzz_targets"];
    for path in folders.into_iter().flat_map(|folder| files(folder, ".rs")) {
        if !read(&path).starts_with("//! ") {
            offences.push(path);
        }
    }
    none("begin with a //! header", &offences);
}

#[test]
fn no_file_is_forgotten() {
    let roots = ["src/lib.rs", "src/bin/syncengine/main.rs", "tests/it/main.rs"];
    let mut offences = Vec::new();
    for path in ["src", "tests/it"].into_iter().flat_map(|folder| files(folder, ".rs")) {
        if roots.contains(&path.as_str()) {
            continue;
        }
        let (folder, name) = path.rsplit_once('/').unwrap();
        let module = name.trim_end_matches(".rs");
        let by_folder = ["lib.rs", "main.rs"].iter().map(|name| format!("{folder}/{name}"));
        let parent = by_folder.into_iter().find(|path| roots.contains(&path.as_str()));
        let parent = parent.unwrap_or_else(|| format!("{folder}.rs"));
        let declaration = format!("mod {module};");
        let declared = fs::read_to_string(root().join(&parent))
            .is_ok_and(|text| text.lines().any(|line| says(line, &declaration)));
        if !declared {
            offences.push(format!("{path}: no `{declaration}` in {parent}"));
        }
    }
    none("these files are not compiled", &offences);
}

#[test]
fn every_fuzz_target_is_a_program_with_inputs_that_are_tried() {
    let manifest = read("fuzz/Cargo.toml");
    let programs = manifest.split("[[bin]]\nname = \"").skip(1);
    let targets: Vec<&str> = programs.filter_map(|program| Some(program.split_once('"')?.0)).collect();
    let tried = read("src/fuzzing.rs") + &read("src/bin/syncengine/fuzzing.rs");
    let mut wrong = Vec::new();
    for target in &targets {
        if !read(&format!("fuzz/fuzz_targets/{target}.rs")).contains(&format!("fuzzing::{target}(data)")) {
            wrong.push(format!("{target}: its program runs another one"));
        }
        if !tried.contains(&format!("(\"{target}\", {target})")) {
            wrong.push(format!("{target}: it is not in TARGETS"));
        }
        let inputs = files(&format!("fuzz/corpus/{target}"), "");
        let size = |path: &String| fs::metadata(root().join(path)).unwrap().len();
        if !(10..=40).contains(&inputs.len()) || inputs.iter().any(|path| size(path) > 4096) {
            wrong.push(format!("{target}: 10 to 40 inputs of at most 4 KiB"));
        }
    }
    let entries = |folder: &str| fs::read_dir(root().join(folder)).unwrap().count();
    if entries("fuzz/fuzz_targets") != targets.len() || entries("fuzz/corpus") != targets.len() {
        wrong.push("a program or a corpus is of no target".to_owned());
    }
    assert!(!targets.is_empty(), "the check would check nothing");
    none("fuzz/", &wrong);
}

#[test]
fn the_changelog_names_the_version() {
    let heading = format!("## [{}]", env!("CARGO_PKG_VERSION"));
    assert!(read("CHANGELOG.md").lines().any(|line| line.starts_with(&heading)), "no `{heading}`");
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest = read("Cargo.toml");
    let mut section = "";
    let mut names = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if section.ends_with("dependencies]")
            && let Some((name, _)) = line.split_once('=')
        {
            names.push(name.trim());
        }
    }
    assert!(names.contains(&"sled") && names.contains(&"tempfile"), "{names:?}");
    let contributing = read("CONTRIBUTING.md");
    let reasons: Vec<&str> = contributing
        .lines()
        .filter_map(|line| line.strip_prefix("- `")?.split_once("`: "))
        .map(|(name, _)| name)
        .collect();
    let missing = names.iter().filter(|name| !reasons.contains(name));
    let missing: Vec<_> = missing.map(|name| format!("- `{name}`: ...")).collect();
    none("CONTRIBUTING.md does not say why", &missing);
    let stale = reasons.iter().filter(|name| !names.contains(name)).map(|name| (*name).to_owned());
    none("CONTRIBUTING.md explains what is not used", &stale.collect::<Vec<_>>());
}

#[test]
fn no_merge_was_left_half_done() {
    let marks = ["<".repeat(7) + " ", ">".repeat(7) + " "];
    let all =
        ["src", "tests", "docs", "fuzz", "examples", "benches"].iter().flat_map(|folder| files(folder, ""));
    let texts = all.filter_map(|file| Some((fs::read_to_string(root().join(&file)).ok()?, file)));
    let is_mark = |line: &str| marks.iter().any(|mark| line.starts_with(mark));
    let left: Vec<_> = texts.filter(|(text, _)| text.lines().any(is_mark)).map(|(_, file)| file).collect();
    none("marks of a merge", &left);
}

#[test]
fn documents_name_no_registry() {
    // In halves, so that this file does not name them either.
    let halves = [("crates", ".io"), ("docker", ".io"), ("ghcr", ".io"), ("npm", "js"), ("py", "pi")];
    let hosts = halves.map(|(first, second)| format!("{first}{second}"));
    let top = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let is_document = |name: &String| Path::new(name).extension().is_some_and(|extension| extension == "md");
    let documents = top.filter(is_document).chain(files("docs", ".md"));
    let mut offences = Vec::new();
    for path in documents {
        for (index, line) in read(&path).lines().enumerate() {
            if hosts.iter().any(|host| line.contains(host)) {
                offences.push(format!("{path}:{}: {line}", index + 1));
            }
        }
    }
    none("documents outlive hosts", &offences);
}

#[test]
fn the_code_map_is_true() {
    let text = read("docs/ARCHITECTURE.md");
    let map = text.split("## Code map").nth(1).unwrap().split("\n## ").next().unwrap();
    let named: Vec<&str> = map.split('`').filter(|word| word.starts_with("src/")).collect();
    let gone = named.iter().filter(|path| !root().join(path).exists()).map(|path| (*path).to_owned());
    none("the code map names what is not there", &gone.collect::<Vec<_>>());
    let modules = files("src", ".rs").into_iter().filter(|path| path.matches('/').count() == 1);
    let missing: Vec<_> = modules.filter(|path| !named.contains(&path.as_str())).collect();
    none("the code map does not name", &missing);
}

#[test]
fn documents_name_tests_that_exist() {
    let sources = BINARIES.iter().flat_map(|(binary, folder)| {
        files(folder.trim_end_matches('/'), ".rs").into_iter().map(move |path| {
            let module = path.trim_start_matches(*folder).trim_end_matches(".rs").replace('/', "::");
            (format!("{binary}{module}::"), read(&path))
        })
    });
    let sources: Vec<_> = sources.collect();
    let mut gone = Vec::new();
    for document in ["docs/RELIABILITY.md", "docs/SECURITY.md"] {
        let text = read(document);
        let words = text.split('`').skip(1).step_by(2);
        let tests: Vec<_> = words
            .filter(|word| word.contains("::"))
            .filter(|word| BINARIES.iter().any(|(binary, _)| word.starts_with(*binary)))
            .collect();
        assert!(!tests.is_empty(), "{document} names no test: the check would check nothing");
        for test in tests {
            let function = format!("fn {}(", test.rsplit("::").next().unwrap());
            let is_there = |(module, source): &(String, String)| {
                test.starts_with(module.as_str()) && source.contains(&function)
            };
            if !sources.iter().any(is_there) {
                gone.push(format!("{document}: {test}"));
            }
        }
    }
    none("documents name tests that do not exist", &gone);
}

#[test]
fn the_tables_of_reliability_are_whole_and_counted() {
    let text = read("docs/RELIABILITY.md");
    let cells = text.lines().map(|line| line.trim_matches(['|', ' ']).split(" | ").collect::<Vec<_>>());
    // The rows of points: `I-01`, what, test, cases.
    let rows: Vec<_> = cells.filter(|row| row[0].len() == 4 && row[0].as_bytes()[1] == b'-').collect();
    let mut wrong = Vec::new();
    for (letter, last, title) in [('I', 58, "Invariants"), ('F', 50, "Faults"), ('B', 68, "Bad inputs")] {
        let (mut held, mut open, mut not_applicable) = (0, 0, 0);
        for number in 1..=last {
            let id = format!("{letter}-{number:02}");
            let found: Vec<_> = rows.iter().filter(|row| row[0] == id).collect();
            match found.as_slice() {
                [row] if row.len() != 4 => wrong.push(format!("{id} has {} cells", row.len())),
                [row] if row[2].starts_with("open: ") => open += 1,
                [row] if row[2].starts_with("not applicable: ") => not_applicable += 1,
                [row] if row[2].starts_with('`') => held += 1,
                [_] => wrong.push(format!("{id} names no test and gives no reason")),
                _ => wrong.push(format!("{id} has {} rows", found.len())),
            }
        }
        let counts = format!("| {title} | {held} | {open} | {not_applicable} |");
        if !text.lines().any(|line| line == counts) {
            wrong.push(format!("the counts are {counts}"));
        }
    }
    none("docs/RELIABILITY.md", &wrong);
    assert_eq!(rows.len(), 58 + 50 + 68, "a point that is none");
}
