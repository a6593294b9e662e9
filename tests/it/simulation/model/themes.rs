//! Which steps are tried together.

use super::{COPY, DESTINATION, SECOND, SOURCE, Step};

/// Steps that are tried in every order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Theme {
    pub(crate) name: &'static str,
    pub(crate) steps: &'static [Step],
    /// Whether runs are killed.
    pub(crate) kills: bool,
    /// Whether it is about two folders that are kept equal, and two sources of one backup would be at odds.
    pub(crate) is_two_way: bool,
    /// Whether it needs to tell one root from another, which buckets do not let.
    pub(crate) is_of_folders: bool,
}

pub(crate) const THEMES: &[Theme] = &[
    Theme {
        name: "edits and kills",
        steps: &[
            Step::Write(SOURCE, "f"),
            Step::Write(DESTINATION, "f"),
            Step::Delete(SOURCE, "f"),
            Step::Delete(DESTINATION, "g"),
            Step::Sync(0),
        ],
        kills: true,
        is_two_way: false,
        is_of_folders: false,
    },
    Theme {
        name: "second thoughts",
        steps: &[
            Step::Write(SOURCE, "f"),
            Step::Delete(SOURCE, "g"),
            Step::Write(DESTINATION, "f"),
            Step::Delete(DESTINATION, "g"),
            Step::TakeBack(SOURCE, "f"),
            Step::TakeBack(SOURCE, "g"),
            Step::TakeBack(DESTINATION, "f"),
            Step::TakeBack(DESTINATION, "g"),
            Step::Sync(0),
        ],
        kills: true,
        is_two_way: false,
        is_of_folders: false,
    },
    Theme {
        name: "sides put back",
        steps: &[
            Step::Write(SOURCE, "f"),
            Step::Delete(DESTINATION, "f"),
            Step::Delete(SOURCE, "g"),
            Step::Sync(0),
            Step::BackUp(SOURCE),
            Step::PutBack(SOURCE),
            Step::BackUp(DESTINATION),
            Step::PutBack(DESTINATION),
        ],
        kills: true,
        is_two_way: false,
        is_of_folders: false,
    },
    Theme {
        name: "states put back and lost",
        steps: &[
            Step::Write(SOURCE, "f"),
            Step::Write(DESTINATION, "f"),
            Step::Delete(SOURCE, "g"),
            Step::Sync(0),
            Step::BackUpState,
            Step::PutBackState,
            Step::LoseState,
            Step::LoseMarkers(DESTINATION),
        ],
        kills: true,
        is_two_way: false,
        is_of_folders: false,
    },
    Theme {
        name: "a machine put back",
        steps: &[
            Step::Write(SOURCE, "f"),
            Step::Delete(DESTINATION, "g"),
            Step::Sync(0),
            Step::BackUp(SOURCE),
            Step::PutBack(SOURCE),
            Step::BackUpState,
            Step::PutBackState,
        ],
        kills: true,
        is_two_way: false,
        is_of_folders: false,
    },
    Theme {
        name: "a root copied",
        steps: &[
            Step::Write(SOURCE, "f"),
            Step::Write(COPY, "f"),
            Step::Delete(SOURCE, "g"),
            Step::Delete(COPY, "f"),
            Step::Sync(0),
            Step::CopyRoot,
            Step::Sync(1),
        ],
        kills: false,
        is_two_way: false,
        is_of_folders: false,
    },
    Theme {
        name: "disks exchanged",
        steps: &[
            Step::Write(SOURCE, "f"),
            Step::Delete(SOURCE, "g"),
            Step::Write(DESTINATION, "g"),
            Step::Sync(0),
            Step::CopyDisk,
            Step::Exchange,
        ],
        kills: true,
        is_two_way: false,
        is_of_folders: true,
    },
    Theme {
        name: "rules",
        steps: &[
            Step::Write(SOURCE, "g"),
            Step::Write(DESTINATION, "g"),
            Step::Exclude(SOURCE),
            Step::Include(SOURCE),
            Step::Exclude(DESTINATION),
            Step::Include(DESTINATION),
            Step::Sync(0),
        ],
        kills: false,
        is_two_way: false,
        is_of_folders: false,
    },
    Theme {
        name: "two machines",
        steps: &[
            Step::Write(SOURCE, "f"),
            Step::Write(SECOND, "f"),
            Step::Delete(SECOND, "g"),
            Step::Sync(0),
            Step::Sync(2),
            Step::BackUp(DESTINATION),
            Step::PutBack(DESTINATION),
        ],
        kills: false,
        is_two_way: true,
        is_of_folders: false,
    },
];
