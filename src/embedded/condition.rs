//! The conditions of requests, judged against an object as it is.

use s3s::dto::{ETagCondition, Timestamp};
use s3s::{S3Result, s3_error};

use super::row::{Object, Tag};

/// `If-Match` and `If-None-Match` of a request that writes.
#[derive(Debug, Default)]
pub(super) struct WriteConditions {
    pub(super) if_match: Option<ETagCondition>,
    pub(super) if_none_match: Option<ETagCondition>,
}

impl WriteConditions {
    /// Refuses what must not replace `now`.
    pub(super) fn check(&self, now: Option<&Object>) -> S3Result<()> {
        if let Some(condition) = &self.if_match {
            let now = now.ok_or_else(|| s3_error!(NoSuchKey))?;
            if !holds(condition, now.tag) {
                return Err(s3_error!(PreconditionFailed));
            }
        }
        match (&self.if_none_match, now) {
            (Some(condition), Some(now)) if holds(condition, now.tag) => Err(s3_error!(PreconditionFailed)),
            _ => Ok(()),
        }
    }
}

/// What must be true of an object that is deleted. One that is absent has been deleted already.
#[derive(Debug, Default)]
pub(super) struct DeleteConditions {
    pub(super) if_match: Option<ETagCondition>,
    pub(super) size: Option<i64>,
    pub(super) modified: Option<Timestamp>,
}

impl DeleteConditions {
    /// Returns whether there are any.
    pub(super) fn demand(&self) -> bool {
        self.if_match.is_some() || self.size.is_some() || self.modified.is_some()
    }

    /// Returns whether `now` may be deleted.
    pub(super) fn hold(&self, now: &Object) -> bool {
        self.if_match.as_ref().is_none_or(|condition| holds(condition, now.tag))
            && self.size.is_none_or(|size| u64::try_from(size) == Ok(now.size))
            && self.modified.as_ref().is_none_or(|time| seconds(time) == now.modified.div_euclid(1000))
    }
}

/// The conditions of a request that reads.
#[derive(Debug, Default)]
pub(super) struct ReadConditions {
    pub(super) if_match: Option<ETagCondition>,
    pub(super) if_none_match: Option<ETagCondition>,
    pub(super) if_modified_since: Option<Timestamp>,
    pub(super) if_unmodified_since: Option<Timestamp>,
}

/// What a condition of a read comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Go,
    /// The client has it already.
    Unchanged,
    Refused,
}

impl ReadConditions {
    /// Judges them in the order of RFC 9110: a tag outweighs a time.
    pub(super) fn judge(&self, now: &Object) -> Verdict {
        let modified = now.modified.div_euclid(1000);
        let refused = match (&self.if_match, &self.if_unmodified_since) {
            (Some(condition), _) => !holds(condition, now.tag),
            (None, Some(time)) => modified > seconds(time),
            (None, None) => false,
        };
        let unchanged = match (&self.if_none_match, &self.if_modified_since) {
            (Some(condition), _) => holds(condition, now.tag),
            (None, Some(time)) => modified <= seconds(time),
            (None, None) => false,
        };
        match (refused, unchanged) {
            (true, _) => Verdict::Refused,
            (false, true) => Verdict::Unchanged,
            (false, false) => Verdict::Go,
        }
    }
}

fn holds(condition: &ETagCondition, tag: Tag) -> bool {
    condition.is_any() || condition.as_etag().is_some_and(|given| given.value() == tag.show())
}

fn seconds(time: &Timestamp) -> i64 {
    time::OffsetDateTime::from(time.clone()).unix_timestamp()
}
