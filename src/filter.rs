//! Which paths are synced: gitignore rules.

/// Rules of one source, in order.
#[derive(Debug, Clone, Default)]
pub struct Rules;

/// All rules in force.
#[derive(Debug, Clone, Default)]
pub struct Filter;
