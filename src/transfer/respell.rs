//! Folders of which only the spelling changed, on a side that takes both names for one.
//!
//! No file can be renamed into such a folder while it has its old name, nor keep its old name once it has the new one. So the folder
//! is renamed as a whole, before the files in it, and only if the other side has nothing under the old name any more.

use std::collections::BTreeSet;

use futures::TryStreamExt;

use super::{Executed, Job, Transfer, look_again};
use crate::diff::Observed;
use crate::entry::Entry;
use crate::error::Result;
use crate::key::Key;
use crate::plan::{Action, Work};
use crate::side::{Side, Sides};
use crate::spelling::{folded, respelled_folder};

/// The folders that have another spelling now: their names before and after.
pub(super) type Respelled = Sides<Vec<(Key, Key)>>;

impl Transfer<'_> {
    /// Gives folders their new spelling, as the renames in `actions` want it.
    pub(super) async fn respell_folders(&self, actions: &[Action], jobs: &[Job]) -> Result<Respelled> {
        let mut done = Respelled::default();
        for side in Side::BOTH {
            let mut tried = BTreeSet::new();
            while let Some((old, new)) = next(actions, side, done.get(side), &tried) {
                tried.insert((old.clone(), new.clone()));
                if self.may_respell(side, actions, jobs, &old, &new).await? {
                    match self.clients.get(side).respell_folder(&old, &new).await {
                        Ok(()) => done.get_mut(side).push((old, new)),
                        Err(error) if error.ends_the_run() => return Err(error),
                        // Then the files cannot be renamed either, and that is told.
                        Err(error) => tracing::debug!(error = error.chain(), "a folder keeps its spelling"),
                    }
                }
            }
        }
        Ok(done)
    }

    /// Returns whether the folder `old` is what `side` has for `new`, and the other side has nothing in it any more.
    async fn may_respell(
        &self,
        side: Side,
        actions: &[Action],
        jobs: &[Job],
        old: &Key,
        new: &Key,
    ) -> Result<bool> {
        self.rights.allow_copy(side)?;
        let found = self.clients.get(side).spelled(new).await?;
        let is_it = found.is_some_and(|found| found.asked == *new && found.listed == *old);
        if !is_it || jobs.iter().any(|job| job.to == side && job.target.key.is_below(old.as_str())) {
            return Ok(false);
        }
        let leaving: BTreeSet<&Key> =
            actions.iter().filter_map(|action| renamed(action, side)).map(|entry| &entry.key).collect();
        let mut rows = self.state.scan();
        while let Some((key, _)) = rows.try_next().await? {
            if key.is_below(old.as_str())
                && !leaving.contains(&key)
                && !matches!(look_again(self.clients, side.other(), &key).await?, Observed::Absent)
            {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Returns the version `entry` of `side` under the name it has by now: nothing else of it has changed.
pub(super) fn as_respelled(side: Side, entry: &Entry, respelled: &Respelled) -> Entry {
    Entry { key: current(&entry.key, respelled.get(side)), ..entry.clone() }
}

/// Lets copies of what is in respelled folders begin at the name it has by now. Whose folder has kept its spelling after all
/// is looked at again.
pub(super) fn follow(jobs: &mut Vec<Job>, respelled: &Respelled, executed: &mut Executed) {
    jobs.retain_mut(|job| {
        let is_to_follow = job.from.key != job.target.key
            && folded(job.from.key.as_str()) == folded(job.target.key.as_str());
        if !is_to_follow {
            return true;
        }
        job.from = as_respelled(job.to.other(), &job.from, respelled);
        let follows = job.from.key == job.target.key;
        if !follows {
            executed.moved.extend([job.from.key.clone(), job.target.key.clone()]);
        }
        follows
    });
}

/// Returns the next folder to be respelled for the renames on `side`.
fn next(
    actions: &[Action],
    side: Side,
    done: &[(Key, Key)],
    tried: &BTreeSet<(Key, Key)>,
) -> Option<(Key, Key)> {
    let wanted = actions.iter().filter_map(|action| {
        let entry = renamed(action, side)?;
        respelled_folder(&current(&entry.key, done), &action.key)
    });
    wanted.filter(|names| !tried.contains(names)).min()
}

fn renamed(action: &Action, side: Side) -> Option<&Entry> {
    match &action.work {
        Work::Rename { on, entry, keep_old: false, .. } if *on == side => Some(entry),
        _ => None,
    }
}

/// Returns the name that a file has after its folders were respelled.
fn current(key: &Key, done: &[(Key, Key)]) -> Key {
    let mut name = key.as_str().to_owned();
    for (old, new) in done {
        if let Some(rest) = name.strip_prefix(old.as_str()).filter(|rest| rest.starts_with('/')) {
            name = format!("{new}{rest}");
        }
    }
    Key::parse(&name).unwrap_or_else(|_| key.clone())
}
