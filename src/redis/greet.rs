//! The handshake, carried over a socket.

use std::io;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::dial::Socket;
use super::error::Unreachable;
use crate::resp::{Command, Frame, Handshake, Inbox, Login, Outbox, Protocol, Reply, Step};

/// Brings a fresh socket to where commands can be sent, one round trip for each step. Has no time limit of
/// its own.
///
/// Not cancel safe: a socket whose greeting was dropped is of no use.
pub(super) async fn greet(
    socket: &mut impl Socket,
    inbox: &mut Inbox,
    login: Login,
) -> Result<Protocol, Unreachable> {
    let mut handshake = Handshake::new(login);
    let mut outbox = Outbox::new();
    loop {
        handshake.command().encode(&mut outbox);
        socket.write_all_buf(&mut outbox).await.map_err(Unreachable::Broken)?;
        socket.flush().await.map_err(Unreachable::Broken)?;
        match handshake.step(&reply(socket, inbox).await?)? {
            Step::Next(next) => handshake = next,
            Step::Ready(protocol) => return Ok(protocol),
        }
    }
}

/// What came of asking to be told what changes.
pub(super) struct Listening {
    /// The server tracks what is read here.
    pub(super) tracked: bool,
    /// Whether what is published comes here as well.
    pub(super) subscription: Subscription,
    /// News that came with the answer.
    pub(super) early: Vec<Vec<Reply>>,
}

/// Whether a connection hears what is published.
#[derive(Debug)]
pub(super) enum Subscription {
    /// It need not.
    Unasked,
    /// The server does not let it, or does not track.
    Refused,
    /// It does, on channels whose names end with this.
    Heard(Bytes),
}

impl Listening {
    /// Nothing is told.
    pub(super) fn not(subscription: Subscription) -> Self {
        Self { tracked: false, subscription, early: Vec::new() }
    }
}

/// What the server calls itself in its cluster; `None` if it does not say.
pub(super) async fn name(socket: &mut impl Socket, inbox: &mut Inbox) -> Result<Option<Bytes>, Unreachable> {
    let mut outbox = Outbox::new();
    Command::ClusterMyId.encode(&mut outbox);
    socket.write_all_buf(&mut outbox).await.map_err(Unreachable::Broken)?;
    socket.flush().await.map_err(Unreachable::Broken)?;
    let told = reply(socket, inbox).await?;
    // A copy: it outlives the read buffer that it is a slice of.
    Ok(if let Reply::Bulk(name) = told { Some(Bytes::copy_from_slice(&name)) } else { None })
}

/// Asks a server that speaks RESP3 to track, and for what is published on `channels`, whose names end with `suffix`; one
/// round trip. It may refuse both.
///
/// `SUBSCRIBE` is answered by news, or by a refusal in their place: the `PING` behind it tells.
pub(super) async fn listen(
    socket: &mut impl Socket,
    inbox: &mut Inbox,
    (suffix, channels): (Bytes, Vec<Bytes>),
) -> Result<Listening, Unreachable> {
    let mut outbox = Outbox::new();
    Command::Track.encode(&mut outbox);
    if !channels.is_empty() {
        Command::Subscribe { channels: &channels }.encode(&mut outbox);
    }
    Command::Ping.encode(&mut outbox);
    socket.write_all_buf(&mut outbox).await.map_err(Unreachable::Broken)?;
    socket.flush().await.map_err(Unreachable::Broken)?;

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
        (true, _) => Subscription::Unasked,
        (false, true) => Subscription::Heard(suffix),
        (false, false) => Subscription::Refused,
    };
    Ok(Listening { tracked, subscription, early })
}

/// The next reply. News are for nobody yet.
pub(super) async fn reply(socket: &mut impl Socket, inbox: &mut Inbox) -> Result<Reply, Unreachable> {
    reply_beside(socket, inbox, &mut Vec::new()).await
}

/// The next reply, and the news before it.
async fn reply_beside(
    socket: &mut impl Socket,
    inbox: &mut Inbox,
    early: &mut Vec<Vec<Reply>>,
) -> Result<Reply, Unreachable> {
    loop {
        match frame(socket, inbox).await? {
            Frame::Reply(reply) => return Ok(reply),
            Frame::Push(news) => early.push(news),
        }
    }
}

/// Whatever comes next.
///
/// Cancel safe: what has come in part is in the inbox.
pub(super) async fn frame(socket: &mut impl Socket, inbox: &mut Inbox) -> Result<Frame, Unreachable> {
    loop {
        if let Some(frame) = inbox.frame().map_err(Unreachable::Malformed)? {
            return Ok(frame);
        }
        if socket.read_buf(inbox.room()).await.map_err(Unreachable::Broken)? == 0 {
            return Err(Unreachable::Broken(io::ErrorKind::UnexpectedEof.into()));
        }
    }
}
