//! What the engine may do, judged at the moment of each effect, against what the world knows and no listing tells.
//!
//! This is no second planner. It asks for evidence: what is removed was missing on the other side and had once
//! been there; what is replaced the other side has had, or a rule of the user's choosing overrules it; what
//! appears is a whole content that somebody wrote; a row of the base tells what both sides had and have durably.

use std::collections::BTreeSet;

use bytes::Bytes;
use syncengine::client::Disposal;
use syncengine::entry::Entry;
use syncengine::filter::IGNORE_FILE;
use syncengine::fingerprint::Fingerprint;
use syncengine::state::{Agreed, BaseRow, RowChange};
use syncengine::{ConflictStrategy, Side, Sides, SyncMode};

use super::place::{File, are_alike};
use super::users::excludes;
use super::world::Inner;

/// What the run of a machine may do and what has befallen it.
#[derive(Debug, Clone)]
pub(crate) struct RunView {
    pub(crate) mode: SyncMode,
    pub(crate) conflict: ConflictStrategy,
    pub(crate) copy: Sides<bool>,
    /// There is a state. Without one, which is told, every difference is a conflict, and goes as the user has said.
    pub(crate) has_past: bool,
    /// The sides that have got a marker.
    pub(crate) marked: Sides<bool>,
    /// A first-sync preference decides, so that one-sided files may go.
    pub(crate) has_winner: bool,
    /// The sides that the mode of the run before has written to, so that their markers are new.
    pub(crate) written: Sides<bool>,
    /// The rules of the two sides when it began.
    pub(crate) rules: Sides<Option<Bytes>>,
    /// What the sides' own rules kept there when it began: those that change meanwhile are for the next run.
    pub(crate) held: Sides<Held>,
    /// Whether somebody else has changed rules since.
    pub(crate) rules_changed: bool,
    /// The tick at which it began.
    pub(crate) since: u64,
    /// The state has failed.
    pub(crate) state_failed: bool,
    /// Something could not be listed or read.
    pub(crate) failed: bool,
    /// The paths that have failed.
    pub(crate) failed_names: BTreeSet<String>,
    /// A call has panicked.
    pub(crate) panicked: bool,
    /// How often anything was changed.
    pub(crate) effects: u64,
}

/// What a side's own rules keep at it: nobody but who uses that side frees what they exclude.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Held {
    patterns: BTreeSet<String>,
    /// The rules as a run of this machine saw them there or left them there last.
    left: Option<Bytes>,
}

impl Held {
    fn excludes(&self, name: &str) -> bool {
        name != IGNORE_FILE && self.patterns.iter().any(|pattern| excludes(pattern, name))
    }

    /// A run finds these rules, or puts them there.
    fn take(&mut self, rules: Option<Bytes>) {
        let text = rules.iter().flat_map(|text| text.split(|byte| *byte == b'\n'));
        let lines = text.filter_map(|line| std::str::from_utf8(line).ok());
        self.patterns.extend(lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(Into::into));
        self.left = rules;
    }
}

impl Default for RunView {
    fn default() -> Self {
        Self {
            mode: SyncMode::TwoWay,
            conflict: ConflictStrategy::Manual,
            copy: Sides::new(true, true),
            has_past: true,
            marked: Sides::default(),
            has_winner: false,
            written: Sides::new(true, true),
            rules: Sides::default(),
            held: Sides::default(),
            rules_changed: false,
            since: 0,
            state_failed: false,
            failed: false,
            failed_names: BTreeSet::new(),
            panicked: false,
            effects: 0,
        }
    }
}

fn shown(content: &Bytes) -> String {
    String::from_utf8_lossy(content).into_owned()
}

/// Whether the stat of a version proves nothing, so that an edit can hide behind it.
fn is_racy(entry: &Entry) -> bool {
    matches!(entry.fingerprint, Fingerprint::File(stat) if !stat.settled)
}

impl Inner {
    fn other(&self, machine: usize, place: usize) -> usize {
        let machine = &self.machines[machine];
        *machine.sides.get(machine.side_of(place).other())
    }

    /// Returns whether a side of a machine's pair was put back to an earlier moment, since then the two did not come to
    /// rest nor did anybody write there under this name, and the mode of the run is one that lets such a side not decide.
    fn is_doubted(&self, machine: usize, place: usize, name: &str) -> bool {
        let run = &self.machines[machine].run;
        let side = self.machines[machine].side_of(place);
        let is_back = |side: Side| {
            let place = &self.places[*self.machines[machine].sides.get(side)];
            let is_old = place.doubted_by.contains(&machine) && !place.written_anew.contains(name);
            *run.copy.get(side) && *run.written.get(side) && is_old
        };
        match run.mode.authority() {
            _ if !run.has_past => false,
            None => !run.has_winner && (is_back(side) || is_back(side.other())),
            // What the other side has a mode with an authority overwrites in any case. Who was told of a conflict, and then
            // runs such a mode, settles it.
            Some(authority) => {
                let was_told = self.machines[machine].left_to_user.contains(name);
                !run.mode.is_mirror() && !was_told && is_back(authority)
            }
        }
    }

    /// A machine lists a folder; where rules turned out to be others it does so anew, and what failed before does not count.
    pub(crate) fn look_again(&mut self, machine: usize) {
        self.machines[machine].run.failed &= !self.has_rules;
    }

    /// Returns the rules of a place.
    pub(crate) fn rules_at(&self, place: usize) -> Option<Bytes> {
        self.places[place].files.get(IGNORE_FILE).map(|file| file.content.clone())
    }

    /// Judges an effect on a name: what the rules of either side exclude is left alone.
    fn judge_rules(&mut self, machine: usize, what: &str, name: &str) {
        let (sides, run) = (self.machines[machine].sides, &self.machines[machine].run);
        // Rules that were written while the run looked may have come too late, and a listing may not show them yet.
        let is_sure =
            Side::BOTH.into_iter().all(|side| self.rules_at(*sides.get(side)) == *run.rules.get(side));
        let is_sure = is_sure && !run.rules_changed;
        let of = |side: Side| run.rules.get(side).iter().flat_map(|text| text.split(|byte| *byte == b'\n'));
        let excludes = |line: &[u8]| std::str::from_utf8(line).is_ok_and(|line| excludes(line, name));
        let is_excluded = Side::BOTH.into_iter().any(|side| of(side).any(excludes));
        if is_excluded {
            self.note("effects beside rules");
        }
        if is_excluded && is_sure && !self.weather.stale {
            let mode = self.machines[machine].run.mode;
            self.broken(format!("8.3: {mode} {what} {name}, which is excluded"));
        }
    }

    /// A run of a machine begins: where somebody else has changed the rules of a side, those count that are there now.
    pub(crate) fn see_rules(&mut self, machine: usize) {
        let sides = self.machines[machine].sides;
        for side in Side::BOTH {
            let rules = self.rules_at(*sides.get(side));
            let held = self.machines[machine].held.get_mut(side);
            if held.left != rules {
                held.patterns.clear();
            }
            held.take(rules);
        }
        self.machines[machine].run.held = self.machines[machine].held.clone();
    }

    /// Something happened that no state can know of: then those rules count that are there.
    pub(crate) fn forget_held(&mut self) {
        self.machines.iter_mut().for_each(|machine| machine.held = Sides::default());
    }

    /// A run leaves these rules at a place. For other machines somebody else did.
    fn leave_rules(&mut self, machine: usize, place: usize, rules: Option<Bytes>) {
        let side = self.machines[machine].side_of(place);
        self.free(place, rules.as_ref(), Some(machine));
        self.machines[machine].held.get_mut(side).take(rules);
    }

    /// Somebody leaves these rules at a place, who frees what those before kept there, for all machines but the one of whose
    /// run it is.
    pub(crate) fn free(&mut self, place: usize, rules: Option<&Bytes>, except: Option<usize>) {
        for (number, machine) in self.machines.iter_mut().enumerate() {
            let side = Side::BOTH.into_iter().find(|side| *machine.sides.get(*side) == place);
            let Some(side) = side.filter(|_| Some(number) != except) else { continue };
            *machine.held.get_mut(side) = Held::default();
            machine.held.get_mut(side).take(rules.cloned());
            machine.run.rules_changed = true;
        }
    }

    /// Judges an effect on a name: what a side's own user keeps there neither goes nor shows at the other side.
    fn judge_held(&mut self, machine: usize, place: usize, what: &str, name: &str, content: Option<&Bytes>) {
        let (sides, side) = (self.machines[machine].sides, self.machines[machine].side_of(place));
        // Rules that users write while the run looks may come too late.
        let left = &self.machines[machine].held;
        let is_sure = Side::BOTH.iter().all(|at| self.rules_at(*sides.get(*at)) == left.get(*at).left);
        let held = |side: Side| {
            let (rules, place) = (self.machines[machine].run.held.get(side), &self.places[*sides.get(side)]);
            // What came by a sync nobody keeps for himself.
            let file = place.files.get(name).filter(|_| !place.brought.contains(name));
            file.filter(|_| rules.excludes(name)).map(|file| &file.content)
        };
        let is_here = content.is_none() && held(side).is_some();
        let is_there = content.is_some() && held(side.other()) == content;
        let is_sure = is_sure && !self.machines[machine].run.rules_changed;
        if (is_here || is_there) && is_sure && !self.weather.stale {
            let (mode, at) = (self.machines[machine].run.mode, if is_here { side } else { side.other() });
            self.broken(format!("8.3: {mode} {what} {name}, which the rules of the {at} keep there"));
        }
    }

    /// Judges a version that is staged, or will be.
    pub(crate) fn judge_staging(&mut self, machine: usize, place: usize, name: &str) {
        let run = &self.machines[machine].run;
        if !*run.copy.get(self.machines[machine].side_of(place)) {
            let mode = run.mode;
            self.broken(format!("I-14: {mode} stages {name} at place {place}"));
        }
    }

    /// Judges a new version that becomes visible, in the place of `old` if there is one.
    pub(crate) fn judge_showing(
        &mut self,
        machine: usize,
        place: usize,
        name: &str,
        new: &Bytes,
        old: Option<&Entry>,
    ) {
        self.judge_staging(machine, place, name);
        self.judge_rules(machine, "writes", name);
        self.judge_held(machine, place, "writes", name, Some(new));
        if old.is_some() {
            self.judge_held(machine, place, "replaces", name, None);
        }
        self.places[place].brought.insert(name.to_owned());
        if name == IGNORE_FILE {
            self.leave_rules(machine, place, Some(new.clone()));
        }
        self.machines[machine].run.effects += 1;
        if !self.written.contains(new) {
            let shown = shown(new);
            self.broken(format!("I-02: nobody wrote {shown:?}, which {name} at place {place} shows"));
        }
        let Some(old) = old else { return self.note("files created") };
        self.note("files replaced");
        let Some(lost) = self.places[place].files.get(name).map(|file| file.content.clone()) else { return };
        let run = &self.machines[machine].run;
        let side = self.machines[machine].side_of(place);
        let overruled = match run.mode {
            SyncMode::TwoWay => {
                run.has_winner
                    || matches!(
                        (run.conflict, side),
                        (ConflictStrategy::NewestWins, _)
                            | (ConflictStrategy::SourceWins, Side::Destination)
                            | (ConflictStrategy::DestinationWins, Side::Source)
                    )
            }
            mode => mode.authority() == Some(side.other()),
        };
        // A loser that has been given its other name is kept there; if somebody has written to that or taken it away
        // since, in the trash.
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| if stem.is_empty() { name } else { stem });
        let here = &self.places[place];
        let is_elsewhere = here.files.iter().any(|(other, file)| other != name && file.content == lost);
        let is_beside = is_elsewhere || here.ever_named_from(&format!("{stem}.conflict-"));
        let is_known = is_beside || self.places[self.other(machine, place)].ever_had(&lost);
        // A version that both sides had is replaced only by one that somebody put in its place.
        let was_common = self.places[self.other(machine, place)].ever_had_as(name, &lost);
        let beyond = &self.places[self.other(machine, place)].files;
        let is_live = lost == *new || beyond.values().any(|file| file.content == lost);
        let is_given_up = self.given_up.contains(&lost) || is_live;
        if (overruled && !was_common) || (is_beside && !is_elsewhere) {
            // A conflict, settled as the user wants it, or whose copy he has written over; what is left elsewhere goes too.
            self.given_up.insert(lost.clone());
        }
        // What no run ever came to agree on has no base, and goes as the strategy says.
        let was_agreed = self.agreed.contains(name);
        if was_common && was_agreed && !is_beside && !is_given_up && self.is_doubted(machine, place, name) {
            let (mode, lost) = (run.mode, shown(&lost));
            self.broken(format!(
                "8.2: {mode} replaces {lost:?}, {name} at place {place}, which no user gave up"
            ));
            return;
        }
        if !overruled && !is_known && !is_racy(old) {
            let (mode, conflict, lost) = (run.mode, run.conflict, shown(&lost));
            self.broken(format!(
                "I-04: {mode} ({conflict}) replaces {lost:?}, {name} at place {place}, never seen"
            ));
        }
    }

    /// Judges a version that is removed.
    pub(crate) fn judge_removing(
        &mut self,
        machine: usize,
        place: usize,
        entry: &Entry,
        disposal: &Disposal,
    ) {
        self.note("files removed");
        self.machines[machine].run.effects += 1;
        let name = entry.key.as_str().to_owned();
        self.judge_rules(machine, "removes", &name);
        self.judge_held(machine, place, "removes", &name, None);
        if name == IGNORE_FILE {
            self.leave_rules(machine, place, None);
        }
        let other = self.other(machine, place);
        let run = self.machines[machine].run.clone();
        let side = self.machines[machine].side_of(place);
        let Some(lost) = self.places[place].files.get(&name).map(|file| file.content.clone()) else { return };
        let mut wrong = Vec::new();
        if !run.mode.allows_delete(side) {
            wrong.push("I-14: not in this mode");
        }
        if *disposal == Disposal::Discard {
            wrong.push("I-01: not into the trash");
        }
        if run.state_failed {
            wrong.push("I-27, I-29: after the state failed");
        }
        if run.panicked {
            wrong.push("F-05: after a panic");
        }
        // A listing of yesterday shows what is in the way no more.
        let since = if self.weather.stale { 0 } else { run.since };
        let makes_room = self.places[other].had_no_room(&name, since);
        if run.mode.is_mirror() && run.failed && !makes_room {
            wrong.push("I-32: in a mirror in which something failed");
        }
        // Renamed there, and the new name has no place here: this is all there is of it on this side. A stale listing may not
        // show the new name.
        let has_failed = |(name, file): (&String, &File)| {
            let was_there = self.places[other].had_before(name, run.since);
            file.content == lost && was_there && run.failed_names.contains(name)
        };
        let is_last = !self.places[place].files.iter().any(|(at, file)| *at != name && file.content == lost);
        let is_shown = !self.weather.stale;
        if is_last && is_shown && self.places[other].files.iter().any(has_failed) && !makes_room {
            wrong.push("8.8: its new name has failed");
        }
        if !self.places[other].was_free_since(&name, run.since) {
            wrong.push("I-03, I-08: the other side has had it all the time");
        }
        let needs_evidence = run.mode == SyncMode::TwoWay && !run.has_winner;
        // The old name of a rename that is being finished has what the engine, or by chance a user, has given to the
        // new one.
        let here = &self.places[place];
        let is_renamed = here.renamed.contains(&lost)
            || here.files.iter().any(|(other, file)| *other != name && file.content == lost);
        if needs_evidence && !is_renamed && !self.places[other].ever_had(&lost) && !is_racy(entry) {
            wrong.push("I-03: the other side never had it");
        }
        let is_elsewhere = self.places[other].files.values().any(|file| file.content == lost);
        let is_taken_away = self.places[other].taken_away.contains(&name);
        let is_given_up = self.given_up.contains(&lost) || is_elsewhere || is_taken_away;
        // Of a side that no mode has written to yet nobody can tell that it was put back.
        let is_marked = *run.written.get(side.other()) && !self.places[other].unseen_by.contains(&machine);
        if needs_evidence && is_marked && !is_renamed && !is_given_up && !is_racy(entry) {
            wrong.push("8.2: no user gave it up");
        }
        if !needs_evidence {
            // The user said which side decides; what is left of it elsewhere goes too.
            self.given_up.insert(lost.clone());
        }
        for wrong in wrong {
            let (mode, lost) = (run.mode, shown(&lost));
            self.broken(format!("{wrong}: {mode} removes {lost:?}, {name} at place {place}"));
        }
    }

    /// Judges a version that gets another name.
    pub(crate) fn judge_renaming(&mut self, machine: usize, place: usize, from: &str, to: &str) {
        self.note("renames");
        self.judge_rules(machine, "renames", from);
        let content = self.places[place].files.get(from).map(|file| file.content.clone());
        self.judge_held(machine, place, "renames", from, None);
        self.judge_held(machine, place, "renames a file to", to, content.as_ref());
        self.places[place].brought.insert(to.to_owned());
        if from == IGNORE_FILE {
            self.leave_rules(machine, place, None);
        } else if to == IGNORE_FILE {
            self.leave_rules(machine, place, content);
        }
        self.judge_staging(machine, place, to);
        self.machines[machine].run.effects += 1;
        let (mode, side) = (self.machines[machine].run.mode, self.machines[machine].side_of(place));
        if are_alike(from, to) {
            return self.note("names spelled anew");
        }
        // The loser of a conflict makes room for the winner.
        if !mode.allows_delete(side) && !to.contains(".conflict-") {
            self.broken(format!("I-14: {mode} takes the name {from} at place {place}"));
        }
    }

    /// Judges rows that are recorded.
    pub(crate) fn judge_rows(&mut self, machine: usize, changes: &[RowChange]) {
        for (key, row) in changes {
            if let Some(BaseRow::Agreed(row)) = row {
                self.agreed.insert(key.as_str().to_owned());
                self.judge_row(machine, key.as_str(), row);
            }
        }
    }

    fn judge_row(&mut self, machine: usize, name: &str, row: &Agreed) {
        let sides = self.machines[machine].sides;
        // A rename that is yet to come is announced by the side that had it: there the name was first.
        if let Some(side) = Side::BOTH.into_iter().find(|side| row.announced_on(*side).is_some()) {
            let place = &self.places[*sides.get(side.other())];
            if place.shown_as(name, row.fingerprint(side.other())).is_none() {
                self.broken(format!(
                    "I-23: a rename to {name} is announced, which no side ever had: {row:?}"
                ));
            }
            return self.note("renames announced");
        }
        let seen = |side: Side| self.places[*sides.get(side)].shown_as(name, row.fingerprint(side));
        let (Some(source), Some(destination)) = (seen(Side::Source), seen(Side::Destination)) else {
            return self.broken(format!("I-23: the row of {name} tells what a side never had: {row:?}"));
        };
        // An edit can hide behind a stat that is not settled; it is read again.
        let is_sure = |side: Side| !matches!(row.fingerprint(side), Fingerprint::File(stat) if !stat.settled);
        if source.is_disjoint(&destination) && Side::BOTH.into_iter().all(is_sure) {
            self.broken(format!("I-23: the row of {name} calls two contents equal: {row:?}"));
        }
        if Side::BOTH.iter().any(|side| self.places[*sides.get(*side)].is_pending(name)) {
            self.broken(format!("I-23: the row of {name} comes before its file is durable"));
        }
    }
}
