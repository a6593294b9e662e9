//! What the state says about a run: its base, whether it is a first sync, and what its sides' markers tell.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::epoch::LastHere;
use super::prepare::Prepared;
use super::which::Which;
use super::{SyncEngine, SyncOptions, epoch, order, which};
use crate::code::NoticeCode;
use crate::entry::Timestamp;
use crate::error::Result;
use crate::event::Event;
use crate::key::escape;
use crate::marker::{self, Marks};
use crate::mode::{InitialSyncPreference, SyncMode};
use crate::notice::Notice;
use crate::pair::SyncPair;
use crate::plan::rollback::Rollback;
use crate::report::Recorder;
use crate::side::{Side, Sides};
use crate::state::{Access, FirstSync, Found, Opened, PairLock, PairRecord, RecordTail, StateStore, Wanted};

/// The clock shows a time that cannot be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Jump {
    /// What a store says it is, where that is far from what the clock shows.
    pub(super) store: Option<Timestamp>,
}

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
    /// Which sides were put back to an earlier state, as far as their markers tell.
    pub(super) rollback: Rollback,
    /// Whether the user named a winner although the base was lost and a side went back.
    pub(super) preference_late: bool,
    /// The local roots that are other folders than last time.
    pub(super) root_differs: Sides<bool>,
    /// The sides that were moved since.
    pub(super) moved: Sides<bool>,
    /// Those whose roots are others, and that lack the marker of the pair or carry an older one: other folders in the place of the ones that
    /// were synced, which may come back.
    pub(super) exchanged: Sides<bool>,
    /// Whether nothing was remembered of the pair.
    pub(super) is_new: bool,
    /// Whether more is remembered than the beginning of a first sync.
    pub(super) has_base: bool,
    /// The pair and the machine that synced like this last, by the marker of the receiving side, if there is no base.
    pub(super) last_here: Option<LastHere>,
    /// The markers as they were when the run began.
    pub(super) marks: Sides<Marks>,
    /// The epoch this run has begun with.
    pub(super) started: Option<u64>,
    /// Set if the clock shows a time that cannot be.
    pub(super) jump: Option<Jump>,
    /// Whether the user was told that a marker could not be written.
    pub(super) warned_of_marker: bool,
    /// The conflicts of this run that it could not settle as the strategy says.
    pub(super) waiting: BTreeSet<String>,
    /// The tag of this run, once it has begun.
    pub(super) tag: Option<u32>,
    /// The name of its folder in the trash.
    pub(super) trash_run: Option<String>,
    /// Keeps other runs of the pair out for as long as it lives.
    pub(super) lock: PairLock,
}

impl Past {
    /// Tells the clients what earlier runs have learnt of their trees.
    pub(super) fn warn_clients(&self, prepared: &Prepared) {
        let without = self.record.tail.without_inodes();
        for side in Side::BOTH.into_iter().filter(|side| *without.get(*side)) {
            prepared.clients.get(side).distrust_inodes();
        }
        if let Some(last) = self.record.last_sync_seconds {
            for side in Side::BOTH {
                prepared.clients.get(side).note_last_run(Timestamp::new(last, 0));
            }
        }
    }

    /// Remembers on which sides inode numbers turned out not to last.
    pub(super) fn learn(&mut self, renumbered: Sides<bool>) {
        let known = self.record.tail.without_inodes();
        let now = Sides::new(known.source || renumbered.source, known.destination || renumbered.destination);
        if now != known {
            self.record.tail.set_without_inodes(now);
        }
    }

    /// Returns the name of this run's folder in the trash, once it has begun.
    pub(super) fn trash_run(&self) -> Option<String> {
        self.trash_run.clone()
    }
}

impl SyncEngine {
    /// Opens the base and finds out whether this is a first sync.
    pub(super) async fn recall(
        &self,
        pair: &SyncPair,
        options: &SyncOptions,
        prepared: &Prepared,
        access: Access,
        recorder: &Recorder,
    ) -> Result<Past> {
        let mut which = self.which(pair, prepared).await?;
        // Before anything is made for the order given.
        if self.are_turned(&which, prepared).await? {
            return Err(order::turned_round(pair, options));
        }
        let wanted = Wanted { locations: prepared.identities(), found: which.found.clone() };
        let Opened { store: state, mut found, lock } = self.all_states().open(wanted, access).await?;
        self.warn_of_exposure(recorder).await;
        which::tell(&which, prepared, recorder);
        let record = state.pair_record();
        let read = std::mem::take(&mut which.marks);
        let marks = self.all_marks(read, record.is_none(), pair, prepared).await?;
        let common = if record.is_none() { marker::common(&marks) } else { None };
        let foreign_marker = record.is_none() && is_shared(&which, &marks);
        // A copy has another past than what it is a copy of, but its marker tells how old it is.
        if common.is_some() && which.copy.is_none() && found == Found::Nothing {
            let why = "both sides carry the marker of an earlier sync, but no state was found".into();
            found = Found::Lost { why };
        }
        let differs = record.as_ref().map(|record| root_differs(record, prepared)).unwrap_or_default();
        let mut rollback = epoch::rollback(
            (pair, options),
            (record.as_ref(), which.copied_id().or(common.as_deref()), differs),
            &marks,
            prepared,
            recorder,
        )
        .await?;
        tell_of_loss(&found, recorder);
        let begun = record.as_ref().map(|record| record.first_sync);
        let Preferred { preference, first_sync, winner, is_spent } = preferred(
            pair,
            options,
            begun,
            record.is_none() && found == Found::Nothing && !rollback.is_total,
        );
        let preference_late = is_spent && record.is_none() && rollback.is_total;
        if is_spent && !preference_late {
            tell_of_spent(preference, recorder);
        }
        if let Some(record) = &record {
            self.tell_of_other_state(record, &marks, prepared, recorder).await?;
        }
        let is_new = record.is_none();
        let has_base = begun == Some(FirstSync::Spent);
        let is_met = has_base || which.copy.is_some();
        let last_here = if is_met { None } else { self.last_here(pair, prepared, &marks).await? };
        self.tell_of_others(last_here.as_ref(), recorder);
        let known = self.known_id((common, last_here.as_ref()), &which, &marks, prepared).await?;
        let first = if first_sync { FirstSync::Begun(preference) } else { FirstSync::Spent };
        let id = || known.unwrap_or_else(|| self.new_pair_id());
        let mut record = record.unwrap_or_else(|| new_record(id(), first, pair, prepared));
        begin(self.clock.now(), &mut record);
        let exchanged = note_exchanged(&mut rollback, strange(&record, &marks, differs));
        // Where a side carries no marker only its number says that it was moved, and another folder can have that by now.
        let is_unsure = |side| *which.moved.get(side) && !pair.allows_copy_to(side);
        let differs = |side| *differs.get(side) || is_unsure(side);
        let root_differs = Sides::new(differs(Side::Source), differs(Side::Destination));
        Ok(Past {
            state,
            record,
            first_sync,
            winner,
            foreign_marker,
            rollback,
            preference_late,
            root_differs,
            moved: which.moved,
            exchanged,
            is_new,
            has_base,
            last_here,
            marks,
            started: None,
            jump: None,
            warned_of_marker: false,
            waiting: BTreeSet::new(),
            tag: None,
            trash_run: None,
            lock,
        })
    }

    /// Returns the id under which a pair without a state goes on: that of the markers that this machine has written for these
    /// two places, or of who has made this sync last. A copy has none.
    async fn known_id(
        &self,
        (common, last): (Option<String>, Option<&LastHere>),
        which: &Which,
        marks: &Sides<Marks>,
        prepared: &Prepared,
    ) -> Result<Option<String>> {
        if which.copy.is_some() {
            return Ok(None);
        }
        if let Some(id) = common
            && self.has_marked(&id, marks, prepared).await?
        {
            return Ok(Some(id));
        }
        Ok(last.map(|last| last.pair_id.clone()))
    }

    /// Tells if another machine has made this sync before.
    fn tell_of_others(&self, last: Option<&LastHere>, recorder: &Recorder) {
        if let Some(last) = last.filter(|last| last.machine != self.machine) {
            let shown = escape(last.machine.as_bytes());
            let message = format!("another machine, `{shown}`, has made this sync before");
            recorder.emit(&Event::Warned(Notice::new(NoticeCode::OtherMachine, message, String::new())));
        }
    }

    /// Whoever can change the base decides what is taken for deleted.
    async fn warn_of_exposure(&self, recorder: &Recorder) {
        if self.states.is_some() {
            return;
        }
        let Some(why) = crate::state::exposure(self.state_dir.clone()).await else { return };
        let dir = escape(self.state_dir.as_os_str().as_encoded_bytes());
        let message = format!("the state directory `{dir}` {why}");
        let hint = "whoever changes the state decides what is deleted; give it a directory of your own";
        recorder.emit(&Event::Warned(Notice::new(NoticeCode::StateExposed, message, hint)));
    }

    /// Returns the markers of the sides that count, reading those that were not read yet.
    async fn all_marks(
        &self,
        read: Sides<Option<Marks>>,
        is_new: bool,
        pair: &SyncPair,
        prepared: &Prepared,
    ) -> Result<Sides<Marks>> {
        let is_wanted =
            |side: Side| is_new || pair.allows_copy_to(side) || prepared.listed.get(side).is_folder();
        let is_missing = |side: &Side| read.get(*side).is_none() && is_wanted(*side);
        let missing: Vec<Side> = Side::BOTH.into_iter().filter(is_missing).collect();
        let mut marks = epoch::read_marks(prepared, missing.into_iter()).await?;
        let Sides { source, destination } = read;
        for (side, known) in [(Side::Source, source), (Side::Destination, destination)] {
            if let Some(known) = known {
                *marks.get_mut(side) = known;
            }
        }
        Ok(marks)
    }

    pub(super) fn new_pair_id(&self) -> String {
        format!("{:016x}{:016x}", self.entropy.next_u64(), self.entropy.next_u64())
    }
}

/// Returns on which sides a folder is in the place of the one that the base knows: another one, without its marker or with
/// an older one.
fn strange(record: &PairRecord, marks: &Sides<Marks>, root_differs: Sides<bool>) -> Sides<bool> {
    let is_strange = |side| {
        let shown = marks.get(side).highest(&record.pair_id);
        *root_differs.get(side) && shown < epoch::known(record, side, root_differs)
    };
    Sides::new(is_strange(Side::Source), is_strange(Side::Destination))
}

/// Notes that other folders are in the place of those that the base knows. Returns on which of these sides one went back by its
/// marker too.
fn note_exchanged(rollback: &mut Rollback, strange: Sides<bool>) -> Sides<bool> {
    let is_strange = |side| *strange.get(side) || *rollback.exchanged.get(side);
    rollback.exchanged = Sides::new(is_strange(Side::Source), is_strange(Side::Destination));
    let is_exchanged = |side| *strange.get(side) && *rollback.on.get(side);
    Sides::new(is_exchanged(Side::Source), is_exchanged(Side::Destination))
}

/// Returns whether the destination is another pair's too.
fn is_shared(which: &Which, marks: &Sides<Marks>) -> bool {
    which.copy.is_some() || !marks.destination.pairs().is_subset(&marks.source.pairs())
}

fn tell_of_spent(preference: InitialSyncPreference, recorder: &Recorder) {
    let message = format!("--initial-sync {preference} has no effect: this pair has been synced before");
    recorder.emit(&Event::Noted(Notice::new(NoticeCode::PreferenceSpent, message, String::new())));
}

/// What becomes of a first-sync preference.
struct Preferred {
    preference: InitialSyncPreference,
    /// No base and no trace of one, or a first sync that was cut off with the same preference.
    first_sync: bool,
    winner: Option<Side>,
    /// Whether a winner is named in vain.
    is_spent: bool,
}

fn preferred(
    pair: &SyncPair,
    options: &SyncOptions,
    begun: Option<FirstSync>,
    is_unknown: bool,
) -> Preferred {
    let preference = options.initial_sync.or(pair.initial_sync).unwrap_or_default();
    let first_sync = is_unknown || matches!(begun, Some(FirstSync::Begun(begun)) if begun == preference);
    let acts = first_sync && pair.mode == SyncMode::TwoWay;
    let winner = preference.winner().filter(|_| acts);
    let is_spent = !acts && pair.mode == SyncMode::TwoWay && preference.winner().is_some();
    Preferred { preference, first_sync, winner, is_spent }
}

/// Returns what is remembered of a pair before its first run.
fn new_record(pair_id: String, first_sync: FirstSync, pair: &SyncPair, prepared: &Prepared) -> PairRecord {
    PairRecord {
        pair_id,
        locations: prepared.identities(),
        mode: pair.mode,
        first_sync,
        marked: false,
        roots: Sides::new(None, None),
        run_tags: Vec::new(),
        last_sync_seconds: None,
        tail: RecordTail::default(),
    }
}

fn tell_of_loss(found: &Found, recorder: &Recorder) {
    let Found::Lost { why } = found else { return };
    let message = format!(
        "the state of this pair was lost: {why}; going on as if never synced, deleting nothing that a mirror would not"
    );
    let hint = "a first-sync preference does not act, and rules count as they are now; check the result, conflicts are possible";
    recorder.emit(&Event::Warned(Notice::new(NoticeCode::StateLost, message, hint)));
}

/// Returns on which sides the local root is another folder than the one that is remembered.
fn root_differs(record: &PairRecord, prepared: &Prepared) -> Sides<bool> {
    let differs = |side| match (record.roots.get(side), prepared.roots.get(side)) {
        (Some(then), Some(now)) => !now.is_still(then),
        _ => false,
    };
    Sides::new(differs(Side::Source), differs(Side::Destination))
}

/// Says when the pair began, if nobody has.
fn begin(now: Timestamp, record: &mut PairRecord) {
    if record.tail.began().is_none() {
        record.tail.set_began(record.last_sync_seconds.unwrap_or(now.seconds));
    }
}
