//! One run, from the lock to the last row.

use std::collections::BTreeSet;

use super::bounds::Raise;
use super::carry_out::Run;
use super::clock;
use super::past::Past;
use super::prepare::Prepared;
use super::tell::{announce, foresee, tell};
use super::{SyncEngine, SyncOptions, rules, unreachable};
use crate::code::NoticeCode;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, first_difference};
use crate::examine::Examiner;
use crate::guard::{self, Judgement, Limits, View};
use crate::mode::ConflictStrategy;
use crate::notice::Notice;
use crate::pair::SyncPair;
use crate::plan::rollback::Rollback;
use crate::plan::{Action, Plan, Policy, Reason, Work};
use crate::report::Recorder;
use crate::side::{Side, Sides};
use crate::state::{Access, RulesRecord};
use crate::survey::{Survey, Wanted, survey};

impl SyncEngine {
    pub(super) async fn run_recorded(
        &self,
        pair: &SyncPair,
        options: &SyncOptions,
        recorder: &Recorder,
    ) -> Result<()> {
        options.controller.checkpoint().await?;
        let mut prepared = self.prepare(pair, options).await?;
        recorder.with(|report| {
            report.source.clone_from(&prepared.locations().source);
            report.destination.clone_from(&prepared.locations().destination);
            report.stores =
                Sides::new(prepared.clients.source.reached(), prepared.clients.destination.reached());
        });
        let result = self.run_prepared(pair, options, recorder, &mut prepared).await;
        recorder.with(|report| {
            for side in Side::BOTH {
                let client = prepared.clients.get(side);
                report.requests.add(client.requests());
                report.conditions.join(client.conditions());
            }
        });
        result
    }

    async fn run_prepared(
        &self,
        pair: &SyncPair,
        options: &SyncOptions,
        recorder: &Recorder,
        prepared: &mut Prepared,
    ) -> Result<()> {
        let access = if options.dry_run { Access::ReadOnly } else { Access::Write };
        let mut past = self.recall(pair, options, prepared, access, recorder).await?;
        past.warn_clients(prepared);
        clock::check(self.clock.now(), &mut past, prepared, recorder);
        if !options.dry_run {
            prepared.mend().await?;
        }
        let examiner = examiner(pair, prepared, &past);
        let mut found = look(&examiner, prepared, &past, options, recorder).await?;
        let unreadable = found.unreadable.source || found.unreadable.destination;
        let (view, limits) = (view(pair, options, &past, &found), limits(pair, options));
        let (mut plan, mut judgement) = judge(pair, prepared, &past, &mut found, (&view, &limits)).await?;
        judgement.refusals.extend(unexpected(options, &plan));
        tell(&judgement, &found, recorder);
        rules::tell(&found, recorder);
        if !judgement.refusals.is_empty() || options.dry_run {
            foresee(&plan, &found, prepared, recorder);
            return Ok(());
        }
        options.controller.checkpoint().await?;
        prepared.create_roots().await?;
        let rollback = if found.went_back {
            examiner.rollback.clone()
        } else {
            Rollback { exchanged: examiner.rollback.exchanged, ..Rollback::default() }
        };
        let examiner = Examiner { clients: prepared.clients.clone(), rollback, ..examiner };
        let changes = !plan.actions.is_empty()
            || !found.moving.is_empty()
            || !found.obsolete.is_empty()
            || !found.receipts.is_empty();
        let raise = Raise {
            raises: past.is_new
                || past.record.tail.epochs().is_open()
                || past.rollback.is_any()
                || raises(&plan, &found),
            voided: found.voided.clone(),
            // Without a base nothing but the recovery tells the next run, if this one is cut off.
            is_unsure: past.rollback.is_total
                || (found.went_back || past.rollback.has_exchanged()) && !found.is_sure,
        };
        let meant = past.remember_rules(&found, &plan, pair.mode, options.accept_rules);
        if changes || raise.raises || past.rollback.has_exchanged() {
            self.begin(&mut past, (pair, options), prepared, raise, recorder).await?;
        }
        let swept = self.sweep(pair, &found, prepared, recorder).await;
        let may_try = Sides::new(pair.allows_download(), pair.allows_upload());
        super::spelling::settle(&mut plan, &prepared.clients, past.state.as_ref(), may_try).await?;
        past.waiting = unsettled(&plan, pair);
        announce(&plan, recorder);
        // Before anything is copied: it may need the room. Its own trash is too young to go.
        let purging = purging(pair, &plan, prepared);
        for side in &purging {
            self.purge(*side, pair, prepared, &mut past, recorder).await;
        }
        let renumbered = renumbered(&found);
        let kept_in = past.trash_run().filter(|_| pair.trash).map(|run| format!(".syncengine/trash/{run}"));
        let lost = guard::lost_at_first(&plan, &view, kept_in.as_deref());
        let guard = (&view, &limits);
        let run = Run { engine: self, pair, options, prepared, past: &past, guard, recorder };
        let result = run.carry_out(&examiner, plan, found, unreadable).await;
        tell_of_clients(prepared, recorder);
        match result {
            Ok(()) => {
                if let Some(note) = lost {
                    recorder.emit(&Event::Noted(note));
                }
                self.clear_up(pair, prepared, &mut past, &purging, recorder).await;
                past.learn(renumbered);
                past.note_arrived(meant).await?;
                self.end(past, pair, prepared, swept, recorder).await
            }
            Err(error) => {
                self.keep_what_was_done(&error, &mut past, pair, prepared, recorder).await;
                Err(error)
            }
        }
    }

    /// Keeps what a run has recorded that could not go on: it is true whatever ended the run.
    async fn keep_what_was_done(
        &self,
        error: &Error,
        past: &mut Past,
        pair: &SyncPair,
        prepared: &Prepared,
        recorder: &Recorder,
    ) {
        let is_forgiven = forgive(past, recorder);
        let kept = if error.kind() != ErrorKind::Unavailable {
            self.break_off(past, pair, prepared, recorder).await
        } else if is_forgiven {
            past.state.commit(past.record.clone()).await
        } else {
            past.state.flush().await
        };
        if let Err(lost) = kept {
            tracing::debug!(error = lost.chain(), "the state could not be flushed either");
        }
    }

    /// Ends what stores have kept for a run that would go on with it, and keeps the trash as small as the user wants it.
    async fn clear_up(
        &self,
        pair: &SyncPair,
        prepared: &Prepared,
        past: &mut Past,
        purging: &[Side],
        recorder: &Recorder,
    ) {
        for side in Side::BOTH {
            prepared.clients.get(side).settle(pair.allows_copy_to(side)).await;
        }
        for side in purging.iter().filter(|_| pair.trash_max.is_some()) {
            self.purge(*side, pair, prepared, past, recorder).await;
        }
    }

    /// Removes what killed runs left on sides that this run may write to. Returns whether all are gone; if not
    /// that is no reason not to sync.
    async fn sweep(&self, pair: &SyncPair, found: &Survey, prepared: &Prepared, recorder: &Recorder) -> bool {
        let mut swept = true;
        for side in Side::BOTH {
            let leftovers = found.leftovers.get(side);
            // Where nobody could look there may be more of them.
            swept &= !found.unreadable.get(side);
            if leftovers.is_empty() {
                continue;
            }
            if !pair.allows_copy_to(side) {
                swept = false;
            } else if let Err(error) = prepared.clients.get(side).sweep(leftovers.clone()).await {
                let message = format!("temporaries of an earlier run stay at the {side}: {}", error.chain());
                recorder.emit(&Event::Warned(Notice::new(NoticeCode::Leftovers, message, String::new())));
                swept = false;
            } else if let Some(kept) = leftovers.iter().find(|key| key.as_str().contains(".kept-")) {
                let message = format!(
                    "an earlier run was killed while it threw away a file, such as `{kept}` of the {side}; it is in \
                     `.syncengine/trash` there now, and stays"
                );
                let hint = "it may be an edit that nobody has seen; remove it by hand if nobody needs it";
                recorder.emit(&Event::Warned(Notice::new(NoticeCode::Leftovers, message, hint)));
            }
        }
        swept
    }
}

/// Forgets of a run that changed nothing that it could not mark the sides: nothing can be missing from them. Returns whether there
/// was something to forget.
fn forgive(past: &mut Past, recorder: &Recorder) -> bool {
    let changes = recorder.with(|report| report.counts.changes());
    let mut epochs = past.record.tail.epochs();
    let is_unmarked = epochs.unmarked.source || epochs.unmarked.destination;
    if changes == 0 && is_unmarked {
        epochs.unmarked = Sides::default();
        past.record.tail.set_epochs(epochs);
    }
    changes == 0 && is_unmarked
}

/// Tells what the clients have to say of where versions went and how safely.
fn tell_of_clients(prepared: &Prepared, recorder: &Recorder) {
    for side in Side::BOTH {
        for (code, message) in prepared.clients.get(side).remarks() {
            recorder.emit(&Event::Noted(Notice::new(code, message, String::new())));
        }
        for (code, message) in prepared.clients.get(side).weaknesses() {
            recorder.emit(&Event::Warned(Notice::new(code, message, String::new())));
        }
    }
}

/// Returns the conflicts that wait although the strategy would settle them, for want of a name or a place.
fn unsettled(plan: &Plan, pair: &SyncPair) -> BTreeSet<String> {
    let waits = |action: &&Action| {
        matches!(action.work, Work::Unresolved) && pair.conflict != ConflictStrategy::Manual
    };
    plan.actions.iter().filter(waits).map(|action| action.key.as_str().to_owned()).collect()
}

/// Returns the sides on which old trash is removed: folders that are written to, for want of room shows there at once, and
/// stores that get new trash.
fn purging(pair: &SyncPair, plan: &Plan, prepared: &Prepared) -> Vec<Side> {
    let has_work = |side: Side| {
        let is_folder = prepared.clients.get(side).is_folder();
        let discards = |action: &Action| action.work.discarded_on(side).is_some();
        pair.trash && ((is_folder && pair.allows_copy_to(side)) || plan.actions.iter().any(discards))
    };
    Side::BOTH.into_iter().filter(|side| has_work(*side)).collect()
}

/// Returns whether a run changes what the base knows, other than that it takes in another stat.
fn raises(plan: &Plan, found: &Survey) -> bool {
    let changes_rows = |action: &Action| match action.work {
        Work::Copy(_)
        | Work::Delete { .. }
        | Work::Rename { .. }
        | Work::KeepBoth { .. }
        | Work::Forget
        | Work::Entomb => true,
        // What both sides have got meanwhile is a new row; a side that is put back to before may not have it.
        Work::Adopt { ref versions, .. } => {
            action.reason == Reason::EqualContent && versions.source.size == versions.destination.size
        }
        Work::Unresolved | Work::Blocked | Work::Clash { .. } | Work::LeaveAlone => false,
    };
    !found.moving.is_empty() || plan.actions.iter().any(changes_rows)
}

/// Returns the sides on which most of what the base knows differs from it in nothing but inode numbers.
fn renumbered(found: &Survey) -> Sides<bool> {
    let most = |count: u64| count > 0 && count.saturating_mul(2) >= found.base;
    Sides::new(most(found.renumbered.source), most(found.renumbered.destination))
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
        rollback: past.rollback.clone(),
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
    let mut rules = past.record.tail.rules();
    let wanted = |rules: &RulesRecord| Wanted {
        command_line: prepared.rules.clone(),
        known: rules::known(rules),
        held: if options.accept_rules { Sides::default() } else { rules::held(rules) },
        leftover_tags: past.record.run_tags.clone(),
        anchors: prepared.anchors,
    };
    let told = recorder.with(|report| report.clone());
    let mut surveys = 0;
    let found = loop {
        surveys += 1;
        let mut found = survey(examiner, &past.state, wanted(&rules), &options.controller, recorder).await;
        let is_disordered = found.as_ref().is_err_and(|error| error.kind() == ErrorKind::Disordered);
        let has_others = match &mut found {
            Ok(found) => {
                let mode = examiner.policy.mode;
                let holds_more = rules::find_carried(&mut rules, found, past, prepared, mode).await?;
                let has_work = !found.items.is_empty();
                holds_more
                    || rules::learn(&mut rules, &found.rules, prepared).await?
                    || has_work && rules::have_changed(&found.rules, prepared).await?
                    || rules::let_in(&mut rules, found, mode)
            }
            Err(_) => false,
        };
        // Its client knows now that the store lists in an order of its own, and restores ours; or a side has rules that were
        // not known.
        if !(is_disordered || has_others) {
            break found;
        }
        if surveys == rules::SURVEYS {
            break Err(Error::new(
                ErrorKind::Changed,
                "the rules of a side changed again and again while it was listed",
            ));
        }
        recorder.with(|report| report.clone_from(&told));
    };
    let mut found = found.map_err(unlisted)?;
    rules::refuse_emptied(&found)?;
    found.rules_record = rules;
    recorder.emit(&Event::Compared { unchanged: found.unchanged, first_sync: past.first_sync });
    Ok(found)
}

/// Returns the error of a run whose listings ended with `error`.
pub(super) fn unlisted(error: Error) -> Error {
    // One tree was found inside the other: listing has shown what is wrong with the pair.
    let is_about_the_pair = error.kind() == ErrorKind::Invalid && error.ends_the_run();
    if is_about_the_pair { error } else { unreachable(error, "a side could not be listed") }
}

/// Refuses a plan that is not the one that was reviewed.
fn unexpected(options: &SyncOptions, plan: &Plan) -> Option<Notice> {
    let path = first_difference(options.expected.as_deref()?, plan.actions.iter())?;
    let message = format!("the plan no longer holds: `{path}` is not what it was when the plan was made");
    let hint = "look at a new plan: `syncengine plan SOURCE DESTINATION --save FILE`";
    Some(Notice::new(NoticeCode::PlanChanged, message, hint))
}

/// Makes the plan and lets the guards judge it.
///
/// # Errors
/// A side that could not be asked which names it takes for one.
pub(super) async fn judge(
    pair: &SyncPair,
    prepared: &Prepared,
    past: &Past,
    found: &mut Survey,
    (view, limits): (&View, &Limits),
) -> Result<(Plan, Judgement)> {
    let policy = policy(pair, past.winner);
    let mut plan = Plan::new(std::mem::take(&mut found.items), policy, &found.collisions, &found.copies);
    super::spelling::settle(&mut plan, &prepared.listed, past.state.as_ref(), Sides::new(false, false))
        .await?;
    let mut judgement = guard::judge(&plan, view, limits);
    if pair.compare.is_weak() {
        let message = format!("--compare {} can take files of different content for equal", pair.compare);
        judgement.warnings.push(Notice::new(
            NoticeCode::WeakComparison,
            message,
            "use hash-then-mtime or hash-only",
        ));
    }
    Ok((plan, judgement))
}

/// Returns what the guards are to know.
pub(super) fn view(pair: &SyncPair, options: &SyncOptions, past: &Past, found: &Survey) -> View {
    View {
        mode: pair.mode,
        first_sync: past.first_sync,
        first_sync_winner: past.winner,
        preference_given: options.initial_sync.or(pair.initial_sync).is_some(),
        base: found.base,
        listed: found.listed,
        recognised: found.recognised,
        changed: found.changed,
        root_differs: past.root_differs,
        moved: past.moved,
        exchanged: past.exchanged,
        foreign_marker: past.foreign_marker,
        without_base: !past.has_base,
        is_known: past.last_here.is_some(),
        went_back: if found.went_back { past.rollback.on } else { Sides::new(false, false) },
        strayed: found.strayed,
        preference_late: past.preference_late,
        emptied: found.emptied,
    }
}

pub(super) fn limits(pair: &SyncPair, options: &SyncOptions) -> Limits {
    Limits {
        max_delete: pair.max_delete,
        allow_mass_delete: options.allow_mass_delete,
        allow_empty_side: options.allow_empty_side,
        allow_unseen: options.allow_unseen,
        accept_root: options.accept_root,
        allow_mass_empty: options.allow_mass_empty,
        accept_rollback: options.accept_rollback,
    }
}
