//! The content of an object on its way out: a range of its segments, as a stream of bounded pieces.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use futures::stream;

use super::blobs::{Held, read_at};
use super::failure::Outcome;
use super::index::View;
use super::row::{Place, Segment};

/// How much is read at once, and held in memory for each answer. Ours.
const PIECE: usize = 512 * 1024;

/// The content of one object, which stays whatever becomes of the object.
#[derive(Debug)]
pub(super) struct Segments {
    pieces: Vec<(Source, u64)>,
    held: Option<Held>,
}

#[derive(Debug, Clone)]
enum Source {
    Memory(Bytes),
    File(u64),
}

impl Segments {
    /// Takes what the index holds itself; files are opened when their turn comes.
    pub(super) fn read(view: &View, segments: &[Segment], held: Option<Held>) -> Outcome<Self> {
        let mut pieces = Vec::with_capacity(segments.len());
        for segment in segments {
            let source = match segment.place {
                Place::File(id) => Source::File(id),
                place => Source::Memory(view.content(place)?),
            };
            pieces.push((source, segment.size));
        }
        Ok(Self { pieces, held })
    }

    /// Returns the sizes of the segments.
    pub(super) fn sizes(&self) -> impl Iterator<Item = u64> {
        self.pieces.iter().map(|(_, size)| *size)
    }

    /// Returns the bytes of `range`, which lies within the content.
    pub(super) fn stream(
        self,
        range: Range<u64>,
    ) -> impl Stream<Item = io::Result<Bytes>> + Send + Sync + 'static {
        let mut parts = VecDeque::new();
        let mut begin = 0;
        for (source, size) in self.pieces {
            let (from, to) = (range.start.max(begin), range.end.min(begin + size));
            if from < to {
                parts.push_back((source, from - begin..to - begin));
            }
            begin += size;
        }
        let reading = Reading { parts, open: None, held: self.held.map(Arc::new) };
        stream::try_unfold(reading, Reading::next)
    }
}

/// What is still to be read.
#[derive(Debug)]
struct Reading {
    parts: VecDeque<(Source, Range<u64>)>,
    /// The file of the first of them.
    open: Option<Arc<File>>,
    held: Option<Arc<Held>>,
}

impl Reading {
    async fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        let Some((source, range)) = self.parts.pop_front() else { return Ok(None) };
        let id = match source {
            Source::Memory(bytes) => return Ok(Some((bytes.slice(to_usize(&range)?), self))),
            Source::File(id) => id,
        };
        let held = self.held.clone().ok_or(io::ErrorKind::NotFound)?;
        let (open, at) = (self.open.take(), range.start);
        let most = usize::try_from(range.end - at).unwrap_or(PIECE).min(PIECE);
        let work = move || {
            let file = open.map_or_else(|| held.open(id).map(Arc::new), Ok)?;
            let bytes = read_at(&file, at, most)?;
            Ok::<_, io::Error>((file, bytes))
        };
        let (file, bytes) = tokio::task::spawn_blocking(work).await.map_err(io::Error::other)??;
        if bytes.len() < most {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let rest = at + bytes.len() as u64..range.end;
        if !rest.is_empty() {
            self.parts.push_front((Source::File(id), rest));
            self.open = Some(file);
        }
        Ok(Some((bytes.into(), self)))
    }
}

fn to_usize(range: &Range<u64>) -> io::Result<Range<usize>> {
    let convert = |at| usize::try_from(at).map_err(io::Error::other);
    Ok(convert(range.start)?..convert(range.end)?)
}
