//! `apply`: a saved plan is carried out if planning again gives the same actions.

use std::path::Path;

use syncengine::guard::Notice;
use syncengine::{Outcome, Result};

use super::sync::ran;
use super::{Finished, Session};
use crate::args::ApplyArgs;
use crate::options;
use crate::plan_file::SavedPlan;

/// `syncengine apply FILE`.
pub(super) async fn apply(session: &Session, args: &ApplyArgs) -> Result<Finished> {
    let options = options::run(&args.run)?;
    let saved = SavedPlan::load(Path::new(&args.file))?;
    let engine = session.engine()?;
    let options = options.create(saved.create).controller(session.controller.clone());
    let (mut again, result) = engine.run(&saved.pair, options.clone().dry_run(true)).await;
    again.dry_run = false;
    let locked = again.refused_by.iter().any(|refusal| refusal.code == "locked");
    if locked || matches!(again.outcome, Outcome::Failed | Outcome::Cancelled) {
        return Ok(ran(session, &saved.pair, again, result.err().as_ref()));
    }
    if let Some(path) = saved.first_difference(&again.actions) {
        again.outcome = Outcome::Refused;
        again.refused_by.insert(
            0,
            Notice::new(
                "plan-changed",
                format!("the plan no longer holds: `{path}` is not what it was when the plan was made"),
                "look at a new plan: `syncengine plan SOURCE DESTINATION --save FILE`",
            ),
        );
        return Ok(ran(session, &saved.pair, again, None));
    }
    let (report, result) = engine.run(&saved.pair, session.connected(options)).await;
    Ok(ran(session, &saved.pair, report, result.err().as_ref()))
}
