//! The options that say how a store is reached: for both sides, and for each alone.

use std::ffi::OsString;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};
use syncengine::Side;

/// What can be said of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    EndpointUrl,
    Region,
    Profile,
    CaBundle,
    AllowHttp,
    EmbeddedDir,
}

/// Each choice with its option, its value and its help.
const CHOICES: &[(Choice, &str, &str, &str)] = &[
    (Choice::EndpointUrl, "endpoint-url", "URL", "The address of the store, if it is not AWS"),
    (Choice::Region, "region", "REGION", "The region of the store [default: as the AWS tools find it]"),
    (Choice::Profile, "profile", "NAME", "The profile in the shared AWS files to take credentials from"),
    (Choice::CaBundle, "ca-bundle", "FILE", "Certificates (PEM) to trust besides those of the system"),
    (Choice::AllowHttp, "allow-http", "", "Talk to other hosts than this one without encryption"),
    (
        Choice::EmbeddedDir,
        "embedded-dir",
        "DIR",
        "Where embedded:// keeps its objects [default: in the user's data directory]",
    ),
];

/// Whom an option is about, with the beginning of its name and the end of its help.
const WHOM: &[(Option<Side>, &str, &str)] = &[
    (None, "", ""),
    (Some(Side::Source), "source-", "; for the source alone"),
    (Some(Side::Destination), "destination-", "; for the destination alone"),
];

const HEADING: &str = "Store (credentials come from where the AWS tools take them)";

/// The options that were given: those for both sides first.
#[derive(Debug, Clone, Default)]
pub(crate) struct StoreArgs {
    pub(crate) given: Vec<Given>,
}

/// One option that was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Given {
    /// As it is written, with its dashes.
    pub(crate) option: String,
    /// The side it is about, or both.
    pub(crate) side: Option<Side>,
    pub(crate) choice: Choice,
    /// Empty for a flag.
    pub(crate) value: OsString,
}

impl Args for StoreArgs {
    fn augment_args(command: Command) -> Command {
        WHOM.iter().fold(command, |command, (side, prefix, whom)| {
            CHOICES.iter().fold(command, |command, (choice, name, value, help)| {
                let id = format!("{prefix}{name}");
                let arg = Arg::new(id.clone()).long(id).help(format!("{help}{whom}")).help_heading(HEADING);
                let arg = match choice {
                    Choice::AllowHttp => arg.action(ArgAction::SetTrue),
                    _ => arg.value_name(*value).value_parser(value_parser!(OsString)),
                };
                // They are many, and few people need them.
                command.arg(arg.hide_short_help(side.is_some()))
            })
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for StoreArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut args = Self::default();
        args.update_from_arg_matches(matches)?;
        Ok(args)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.given.clear();
        for (side, prefix, _) in WHOM {
            for (choice, name, ..) in CHOICES {
                let id = format!("{prefix}{name}");
                let value = match choice {
                    Choice::AllowHttp => matches.get_flag(&id).then(OsString::new),
                    _ => matches.get_one::<OsString>(&id).cloned(),
                };
                let option = format!("--{id}");
                self.given.extend(value.map(|value| Given { option, side: *side, choice: *choice, value }));
            }
        }
        Ok(())
    }
}
