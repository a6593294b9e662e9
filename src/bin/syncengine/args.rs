//! The command line as plain values. What they mean, and whether they go together, is in `options.rs`.

use std::ffi::OsString;

use clap::{ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

pub(crate) mod store;

use store::StoreArgs;

/// Keeps two trees of files in agreement.
#[derive(Debug, Parser)]
#[command(name = "syncengine", version, about, max_term_width = 110)]
#[command(
    after_help = "exit codes: 0 in agreement, 1 some paths failed, 2 usage, 3 refused or conflicts wait, \
                        4 a side or the state cannot be reached, 130 or 143 cancelled"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Bring the two sides into agreement
    Sync(SyncArgs),
    /// Show what sync would do; changes nothing
    Plan(PlanArgs),
    /// Carry out a saved plan, if nothing has changed since
    Apply(ApplyArgs),
    /// Are the two sides equal, by content? Changes nothing
    Check(CheckArgs),
    /// Show what changed on each side since the last sync; changes nothing
    Status(StatusArgs),
    /// Explain the five modes
    Modes,
    /// Run the S3-compatible server behind embedded:// alone, until SIGINT or SIGTERM
    #[cfg(feature = "embedded")]
    Serve(ServeArgs),
    /// Look at or forget what is remembered of a pair
    State {
        #[command(subcommand)]
        command: StateCommand,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum StateCommand {
    /// Show what is remembered of a pair
    Show(Locations),
    /// Forget a pair, so that its next sync is its first
    Forget(Locations),
    /// Make what is remembered of one place count for another, to which its files were moved or copied
    Move(MoveArgs),
}

#[derive(Debug, Args)]
pub(crate) struct MoveArgs {
    /// Where the files were when they were synced last: a folder, s3://bucket/prefix or embedded://bucket/prefix
    #[arg(value_name = "OLD")]
    pub(crate) old: String,
    /// Where they are now
    #[arg(value_name = "NEW")]
    pub(crate) new: String,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct CommonArgs {
    /// Result on stdout: human, json (one document at the end), jsonl (one event a line) [default: human]
    #[arg(long, global = true, value_name = "FORMAT")]
    pub(crate) output: Option<String>,
    /// Progress on stderr: auto, always, never [default: auto]
    #[arg(long, global = true, value_name = "WHEN")]
    pub(crate) progress: Option<String>,
    /// More detail on stderr; twice and three times for even more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// No progress, notes or summary
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Where the past of each pair is remembered [default: the user's state directory]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) state_dir: Option<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct Locations {
    /// The first tree: a folder, s3://bucket/prefix or embedded://bucket/prefix
    #[arg(value_name = "SOURCE")]
    pub(crate) source: Option<String>,
    /// The second tree: a folder, s3://bucket/prefix or embedded://bucket/prefix
    #[arg(value_name = "DESTINATION")]
    pub(crate) destination: Option<String>,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SyncArgs {
    #[command(flatten)]
    pub(crate) pair: PairArgs,
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Only show what would be done; writes nothing anywhere
    #[arg(long, help_heading = "Run")]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) sync: SyncArgs,
    /// Save the plan in FILE, for `syncengine apply FILE`
    #[arg(long, value_name = "FILE", help_heading = "Run")]
    pub(crate) save: Option<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// A plan saved by `syncengine plan --save FILE`
    pub(crate) file: OsString,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) locations: Locations,
    /// Compare sizes and ETags: files beside a store are read, objects are not; of two folders sizes only
    #[arg(long, help_heading = "Run")]
    pub(crate) quick: bool,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) locations: Locations,
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
}

/// What to serve, and to whom.
#[cfg(feature = "embedded")]
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Where the objects are kept [default: the user's data directory]
    #[arg(long, value_name = "DIR", help_heading = "Server")]
    pub(crate) embedded_dir: Option<OsString>,
    /// The port on 127.0.0.1 [default: any free one]
    #[arg(long, value_name = "N", help_heading = "Server")]
    pub(crate) port: Option<String>,
    /// The access key that clients must use [default: embedded]
    #[arg(long, value_name = "KEY", help_heading = "Server")]
    pub(crate) access_key: Option<String>,
    /// A file with the secret key that clients must use; or set SYNCENGINE_SECRET_KEY [default: embedded]
    #[arg(long, value_name = "FILE", help_heading = "Server")]
    pub(crate) secret_key_file: Option<OsString>,
}

/// What is to be synced, and how.
#[derive(Debug, Args)]
pub(crate) struct PairArgs {
    #[command(flatten)]
    pub(crate) locations: Locations,
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    /// Make a missing receiving folder or bucket
    #[arg(long, help_heading = "Run")]
    pub(crate) create: bool,
    /// Keep replaced and deleted versions: on, off [default: on]
    #[arg(long, value_name = "on|off", help_heading = "Safety")]
    pub(crate) trash: Option<String>,
    /// Where sides in a store keep what was replaced and deleted [default: below the side]
    #[arg(long, value_name = "s3://BUCKET/PREFIX", help_heading = "Safety")]
    pub(crate) trash_location: Option<String>,
    /// For how long replaced and deleted versions are kept, such as 12h, 90d or 8w [default: 30d]
    #[arg(long, value_name = "D", allow_negative_numbers = true, help_heading = "Safety")]
    pub(crate) trash_keep: Option<String>,
    /// Remove the oldest trash of a side, for good, until this size is left, such as 10G; that of the run itself stays [default:
    /// no limit]
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true, help_heading = "Safety")]
    pub(crate) trash_max: Option<String>,
    /// Refuse to delete more files than this, or than this share of a side [default: 50% of more than 20]
    #[arg(long, value_name = "N|P%", allow_negative_numbers = true, help_heading = "Safety")]
    pub(crate) max_delete: Option<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Policy")]
pub(crate) struct PolicyArgs {
    /// In which directions changes travel; see `syncengine modes` [default: twoWay]
    #[arg(long, value_name = "MODE")]
    pub(crate) mode: Option<String>,
    /// A first two-way sync: merge, source-wins, destination-wins [default: merge]
    #[arg(long, value_name = "PREFERENCE")]
    pub(crate) initial_sync: Option<String>,
    /// Changed on both sides: newest-wins, source-wins, destination-wins, keep-both, manual [default: newest-wins]
    #[arg(long, value_name = "STRATEGY")]
    pub(crate) conflict: Option<String>,
    /// Files without a common past: hash-then-mtime, size-only, hash-only, mtime-only, size-and-mtime
    /// [default: hash-then-mtime]
    #[arg(long, value_name = "COMPARISON")]
    pub(crate) compare: Option<String>,
    /// With --mode sourceBackup: never copy anything to the source
    #[arg(long)]
    pub(crate) no_pull: bool,
}

#[derive(Debug, Args)]
#[command(
    next_help_heading = "Filter (rules as in .gitignore, in the order given, over those of .syncignore)"
)]
pub(crate) struct FilterArgs {
    /// Do not sync what this rule matches
    #[arg(long, value_name = "RULE", allow_hyphen_values = true)]
    exclude: Vec<String>,
    /// Sync what this rule matches although an earlier one excludes it
    #[arg(long, value_name = "RULE", allow_hyphen_values = true)]
    include: Vec<String>,
    /// Read rules from this file
    #[arg(long, value_name = "FILE")]
    ignore_file: Vec<OsString>,
    /// The three above in the order given; filled by [`parse`].
    #[arg(skip)]
    pub(crate) ordered: Vec<FilterArg>,
}

/// One option of the filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FilterArg {
    Exclude(String),
    Include(String),
    IgnoreFile(OsString),
}

/// What holds for one run only and is never read from a file.
#[derive(Debug, Default, Args)]
pub(crate) struct RunArgs {
    /// Delete as many files as the plan says, this once
    #[arg(long, help_heading = "Safety")]
    pub(crate) allow_mass_delete: bool,
    /// Go on although a side is empty, this once
    #[arg(long, help_heading = "Safety")]
    pub(crate) allow_empty_side: bool,
    /// Delete or overwrite files of a side that was never synced with the other, this once
    #[arg(long, help_heading = "Safety")]
    pub(crate) allow_unseen: bool,
    /// Go on although a side is another folder than last time, this once
    #[arg(long, help_heading = "Safety")]
    pub(crate) accept_root: bool,
    /// Sync from now on what rules that are gone have excluded at the other side
    #[arg(long, help_heading = "Safety")]
    pub(crate) accept_rules: bool,
    /// Go on although many files have become empty, this once
    #[arg(long, help_heading = "Safety")]
    pub(crate) allow_mass_empty: bool,
    /// Go on although a side was put back to an earlier state, this once; its version wins, the other's, or both are
    /// kept: source, destination, keep-both
    #[arg(long, value_name = "WHICH", help_heading = "Safety")]
    pub(crate) accept_rollback: Option<String>,
    /// Refuse writes that a store cannot guard against other writers, instead of warning of them
    #[arg(long, help_heading = "Safety")]
    pub(crate) strict: bool,
    /// How many files, and how many requests to a store, are under way at once, 1 to 1024
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "Tuning")]
    pub(crate) transfers: Option<String>,
    /// How large the parts of large uploads to a store are, 5M to 5G [default: by the size of the file]
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true, help_heading = "Tuning")]
    pub(crate) part_size: Option<String>,
    /// Files above this size go up to a store in parts, 5M to 5G [default: 16M]
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true, help_heading = "Tuning")]
    pub(crate) multipart_threshold: Option<String>,
    /// How many bytes a second are copied at most, such as 10M
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true, help_heading = "Tuning")]
    pub(crate) bwlimit: Option<String>,
    /// How long the requests of one file to a store may fail before it is given up, such as 10m; its bytes are sent 5 times at
    /// most [default: 10m]
    #[arg(long, value_name = "TIME", allow_negative_numbers = true, help_heading = "Tuning")]
    pub(crate) retry_budget: Option<String>,
    /// How much memory copies may use, such as 256M; at least 1M
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true, help_heading = "Tuning")]
    pub(crate) memory: Option<String>,
}

/// Reads the command line.
pub(crate) fn parse(arguments: &[OsString]) -> Result<Cli, clap::Error> {
    let matches = Cli::command().try_get_matches_from(arguments)?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    let filter = match &mut cli.command {
        Command::Sync(args) => Some(&mut args.pair.filter),
        Command::Plan(args) => Some(&mut args.sync.pair.filter),
        Command::Check(args) => Some(&mut args.filter),
        Command::Status(args) => Some(&mut args.filter),
        Command::Apply(_) | Command::Modes | Command::State { .. } => None,
        #[cfg(feature = "embedded")]
        Command::Serve(_) => None,
    };
    if let (Some(filter), Some((_, matches))) = (filter, matches.subcommand()) {
        filter.put_in_order(matches);
    }
    Ok(cli)
}

impl FilterArgs {
    fn put_in_order(&mut self, matches: &ArgMatches) {
        let at = |name: &str| matches.indices_of(name).into_iter().flatten().collect::<Vec<_>>();
        let mut all: Vec<(usize, FilterArg)> = Vec::new();
        all.extend(at("exclude").into_iter().zip(self.exclude.drain(..).map(FilterArg::Exclude)));
        all.extend(at("include").into_iter().zip(self.include.drain(..).map(FilterArg::Include)));
        all.extend(at("ignore_file").into_iter().zip(self.ignore_file.drain(..).map(FilterArg::IgnoreFile)));
        all.sort_by_key(|(index, _)| *index);
        self.ordered = all.into_iter().map(|(_, arg)| arg).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn filter_options_keep_the_order_of_the_command_line() {
        let words = "syncengine sync a b --include x --exclude=y --ignore-file f --include z --output json";
        let arguments: Vec<OsString> = words.split(' ').map(OsString::from).collect();
        let Ok(Cli { command: Command::Sync(args), .. }) = parse(&arguments) else {
            panic!("not understood: {words}")
        };
        let expected = [
            FilterArg::Include("x".into()),
            FilterArg::Exclude("y".into()),
            FilterArg::IgnoreFile("f".into()),
            FilterArg::Include("z".into()),
        ];
        assert_eq!(args.pair.filter.ordered, expected);
    }
}
