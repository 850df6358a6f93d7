//! The reader of the stream: one task of a process.
//!
//! ```text
//! connect ─► own pending messages, then: new messages ─► purge ─► XACK ─┐
//!    ▲           ▲                          ▲                           │
//!    │           └─ unconfirmed, taken over ┴───────────────────────────┘
//!    └─ after a pause, if Redis fails or does not accept a purge
//! ```
//!
//! Redis delivers a message to one node, which acknowledges it after all nodes have confirmed the
//! purge. Without the confirmation the message stays pending, and the node repeats the purge for as
//! long as a node may be registered and serve alone. After `PURGE_STREAM_IDLE` another node takes
//! the messages of a dead one.
//!
//! New messages go first: while purges are unconfirmed, a pass over the pending messages takes one
//! batch at a time between two reads of new ones. If Redis does not accept a purge, the reader
//! reads nothing new until it does, so that the messages wait in the stream.
//!
//! A batch whose reply is too large is pending then, since Redis has delivered it. The reader
//! connects again and takes the pending messages one by one; one that is too large by itself is set
//! aside by its identifier, unread.

use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::batch::{MessageBatch, SetAside};
use super::group::ConsumerGroup;
use super::metrics::{MessageResult, Metrics, RepeatCause};
use super::options::Options;
use super::set_aside_log::{OmittedMessages, SetAsideLog};
use super::unconfirmed::UnconfirmedMessages;
use crate::limits::{
    PURGE_STREAM_BATCH, PURGE_STREAM_BLOCK, PURGE_STREAM_LEAVE_TIMEOUT, PURGE_STREAM_PAUSE_MAX,
    PURGE_STREAM_PAUSE_MIN, PURGE_STREAM_REPEAT_BATCH, PURGE_STREAM_REPEAT_MAX, PURGE_STREAM_REPEAT_MIN,
    PURGE_STREAM_UPKEEP,
};
use crate::proxy::Proxy;
use crate::purge::PurgeOutcome;
use crate::redis::stream::{StreamId, StreamMessage};
use crate::redis::{BlockingError, Client};
use crate::store::Store;
use crate::telemetry::Registry;
use crate::time::{instant, jittered};

/// Reads the stream and purges.
pub struct PurgeStreamReader {
    stream: Box<str>,
    /// The name of the consumer group, which is that of the namespace: the APIs that share a stream
    /// each get every message.
    group: Box<str>,
    consumer: String,
    redis: Client,
    state: PurgeStreamState,
}

/// The state of the reader besides its connection.
struct PurgeStreamState {
    proxy: Rc<Proxy>,
    metrics: Metrics,
    unconfirmed: UnconfirmedMessages,
    /// The pass over the own pending messages, if one is under way.
    pass: Option<PendingPass>,
    /// The time at which unconfirmed purges are repeated.
    repeat_at: Option<Instant>,
    /// The pause after the next interruption.
    pause: Duration,
    /// The last interruption in the log, until the reader reads again.
    logged: Option<Interruption>,
    set_aside_log: SetAsideLog,
    /// Whether the group has had this consumer.
    has_joined: bool,
}

/// A pass over the messages that this node has not acknowledged.
struct PendingPass {
    /// The number of batches so far.
    batches: u32,
    /// The last message so far.
    after: StreamId,
    step: PassStep,
}

/// The next read of a pass.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PassStep {
    Batch,
    /// One message, since a batch was too large.
    One,
    /// None: one message was too large, and is set aside.
    SetAside,
}

/// The reason why the reader connects again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Interruption {
    #[error(transparent)]
    Redis(#[from] BlockingError),
    #[error("Redis did not accept a purge")]
    NotAccepted,
}

/// The end of a session without an interruption.
struct Stopped;

/// The beginning of the shutdown.
struct Stop<F>(Pin<Box<F>>);

impl<F: Future<Output = ()>> Stop<F> {
    /// Returns the result of `work`, unless the shutdown begins first.
    async fn unless<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Stopped> {
        tokio::select! {
            biased;
            () = &mut self.0 => Err(Stopped),
            done = work => Ok(done),
        }
    }
}

impl PurgeStreamReader {
    /// Creates the reader of one process. `None` without Redis.
    pub fn new(options: Options, store: &Store, proxy: Rc<Proxy>, registry: &Registry) -> Option<Self> {
        let state = PurgeStreamState {
            proxy,
            metrics: Metrics::new(registry),
            unconfirmed: UnconfirmedMessages::new(store.registration_lifetime()),
            pass: None,
            repeat_at: None,
            pause: PURGE_STREAM_PAUSE_MIN,
            logged: None,
            set_aside_log: SetAsideLog::default(),
            has_joined: false,
        };
        let (redis, consumer) = (store.redis_client()?, store.node_label());
        let group = store.namespace().as_str().trim_end_matches(':').into();
        Some(Self { stream: options.stream, group, consumer, redis, state })
    }

    /// Reads until the shutdown begins, finishes the batch under way, and leaves the group.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) {
        let mut stop = Stop(Box::pin(shutdown));
        loop {
            let why = match self.session(&mut stop).await {
                Ok(Stopped) => break,
                Err(why) => why,
            };
            let pause = self.interrupted(why);
            if stop.unless(sleep(pause)).await.is_err() {
                break;
            }
        }
        if self.state.has_joined && timeout(PURGE_STREAM_LEAVE_TIMEOUT, self.leave()).await.is_err() {
            debug!("this node leaves messages of the purge stream to another one");
        }
        log_omitted(self.state.set_aside_log.end());
    }

    /// Reads over one connection.
    async fn session<F: Future<Output = ()>>(&mut self, stop: &mut Stop<F>) -> Result<Stopped, Interruption> {
        let Self { stream, group: name, consumer, redis, state } = self;
        let opened = match stop.unless(ConsumerGroup::open(redis, (stream, name), consumer)).await {
            Ok(opened) => opened,
            Err(stopped) => return Ok(stopped),
        };
        let mut group = opened?;
        if !state.has_joined {
            state.has_joined = true;
            info!(stream = &**stream, consumer, "reading the purge stream");
            if let Err(why) = group.remove_dead().await {
                debug!(%why, "the consumers of dead nodes stay in the group of the purge stream");
                // A refusal leaves the connection usable; after any other error it is not.
                group = ConsumerGroup::open(redis, (stream, name), consumer).await?;
            }
        }
        // Messages that this node got, and has not acknowledged, when a connection ended.
        if state.pass.is_none() {
            state.begin_pass(PassStep::Batch);
        }
        let mut upkeep_at = instant();
        loop {
            if instant() >= upkeep_at {
                state.upkeep(&mut group).await?;
                upkeep_at = instant() + jittered(PURGE_STREAM_UPKEEP);
            }
            if state.repeat_at.is_some_and(|at| instant() >= at) {
                state.restart_pass();
            }
            state.pass_batch(&mut group).await?;
            let block = state.pass.is_none().then(|| {
                let next = state.repeat_at.map_or(upkeep_at, |at| at.min(upkeep_at));
                next.saturating_duration_since(instant()).min(PURGE_STREAM_BLOCK)
            });
            let read = match stop.unless(group.read_new(PURGE_STREAM_BATCH, block)).await {
                Ok(read) => read,
                Err(stopped) => return Ok(stopped),
            };
            let messages = read.inspect_err(|why| {
                if *why == BlockingError::TooLarge {
                    state.begin_pass(PassStep::One);
                }
            })?;
            state.recovered();
            state.purge(messages, &mut group).await?;
        }
    }

    /// Counts and logs an interruption; returns the pause before the next session.
    fn interrupted(&mut self, why: Interruption) -> Duration {
        let state = &mut self.state;
        match why {
            // Redis works; the pass goes on message by message.
            Interruption::Redis(BlockingError::TooLarge) => return PURGE_STREAM_PAUSE_MIN,
            Interruption::Redis(BlockingError::Command(why)) => self.redis.suspect(why),
            Interruption::NotAccepted => {}
        }
        // The next one begins with the first message, whose purge may have failed.
        state.pass = None;
        state.metrics.interrupted();
        state.log_interruption(why, &self.stream);
        let pause = state.pause;
        state.pause = (pause * 2).min(PURGE_STREAM_PAUSE_MAX);
        jittered(pause)
    }

    /// Purges what Redis delivered while the connection closed, and removes this consumer.
    async fn leave(&mut self) {
        let Self { stream, group: name, consumer, redis, state } = self;
        let left = async {
            let mut group = ConsumerGroup::open(redis, (stream, name), consumer).await?;
            let mut messages = group.read_pending(PURGE_STREAM_BATCH, StreamId::ZERO).await?;
            messages.retain(|message| !state.unconfirmed.contains(message.id));
            state.purge(messages, &mut group).await?;
            group.leave().await.map_err(Interruption::from)
        };
        if let Err(why) = left.await {
            debug!(%why, "this consumer stays in the group of the purge stream");
        }
    }
}

impl PurgeStreamState {
    fn begin_pass(&mut self, step: PassStep) {
        self.repeat_at = None;
        self.unconfirmed.begin_pass();
        self.pass = Some(PendingPass { batches: 0, after: StreamId::ZERO, step });
    }

    /// Begins a pass; one that goes message by message begins again in this way.
    fn restart_pass(&mut self) {
        match self.pass.as_ref().map(|pass| pass.step) {
            None | Some(PassStep::Batch) => self.begin_pass(PassStep::Batch),
            Some(PassStep::One | PassStep::SetAside) => self.begin_pass(PassStep::One),
        }
    }

    /// Purges one batch of the pass over the own pending messages, if one is under way.
    async fn pass_batch(&mut self, group: &mut ConsumerGroup<'_>) -> Result<(), Interruption> {
        let Some(pass) = &mut self.pass else { return Ok(()) };
        let count = match pass.step {
            PassStep::Batch => PURGE_STREAM_BATCH,
            PassStep::One => 1,
            PassStep::SetAside => {
                let first = group.first_pending(pass.after).await?;
                pass.step = PassStep::One;
                if let Some(id) = first {
                    pass.after = id;
                    return self.set_aside(vec![SetAside::oversized(id)], group).await;
                }
                1
            }
        };
        let read = group.read_pending(count, pass.after).await;
        let messages = read.inspect_err(|why| {
            if *why == BlockingError::TooLarge {
                pass.step = if count == 1 { PassStep::SetAside } else { PassStep::One };
            }
        })?;
        let Some(last) = messages.last().map(|message| message.id) else {
            let pause = PURGE_STREAM_REPEAT_MIN + PURGE_STREAM_REPEAT_BATCH.saturating_mul(pass.batches);
            let pause = pause.min(PURGE_STREAM_REPEAT_MAX);
            self.pass = None;
            self.unconfirmed.end_pass();
            self.repeat_at = (!self.unconfirmed.is_empty()).then(|| instant() + pause);
            return Ok(());
        };
        pass.after = last;
        pass.batches = pass.batches.saturating_add(1);
        self.purge(messages, group).await
    }

    /// Purges a batch, and acknowledges its messages as far as they are done.
    async fn purge(
        &mut self,
        messages: Vec<StreamMessage>,
        group: &mut ConsumerGroup<'_>,
    ) -> Result<(), Interruption> {
        let proxy = Rc::clone(&self.proxy);
        let MessageBatch { purges, set_aside } = MessageBatch::of(messages, |target| proxy.reaches(target));
        self.set_aside(set_aside, group).await?;
        for merged in purges {
            let result = self.proxy.purge(&merged.order).await;
            let outcome = PurgeOutcome::of(&result);
            let (items, messages) = (merged.order.named.len(), merged.ids.len());
            debug!(%outcome, items, messages, strength = ?merged.order.strength, "purged by the stream");
            match outcome {
                PurgeOutcome::Everywhere => {
                    group.acknowledge(&merged.ids).await?;
                    self.unconfirmed.remove(&merged.ids);
                    self.metrics.acknowledged(MessageResult::Confirmed, messages);
                }
                PurgeOutcome::NotEverywhere => {
                    let over = self.unconfirmed.record(&merged.ids, instant());
                    self.metrics.repeated(RepeatCause::Unconfirmed, messages.saturating_sub(over.len()));
                    self.give_up(&over, group).await?;
                    if self.pass.is_none() && !self.unconfirmed.is_empty() {
                        self.repeat_at.get_or_insert_with(|| instant() + PURGE_STREAM_REPEAT_MIN);
                    }
                }
                PurgeOutcome::Unavailable | PurgeOutcome::Failed => {
                    self.metrics.repeated(RepeatCause::Unavailable, messages);
                    return Err(Interruption::NotAccepted);
                }
            }
        }
        Ok(())
    }

    /// Acknowledges messages whose purge is in Redis, and which are not repeated any more.
    async fn give_up(&self, ids: &[StreamId], group: &mut ConsumerGroup<'_>) -> Result<(), Interruption> {
        group.acknowledge(ids).await?;
        if let Some(first) = ids.first() {
            warn!(%first, messages = ids.len(), "some node has confirmed no purge of these messages");
            self.metrics.acknowledged(MessageResult::Unconfirmed, ids.len());
        }
        Ok(())
    }

    /// Acknowledges messages that are no purge orders.
    async fn set_aside(
        &mut self,
        messages: Vec<SetAside>,
        group: &mut ConsumerGroup<'_>,
    ) -> Result<(), Interruption> {
        let ids: Vec<_> = messages.iter().map(|message| message.id).collect();
        group.acknowledge(&ids).await?;
        for SetAside { id, result, reason } in messages {
            self.metrics.acknowledged(result, 1);
            let now = instant();
            log_omitted(self.set_aside_log.end_period(now));
            if self.set_aside_log.admits(id, now) {
                warn!(%id, %result, reason, "set aside a message of the purge stream");
            }
        }
        Ok(())
    }

    /// Shows the state of the group, and takes over the messages of dead nodes.
    async fn upkeep(&mut self, group: &mut ConsumerGroup<'_>) -> Result<(), Interruption> {
        log_omitted(self.set_aside_log.end_period(instant()));
        let Some(state) = group.state().await? else { return Ok(()) };
        self.metrics.show(state);
        if state.pending == 0 {
            return Ok(());
        }
        let taken = group.take_over().await?;
        if taken > 0 {
            info!(messages = taken, "took over messages of the purge stream from another node");
            self.metrics.taken_over(taken);
            self.restart_pass();
        }
        Ok(())
    }

    fn log_interruption(&mut self, why: Interruption, stream: &str) {
        if self.logged.replace(why) == Some(why) {
            debug!(%why, "the purge stream is still interrupted");
        } else {
            warn!(%why, stream, "reading the purge stream was interrupted; trying again");
        }
    }

    /// Notes that the reader reads.
    fn recovered(&mut self) {
        self.pause = PURGE_STREAM_PAUSE_MIN;
        if self.logged.take().is_some() {
            info!("reading the purge stream again");
        }
    }
}

/// Logs the messages that were set aside without a line of their own.
fn log_omitted(omitted: Option<OmittedMessages>) {
    if let Some(OmittedMessages { first, last, count }) = omitted {
        warn!(%first, %last, messages = count, "set aside further messages of the purge stream");
    }
}
