//! Deadlines, circuit breaker and hedges on a paused clock: the times are exact.

use std::time::Duration;

use bytes::Bytes;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::sleep;

use super::model::{RedisModel, ServerBehaviour, TICK, TIMEOUT, on_paused_clock};
use crate::limits::{REDIS_BREAKER_REST_MAX, REDIS_HEDGE_DELAY_MIN, REDIS_SILENCE_MIN};
use crate::redis::{BreakerState, CommandError, ConnectionStatus, Lane, RedisPool};
use crate::telemetry::Registry;
use crate::time::instant;

const TTL: Duration = Duration::from_secs(60);

type TimedRead = (Result<Option<Bytes>, CommandError>, Duration);

/// A read, and its duration.
async fn timed(pool: &RedisPool, key: &str) -> TimedRead {
    let start = instant();
    let got = pool.get(key.as_bytes()).await;
    (got, (instant() - start))
}

/// Sends enough reads for a latency estimate.
async fn warm(pool: &RedisPool) {
    pool.set(b"k", "k".into(), TTL).await.unwrap();
    for _ in 0..200 {
        assert_eq!(pool.get(b"k").await, Ok(Some("k".into())));
    }
}

fn metric(registry: &Registry, name: &str) -> usize {
    let name = format!("cachewarp_redis_{name} ");
    let text = registry.render();
    text.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
}

/// Starts concurrent callers.
fn crowd(pool: &RedisPool, callers: usize) -> Vec<JoinHandle<TimedRead>> {
    let one = |pool: RedisPool| async move { timed(&pool, "k").await };
    (0..callers).map(|_| spawn_local(one(pool.clone()))).collect()
}

#[test]
fn a_stall_costs_a_read_less_than_a_write() {
    on_paused_clock(async {
        let model = RedisModel::new(1);
        let (pool, _) = model.pool(1, 0.0).await;
        // No estimate yet.
        model.set(|behaviour| behaviour.stalled = true);
        let (got, took) = timed(&pool, "k").await;
        assert_eq!(got, Err(CommandError::Timeout));
        assert!(took >= TIMEOUT && took <= TIMEOUT + TICK, "{took:?}");

        model.set(|behaviour| behaviour.stalled = false);
        warm(&pool).await;
        model.set(|behaviour| behaviour.stalled = true);
        let (got, took) = timed(&pool, "k").await;
        assert_eq!(got, Err(CommandError::Timeout));
        assert!(took >= REDIS_SILENCE_MIN && took <= REDIS_SILENCE_MIN + TICK, "{took:?}");
        let start = instant();
        assert_eq!(pool.set(b"k", "k".into(), TTL).await, Err(CommandError::Timeout));
        assert!((instant() - start) >= TIMEOUT && (instant() - start) <= TIMEOUT + TICK);
    });
}

#[test]
fn a_large_value_may_take_long_while_it_makes_progress() {
    on_paused_clock(async {
        let model = RedisModel::new(2);
        let (pool, _) = model.pool(2, 0.0).await;
        warm(&pool).await;
        let large = Bytes::from(vec![b'v'; 1 << 20]);
        pool.set(b"large", large.clone(), TTL).await.unwrap();
        // Each piece counts as progress.
        model.set(|behaviour| behaviour.trickle = Some((100_000, Duration::from_millis(3))));
        let (got, took) = timed(&pool, "large").await;
        assert_eq!(got, Ok(Some(large)));
        assert!(took > REDIS_SILENCE_MIN, "{took:?}");
        // Up to the command timeout.
        model.set(|behaviour| behaviour.trickle = Some((20_000, Duration::from_millis(3))));
        let (got, took) = timed(&pool, "large").await;
        assert_eq!(got, Err(CommandError::Timeout));
        assert!(took >= TIMEOUT && took <= TIMEOUT + TICK, "{took:?}");
    });
}

#[test]
fn deadlines_follow_a_slower_server_without_losing_connections() {
    on_paused_clock(async {
        let model = RedisModel::new(3);
        let (pool, registry) = model.pool(4, 0.0).await;
        warm(&pool).await;
        model.set(|behaviour| behaviour.usual = 30_000..31_000);
        let start = instant();
        while pool.get(b"k").await.is_err() {
            sleep(Duration::from_millis(1)).await;
        }
        assert!((instant() - start) < Duration::from_secs(1), "{:?}", (instant() - start));
        for _ in 0..100 {
            assert!(pool.get(b"k").await.is_ok());
        }
        assert!(metric(&registry, "late_replies_total") > 0, "it has learned from these");
        assert_eq!(metric(&registry, r#"connections_lost_total{reason="stalled"}"#), 0);
    });
}

#[test]
fn one_slow_reply_changes_nothing() {
    on_paused_clock(async {
        let model = RedisModel::new(4);
        let (pool, registry) = model.pool(2, 0.0).await;
        warm(&pool).await;
        model.set(|behaviour| behaviour.usual = 30_000..30_001);
        assert_eq!(pool.get(b"k").await, Err(CommandError::Timeout));
        model.set(|behaviour| behaviour.usual = 100..900);
        sleep(TIMEOUT).await;
        for _ in 0..100 {
            assert_eq!(pool.get(b"k").await, Ok(Some("k".into())));
        }
        model.set(|behaviour| behaviour.stalled = true);
        let (_, took) = timed(&pool, "k").await;
        assert!(took <= REDIS_SILENCE_MIN + TICK, "{took:?}");
        assert_eq!(metric(&registry, r#"breaker_opened_total{cause="silent"}"#), 0);
    });
}

#[test]
fn a_breaker_opens_costs_nothing_and_closes_by_one_probe() {
    on_paused_clock(async {
        let model = RedisModel::new(5);
        let (pool, registry) = model.pool(20, 0.0).await;
        warm(&pool).await;
        model.set(|behaviour| behaviour.stalled = true);
        // Each pending command waits for its deadline, once.
        for caller in crowd(&pool, 64) {
            let (got, took) = caller.await.unwrap();
            assert_eq!(got, Err(CommandError::Timeout));
            assert!(took <= REDIS_SILENCE_MIN + TICK, "{took:?}");
        }
        assert_eq!(metric(&registry, r#"breaker_opened_total{cause="silent"}"#), 1);
        assert_eq!(metric(&registry, r#"breakers{state="open"}"#), 1);
        let start = instant();
        for _ in 0..10_000 {
            assert_eq!(pool.get(b"k").await, Err(CommandError::BreakerOpen));
        }
        assert_eq!((instant() - start), Duration::ZERO);

        sleep(Duration::from_millis(500)).await;
        model.set(|behaviour| behaviour.stalled = false);
        let start = instant();
        // The late replies bring the probe forward, so that no caller waits for the end of a
        // back-off.
        while pool.get(b"k").await.is_err() {
            sleep(Duration::from_millis(1)).await;
        }
        assert!((instant() - start) <= TIMEOUT, "{:?}", (instant() - start));
        assert_eq!(metric(&registry, r#"breakers{state="closed"}"#), 1);
        // Back-offs of 25 ms, 50, 100, 200 and so on, each at least half, and the probe brought
        // forward.
        assert!((2..=8).contains(&model.executed("PING")), "{} probes", model.executed("PING"));
        assert_eq!(metric(&registry, r#"connections_lost_total{reason="stalled"}"#), 0);
    });
}

#[test]
fn a_loading_server_gets_probes_only() {
    on_paused_clock(async {
        let model = RedisModel::new(6);
        let (pool, registry) = model.pool(4, 0.0).await;
        warm(&pool).await;
        model.set(|behaviour| behaviour.loading = true);
        assert!(matches!(pool.get(b"k").await, Err(CommandError::Server(_))));
        let reads = model.executed("GET");
        let start = instant();
        while (instant() - start) < Duration::from_secs(10) {
            assert_eq!(pool.get(b"k").await, Err(CommandError::BreakerOpen));
            sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(model.executed("GET"), reads);
        assert!((15..=60).contains(&model.executed("PING")), "{} probes in 10 s", model.executed("PING"));
        model.set(|behaviour| behaviour.loading = false);
        sleep(REDIS_BREAKER_REST_MAX + TICK * 2).await;
        assert_eq!(pool.get(b"k").await, Ok(Some("k".into())));
        assert_eq!(metric(&registry, r#"breaker_opened_total{cause="loading"}"#), 1);
    });
}

#[test]
fn one_silent_connection_is_avoided_and_opens_no_breaker() {
    on_paused_clock(async {
        let model = RedisModel::new(7);
        let (pool, registry) = model.pool(4, 0.0).await;
        warm(&pool).await;
        model.set(|behaviour| behaviour.slow = Some((0, Duration::from_millis(400))));
        let mut missed = 0;
        for _ in 0..50 {
            for caller in crowd(&pool, 8) {
                missed += usize::from(caller.await.unwrap().0.is_err());
            }
        }
        assert_eq!(missed, 8, "those that were on it when it fell silent");
        assert_eq!(metric(&registry, r#"breaker_opened_total{cause="silent"}"#), 0);
    });
}

#[test]
fn a_late_read_is_hedged_and_the_first_reply_wins() {
    on_paused_clock(async {
        let model = RedisModel::new(8);
        let (pool, registry) = model.pool(4, 1.0).await;
        warm(&pool).await;
        let reads = model.executed("GET");
        model.set(|behaviour| behaviour.slow = Some((0, Duration::from_millis(30))));
        let (got, took) = timed(&pool, "k").await;
        assert_eq!(got, Ok(Some("k".into())));
        assert!(took >= REDIS_HEDGE_DELAY_MIN && took <= REDIS_HEDGE_DELAY_MIN + TICK * 2, "{took:?}");
        assert_eq!(metric(&registry, r#"hedges_total{result="won"}"#), 1);
        sleep(TIMEOUT).await;
        assert_eq!(model.executed("GET"), reads + 2);
        // The reply of the losing attempt was dropped in order.
        assert_eq!(metric(&registry, "late_replies_total"), 1);
        model.set(|behaviour| behaviour.slow = None);
        pool.set(b"other", "other".into(), TTL).await.unwrap();
        assert_eq!(pool.get(b"other").await, Ok(Some("other".into())));
        assert_eq!(metric(&registry, r#"connections_lost_total{reason="desynchronised"}"#), 0);
    });
}

#[test]
fn no_more_hedges_than_were_earned() {
    on_paused_clock(async {
        let model = RedisModel::new(9);
        let (pool, registry) = model.pool(8, 0.01).await;
        warm(&pool).await;
        // All connections are slow, so hedges do not help and the pool must not double the load.
        model.set(|behaviour| behaviour.usual = 4_000..4_900);
        let before = model.executed("GET");
        for _ in 0..20 {
            for caller in crowd(&pool, 16) {
                caller.await.unwrap().0.unwrap();
            }
        }
        sleep(TIMEOUT).await;
        let more = model.executed("GET") - before - 20 * 16;
        // Two from the two hundred reads before, three from these.
        assert!((1..=5).contains(&more), "{more} hedges");
        assert!(metric(&registry, r#"hedges_total{result="over-budget"}"#) > 0);
        let sent =
            ["won", "lost"].map(|result| metric(&registry, &format!("hedges_total{{result=\"{result}\"}}")));
        assert_eq!(sent.iter().sum::<usize>(), more);
    });
}

#[test]
fn both_attempts_together_end_with_the_first_deadline() {
    on_paused_clock(async {
        let model = RedisModel::new(10);
        let (pool, registry) = model.pool(4, 1.0).await;
        warm(&pool).await;
        model.set(|behaviour| behaviour.stalled = true);
        let (got, took) = timed(&pool, "k").await;
        assert_eq!(got, Err(CommandError::Timeout));
        assert!(took <= REDIS_HEDGE_DELAY_MIN + REDIS_SILENCE_MIN + TICK * 2, "{took:?}");
        assert_eq!(metric(&registry, r#"hedges_total{result="unused"}"#), 1);
    });
}

#[test]
fn a_panic_costs_the_connection_and_not_the_slot() {
    on_paused_clock(async {
        let model = RedisModel::new(11);
        model.set(|behaviour| behaviour.poisoned = true);
        let (pool, registry) = model.pool(1, 0.0).await;
        assert_eq!(pool.get(b"k").await, Err(CommandError::Closed));
        assert!(!pool.is_connected());
        model.set(|behaviour| behaviour.poisoned = false);
        while !pool.is_connected() {
            sleep(Duration::from_millis(1)).await;
        }
        warm(&pool).await;
        let text = registry.render();
        for line in ["cachewarp_panics_total 1", "cachewarp_redis_commands_in_flight 0"] {
            assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
        }
        assert_eq!(metric(&registry, r#"connections_lost_total{reason="panicked"}"#), 1);
        assert_eq!(metric(&registry, r#"connections{state="up"}"#), 1);
        pool.close().await;
    });
}

#[test]
fn a_snapshot_shows_each_connection() {
    on_paused_clock(async {
        let model = RedisModel::new(12);
        let (pool, _) = model.pool(5, 0.0).await;
        warm(&pool).await;
        model.set(|behaviour| behaviour.stalled = true);
        let callers = crowd(&pool, 3);
        sleep(Duration::from_millis(3)).await;
        let states = model.board().snapshot(instant());
        assert_eq!(
            states.iter().map(|state| state.lane).collect::<Vec<_>>(),
            [Lane::Reads, Lane::Reads, Lane::Reads, Lane::Reads, Lane::Bulk]
        );
        let first = &states[0];
        assert_eq!(
            (first.status, first.breaker, first.commands),
            (ConnectionStatus::Up, BreakerState::Closed, 3)
        );
        assert_eq!((first.server.as_str(), first.silence), ("unix://model", REDIS_SILENCE_MIN));
        assert_eq!(first.oldest, Some(Duration::from_millis(3)));
        assert!(first.received > 200 && first.sent > 200 && first.bytes > 0, "{first:?}");
        assert!(states[1..].iter().all(|state| state.commands == 0 && state.oldest.is_none()));
        model.set(|behaviour| behaviour.away = true);
        sleep(Duration::from_secs(1)).await;
        model.set(|behaviour| *behaviour = ServerBehaviour::default());
        for caller in callers {
            assert!(caller.await.unwrap().0.is_err());
        }
        sleep(Duration::from_secs(2)).await;
        assert!(
            model
                .board()
                .snapshot(instant())
                .iter()
                .all(|state| state.reconnects == 1 && state.status == ConnectionStatus::Up)
        );
        drop(pool);
    });
}
