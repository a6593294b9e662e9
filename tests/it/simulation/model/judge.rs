//! What a user says of a run, who knows the files and what was done to them.

use std::collections::BTreeMap;

use bytes::Bytes;
use syncengine::code::NoticeCode;
use syncengine::filter::IGNORE_FILE;
use syncengine::{Outcome, Side, SyncMode};

use super::{COPY, DESTINATION, Ended, Moment, PAIRS, Place, RULE, SECOND, SOURCE, Tried};

type Tree = BTreeMap<String, Bytes>;

fn shown(content: &Bytes) -> String {
    String::from_utf8_lossy(content).into_owned()
}

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
        self.world.check_owed();
        let mut wrong = std::mem::take(&mut self.world.broken);
        if let Ended::Failed(why) = ended {
            wrong.push(format!("a run fails: {why}"));
        }
        for at in 0..then.world.places.len() {
            self.judge_place(then, at, pair, mode, &mut wrong);
        }
        let has_all = |at: &usize| !then.world.places[*at].files.contains_key(IGNORE_FILE);
        let is_whole = matches!(ended, Ended::Told(report) if report.outcome == Outcome::Synced
            && !(self.has_widened && report.warnings.iter().any(|notice| notice.code == NoticeCode::RulesWidened)));
        let was_at_rest = then.at_rest.contains(&then.roots(pair));
        let (sides, _) = PAIRS[pair];
        let [source, destination] = Side::BOTH.map(|side| self.world.places[*sides.get(side)].tree());
        if is_whole && !was_at_rest {
            self.come_back(pair, &[&source, &destination]);
        }
        if is_whole && source == destination {
            self.at_rest.insert(self.roots(pair));
            let gone = self.given_up.iter().map(|(_, _, content)| content);
            let is_nowhere = |content: &&Bytes| !source.values().any(|there| there == *content);
            self.gone_for_both.extend(gone.filter(is_nowhere).cloned());
        }
        let is_sure = [SOURCE, DESTINATION, COPY, SECOND].iter().all(has_all);
        if mode == SyncMode::TwoWay && is_whole && was_at_rest && is_sure {
            self.judge_rest(pair, &[&source, &destination], &mut wrong);
        }
        for what in &wrong {
            self.wrong(what, tried);
        }
    }

    /// Judges what is gone from a place.
    fn judge_place(&mut self, then: &Self, at: usize, pair: usize, mode: SyncMode, wrong: &mut Vec<String>) {
        let (sides, _) = PAIRS[pair];
        let (place, now) = (&then.world.places[at], self.world.places[at].tree());
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
                let other = self.world.places[*sides.get(side)].root;
                self.carried.insert((place.root, other, content.clone()));
            }
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
            wrong.push(format!("{name} {:?} is gone from place {at}, {fault}", shown(&content)));
        }
        let is_excluded = Side::BOTH.into_iter().any(|side| {
            let rules = then.world.places[*sides.get(side)].files.get(IGNORE_FILE);
            rules.is_some_and(|file| file.content.starts_with(RULE.as_bytes()))
        });
        if is_of_pair && is_excluded && place.files.get("g").map(|file| &file.content) != now.get("g") {
            wrong.push(format!("g is excluded, and is another one at place {at}"));
        }
    }

    /// What has come back, where it may, is there again for everybody to see.
    fn come_back(&mut self, pair: usize, trees: &[&Tree; 2]) {
        let (one, other) = self.roots(pair);
        let is_back = |name: &str, content: &Bytes| trees.iter().any(|tree| tree.get(name) == Some(content));
        self.given_up
            .retain(|(root, name, content)| !((*root == one || *root == other) && is_back(name, content)));
    }

    /// Judges sides that were at rest before: they are equal, and nothing that a user gave up has come back.
    fn judge_rest(&self, pair: usize, trees: &[&Tree; 2], wrong: &mut Vec<String>) {
        let (one, other) = self.roots(pair);
        for (name, content) in trees.iter().copied().flatten() {
            let was_given_up = |root| self.given_up.contains(&(root, name.clone(), content.clone()));
            if was_given_up(one) || was_given_up(other) {
                wrong.push(format!("{name} {:?} is there, though a user gave it up", shown(content)));
            }
        }
        if trees[0] != trees[1] {
            wrong.push(format!("the sides differ: {trees:?}"));
        }
    }

    pub(super) fn wrong(&self, what: &str, tried: &mut Tried) {
        let trees = self.world.places.iter().map(Place::tree).collect::<Vec<_>>();
        tried.wrong.push(format!("{what}\n  after {:?}\n  {trees:?}", self.history));
    }
}
