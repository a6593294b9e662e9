//! Folders in the place of a file: those in which there is no file, however deep, give way.
//!
//! Folders are not synced, so that nothing is lost with them. What holds anything else stays whole, and so does what
//! has another name that the file system takes for this one.

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use super::listed::is_exact;
use super::root::{join, open_folder};
use super::{names, stat};

/// Removes the folder `name` in `folder` with all below it, if there is nothing but folders; returns whether
/// it has gone.
pub(super) fn give_way(folder: &OwnedFd, name: &str) -> bool {
    if is_exact(folder, name) != Ok(true) {
        return false;
    }
    let Ok(Some(folders)) = only_folders(folder, name) else { return false };
    // Whatever came in meanwhile keeps its folder.
    folders.iter().rev().all(|path| remove(folder, path).is_ok())
}

/// Returns whether the folder `name` in `folder` would give way.
pub(super) fn gives_way(folder: &OwnedFd, name: &str) -> bool {
    matches!(only_folders(folder, name), Ok(Some(_)))
}

/// Returns the folder and those below it, each before what is in it; `None` if there is anything else.
fn only_folders(folder: &OwnedFd, name: &str) -> Result<Option<Vec<String>>, Errno> {
    let mut found = vec![name.to_owned()];
    let mut read = 0;
    while let Some(path) = found.get(read).cloned() {
        let handle = open_folder(folder, &path)?;
        let inside = names::read(&handle, "", &mut Vec::new())?;
        if !inside.strange.is_empty() {
            return Ok(None);
        }
        for name in inside.names {
            let kind = match name.kind {
                // Some file systems do not tell it with the name.
                FileType::Unknown => {
                    stat::kind(&rustix::fs::statat(&handle, &*name.text, AtFlags::SYMLINK_NOFOLLOW)?)
                }
                kind => kind,
            };
            if kind != FileType::Directory {
                return Ok(None);
            }
            found.push(join(&path, &name.text));
        }
        read += 1;
    }
    Ok(Some(found))
}

fn remove(folder: &OwnedFd, path: &str) -> Result<(), Errno> {
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    rustix::fs::unlinkat(open_folder(folder, parent)?, name, AtFlags::REMOVEDIR)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_what_holds_nothing_but_folders_gives_way() {
        let root = tempfile::tempdir().unwrap();
        let make = |path: &str| fs::create_dir_all(root.path().join(path)).unwrap();
        let deep = format!("deep{}", "/d".repeat(300));
        for path in ["empty", "nested/a/b", "nested/c", &deep, "file/a/b", "link/a", "outside"] {
            make(path);
        }
        fs::write(root.path().join("file/a/b/x"), "x").unwrap();
        fs::write(root.path().join("plain"), "x").unwrap();
        std::os::unix::fs::symlink(root.path().join("outside"), root.path().join("link/a/b")).unwrap();
        std::os::unix::fs::symlink(root.path().join("outside"), root.path().join("itself")).unwrap();
        let folder = OwnedFd::from(fs::File::open(root.path()).unwrap());
        for (name, gives_way) in [
            ("empty", true),
            ("nested", true),
            ("deep", true),
            ("file", false),
            ("link", false),
            ("plain", false),
            ("itself", false),
            ("nothing", false),
        ] {
            assert_eq!(give_way(&folder, name), gives_way, "{name}");
        }
        let mut left: Vec<_> =
            fs::read_dir(root.path()).unwrap().map(|item| item.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["file", "itself", "link", "outside", "plain"]);
        assert!(root.path().join("file/a/b/x").exists() && root.path().join("link/a/b").exists());
    }
}
