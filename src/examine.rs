//! Evidence: what a listing and the base do not decide is read here, and nothing else is.
//!
//! Turns a [`Change`] into the [`Facts`] the planner decides on. A local file whose stat differs from the
//! base's at equal size is read to see whether its content changed; two new files of one size are compared
//! as the comparison mode says; times are fetched only where a strategy needs them. [`first_sight`] is pure.

use std::sync::Arc;

use futures::StreamExt;

use crate::client::{Listed, SkipReason, StorageClient};
use crate::diff::{Change, Observed};
use crate::entry::{Entry, Timestamp};
use crate::error::{Error, ErrorKind, Result};
use crate::fingerprint::{ContentHash, Fingerprint, HashForm, Hasher, likely_part_sizes};
use crate::key::Key;
use crate::mode::{ComparisonMode, ConflictStrategy};
use crate::plan::rollback::Rollback;
use crate::plan::spare::{keep_rules, keep_vanished, spare};
use crate::plan::{Base, Facts, Item, Policy, Sight, Step, Verdict, decide::decide};
use crate::side::{Side, Sides};
use crate::state::{Agreed, BaseRow};

mod doubt;
mod settle;

use doubt::{Doubt, has_changed};

/// Two stamps this close count as equal where times decide, in nanoseconds: FAT keeps even seconds.
const TIME_WINDOW_NANOSECONDS: u128 = 2_000_000_000;

/// The two clients of a pair.
pub type Clients = Sides<Arc<dyn StorageClient>>;

/// What the stat of a version says against the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstSight {
    /// The version of the base.
    Same,
    /// The version of the base, of which no listing has told until now that the store has it.
    Proven,
    /// Other content.
    Changed,
    /// The content must be read, and hashed in this form, to tell.
    Ask(HashForm),
}

/// Compares what `side` shows with what it showed when both sides agreed.
pub fn first_sight(base: &Agreed, side: Side, entry: &Entry) -> FirstSight {
    if entry.size != base.size {
        return FirstSight::Changed;
    }
    match (base.fingerprint(side), &entry.fingerprint) {
        // Without a hash nothing better can be had than the stat.
        (Fingerprint::File(was), Fingerprint::File(is))
            if was.is_same(is) && (was.settled || base.hash.is_none()) =>
        {
            FirstSight::Same
        }
        (Fingerprint::Object(was), Fingerprint::Object(is)) if was == is => FirstSight::Same,
        (Fingerprint::File(_), Fingerprint::File(_)) => {
            base.hash.map_or(FirstSight::Changed, |hash| FirstSight::Ask(hash.form()))
        }
        _ => FirstSight::Changed,
    }
}

/// Reads what must be read.
#[derive(Debug, Clone)]
pub struct Examiner {
    /// The two sides.
    pub clients: Clients,
    /// How files without a common past are compared.
    pub compare: ComparisonMode,
    /// The user's choices.
    pub policy: Policy,
    /// Whether tombstones in the base were written by a backup run of this mode.
    pub tombstones_hold: bool,
    /// Which sides were put back to an earlier state.
    pub rollback: Rollback,
}

/// What examining a path came to.
#[derive(Debug)]
pub enum Examined {
    /// The facts and the decision.
    Item(Box<Item>),
    /// The path changed while it was looked at.
    Moving(Key),
    /// The path could not be read.
    Unreadable(Key, Error),
}

impl Examiner {
    /// Returns whether neither side is a folder, so that names count which no file can have.
    pub fn are_stores(&self) -> bool {
        Side::BOTH.into_iter().all(|side| !self.clients.get(side).is_folder())
    }

    /// Compares what `side` shows with what it showed when both sides agreed, if it is still the same folder.
    pub fn first_sight(&self, base: &Agreed, side: Side, entry: &Entry) -> FirstSight {
        match first_sight(base, side, entry) {
            FirstSight::Same if *self.rollback.exchanged.get(side) => {
                base.hash.map_or(FirstSight::Changed, |hash| FirstSight::Ask(hash.form()))
            }
            FirstSight::Same if base.tail.unlisted().is_some_and(|unlisted| unlisted.on == side) => {
                FirstSight::Proven
            }
            sight => sight,
        }
    }

    /// Decides as if no side had gone back, about a path that a side only seemed to have from an earlier state.
    pub fn decide_anew(&self, item: &mut Item) {
        item.strayed = None;
        item.verdict = keep_rules(&item.key, decide(item.facts, self.policy), item.facts, self.policy);
    }

    /// Finds out what `change` is about and decides.
    pub async fn examine(&self, change: Change) -> Examined {
        let key = change.key.clone();
        match self.try_examine(change).await {
            Ok(item) => Examined::Item(Box::new(item)),
            Err(error) if matches!(error.kind(), ErrorKind::Changed | ErrorKind::NotFound) => {
                Examined::Moving(key)
            }
            Err(error) => Examined::Unreadable(key, error),
        }
    }

    async fn try_examine(&self, change: Change) -> Result<Item> {
        let Change { key, base, mut sides } = change;
        let intent = base.as_ref().and_then(|base| base.tail().intent());
        let (base, settled) = self.settle(&key, base, &sides).await?;
        self.look_for_what_is_nowhere(&key, base.as_ref(), &mut sides).await?;
        let doubt = self.doubt(&key, base.as_ref(), &mut sides).await?;
        let again = self.again(&key, base.as_ref(), &mut sides).await?;
        let (known, base) = match base {
            Some(BaseRow::Agreed(agreed)) if agreed.is_only_announced(is_file(&sides)) => (Base::None, None),
            Some(BaseRow::Agreed(agreed)) => (Base::Agreed, Some(agreed)),
            Some(BaseRow::Tombstone(_)) if self.tombstones_hold => (Base::Tombstone, None),
            Some(BaseRow::Deleted(_)) if again.is_some() => (Base::Agreed, None),
            // What was about to be made is nowhere.
            Some(BaseRow::Begun(_)) => (Base::Agreed, None),
            Some(BaseRow::Tombstone(_) | BaseRow::Deleted(_)) | None => (Base::None, None),
        };
        let mut hashes = Sides::new(None, None);
        let mut sights = self.sights(&sides, base.as_ref(), (again, doubt), &mut hashes).await?;
        sights = self.as_put_back(base.as_ref(), &sides, sights);
        let damaged = damaged(base.as_ref(), &sides);
        let strayed = self.rollback.strays(&key, known, sights);
        let vanished = match doubt {
            Some(Doubt::Gone { on, is_given_up }) if strayed.is_none() => {
                let is_old = |base: &Agreed| !has_changed(base, on.other(), &sides, *sights.get(on.other()));
                Some((on, is_given_up && base.as_ref().is_some_and(is_old)))
            }
            _ => None,
        };
        let is_void = strayed.is_some() || vanished.is_some() || doubt == Some(Doubt::Other);
        // What is known of a path tells more than a time that is near: to compare by it is for those of which nothing is.
        let is_kept = strayed.is_some() && sights == Sides::new(Sight::Same, Sight::Same);
        let is_known = known == Base::Agreed || intent.is_some();
        let compare = if is_known { ComparisonMode::HashOnly } else { self.compare };
        let is_edit = vanished.is_some() && sights.source.is_present() && sights.destination.is_present();
        let (known, base) = if is_edit {
            (Base::Agreed, None)
        } else if is_void {
            (Base::None, None)
        } else {
            (known, base)
        };
        if is_edit {
            // It has what it had, or a stump: what the other side has is an edit of that.
            sights = Sides::new(Sight::Changed, Sight::Changed);
            if let Some((on, _)) = vanished {
                *sights.get_mut(on) = Sight::Same;
            }
        } else if is_void {
            sights = Sides::new(as_first_seen(sights.source), as_first_seen(sights.destination));
        }
        let mut found = Sides::new(file(sides.source), file(sides.destination));
        let decide = |facts: Facts| match strayed {
            Some((side, _)) => self.rollback.decide(side, facts, self.policy),
            None => decide(facts, self.policy),
        };
        let mut facts = Facts {
            base: known,
            source: sights.source,
            destination: sights.destination,
            equal: false,
            newer: None,
        };
        if let (Some(source), Some(destination)) = (&mut found.source, &mut found.destination)
            && facts.source.is_edited()
            && facts.destination.is_edited()
        {
            facts.equal = is_kept || self.equal(compare, source, destination, &mut hashes).await?;
            match self.as_left_damaged(intent.as_ref(), facts, &Sides::new(source, destination)).await? {
                Some(left) => facts = left,
                None => self.weigh_conflict(&mut facts, source, destination, &mut hashes, &decide).await?,
            }
        }
        let verdict = keep_rules(&key, decide(facts), facts, self.policy);
        let verdict = spare(verdict, facts, damaged, self.policy);
        let verdict = match vanished {
            Some((on, is_given_up)) => keep_vanished(verdict, on, is_given_up),
            None => verdict,
        };
        let strayed = strayed.map(|(_, how)| how);
        let settled = settled.map(Box::new);
        Ok(Item { key, base: base.map(Box::new), found, hashes, facts, verdict, strayed, settled })
    }

    /// Returns what each side shows against the base.
    async fn sights(
        &self,
        sides: &Sides<Observed>,
        base: Option<&Agreed>,
        (again, doubt): (Option<Side>, Option<Doubt>),
        hashes: &mut Sides<Option<ContentHash>>,
    ) -> Result<Sides<Sight>> {
        let mut sights = Sides::new(Sight::Unknown, Sight::Unknown);
        for side in Side::BOTH {
            *sights.get_mut(side) = match sides.get(side) {
                Observed::Absent => Sight::Absent,
                Observed::Unknown => Sight::Unknown,
                Observed::File(_) if again == Some(side) => Sight::Same,
                Observed::File(_) if matches!(doubt, Some(Doubt::Gone { on, .. }) if on == side) => {
                    Sight::Same
                }
                Observed::File(_) if base.is_none() => Sight::New,
                Observed::File(entry) => self.against_base(side, entry, base, hashes).await?,
            };
            if doubt == Some(Doubt::Unlisted(side)) && *sights.get(side) == Sight::Touched {
                // It is no news as long as no listing shows it.
                *sights.get_mut(side) = Sight::Same;
            }
        }
        Ok(sights)
    }

    async fn against_base(
        &self,
        side: Side,
        entry: &Entry,
        base: Option<&Agreed>,
        hashes: &mut Sides<Option<ContentHash>>,
    ) -> Result<Sight> {
        let Some(base) = base else { return Ok(Sight::New) };
        if base.fingerprint(side) == &entry.fingerprint
            && matches!(entry.fingerprint, Fingerprint::Object(_))
            && base.size != entry.size
        {
            // No edit: the store has not all of what was written, and must not be believed.
            let (is, was) = (entry.size, base.size);
            let message = format!(
                "the store shows the version of `{}` that had {was} bytes with {is} bytes",
                entry.key
            );
            let hint = "write the file anew on the other side, and it is sent again";
            return Err(Error::new(ErrorKind::Corrupt, message).with_hint(hint));
        }
        Ok(match self.first_sight(base, side, entry) {
            FirstSight::Same => Sight::Same,
            FirstSight::Proven => Sight::Touched,
            FirstSight::Changed => Sight::Changed,
            FirstSight::Ask(form) => {
                let hash = self.hash(side, entry, &[form]).await?.first().copied();
                *hashes.get_mut(side) = hash;
                if hash == base.hash { Sight::Touched } else { Sight::Changed }
            }
        })
    }

    /// Finds the later version and the loser's hash, if the decision is a conflict that needs them.
    async fn weigh_conflict(
        &self,
        facts: &mut Facts,
        source: &mut Entry,
        destination: &mut Entry,
        hashes: &mut Sides<Option<ContentHash>>,
        decide: &(impl Fn(Facts) -> Verdict + Sync),
    ) -> Result<()> {
        let timed = matches!(self.policy.conflict, ConflictStrategy::NewestWins | ConflictStrategy::KeepBoth)
            || self.rollback.is_any();
        if facts.equal || !timed || !decide(*facts).conflict {
            return Ok(());
        }
        let times = Sides::new(
            self.modified(Side::Source, source).await?,
            self.modified(Side::Destination, destination).await?,
        );
        facts.newer = later(times);
        if let Step::KeepBoth { winner } = decide(*facts).step {
            let loser = winner.other();
            let entry = if loser == Side::Source { source } else { destination };
            if hashes.get(loser).is_none() {
                *hashes.get_mut(loser) = self.hash(loser, entry, &[HashForm::Whole]).await?.first().copied();
            }
        }
        Ok(())
    }

    /// Returns when the version was modified, asking the client if the listing did not say.
    async fn modified(&self, side: Side, entry: &mut Entry) -> Result<Option<Timestamp>> {
        if entry.modified.is_none()
            && let Some(Listed::File(now)) = self.clients.get(side).head(&entry.key).await?
            && now.fingerprint == entry.fingerprint
        {
            entry.modified = now.modified;
        }
        Ok(entry.modified)
    }

    /// Compares two versions, as `mode` says.
    async fn equal(
        &self,
        mode: ComparisonMode,
        source: &mut Entry,
        destination: &mut Entry,
        hashes: &mut Sides<Option<ContentHash>>,
    ) -> Result<bool> {
        let same_size = source.size == destination.size;
        match mode {
            ComparisonMode::SizeOnly => return Ok(same_size),
            ComparisonMode::MtimeOnly => return self.same_time(source, destination).await,
            _ if !same_size => return Ok(false),
            ComparisonMode::SizeAndMtime => return self.same_time(source, destination).await,
            ComparisonMode::HashThenMtime | ComparisonMode::HashOnly => {}
        }
        if let Some(equal) = self.same_hash(source, destination, hashes).await? {
            return Ok(equal);
        }
        if mode == ComparisonMode::HashThenMtime {
            return self.same_time(source, destination).await;
        }
        for (side, entry) in [(Side::Source, source), (Side::Destination, destination)] {
            *hashes.get_mut(side) = self.hash(side, entry, &[HashForm::Whole]).await?.first().copied();
        }
        Ok(hashes.source == hashes.destination)
    }

    async fn same_time(&self, source: &mut Entry, destination: &mut Entry) -> Result<bool> {
        let source = self.modified(Side::Source, source).await?;
        let destination = self.modified(Side::Destination, destination).await?;
        Ok(matches!((source, destination),
            (Some(a), Some(b)) if a.distance_nanoseconds(b) <= TIME_WINDOW_NANOSECONDS))
    }

    /// Compares by hashes that need no transfer; `None` if there are none that can be compared.
    async fn same_hash(
        &self,
        source: &Entry,
        destination: &Entry,
        hashes: &mut Sides<Option<ContentHash>>,
    ) -> Result<Option<bool>> {
        let known = Sides::new(listed_hashes(source), listed_hashes(destination));
        let is_local = |entry: &Entry| matches!(entry.fingerprint, Fingerprint::File(_));
        let forms: Vec<HashForm> = match (is_local(source), is_local(destination)) {
            (true, true) => vec![HashForm::Whole],
            (true, false) => known.destination.iter().map(ContentHash::form).collect(),
            (false, true) => known.source.iter().map(ContentHash::form).collect(),
            (false, false) => Vec::new(),
        };
        let all = Sides::new(
            if is_local(source) && !forms.is_empty() {
                self.hash(Side::Source, source, &forms).await?
            } else {
                known.source
            },
            if is_local(destination) && !forms.is_empty() {
                self.hash(Side::Destination, destination, &forms).await?
            } else {
                known.destination
            },
        );
        if let Some(hash) = all.source.iter().find(|hash| all.destination.contains(hash)) {
            *hashes = Sides::new(Some(*hash), Some(*hash));
            return Ok(Some(true));
        }
        let whole =
            |hashes: &[ContentHash]| hashes.iter().find(|hash| hash.form() == HashForm::Whole).copied();
        // What a listing shows of an object only looks like a hash, or its part size was only a guess: the store is asked.
        let (proof, other) = match (is_local(source), is_local(destination)) {
            (true, true) => {
                *hashes = Sides::new(whole(&all.source), whole(&all.destination));
                return Ok(Some(false));
            }
            (true, false) => {
                let proof = self.proof(Side::Destination, destination).await?;
                (proof, self.in_form_of(proof, Side::Source, source, &all.source).await?)
            }
            (false, true) => {
                let proof = self.proof(Side::Source, source).await?;
                (proof, self.in_form_of(proof, Side::Destination, destination, &all.destination).await?)
            }
            (false, false) => {
                let other = self.proof(Side::Destination, destination).await?;
                (self.proof(Side::Source, source).await?, other)
            }
        };
        let Some((proof, other)) = proof.zip(other).filter(|(proof, other)| proof.form() == other.form())
        else {
            *hashes = Sides::new(None, None);
            return Ok(None);
        };
        let (ours, theirs) = if is_local(source) { (other, proof) } else { (proof, other) };
        let is_equal = ours == theirs;
        let told = |hash: ContentHash| Some(hash).filter(|hash| is_equal || hash.form() == HashForm::Whole);
        *hashes = Sides::new(told(ours), told(theirs));
        Ok(Some(is_equal))
    }

    /// Returns the hash of a file in the form that another one has: one of those that are known, or it is read.
    async fn in_form_of(
        &self,
        proof: Option<ContentHash>,
        side: Side,
        file: &Entry,
        known: &[ContentHash],
    ) -> Result<Option<ContentHash>> {
        let Some(form) = proof.map(|proof| proof.form()) else { return Ok(None) };
        if let Some(hash) = known.iter().find(|hash| hash.form() == form) {
            return Ok(Some(*hash));
        }
        Ok(self.hash(side, file, &[form]).await?.first().copied())
    }

    /// Compares two versions of a path by reading both.
    ///
    /// # Errors
    /// What reading them ended with.
    pub async fn equal_content(&self, source: &Entry, destination: &Entry) -> Result<bool> {
        if source.size != destination.size {
            return Ok(false);
        }
        let whole = [HashForm::Whole];
        let hash =
            |side, entry| async move { self.hash(side, entry, &whole).await.map_err(|error| error.at(side)) };
        let (ours, theirs) =
            futures::try_join!(hash(Side::Source, source), hash(Side::Destination, destination))?;
        Ok(ours == theirs)
    }

    /// Compares two versions of a path by size, and by the ETag of an object: with that of another object, or
    /// with what a file would have if it were uploaded, in parts of the usual sizes. No object is read, nor two
    /// files. ETags that are not made of content tell nothing, and sizes decide.
    ///
    /// # Errors
    /// What reading a file, or asking for an object, ended with.
    pub async fn equal_as_listed(&self, source: &Entry, destination: &Entry) -> Result<bool> {
        if source.size != destination.size {
            return Ok(false);
        }
        let is_local = |entry: &Entry| matches!(entry.fingerprint, Fingerprint::File(_));
        let (file, side, object) = match (is_local(source), is_local(destination)) {
            (true, true) => return Ok(true),
            (true, false) => (source, Side::Source, destination),
            (false, true) => (destination, Side::Destination, source),
            (false, false) if source.fingerprint == destination.fingerprint => return Ok(true),
            (false, false) => {
                let ours = self.proof(Side::Source, source).await?;
                let theirs = self.proof(Side::Destination, destination).await?;
                return Ok(ours.zip(theirs).is_none_or(|(a, b)| a.form() != b.form() || a == b));
            }
        };
        let listed = listed_hashes(object);
        let forms: Vec<HashForm> = listed.iter().map(ContentHash::form).collect();
        if !listed.is_empty() && self.hash(side, file, &forms).await?.iter().any(|hash| listed.contains(hash))
        {
            return Ok(true);
        }
        let Some(proof) = self.proof(side.other(), object).await? else { return Ok(true) };
        // Of the forms that were only guessed none fitted, or the true one was not among them.
        let found = if forms.contains(&proof.form()) {
            Vec::new()
        } else {
            self.hash(side, file, &[proof.form()]).await?
        };
        Ok(found.contains(&proof))
    }

    /// Returns the hash that the ETag of an object is, if it is one: the store is asked, but the object not read. Where
    /// a store encrypts with keys of others its ETags only look like hashes.
    async fn proof(&self, side: Side, object: &Entry) -> Result<Option<ContentHash>> {
        if listed_hashes(object).is_empty() {
            return Ok(None);
        }
        self.clients.get(side).known_hash(object).await
    }

    /// Reads a version once and hashes it in each of `forms`.
    ///
    /// # Errors
    /// [`ErrorKind::Changed`] if it is not that version any more, else what reading it ended with.
    pub async fn hash(&self, side: Side, entry: &Entry, forms: &[HashForm]) -> Result<Vec<ContentHash>> {
        match self.hash_once(side, entry, forms).await {
            // What came damaged may come whole, or a client find out that its proof is none.
            Err(error) if error.is_worth_a_try() => self.hash_once(side, entry, forms).await,
            hashes => hashes,
        }
    }

    async fn hash_once(&self, side: Side, entry: &Entry, forms: &[HashForm]) -> Result<Vec<ContentHash>> {
        let mut body = self.clients.get(side).read(entry).await?;
        // What was damaged on its way must not look like an edit.
        let proof = body.proof.map(|proof| proof.form()).filter(|form| !forms.contains(form));
        let mut hashers: Vec<Hasher> = forms.iter().copied().chain(proof).map(Hasher::new).collect();
        while let Some(chunk) = body.chunks.next().await {
            let chunk = chunk?;
            for hasher in &mut hashers {
                hasher.update(&chunk);
            }
        }
        let mut hashes: Vec<ContentHash> = hashers.into_iter().map(Hasher::finish).collect();
        if body.proof.is_some_and(|proof| !hashes.contains(&proof)) {
            let message = format!("read `{}`: the bytes that came are not those of the version", entry.key);
            return Err(Error::new(ErrorKind::Unavailable, message).with_hint(crate::client::DAMAGED));
        }
        hashes.truncate(forms.len());
        Ok(hashes)
    }
}

/// Looks again at one path of a side, for planning it again.
pub(crate) async fn look_again(clients: &Clients, side: Side, key: &Key) -> Result<Observed> {
    Ok(match clients.get(side).head(key).await? {
        None | Some(Listed::Skipped(_, SkipReason::EmptyFolder)) => Observed::Absent,
        Some(Listed::File(entry)) => Observed::File(entry),
        Some(Listed::Unknown(_, error)) => return Err(error),
        Some(_) => Observed::Unknown,
    })
}

/// Returns what a side shows if the base does not count.
fn as_first_seen(sight: Sight) -> Sight {
    if sight.is_present() { Sight::New } else { sight }
}

/// Returns on which sides a file is empty that was not, although its modification time is still that of the base: no
/// program writes so, but a disk after a power cut does.
fn damaged(base: Option<&Agreed>, sides: &Sides<Observed>) -> Sides<bool> {
    let on = |side: Side| {
        let (Some(base), Observed::File(entry)) = (base, sides.get(side)) else { return false };
        let (Fingerprint::File(was), Fingerprint::File(is)) = (base.fingerprint(side), &entry.fingerprint)
        else {
            return false;
        };
        entry.size == 0 && base.size > 0 && was.modified == is.modified && tells_versions_apart(is.modified)
    };
    Sides::new(on(Side::Source), on(Side::Destination))
}

/// Returns whether no other version is likely to have a time: one without a fraction of a second proves too little.
pub(crate) fn tells_versions_apart(modified: Timestamp) -> bool {
    modified.nanoseconds != 0
}

fn is_file(sides: &Sides<Observed>) -> Sides<bool> {
    let is_file = |observed: &Observed| matches!(observed, Observed::File(_));
    Sides::new(is_file(&sides.source), is_file(&sides.destination))
}

fn file(observed: Observed) -> Option<Entry> {
    match observed {
        Observed::File(entry) => Some(entry),
        Observed::Absent | Observed::Unknown => None,
    }
}

fn later(times: Sides<Option<Timestamp>>) -> Option<Side> {
    match times.source?.compare_coarsely(times.destination?) {
        std::cmp::Ordering::Greater => Some(Side::Source),
        std::cmp::Ordering::Less => Some(Side::Destination),
        std::cmp::Ordering::Equal => None,
    }
}

/// Returns the content hashes the listing of an object tells: its ETag in MD5 form, or for a multipart
/// ETag one for each part size it could have been made with.
pub fn listed_hashes(entry: &Entry) -> Vec<ContentHash> {
    let Fingerprint::Object(etag) = &entry.fingerprint else { return Vec::new() };
    if let Some(hash) = etag.whole_md5() {
        return vec![hash];
    }
    let Some((md5, count)) = etag.multipart() else { return Vec::new() };
    likely_part_sizes(entry.size, count)
        .into_iter()
        .map(|size| ContentHash { md5, parts: Some(crate::fingerprint::Parts { count, size }) })
        .collect()
}

#[cfg(test)]
mod tests;
