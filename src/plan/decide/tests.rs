//! Every (base, source, destination) state under every choice, judged by predicates on the result.
//!
//! The judge is not a second planner: it pretends to carry a verdict out on contents and asks what must hold
//! of the outcome. The rows of the reference page stand beside it as a golden table.

use std::collections::{BTreeSet, HashSet};

use super::*;
use crate::mode::InitialSyncPreference;

mod page;

const WITH_BASE: [Sight; 5] = [Sight::Same, Sight::Touched, Sight::Changed, Sight::Absent, Sight::Unknown];
const WITHOUT_BASE: [Sight; 3] = [Sight::New, Sight::Absent, Sight::Unknown];
const NEWER: [Option<Side>; 3] = [None, Some(Side::Source), Some(Side::Destination)];

fn all_facts() -> Vec<Facts> {
    let mut all = Vec::new();
    for base in [Base::None, Base::Agreed, Base::Tombstone] {
        let sights: &[Sight] = if base == Base::Agreed { &WITH_BASE } else { &WITHOUT_BASE };
        for &source in sights {
            for &destination in sights {
                for equal in [false, true] {
                    for newer in NEWER {
                        all.push(Facts { base, source, destination, equal, newer });
                    }
                }
            }
        }
    }
    all
}

fn all_policies() -> Vec<Policy> {
    let mut all = Vec::new();
    for &mode in SyncMode::ALL {
        for pull in [true, false] {
            for &conflict in ConflictStrategy::ALL {
                for &preference in InitialSyncPreference::ALL {
                    all.push(Policy { mode, pull, conflict, first_sync_winner: preference.winner() });
                }
            }
        }
    }
    all
}

/// What a side holds: nothing, or content named by a letter.
type Content = Option<char>;

/// The pretended contents of both sides and of the base.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Scene {
    source: Content,
    destination: Content,
    base: Option<Content>,
    tombstone: bool,
    /// Kept under a conflict name on both sides.
    aside: Content,
    trash: BTreeSet<char>,
}

impl Scene {
    fn of(facts: Facts) -> Self {
        let edited =
            |side| if facts.equal { 'e' } else { ['s', 'd'][usize::from(side == Side::Destination)] };
        let content = |side| match facts.sight(side) {
            Sight::Same | Sight::Touched => Some('b'),
            Sight::Changed | Sight::New => Some(edited(side)),
            Sight::Absent | Sight::Unknown => None,
        };
        Self {
            source: content(Side::Source),
            destination: content(Side::Destination),
            base: (facts.base == Base::Agreed).then_some(Some('b')),
            tombstone: facts.base == Base::Tombstone,
            aside: None,
            trash: BTreeSet::new(),
        }
    }

    fn at(&mut self, side: Side) -> &mut Content {
        match side {
            Side::Source => &mut self.source,
            Side::Destination => &mut self.destination,
        }
    }

    fn set(&mut self, side: Side, content: Content) {
        let old = std::mem::replace(self.at(side), content);
        self.trash.extend(old);
    }

    fn carry_out(&mut self, step: Step) {
        match step {
            Step::Nothing | Step::Unresolved | Step::LeaveAlone | Step::Suspect => return,
            Step::Forget => self.base = None,
            Step::Entomb => (self.base, self.tombstone) = (None, true),
            Step::Adopt => self.base = Some(self.source),
            Step::Copy { to } => {
                let content = *self.at(to.other());
                self.set(to, content);
                self.base = Some(content);
            }
            Step::Delete { on } => {
                self.set(on, None);
                self.base = None;
            }
            Step::KeepBoth { winner } => {
                self.aside = *self.at(winner.other());
                let content = *self.at(winner);
                *self.at(winner.other()) = content;
                self.base = Some(content);
            }
        }
        if step != Step::Entomb {
            self.tombstone = false;
        }
    }

    /// The facts the next run would find, with nobody having touched anything.
    fn facts(&self, before: Facts) -> Facts {
        let sight = |content: Content| match (self.base, content) {
            (_, None) => Sight::Absent,
            (Some(base), content) if base == content => Sight::Same,
            (Some(_), _) => Sight::Changed,
            (None, _) => Sight::New,
        };
        let base = match (self.base, self.tombstone) {
            (Some(_), _) => Base::Agreed,
            (None, true) => Base::Tombstone,
            (None, false) => Base::None,
        };
        Facts { base, source: sight(self.source), destination: sight(self.destination), ..before }
    }

    fn live(&self) -> BTreeSet<char> {
        [self.source, self.destination, self.aside].into_iter().flatten().collect()
    }
}

fn swap_side(side: Side) -> Side {
    side.other()
}

fn swap_verdict(verdict: Verdict) -> Verdict {
    let step = match verdict.step {
        Step::Copy { to } => Step::Copy { to: swap_side(to) },
        Step::Delete { on } => Step::Delete { on: swap_side(on) },
        Step::KeepBoth { winner } => Step::KeepBoth { winner: swap_side(winner) },
        step => step,
    };
    let reason = match verdict.reason {
        Reason::Added(side) => Reason::Added(swap_side(side)),
        Reason::Changed(side) => Reason::Changed(swap_side(side)),
        Reason::Deleted(side) => Reason::Deleted(swap_side(side)),
        Reason::Restored(side) => Reason::Restored(swap_side(side)),
        Reason::NotOnAuthority(side) => Reason::NotOnAuthority(swap_side(side)),
        Reason::Reverted(side) => Reason::Reverted(swap_side(side)),
        Reason::AuthorityWins(side) => Reason::AuthorityWins(swap_side(side)),
        Reason::FirstSync(side) => Reason::FirstSync(swap_side(side)),
        Reason::EditSurvives(side) => Reason::EditSurvives(swap_side(side)),
        Reason::Strategy(ConflictStrategy::SourceWins, side) => {
            Reason::Strategy(ConflictStrategy::DestinationWins, swap_side(side))
        }
        Reason::Strategy(ConflictStrategy::DestinationWins, side) => {
            Reason::Strategy(ConflictStrategy::SourceWins, swap_side(side))
        }
        Reason::Strategy(strategy, side) => Reason::Strategy(strategy, swap_side(side)),
        Reason::BackupKeeps(side) => Reason::BackupKeeps(swap_side(side)),
        Reason::NotTakenOver(side) => Reason::NotTakenOver(swap_side(side)),
        reason => reason,
    };
    Verdict { step, reason, ..verdict }
}

fn swap_facts(facts: Facts) -> Facts {
    Facts { source: facts.destination, destination: facts.source, newer: facts.newer.map(swap_side), ..facts }
}

fn swap_policy(policy: Policy) -> Policy {
    use ConflictStrategy as C;
    Policy {
        mode: match policy.mode {
            SyncMode::SourceToDestination => SyncMode::DestinationToSource,
            SyncMode::DestinationToSource => SyncMode::SourceToDestination,
            SyncMode::SourceBackup => SyncMode::DestinationBackup,
            SyncMode::DestinationBackup => SyncMode::SourceBackup,
            SyncMode::TwoWay => SyncMode::TwoWay,
        },
        conflict: match policy.conflict {
            C::SourceWins => C::DestinationWins,
            C::DestinationWins => C::SourceWins,
            other => other,
        },
        first_sync_winner: policy.first_sync_winner.map(swap_side),
        ..policy
    }
}

/// Runs `check` over every case and says how many there were.
fn every_case(mut check: impl FnMut(Facts, Policy, Verdict)) -> usize {
    let (facts, policies) = (all_facts(), all_policies());
    for &facts in &facts {
        for &policy in &policies {
            check(facts, policy, decide(facts, policy));
        }
    }
    facts.len() * policies.len()
}

#[test]
fn i08_nothing_is_decided_from_something_unknown() {
    let cases = every_case(|facts, policy, verdict| {
        if facts.source == Sight::Unknown || facts.destination == Sight::Unknown {
            let nothing = Verdict { step: Step::Nothing, reason: Reason::Unknown, conflict: false };
            assert_eq!(verdict, nothing, "{facts:?} {policy:?}");
        } else {
            assert_ne!(verdict.reason, Reason::Unknown, "{facts:?} {policy:?}");
        }
    });
    println!("ci: planner cases {cases}, each judged by 12 predicates");
    assert_eq!(cases, (150 + 54 + 54) * 150);
}

#[test]
fn i01_every_version_is_afterwards_live_or_in_trash_and_losers_leave_visibly() {
    every_case(|facts, policy, verdict| {
        let before = Scene::of(facts);
        let mut after = before.clone();
        after.carry_out(verdict.step);
        let kept: BTreeSet<char> = after.live().union(&after.trash).copied().collect();
        assert!(before.live().is_subset(&kept), "{facts:?} {policy:?} {verdict:?}");
        // A two-way run that ends with an edit in the trash has met a conflict, or was told who wins.
        if policy.mode == SyncMode::TwoWay && !verdict.conflict {
            let won = policy.first_sync_winner.is_some() && facts.base != Base::Agreed;
            let lost: Vec<_> = before.live().difference(&after.live()).copied().collect();
            assert!(won || lost.iter().all(|content| *content == 'b'), "{facts:?} {policy:?} {verdict:?}");
        }
    });
}

#[test]
fn i14_the_rights_of_the_mode_are_kept() {
    every_case(|facts, policy, verdict| {
        let case = format!("{facts:?} {policy:?} {verdict:?}");
        match verdict.step {
            Step::Copy { to: Side::Destination } => assert!(policy.mode.allows_upload(), "{case}"),
            Step::Copy { to: Side::Source } => {
                assert!(policy.mode.allows_download(), "{case}");
                assert!(policy.pull || policy.mode != SyncMode::SourceBackup, "{case}");
            }
            Step::Delete { on } => assert!(policy.mode.allows_delete(on), "{case}"),
            Step::KeepBoth { .. } | Step::Unresolved => assert_eq!(policy.mode, SyncMode::TwoWay, "{case}"),
            _ => {}
        }
    });
}

#[test]
fn i03_a_deletion_has_evidence() {
    every_case(|facts, policy, verdict| {
        let Step::Delete { on } = verdict.step else { return };
        let case = format!("{facts:?} {policy:?} {verdict:?}");
        assert_eq!(facts.sight(on.other()), Sight::Absent, "{case}");
        assert!(facts.sight(on).is_present(), "{case}");
        let by_authority = policy.mode.is_mirror() && policy.mode.authority() == Some(on.other());
        let by_winner = policy.first_sync_winner == Some(on.other()) && facts.base != Base::Agreed;
        let by_base = facts.base == Base::Agreed && facts.sight(on) != Sight::Changed;
        assert!(by_authority || policy.mode == SyncMode::TwoWay && (by_winner || by_base), "{case}");
    });
}

#[test]
fn i11_merge_and_the_backup_modes_never_delete() {
    every_case(|facts, policy, verdict| {
        let merging = facts.base != Base::Agreed && policy.first_sync_winner.is_none();
        let never = policy.mode == SyncMode::TwoWay && merging
            || matches!(policy.mode, SyncMode::SourceBackup | SyncMode::DestinationBackup);
        assert!(!never || !matches!(verdict.step, Step::Delete { .. }), "{facts:?} {policy:?} {verdict:?}");
    });
}

#[test]
fn i06_what_is_equal_is_not_transferred() {
    every_case(|facts, policy, verdict| {
        let (source, destination) = (Scene::of(facts).source, Scene::of(facts).destination);
        if source.is_some() && source == destination {
            let edited = facts.source.is_edited();
            let touched = facts.source == Sight::Touched || facts.destination == Sight::Touched;
            let expected = if edited || touched { Step::Adopt } else { Step::Nothing };
            assert_eq!(verdict.step, expected, "{facts:?} {policy:?}");
            assert!(!verdict.conflict);
        }
    });
}

#[test]
fn i15_a_second_run_does_nothing() {
    every_case(|facts, policy, verdict| {
        let mut world = Scene::of(facts);
        if facts.source == Sight::Unknown || facts.destination == Sight::Unknown {
            return;
        }
        world.carry_out(verdict.step);
        let again = decide(world.facts(facts), policy);
        let case = format!("{facts:?} {policy:?} {verdict:?} then {again:?}");
        match verdict.step {
            Step::Unresolved | Step::LeaveAlone => assert_eq!(again, verdict, "{case}"),
            Step::Entomb => assert_eq!(again.step, Step::LeaveAlone, "{case}"),
            _ => assert_eq!(again.step, Step::Nothing, "{case}"),
        }
    });
}

#[test]
fn i19_after_a_two_way_run_both_sides_and_the_base_agree() {
    every_case(|facts, policy, verdict| {
        let known = facts.source != Sight::Unknown && facts.destination != Sight::Unknown;
        if policy.mode != SyncMode::TwoWay || !known || verdict.step == Step::Unresolved {
            return;
        }
        let mut world = Scene::of(facts);
        world.carry_out(verdict.step);
        assert_eq!(world.source, world.destination, "{facts:?} {policy:?} {verdict:?}");
        let base = if verdict.step == Step::Nothing { world.base } else { world.base.or(Some(None)) };
        assert!(base.is_none() || base == Some(world.source), "{facts:?} {policy:?} {verdict:?}");
    });
}

#[test]
fn i04_in_a_two_way_pair_edits_travel_and_survive() {
    every_case(|facts, policy, verdict| {
        if policy.mode != SyncMode::TwoWay || facts.base != Base::Agreed {
            return;
        }
        for edited in Side::BOTH {
            let other = facts.sight(edited.other());
            if facts.sight(edited) != Sight::Changed || other == Sight::Changed || other == Sight::Unknown {
                continue;
            }
            let mut world = Scene::of(facts);
            let edit = *world.at(edited);
            world.carry_out(verdict.step);
            assert_eq!((world.source, world.destination), (edit, edit), "{facts:?} {policy:?} {verdict:?}");
            assert_eq!(verdict.conflict, other == Sight::Absent, "{facts:?} {policy:?} {verdict:?}");
            assert!(world.trash.is_empty() || world.trash.contains(&'b'));
        }
    });
}

#[test]
fn a_conflict_ends_as_its_strategy_says() {
    every_case(|facts, policy, verdict| {
        let clash = facts.source.is_edited() && facts.destination.is_edited() && !facts.equal;
        let by_winner = policy.first_sync_winner.is_some() && facts.base != Base::Agreed;
        if policy.mode != SyncMode::TwoWay || !clash || by_winner {
            return;
        }
        let mut world = Scene::of(facts);
        world.carry_out(verdict.step);
        let ends = |content| (world.source, world.destination) == (Some(content), Some(content));
        let case = format!("{facts:?} {policy:?} {verdict:?}");
        assert!(verdict.conflict, "{case}");
        let content_of = |side| if side == Side::Source { 's' } else { 'd' };
        let loser_of = |side| if side == Side::Source { 'd' } else { 's' };
        match policy.conflict {
            ConflictStrategy::SourceWins => assert!(ends('s') && world.trash.contains(&'d'), "{case}"),
            ConflictStrategy::DestinationWins => assert!(ends('d') && world.trash.contains(&'s'), "{case}"),
            ConflictStrategy::NewestWins => match facts.newer {
                Some(side) => {
                    assert!(ends(content_of(side)) && world.trash.contains(&loser_of(side)), "{case}");
                }
                None => assert_eq!((verdict.step, verdict.reason), (Step::Unresolved, Reason::Tie), "{case}"),
            },
            ConflictStrategy::KeepBoth => {
                let winner = facts.newer.unwrap_or(Side::Source);
                assert!(ends(content_of(winner)) && world.aside == Some(loser_of(winner)), "{case}");
            }
            ConflictStrategy::Manual => {
                assert_eq!((verdict.step, verdict.reason), (Step::Unresolved, Reason::Manual), "{case}");
            }
        }
    });
}

#[test]
fn with_authority_the_other_side_follows() {
    every_case(|facts, policy, verdict| {
        let Some(authority) = policy.mode.authority() else { return };
        if facts.source == Sight::Unknown || facts.destination == Sight::Unknown {
            return;
        }
        let before = Scene::of(facts);
        let mut world = before.clone();
        world.carry_out(verdict.step);
        let case = format!("{facts:?} {policy:?} {verdict:?}");
        let (mut old, mut new) = (before.clone(), world.clone());
        let (lead, follow) = (*old.at(authority), *old.at(authority.other()));
        let (lead_now, follow_now) = (*new.at(authority), *new.at(authority.other()));
        let replica = facts.sight(authority.other());
        let leads = facts.sight(authority);
        assert!(!verdict.conflict || !policy.mode.is_mirror(), "{case}");
        if policy.mode.is_mirror() {
            assert_eq!((lead_now, follow_now), (lead, lead), "{case}");
            return;
        }
        let pulls = policy.mode == SyncMode::SourceBackup && policy.pull;
        let strict = policy.mode == SyncMode::SourceBackup && !policy.pull;
        match (lead, follow) {
            (None, None) => assert_eq!((lead_now, follow_now), (None, None), "{case}"),
            // A backup fetches an addition only if it pulls, and never what was deleted at its source.
            (None, Some(_)) if pulls && facts.base == Base::None => assert_eq!(lead_now, follow, "{case}"),
            (None, Some(_)) => assert_eq!((lead_now, follow_now), (None, follow), "{case}"),
            (Some(_), _) if replica.is_edited() && !leads.is_edited() && pulls => {
                assert_eq!((lead_now, follow_now), (follow, follow), "{case}");
            }
            (Some(_), Some(_)) if replica.is_edited() && !leads.is_edited() && strict => {
                assert_eq!((lead_now, follow_now), (lead, follow), "{case}");
            }
            (Some(_), _) => assert_eq!((lead_now, follow_now), (lead, lead), "{case}"),
        }
    });
}

#[test]
fn the_winner_of_a_first_sync_is_obeyed_once() {
    every_case(|facts, policy, verdict| {
        let Some(winner) = policy.first_sync_winner else { return };
        let without = decide(facts, Policy { first_sync_winner: None, ..policy });
        let case = format!("{facts:?} {policy:?} {verdict:?}");
        let acts = policy.mode == SyncMode::TwoWay && facts.base != Base::Agreed;
        if !acts {
            assert_eq!(verdict, without, "{case}");
        } else if acts && facts.source != Sight::Unknown && facts.destination != Sight::Unknown {
            let mut world = Scene::of(facts);
            let wins = *world.at(winner);
            world.carry_out(verdict.step);
            assert_eq!((world.source, world.destination), (wins, wins), "{case}");
            assert!(!verdict.conflict, "{case}");
        }
    });
}

#[test]
fn i20_swapping_the_sides_swaps_the_plan() {
    every_case(|facts, policy, verdict| {
        let backup = matches!(policy.mode, SyncMode::SourceBackup | SyncMode::DestinationBackup);
        let replica_edited =
            policy.mode.authority().is_some_and(|side| facts.sight(side.other()).is_edited());
        // The two backup modes differ in what they do with edits of their copy; a tie goes to the source.
        let tie = policy.conflict == ConflictStrategy::KeepBoth && facts.newer.is_none();
        if backup && replica_edited || tie {
            return;
        }
        let mirrored = decide(swap_facts(facts), swap_policy(policy));
        assert_eq!(swap_verdict(mirrored), verdict, "{facts:?} {policy:?}");
    });
}

#[test]
fn choices_that_do_not_apply_change_nothing() {
    every_case(|facts, policy, verdict| {
        let case = format!("{facts:?} {policy:?}");
        if policy.mode != SyncMode::TwoWay {
            let other = Policy { conflict: ConflictStrategy::Manual, ..policy };
            assert_eq!(decide(facts, other), verdict, "{case}");
        }
        if policy.mode != SyncMode::SourceBackup {
            assert_eq!(decide(facts, Policy { pull: !policy.pull, ..policy }), verdict, "{case}");
        }
        if !(facts.source.is_edited() && facts.destination.is_edited()) {
            assert_eq!(
                decide(Facts { equal: !facts.equal, newer: None, ..facts }, policy),
                verdict,
                "{case}"
            );
        }
    });
}

#[test]
fn every_mode_takes_exactly_the_steps_it_may_take() {
    let mut taken: HashSet<(SyncMode, String)> = HashSet::new();
    every_case(|_, policy, verdict| {
        taken.insert((policy.mode, format!("{:?}", verdict.step)));
    });
    let of = |mode| {
        let mut steps: Vec<_> = taken.iter().filter(|(m, _)| *m == mode).map(|(_, s)| s.as_str()).collect();
        steps.sort_unstable();
        steps.join("; ").replace(" {", "{").replace(" }", "}")
    };
    assert_eq!(
        of(SyncMode::TwoWay),
        "Adopt; Copy{ to: Destination}; Copy{ to: Source}; Delete{ on: Destination}; Delete{ on: Source}; Forget; \
         KeepBoth{ winner: Destination}; KeepBoth{ winner: Source}; Nothing; Unresolved"
    );
    assert_eq!(
        of(SyncMode::SourceToDestination),
        "Adopt; Copy{ to: Destination}; Delete{ on: Destination}; Forget; Nothing"
    );
    assert_eq!(
        of(SyncMode::DestinationToSource),
        "Adopt; Copy{ to: Source}; Delete{ on: Source}; Forget; Nothing"
    );
    assert_eq!(
        of(SyncMode::SourceBackup),
        "Adopt; Copy{ to: Destination}; Copy{ to: Source}; Entomb; Forget; LeaveAlone; Nothing"
    );
    assert_eq!(
        of(SyncMode::DestinationBackup),
        "Adopt; Copy{ to: Source}; Entomb; Forget; LeaveAlone; Nothing"
    );
}
