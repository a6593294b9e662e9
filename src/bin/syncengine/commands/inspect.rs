//! `check` and `status`: they look and change nothing.

use std::sync::Arc;

use syncengine::state::{Found, memory::MemoryState};
use syncengine::{Result, SyncEngine, SyncOptions};

use super::{Finished, Session};
use crate::args::{CheckArgs, StatusArgs};
use crate::exit_code::ExitCode;
use crate::options;
use crate::render::{self, inspect};

/// `syncengine check SOURCE DESTINATION`.
pub(super) async fn check(session: &Session, args: &CheckArgs) -> Result<Finished> {
    let pair = options::filtered(options::located(&args.locations)?, &args.filter)?;
    // A check needs no past, and so no place for it.
    let engine = SyncEngine::new("").state(Arc::new(MemoryState::new()), Found::Nothing);
    let report = engine.check(&pair, args.quick, &session.connected(SyncOptions::new())).await?;
    let code = if report.equal { ExitCode::Done } else { ExitCode::Incomplete };
    let messages = render::failures(&report.failures);
    Ok(session.finished(code, inspect::check(&report), messages, &report))
}

/// `syncengine status SOURCE DESTINATION`.
pub(super) async fn status(session: &Session, args: &StatusArgs) -> Result<Finished> {
    let pair = options::policy(&args.locations, &args.policy, &args.filter)?;
    let report = session.engine()?.status(&pair, &session.connected(SyncOptions::new())).await?;
    let code = if !report.conflicts.is_empty() {
        ExitCode::Refused
    } else if report.pending > 0 || !report.failures.is_empty() {
        ExitCode::Incomplete
    } else {
        ExitCode::Done
    };
    let mut messages = String::new();
    for warning in &report.warnings {
        render::notice_lines(&mut messages, "warning", warning);
    }
    messages += &render::failures(&report.failures);
    Ok(session.finished(code, inspect::status(&report), messages, &report))
}
