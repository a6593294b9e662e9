//! The simulated world: time, chance, the places files are in, the machines that sync them, and what happened.
//!
//! Everything comes from one seed. Each call of a port is a *tick*: time passes, users may edit, the machine may
//! crash, and the calls of other operations may come in between. The world remembers every call as one number
//! (its trace), so that two lives of one seed can be compared.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use syncengine::{Side, Sides, Timestamp};

use super::place::{Inodes, Kind, Place, prefixes};
use super::rules::{Held, RunView};
use crate::support::Random;

/// The moment at which every world begins, in seconds since 1970.
const BEGINNING: i64 = 1_700_000_000;

/// A clock that jumps comes into an age in which it never was, days from the others, so that no stamp is ever
/// given twice. All ages lie within the 30 days that trash is kept.
const AGES: [i64; 9] = [0, 3, -3, 6, -6, 9, -9, 12, -12];

const DAY: i64 = 86_400;

/// How often things happen, of 1,000 ticks or calls.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Weather {
    pub(crate) edits: usize,
    pub(crate) faults: usize,
    /// Pieces of a version that come with a bit flipped.
    pub(crate) flips: usize,
    /// Faults of the state.
    pub(crate) state: usize,
    pub(crate) panics: usize,
    pub(crate) jumps: usize,
    pub(crate) pauses: usize,
    /// Whether listings of stores show what was there a moment ago.
    pub(crate) stale: bool,
}

/// The kind of collision that is between names which differ in the case of letters only.
pub(crate) const CASE: &str = "names that differ by case";

/// What can go wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// A fault that passes.
    Passes,
    /// It is refused for good.
    Refused,
    /// An error of the system below.
    System,
    /// It is done, but nobody says so.
    AnswerLost,
    Panic,
}

impl Trouble {
    pub(crate) const ALL: [Self; 5] =
        [Self::Passes, Self::Refused, Self::System, Self::AnswerLost, Self::Panic];
}

/// A computer on which the engine runs for one pair of places.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) sides: Sides<usize>,
    pub(crate) run: RunView,
    /// What each side's own rules keep at it.
    pub(crate) held: Sides<Held>,
    pub(crate) calls: u64,
    pub(crate) crash_at: Option<u64>,
    /// Whether it crashes as soon as something is visible that is not durable.
    pub(crate) crashes_in_batch: bool,
    /// The call at which something goes wrong, and what.
    pub(crate) fails_at: Option<(u64, Trouble)>,
    pub(crate) crashed: bool,
    /// The sides that the mode of the last run has written to, so that their markers are new.
    pub(crate) written: Sides<bool>,
    /// Whether its state was put back to an earlier one, and it has not come to rest since.
    pub(crate) is_put_back: bool,
    /// The conflicts that a run has told its user and left to him, since a side was last put back.
    pub(crate) left_to_user: BTreeSet<String>,
    /// What its clock shows beyond the world's time, in seconds.
    pub(crate) skew: i64,
    entropy: Random,
}

impl Machine {
    pub(crate) fn new(sides: Sides<usize>, seed: u64) -> Self {
        Self {
            sides,
            run: RunView::default(),
            held: Sides::default(),
            calls: 0,
            crash_at: None,
            crashes_in_batch: false,
            fails_at: None,
            crashed: false,
            written: Sides::new(false, false),
            is_put_back: false,
            left_to_user: BTreeSet::new(),
            skew: 0,
            entropy: Random::new(seed ^ 0x5eed),
        }
    }

    /// Returns which side of this machine's pair `place` is.
    pub(crate) fn side_of(&self, place: usize) -> Side {
        if self.sides.source == place { Side::Source } else { Side::Destination }
    }
}

/// Gives places the numbers of their roots.
fn numbered(mut places: Vec<Place>) -> Vec<Place> {
    for (place, root) in places.iter_mut().zip(2..) {
        place.root = root;
    }
    places
}

/// What a call has to wait for.
enum Pause {
    Nothing,
    OthersFirst,
    Milliseconds(u64),
    ForEver,
}

/// What becomes of a folder.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Disk {
    /// It is taken out, and the one on the shelf is put in its place; both are places.
    Exchanged { at: usize, shelf: usize },
    /// It becomes a copy of the folder of another machine.
    Overwritten { at: usize, from: usize },
}

#[derive(Debug, Clone)]
pub(crate) struct Inner {
    pub(crate) chance: Random,
    /// Chance for what was added later, so that old seeds go on to mean what they did; `None` where they do.
    pub(crate) odd: Option<Random>,
    /// Chance for the disks of this life, and a place where folders are, if there are any to be exchanged or copied.
    pub(crate) disk: Option<(Random, Disk)>,
    /// Whether it is asked of each event if it matters.
    pub(crate) weighs: bool,
    /// Whether users write rules.
    pub(crate) has_rules: bool,
    /// One of so many edits is one of rules, if there are any.
    pub(crate) rules_in: usize,
    /// What any rule ever excluded, as it is written.
    pub(crate) ruled: BTreeSet<&'static str>,
    /// The names of which a run has recorded that both sides agree.
    pub(crate) agreed: BTreeSet<String>,
    /// Whether the state of a machine was lost.
    pub(crate) has_lost: bool,
    /// Whether the state was that of an earlier release, which knows nothing of what was put back before.
    pub(crate) was_converted: bool,
    pub(crate) places: Vec<Place>,
    pub(crate) machines: Vec<Machine>,
    pub(crate) weather: Weather,
    pub(crate) kinds: BTreeMap<&'static str, u64>,
    /// What happened, in words; only if somebody will read it.
    pub(crate) log: Option<Vec<String>>,
    /// Promises that were broken.
    pub(crate) broken: Vec<String>,
    /// Contents that users wrote, ever.
    pub(crate) written: BTreeSet<Bytes>,
    /// Contents that may not be lost: those no user did away with.
    pub(crate) owed: BTreeSet<Bytes>,
    /// Contents that users deleted, replaced or renamed, anywhere.
    pub(crate) given_up: BTreeSet<Bytes>,
    pub(crate) tick: u64,
    pub(crate) edits: u32,
    trace: u64,
    nanoseconds: u64,
    ages: usize,
    inodes: u64,
}

/// The world, shared by all that happens in it.
#[derive(Debug)]
pub(crate) struct Universe(Mutex<Inner>);

impl Universe {
    pub(crate) fn new(seed: u64, places: Vec<Place>, pairs: &[Sides<usize>], is_told: bool) -> Self {
        let number = |index: usize| u64::try_from(index).unwrap();
        let machines =
            pairs.iter().enumerate().map(|(at, pair)| Machine::new(*pair, seed ^ (number(at) << 32)));
        Self(Mutex::new(Inner {
            chance: Random::new(seed),
            odd: None,
            disk: None,
            weighs: false,
            has_rules: false,
            rules_in: 6,
            ruled: BTreeSet::new(),
            agreed: BTreeSet::new(),
            has_lost: false,
            was_converted: false,
            places: numbered(places),
            machines: machines.collect(),
            weather: Weather::default(),
            kinds: BTreeMap::new(),
            log: is_told.then(Vec::new),
            broken: Vec::new(),
            written: BTreeSet::new(),
            owed: BTreeSet::new(),
            given_up: BTreeSet::new(),
            tick: 1,
            edits: 0,
            trace: 0xcbf2_9ce4_8422_2325,
            nanoseconds: 0,
            ages: 0,
            inodes: 100,
        }))
    }

    /// Returns a world that goes on from what another one has come to.
    pub(crate) fn of(inner: Inner) -> Self {
        Self(Mutex::new(inner))
    }

    pub(crate) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the world go on between two steps of a port. A crashed machine never comes back from here.
    pub(crate) async fn tick(&self, machine: usize, place: usize, verb: &'static str, name: &str) {
        let pause = self.inner().step(machine, place, verb, name);
        match pause {
            Pause::Nothing => {}
            Pause::OthersFirst => tokio::task::yield_now().await,
            Pause::Milliseconds(count) => {
                tokio::time::sleep(Duration::from_millis(count)).await;
                self.inner().pass(Duration::from_millis(count));
            }
            Pause::ForEver => std::future::pending().await,
        }
        let has_crashed = self.inner().machines[machine].crashed;
        if has_crashed {
            std::future::pending::<()>().await;
        }
    }

    pub(crate) fn random(&self, machine: usize) -> u64 {
        self.inner().machines[machine].entropy.next()
    }
}

impl Inner {
    fn step(&mut self, machine: usize, place: usize, verb: &'static str, name: &str) -> Pause {
        if self.machines[machine].crashed {
            return Pause::ForEver;
        }
        self.tick += 1;
        self.mix(verb.as_bytes());
        self.mix(name.as_bytes());
        self.mix(&[u8::try_from(machine * 16 + place).unwrap()]);
        let here = &mut self.machines[machine];
        here.calls += 1;
        let is_due =
            here.crash_at == Some(here.calls) || here.crashes_in_batch && self.places[place].is_unfinished();
        if is_due {
            self.machines[machine].crashed = true;
            self.note("crashes");
            self.tell(|| format!("machine {machine} crashes before {verb} {name}"));
            return Pause::ForEver;
        }
        if let Some(log) = &mut self.log {
            log.push(format!("    {}: {verb} {name} at place {place}", self.tick));
        }
        let weather = self.weather;
        self.pass(Duration::from_micros(10));
        if self.falls(weather.pauses) {
            let passed = *self.chance.pick(&[0, 1_000, 3_000_000, 25_000_000, 1_200_000_000, 2_500_000_000]);
            self.pass(Duration::from_nanos(passed));
        }
        if self.falls(weather.jumps) {
            self.jump(machine);
        }
        if self.falls(weather.edits) {
            self.note("edits during runs");
            if self.chance.below(2) == 0 {
                self.strike(place, name);
            } else {
                let at = self.chance.below(self.places.len());
                self.edit(at);
            }
        }
        if !self.falls(weather.pauses) {
            return Pause::Nothing;
        }
        match self.chance.below(3) {
            0 => Pause::OthersFirst,
            _ => Pause::Milliseconds(u64::try_from(self.chance.below(40)).unwrap()),
        }
    }

    /// Draws whether something that happens so often of 1,000 happens now.
    pub(crate) fn falls(&mut self, per_thousand: usize) -> bool {
        per_thousand > 0 && self.chance.below(1000) < per_thousand
    }

    /// Draws whether one of so many odd things happens now.
    pub(crate) fn is_odd(&mut self, of: usize) -> bool {
        self.odd.as_mut().is_some_and(|odd| odd.below(of) == 0)
    }

    /// In some lives there is another disk for a folder: an empty one, or later a copy of the one that is in. Where two
    /// machines have folders, one may be copied over the other.
    pub(crate) fn put_on_the_shelf(&mut self, seed: u64) {
        let mut chance = Random::new(seed ^ 0x0d15_c0de);
        let is_folder = |at: &usize| self.places[*at].is_folder();
        let folders: Vec<usize> = (0..self.places.len()).filter(is_folder).collect();
        if folders.is_empty() || chance.below(3) > 0 {
            return;
        }
        if self.machines.len() > 1 {
            let (at, from) = (self.machines[1].sides.source, self.machines[0].sides.source);
            self.disk = Some((chance, Disk::Overwritten { at, from }));
            return;
        }
        let at = *chance.pick(&folders);
        let shelf = self.places.len();
        let mut disk = Place::new(self.places[at].kind);
        disk.root = self.next_inode();
        self.places.push(disk);
        self.disk = Some((chance, Disk::Exchanged { at, shelf }));
    }

    /// Disks are exchanged, or folders copied, in some steps.
    pub(crate) fn handle_disks(&mut self) {
        self.forget_held();
        let Some((chance, disk)) = &mut self.disk else { return };
        let (is_now, is_copied, disk) = (chance.below(3) == 0, chance.below(3) == 0, *disk);
        match disk {
            Disk::Exchanged { at, shelf } => {
                let is_empty = self.places[shelf].files.is_empty() && self.places[shelf].markers.is_empty();
                if is_copied && is_empty {
                    self.note("disks copied");
                    self.copy_root(at, shelf);
                    self.disown_what_is_gone();
                } else if is_now {
                    self.note("disks exchanged");
                    self.tell(|| format!("the disk of place {at} is exchanged"));
                    self.places.swap(at, shelf);
                }
            }
            Disk::Overwritten { at, from } if is_now => {
                self.note("folders overwritten by copies");
                self.copy_root(from, at);
                self.disown_what_is_gone();
            }
            Disk::Overwritten { .. } => {}
        }
    }

    /// A place becomes a copy of another, as `cp -a` makes it.
    pub(crate) fn copy_root(&mut self, from: usize, to: usize) {
        self.tell(|| format!("place {from} is copied to place {to}"));
        let root = self.next_inode();
        self.places[to] = self.places[from].clone();
        self.places[to].root = root;
        let mut next = self.inodes;
        self.places[to].renumber(|| {
            next += 1;
            next
        });
        self.inodes = next;
    }

    /// A rule of a store for old objects, or a person who tidies up, removes the markers of a place.
    pub(crate) fn lose_markers(&mut self) {
        let places = self.places.len();
        if let Some(at) = self.odd.as_mut().map(|odd| odd.below(places))
            && !self.places[at].markers.is_empty()
        {
            self.note("markers lost");
            self.tell(|| format!("the markers of place {at} are lost"));
            self.places[at].markers.clear();
        }
    }

    /// The clock of a machine is years off.
    pub(crate) fn go_astray(&mut self, machine: usize) {
        let years = self.odd.as_mut().map_or(0, |odd| *odd.pick(&[-20, -3, -1, 1, 2, 30]));
        self.note("clocks years off");
        self.tell(|| format!("the clock of machine {machine} is {years} years off"));
        self.machines[machine].skew += years * 366 * DAY + 11 * DAY;
    }

    /// A clock that is years off is set right.
    pub(crate) fn come_back(&mut self, machine: usize, skew: i64) {
        if self.machines[machine].skew.abs() > 300 * DAY {
            self.machines[machine].skew = skew;
        }
        // Longer than a stamp lasts: nobody sets a clock twice within one.
        self.pass(Duration::from_secs(5));
    }

    /// Puts a machine's clock forward or back by days.
    pub(crate) fn jump(&mut self, machine: usize) {
        // Each age is entered once, by whichever machine.
        if self.ages + 1 < AGES.len() {
            self.ages += 1;
            self.machines[machine].skew = AGES[self.ages] * DAY;
            self.note("clock jumps");
            self.tell(|| format!("the clock of machine {machine} jumps"));
        }
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.nanoseconds += u64::try_from(time.as_nanos()).unwrap();
    }

    pub(crate) fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds)
    }

    /// Returns what the clock of a machine shows.
    pub(crate) fn now(&self, machine: usize) -> Timestamp {
        let seconds = BEGINNING + self.machines[machine].skew;
        let whole = i64::try_from(self.nanoseconds / 1_000_000_000).unwrap();
        Timestamp::new(seconds + whole, u32::try_from(self.nanoseconds % 1_000_000_000).unwrap())
    }

    /// Returns what the clock of the machine that keeps `place` shows.
    pub(crate) fn now_at(&self, place: usize) -> Timestamp {
        let keeper = self.machines.iter().position(|machine| machine.side_of(place) == Side::Source);
        self.now(keeper.unwrap_or(0))
    }

    /// Disks that do not keep inode numbers are taken out and put in again.
    pub(crate) fn put_in_again(&mut self) {
        for at in 0..self.places.len() {
            if let Kind::Folder { inodes: Inodes::Renumbered, .. } = self.places[at].kind {
                self.note("disks put in again");
                let mut next = self.inodes;
                self.places[at].renumber(|| {
                    next += 1;
                    next
                });
                self.inodes = next;
            }
        }
    }

    /// A place is put back from one of its backups. What it had since is gone with it.
    pub(crate) fn put_back(&mut self, at: usize) {
        let count = self.places[at].moments.len();
        if count == 0 {
            return;
        }
        let moment = self.chance.below(count);
        // Where the state is lost too nobody can tell a place without a marker from one that was never synced.
        if self.has_lost && self.places[at].is_unmarked(moment) {
            return;
        }
        self.note("places put back");
        self.tell(|| format!("place {at} is put back to moment {moment} of {count}"));
        self.put_back_to(at, moment);
    }

    /// A place is put back to a moment.
    pub(crate) fn put_back_to(&mut self, at: usize, moment: usize) {
        self.forget_held();
        let (tick, now) = (self.tick, self.now_at(at));
        let is_behind = !self.places[at].is_at(moment);
        let mut next = self.inodes;
        self.places[at].put_back(moment, tick, now, || {
            next += 1;
            next
        });
        self.inodes = next;
        // Where nothing has changed since nothing went back, and who has not written there has no marker to tell.
        if is_behind {
            let has_written = |machine: &usize| {
                let machine = &self.machines[*machine];
                *machine.written.get(machine.side_of(at))
            };
            let (doubted_by, unseen_by) = (0..self.machines.len()).partition(has_written);
            (self.places[at].doubted_by, self.places[at].unseen_by) = (doubted_by, unseen_by);
            self.machines.iter_mut().for_each(|machine| machine.left_to_user.clear());
        }
        self.disown_what_is_gone();
    }

    /// A user did away with a whole place: what was nowhere else nobody is owed.
    fn disown_what_is_gone(&mut self) {
        let lost: Vec<Bytes> = self.owed.iter().filter(|content| !self.exists(content)).cloned().collect();
        self.owed.retain(|content| !lost.contains(content));
    }

    pub(crate) fn next_inode(&mut self) -> u64 {
        self.inodes += 1;
        self.inodes
    }

    pub(crate) fn mix(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.trace = (self.trace ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// Returns the number that stands for all that happened so far.
    pub(crate) fn trace(&self) -> u64 {
        self.trace
    }

    pub(crate) fn note(&mut self, kind: &'static str) {
        *self.kinds.entry(kind).or_default() += 1;
    }

    pub(crate) fn tell(&mut self, what: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            log.push(what());
        }
    }

    /// Notes that a promise was broken.
    pub(crate) fn broken(&mut self, what: String) {
        self.tell(|| format!("BROKEN: {what}"));
        self.broken.push(what);
    }

    /// Returns how names collide, so that not all of them can be everywhere, if they do.
    pub(crate) fn collision(&self) -> Option<&'static str> {
        if self.places.iter().any(Place::collides) {
            return Some("names that are file and folder");
        }
        let names: BTreeSet<&str> =
            self.places.iter().flat_map(|place| place.files.keys().flat_map(|name| prefixes(name))).collect();
        let folded: BTreeSet<String> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
        let is_double = folded.len() < names.len() && self.places.iter().any(Place::folds);
        is_double.then_some(CASE)
    }

    /// Returns whether a content is live or in a trash anywhere.
    pub(crate) fn exists(&self, content: &Bytes) -> bool {
        self.places.iter().any(|place| place.has(content))
    }

    /// Checks that nothing is lost that no user did away with.
    pub(crate) fn check_owed(&mut self) {
        let lost: Vec<Bytes> = self.owed.iter().filter(|content| !self.exists(content)).cloned().collect();
        for content in lost {
            let shown = String::from_utf8_lossy(&content).into_owned();
            self.owed.remove(&content);
            self.broken(format!("I-01: {shown:?} is neither live nor in a trash"));
        }
    }
}
