//! What is not synced standing where something is: a link or a special file in the place of a file, or of the
//! folder of one, that the other side or the base has.
//!
//! Such a path is unknown, so nothing is planned there, and an edit of the file would wait for ever without
//! a word. So it is no thing that is skipped by policy but a path that fails. Pure: keys pass in ascending
//! order, and an obstacle is judged as soon as no later key can be below it.

use crate::client::SkipReason;
use crate::error::{Error, ErrorKind};
use crate::key::Key;
use crate::side::Side;

/// Something that is not synced, for a reason `W`, and whether it hides something that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Obstacle<W = SkipReason> {
    /// Its path.
    pub(super) path: Key,
    /// The side it is on.
    pub(super) side: Side,
    /// What it is.
    pub(super) why: W,
    /// Whether the other side or the base has a file at or below its path.
    pub(super) hides: bool,
}

impl Obstacle {
    /// Returns what is to be said of one that hides something.
    pub(super) fn error(&self) -> Error {
        let what = match self.why {
            SkipReason::Symlink => "a symbolic link",
            _ => "a special file",
        };
        let message =
            format!("name collision: {what} at the {} stands in the place of what is synced", self.side);
        Error::new(ErrorKind::Invalid, message)
            .with_hint("move it away, or exclude the path; nothing of that name was touched")
    }
}

/// Notices obstacles among keys that pass in ascending order.
#[derive(Debug)]
pub(super) struct Watch<W = SkipReason> {
    /// Those that later keys can still be at or below, outermost first.
    open: Vec<Obstacle<W>>,
}

impl<W> Default for Watch<W> {
    fn default() -> Self {
        Self { open: Vec::new() }
    }
}

impl Watch {
    /// Returns whether something that is skipped for this reason stands in the way of a file. Folders do not.
    pub(super) fn is_for(why: SkipReason) -> bool {
        matches!(why, SkipReason::Symlink | SkipReason::Special)
    }
}

impl<W> Watch<W> {
    /// Takes in something that is not synced; returns those that are judged by now.
    pub(super) fn meet(&mut self, path: Key, side: Side, why: W) -> Vec<Obstacle<W>> {
        let judged = self.pass(&path);
        self.open.push(Obstacle { path, side, why, hides: false });
        judged
    }

    /// Takes in a path that a side has as a file, or the base has; returns those that are judged by now.
    pub(super) fn see(&mut self, key: &Key) -> Vec<Obstacle<W>> {
        let judged = self.pass(key);
        // If both sides have one at the same path one of them says it all.
        let mut last: Option<&Key> = None;
        for obstacle in &mut self.open {
            if (obstacle.path == *key || key.is_below(obstacle.path.as_str())) && last != Some(&obstacle.path)
            {
                obstacle.hides = true;
                last = Some(&obstacle.path);
            }
        }
        judged
    }

    /// Returns those that `key` and all later keys are past.
    fn pass(&mut self, key: &Key) -> Vec<Obstacle<W>> {
        if self.open.is_empty() {
            return Vec::new();
        }
        let first = self.open.iter().rposition(|open| key.as_str().starts_with(open.path.as_str()));
        self.open.split_off(first.map_or(0, |at| at + 1))
    }

    /// Returns the rest, after the last key.
    pub(super) fn finish(self) -> Vec<Obstacle<W>> {
        self.open
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::parse(name).unwrap()
    }

    /// Lets names pass, a link written as `NAME@s` or `NAME@d` by its side; returns those judged, `!` if they hide.
    fn told(names: &str) -> String {
        let mut watch = Watch::default();
        let mut judged = Vec::new();
        for name in names.split_whitespace() {
            judged.extend(match name.split_once('@') {
                Some((path, side)) => {
                    let side = if side == "s" { Side::Source } else { Side::Destination };
                    watch.meet(key(path), side, SkipReason::Symlink)
                }
                None => watch.see(&key(name)),
            });
        }
        judged.extend(watch.finish());
        let say = |one: &Obstacle| format!("{}{}", one.path, if one.hides { "!" } else { "" });
        judged.iter().map(say).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn an_obstacle_hides_what_is_at_its_path_or_below_it() {
        for (names, expected) in [
            ("", ""),
            ("a@s b", "a"),
            ("a@s a", "a!"),
            ("a@s a-b a/x b", "a!"),
            ("a@s a-b ab/x b", "a"),
            ("a@s a-b@d a-b a/x", "a-b! a!"),
            ("a@s a-b@d a/x", "a-b a!"),
            ("a@s a@d a", "a! a"),
            ("a/b@d a/b/c d@s d/e f", "a/b! d!"),
            ("b@s", "b"),
        ] {
            assert_eq!(told(names), expected, "{names}");
        }
    }
}
