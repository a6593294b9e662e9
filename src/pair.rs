//! `SyncPair`: two locations and what is to be done with them.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::client::StorageClient;
use crate::error::{Error, ErrorKind, Result};
use crate::filter::Rules;
use crate::guard::MaxDelete;
use crate::location::StoreOptions;
use crate::mode::{ComparisonMode, ConflictStrategy, InitialSyncPreference, SyncMode};
use crate::side::{Side, Sides};

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
    /// Where the source is: a path, `s3://bucket/prefix` or `embedded://bucket/prefix`.
    #[serde(alias = "source_root", alias = "sourceRoot", alias = "local")]
    pub source: String,
    /// Where the destination is: a path, `s3://bucket/prefix` or `embedded://bucket/prefix`.
    #[serde(alias = "destination_root", alias = "destinationRoot", alias = "remote")]
    pub destination: String,
    /// How the store of the source is reached, if it is in one.
    #[serde(default, alias = "sourceStore", skip_serializing_if = "StoreOptions::is_default")]
    pub source_store: StoreOptions,
    /// How the store of the destination is reached, if it is in one.
    #[serde(default, alias = "destinationStore", skip_serializing_if = "StoreOptions::is_default")]
    pub destination_store: StoreOptions,
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
    /// Where the sides of its kind keep their trash instead of below the tree: `s3://bucket/prefix` or
    /// `embedded://bucket/prefix`, in the same store as the side.
    #[serde(default, alias = "trashLocation", skip_serializing_if = "Option::is_none")]
    pub trash_location: Option<String>,
    /// For how many seconds replaced and deleted versions are kept in the trash; `None` for 30 days.
    #[serde(default, alias = "trashKeep", skip_serializing_if = "Option::is_none")]
    pub trash_keep: Option<u64>,
    /// How many bytes the trash of a side may have; the oldest goes when there are more. `None` for any number.
    #[serde(default, alias = "trashMax", skip_serializing_if = "Option::is_none")]
    pub trash_max: Option<u64>,
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
            source_store: StoreOptions::default(),
            destination_store: StoreOptions::default(),
            mode: SyncMode::default(),
            initial_sync: None,
            conflict: ConflictStrategy::default(),
            compare: ComparisonMode::default(),
            pull: true,
            rules: Vec::new(),
            trash: true,
            trash_location: None,
            trash_keep: None,
            trash_max: None,
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

    /// Sets how the store of `side` is reached.
    pub fn store(mut self, side: Side, options: StoreOptions) -> Self {
        match side {
            Side::Source => self.source_store = options,
            Side::Destination => self.destination_store = options,
        }
        self
    }

    /// Returns the sides that files may be copied to.
    pub fn written(&self) -> impl Iterator<Item = Side> + '_ {
        Side::BOTH.into_iter().filter(|side| self.allows_copy_to(*side))
    }

    /// Returns the pair that does the same with the two sides given the other way round.
    pub fn turned_round(&self) -> Self {
        let pair = self.clone();
        Self {
            source: pair.destination,
            destination: pair.source,
            source_store: pair.destination_store,
            destination_store: pair.source_store,
            clients: Sides::new(pair.clients.destination, pair.clients.source),
            mode: pair.mode.turned_round(),
            initial_sync: pair.initial_sync.map(InitialSyncPreference::turned_round),
            conflict: pair.conflict.turned_round(),
            ..pair
        }
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

    /// Sets where sides in a store keep their trash.
    pub fn trash_location(mut self, location: impl Into<String>) -> Self {
        self.trash_location = Some(location.into());
        self
    }

    /// Sets for how many seconds replaced and deleted versions are kept in the trash.
    pub fn trash_keep(mut self, seconds: u64) -> Self {
        self.trash_keep = Some(seconds);
        self
    }

    /// Sets how many bytes the trash of a side may have, that of the latest run apart. The oldest goes first.
    pub fn trash_max(mut self, bytes: u64) -> Self {
        self.trash_max = Some(bytes);
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
        self.allows_copy_to(Side::Source)
    }

    /// Returns whether files may be copied to `side`.
    pub fn allows_copy_to(&self, side: Side) -> bool {
        self.mode.allows_copy_to(side, self.pull)
    }

    /// Returns the location of `side`.
    pub fn location(&self, side: Side) -> &str {
        match side {
            Side::Source => &self.source,
            Side::Destination => &self.destination,
        }
    }

    /// Returns how the store of `side` is reached.
    pub fn store_options(&self, side: Side) -> &StoreOptions {
        match side {
            Side::Source => &self.source_store,
            Side::Destination => &self.destination_store,
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
            && (&self.source_store, &self.destination_store, &self.trash_location)
                == (&other.source_store, &other.destination_store, &other.trash_location)
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(json: serde_json::Value) -> SyncPair {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn every_spelling_of_the_page_gives_the_same_pair() {
        let expected = SyncPair::new("/a", "/b")
            .mode(SyncMode::SourceBackup)
            .initial_sync(InitialSyncPreference::DestinationWins)
            .conflict(ConflictStrategy::KeepBoth)
            .compare(ComparisonMode::HashOnly)
            .max_delete(MaxDelete::Percent(5))
            .exclude("*.tmp")
            .include("a.tmp")
            .pull(false)
            .trash(false);
        let rest = json!({"pull": false, "trash": false});
        for pair in [
            json!({"source": "/a", "destination": "/b", "mode": "sb", "initial_sync": "DESTINATION_WINS",
                   "conflict": "keep-both", "compare": "hash-only", "rules": ["*.tmp", "!a.tmp"],
                   "max_delete": "5%"}),
            json!({"source_root": "/a", "destination_root": "/b", "sync_mode": "SOURCE_BACKUP",
                   "initial_sync_preference": "destination-wins", "conflict_strategy": "KEEP_BOTH",
                   "comparison_mode": "HASH_ONLY", "ignore": ["*.tmp", "!a.tmp"], "maxDelete": "5%"}),
            json!({"sourceRoot": "/a", "destinationRoot": "/b", "syncMode": "sourceBackup",
                   "initialSyncPreference": "destinationWins", "conflictStrategy": "keepBoth",
                   "comparisonMode": "hashOnly", "rules": ["*.tmp", "!a.tmp"], "max_delete": "5%"}),
            json!({"local": "/a", "remote": "/b", "mode": "localbackup", "initialSync": "destinationWins",
                   "conflict": "keepboth", "compare": "hashonly", "ignore": ["*.tmp", "!a.tmp"],
                   "max_delete": "5%"}),
        ] {
            let mut pair = pair;
            pair.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
            assert_eq!(read(pair.clone()), expected, "{pair}");
        }
        let written = serde_json::to_value(&expected).unwrap();
        assert_eq!(read(written), expected);
    }

    #[test]
    fn a_pair_needs_two_locations_and_the_rest_has_defaults() {
        let plain = SyncPair::new("/a", "/b");
        assert_eq!(read(json!({"source": "/a", "destination": "/b"})), plain);
        assert!(plain.pull && plain.trash && plain.rules.is_empty());
        assert_eq!((plain.mode, plain.initial_sync, plain.max_delete), (SyncMode::TwoWay, None, None));
        for bad in [
            json!({"source": "/a"}),
            json!({"destination": "/b"}),
            json!({"source": "/a", "destination": "/b", "dry_run": true}),
            json!({"source": "/a", "destination": "/b", "clients": null}),
            json!({"source": "/a", "destination": "/b", "allow_mass_delete": true}),
            json!({"source": "/a", "source_root": "/a", "destination": "/b"}),
            json!({"source": "/a", "destination": "/b", "mode": "sideways"}),
            json!({"source": "/a", "destination": "/b", "max_delete": "101%"}),
        ] {
            assert!(serde_json::from_value::<SyncPair>(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn downloads_depend_on_pull_in_a_source_backup_only() {
        for &mode in SyncMode::ALL {
            for pull in [true, false] {
                let pair = SyncPair::new("/a", "/b").mode(mode).pull(pull);
                let expected = match mode {
                    SyncMode::SourceToDestination => false,
                    SyncMode::SourceBackup => pull,
                    _ => true,
                };
                assert_eq!(pair.allows_download(), expected, "{mode} {pull}");
                assert_eq!(pair.allows_copy_to(Side::Source), expected, "{mode} {pull}");
                assert_eq!(pair.allows_upload(), mode.allows_upload());
                assert_eq!(pair.allows_copy_to(Side::Destination), mode.allows_upload());
            }
        }
    }

    #[test]
    fn pairs_are_equal_if_every_choice_is() {
        let pair = || SyncPair::new("/a", "/b");
        let others = [
            SyncPair::new("/x", "/b"),
            SyncPair::new("/a", "/x"),
            pair().mode(SyncMode::SourceBackup),
            pair().initial_sync(InitialSyncPreference::Merge),
            pair().conflict(ConflictStrategy::Manual),
            pair().compare(ComparisonMode::SizeOnly),
            pair().pull(false),
            pair().trash(false),
            pair().max_delete(MaxDelete::Files(0)),
            pair().exclude("x"),
            pair().trash_location("s3://trash"),
            pair().store(Side::Source, StoreOptions { allow_http: true, ..StoreOptions::default() }),
            pair().store(Side::Destination, StoreOptions { allow_http: true, ..StoreOptions::default() }),
        ];
        for other in &others {
            assert_ne!(*other, pair(), "{other:?}");
        }
        assert_eq!((pair().location(Side::Source), pair().location(Side::Destination)), ("/a", "/b"));
        let shown = format!("{:?}", pair().mode(SyncMode::SourceBackup));
        assert!(shown.contains("/a") && shown.contains("/b") && shown.contains("SourceBackup"), "{shown}");
    }

    #[test]
    fn how_stores_are_reached_is_written_and_read_and_left_out_where_there_is_nothing_to_say() {
        let store = StoreOptions {
            endpoint_url: Some("https://minio.example.org:9000".into()),
            profile: Some("backup".into()),
            ..StoreOptions::default()
        };
        let pair = SyncPair::new("/a", "s3://vault/a")
            .store(Side::Destination, store.clone())
            .trash_location("s3://trash/of-a");
        let written = serde_json::to_value(&pair).unwrap();
        assert!(written.get("source_store").is_none(), "{written}");
        assert_eq!(written["destination_store"]["profile"], "backup");
        assert!(written["destination_store"].get("region").is_none(), "{written}");
        assert_eq!(read(written), pair);
        assert_eq!(pair.store_options(Side::Destination), &store);
        assert_eq!(pair.store_options(Side::Source), &StoreOptions::default());
        let folders = serde_json::to_value(SyncPair::new("/a", "/b")).unwrap();
        for key in ["source_store", "destination_store", "trash_location"] {
            assert!(folders.get(key).is_none(), "{folders}");
        }
        assert_eq!(
            read(json!({"source": "/a", "destination": "s3://vault/a", "trashLocation": "s3://trash/of-a",
                        "destinationStore": {"endpoint_url": "https://minio.example.org:9000", "profile": "backup"}})),
            pair
        );
        for bad in [
            json!({"source": "/a", "destination": "s3://b1b", "destination_store": {"secret_access_key": "x"}}),
            json!({"source": "/a", "destination": "s3://b1b", "endpoint_url": "https://x"}),
        ] {
            assert!(serde_json::from_value::<SyncPair>(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn rules_are_compiled_and_a_bad_one_is_named() {
        let rules = SyncPair::new("/a", "/b").exclude("*.tmp").include("a.tmp").compiled_rules().unwrap();
        assert_eq!(rules.len(), 2);
        let error =
            SyncPair::new("/a", "/b").exclude("ok").exclude("# no rule").compiled_rules().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("# no rule"), "{error}");
        assert!(error.hint().unwrap().contains(".gitignore"));
    }

    #[test]
    fn a_pair_of_clients_is_where_they_are() {
        use crate::client::memory::MemoryClient;
        let client = |name| Arc::new(MemoryClient::new(name)) as Arc<dyn StorageClient>;
        let pair = SyncPair::with_clients(client("memory:a"), client("memory:b"));
        assert_eq!(pair, SyncPair::new("memory:a", "memory:b"));
        assert_eq!(pair.clients.source.as_ref().unwrap().location(), "memory:a");
        assert_eq!(pair.clients.destination.as_ref().unwrap().location(), "memory:b");
    }
}
