//! The Redis part of `/health`: one probe a second for a whole process.
//!
//! A flood of health checks must not become a flood of PINGs, and no check waits for another's
//! probe. One atomic word has the last result and the time of the last probe. If that time is too
//! long ago, the caller that finds it so sets it to now, sends a PING and stores the result.
//! Meanwhile every other caller gets the last result.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::limits::{HEALTH_REMEMBERED, HEALTH_TIMEOUT};
use crate::redis::{Client, CommandError, ErrorKind};
use crate::time::millis;

crate::labels! {
    /// The state of Redis in the answer to `/health`.
    pub enum RedisHealth {
        /// Redis answers.
        Connected => "connected",
        /// Redis answers, and refuses some of the work; the log has the command and the reason.
        Refusing => "refusing",
        /// Redis does not answer; the proxy serves without it.
        Disconnected => "disconnected",
        /// Redis is turned off: `redis_url=off`.
        Off => "off",
    }
}

impl RedisHealth {
    /// Returns the body of the answer. `status` is `ok` while the proxy can serve requests, and it
    /// can serve them without Redis.
    pub const fn document(self) -> &'static str {
        match self {
            Self::Connected => r#"{"status":"ok","redis":"connected"}"#,
            Self::Refusing => r#"{"status":"ok","redis":"refusing"}"#,
            Self::Disconnected => r#"{"status":"ok","redis":"disconnected"}"#,
            Self::Off => r#"{"status":"ok","redis":"off"}"#,
        }
    }
}

/// The result of the last probe, shared by all workers.
#[derive(Default)]
pub(super) struct CachedHealth {
    /// The instant from which times are counted.
    begin: OnceLock<Instant>,
    /// The time of the last probe in milliseconds, above the three flags below; zero before the
    /// first probe.
    packed: AtomicU64,
}

/// A worker has sent a probe.
const SENT: u64 = 0b001;
/// A probe has ended.
const ENDED: u64 = 0b010;
/// Redis answered the last probe that ended.
const ANSWERED: u64 = 0b100;
const TIME_SHIFT: u32 = 3;

impl CachedHealth {
    /// Sends a probe if the last one has expired and no other caller sends one, and returns its
    /// result; otherwise returns the last result.
    pub(super) async fn probe(&self, redis: &Client, now: Instant) -> RedisHealth {
        if !self.start_probe(now) {
            return self.last(redis);
        }
        let reply = tokio::time::timeout(HEALTH_TIMEOUT, redis.ping()).await;
        let answered = reply.is_ok_and(is_answer);
        self.record(answered);
        Self::health(answered, redis)
    }

    /// Reserves the next probe for this caller; returns `false` if the last probe is recent or
    /// another caller was first.
    fn start_probe(&self, now: Instant) -> bool {
        let begin = *self.begin.get_or_init(|| now);
        let now = millis(now.saturating_duration_since(begin));
        let packed = self.packed.load(Ordering::Relaxed);
        let sent = packed & SENT != 0;
        let age = now.saturating_sub(packed >> TIME_SHIFT);
        if sent && age < millis(HEALTH_REMEMBERED) {
            return false;
        }
        let taken = (now << TIME_SHIFT) | SENT | (packed & (ENDED | ANSWERED));
        self.packed.compare_exchange(packed, taken, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    fn record(&self, answered: bool) {
        if !answered {
            self.packed.fetch_and(!ANSWERED, Ordering::Relaxed);
        }
        self.packed.fetch_or(if answered { ENDED | ANSWERED } else { ENDED }, Ordering::Relaxed);
    }

    /// Returns the last result. While the very first probe is under way, the pool's connection
    /// state replaces it.
    fn last(&self, redis: &Client) -> RedisHealth {
        Self::health(self.known().unwrap_or_else(|| redis.is_connected()), redis)
    }

    fn known(&self) -> Option<bool> {
        let packed = self.packed.load(Ordering::Relaxed);
        (packed & ENDED != 0).then_some(packed & ANSWERED != 0)
    }

    fn health(answered: bool, redis: &Client) -> RedisHealth {
        match answered {
            true if redis.is_refusing() => RedisHealth::Refusing,
            true => RedisHealth::Connected,
            false => RedisHealth::Disconnected,
        }
    }
}

/// Returns whether this result of a `PING` shows that the server works. A user may lack the right
/// to send it.
fn is_answer(result: Result<(), CommandError>) -> bool {
    use ErrorKind::{NoPerm, UnknownCommand};
    matches!(result, Ok(()) | Err(CommandError::Server(NoPerm | UnknownCommand)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time;
    use std::time::Duration;

    #[test]
    fn sends_one_probe_a_second() {
        let cached = CachedHealth::default();
        let start = time::instant();
        assert!(cached.start_probe(start));
        assert!(!cached.start_probe(start));
        assert!(!cached.start_probe(start + HEALTH_REMEMBERED - Duration::from_millis(1)));
        assert!(cached.start_probe(start + HEALTH_REMEMBERED));
        assert!(!cached.start_probe(start + HEALTH_REMEMBERED));
    }

    #[test]
    fn keeps_the_last_result_until_the_next() {
        let cached = CachedHealth::default();
        let start = time::instant();
        assert!(cached.start_probe(start));
        assert_eq!(cached.known(), None);
        cached.record(true);
        assert_eq!(cached.known(), Some(true));
        assert!(cached.start_probe(start + HEALTH_REMEMBERED));
        assert_eq!(cached.known(), Some(true));
        cached.record(false);
        assert_eq!(cached.known(), Some(false));
    }
}
