//! The handshake over a socket.

use std::io;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::dial::{Dialer, RedisSocket};
use crate::redis::error::ConnectError;
use crate::resp::{
    Command, Frame, Handshake, HandshakeStep, Inbox, MissingRights, Outbox, RedisLogin, Reply, RespVersion,
    ServerRun, rights_trials,
};

/// A socket after its handshake.
pub(in crate::redis) struct GreetedSocket {
    pub(in crate::redis) socket: Box<dyn RedisSocket>,
    /// May hold bytes behind the last reply.
    pub(in crate::redis) inbox: Inbox,
    pub(in crate::redis) protocol: RespVersion,
}

/// Dials and completes the handshake. If a connection ends at `HELLO`, the next one uses RESP2, and
/// the one after it `HELLO` again, so a server that closes each connection gets one for each call.
/// Has no timeout of its own.
///
/// Cancel safe: the socket is closed.
pub(in crate::redis) async fn greet(
    dialler: &Dialer,
    login: RedisLogin,
) -> Result<GreetedSocket, ConnectError> {
    if dialler.ended_at_hello.replace(false) {
        return attempt(dialler, Handshake::without_hello(login)).await;
    }
    let greeted = attempt(dialler, Handshake::new(login)).await;
    dialler.ended_at_hello.set(matches!(greeted, Err(ConnectError::EndedAtHello(_))));
    greeted
}

/// Dials and completes this handshake, one round trip per step.
async fn attempt(dialler: &Dialer, mut handshake: Handshake) -> Result<GreetedSocket, ConnectError> {
    let mut socket = dialler.dial().await?;
    let mut inbox = Inbox::new();
    loop {
        let reply = match exchange(&mut socket, &mut inbox, &handshake).await {
            Err(ConnectError::Broken(why)) if handshake.is_hello() => {
                return Err(ConnectError::EndedAtHello(why));
            }
            reply => reply?,
        };
        match handshake.step(&reply)? {
            HandshakeStep::Next(next) => handshake = next,
            HandshakeStep::Ready(protocol) => return Ok(GreetedSocket { socket, inbox, protocol }),
        }
    }
}

async fn exchange(
    socket: &mut impl RedisSocket,
    inbox: &mut Inbox,
    handshake: &Handshake,
) -> Result<Reply, ConnectError> {
    let mut outbox = Outbox::new();
    handshake.command().encode(&mut outbox);
    send(socket, outbox).await?;
    reply(socket, inbox).await
}

pub(super) async fn send(socket: &mut impl RedisSocket, mut outbox: Outbox) -> Result<(), ConnectError> {
    socket.write_all_buf(&mut outbox).await.map_err(ConnectError::Broken)?;
    socket.flush().await.map_err(ConnectError::Broken)
}

/// Sends one harmless command for each right that CacheWarp needs, in one round trip. Returns the
/// rights that the user lacks.
pub(in crate::redis) async fn try_rights(
    socket: &mut impl RedisSocket,
    inbox: &mut Inbox,
    name: &[u8],
) -> Result<MissingRights, ConnectError> {
    let mut outbox = Outbox::new();
    let trials = rights_trials(name);
    trials.iter().for_each(|(command, words)| {
        Command::Trial { name: command, arguments: words }.encode(&mut outbox);
    });
    send(socket, outbox).await?;
    let mut missing = MissingRights::default();
    for (command, _) in trials {
        missing.note(command, &reply(socket, inbox).await?);
    }
    Ok(missing)
}

/// The result of enabling tracking.
pub(in crate::redis) struct TrackingSetup {
    /// Whether the server tracks this connection's reads.
    pub(in crate::redis) tracked: bool,
    /// Whether the connection is subscribed to the channels.
    pub(in crate::redis) subscription: Subscription,
    /// Pushes that arrived before the result.
    pub(in crate::redis) early: Vec<Vec<Reply>>,
    /// The run of the server, if tracking was requested and the server names it.
    pub(in crate::redis) run: Option<ServerRun>,
    /// The rights that the user lacks, as far as they were tried.
    pub(in crate::redis) missing: MissingRights,
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
        Self { tracked: false, subscription, early: Vec::new(), run: None, missing: MissingRights::default() }
    }
}

/// Returns the server's node id; `None` if the server does not return one.
pub(in crate::redis) async fn node_id(
    socket: &mut impl RedisSocket,
    inbox: &mut Inbox,
) -> Result<Option<Bytes>, ConnectError> {
    let mut outbox = Outbox::new();
    Command::ClusterMyId.encode(&mut outbox);
    send(socket, outbox).await?;
    let reply = reply(socket, inbox).await?;
    // A copy, since it outlives the read buffer.
    Ok(if let Reply::Bulk(id) = reply { Some(Bytes::copy_from_slice(&id)) } else { None })
}

/// Enables tracking on a RESP3 connection, asks for the server's run, and subscribes to `channels`,
/// whose names end with `suffix`; one round trip. The server may refuse each.
///
/// Redis answers `SUBSCRIBE` by one push for each channel, or by one error reply: it subscribes to
/// all channels or to none. No other command marks the end, since the user may lack the right to
/// it.
pub(in crate::redis) async fn enable_tracking(
    socket: &mut impl RedisSocket,
    inbox: &mut Inbox,
    (suffix, channels): (Bytes, Vec<Bytes>),
) -> Result<TrackingSetup, ConnectError> {
    let mut outbox = Outbox::new();
    Command::Track.encode(&mut outbox);
    Command::ServerInfo.encode(&mut outbox);
    if !channels.is_empty() {
        Command::Subscribe { channels: &channels }.encode(&mut outbox);
    }
    send(socket, outbox).await?;

    let (mut early, mut missing) = (Vec::new(), MissingRights::default());
    let tracking = reply_beside(socket, inbox, &mut early).await?;
    missing.note("CLIENT TRACKING", &tracking);
    let info = reply_beside(socket, inbox, &mut early).await?;
    missing.note(Command::ServerInfo.name(), &info);
    let run = ServerRun::parse(&info);
    let tracked = !matches!(tracking, Reply::Error(_));
    let subscribed = !channels.is_empty() && is_subscribed(socket, inbox, &mut early, &mut missing).await?;
    let subscription = match (channels.is_empty(), tracked && subscribed) {
        (true, _) => Subscription::NotRequested,
        (false, true) => Subscription::Active(suffix),
        (false, false) => Subscription::Refused,
    };
    Ok(TrackingSetup { tracked, subscription, early, run, missing })
}

/// Waits for the answer to `SUBSCRIBE`, and collects the pushes before it. Returns whether the
/// connection is subscribed.
async fn is_subscribed(
    socket: &mut impl RedisSocket,
    inbox: &mut Inbox,
    early: &mut Vec<Vec<Reply>>,
    missing: &mut MissingRights,
) -> Result<bool, ConnectError> {
    loop {
        match frame(socket, inbox).await? {
            Frame::Reply(reply) => {
                missing.note("SUBSCRIBE", &reply);
                return Ok(false);
            }
            Frame::Push(push) => {
                let kind = push.first();
                if matches!(kind, Some(Reply::Bulk(kind) | Reply::Simple(kind)) if kind == "subscribe") {
                    return Ok(true);
                }
                early.push(push);
            }
        }
    }
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
