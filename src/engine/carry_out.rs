//! Carrying a plan out, and planning again what changed meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use futures::{FutureExt, StreamExt};

use super::past::Past;
use super::prepare::Prepared;
use super::tell::{changed_during_sync, in_its_place};
use super::{SyncEngine, SyncOptions, rules};
use crate::client::{Disposal, Listed};
use crate::code::NoticeCode;
use crate::diff::{Change, Observed};
use crate::error::Result;
use crate::event::Event;
use crate::examine::{Examined, Examiner, look_again};
use crate::fingerprint::HashForm;
use crate::guard::{Limits, Turnover, View, judge_again, loses, losses};
use crate::key::Key;
use crate::notice::Notice;
use crate::pair::SyncPair;
use crate::plan::conflict_name::{self, CopyCounts};
use crate::plan::{Action, Item, Plan, Reason, Step, Strayed, Work, collide::Collision};
use crate::report::Recorder;
use crate::side::{Side, Sides};
use crate::state::{Agreed, BaseRow, RowChange};
use crate::survey::{Survey, renames};
use crate::transfer::{Executed, Rights, Transfer, judged, vanished};
use crate::unplaced::{Doubts, Unplaced};

/// How often a path that keeps changing is planned again.
const REPLANS: usize = 3;

/// How many failed paths are looked at at once.
const LOOKS: usize = 16;

/// The parts of a run that carries out its plan.
pub(super) struct Run<'a> {
    pub(super) engine: &'a SyncEngine,
    pub(super) pair: &'a SyncPair,
    pub(super) options: &'a SyncOptions,
    pub(super) prepared: &'a Prepared,
    pub(super) past: &'a Past,
    /// What the guards know.
    pub(super) guard: (&'a View, &'a Limits),
    pub(super) recorder: &'a Recorder,
}

impl Run<'_> {
    /// Carries out the plan, and plans again what changed meanwhile.
    pub(super) async fn carry_out(
        &self,
        examiner: &Examiner,
        plan: Plan,
        found: Survey,
        mut unreadable: bool,
    ) -> Result<()> {
        let state = &self.past.state;
        self.forget(found.obsolete.into_iter().chain(found.receipts).collect()).await?;
        self.seal(found.sealed).await?;
        let copy = Sides::new(self.pair.allows_download(), self.pair.allows_upload());
        let rights = Rights { mode: self.pair.mode, copy };
        let transfer = Transfer::new(
            &self.prepared.clients,
            state,
            rights,
            self.disposal(),
            self.past.record.run_tags.last().copied().unwrap_or(0),
            self.options.tuning,
            &self.options.controller,
            (&self.engine.clock, &self.engine.entropy),
            self.recorder,
        );
        if plan.actions.iter().any(|action| matches!(action.work, Work::Delete { .. })) {
            self.prepared.check_roots().await?;
        }
        let (mut lost, mut turnover) = (losses(&plan), Turnover::of(&plan));
        let mut announced = 0;
        // What vanished once, and is sent again; whether it did so in an earlier run.
        let is_again = |action: &&Action| matches!(action.reason, Reason::Vanished(_));
        let again = plan.actions.iter().filter(is_again);
        let mut sent: BTreeMap<Key, bool> = again.map(|action| (action.key.clone(), true)).collect();
        let doubtful = (&found.unplaced, &*found.moving);
        let Executed { moved, mut deletions, mut held_back } =
            self.act(&transfer, plan, doubtful, examiner, &mut announced).await?;
        let moved = found.moving.into_iter().chain(moved);
        let mut copies = found.copies;
        // Whether a name is free of files and folders in its way only a listing can tell.
        let (clashing, mut moved) =
            moved.partition::<BTreeSet<Key>, _>(|key| clashes(&found.collisions, key));
        self.give_up(clashing);
        let mut replans = 0;
        loop {
            while !moved.is_empty() && replans < REPLANS {
                replans += 1;
                let mut again = self.plan_again(examiner, moved, &mut copies, &mut unreadable).await?;
                self.guard_again((&lost, &turnover), &mut again);
                turnover = turnover.and(&Turnover::of(&again));
                let more = losses(&again);
                lost = Sides::new(lost.source + more.source, lost.destination + more.destination);
                let doubtful = (&found.unplaced, &[][..]);
                let executed = self.act(&transfer, again, doubtful, examiner, &mut announced).await?;
                held_back += executed.held_back;
                moved = executed.moved.into_iter().collect();
                deletions.extend(executed.deletions);
            }
            self.give_up(std::mem::take(&mut moved));
            // What a store said it took is looked for before anything is deleted on account of it.
            moved = self.vanished(&transfer, &mut sent).await?;
            if !moved.is_empty() {
                replans = REPLANS - 1;
                continue;
            }
            if deletions.is_empty() {
                break;
            }
            // Last of all, when everything that could fail has.
            let deletions = std::mem::take(&mut deletions);
            let going = deletions.iter().map(|removal| removal.entry.key.clone()).collect();
            let doubts = self.doubts(&found.unplaced, &[], going, examiner).await?;
            let check = self.prepared.check_roots().boxed();
            let executed = transfer.delete(deletions, unreadable, &doubts, check).await?;
            held_back += executed.held_back;
            moved = executed.moved.into_iter().collect();
        }
        if held_back > 0 {
            let held =
                if held_back == 1 { "1 deletion was".into() } else { format!("{held_back} deletions were") };
            let message = format!(
                "{held} held back, because something could not be read, or has no place under a new name"
            );
            self.recorder.emit(&Event::Warned(Notice::new(
                NoticeCode::DeletionsHeldBack,
                message,
                "mend what failed and run again",
            )));
        }
        Ok(())
    }

    /// Carries out a plan, once it is written down what that will put into the trash.
    async fn act(
        &self,
        transfer: &Transfer<'_>,
        plan: Plan,
        (unplaced, moving): (&Unplaced, &[Key]),
        examiner: &Examiner,
        announced: &mut u32,
    ) -> Result<Executed> {
        let unsettled: Vec<Key> = moving.iter().cloned().chain(blocked(&plan)).collect();
        let doubts = self.doubts(unplaced, &unsettled, clearing(&plan), examiner).await?;
        let of = (self.pair, self.past, self.prepared);
        self.engine.announce(&plan, of, announced, self.recorder).await;
        transfer.execute(plan, &doubts, self.prepared.check_roots().boxed()).await
    }

    /// Returns what stores said they took and do not have, once; what vanishes again has failed.
    async fn vanished(
        &self,
        transfer: &Transfer<'_>,
        sent: &mut BTreeMap<Key, bool>,
    ) -> Result<BTreeSet<Key>> {
        let mut again = BTreeSet::new();
        for key in transfer.receive(sent).await? {
            if sent.contains_key(&key) {
                self.recorder.fail(key.as_str(), "copy", &vanished(&key));
            } else {
                sent.insert(key.clone(), false);
                again.insert(key);
            }
        }
        Ok(again)
    }

    /// Reports paths that did not stay as they were for long enough.
    fn give_up(&self, moved: BTreeSet<Key>) {
        for key in moved {
            self.recorder.fail(key.as_str(), "sync", &changed_during_sync(&key));
        }
    }

    /// Returns which of the files that are to be deleted may be ones that have no place: those that a survey found, and those
    /// that are `unsettled` or have failed.
    async fn doubts(
        &self,
        unplaced: &Unplaced,
        unsettled: &[Key],
        going: Vec<Key>,
        examiner: &Examiner,
    ) -> Result<Doubts> {
        let mut failed = self.failed();
        failed.extend(unsettled.iter().cloned());
        if going.is_empty() || (failed.is_empty() && unplaced.is_empty()) {
            return Ok(Doubts::default());
        }
        let rows = self.rows_of(going).await?;
        let unplaced = self.unplaced(unplaced.clone(), failed, &rows, examiner).await;
        Ok(Doubts::new(unplaced, rows))
    }

    /// Returns the files that got no place on the other side, by what the report says of failures: each may be one that
    /// is missing under another name. Those as large as a file of one of the `rows` are read, if they can be.
    async fn unplaced(
        &self,
        mut unplaced: Unplaced,
        failed: BTreeSet<Key>,
        rows: &BTreeMap<Key, Agreed>,
        examiner: &Examiner,
    ) -> Unplaced {
        let mut wanted: BTreeMap<u64, Vec<HashForm>> = BTreeMap::new();
        for (size, hash) in rows.values().filter_map(|row| Some((row.size, row.hash?))) {
            let forms = wanted.entry(size).or_default();
            if !forms.contains(&hash.form()) {
                forms.push(hash.form());
            }
        }
        for side in Side::BOTH {
            let client = self.prepared.clients.get(side);
            let looks: Vec<_> = failed.iter().map(|key| client.head(key)).collect();
            let mut looks = futures::stream::iter(looks).buffered(LOOKS);
            while let Some(found) = looks.next().await {
                match found {
                    Ok(Some(Listed::File(entry))) => unplaced.add(side, entry),
                    Ok(None | Some(Listed::Skipped(..))) => {}
                    Ok(Some(_)) | Err(_) => unplaced.add_unknown(side),
                }
            }
            for version in unplaced.versions_mut(side) {
                let Some(entry) = &version.entry else { continue };
                let is_told = |form: &HashForm| version.hashes.iter().any(|hash| hash.form() == *form);
                let forms = wanted.get(&entry.size).filter(|forms| !forms.iter().all(is_told));
                if let Some(forms) = forms {
                    let read = examiner.hash(side, entry, forms).await;
                    version.is_unread = read.is_err();
                    version.hashes.extend(read.unwrap_or_default());
                }
            }
        }
        unplaced
    }

    /// Returns what the base knows of the files that are to be deleted.
    async fn rows_of(&self, keys: Vec<Key>) -> Result<BTreeMap<Key, Agreed>> {
        let mut rows = BTreeMap::new();
        for key in keys {
            if let Some(BaseRow::Agreed(row)) = self.past.state.get(&key).await? {
                rows.insert(key, row);
            }
        }
        Ok(rows)
    }

    /// Returns the files that have failed so far. What could not be listed is a folder, and holds deletions back in mirrors.
    fn failed(&self) -> BTreeSet<Key> {
        self.recorder.with(|report| {
            let files = report.failures.iter().filter(|failure| failure.action != "list");
            let paths = files.map(|failure| Key::of_object(&failure.path));
            paths.filter_map(Result::ok).collect()
        })
    }

    fn disposal(&self) -> Disposal {
        if !self.pair.trash {
            return Disposal::Discard;
        }
        let unnamed = || format!("{}-{:08x}", self.engine.clock.now().compact(), 0);
        Disposal::Trash { run: self.past.trash_run().unwrap_or_else(unnamed) }
    }

    /// Takes out of a plan for what changed meanwhile what would be lost, if that with what was before is more than
    /// the user allows: so much gone in the middle of a run may be a folder that vanished. The next run judges them.
    fn guard_again(&self, before: (&Sides<u64>, &Turnover), again: &mut Plan) {
        let (view, limits) = self.guard;
        let Some(refusal) = judge_again(before, again, view, limits).into_iter().next() else { return };
        again.actions.retain(|action| {
            let held = loses(action).is_some();
            if held {
                let error = changed_during_sync(&action.key).with_hint(refusal.message.clone());
                self.recorder.fail(action.key.as_str(), "sync", &error);
            }
            !held
        });
    }

    /// Forgets rows that count no more, durably: what the run does next may take away why they do not, such as the rules that
    /// exclude their paths. After a power cut they would be believed again.
    async fn forget(&self, keys: Vec<Key>) -> Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        self.past.state.record(keys.into_iter().map(|key| (key, None)).collect()).await?;
        self.past.state.flush().await
    }

    /// Notes which files the listings show as they were written.
    async fn seal(&self, rows: Vec<RowChange>) -> Result<()> {
        if rows.is_empty() { Ok(()) } else { self.past.state.record(rows).await }
    }

    /// Looks at paths once more, one by one, and decides anew. Sets `unreadable` if one could not be judged.
    async fn plan_again(
        &self,
        examiner: &Examiner,
        keys: BTreeSet<Key>,
        copies: &mut CopyCounts,
        unreadable: &mut bool,
    ) -> Result<Plan> {
        let mut items = Vec::new();
        for key in keys {
            self.options.controller.checkpoint().await?;
            match self.look_again(examiner, &key).await? {
                Some(item) => {
                    self.see_copy(&item, copies).await;
                    items.push(item);
                }
                None => *unreadable = true,
            }
        }
        let held =
            renames::look(examiner, &mut items, copies, &self.options.controller, self.recorder).await?;
        // Where a side went back the base does not count in later runs either.
        let strays = items.iter().filter(|item| item.strayed == Some(Strayed::FromRow));
        let void = strays.map(|item| item.key.clone()).chain(held.never_renamed);
        self.forget(void.collect()).await?;
        *unreadable |= held.unreadable;
        for key in held.moving {
            *unreadable = true;
            self.recorder.fail(key.as_str(), "sync", &changed_during_sync(&key));
        }
        let mut plan = Plan::new(items, examiner.policy, &[], copies);
        for key in rules::leave_rules(&mut plan) {
            self.recorder.fail(key.as_str(), "sync", &changed_during_sync(&key));
        }
        Ok(plan)
    }

    /// Looks at one path once more. `None` if it could not be judged, which is told.
    async fn look_again(&self, examiner: &Examiner, key: &Key) -> Result<Option<Item>> {
        let base = self.past.state.get(key).await?;
        let mut sides = Sides::new(Observed::Absent, Observed::Absent);
        let mut failed = false;
        for side in Side::BOTH {
            match look_again(&self.prepared.clients, side, key).await {
                Ok(Observed::Unknown) if !failed => {
                    failed = true;
                    self.recorder.fail(key.as_str(), "sync", &in_its_place(key, side));
                }
                Ok(observed) => *sides.get_mut(side) = observed,
                Err(error) => {
                    let error = judged(&self.prepared.clients, error).await;
                    if error.ends_the_run() {
                        return Err(error);
                    }
                    failed = true;
                    self.recorder.fail(key.as_str(), "look at", &error);
                }
            }
        }
        if failed {
            return Ok(None);
        }
        match examiner.examine(Change { key: key.clone(), base, sides }).await {
            Examined::Item(item) => return Ok(Some(*item)),
            Examined::Moving(key) => self.recorder.fail(key.as_str(), "sync", &changed_during_sync(&key)),
            Examined::Unreadable(_, error) if error.ends_the_run() => return Err(error),
            Examined::Unreadable(key, error) => self.recorder.fail(key.as_str(), "read", &error),
        }
        Ok(None)
    }

    /// Notes whether the loser of a conflict has its other name already: a try whose answer was lost gave it.
    async fn see_copy(&self, item: &Item, copies: &mut CopyCounts) {
        let (Step::KeepBoth { winner }, Sides { source: Some(source), destination: Some(destination) }) =
            (item.verdict.step, item.found.clone())
        else {
            return;
        };
        let loser = winner.other();
        let versions = Sides::new(source, destination);
        let Some(name) = conflict_name::for_loser(&item.key, loser, &versions, &item.hashes, copies) else {
            return;
        };
        if let Ok(Observed::File(entry)) = look_again(&self.prepared.clients, loser, &name).await {
            let mut on = Sides::new(false, false);
            *on.get_mut(loser) = true;
            copies.see(&name, on);
            copies.see_version(loser, &entry);
        }
    }
}

/// Returns what is to be deleted to make room for something.
fn clearing(plan: &Plan) -> Vec<Key> {
    let clears = |action: &&Action| matches!(action.work, Work::Delete { clears_way: true, .. });
    plan.actions.iter().filter(clears).map(|action| action.key.clone()).collect()
}

/// Returns what has no place from the beginning.
fn blocked(plan: &Plan) -> impl Iterator<Item = Key> {
    plan.actions.iter().filter(|action| action.work.is_blocked()).map(|action| action.key.clone())
}

/// Returns whether `key` is in the way of another file, or another in its.
fn clashes(collisions: &[Collision], key: &Key) -> bool {
    let is_on = |on: Sides<bool>| on.source || on.destination;
    collisions.iter().any(|c| (c.above == *key || c.below == *key) && is_on(c.above_on) && is_on(c.below_on))
}
