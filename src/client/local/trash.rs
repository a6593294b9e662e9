//! Making room in the trash for what is replaced or removed.

use rustix::fs::Mode;
use rustix::io::Errno;

use super::batch::Batch;
use super::reserved::{TRASH, check_id, locked_out, numbered};
use super::root::{failure, join, open_child};
use crate::error::{Error, ErrorKind, Result};
use crate::key::{RESERVED_FOLDER, escape};

impl Batch<'_> {
    /// Opens the folder in the trash for what is in `folder`, creating what is missing. Where a file has
    /// the name of a folder (a file was removed and then a folder with its name), a number is added.
    pub(super) fn open_trash(&mut self, run: &str, folder: &str) -> Result<String> {
        check_id(run)?;
        let base = format!("{TRASH}/{run}");
        let whole = if folder.is_empty() { base.clone() } else { format!("{base}/{folder}") };
        if self.open(&whole).is_ok() {
            return Ok(whole);
        }
        let mut path = String::new();
        let own = [RESERVED_FOLDER, "trash", run];
        for (depth, segment) in own.into_iter().chain(folder.split('/').filter(|s| !s.is_empty())).enumerate()
        {
            // The folders above are ours by name; a file in their place is a mistake to report.
            let (last, original) = if depth < own.len() {
                (0, None)
            } else {
                let end =
                    folder.match_indices('/').map(|(at, _)| at).chain([folder.len()]).nth(depth - own.len());
                (999, end.and_then(|end| folder.get(..end)))
            };
            path = self.make_trash_folder(&path, segment, last, original)?;
        }
        Ok(path)
    }

    /// Makes a folder in the trash: of ours, or of the folder `original`, into which nobody comes to see who did not before.
    fn make_trash_folder(
        &mut self,
        parent: &str,
        segment: &str,
        last: u32,
        original: Option<&str>,
    ) -> Result<String> {
        for number in 0..=last {
            let name = numbered(segment, number);
            let path = join(parent, &name);
            let folder = self.open(parent).map_err(|error| failure("open the folder", parent, error))?;
            let is_new = match rustix::fs::mkdirat(&*folder, &name, Mode::RWXU) {
                Ok(()) => true,
                Err(Errno::EXIST) => false,
                Err(error) => return Err(locked_out(failure("create the folder", &path, error))),
            };
            if is_new {
                self.touch(parent);
            }
            match open_child(&folder, &name) {
                Ok(handle) => {
                    match original {
                        Some(original) if is_new => self.local.open_as(&handle, original),
                        Some(_) => {}
                        None => self.local.open_to_all(&handle, true),
                    }
                    self.keep_open(&path, handle);
                    return Ok(path);
                }
                Err(Errno::NOTDIR) if number < last => {}
                Err(Errno::NOTDIR | Errno::LOOP) => return Err(no_folder_of_ours(&path)),
                Err(error) => return Err(failure("open the folder", &path, error)),
            }
        }
        Err(Error::new(ErrorKind::Internal, format!("make room in the trash for `{segment}`")))
    }
}

/// Planning again would not help: what is in the place of a folder of ours stays there until somebody moves it.
fn no_folder_of_ours(path: &str) -> Error {
    let shown = escape(path.as_bytes());
    Error::new(ErrorKind::Invalid, format!("the trash cannot be used: `{shown}` is not a folder"))
        .with_hint(format!("move `{shown}` away, or sync with --trash off; nothing was replaced or deleted"))
}
