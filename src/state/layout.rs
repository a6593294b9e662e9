//! Where the state of a pair lies, and its side-car.
//!
//! The side-car is a small file beside the database that says which generation the database must have
//! reached. It is what tells a database that is gone, or was put back from an old copy, from one that never
//! was. It is replaced whole, after the database is durable.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::lock::no_file;
use super::tables::{SCHEMA, is_readable};
use super::{PairRecord, failure};
use crate::entry::Timestamp;
use crate::error::Result;
use crate::fingerprint::md5_of;
use crate::root::RootIdentity;
use crate::side::Sides;

/// A link in the place of a file of ours leads to somebody else's.
const NOFOLLOW: i32 = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();

/// How much of a pair's id is in the name of a state that waits.
const ID_DIGITS: usize = 16;

/// No honest side-car is longer.
const LONGEST_SIDECAR: u64 = 64 * 1024;

/// The paths of one pair in a state directory.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) dir: PathBuf,
    pub(super) name: String,
}

/// What the side-car says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sidecar {
    pub(super) schema: u32,
    /// Empty where only the existence of a base is known.
    pub(super) pair_id: String,
    pub(super) generation: u64,
    /// Where the pair was; earlier releases do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) at: Option<Whereabouts>,
}

/// Where a pair was when it was synced last, and how far its sides had come.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whereabouts {
    /// What tells the tree of each side from all others.
    pub locations: Sides<String>,
    /// The local roots.
    pub roots: Sides<Option<RootIdentity>>,
    /// The epoch whose marker is known to have been there.
    pub there: Sides<u64>,
}

/// A state, as its side-car shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What its files are called.
    pub name: String,
    /// The id of its pair.
    pub pair_id: String,
    /// Where the pair was when it was synced last.
    pub at: Whereabouts,
}

impl Whereabouts {
    /// Returns what the record of a pair says of it.
    pub fn of(record: &PairRecord) -> Self {
        let there = record.tail.epochs().there;
        Self { locations: record.locations.clone(), roots: record.roots, there }
    }
}

impl Sidecar {
    /// Returns what belongs beside a base with this record.
    pub(super) fn of(record: &PairRecord, generation: u64) -> Self {
        let (pair_id, at) = (record.pair_id.clone(), Some(Whereabouts::of(record)));
        Self { schema: SCHEMA, pair_id, generation, at }
    }

    /// Returns what only tells that there was a base.
    pub(super) fn trace(generation: u64) -> Self {
        Self { schema: SCHEMA, pair_id: String::new(), generation, at: None }
    }
}

/// What there is in the place of the side-car.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trace {
    None,
    Readable(Sidecar),
    Unreadable,
}

impl Layout {
    pub(super) fn new(dir: PathBuf, locations: &Sides<String>) -> Self {
        let name = md5_of(&format!("{}\0{}", locations.source, locations.destination));
        Self { dir, name }
    }

    /// Where the state of these locations waits while another pair has them: the folders that carry its id are away.
    pub(super) fn waiting(&self, pair_id: &str) -> Self {
        let id: String = pair_id.chars().filter(char::is_ascii_hexdigit).take(ID_DIGITS).collect();
        Self { dir: self.dir.clone(), name: format!("{}-{id}", self.own_name()) }
    }

    /// The name that the locations make.
    fn own_name(&self) -> &str {
        self.name.split('-').next().unwrap_or_default()
    }

    /// Returns whether a state can be called so.
    pub(super) fn is_name(name: &str) -> bool {
        let is_hex = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        name.split('-').count() <= 2 && name.split('-').all(is_hex)
    }

    /// The directory of the database.
    pub(super) fn database(&self) -> PathBuf {
        self.dir.join(&self.name)
    }

    pub(super) fn sidecar(&self) -> PathBuf {
        self.dir.join(format!("{}.json", self.name))
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.dir.join(format!("{}.lock", self.own_name()))
    }

    /// Returns what the side-car says of the pair whose base is beside it.
    pub(super) fn kept(&self) -> Result<Option<(String, Option<Whereabouts>)>> {
        Ok(match self.read_sidecar()? {
            Trace::Readable(sidecar) if is_readable(sidecar.schema) && !sidecar.pair_id.is_empty() => {
                Some((sidecar.pair_id, sidecar.at))
            }
            _ => None,
        })
    }

    /// Creates the state directory, for its owner only.
    pub(super) fn create_dir(&self) -> Result<()> {
        crate::ownership::create_private(&self.dir)
            .map_err(|error| failure(format!("create `{}`", self.dir.display()), error))
    }

    /// Moves `path`, if it is there, to a new name that ends in `.<what>-<time>`. Nothing is ever deleted.
    pub(super) fn move_aside(&self, path: &Path, what: &str, now: Timestamp) -> Result<bool> {
        let doing = || format!("move `{}` aside", path.display());
        match fs::symlink_metadata(path) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(failure(doing(), error)),
        }
        fs::rename(path, self.free_name(path, what, now)?).map_err(|error| failure(doing(), error))?;
        self.sync_dir()?;
        Ok(true)
    }

    /// Moves snapshots that sled did not finish aside: sled 0.34 takes one for a damaged snapshot and
    /// refuses to open.
    pub(super) fn move_strays_aside(&self, now: Timestamp) -> Result<()> {
        let database = self.database();
        let failed = |path: &Path, error| failure(format!("move `{}` aside", path.display()), error);
        let Ok(entries) = fs::read_dir(&database) else { return Ok(()) };
        let mut aside = None;
        for entry in entries {
            let entry = entry.map_err(|error| failed(&database, error))?;
            if !is_stray(&entry.file_name()) {
                continue;
            }
            if aside.is_none() {
                let to = self.free_name(&database, "stray", now)?;
                create_private(&to)?;
                aside = Some(to);
            }
            let Some(to) = &aside else { continue };
            fs::rename(entry.path(), to.join(entry.file_name()))
                .map_err(|error| failed(&entry.path(), error))?;
        }
        Ok(())
    }

    /// Keeps a copy of the side-car that the next commit replaces.
    pub(super) fn copy_sidecar_aside(&self, what: &str, now: Timestamp) -> Result<()> {
        let path = self.sidecar();
        let to = self.free_name(&path, what, now)?;
        fs::copy(&path, to).map(drop).map_err(|error| failure(format!("copy `{}`", path.display()), error))
    }

    /// Returns a name beside `path` that nothing has.
    pub(super) fn free_name(&self, path: &Path, what: &str, now: Timestamp) -> Result<PathBuf> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut free = self.dir.join(format!("{name}.{what}-{}", now.compact()));
        for number in 2_u32.. {
            match fs::symlink_metadata(&free) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(error) => return Err(failure(format!("look at `{}`", free.display()), error)),
                Ok(_) => free = self.dir.join(format!("{name}.{what}-{}-{number}", now.compact())),
            }
        }
        Ok(free)
    }

    /// Returns whether a file is the side-car of a state of this pair, wherever it lies.
    pub(super) fn is_of(sidecar: &Path, pair_id: &str) -> bool {
        matches!(read_sidecar(sidecar), Ok(Trace::Readable(found)) if found.pair_id == pair_id)
    }

    pub(super) fn read_sidecar(&self) -> Result<Trace> {
        read_sidecar(&self.sidecar())
    }

    /// Replaces the side-car, durably.
    pub(super) fn put_sidecar(&self, sidecar: &Sidecar) -> Result<()> {
        let path = self.sidecar();
        let temporary = self.dir.join(format!("{}.json.tmp", self.name));
        let write = || -> io::Result<()> {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600).custom_flags(NOFOLLOW);
            let mut file = options.open(&temporary)?;
            file.write_all(&serde_json::to_vec(sidecar)?)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)
        };
        write().map_err(|error| failure(format!("write `{}`", path.display()), error))?;
        self.sync_dir()
    }

    pub(super) fn sync_dir(&self) -> Result<()> {
        File::open(&self.dir)
            .and_then(|dir| dir.sync_all())
            .map_err(|error| failure(format!("sync `{}`", self.dir.display()), error))
    }
}

fn read_sidecar(path: &Path) -> Result<Trace> {
    let failed = |error| failure(format!("read `{}`", path.display()), error);
    let file = match OpenOptions::new().read(true).custom_flags(NOFOLLOW).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Trace::None),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            return Err(no_file(&format!("read `{}`", path.display())));
        }
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    match file.take(LONGEST_SIDECAR).read_to_end(&mut bytes) {
        Ok(_) => Ok(serde_json::from_slice(&bytes).map_or(Trace::Unreadable, Trace::Readable)),
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => Ok(Trace::Unreadable),
        Err(error) => Err(failed(error)),
    }
}

/// Says why somebody else could change what is remembered in the state directory `dir`, if somebody could.
pub(super) fn exposure(dir: &Path) -> Option<&'static str> {
    let found = fs::metadata(dir).ok()?;
    if found.uid() != rustix::process::geteuid().as_raw() && found.uid() != 0 {
        return Some("belongs to another user");
    }
    (found.mode() & 0o002 != 0).then_some("can be written by every user")
}

/// Returns whether `name` is that of a snapshot sled did not finish.
pub(super) fn is_stray(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b"snap.") && name.as_bytes().ends_with(b".generating")
}

/// Creates a directory that only its owner may enter.
pub(super) fn create_private(path: &Path) -> Result<()> {
    DirBuilder::new()
        .mode(0o700)
        .create(path)
        .map_err(|error| failure(format!("create `{}`", path.display()), error))
}

/// Returns whether there is anything under a path.
pub(super) fn exists(path: &Path) -> Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound) => Ok(false),
        Err(error) => Err(failure(format!("look at `{}`", path.display()), error)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::tests::pair_record;
    use super::*;

    #[test]
    fn a_pair_is_named_by_its_locations_in_order() {
        let name = |source: &str, destination: &str| {
            Layout::new("/s".into(), &Sides::new(source.into(), destination.into())).database()
        };
        // By `printf 'a\0b' | md5sum`.
        assert_eq!(name("a", "b"), Path::new("/s/70350f6027bce3713f6b76473084309b"));
        assert_ne!(name("a", "b"), name("b", "a"));
        assert_ne!(name("ab", ""), name("a", "b"));
    }

    #[test]
    fn what_waits_has_the_lock_of_its_locations() {
        let layout = Layout::new("/s".into(), &Sides::new("a".into(), "b".into()));
        let waiting = layout.waiting("0123456789abcdef0123456789abcdef");
        assert_eq!(waiting.name, "70350f6027bce3713f6b76473084309b-0123456789abcdef");
        assert_eq!(waiting.lock(), layout.lock());
        for (name, fine) in [
            (layout.name.as_str(), true),
            (waiting.name.as_str(), true),
            ("", false),
            ("70350f6027bce3713f6b76473084309b.json.lost-19700101T000000Z", false),
            ("x", false),
        ] {
            assert_eq!(Layout::is_name(name), fine, "{name}");
        }
    }

    #[test]
    fn a_name_that_is_taken_is_not_taken_again() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().into(), &Sides::default());
        for suffix in ["", "-2", "-3"] {
            fs::create_dir(layout.database()).unwrap();
            assert!(layout.move_aside(&layout.database(), "lost", Timestamp::default()).unwrap());
            let name = format!("{}.lost-19700101T000000Z{suffix}", layout.database().display());
            assert!(Path::new(&name).exists(), "{name}");
        }
        assert!(!layout.move_aside(&layout.database(), "lost", Timestamp::default()).unwrap());
    }

    #[test]
    fn a_link_in_the_place_of_a_side_car_is_neither_read_nor_written_through() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().join("state"), &Sides::default());
        layout.create_dir().unwrap();
        let secret = dir.path().join("secret");
        fs::write(&secret, "{}").unwrap();
        std::os::unix::fs::symlink(&secret, layout.sidecar()).unwrap();
        let error = layout.read_sidecar().unwrap_err();
        assert!(error.hint().is_some_and(|hint| hint.contains("move it away")), "{error:?}");
        std::os::unix::fs::symlink(&secret, layout.sidecar().with_extension("json.tmp")).unwrap();
        assert!(layout.put_sidecar(&Sidecar::trace(7)).is_err());
        assert_eq!(fs::read_to_string(secret).unwrap(), "{}");
    }

    #[test]
    fn a_directory_that_others_can_change_is_told() {
        let dir = tempfile::tempdir().unwrap();
        for (mode, expected) in [
            (0o700, None),
            (0o755, None),
            (0o775, None),
            (0o777, Some("can be written by every user")),
            (0o1777, Some("can be written by every user")),
        ] {
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(exposure(dir.path()), expected, "{mode:o}");
        }
        assert_eq!(exposure(&dir.path().join("missing")), None);
        // Only root can give a folder away.
        if std::os::unix::fs::chown(dir.path(), Some(12_345), None).is_ok() {
            assert_eq!(exposure(dir.path()), Some("belongs to another user"));
        }
    }

    #[test]
    fn the_side_car_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().into(), &Sides::default());
        assert_eq!(layout.read_sidecar().unwrap(), Trace::None);
        let sidecar = Sidecar::of(&pair_record(), 7);
        layout.put_sidecar(&sidecar).unwrap();
        assert_eq!(layout.read_sidecar().unwrap(), Trace::Readable(sidecar));
        for garbage in ["", "{", "[]", "{\"schema\":1}", "\u{0}\u{0}"] {
            fs::write(layout.sidecar(), garbage).unwrap();
            assert_eq!(layout.read_sidecar().unwrap(), Trace::Unreadable, "{garbage}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
