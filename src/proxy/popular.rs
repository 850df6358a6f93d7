//! The most requested paths, counted only while an operator reads them.
//!
//! A path may identify an account, so no path is kept unless an operator asks: the first read
//! starts the counting, and all counts are dropped some time after the last read. Queries are never
//! recorded, because they carry tokens.
//!
//! While counting is off, a request costs one relaxed load. While it is on, one request in
//! [`TOP_SAMPLED`] tries to take a lock, and no request waits for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Instant;

use crate::limits::{TOP_PATH_BYTES_MAX, TOP_PATHS_COUNTED, TOP_SAMPLED, TOP_WATCHED};
use crate::telemetry::HeavyHitters;
use crate::time::{self, millis};

/// The path counts of one process.
pub(super) struct PopularPaths {
    /// The origin of `watched_until`.
    begun: Instant,
    /// The end of counting, in milliseconds since `begun`; zero while counting is off.
    watched_until: AtomicU64,
    paths: Mutex<HeavyHitters<String>>,
}

impl PopularPaths {
    pub(super) fn new() -> Self {
        Self {
            begun: time::instant(),
            watched_until: AtomicU64::new(0),
            paths: Mutex::new(HeavyHitters::new(TOP_PATHS_COUNTED)),
        }
    }

    /// Counts a request for `path`, with sampling.
    pub(super) fn record(&self, path: &str) {
        let until = self.watched_until.load(Ordering::Relaxed);
        if until != 0 && fastrand::u64(..TOP_SAMPLED) == 0 {
            self.count(path, until, time::instant());
        }
    }

    /// Returns the most requested paths since counting began, with approximate counts, and extends
    /// the counting.
    pub(super) fn top(&self, count: usize) -> Vec<(String, u64)> {
        let until = time::instant().duration_since(self.begun) + TOP_WATCHED;
        let mut paths = self.paths();
        if self.is_over(time::instant()) {
            paths.clear();
        }
        self.watched_until.store(millis(until).max(1), Ordering::Relaxed);
        paths.top(count).map(|(path, count)| (path.clone(), count)).collect()
    }

    fn count(&self, path: &str, until: u64, now: Instant) {
        let mut paths = match self.paths.try_lock() {
            Ok(paths) => paths,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        if self.is_over(now) {
            paths.clear();
            // A concurrent read may have extended the counting; the exchange then fails.
            let _ = self.watched_until.compare_exchange(until, 0, Ordering::Relaxed, Ordering::Relaxed);
        } else {
            paths.see(shown(path), TOP_SAMPLED);
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        millis(now.saturating_duration_since(self.begun)) > self.watched_until.load(Ordering::Relaxed)
    }

    fn paths(&self) -> MutexGuard<'_, HeavyHitters<String>> {
        // A panic between two changes leaves at most a wrong count.
        self.paths.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the part of a path that is kept: a prefix that ends at a character boundary.
fn shown(path: &str) -> &str {
    let end = (0..=TOP_PATH_BYTES_MAX.min(path.len())).rev().find(|&end| path.is_char_boundary(end));
    end.and_then(|end| path.get(..end)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn request(popular: &PopularPaths, path: &str, times: u64) {
        (0..times * TOP_SAMPLED).for_each(|_| popular.record(path));
    }

    #[test]
    fn no_path_is_counted_while_counting_is_off() {
        let popular = PopularPaths::new();
        request(&popular, "/secret", 100);
        assert_eq!(popular.top(10), []);
        request(&popular, "/a", 500);
        request(&popular, "/b", 100);
        let top = popular.top(1);
        assert_eq!(top[0].0, "/a");
        assert!((2_000..6_000).contains(&top[0].1), "about 4,000: {}", top[0].1);
        assert_eq!(popular.top(10).len(), 2);
    }

    #[test]
    fn counts_are_dropped_after_counting_ends() {
        let popular = PopularPaths::new();
        popular.top(1);
        request(&popular, "/a", 100);
        let until = popular.watched_until.load(Ordering::Relaxed);
        let later = popular.begun + Duration::from_millis(until + 1);
        popular.count("/b", until, later);
        assert_eq!(popular.watched_until.load(Ordering::Relaxed), 0);
        assert!(popular.paths().is_empty());
    }

    #[test]
    fn long_paths_are_cut_at_a_character_boundary() {
        assert_eq!(shown("/a"), "/a");
        let long = "é".repeat(TOP_PATH_BYTES_MAX);
        assert_eq!(shown(&format!("/{long}")).len(), TOP_PATH_BYTES_MAX - 1);
    }
}
