//! Does Redis answer? Asked at most once a second by a whole process.
//!
//! A flood of health checks must not become a flood of PINGs, and no check may wait on another's
//! probe. One atomic word holds the last answer and when it was asked for; whoever finds it old
//! takes the turn by moving the time, asks, and writes the answer, while all others are told the
//! answer that stands.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::limits::{HEALTH_REMEMBERED, HEALTH_TIMEOUT};
use crate::redis::Client;
use crate::time::millis;

crate::labels! {
    /// What `/health` says of Redis.
    pub enum RedisHealth {
        /// It answers.
        Connected => "connected",
        /// It does not; the proxy serves without it.
        Disconnected => "disconnected",
        /// `redis_url=off`.
        Off => "off",
    }
}

impl RedisHealth {
    /// What a health check is told. `status` is `ok` while requests can be served, and without
    /// Redis they can.
    pub const fn document(self) -> &'static str {
        match self {
            Self::Connected => r#"{"status":"ok","redis":"connected"}"#,
            Self::Disconnected => r#"{"status":"ok","redis":"disconnected"}"#,
            Self::Off => r#"{"status":"ok","redis":"off"}"#,
        }
    }
}

/// The last answer, for all workers.
#[derive(Default)]
pub(super) struct CachedHealth {
    /// What times are counted from.
    begin: OnceLock<Instant>,
    /// When the last probe was sent, in milliseconds above the three flags below; zero before the
    /// first.
    word: AtomicU64,
}

/// A probe has been sent.
const ASKED: u64 = 0b001;
/// A probe has ended.
const KNOWN: u64 = 0b010;
/// The last one that ended was answered.
const ANSWERED: u64 = 0b100;
const TIME_SHIFT: u32 = 3;

impl CachedHealth {
    /// The remembered answer, or a fresh one if this caller's turn has come.
    pub(super) async fn probe(&self, redis: &Client, now: Instant) -> RedisHealth {
        if !self.take_turn(now) {
            return self.last(redis);
        }
        let answer = tokio::time::timeout(HEALTH_TIMEOUT, redis.ping()).await;
        let answered = matches!(answer, Ok(Ok(())));
        self.answer(answered);
        Self::health(answered)
    }

    /// Whether the last probe is old and this caller is the one to repeat it.
    fn take_turn(&self, now: Instant) -> bool {
        let begin = *self.begin.get_or_init(|| now);
        let now = millis(now.saturating_duration_since(begin));
        let word = self.word.load(Ordering::Relaxed);
        let asked = word & ASKED != 0;
        let age = now.saturating_sub(word >> TIME_SHIFT);
        if asked && age < millis(HEALTH_REMEMBERED) {
            return false;
        }
        let taken = (now << TIME_SHIFT) | ASKED | (word & (KNOWN | ANSWERED));
        self.word.compare_exchange(word, taken, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    fn answer(&self, answered: bool) {
        if !answered {
            self.word.fetch_and(!ANSWERED, Ordering::Relaxed);
        }
        self.word.fetch_or(if answered { KNOWN | ANSWERED } else { KNOWN }, Ordering::Relaxed);
    }

    /// The answer that stands. While the very first probe is under way, what the pool knows of its
    /// sockets.
    fn last(&self, redis: &Client) -> RedisHealth {
        Self::health(self.known().unwrap_or_else(|| redis.is_connected()))
    }

    fn known(&self) -> Option<bool> {
        let word = self.word.load(Ordering::Relaxed);
        (word & KNOWN != 0).then_some(word & ANSWERED != 0)
    }

    fn health(answered: bool) -> RedisHealth {
        if answered { RedisHealth::Connected } else { RedisHealth::Disconnected }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time;
    use std::time::Duration;

    #[test]
    fn one_probe_a_second() {
        let remembered = CachedHealth::default();
        let start = time::instant();
        assert!(remembered.take_turn(start));
        assert!(!remembered.take_turn(start));
        assert!(!remembered.take_turn(start + HEALTH_REMEMBERED - Duration::from_millis(1)));
        assert!(remembered.take_turn(start + HEALTH_REMEMBERED));
        assert!(!remembered.take_turn(start + HEALTH_REMEMBERED));
    }

    #[test]
    fn the_last_answer_stands_until_the_next() {
        let remembered = CachedHealth::default();
        let start = time::instant();
        assert!(remembered.take_turn(start));
        assert_eq!(remembered.known(), None);
        remembered.answer(true);
        assert_eq!(remembered.known(), Some(true));
        assert!(remembered.take_turn(start + HEALTH_REMEMBERED));
        assert_eq!(remembered.known(), Some(true));
        remembered.answer(false);
        assert_eq!(remembered.known(), Some(false));
    }
}
