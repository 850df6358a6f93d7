//! A connection of its own for commands that may block, such as a read of a stream that waits.
//!
//! A pooled connection answers many callers in order, so a command that waits would delay all of
//! them. This connection carries one command at a time, and its caller bounds the wait and the
//! size of the reply.

use std::io;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::dial::RedisSocket;
use super::handshake::{GreetedSocket, send};
use crate::limits::BLOCKING_REPLY_BYTES_MAX;
use crate::redis::error::{CommandError, ConnectError};
use crate::resp::stream::{StreamCommand, StreamReplyError};
use crate::resp::{Frame, Inbox, Outbox, ProtocolError, Reply};

/// A connection that carries one command at a time. After an error other than a refusal it is
/// unusable.
pub struct BlockingConnection {
    socket: Box<dyn RedisSocket>,
    inbox: Inbox,
}

/// A command of a blocking connection without a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockingError {
    /// As for a pooled connection.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The reply exceeds a limit. Redis has executed the command.
    #[error("the reply is too large")]
    TooLarge,
}

impl From<StreamReplyError> for BlockingError {
    fn from(_: StreamReplyError) -> Self {
        Self::Command(CommandError::Malformed)
    }
}

impl From<ConnectError> for BlockingError {
    fn from(why: ConnectError) -> Self {
        match why {
            ConnectError::Malformed(ProtocolError::Bytes | ProtocolError::Elements) => Self::TooLarge,
            ConnectError::Malformed(_) => Self::Command(CommandError::Malformed),
            ConnectError::Connect(_)
            | ConnectError::NoTls(_)
            | ConnectError::Password(_)
            | ConnectError::Name
            | ConnectError::Tls(_)
            | ConnectError::Timeout
            | ConnectError::Broken(_)
            | ConnectError::EndedAtHello(_)
            | ConnectError::Refused(_) => Self::Command(CommandError::Closed),
        }
    }
}

impl BlockingConnection {
    pub(in crate::redis) fn new(greeted: GreetedSocket) -> Self {
        let GreetedSocket { socket, inbox, .. } = greeted;
        Self { socket, inbox }
    }

    /// Sends a command. Returns its reply, which is no error, if it comes in this time.
    ///
    /// Not cancel safe: drop the connection if the future is dropped.
    pub async fn ask(
        &mut self,
        command: &StreamCommand<'_>,
        at_most: Duration,
    ) -> Result<Reply, BlockingError> {
        let reply = timeout(at_most, self.exchange(command)).await.map_err(|_| CommandError::Timeout)??;
        if let Reply::Error(error) = reply {
            return Err(CommandError::Server(error.kind).into());
        }
        Ok(reply)
    }

    async fn exchange(&mut self, command: &StreamCommand<'_>) -> Result<Reply, ConnectError> {
        let mut outbox = Outbox::new();
        command.encode(&mut outbox);
        send(&mut self.socket, outbox).await?;
        loop {
            match self.inbox.frame().map_err(ConnectError::Malformed)? {
                Some(Frame::Reply(reply)) => return Ok(reply),
                // The connection subscribes to nothing and tracks nothing.
                Some(Frame::Push(_)) => continue,
                None => {}
            }
            if self.inbox.wanted() > BLOCKING_REPLY_BYTES_MAX {
                return Err(ConnectError::Malformed(ProtocolError::Bytes));
            }
            if self.socket.read_buf(self.inbox.room()).await.map_err(ConnectError::Broken)? == 0 {
                return Err(ConnectError::Broken(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;
    use crate::resp::{ErrorKind, RespVersion};

    const ANY_TIME: Duration = Duration::from_secs(60);

    /// Asks a scripted server, which sends this much of its reply and keeps the connection open.
    async fn ask(wire: &[u8]) -> Result<Reply, BlockingError> {
        let (socket, mut server) = duplex(1024);
        let greeted =
            GreetedSocket { socket: Box::new(socket), inbox: Inbox::new(), protocol: RespVersion::Resp3 };
        let mut connection = BlockingConnection::new(greeted);
        let command = StreamCommand::Groups { stream: "s" };
        let serve = async {
            // The client may close the connection before it has read everything.
            let _ = server.write_all(wire).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            reply = connection.ask(&command, ANY_TIME) => reply,
            () = serve => Err(BlockingError::TooLarge),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_is_returned_and_an_error_is_a_refusal() {
        assert_eq!(ask(b">2\r\n+a\r\n+b\r\n:7\r\n").await, Ok(Reply::Integer(7)));
        let refusal = CommandError::Server(ErrorKind::WrongType).into();
        assert_eq!(ask(b"-WRONGTYPE Operation\r\n").await, Err(refusal));
        assert_eq!(ask(b"?\r\n").await, Err(CommandError::Malformed.into()));
        assert_eq!(ask(b"$5\r\nab").await, Err(CommandError::Timeout.into()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_above_the_limit_is_refused_before_it_is_read() {
        let announced = format!("${}\r\n", BLOCKING_REPLY_BYTES_MAX + 1);
        assert_eq!(ask(announced.as_bytes()).await, Err(BlockingError::TooLarge));
        let value = format!("$65536\r\n{}\r\n", "x".repeat(65_536));
        let many = format!("*1000\r\n{}", value.repeat(BLOCKING_REPLY_BYTES_MAX / 65_536 + 1));
        assert_eq!(ask(many.as_bytes()).await, Err(BlockingError::TooLarge));
    }
}
