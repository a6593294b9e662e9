//! `Walk`: page after page of a listing, checked against each other.
//!
//! Names ascend strictly over all pages, no page is asked for twice, and pages without entries come to an
//! end. A store whose order is another one is found out here, once: it is remembered, the listing ends with
//! [`ErrorKind::Disordered`], and from then on listings are sorted by `order`. What is in our trash is jumped
//! over.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};

use super::fault::Fault;
use super::listing::{Object, Page, Position};
use super::order::{BOUND, Sorted, Sorter};
use super::store::Store;
use crate::error::{Error, ErrorKind, Result};

/// How many objects are asked for at once: the most that S3 gives.
pub(super) const PAGE_KEYS: i32 = 1000;

/// How many pages without entries may follow each other. They are legal, as where many objects were just
/// deleted; without a bound a broken store could send them forever. No source.
const EMPTY_PAGES: u32 = 1000;

/// How many sorted entries are handed on at once.
const BATCH: usize = 1000;

/// What the names of the trash and its manifests begin with, below the prefix.
const TRASH: &str = ".syncengine/trash";

/// The first name behind all of that: `0` is the byte after the slash.
const BEHIND_TRASH: &str = ".syncengine/trash0";

/// What is known of a listing while its pages come.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    store: &'a Store,
    prefix: String,
    /// A page that is already here.
    kept: Option<Page>,
    next: Option<Position>,
    order: Order,
    /// Digests of the tokens met. Two tokens of one digest would end the listing with an error; among 10
    /// million that happens once in 300,000 listings.
    tokens: HashSet<u64>,
    hasher: RandomState,
    empty_pages: u32,
}

/// What the order of a listing has to be.
#[derive(Debug)]
enum Order {
    /// That of bytes, behind the last name.
    Bytes { last: String, skips_trash: bool },
    /// Any.
    Any,
}

impl<'a> Walk<'a> {
    /// Walks over all below `prefix` in the order of bytes, but what is in the trash. `kept` is the first page
    /// if it is here already.
    pub(super) fn in_order(store: &'a Store, prefix: &str, kept: Option<Page>) -> Self {
        Self::new(store, prefix, kept, Order::Bytes { last: String::new(), skips_trash: true })
    }

    /// Walks over all below `prefix` in the order of the store.
    pub(super) fn in_any_order(store: &'a Store, prefix: &str, kept: Option<Page>) -> Self {
        Self::new(store, prefix, kept, Order::Any)
    }

    fn new(store: &'a Store, prefix: &str, kept: Option<Page>, order: Order) -> Self {
        Self {
            store,
            prefix: prefix.to_owned(),
            kept,
            next: Some(Position::Start),
            order,
            tokens: HashSet::new(),
            hasher: RandomState::new(),
            empty_pages: 0,
        }
    }

    /// Returns the objects of the next page; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Object>>, Fault> {
        let Some(position) = self.next.take() else { return Ok(None) };
        let page = match self.kept.take() {
            Some(page) => page,
            None => self.store.page(&self.prefix, &position, PAGE_KEYS).await?,
        };
        self.accept(page).map(Some)
    }

    /// Turns the walk into a stream of pages.
    pub(super) fn pages(self) -> impl futures::Stream<Item = Result<Vec<Object>, Fault>> + Send + 'a {
        stream::try_unfold(self, |mut walk| async move { Ok(walk.next().await?.map(|page| (page, walk))) })
    }

    fn accept(&mut self, page: Page) -> Result<Vec<Object>, Fault> {
        self.check_progress(&page)?;
        self.check_order(&page.objects)?;
        self.next = page.next.map(|next| self.jump(next));
        Ok(page.objects)
    }

    fn check_progress(&mut self, page: &Page) -> Result<(), Fault> {
        self.empty_pages = if page.objects.is_empty() { self.empty_pages + 1 } else { 0 };
        if self.empty_pages > EMPTY_PAGES {
            return Err(broken("it goes on and on without any object"));
        }
        let token = match &page.next {
            Some(Position::Token(token)) => token,
            Some(Position::After(name)) => name,
            _ => return Ok(()),
        };
        if !self.tokens.insert(self.hasher.hash_one(token)) {
            return Err(broken("it goes on where it already was"));
        }
        Ok(())
    }

    fn check_order(&mut self, objects: &[Object]) -> Result<(), Fault> {
        let Order::Bytes { last, .. } = &mut self.order else { return Ok(()) };
        let mut last_key = last.as_str();
        for object in objects {
            if object.key == last_key {
                return Err(broken("an object was listed twice"));
            }
            if object.key.as_str() < last_key {
                self.store.listing.note_disorder();
                let what = "the store lists in another order than that of bytes";
                return Err(Fault::new(ErrorKind::Disordered, what));
            }
            last_key = &object.key;
        }
        *last = last_key.to_owned();
        Ok(())
    }

    /// Returns where to go on: behind the trash if the walk is in it.
    fn jump(&mut self, next: Position) -> Position {
        let Order::Bytes { last, skips_trash } = &mut self.order else { return next };
        let in_trash = last.strip_prefix(&self.prefix).is_some_and(|name| name.starts_with(TRASH));
        if !in_trash || !*skips_trash {
            return next;
        }
        // Once is enough; a store that takes no notice must not be asked forever.
        *skips_trash = false;
        Position::After(format!("{}{BEHIND_TRASH}", self.prefix))
    }
}

fn broken(what: &str) -> Fault {
    Fault::new(ErrorKind::Corrupt, format!("the store's listing contradicts itself: {what}"))
}

/// Returns whether the names of a page ascend.
pub(super) fn is_ordered(page: &Page) -> bool {
    page.objects.is_sorted_by(|a, b| a.key < b.key)
}

/// Lists all below `prefix` in byte order, whatever the order of the store, page by page.
///
/// # Errors
/// [`ErrorKind::Disordered`] if the order of the store turns out to be another one on the way: to be listed again.
pub(super) fn ordered<'a>(
    store: &'a Store,
    prefix: &str,
    kept: Option<Page>,
    doing: String,
) -> BoxStream<'a, Result<Vec<Object>>> {
    if store.listing.is_disordered() {
        let walk = Walk::in_any_order(store, prefix, kept);
        let trash = format!("{prefix}{TRASH}");
        return stream::once(sorted(walk, trash, doing)).try_flatten().boxed();
    }
    let pages = Walk::in_order(store, prefix, kept).pages();
    pages.map_err(move |fault| fault.error(doing.clone())).boxed()
}

/// Walks to the end, then returns what was found in order.
async fn sorted(
    mut walk: Walk<'_>,
    trash: String,
    doing: String,
) -> Result<impl futures::Stream<Item = Result<Vec<Object>>> + Send> {
    let mut sorter = Sorter::new(BOUND);
    while let Some(objects) = walk.next().await.map_err(|fault| fault.error(doing.clone()))? {
        sorter.extend(objects.into_iter().filter(|object| !object.key.starts_with(&trash)));
        if sorter.is_full() {
            sorter = hop(&doing, move || sorter.spill().map(|()| sorter)).await?;
        }
    }
    let sorted = hop(&doing, move || sorter.finish()).await?;
    Ok(stream::try_unfold((sorted, doing), batch))
}

async fn batch((mut sorted, doing): (Sorted, String)) -> Result<Option<(Vec<Object>, (Sorted, String))>> {
    let read = move || sorted.batch(BATCH).map(|batch| (batch, sorted));
    let (batch, sorted) = hop(&doing, read).await?;
    Ok((!batch.is_empty()).then_some((batch, (sorted, doing))))
}

/// Runs `work` on a thread for blocking work.
async fn hop<T: Send + 'static>(
    doing: &str,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| failed(doing, error)),
        Err(error) => Err(Error::new(ErrorKind::Internal, doing).with_source(error)),
    }
}

fn failed(doing: &str, error: std::io::Error) -> Error {
    if error.kind() == std::io::ErrorKind::InvalidData {
        return Error::new(ErrorKind::Corrupt, doing).with_source(error);
    }
    Error::io(format!("{doing}: sort it in a temporary file"), error)
}
