//! From the options about stores to how each side is reached. An option without effect is refused.

use std::ffi::OsStr;
use std::path::PathBuf;

use syncengine::key::escape;
use syncengine::{Error, Location, Result, Side, Sides, StoreOptions, SyncPair};

use super::{invalid, user_folder};
use crate::args::store::{Choice, Given, StoreArgs};
use crate::args::{PairArgs, RunArgs};

/// What kind of place a side is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Folder,
    S3,
    Embedded,
}

impl Kind {
    fn of(location: &str) -> Result<Self> {
        Ok(match Location::parse(location)? {
            Location::Folder(_) => Self::Folder,
            Location::S3(_) => Self::S3,
            Location::Embedded(_) => Self::Embedded,
        })
    }

    fn describe(self) -> &'static str {
        match self {
            Self::Folder => "a folder",
            Self::S3 => "on s3://",
            Self::Embedded => "on embedded://",
        }
    }
}

fn kinds(pair: &SyncPair) -> Result<Sides<Kind>> {
    let of = |side: Side| {
        Kind::of(pair.location(side)).map_err(|error| {
            let hint = error.hint().unwrap_or_default().to_owned();
            Error::new(error.kind(), format!("the {side}: {error}")).with_hint(hint)
        })
    };
    Ok(Sides::new(of(Side::Source)?, of(Side::Destination)?))
}

/// Returns `pair` with how its stores are reached.
pub(super) fn reached(pair: SyncPair, args: &StoreArgs) -> Result<SyncPair> {
    let kinds = kinds(&pair)?;
    let mut stores: Sides<StoreOptions> = Sides::default();
    for given in &args.given {
        let wanted = if given.choice == Choice::EmbeddedDir { Kind::Embedded } else { Kind::S3 };
        let sides: Vec<_> = Side::BOTH
            .into_iter()
            .filter(|side| given.side.is_none_or(|only| only == *side) && *kinds.get(*side) == wanted)
            .collect();
        if sides.is_empty() {
            return Err(without_effect(given, wanted, kinds));
        }
        for side in sides {
            set(stores.get_mut(side), given)?;
        }
    }
    for side in Side::BOTH {
        let dir = &mut stores.get_mut(side).embedded_dir;
        if *kinds.get(side) == Kind::Embedded && dir.is_none() {
            *dir = Some(default_embedded_dir()?);
        }
    }
    let Sides { source, destination } = stores;
    Ok(pair.store(Side::Source, source).store(Side::Destination, destination))
}

fn without_effect(given: &Given, wanted: Kind, kinds: Sides<Kind>) -> Error {
    let option = &given.option;
    let message = match given.side {
        Some(side) => {
            format!("`{option}` has no effect: the {side} is {}", kinds.get(side).describe())
        }
        None => format!("`{option}` has no effect: no side is {}", wanted.describe()),
    };
    invalid(message, "leave it out, or name s3://bucket/prefix or embedded://bucket/prefix as it needs")
}

/// Sets what one option says.
fn set(store: &mut StoreOptions, given: &Given) -> Result<()> {
    match given.choice {
        Choice::EndpointUrl => store.endpoint_url = Some(text(given)?),
        Choice::Region => store.region = Some(text(given)?),
        Choice::Profile => store.profile = Some(text(given)?),
        Choice::CaBundle => store.ca_bundle = Some(path(given)?),
        Choice::AllowHttp => store.allow_http = true,
        Choice::EmbeddedDir => store.embedded_dir = Some(path(given)?),
    }
    Ok(())
}

fn text(given: &Given) -> Result<String> {
    let option = &given.option;
    match given.value.to_str() {
        Some("") => Err(invalid(format!("`{option}` is empty"), "give it a value, or leave it out")),
        Some(text) if !text.contains(char::is_control) => Ok(text.to_owned()),
        _ => Err(invalid(
            format!("the value of `{option}` has characters in it that are no text"),
            "check for a line end or other invisible characters",
        )),
    }
}

/// Returns a path that means the same in a saved plan.
fn path(given: &Given) -> Result<PathBuf> {
    let option = &given.option;
    if given.value == OsStr::new("") {
        return Err(invalid(format!("`{option}` is empty"), "name a path, or leave it out"));
    }
    super::check_tilde(option, &given.value)?;
    let doing = || format!("resolve the path `{}` of `{option}`", escape(given.value.as_encoded_bytes()));
    std::path::absolute(&given.value).map_err(|error| Error::io(doing(), error))
}

/// Returns where embedded stores keep their objects: in the user's data directory.
pub(super) fn default_embedded_dir() -> Result<PathBuf> {
    user_folder("XDG_DATA_HOME", ".local/share").map(|folder| folder.join("embedded")).ok_or_else(|| {
        invalid("no place to keep embedded objects in: `HOME` is not set", "name one with --embedded-dir DIR")
    })
}

/// Returns `pair` with the place of its trash.
pub(super) fn trashed(pair: SyncPair, args: &PairArgs) -> Result<SyncPair> {
    let Some(text) = &args.trash_location else { return Ok(pair) };
    let shown = escape(text.as_bytes());
    if !pair.trash {
        return Err(invalid("`--trash-location` has no effect with `--trash off`", "give one of them"));
    }
    let kinds = kinds(&pair)?;
    if kinds == Sides::new(Kind::Folder, Kind::Folder) {
        return Err(invalid(
            "`--trash-location` is for S3 sides, and both sides are folders",
            "leave it out: a folder keeps its trash in `.syncengine/trash` inside it",
        ));
    }
    let kind = Kind::of(text).map_err(|error| {
        let hint = error.hint().unwrap_or_default().to_owned();
        Error::new(error.kind(), format!("`--trash-location`: {error}")).with_hint(hint)
    })?;
    if kind == Kind::Folder || (kind != kinds.source && kind != kinds.destination) {
        return Err(invalid(
            format!("`--trash-location` cannot be `{shown}`: no side keeps its objects there"),
            "name s3://bucket/prefix for a side on s3://, embedded://bucket/prefix for one on embedded://",
        ));
    }
    Ok(pair.trash_location(text))
}

/// Refuses tuning that nothing in `pair` would feel.
pub(super) fn check_tuning(args: &RunArgs, pair: &SyncPair) -> Result<()> {
    if kinds(pair)? != Sides::new(Kind::Folder, Kind::Folder) {
        return Ok(());
    }
    for (option, given) in
        [("--part-size", &args.part_size), ("--multipart-threshold", &args.multipart_threshold)]
    {
        if given.is_some() {
            return Err(invalid(
                format!("`{option}` has no effect: both sides are folders"),
                "leave it out; it is about uploads to a store",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{self, Command};

    /// Returns the pair of a command line whose words are separated by one space, or what is wrong with it.
    fn pair(words: &str) -> Result<SyncPair, String> {
        let words: Vec<_> =
            ["syncengine", "sync"].into_iter().chain(words.split(' ')).map(Into::into).collect();
        let Ok(args::Cli { command: Command::Sync(args), .. }) = args::parse(&words) else {
            panic!("not understood: {words:?}")
        };
        super::super::pair(&args.pair)
            .and_then(|pair| super::super::run(&args.run, &pair).map(|_| pair))
            .map_err(|error| {
                format!("{error} ({})", error.hint().unwrap_or_else(|| panic!("no hint: {error}")))
            })
    }

    #[test]
    fn an_option_for_one_side_wins_over_that_for_both() {
        let pair = pair(
            "s3://one1 s3://two2 --destination-region eu-1 --region us-1 --profile p --source-endpoint-url https://h \
             --destination-allow-http --ca-bundle /c.pem",
        )
        .unwrap();
        let both = StoreOptions {
            region: Some("us-1".into()),
            profile: Some("p".into()),
            ca_bundle: Some("/c.pem".into()),
            ..StoreOptions::default()
        };
        let source = StoreOptions { endpoint_url: Some("https://h".into()), ..both.clone() };
        let destination = StoreOptions { region: Some("eu-1".into()), allow_http: true, ..both };
        assert_eq!((pair.source_store, pair.destination_store), (source, destination));
    }

    #[test]
    fn what_is_for_both_reaches_the_sides_it_can_mean() {
        let found = pair("/a s3://two2 --endpoint-url https://h").unwrap();
        assert!(found.source_store.is_default());
        assert_eq!(found.destination_store.endpoint_url.as_deref(), Some("https://h"));
        let found = pair("embedded://one s3://two2 --embedded-dir /e --profile p").unwrap();
        assert_eq!(found.source_store.embedded_dir, Some("/e".into()));
        assert_eq!(found.source_store.profile, None);
        assert_eq!(found.destination_store.profile.as_deref(), Some("p"));
        assert_eq!(found.destination_store.embedded_dir, None);
        let relative = pair("/a embedded://two --destination-embedded-dir e").unwrap();
        assert!(relative.destination_store.embedded_dir.unwrap().is_absolute());
    }

    #[test]
    fn b49_an_option_without_effect_is_refused() {
        for (words, expected) in [
            ("/a /b --endpoint-url https://h", "`--endpoint-url` has no effect: no side is on s3://"),
            ("/a /b --allow-http", "`--allow-http` has no effect"),
            ("/a /b --embedded-dir /e", "no side is on embedded://"),
            ("/a s3://two2 --embedded-dir /e", "no side is on embedded://"),
            ("/a embedded://two --region r", "no side is on s3://"),
            ("/a s3://two2 --source-region r", "`--source-region` has no effect: the source is a folder"),
            ("s3://one1 s3://two2 --source-embedded-dir /e", "the source is on s3://"),
            ("embedded://one s3://two2 --source-profile p --embedded-dir /e", "the source is on embedded://"),
            ("/a /b --part-size 8M", "`--part-size` has no effect"),
            ("/a /b --multipart-threshold 8M", "`--multipart-threshold` has no effect"),
            ("/a /b --trash-location s3://trash", "both sides are folders"),
            ("/a s3://two2 --trash-location s3://trash --trash off", "--trash off"),
            ("/a s3://two2 --trash-location embedded://trash", "no side keeps its objects there"),
            ("/a s3://two2 --trash-location /trash", "no side keeps its objects there"),
            ("/a s3://two2 --trash-location s3://t", "`--trash-location`: "),
        ] {
            let error = pair(words).unwrap_err();
            assert!(error.contains(expected), "{words}: {error}");
        }
    }

    #[test]
    fn values_that_cannot_be_are_refused() {
        for (words, expected) in [
            ("/a s3://two2 --region=", "`--region` is empty"),
            ("/a s3://two2 --endpoint-url=", "`--endpoint-url` is empty"),
            ("/a s3://two2 --ca-bundle=", "`--ca-bundle` is empty"),
            ("/a embedded://two --embedded-dir=", "`--embedded-dir` is empty"),
            ("/a s3://two2 --profile=a\nb", "`--profile` has characters"),
            ("/a s3://x", "the destination: "),
            ("s3://b/../c /a", "the source: "),
            // B-42
            ("/a s3://two2 --part-size 5242879", "5M to 5G"),
            ("/a s3://two2 --part-size 6G", "5M to 5G"),
            ("/a s3://two2 --part-size 0", "--part-size"),
            ("/a s3://two2 --multipart-threshold 1", "5M to 5G"),
            ("/a s3://two2 --multipart-threshold 5368709121", "5M to 5G"),
        ] {
            let error = pair(words).unwrap_err();
            assert!(error.contains(expected), "{words}: {error}");
        }
        for words in ["/a s3://two2 --part-size 5M", "/a embedded://two --embedded-dir /e --part-size 5G"] {
            assert!(pair(words).is_ok(), "{words}");
        }
        let trash = pair("/a s3://two2 --trash-location s3://trash/of-a").unwrap();
        assert_eq!(trash.trash_location.as_deref(), Some("s3://trash/of-a"));
    }
}
