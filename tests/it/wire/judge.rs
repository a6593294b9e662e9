//! What a user would say of what he finds.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::world::{Inner, NAMES};

impl Inner {
    /// Returns the live files of the store.
    pub(super) fn files(&self) -> BTreeMap<String, Bytes> {
        let below =
            self.store.objects.iter().filter_map(|(key, object)| Some((key.strip_prefix("p/")?, object)));
        let live = below.filter(|(name, _)| !name.starts_with(".syncengine/"));
        live.map(|(name, object)| (name.to_owned(), object.bytes.clone())).collect()
    }

    /// Checks what a user would check: nothing of his is gone, and nothing is there that nobody wrote.
    pub(super) fn judge(&mut self) {
        let mut there: BTreeSet<Bytes> =
            self.store.objects.values().map(|object| object.bytes.clone()).collect();
        let tree = self.folder.tree();
        let files = self.files();
        let equal = tree.iter().filter(|(name, here)| files.get(*name) == Some(here));
        self.met.extend(equal.map(|(name, _)| name.clone()));
        there.extend(tree.values().cloned());
        there.extend(self.folder.trash().into_iter().map(|(_, bytes)| bytes));
        let lost: Vec<Bytes> = self.owed.difference(&there).cloned().collect();
        for content in lost {
            self.owed.remove(&content);
            self.broken
                .push(format!("{:?} is neither live nor in a trash", String::from_utf8_lossy(&content)));
        }
        // What a store said it deleted is what it is, and nobody's name.
        let is_kept = |name: &str| self.kept.contains(&format!("p/{name}")) && !NAMES.contains(&name);
        for (name, content) in tree.iter().filter(|(name, _)| !is_kept(name)) {
            if !self.written.contains(content) {
                self.broken.push(format!(
                    "{name} in the folder is {:?}, which nobody wrote",
                    String::from_utf8_lossy(content)
                ));
            }
        }
    }

    /// Checks what is left when all is calm.
    pub(super) fn judge_peace(&mut self) {
        let (here, there) = (self.folder.tree(), self.files());
        if here != there {
            self.broken.push(format!("a run said that all is synced, and {here:?} is not {there:?}"));
        }
        for (name, wishes) in std::mem::take(&mut self.wishes) {
            // Of several wishes any may win; of one it must.
            if let [Some(wish)] = wishes.as_slice()
                && here.get(&name) != Some(wish)
            {
                let found = here.get(&name).map(|found| String::from_utf8_lossy(found).into_owned());
                let wish = String::from_utf8_lossy(wish).into_owned();
                self.broken.push(format!("{name} is {found:?}, and its user last wrote {wish:?}"));
            }
        }
    }

    /// Returns what both sides and their trash have.
    pub(super) fn known(&self) -> String {
        let trash = self.store.objects.iter().filter(|(name, _)| name.starts_with("p/.syncengine/trash/"));
        let mut trash: Vec<&Bytes> = trash.map(|(_, object)| &object.bytes).collect();
        trash.sort_unstable();
        let mut thrown: Vec<Bytes> = self.folder.trash().into_iter().map(|(_, bytes)| bytes).collect();
        thrown.sort_unstable();
        format!("{:?} {:?} {trash:?} {thrown:?}", self.folder.tree(), self.files())
    }
}
