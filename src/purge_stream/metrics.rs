//! The metrics of the stream. They exist only if a node reads one.

use crate::labels;
use crate::redis::stream::GroupState;
use crate::telemetry::{Counter, Counters, Gauge, Registry};

labels! {
    /// The reason why a message was acknowledged.
    pub(super) enum MessageResult {
        /// Every node has confirmed its purge.
        Confirmed => "confirmed",
        /// Redis has its purge, and a node has not confirmed it for longer than a node may serve
        /// alone.
        Unconfirmed => "unconfirmed",
        /// It is no purge order.
        Malformed => "malformed",
        /// It is too large.
        Oversized => "oversized",
        /// The stream was trimmed before a node could read it.
        Deleted => "deleted",
    }
}

labels! {
    /// The reason why a message will be repeated.
    pub(super) enum RepeatCause {
        /// Some node has not confirmed its purge yet.
        Unconfirmed => "unconfirmed",
        /// Redis did not accept its purge.
        Unavailable => "unavailable",
    }
}

pub(super) struct Metrics {
    messages: Counters<MessageResult>,
    repeats: Counters<RepeatCause>,
    taken_over: Counter,
    interruptions: Counter,
    lag: Gauge,
    pending: Gauge,
}

impl Metrics {
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            messages: registry.counters(
                "cachewarp_purge_stream_messages",
                "Messages of the purge stream that this node acknowledged, by result",
                "result",
            ),
            repeats: registry.counters(
                "cachewarp_purge_stream_repeats",
                "Messages of the purge stream whose purge this node will repeat, by cause",
                "cause",
            ),
            taken_over: registry.counter(
                "cachewarp_purge_stream_takeovers",
                "Messages of the purge stream that this node took over from a dead node",
            ),
            interruptions: registry.counter(
                "cachewarp_purge_stream_interruptions",
                "Interruptions of reading the purge stream, after each of which this node tries again",
            ),
            lag: registry.gauge(
                "cachewarp_purge_stream_lag",
                "Messages of the purge stream that no node has read; -1 if Redis does not know",
            ),
            pending: registry.gauge(
                "cachewarp_purge_stream_pending",
                "Messages of the purge stream that nodes have read and not acknowledged",
            ),
        }
    }

    pub(super) fn acknowledged(&self, result: MessageResult, count: usize) {
        self.messages.add(result, count as u64);
    }

    pub(super) fn repeated(&self, cause: RepeatCause, count: usize) {
        self.repeats.add(cause, count as u64);
    }

    pub(super) fn taken_over(&self, count: usize) {
        self.taken_over.add(count as u64);
    }

    pub(super) fn interrupted(&self) {
        self.interruptions.inc();
    }

    pub(super) fn show(&self, state: GroupState) {
        let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.lag.set(state.lag.map_or(-1, gauge));
        self.pending.set(gauge(state.pending));
    }
}
