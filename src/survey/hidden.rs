//! Files that a listing hides behind an object with the name of their folder.
//!
//! While an object `a` exists, the listings of some stores (MinIO) have nothing below `a/`, although all of it
//! is there. What seems to have made room for a file is therefore looked for by name before anything is
//! made of its absence.

use futures::{FutureExt, StreamExt};

use crate::client::Listed;
use crate::control::SyncController;
use crate::error::Result;
use crate::examine::Clients;
use crate::plan::collide::Collision;
use crate::side::Side;

/// How many names are looked for at once.
const AT_ONCE: usize = 16;

/// Notes which files exist below a file of the same side although its listing has none of them. One is
/// enough: then nothing below that name is touched.
///
/// # Errors
/// A name that could not be looked for, or [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled).
pub(super) async fn find(
    clients: &Clients,
    collisions: &mut [Collision],
    control: &SyncController,
) -> Result<()> {
    for side in Side::BOTH {
        let client = clients.get(side);
        let doubtful: Vec<usize> = (0..collisions.len())
            .filter(|at| *collisions[*at].above_on.get(side) && !*collisions[*at].below_on.get(side))
            .collect();
        let looks = doubtful.into_iter().map(|at| (at, collisions[at].below.clone()));
        let mut looks = futures::stream::iter(looks.collect::<Vec<_>>())
            .map(|(at, key)| async move { (at, client.head(&key).await) }.boxed())
            .buffered(AT_ONCE);
        while let Some((at, found)) = looks.next().await {
            control.checkpoint().await?;
            if let Some(Listed::File(_) | Listed::Unknown(..)) = found.map_err(|error| error.at(side))? {
                *collisions[at].below_on.get_mut(side) = true;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::client::memory::MemoryClient;
    use crate::key::Key;
    use crate::side::Sides;
    use crate::timestamp::Timestamp;

    #[tokio::test]
    async fn what_a_listing_hides_is_found_by_its_name() {
        let key = |name: &str| Key::parse(name).unwrap();
        let store = MemoryClient::new("store");
        store.put(key("a/there"), "x", Timestamp::new(1, 0));
        let clients: Clients = Sides::new(Arc::new(MemoryClient::new("other")), Arc::new(store));
        let collision = |below: &str, above_on| Collision {
            above: key("a"),
            below: key(below),
            above_on,
            below_on: Sides::new(false, false),
        };
        let here = Sides::new(false, true);
        let mut collisions = [
            collision("a/gone", here),
            collision("a/there", here),
            collision("a/there", Sides::new(true, false)),
        ];
        find(&clients, &mut collisions, &SyncController::new()).await.unwrap();
        let found: Vec<_> = collisions.iter().map(|c| (c.below_on.source, c.below_on.destination)).collect();
        assert_eq!(found, [(false, false), (false, true), (false, false)]);
    }
}
