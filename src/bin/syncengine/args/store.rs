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

/// One choice on the command line.
struct Words {
    choice: Choice,
    /// The options for both sides, the source and the destination, in the order of [`WHOM`].
    options: [&'static str; 3],
    value: &'static str,
    help: &'static str,
}

const CHOICES: &[Words] = &[
    Words {
        choice: Choice::EndpointUrl,
        options: ["endpoint-url", "source-endpoint-url", "destination-endpoint-url"],
        value: "URL",
        help: "The address of the store, if it is not AWS",
    },
    Words {
        choice: Choice::Region,
        options: ["region", "source-region", "destination-region"],
        value: "REGION",
        help: "The region of the store [default: as the AWS tools find it]",
    },
    Words {
        choice: Choice::Profile,
        options: ["profile", "source-profile", "destination-profile"],
        value: "NAME",
        help: "The profile in the shared AWS files to take credentials from",
    },
    Words {
        choice: Choice::CaBundle,
        options: ["ca-bundle", "source-ca-bundle", "destination-ca-bundle"],
        value: "FILE",
        help: "Certificates (PEM) to trust besides those of the system",
    },
    Words {
        choice: Choice::AllowHttp,
        options: ["allow-http", "source-allow-http", "destination-allow-http"],
        value: "",
        help: "Talk to other hosts than this one without encryption",
    },
    Words {
        choice: Choice::EmbeddedDir,
        options: ["embedded-dir", "source-embedded-dir", "destination-embedded-dir"],
        value: "DIR",
        help: "Where embedded:// keeps its objects [default: in the user's data directory]",
    },
];

/// Whom an option is about, and what its help ends with.
const WHOM: [(Option<Side>, &str); 3] = [
    (None, ""),
    (Some(Side::Source), "; for the source alone"),
    (Some(Side::Destination), "; for the destination alone"),
];

/// Returns every option: the words of its choice, whom it is about, and its name.
fn options() -> impl Iterator<Item = (&'static Words, (Option<Side>, &'static str), &'static str)> {
    WHOM.into_iter()
        .enumerate()
        .flat_map(|(at, whom)| CHOICES.iter().map(move |words| (words, whom, words.options[at])))
}

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
        options().fold(command, |command, (words, (side, whom), option)| {
            let help = format!("{}{whom}", words.help);
            let arg = Arg::new(option).long(option).help(help).help_heading(HEADING);
            let arg = match words.choice {
                Choice::AllowHttp => arg.action(ArgAction::SetTrue),
                _ => arg.value_name(words.value).value_parser(value_parser!(OsString)),
            };
            // They are many, and few people need them.
            command.arg(arg.hide_short_help(side.is_some()))
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
        for (words, (side, _), option) in options() {
            let value = match words.choice {
                Choice::AllowHttp => matches.get_flag(option).then(OsString::new),
                _ => matches.get_one::<OsString>(option).cloned(),
            };
            let (option, choice) = (format!("--{option}"), words.choice);
            self.given.extend(value.map(|value| Given { option, side, choice, value }));
        }
        Ok(())
    }
}
