//! The errors of the Redis client.
//!
//! A caller gets a [`CommandError`], the supervisor a [`DisconnectReason`] or a [`ConnectError`].
//! None of them fails a request: without Redis the lookup is a miss.

use std::io;

use crate::labels;
use crate::resp::{ErrorKind, HandshakeError, ProtocolError, ReplyFailure};

/// A command without a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No connection is up. The command was not sent.
    #[error("Redis is not connected")]
    NotConnected,
    /// The circuit breaker is open. The command was not sent.
    #[error("the Redis circuit breaker is open")]
    BreakerOpen,
    /// Every connection has a full window. The command was not sent.
    #[error("every Redis connection is full")]
    Full,
    /// No reply came within the command timeout. Redis may still execute the command.
    #[error("Redis did not reply in time")]
    Timeout,
    /// The connection ended first. Redis may have executed the command.
    #[error("the connection to Redis ended")]
    Closed,
    /// Redis sent a reply that matches no command, so none of its replies can be trusted.
    #[error("Redis sent a reply that matches no command")]
    Desynchronised,
    /// Redis sent bytes that are no valid reply.
    #[error("Redis sent an invalid reply")]
    Malformed,
    /// Redis refused the command. The connection is sound.
    #[error("Redis refused the command ({0})")]
    Server(ErrorKind),
}

impl CommandError {
    /// Returns whether Redis has answered, with a refusal.
    pub fn is_answer(self) -> bool {
        matches!(self, Self::Server(_))
    }
}

impl From<ReplyFailure> for CommandError {
    fn from(failure: ReplyFailure) -> Self {
        match failure {
            ReplyFailure::Timeout => Self::Timeout,
            ReplyFailure::Closed => Self::Closed,
            ReplyFailure::Desynchronised => Self::Desynchronised,
            ReplyFailure::Malformed => Self::Malformed,
        }
    }
}

labels! {
    /// The reason that a connection ended.
    pub enum DisconnectReason {
        /// Redis closed it.
        Ended => "ended",
        /// The socket failed: reset, or its peer vanished.
        Reset => "reset",
        /// The oldest command made no progress for too long.
        Stalled => "stalled",
        /// A reply matched no command.
        Desynchronised => "desynchronised",
        /// The server sent bytes that are no valid reply.
        Malformed => "malformed",
        /// This client closed it.
        Closed => "closed",
        /// Its task panicked.
        PanicError => "panicked",
    }
}

impl DisconnectReason {
    /// Returns the failure of the commands that still wait.
    pub(super) fn failure(self) -> ReplyFailure {
        match self {
            Self::Ended | Self::Reset | Self::Stalled | Self::Closed | Self::PanicError => {
                ReplyFailure::Closed
            }
            Self::Desynchronised => ReplyFailure::Desynchronised,
            Self::Malformed => ReplyFailure::Malformed,
        }
    }
}

/// An attempt to connect that failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    /// The name did not resolve, or the server refused or was unreachable.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// TLS could not be set up.
    #[error("cannot set up TLS: {0}")]
    NoTls(String),
    /// The password file could not be read.
    #[error("cannot read the password file: {0}")]
    Password(io::Error),
    /// The host's name is not valid in a certificate.
    #[error("the host name is not valid in a certificate")]
    Name,
    /// The server does not speak TLS, or its certificate is not trusted.
    #[error("TLS failed: {0}")]
    Tls(io::Error),
    /// The attempt exceeded the connect timeout.
    #[error("connect timeout exceeded")]
    Timeout,
    /// The socket failed during the handshake.
    #[error("the connection failed during the handshake: {}", socket_failure(.0))]
    Broken(io::Error),
    /// The connection ended at `HELLO`: the server may know RESP2 only.
    #[error("the connection failed during the handshake: {}", socket_failure(.0))]
    EndedAtHello(io::Error),
    /// The server sent an invalid reply during the handshake.
    #[error("the server does not speak the Redis protocol (bad {0})")]
    Malformed(ProtocolError),
    /// The server refused the login.
    #[error(transparent)]
    Refused(#[from] HandshakeError),
}

/// Returns the cause of a socket's failure for the log. A server that dies resets a connection or
/// ends it cleanly, as the bytes on their way decide; both are one cause.
fn socket_failure(why: &io::Error) -> String {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    if matches!(why.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof) {
        "the server ended it".to_owned()
    } else {
        why.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_ends_a_handshake_is_one_cause() {
        let ended = [
            ConnectError::Broken(io::ErrorKind::UnexpectedEof.into()),
            ConnectError::Broken(io::Error::from_raw_os_error(104)),
            ConnectError::EndedAtHello(io::ErrorKind::BrokenPipe.into()),
        ];
        for error in ended {
            assert_eq!(error.to_string(), "the connection failed during the handshake: the server ended it");
        }
        let other = ConnectError::Broken(io::Error::other("no memory"));
        assert_eq!(other.to_string(), "the connection failed during the handshake: no memory");
    }
}
