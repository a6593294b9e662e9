//! The base of a machine: rows that survive a kill when they are recorded and a power cut when they are flushed.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::future::{BoxFuture, FutureExt};
use futures::stream::{self, BoxStream, StreamExt};
use syncengine::state::{BaseRow, PairRecord, RowChange, RowTail, StateStore};
use syncengine::{Error, ErrorKind, Key, Result};

use super::port::Port;
use super::world::Trouble;

#[derive(Debug, Clone, Default)]
pub(crate) struct Content {
    pub(crate) rows: BTreeMap<Key, BaseRow>,
    pub(crate) record: Option<PairRecord>,
}

#[derive(Debug, Default)]
struct Disk {
    durable: Content,
    now: Content,
    /// What was recorded since the last flush, each call of its own.
    journal: Vec<Vec<RowChange>>,
}

/// A base on a simulated disk.
#[derive(Debug)]
pub(crate) struct SimState {
    port: Port,
    disk: Mutex<Disk>,
}

fn apply(content: &mut Content, changes: &[RowChange]) {
    for (key, row) in changes {
        match row {
            Some(row) => content.rows.insert(key.clone(), row.clone()),
            None => content.rows.remove(key),
        };
    }
}

impl SimState {
    pub(crate) fn new(port: Port, content: Content) -> Self {
        let disk = Disk { durable: content.clone(), now: content, journal: Vec::new() };
        Self { port, disk: Mutex::new(disk) }
    }

    pub(crate) fn content(&self) -> Content {
        self.disk().now.clone()
    }

    /// Returns what is left after a power cut, of which `kept` calls since the last flush survived.
    pub(crate) fn after_power_cut(&self, kept: usize) -> Content {
        let disk = self.disk();
        let mut content = disk.durable.clone();
        disk.journal.iter().take(kept).for_each(|changes| apply(&mut content, changes));
        content
    }

    pub(crate) fn unflushed(&self) -> usize {
        self.disk().journal.len()
    }

    /// Returns the changes that say something new of what the sides have had: neither a note of what is about to be done does, nor
    /// that a listing has shown it.
    fn news(&self, changes: &[RowChange]) -> Vec<RowChange> {
        let disk = self.disk();
        let plain = |row: Option<BaseRow>| {
            let mut row = row?.without_intent()?;
            *row.tail_mut() = RowTail::default();
            Some(row)
        };
        let changes = changes.iter().cloned().map(|(key, row)| (key, plain(row)));
        changes.filter(|(key, row)| plain(disk.now.rows.get(key).cloned()) != *row).collect()
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call that can fail; `false` if it is done, but its caller is told that it failed. Once it has failed
    /// nothing may be deleted any more.
    async fn call(&self, verb: &'static str) -> Result<bool> {
        self.port.tick(verb, "").await;
        let mut world = self.port.world.inner();
        let faults = world.weather.state;
        let Some(trouble) = world.trouble(self.port.machine, faults) else { return Ok(true) };
        world.machines[self.port.machine].run.state_failed = true;
        world.note("failures of the state");
        world.tell(|| format!("{verb} of the state fails"));
        match trouble {
            Trouble::AnswerLost => Ok(false),
            _ => Err(broken(verb)),
        }
    }
}

fn broken(verb: &str) -> Error {
    Error::new(ErrorKind::Internal, format!("{verb}: a simulated fault of the state"))
}

impl StateStore for SimState {
    fn scan(&self) -> BoxStream<'_, Result<(Key, BaseRow)>> {
        let rows = self.content().rows;
        let items = stream::unfold(Some(rows.into_iter()), move |rows| async move {
            let mut rows = rows?;
            match self.call("scan").await {
                Ok(true) => rows.next().map(|row| (Ok(row), Some(rows))),
                _ => Some((Err(broken("scan")), None)),
            }
        });
        items.boxed()
    }

    fn get<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<BaseRow>>> {
        async move {
            if self.call("get").await? {
                Ok(self.disk().now.rows.get(key).cloned())
            } else {
                Err(broken("get"))
            }
        }
        .boxed()
    }

    fn record(&self, changes: Vec<RowChange>) -> BoxFuture<'_, Result<()>> {
        async move {
            let news = self.news(&changes);
            self.port.world.inner().judge_rows(self.port.machine, &news);
            self.port.world.inner().tell(|| {
                let names = changes
                    .iter()
                    .map(|(key, row)| format!("{}{key}", if row.is_some() { "+" } else { "-" }));
                format!("rows: {}", names.collect::<Vec<_>>().join(" "))
            });
            let told = self.call("record").await?;
            let mut disk = self.disk();
            apply(&mut disk.now, &changes);
            disk.journal.push(changes);
            if told { Ok(()) } else { Err(broken("record")) }
        }
        .boxed()
    }

    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        async {
            let told = self.call("flush").await?;
            let mut disk = self.disk();
            disk.durable = disk.now.clone();
            disk.journal.clear();
            if told { Ok(()) } else { Err(broken("flush")) }
        }
        .boxed()
    }

    fn pair_record(&self) -> Option<PairRecord> {
        self.disk().now.record.clone()
    }

    fn commit(&self, record: PairRecord) -> BoxFuture<'_, Result<()>> {
        async move {
            self.port.world.inner().tell(|| {
                let (id, there) = (&record.pair_id[..4], record.tail.epochs().there);
                format!("commit {id} {there:?} {:?} {:?}", record.first_sync, record.tail.recovery())
            });
            let told = self.call("commit").await?;
            let mut disk = self.disk();
            disk.now.record = Some(record);
            disk.durable = disk.now.clone();
            disk.journal.clear();
            if told { Ok(()) } else { Err(broken("commit")) }
        }
        .boxed()
    }
}
