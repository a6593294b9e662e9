//! The codes by which programs know what a report says: stable names, in one place.
//!
//! Each enum has one `as_str`, which is what JSON and people are shown. Nothing decides by the text.

use std::fmt;

use serde::{Serialize, Serializer};

/// Defines an enum whose variants have a stable text.
macro_rules! codes {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])+ $variant:ident = $text:literal,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum $name { $($(#[$doc])+ $variant,)+ }

        impl $name {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Returns the text, which never changes.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

codes! {
    /// What a refusal, a warning or a note is about.
    NoticeCode {
        /// Refusal: a side is empty that was not, or that decides.
        EmptySide = "empty-side",
        /// Refusal: more would be deleted or overwritten than is allowed.
        MaxDelete = "max-delete",
        /// Refusal or note: a first run deletes or overwrites files of a side that it has never seen.
        UnseenFiles = "unseen-files",
        /// Another machine has synced this pair last.
        OtherMachine = "other-machine",
        /// Refusal: the destination carries the marker of another pair.
        OtherPair = "other-pair",
        /// Refusal: a root is another folder, and few of the files are in it.
        RootChanged = "root-changed",
        /// Refusal: the plan is not the one that was reviewed.
        PlanChanged = "plan-changed",
        /// Refusal: another run holds the pair.
        Locked = "locked",
        /// A root is another folder, and most of the files are in it.
        RootMoved = "root-moved",
        /// All files known before have other content.
        AllFilesChanged = "all-files-changed",
        /// One side of a first sync has many more files than the other.
        LopsidedFirstSync = "lopsided-first-sync",
        /// The comparison chosen can take different files for equal.
        WeakComparison = "weak-comparison",
        /// A folder that was synced was moved, and what is remembered of it counts.
        PairMoved = "pair-moved",
        /// A side is a copy of one that was synced elsewhere, and has no past of its own.
        RootCopied = "root-copied",
        /// The two sides were synced since with another state directory.
        OtherState = "other-state",
        /// The base was lost.
        StateLost = "state-lost",
        /// Refusal or warning: a side was put back to an earlier state.
        RolledBack = "rolled-back",
        /// The state is older than the sides.
        StateOlder = "state-older",
        /// Refusal: a first-sync preference is given, the base was lost, and a side was put back to an earlier state.
        PreferenceLate = "preference-late",
        /// Refusal: many files of a side have become empty.
        MassEmpty = "mass-empty",
        /// Others can change what is remembered.
        StateExposed = "state-exposed",
        /// A first-sync preference has no effect any more.
        PreferenceSpent = "preference-spent",
        /// The marker of the pair could not be written.
        NoMarker = "no-marker",
        /// The marker of the pair could not be removed.
        MarkerStays = "marker-stays",
        /// Paths that were synced before are excluded now.
        FilterChanged = "filter-changed",
        /// Files with reserved names that are not ours.
        ForeignTemporaries = "foreign-temporaries",
        /// Rules are gone, and files that they excluded are still held back.
        RulesWidened = "rules-widened",
        /// The clock shows another time than it should.
        ClockJumped = "clock-jumped",
        /// Temporaries of an earlier run could not be removed.
        Leftovers = "leftovers",
        /// Old trash could not be removed.
        OldTrash = "old-trash",
        /// Old trash was removed for good.
        TrashPurged = "trash-purged",
        /// Deletions were not carried over because something failed.
        DeletionsHeldBack = "deletions-held-back",
        /// What an earlier run deleted in a store is listed again.
        Reappeared = "reappeared",
        /// A file system cannot replace files as safely as others.
        WeakPublish = "weak-publish",
        /// A store ignores conditions.
        WeakConditions = "weak-conditions",
        /// A bucket keeps old versions, which are the trash.
        OldVersions = "old-versions",
        /// Symbolic links were skipped.
        SkippedSymlinks = "skipped-symlinks",
        /// Pipes, sockets and devices were skipped.
        SkippedSpecialFiles = "skipped-special-files",
        /// Empty folders were skipped.
        SkippedEmptyFolders = "skipped-empty-folders",
        /// Folders on another file system were skipped.
        SkippedMounts = "skipped-mounts",
        /// A side has no room left.
        NoSpace = "no-space",
    }
}

codes! {
    /// What is done with a path, as plans and reports name it.
    ActionCode {
        /// Copied to the destination.
        Upload = "upload",
        /// Copied to the source.
        Download = "download",
        /// Renamed at the source.
        RenameSource = "rename_source",
        /// Renamed at the destination.
        RenameDestination = "rename_destination",
        /// Deleted at the source.
        DeleteSource = "delete_source",
        /// Deleted at the destination.
        DeleteDestination = "delete_destination",
        /// A conflict, settled by keeping both or left to the user.
        Conflict = "conflict",
        /// Remembered as equal.
        Adopt = "adopt",
        /// A difference that the mode does not touch.
        Skip = "skip",
    }
}

codes! {
    /// Why a path could not be synced.
    FailureCode {
        /// Two names that a side takes for one.
        NameClash = "name-clash",
        /// Something that is not synced, or a folder, stands in the place of a file.
        NameCollision = "name-collision",
        /// A name that the other side cannot have.
        UnmappableName = "unmappable-name",
        /// It has become empty and kept its modification time, as after a crash of the machine.
        SuspectEmpty = "suspect-empty",
        /// It did not stay as it was for long enough.
        ChangedDuringSync = "changed-during-sync",
        /// The store said that it took it, and does not have it.
        Vanished = "vanished",
        /// The side has no room left.
        NoSpace = "no-space",
        /// The side takes no file that large.
        TooLarge = "too-large",
        /// It is not there any more.
        NotFound = "not-found",
        /// The system or the store does not allow it.
        PermissionDenied = "permission-denied",
        /// The store does not take the credentials.
        Unauthenticated = "unauthenticated",
        /// The side did not answer, or answered that it cannot for now.
        Unavailable = "unavailable",
        /// It cannot work as it is.
        Invalid = "invalid",
        /// Stored data contradicts itself.
        Corrupt = "corrupt",
        /// The run was cancelled.
        Cancelled = "cancelled",
        /// Another run holds it.
        Locked = "locked",
        /// The system or the store cannot do it.
        Unsupported = "unsupported",
        /// A defect of this program or of the system below it.
        Internal = "internal",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_words_in_lower_case_and_no_two_are_alike() {
        let notices = NoticeCode::ALL.iter().map(|code| code.as_str());
        let failures = FailureCode::ALL.iter().map(|code| code.as_str());
        let actions = ActionCode::ALL.iter().map(|code| code.as_str());
        for texts in [notices.collect::<Vec<_>>(), failures.collect(), actions.collect()] {
            assert_eq!(texts.iter().collect::<BTreeSet<_>>().len(), texts.len());
            let is_word =
                |text: &&str| text.bytes().all(|b| b.is_ascii_lowercase() || matches!(b, b'-' | b'_'));
            assert!(texts.iter().all(is_word), "{texts:?}");
        }
        assert_eq!(serde_json::to_value(FailureCode::NameClash).unwrap(), "name-clash");
        assert_eq!(format!("{:>12}", NoticeCode::Locked), "      locked");
    }
}
