//! The handshake, carried over a socket.

use std::io;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::dial::RedisSocket;
use crate::redis::error::ConnectError;
use crate::resp::{Command, Frame, Handshake, HandshakeStep, Inbox, Outbox, RedisLogin, Reply, RespVersion};

/// Brings a fresh socket to where commands can be sent, one round trip for each step. Has no time limit of
/// its own.
///
/// Not cancel safe: a socket whose greeting was dropped is of no use.
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

/// What came of asking to be reply what changes.
pub(in crate::redis) struct TrackingSetup {
    /// The server tracks what is read here.
    pub(in crate::redis) tracked: bool,
    /// Whether what is published comes here as well.
    pub(in crate::redis) subscription: Subscription,
    /// News that came with the answer.
    pub(in crate::redis) early: Vec<Vec<Reply>>,
}

/// Whether a connection hears what is published.
#[derive(Debug)]
pub(in crate::redis) enum Subscription {
    /// It need not.
    NotRequested,
    /// The server does not let it, or does not track.
    Refused,
    /// It does, on channels whose names end with this.
    Active(Bytes),
}

impl TrackingSetup {
    /// Nothing is reply.
    pub(in crate::redis) fn none(subscription: Subscription) -> Self {
        Self { tracked: false, subscription, early: Vec::new() }
    }
}

/// What the server calls itself in its cluster; `None` if it does not say.
pub(in crate::redis) async fn node_id(
    socket: &mut impl RedisSocket,
    inbox: &mut Inbox,
) -> Result<Option<Bytes>, ConnectError> {
    let mut outbox = Outbox::new();
    Command::ClusterMyId.encode(&mut outbox);
    socket.write_all_buf(&mut outbox).await.map_err(ConnectError::Broken)?;
    socket.flush().await.map_err(ConnectError::Broken)?;
    let reply = reply(socket, inbox).await?;
    // A copy: it outlives the read buffer that it is a slice of.
    Ok(if let Reply::Bulk(id) = reply { Some(Bytes::copy_from_slice(&id)) } else { None })
}

/// Asks a server that speaks RESP3 to track, and for what is published on `channels`, whose names end with `suffix`; one
/// round trip. It may refuse both.
///
/// `SUBSCRIBE` is answered by news, or by a refusal in their place: the `PING` behind it tells.
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
    // The refusal, if there is one, and the `PONG`.
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

/// The next reply. News are for nobody yet.
pub(in crate::redis) async fn reply(
    socket: &mut impl RedisSocket,
    inbox: &mut Inbox,
) -> Result<Reply, ConnectError> {
    reply_beside(socket, inbox, &mut Vec::new()).await
}

/// The next reply, and the news before it.
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

/// Whatever comes next.
///
/// Cancel safe: what has come in part is in the inbox.
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
