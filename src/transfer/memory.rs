//! How many bytes of files may be held in memory at once.

use tokio::sync::{Semaphore, SemaphorePermit};

/// Room for bytes, counted in kibibytes.
#[derive(Debug)]
pub(crate) struct Memory {
    permits: Semaphore,
    room: usize,
}

impl Memory {
    /// Returns room for `bytes`, at least one kibibyte.
    pub(crate) fn new(bytes: u64) -> Self {
        let room = kibibytes(bytes).clamp(1, Semaphore::MAX_PERMITS);
        Self { permits: Semaphore::new(room), room }
    }

    /// Waits until there is room for `bytes`, or if there never can be, for nothing else; it is given back when the
    /// permit is dropped.
    pub(crate) async fn take(&self, bytes: u64) -> Option<SemaphorePermit<'_>> {
        let wanted = kibibytes(bytes).clamp(1, self.room);
        // Nobody closes the semaphore.
        self.permits.acquire_many(u32::try_from(wanted).unwrap_or(u32::MAX)).await.ok()
    }
}

fn kibibytes(bytes: u64) -> usize {
    usize::try_from(bytes / 1024).unwrap_or(usize::MAX)
}
