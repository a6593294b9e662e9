//! What a user says of a run, who knows the files and what was done to them.

use syncengine::code::NoticeCode;
use syncengine::filter::IGNORE_FILE;
use syncengine::{Outcome, Side, SyncMode};

use super::{COPY, DESTINATION, Ended, Moment, PAIRS, Place, RULE, SECOND, SOURCE, Tried};

impl Moment {
    /// Judges what a run has done, by what users did and what is in the places.
    pub(super) fn judge(
        &mut self,
        then: &Self,
        pair: usize,
        mode: SyncMode,
        ended: &Ended,
        tried: &mut Tried,
    ) {
        let (sides, _) = PAIRS[pair];
        self.world.check_owed();
        for what in std::mem::take(&mut self.world.broken) {
            self.wrong(&what, tried);
        }
        if let Ended::Failed(why) = ended {
            self.wrong(&format!("a run fails: {why}"), tried);
        }
        let mut wrong = Vec::new();
        let hidden = [SOURCE, DESTINATION, COPY, SECOND]
            .iter()
            .any(|at| then.world.places[*at].files.contains_key(IGNORE_FILE));
        for (at, place) in then.world.places.iter().enumerate() {
            let now = self.world.places[at].tree();
            let is_of_pair = at == sides.source || at == sides.destination;
            if !is_of_pair && place.tree() != now {
                wrong.push(format!("place {at} is changed by a run that is not about it"));
            }
            let authority = mode.authority().map(|side| *sides.get(side));
            for (name, content) in place.tree() {
                if now.values().any(|other| *other == content) {
                    continue;
                }
                for side in Side::BOTH {
                    self.carried.insert((at, *sides.get(side), content.clone()));
                }
                let shown = String::from_utf8_lossy(&content).into_owned();
                let is_given_up = self.given_up.iter().any(|(_, _, other)| *other == content);
                let fault = match authority {
                    None if !is_given_up => "which nobody gave up",
                    Some(authority) if mode.is_mirror() && authority == at => "of the side that decides",
                    // A backup deletes nothing, and no older version takes the place of one that the side which decides has
                    // had too, and nobody gave up. What was only edited in the backup gives way.
                    Some(authority) if !mode.is_mirror() => match now.get(&name) {
                        None => "which a backup deletes",
                        Some(other)
                            if !is_given_up
                                && *other < content
                                && name != IGNORE_FILE
                                && then.world.places[authority].ever_had(&content) =>
                        {
                            "for an older one"
                        }
                        Some(_) => continue,
                    },
                    _ => continue,
                };
                wrong.push(format!("{name} {shown:?} is gone from place {at}, {fault}"));
            }
            let is_excluded = Side::BOTH.into_iter().any(|side| {
                let rules = then.world.places[*sides.get(side)].files.get(IGNORE_FILE);
                rules.is_some_and(|file| file.content.starts_with(RULE.as_bytes()))
            });
            if is_of_pair && is_excluded && place.files.get("g").map(|file| &file.content) != now.get("g") {
                wrong.push(format!("g is excluded, and is another one at place {at}"));
            }
        }
        let is_whole = matches!(ended, Ended::Told(report) if report.outcome == Outcome::Synced
            && !(self.has_widened && report.warnings.iter().any(|notice| notice.code == NoticeCode::RulesWidened)));
        if mode == SyncMode::TwoWay && is_whole && !self.may_return && !hidden {
            for side in Side::BOTH {
                let at = *sides.get(side);
                for (name, content) in self.world.places[at].tree() {
                    let was_given_up = |side: Side| {
                        self.given_up.contains(&(*sides.get(side), name.clone(), content.clone()))
                    };
                    if Side::BOTH.into_iter().any(was_given_up) {
                        let shown = String::from_utf8_lossy(&content).into_owned();
                        wrong.push(format!("{name} {shown:?} is at place {at}, though a user gave it up"));
                    }
                }
            }
            let [source, destination] = Side::BOTH.map(|side| self.world.places[*sides.get(side)].tree());
            if source != destination {
                wrong.push(format!("the sides differ: {source:?} {destination:?}"));
            }
        }
        for what in &wrong {
            self.wrong(what, tried);
        }
    }

    pub(super) fn wrong(&self, what: &str, tried: &mut Tried) {
        let trees = self.world.places.iter().map(Place::tree).collect::<Vec<_>>();
        tried.wrong.push(format!("{what}\n  after {:?}\n  {trees:?}", self.history));
    }
}
