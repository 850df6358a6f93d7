//! The consumer group, over one connection.
//!
//! Messages of a dead node are taken over by `XPENDING` and `XCLAIM`, which Redis has since 5.0.
//! `XAUTOCLAIM` (6.2) also returns the messages, whose size it does not bound. `XCLAIM` with
//! `JUSTID` moves identifiers only, and the pending messages are read in one way for all.

use std::time::Duration;

use crate::limits::{
    PURGE_STREAM_CONSUMER_IDLE, PURGE_STREAM_IDLE, PURGE_STREAM_PENDING_LISTED,
    PURGE_STREAM_PENDING_LISTS_MAX, PURGE_STREAM_REPLY_TIMEOUT,
};
use crate::redis::stream::{
    GroupState, StreamCommand, StreamId, StreamMessage, claimed_ids, group_state, messages, pending_messages,
};
use crate::redis::{BlockingConnection, BlockingError, Client, CommandError, ErrorKind, Reply};

/// The script that removes consumers without messages.
const REMOVE_CONSUMERS: &str = include_str!("remove_consumers.lua");

/// The group as one consumer uses it.
pub(super) struct ConsumerGroup<'a> {
    connection: BlockingConnection,
    stream: &'a str,
    /// The name of the group: each API that reads the stream has its own, for all its nodes.
    group: &'a str,
    consumer: &'a str,
}

impl<'a> ConsumerGroup<'a> {
    /// Connects, and creates the stream and the group unless they exist. A new group begins with
    /// the first message of its stream.
    pub(super) async fn open(
        redis: &Client,
        (stream, name): (&'a str, &'a str),
        consumer: &'a str,
    ) -> Result<Self, BlockingError> {
        let connection = redis.connect_blocking(stream.as_bytes()).await?;
        let mut group = Self { connection, stream, group: name, consumer };
        match group.ask(&StreamCommand::CreateGroup { stream, group: name }).await {
            // The group exists.
            Ok(_) | Err(BlockingError::Command(CommandError::Server(ErrorKind::BusyGroup))) => Ok(group),
            Err(why) => Err(why),
        }
    }

    /// Returns messages that no consumer has got. Waits for `block` at most.
    pub(super) async fn read_new(
        &mut self,
        count: usize,
        block: Option<Duration>,
    ) -> Result<Vec<StreamMessage>, BlockingError> {
        let Self { connection, stream, group, consumer } = self;
        let command = StreamCommand::ReadNew { stream, group, consumer, count, block };
        let at_most = block.unwrap_or_default() + PURGE_STREAM_REPLY_TIMEOUT;
        Ok(messages(&connection.ask(&command, at_most).await?)?)
    }

    /// Returns messages behind `after` that this consumer has not acknowledged.
    pub(super) async fn read_pending(
        &mut self,
        count: usize,
        after: StreamId,
    ) -> Result<Vec<StreamMessage>, BlockingError> {
        let Self { stream, group, consumer, .. } = *self;
        let command = StreamCommand::ReadPending { stream, group, consumer, count, after };
        Ok(messages(&self.ask(&command).await?)?)
    }

    /// Returns the identifier of the first message behind `after` that this consumer has not
    /// acknowledged.
    pub(super) async fn first_pending(&mut self, after: StreamId) -> Result<Option<StreamId>, BlockingError> {
        let Self { stream, group, consumer, .. } = *self;
        let (from, consumer) = (after.next(), Some(consumer));
        let command = StreamCommand::Pending { stream, group, from, count: 1, consumer };
        let listed = pending_messages(&self.ask(&command).await?)?;
        Ok(listed.first().map(|message| message.id))
    }

    /// Acknowledges messages.
    pub(super) async fn acknowledge(&mut self, ids: &[StreamId]) -> Result<(), BlockingError> {
        if ids.is_empty() {
            return Ok(());
        }
        let Self { stream, group, .. } = *self;
        self.ask(&StreamCommand::Acknowledge { stream, group, ids }).await.map(drop)
    }

    /// Takes over the messages that other consumers have not repeated for [`PURGE_STREAM_IDLE`].
    /// Returns their number.
    pub(super) async fn take_over(&mut self) -> Result<usize, BlockingError> {
        let Self { stream, group, consumer, .. } = *self;
        let (mut from, mut taken) = (StreamId::ZERO, 0);
        for _ in 0..PURGE_STREAM_PENDING_LISTS_MAX {
            let count = PURGE_STREAM_PENDING_LISTED;
            let command = StreamCommand::Pending { stream, group, from, count, consumer: None };
            let listed = pending_messages(&self.ask(&command).await?)?;
            let of_dead = listed.iter().filter(|message| message.consumer != consumer);
            let of_dead = of_dead.filter(|message| message.idle >= PURGE_STREAM_IDLE);
            let ids: Vec<_> = of_dead.map(|message| message.id).collect();
            if !ids.is_empty() {
                // Another node may have been faster: the idle time is compared again.
                let idle = PURGE_STREAM_IDLE;
                let command = StreamCommand::Claim { stream, group, consumer, idle, ids: &ids };
                taken += claimed_ids(&self.ask(&command).await?)?.len();
            }
            match listed.last() {
                Some(last) if listed.len() >= count => from = last.id.next(),
                Some(_) | None => break,
            }
        }
        Ok(taken)
    }

    /// Returns the state of the group; `None` if the stream has lost it.
    pub(super) async fn state(&mut self) -> Result<Option<GroupState>, BlockingError> {
        let Self { stream, group, .. } = *self;
        Ok(group_state(&self.ask(&StreamCommand::Groups { stream }).await?, group)?)
    }

    /// Removes the consumers of dead nodes, which have no message.
    pub(super) async fn remove_dead(&mut self) -> Result<(), BlockingError> {
        self.remove("").await
    }

    /// Removes this consumer, unless it has a message.
    pub(super) async fn leave(mut self) -> Result<(), BlockingError> {
        let consumer = self.consumer;
        self.remove(consumer).await
    }

    async fn remove(&mut self, consumer: &str) -> Result<(), BlockingError> {
        let (stream, group, idle) = (self.stream, self.group, PURGE_STREAM_CONSUMER_IDLE);
        let script = REMOVE_CONSUMERS;
        let command = StreamCommand::RemoveConsumers { script, stream, group, consumer, idle };
        self.ask(&command).await.map(drop)
    }

    async fn ask(&mut self, command: &StreamCommand<'_>) -> Result<Reply, BlockingError> {
        self.connection.ask(command, PURGE_STREAM_REPLY_TIMEOUT).await
    }
}
