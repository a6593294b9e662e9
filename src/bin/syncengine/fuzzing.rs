//! What the fuzz targets of the command line run, and what a test runs on every input that is kept.
//!
//! As `src/fuzzing.rs` of the library, for what only the command line has: its words, saved plans, and texts
//! for people. Compiled for tests and under cargo-fuzz only.
#![cfg_attr(test, expect(unreachable_pub, reason = "public for cargo-fuzz, to which this is a library"))]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::sync::LazyLock;

use clap::CommandFactory;
use serde::Serialize;
use syncengine::code::{ActionCode, FailureCode, NoticeCode};
use syncengine::engine::check::CheckReport;
use syncengine::engine::status::{SideChanges, StatusReport};
use syncengine::event::{Effects, Failure, Line};
use syncengine::notice::Notice;
use syncengine::plan::Reason;
use syncengine::report::ErrorLine;
use syncengine::{
    ConflictStrategy, Error, ErrorKind, Event, Key, Location, Outcome, Report, Side, Sides, SyncMode,
    SyncPair,
};

use crate::args::{self, Cli, Command, FilterArg, FilterArgs, RunArgs};
use crate::options::{self, Format};
use crate::output;
use crate::plan_file::SavedPlan;
use crate::render;

#[path = "../../fuzzing/input.rs"]
mod input;

use input::{Choices, SEPARATOR, is_harmless};

/// A target and its name, which is that of its folder in `fuzz/corpus`.
pub type Target = (&'static str, fn(&[u8]));

/// Every target of the command line.
pub const TARGETS: &[Target] =
    &[("command_line", command_line), ("saved_plan", saved_plan), ("shown", shown)];

/// Values that options may have.
const VALUES: &[&str] = &[
    "",
    "a",
    "b",
    "./c",
    "/",
    "s3://vault/p",
    "embedded://vault",
    "json",
    "jsonl",
    "never",
    "twoWay",
    "sourceBackup",
    "source-to-destination",
    "merge",
    "source-wins",
    "keep-both",
    "manual",
    "hash-only",
    "on",
    "off",
    "50%",
    "0",
    "-1",
    "8",
    "16M",
    "1TB",
    "https://h:9000",
    "http://127.0.0.1",
    "*.tmp",
    "!a/**",
    "-",
    "--",
];

/// The names of all commands and options.
static WORDS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut words = BTreeSet::new();
    collect(&Cli::command(), &mut words);
    words.into_iter().collect()
});

fn collect(command: &clap::Command, words: &mut BTreeSet<String>) {
    words.insert(command.get_name().to_owned());
    words.extend(command.get_arguments().filter_map(|arg| Some(format!("--{}", arg.get_long()?))));
    for command in command.get_subcommands() {
        collect(command, words);
    }
}

fn all_harmless(text: &str) -> bool {
    text.split('\n').all(is_harmless)
}

/// Reads words as a command line, up to the point at which the library is called. Files that it names are not
/// read.
///
/// # Panics
/// If something does not hold.
pub fn command_line(data: &[u8]) {
    let words = data.split(|byte| *byte == SEPARATOR).map(word);
    let words: Vec<OsString> = std::iter::once("syncengine".into()).chain(words).collect();
    let format = options::format_of_words(&words);
    let cli = match args::parse(&words) {
        Ok(cli) => cli,
        Err(error) => return assert!(all_harmless(&render::usage(&error)), "{words:?}"),
    };
    match options::common(cli.common) {
        Ok(common) => assert!(words.iter().any(|word| word == "--") || common.format == format, "{words:?}"),
        Err(error) => return complained(&error),
    }
    match cli.command {
        Command::Sync(args) => of_pair(options::pair(&without_files(args.pair)), &args.run),
        Command::Plan(args) => of_pair(options::pair(&without_files(args.sync.pair)), &args.sync.run),
        Command::Apply(args) => of_pair(Ok(SyncPair::new("a", "s3://vault")), &args.run),
        Command::Check(args) => of_located(options::located(&args.locations)),
        Command::Status(mut args) => {
            args.filter = without(args.filter);
            of_located(options::policy(&args.locations, &args.policy, &args.filter));
        }
        Command::State { command: args::StateCommand::Move(moved) } => {
            options::store_of(&moved.new, &moved.store).map_or_else(|error| complained(&error), drop);
        }
        Command::State { command: args::StateCommand::Show(at) | args::StateCommand::Forget(at) } => {
            of_located(options::located(&at));
        }
        #[cfg(feature = "embedded")]
        Command::Serve(args) => {
            options::keys::port(args.port.as_deref()).map_or_else(|error| complained(&error), drop);
        }
        Command::Modes => {}
    }
}

/// A word: the bytes as they are, or one of ours where the first byte is no ASCII.
fn word(bytes: &[u8]) -> OsString {
    let (known, rest) = match bytes.split_first() {
        Some((first, rest)) if !first.is_ascii() => (usize::from(*first & 0x7f), rest),
        _ => return OsString::from_vec(bytes.to_vec()),
    };
    let all = WORDS.iter().map(String::as_str).chain(VALUES.iter().copied());
    let mut word: OsString = all.cycle().nth(known).unwrap_or_default().into();
    word.push(OsString::from_vec(rest.to_vec()));
    word
}

fn without_files(mut args: args::PairArgs) -> args::PairArgs {
    args.filter = without(args.filter);
    args
}

fn without(mut args: FilterArgs) -> FilterArgs {
    args.ordered.retain(|arg| !matches!(arg, FilterArg::IgnoreFile(_)));
    args
}

fn of_located(pair: syncengine::Result<SyncPair>) {
    of_pair(pair, &RunArgs::default());
}

/// What the library would be called with can be saved in a plan and read again.
fn of_pair(pair: syncengine::Result<SyncPair>, run: &RunArgs) {
    let pair = match pair.and_then(|pair| options::run(run, &pair).map(|_| pair)) {
        Ok(pair) => pair,
        Err(error) => return complained(&error),
    };
    assert!(Side::BOTH.into_iter().all(|side| Location::parse(pair.location(side)).is_ok()), "{pair:?}");
    assert!(pair.compiled_rules().is_ok(), "{pair:?}");
    let text = serde_json::to_vec(&SavedPlan::new(pair.clone(), false, None, &[])).unwrap_or_default();
    let read = SavedPlan::parse(&text);
    assert!(read.is_ok_and(|plan| plan.pair == pair), "{pair:?} is another one in a saved plan");
}

fn complained(error: &Error) {
    assert!(matches!(error.kind(), ErrorKind::Invalid) && error.hint().is_some(), "{error:?}");
    assert!(all_harmless(&render::error(error)), "{error:?}");
}

/// Reads bytes as a saved plan, as `apply` does.
///
/// # Panics
/// If something does not hold.
pub fn saved_plan(data: &[u8]) {
    let plan = match SavedPlan::parse(data) {
        Ok(plan) => plan,
        Err(why) => return assert!(is_harmless(&why), "{why:?}"),
    };
    let text = serde_json::to_vec(&plan).unwrap_or_default();
    let again = SavedPlan::parse(&text);
    assert!(again.is_ok_and(|again| again.pair == plan.pair && again.actions == plan.actions), "{plan:?}");
    options::run(&RunArgs::default(), &plan.pair).map_or_else(|error| complained(&error), drop);
    plan.pair.compiled_rules().map_or_else(|error| complained(&error), drop);
    let nothing = syncengine::event::first_difference(&plan.actions, std::iter::empty());
    assert_eq!(nothing.is_none(), plan.actions.is_empty());
}

/// Texts from an input, one after the other and again from the first.
struct Texts<'a> {
    choices: Choices<'a>,
    texts: Vec<String>,
    next: usize,
}

impl Texts<'_> {
    fn text(&mut self) -> String {
        self.next += 1;
        self.texts.get((self.next - 1) % self.texts.len().max(1)).cloned().unwrap_or_default()
    }

    fn keys(&mut self) -> Vec<Key> {
        let count = self.choices.below(4);
        (0..count).filter_map(|_| Key::parse(&self.text()).ok()).collect()
    }

    fn notice(&mut self) -> Notice {
        Notice::new(self.choices.of(NoticeCode::ALL), self.text(), self.text())
    }

    fn failure(&mut self) -> Failure {
        Failure {
            path: self.text(),
            action: "list".into(),
            code: self.choices.of(FailureCode::ALL),
            error: self.text(),
            hint: self.text(),
        }
    }

    fn line(&mut self) -> Option<Line> {
        let reasons = [
            Reason::Added(Side::Source),
            Reason::Strategy(ConflictStrategy::KeepBoth, Side::Destination),
            Reason::Tie,
        ];
        let unresolved = self.choices.below(2) == 1;
        Some(Line {
            action: self.choices.of(ActionCode::ALL),
            path: Key::parse(&self.text()).ok()?,
            old_path: Key::parse(&self.text()).ok().filter(|_| unresolved),
            size: self.next as u64,
            reason: self.choices.of(&reasons),
            conflict: unresolved,
            version: None,
            effects: Effects { unresolved, uploaded: (1, 5), ..Effects::default() },
        })
    }

    fn event(&mut self) -> Option<Event> {
        Some(match self.choices.below(6) {
            0 => Event::Done(self.line()?),
            1 => Event::Failed(self.failure()),
            2 => Event::Warned(self.notice()),
            3 => Event::Noted(self.notice()),
            4 => Event::Refused(self.notice()),
            _ => Event::Skipped {
                path: Key::parse(&self.text()).ok()?,
                side: Side::Source,
                why: syncengine::client::SkipReason::Symlink,
            },
        })
    }
}

/// Makes what the program shows out of any texts, and asserts that a terminal has nothing to act on, and
/// that a program reads the texts as they were.
///
/// # Panics
/// If something does not hold.
pub fn shown(data: &[u8]) {
    let mut parts = data.split(|byte| *byte == SEPARATOR);
    let choices = Choices(parts.next().unwrap_or_default());
    let texts = parts.map(|text| String::from_utf8_lossy(text).into_owned()).collect();
    let mut texts = Texts { choices, texts, next: 0 };
    let report = report(&mut texts);
    let pair = SyncPair::new(report.source.clone(), report.destination.clone());
    let compared = CheckReport {
        different: texts.keys(),
        only: Sides::new(texts.keys(), texts.keys()),
        failures: vec![texts.failure()],
        ..CheckReport::default()
    };
    let changes = SideChanges { added: texts.keys(), changed: texts.keys(), deleted: texts.keys() };
    let status = StatusReport {
        schema: 1,
        source: texts.text(),
        destination: texts.text(),
        mode: SyncMode::TwoWay,
        first_sync: false,
        last_sync_seconds: Some(i64::MAX),
        changes: Sides::new(changes.clone(), changes),
        conflicts: texts.keys(),
        pending: 1,
        unchanged: 0,
        failures: vec![texts.failure()],
        warnings: vec![texts.notice()],
        error: Some(ErrorLine { message: texts.text(), hint: texts.text() }),
    };
    let remembered = render::state::Shown {
        schema: 1,
        source: texts.text(),
        destination: texts.text(),
        synced: true,
        pair_id: Some(texts.text()),
        mode: None,
        last_sync_seconds: Some(i64::MIN),
        rows: 1,
        marked: true,
        lost: Some(texts.text()),
    };
    let error =
        Error::new(ErrorKind::Invalid, texts.text()).with_source(texts.text()).with_hint(texts.text());
    for text in [
        render::messages(&report, false),
        render::summary::summary(&report, &pair),
        render::plan::plan(&report, true),
        render::inspect::check(&compared),
        render::failures(&compared.failures),
        render::inspect::status(&status),
        render::state::shown(&remembered),
        render::error(&error),
    ] {
        assert!(all_harmless(&text), "{text:?}");
    }
    for document in [documents(&report), documents(&compared), documents(&status), documents(&remembered)] {
        let read = document.and_then(|value| Some(value.get("source")?.as_str()?.to_owned()));
        let sources = [&report.source, &status.source, &remembered.source];
        assert!(read.is_none_or(|read| sources.contains(&&read)), "another text in a document");
    }
}

fn report(texts: &mut Texts<'_>) -> Report {
    let dry_run = texts.choices.below(2) == 1;
    let mut report = Report::new(texts.text(), texts.text(), SyncMode::TwoWay, dry_run);
    for _ in 0..texts.choices.below(8) {
        if let Some(event) = texts.event() {
            let line = output::event(&event);
            assert!(line.strip_suffix('\n').is_some_and(is_harmless), "{line:?}");
            report.apply(&event);
        }
    }
    report.finish();
    if texts.choices.below(4) == 1 {
        report.outcome = Outcome::Failed;
        report.error = Some(ErrorLine { message: texts.text(), hint: texts.text() });
    }
    report
}

/// Writes a document in both ways and returns what a program reads.
fn documents<T: Serialize>(value: &T) -> Option<serde_json::Value> {
    let (line, text) = (output::document(Format::JsonLines, value), output::document(Format::Json, value));
    assert!(line.strip_suffix('\n').is_some_and(is_harmless), "{line:?}");
    assert!(all_harmless(&text), "{text:?}");
    let read: Option<serde_json::Value> = serde_json::from_str(&text).ok();
    assert!(read.is_some() && serde_json::from_str::<serde_json::Value>(&line).is_ok(), "{text:?}");
    read
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_kept_input_is_judged_without_a_panic() {
        let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        let (mut inputs, mut failed) = (0, Vec::new());
        for (name, target) in TARGETS {
            for entry in std::fs::read_dir(corpora.join(name)).unwrap() {
                let path = entry.unwrap().path();
                let data = std::fs::read(&path).unwrap();
                inputs += 1;
                if catch_unwind(|| target(&data)).is_err() {
                    failed.push(path);
                }
            }
        }
        println!("ci: fuzz corpora: {inputs} inputs over {} targets of the command line", TARGETS.len());
        assert!(inputs >= 10 * TARGETS.len() && failed.is_empty(), "{inputs} inputs, failed: {failed:?}");
    }
}
