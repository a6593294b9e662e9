//! When two worlds are one: if they differ only in times, ids and numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use syncengine::state::BaseRow;

use super::{Moment, Place};

impl Moment {
    /// Returns a number that two worlds share if they differ only in times, ids and numbers.
    pub(super) fn shape(&self) -> u64 {
        let mut text = format!("{:?} {} {}", self.at_rest, self.has_widened, self.is_shelf_known);
        let _ = write!(text, "{:?} {:?} {:?}", self.given_up, self.carried, self.aside);
        let _ = write!(text, "{:?}", self.gone_for_both);
        for place in &self.world.places {
            let trash: BTreeSet<&Bytes> = place.trash.iter().map(|(_, content)| content).collect();
            let temporaries = place.temporaries.len();
            let Place { root, files, markers, moments, .. } = place;
            let _ = write!(text, "|{root} {files:?} {trash:?} {markers:?} {moments:?} {temporaries}");
        }
        let all = self.states.iter().chain(&self.backup);
        for (name, content) in all.flatten() {
            let _ = write!(text, "|{name}");
            for (key, row) in &content.rows {
                let _ = match row {
                    BaseRow::Agreed(agreed) => write!(text, " {key} {agreed:?}"),
                    BaseRow::Tombstone(_) => write!(text, " {key} gone"),
                    BaseRow::Begun(_) => write!(text, " {key} begun"),
                    BaseRow::Deleted(row) => write!(text, " {key} deleted at {}", row.on),
                };
            }
            if let Some(record) = &content.record {
                let (roots, first, epochs) = (record.roots, record.first_sync, record.tail.epochs());
                let (recovery, rules) = (record.tail.recovery(), record.tail.rules());
                let _ =
                    write!(text, "{} {roots:?} {first:?} {epochs:?} {recovery:?} {rules:?}", record.pair_id);
            }
        }
        let mut hasher = DefaultHasher::new();
        ranked(&text).hash(&mut hasher);
        hasher.finish()
    }
}

/// Puts in the place of every long number how many smaller ones there are, and in that of every id which it is.
fn ranked(text: &str) -> String {
    let is_part = |c: char| c.is_ascii_hexdigit();
    let words = || text.split_inclusive(|c| !is_part(c)).map(|piece| piece.trim_end_matches(|c| !is_part(c)));
    let is_number = |word: &&str| word.len() >= 3 && word.bytes().all(|byte| byte.is_ascii_digit());
    let is_id = |word: &&str| word.len() >= 8 && word.bytes().any(|byte| byte.is_ascii_alphabetic());
    let numbers: BTreeSet<u128> = words().filter(is_number).filter_map(|word| word.parse().ok()).collect();
    let ranks: BTreeMap<u128, usize> = numbers.into_iter().zip(0..).collect();
    let mut ids: BTreeMap<&str, usize> = BTreeMap::new();
    let mut out = String::with_capacity(text.len());
    for piece in text.split_inclusive(|c| !is_part(c)) {
        let word = piece.trim_end_matches(|c| !is_part(c));
        if is_number(&word) {
            let rank = word.parse().ok().and_then(|number: u128| ranks.get(&number));
            let _ = write!(out, "#{}", rank.copied().unwrap_or_default());
        } else if is_id(&word) {
            let count = ids.len();
            let _ = write!(out, "@{}", ids.entry(word).or_insert(count));
        } else {
            out += word;
        }
        out += &piece[word.len()..];
    }
    out
}
