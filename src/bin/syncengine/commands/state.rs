//! `state show` and `state forget`.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use futures::TryStreamExt;
use syncengine::clock::{SystemClock, SystemEntropy};
use syncengine::guard::Notice;
use syncengine::key::escape;
use syncengine::report::SCHEMA;
use syncengine::state::{self, Access, Found, Opened};
use syncengine::{Error, ErrorKind, LocalClient, Result, Side, Sides, StorageClient};

use super::{Finished, Session};
use crate::args::Locations;
use crate::exit_code::ExitCode;
use crate::options;
use crate::render::state::{Forgotten, Shown, forgotten, shown};

/// `syncengine state show SOURCE DESTINATION`.
pub(super) async fn show(session: &Session, at: &Locations) -> Result<Finished> {
    let clients = open(at)?;
    let opened = look(session, &clients).await?;
    let record = opened.store.pair_record();
    let rows = opened.store.scan().try_fold(0, async |count, _| Ok(count + 1)).await?;
    let Sides { source, destination } = locations(&clients);
    let document = Shown {
        schema: SCHEMA,
        source,
        destination,
        synced: record.is_some(),
        pair_id: record.as_ref().map(|record| record.pair_id.clone()),
        mode: record.as_ref().map(|record| record.mode),
        last_sync_seconds: record.as_ref().and_then(|record| record.last_sync_seconds),
        rows,
        marked: record.is_some_and(|record| record.marked),
        lost: match opened.found {
            Found::Lost { why } => Some(why),
            Found::Nothing | Found::Intact => None,
        },
    };
    Ok(session.finished(ExitCode::Done, shown(&document), String::new(), &document))
}

/// `syncengine state forget SOURCE DESTINATION`.
pub(super) async fn forget(session: &Session, at: &Locations) -> Result<Finished> {
    let clients = open(at)?;
    let record = look(session, &clients).await?.store.pair_record();
    let dir = options::state_dir(&session.common)?;
    // First of all, because it is what another run's lock refuses.
    let base_removed = state::forget(dir, locations(&clients), Arc::new(SystemClock)).await?;
    let mut markers = Sides::new(BTreeSet::new(), BTreeSet::new());
    let mut warnings = Vec::new();
    for side in Side::BOTH {
        match clients.get(side).markers().await {
            Ok(ids) => markers.get_mut(side).extend(ids),
            // Where no folder is, and never was one that anybody synced, no marker is either.
            Err(error) if error.kind() == ErrorKind::NotFound && record.is_none() && !base_removed => {}
            Err(error) => warnings.push(left(side, "may stay", &error)),
        }
    }
    // Without a record the pair is what both sides carry the marker of.
    let ids: Vec<String> = match record {
        Some(record) => vec![record.pair_id],
        None => markers.source.intersection(&markers.destination).cloned().collect(),
    };
    let mut markers_removed = 0;
    for side in Side::BOTH {
        for id in ids.iter().filter(|id| markers.get(side).contains(*id)) {
            match clients.get(side).remove_marker(id).await {
                Ok(()) => markers_removed += 1,
                Err(error) => warnings.push(left(side, "stays", &error)),
            }
        }
    }
    let Sides { source, destination } = locations(&clients);
    let document = Forgotten { schema: SCHEMA, source, destination, base_removed, markers_removed, warnings };
    let mut messages = String::new();
    for warning in &document.warnings {
        crate::render::notice_lines(&mut messages, "warning", warning);
    }
    let code = if document.warnings.is_empty() { ExitCode::Done } else { ExitCode::Incomplete };
    Ok(session.finished(code, forgotten(&document), messages, &document))
}

fn left(side: Side, what: &str, error: &Error) -> Notice {
    let message = format!("the marker of the pair {what} at the {side}: {}", error.chain());
    Notice::new("marker-stays", message, "run this again when the side can be written")
}

fn open(at: &Locations) -> Result<Sides<LocalClient>> {
    let (source, destination) = options::locations(at)?;
    let open = |side: Side, location: &str| {
        if location.is_empty() || location.contains("://") {
            let shown = escape(location.as_bytes());
            let message = format!("the {side} `{shown}` is no folder");
            return Err(Error::new(ErrorKind::Invalid, message)
                .with_hint("this version syncs folders; write ./name for a folder with such a name"));
        }
        LocalClient::open(Path::new(location))
    };
    Ok(Sides::new(open(Side::Source, &source)?, open(Side::Destination, &destination)?))
}

fn locations(clients: &Sides<LocalClient>) -> Sides<String> {
    Sides::new(clients.source.location().into(), clients.destination.location().into())
}

async fn look(session: &Session, clients: &Sides<LocalClient>) -> Result<Opened> {
    let dir = options::state_dir(&session.common)?;
    let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
    state::open(dir, locations(clients), Access::ReadOnly, std::env::temp_dir(), clock, entropy).await
}
