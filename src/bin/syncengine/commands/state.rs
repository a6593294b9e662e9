//! `state show`, `state forget` and `state move`.

use syncengine::report::SCHEMA;
use syncengine::{Result, Sides, SyncOptions};

use super::{Finished, Session};
use crate::args::{Locations, MoveArgs};
use crate::exit_code::ExitCode;
use crate::options;
use crate::render::state::{Forgotten, Moved, Shown, forgotten, moved, shown};

/// `syncengine state show SOURCE DESTINATION`.
pub(super) async fn show(session: &Session, at: &Locations) -> Result<Finished> {
    let pair = options::located(at)?;
    let found = session.engine()?.state_of(&pair, &session.connected(SyncOptions::new())).await?;
    let Sides { source, destination } = found.locations;
    let record = found.record;
    let document = Shown {
        schema: SCHEMA,
        source,
        destination,
        synced: record.is_some(),
        pair_id: record.as_ref().map(|record| record.pair_id.clone()),
        mode: record.as_ref().map(|record| record.mode),
        last_sync_seconds: record.as_ref().and_then(|record| record.last_sync_seconds),
        rows: found.rows,
        marked: record.is_some_and(|record| record.marked),
        lost: found.lost,
    };
    Ok(session.finished(ExitCode::Done, shown(&document), String::new(), &document))
}

/// `syncengine state forget SOURCE DESTINATION`.
pub(super) async fn forget(session: &Session, at: &Locations) -> Result<Finished> {
    let pair = options::located(at)?;
    let done = session.engine()?.forget(&pair, &session.connected(SyncOptions::new())).await?;
    let Sides { source, destination } = done.locations;
    let document = Forgotten {
        schema: SCHEMA,
        source,
        destination,
        base_removed: done.base_removed,
        markers_removed: done.markers_removed,
        warnings: done.warnings,
    };
    let mut messages = String::new();
    for warning in &document.warnings {
        crate::render::notice_lines(&mut messages, "warning", warning);
    }
    let code = if document.warnings.is_empty() { ExitCode::Done } else { ExitCode::Incomplete };
    Ok(session.finished(code, forgotten(&document), messages, &document))
}

/// `syncengine state move OLD NEW`.
pub(super) async fn move_to(session: &Session, args: &MoveArgs) -> Result<Finished> {
    let store = options::store_of(&args.new, &args.store)?;
    let connected = session.connected(SyncOptions::new());
    let done = session.engine()?.move_state(&args.old, &args.new, &store, &connected).await?;
    let document =
        Moved { schema: SCHEMA, old: done.old, new: done.new, pairs: done.pairs, replaced: done.replaced };
    Ok(session.finished(ExitCode::Done, moved(&document), String::new(), &document))
}
