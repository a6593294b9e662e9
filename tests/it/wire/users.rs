//! What the users of the folder and of the store do.

use std::collections::BTreeSet;

use bytes::Bytes;
use syncengine::{Key, Timestamp};

use super::world::{Inner, NAMES};

/// Something a user did.
#[derive(Debug)]
pub(super) struct Deed {
    name: &'static str,
    new: Option<Bytes>,
}

impl Inner {
    /// A user of either side does something, where `key` is if it names one of his files.
    pub(super) fn act(&mut self, key: Option<&str>) {
        let in_store = self.chance.below(2) == 0;
        let at_key = key.and_then(|key| NAMES.into_iter().find(|name| key.strip_prefix("p/") == Some(*name)));
        let name = at_key.unwrap_or_else(|| *self.chance.pick(&NAMES));
        let old = if in_store {
            self.store.objects.get(&format!("p/{name}")).map(|object| object.bytes.clone())
        } else {
            self.folder.get(&Key::parse(name).unwrap())
        };
        let new = match self.chance.below(5) {
            0 if old.is_some() => None,
            _ => Some(self.content()),
        };
        self.note(if in_store { "deeds in the store" } else { "deeds in the folder" });
        let side = if in_store { "store" } else { "folder" };
        self.tell(|| {
            format!(
                "user of the {side}: {name} = {:?}",
                new.as_ref().map(|new| String::from_utf8_lossy(new).into_owned())
            )
        });
        if let Some(old) = &old {
            self.owed.remove(old);
        }
        self.set(in_store, name, new.clone());
        self.wishes.entry(name.to_owned()).or_default().push(new.clone());
        if in_store {
            self.unseen.insert(format!("p/{name}"), Deed { name, new });
        }
    }

    /// Takes back what a user is owed for a deed that nothing could have seen: a store that looks at no condition did it between
    /// the look of the machine and its write.
    pub(super) fn forgive(&mut self, deed: &Deed) {
        if let Some(content) = &deed.new {
            self.owed.remove(content);
        }
        self.wishes.remove(deed.name);
    }

    /// A user of the folder writes a file.
    pub(super) fn write(&mut self, name: &str) {
        let content = self.content();
        self.set(false, name, Some(content));
    }

    fn content(&mut self) -> Bytes {
        self.serial += 1;
        let size = *self.chance.pick(&[10, 10, 100]);
        let content = Bytes::from(format!("v{:04}{}", self.serial, "x".repeat(size)));
        self.written.insert(content.clone());
        self.owed.insert(content.clone());
        content
    }

    fn set(&mut self, in_store: bool, name: &str, content: Option<Bytes>) {
        // Where nothing is known of a path yet, two files of 2 seconds and one size are one to whoever compares by time: no two are
        // new at once. Edits may be.
        if content.is_none() {
            self.met.remove(name);
        }
        let is_apart = self.compares_by_time && !self.met.contains(name);
        let later = if is_apart { 10 * i64::try_from(self.serial).unwrap() } else { 0 };
        let now = self.now() + later;
        match (in_store, content) {
            (true, Some(content)) => {
                let time = vec![("x-amz-meta-mtime".to_owned(), now.to_string())];
                drop(self.store.put(&format!("p/{name}"), content, now, time));
            }
            (true, None) => drop(self.store.objects.remove(&format!("p/{name}"))),
            (false, Some(content)) => {
                self.folder.put(Key::parse(name).unwrap(), content, Timestamp::new(now, 0));
            }
            (false, None) => drop(self.folder.remove_now(&Key::parse(name).unwrap())),
        }
    }

    /// A user writes a file anew: what failed until it changes is tried again.
    pub(super) fn edit(&mut self, name: &str) {
        if let Some(old) = self.folder.get(&Key::parse(name).unwrap()) {
            self.owed.remove(&old);
            let new = self.content();
            self.set(false, name, Some(new.clone()));
            self.wishes.entry(name.to_owned()).or_default().push(Some(new));
        }
    }

    /// A user settles conflicts: what the folder has is to be.
    pub(super) fn settle(&mut self) {
        let (here, there) = (self.folder.tree(), self.files());
        let names: BTreeSet<String> = here.keys().chain(there.keys()).cloned().collect();
        for name in names.into_iter().filter(|name| here.get(name) != there.get(name)) {
            if let Some(old) = there.get(&name) {
                self.owed.remove(old);
            }
            self.wishes.remove(&name);
            self.set(true, &name, here.get(&name).cloned());
        }
    }
}
