//! What root makes in a folder of somebody else belongs to that somebody: a state or a store that was used once by root
//! would be closed to its owner from then on.

use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;

/// Links are never followed: the folder is its owner's, who may put anything into it.
const NO_LINKS: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// Creates a folder that only its owner may enter, and what is missing above it, if it is not there. What root makes
/// belongs to the owner of the folder it is made in.
pub(crate) fn create_private(path: &Path) -> std::io::Result<()> {
    let missing = path.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists()).last();
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    if let Some((above, name)) = missing.and_then(|top| top.parent().zip(top.file_name()))
        && rustix::process::geteuid().is_root()
    {
        inherit(above, name).unwrap_or_else(|error| tell(path, error));
    }
    Ok(())
}

fn inherit(above: &Path, name: &std::ffi::OsStr) -> Result<(), Errno> {
    let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
    let folder = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let above = rustix::fs::openat(CWD, above, folder, Mode::empty())?;
    let owner = rustix::fs::fstat(&above)?;
    if owner.st_uid == 0 {
        return Ok(());
    }
    let made = rustix::fs::openat(&above, name, NO_LINKS | OFlags::DIRECTORY, Mode::empty())?;
    let stat = rustix::fs::fstat(&made)?;
    if stat.st_uid == 0 && stat.st_dev == owner.st_dev {
        give(&made, &owner)?;
        give_all(made, &owner)?;
    }
    Ok(())
}

fn tell(path: &Path, error: Errno) {
    tracing::warn!(path = %path.display(), %error, "what root has made here could not be given to the owner of the folder");
}

/// Gives what root has made in `dir`, however deep, to the owner of `dir`. Nobody else can, and nobody else needs to.
pub(crate) fn give_back(dir: &Path) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let given = rustix::fs::openat(CWD, dir, NO_LINKS | OFlags::DIRECTORY, Mode::empty()).and_then(|root| {
        let owner = rustix::fs::fstat(&root)?;
        if owner.st_uid == 0 { Ok(()) } else { give_all(root, &owner) }
    });
    given.unwrap_or_else(|error| tell(dir, error));
}

fn give_all(root: OwnedFd, owner: &Stat) -> Result<(), Errno> {
    let mut waiting = vec![root];
    while let Some(folder) = waiting.pop() {
        for entry in rustix::fs::Dir::read_from(&folder)? {
            let entry = entry?;
            if matches!(entry.file_name().to_bytes(), b"." | b"..") {
                continue;
            }
            // What is gone meanwhile, or is a link, is nothing to give.
            let Ok(found) = rustix::fs::openat(&folder, entry.file_name(), NO_LINKS, Mode::empty()) else {
                continue;
            };
            let stat = rustix::fs::fstat(&found)?;
            let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            if stat.st_dev != owner.st_dev {
                continue;
            }
            // A file with two names may be one of root's that somebody has linked here.
            if stat.st_uid == 0 && (is_folder || is_plain(&stat)) {
                give(&found, owner)?;
            }
            if is_folder {
                waiting.push(found);
            }
        }
    }
    Ok(())
}

fn is_plain(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_nlink == 1
}

fn give(what: impl AsFd, owner: &Stat) -> Result<(), Errno> {
    rustix::fs::fchown(what, Some(Uid::from_raw(owner.st_uid)), Some(Gid::from_raw(owner.st_gid)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, chown, symlink};

    use super::*;

    #[test]
    fn what_root_has_made_is_given_to_the_owner_and_nothing_else_is() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let parent = tempfile::tempdir().unwrap();
        let at = |name: &str| parent.path().join(name);
        fs::create_dir_all(at("state/pair/deep")).unwrap();
        fs::create_dir(at("outside")).unwrap();
        for name in ["state/lock", "state/pair/deep/db", "state/other", "outside/secret", "outside/file"] {
            fs::write(at(name), "x").unwrap();
        }
        chown(at("state/other"), Some(7), Some(7)).unwrap();
        fs::hard_link(at("outside/secret"), at("state/linked")).unwrap();
        symlink(at("outside/file"), at("state/link")).unwrap();
        symlink(at("outside"), at("state/folder")).unwrap();
        let owner = |name: &str| fs::symlink_metadata(at(name)).unwrap().uid();
        give_back(&at("state"));
        assert_eq!(owner("state/lock"), 0, "its folder is root's");
        chown(at("state"), Some(1234), Some(1235)).unwrap();
        give_back(&at("state"));
        for name in ["state/lock", "state/pair", "state/pair/deep", "state/pair/deep/db"] {
            assert_eq!(owner(name), 1234, "{name}");
        }
        assert_eq!(owner("state/other"), 7);
        create_private(&at("state/new/below")).unwrap();
        create_private(&at("new/below")).unwrap();
        let made = ["state/new", "state/new/below", "new", "new/below"].map(owner);
        assert_eq!(made, [1234, 1234, 0, 0]);
        for name in ["outside/secret", "outside/file", "outside", "state/linked"] {
            assert_eq!(owner(name), 0, "{name}");
        }
    }
}
