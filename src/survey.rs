//! Looking at both trees: lists them, joins them with the base, and decides path by path.
//!
//! What comes out is everything the plan and the guards need. Memory grows with what differs; paths that are
//! simply unchanged are only counted.

use std::sync::Arc;

use futures::stream::FuturesOrdered;
use futures::{FutureExt, StreamExt};

use crate::client::{ListRequest, Listed, SkipReason};
use crate::control::SyncController;
use crate::diff::{Change, Diff, Found, Observed, SeenRules};
use crate::error::Result;
use crate::event::Event;
use crate::examine::{Examined, Examiner, FirstSight};
use crate::filter::layers::{Book, Layers};
use crate::filter::{Filter, Rules};
use crate::fingerprint::Fingerprint;
use crate::key::Key;
use crate::plan::{Base, Item, Sight, Step, Strayed, collide, conflict_name::CopyCounts};
use crate::report::Recorder;
use crate::root::RootIdentity;
use crate::side::{Side, Sides};
use crate::state::{BaseRow, RowChange, RulesRecord, StateStore};
use crate::unplaced::Unplaced;

mod emptied;
mod hidden;
mod obstacle;
pub(crate) mod renames;

use obstacle::Obstacle;

/// How many files are read at once to learn their content. Two a core keep disk and processor busy.
const READERS: usize = 8;

/// How many files between two progress events.
const PROGRESS_STEP: u64 = 1000;

/// How both trees are to be looked at.
#[derive(Debug)]
pub struct Wanted {
    /// The rules of the command line.
    pub command_line: Rules,
    /// The rules of sides whose listings do not tell them.
    pub known: Sides<Book>,
    /// Rules that are gone and hold files of each side.
    pub held: Sides<Vec<Book>>,
    /// The tags of runs whose temporaries may be removed.
    pub leftover_tags: Vec<u32>,
    /// The root of each side, or what is nearest above it: not to be met within the other.
    pub anchors: Sides<Option<RootIdentity>>,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Survey {
    /// Paths that are not simply unchanged, in key order.
    pub items: Vec<Item>,
    /// Files that stand where another file's folder is.
    pub collisions: Vec<collide::Collision>,
    /// Conflict copies that exist.
    pub copies: CopyCounts,
    /// How many paths are unchanged.
    pub unchanged: u64,
    /// How many paths the base has that are still synced.
    pub base: u64,
    /// How many files each side has.
    pub listed: Sides<u64>,
    /// How many of the base's paths each side has with their size.
    pub recognised: Sides<u64>,
    /// How many of the base's paths have other content.
    pub changed: Sides<u64>,
    /// Rows that are of no use any more: newly excluded paths, tombstones of another mode, and those that a side which
    /// went back differs from.
    pub obsolete: Vec<Key>,
    /// Receipts of deletions that the listing bears out.
    pub receipts: Vec<Key>,
    /// Rows of files that a listing shows as an earlier run wrote them, and of which something else is to be done.
    pub sealed: Vec<RowChange>,
    /// Files that an earlier run deleted in a store, and that are listed again.
    pub reappeared: Vec<Key>,
    /// How many paths of the base the filter excludes now.
    pub excluded: u64,
    /// Whether a side turned out to have gone back to an earlier state.
    pub went_back: bool,
    /// Whether everything could be looked at to tell.
    pub is_sure: bool,
    /// The paths at which the base does not count because of that.
    pub voided: Vec<String>,
    /// How many paths are decided otherwise because of that.
    pub strayed: u64,
    /// How many files of each side have become empty.
    pub emptied: Sides<u64>,
    /// Files without a name that the other side could have, or with one at which it could not be looked.
    pub unplaced: Unplaced,
    /// Paths that changed while they were looked at.
    pub moving: Vec<Key>,
    /// How many files of each side differ from the base in nothing but their inode number.
    pub renumbered: Sides<u64>,
    /// The rules that the sides have.
    pub rules: Sides<SeenRules>,
    /// What is to be remembered of them.
    pub rules_record: RulesRecord,
    /// The folders of each side whose rules a run of another pair has changed since.
    pub carried: Sides<std::collections::BTreeSet<String>>,
    /// Files that rules which are gone still hold back.
    pub held: Sides<Vec<Key>>,
    /// Whether something could not be listed or read.
    pub unreadable: Sides<bool>,
    /// Temporaries that may be removed.
    pub leftovers: Sides<Vec<Key>>,
    /// Things with reserved names that are not ours.
    pub foreign: Vec<(Side, Key)>,
}

/// Looks at both trees.
///
/// # Errors
/// A listing or the base that could not be read whole, or [`ErrorKind::Cancelled`].
pub(crate) async fn survey(
    examiner: &Examiner,
    state: &Arc<dyn StateStore>,
    wanted: Wanted,
    control: &SyncController,
    recorder: &Recorder,
) -> Result<Survey> {
    let list = |side: Side| {
        examiner.clients.get(side).list(ListRequest {
            filter: Filter::new(wanted.command_line.clone()),
            read_ignore_files: examiner.clients.get(side).is_folder(),
            leftover_tags: wanted.leftover_tags.clone(),
            object_names: examiner.are_stores(),
            must_not_meet: *wanted.anchors.get(side.other()),
        })
    };
    let layers = Layers::with(&wanted.command_line, &wanted.known, &wanted.held);
    let mut diff = Diff::new(list(Side::Source), list(Side::Destination), state.scan(), layers);
    let mut survey = Surveyor {
        found: Survey::default(),
        watch: collide::Watch::default(),
        obstacles: obstacle::Watch::default(),
        unlisted: obstacle::Watch::default(),
        examiner,
        recorder,
    };
    survey.run(&mut diff, control).await?;
    let Surveyor { mut found, watch, obstacles, unlisted, .. } = survey;
    found.rules = diff.seen_rules();
    tell(obstacles.finish(), recorder);
    doubt(&mut found.unplaced, &unlisted.finish());
    found.collisions = watch.finish();
    let listed: Vec<Sides<bool>> = found.collisions.iter().map(|collision| collision.below_on).collect();
    hidden::find(&examiner.clients, &mut found.collisions, control).await?;
    if examiner.are_stores() {
        // Two stores can hold both, unless one was seen to hide what is below.
        let mut listed = listed.iter();
        found.collisions.retain(|collision| listed.next() != Some(&collision.below_on));
    }
    count_strays(&mut found, examiner);
    let emptied = emptied::spare_renamed(&mut found.items, examiner.policy);
    found.emptied.source += emptied.source;
    found.emptied.destination += emptied.destination;
    let held = renames::look(examiner, &mut found.items, &found.copies, control, recorder).await?;
    found.obsolete.extend(held.never_renamed);
    found.moving.extend(held.moving);
    if held.unreadable {
        found.unreadable = Sides::new(true, true);
    }
    for side in Side::BOTH {
        recorder.emit(&Event::Listed { side, files: *found.listed.get(side) });
    }
    Ok(found)
}

/// Counts where a side that went back makes a difference. If everything the base knows is there and unchanged, no side
/// went back: what is new there is new.
fn count_strays(found: &mut Survey, examiner: &Examiner) {
    let rollback = &examiner.rollback;
    let strays = |item: &Item| item.strayed == Some(Strayed::FromRow);
    found.is_sure = !found.unreadable.source && !found.unreadable.destination && found.moving.is_empty();
    // Rows that a run which was cut off has not written say nothing either.
    let is_unsaid = |item: &Item| rollback.is_open && item.strayed.is_some();
    // Of what rules exclude nobody has seen whether it differs.
    let is_asked = rollback.is_any() || !rollback.voided.is_empty();
    let hidden = found.obsolete.iter().filter(|_| is_asked);
    let excluded: Vec<String> = hidden.map(|key| key.as_str().to_owned()).collect();
    // A file that is nowhere may be where a listing does not show it yet, and be missing on that side only.
    let is_missing = |item: &Item| rollback.is_any() && item.verdict.step == Step::Forget;
    let is_seen = rollback.is_total
        || rollback.is_certain
        || !excluded.is_empty()
        || found.items.iter().any(|item| strays(item) || is_unsaid(item) || is_missing(item));
    found.went_back = (rollback.is_any() && (is_seen || !found.is_sure)) || !rollback.voided.is_empty();
    if !found.went_back {
        let seeming = found.items.iter_mut().filter(|item| item.strayed.is_some());
        seeming.for_each(|item| examiner.decide_anew(item));
    }
    let differs = |item: &&Item| item.strayed.is_some() && item.verdict.step != Step::Adopt;
    found.strayed = found.items.iter().filter(differs).count() as u64;
    let void = found.items.iter().filter(|item| strays(item)).map(|item| item.key.clone());
    found.obsolete.extend(void.collect::<Vec<_>>());
    // A listing may not show yet what only the other side has: that the file is nowhere proves as little as its row does.
    let is_void = |item: &&Item| differs(item) || (found.went_back && item.verdict.step == Step::Forget);
    found.voided = found.items.iter().filter(is_void).map(|item| item.key.as_str().to_owned()).collect();
    if found.went_back {
        // A kill may leave its row where it is.
        found.voided.extend(excluded);
    }
}

struct Surveyor<'a> {
    found: Survey,
    watch: collide::Watch,
    obstacles: obstacle::Watch,
    /// What could not be listed.
    unlisted: obstacle::Watch<()>,
    examiner: &'a Examiner,
    recorder: &'a Recorder,
}

impl Surveyor<'_> {
    async fn run(&mut self, diff: &mut Diff<'_>, control: &SyncController) -> Result<()> {
        let examiner = self.examiner;
        let mut under_way = FuturesOrdered::new();
        let mut ended = false;
        while !ended || !under_way.is_empty() {
            control.checkpoint().await?;
            tokio::select! {
                biased;
                () = control.cancelled() => return Err(crate::control::cancelled()),
                Some(examined) = under_way.next(), if !under_way.is_empty() => self.take(examined)?,
                // `Diff::next` keeps what it has read when it is dropped.
                found = diff.next(), if !ended && under_way.len() < READERS => match found? {
                    None => ended = true,
                    Some(Found::Path(change)) => {
                        if let Some(change) = self.look(change) {
                            under_way.push_back(examiner.examine(change).boxed());
                        }
                    }
                    Some(Found::Excluded(key)) => {
                        self.found.excluded += 1;
                        self.found.obsolete.push(key);
                    }
                    Some(Found::Held(side, key)) => self.found.held.get_mut(side).push(key),
                    Some(Found::Note(side, note)) => self.note(side, note),
                },
            }
        }
        Ok(())
    }

    /// Counts a path; returns it if there is more to it than being unchanged.
    fn look(&mut self, change: Change) -> Option<Change> {
        let found = &mut self.found;
        let on = Sides::new(
            matches!(change.sides.source, Observed::File(_)),
            matches!(change.sides.destination, Observed::File(_)),
        );
        // What this pair deleted is known to be gone, and stands in the way of nothing.
        if on.source || on.destination || !matches!(change.base, Some(BaseRow::Deleted(_))) {
            self.watch.see(&change.key, on);
        }
        if on.source || on.destination || matches!(change.base, Some(BaseRow::Agreed(_))) {
            tell(self.obstacles.see(&change.key), self.recorder);
            doubt(&mut found.unplaced, &self.unlisted.see(&change.key));
        }
        found.copies.see(&change.key, on);
        for side in Side::BOTH.into_iter().filter(|side| *on.get(*side)) {
            if let Observed::File(entry) = change.sides.get(side) {
                found.copies.see_version(side, entry);
            }
            let files = found.listed.get_mut(side);
            *files += 1;
            if files.is_multiple_of(PROGRESS_STEP) {
                self.recorder.emit(&Event::Listed { side, files: *files });
            }
        }
        match &change.base {
            Some(BaseRow::Agreed(base)) => {
                found.base += 1;
                let mut same = 0;
                for side in Side::BOTH {
                    if let Observed::File(entry) = change.sides.get(side) {
                        *found.recognised.get_mut(side) += u64::from(entry.size == base.size);
                        *found.emptied.get_mut(side) += u64::from(entry.size == 0 && base.size > 0);
                        same += u8::from(self.examiner.first_sight(base, side, entry) == FirstSight::Same);
                    }
                }
                if same == 2 && base.tail.intent().is_none() {
                    found.unchanged += 1;
                    return None;
                }
            }
            Some(BaseRow::Tombstone(_)) if !self.examiner.tombstones_hold => {
                found.obsolete.push(change.key.clone());
            }
            Some(BaseRow::Deleted(deleted)) => match change.sides.get(deleted.on) {
                // Its store has seen to it; from now on a file of this name is a new one.
                Observed::Absent => found.receipts.push(change.key.clone()),
                Observed::File(_) | Observed::Unknown => {}
            },
            Some(BaseRow::Tombstone(_) | BaseRow::Begun(_)) | None => {}
        }
        Some(change)
    }

    fn take(&mut self, examined: Examined) -> Result<()> {
        match examined {
            Examined::Item(mut item) => {
                for side in Side::BOTH {
                    *self.found.changed.get_mut(side) += u64::from(item.facts.sight(side) == Sight::Changed);
                    *self.found.renumbered.get_mut(side) += u64::from(is_renumbered(&item, side));
                    if item.facts.sight(side).is_edited() && item.facts.sight(side.other()) == Sight::Unknown
                    {
                        // Nobody knows whether there is a place for it.
                        item.found
                            .get(side)
                            .iter()
                            .for_each(|entry| self.found.unplaced.add(side, entry.clone()));
                    }
                }
                if is_put_back(&item) {
                    // Were it left to the user, the next run would take the row for what both sides had last.
                    self.found.obsolete.push(item.key.clone());
                }
                if is_deleted_again(&item) {
                    self.found.reappeared.push(item.key.clone());
                }
                // Where a side is not what it was the rest of the row is no news of today.
                let rollback = &self.examiner.rollback;
                if !rollback.is_any() && !rollback.has_exchanged() && rollback.voided.is_empty() {
                    self.found.sealed.extend(item.settled.take().map(|row| *row).or_else(|| sealed(&item)));
                }
                if item.verdict.step != Step::Nothing {
                    self.found.items.push(*item);
                }
            }
            Examined::Moving(key) => self.found.moving.push(key),
            Examined::Unreadable(_, error) if error.ends_the_run() => return Err(error),
            Examined::Unreadable(key, error) => {
                self.found.unreadable = Sides::new(true, true);
                self.recorder.fail(key.as_str(), "read", &error);
            }
        }
        Ok(())
    }

    fn note(&mut self, side: Side, note: Listed) {
        let found = &mut self.found;
        match note {
            Listed::Skipped(path, why) if obstacle::Watch::is_for(why) => {
                tell(self.obstacles.meet(path, side, why), self.recorder);
            }
            Listed::Skipped(path, why) => skip(path, side, why, self.recorder),
            Listed::Unknown(key, error) => {
                // In a folder nobody knows what is below it. In a store it is that object and no other.
                *found.unreadable.get_mut(side) |= self.examiner.clients.get(side).is_folder();
                self.recorder.fail(key.as_str(), "list", &error.at(side));
                doubt(&mut found.unplaced, &self.unlisted.meet(key, side, ()));
            }
            Listed::Unmappable { shown, error, files, .. } => {
                for file in &files {
                    found.unplaced.add_unnamed(side, file);
                }
                self.recorder.fail(shown, "list", &error.at(side));
            }
            Listed::Leftover(key) => found.leftovers.get_mut(side).push(key),
            Listed::Foreign(key) => found.foreign.push((side, key)),
            Listed::File(_) | Listed::Rules(..) => {}
        }
    }
}

/// Returns the row of a file that a listing shows as it was written, without the doubt about it. What is adopted gets a new one
/// in any case; of what else becomes of it nobody knows yet whether it succeeds.
fn sealed(item: &Item) -> Option<RowChange> {
    let mut row = item.base.clone().filter(|_| item.strayed.is_none() && item.verdict.step != Step::Adopt)?;
    let on = row.tail.unlisted()?.on;
    let is_listed =
        item.found.get(on).as_ref().is_some_and(|entry| entry.fingerprint == *row.fingerprint(on));
    // One that only a look by its name shows counts as the same.
    let is_shown = is_listed && item.facts.sight(on) == Sight::Touched;
    row.tail.set_unlisted(None);
    is_shown.then(|| (item.key.clone(), Some(BaseRow::Agreed(*row))))
}

/// Returns whether a version counts as written anew although it is that of the row.
fn is_put_back(item: &Item) -> bool {
    let known = item.base.as_ref().and_then(|base| base.hash);
    let is_known = |side: Side| item.facts.sight(side) == Sight::Changed && *item.hashes.get(side) == known;
    known.is_some() && Side::BOTH.into_iter().any(is_known)
}

/// Returns whether a file goes that a run has deleted before: nothing is left of its row, and it counts all the same.
fn is_deleted_again(item: &Item) -> bool {
    let is_known = item.facts.base == Base::Agreed && item.base.is_none();
    is_known && matches!(item.verdict.step, Step::Delete { .. })
}

/// Returns whether a file is what it was when both sides agreed, but for its inode number.
fn is_renumbered(item: &Item, side: Side) -> bool {
    let (Some(base), Some(entry)) = (&item.base, item.found.get(side)) else { return false };
    let (Fingerprint::File(was), Fingerprint::File(is)) = (base.fingerprint(side), &entry.fingerprint) else {
        return false;
    };
    item.facts.sight(side) == Sight::Touched
        && was.inode != is.inode
        && (was.modified, was.changed) == (is.modified, is.changed)
}

/// Tells of what is not synced, once it is known whether it stands in the way of something that is.
fn tell(judged: Vec<Obstacle>, recorder: &Recorder) {
    for obstacle in judged {
        if obstacle.hides {
            recorder.fail(obstacle.path.as_str(), "sync", &obstacle.error());
        } else {
            skip(obstacle.path, obstacle.side, obstacle.why, recorder);
        }
    }
}

/// A folder that cannot be listed and is new may be one that was renamed, with everything that is missing elsewhere.
fn doubt(unplaced: &mut Unplaced, judged: &[Obstacle<()>]) {
    for folder in judged.iter().filter(|folder| !folder.hides) {
        unplaced.add_unknown(folder.side);
    }
}

fn skip(path: Key, side: Side, why: SkipReason, recorder: &Recorder) {
    recorder.emit(&Event::Skipped { path, side, why });
}
