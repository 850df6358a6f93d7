//! Topology refresh, for sentinels and clusters alike: its trigger, its epoch and its metrics.

use std::cell::Cell;
use std::fmt::Display;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::{sleep, sleep_until};

use super::error::CommandError;
use crate::labels;
use crate::limits::{REDIS_FAILOVER_GRACE, REDIS_TOPOLOGY_INTERVAL_MAX, REDIS_TOPOLOGY_INTERVAL_MIN};
use crate::resp::ErrorKind;
use crate::resp::topology::RedirectKind;
use crate::telemetry::{Counter, Counters, Registry};
use crate::time::{instant, jittered};

labels! {
    /// The result of a topology refresh.
    pub(super) enum RefreshResult {
        /// The servers are the same.
        Unchanged => "unchanged",
        /// The servers are different.
        Changed => "changed",
        /// No sentinel or node answered.
        Failed => "failed",
    }
}

/// The metrics of topology refreshes.
#[derive(Clone)]
pub(super) struct TopologyMetrics {
    inquiries: Counters<RefreshResult>,
    redirects: Counters<RedirectKind>,
    refusals: Counter,
}

impl TopologyMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            inquiries: registry.counters(
                "cachewarp_redis_topology_inquiries",
                "Topology refreshes from sentinels or the cluster, by result.",
                "result",
            ),
            redirects: registry.counters(
                "cachewarp_redis_redirects",
                "Commands that a cluster server redirected.",
                "kind",
            ),
            refusals: registry.counter(
                "cachewarp_redis_unrouted",
                "Commands not sent because no server was known; each is a miss.",
            ),
        }
    }

    pub(super) fn redirected(&self, way: RedirectKind) {
        self.redirects.inc(way);
    }

    /// Counts a command for which no server is known.
    pub(super) fn unrouted(&self) -> CommandError {
        self.refusals.inc();
        CommandError::NotConnected
    }
}

/// Decides when the topology is read again.
pub(super) struct RefreshTrigger {
    fired: Notify,
    /// The time of the last refresh.
    asked: Cell<Option<Instant>>,
    /// Whether the log has the current failure.
    is_logged: Cell<bool>,
    pub(super) metrics: TopologyMetrics,
}

impl RefreshTrigger {
    pub(super) fn new(metrics: TopologyMetrics) -> Self {
        Self { fired: Notify::new(), asked: Cell::new(None), is_logged: Cell::new(false), metrics }
    }

    /// Requests a refresh soon. Any number of requests cause one refresh.
    pub(super) fn fire(&self) {
        self.fired.notify_one();
    }

    /// Requests a refresh if this error hints at a topology change: the server is unreachable, or
    /// no longer the master.
    pub(super) fn fire_on(&self, why: CommandError) {
        match why {
            CommandError::NotConnected | CommandError::BreakerOpen | CommandError::Closed => self.fire(),
            CommandError::Server(kind) => {
                let other = [
                    ErrorKind::ReadOnly,
                    ErrorKind::MasterDown,
                    ErrorKind::Moved,
                    ErrorKind::TryAgain,
                    ErrorKind::ClusterDown,
                ];
                if other.contains(&kind) {
                    self.fire();
                }
            }
            CommandError::Full
            | CommandError::Timeout
            | CommandError::Desynchronised
            | CommandError::Malformed => {}
        }
    }

    /// Waits for the next refresh: at once the first time, later after a request, no more often
    /// than the minimum interval, and at the latest after the maximum interval.
    pub(super) async fn due(&self) {
        if let Some(asked) = self.asked.get() {
            tokio::select! {
                biased;
                () = self.fired.notified() => {}
                () = sleep(jittered(REDIS_TOPOLOGY_INTERVAL_MAX)) => {}
            }
            sleep_until((asked + jittered(REDIS_TOPOLOGY_INTERVAL_MIN * 2)).into()).await;
        }
        self.asked.set(Some(instant()));
    }

    /// Records a successful refresh.
    pub(super) fn succeeded(&self, inquiry: RefreshResult) {
        self.metrics.inquiries.inc(inquiry);
        self.is_logged.set(false);
    }

    /// Records a failed refresh and requests another. Logs one warning when failures begin, since
    /// every node fails for a reason of its own.
    pub(super) fn failed(&self, why: &impl Display) {
        self.metrics.inquiries.inc(RefreshResult::Failed);
        if self.is_logged.replace(true) {
            tracing::debug!(%why, "Redis topology refresh failed again");
        } else {
            tracing::warn!(%why, "Redis topology refresh failed; keeping the known servers");
        }
        self.fire();
    }
}

/// The version of the topology; every change of masters makes a new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopologyEpoch(pub(super) u64);

/// Polls all futures concurrently and returns their results.
///
/// Cancel safe if each of them is.
pub(super) async fn at_once<T>(questions: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut waiting: Vec<_> = questions.map(Box::pin).collect();
    let mut answers = Vec::with_capacity(waiting.len());
    std::future::poll_fn(|cx| {
        waiting.retain_mut(|question| match question.as_mut().poll(cx) {
            Poll::Ready(answer) => {
                answers.push(answer);
                false
            }
            Poll::Pending => true,
        });
        if waiting.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    answers
}

/// Returns how long other clients may still need to notice a change that this one noticed at
/// `changed`.
pub(super) fn failover_grace(changed: Option<Instant>) -> Duration {
    changed.map_or(Duration::ZERO, |changed| {
        REDIS_FAILOVER_GRACE.saturating_sub(instant().saturating_duration_since(changed))
    })
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use tokio::task::{LocalSet, spawn_local};
    use tokio::time::Instant;

    use super::*;

    /// Timers count in whole milliseconds.
    const SLACK: Duration = Duration::from_millis(20);

    /// Runs on a paused clock, which jumps to the next timer.
    fn on_a_paused_clock(work: impl Future<Output = ()>) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        LocalSet::new().block_on(&runtime, work);
    }

    #[test]
    fn many_requests_cause_few_refreshes() {
        on_a_paused_clock(async {
            let trigger = Rc::new(RefreshTrigger::new(TopologyMetrics::new(&Registry::new())));
            let begun = Instant::now();
            let storm = spawn_local({
                let trigger = Rc::clone(&trigger);
                async move {
                    loop {
                        trigger.fire_on(CommandError::Server(ErrorKind::Moved));
                        sleep(Duration::from_millis(1)).await;
                    }
                }
            });
            for _ in 0..=4 {
                trigger.due().await;
            }
            storm.abort();
            let (elapsed, least) = (begun.elapsed(), 4 * REDIS_TOPOLOGY_INTERVAL_MIN);
            assert!(elapsed >= least && elapsed <= 2 * least + SLACK, "{elapsed:?}");
        });
    }

    #[test]
    fn without_requests_refreshes_are_rare() {
        on_a_paused_clock(async {
            let trigger = RefreshTrigger::new(TopologyMetrics::new(&Registry::new()));
            let begun = Instant::now();
            trigger.due().await;
            assert!(begun.elapsed() < REDIS_TOPOLOGY_INTERVAL_MIN, "at once for the first time");
            trigger.fire_on(CommandError::Timeout);
            trigger.due().await;
            let elapsed = begun.elapsed();
            assert!(
                elapsed >= REDIS_TOPOLOGY_INTERVAL_MAX / 2 && elapsed <= REDIS_TOPOLOGY_INTERVAL_MAX + SLACK
            );
        });
    }
}
