//! How a connection begins.
//!
//! ```text
//! Hello ──map──────────────────────────► Name ─► (Select) ─► (ReadOnly) ─► ready
//!   └─unknown command, NOPROTO─► (Auth) ──┘
//! ```
//!
//! RESP3 is asked for, and RESP2 is taken where the server knows nothing newer. Each state owns what it still
//! needs, and a step consumes it. A refusal says of what kind it is and not in which words: a server that
//! does not know `HELLO` quotes its arguments, the password among them.

use super::command::Command;
use super::credentials::Credentials;
use super::reply::{ErrorKind, Reply};
use crate::labels;

/// Who we are, and where we want to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisLogin {
    /// User and password, if the server may ask for them.
    pub credentials: Option<Credentials>,
    /// Where a connection starts is 0.
    pub database: u32,
    /// What the connection is for.
    pub access: Access,
    /// What `CLIENT LIST` shows. Without spaces.
    pub name: &'static str,
}

labels! {
    /// What a connection is for.
    pub enum Access {
        /// Everything: it leads to a master.
        ReadWrite => "read-write",
        /// `READONLY`: it leads to a replica in a cluster, which is to answer reads by itself.
        ReadOnly => "read-only",
    }
}

labels! {
    /// The dialect that the server speaks on this connection.
    pub enum RespVersion {
        /// Without pushes.
        Resp2 => "resp2",
        /// With pushes.
        Resp3 => "resp3",
    }
}

/// The server does not let us in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// It said so.
    #[error("the server refused {command} ({kind})")]
    Error {
        /// The command's name.
        command: &'static str,
        /// As what the refusal counts.
        kind: ErrorKind,
    },
    /// It said something that is no answer to what it was asked.
    #[error("the server answered {command} with something else")]
    Nonsense {
        /// The command's name.
        command: &'static str,
    },
}

/// A handshake that waits for the reply to [`Handshake::command`].
#[derive(Debug)]
pub struct Handshake(HandshakeState);

#[derive(Debug)]
enum HandshakeState {
    Hello(RedisLogin),
    Auth { credentials: Credentials, then: SessionSetup },
    Name(SessionSetup),
    Select(SessionSetup),
    ReadOnly(RespVersion),
}

/// What is left to say once the server knows who we are.
#[derive(Debug)]
struct SessionSetup {
    name: &'static str,
    database: u32,
    access: Access,
    protocol: RespVersion,
}

/// What a reply led to.
#[derive(Debug)]
pub enum HandshakeStep {
    /// There is another command to send.
    Next(Handshake),
    /// The connection can be used.
    Ready(RespVersion),
}

impl Handshake {
    /// The first state.
    pub fn new(login: RedisLogin) -> Self {
        Self(HandshakeState::Hello(login))
    }

    /// What to send.
    pub fn command(&self) -> Command<'_> {
        match &self.0 {
            HandshakeState::Hello(login) => Command::Hello { credentials: login.credentials.as_ref() },
            HandshakeState::Auth { credentials, .. } => Command::Auth { credentials },
            HandshakeState::Name(setup) => Command::SetName { name: setup.name },
            HandshakeState::Select(setup) => Command::Select { database: setup.database },
            HandshakeState::ReadOnly(_) => Command::ReadOnly,
        }
    }

    /// Takes the reply to [`Handshake::command`].
    pub fn step(self, reply: &Reply) -> Result<HandshakeStep, HandshakeError> {
        let command = self.command().name();
        if !self.command().expected().admits(reply) {
            return Err(HandshakeError::Nonsense { command });
        }
        let refusal = if let Reply::Error(error) = reply { Some(error.kind) } else { None };
        match (self.0, refusal) {
            (HandshakeState::Hello(login), None) => {
                Ok(next(HandshakeState::Name(SessionSetup::of(&login, protocol(reply)))))
            }
            (HandshakeState::Hello(login), Some(ErrorKind::UnknownCommand | ErrorKind::NoProto)) => {
                Ok(without_hello(login))
            }
            (HandshakeState::Auth { then, .. }, None) => Ok(next(HandshakeState::Name(then))),
            // The name is a courtesy to whoever reads CLIENT LIST; the user may not be allowed to set one.
            (HandshakeState::Name(setup), None | Some(_)) => Ok(setup.enter()),
            (HandshakeState::Select(setup), None) => Ok(setup.settle()),
            (HandshakeState::ReadOnly(protocol), None) => Ok(HandshakeStep::Ready(protocol)),
            (
                HandshakeState::Hello(_)
                | HandshakeState::Auth { .. }
                | HandshakeState::Select(_)
                | HandshakeState::ReadOnly(_),
                Some(kind),
            ) => Err(HandshakeError::Error { command, kind }),
        }
    }
}

impl SessionSetup {
    fn of(login: &RedisLogin, protocol: RespVersion) -> Self {
        Self { name: login.name, database: login.database, access: login.access, protocol }
    }

    /// To the database, where it is not the one that a connection starts in.
    fn enter(self) -> HandshakeStep {
        if self.database == 0 { self.settle() } else { next(HandshakeState::Select(self)) }
    }

    /// The last step, where there is one.
    fn settle(self) -> HandshakeStep {
        match self.access {
            Access::ReadWrite => HandshakeStep::Ready(self.protocol),
            Access::ReadOnly => next(HandshakeState::ReadOnly(self.protocol)),
        }
    }
}

fn next(state: HandshakeState) -> HandshakeStep {
    HandshakeStep::Next(Handshake(state))
}

/// RESP2, as before Redis 6.
fn without_hello(login: RedisLogin) -> HandshakeStep {
    let then = SessionSetup::of(&login, RespVersion::Resp2);
    match login.credentials {
        Some(credentials) => next(HandshakeState::Auth { credentials, then }),
        None => next(HandshakeState::Name(then)),
    }
}

/// The dialect that a greeting names under `proto`. A server that greets in RESP2 does not say it in a map.
fn protocol(greeting: &Reply) -> RespVersion {
    let is_resp3 = |(name, value): &(Reply, Reply)| {
        matches!(name, Reply::Bulk(name) | Reply::Simple(name) if name == "proto")
            && *value == Reply::Integer(3)
    };
    if matches!(greeting, Reply::Map(pairs) if pairs.iter().any(is_resp3)) {
        RespVersion::Resp3
    } else {
        RespVersion::Resp2
    }
}

#[cfg(test)]
mod tests;
