//! [`Layers`]: what excludes paths while two trees are joined.
//!
//! Each side's own rules are judged for themselves, and what either of them excludes is excluded. Rules that are gone still hold
//! files back of the side that has not given them up, until the user accepts it: whoever loosens a rule frees what is
//! his.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::vec::IntoIter;

use super::{Decision, Filter, Rules};
use crate::key::Key;
use crate::side::{Side, Sides};

/// The rules of the `.syncignore` files of a tree, by their folder (`""` is the root).
pub type Book = BTreeMap<String, Rules>;

/// The rules that are in force for two trees.
#[derive(Debug, Default)]
pub struct Layers {
    own: Sides<Layer>,
    held: Sides<Vec<Layer>>,
}

/// A filter whose rules are known from the beginning, and taken in when the join comes to their folders.
#[derive(Debug)]
struct Layer {
    filter: Filter,
    waiting: Peekable<IntoIter<(String, Rules)>>,
}

impl Default for Layer {
    fn default() -> Self {
        Self::new(Rules::default(), &Book::new())
    }
}

impl Layer {
    fn new(command_line: Rules, book: &Book) -> Self {
        let mut waiting: Vec<_> =
            book.iter().map(|(folder, rules)| (position(folder), rules.clone())).collect();
        waiting.sort_by(|a, b| a.0.cmp(&b.0));
        Self { filter: Filter::new(command_line), waiting: waiting.into_iter().peekable() }
    }

    fn advance(&mut self, to: &str) {
        while let Some((folder, rules)) = self.waiting.next_if(|(folder, _)| folder.as_str() <= to) {
            self.filter.enter(&folder, rules);
        }
    }
}

/// Returns where the rules of a folder stand in the order of a listing.
fn position(folder: &str) -> String {
    if folder.is_empty() { String::new() } else { format!("{folder}/") }
}

impl Layers {
    /// Returns layers with the rules of the command line, which precede all others and hold for both sides.
    pub fn new(command_line: &Rules) -> Self {
        let books = Sides::new(Book::new(), Book::new());
        Self::with(command_line, &books, &Sides::default())
    }

    /// As [`Self::new`], with what is known of the sides' own rules, and those that are gone and hold files of each side.
    pub fn with(command_line: &Rules, own: &Sides<Book>, held: &Sides<Vec<Book>>) -> Self {
        let layer = |book: &Book| Layer::new(command_line.clone(), book);
        let layers = |books: &Vec<Book>| books.iter().map(layer).collect();
        Self {
            own: Sides::new(layer(&own.source), layer(&own.destination)),
            held: Sides::new(layers(&held.source), layers(&held.destination)),
        }
    }

    /// Takes in what is known of rules at and before a position of the listings.
    pub(crate) fn advance(&mut self, to: &str) {
        for side in Side::BOTH {
            self.own.get_mut(side).advance(to);
            self.held.get_mut(side).iter_mut().for_each(|layer| layer.advance(to));
        }
    }

    /// Takes in the rules of a folder of a side.
    pub(crate) fn enter(&mut self, side: Side, folder: &str, rules: Rules) {
        self.own.get_mut(side).filter.enter(folder, rules);
    }

    /// Returns whether a side's own rules exclude a file.
    pub(crate) fn excludes(&mut self, key: &Key) -> bool {
        self.own.source.filter.excludes(key) || self.own.destination.filter.excludes(key)
    }

    /// Returns whether a side's own rules exclude what has a name that is no key.
    pub(crate) fn excludes_name(&mut self, name: &str, is_folder: bool) -> bool {
        Side::BOTH.into_iter().any(|side| self.own.get_mut(side).filter.excludes_name(name, is_folder))
    }

    /// Returns, for each side, which of its own rules decided about a file, or of the options.
    pub fn decisions(&mut self, key: &Key) -> Sides<Option<Decision>> {
        let Sides { source, destination } = &mut self.own;
        Sides::new(source.filter.decision(key), destination.filter.decision(key))
    }

    /// Returns which rule that is gone holds a file of `side` back.
    pub fn holding(&mut self, side: Side, key: &Key) -> Option<Decision> {
        let layers = self.held.get_mut(side).iter_mut();
        layers.filter_map(|layer| layer.filter.decision(key)).find(|decision| decision.excludes)
    }

    /// Returns whether a side's own rules exclude a folder.
    pub(crate) fn excludes_folder(&mut self, folder: &str) -> bool {
        self.own.source.filter.excludes_folder(folder) || self.own.destination.filter.excludes_folder(folder)
    }

    /// Returns whether a rule that is gone holds a file of `side` back.
    pub(crate) fn holds(&mut self, side: Side, key: &Key) -> bool {
        self.held.get_mut(side).iter_mut().any(|layer| layer.filter.excludes(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_known_whose_rule_decided() {
        let book = |text: &str| Book::from([(String::new(), Rules::parse(text).0)]);
        let own = Sides::new(book("*.log\n"), book("!a.log\n"));
        let held = Sides::new(Vec::new(), vec![book("*.key\n")]);
        let mut layers = Layers::with(&Rules::default(), &own, &held);
        layers.advance("");
        let key = |path| Key::parse(path).unwrap();
        let says = |found: Option<Decision>| found.map(|found| (found.line, found.excludes));
        let Sides { source, destination } = layers.decisions(&key("a.log"));
        assert_eq!((says(source), says(destination)), (Some((1, true)), Some((1, false))));
        assert!(layers.excludes(&key("a.log")) && !layers.excludes(&key("b.key")));
        for (side, expected) in [(Side::Destination, Some((1, true))), (Side::Source, None)] {
            assert_eq!(says(layers.holding(side, &key("b.key"))), expected, "{side}");
            assert_eq!(layers.holds(side, &key("b.key")), expected.is_some(), "{side}");
        }
    }
}
