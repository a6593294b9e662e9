//! `check`: are the two sides equal, by content? Needs no base and changes nothing.

use futures::StreamExt;
use serde::Serialize;

use super::prepare::Prepared;
use super::run::unlisted;
use super::{SyncEngine, SyncOptions, rules};
use crate::client::{ListRequest, Listed};
use crate::diff::{Change, Diff, Found, Observed};
use crate::error::Result;
use crate::event::Event;
use crate::examine::Examiner;
use crate::filter::Filter;
use crate::filter::layers::Layers;
use crate::key::Key;
use crate::mode::ComparisonMode;
use crate::pair::SyncPair;
use crate::plan::Policy;
use crate::plan::rollback::Rollback;
use crate::report::{ErrorLine, Recorder, Report};
use crate::retry::{Schedule, retry};
use crate::side::{Side, Sides};
use crate::state::RulesRecord;
use crate::transfer::{Memory, judged};

/// How many files are compared at once, in folders. Ours: enough to keep a disk busy.
const READERS: usize = 8;

/// How many where a side is a store: each waits for the network. Ours; its client sends no more than are good for it.
const STORE_READERS: usize = 64;

/// How two trees compare.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CheckReport {
    /// The version of this document.
    pub schema: u32,
    /// Whether every file is on both sides with the same content and nothing was left unjudged.
    pub equal: bool,
    /// How many files are equal.
    pub equal_files: u64,
    /// Files of different content.
    pub different: Vec<Key>,
    /// Files that only one side has.
    pub only: Sides<Vec<Key>>,
    /// Files that could not be compared, and why.
    pub failures: Vec<crate::event::Failure>,
    /// Links, special files and empty folders, which are not compared.
    pub skipped: u64,
    /// Why the check could not be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorLine>,
}

enum Compared {
    Equal,
    Different(Key),
    Failed(Key, crate::Error),
}

impl SyncEngine {
    /// Compares the two sides of `pair` by content: files and objects of one size are read. If `quick`, objects are
    /// not read, but their ETags believed where they are made of content, and of two folders only sizes are compared.
    ///
    /// # Errors
    /// As [`Self::sync_pair`], and [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled).
    pub async fn check(&self, pair: &SyncPair, quick: bool, options: &SyncOptions) -> Result<CheckReport> {
        let result = Box::pin(self.compare(pair, quick, options)).await;
        self.retire().await;
        result
    }

    async fn compare(&self, pair: &SyncPair, quick: bool, options: &SyncOptions) -> Result<CheckReport> {
        let prepared = self.prepare(pair, &options.looking()).await?;
        let empty = Report::new(String::new(), String::new(), pair.mode, true);
        let recorder = Recorder::new(empty, std::sync::Arc::clone(&options.observer));
        let policy =
            Policy { mode: pair.mode, pull: pair.pull, conflict: pair.conflict, first_sync_winner: None };
        let compare = ComparisonMode::HashOnly;
        let clients = prepared.listed.clone();
        let examiner =
            Examiner { clients, compare, policy, tombstones_hold: false, rollback: Rollback::default() };
        // Rules of a store are met in its listing; then it begins anew.
        let mut rules = RulesRecord::default();
        loop {
            if let Some(report) = self.compare_by(&mut rules, &prepared, &examiner, quick, options).await? {
                recorder.emit(&Event::Compared { unchanged: report.equal_files, first_sync: false });
                return Ok(report.finished());
            }
        }
    }

    /// Compares, unless a file of rules is met that is not known.
    async fn compare_by(
        &self,
        rules: &mut RulesRecord,
        prepared: &Prepared,
        examiner: &Examiner,
        quick: bool,
        options: &SyncOptions,
    ) -> Result<Option<CheckReport>> {
        let list = |side: Side| {
            examiner.clients.get(side).list(ListRequest {
                filter: Filter::new(prepared.rules.clone()),
                read_ignore_files: examiner.clients.get(side).is_folder(),
                object_names: examiner.are_stores(),
                must_not_meet: *prepared.anchors.get(side.other()),
                ..ListRequest::default()
            })
        };
        let base = futures::stream::empty().boxed();
        let layers = Layers::with(&prepared.rules, &rules::known(rules), &Sides::default());
        let mut diff = Diff::new(list(Side::Source), list(Side::Destination), base, layers);
        let mut report = CheckReport { schema: crate::report::SCHEMA, ..CheckReport::default() };
        // Files are read at once as far as their pieces fit into memory.
        let memory = Memory::new(options.tuning.memory_bytes);
        let comparing = Comparing { engine: self, examiner, options, quick, memory };
        let has_store = Side::BOTH.into_iter().any(|side| !examiner.clients.get(side).is_folder());
        let readers = if has_store { STORE_READERS } else { READERS };
        let mut under_way = futures::stream::FuturesUnordered::new();
        let mut ended = false;
        while !ended || !under_way.is_empty() {
            tokio::select! {
                biased;
                () = options.controller.cancelled() => return Err(crate::control::cancelled()),
                Some(compared) = under_way.next(), if !under_way.is_empty() => {
                    report.take(compared)?;
                }
                found = diff.next(), if !ended && under_way.len() < readers => {
                    match found.map_err(unlisted)? {
                        None => ended = true,
                        Some(Found::Note(_, note)) => report.note(note),
                        Some(Found::Excluded(_) | Found::Held(..)) => {}
                        Some(Found::Path(Change { key, sides, .. })) => {
                            if let Some((source, destination)) = report.sides(key, sides) {
                                under_way.push(comparing.compare(source, destination));
                            }
                        }
                    }
                    for side in Side::BOTH.into_iter().filter(|side| !examiner.clients.get(*side).is_folder()) {
                        if rules::learn_next(rules, side, diff.rule_files(side), prepared).await? {
                            return Ok(None);
                        }
                    }
                }
            }
        }
        Ok(Some(report))
    }
}

/// What files are compared with.
struct Comparing<'a> {
    engine: &'a SyncEngine,
    examiner: &'a Examiner,
    options: &'a SyncOptions,
    quick: bool,
    memory: Memory,
}

impl Comparing<'_> {
    async fn compare(&self, source: crate::Entry, destination: crate::Entry) -> Compared {
        let resident: u64 =
            Side::BOTH.iter().map(|side| self.examiner.clients.get(*side).resident_bytes(source.size)).sum();
        let _permit = self.memory.take(resident).await;
        let (clock, entropy) = (self.engine.clock.as_ref(), self.engine.entropy.as_ref());
        let attempt = || async {
            if self.quick {
                self.examiner.equal_as_listed(&source, &destination).await
            } else {
                self.examiner.equal_content(&source, &destination).await
            }
        };
        match retry(Schedule::default(), clock, entropy, &self.options.controller, attempt).await {
            Ok(true) => Compared::Equal,
            Ok(false) => Compared::Different(source.key),
            // While the others go on: it waits for its turn among their requests.
            Err(error) => Compared::Failed(source.key, judged(&self.examiner.clients, error).await),
        }
    }
}

impl CheckReport {
    /// Notes a one-sided path; returns the two versions if both sides have it.
    fn sides(&mut self, key: Key, sides: Sides<Observed>) -> Option<(crate::Entry, crate::Entry)> {
        match (sides.source, sides.destination) {
            (Observed::File(source), Observed::File(destination)) => return Some((source, destination)),
            // A link or a special file on the other side is not this file either.
            (Observed::File(_), _) => self.only.source.push(key),
            (_, Observed::File(_)) => self.only.destination.push(key),
            _ => {}
        }
        None
    }

    fn note(&mut self, note: Listed) {
        match note {
            Listed::Skipped(..) => self.skipped += 1,
            Listed::Unknown(key, error) => self.fail(key.as_str(), &error),
            Listed::Unmappable { shown, error, .. } => self.fail(&shown, &error),
            Listed::File(_) | Listed::Rules(..) | Listed::Leftover(_) | Listed::Foreign(_) => {}
        }
    }

    /// Takes a result in.
    ///
    /// # Errors
    /// What ends the check: credentials that are refused, or a store that does not answer any more.
    fn take(&mut self, compared: Compared) -> Result<()> {
        match compared {
            Compared::Equal => self.equal_files += 1,
            Compared::Different(key) => self.different.push(key),
            Compared::Failed(_, error) if error.ends_the_run() => return Err(error),
            Compared::Failed(key, error) => self.fail(key.as_str(), &error),
        }
        Ok(())
    }

    fn fail(&mut self, path: &str, error: &crate::Error) {
        self.failures.push(crate::event::Failure::new(path, "check", error));
    }

    fn finished(mut self) -> Self {
        self.different.sort();
        self.equal = self.different.is_empty()
            && self.only.source.is_empty()
            && self.only.destination.is_empty()
            && self.failures.is_empty();
        self
    }
}
