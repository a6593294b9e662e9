//! Edits at the worst moment: another program writes to a file all the time while it is replaced and removed.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, RenameFlags};
use syncengine::ErrorKind;
use syncengine::client::{Listed, StorageClient};

use super::Tree;
use crate::contract::{body, kept, key, kind, target};

/// An editor that never loses anything itself: it exchanges its file with what is there and keeps that.
fn edit_without_pause(folder: &Path, bag: &Path, stop: &AtomicBool) -> usize {
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        let file = bag.join(count.to_string());
        fs::write(&file, format!("edit {count:08}")).unwrap();
        let swap = |flags| rustix::fs::renameat_with(CWD, &file, CWD, folder.join("a"), flags);
        if swap(RenameFlags::EXCHANGE).is_err() && swap(RenameFlags::NOREPLACE).is_err() {
            fs::remove_file(&file).unwrap();
            continue;
        }
        count += 1;
    }
    count
}

fn texts(folder: &Path, found: &mut HashSet<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            texts(&path, found);
        } else {
            found.insert(fs::read_to_string(path).unwrap());
        }
    }
}

/// F-14, F-15, F-16: whatever the moment of an edit, it is in the tree or in the trash.
#[tokio::test]
async fn i07_no_edit_is_lost_to_a_replacement_or_removal() {
    const ROUNDS: usize = 400;
    let on = Tree::new();
    let stop = Arc::new(AtomicBool::new(false));
    let (folder, bag, ended) = (on.path(""), on.outside(), Arc::clone(&stop));
    let editor = std::thread::spawn(move || edit_without_pause(&folder, &bag, &ended));
    let (mut done, mut refused) = (0, 0);
    for round in 0..ROUNDS {
        let found = match on.client.head(&key("a")).await.unwrap() {
            Some(Listed::File(entry)) => Some(entry),
            _ => None,
        };
        let result = match found {
            Some(entry) if round % 3 == 0 => on.client.remove(vec![entry], &kept()).await.remove(0),
            other => on.put(target("a", other), body(format!("ours {round:08}").as_bytes())).await.map(drop),
        };
        match kind(result) {
            None => done += 1,
            Some(ErrorKind::Changed) => refused += 1,
            Some(other) => panic!("round {round} failed with {other:?}"),
        }
    }
    stop.store(true, Ordering::Relaxed);
    let edits = editor.join().unwrap();
    let mut found = HashSet::new();
    texts(on.outer.path(), &mut found);
    for edit in 0..edits {
        assert!(
            found.contains(&format!("edit {edit:08}")),
            "edit {edit} of {edits}; {done} done, {refused} refused"
        );
    }
    assert!(edits > 0 && refused > 0, "{edits} edits, {done} done, {refused} refused");
    assert!(!on.shown().await.iter().any(|line| line.starts_with("foreign")));
}
