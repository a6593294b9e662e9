//! The renames of a plan, and the losers of conflicts that get another name.
//!
//! The rename of a file that was edited where it is to be renamed is announced in the base first: cut off after it, two
//! versions would have the new name, and nothing would tell that one is an edit of the other.

use futures::{FutureExt, StreamExt};

use super::respell::{Respelled, as_respelled, follow};
use super::{Executed, Job, Transfer, look_again, seen};
use crate::code::FailureCode;
use crate::diff::Observed;
use crate::entry::Entry;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Line;
use crate::fingerprint::Fingerprint;
use crate::key::Key;
use crate::plan::{Action, Reason, Work};
use crate::retry::{Schedule, retry};
use crate::spelling::folded;
use crate::state::{Agreed, BaseRow, Intent, RowChange};

impl Transfer<'_> {
    /// Carries out renames, and adds to `jobs` the copies that must follow them.
    pub(super) async fn rename(
        &self,
        actions: Vec<Action>,
        jobs: &mut Vec<Job>,
        executed: &mut Executed,
    ) -> Result<()> {
        self.announce_renames(&actions).await?;
        let respelled = &self.respell_folders(&actions, jobs).await?;
        let mut end = Ok(());
        let mut waiting = actions;
        while !waiting.is_empty() && end.is_ok() {
            let count = waiting.len();
            let mut taken = Vec::new();
            end = self.rename_all(waiting, respelled, jobs, (&mut *executed, &mut taken)).await;
            // A name that is taken may be free once others have been renamed.
            let is_stuck = taken.len() == count || end.is_err();
            waiting = Vec::new();
            for (action, error) in taken {
                if !is_stuck {
                    waiting.push(action);
                    continue;
                }
                let back = self.taken_back(&action).await;
                self.record(back.into_iter().collect()).await?;
                end = end.and_then(|()| self.not_renamed(&action, error, executed));
            }
        }
        follow(jobs, respelled, executed);
        end
    }

    /// Carries out renames at once; `taken` gets those whose new name something else has.
    async fn rename_all(
        &self,
        actions: Vec<Action>,
        respelled: &Respelled,
        jobs: &mut Vec<Job>,
        (executed, taken): (&mut Executed, &mut Vec<(Action, Error)>),
    ) -> Result<()> {
        let mut results = futures::stream::iter(actions)
            .map(|action| {
                let renamed = async move {
                    let result =
                        self.contain("renaming", &action.key, self.rename_one(&action, respelled)).await;
                    let result = self.judged(result).await;
                    let back = match &result {
                        Err(error) if !(error.ends_the_run() || is_taken(error)) => {
                            self.taken_back(&action).await
                        }
                        _ => None,
                    };
                    (result, back, action)
                };
                renamed.boxed()
            })
            .buffer_unordered(self.tuning.transfers)
            .ready_chunks(self.tuning.transfers);
        let mut end = Ok(());
        while let Some(chunk) = results.next().await {
            let (mut rows, mut lines) = (Vec::new(), Vec::new());
            for (result, back, action) in chunk {
                rows.extend(back);
                match result {
                    Ok(entry) => lines.push(self.renamed(&action, entry, &mut rows, jobs)),
                    Err(error) if is_taken(&error) => taken.push((action, error)),
                    Err(error) if end.is_ok() => end = self.not_renamed(&action, error, executed),
                    Err(_) => {}
                }
            }
            self.finish(rows, lines).await?;
            if end.is_err() {
                break;
            }
        }
        end
    }

    /// Has both names planned again if something changed, for neither was touched; else reports the new one.
    fn not_renamed(&self, action: &Action, error: Error, executed: &mut Executed) -> Result<()> {
        if !matches!(error.kind(), ErrorKind::Changed | ErrorKind::NotFound) {
            return self.take_error(&action.key, "rename", error, executed);
        }
        executed.moved.extend([Some(&action.key), action.old_key()].into_iter().flatten().cloned());
        Ok(())
    }

    /// Notes renames before they begin, durably. Of an edited file the row comes first: a run cut off after its rename
    /// would leave two versions under the new name, and no trace that one is an edit of the other.
    async fn announce_renames(&self, actions: &[Action]) -> Result<()> {
        self.record(actions.iter().filter_map(announcement).collect()).await?;
        self.announce(actions.iter().flat_map(|action| intents(action, self.run_tag)).collect()).await
    }

    /// Returns the row that takes an announcement back, unless a try whose answer was lost has renamed the file, or
    /// in a store has got as far as to copy it.
    async fn taken_back(&self, action: &Action) -> Option<RowChange> {
        let (key, _) = announcement(action)?;
        let on = action.receiver()?;
        let old = look_again(self.clients, on, action.old_key()?).await.ok()?;
        let new = look_again(self.clients, on, &key).await.ok()?;
        let is_copied = !self.clients.get(on).is_folder()
            && matches!((&old, &new), (Observed::File(old), Observed::File(new)) if old.size == new.size);
        (matches!(old, Observed::File(_)) && !is_copied).then_some((key, None))
    }

    async fn rename_one(&self, action: &Action, respelled: &Respelled) -> Result<Entry> {
        self.control.checkpoint().await?;
        let (on, entry, to, keep_old) = match &action.work {
            Work::Rename { on, entry, keep_old, .. } => (*on, entry, &action.key, *keep_old),
            Work::KeepBoth { winner, versions, aside } => {
                (winner.other(), versions.get(winner.other()), aside, false)
            }
            _ => return Err(Error::new(ErrorKind::Internal, format!("rename `{}`", action.key))),
        };
        self.rights.allow_copy(on)?;
        let client = self.clients.get(on);
        let entry = &as_respelled(on, entry, respelled);
        if entry.key == *to {
            return Ok(entry.clone());
        }
        let attempt = || async {
            if !keep_old {
                // A name that is only spelled anew is not deleted, nor one that the winner of a conflict gets.
                let is_free = matches!(action.work, Work::Rename { .. });
                if is_free && folded(entry.key.as_str()) != folded(to.as_str()) {
                    self.rights.allow_delete(on)?;
                }
                return client.rename(entry, to).await;
            }
            let staged = client.copy(entry, self.target(to.clone(), None)).await?;
            client.publish(vec![staged]).await.pop().unwrap_or_else(|| {
                Err(Error::new(ErrorKind::Internal, format!("publish `{to}` gave no result")))
            })
        };
        let ports = (self.clock.as_ref(), self.entropy.as_ref());
        let mut renamed = retry(Schedule::default(), ports.0, ports.1, self.control, attempt).await?;
        // A rename stamps the file anew, but an edit that hid behind a fresh stamp before it is still hidden.
        if let (Fingerprint::File(before), Fingerprint::File(after)) =
            (&entry.fingerprint, &mut renamed.fingerprint)
        {
            after.settled &= before.settled;
        }
        Ok(renamed)
    }

    /// Notes what a finished rename means: rows, copies that follow, and the line to report.
    fn renamed(
        &self,
        action: &Action,
        entry: Entry,
        rows: &mut Vec<RowChange>,
        jobs: &mut Vec<Job>,
    ) -> Option<Line> {
        let mut line = Line::of(action)?;
        match &action.work {
            Work::Rename { on, entry: old, renamed, hash, edited, keep_old } => {
                let before = if *keep_old { Some(BaseRow::tombstone()) } else { self.receipt_of(*on, old) };
                rows.push((old.key.clone(), before));
                if *edited {
                    // Its row was recorded before.
                    line.effects = crate::event::Effects::default();
                    jobs.extend(self.job(on.other(), entry, Some(renamed.clone()), Reason::Changed(*on)));
                } else {
                    let row = Agreed::new(renamed.size, *hash, seen(*on, &entry, renamed));
                    rows.push((action.key.clone(), Some(BaseRow::Agreed(row))));
                }
            }
            Work::KeepBoth { winner, versions, .. } => {
                line.effects = crate::event::Effects::default();
                let kept = versions.get(*winner).clone();
                let mut in_its_place = self.job(winner.other(), kept, None, action.reason);
                if let Some(job) = &mut in_its_place {
                    job.target.heir_of = Some(entry.clone());
                }
                jobs.extend(self.job(*winner, entry, None, action.reason));
                jobs.extend(in_its_place);
            }
            _ => {}
        }
        Some(line)
    }
}

/// Returns whether something else has the new name.
fn is_taken(error: &Error) -> bool {
    error.code() == FailureCode::NameClash
}

/// Returns what is about to become of the names of a file that is renamed.
fn intents(action: &Action, run_tag: u32) -> Vec<(Key, Intent)> {
    let Work::Rename { on, entry: old, renamed, hash, edited, keep_old } = &action.work else {
        return Vec::new();
    };
    let free = (!keep_old).then(|| (old.key.clone(), Intent::delete(*on, old, run_tag)));
    let new = (!edited).then(|| (action.key.clone(), Intent::rename(*on, old, renamed, *hash, run_tag)));
    free.into_iter().chain(new).collect()
}

/// Returns the row that announces the rename of an edited file.
fn announcement(action: &Action) -> Option<RowChange> {
    let Work::Rename { on, entry: old, renamed, hash, edited: true, .. } = &action.work else { return None };
    let row = Agreed::new(renamed.size, *hash, seen(*on, renamed, renamed));
    Some((action.key.clone(), Some(BaseRow::Agreed(row.announced(*on, &old.key)))))
}
