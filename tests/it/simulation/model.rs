//! All that can happen to one pair in a few steps, breadth first: edits, runs, kills at every call, backups that are put
//! back, states that are lost, roots that are copied and exchanged, rules, and a second machine.
//!
//! Steps come in *themes*, a handful each, so that eight of them in a row can be tried in every order. Two worlds
//! that differ only in times, ids and numbers are one. What a theme does not come to in its share of worlds, walks
//! of eight steps drawn at random go on with.
//!
//! The judge knows files and what users did, no epoch and no base: every version that somebody wrote is live or in a
//! trash, and nothing is deleted or replaced that nobody deleted or replaced, nor does a deletion come back.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use syncengine::filter::IGNORE_FILE;
use syncengine::mode::AcceptRollback;
use syncengine::{ConflictStrategy, Outcome, Side, Sides, SyncEngine, SyncMode, SyncOptions, SyncPair};

use super::base::Content;
use super::life::on_paused_time;
use super::machines::{Ended, live_through};
use super::place::{File, Ignored, Inodes, Kind, Place};
use super::port::{Port, Ports};
use super::rules::RunView;
use super::states::SimStates;
use super::world::{Inner, Universe, Weather};
use crate::support::Random;

mod judge;
mod shape;
mod themes;

pub(crate) use themes::{THEMES, Theme};

/// What rules say here: that `g` is excluded.
const RULE: &str = "g\n";

/// How many steps a history has at most.
const MOST_STEPS: usize = 8;

const FOLDER: Kind = Kind::Folder { tick: 1, folds: false, inodes: Inodes::Last };
const BUCKET: Kind =
    Kind::Bucket { opaque: false, ignores: Ignored { create: false, replace: false, delete: false } };

const SOURCE: usize = 0;
const DESTINATION: usize = 1;
/// A copy of the destination.
const COPY: usize = 2;
/// The folder of a second machine.
const SECOND: usize = 3;
/// A disk that is not plugged in.
const SHELF: usize = 4;

/// The pairs, one for each port of the world, and the computer each runs on.
const PAIRS: [(Sides<usize>, usize); 3] = [
    (Sides { source: SOURCE, destination: DESTINATION }, 0),
    (Sides { source: SOURCE, destination: COPY }, 0),
    (Sides { source: SECOND, destination: DESTINATION }, 1),
];

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Write(usize, &'static str),
    Delete(usize, &'static str),
    /// What a user last wrote over or deleted in a place is there again, as after `mv` from where it was kept.
    TakeBack(usize, &'static str),
    /// `g` is excluded by the rules of a place.
    Exclude(usize),
    Include(usize),
    Sync(usize),
    /// A run that is killed before a call.
    Kill(usize, u64),
    BackUp(usize),
    PutBack(usize),
    BackUpState,
    PutBackState,
    LoseState,
    /// A rule of the store for old objects, or a person who tidies up.
    LoseMarkers(usize),
    /// The destination is copied to another place.
    CopyRoot,
    /// The disk in the place of the destination is exchanged for the other one.
    Exchange,
    /// The other disk becomes a copy of the one that is plugged in.
    CopyDisk,
}

/// Everything there is at one moment.
#[derive(Debug, Clone)]
struct Moment {
    world: Inner,
    /// What each computer remembers.
    states: [BTreeMap<String, Content>; 2],
    /// A backup of what the first one remembers.
    backup: Option<BTreeMap<String, Content>>,
    /// What users did away with and did not put back: in which root, under which name, and what it was.
    given_up: BTreeSet<(u64, String, Bytes)>,
    /// What users have kept of what they last wrote over or deleted.
    aside: BTreeMap<(usize, String), File>,
    /// What had been given up when the sides of a pair last were equal.
    gone_for_both: BTreeSet<Bytes>,
    /// What runs took from a place, on account of which other.
    carried: BTreeSet<(u64, u64, Bytes)>,
    /// The pairs of roots that have come to rest since anything of them was put back, lost or killed: there no deletion may
    /// come back.
    at_rest: BTreeSet<(u64, u64)>,
    /// Whether rules were taken away, so that some files may still be held back.
    has_widened: bool,
    /// Whether the disk on the shelf was ever synced, so that it is known.
    is_shelf_known: bool,
    history: Vec<Step>,
}

/// How often each kind of thing was tried.
#[derive(Debug, Default)]
pub(crate) struct Tried {
    pub(crate) worlds: usize,
    pub(crate) runs: usize,
    pub(crate) kills: usize,
    pub(crate) deepest: usize,
    pub(crate) wrong: Vec<String>,
}

/// Tries the steps of a theme in every order, up to so many worlds, and goes on with so many walks.
pub(crate) fn explore(theme: &Theme, mode: SyncMode, is_bucket: bool, worlds: usize, walks: usize) -> Tried {
    let mut tried = Tried::default();
    let mut seen = HashSet::new();
    let mut waiting = VecDeque::new();
    let first = Moment::beginning(mode, is_bucket, &mut tried);
    seen.insert(first.shape());
    waiting.push_back(first);
    while let Some(moment) = waiting.pop_front().filter(|_| tried.wrong.len() < 5) {
        if tried.worlds == worlds {
            waiting.push_front(moment);
            break;
        }
        tried.worlds += 1;
        tried.deepest = tried.deepest.max(moment.history.len());
        if moment.history.len() == MOST_STEPS {
            continue;
        }
        for step in theme.steps {
            for next in moment.after(*step, mode, theme.kills, &mut tried) {
                // More than there is a share for would only wait.
                if waiting.len() < worlds && seen.insert(next.shape()) {
                    waiting.push_back(next);
                }
            }
        }
    }
    let mut chance = Random::new(worlds as u64);
    for _ in 0..walks {
        if waiting.is_empty() || tried.wrong.len() >= 5 {
            break;
        }
        let mut moment = waiting[chance.below(waiting.len())].clone();
        while moment.history.len() < MOST_STEPS && tried.wrong.len() < 5 {
            let step = match *chance.pick(theme.steps) {
                Step::Sync(pair) if theme.kills && chance.below(3) == 0 => {
                    Step::Kill(pair, 1 + chance.below(60) as u64)
                }
                step => step,
            };
            if let Some(next) = moment.after(step, mode, false, &mut tried).pop() {
                moment = next;
            }
        }
        tried.deepest = tried.deepest.max(moment.history.len());
    }
    tried
}

impl Moment {
    /// Two files that both sides have, and a state that knows it.
    fn beginning(mode: SyncMode, is_bucket: bool, tried: &mut Tried) -> Self {
        let other = if is_bucket { BUCKET } else { FOLDER };
        let places = [FOLDER, other, other, FOLDER, other].map(Place::new).into();
        let world = Universe::new(1, places, &PAIRS.map(|(sides, _)| sides), false);
        let mut moment = Self {
            world: world.inner().clone(),
            states: Default::default(),
            backup: None,
            given_up: BTreeSet::new(),
            aside: BTreeMap::new(),
            gone_for_both: BTreeSet::new(),
            carried: BTreeSet::new(),
            at_rest: BTreeSet::new(),
            has_widened: false,
            is_shelf_known: false,
            history: Vec::new(),
        };
        let authority = if mode.authority() == Some(Side::Destination) { DESTINATION } else { SOURCE };
        moment.write(authority, "f");
        moment.write(authority, "g");
        let synced = moment.after(Step::Sync(0), mode, false, tried);
        let mut moment = synced.into_iter().next().unwrap_or(moment);
        moment.history.clear();
        moment.aside.clear();
        moment
    }

    fn write(&mut self, at: usize, name: &str) {
        let number = self.world.edits + 10;
        self.world.edits += 1;
        let text = if name == IGNORE_FILE {
            format!("{RULE}# {number:05}\n")
        } else {
            format!("version {number:05}")
        };
        self.give_up(at, name);
        self.given_up.retain(|(_, _, content)| content != text.as_bytes());
        self.world.place_file(at, name, &text);
    }

    fn delete(&mut self, at: usize, name: &str) {
        self.give_up(at, name);
        self.world.delete(at, name);
    }

    fn give_up(&mut self, at: usize, name: &str) {
        let Some(old) = self.world.places[at].files.get(name).cloned() else { return };
        let root = self.world.places[at].root;
        self.given_up.insert((root, name.to_owned(), old.content.clone()));
        self.aside.insert((at, name.to_owned()), old);
    }

    fn take_back(&mut self, at: usize, name: &str) {
        let Some(old) = self.aside.remove(&(at, name.to_owned())) else { return };
        self.give_up(at, name);
        self.aside.remove(&(at, name.to_owned()));
        let root = self.world.places[at].root;
        // What the other side did before the two were equal was done before this.
        let is_last = self.gone_for_both.remove(&old.content);
        self.given_up.retain(|(place, _, content)| (*place != root && !is_last) || *content != old.content);
        self.world.put(at, name, old.content, old.modified, old.inode);
        self.world.pass(std::time::Duration::from_secs(3));
    }

    /// Returns the worlds in which a step can end.
    fn after(&self, step: Step, mode: SyncMode, kills: bool, tried: &mut Tried) -> Vec<Self> {
        let mut next = self.clone();
        next.history.push(step);
        let has = |at: usize, name: &str| self.world.places[at].files.contains_key(name);
        let is_possible = match step {
            Step::Write(at, _) | Step::Exclude(at) => {
                at != COPY || !self.world.places[COPY].markers.is_empty()
            }
            Step::Delete(at, name) => has(at, name),
            Step::TakeBack(at, name) => self.aside.contains_key(&(at, name.to_owned())),
            Step::Include(at) => has(at, IGNORE_FILE),
            Step::BackUp(at) => self.world.places[at].moments.is_empty(),
            Step::PutBack(at) => !self.world.places[at].moments.is_empty(),
            Step::BackUpState => self.backup.is_none(),
            Step::PutBackState => self.backup.is_some(),
            Step::LoseState => !self.states[0].is_empty(),
            Step::LoseMarkers(at) => !self.world.places[at].markers.is_empty(),
            Step::CopyRoot => self.world.places[COPY].markers.is_empty(),
            Step::CopyDisk => self.world.places[SHELF].files.is_empty() && !self.is_shelf_known,
            Step::Sync(1) => !self.world.places[COPY].markers.is_empty(),
            Step::Exchange | Step::Sync(_) | Step::Kill(..) => true,
        };
        if !is_possible {
            return Vec::new();
        }
        match step {
            Step::Write(at, name) => next.write(at, name),
            Step::Exclude(at) => next.write(at, IGNORE_FILE),
            Step::Delete(at, name) => next.delete(at, name),
            Step::TakeBack(at, name) => next.take_back(at, name),
            Step::Include(at) => {
                next.delete(at, IGNORE_FILE);
                next.has_widened = true;
            }
            Step::BackUp(at) => next.world.places[at].back_up(),
            Step::PutBack(at) => next.put_back(at),
            Step::BackUpState => next.backup = Some(next.states[0].clone()),
            Step::PutBackState => {
                next.states[0] = next.backup.clone().unwrap_or_default();
                next.at_rest.clear();
            }
            Step::LoseState => {
                next.states[0].clear();
                next.at_rest.clear();
            }
            Step::LoseMarkers(at) => {
                next.world.places[at].markers.clear();
                next.disturb(at);
            }
            Step::CopyRoot => next.world.copy_root(DESTINATION, COPY),
            Step::CopyDisk => next.world.copy_root(DESTINATION, SHELF),
            Step::Exchange => {
                next.world.places.swap(DESTINATION, SHELF);
                next.is_shelf_known = true;
            }
            Step::Sync(pair) => return next.synced(pair, mode, kills, tried),
            Step::Kill(pair, call) => {
                let then = next.clone();
                let (_, ended) = next.run(pair, mode, Some(call), tried);
                next.after_kill(pair, &ended);
                next.judge(&then, pair, mode, &ended, tried);
            }
        }
        vec![next]
    }

    fn put_back(&mut self, at: usize) {
        let before: BTreeSet<Bytes> = self.world.places[at].tree().into_values().collect();
        self.world.put_back_to(at, 0);
        self.disturb(at);
        // Whoever puts back a version that was gone wants it again: where a run took it, whatever was done at the other side
        // of that run, and otherwise as if it never had been taken away here.
        let back = self.world.places[at].tree().into_iter().filter(|(_, content)| !before.contains(content));
        let root = self.world.places[at].root;
        for (name, content) in back {
            if !self.given_up.remove(&(root, name, content.clone())) {
                let carried = &self.carried;
                self.given_up.retain(|(place, _, other)| {
                    !carried.contains(&(root, *place, other.clone())) || *other != content
                });
            }
        }
    }

    /// Something happens to a place that nobody may have noticed.
    fn disturb(&mut self, at: usize) {
        let root = self.world.places[at].root;
        self.at_rest.retain(|(source, destination)| *source != root && *destination != root);
    }

    /// Returns the roots of a pair.
    fn roots(&self, pair: usize) -> (u64, u64) {
        let (sides, _) = PAIRS[pair];
        (self.world.places[sides.source].root, self.world.places[sides.destination].root)
    }

    fn after_kill(&mut self, pair: usize, ended: &Ended) {
        if matches!(ended, Ended::Gone) {
            let roots = self.roots(pair);
            self.at_rest.remove(&roots);
        }
    }

    /// Runs a pair undisturbed, and once killed before each of its calls.
    fn synced(mut self, pair: usize, mode: SyncMode, kills: bool, tried: &mut Tried) -> Vec<Self> {
        let then = self.clone();
        let (calls, ended) = self.run(pair, mode, None, tried);
        self.judge(&then, pair, mode, &ended, tried);
        let settled = self.clone();
        let mut again = self.clone();
        let (_, twice) = again.run(pair, mode, None, tried);
        again.judge(&settled, pair, mode, &twice, tried);
        let effects = again.world.machines[pair].run.effects;
        if effects > 0 && matches!(&ended, Ended::Told(report) if report.outcome == Outcome::Synced) {
            self.wrong(&format!("a second run does something: {effects} effects"), tried);
        }
        let mut all = vec![self];
        for call in (1..=calls).filter(|_| kills) {
            let mut killed = then.clone();
            killed.history.pop();
            killed.history.push(Step::Kill(pair, call));
            let (_, ended) = killed.run(pair, mode, Some(call), tried);
            tried.kills += 1;
            killed.after_kill(pair, &ended);
            killed.judge(&then, pair, mode, &ended, tried);
            all.push(killed);
        }
        all
    }

    /// Runs a pair, which is killed before a call if one is named. Returns how many calls there were.
    fn run(&mut self, pair: usize, mode: SyncMode, kill_at: Option<u64>, tried: &mut Tried) -> (u64, Ended) {
        tried.runs += 1;
        let (_, computer) = PAIRS[pair];
        let world = Arc::new(Universe::of(self.world.clone()));
        let (ended, contents) =
            on_paused_time(run_engine(&world, pair, mode, kill_at, &self.states[computer]));
        self.world = world.inner().clone();
        self.states[computer] = contents;
        for place in &mut self.world.places {
            place.pending.clear();
            place.before.clear();
        }
        // Long enough for every stamp to be settled.
        self.world.pass(std::time::Duration::from_secs(5));
        let here = &mut self.world.machines[pair];
        (here.crash_at, here.crashed) = (None, false);
        (std::mem::take(&mut here.calls), ended)
    }
}

/// Runs the engine in a world once. Returns how it ended and what the computer remembers.
async fn run_engine(
    world: &Arc<Universe>,
    pair: usize,
    mode: SyncMode,
    kill_at: Option<u64>,
    states: &BTreeMap<String, Content>,
) -> (Ended, BTreeMap<String, Content>) {
    let (sides, _) = PAIRS[pair];
    let port = |side: Side| Port { world: Arc::clone(world), machine: pair, place: *sides.get(side) };
    let client = |side: Side| port(side).client();
    let synced = SyncPair::with_clients(client(Side::Source), client(Side::Destination))
        .mode(mode)
        .conflict(ConflictStrategy::KeepBoth);
    {
        let mut world = world.inner();
        let copy = Sides::new(synced.allows_download(), synced.allows_upload());
        let (since, conflict) = (world.tick, ConflictStrategy::KeepBoth);
        world.weather = Weather::default();
        let here = &mut world.machines[pair];
        here.run = RunView { mode, conflict, copy, since, ..RunView::default() };
        (here.calls, here.crash_at) = (0, kill_at);
    }
    let states = Arc::new(SimStates::new(port(Side::Source), states.clone()));
    let ports = Arc::new(Ports { world: Arc::clone(world), machine: pair });
    let engine = SyncEngine::new("unused").ports(Arc::clone(&ports) as _, Arc::clone(&ports) as _);
    let engine = engine.states(Arc::clone(&states) as _);
    let mut options = SyncOptions::new().observer(ports);
    // Whoever is asked says yes: the judge is not about what the guards would have kept back.
    options.allow_empty_side = true;
    options.allow_mass_delete = true;
    options.allow_unseen = true;
    options.accept_root = true;
    options.accept_rollback = Some(AcceptRollback::KeepBoth);
    let ended = live_through(world, pair, Box::pin(engine.run(&synced, options))).await;
    (ended, states.contents())
}
