//! Machines and the engine on them: one run, what a crash leaves, and what an undisturbed run must come to.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use syncengine::code::{FailureCode, NoticeCode};
use syncengine::event::Failure;
use syncengine::filter::IGNORE_FILE;
use syncengine::fingerprint::ETag;
use syncengine::mode::AcceptRollback;
use syncengine::state::{BaseRow, FirstSync, Found, StateStore};
use syncengine::{
    ComparisonMode, ConflictStrategy, InitialSyncPreference, Outcome, Report, Side, Sides, SyncEngine,
    SyncMode, SyncOptions, SyncPair,
};

use super::base::Content;
use super::place::{Place, are_alike};
use super::port::{Port, Ports};
use super::rules::RunView;
use super::states::SimStates;
use super::users::excludes;
use super::world::{CASE, Inner, Universe, Weather};

/// What can happen to places, states and clocks between runs; what is noted if it is asked whether it matters, and if it does.
pub(crate) const EVENTS: &[(&str, [&str; 2])] = &[
    ("clocks years off", ["clocks years off, weighed", "clocks years off, that mattered"]),
    ("disks copied", ["disks copied, weighed", "disks copied, that mattered"]),
    ("disks exchanged", ["disks exchanged, weighed", "disks exchanged, that mattered"]),
    (
        "folders overwritten by copies",
        ["folders overwritten by copies, weighed", "folders overwritten by copies, that mattered"],
    ),
    ("markers lost", ["markers lost, weighed", "markers lost, that mattered"]),
    ("places put back", ["places put back, weighed", "places put back, that mattered"]),
    ("states deleted", ["states deleted, weighed", "states deleted, that mattered"]),
    ("states lost", ["states lost, weighed", "states lost, that mattered"]),
    ("states put back", ["states put back, weighed", "states put back, that mattered"]),
    (
        "states of the first schema",
        ["states of the first schema, weighed", "states of the first schema, that mattered"],
    ),
];

/// How a run ended.
#[derive(Debug)]
pub(crate) enum Ended {
    Told(Box<Report>),
    Failed(String),
    /// It crashed, or a panic ended it.
    Gone,
}

/// What a machine's user has set, and its base.
#[derive(Debug)]
pub(crate) struct Owner {
    pub(crate) mode: SyncMode,
    pub(crate) conflict: ConflictStrategy,
    pub(crate) preference: InitialSyncPreference,
    pub(crate) pull: bool,
    pub(crate) compare: ComparisonMode,
    pub(crate) pair: SyncPair,
    pub(crate) states: Arc<SimStates>,
    /// Bases as they were after runs that ended.
    pub(crate) copies: Vec<Content>,
    /// Whether a base was lost, and with it the tags of temporaries.
    pub(crate) has_lost: bool,
}

/// Returns what failed besides names that collide, each of which is told with the one it collides with, or is there; and what has no
/// place because one of them keeps its old name there.
fn beside_collisions<'a>(report: &'a Report, places: &[Place]) -> Vec<&'a Failure> {
    let clashes = |failure: &&Failure| failure.code == FailureCode::NameClash;
    let mut clashing: Vec<&str> =
        report.failures.iter().filter(clashes).map(|failure| failure.path.as_str()).collect();
    clashing.extend(places.iter().flat_map(|place| place.files.keys().map(String::as_str)));
    // By its number or content it may be one of those that collide; the report says that it is held back.
    let is_held = report.warnings.iter().any(|warning| warning.code == NoticeCode::DeletionsHeldBack);
    let is_in_the_way = |path: &str| {
        let is_one = |name: &String| are_below(name, path) || are_below(path, name);
        is_held && !clashing.is_empty() && places.iter().any(|place| place.files.keys().any(is_one))
    };
    let is_collision = |failure: &&Failure| match failure.code {
        FailureCode::NameClash => clashing.iter().any(|other| are_alike(other, &failure.path)),
        FailureCode::NameCollision => true,
        // Deleted by a user in a store where nobody has ever seen it, and only here now.
        FailureCode::Vanished => {
            places.iter().any(|place| !place.is_folder() && place.unlisted.contains_key(&failure.path))
        }
        _ => is_in_the_way(&failure.path),
    };
    report.failures.iter().filter(|failure| !is_collision(failure)).collect()
}

/// Returns whether a name is below another.
fn are_below(name: &str, folder: &str) -> bool {
    name.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// Lets a run come to its end, or to the crash of its machine.
pub(crate) async fn live_through(
    world: &Universe,
    machine: usize,
    run: impl Future<Output = (Report, syncengine::Result<()>)>,
) -> Ended {
    // An hour without an end is a hang.
    let mut run = pin!(tokio::time::timeout(Duration::from_hours(1), AssertUnwindSafe(run).catch_unwind()));
    poll_fn(|context| {
        let polled = run.as_mut().poll(context);
        if world.inner().machines[machine].crashed {
            return Poll::Ready(Ended::Gone);
        }
        polled.map(|ended| match ended {
            Ok(Ok((report, Ok(())))) => Ended::Told(Box::new(report)),
            Ok(Ok((_, Err(error)))) => Ended::Failed(error.chain()),
            Ok(Err(_)) => Ended::Gone,
            Err(_) => Ended::Failed("I-22: the run does not end".into()),
        })
    })
    .await
}

/// All machines and the world they are in.
#[derive(Debug)]
pub(crate) struct Machines {
    pub(crate) world: Arc<Universe>,
    pub(crate) owners: Vec<Owner>,
}

impl Machines {
    /// Sets up a machine for each pair of places of the world.
    pub(crate) fn new(world: &Arc<Universe>, pairs: &[Sides<usize>]) -> Self {
        let owner = |(machine, sides): (usize, &Sides<usize>)| {
            let port = |side: Side| Port { world: Arc::clone(world), machine, place: *sides.get(side) };
            let client = |side: Side| port(side).client();
            Owner {
                mode: SyncMode::TwoWay,
                conflict: ConflictStrategy::NewestWins,
                preference: InitialSyncPreference::Merge,
                pull: true,
                compare: ComparisonMode::default(),
                pair: SyncPair::with_clients(client(Side::Source), client(Side::Destination)),
                states: Arc::new(SimStates::new(port(Side::Source), BTreeMap::new())),
                copies: Vec::new(),
                has_lost: false,
            }
        };
        let owners = pairs.iter().enumerate().map(owner).collect();
        Self { world: Arc::clone(world), owners }
    }

    /// Sets what a machine's pair does.
    pub(crate) fn set(
        &mut self,
        machine: usize,
        mode: SyncMode,
        conflict: ConflictStrategy,
        preference: InitialSyncPreference,
    ) {
        let owner = &mut self.owners[machine];
        (owner.mode, owner.conflict, owner.preference) = (mode, conflict, preference);
        let pair = owner.pair.clone().pull(owner.pull).compare(owner.compare);
        let mut pair = pair.mode(mode).conflict(conflict);
        if mode == SyncMode::TwoWay {
            pair = pair.initial_sync(preference);
        }
        owner.pair = pair;
    }

    /// Returns another world that is as this one is now, and goes its own way.
    fn fork(&self) -> Self {
        let mut inner = self.world.inner().clone();
        inner.log = None;
        let pairs: Vec<Sides<usize>> = inner.machines.iter().map(|machine| machine.sides).collect();
        let mut fork = Self::new(&Arc::new(Universe::of(inner)), &pairs);
        for (machine, of) in self.owners.iter().enumerate() {
            let owner = &mut fork.owners[machine];
            (owner.pull, owner.compare, owner.has_lost) = (of.pull, of.compare, of.has_lost);
            owner.states.replace_all(of.states.contents(), of.states.found());
            fork.set(machine, of.mode, of.conflict, of.preference);
        }
        fork
    }

    /// Returns what an undisturbed run of a machine does and says, in a world of its own.
    async fn outcome(self, machine: usize) -> String {
        self.calm_down();
        match self.run(machine).await {
            Ended::Told(report) => {
                let notices = report.warnings.iter().chain(&report.notes).chain(&report.refused_by);
                let codes: Vec<_> = notices.map(|notice| notice.code).collect();
                format!(
                    "{:?} {:?} {codes:?}",
                    self.world.inner().machines[machine].run.effects,
                    report.counts
                )
            }
            other => format!("{other:?}"),
        }
    }

    /// Lets something happen, and notes of each kind of event that it was whether the next run of a machine would have been
    /// another one without it.
    pub(crate) async fn weigh(&mut self, machine: usize, happen: impl FnOnce(&mut Self)) {
        let (weighs, kinds) = {
            let world = self.world.inner();
            (world.weighs, world.kinds.clone())
        };
        let before = weighs.then(|| self.fork());
        happen(self);
        let Some(before) = before else { return };
        let is_new = |(kind, _): &&(&str, _)| self.world.inner().kinds.get(kind) != kinds.get(kind);
        let new: Vec<_> = EVENTS.iter().filter(is_new).collect();
        if new.is_empty() {
            return;
        }
        let with = self.fork().outcome(machine).await;
        let matters = before.outcome(machine).await != with;
        for (_, [weighed, mattered]) in new {
            let mut world = self.world.inner();
            world.note(weighed);
            if matters {
                world.note(mattered);
            }
        }
    }

    fn view(&self, machine: usize) -> RunView {
        let owner = &self.owners[machine];
        let (record, found) = (owner.states.current().pair_record(), owner.states.found());
        // Of a disk that was taken out during its first sync, and comes back, the first sync goes on.
        let is_begun = |content: &Content| {
            content
                .record
                .as_ref()
                .is_some_and(|record| record.first_sync == FirstSync::Begun(owner.preference))
        };
        let is_waiting = owner.states.contents().values().any(is_begun);
        let world = self.world.inner();
        let sides = world.machines[machine].sides;
        let [source, destination] = Side::BOTH.map(|side| &world.places[*sides.get(side)].markers);
        let acts = match record {
            None => found == Found::Nothing && source.is_disjoint(destination),
            Some(_) => is_waiting,
        };
        RunView {
            mode: owner.mode,
            conflict: owner.conflict,
            copy: Sides::new(owner.pair.allows_download(), owner.pair.allows_upload()),
            has_past: record.is_some(),
            has_winner: acts && owner.mode == SyncMode::TwoWay && owner.preference.winner().is_some(),
            written: world.machines[machine].written,
            rules: Sides::new(world.rules_at(sides.source), world.rules_at(sides.destination)),
            since: world.tick,
            ..RunView::default()
        }
    }

    /// Where the state is lost and no pair has a marker on both sides, nothing is left that could tell of a side that was put back.
    fn give_up_evidence(&self, machine: usize) {
        if self.owners[machine].states.current().pair_record().is_some() {
            return;
        }
        let mut world = self.world.inner();
        let sides = world.machines[machine].sides;
        let pairs = |place: usize| -> BTreeSet<String> {
            let ids = world.places[place].markers.iter().map(|name| name.split('.').next().unwrap_or(name));
            ids.map(str::to_owned).collect()
        };
        if !pairs(sides.source).is_disjoint(&pairs(sides.destination)) {
            return;
        }
        for side in Side::BOTH {
            let place = &mut world.places[*sides.get(side)];
            if place.doubted_by.remove(&machine) {
                place.unseen_by.insert(machine);
            }
        }
    }

    /// Runs the engine once.
    pub(crate) async fn run(&self, machine: usize) -> Ended {
        self.give_up_evidence(machine);
        let view = self.view(machine);
        let owner = &self.owners[machine];
        {
            let mut world = self.world.inner();
            world.note("runs");
            world.tell(|| {
                format!("machine {machine} runs {} {} {}", owner.mode, owner.conflict, owner.preference)
            });
            world.machines[machine].run = view;
            world.see_rules(machine);
            // What a panic left visible the system has written by now.
            for side in Side::BOTH {
                let place = *world.machines[machine].sides.get(side);
                world.places[place].pending.clear();
            }
            world.machines[machine].crashed = false;
        }
        let ports = Arc::new(Ports { world: Arc::clone(&self.world), machine });
        let engine = SyncEngine::new("unused").ports(Arc::clone(&ports) as _, Arc::clone(&ports) as _);
        let engine = engine.states(Arc::clone(&owner.states) as _);
        let mut options = SyncOptions::new().observer(ports);
        options.allow_empty_side = true;
        options.allow_mass_delete = true;
        options.accept_rollback = Some(AcceptRollback::KeepBoth);
        // Whoever exchanges disks knows that they are others.
        let has_disks = self.world.inner().disk.is_some();
        (options.accept_root, options.allow_unseen) = (has_disks, has_disks);
        let run = Box::pin(engine.run(&owner.pair, options));
        let ended = live_through(&self.world, machine, run).await;
        let has_ended = matches!(ended, Ended::Told(_));
        let mut world = self.world.inner();
        let here = &mut world.machines[machine];
        for side in Side::BOTH {
            // One that came to no marker has left the one before; one that could write none, and has told so, knows no more.
            let has_left = *here.written.get(side) && !(has_ended && here.run.effects > 0);
            let is_written = *here.run.marked.get(side) || has_left;
            *here.written.get_mut(side) = *here.run.copy.get(side) && is_written;
        }
        (here.crash_at, here.crashes_in_batch, here.fails_at) = (None, false, None);
        world.tell(|| match &ended {
            Ended::Told(report) => {
                format!("ended {:?} {:?} {:?}", report.outcome, report.counts, report.warnings)
            }
            other => format!("ended {other:?}"),
        });
        if matches!(&ended, Ended::Failed(why) if why.starts_with("I-22")) {
            world.broken("I-22: a run does not end".into());
        }
        ended
    }

    /// Puts right what is to be after a run: what a crash left, and a copy of a base that ended well.
    pub(crate) fn after(&mut self, machine: usize, ended: &Ended, is_power_cut: bool) {
        let state = self.owners[machine].states.current();
        let mut world = self.world.inner();
        let sides = world.machines[machine].sides;
        let owner = &mut self.owners[machine];
        if matches!(ended, Ended::Gone) {
            let mut content = state.content();
            for side in Side::BOTH {
                let place = *sides.get(side);
                let pending = world.places[place].pending.len();
                let kept = if is_power_cut { world.chance.below(pending + 1) } else { pending };
                if world.places[place].cut_power(kept) {
                    world.note("files undone by power cuts");
                }
            }
            if is_power_cut {
                world.note("power cuts");
                let unflushed = state.unflushed();
                let kept = world.chance.below(unflushed + 1);
                content = state.after_power_cut(kept);
            }
            owner.states.set_current(content);
        } else if matches!(ended, Ended::Told(_)) {
            owner.copies.push(state.content());
        }
        for side in Side::BOTH {
            let place = &mut world.places[*sides.get(side)];
            place.back_up();
            let is_own = |_: &String, (by, _): &mut (usize, ETag)| *by == machine;
            let listed: BTreeMap<_, _> = place.listed.extract_if(.., is_own).collect();
            if matches!(ended, Ended::Told(_)) {
                place.unlisted.retain(|name, written| listed.get(name) != Some(written));
            }
            if matches!(ended, Ended::Told(report) if report.outcome == Outcome::Synced) {
                place.doubted_by.remove(&machine);
                place.unseen_by.remove(&machine);
            }
        }
        if matches!(ended, Ended::Told(report) if report.outcome == Outcome::Synced) {
            world.machines[machine].is_put_back = false;
        }
        world.check_owed();
    }

    /// Replaces the base of a machine.
    pub(crate) fn replace_state(&mut self, machine: usize, content: Content, found: Found) {
        let sides = self.world.inner().machines[machine].sides;
        // Its tags are lost too, so that somebody has to clear away what runs left.
        for side in Side::BOTH {
            self.world.inner().places[*sides.get(side)].temporaries.clear();
        }
        let owner = &mut self.owners[machine];
        owner.has_lost = true;
        let mut world = self.world.inner();
        world.has_lost = true;
        world.forget_held();
        drop(world);
        owner.states.replace(content, found);
    }

    /// Ends all disturbances.
    pub(crate) fn calm_down(&self) {
        let mut world = self.world.inner();
        world.weather = Weather::default();
        for place in &mut world.places {
            place.unreadable = None;
            place.pending.clear();
            place.before.clear();
        }
        // Long enough for every stamp to be settled.
        world.pass(Duration::from_secs(5));
    }

    /// A run of the first machine in which nothing happens but that the machine crashes before a call.
    pub(crate) async fn run_to(&mut self, call: u64, is_power_cut: bool) -> Ended {
        self.calm_down();
        {
            let here = &mut self.world.inner().machines[0];
            here.crash_at = Some(here.calls + call);
        }
        let ended = self.run(0).await;
        self.after(0, &ended, is_power_cut);
        ended
    }

    async fn calm_run_through(&mut self, machine: usize) -> Ended {
        self.calm_down();
        let ended = self.run(machine).await;
        self.after(machine, &ended, false);
        ended
    }

    /// An undisturbed run, or two where names collided, and what must be true afterwards.
    pub(crate) async fn calm_run(&mut self, machine: usize) -> Option<Box<Report>> {
        let collided = self.world.inner().collision();
        let mut ended = self.calm_run_through(machine).await;
        let has_rules = !self.world.inner().ruled.is_empty();
        if has_rules {
            // What rules that have only now come over do not exclude any more travels in the next run.
            let effects = self.world.inner().machines[machine].run.effects;
            ended = self.calm_run_through(machine).await;
            self.world.inner().machines[machine].run.effects += effects;
        }
        let collides = self.world.inner().collision();
        if collided.is_some() && collides.is_none() {
            // What made the collision was removed last, and only the next run can use the name.
            if !matches!(ended, Ended::Told(_)) {
                self.world.inner().broken(format!("an undisturbed run ends: {ended:?}"));
            }
            let effects = self.world.inner().machines[machine].run.effects;
            ended = self.calm_run_through(machine).await;
            self.world.inner().machines[machine].run.effects += effects;
        }
        let report = match ended {
            Ended::Told(report) if report.counts.failed == 0 => report,
            Ended::Told(report) => {
                let mut world = self.world.inner();
                let rest = beside_collisions(&report, &world.places);
                if rest.is_empty() {
                    world.note(collides.unwrap_or(CASE));
                } else if world.are_beside_ruled(&rest) {
                    world.note("folders with excluded files in the way");
                } else {
                    world.broken(format!("an undisturbed run fails: {rest:?}"));
                }
                return None;
            }
            other => {
                self.world.inner().broken(format!("an undisturbed run ends: {other:?}"));
                return None;
            }
        };
        // What is a file here and a folder there may wait for its user; names do not.
        if let Some(kind) = collides.filter(|kind| *kind != CASE) {
            self.world.inner().note(kind);
            return None;
        }
        let owner = &self.owners[machine];
        // Whose they are in a copy only the state of the original tells.
        let has_disks = self.world.inner().disk.is_some();
        if !(owner.has_lost || has_disks) && report.outcome != Outcome::Failed {
            let mut world = self.world.inner();
            let sides = world.machines[machine].sides;
            for side in Side::BOTH.into_iter().filter(|side| owner.pair.allows_copy_to(*side)) {
                let left: Vec<_> = world.places[*sides.get(side)].temporaries.keys().cloned().collect();
                if !left.is_empty() {
                    world.broken(format!("temporaries stay: {left:?}"));
                }
            }
        }
        Some(report)
    }

    /// An undisturbed run after which both sides agree as the mode wants it, and another one that does nothing.
    pub(crate) async fn settle(&mut self, machine: usize) {
        let Some(report) = self.calm_run(machine).await else { return };
        self.judge_agreement(machine, &report);
        let trees = self.trees();
        let Some(again) = self.calm_run(machine).await else { return };
        let counts = again.counts;
        let work = counts.uploaded
            + counts.downloaded
            + counts.deleted_source
            + counts.deleted_destination
            + counts.renamed_source
            + counts.renamed_destination;
        let mut world = self.world.inner();
        let effects = world.machines[machine].run.effects;
        drop(world);
        if work + effects > 0 || trees != self.trees() {
            world = self.world.inner();
            world.broken(format!("I-15: a further run does something: {counts:?}, {effects} effects"));
        }
    }

    /// Returns what every place has.
    pub(crate) fn trees(&self) -> Vec<BTreeMap<String, Bytes>> {
        self.world.inner().places.iter().map(Place::tree).collect()
    }

    fn judge_agreement(&self, machine: usize, report: &Report) {
        let owner = &self.owners[machine];
        let mut world = self.world.inner();
        let sides = world.machines[machine].sides;
        let (mut source, mut destination) =
            (world.places[sides.source].tree(), world.places[sides.destination].tree());
        world.drop_ruled(&mut source, owner.mode);
        world.drop_ruled(&mut destination, owner.mode);
        let is_synced = report.outcome == Outcome::Synced;
        let agree = match owner.mode {
            SyncMode::SourceToDestination | SyncMode::DestinationToSource => source == destination,
            _ if !is_synced => report.counts.unresolved > 0,
            SyncMode::TwoWay => source == destination,
            SyncMode::SourceBackup => source.keys().all(|name| destination.contains_key(name)),
            SyncMode::DestinationBackup => destination.keys().all(|name| source.contains_key(name)),
        };
        if !agree {
            let (mode, outcome) = (owner.mode, report.outcome);
            world.broken(format!("I-19: after {mode}, {outcome:?}: {source:?} and {destination:?}"));
        }
        if owner.mode == SyncMode::TwoWay && is_synced {
            let mut rows = owner.states.current().content().rows;
            // The receipt of a deletion says nothing of what the sides have, nor what a run was about to do.
            rows.retain(|_, row| !matches!(row, BaseRow::Deleted(_) | BaseRow::Begun(_)));
            let named: Vec<&str> =
                rows.keys().map(syncengine::Key::as_str).filter(|name| !world.is_ruled(name)).collect();
            let agreed = rows.values().all(|row| matches!(row, BaseRow::Agreed(_)));
            if !agreed || named != source.keys().map(String::as_str).collect::<Vec<_>>() {
                world.broken(format!("I-19: the base has {named:?}, the sides have {:?}", source.keys()));
            }
        }
    }
}

impl Inner {
    /// Returns whether any rule ever excluded a name: it may still be held back, of which the user is told.
    pub(crate) fn is_ruled(&self, name: &str) -> bool {
        self.ruled.iter().any(|pattern| excludes(pattern, name))
    }

    /// Returns whether nothing failed but files in whose place the other side has a folder with excluded files.
    fn are_beside_ruled(&self, failures: &[&Failure]) -> bool {
        let has_ruled = |folder: &str| {
            let below = format!("{folder}/");
            let mut names = self.places.iter().flat_map(|place| place.files.keys());
            names.any(|name| name.starts_with(&below) && self.is_ruled(name))
        };
        // What is excluded is in nobody's plan, and its name is taken all the same.
        let has_alike = |path: &str| {
            let mut names = self.places.iter().flat_map(|place| place.files.keys());
            names.any(|name| self.is_ruled(name) && are_alike(name, path))
        };
        // A file that cannot get its new name keeps the old one.
        let contents = |path: &str| -> Vec<&Bytes> {
            self.places.iter().filter_map(|place| Some(&place.files.get(path)?.content)).collect()
        };
        let blocked = failures.iter().filter(|failure| has_ruled(&failure.path));
        let blocked: Vec<&Bytes> = blocked.flat_map(|failure| contents(&failure.path)).collect();
        let is_old_name = |path: &str| {
            let has_been =
                |content: &&Bytes| self.places.iter().any(|place| place.ever_had_as(path, content));
            contents(path).iter().any(|content| blocked.contains(content)) || blocked.iter().any(has_been)
        };
        // On a disk that came from elsewhere nobody knows whose temporaries are in a folder.
        let is_of_strangers =
            |path: &str| self.disk.is_some() && self.places.iter().any(|place| place.is_folder_of_ours(path));
        failures.iter().all(|failure| {
            let path = &failure.path;
            has_ruled(path) || has_alike(path) || is_old_name(path) || is_of_strangers(path)
        })
    }

    /// Leaves out what need not agree: what rules exclude or did, and in a mirror the receiver's own rules.
    pub(crate) fn drop_ruled(&self, tree: &mut BTreeMap<String, Bytes>, mode: SyncMode) {
        tree.retain(|name, _| !(self.is_ruled(name) || mode.is_mirror() && name == IGNORE_FILE));
    }
}
