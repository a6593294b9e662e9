//! What a listing shows: objects, pages, where a page begins, and what was seen of the store meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::fingerprint::ETag;
use crate::timestamp::Timestamp;

/// An object, as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Object {
    /// Its whole name in the bucket.
    pub(super) key: String,
    pub(super) size: u64,
    /// `None` if the listing does not tell it.
    pub(super) etag: Option<ETag>,
    /// When the store got it, if it says so; not when its content was modified.
    pub(super) modified: Option<Timestamp>,
}

/// Where in a listing a page begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Position {
    /// At its beginning.
    Start,
    /// Behind a name, which need not exist.
    After(String),
    /// Where the store said that it goes on.
    Token(String),
}

/// A part of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) objects: Vec<Object>,
    /// Where the rest begins; `None` if there is none.
    pub(super) next: Option<Position>,
}

/// What listings have shown about the store, shared by all that list it.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) is_localstack: AtomicBool,
    pub(super) is_disordered: AtomicBool,
}

impl Seen {
    /// Whether later pages must be asked for without encoding. LocalStack (4.13) compares encoded names
    /// with the plain name in its token, and so loses names that begin a page with other than ASCII.
    pub(super) fn pages_plainly(&self) -> bool {
        self.is_localstack.load(Ordering::Relaxed)
    }

    /// Whether the store lists in another order than that of bytes.
    pub(super) fn is_disordered(&self) -> bool {
        self.is_disordered.load(Ordering::Relaxed)
    }

    pub(super) fn note_disorder(&self) {
        self.is_disordered.store(true, Ordering::Relaxed);
    }
}

/// How long the page of a look at the root stands for the beginning of the listing. No source; a run comes
/// to its listing within moments.
const FRESH: Duration = Duration::from_secs(10);

/// The first page of a listing that has not begun yet.
#[derive(Debug, Default)]
pub(super) struct FirstPage(Mutex<Looked>);

#[derive(Debug, Default)]
enum Looked {
    /// Nobody has looked yet.
    #[default]
    Never,
    /// When somebody did, for which prefix, and what there was.
    Kept(Duration, String, Page),
    /// Somebody did, and the page was used.
    Used,
}

impl FirstPage {
    pub(super) fn is_wanted(&self) -> bool {
        matches!(*self.0.lock().unwrap_or_else(PoisonError::into_inner), Looked::Never)
    }

    pub(super) fn keep(&self, now: Duration, prefix: &str, page: Page) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Looked::Kept(now, prefix.to_owned(), page);
    }

    pub(super) fn take(&self, now: Duration, prefix: &str) -> Option<Page> {
        let mut looked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *looked, Looked::Used) {
            Looked::Kept(then, of, page) if is_fresh(then, now) && of == prefix => Some(page),
            _ => None,
        }
    }

    /// Looks at the page without using it up.
    pub(super) fn peek<T>(
        &self,
        now: Duration,
        prefix: &str,
        look: impl FnOnce(&Page) -> Option<T>,
    ) -> Option<T> {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Looked::Kept(then, of, page) if is_fresh(*then, now) && of == prefix => look(page),
            _ => None,
        }
    }
}

fn is_fresh(then: Duration, now: Duration) -> bool {
    now.saturating_sub(then) < FRESH
}
