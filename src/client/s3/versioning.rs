//! Whether a bucket keeps what is replaced or deleted in it. Then its old versions are the trash.
//!
//! Only a bucket with versioning switched on does. One where it is suspended would lose a version that was
//! written without it, so it counts as one without versions, as does a bucket that may not be asked. And since
//! versioning can be suspended at any time, an answer that spares a copy is believed by those only who waited
//! for it: many at once share one request, but whoever comes later asks again. The other answer holds for
//! the rest of a run: to copy is never wrong.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use aws_sdk_s3::types::BucketVersioningStatus;
use tokio::sync::Mutex;

use super::S3Client;
use super::fault::Fault;
use super::store::Store;
use crate::client::Disposal;
use crate::code::NoticeCode;
use crate::error::ErrorKind;

/// What a bucket was asked.
#[derive(Debug, Default)]
pub(super) struct Versioning {
    /// How many times it was asked so far.
    asked: AtomicU64,
    last: Mutex<Option<Answer>>,
    /// Whether a version was left to the bucket to keep.
    relied_on: AtomicBool,
}

#[cfg(test)]
impl Versioning {
    /// Returns what is known of a bucket that is said to keep versions, and is not asked in `run`.
    pub(super) fn trusted(run: &str) -> Self {
        let answer = Answer { run: run.to_owned(), number: 1, keeps: true };
        Self { last: Mutex::new(Some(answer)), ..Self::default() }
    }
}

#[derive(Debug)]
struct Answer {
    run: String,
    /// Which of the requests it answers; the first is 1.
    number: u64,
    keeps: bool,
}

impl Answer {
    /// Returns whether it holds for who comes in `run` when so many requests have begun.
    fn holds(&self, run: &str, begun: u64) -> bool {
        self.run == run && (!self.keeps || self.number > begun)
    }
}

impl S3Client {
    /// Returns whether what goes this way must be copied to the trash, because the bucket does not keep it.
    pub(super) async fn must_copy(&self, disposal: &Disposal) -> Result<bool, Fault> {
        let Disposal::Trash { run } = disposal else { return Ok(false) };
        let Versioning { asked, last, relied_on } = &self.versioning;
        let begun = asked.load(Ordering::SeqCst);
        let mut last = last.lock().await;
        let known = last.as_ref().filter(|answer| answer.holds(run, begun)).map(|answer| answer.keeps);
        let keeps = if let Some(keeps) = known {
            keeps
        } else {
            let number = asked.fetch_add(1, Ordering::SeqCst) + 1;
            let keeps = self.store.keeps_versions().await?;
            *last = Some(Answer { run: run.clone(), number, keeps });
            keeps
        };
        relied_on.fetch_or(keeps, Ordering::Relaxed);
        Ok(!keeps)
    }

    /// Returns what is to be said of where versions are that are in no trash, if there are any.
    pub(super) fn where_versions_are(&self) -> Option<(NoticeCode, String)> {
        let message = format!(
            "the bucket of `{}` keeps old versions: what was replaced or deleted is one of them, and not in the \
             trash",
            self.location
        );
        self.versioning.relied_on.load(Ordering::Relaxed).then_some((NoticeCode::OldVersions, message))
    }
}

impl Store {
    /// Asks whether versioning is switched on. Who may not ask is told no.
    async fn keeps_versions(&self) -> Result<bool, Fault> {
        let asked =
            self.send(|| async { Ok(self.sdk().get_bucket_versioning().bucket(&self.bucket).send().await?) });
        match asked.await {
            Ok(answer) => Ok(answer.status == Some(BucketVersioningStatus::Enabled)),
            Err(fault) if matches!(fault.kind(), ErrorKind::Unavailable | ErrorKind::Cancelled) => Err(fault),
            Err(fault) => {
                tracing::debug!(?fault, "the bucket does not tell whether it keeps versions");
                Ok(false)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f50_only_an_answer_that_costs_a_copy_is_believed_by_who_comes_later() {
        let answer = |keeps| Answer { run: "one".into(), number: 3, keeps };
        for (keeps, run, begun, expected) in [
            (true, "one", 2, true),
            (true, "one", 3, false),
            (true, "two", 2, false),
            (false, "one", 2, true),
            (false, "one", 9, true),
            (false, "two", 2, false),
        ] {
            assert_eq!(answer(keeps).holds(run, begun), expected, "{keeps} {run} {begun}");
        }
    }
}
