//! The handshake over a socket.

use std::io;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::dial::RedisSocket;
use crate::redis::error::ConnectError;
use crate::resp::{Command, Frame, Handshake, HandshakeStep, Inbox, Outbox, RedisLogin, Reply, RespVersion};

/// Completes the handshake on a fresh socket, one round trip per step. Has no timeout of its own.
///
/// Not cancel safe: drop the socket if the future is dropped.
pub(in crate::redis) async fn greet(
    socket: &mut impl RedisSocket,
    inbox: &mut Inbox,
    login: RedisLogin,
) -> Result<RespVersion, ConnectError> {
    let mut handshake = Handshake::new(login);
    let mut outbox = Outbox::new();
    loop {
        handshake.command().encode(&mut outbox);
        socket.write_all_buf(&mut outbox).await.map_err(ConnectError::Broken)?;
        socket.flush().await.map_err(ConnectError::Broken)?;
        match handshake.step(&reply(socket, inbox).await?)? {
            HandshakeStep::Next(next) => handshake = next,
            HandshakeStep::Ready(protocol) => return Ok(protocol),
        }
    }
}

/// The result of enabling tracking.
pub(in crate::redis) struct TrackingSetup {
    /// Whether the server tracks this connection's reads.
    pub(in crate::redis) tracked: bool,
    /// Whether the connection is subscribed to the channels.
    pub(in crate::redis) subscription: Subscription,
    /// Pushes that arrived before the result.
    pub(in crate::redis) early: Vec<Vec<Reply>>,
}

/// The subscription of a connection to the channels.
#[derive(Debug)]
pub(in crate::redis) enum Subscription {
    /// Not requested.
    NotRequested,
    /// Refused, or tracking was refused.
    Refused,
    /// Active, on channels whose names end with this.
    Active(Bytes),
}

impl TrackingSetup {
    /// Tracking is off.
    pub(in crate::redis) fn none(subscription: Subscription) -> Self {
        Self { tracked: false, subscription, early: Vec::new() }
    }
}

/// Returns the server's node id; `None` if the server does not return one.
pub(in crate::redis) async fn node_id(
    socket: &mut impl RedisSocket,
    inbox: &mut Inbox,
) -> Result<Option<Bytes>, ConnectError> {
    let mut outbox = Outbox::new();
    Command::ClusterMyId.encode(&mut outbox);
    socket.write_all_buf(&mut outbox).await.map_err(ConnectError::Broken)?;
    socket.flush().await.map_err(ConnectError::Broken)?;
    let reply = reply(socket, inbox).await?;
    // A copy, since it outlives the read buffer.
    Ok(if let Reply::Bulk(id) = reply { Some(Bytes::copy_from_slice(&id)) } else { None })
}

/// Enables tracking on a RESP3 connection, and subscribes to `channels`, whose names end with
/// `suffix`; one round trip. The server may refuse both.
///
/// `SUBSCRIBE` is answered by a push, or by an error reply: the `PING` behind it shows which.
pub(in crate::redis) async fn enable_tracking(
    socket: &mut impl RedisSocket,
    inbox: &mut Inbox,
    (suffix, channels): (Bytes, Vec<Bytes>),
) -> Result<TrackingSetup, ConnectError> {
    let mut outbox = Outbox::new();
    Command::Track.encode(&mut outbox);
    if !channels.is_empty() {
        Command::Subscribe { channels: &channels }.encode(&mut outbox);
    }
    Command::Ping.encode(&mut outbox);
    socket.write_all_buf(&mut outbox).await.map_err(ConnectError::Broken)?;
    socket.flush().await.map_err(ConnectError::Broken)?;

    let mut early = Vec::new();
    let is_refused = |reply: &Reply| matches!(reply, Reply::Error(_));
    let tracked = !is_refused(&reply_beside(socket, inbox, &mut early).await?);
    let mut subscribed = !channels.is_empty();
    // The error, if there is one, and the `PONG`.
    for _ in 0..2 {
        let reply = reply_beside(socket, inbox, &mut early).await?;
        if matches!(&reply, Reply::Simple(text) if text == "PONG") {
            break;
        }
        subscribed &= !is_refused(&reply);
    }
    let subscription = match (channels.is_empty(), tracked && subscribed) {
        (true, _) => Subscription::NotRequested,
        (false, true) => Subscription::Active(suffix),
        (false, false) => Subscription::Refused,
    };
    Ok(TrackingSetup { tracked, subscription, early })
}

/// Returns the next reply, and drops pushes.
pub(in crate::redis) async fn reply(
    socket: &mut impl RedisSocket,
    inbox: &mut Inbox,
) -> Result<Reply, ConnectError> {
    reply_beside(socket, inbox, &mut Vec::new()).await
}

/// Returns the next reply, and collects the pushes before it.
async fn reply_beside(
    socket: &mut impl RedisSocket,
    inbox: &mut Inbox,
    early: &mut Vec<Vec<Reply>>,
) -> Result<Reply, ConnectError> {
    loop {
        match frame(socket, inbox).await? {
            Frame::Reply(reply) => return Ok(reply),
            Frame::Push(push) => early.push(push),
        }
    }
}

/// Returns the next frame.
///
/// Cancel safe: a partial frame stays in the inbox.
pub(in crate::redis) async fn frame(
    socket: &mut impl RedisSocket,
    inbox: &mut Inbox,
) -> Result<Frame, ConnectError> {
    loop {
        if let Some(frame) = inbox.frame().map_err(ConnectError::Malformed)? {
            return Ok(frame);
        }
        if socket.read_buf(inbox.room()).await.map_err(ConnectError::Broken)? == 0 {
            return Err(ConnectError::Broken(io::ErrorKind::UnexpectedEof.into()));
        }
    }
}
