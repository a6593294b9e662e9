//! `sync` and `plan`.

use std::path::Path;

use syncengine::code::NoticeCode;
use syncengine::key::escape;
use syncengine::{Error, ErrorKind, Outcome, Report, Result, Side, StoreOptions, SyncPair};

use super::{Finished, Session};
use crate::args::{PlanArgs, SyncArgs};
use crate::exit_code::ExitCode;
use crate::plan_file::SavedPlan;
use crate::render::{self, plan, summary};
use crate::{options, output};

/// `syncengine sync SOURCE DESTINATION`.
pub(super) async fn sync(session: &Session, args: &SyncArgs) -> Result<Finished> {
    if args.dry_run {
        return planned(session, args, None).await;
    }
    let pair = options::pair(&args.pair)?;
    let options = session.connected(options::run(&args.run, &pair)?.create(args.pair.create));
    let (report, result) = session.engine()?.run(&pair, options).await;
    Ok(ran(session, &pair, report, result.err().as_ref()))
}

/// `syncengine plan SOURCE DESTINATION`.
pub(super) async fn plan(session: &Session, args: &PlanArgs) -> Result<Finished> {
    if let Some(path) = &args.save {
        options::check_tilde("--save", path)?;
    }
    planned(session, &args.sync, args.save.as_deref().map(Path::new)).await
}

async fn planned(session: &Session, args: &SyncArgs, save: Option<&Path>) -> Result<Finished> {
    let pair = options::pair(&args.pair)?;
    let options = options::run(&args.run, &pair)?.create(args.pair.create).dry_run(true);
    let (report, result) = session.engine()?.run(&pair, session.connected(options)).await;
    // A plan that a guard refuses can still be read, and applied with the flag that passes the guard. One
    // that was not made because another run holds the pair cannot.
    let locked = report.refused_by.iter().any(|refusal| refusal.code == NoticeCode::Locked);
    let made = !locked && matches!(report.outcome, Outcome::Planned | Outcome::Refused);
    if let Some(path) = save.filter(|_| made) {
        save_plan(session, path, pair.clone(), args.pair.create, &report)?;
    }
    Ok(ran(session, &pair, report, result.err().as_ref()))
}

fn save_plan(
    session: &Session,
    path: &Path,
    mut pair: SyncPair,
    create: bool,
    report: &Report,
) -> Result<()> {
    // Canonical, so that the plan means the same wherever it is applied.
    pair.source.clone_from(&report.source);
    pair.destination.clone_from(&report.destination);
    // What the surroundings say may be something else in another shell.
    for side in Side::BOTH {
        if let Some(store) = report.stores.get(side) {
            let embedded_dir = pair.store_options(side).embedded_dir.clone();
            pair = pair.store(side, StoreOptions { embedded_dir, ..store.clone() });
        }
    }
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    // A folder that does not exist is complained about when the file is written.
    let folder = folder.canonicalize().unwrap_or_default();
    for root in [&pair.source, &pair.destination] {
        if folder.starts_with(root) {
            let path = escape(path.as_os_str().as_encoded_bytes());
            let message =
                format!("the plan `{path}` would lie in `{}`, which it is about", escape(root.as_bytes()));
            return Err(Error::new(ErrorKind::Invalid, message).with_hint("save it outside both trees"));
        }
    }
    let is_named = session.common.state_dir.is_some();
    let state_dir = is_named.then(|| options::state_dir(&session.common)).transpose()?;
    if let Some(dir) = state_dir.as_deref().filter(|dir| dir.to_str().is_none()) {
        let dir = escape(dir.as_os_str().as_encoded_bytes());
        let message = format!("a plan cannot name the state directory `{dir}`, which is not UTF-8");
        let hint = "name it by a link, or set XDG_STATE_HOME for both commands instead";
        return Err(Error::new(ErrorKind::Invalid, message).with_hint(hint));
    }
    SavedPlan::new(pair, create, state_dir, &report.actions).save(path)
}

/// Returns what a run leaves behind.
pub(super) fn ran(session: &Session, pair: &SyncPair, mut report: Report, error: Option<&Error>) -> Finished {
    report.peak_memory_bytes = output::peak_memory_bytes();
    let code = ExitCode::of_report(&report, error.map(Error::kind), session.received.code());
    let common = &session.common;
    let mut messages = render::messages(&report, common.quiet);
    if let Some(error) = error {
        messages += &render::error(error);
    }
    let text = match (report.dry_run, common.quiet) {
        (true, _) => plan::plan(&report, common.verbosity > 0),
        (false, true) => String::new(),
        (false, false) => summary::summary(&report, pair),
    };
    session.finished(code, text, messages, &report)
}
