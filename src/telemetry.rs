//! What a client tells of its store: how much it was asked, and which conditions it honours.

use serde::Serialize;

/// How many requests were sent to stores, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names are the verbs")]
pub struct Requests {
    pub list: u64,
    pub head: u64,
    pub get: u64,
    pub put: u64,
    pub copy: u64,
    pub delete: u64,
    pub multipart: u64,
}

/// Which conditions the stores were found to honour; `null` where nobody had to ask.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names are the verbs and their conditions")]
pub struct Conditions {
    pub put_if_none_match: Option<bool>,
    pub put_if_match: Option<bool>,
    pub delete_if_match: Option<bool>,
}

impl Requests {
    /// Adds the requests of another store.
    pub(crate) fn add(&mut self, more: Self) {
        self.list += more.list;
        self.head += more.head;
        self.get += more.get;
        self.put += more.put;
        self.copy += more.copy;
        self.delete += more.delete;
        self.multipart += more.multipart;
    }
}

impl Conditions {
    /// Takes another store into account: a condition is in force if each store that was asked honours it.
    pub(crate) fn join(&mut self, more: Self) {
        let both = |a: Option<bool>, b: Option<bool>| match (a, b) {
            (Some(a), Some(b)) => Some(a && b),
            (a, b) => a.or(b),
        };
        self.put_if_none_match = both(self.put_if_none_match, more.put_if_none_match);
        self.put_if_match = both(self.put_if_match, more.put_if_match);
        self.delete_if_match = both(self.delete_if_match, more.delete_if_match);
    }
}
