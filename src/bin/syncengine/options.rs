//! From the words of the command line to what the library is asked for. Every complaint about them is here.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use syncengine::filter::Rules;
use syncengine::key::escape;
use syncengine::transfer::Tuning;
use syncengine::{Error, ErrorKind, Result, StoreOptions, SyncMode, SyncOptions, SyncPair};

use crate::args::store::StoreArgs;
use crate::args::{CommonArgs, FilterArg, FilterArgs, Locations, PairArgs, PolicyArgs, RunArgs};
use crate::{durations, sizes};

#[cfg(feature = "embedded")]
pub(crate) mod keys;
mod rules;
mod store;

/// More files than this at once only wait for each other. Ours.
const MAX_TRANSFERS: usize = 1024;

/// With less than one read buffer for each of a few files, copying would stop and go.
const LEAST_MEMORY: u64 = 1024 * 1024;

/// What S3 allows for a part that is not the last, and for an object in one piece.
const PART_BYTES: RangeInclusive<u64> = 5 * 1024 * 1024..=5 * 1024 * 1024 * 1024;

/// As long as a `.syncignore` file may be.
const MAX_IGNORE_BYTES: u64 = 1024 * 1024;

/// How the result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Human,
    /// One document at the end.
    Json,
    /// One event a line, the document last.
    JsonLines,
}

/// When progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShowProgress {
    /// A bar on a terminal, else a line now and then.
    Auto,
    /// The same, and a line when the work begins.
    Always,
    /// Not at all.
    Never,
}

/// The options of every command.
#[derive(Debug, Clone)]
pub(crate) struct Common {
    pub(crate) format: Format,
    pub(crate) progress: ShowProgress,
    pub(crate) verbosity: u8,
    pub(crate) quiet: bool,
    pub(crate) state_dir: Option<OsString>,
}

fn invalid(message: impl Into<String>, hint: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, message).with_hint(hint)
}

/// Returns the one of `choices` that `given` names; case, `-` and `_` do not matter.
fn choose<T: Copy>(option: &str, given: &str, choices: &[(&str, T)]) -> Result<T> {
    let fold = |name: &str| name.replace(['-', '_'], "").to_lowercase();
    let found = choices.iter().find(|(name, _)| fold(name) == fold(given)).map(|(_, choice)| *choice);
    found.ok_or_else(|| {
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        let message = format!("unknown value `{}` of `{option}`", escape(given.as_bytes()));
        Error::new(ErrorKind::Invalid, message).with_hint(format!("use one of: {}", names.join(", ")))
    })
}

/// Returns the format that `--output` names.
pub(crate) fn format(name: &str) -> Result<Format> {
    let choices = [("human", Format::Human), ("json", Format::Json), ("jsonl", Format::JsonLines)];
    choose("--output", name, &choices)
}

/// Returns the format the words ask for, for when they could not be understood as a whole.
pub(crate) fn format_of_words(words: &[OsString]) -> Format {
    let mut words = words.iter().map(|word| word.to_string_lossy()).take_while(|word| word != "--");
    let mut found = Format::Human;
    while let Some(word) = words.next() {
        let value = match word.strip_prefix("--output") {
            Some("") => words.next(),
            Some(rest) => rest.strip_prefix('=').map(|value| value.to_owned().into()),
            None => None,
        };
        if let Some(Ok(format)) = value.map(|value| format(&value)) {
            found = format;
        }
    }
    found
}

/// Reads the options of every command.
pub(crate) fn common(args: CommonArgs) -> Result<Common> {
    let choices =
        [("auto", ShowProgress::Auto), ("always", ShowProgress::Always), ("never", ShowProgress::Never)];
    if args.quiet && args.verbose > 0 {
        return Err(invalid("`-q` and `-v` contradict each other", "give one of them"));
    }
    if args.state_dir.as_deref().is_some_and(OsStr::is_empty) {
        return Err(invalid("`--state-dir` is empty", "name a folder, or leave the option out"));
    }
    Ok(Common {
        format: args.output.as_deref().map_or(Ok(Format::Human), format)?,
        progress: args
            .progress
            .as_deref()
            .map_or(Ok(ShowProgress::Auto), |name| choose("--progress", name, &choices))?,
        verbosity: args.verbose,
        quiet: args.quiet,
        state_dir: args.state_dir,
    })
}

#[expect(clippy::disallowed_methods, reason = "the command line is where the environment is read")]
fn environment(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// Returns a folder of the user's: what a variable names, or, below the home directory, the usual one.
fn user_folder(variable: &str, below_home: &str) -> Option<PathBuf> {
    let home = || environment("HOME");
    let base = if cfg!(target_os = "macos") {
        home().map(|home| home.join("Library/Application Support"))
    } else {
        environment(variable).or_else(|| Some(home()?.join(below_home)))
    };
    base.map(|base| base.join("syncengine"))
}

/// Returns where an embedded store keeps its objects: `given`, or the user's data directory.
#[cfg(feature = "embedded")]
pub(crate) fn embedded_dir(given: Option<&OsStr>) -> Result<PathBuf> {
    if let Some(dir) = given {
        if dir.is_empty() {
            return Err(invalid("`--embedded-dir` is empty", "name a folder, or leave the option out"));
        }
        check_tilde("--embedded-dir", dir)?;
        let doing = || format!("resolve the folder `{}`", escape(dir.as_encoded_bytes()));
        return std::path::absolute(dir).map_err(|error| Error::io(doing(), error));
    }
    store::default_embedded_dir()
}

/// Returns where the state is kept.
pub(crate) fn state_dir(common: &Common) -> Result<PathBuf> {
    if let Some(dir) = &common.state_dir {
        check_tilde("--state-dir", dir)?;
        let doing = || format!("resolve the state directory `{}`", escape(dir.as_encoded_bytes()));
        return std::path::absolute(dir).map_err(|error| Error::io(doing(), error));
    }
    user_folder("XDG_STATE_HOME", ".local/state").ok_or_else(|| {
        invalid("no place to remember the pair in: `HOME` is not set", "name one with --state-dir DIR")
    })
}

/// Returns the pair of two locations, with how they are reached.
pub(crate) fn located(args: &Locations) -> Result<SyncPair> {
    match (&args.source, &args.destination) {
        (Some(source), Some(destination)) => store::reached(SyncPair::new(source, destination), &args.store),
        (Some(one), None) => Err(invalid(
            format!("two locations are needed, and only `{}` is given", escape(one.as_bytes())),
            "name SOURCE and DESTINATION; pairs with a name come in a later release",
        )),
        _ => Err(invalid("two locations are needed", "name SOURCE and DESTINATION")),
    }
}

/// Returns how the store of a single location is reached.
pub(crate) fn store_of(location: &str, args: &StoreArgs) -> Result<StoreOptions> {
    // The options are those of a pair, of which both sides are the same here.
    Ok(store::reached(SyncPair::new(location, location), args)?.destination_store)
}

/// Returns the pair that `sync` and `plan` are asked to work on.
pub(crate) fn pair(args: &PairArgs) -> Result<SyncPair> {
    let mut pair = policy(&args.locations, &args.policy, &args.filter)?;
    if let Some(trash) = &args.trash {
        pair = pair.trash(choose("--trash", trash, &[("on", true), ("off", false)])?);
    }
    pair = store::trashed(pair, args)?;
    if let Some(text) = &args.trash_keep {
        if !pair.trash {
            return Err(invalid("`--trash-keep` has no effect with `--trash off`", "give one of them"));
        }
        pair = pair.trash_keep(durations::seconds("--trash-keep", text)?);
    }
    if let Some(text) = &args.trash_max {
        if !pair.trash {
            return Err(invalid("`--trash-max` has no effect with `--trash off`", "give one of them"));
        }
        pair = pair.trash_max(sizes::parse("--trash-max", text)?);
    }
    if let Some(limit) = &args.max_delete {
        pair = pair.max_delete(limit.parse()?);
    }
    Ok(pair)
}

/// Returns the pair without what concerns deletions.
pub(crate) fn policy(at: &Locations, args: &PolicyArgs, filter: &FilterArgs) -> Result<SyncPair> {
    let mut pair = located(at)?.pull(!args.no_pull);
    if let Some(mode) = &args.mode {
        pair = pair.mode(mode.parse()?);
    }
    if let Some(preference) = &args.initial_sync {
        pair = pair.initial_sync(preference.parse()?);
    }
    if let Some(strategy) = &args.conflict {
        pair = pair.conflict(strategy.parse()?);
    }
    if let Some(comparison) = &args.compare {
        pair = pair.compare(comparison.parse()?);
    }
    check_used("--initial-sync", args.initial_sync.is_some(), pair.mode, SyncMode::TwoWay)?;
    check_used("--conflict", args.conflict.is_some(), pair.mode, SyncMode::TwoWay)?;
    check_used("--no-pull", args.no_pull, pair.mode, SyncMode::SourceBackup)?;
    filtered(pair, filter)
}

/// Returns `pair` with the rules of the filter options.
pub(crate) fn filtered(mut pair: SyncPair, args: &FilterArgs) -> Result<SyncPair> {
    pair.rules = rules(args)?;
    rules::check(&pair)?;
    pair.compiled_rules()?;
    Ok(pair)
}

/// Refuses an option that the mode would silently ignore.
fn check_used(option: &str, given: bool, mode: SyncMode, only: SyncMode) -> Result<()> {
    if !given || mode == only {
        return Ok(());
    }
    let message = format!("`{option}` has no meaning in mode `{mode}`");
    Err(Error::new(ErrorKind::Invalid, message)
        .with_hint(format!("leave it out, or choose --mode {only}; `syncengine modes` explains them")))
}

/// Returns the rules of the filter options, in their order.
fn rules(args: &FilterArgs) -> Result<Vec<String>> {
    let mut rules = Vec::new();
    for arg in &args.ordered {
        match arg {
            FilterArg::Exclude(rule) => rules.push(rule.clone()),
            FilterArg::Include(rule) => rules.push(format!("!{rule}")),
            FilterArg::IgnoreFile(path) => rules.extend(rules_of_file(Path::new(path))?),
        }
    }
    Ok(rules)
}

/// Refuses a `~` that no shell has put a home directory in the place of.
pub(crate) fn check_tilde(option: &str, path: &OsStr) -> Result<()> {
    let bytes = path.as_encoded_bytes();
    if bytes != b"~" && !bytes.starts_with(b"~/") {
        return Ok(());
    }
    let (shown, rest) = (escape(bytes), escape(&bytes[1..]));
    Err(invalid(
        format!(
            "`{option}`: `~` stands for a home directory only where a shell reads it, and `{shown}` came as it is"
        ),
        format!("write $HOME{rest} or the whole path, or ./{shown} for what has that name"),
    ))
}

fn rules_of_file(path: &Path) -> Result<Vec<String>> {
    check_tilde("--ignore-file", path.as_os_str())?;
    let shown = escape(path.as_os_str().as_encoded_bytes());
    let unreadable = |error| {
        let cause = Error::io(format!("read `{shown}`"), error);
        Error::new(ErrorKind::Invalid, "`--ignore-file` cannot be read")
            .with_source(cause)
            .with_hint("check the spelling and the permissions; it takes one file of rules")
    };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(MAX_IGNORE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    let hint = "rules are written as in a .gitignore file";
    if bytes.len() as u64 > MAX_IGNORE_BYTES {
        return Err(invalid(format!("the ignore file `{shown}` is longer than 1 MiB"), hint));
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| invalid(format!("the ignore file `{shown}` is not text in UTF-8"), hint))?;
    let mut rules = Vec::new();
    for (number, line) in text.strip_prefix('\u{feff}').unwrap_or(&text).lines().enumerate() {
        let (parsed, errors) = Rules::parse(line);
        if let Some(error) = errors.first() {
            return Err(invalid(format!("line {} of `{shown}`: {error}", number + 1), hint));
        }
        if !parsed.is_empty() {
            rules.push(line.to_owned());
        }
    }
    Ok(rules)
}

/// Returns the options of one run of `pair`.
pub(crate) fn run(args: &RunArgs, pair: &SyncPair) -> Result<SyncOptions> {
    store::check_tuning(args, pair)?;
    Ok(SyncOptions {
        allow_mass_delete: args.allow_mass_delete,
        allow_empty_side: args.allow_empty_side,
        allow_unseen: args.allow_unseen,
        accept_root: args.accept_root,
        accept_rules: args.accept_rules,
        allow_mass_empty: args.allow_mass_empty,
        accept_rollback: args.accept_rollback.as_deref().map(str::parse).transpose()?,
        strict: args.strict,
        tuning: tuning(args)?,
        ..SyncOptions::new()
    })
}

fn tuning(args: &RunArgs) -> Result<Tuning> {
    let mut tuning = Tuning::default();
    if let Some(text) = &args.transfers {
        let number = text.parse().ok().filter(|number| (1..=MAX_TRANSFERS).contains(number));
        tuning.transfers = number.ok_or_else(|| {
            let message = format!("`{}` is not a number of transfers", escape(text.as_bytes()));
            invalid(message, "give a whole number from 1 to 1024")
        })?;
        tuning.requests = Some(tuning.transfers);
    }
    tuning.part_bytes = part_bytes("--part-size", args.part_size.as_deref())?;
    tuning.multipart_threshold = part_bytes("--multipart-threshold", args.multipart_threshold.as_deref())?;
    if let Some(text) = &args.memory {
        tuning.memory_bytes = sizes::parse("--memory", text)?;
        if tuning.memory_bytes < LEAST_MEMORY {
            let message = format!("`{}` is too little for `--memory`", escape(text.as_bytes()));
            return Err(invalid(message, "give at least 1M; 256M is the default"));
        }
    }
    make_room_for_parts(&mut tuning, args)?;
    if let Some(text) = &args.retry_budget {
        tuning.retry_budget = Duration::from_secs(durations::seconds("--retry-budget", text)?);
    }
    if let Some(text) = &args.bwlimit {
        tuning.bytes_per_second = Some(sizes::parse("--bwlimit", text)?);
    }
    Ok(tuning)
}

/// A part is held in memory while it is sent, and the next one while it is read.
fn make_room_for_parts(tuning: &mut Tuning, args: &RunArgs) -> Result<()> {
    let needed = tuning.part_bytes.unwrap_or(0).saturating_mul(2);
    if tuning.memory_bytes >= needed {
        return Ok(());
    }
    if args.memory.is_none() {
        tuning.memory_bytes = needed;
        return Ok(());
    }
    let mib = needed.div_ceil(1024 * 1024);
    let message = "two parts of the size of `--part-size` do not fit into what `--memory` allows";
    Err(invalid(message, format!("give at least --memory {mib}M, or a smaller --part-size")))
}

fn part_bytes(option: &str, given: Option<&str>) -> Result<Option<u64>> {
    let Some(text) = given else { return Ok(None) };
    let bytes = sizes::parse(option, text)?;
    if PART_BYTES.contains(&bytes) {
        return Ok(Some(bytes));
    }
    let message = format!("`{}` is out of range for `{option}`", escape(text.as_bytes()));
    Err(invalid(message, "give a size from 5M to 5G, as S3 allows for parts"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn the_format_is_found_in_words_that_make_no_sense() {
        for (text, expected) in [
            ("sync --output json --bogus", Format::Json),
            ("sync --output=JSON --bogus", Format::Json),
            ("--output jsonl", Format::JsonLines),
            ("sync --output", Format::Human),
            ("sync --output xml", Format::Human),
            ("sync -- --output json", Format::Human),
            ("sync --outputs json", Format::Human),
        ] {
            assert_eq!(format_of_words(&words(text)), expected, "{text}");
        }
    }
}
