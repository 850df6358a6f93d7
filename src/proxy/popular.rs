//! Which paths are asked for most, while somebody looks.
//!
//! A path may tell whose account it is, so none is kept unless an operator wants to see them: the
//! first question begins the counting, and a while after the last one everything is forgotten. A
//! query is never looked at; it carries tokens.
//!
//! While nobody looks, this costs a request one relaxed load; while somebody does, one request in
//! [`TOP_SAMPLED`] takes a lock, and none waits for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Instant;

use crate::limits::{TOP_PATH_BYTES_MAX, TOP_PATHS_COUNTED, TOP_SAMPLED, TOP_WATCHED};
use crate::telemetry::HeavyHitters;
use crate::time::{self, millis};

/// The paths of one process.
pub(super) struct PopularPaths {
    /// What times are counted from.
    begun: Instant,
    /// Until when paths are counted, in milliseconds; zero while nobody looks.
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

    /// A request came for this path.
    pub(super) fn asked(&self, path: &str) {
        let until = self.watched_until.load(Ordering::Relaxed);
        if until != 0 && fastrand::u64(..TOP_SAMPLED) == 0 {
            self.count(path, until, time::instant());
        }
    }

    /// The paths asked for most since somebody began to look, with how often that about was. Goes
    /// on counting.
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
            // Unless somebody has begun to look again.
            let _ = self.watched_until.compare_exchange(until, 0, Ordering::Relaxed, Ordering::Relaxed);
        } else {
            paths.see(shown(path), TOP_SAMPLED);
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        millis(now.saturating_duration_since(self.begun)) > self.watched_until.load(Ordering::Relaxed)
    }

    fn paths(&self) -> MutexGuard<'_, HeavyHitters<String>> {
        // A panic between two of its changes leaves a count wrong, and nothing else.
        self.paths.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As much of a path as is kept: its beginning, up to a letter's end.
fn shown(path: &str) -> &str {
    let end = (0..=TOP_PATH_BYTES_MAX.min(path.len())).rev().find(|&end| path.is_char_boundary(end));
    end.and_then(|end| path.get(..end)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn ask(popular: &PopularPaths, path: &str, times: u64) {
        (0..times * TOP_SAMPLED).for_each(|_| popular.asked(path));
    }

    #[test]
    fn nothing_is_kept_while_nobody_looks() {
        let popular = PopularPaths::new();
        ask(&popular, "/secret", 100);
        assert_eq!(popular.top(10), []);
        ask(&popular, "/a", 500);
        ask(&popular, "/b", 100);
        let top = popular.top(1);
        assert_eq!(top[0].0, "/a");
        assert!((2_000..6_000).contains(&top[0].1), "about 4,000: {}", top[0].1);
        assert_eq!(popular.top(10).len(), 2);
    }

    #[test]
    fn everything_is_forgotten_when_nobody_looks_any_more() {
        let popular = PopularPaths::new();
        popular.top(1);
        ask(&popular, "/a", 100);
        let until = popular.watched_until.load(Ordering::Relaxed);
        let later = popular.begun + Duration::from_millis(until + 1);
        popular.count("/b", until, later);
        assert_eq!(popular.watched_until.load(Ordering::Relaxed), 0);
        assert!(popular.paths().is_empty());
    }

    #[test]
    fn a_long_path_is_cut_between_two_letters() {
        assert_eq!(shown("/a"), "/a");
        let long = "é".repeat(TOP_PATH_BYTES_MAX);
        assert_eq!(shown(&format!("/{long}")).len(), TOP_PATH_BYTES_MAX - 1);
    }
}
