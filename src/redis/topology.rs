//! What following several servers has in common, whichever way they hang together: when it is asked anew who they are,
//! and what an operator learns of it.

use std::cell::Cell;
use std::fmt::Display;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::{sleep, sleep_until};

use super::error::CommandError;
use crate::labels;
use crate::limits::{REDIS_CHANGE_SETTLES, REDIS_TOPOLOGY_INTERVAL_MAX, REDIS_TOPOLOGY_INTERVAL_MIN};
use crate::resp::ErrorKind;
use crate::resp::topology::RedirectKind;
use crate::telemetry::{Counter, Counters, Registry};
use crate::time::instant;

labels! {
    /// What came of asking who the servers are.
    pub(super) enum RefreshResult {
        /// They are who they were.
        Unchanged => "unchanged",
        /// They are others.
        Changed => "changed",
        /// Nobody could tell.
        Failed => "failed",
    }
}

/// What is counted.
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
                "Questions to sentinels or a cluster for who the servers are, by result.",
                "result",
            ),
            redirects: registry.counters(
                "cachewarp_redis_redirects",
                "Commands that a server of a cluster sent on to another one.",
                "kind",
            ),
            refusals: registry.counter(
                "cachewarp_redis_unrouted",
                "Commands that no server was known for: a miss, and not sent.",
            ),
        }
    }

    pub(super) fn redirected(&self, way: RedirectKind) {
        self.redirects.inc(way);
    }

    /// Nobody is known for a command.
    pub(super) fn unrouted(&self) -> CommandError {
        self.refusals.inc();
        CommandError::NotConnected
    }
}

/// Whether what is known of the servers is still to be believed.
pub(super) struct RefreshTrigger {
    fired: Notify,
    /// When it was last asked who they are.
    asked: Cell<Option<Instant>>,
    /// Whether the log was is_logged that nobody can tell.
    is_logged: Cell<bool>,
    pub(super) metrics: TopologyMetrics,
}

impl RefreshTrigger {
    pub(super) fn new(metrics: TopologyMetrics) -> Self {
        Self { fired: Notify::new(), asked: Cell::new(None), is_logged: Cell::new(false), metrics }
    }

    /// Has it be asked anew, soon. However many ask for it, it is asked once.
    pub(super) fn fire(&self) {
        self.fired.notify_one();
    }

    /// The same, if the end of a command gives reason for it: the server is away, or is not who it was.
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

    /// Until it is to be asked anew: at once for the first time; then when somebody doubts, but not more often than is
    /// good for whoever is asked; or when it has not been asked for long.
    pub(super) async fn due(&self) {
        if let Some(asked) = self.asked.get() {
            tokio::select! {
                () = self.fired.notified() => {}
                () = sleep(jittered(REDIS_TOPOLOGY_INTERVAL_MAX)) => {}
            }
            sleep_until((asked + jittered(REDIS_TOPOLOGY_INTERVAL_MIN * 2)).into()).await;
        }
        self.asked.set(Some(instant()));
    }

    /// It was found out.
    pub(super) fn succeeded(&self, inquiry: RefreshResult) {
        self.metrics.inquiries.inc(inquiry);
        self.is_logged.set(false);
    }

    /// It was not found out, and will be asked again. One line when it begins: each of those who are asked has its own
    /// reason not to know.
    pub(super) fn failed(&self, why: &impl Display) {
        self.metrics.inquiries.inc(RefreshResult::Failed);
        if self.is_logged.replace(true) {
            tracing::debug!(%why, "still cannot find out who serves Redis");
        } else {
            tracing::warn!(%why, "cannot find out who serves Redis; going on with what is known");
        }
        self.fire();
    }
}

/// Which servers there were: others are another era.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopologyEpoch(pub(super) u64);

/// Waits for all, which are asked at the same time.
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

/// How long it takes until everybody else has noticed a change that was noticed here at this moment.
pub(super) fn failover_grace(changed: Option<Instant>) -> Duration {
    changed.map_or(Duration::ZERO, |changed| {
        REDIS_CHANGE_SETTLES.saturating_sub(instant().saturating_duration_since(changed))
    })
}

/// Between the half of it and all of it, so that a fleet does not ask in step.
fn jittered(longest: Duration) -> Duration {
    longest.mul_f64(0.5 + fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use tokio::task::{LocalSet, spawn_local};
    use tokio::time::Instant;

    use super::*;

    /// Timers count in whole milliseconds.
    const SLACK: Duration = Duration::from_millis(20);

    /// On a clock that jumps to the next thing that is due.
    fn on_a_paused_clock(work: impl Future<Output = ()>) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        LocalSet::new().block_on(&runtime, work);
    }

    #[test]
    fn a_storm_of_doubts_is_a_question_now_and_then() {
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
    fn without_a_doubt_it_is_asked_now_and_then() {
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
