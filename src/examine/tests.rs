//! Evidence from stats, listings and contents, over trees in memory.

use super::*;
use crate::client::memory::MemoryClient;
use crate::fingerprint::{ETag, FileStat, Parts};
use crate::key::Key;
use crate::mode::SyncMode;
use crate::plan::Reason;

const MIB: usize = 1024 * 1024;

fn key(name: &str) -> Key {
    Key::parse(name).unwrap()
}

fn hash(form: HashForm, content: &[u8]) -> ContentHash {
    let mut hasher = Hasher::new(form);
    hasher.update(content);
    hasher.finish()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::new(seconds, 0)
}

fn stat(inode: u64, settled: bool) -> Fingerprint {
    Fingerprint::File(FileStat { modified: at(1), changed: at(2), inode, settled })
}

fn object(tag: &str) -> Fingerprint {
    Fingerprint::Object(ETag::new(tag))
}

fn entry(size: u64, fingerprint: Fingerprint) -> Entry {
    Entry { key: key("a"), size, modified: Some(at(1)), stored: None, fingerprint }
}

/// Two trees in memory and what examines them.
struct Trees {
    source: Arc<MemoryClient>,
    destination: Arc<MemoryClient>,
    examiner: Examiner,
}

impl Trees {
    fn new(compare: ComparisonMode, conflict: ConflictStrategy) -> Self {
        let source = Arc::new(MemoryClient::new("memory:source"));
        let destination = Arc::new(MemoryClient::new("memory:destination"));
        let clients: Clients = Sides::new(
            Arc::<MemoryClient>::clone(&source) as Arc<dyn StorageClient>,
            Arc::<MemoryClient>::clone(&destination) as Arc<dyn StorageClient>,
        );
        let policy = Policy { mode: SyncMode::TwoWay, pull: true, conflict, first_sync_winner: None };
        let examiner =
            Examiner { clients, compare, policy, tombstones_hold: false, rollback: Rollback::default() };
        Self { source, destination, examiner }
    }

    fn client(&self, side: Side) -> &MemoryClient {
        match side {
            Side::Source => &self.source,
            Side::Destination => &self.destination,
        }
    }

    /// Puts a file on a side and returns what a listing shows of it.
    async fn put(&self, side: Side, content: &str, time: i64) -> Entry {
        self.client(side).put(key("a"), content.to_owned(), at(time));
        match self.client(side).head(&key("a")).await.unwrap() {
            Some(Listed::File(entry)) => entry,
            other => panic!("{other:?}"),
        }
    }

    /// Puts two files that are `apart` seconds and returns their entries.
    async fn both(&self, source: &str, destination: &str, apart: i64) -> Sides<Entry> {
        let source = self.put(Side::Source, source, 1_000).await;
        Sides::new(source, self.put(Side::Destination, destination, 1_000 + apart).await)
    }

    /// How often contents were read.
    fn reads(&self) -> u64 {
        let reads = |client: &MemoryClient| client.requests().get("read").copied().unwrap_or(0);
        reads(&self.source) + reads(&self.destination)
    }

    async fn item(&self, base: Option<BaseRow>, sides: Sides<Observed>) -> Item {
        match self.examiner.examine(Change { key: key("a"), base, sides }).await {
            Examined::Item(item) => *item,
            other => panic!("{other:?}"),
        }
    }
}

fn files(entries: &Sides<Entry>) -> Sides<Observed> {
    Sides::new(Observed::File(entries.source.clone()), Observed::File(entries.destination.clone()))
}

fn agreed(content: &str, seen: Sides<Fingerprint>) -> BaseRow {
    let hash = Some(hash(HashForm::Whole, content.as_bytes()));
    BaseRow::Agreed(Agreed::new(content.len() as u64, hash, seen))
}

/// The row stands for nothing until the other side has the file, for the rename may never have taken place.
#[tokio::test]
async fn i16_an_announced_rename_counts_when_it_has_taken_place() {
    let trees = Trees::new(ComparisonMode::HashOnly, ConflictStrategy::Manual);
    for side in Side::BOTH {
        let other = side.other();
        let renamed = trees.put(other, "xx", 1).await;
        let edited = trees.put(side, "edited", 2).await;
        let seen = Sides::new(renamed.fingerprint.clone(), renamed.fingerprint.clone());
        let BaseRow::Agreed(row) = agreed("xx", seen) else { unreachable!() };
        let row = BaseRow::Agreed(row.announced(side, &key("old")));
        let copy = |to| Step::Copy { to };
        for (here, there, base, step) in [
            (false, true, Base::None, copy(side)),
            (true, true, Base::Agreed, copy(other)),
            (true, false, Base::Agreed, copy(other)),
            (false, false, Base::Agreed, Step::Forget),
        ] {
            let file = |entry: &Entry, is_there: bool| {
                if is_there { Observed::File(entry.clone()) } else { Observed::Absent }
            };
            let mut sides = Sides::new(file(&renamed, there), file(&renamed, there));
            *sides.get_mut(side) = file(&edited, here);
            if !here && !there {
                for side in Side::BOTH {
                    trees.client(side).remove_now(&key("a"));
                }
            }
            let item = trees.item(Some(row.clone()), sides).await;
            assert_eq!((item.facts.base, item.verdict.step), (base, step), "{here} at {side}, {there}");
            assert!(!item.verdict.conflict || !there);
        }
    }
}

#[test]
fn a_first_sight_of_a_version_believes_what_cannot_be_otherwise_and_asks_for_the_rest() {
    use FirstSight::{Ask, Changed, Same};
    let whole = Some(hash(HashForm::Whole, b"xx"));
    let parts = Some(hash(HashForm::Parts(8), b"xx"));
    let rows = [
        ("untouched", stat(5, true), whole, 2, stat(5, true), Same),
        ("settled since", stat(5, true), whole, 2, stat(5, false), Same),
        ("it was too fresh to prove anything", stat(5, false), whole, 2, stat(5, true), Ask(HashForm::Whole)),
        ("touched or replaced", stat(5, true), whole, 2, stat(6, true), Ask(HashForm::Whole)),
        ("hashed in parts", stat(5, true), parts, 2, stat(6, true), Ask(HashForm::Parts(8))),
        ("nobody knows the content", stat(5, true), None, 2, stat(6, true), Changed),
        ("too fresh, content unknown", stat(5, false), None, 2, stat(5, false), Same),
        ("unknown content, same stat", stat(5, true), None, 2, stat(5, true), Same),
        ("another size", stat(5, true), whole, 3, stat(5, true), Changed),
        ("another size, touched", stat(5, true), whole, 3, stat(6, true), Changed),
        ("the same object", object("t"), whole, 2, object("t"), Same),
        ("another object", object("t"), whole, 2, object("u"), Changed),
        ("another size of object", object("t"), whole, 3, object("t"), Changed),
        ("the side was a store", object("t"), whole, 2, stat(5, true), Changed),
        ("the side was a folder", stat(5, true), whole, 2, object("t"), Changed),
    ];
    for (case, was, known, size, is, expected) in rows {
        for side in Side::BOTH {
            let mut seen = Sides::new(object("other side"), object("other side"));
            *seen.get_mut(side) = was.clone();
            let base = Agreed::new(2, known, seen);
            assert_eq!(first_sight(&base, side, &entry(size, is.clone())), expected, "{case} at {side}");
        }
    }
}

#[test]
fn a_listing_tells_hashes_by_etags_in_the_form_of_md5() {
    let md5 = "900150983cd24fb0d6963f7d28e17f72";
    assert_eq!(listed_hashes(&entry(3, object(md5))), [hash(HashForm::Whole, b"abc")]);
    assert_eq!(listed_hashes(&entry(3, object("opaque"))), []);
    assert_eq!(listed_hashes(&entry(3, stat(5, true))), []);
    let size = 20 * MIB as u64;
    let guesses = listed_hashes(&entry(size, object(&format!("{md5}-3"))));
    let sizes: Vec<_> = guesses.iter().map(|hash| hash.parts.unwrap()).collect();
    assert_eq!(sizes, [Parts { count: 3, size: 8 * MIB as u64 }, Parts { count: 3, size: 7 * MIB as u64 }]);
    assert!(guesses.iter().all(|guess| guess.hex() == md5));
    assert_eq!(listed_hashes(&entry(3, object(&format!("{md5}-7")))), [], "no part size gives seven parts");
}

#[tokio::test]
async fn comparison_modes_look_at_what_they_say() {
    use ComparisonMode::{HashOnly, HashThenMtime, MtimeOnly, SizeAndMtime, SizeOnly};
    // source, destination, seconds apart; which modes call them equal
    let rows: [(&str, &str, i64, &[ComparisonMode]); 8] = [
        ("xx", "xx", 0, &[HashThenMtime, HashOnly, SizeOnly, MtimeOnly, SizeAndMtime]),
        ("xx", "xx", 2, &[HashThenMtime, HashOnly, SizeOnly, MtimeOnly, SizeAndMtime]),
        ("xx", "xx", -2, &[HashThenMtime, HashOnly, SizeOnly, MtimeOnly, SizeAndMtime]),
        ("xx", "xx", 3, &[HashThenMtime, HashOnly, SizeOnly]),
        ("xx", "yy", 0, &[SizeOnly, MtimeOnly, SizeAndMtime]),
        ("xx", "yy", 3, &[SizeOnly]),
        ("xx", "yyy", 0, &[MtimeOnly]),
        ("xx", "yyy", 3, &[]),
    ];
    for (source, destination, apart, equal) in rows {
        for &mode in ComparisonMode::ALL {
            let trees = Trees::new(mode, ConflictStrategy::Manual);
            let entries = trees.both(source, destination, apart).await;
            let item = trees.item(None, files(&entries)).await;
            let case = format!("{mode}: {source} {destination} {apart}");
            assert_eq!(item.facts.equal, equal.contains(&mode), "{case}");
            assert_eq!(item.verdict.step, if item.facts.equal { Step::Adopt } else { Step::Unresolved });
            assert_eq!(trees.reads(), 0, "{case}: the listings tell enough");
            let hashed = matches!(mode, HashThenMtime | HashOnly) && source.len() == destination.len();
            let expected = |content: &str| hashed.then(|| hash(HashForm::Whole, content.as_bytes()));
            assert_eq!(item.hashes, Sides::new(expected(source), expected(destination)), "{case}");
        }
    }
}

#[tokio::test]
async fn contents_without_listed_hashes_are_read_where_the_mode_wants_it() {
    let opaque = |entry: &Entry| Entry { fingerprint: object("opaque"), ..entry.clone() };
    for (mode, apart, equal) in
        [(ComparisonMode::HashThenMtime, 2, true), (ComparisonMode::HashThenMtime, 3, false)]
    {
        let trees = Trees::new(mode, ConflictStrategy::Manual);
        let entries = trees.both("xx", "xx", apart).await;
        let entries = Sides::new(opaque(&entries.source), opaque(&entries.destination));
        let item = trees.item(None, files(&entries)).await;
        assert_eq!((item.facts.equal, trees.reads()), (equal, 0), "{apart}");
    }
    // Parts that differ prove nothing: their size was only guessed. Then both are read.
    let trees = Trees::new(ComparisonMode::HashOnly, ConflictStrategy::Manual);
    let entries = trees.both("xx", "xx", 9).await;
    let examined = |sides| trees.examiner.examine(Change { key: key("a"), base: None, sides });
    let parts = Entry { fingerprint: object(&format!("{}-1", "0".repeat(32))), ..entries.source.clone() };
    // The memory client gives a version by its ETag, so asking for this one shows that it was asked.
    let found =
        examined(Sides::new(Observed::File(parts), Observed::File(entries.destination.clone()))).await;
    assert!(matches!(found, Examined::Moving(moving) if moving == key("a")));
    assert_eq!(trees.reads(), 1);
}

#[tokio::test]
async fn a_content_is_equal_only_if_both_were_read() {
    let trees = Trees::new(ComparisonMode::SizeOnly, ConflictStrategy::Manual);
    for (source, destination, equal, reads) in
        [("xx", "xx", true, 2), ("xx", "yy", false, 2), ("xx", "xxx", false, 0), ("", "", true, 2)]
    {
        let entries = trees.both(source, destination, 9).await;
        let before = trees.reads();
        let found = trees.examiner.equal_content(&entries.source, &entries.destination).await;
        assert_eq!((found.unwrap(), trees.reads() - before), (equal, reads), "{source} {destination}");
    }
}

#[tokio::test]
async fn listings_alone_call_equal_what_they_cannot_tell_apart() {
    let trees = Trees::new(ComparisonMode::HashThenMtime, ConflictStrategy::Manual);
    let opaque = |entry: &Entry| Entry { fingerprint: object("opaque"), ..entry.clone() };
    // The ETags of objects in memory are hashes: nothing need be read.
    for (source, destination, equal, asked) in
        [("xx", "xx", true, 0), ("xx", "yy", false, 0), ("xx", "xxx", false, 0)]
    {
        let entries = trees.both(source, destination, 9).await;
        let before = trees.reads();
        let found = trees.examiner.equal_as_listed(&entries.source, &entries.destination).await;
        assert_eq!((found.unwrap(), trees.reads() - before), (equal, asked), "{source} {destination}");
        // An ETag that is no hash tells nothing.
        let found = trees.examiner.equal_as_listed(&opaque(&entries.source), &entries.destination).await;
        assert_eq!(found.unwrap(), source.len() == destination.len(), "{source} {destination}");
    }
    for (source, destination, equal) in [(2, 2, true), (2, 3, false)] {
        let (source, destination) = (entry(source, stat(1, true)), entry(destination, stat(2, true)));
        assert_eq!(trees.examiner.equal_as_listed(&source, &destination).await.unwrap(), equal);
    }
}

#[tokio::test]
async fn both_changed_against_the_base_is_judged_by_content_whatever_the_mode() {
    for &mode in ComparisonMode::ALL {
        let trees = Trees::new(mode, ConflictStrategy::Manual);
        let base = || Some(agreed("old", Sides::new(object("s"), object("d"))));
        let entries = trees.both("xx", "xx", 100).await;
        let item = trees.item(base(), files(&entries)).await;
        assert_eq!((item.facts.base, item.verdict.step), (Base::Agreed, Step::Adopt), "{mode}");
        let entries = trees.both("xx", "yy", 0).await;
        let item = trees.item(base(), files(&entries)).await;
        assert_eq!(item.verdict.step, Step::Unresolved, "{mode}");
        assert!(!item.facts.equal);
        assert_eq!(item.found, Sides::new(Some(entries.source), Some(entries.destination)));
    }
}

#[tokio::test]
async fn a_path_is_seen_against_its_base() {
    let trees = Trees::new(ComparisonMode::HashThenMtime, ConflictStrategy::Manual);
    let entries = trees.both("xx", "xx", 0).await;
    let seen = Sides::new(entries.source.fingerprint.clone(), entries.destination.fingerprint.clone());
    let file = || Observed::File(entries.source.clone());
    let row = || Some(agreed("xx", seen.clone()));
    for (base, source, destination, known, sights) in [
        (row(), file(), file(), Base::Agreed, (Sight::Same, Sight::Same)),
        (row(), Observed::Absent, file(), Base::Agreed, (Sight::Absent, Sight::Same)),
        (row(), Observed::Unknown, file(), Base::Agreed, (Sight::Unknown, Sight::Same)),
        (None, file(), Observed::Absent, Base::None, (Sight::New, Sight::Absent)),
        (None, file(), Observed::Unknown, Base::None, (Sight::New, Sight::Unknown)),
        // Tombstones of another mode mean nothing.
        (Some(BaseRow::tombstone()), Observed::Absent, file(), Base::None, (Sight::Absent, Sight::New)),
    ] {
        let item = trees.item(base, Sides::new(source, destination)).await;
        assert_eq!((item.facts.base, (item.facts.source, item.facts.destination)), (known, sights));
        assert_eq!(item.base.is_some(), known == Base::Agreed);
    }
    let holding = Examiner { tombstones_hold: true, ..trees.examiner.clone() };
    let sides = Sides::new(Observed::Absent, file());
    let change = Change { key: key("a"), base: Some(BaseRow::tombstone()), sides };
    let Examined::Item(item) = holding.examine(change).await else { panic!() };
    assert_eq!((item.facts.base, item.facts.destination), (Base::Tombstone, Sight::New));
}

#[tokio::test]
async fn the_later_version_is_looked_for_only_where_a_strategy_asks() {
    for (strategy, apart, newer, hashed) in [
        (ConflictStrategy::NewestWins, 1, Some(Side::Destination), [false, false]),
        (ConflictStrategy::NewestWins, -1, Some(Side::Source), [false, false]),
        (ConflictStrategy::NewestWins, 0, None, [false, false]),
        (ConflictStrategy::SourceWins, 1, None, [false, false]),
        (ConflictStrategy::Manual, 1, None, [false, false]),
        // The loser's hash goes into its name.
        (ConflictStrategy::KeepBoth, 1, Some(Side::Destination), [true, false]),
        (ConflictStrategy::KeepBoth, -1, Some(Side::Source), [false, true]),
        (ConflictStrategy::KeepBoth, 0, None, [false, true]),
    ] {
        // By size the two are not equal, and no hash is known.
        let trees = Trees::new(ComparisonMode::SizeOnly, strategy);
        let entries = trees.both("xx", "yyy", apart).await;
        let item = trees.item(None, files(&entries)).await;
        let case = format!("{strategy} {apart}");
        assert_eq!(item.facts.newer, newer, "{case}");
        let expected = |wanted: bool, content: &[u8]| wanted.then(|| hash(HashForm::Whole, content));
        assert_eq!(
            item.hashes,
            Sides::new(expected(hashed[0], b"xx"), expected(hashed[1], b"yyy")),
            "{case}"
        );
        assert_eq!(trees.reads(), u64::from(hashed[0] || hashed[1]), "{case}");
    }
    // The hash a comparison has told is not made again.
    let trees = Trees::new(ComparisonMode::HashOnly, ConflictStrategy::KeepBoth);
    let entries = trees.both("xx", "yy", 0).await;
    let item = trees.item(None, files(&entries)).await;
    assert_eq!((item.verdict.step, trees.reads()), (Step::KeepBoth { winner: Side::Source }, 0));
}

#[tokio::test]
async fn a_time_the_listing_did_not_tell_is_asked_for_unless_the_version_is_another_by_now() {
    let trees = Trees::new(ComparisonMode::SizeOnly, ConflictStrategy::NewestWins);
    let heads = || trees.source.requests().get("head").copied().unwrap_or(0);
    let mut entries = trees.both("xx", "yyy", 5).await;
    entries.source.modified = None;
    let before = heads();
    let item = trees.item(None, files(&entries)).await;
    assert_eq!((item.facts.newer, heads() - before), (Some(Side::Destination), 1));
    assert_eq!(item.found.source.unwrap().modified, Some(at(1_000)));
    // Somebody else's time is nobody's.
    trees.put(Side::Source, "zz", 2_000).await;
    let item = trees.item(None, files(&entries)).await;
    assert_eq!((item.facts.newer, item.verdict.reason), (None, Reason::Tie));
    assert_eq!(item.found.source.unwrap().modified, None);
}

#[tokio::test]
async fn a_version_that_is_gone_or_changed_is_moving_and_other_failures_are_told() {
    let trees = Trees::new(ComparisonMode::SizeOnly, ConflictStrategy::KeepBoth);
    let entries = trees.both("xx", "yyy", 0).await;
    trees.put(Side::Destination, "zzz", 0).await;
    let change = || Change { key: key("a"), base: None, sides: files(&entries) };
    assert!(matches!(trees.examiner.examine(change()).await, Examined::Moving(_)));
    trees.destination.remove_now(&key("a"));
    assert!(matches!(trees.examiner.examine(change()).await, Examined::Moving(_)));
    assert!(trees.examiner.hash(Side::Source, &entries.source, &[]).await.unwrap().is_empty());
    let forms = [HashForm::Whole, HashForm::Parts(1)];
    let hashes = trees.examiner.hash(Side::Source, &entries.source, &forms).await.unwrap();
    assert_eq!(hashes, forms.map(|form| hash(form, b"xx")));
}
