//! One run, from the lock to the last row.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::prepare::Prepared;
use super::{SyncEngine, SyncOptions, unreachable};
use crate::client::Disposal;
use crate::diff::Change;
use crate::entry::Timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, Line};
use crate::examine::{Examined, Examiner};
use crate::filter::Filter;
use crate::guard::{self, Judgement, Limits, Notice, View};
use crate::key::Key;
use crate::mode::{InitialSyncPreference, Side, Sides, SyncMode};
use crate::pair::SyncPair;
use crate::plan::{Plan, Policy, Work, conflict_name::CopyCounts};
use crate::report::Recorder;
use crate::state::{Access, FirstSync, Found, PairLock, PairRecord, StateStore};
use crate::survey::{Survey, Wanted, survey};
use crate::transfer::{Rights, Transfer, look_again};

/// How long replaced and deleted versions stay in the trash at least, in seconds: 30 days.
const TRASH_SECONDS: i64 = 30 * 24 * 3600;

/// How often a path that keeps changing is planned again.
const REPLANS: usize = 3;

/// The base of a pair and what its past says about this run.
pub(super) struct Past {
    pub(super) state: Arc<dyn StateStore>,
    pub(super) record: PairRecord,
    /// No base and no trace of one, or a first sync that was cut off.
    pub(super) first_sync: bool,
    /// The side that wins the first sync, if this run is one.
    pub(super) winner: Option<Side>,
    /// Whether the destination carries the marker of another pair.
    pub(super) foreign_marker: bool,
    /// Keeps other runs of the pair out for as long as it lives.
    _lock: Option<PairLock>,
}

impl SyncEngine {
    pub(super) async fn run_recorded(
        &self,
        pair: &SyncPair,
        options: &SyncOptions,
        recorder: &Recorder,
    ) -> Result<()> {
        options.controller.checkpoint().await?;
        let mut prepared = self.prepare(pair, options.create).await?;
        recorder.with(|report| {
            report.source.clone_from(&prepared.locations().source);
            report.destination.clone_from(&prepared.locations().destination);
        });
        let access = if options.dry_run { Access::ReadOnly } else { Access::Write };
        if !options.dry_run {
            prepared.mend().await?;
        }
        let mut past = self.recall(pair, options.initial_sync, &prepared, access, recorder).await?;
        let examiner = examiner(pair, &prepared, &past);
        let mut found = look(&examiner, &prepared, &past, options, recorder).await?;
        let unreadable = found.unreadable.source || found.unreadable.destination;
        let (plan, judgement) = judge(pair, options, &prepared, &past, &mut found);
        tell(&judgement, &found, recorder);
        if !judgement.refusals.is_empty() || options.dry_run {
            foresee(&plan, &found, recorder);
            return Ok(());
        }
        options.controller.checkpoint().await?;
        prepared.create_roots().await?;
        let examiner = Examiner { clients: prepared.clients.clone(), ..examiner };
        let changes = !plan.actions.is_empty() || !found.moving.is_empty() || !found.obsolete.is_empty();
        if changes {
            self.begin(&mut past, pair, options).await?;
        }
        let swept = self.sweep(&found, &prepared, recorder).await;
        announce(&plan, recorder);
        let into_trash =
            Side::BOTH.map(|side| pair.trash && plan.actions.iter().any(|a| a.work.discards_on(side)));
        let run = Run { engine: self, pair, options, prepared: &prepared, past: &past, recorder };
        let result = run.carry_out(&examiner, plan, found, unreadable).await;
        for side in Side::BOTH {
            for (code, message) in prepared.clients.get(side).weaknesses() {
                recorder.emit(&Event::Warned(Notice::new(code, message, String::new())));
            }
        }
        if result.is_ok() {
            for side in
                Side::BOTH.into_iter().zip(into_trash).filter_map(|(side, wrote)| wrote.then_some(side))
            {
                self.purge(side, &prepared, recorder).await;
            }
        }
        match result {
            Ok(()) => self.end(past, pair, &prepared, swept, recorder).await,
            Err(error) => {
                // What was recorded so far is true; keep it whatever ended the run.
                if let Err(lost) = past.state.flush().await {
                    tracing::debug!(error = lost.chain(), "the state could not be flushed either");
                }
                Err(error)
            }
        }
    }

    /// Opens the base and finds out whether this is a first sync.
    pub(super) async fn recall(
        &self,
        pair: &SyncPair,
        preference: Option<InitialSyncPreference>,
        prepared: &Prepared,
        access: Access,
        recorder: &Recorder,
    ) -> Result<Past> {
        let (state, mut found, lock) = self.open_state(prepared, access).await?;
        let record = state.pair_record();
        let mut common = None;
        let mut foreign_marker = false;
        if record.is_none() {
            let mut markers = Sides::new(BTreeSet::new(), BTreeSet::new());
            for side in Side::BOTH {
                let ids = prepared.listed.get(side).markers().await;
                markers.get_mut(side).extend(ids.map_err(|error| {
                    unreachable(error, &format!("the markers of the {side} cannot be read"))
                })?);
            }
            common = markers.source.intersection(&markers.destination).next().cloned();
            foreign_marker = markers.destination.iter().any(|id| !markers.source.contains(id));
            if common.is_some() && found == Found::Nothing {
                let why = "both sides carry the marker of an earlier sync, but no state was found".into();
                found = Found::Lost { why };
            }
        }
        if let Found::Lost { why } = &found {
            let message = format!(
                "the state of this pair was lost: {why}; going on as if never synced, deleting nothing that a mirror would not"
            );
            let hint = "a first-sync preference does not act; check the result, conflicts are possible";
            recorder.emit(&Event::Warned(Notice::new("state-lost", message, hint)));
        }
        let preference = preference.or(pair.initial_sync).unwrap_or_default();
        let begun = record.as_ref().map(|record| record.first_sync);
        let first_sync = (record.is_none() && found == Found::Nothing)
            || matches!(begun, Some(FirstSync::Begun(begun)) if begun == preference);
        let acts = first_sync && pair.mode == SyncMode::TwoWay;
        let winner = preference.winner().filter(|_| acts);
        if !acts && pair.mode == SyncMode::TwoWay && preference.winner().is_some() {
            let message =
                format!("--initial-sync {preference} has no effect: this pair has been synced before");
            recorder.emit(&Event::Noted(Notice::new("preference-spent", message, String::new())));
        }
        let first = if first_sync { FirstSync::Begun(preference) } else { FirstSync::Spent };
        let record = record.unwrap_or_else(|| PairRecord {
            pair_id: common.unwrap_or_else(|| self.new_pair_id()),
            locations: prepared.locations(),
            mode: pair.mode,
            first_sync: first,
            marked: false,
            roots: Sides::new(None, None),
            run_tags: Vec::new(),
            last_sync_seconds: None,
        });
        Ok(Past { state, record, first_sync, winner, foreign_marker, _lock: lock })
    }

    async fn open_state(
        &self,
        prepared: &Prepared,
        access: Access,
    ) -> Result<(Arc<dyn StateStore>, Found, Option<PairLock>)> {
        if let Some((state, found)) = &self.state {
            // A store that has a record has been used since it was handed in.
            let found = if state.pair_record().is_some() { Found::Intact } else { found.clone() };
            return Ok((Arc::clone(state), found, None));
        }
        let opened = crate::state::open(
            self.state_dir.clone(),
            prepared.locations(),
            access,
            self.scratch_dir.clone(),
            Arc::clone(&self.clock),
            Arc::clone(&self.entropy),
        )
        .await?;
        Ok((opened.store, opened.found, Some(opened.lock)))
    }

    fn new_pair_id(&self) -> String {
        format!("{:016x}{:016x}", self.entropy.next_u64(), self.entropy.next_u64())
    }

    /// Records that a run begins, before its first effect.
    async fn begin(&self, past: &mut Past, pair: &SyncPair, options: &SyncOptions) -> Result<()> {
        past.record.run_tags.push(self.tag());
        if past.record.mode != pair.mode {
            past.record.mode = pair.mode;
        }
        if past.first_sync {
            let preference = options.initial_sync.or(pair.initial_sync).unwrap_or_default();
            past.record.first_sync = FirstSync::Begun(preference);
        }
        past.state.commit(past.record.clone()).await
    }

    fn tag(&self) -> u32 {
        u32::try_from(self.entropy.next_u64() >> 32).unwrap_or(0)
    }

    /// Removes what killed runs left. Returns whether all are gone; if not that is no reason not
    /// to sync.
    async fn sweep(&self, found: &Survey, prepared: &Prepared, recorder: &Recorder) -> bool {
        let mut swept = true;
        for side in Side::BOTH {
            let leftovers = found.leftovers.get(side);
            if !leftovers.is_empty()
                && let Err(error) = prepared.clients.get(side).sweep(leftovers.clone()).await
            {
                let message = format!("temporaries of an earlier run stay at the {side}: {}", error.chain());
                recorder.emit(&Event::Warned(Notice::new("leftovers", message, String::new())));
                swept = false;
            }
        }
        swept
    }

    /// Removes old trash on a side that got new one. Failing to costs room, nothing else.
    async fn purge(&self, side: Side, prepared: &Prepared, recorder: &Recorder) {
        let now = self.clock.now();
        let before = Timestamp::new(now.seconds.saturating_sub(TRASH_SECONDS), 0);
        match prepared.clients.get(side).purge_trash(before).await {
            Ok(runs) => tracing::debug!(%side, runs, "purged old trash"),
            Err(error) => {
                let message = format!("old trash stays at the {side}: {}", error.chain());
                recorder.emit(&Event::Warned(Notice::new("old-trash", message, String::new())));
            }
        }
    }

    /// Records that the run is complete.
    async fn end(
        &self,
        mut past: Past,
        pair: &SyncPair,
        prepared: &Prepared,
        swept: bool,
        recorder: &Recorder,
    ) -> Result<()> {
        let record = &mut past.record;
        record.mode = pair.mode;
        record.first_sync = FirstSync::Spent;
        record.roots = prepared.roots;
        if swept {
            record.run_tags.clear();
        }
        record.last_sync_seconds = Some(self.clock.now().seconds);
        past.state.commit(past.record.clone()).await?;
        let succeeded = recorder.with(|report| report.counts.failed == 0);
        if pair.mode == SyncMode::TwoWay && !past.record.marked && succeeded {
            match put_markers(&past.record, prepared).await {
                Ok(()) => {
                    past.record.marked = true;
                    past.state.commit(past.record.clone()).await?;
                }
                Err(error) => {
                    let message = format!("the marker of this pair could not be written: {}", error.chain());
                    recorder.emit(&Event::Warned(Notice::new("no-marker", message, String::new())));
                }
            }
        }
        Ok(())
    }
}

async fn put_markers(record: &PairRecord, prepared: &Prepared) -> Result<()> {
    let text = serde_json::json!({
        "schema": crate::report::SCHEMA,
        "pair_id": record.pair_id,
        "source": record.locations.source,
        "destination": record.locations.destination,
    });
    for side in Side::BOTH {
        prepared.clients.get(side).put_marker(&record.pair_id, &format!("{text:#}\n")).await?;
    }
    Ok(())
}

pub(super) fn policy(pair: &SyncPair, winner: Option<Side>) -> Policy {
    Policy { mode: pair.mode, pull: pair.pull, conflict: pair.conflict, first_sync_winner: winner }
}

pub(super) fn examiner(pair: &SyncPair, prepared: &Prepared, past: &Past) -> Examiner {
    Examiner {
        clients: prepared.listed.clone(),
        compare: pair.compare,
        policy: policy(pair, past.winner),
        tombstones_hold: past.record.mode == pair.mode,
    }
}

/// Looks at both trees.
pub(super) async fn look(
    examiner: &Examiner,
    prepared: &Prepared,
    past: &Past,
    options: &SyncOptions,
    recorder: &Recorder,
) -> Result<Survey> {
    // Rules live in the source, or in the destination where only that is a folder.
    let is_folder = |side: Side| prepared.listed.get(side).location().starts_with('/');
    let wanted = Wanted {
        filter: Filter::new(prepared.rules.clone()),
        ignore_files_on: Side::BOTH.into_iter().find(|side| is_folder(*side)),
        leftover_tags: past.record.run_tags.clone(),
    };
    let found = survey(examiner, &past.state, wanted, &options.controller, recorder)
        .await
        .map_err(|error| unreachable(error, "a side could not be listed"))?;
    recorder.emit(&Event::Compared { unchanged: found.unchanged, first_sync: past.first_sync });
    Ok(found)
}

/// Makes the plan and lets the guards judge it.
pub(super) fn judge(
    pair: &SyncPair,
    options: &SyncOptions,
    prepared: &Prepared,
    past: &Past,
    found: &mut Survey,
) -> (Plan, Judgement) {
    let policy = policy(pair, past.winner);
    let plan = Plan::new(std::mem::take(&mut found.items), policy, &found.collisions, &found.copies);
    let differs = |side| match (past.record.roots.get(side), prepared.roots.get(side)) {
        (Some(then), Some(now)) => then != now,
        _ => false,
    };
    let view = View {
        mode: pair.mode,
        first_sync: past.first_sync,
        first_sync_winner: past.winner,
        preference_given: options.initial_sync.or(pair.initial_sync).is_some(),
        base: found.base,
        listed: found.listed,
        recognised: found.recognised,
        changed: found.changed,
        root_differs: Sides::new(differs(Side::Source), differs(Side::Destination)),
        foreign_marker: past.foreign_marker,
    };
    let limits = Limits {
        max_delete: pair.max_delete,
        allow_mass_delete: options.allow_mass_delete,
        allow_empty_side: options.allow_empty_side,
        accept_root: options.accept_root,
    };
    let mut judgement = guard::judge(&plan, &view, &limits);
    if pair.compare.is_weak() {
        let message = format!("--compare {} can take files of different content for equal", pair.compare);
        judgement.warnings.push(Notice::new("weak-comparison", message, "use hash-then-mtime or hash-only"));
    }
    (plan, judgement)
}

/// Tells what guards and listings have to say.
fn tell(judgement: &Judgement, found: &Survey, recorder: &Recorder) {
    for warning in &judgement.warnings {
        recorder.emit(&Event::Warned(warning.clone()));
    }
    if found.excluded > 0 {
        let message = format!(
            "the filter excludes {} synced before; they stay where they are and are no longer synced",
            if found.excluded == 1 { "1 path".into() } else { format!("{} paths", found.excluded) }
        );
        recorder.emit(&Event::Noted(Notice::new("filter-changed", message, String::new())));
    }
    if let Some((side, first)) = found.foreign.first() {
        let message = format!(
            "{} with a reserved name, not made by this pair, such as `{first}` at the {side}",
            if found.foreign.len() == 1 { "1 file".into() } else { format!("{} files", found.foreign.len()) }
        );
        let hint = "they are never synced; remove them by hand if nobody needs them";
        recorder.emit(&Event::Warned(Notice::new("foreign-temporaries", message, hint)));
    }
    for refusal in &judgement.refusals {
        recorder.emit(&Event::Refused(refusal.clone()));
    }
}

/// Reports a plan as if it had been carried out.
fn foresee(plan: &Plan, found: &Survey, recorder: &Recorder) {
    let refused = recorder.with(|report| !report.refused_by.is_empty() && !report.dry_run);
    for action in plan.actions.iter().filter(|_| !refused) {
        if let Work::Blocked = action.work {
            let error = Error::new(ErrorKind::Invalid, action.reason.to_string());
            recorder.fail(action.key.as_str(), "sync", &error);
        } else if let Some(line) = Line::planned(action) {
            recorder.emit(&Event::Done(line));
        }
    }
    for key in &found.moving {
        recorder.fail(key.as_str(), "read", &changed_during_sync(key));
    }
}

fn announce(plan: &Plan, recorder: &Recorder) {
    let (mut files, mut bytes, mut deletions, mut renames) = (0, 0, 0, 0);
    for action in &plan.actions {
        match &action.work {
            Work::Copy(copy) => {
                files += 1;
                bytes += copy.from.size;
            }
            Work::KeepBoth { versions, .. } => {
                files += 2;
                bytes += versions.source.size + versions.destination.size;
            }
            Work::Delete { .. } => deletions += 1,
            Work::Rename { .. } => renames += 1,
            _ => {}
        }
    }
    recorder.emit(&Event::Planned { files, bytes, deletions, renames });
}

fn changed_during_sync(key: &Key) -> Error {
    Error::new(ErrorKind::Changed, format!("changed-during-sync: `{key}` did not stay as it was long enough"))
        .with_hint("run again when nobody writes to it")
}

/// The parts of a run that carries out its plan.
struct Run<'a> {
    engine: &'a SyncEngine,
    pair: &'a SyncPair,
    options: &'a SyncOptions,
    prepared: &'a Prepared,
    past: &'a Past,
    recorder: &'a Recorder,
}

impl Run<'_> {
    /// Carries out the plan, and plans again what changed meanwhile.
    async fn carry_out(
        &self,
        examiner: &Examiner,
        plan: Plan,
        found: Survey,
        unreadable: bool,
    ) -> Result<()> {
        let state = &self.past.state;
        if !found.obsolete.is_empty() {
            state.record(found.obsolete.into_iter().map(|key| (key, None)).collect()).await?;
        }
        let rights = Rights {
            mode: self.pair.mode,
            copy: Sides::new(self.pair.allows_download(), self.pair.allows_upload()),
        };
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
        let mut executed =
            transfer.execute(plan, unreadable, async || self.prepared.check_roots().await).await?;
        let mut held_back = executed.held_back;
        let mut moved: BTreeSet<Key> = found.moving.into_iter().collect();
        moved.extend(executed.moved);
        for _ in 0..REPLANS {
            if moved.is_empty() {
                break;
            }
            let again = self.plan_again(examiner, moved).await?;
            executed =
                transfer.execute(again, unreadable, async || self.prepared.check_roots().await).await?;
            held_back += executed.held_back;
            moved = executed.moved.into_iter().collect();
        }
        for key in moved {
            self.recorder.fail(key.as_str(), "sync", &changed_during_sync(&key));
        }
        if held_back > 0 {
            let message = format!(
                "{held_back} deletions were held back, because something could not be read or copied"
            );
            self.recorder.emit(&Event::Warned(Notice::new(
                "deletions-held-back",
                message,
                "mend what failed and run again",
            )));
        }
        Ok(())
    }

    fn disposal(&self) -> Disposal {
        if !self.pair.trash {
            return Disposal::Discard;
        }
        let tag = self.past.record.run_tags.last().copied().unwrap_or(0);
        Disposal::Trash { run: format!("{}-{tag:08x}", self.engine.clock.now().compact()) }
    }

    /// Looks at paths once more, one by one, and decides anew.
    async fn plan_again(&self, examiner: &Examiner, keys: BTreeSet<Key>) -> Result<Plan> {
        let mut items = Vec::new();
        for key in keys {
            self.options.controller.checkpoint().await?;
            let base = self.past.state.get(&key).await?;
            let mut sides = Sides::new(crate::diff::Observed::Absent, crate::diff::Observed::Absent);
            let mut failed = false;
            for side in Side::BOTH {
                match look_again(&self.prepared.clients, side, &key).await {
                    Ok(observed) => *sides.get_mut(side) = observed,
                    Err(error) => {
                        failed = true;
                        self.recorder.fail(key.as_str(), "look at", &error);
                    }
                }
            }
            if failed {
                continue;
            }
            match examiner.examine(Change { key: key.clone(), base, sides }).await {
                Examined::Item(item) => items.push(*item),
                Examined::Moving(key) => self.recorder.fail(key.as_str(), "sync", &changed_during_sync(&key)),
                Examined::Unreadable(key, error) => self.recorder.fail(key.as_str(), "read", &error),
            }
        }
        Ok(Plan::new(items, examiner.policy, &[], &CopyCounts::default()))
    }
}
