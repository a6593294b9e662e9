//! Saved plans: what `plan --save` writes and `apply` reads.
//!
//! A file holds the pair and every action with a digest of the versions it was decided on. `apply` plans
//! again and goes on only if the same actions come out. Flags that pass a guard are never in a file.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use syncengine::clock::{Clock, Entropy, SystemClock, SystemEntropy};
use syncengine::event::{Line, PlannedAction};
use syncengine::key::escape;
use syncengine::{Error, ErrorKind, Result, SyncPair};

const SCHEMA: u32 = 1;
const KIND: &str = "syncengine-plan";

/// A plan in a file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SavedPlan {
    schema: u32,
    kind: String,
    /// When it was made, as `YYYYMMDDTHHMMSSZ`.
    created: String,
    /// What is to be synced, with absolute locations.
    pub(crate) pair: SyncPair,
    /// Whether a missing receiving folder is to be made.
    pub(crate) create: bool,
    /// Where the past of the pair is remembered, if the user named it: without it the pair has none.
    #[serde(default)]
    pub(crate) state_dir: Option<PathBuf>,
    pub(crate) actions: Vec<PlannedAction>,
}

impl SavedPlan {
    /// Returns the plan of these actions.
    pub(crate) fn new(pair: SyncPair, create: bool, state_dir: Option<PathBuf>, actions: &[Line]) -> Self {
        let actions = actions.iter().map(PlannedAction::from).collect();
        Self {
            schema: SCHEMA,
            kind: KIND.into(),
            created: SystemClock.now().compact(),
            pair,
            create,
            state_dir,
            actions,
        }
    }

    /// Writes the plan, whole or not at all.
    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        let name = format!(".syncengine-{:016x}.tmp", SystemEntropy.next_u64());
        let temporary = path.with_file_name(name);
        let written = self.write(&temporary).and_then(|()| std::fs::rename(&temporary, path));
        written.map_err(|error| {
            // What cannot be removed either is named in no message: the first error says why.
            std::fs::remove_file(&temporary).unwrap_or_default();
            let cause = Error::io(format!("write `{}`", shown(path)), error);
            // Only the name is to blame for a folder there.
            let kind = if path.is_dir() { ErrorKind::Invalid } else { cause.kind() };
            Error::new(kind, "the plan cannot be saved")
                .with_source(cause)
                .with_hint("check the name behind --save")
        })
    }

    fn write(&self, path: &Path) -> std::io::Result<()> {
        let mut file = std::fs::File::options().write(true).create_new(true).open(path)?;
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        file.write_all(&text)?;
        file.sync_all()
    }

    /// Reads a plan.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        let mut text = Vec::new();
        let read = std::fs::File::open(path).and_then(|mut file| file.read_to_end(&mut text));
        read.map_err(|error| {
            let cause = Error::io(format!("read `{}`", shown(path)), error);
            Error::new(ErrorKind::Invalid, "the plan cannot be read")
                .with_source(cause)
                .with_hint("check the name; `syncengine plan SOURCE DESTINATION --save FILE` makes one")
        })?;
        Self::parse(&text).map_err(|why| {
            Error::new(ErrorKind::Invalid, format!("`{}` is not a saved plan: {why}", shown(path)))
                .with_hint("make one with `syncengine plan SOURCE DESTINATION --save FILE`")
        })
    }

    /// Understands the content of a file, or says what is wrong with it.
    pub(crate) fn parse(text: &[u8]) -> std::result::Result<Self, String> {
        let plan: Self =
            serde_json::from_slice(text).map_err(|error| escape(error.to_string().as_bytes()))?;
        if plan.kind != KIND || plan.schema != SCHEMA {
            return Err(format!("it is no `{KIND}` of version {SCHEMA}"));
        }
        Ok(plan)
    }
}

fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_encoded_bytes())
}
