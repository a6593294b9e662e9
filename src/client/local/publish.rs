//! Making staged versions visible: durable first, then renamed, then the folders made durable (I-37).
//!
//! Replacing is where an edit by the user could be lost, so the old version is never unlinked on trust. On
//! the best rung the new version goes into the trash under the old one's name and the two are exchanged:
//! the old one is in the trash at the very moment the new one shows. What came out is compared with what
//! was planned, and exchanged back if it is something newer.

use std::sync::Arc;

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;

use super::batch::{Aside, Batch, FEW, remove_ours, sync_all};
use super::give_way::give_way;
use super::listed::{is_exact, is_free, is_listed, is_refused_name};
use super::root::{changed, failure, open_folder};
use super::rung::PublishRung;
use super::spelling::{taken, unmappable};
use super::stage::drop_temporary;
use super::{Local, stat};
use crate::client::{Held, Staged, Target};
use crate::code::FailureCode;
use crate::entry::Entry;
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Key, escape};

/// One member of a batch, with its folder open.
struct Member<'a> {
    target: &'a Target,
    folder: Arc<OwnedFd>,
    temporary: &'a str,
    /// The stat of the temporary: our copy, wherever it is moved.
    ours: Stat,
}

/// Publishes a batch. The results are in its order.
pub(super) fn publish(local: &Local, staged: &[Staged]) -> Vec<Result<Entry>> {
    if staged.is_empty() {
        return Vec::new();
    }
    let results = begin(local, staged).and_then(|mut batch| {
        let mut placed: Vec<_> = staged.iter().map(|one| batch.publish_one(one)).collect();
        batch.check_spelling(staged, &mut placed);
        let renamed = local.clock.monotonic();
        batch.sync()?;
        // One tick later a stat proves something: without this wait the next run would read every file again.
        let waited = local.clock.monotonic().saturating_sub(renamed);
        std::thread::sleep(stat::FINE_TICK.saturating_sub(waited));
        Ok(placed.into_iter().zip(staged).map(|(ours, one)| batch.look(&ours?, &one.target.key)).collect())
    });
    let results: Vec<Result<Entry>> =
        results.unwrap_or_else(|error| staged.iter().map(|_| Err(error.again())).collect());
    for (result, one) in results.iter().zip(staged) {
        if let (Err(_), Held::Temporary(key, _)) = (result, &one.held) {
            drop_temporary(local, key.as_str());
        }
    }
    results
}

fn begin<'a>(local: &'a Local, staged: &[Staged]) -> Result<Batch<'a>> {
    let batch = Batch::new(local)?;
    make_durable(&batch.root, staged).map_err(|error| local.with_room(error))?;
    Ok(batch)
}

/// Makes the content of all temporaries durable. If one fails all do: the kernel forgets what it could
/// not write, so a second try would succeed without having written it.
fn make_durable(root: &OwnedFd, staged: &[Staged]) -> Result<()> {
    let whole = |_: &Error| sync_all(root).is_ok_and(|done| done);
    if staged.len() > FEW && sync_all(root).map_err(|error| failure("sync", "", error))? {
        return Ok(());
    }
    for one in staged {
        let synced = sync_one(root, temporary(one)?);
        // Its permissions may not let us open it again.
        if let Err(error) = synced
            && !(error.kind() == ErrorKind::PermissionDenied && whole(&error))
        {
            return Err(error);
        }
    }
    Ok(())
}

fn sync_one(root: &OwnedFd, key: &Key) -> Result<()> {
    let synced = open_folder(root, key.parent().unwrap_or("")).and_then(|folder| {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let open = |access| rustix::fs::openat(&folder, key.file_name(), flags | access, Mode::empty());
        rustix::fs::fsync(open(OFlags::RDONLY).or_else(|_| open(OFlags::WRONLY))?)
    });
    synced.map_err(|error| failure("make durable", key.as_str(), error))
}

fn temporary(staged: &Staged) -> Result<&Key> {
    match &staged.held {
        Held::Temporary(key, _) => Ok(key),
        Held::Memory(..) | Held::Published(_) => {
            Err(Error::new(ErrorKind::Internal, format!("publish `{}`: staged elsewhere", staged.target.key)))
        }
    }
}

fn is_folder(folder: &OwnedFd, name: &str) -> bool {
    rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| stat::kind(&stat) == FileType::Directory)
}

/// Planning again would not help: had the folder held files that are synced, it would have been seen.
fn in_the_way(path: &str) -> Error {
    let message =
        format!("a folder `{}` is in the way, and there is something in it", escape(path.as_bytes()));
    Error::new(ErrorKind::Invalid, message)
        .with_code(FailureCode::NameCollision)
        .with_hint("move the folder away, or what is in it")
}

impl Batch<'_> {
    fn publish_one(&mut self, staged: &Staged) -> Result<Stat> {
        let (target, temporary) = (&staged.target, temporary(staged)?);
        let path = target.key.as_str();
        let parent = target.key.parent().unwrap_or("");
        let found = self.open(parent).and_then(|folder| {
            let ours = rustix::fs::statat(&*folder, temporary.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
            Ok((folder, ours))
        });
        let (folder, ours) = match found {
            Ok(found) => found,
            Err(Errno::NOENT | Errno::NOTDIR) => {
                return Err(changed(path, "lost the folder it was to be in"));
            }
            Err(error) => return Err(failure("find the temporary of", path, error)),
        };
        if stat::kind(&ours) != FileType::RegularFile || stat::size(&ours) != staged.size {
            return Err(changed(path, "was damaged while it waited to be published"));
        }
        let member = Member { target, folder, temporary: temporary.file_name(), ours };
        match &target.replaces {
            None => self.create(&member)?,
            Some(old) => self.replace(&member, old)?,
        }
        self.touch(parent);
        // The rename has stamped it; whatever stamps it from now on is somebody else.
        let placed = rustix::fs::statat(&*member.folder, target.key.file_name(), AtFlags::SYMLINK_NOFOLLOW);
        placed.ok().filter(|placed| self.local.is_same_file(placed, &ours)).ok_or_else(|| changed_after(path))
    }

    fn create(&self, member: &Member) -> Result<()> {
        let (folder, name) = (&*member.folder, member.target.key.file_name());
        let place = || self.rung.place(folder, member.temporary, folder, name);
        let placed = match place() {
            Err(Errno::EXIST) if give_way(folder, name) => place(),
            // What answered may be gone.
            Err(Errno::EXIST)
                if is_listed(folder, name) == Ok(false) && is_free(folder, name) == Ok(true) =>
            {
                place()
            }
            other => other,
        };
        match placed {
            Err(Errno::EXIST) if is_exact(folder, name) == Ok(false) => {
                Err(taken(folder, member.target.key.as_str()))
            }
            Err(Errno::EXIST) if is_folder(folder, name) => Err(in_the_way(member.target.key.as_str())),
            Err(Errno::EXIST) => Err(changed(member.target.key.as_str(), "appeared meanwhile")),
            Err(error) if is_refused_name(error, folder, member.temporary) => {
                Err(unmappable(member.target.key.as_str()))
            }
            other => other
                .map_err(|error| self.local.with_room(failure("create", member.target.key.as_str(), error))),
        }
    }

    fn replace(&mut self, member: &Member, old: &Entry) -> Result<()> {
        self.check(&member.folder, old)?;
        match self.rung {
            PublishRung::Exchange => self.replace_by_exchange(member, old),
            PublishRung::HardLink => self.replace_by_link(member, old),
            PublishRung::Rename => self.replace_by_rename(member, old),
        }
    }

    fn replace_by_exchange(&mut self, member: &Member, old: &Entry) -> Result<()> {
        let disposal = &member.target.disposal;
        let path = old.key.as_str();
        let fail = |error| failure("replace", path, error);
        // What comes out can be an edit that nobody has seen yet: a kill must not leave it under the name of a temporary,
        // which the next run removes.
        let mut aside = self.aside(old, disposal)?;
        let free = self.rung.set_aside(&member.folder, member.temporary, &aside.folder, &aside.name);
        aside.name = free.map_err(fail)?;
        let name = old.key.file_name();
        let exchange = || {
            rustix::fs::renameat_with(
                &*aside.folder,
                &aside.name,
                &*member.folder,
                name,
                RenameFlags::EXCHANGE,
            )
        };
        let exchanged = self.check(&member.folder, old).and_then(|_| match exchange() {
            Err(Errno::NOENT) => Err(changed(path, "is no longer there")),
            other => other.map_err(fail),
        });
        let verified = exchanged.and_then(|()| {
            self.verify(&aside.folder, &aside.name, old).inspect_err(|_| {
                // If this fails too, the newcomer stays in the trash.
                exchange().ok();
            })
        });
        match verified {
            Ok(()) => self.dispose(&aside, disposal),
            Err(error) => {
                remove_ours(self.local, &aside.folder, &aside.name, &member.ours);
                Err(error)
            }
        }
    }

    fn replace_by_link(&mut self, member: &Member, old: &Entry) -> Result<()> {
        let path = old.key.as_str();
        let fail = |error| failure("replace", path, error);
        let mut aside = self.aside(old, &member.target.disposal)?;
        let wanted = std::mem::take(&mut aside.name);
        for number in 0..1000 {
            let free = super::reserved::numbered(&wanted, number);
            let linked = rustix::fs::linkat(
                &*member.folder,
                old.key.file_name(),
                &*aside.folder,
                &free,
                AtFlags::empty(),
            );
            match linked {
                Err(Errno::EXIST) => {}
                Err(Errno::NOENT) => return Err(changed(path, "is no longer there")),
                other => {
                    other.map_err(fail)?;
                    aside.name = free;
                    break;
                }
            }
        }
        let renamed = self.verify(&aside.folder, &aside.name, old).and_then(|()| {
            // The same inode must still be at the name just before it is replaced.
            let now = rustix::fs::statat(&*member.folder, old.key.file_name(), AtFlags::SYMLINK_NOFOLLOW);
            if !now.is_ok_and(|now| stat::is_moved_version(&now, old)) {
                return Err(changed(path, "was changed just before it was to be replaced"));
            }
            rustix::fs::renameat(&*member.folder, member.temporary, &*member.folder, old.key.file_name())
                .map_err(fail)
        });
        if renamed.is_err() {
            // A second name of a file that still has its first.
            rustix::fs::unlinkat(&*aside.folder, &aside.name, AtFlags::empty()).ok();
        }
        renamed.and_then(|()| self.dispose(&aside, &member.target.disposal))
    }

    fn replace_by_rename(&mut self, member: &Member, old: &Entry) -> Result<()> {
        let path = old.key.as_str();
        let aside = self.aside(old, &member.target.disposal)?;
        // The name in the trash must be known before the intent is written.
        let aside = free_name(aside).map_err(|error| failure("replace", path, error))?;
        let intent = self.local.intend(path, &super::root::join(&aside.path, &aside.name))?;
        let outcome = self.set_aside_verified(&member.folder, old, &aside).and_then(|aside| {
            let placed = self.create(member);
            if placed.is_err() {
                // Unless something new has the name, the old version gets it back.
                self.rung.place(&aside.folder, &aside.name, &member.folder, old.key.file_name()).ok();
            }
            placed
        });
        intent.done().map_err(|error| failure("replace", path, error))?;
        outcome.and_then(|()| self.dispose(&aside, &member.target.disposal))
    }

    /// Moves `old` aside and checks that it was `old` that was moved; if not it is put back.
    pub(super) fn set_aside_verified(
        &mut self,
        folder: &OwnedFd,
        old: &Entry,
        aside: &Aside,
    ) -> Result<Aside> {
        let (path, name) = (old.key.as_str(), old.key.file_name());
        let kept = match self.rung.set_aside(folder, name, &aside.folder, &aside.name) {
            Ok(kept) => kept,
            Err(Errno::NOENT) => return Err(changed(path, "is no longer there")),
            Err(error) => return Err(failure("set aside", path, error)),
        };
        if let Err(error) = self.verify(&aside.folder, &kept, old) {
            // If something has the name again, both newcomers stay: one there, one aside.
            self.rung.place(&aside.folder, &kept, folder, name).ok();
            return Err(error);
        }
        Ok(Aside { path: aside.path.clone(), folder: Arc::clone(&aside.folder), name: kept })
    }

    /// Looks at a version whose stat was `ours` as soon as it had its name; it must still be that one, with the very
    /// stamps: an edit in place can have the same size and set the same time of modification.
    pub(super) fn look(&mut self, ours: &Stat, key: &Key) -> Result<Entry> {
        let path = key.as_str();
        let now = self.local.clock.now();
        let found = self
            .open(key.parent().unwrap_or(""))
            .and_then(|folder| rustix::fs::statat(&*folder, key.file_name(), AtFlags::SYMLINK_NOFOLLOW));
        match found {
            Ok(stat)
                if self.local.is_same_file(&stat, ours) && stat::changed(&stat) == stat::changed(ours) =>
            {
                Ok(self.local.entry_of_ours(key.clone(), &stat, now))
            }
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR) => Err(changed_after(path)),
            Err(error) => Err(failure("look at", path, error)),
        }
    }
}

fn changed_after(path: &str) -> Error {
    changed(path, "was changed just after it was written")
}

/// Chooses a name that nothing has yet.
fn free_name(mut aside: Aside) -> Result<Aside, Errno> {
    for number in 0..1000 {
        let free = super::reserved::numbered(&aside.name, number);
        if rustix::fs::statat(&*aside.folder, &free, AtFlags::SYMLINK_NOFOLLOW).err() == Some(Errno::NOENT) {
            aside.name = free;
            return Ok(aside);
        }
    }
    Err(Errno::EXIST)
}
