//! `Sorter`: a listing in byte order, from a store that lists in another one, in bounded memory.
//!
//! Entries are collected up to a bound, sorted and written to a temporary file without a name, as one run
//! among others; reading back merges the runs. A name that comes twice is an error: such a listing would
//! show two versions of one object. All of this blocks, so it belongs on threads that may.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use super::listing::Object;
use crate::fingerprint::ETag;
use crate::timestamp::Timestamp;

/// How many bytes of entries are kept in memory: about 300,000 objects. No source.
pub(super) const BOUND: usize = 64 * 1024 * 1024;

/// How much of a run is read at once. With 1,000 runs, 200 million objects, these are 64 MiB too.
const BLOCK_BYTES: usize = 64 * 1024;

/// The bytes of an entry besides its name and ETag: two lengths, size, time, whether it has one.
const FIXED_BYTES: usize = 4 + 4 + 8 + 8 + 4 + 1;

/// Collects entries in any order.
#[derive(Debug)]
pub(super) struct Sorter {
    bound: usize,
    used: usize,
    entries: Vec<Object>,
    spilled: Spilled,
}

/// The runs written so far.
#[derive(Debug, Default)]
struct Spilled {
    file: Option<File>,
    length: u64,
    /// Where each run begins and ends.
    runs: Vec<(u64, u64)>,
}

/// The entries in byte order.
#[derive(Debug)]
pub(super) struct Sorted {
    runs: Vec<Run>,
    /// The next entry of each run that has one; the first name on top.
    heads: BinaryHeap<Reverse<Head>>,
    last: Option<String>,
}

/// An entry and the number of the run it is from, ordered by name.
#[derive(Debug)]
struct Head(Object, usize);

/// What is left of a run.
#[derive(Debug)]
enum Run {
    Memory(std::vec::IntoIter<Object>),
    Disk(Reader),
}

/// Reads a run from the file that holds them all.
#[derive(Debug)]
struct Reader {
    file: std::sync::Arc<File>,
    at: u64,
    end: u64,
    block: Vec<u8>,
    /// How much of the block is used up.
    used: usize,
}

impl Sorter {
    /// Returns a sorter that keeps about `bound` bytes in memory.
    pub(super) fn new(bound: usize) -> Self {
        Self { bound, used: 0, entries: Vec::new(), spilled: Spilled::default() }
    }

    /// Takes entries in.
    pub(super) fn extend(&mut self, objects: impl IntoIterator<Item = Object>) {
        for object in objects {
            self.used += size_of::<Object>()
                + object.key.len()
                + object.etag.as_ref().map_or(0, |etag| etag.as_str().len());
            self.entries.push(object);
        }
    }

    /// Returns whether [`Self::spill`] is due.
    pub(super) fn is_full(&self) -> bool {
        self.used >= self.bound
    }

    /// Moves what is in memory to the disk.
    pub(super) fn spill(&mut self) -> io::Result<()> {
        sort(&mut self.entries);
        self.spilled.write(&self.entries)?;
        self.entries.clear();
        self.used = 0;
        Ok(())
    }

    /// Returns everything in order.
    pub(super) fn finish(mut self) -> io::Result<Sorted> {
        sort(&mut self.entries);
        let mut runs = vec![Run::Memory(self.entries.into_iter())];
        if let Some(file) = self.spilled.file {
            let file = std::sync::Arc::new(file);
            runs.extend(self.spilled.runs.into_iter().map(|(at, end)| {
                let file = std::sync::Arc::clone(&file);
                Run::Disk(Reader { file, at, end, block: Vec::new(), used: 0 })
            }));
        }
        let mut sorted = Sorted { heads: BinaryHeap::with_capacity(runs.len()), runs, last: None };
        for number in 0..sorted.runs.len() {
            sorted.refill(number)?;
        }
        Ok(sorted)
    }
}

fn sort(entries: &mut [Object]) {
    entries.sort_unstable_by(|a, b| a.key.cmp(&b.key));
}

impl Spilled {
    fn write(&mut self, entries: &[Object]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            empty => empty.insert(temporary()?),
        };
        let begin = self.length;
        let mut block = Vec::with_capacity(2 * BLOCK_BYTES);
        for entry in entries {
            encode(entry, &mut block)?;
            if block.len() >= BLOCK_BYTES {
                file.write_all(&block)?;
                self.length += length(&block);
                block.clear();
            }
        }
        file.write_all(&block)?;
        self.length += length(&block);
        self.runs.push((begin, self.length));
        Ok(())
    }
}

/// Returns a file without a name, on a disk if it can be: `/tmp` is often memory.
fn temporary() -> io::Result<File> {
    tempfile::tempfile_in("/var/tmp").or_else(|_| tempfile::tempfile())
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

impl Sorted {
    /// Returns up to `count` entries; none after the last.
    pub(super) fn batch(&mut self, count: usize) -> io::Result<Vec<Object>> {
        let mut batch = Vec::with_capacity(count);
        while batch.len() < count
            && let Some(object) = self.next()?
        {
            batch.push(object);
        }
        Ok(batch)
    }

    fn next(&mut self) -> io::Result<Option<Object>> {
        let Some(Reverse(Head(object, number))) = self.heads.pop() else { return Ok(None) };
        self.refill(number)?;
        if self.last.as_ref() == Some(&object.key) {
            return Err(invalid("an object was listed twice"));
        }
        self.last.get_or_insert_default().clone_from(&object.key);
        Ok(Some(object))
    }

    fn refill(&mut self, number: usize) -> io::Result<()> {
        let next = match self.runs.get_mut(number) {
            Some(Run::Memory(entries)) => entries.next(),
            Some(Run::Disk(reader)) => reader.next()?,
            None => None,
        };
        self.heads.extend(next.map(|object| Reverse(Head(object, number))));
        Ok(())
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.key.cmp(&other.0.key)
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head {}

fn encode(object: &Object, out: &mut Vec<u8>) -> io::Result<()> {
    let etag = object.etag.as_ref().map_or("", ETag::as_str);
    for text in [&object.key, etag] {
        let length = u32::try_from(text.len()).map_err(|_| invalid("a name is too long"))?;
        out.extend(length.to_le_bytes());
    }
    out.extend(object.size.to_le_bytes());
    let time = object.modified.unwrap_or_default();
    out.extend(time.seconds.to_le_bytes());
    out.extend(time.nanoseconds.to_le_bytes());
    out.push(object.modified.is_some().into());
    out.extend(object.key.as_bytes());
    out.extend(etag.as_bytes());
    Ok(())
}

impl Reader {
    fn next(&mut self) -> io::Result<Option<Object>> {
        if self.used == self.block.len() && self.at == self.end {
            return Ok(None);
        }
        let mut fixed = self.take(FIXED_BYTES)?;
        let key_length = u32::from_le_bytes(array(&mut fixed)?);
        let etag_length = u32::from_le_bytes(array(&mut fixed)?);
        let size = u64::from_le_bytes(array(&mut fixed)?);
        let seconds = i64::from_le_bytes(array(&mut fixed)?);
        let nanoseconds = u32::from_le_bytes(array(&mut fixed)?);
        let [has_time] = array(&mut fixed)?;
        let key = self.text(key_length)?;
        let etag = ETag::parse(&self.text(etag_length)?);
        let modified = (has_time != 0).then_some(Timestamp::new(seconds, nanoseconds));
        Ok(Some(Object { key, size, etag, modified }))
    }

    fn text(&mut self, length: u32) -> io::Result<String> {
        let bytes = self.take(usize::try_from(length).map_err(|_| invalid("a length is impossible"))?)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| invalid("a name is damaged"))
    }

    /// Returns the next `count` bytes.
    fn take(&mut self, count: usize) -> io::Result<&[u8]> {
        if self.block.len() - self.used < count {
            self.read(count)?;
        }
        let begin = self.used;
        self.used += count;
        self.block.get(begin..self.used).ok_or_else(|| invalid("a run ended early"))
    }

    /// Reads on until at least `count` bytes are there.
    fn read(&mut self, count: usize) -> io::Result<()> {
        self.block.drain(..self.used);
        self.used = 0;
        let have = self.block.len();
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        if have.saturating_add(left) < count {
            return Err(invalid("a run ended early"));
        }
        let more = left.min(BLOCK_BYTES.max(count - have));
        self.block.resize(have + more, 0);
        self.file.read_exact_at(&mut self.block[have..], self.at)?;
        self.at += length(&self.block[have..]);
        Ok(())
    }
}

fn array<const N: usize>(bytes: &mut &[u8]) -> io::Result<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk().ok_or_else(|| invalid("an entry ended early"))?;
    *bytes = rest;
    Ok(*first)
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn object(key: &str, number: u64) -> Object {
        Object {
            key: key.into(),
            size: number,
            etag: (!number.is_multiple_of(3)).then(|| ETag::new(&format!("{number:x}-é"))),
            modified: number.is_multiple_of(2).then_some(Timestamp::new(-5, 7)),
        }
    }

    /// Sorts with so little memory that there are many runs.
    fn sorted(objects: Vec<Object>, bound: usize, batch: usize) -> io::Result<Vec<Object>> {
        let mut sorter = Sorter::new(bound);
        for object in objects {
            sorter.extend([object]);
            if sorter.is_full() {
                sorter.spill()?;
            }
        }
        let mut sorted = sorter.finish()?;
        let mut all = Vec::new();
        loop {
            let more = sorted.batch(batch)?;
            if more.is_empty() {
                return Ok(all);
            }
            all.extend(more);
        }
    }

    proptest! {
        #[test]
        fn what_was_spilled_comes_back_in_byte_order(
            names in prop::collection::hash_set("[a-c/.é \\x00-\\x1f-]{1,9}", 0..120),
            bound in 1_usize..4000,
            batch in 1_usize..50,
        ) {
            let objects: Vec<_> =
                names.iter().zip(0..).map(|(name, number)| object(name, number)).collect();
            let mut expected = objects.clone();
            expected.sort_by(|a, b| a.key.as_bytes().cmp(b.key.as_bytes()));
            prop_assert_eq!(sorted(objects, bound, batch).unwrap(), expected);
        }

        #[test]
        fn f36_a_name_that_comes_twice_is_refused(
            names in prop::collection::hash_set("[a-d]{1,5}", 1..60),
            again in any::<prop::sample::Index>(),
            at in any::<prop::sample::Index>(),
            bound in 1_usize..4000,
        ) {
            let mut objects: Vec<_> = names.iter().map(|name| object(name, 1)).collect();
            let copy = again.get(&objects).clone();
            objects.insert(at.index(objects.len() + 1), copy);
            prop_assert!(sorted(objects, bound, 10).is_err());
        }
    }

    #[test]
    fn entries_longer_than_a_block_come_back() {
        let long = "n".repeat(3 * BLOCK_BYTES);
        let objects: Vec<_> =
            (0..40).rev().map(|number| object(&format!("{number:02}{long}"), number)).collect();
        let all = sorted(objects.clone(), 1, 7).unwrap();
        assert!(all.iter().eq(objects.iter().rev()));
    }

    #[test]
    fn a_run_that_is_damaged_is_an_error() {
        let file = temporary().unwrap();
        let mut bytes = Vec::new();
        encode(&object("a", 1), &mut bytes).unwrap();
        bytes[0] = 0xff;
        file.write_all_at(&bytes, 0).unwrap();
        let read = |end| {
            let file = std::sync::Arc::new(file.try_clone().unwrap());
            Reader { file, at: 0, end, block: Vec::new(), used: 0 }.next()
        };
        assert!(read(length(&bytes)).is_err(), "a length beyond the end");
        assert!(read(3).is_err() && read(u64::MAX).is_err(), "a run that ends early");
        assert!(read(0).unwrap().is_none());
    }
}
