//! `SyncPair`: two locations and what is to be done with them.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::client::StorageClient;
use crate::error::{Error, ErrorKind, Result};
use crate::filter::Rules;
use crate::guard::MaxDelete;
use crate::mode::{ComparisonMode, ConflictStrategy, InitialSyncPreference, Side, Sides, SyncMode};

/// Two trees of files and the policy that keeps them in agreement.
///
/// Both spellings of the reference page are understood when a pair is read from configuration:
///
/// ```
/// use syncengine::{SyncMode, SyncPair};
///
/// let pair: SyncPair = serde_json::from_str(
///     r#"{"source_root": "/home/user/documents", "destination_root": "/backup", "mode": "TWO_WAY"}"#)?;
/// let same: SyncPair = serde_json::from_str(
///     r#"{"source": "/home/user/documents", "destination": "/backup", "sync_mode": "tw"}"#)?;
/// assert_eq!(pair, same);
/// assert_eq!(pair, SyncPair::new("/home/user/documents", "/backup").mode(SyncMode::TwoWay));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyncPair {
    /// Where the source is: a path.
    #[serde(alias = "source_root", alias = "sourceRoot", alias = "local")]
    pub source: String,
    /// Where the destination is: a path.
    #[serde(alias = "destination_root", alias = "destinationRoot", alias = "remote")]
    pub destination: String,
    /// In which directions changes travel.
    #[serde(default, alias = "sync_mode", alias = "syncMode")]
    pub mode: SyncMode,
    /// What a first two-way sync does with one-sided files. `None` means
    /// [`InitialSyncPreference::Merge`], and warns if one side is much larger.
    #[serde(
        default,
        alias = "initial_sync_preference",
        alias = "initialSyncPreference",
        alias = "initialSync"
    )]
    pub initial_sync: Option<InitialSyncPreference>,
    /// What happens to files changed on both sides of a two-way pair.
    #[serde(default, alias = "conflict_strategy", alias = "conflictStrategy")]
    pub conflict: ConflictStrategy,
    /// How files without a common past are compared.
    #[serde(default, alias = "comparison_mode", alias = "comparisonMode")]
    pub compare: ComparisonMode,
    /// Whether a source backup fetches what was added or changed at the destination.
    #[serde(default = "yes")]
    pub pull: bool,
    /// Lines of gitignore rules, over those of the `.syncignore` files.
    #[serde(default, alias = "ignore")]
    pub rules: Vec<String>,
    /// Whether replaced and deleted versions are kept in the trash.
    #[serde(default = "yes")]
    pub trash: bool,
    /// How many files a run may delete; `None` for half of them, if they are more than 20.
    #[serde(default, alias = "maxDelete")]
    pub max_delete: Option<MaxDelete>,
    #[serde(skip)]
    pub(crate) clients: Sides<Option<Arc<dyn StorageClient>>>,
}

fn yes() -> bool {
    true
}

impl SyncPair {
    /// Returns a two-way pair of two locations with the default policy.
    pub fn new(source: impl Into<String>, destination: impl Into<String>) -> Self {
        Self {
            source: source.into(),
            destination: destination.into(),
            mode: SyncMode::default(),
            initial_sync: None,
            conflict: ConflictStrategy::default(),
            compare: ComparisonMode::default(),
            pull: true,
            rules: Vec::new(),
            trash: true,
            max_delete: None,
            clients: Sides::default(),
        }
    }

    /// Returns a two-way pair of two trees that are reached through these clients.
    pub fn with_clients(source: Arc<dyn StorageClient>, destination: Arc<dyn StorageClient>) -> Self {
        let mut pair = Self::new(source.location(), destination.location());
        pair.clients = Sides::new(Some(source), Some(destination));
        pair
    }

    /// Sets the mode.
    pub fn mode(mut self, mode: SyncMode) -> Self {
        self.mode = mode;
        self
    }

    /// Sets what a first two-way sync does with one-sided files. Naming a winner is consent to the
    /// deletions this means, once.
    pub fn initial_sync(mut self, preference: InitialSyncPreference) -> Self {
        self.initial_sync = Some(preference);
        self
    }

    /// Sets what happens to files changed on both sides.
    pub fn conflict(mut self, strategy: ConflictStrategy) -> Self {
        self.conflict = strategy;
        self
    }

    /// Sets how files without a common past are compared.
    pub fn compare(mut self, mode: ComparisonMode) -> Self {
        self.compare = mode;
        self
    }

    /// Sets whether a source backup fetches what was added or changed at the destination.
    pub fn pull(mut self, pull: bool) -> Self {
        self.pull = pull;
        self
    }

    /// Adds a gitignore rule for what is not synced.
    pub fn exclude(mut self, pattern: impl Into<String>) -> Self {
        self.rules.push(pattern.into());
        self
    }

    /// Adds a gitignore rule for what is synced although an earlier rule excludes it.
    pub fn include(mut self, pattern: &str) -> Self {
        self.rules.push(format!("!{pattern}"));
        self
    }

    /// Sets whether replaced and deleted versions are kept in the trash.
    pub fn trash(mut self, trash: bool) -> Self {
        self.trash = trash;
        self
    }

    /// Sets how many files a run may delete.
    pub fn max_delete(mut self, limit: MaxDelete) -> Self {
        self.max_delete = Some(limit);
        self
    }

    /// Returns whether files may be copied to the destination.
    pub fn allows_upload(&self) -> bool {
        self.mode.allows_upload()
    }

    /// Returns whether files may be copied to the source, `pull` taken into account.
    pub fn allows_download(&self) -> bool {
        self.mode.allows_download() && (self.pull || self.mode != SyncMode::SourceBackup)
    }

    /// Returns whether files may be copied to `side`.
    pub fn allows_copy_to(&self, side: Side) -> bool {
        match side {
            Side::Source => self.allows_download(),
            Side::Destination => self.allows_upload(),
        }
    }

    /// Returns the location of `side`.
    pub fn location(&self, side: Side) -> &str {
        match side {
            Side::Source => &self.source,
            Side::Destination => &self.destination,
        }
    }

    /// Returns the rules, compiled.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if one cannot be understood.
    pub fn compiled_rules(&self) -> Result<Rules> {
        let mut rules = Rules::default();
        for line in &self.rules {
            rules.push(line).map_err(|error| {
                Error::new(ErrorKind::Invalid, format!("invalid filter rule: {error}"))
                    .with_hint("rules are written as in a .gitignore file")
            })?;
        }
        Ok(rules)
    }
}

impl PartialEq for SyncPair {
    /// Compares locations and policy, not the clients.
    fn eq(&self, other: &Self) -> bool {
        let policy =
            |p: &Self| (p.mode, p.initial_sync, p.conflict, p.compare, p.pull, p.trash, p.max_delete);
        policy(self) == policy(other)
            && (&self.source, &self.destination, &self.rules)
                == (&other.source, &other.destination, &other.rules)
    }
}

impl fmt::Debug for SyncPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncPair")
            .field("source", &self.source)
            .field("destination", &self.destination)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}
