//! How many requests are in flight at once: grows while that makes things faster, halves when the store asks for it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// Requests in flight at the beginning.
const FIRST: usize = 16;

/// Requests in flight at most, when nobody says how many.
const MOST: usize = 128;

/// How long throughput is watched before the limit is changed.
const WINDOW: Duration = Duration::from_millis(500);

/// By how much throughput must have grown for the limit to grow on: less is noise.
const GAIN_PERCENT: u64 = 5;

/// How long the limit stays where it is after the store asked for fewer requests.
const REST: Duration = Duration::from_secs(5);

/// Hands out the right to send a request.
#[derive(Debug)]
pub(super) struct Limiter {
    state: Mutex<State>,
    freed: Notify,
    /// The bound the user gave: then the limit only ever falls from it and rises back to it.
    most: usize,
    fixed: bool,
}

#[derive(Debug)]
struct State {
    limit: usize,
    in_use: usize,
    window_began: Duration,
    finished: u64,
    best_rate: u64,
    resting_until: Duration,
}

/// The right to send one request; gives it back when it is dropped.
#[derive(Debug)]
pub(super) struct Permit<'a>(&'a Limiter);

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.state().in_use -= 1;
        self.0.freed.notify_one();
    }
}

impl Limiter {
    /// Returns a limiter for `requests` at once, or one that finds out how many are best.
    pub(super) fn new(requests: Option<usize>) -> Self {
        let limit = requests.unwrap_or(FIRST).max(1);
        let state = State {
            limit,
            in_use: 0,
            window_began: Duration::ZERO,
            finished: 0,
            best_rate: 0,
            resting_until: Duration::ZERO,
        };
        let most = requests.unwrap_or(MOST).max(1);
        Self { state: Mutex::new(state), freed: Notify::new(), most, fixed: requests.is_some() }
    }

    /// Waits for the right to send a request.
    pub(super) async fn permit(&self) -> Permit<'_> {
        loop {
            let freed = self.freed.notified();
            if let Some(permit) = self.try_permit() {
                return permit;
            }
            freed.await;
        }
    }

    fn try_permit(&self) -> Option<Permit<'_>> {
        let mut state = self.state();
        (state.in_use < state.limit).then(|| {
            state.in_use += 1;
            Permit(self)
        })
    }

    /// Notes that a request was answered, at `now`.
    pub(super) fn answered(&self, now: Duration) {
        let mut state = self.state();
        state.finished += 1;
        let watched = now.saturating_sub(state.window_began);
        if watched < WINDOW {
            return;
        }
        let rate = state.finished * 1000 / u64::try_from(watched.as_millis()).unwrap_or(u64::MAX).max(1);
        let (was_busy, rested) = (state.in_use >= state.limit, now >= state.resting_until);
        let grew = rate * 100 > state.best_rate * (100 + GAIN_PERCENT);
        if rested && was_busy && (grew || self.fixed) {
            state.limit = (state.limit + state.limit.div_ceil(4)).min(self.most);
            self.freed.notify_waiters();
        }
        state.best_rate = state.best_rate.max(rate);
        state.window_began = now;
        state.finished = 0;
    }

    /// Notes that the store asked for fewer requests, at `now`. Many such answers at once count as one.
    pub(super) fn throttled(&self, now: Duration) {
        let mut state = self.state();
        if now + REST > state.resting_until + WINDOW {
            state.limit = (state.limit / 2).max(1);
            state.best_rate = 0;
        }
        state.resting_until = now + REST;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(limiter: &Limiter) -> usize {
        limiter.state().limit
    }

    /// Answers `count` requests in the next window while all permits are taken.
    fn busy_window(limiter: &Limiter, now: &mut Duration, count: u64) {
        let permits: Vec<_> = std::iter::from_fn(|| limiter.try_permit()).collect();
        for _ in 1..count {
            limiter.answered(*now);
        }
        *now += WINDOW;
        limiter.answered(*now);
        drop(permits);
    }

    #[test]
    fn the_limit_grows_while_throughput_does() {
        let limiter = Limiter::new(None);
        let mut now = Duration::ZERO;
        busy_window(&limiter, &mut now, 100);
        assert_eq!(limit(&limiter), 20);
        busy_window(&limiter, &mut now, 200);
        assert_eq!(limit(&limiter), 25);
        busy_window(&limiter, &mut now, 205);
        assert_eq!(limit(&limiter), 25, "5 % more is noise");
        for count in 3..30 {
            busy_window(&limiter, &mut now, 100 * count);
        }
        assert_eq!(limit(&limiter), MOST);
    }

    #[test]
    fn f20_a_store_that_is_busy_is_asked_half_as_often() {
        let limiter = Limiter::new(Some(64));
        let now = Duration::from_secs(100);
        for _ in 0..10 {
            limiter.throttled(now);
        }
        assert_eq!(limit(&limiter), 32, "one storm counts once");
        limiter.throttled(now + WINDOW * 2);
        assert_eq!(limit(&limiter), 16);
        for second in 2..100 {
            limiter.throttled(now + Duration::from_secs(second));
        }
        assert_eq!(limit(&limiter), 1);
        let mut later = now + Duration::from_secs(200);
        for _ in 0..30 {
            busy_window(&limiter, &mut later, 1);
        }
        assert_eq!(limit(&limiter), 64, "and rises back to what the user allows");
    }

    #[tokio::test]
    async fn no_more_than_the_limit_are_in_flight() {
        let limiter = Limiter::new(Some(2));
        let first = limiter.permit().await;
        let second = limiter.permit().await;
        assert!(limiter.try_permit().is_none());
        drop(first);
        let third = limiter.permit().await;
        assert!(limiter.try_permit().is_none());
        drop((second, third));
    }
}
