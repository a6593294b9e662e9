//! `apply`: a saved plan is carried out if planning again gives the same actions.

use std::path::Path;

use syncengine::{Result, SyncEngine};

use super::sync::ran;
use super::{Finished, Session};
use crate::args::ApplyArgs;
use crate::options;
use crate::plan_file::SavedPlan;

/// `syncengine apply FILE`. One run plans, compares and goes on, so that nothing can move in between.
pub(super) async fn apply(session: &Session, args: &ApplyArgs) -> Result<Finished> {
    let saved = SavedPlan::load(Path::new(&args.file))?;
    let options = options::run(&args.run, &saved.pair)?;
    let engine = match saved.state_dir {
        // The one that is named now counts.
        Some(dir) if session.common.state_dir.is_none() => SyncEngine::new(dir),
        _ => session.engine()?,
    };
    let options = options.create(saved.create).expecting(saved.actions);
    let (report, result) = engine.run(&saved.pair, session.connected(options)).await;
    Ok(ran(session, &saved.pair, report, result.err().as_ref()))
}
