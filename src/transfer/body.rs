//! What happens to bytes on their way: hashing, progress, pausing, and the bandwidth limit.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;

use crate::client::{Body, DAMAGED};
use crate::clock::Clock;
use crate::control::SyncController;
use crate::error::{Error, ErrorKind};
use crate::event::Event;
use crate::fingerprint::{ContentHash, HashForm, Hasher};
use crate::report::Recorder;

/// Spreads bytes over time: a bucket that refills at a rate and may be overdrawn by one chunk.
#[derive(Debug)]
pub(super) struct Throttle {
    bytes_per_second: u64,
    /// When the bytes let through so far will have been paid for.
    paid_until: Mutex<Duration>,
}

impl Throttle {
    pub(super) fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), paid_until: Mutex::new(Duration::ZERO) }
    }

    /// Returns how long to wait before `bytes` more may go.
    fn wait(&self, bytes: usize, now: Duration) -> Duration {
        let mut paid_until = self.paid_until.lock().unwrap_or_else(PoisonError::into_inner);
        let start = (*paid_until).max(now);
        let nanoseconds = u128::from(bytes as u64) * 1_000_000_000 / u128::from(self.bytes_per_second);
        *paid_until =
            start.saturating_add(Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX)));
        start.saturating_sub(now)
    }
}

/// Learns the hash of a body as its bytes pass, and compares it with what the body must turn out to be.
#[derive(Debug, Clone)]
pub(super) struct Tap {
    hasher: Arc<Mutex<Option<Hasher>>>,
    proof: Option<ContentHash>,
}

impl Tap {
    /// Returns a tap that checks `proof`, and learns a hash even without one if it is wanted.
    pub(super) fn new(proof: Option<ContentHash>, wanted: bool) -> Self {
        let form = proof.map(|proof| proof.form()).or(wanted.then_some(HashForm::Whole));
        Self { hasher: Arc::new(Mutex::new(form.map(Hasher::new))), proof }
    }

    /// Returns the hash of what has passed, if it was learned.
    pub(super) fn hash(&self) -> Option<ContentHash> {
        self.hasher().clone().map(Hasher::finish)
    }

    fn hasher(&self) -> std::sync::MutexGuard<'_, Option<Hasher>> {
        self.hasher.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns an error if what has passed is not what was announced.
    fn verdict(&self) -> Option<crate::Result<bytes::Bytes>> {
        let damaged = self.proof.is_some() && self.hash() != self.proof;
        let message = "the bytes that came are not those of the version";
        damaged.then(|| Err(Error::new(ErrorKind::Unavailable, message).with_hint(DAMAGED)))
    }

    /// Returns `body` with everything that is done to its bytes on their way.
    pub(super) fn attach(
        &self,
        body: Body,
        control: &SyncController,
        throttle: Option<&Arc<Throttle>>,
        clock: &Arc<dyn Clock>,
        moved: Moved,
    ) -> Body {
        let way = Way {
            tap: self.clone(),
            control: control.clone(),
            throttle: throttle.cloned(),
            clock: Arc::clone(clock),
            moved: Arc::new(moved),
        };
        let Body { chunks, .. } = body;
        let tap = self.clone();
        let chunks = chunks.scan(way, |way, chunk| {
            let way = way.clone();
            async move { Some(way.pass(chunk).await) }
        });
        // Before the end, so that whoever takes the bytes in does not show them.
        let verdict = futures::stream::once(async move { tap.verdict() }).filter_map(std::future::ready);
        let chunks = chunks.chain(verdict);
        Body { chunks: chunks.boxed(), ..body }
    }
}

/// Tells how much of a file has been copied: of another try only what is beyond the ones before.
#[derive(Debug)]
pub(super) struct Moved {
    recorder: Recorder,
    told: Arc<AtomicU64>,
    /// How far this try has come.
    come: AtomicU64,
}

impl Moved {
    /// Returns what tells of one try; `told` is what all tries of the file have told.
    pub(super) fn new(recorder: &Recorder, told: &Arc<AtomicU64>) -> Self {
        Self { recorder: recorder.clone(), told: Arc::clone(told), come: AtomicU64::new(0) }
    }

    fn tell(&self, bytes: u64) {
        let come = self.come.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let told = self.told.fetch_max(come, Ordering::Relaxed);
        if come > told {
            self.recorder.emit(&Event::Moved { bytes: come - told });
        }
    }
}

#[derive(Debug, Clone)]
struct Way {
    tap: Tap,
    control: SyncController,
    throttle: Option<Arc<Throttle>>,
    clock: Arc<dyn Clock>,
    moved: Arc<Moved>,
}

impl Way {
    async fn pass(self, chunk: crate::Result<bytes::Bytes>) -> crate::Result<bytes::Bytes> {
        let chunk = chunk?;
        self.control.checkpoint().await?;
        if let Some(throttle) = &self.throttle {
            let wait = throttle.wait(chunk.len(), self.clock.monotonic());
            if !wait.is_zero() {
                tokio::select! {
                    () = self.clock.sleep(wait) => {}
                    () = self.control.cancelled() => return Err(crate::control::cancelled()),
                }
            }
        }
        if let Some(hasher) = self.tap.hasher().as_mut() {
            hasher.update(&chunk);
        }
        self.moved.tell(chunk.len() as u64);
        Ok(chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default)]
    struct Heard(Mutex<Vec<u64>>);

    impl crate::event::Observer for Heard {
        fn observe(&self, event: &Event) {
            if let Event::Moved { bytes } = event {
                self.0.lock().unwrap().push(*bytes);
            }
        }
    }

    #[test]
    fn another_try_tells_only_what_is_new() {
        let heard = Arc::new(Heard::default());
        let report = crate::Report::new(String::new(), String::new(), crate::SyncMode::TwoWay, false);
        let recorder = Recorder::new(report, Arc::clone(&heard) as Arc<dyn crate::event::Observer>);
        let told = Arc::default();
        for tries in [[4, 6, 0], [3, 0, 0], [8, 8, 4]] {
            let moved = Moved::new(&recorder, &told);
            for bytes in tries {
                moved.tell(bytes);
            }
        }
        assert_eq!(*heard.0.lock().unwrap(), [4, 6, 6, 4]);
    }

    #[test]
    fn a_throttle_lets_through_its_rate_and_no_more() {
        let throttle = Throttle::new(1000);
        let second = Duration::from_secs(1);
        assert_eq!(throttle.wait(500, Duration::ZERO), Duration::ZERO);
        assert_eq!(throttle.wait(500, Duration::ZERO), second / 2);
        assert_eq!(throttle.wait(1, Duration::ZERO), second);
        // Idle time is not saved up.
        assert_eq!(throttle.wait(1000, second * 10), Duration::ZERO);
        assert_eq!(throttle.wait(1, second * 10), second);
        assert_eq!(Throttle::new(0).bytes_per_second, 1);
    }
}
