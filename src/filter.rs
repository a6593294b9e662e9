//! Which paths are synced: gitignore rules.

/// Rules of one source, in order.
#[derive(Debug, Clone, Default)]
pub struct Rules;

/// A rule that cannot be used.
#[derive(Debug, Clone)]
pub struct RuleError;

impl Rules {
    /// Stub.
    pub fn parse(_text: &str) -> (Self, Vec<RuleError>) {
        (Self, Vec::new())
    }
}

/// All rules in force.
#[derive(Debug, Clone, Default)]
pub struct Filter;

impl Filter {
    /// Stub.
    pub fn new(_rules: Rules) -> Self {
        Self
    }

    /// Stub.
    pub fn enter(&mut self, _folder: &str, _rules: Rules) {}

    /// Stub.
    pub fn excludes_folder(&mut self, _folder: &str) -> bool {
        false
    }

    /// Stub.
    pub fn is_empty(&self) -> bool {
        true
    }
}
