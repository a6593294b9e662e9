//! Sides that are given the other way round than they were synced.
//!
//! What was synced as `A B` is another pair as `B A`, with no past: what was deleted would come back.

use super::prepare::Prepared;
use super::which::Which;
use super::{SyncEngine, SyncOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::location::quoted;
use crate::mode::{ConflictStrategy, SyncMode};
use crate::pair::SyncPair;
use crate::side::Sides;

impl SyncEngine {
    /// Returns whether the sides are those of a pair the other way round, by their names or by what they are.
    pub(super) async fn are_turned(&self, which: &Which, prepared: &Prepared) -> Result<bool> {
        Ok(which.is_turned || (which.found.is_none() && self.is_known_turned_round(prepared).await?))
    }

    /// Returns whether these two sides are known the other way round.
    pub(super) async fn is_known_turned_round(&self, prepared: &Prepared) -> Result<bool> {
        let states = self.all_states();
        let turned = |given: &Sides<String>| Sides::new(given.destination.clone(), given.source.clone());
        let both = [prepared.identities(), prepared.former_identities()];
        for given in &both {
            if states.is_known(given.clone()).await? {
                return Ok(false);
            }
        }
        Ok(states.is_known(turned(&both[0])).await? || states.is_known(turned(&both[1])).await?)
    }
}

/// Returns the error for such sides, with the command that does the same.
pub(super) fn turned_round(pair: &SyncPair, options: &SyncOptions) -> Error {
    let right = pair.turned_round();
    let mut words = vec!["syncengine sync".to_owned(), quoted(&right.source), quoted(&right.destination)];
    if right.mode != SyncMode::default() {
        words.push(format!("--mode {}", right.mode));
    }
    if right.mode == SyncMode::TwoWay && right.conflict != ConflictStrategy::default() {
        words.push(format!("--conflict {}", right.conflict));
    }
    if let Some(preference) = options.initial_sync.or(pair.initial_sync) {
        words.push(format!("--initial-sync {}", preference.turned_round()));
    }
    let message = format!(
        "these two have been synced the other way round, with {} as the source",
        quoted(&right.source)
    );
    Error::new(ErrorKind::Invalid, message)
        .with_hint(format!("the same with the sides as they were: {}", words.join(" ")))
}
