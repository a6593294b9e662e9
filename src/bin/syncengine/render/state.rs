//! What is remembered of a pair.

use serde::Serialize;
use syncengine::key::escape;
use syncengine::location::shown as shown_location;
use syncengine::notice::Notice;
use syncengine::{Sides, SyncMode};

use super::words;

/// The document of `state show`.
#[derive(Debug, Serialize)]
pub(crate) struct Shown {
    pub(crate) schema: u32,
    pub(crate) source: String,
    pub(crate) destination: String,
    /// Whether a run of this pair was recorded.
    pub(crate) synced: bool,
    pub(crate) pair_id: Option<String>,
    pub(crate) mode: Option<SyncMode>,
    pub(crate) last_sync_seconds: Option<i64>,
    pub(crate) rows: u64,
    pub(crate) marked: bool,
    /// What is wrong with the state, if anything is.
    pub(crate) lost: Option<String>,
}

/// The document of `state forget`.
#[derive(Debug, Serialize)]
pub(crate) struct Forgotten {
    pub(crate) schema: u32,
    pub(crate) source: String,
    pub(crate) destination: String,
    /// Whether there was a base.
    pub(crate) base_removed: bool,
    /// How many markers were removed.
    pub(crate) markers_removed: u64,
    pub(crate) warnings: Vec<Notice>,
}

/// The document of `state move`.
#[derive(Debug, Serialize)]
pub(crate) struct Moved {
    pub(crate) schema: u32,
    pub(crate) old: String,
    pub(crate) new: String,
    /// The pairs, as they are now.
    pub(crate) pairs: Vec<Sides<String>>,
    /// How many states that were there already were moved aside.
    pub(crate) replaced: u64,
}

/// Returns the text of `state show`.
pub(crate) fn shown(shown: &Shown) -> String {
    let mut rows = vec![
        ("source", escape(shown.source.as_bytes())),
        ("destination", escape(shown.destination.as_bytes())),
    ];
    if let Some(why) = &shown.lost {
        rows.push(("state", format!("lost: {}", escape(why.as_bytes()))));
    } else if !shown.synced {
        rows.push(("state", "never synced".into()));
    }
    if shown.synced {
        rows.push(("pair", escape(shown.pair_id.as_deref().unwrap_or_default().as_bytes())));
        rows.push(("mode", shown.mode.map(|mode| mode.to_string()).unwrap_or_default()));
        let last = shown.last_sync_seconds.map_or_else(|| "none is complete".into(), words::moment);
        rows.push(("last sync", last));
        rows.push(("rows", words::count(shown.rows)));
        rows.push(("markers", if shown.marked { "on both sides".into() } else { "none".into() }));
    }
    rows.iter().fold(String::new(), |text, (name, value)| format!("{text}{name:<12} {value}\n"))
}

/// Returns the text of `state forget`.
pub(crate) fn forgotten(done: &Forgotten) -> String {
    let markers = words::plural(done.markers_removed, "marker");
    match (done.base_removed, done.markers_removed) {
        // A side could not be asked, so that nobody knows whether there was something.
        (false, 0) if !done.warnings.is_empty() => "nothing was forgotten\n".into(),
        (false, 0) => "nothing to forget: this pair was never synced\n".into(),
        (false, _) => format!("removed {markers}; there was no base\n"),
        (true, _) => format!("forgot the base and removed {markers}; the next sync is a first sync\n"),
    }
}

/// Returns the text of `state move`.
pub(crate) fn moved(done: &Moved) -> String {
    let mut text = String::new();
    for pair in &done.pairs {
        let place = |identity: &str| escape(shown_location(identity).as_bytes());
        let (source, destination) = (place(&pair.source), place(&pair.destination));
        text.push_str(&format!(
            "moved        `{source}` and `{destination}`: the next sync goes on from what is remembered\n"
        ));
    }
    if done.replaced > 0 {
        let states = words::plural(done.replaced, "state");
        text.push_str(&format!("set aside    {states} of the new place\n"));
    }
    text
}
