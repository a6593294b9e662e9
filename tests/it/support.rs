//! What several test files need: trees that can be edited and looked at past their client, and a small
//! random generator whose seed is printed with every failure.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use syncengine::state::memory::MemoryState;
use syncengine::state::{Found, StateStore};
use syncengine::{Key, LocalClient, MemoryClient, StorageClient, SyncEngine, Timestamp};

#[cfg(feature = "cli")]
pub(crate) mod bench;
#[cfg(all(feature = "s3", feature = "embedded"))]
pub(crate) mod bucket;
#[cfg(all(feature = "s3", feature = "embedded"))]
pub(crate) mod endpoints;
#[cfg(target_os = "linux")]
pub(crate) mod fuse;
#[cfg(all(feature = "s3", feature = "embedded"))]
pub(crate) mod middle;
pub(crate) mod scene;
#[cfg(all(feature = "cli", target_os = "linux"))]
pub(crate) mod stick;
#[cfg(all(feature = "cli", feature = "s3", feature = "embedded"))]
pub(crate) mod world;

/// Files by name.
pub(crate) type Tree = BTreeMap<String, Vec<u8>>;

/// Random numbers from a seed (xorshift64*, the generator of Marsaglia and Vigna).
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from((self.next() >> 33) % bound as u64).unwrap()
    }

    pub(crate) fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }
}

/// One side of a pair, as a user sees it.
pub(crate) trait Root {
    fn client(&self) -> Arc<dyn StorageClient>;
    /// Writes a file; a folder or file in the way is removed first.
    fn write(&self, name: &str, content: &[u8], modified: Timestamp);
    fn delete(&self, name: &str);
    fn rename(&self, from: &str, to: &str);
    /// Sets the modification time without changing the content.
    fn touch(&self, name: &str, modified: Timestamp);
    fn files(&self) -> Tree;
    /// The contents of the trash.
    fn trash(&self) -> Vec<Vec<u8>>;
}

/// A local folder.
#[derive(Debug)]
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(parent: &Path, name: &str) -> Self {
        let path = parent.join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn make_room(&self, name: &str) {
        let path = self.0.join(name);
        for above in path.ancestors().skip(1).take_while(|above| above.starts_with(&self.0)) {
            if above.is_file() {
                fs::remove_file(above).unwrap();
            }
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if path.is_dir() {
            fs::remove_dir_all(&path).unwrap();
        }
    }
}

/// Returns all regular files below `root`, `.syncengine` left out.
pub(crate) fn read_tree(root: &Path) -> Tree {
    fn collect(root: &Path, folder: &Path, tree: &mut Tree) {
        for item in fs::read_dir(folder).unwrap() {
            let item = item.unwrap();
            let name = item.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            let kind = item.file_type().unwrap();
            if name == ".syncengine" {
                continue;
            }
            if kind.is_dir() {
                collect(root, &item.path(), tree);
            } else if kind.is_file() {
                tree.insert(name, fs::read(item.path()).unwrap());
            }
        }
    }
    let mut tree = Tree::new();
    collect(root, root, &mut tree);
    tree
}

/// Sets the modification time of a file.
pub(crate) fn set_modified(path: &Path, modified: Timestamp) {
    let offset = std::time::Duration::new(modified.seconds.unsigned_abs(), modified.nanoseconds);
    let time = std::time::UNIX_EPOCH + offset;
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

impl Root for Folder {
    fn client(&self) -> Arc<dyn StorageClient> {
        Arc::new(LocalClient::open(&self.0).unwrap())
    }

    fn write(&self, name: &str, content: &[u8], modified: Timestamp) {
        self.make_room(name);
        fs::write(self.0.join(name), content).unwrap();
        set_modified(&self.0.join(name), modified);
    }

    fn delete(&self, name: &str) {
        fs::remove_file(self.0.join(name)).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        let aside = self.0.join("aside");
        fs::rename(self.0.join(from), &aside).unwrap();
        self.make_room(to);
        fs::rename(aside, self.0.join(to)).unwrap();
    }

    fn touch(&self, name: &str, modified: Timestamp) {
        set_modified(&self.0.join(name), modified);
    }

    fn files(&self) -> Tree {
        read_tree(&self.0)
    }

    fn trash(&self) -> Vec<Vec<u8>> {
        let trash = self.0.join(".syncengine/trash");
        if trash.exists() { read_tree(&trash).into_values().collect() } else { Vec::new() }
    }
}

impl Root for Arc<MemoryClient> {
    fn client(&self) -> Arc<dyn StorageClient> {
        let client: Self = Self::clone(self);
        client
    }

    fn write(&self, name: &str, content: &[u8], modified: Timestamp) {
        let key = Key::parse(name).unwrap();
        for other in self.files().keys().map(|other| Key::parse(other).unwrap()) {
            if other.is_below(name) || key.is_below(other.as_str()) {
                self.remove_now(&other);
            }
        }
        self.put(key, content.to_vec(), modified);
    }

    fn delete(&self, name: &str) {
        assert!(self.remove_now(&Key::parse(name).unwrap()));
    }

    fn rename(&self, from: &str, to: &str) {
        let content = self.get(&Key::parse(from).unwrap()).unwrap();
        self.delete(from);
        Root::write(self, to, &content, Timestamp::new(1_700_000_000, 0));
    }

    fn touch(&self, name: &str, modified: Timestamp) {
        let key = Key::parse(name).unwrap();
        let content = self.get(&key).unwrap();
        self.put(key, content, modified);
    }

    fn files(&self) -> Tree {
        self.tree().into_iter().map(|(name, bytes)| (name, bytes.to_vec())).collect()
    }

    fn trash(&self) -> Vec<Vec<u8>> {
        MemoryClient::trash(self).into_iter().map(|(_, bytes)| bytes.to_vec()).collect()
    }
}

/// Returns an engine with an empty state in memory, of which `found` says what it is.
pub(crate) fn fresh_engine(found: Found) -> SyncEngine {
    let state: Arc<dyn StateStore> = Arc::new(MemoryState::new());
    SyncEngine::new("unused").state(state, found)
}

/// Returns the value of an environment variable of the tests.
#[expect(clippy::disallowed_methods, reason = "tests take their sizes from the environment")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
