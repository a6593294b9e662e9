//! What the user chooses: mode, first-sync preference, conflict strategy, comparison mode.
//!
//! Names parse in any case, with or without `-` and `_` (`two-way`, `TWO_WAY`, `twoWay`, `tw`). What each
//! choice does to a path is the table in `plan/decide.rs`; this file only names the choices and their rights.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};
use crate::side::Side;

/// The names one choice answers to; the first is how it is written.
macro_rules! choices {
    ($type:ident, $what:literal, { $($variant:ident: $first:literal $(| $alias:literal)*),+ $(,)? }) => {
        impl $type {
            /// Every value, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Returns the canonical name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $first),+ }
            }

            /// Returns every name the value answers to; case, `-` and `_` do not matter.
            pub fn names(self) -> &'static [&'static str] {
                match self { $(Self::$variant => &[$first $(, $alias)*]),+ }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }

        impl FromStr for $type {
            type Err = Error;

            fn from_str(name: &str) -> Result<Self, Error> {
                let wanted = fold(name);
                Self::ALL.iter().copied().find(|value| value.names().iter().any(|n| fold(n) == wanted))
                    .ok_or_else(|| {
                        let known: Vec<_> = Self::ALL.iter().map(|value| value.name()).collect();
                        let shown = crate::key::escape(name.as_bytes());
                        Error::new(ErrorKind::Invalid, format!(concat!("unknown ", $what, " `{}`"), shown))
                            .with_hint(format!("use one of: {}", known.join(", ")))
                    })
            }
        }

        impl TryFrom<String> for $type {
            type Error = Error;

            fn try_from(name: String) -> Result<Self, Error> {
                name.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.name().into()
            }
        }
    };
}

fn fold(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '-' | '_')).flat_map(char::to_lowercase).collect()
}

/// In which directions changes and deletions travel.
///
/// ```
/// use syncengine::SyncMode;
///
/// let mode = SyncMode::from_string("tw")?;
/// assert_eq!(mode, SyncMode::TwoWay);
/// assert!(mode.allows_upload() && mode.allows_download() && mode.is_bidirectional());
/// assert_eq!("localtocloud".parse::<SyncMode>()?, SyncMode::SourceToDestination);
/// assert_eq!("SOURCE_BACKUP".parse::<SyncMode>()?.to_string(), "sourceBackup");
/// # Ok::<(), syncengine::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SyncMode {
    /// Changes and deletions travel both ways; what changed on both sides is a conflict.
    #[default]
    TwoWay,
    /// The destination becomes a mirror of the source.
    SourceToDestination,
    /// The destination keeps everything the source ever had; nothing is deleted on either side.
    SourceBackup,
    /// The source becomes a mirror of the destination.
    DestinationToSource,
    /// The source keeps everything the destination ever had; nothing is deleted on either side.
    DestinationBackup,
}

choices!(SyncMode, "mode", {
    TwoWay: "twoWay" | "tw",
    SourceToDestination: "sourceToDestination" | "std" | "localtocloud" | "ltc",
    SourceBackup: "sourceBackup" | "sb" | "localbackup" | "lb",
    DestinationToSource: "destinationToSource" | "dts" | "cloudtolocal" | "ctl",
    DestinationBackup: "destinationBackup" | "db" | "cloudbackup" | "cb",
});

impl SyncMode {
    /// Returns the mode called `name`; the same as [`str::parse`].
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] with a hint that lists the names.
    pub fn from_string(name: &str) -> Result<Self, Error> {
        name.parse()
    }

    /// Returns whether files may be copied to the destination.
    pub fn allows_upload(self) -> bool {
        matches!(self, Self::TwoWay | Self::SourceToDestination | Self::SourceBackup)
    }

    /// Returns whether files may be copied to the source. True for [`SyncMode::SourceBackup`], which pulls
    /// changes made at the destination unless the pair says otherwise (`SyncPair::allows_download`).
    pub fn allows_download(self) -> bool {
        !matches!(self, Self::SourceToDestination)
    }

    /// Returns whether files may be copied to `side` by a pair that pulls, or does not.
    pub fn allows_copy_to(self, side: Side, pull: bool) -> bool {
        match side {
            Side::Source => self.allows_download() && (pull || self != Self::SourceBackup),
            Side::Destination => self.allows_upload(),
        }
    }

    /// Returns whether files may be deleted at the source.
    pub fn allows_source_delete(self) -> bool {
        matches!(self, Self::TwoWay | Self::DestinationToSource)
    }

    /// Returns whether files may be deleted at the destination.
    pub fn allows_destination_delete(self) -> bool {
        matches!(self, Self::TwoWay | Self::SourceToDestination)
    }

    /// Returns whether neither side has authority over the other.
    pub fn is_bidirectional(self) -> bool {
        matches!(self, Self::TwoWay)
    }

    /// Returns whether the source must be listed: always.
    pub fn requires_source_scan(self) -> bool {
        true
    }

    /// Returns whether the destination must be listed: always.
    pub fn requires_destination_scan(self) -> bool {
        true
    }

    /// Returns whether files may be deleted on `side`.
    pub fn allows_delete(self, side: Side) -> bool {
        match side {
            Side::Source => self.allows_source_delete(),
            Side::Destination => self.allows_destination_delete(),
        }
    }

    /// Returns the side that decides, in the modes that have one.
    pub fn authority(self) -> Option<Side> {
        match self {
            Self::TwoWay => None,
            Self::SourceToDestination | Self::SourceBackup => Some(Side::Source),
            Self::DestinationToSource | Self::DestinationBackup => Some(Side::Destination),
        }
    }

    /// Returns the mode that does the same if the two sides are given the other way round.
    pub fn turned_round(self) -> Self {
        match self {
            Self::TwoWay => Self::TwoWay,
            Self::SourceToDestination => Self::DestinationToSource,
            Self::DestinationToSource => Self::SourceToDestination,
            Self::SourceBackup => Self::DestinationBackup,
            Self::DestinationBackup => Self::SourceBackup,
        }
    }

    /// Returns whether one side is made equal to the other, deletions included.
    pub fn is_mirror(self) -> bool {
        matches!(self, Self::SourceToDestination | Self::DestinationToSource)
    }
}

/// What the first sync of a two-way pair does with files that only one side has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum InitialSyncPreference {
    /// Both sides get everything; nothing is deleted.
    #[default]
    Merge,
    /// The source decides: what only the destination has is deleted there.
    SourceWins,
    /// The destination decides: what only the source has is deleted there.
    DestinationWins,
}

choices!(InitialSyncPreference, "initial sync preference", {
    Merge: "merge",
    SourceWins: "source-wins",
    DestinationWins: "destination-wins",
});

impl InitialSyncPreference {
    /// Returns the side that decides, if one does.
    pub fn winner(self) -> Option<Side> {
        match self {
            Self::Merge => None,
            Self::SourceWins => Some(Side::Source),
            Self::DestinationWins => Some(Side::Destination),
        }
    }
}

impl InitialSyncPreference {
    /// Returns the preference that does the same if the two sides are given the other way round.
    pub fn turned_round(self) -> Self {
        match self {
            Self::Merge => Self::Merge,
            Self::SourceWins => Self::DestinationWins,
            Self::DestinationWins => Self::SourceWins,
        }
    }
}

impl ConflictStrategy {
    /// Returns the strategy that does the same if the two sides are given the other way round.
    pub fn turned_round(self) -> Self {
        match self {
            Self::SourceWins => Self::DestinationWins,
            Self::DestinationWins => Self::SourceWins,
            other => other,
        }
    }
}

/// What happens to a file that changed on both sides of a two-way pair.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ConflictStrategy {
    /// The version with the later modification time wins; a tie is treated as [`Self::Manual`].
    #[default]
    NewestWins,
    /// The source's version wins.
    SourceWins,
    /// The destination's version wins.
    DestinationWins,
    /// Both versions are kept on both sides, the older under a conflict name.
    KeepBoth,
    /// Both versions stay where they are until the user decides.
    Manual,
}

choices!(ConflictStrategy, "conflict strategy", {
    NewestWins: "newest-wins",
    SourceWins: "source-wins",
    DestinationWins: "destination-wins",
    KeepBoth: "keep-both",
    Manual: "manual",
});

/// What happens where a side that was put back to an earlier state differs from what both sides had last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AcceptRollback {
    /// The source's state wins: what it does not have is deleted at the destination.
    Source,
    /// The destination's state wins: what it does not have is deleted at the source.
    Destination,
    /// Nothing is deleted, and of files that differ both versions are kept.
    KeepBoth,
}

choices!(AcceptRollback, "answer to a side that went back", {
    Source: "source",
    Destination: "destination",
    KeepBoth: "keep-both",
});

impl AcceptRollback {
    /// Returns the side whose state wins, if one does.
    pub fn winner(self) -> Option<Side> {
        match self {
            Self::Source => Some(Side::Source),
            Self::Destination => Some(Side::Destination),
            Self::KeepBoth => None,
        }
    }
}

/// How two files without a common past are compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ComparisonMode {
    /// By hash where both hashes are known without a transfer, else by size and modification time.
    #[default]
    HashThenMtime,
    /// By size alone.
    SizeOnly,
    /// By hash; content is read where no hash is known.
    HashOnly,
    /// By modification time alone, within 2 seconds.
    MtimeOnly,
    /// By size and modification time, within 2 seconds.
    SizeAndMtime,
}

choices!(ComparisonMode, "comparison mode", {
    HashThenMtime: "hash-then-mtime",
    SizeOnly: "size-only",
    HashOnly: "hash-only",
    MtimeOnly: "mtime-only",
    SizeAndMtime: "size-and-mtime",
});

impl ComparisonMode {
    /// Returns whether files of different content can count as equal.
    pub fn is_weak(self) -> bool {
        matches!(self, Self::SizeOnly | Self::MtimeOnly | Self::SizeAndMtime)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b40_every_documented_spelling_is_understood_and_others_list_the_choices() {
        for mode in SyncMode::ALL {
            for name in mode.names() {
                for spelling in [(*name).to_string(), name.to_uppercase(), name.to_lowercase()] {
                    assert_eq!(spelling.parse::<SyncMode>().unwrap(), *mode, "{spelling}");
                }
            }
        }
        for (name, mode) in [
            ("two-way", SyncMode::TwoWay),
            ("TWO_WAY", SyncMode::TwoWay),
            ("ltc", SyncMode::SourceToDestination),
            ("SOURCE_TO_DESTINATION", SyncMode::SourceToDestination),
            ("source-backup", SyncMode::SourceBackup),
            ("lb", SyncMode::SourceBackup),
            ("ctl", SyncMode::DestinationToSource),
            ("cb", SyncMode::DestinationBackup),
        ] {
            assert_eq!(SyncMode::from_string(name).unwrap(), mode);
        }
        for name in ["", " tw", "two way", "sideways", "t"] {
            let error = name.parse::<SyncMode>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.hint().unwrap().contains("sourceToDestination"), "{name}");
        }
    }

    #[test]
    fn preferences_strategies_and_comparisons_parse_by_every_spelling() {
        use ComparisonMode as C;
        assert_eq!(
            "SOURCE_WINS".parse::<InitialSyncPreference>().unwrap(),
            InitialSyncPreference::SourceWins
        );
        assert_eq!("sourceWins".parse::<ConflictStrategy>().unwrap(), ConflictStrategy::SourceWins);
        assert_eq!("KEEP_BOTH".parse::<ConflictStrategy>().unwrap(), ConflictStrategy::KeepBoth);
        assert_eq!("hashThenMtime".parse::<C>().unwrap(), C::HashThenMtime);
        let weak: Vec<_> = C::ALL.iter().filter(|c| c.is_weak()).map(|c| c.name()).collect();
        assert_eq!(weak, ["size-only", "mtime-only", "size-and-mtime"]);
        assert!("newest".parse::<ConflictStrategy>().is_err());
        assert!("".parse::<C>().is_err());
    }

    #[test]
    fn the_rights_of_each_mode_are_the_pages() {
        use SyncMode::*;
        // upload, download, source delete, destination delete, bidirectional, mirror
        let rows = [
            (TwoWay, [true, true, true, true, true, false]),
            (SourceToDestination, [true, false, false, true, false, true]),
            (SourceBackup, [true, true, false, false, false, false]),
            (DestinationToSource, [false, true, true, false, false, true]),
            (DestinationBackup, [false, true, false, false, false, false]),
        ];
        for (mode, expected) in rows {
            let rights = [
                mode.allows_upload(),
                mode.allows_download(),
                mode.allows_source_delete(),
                mode.allows_destination_delete(),
                mode.is_bidirectional(),
                mode.is_mirror(),
            ];
            assert_eq!(rights, expected, "{mode}");
            assert_eq!(mode.allows_delete(Side::Source), expected[2]);
            assert_eq!(mode.allows_delete(Side::Destination), expected[3]);
            assert!(mode.requires_source_scan() && mode.requires_destination_scan());
        }
        assert_eq!(SourceBackup.authority(), Some(Side::Source));
        assert_eq!(DestinationToSource.authority(), Some(Side::Destination));
        assert_eq!(TwoWay.authority(), None);
        assert_eq!(InitialSyncPreference::DestinationWins.winner(), Some(Side::Destination));
        assert_eq!(InitialSyncPreference::Merge.winner(), None);
    }

    #[test]
    fn serde_uses_the_names() {
        assert_eq!(serde_json::to_string(&SyncMode::TwoWay).unwrap(), "\"twoWay\"");
        assert_eq!(
            serde_json::from_str::<ConflictStrategy>("\"keepBoth\"").unwrap(),
            ConflictStrategy::KeepBoth
        );
        assert!(serde_json::from_str::<SyncMode>("\"x\"").is_err());
    }
}
