//! The real binary in an empty environment, between two folders of its own.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// Two folders, a home, and a command line that knows of nothing else.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) dir: TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let bench = Self { dir: TempDir::new().unwrap() };
        for folder in ["a", "b", "home", "tmp"] {
            fs::create_dir(bench.path(folder)).unwrap();
        }
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_syncengine"));
        command.env_clear().env("HOME", self.path("home")).env("LANG", "C").env("TMPDIR", self.path("tmp"));
        command.current_dir(self.dir.path()).stdin(Stdio::null()).args(words);
        command
    }

    /// Puts a copy of the program into the bench, for users who may not reach where it was built. Another process copies it: what this
    /// one has open for writing could not be run while any other test starts a program.
    pub(crate) fn copy_program(&self) {
        let to = self.path("syncengine");
        let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_syncengine")).arg(to).status();
        assert!(copied.unwrap().success());
    }

    pub(crate) fn run(&self, words: &[&str]) -> Ran {
        Ran::of(&self.command(words).output().unwrap())
    }

    /// Runs with `--output json`; returns the exit code and the one document.
    pub(crate) fn json(&self, words: &[&str]) -> (i32, Value) {
        let ran = self.run(&[words, &["--output", "json"]].concat());
        (ran.code, ran.document())
    }

    /// Everything below the bench but the temporary folder: names, times and contents.
    pub(crate) fn snapshot(&self) -> BTreeMap<PathBuf, (i64, i64, Vec<u8>)> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.dir.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                let stat = fs::symlink_metadata(&path).unwrap();
                let mut content = Vec::new();
                if stat.is_dir() {
                    folders.push(path.clone());
                } else {
                    fs::File::open(&path).unwrap().read_to_end(&mut content).unwrap();
                }
                // A scratch copy of the base comes and goes in the folder for temporary files.
                if path != self.path("tmp") {
                    found.insert(path, (stat.mtime(), stat.mtime_nsec(), content));
                }
            }
        }
        found
    }
}

#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Self {
            code: output.status.code().unwrap(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    pub(crate) fn document(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}
