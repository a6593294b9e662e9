//! What people do to their files, between runs and during them, and what they do away with.

use bytes::Bytes;
use syncengine::filter::IGNORE_FILE;
use syncengine::{Key, Timestamp};

use super::place::{File, LARGE, Place};
use super::world::Inner;

const NAMES: [&str; 9] = ["a", "a-b", "a/x", "a/y.txt", "b", "b.txt", "d/a", "d/e/f", "z"];

/// What rules exclude here: files and folders of a name, and folders only.
pub(crate) const PATTERNS: [&str; 4] = ["z", "b", "d/", "y.txt"];

/// Returns whether a rule excludes a name, as any reader of gitignore would say.
pub(crate) fn excludes(pattern: &str, name: &str) -> bool {
    let segments: Vec<&str> = name.split('/').collect();
    match pattern.strip_suffix('/') {
        Some(folder) => segments[..segments.len() - 1].contains(&folder),
        None => segments.contains(&pattern),
    }
}

impl Inner {
    /// Somebody writes rules at a place, or does away with them.
    fn rule(&mut self, at: usize) {
        let pattern = self.odd.as_mut().map(|odd| *odd.pick(&PATTERNS));
        let is_there = self.places[at].files.contains_key(IGNORE_FILE);
        if is_there && self.is_odd(2) {
            self.note("rules taken away");
            return self.delete(at, IGNORE_FILE);
        }
        if let Some(pattern) = pattern {
            self.note("rules written");
            self.ruled.insert(pattern);
            let number = self.edits;
            self.write(at, IGNORE_FILE, format!("{pattern}\n# {number}\n").into());
        }
    }

    /// Somebody does something at a place.
    pub(crate) fn edit(&mut self, at: usize) {
        // What was done before is durable by the time somebody acts on it.
        self.places.iter_mut().for_each(|place| place.pending.clear());
        self.edits += 1;
        self.note("edits");
        if self.has_rules && self.is_odd(self.rules_in) {
            return self.rule(at);
        }
        let name = *self.chance.pick(&NAMES);
        let in_capitals = name.to_ascii_uppercase();
        // Elsewhere other names would only make conflicts rarer.
        let has_case = self.places.iter().any(Place::folds) && self.chance.below(3) == 0;
        let name = if has_case { &in_capitals } else { name };
        let files: Vec<String> = self.places[at].files.keys().cloned().collect();
        let what = self.chance.below(12);
        if files.is_empty() || what < 4 {
            let content = self.invent();
            return self.write(at, name, content);
        }
        let file = self.chance.pick(&files).clone();
        match what {
            4 | 5 => {
                let content = self.invent();
                self.write(at, &file, content);
            }
            6 => self.touch(at, &file),
            7 | 8 => self.delete(at, &file),
            _ if file != name => self.rename(at, &file, name),
            _ => {}
        }
    }

    /// Somebody does something to the very file that a call is about.
    pub(crate) fn strike(&mut self, at: usize, name: &str) {
        self.places.iter_mut().for_each(|place| place.pending.clear());
        self.edits += 1;
        self.note("edits just before a call");
        if !Key::parse(name).is_ok_and(|key| !key.is_reserved()) {
            return self.edit(at);
        }
        let is_there = self.places[at].files.contains_key(name);
        match self.chance.below(6) {
            0 if is_there => self.delete(at, name),
            1 if is_there => self.touch(at, name),
            2 if is_there && name != "z" => self.rename(at, name, "z"),
            _ => {
                let content = self.invent();
                self.write(at, name, content);
            }
        }
    }

    /// Thinks of a content: mostly a new one, of a size that others have too.
    fn invent(&mut self) -> Bytes {
        let number = if self.chance.below(6) == 0 { self.chance.below(4) } else { 10 + self.edits as usize };
        let mut text = format!("content {number:05}");
        if number.is_multiple_of(5) {
            text.extend(std::iter::repeat_n('x', LARGE));
        }
        text.into()
    }

    /// Writes a file; what is in its way goes first.
    pub(crate) fn write(&mut self, at: usize, name: &str, content: Bytes) {
        let name = &*self.places[at].spelling(name);
        self.tell(|| format!("user at {at}: write {name} {:?}", String::from_utf8_lossy(&content)));
        self.make_room(at, name);
        let now = self.now_at(at);
        let modified = match self.chance.below(4) {
            0 => self.some_time(),
            _ => now,
        };
        let (old, fresh) = (self.places[at].files.get(name).map(|file| file.inode), self.next_inode());
        // A file may be written in place, or be a new one, which may get the number of one that is gone.
        let inode = match self.chance.below(3) {
            0 => fresh,
            1 => old.unwrap_or(fresh),
            _ => old.or(self.places[at].free_inode.take()).unwrap_or(fresh),
        };
        self.put(at, name, content, modified, inode);
    }

    pub(crate) fn put(&mut self, at: usize, name: &str, content: Bytes, modified: Timestamp, inode: u64) {
        let (now, number, tick) = (self.now_at(at), self.next_inode(), self.tick);
        self.written.insert(content.clone());
        self.owed.insert(content.clone());
        let place = &mut self.places[at];
        let old = place.files.get(name).map(|file| file.content.clone());
        if let Some(old) = old.clone().filter(|old| *old != content) {
            self.given_up.insert(old);
        }
        let place = &mut self.places[at];
        place.taken_away.remove(name);
        place.written_anew.insert(name.to_owned());
        place.brought.remove(name);
        let (modified, changed) = (place.stamp(modified), place.stamp(now));
        let etag = place.etag(&content, number);
        if name == IGNORE_FILE {
            self.free(at, Some(&content), None);
        }
        self.places[at].set(name, File { content, modified, changed, inode, etag, written_by: None }, tick);
        self.disown(old);
    }

    /// Writes a file without any chance: a new one, at this moment.
    pub(crate) fn place_file(&mut self, at: usize, name: &str, text: &str) {
        let (inode, now) = (self.next_inode(), self.now_at(at));
        self.pass(std::time::Duration::from_secs(3));
        self.make_room(at, name);
        self.put(at, name, Bytes::copy_from_slice(text.as_bytes()), now, inode);
    }

    fn touch(&mut self, at: usize, name: &str) {
        self.tell(|| format!("user at {at}: touch {name}"));
        let modified = self.some_time();
        let Some(file) = self.places[at].files.get(name).cloned() else { return };
        self.put(at, name, file.content, modified, file.inode);
    }

    pub(crate) fn delete(&mut self, at: usize, name: &str) {
        self.tell(|| format!("user at {at}: delete {name}"));
        let tick = self.tick;
        let old = self.places[at].take(name, tick);
        if name == IGNORE_FILE {
            self.free(at, None, None);
        }
        self.places[at].taken_away.insert(name.to_owned());
        self.given_up.extend(old.iter().map(|file| file.content.clone()));
        self.disown(old.map(|file| file.content));
    }

    pub(crate) fn rename(&mut self, at: usize, from: &str, to: &str) {
        self.tell(|| format!("user at {at}: rename {from} to {to}"));
        let tick = self.tick;
        let Some(file) = self.places[at].take(from, tick) else { return };
        if from == IGNORE_FILE {
            self.free(at, None, None);
        }
        self.given_up.insert(file.content.clone());
        self.places[at].taken_away.insert(from.to_owned());
        self.places[at].free_inode = None;
        let to = &*self.places[at].spelling(to);
        self.make_room(at, to);
        self.put(at, to, file.content, file.modified, file.inode);
    }

    fn make_room(&mut self, at: usize, name: &str) {
        let key = Key::parse(name).unwrap();
        let others: Vec<String> = self.places[at].files.keys().cloned().collect();
        for other in others {
            if key.is_below(&other) || Key::parse(&other).unwrap().is_below(name) {
                self.delete(at, &other);
            }
        }
        // A folder goes with all that is in it.
        self.places[at].temporaries.retain(|other, _| !Key::parse(other).unwrap().is_below(name));
    }

    /// A user did away with a version: if it was the last copy nobody is owed it.
    pub(crate) fn disown(&mut self, content: Option<Bytes>) {
        if let Some(content) = content
            && !self.exists(&content)
        {
            self.owed.remove(&content);
        }
    }

    /// A store that ignores conditions let a version be overwritten that nobody had looked at; a copy that is under way
    /// elsewhere may still not last.
    pub(crate) fn forfeit(&mut self, content: Option<Bytes>) {
        if let Some(content) = content {
            self.owed.remove(&content);
            self.given_up.insert(content);
        }
    }

    fn some_time(&mut self) -> Timestamp {
        Timestamp::new(1_600_000_000 + i64::try_from(self.chance.below(50)).unwrap(), 0)
    }
}
