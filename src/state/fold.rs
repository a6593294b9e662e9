//! Folding: moves what the journal holds into the blocks.
//!
//! A fold is cut into steps, each one atomic batch that replaces a block or two by their new content.
//! Between any two steps the blocks are valid, and blocks and journal together say the same: a change that
//! is folded twice changes nothing. Only after the last step, and a flush, is the journal cleared, oldest
//! records first. The head says that a fold is under way and how many rows there will be, so that a fold
//! cut off by a kill is checked and finished by the next opening.

use std::ops::Bound;

use super::block::{self, MIN, Row};
use super::row::Damage;
use super::tables::{Fault, Head, Overlay, Tables, Trees};
use crate::error::Result;
use crate::key::Key;

/// How many changes one step takes at most; with them, one batch stays below about 100 KiB.
const CHANGES_PER_STEP: usize = 512;

/// How many journal records are removed in one batch.
const RECORDS_PER_BATCH: usize = 256;

/// Folds `overlay`, the content of the journal, into the blocks. Returns the head as it is then.
pub(super) fn fold(tables: &Tables, head: &Head, overlay: &Overlay, next_record: u64) -> Result<Head> {
    if overlay.is_empty() && !head.folding {
        return Ok(head.clone());
    }
    let folding = begin(tables, head, overlay)?;
    let mut after = None;
    while let Some(last) = step(tables, overlay, after.as_ref())? {
        after = Some(last);
    }
    tables.flush()?;
    clear_journal(tables)?;
    end(tables, &folding, next_record)
}

/// Marks the fold as begun, with the number of rows there will be.
fn begin(tables: &Tables, head: &Head, overlay: &Overlay) -> Result<Head> {
    let rows =
        if head.folding { head.rows } else { tables.with("read", |trees| count(trees, head, overlay))? };
    let folding = Head { folding: true, rows, ..head.clone() };
    tables.put_head(&folding)?;
    tables.flush()?;
    Ok(folding)
}

/// Returns how many rows there will be, reading only the blocks that change.
fn count(trees: &Trees, head: &Head, overlay: &Overlay) -> std::result::Result<u64, Fault> {
    let mut rows = head.rows;
    let mut changes = overlay.iter().peekable();
    while let Some((key, _)) = changes.peek() {
        let region = Region::around(trees, key)?;
        while let Some((key, row)) = changes.next_if(|(key, _)| region.holds(key)) {
            let had = region.rows.binary_search_by(|(name, _)| name.cmp(key)).is_ok();
            rows = match (had, row.is_some()) {
                (false, true) => rows.checked_add(1),
                (true, false) => rows.checked_sub(1),
                _ => Some(rows),
            }
            .ok_or(Damage("rows are missing"))?;
        }
    }
    Ok(rows)
}

/// Folds the changes after `after` that belong to one block. Returns the last of them.
fn step(tables: &Tables, overlay: &Overlay, after: Option<&Key>) -> Result<Option<Key>> {
    let mut changes =
        overlay.range::<Key, _>((after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded));
    let Some(first) = changes.clone().next() else { return Ok(None) };
    tables.with("write", |trees| {
        let mut region = Region::around(trees, first.0)?;
        let mut last = None;
        let old = std::mem::take(&mut region.rows);
        let mut merged = Vec::with_capacity(old.len() + 8);
        let mut old = old.into_iter().peekable();
        let taken = changes.by_ref().take(CHANGES_PER_STEP).take_while(|(key, _)| region.holds(key));
        for (key, row) in taken {
            while let Some(before) = old.next_if(|(name, _)| name < key) {
                merged.push(before);
            }
            let _replaced = old.next_if(|(name, _)| name == key);
            merged.extend(row.clone().map(|row| (key.clone(), row)));
            last = Some(key.clone());
        }
        merged.extend(old);
        region.rows = merged;
        region.write(trees)?;
        Ok(last)
    })
}

fn clear_journal(tables: &Tables) -> Result<()> {
    loop {
        let removed = tables.with("write", |trees| {
            let mut batch = sled::Batch::default();
            let mut count = 0;
            for number in trees.journal.iter().keys().take(RECORDS_PER_BATCH) {
                batch.remove(number?);
                count += 1;
            }
            trees.journal.apply_batch(batch)?;
            Ok(count)
        })?;
        if removed == 0 {
            return Ok(());
        }
    }
}

fn end(tables: &Tables, folding: &Head, next_record: u64) -> Result<Head> {
    let head = Head { folding: false, journal_start: next_record, ..folding.clone() };
    tables.put_head(&head)?;
    tables.flush()?;
    Ok(head)
}

/// One block (or none, in an empty store) and the span of keys that belong to it.
struct Region {
    /// First keys of the blocks that the rows came from.
    names: Vec<sled::IVec>,
    rows: Vec<Row>,
    /// First key of the next block.
    end: Option<sled::IVec>,
}

impl Region {
    /// Reads the block `key` belongs to: the last that begins at or before it, or else the first of all.
    fn around(trees: &Trees, key: &Key) -> std::result::Result<Self, Fault> {
        let name = key.as_str().as_bytes();
        let block = match trees.blocks.range(..=name).next_back() {
            Some(item) => Some(item?),
            None => trees.blocks.first()?,
        };
        let Some((first, bytes)) = block else {
            return Ok(Self { names: Vec::new(), rows: Vec::new(), end: None });
        };
        let end = trees.blocks.get_gt(&first)?.map(|(next, _)| next);
        Ok(Self { names: vec![first], rows: block::decode(&bytes)?, end })
    }

    fn holds(&self, key: &Key) -> bool {
        self.end.as_ref().is_none_or(|end| key.as_str().as_bytes() < end.as_ref())
    }

    /// Puts the rows back, in one batch.
    fn write(mut self, trees: &Trees) -> std::result::Result<(), Fault> {
        let mut blocks = block::pack(&self.rows);
        if let [only] = blocks.as_slice()
            && only.len() < MIN
            && self.take_neighbour(trees)?
        {
            blocks = block::pack(&self.rows);
        }
        let mut batch = sled::Batch::default();
        for name in self.names {
            batch.remove(name);
        }
        // A batch keeps the last that was said of a name.
        for block in blocks {
            let name = block::first_name(&block)?;
            batch.insert(name, block.as_slice());
        }
        Ok(trees.blocks.apply_batch(batch)?)
    }

    /// Adds the rows of the next block, or of the one before. Changes to them have their own step.
    fn take_neighbour(&mut self, trees: &Trees) -> std::result::Result<bool, Fault> {
        if let Some(end) = &self.end
            && let Some(bytes) = trees.blocks.get(end)?
        {
            self.rows.extend(block::decode(&bytes)?);
            self.names.push(end.clone());
            return Ok(true);
        }
        let Some(first) = self.names.first() else { return Ok(false) };
        let Some((name, bytes)) = trees.blocks.get_lt(first)? else { return Ok(false) };
        let mut rows = block::decode(&bytes)?;
        rows.append(&mut self.rows);
        self.rows = rows;
        self.names.push(name);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Place, key, pair_record, puts, rows, run, scanned, shown};
    use super::super::{Found, RowChange};
    use super::*;

    /// Opens what a kill would leave now and compares the rows.
    async fn assert_survives(world: &Place, expected: &[String], what: &str) {
        let killed = world.killed();
        let opened = killed.open().await;
        assert_eq!(opened.found, Found::Intact, "{what}");
        assert_eq!(scanned(opened.store.as_ref()).await, expected, "{what}");
        // What is recorded on top of a fold that was cut off is kept, too.
        opened.store.record(vec![(key(99_999), Some(super::super::BaseRow::tombstone()))]).await.unwrap();
        let count = scanned(killed.killed().open().await.store.as_ref()).await.len();
        assert_eq!(count, expected.len() + 1, "{what}");
    }

    #[test]
    fn a_kill_between_any_two_steps_loses_and_doubles_nothing() {
        run(async {
            let world = Place::new();
            let opened = world.open().await;
            let mut model = rows((0..1_500).step_by(3));
            opened.store.record(puts(&model)).await.unwrap();
            opened.store.commit(pair_record()).await.unwrap();
            let mut changes: Vec<RowChange> = (300..600).map(|number| (key(number), None)).collect();
            changes.extend(puts(&rows((0..2_000).step_by(7))));
            for (key, row) in changes.clone() {
                match row {
                    Some(row) => model.insert(key, row),
                    None => model.remove(&key),
                };
            }
            opened.store.record(changes).await.unwrap();
            drop(opened);
            let expected = shown(&model);

            let tables = Tables::open(&world.layout().database()).unwrap();
            let head = tables.head().unwrap().unwrap();
            let (overlay, next_record) = tables.read_journal(&head).unwrap();
            let folding = begin(&tables, &head, &overlay).unwrap();
            assert_eq!(folding.rows, expected.len() as u64);
            assert_survives(&world, &expected, "begun").await;
            let mut after = None;
            let mut steps = 0;
            while let Some(last) = step(&tables, &overlay, after.as_ref()).unwrap() {
                tables.flush().unwrap();
                steps += 1;
                assert_survives(&world, &expected, &format!("step {steps}")).await;
                after = Some(last);
            }
            assert!(steps > 4, "{steps}");
            let records = tables.with("", |trees| Ok(trees.journal.len())).unwrap();
            assert!(records > 3, "{records}");
            for record in 0..records {
                tables.with("", |trees| Ok(trees.journal.pop_min().map(drop)?)).unwrap();
                tables.flush().unwrap();
                assert_survives(&world, &expected, &format!("cleared {record}")).await;
            }
            clear_journal(&tables).unwrap();
            end(&tables, &folding, next_record).unwrap();
            assert_survives(&world, &expected, "ended").await;
        });
    }
}
