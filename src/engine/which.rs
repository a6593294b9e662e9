//! Which pair is this: the state of the two sides, wherever they were when it was written.
//!
//! A side that is written carries the ids of its pairs in its markers. The state of an id that all written sides carry is
//! the pair's if each side is where it was left, or is a folder that was moved. A side that is anything else is a copy,
//! which has no past of its own: what was deleted in one of two copies was not deleted in the other.

use super::prepare::Prepared;
use super::{SyncEngine, epoch};
use crate::code::NoticeCode;
use crate::error::Result;
use crate::event::Event;
use crate::key::escape;
use crate::location::{canonical_identity, quoted, shown};
use crate::marker::Marks;
use crate::notice::Notice;
use crate::pair::SyncPair;
use crate::report::Recorder;
use crate::root::RootIdentity;
use crate::side::{Side, Sides};
use crate::state::Kept;

/// What tells two sides from all others.
#[derive(Debug)]
struct Given<'a> {
    identities: Sides<String>,
    roots: Sides<Option<RootIdentity>>,
    marks: &'a Sides<Marks>,
    /// The sides that the run writes; the others carry no markers.
    written: Sides<bool>,
}

/// What is known of the two sides.
#[derive(Debug, Default)]
pub(super) struct Which {
    /// The state that is theirs, if it is not the one of their locations.
    pub(super) found: Option<Kept>,
    /// The sides that were moved since.
    pub(super) moved: Sides<bool>,
    /// Whether the sides, wherever they are now, were synced the other way round.
    pub(super) is_turned: bool,
    /// The pair of which a side is a copy, and those sides; the pair is new then.
    pub(super) copy: Option<(Kept, Sides<bool>)>,
    /// The markers of the sides, as far as they were read.
    pub(super) marks: Sides<Option<Marks>>,
}

impl Which {
    /// Returns the id of the pair of which a side is a copy.
    pub(super) fn copied_id(&self) -> Option<&str> {
        self.copy.as_ref().map(|(of, _)| of.pair_id.as_str())
    }
}

/// What a side is to a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Where it was left.
    Same,
    /// The same folder in another place.
    Moved,
    /// Another tree in the same place.
    Exchanged,
    /// Another tree in another place.
    Elsewhere,
}

impl Given<'_> {
    /// Returns whether all written sides carry the id of a state.
    fn carry(&self, kept: &Kept) -> bool {
        let carries = |side: Side| self.marks.get(side).highest(&kept.pair_id).is_some();
        Side::BOTH.into_iter().all(|side| !self.written.get(side) || carries(side))
    }

    /// Returns up to where all written sides carry the id of a state.
    fn reached(&self, kept: &Kept) -> u64 {
        self.reached_by(&kept.pair_id)
    }

    fn reached_by(&self, pair_id: &str) -> u64 {
        let written = Side::BOTH.into_iter().filter(|side| *self.written.get(*side));
        written.filter_map(|side| self.marks.get(side).highest(pair_id)).min().unwrap_or(0)
    }

    /// Returns up to where any written side carries the id of a state: one that does not was put back, if it is that tree.
    fn led(&self, kept: &Kept) -> u64 {
        let written = Side::BOTH.into_iter().filter(|side| *self.written.get(*side));
        written.filter_map(|side| self.marks.get(side).highest(&kept.pair_id)).max().unwrap_or(0)
    }

    /// Returns the ids that all written sides carry.
    fn common(&self) -> impl Iterator<Item = &str> {
        let written = || Side::BOTH.into_iter().filter(|side| *self.written.get(*side));
        let first = written().next();
        let ids = first.into_iter().flat_map(|side| self.marks.get(side).pairs());
        ids.filter(move |id| written().all(|side| self.marks.get(side).highest(id).is_some()))
    }

    fn standing(&self, side: Side, kept: &Kept) -> Standing {
        let (now, then) = (self.roots.get(side), kept.at.roots.get(side));
        let place = kept.at.locations.get(side);
        if self.identities.get(side) == place || *self.identities.get(side) == canonical_identity(place) {
            let shown = self.marks.get(side).highest(&kept.pair_id).unwrap_or(0);
            let is_behind = *self.written.get(side) && shown < *kept.at.there.get(side);
            let is_other = matches!((now, then), (Some(now), Some(then)) if !now.is_still(then));
            return if is_behind && is_other { Standing::Exchanged } else { Standing::Same };
        }
        match (now, then) {
            (Some(now), Some(then)) if now.is_moved(then) => Standing::Moved,
            _ => Standing::Elsewhere,
        }
    }

    fn standings(&self, kept: &Kept) -> Sides<Standing> {
        Sides::new(self.standing(Side::Source, kept), self.standing(Side::Destination, kept))
    }

    /// Returns on which sides a state's standing is this one.
    fn are(&self, kept: &Kept, standing: Standing) -> Sides<bool> {
        let Sides { source, destination } = self.standings(kept);
        Sides::new(source == standing, destination == standing)
    }

    /// Returns whether nothing speaks against a state of which all written sides carry the id.
    fn fits(&self, kept: &Kept) -> bool {
        let fits = |side| matches!(self.standing(side, kept), Standing::Same | Standing::Moved);
        self.carry(kept) && Side::BOTH.into_iter().all(fits)
    }

    /// Returns whether a side is, where a state left it or moved, the other one of it.
    fn is_turned(&self, side: Side, kept: &Kept) -> bool {
        let (place, then) = (kept.at.locations.get(side.other()), kept.at.roots.get(side.other()));
        let is_there = self.identities.get(side) == place;
        is_there || matches!((self.roots.get(side), then), (Some(now), Some(then)) if now.is_moved(then))
    }

    /// Returns which sides are neither of the two of a state.
    fn strangers(&self, kept: &Kept) -> Sides<bool> {
        let is_neither =
            |side| self.standing(side, kept) == Standing::Elsewhere && !self.is_turned(side, kept);
        Sides::new(is_neither(Side::Source), is_neither(Side::Destination))
    }

    /// Returns whether both sides are where a state left them.
    fn is_unmoved(&self, kept: &Kept) -> bool {
        self.standings(kept) == Sides::new(Standing::Same, Standing::Same)
    }

    /// Chooses the state of the sides: the one at `home`, under the name of their locations, or one of the `others`.
    fn choose(&self, home: Option<&Kept>, others: &[Kept]) -> Which {
        // Every run of any pair of a side gets further than all before it, so that what was synced last is the highest.
        let rank = |reached: u64, kept: &Kept| {
            (reached, self.is_unmoved(kept), kept.at.there.source, kept.at.there.destination)
        };
        let key = |kept: &&Kept| rank(self.reached(kept), kept);
        let is_home = |kept: &&Kept| home.is_some_and(|home| home.name == kept.name);
        let fitting = others.iter().filter(|kept| self.fits(kept) && !is_home(kept));
        let best = fitting.max_by_key(key);
        let own = home.filter(|home| self.led(home) > 0 && self.is_unmoved(home));
        if let Some(kept) = best.filter(|kept| own.is_none_or(|own| rank(self.led(own), own) < key(kept))) {
            return Which {
                found: Some(kept.clone()),
                moved: self.are(kept, Standing::Moved),
                ..Which::default()
            };
        }
        if let Some(home) = home {
            // A kill between its two files leaves a state that tells of where it was.
            let is_stale = home.at.locations != self.identities;
            let moved = if is_stale { self.are(home, Standing::Moved) } else { Sides::default() };
            return Which { found: is_stale.then(|| home.clone()), moved, ..Which::default() };
        }
        if others.iter().any(|kept| Side::BOTH.into_iter().all(|side| self.is_turned(side, kept))) {
            return Which { is_turned: true, ..Which::default() };
        }
        let is_copy = |kept: &&Kept| {
            self.carry(kept)
                && Side::BOTH.into_iter().all(|side| {
                    // A side that is not written says nothing of itself but where it is.
                    *self.written.get(side) || self.standing(side, kept) != Standing::Elsewhere
                })
        };
        let copied = others.iter().filter(is_copy).max_by_key(key);
        let copy = copied.map(|kept| (kept.clone(), self.strangers(kept)));
        Which { copy, ..Which::default() }
    }
}

impl SyncEngine {
    /// Finds out which pair the sides are.
    pub(super) async fn which(&self, pair: &SyncPair, prepared: &Prepared) -> Result<Which> {
        let states = self.all_states();
        let mut home = states.kept_at(prepared.identities()).await?;
        if home.is_none() {
            home = states.kept_at(prepared.former_identities()).await?;
        }
        let written = |side: Side| pair.allows_copy_to(side);
        let is_wanted = |side: Side| home.is_none() || written(side) || prepared.listed.get(side).is_folder();
        let is_wanted = Sides::new(is_wanted(Side::Source), is_wanted(Side::Destination));
        let marks =
            epoch::read_marks(prepared, Side::BOTH.into_iter().filter(|side| *is_wanted.get(*side))).await?;
        let given = Given {
            identities: prepared.identities(),
            roots: prepared.roots,
            marks: &marks,
            written: Sides::new(written(Side::Source), written(Side::Destination)),
        };
        let is_newest = |home: &Kept| {
            given.common().all(|id| id == home.pair_id || given.reached_by(id) < given.reached(home))
        };
        let which = match &home {
            Some(home) if given.fits(home) && given.is_unmoved(home) && is_newest(home) => Which::default(),
            _ if Side::BOTH.into_iter().all(|side| marks.get(side).pairs().is_empty()) => {
                given.choose(home.as_ref(), &[])
            }
            _ => given.choose(home.as_ref(), &states.all().await?),
        };
        let Sides { source, destination } = marks;
        let marks =
            Sides::new(is_wanted.source.then_some(source), is_wanted.destination.then_some(destination));
        Ok(Which { marks, ..which })
    }
}

/// Tells what became of the pair since it was synced last.
pub(super) fn tell(which: &Which, prepared: &Prepared, recorder: &Recorder) {
    let now = prepared.locations();
    let note = |code, message, hint| recorder.emit(&Event::Noted(Notice::new(code, message, hint)));
    let places = |kept: &Kept, side: Side| {
        let (identity, now) = (kept.at.locations.get(side), now.get(side).clone());
        // Where both are written alike only the identity tells them apart.
        let then = shown(identity);
        (if then == now { identity.clone() } else { then }, now)
    };
    let shown = |place: &str| escape(place.as_bytes());
    if let Some(kept) = &which.found {
        for side in Side::BOTH.into_iter().filter(|side| *which.moved.get(*side)) {
            let (from, to) = places(kept, side);
            let message = format!(
                "the {side} was moved from `{}` to `{}`; what is remembered of it goes with it",
                shown(&from),
                shown(&to)
            );
            note(NoticeCode::PairMoved, message, String::new());
        }
    }
    if let Some((kept, sides)) = &which.copy {
        for side in Side::BOTH.into_iter().filter(|side| *sides.get(*side)) {
            let (from, to) = places(kept, side);
            let other = crate::location::shown(kept.at.locations.get(side.other()));
            // Nothing tells which of the two.
            let message = format!(
                "the {side} `{}` is a copy of `{}` or `{}`, which are synced with each other; it is synced as a pair of its own",
                shown(&to),
                shown(&from),
                shown(&other),
            );
            let hint = format!(
                "if it takes the place of `{}`: syncengine state move {} {} (with the options of this run)",
                shown(&from),
                quoted(&from),
                quoted(&to)
            );
            let is_in_use = kept.at.locations.get(side) == prepared.identities().get(side.other());
            note(NoticeCode::RootCopied, message, if is_in_use { String::new() } else { hint });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::marker::Marker;
    use crate::state::Whereabouts;

    fn root(text: &str) -> Option<RootIdentity> {
        let (disk, inode) = text.split_once('.')?;
        Some(RootIdentity { device: 1, inode: inode.parse().ok()?, file_system: disk.parse().ok() })
    }

    /// `ID SOURCE@DISK.INODE DESTINATION@DISK.INODE EPOCH`
    fn kept(text: &str) -> Kept {
        let words: Vec<&str> = text.split(' ').collect();
        let place = |word: &str| {
            let (location, at) = word.split_once('@').unwrap();
            (location.to_owned(), root(at))
        };
        let (source, destination) = (place(words[1]), place(words[2]));
        let epoch = words[3].parse().unwrap();
        let at = Whereabouts {
            locations: Sides::new(source.0, destination.0),
            roots: Sides::new(source.1, destination.1),
            there: Sides::new(epoch, epoch),
        };
        let (name, pair_id) = (words[0].to_owned(), words[0].to_owned());
        Kept { name, pair_id, at }
    }

    fn marks(text: &str) -> Marks {
        let name = |word: &str| {
            let (id, epoch) = word.split_once(':').unwrap();
            Marker::new(id, epoch.parse().unwrap()).to_string().into()
        };
        Marks::new(text.split_whitespace().map(name))
    }

    #[test]
    fn the_state_of_the_two_sides_is_found() {
        let first = "A /a@7.1 /b@8.1 5";
        // What is given: the sides, and what they carry; the states, the first of which is at home if it is of these
        // locations; which sides are written; what is chosen.
        for (sides, carried, states, written, expected) in [
            // Where it was left.
            ("/a@7.1 /b@8.1", "A:5 | A:5", vec![first], "sd", "home"),
            ("/a@7.1 /b@8.1", "A:3 | A:5", vec![first], "sd", "home"),
            ("/a@7.1 /b@8.1", "|", vec![first], "sd", "home"),
            // Moved.
            ("/x@7.1 /b@8.1", "A:5 | A:5", vec![first], "sd", "A moved s"),
            ("/x@7.1 /y@8.1", "A:5 | A:5", vec![first], "sd", "A moved sd"),
            ("/x@7.1 /b@8.1", "| A:5", vec![first], "d", "A moved s"),
            // A copy, and one on a disk that does not say which it is.
            ("/x@7.2 /b@8.1", "A:5 | A:5", vec![first], "sd", "copy of A s"),
            ("/x@9.1 /b@8.1", "A:5 | A:5", vec![first], "sd", "copy of A s"),
            ("/x@-.1 /b@8.1", "A:5 | A:5", vec!["A /a@-.1 /b@8.1 5"], "sd", "copy of A s"),
            ("/a@7.1 s3://y@", "A:5 | A:5", vec!["A /a@7.1 s3://x@ 5"], "sd", "copy of A d"),
            // Of two that are synced with each other one is no copy, on whichever side it is given.
            ("/b@8.1 /x@7.2", "A:5 | A:5", vec![first], "sd", "copy of A d"),
            ("/x@7.2 /a@7.1", "A:5 | A:5", vec![first], "sd", "copy of A s"),
            ("/x@7.2 /y@7.3", "A:5 | A:5", vec![first], "sd", "copy of A sd"),
            // Another source that is not written is another pair.
            ("/x@7.2 /b@8.1", "| A:5", vec![first], "d", "home"),
            ("/x@7.2 /b@8.1", "|", vec![first], "sd", "home"),
            // Disks in one place: the one that was there last, the other one, a new one.
            ("/a@7.1 /b@8.1", "A:5 B:9 | A:5", vec!["B /a@7.1 /b@9.1 9", first], "sd", "A moved "),
            ("/a@7.1 /b@9.1", "A:5 B:9 | B:9", vec![first, "B /a@7.1 /b@9.1 9"], "sd", "B moved "),
            ("/a@7.1 /b@6.1", "A:5 B:9 | A:3", vec!["B /a@7.1 /b@9.1 9", first], "sd", "home"),
            ("/a@7.1 /b@6.1", "A:5 |", vec![first], "sd", "home"),
            // The source was put back to before the disk got an id of its own.
            ("/a@7.1 /b@9.1", "A:3 | A:3 B:6", vec!["B /a@7.1 /b@9.1 6", "A /a@7.1 /b@8.1 3"], "sd", "home"),
            ("/a@7.1 /b@8.1", "A:3 | A:3", vec!["B /a@7.1 /b@9.1 6", "A /a@7.1 /b@8.1 3"], "sd", "A moved "),
            // A clone that has got an id of its own carries both.
            ("/a@7.1 /b@9.1", "A:5 B:9 | A:3 B:9", vec![first, "B /a@7.1 /b@9.1 9"], "sd", "B moved "),
            // Both fit: the one that was synced last; of two that were then, the one that was not moved.
            ("/a@7.1 /b@8.1", "A:5 B:9 | A:5 B:9", vec![first, "B /x@7.1 /b@8.1 9"], "sd", "B moved s"),
            ("/a@7.1 /b@8.1", "A:9 B:5 | A:9 B:5", vec![first, "B /x@7.1 /b@8.1 9"], "sd", "home"),
            ("/a@7.1 /b@8.1", "A:9 B:9 | A:9 B:9", vec![first, "B /x@7.1 /b@8.1 9"], "sd", "home"),
            // However an earlier release wrote the endpoint.
            (
                "/a@7.1 s3+http://127.0.0.1:9000/v@",
                "A:5 | A:5",
                vec!["A /a@7.1 s3+http://LocalHost:9000/v@ 5"],
                "sd",
                "A moved ",
            ),
        ] {
            let (source, destination) = sides.split_once(' ').unwrap();
            let of = |word: &str| word.split_once('@').map(|(at, disk)| (at.to_owned(), root(disk))).unwrap();
            let (source, destination) = (of(source), of(destination));
            let (left, right) = carried.split_once('|').unwrap();
            let marks = Sides::new(marks(left), marks(right));
            let given = Given {
                identities: Sides::new(source.0, destination.0),
                roots: Sides::new(source.1, destination.1),
                marks: &marks,
                written: Sides::new(written.contains('s'), written.contains('d')),
            };
            let states: Vec<Kept> = states.into_iter().map(kept).collect();
            let home = states.iter().find(|kept| kept.at.locations == given.identities);
            let which = given.choose(home, &states);
            let named = |sides: Sides<bool>| {
                [(sides.source, "s"), (sides.destination, "d")]
                    .into_iter()
                    .filter_map(|(is, name)| is.then_some(name))
                    .collect::<String>()
            };
            let shown = match (&which.found, &which.copy) {
                (Some(found), None) => format!("{} moved {}", found.pair_id, named(which.moved)),
                (None, Some((of, sides))) => format!("copy of {} {}", of.pair_id, named(*sides)),
                (None, None) => "home".into(),
                both => panic!("{both:?}"),
            };
            assert_eq!(shown, expected, "{sides} {carried}");
        }
    }
}
