//! What goes wrong, and whose fault it is.
//!
//! A caller learns why its command has no reply ([`CommandError`]), the supervisor why a connection ended
//! ([`DisconnectReason`]) or did not come about ([`ConnectError`]). None of them is a reason to fail a request: without
//! Redis there is a miss.

use std::io;

use crate::labels;
use crate::resp::{ErrorKind, HandshakeError, ProtocolError, ReplyFailure};

/// Why a command has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No connection is up. The command was not sent.
    #[error("no connection to Redis is up")]
    NotConnected,
    /// The server has served nobody for a while. The command was not sent.
    #[error("Redis makes no progress and is not asked")]
    BreakerOpen,
    /// Every connection has as many commands under way as it may. The command was not sent.
    #[error("every connection to Redis is full")]
    Full,
    /// No reply came within the command time-out. The command may still be carried out.
    #[error("Redis did not reply in time")]
    Timeout,
    /// The connection ended first. The command may have been carried out.
    #[error("the connection to Redis ended")]
    Closed,
    /// The server sent a reply that belongs to no command, so none of its replies can be trusted.
    #[error("Redis sent a reply that nobody asked for")]
    Desynchronised,
    /// The server sent something that is no reply.
    #[error("Redis sent something that is no reply")]
    Malformed,
    /// The server refused the command. The connection is sound.
    #[error("Redis refused the command ({0})")]
    Server(ErrorKind),
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
    /// Why a connection that was up is not any more.
    pub enum DisconnectReason {
        /// The server ended it.
        Ended => "ended",
        /// The socket failed: reset, or its peer gone.
        Reset => "reset",
        /// The oldest command made no progress for too long.
        Stalled => "stalled",
        /// A reply came that belongs to no command.
        Desynchronised => "desynchronised",
        /// Something came that is no reply.
        Malformed => "malformed",
        /// We closed it.
        Closed => "closed",
        /// Its task panicked.
        PanicError => "panicked",
    }
}

impl DisconnectReason {
    /// What this means for whoever waits for a reply.
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

/// Why a connection did not come about.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    /// Not resolved, refused, or no way there.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// We cannot speak TLS.
    #[error("TLS cannot be set up: {0}")]
    NoTls(String),
    /// There is a file with a password, and no password in it.
    #[error("the password's file cannot be read: {0}")]
    Password(io::Error),
    /// The host's name cannot stand in a certificate.
    #[error("no certificate can be for this host name")]
    Name,
    /// The other side does not speak TLS, or its certificate is not to be trusted.
    #[error("TLS failed: {0}")]
    Tls(io::Error),
    /// It took longer than the connect time-out.
    #[error("no answer within the connect time-out")]
    Timeout,
    /// The socket failed during the handshake.
    #[error("the connection broke in the handshake: {0}")]
    Broken(io::Error),
    /// What came during the handshake was no reply.
    #[error("the server does not speak the Redis protocol (bad {0})")]
    Malformed(ProtocolError),
    /// The server does not let us in.
    #[error(transparent)]
    Refused(#[from] HandshakeError),
}
