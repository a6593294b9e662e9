//! `Marker`: the name by which a side says which pair it belongs to, and up to which point of the pair's history.
//!
//! A pair's *epoch* is a number that rises with every run that changes rows of the base. Each side that a mode
//! writes to carries it in the name of a small file, so that a listing shows whether the side is as new as it was
//! left. A side that was put back from a backup carries an older one.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::entry::Timestamp;
use crate::fingerprint::md5_of;
use crate::mode::SyncMode;
use crate::side::{Side, Sides};

/// How many hexadecimal digits an epoch has in a name.
const EPOCH_DIGITS: usize = 16;

/// No pair gets so far: a name with a higher number is none of ours.
const MOST_EPOCHS: u64 = 1 << 48;

/// No marker is longer.
pub const MOST_BYTES: usize = 16 * 1024;

/// The name of a marker.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Marker {
    /// The id of the pair.
    pub pair_id: String,
    /// Up to where the side has come; 0 is what releases without epochs wrote.
    pub epoch: u64,
}

impl Marker {
    /// Returns the marker of a pair at an epoch.
    pub fn new(pair_id: impl Into<String>, epoch: u64) -> Self {
        Self { pair_id: pair_id.into(), epoch }
    }

    /// Reads a name. Every name is one: what has no epoch at its end is of epoch 0.
    pub fn parse(name: &str) -> Self {
        let is_lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        match name.rsplit_once('.') {
            Some((pair_id, digits))
                if !pair_id.is_empty()
                    && digits.len() == EPOCH_DIGITS
                    && digits.bytes().all(is_lower_hex) =>
            {
                Self::new(pair_id, u64::from_str_radix(digits, 16).unwrap_or(0))
            }
            _ => Self::new(name, 0),
        }
    }
}

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.epoch {
            0 => f.write_str(&self.pair_id),
            epoch => write!(f, "{}.{epoch:016x}", self.pair_id),
        }
    }
}

/// What is in a marker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkerText {
    /// The version of this document.
    pub schema: u32,
    /// The mode of the run that wrote it.
    pub mode: SyncMode,
    /// The name of the pair, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair: Option<String>,
    /// A hash of where the side that decides is, without the host; none in a mode in which neither does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// The machine that wrote it.
    pub machine: String,
    /// A hash of where both sides are, as that machine names them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub places: Option<String>,
    /// What runs of the pair did to files of rules of this side.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<CarriedRules>,
}

/// That a run has changed a file of rules. Whoever else syncs the side knows by it that its user did not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CarriedRules {
    /// A hash of the file's folder and of the rules that were there.
    pub before: String,
    /// A hash of the folder and of the rules that came in their place.
    pub after: String,
}

impl CarriedRules {
    /// Returns what a run did in a folder.
    pub fn new(folder: &str, before: Option<&String>, after: Option<&String>) -> Self {
        Self { before: hash_of(folder, before), after: hash_of(folder, after) }
    }

    /// Returns whether it explains that the rules in a folder have changed.
    pub fn explains(&self, folder: &str, before: Option<&String>, after: Option<&String>) -> bool {
        self.before == hash_of(folder, before) || self.after == hash_of(folder, after)
    }
}

fn hash_of(folder: &str, text: Option<&String>) -> String {
    // No text has the byte that none ends with.
    md5_of(&text.map_or_else(|| format!("{folder}\0\0"), |text| format!("{folder}\0{text}")))
}

impl MarkerText {
    /// Returns whether both are of the same sync: in one mode, from one place or of one name.
    pub fn is_like(&self, other: &Self) -> bool {
        let is_same = |one: &Option<String>, other: &Option<String>| one.is_some() && one == other;
        self.mode == other.mode
            && (is_same(&self.authority, &other.authority) || is_same(&self.pair, &other.pair))
    }
}

/// A marker as a client lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedMarker {
    /// Its name, whatever that is.
    pub name: String,
    /// When a store got it, by the store's clock, if its listing says so.
    pub stored: Option<Timestamp>,
}

impl From<String> for ListedMarker {
    fn from(name: String) -> Self {
        Self { name, stored: None }
    }
}

/// The markers that a side carries, each with when a store got it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks(Vec<(Marker, Option<Timestamp>)>);

impl Marks {
    /// Returns the markers that were listed.
    pub fn new(listed: impl IntoIterator<Item = ListedMarker>) -> Self {
        Self(listed.into_iter().map(|marker| (Marker::parse(&marker.name), marker.stored)).collect())
    }

    /// Returns the highest epoch of a pair, if the side carries a marker of it.
    pub fn highest(&self, pair_id: &str) -> Option<u64> {
        self.of(pair_id).map(|marker| marker.epoch).max()
    }

    /// Returns the highest epoch of any pair.
    pub fn latest(&self) -> u64 {
        self.0.iter().map(|(marker, _)| marker.epoch).filter(|epoch| *epoch < MOST_EPOCHS).max().unwrap_or(0)
    }

    /// Returns the markers of a pair.
    pub fn of<'a>(&'a self, pair_id: &'a str) -> impl Iterator<Item = &'a Marker> {
        self.0.iter().map(|(marker, _)| marker).filter(move |marker| marker.pair_id == pair_id)
    }

    /// Returns the markers of a pair that came after its newest one although they are older, as those of a backup do that is
    /// put over a side. A store says when it got each: one it got before the newest was never away, whatever the store
    /// answered to its deletion. A folder does not say.
    pub fn put_back<'a>(&'a self, pair_id: &'a str) -> impl Iterator<Item = &'a Marker> {
        let of_pair = || self.0.iter().filter(move |(marker, _)| marker.pair_id == pair_id);
        let newest = of_pair().max_by_key(|(marker, _)| marker.epoch);
        let stayed = move |stored: Option<Timestamp>| {
            let newest = newest.and_then(|(_, stored)| *stored);
            matches!((stored, newest), (Some(stored), Some(newest)) if stored <= newest)
        };
        of_pair().filter(move |(_, stored)| !stayed(*stored)).map(|(marker, _)| marker)
    }

    /// Returns the pairs that have a marker, each once.
    pub fn pairs(&self) -> std::collections::BTreeSet<&str> {
        self.0.iter().map(|(marker, _)| marker.pair_id.as_str()).collect()
    }
}

/// Returns a pair of which both sides carry a marker.
pub fn common(marks: &Sides<Marks>) -> Option<String> {
    let destination = marks.destination.pairs();
    marks.source.pairs().into_iter().find(|id| destination.contains(id)).map(str::to_owned)
}

/// Returns the side whose marker of a pair is older than that of the other one. One that has none is older than any.
pub fn older(marks: &Sides<Marks>, pair_id: &str) -> Option<Side> {
    match marks.source.highest(pair_id).cmp(&marks.destination.highest(pair_id)) {
        std::cmp::Ordering::Less => Some(Side::Source),
        std::cmp::Ordering::Greater => Some(Side::Destination),
        std::cmp::Ordering::Equal => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_the_pair_and_the_epoch() {
        for (name, pair_id, epoch) in [
            ("ab", "ab", 0),
            ("ab.0000000000000001", "ab", 1),
            ("ab.ffffffffffffffff", "ab", u64::MAX),
            ("ab.000000000000000A", "ab.000000000000000A", 0),
            ("ab.000000000000001", "ab.000000000000001", 0),
            (".0000000000000001", ".0000000000000001", 0),
            ("a.b.0000000000000010", "a.b", 16),
        ] {
            let marker = Marker::parse(name);
            assert_eq!(marker, Marker::new(pair_id, epoch), "{name}");
            assert_eq!(marker.to_string(), name);
        }
    }

    #[test]
    fn the_highest_epoch_counts_and_the_lower_side_is_the_older() {
        let marks = |names: &str| Marks::new(names.split_whitespace().map(|name| name.to_owned().into()));
        let at = |id: &str, epoch| Marker::new(id, epoch).to_string();
        let both = Sides::new(
            marks(&format!("{} {} x", at("ab", 3), at("ab", 7))),
            marks(&format!("{} y", at("ab", 4))),
        );
        assert_eq!((both.source.highest("ab"), both.destination.highest("ab")), (Some(7), Some(4)));
        assert_eq!((both.source.highest("z"), both.source.highest("x")), (None, Some(0)));
        assert_eq!(common(&both).as_deref(), Some("ab"));
        assert_eq!(
            (older(&both, "ab"), older(&both, "x"), older(&both, "z")),
            (Some(Side::Destination), Some(Side::Destination), None)
        );
        assert_eq!(common(&Sides::new(marks("x"), marks("y"))), None);
    }

    #[test]
    fn what_a_store_got_before_the_newest_marker_was_never_put_back() {
        // Epoch and time each; which of them came back.
        for (markers, expected) in [
            ("3@10 5@20", ""),
            ("3@20 5@20", ""),
            ("3@21 5@20", "3"),
            ("3@- 5@20", "3"),
            ("3@10 4@30 5@20", "4"),
            ("5@20", ""),
        ] {
            let listed = markers.split(' ').map(|word| {
                let (epoch, stored) = word.split_once('@').unwrap();
                ListedMarker {
                    name: Marker::new("ab", epoch.parse().unwrap()).to_string(),
                    stored: stored.parse().ok().map(|seconds| Timestamp::new(seconds, 0)),
                }
            });
            let marks = Marks::new(listed);
            let back: Vec<_> = marks.put_back("ab").map(|marker| marker.epoch.to_string()).collect();
            assert_eq!(back.join(" "), expected, "{markers}");
        }
    }
}
