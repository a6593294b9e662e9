//! One life: machines, places, users and disturbances, all from one seed.

use std::collections::BTreeMap;
use std::sync::Arc;

use syncengine::state::{BaseRow, Found, RecordTail, RowTail, StateStore};
use syncengine::{ComparisonMode, ConflictStrategy, InitialSyncPreference, Outcome, Side, Sides, SyncMode};

use super::base::Content;
use super::machines::{Ended, Machines, Owner};
use super::place::{Ignored, Inodes, Kind, Place};
use super::world::{Inner, Universe, Weather};
use crate::support::Random;

/// What a life came to.
#[derive(Debug)]
pub(crate) struct Lived {
    pub(crate) trace: u64,
    pub(crate) kinds: BTreeMap<&'static str, u64>,
    pub(crate) broken: Vec<String>,
    pub(crate) log: Vec<String>,
}

/// Runs `future` with time that passes only while everybody waits.
pub(crate) fn on_paused_time<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(future)
}

/// What can happen in a life. It grew, and the seeds of before go on to mean what they did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Edits, crashes, faults, lost states, places that are put back.
    First,
    /// Rules, lost markers, clocks that are years off, states of an earlier release too.
    Odd,
    /// Disks that are exchanged and folders that are copied too.
    Whole,
    /// As the whole, and users are at their rules more than at their files.
    Rules,
}

/// Lives the life of a seed; with `is_told` it can be read afterwards.
pub(crate) fn live(seed: u64, scope: Scope, is_told: bool) -> Lived {
    let world = on_paused_time(async {
        let (mut machines, is_opaque) = begin(seed, is_told);
        if matches!(scope, Scope::Whole | Scope::Rules) {
            let mut inner = machines.world.inner();
            inner.put_on_the_shelf(seed);
            inner.weighs = seed.is_multiple_of(5);
        }
        if scope != Scope::First {
            let mut inner = machines.world.inner();
            inner.odd = Some(Random::new(seed ^ 0x0dd_1155));
            // Names that are excluded and differ from others by case alone have tests of their own.
            let is_drawn = inner.is_odd(4) || scope == Scope::Rules;
            inner.has_rules = is_drawn && !inner.places.iter().any(Place::folds);
            inner.rules_in = if scope == Scope::Rules { 2 } else { 6 };
        }
        choose(&mut machines, is_opaque);
        let steps = 2 + machines.world.inner().chance.below(3);
        for step in 0..steps {
            Box::pin(disturb(&mut machines, step)).await;
            let rests = machines.world.inner().falls(400);
            if rests || step + 1 == steps {
                rest(&mut machines).await;
            }
            if !machines.world.inner().broken.is_empty() {
                break;
            }
        }
        Arc::clone(&machines.world)
    });
    let mut world = world.inner();
    let (kinds, broken) = (std::mem::take(&mut world.kinds), std::mem::take(&mut world.broken));
    Lived { trace: world.trace(), kinds, broken, log: world.log.take().unwrap_or_default() }
}

/// Makes places with a few files, and a machine or two.
fn begin(seed: u64, is_told: bool) -> (Machines, bool) {
    let mut chance = Random::new(seed ^ 0xb16_b00b5);
    let is_opaque = chance.below(8) == 0;
    let ignored = |chance: &mut Random| chance.below(8) == 0;
    let mut bucket = || {
        let ignores = Ignored {
            create: ignored(&mut chance),
            replace: ignored(&mut chance),
            delete: ignored(&mut chance),
        };
        Place::new(Kind::Bucket { opaque: is_opaque, ignores })
    };
    let buckets = [bucket(), bucket()];
    let mut odd = Random::new(seed ^ 0x001d_0de5);
    let mut folder = || {
        let tick = *chance.pick(&[1, 1, 1_000_000_000, 2_000_000_000]);
        let inodes =
            *odd.pick(&[Inodes::Last, Inodes::Last, Inodes::Last, Inodes::Forgotten, Inodes::Renumbered]);
        Place::new(Kind::Folder { tick, folds: chance.below(6) == 0, inodes })
    };
    let folders = [folder(), folder()];
    let ([b, b2], [f, f2]) = (buckets, folders);
    let one = Sides::new(0, 1);
    let (places, pairs) = match chance.below(10) {
        0..=4 => (vec![f, b], vec![one]),
        5 => (vec![b, b2], vec![one]),
        6 => (vec![b, f], vec![one]),
        7 => (vec![f, f2], vec![one]),
        _ => (vec![f, b, f2], vec![one, Sides::new(2, 1)]),
    };
    let world = Arc::new(Universe::new(seed, places, &pairs, is_told));
    let machines = Machines::new(&world, &pairs);
    let mut inner = world.inner();
    if pairs.len() > 1 {
        inner.note("two machines");
        inner.machines[1].skew = 77;
    }
    for _ in 0..inner.chance.below(6) {
        let at = inner.chance.below(2);
        inner.edit(at);
    }
    drop(inner);
    (machines, is_opaque)
}

/// Chooses what the pairs do.
fn choose(machines: &mut Machines, is_opaque: bool) {
    let world = Arc::clone(&machines.world);
    let is_alone = machines.owners.len() == 1;
    for machine in 0..machines.owners.len() {
        let mut inner = world.inner();
        let mode = if is_alone && inner.chance.below(2) == 0 {
            *inner.chance.pick(SyncMode::ALL)
        } else {
            SyncMode::TwoWay
        };
        let conflict = *inner.chance.pick(ConflictStrategy::ALL);
        let preference = if is_alone {
            *inner.chance.pick(InitialSyncPreference::ALL)
        } else {
            InitialSyncPreference::Merge
        };
        let pull = inner.chance.below(4) > 0;
        // Times prove nothing here: users set them as they like.
        let by_hash = is_opaque || inner.chance.below(3) == 0;
        drop(inner);
        let owner = &mut machines.owners[machine];
        owner.pull = pull;
        if by_hash {
            owner.compare = ComparisonMode::HashOnly;
        }
        machines.set(machine, mode, conflict, preference);
    }
}

fn weather(inner: &mut Inner) -> Weather {
    let chance = &mut inner.chance;
    Weather {
        edits: *chance.pick(&[0, 0, 30, 80]),
        faults: *chance.pick(&[0, 0, 10, 40]),
        flips: *chance.pick(&[0, 0, 0, 30]),
        state: *chance.pick(&[0, 0, 0, 10]),
        panics: *chance.pick(&[0, 0, 0, 8]),
        jumps: *chance.pick(&[0, 0, 0, 5]),
        pauses: *chance.pick(&[0, 100, 300]),
        stale: chance.below(4) == 0,
    }
}

/// Things happen to places that no run expects.
async fn befall(machines: &mut Machines) {
    let put_back = |machines: &mut Machines| {
        let mut world = machines.world.inner();
        let places = world.places.len();
        if world.falls(150) {
            let at = world.chance.below(places);
            // What neither the state nor a marker knows of cannot be told.
            let is_behind = world.machines.iter().any(|machine| machine.is_put_back);
            if !(world.was_converted || is_behind) {
                world.put_back(at);
            }
        }
    };
    machines.weigh(0, put_back).await;
    let lose_markers = |machines: &mut Machines| {
        let mut world = machines.world.inner();
        if world.is_odd(12) {
            world.lose_markers();
        }
    };
    machines.weigh(0, lose_markers).await;
    let machine = machines.owners.len() - 1;
    machines.weigh(machine, |machines| machines.world.inner().handle_disks()).await;
}

/// Edits and runs while everything goes wrong.
async fn disturb(machines: &mut Machines, step: usize) {
    let world = Arc::clone(&machines.world);
    let count = machines.owners.len();
    if step > 0 && count == 1 && world.inner().falls(150) {
        let mode = *world.inner().chance.pick(SyncMode::ALL);
        let owner = &machines.owners[0];
        let (conflict, preference) = (owner.conflict, owner.preference);
        machines.set(0, mode, conflict, preference);
    }
    world.inner().put_in_again();
    if step > 0 {
        befall(machines).await;
    }
    {
        let mut inner = world.inner();
        let places = inner.places.len();
        for _ in 0..inner.chance.below(4) {
            let at = inner.chance.below(places);
            inner.edit(at);
        }
        inner.weather = weather(&mut inner);
        if inner.falls(100) {
            let at = inner.chance.below(places);
            if inner.places[at].is_folder() {
                inner.note("folders nobody can read");
                inner.places[at].unreadable = Some((*inner.chance.pick(&["a", "d"])).to_owned());
            }
        }
        for machine in 0..count {
            inner.machines[machine].crashes_in_batch = inner.falls(100);
            if inner.falls(350) {
                let calls = inner.machines[machine].calls;
                let later = 1 + inner.chance.below(70);
                inner.machines[machine].crash_at = Some(calls + u64::try_from(later).unwrap());
            }
        }
    }
    // For one run only, and not again in the next.
    // A pair that has no last run, or one by a clock that was wrong too, has no other clock to doubt it by.
    let now = world.inner().now(0).seconds;
    let has_run = |owner: &Owner| {
        let last = owner.states.current().pair_record().and_then(|record| record.last_sync_seconds);
        last.is_some_and(|last| last.abs_diff(now) < 300 * 86_400)
    };
    let is_astray = step % 2 == 1 && has_run(&machines.owners[0]) && world.inner().is_odd(3);
    // The state of another disk may have no last run, or one by a clock that was wrong too.
    let is_astray = is_astray && world.inner().disk.is_none();
    let skew = world.inner().machines[0].skew;
    if is_astray {
        machines.weigh(0, |machines| machines.world.inner().go_astray(0)).await;
    }
    let ended = if count == 1 {
        vec![machines.run(0).await]
    } else {
        let (one, two) = futures::join!(machines.run(0), machines.run(1));
        vec![one, two]
    };
    world.inner().come_back(0, skew);
    for (machine, ended) in ended.iter().enumerate() {
        let is_power_cut = world.inner().chance.below(2) == 0;
        machines.after(machine, ended, is_power_cut);
        if is_astray && machine == 0 {
            continue;
        }
        machines.weigh(machine, |machines| meddle(machines, machine, ended)).await;
        machines.weigh(machine, |machines| convert(machines, machine)).await;
    }
}

/// The state may be that of an earlier release, without all that was remembered since; nothing had been put back then, and
/// disks, which that release could not tell apart, were not exchanged.
fn convert(machines: &mut Machines, machine: usize) {
    let mut world = machines.world.inner();
    let is_calm = world.places.iter().all(|place| place.doubted_by.is_empty() && place.unseen_by.is_empty());
    if !is_calm || world.disk.is_some() || !world.is_odd(20) {
        return;
    }
    let mut content = machines.owners[machine].states.current().content();
    let Some(record) = &mut content.record else { return };
    // A state whose last run went by a wrong clock knows of no other.
    let now = world.now(machine).seconds;
    if record.last_sync_seconds.is_some_and(|last| last.abs_diff(now) > 300 * 86_400) {
        return;
    }
    world.note("states of the first schema");
    world.was_converted = true;
    record.tail = RecordTail::default();
    for row in content.rows.values_mut() {
        match row {
            BaseRow::Agreed(row) => row.tail = RowTail::default(),
            BaseRow::Tombstone(tail) => *tail = RowTail::default(),
            BaseRow::Deleted(_) | BaseRow::Begun(_) => {}
        }
    }
    // It knew no receipts and no intents.
    content.rows.retain(|_, row| !matches!(row, BaseRow::Deleted(_) | BaseRow::Begun(_)));
    let sides = world.machines[machine].sides;
    let of_pair = record.pair_id.clone();
    for side in Side::BOTH {
        let markers = &mut world.places[*sides.get(side)].markers;
        let count = markers.len();
        markers.retain(|name| !name.starts_with(&of_pair));
        if markers.len() < count {
            markers.insert(of_pair.clone());
        }
    }
    drop(world);
    let has_lost = machines.owners[machine].has_lost;
    machines.replace_state(machine, content, Found::Intact);
    machines.owners[machine].has_lost = has_lost;
}

/// Something may happen to the base between two runs, mostly after a crash.
fn meddle(machines: &mut Machines, machine: usize, ended: &Ended) {
    let likely = if matches!(ended, Ended::Gone) { 250 } else { 60 };
    let mut world = machines.world.inner();
    if !world.falls(likely) {
        return;
    }
    let copies = machines.owners[machine].copies.len();
    // A state that does not know of it cannot tell what a side that was put back has lost.
    let is_doubted = world
        .places
        .iter()
        .any(|place| place.doubted_by.contains(&machine) || place.unseen_by.contains(&machine));
    let (content, found, kind) = match world.chance.below(3) {
        0 => (Content::default(), Found::Nothing, "states deleted"),
        1 => (Content::default(), Found::Lost { why: "a test".into() }, "states lost"),
        _ if copies > 0 => {
            let copy = world.chance.below(copies);
            (machines.owners[machine].copies[copy].clone(), Found::Intact, "states put back")
        }
        _ => return,
    };
    if is_doubted {
        return;
    }
    world.note(kind);
    world.machines[machine].is_put_back = kind == "states put back";
    world.tell(|| {
        let rows = content.rows.keys().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let record = content.record.as_ref();
        let of = record.map(|record| format!("pair {} {:?}", record.pair_id, record.tail.epochs().there));
        format!("{kind} on machine {machine}: {} with {rows}", of.unwrap_or_default())
    });
    drop(world);
    machines.replace_state(machine, content, found);
}

/// Lets everything come to rest, and judges.
async fn rest(machines: &mut Machines) {
    if machines.owners.len() == 1 {
        return machines.settle(0).await;
    }
    // What one carries the other must take over, and what that leads to the first again.
    for _ in 0..8 {
        let before = machines.trees();
        let mut effects = 0;
        let mut is_synced = true;
        for machine in 0..machines.owners.len() {
            let Some(report) = machines.calm_run(machine).await else { return };
            is_synced &= report.outcome == Outcome::Synced;
            effects += machines.world.inner().machines[machine].run.effects;
        }
        if effects == 0 {
            let mut trees = machines.trees();
            let mut world = machines.world.inner();
            if before != trees {
                world.broken("I-15: trees changed without an effect".into());
            }
            for tree in &mut trees {
                world.drop_ruled(tree, SyncMode::TwoWay);
            }
            if is_synced && trees.iter().any(|tree| *tree != trees[0]) {
                world.broken(format!("I-19: machines differ: {trees:?}"));
            }
            return;
        }
    }
    machines.world.inner().broken("F-46: two machines do not come to rest".into());
}
