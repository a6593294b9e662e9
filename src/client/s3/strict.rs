//! The strict mode: what a store cannot guard by a condition is refused before anything is done for it.

use super::S3Client;
use super::capabilities::Capabilities;
use super::fault::Fault;
use super::object::Condition;

/// What is about to be done to an object.
#[derive(Debug, Clone, Copy)]
pub(super) enum Act<'a> {
    Put(&'a Condition),
    /// An upload in parts is put together.
    Complete(&'a Condition),
    /// The store makes a copy of its own.
    Copy(&'a Condition),
    Delete,
}

impl Act<'_> {
    pub(super) fn is_guarded(self, can: Capabilities) -> bool {
        match self {
            Self::Put(Condition::Absent) => can.put_if_none_match,
            Self::Put(Condition::Is(_)) => can.put_if_match,
            Self::Complete(Condition::Absent) => can.complete_if_none_match,
            Self::Complete(Condition::Is(_)) => can.complete_if_match,
            Self::Copy(Condition::Absent) => can.copy_if_none_match,
            Self::Copy(Condition::Is(_)) => false,
            Self::Delete => can.delete_if_match || can.delete_many_if_match,
        }
    }

    /// Returns the condition that it needs.
    pub(super) fn condition(self) -> &'static str {
        match self {
            Self::Put(condition) => condition.name(),
            Self::Complete(Condition::Absent) => "If-None-Match on uploads in parts",
            Self::Complete(Condition::Is(_)) => "If-Match on uploads in parts",
            Self::Copy(Condition::Absent) => "If-None-Match on copies",
            Self::Copy(Condition::Is(_)) => "If-Match on copies",
            Self::Delete => "If-Match on deletions",
        }
    }
}

impl S3Client {
    /// Refuses what the store cannot guard, in a strict run.
    pub(super) async fn insist(&self, act: Act<'_>) -> Result<(), Fault> {
        if !self.setup.strict || act.is_guarded(self.capabilities().await?) {
            return Ok(());
        }
        Err(Fault::unguarded(act.condition()))
    }
}
