//! Asks both sides about the names of a plan that they may take for one, before anything is judged or done.

use std::collections::{BTreeMap, BTreeSet};

use futures::TryStreamExt;

use crate::error::{Error, Result};
use crate::examine::Clients;
use crate::key::Key;
use crate::plan::spelling::{Clash, block, clear_way, created, doubts, follow, leaving};
use crate::plan::{Plan, Work};
use crate::side::{Side, Sides};
use crate::state::{BaseRow, StateStore};

/// Takes out of `plan` what would touch one of two names that a side cannot hold apart. Where only trying tells, it is
/// tried on the sides that `may_write` names.
///
/// # Errors
/// A side that could not be asked, or the state that could not be read.
pub(super) async fn settle(
    plan: &mut Plan,
    clients: &Clients,
    state: &dyn StateStore,
    may_write: Sides<bool>,
) -> Result<()> {
    let mut clashes = BTreeSet::new();
    let mut folding = Vec::new();
    for side in Side::BOTH {
        let concerns = |action: &crate::plan::Action| {
            created(action, side).is_some()
                || matches!(&action.work, Work::Delete { on, .. } if *on == side.other())
        };
        let (client, may_write) = (clients.get(side), *may_write.get(side));
        if plan.actions.iter().any(concerns) && answered(client.folds_names(may_write).await)? == Some(true) {
            follow(plan, side);
            folding.push(side);
        }
    }
    for side in folding {
        let pair = Asking { plan, side, client: clients.get(side).as_ref(), state };
        pair.ask(*may_write.get(side), &mut clashes).await?;
    }
    block(plan, &clashes);
    Ok(())
}

/// One side that may take names for others.
struct Asking<'a> {
    plan: &'a mut Plan,
    side: Side,
    client: &'a dyn crate::client::StorageClient,
    state: &'a dyn StateStore,
}

impl Asking<'_> {
    async fn ask(mut self, may_write: bool, clashes: &mut BTreeSet<Clash>) -> Result<()> {
        let side = self.side;
        for (one, other) in doubts(self.plan, side) {
            if answered(self.client.tells_apart(&one, &other, may_write).await)? == Some(false) {
                clashes.insert(Clash { side, one, other });
            }
        }
        let created: Vec<Key> =
            self.plan.actions.iter().filter_map(|action| created(action, side)).cloned().collect();
        // Of a folder that holds many new files it is asked once.
        let mut known = BTreeMap::new();
        for key in created {
            if clashes.iter().any(|clash| is_within(&key, &clash.one) || is_within(&key, &clash.other)) {
                continue;
            }
            self.ask_about(key, &mut known, clashes).await?;
        }
        self.ask_about_deletions(clashes).await
    }

    /// Asks whether `key` can be made, and what must happen first.
    async fn ask_about(
        &mut self,
        key: Key,
        known: &mut BTreeMap<Key, bool>,
        clashes: &mut BTreeSet<Clash>,
    ) -> Result<()> {
        let Some(Some(found)) = answered(self.client.spelled(&key).await)? else { return Ok(()) };
        let makes_way = match known.get(&found.listed) {
            Some(makes_way) => *makes_way,
            None => self.makes_way(&found.listed).await?,
        };
        known.insert(found.listed.clone(), makes_way);
        if makes_way {
            clear_way(self.plan, self.side, &key, &found.listed);
        } else {
            clashes.insert(Clash { side: self.side, one: found.asked, other: found.listed });
        }
        Ok(())
    }

    /// Returns whether all that is known to be at or below `listed` leaves it, or has left it.
    async fn makes_way(&self, listed: &Key) -> Result<bool> {
        let leaving = leaving(self.plan, self.side, listed);
        if leaving.is_empty() || leaving.contains(listed) {
            return Ok(!leaving.is_empty());
        }
        let mut rows = self.state.scan();
        while let Some((key, _)) = rows.try_next().await? {
            if key.is_below(listed.as_str())
                && !leaving.contains(&key)
                && answered(self.client.head(&key).await)?.is_none_or(|found| found.is_some())
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A name that is gone here because another one has taken its place, was not deleted, if both were agreed on.
    async fn ask_about_deletions(self, clashes: &mut BTreeSet<Clash>) -> Result<()> {
        let elsewhere = self.side.other();
        let gone = self.plan.actions.iter().filter_map(|action| match &action.work {
            Work::Delete { on, entry, .. } if *on == elsewhere => Some(entry.key.clone()),
            _ => None,
        });
        for key in gone.collect::<Vec<_>>() {
            let Some(Some(found)) = answered(self.client.spelled(&key).await)? else { continue };
            let rest = &key.as_str()[found.asked.as_str().len()..];
            let Ok(other) = Key::parse(&format!("{}{rest}", found.listed)) else { continue };
            let is_agreed =
                async |key| Ok::<_, Error>(matches!(self.state.get(key).await?, Some(BaseRow::Agreed(_))));
            if is_agreed(&other).await? && is_agreed(&key).await? {
                clashes.insert(Clash { side: self.side, one: key, other });
            }
        }
        Ok(())
    }
}

/// Returns what a side says of names; nothing if it cannot tell: then whoever makes the file meets the name, or the
/// fault.
fn answered<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.ends_the_run() => Err(error),
        Err(error) => {
            tracing::debug!(error = error.chain(), "a side cannot tell which names it takes for one");
            Ok(None)
        }
    }
}

fn is_within(key: &Key, name: &Key) -> bool {
    key == name || key.is_below(name.as_str())
}
