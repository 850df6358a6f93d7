//! The handshake of a connection.
//!
//! ```text
//! Hello ──map──────────────────────────► Name ─► (Select) ─► (ReadOnly) ─► ready
//!   └─any other refusal──► (Auth) ─────────┘
//! ```
//!
//! It asks for RESP3, and falls back to RESP2 if the server refuses `HELLO`: servers and proxies
//! without it have no common words for the refusal. Only a refusal of the login itself, or of every
//! command, ends the handshake ([`ErrorKind::WrongPass`], `Loading`, `Busy`, `MaxClients`, and
//! `NoAuth` without a password). Each state owns the data that it still needs, and a step consumes
//! it. A refusal is reported by its kind and not by its text: a server that does not know `HELLO`
//! quotes its arguments, including the password.

use super::command::{Command, Credentials};
use super::reply::{ErrorKind, Reply};
use crate::labels;

/// The login of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisLogin {
    /// User and password, if the server requires them.
    pub credentials: Option<Credentials>,
    /// The database; a connection starts in 0.
    pub database: u32,
    /// Read-write, or read-only for a replica.
    pub access: ConnectionAccess,
    /// The name in `CLIENT LIST`, without spaces.
    pub name: &'static str,
}

labels! {
    /// The access that a connection needs.
    pub enum ConnectionAccess {
        /// Reads and writes: the server is a master.
        ReadWrite => "read-write",
        /// `READONLY`: the server is a cluster's replica, which answers reads itself.
        ReadOnly => "read-only",
    }
}

labels! {
    /// The protocol version of this connection.
    pub enum RespVersion {
        /// Without pushes.
        Resp2 => "resp2",
        /// With pushes.
        Resp3 => "resp3",
    }
}

/// The server refused the login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// An error reply.
    #[error("the server refused {command} ({kind})")]
    Error {
        /// The command's name.
        command: &'static str,
        /// The kind of the error.
        kind: ErrorKind,
    },
    /// A reply of another kind than the command has.
    #[error("the server sent an unexpected reply to {command}")]
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

/// The steps after authentication.
#[derive(Debug)]
struct SessionSetup {
    name: &'static str,
    database: u32,
    access: ConnectionAccess,
    protocol: RespVersion,
}

/// The result of a step.
#[derive(Debug)]
pub enum HandshakeStep {
    /// Another command to send.
    Next(Handshake),
    /// The connection is ready.
    Ready(RespVersion),
}

impl Handshake {
    /// The first state.
    pub fn new(login: RedisLogin) -> Self {
        Self(HandshakeState::Hello(login))
    }

    /// Returns the first state for a server that ends connections at `HELLO`: RESP2.
    pub fn without_hello(login: RedisLogin) -> Self {
        Self(resp2(login))
    }

    /// Returns whether the next command is `HELLO`.
    pub fn is_hello(&self) -> bool {
        matches!(self.0, HandshakeState::Hello(_))
    }

    /// Returns the command to send.
    pub fn command(&self) -> Command<'_> {
        match &self.0 {
            HandshakeState::Hello(login) => Command::Hello { credentials: login.credentials.as_ref() },
            HandshakeState::Auth { credentials, .. } => Command::Auth { credentials },
            HandshakeState::Name(setup) => Command::SetName { name: setup.name },
            HandshakeState::Select(setup) => Command::Select { database: setup.database },
            HandshakeState::ReadOnly(_) => Command::ReadOnly,
        }
    }

    /// Handles the reply to [`Handshake::command`].
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
            (HandshakeState::Hello(login), Some(kind)) if !ends_login(kind, &login) => Ok(next(resp2(login))),
            (HandshakeState::Auth { then, .. }, None) => Ok(next(HandshakeState::Name(then))),
            // The name is optional; the user may not be allowed to set it.
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

    /// Selects the database, unless it is the default.
    fn enter(self) -> HandshakeStep {
        if self.database == 0 { self.settle() } else { next(HandshakeState::Select(self)) }
    }

    /// Requests read-only access, if needed.
    fn settle(self) -> HandshakeStep {
        match self.access {
            ConnectionAccess::ReadWrite => HandshakeStep::Ready(self.protocol),
            ConnectionAccess::ReadOnly => next(HandshakeState::ReadOnly(self.protocol)),
        }
    }
}

fn next(state: HandshakeState) -> HandshakeStep {
    HandshakeStep::Next(Handshake(state))
}

/// Returns whether this refusal of `HELLO` refuses the login, or every command.
fn ends_login(kind: ErrorKind, login: &RedisLogin) -> bool {
    // With a password, `AUTH` may still succeed.
    let lacks_password = kind == ErrorKind::NoAuth && login.credentials.is_none();
    let ends = [ErrorKind::WrongPass, ErrorKind::Loading, ErrorKind::Busy, ErrorKind::MaxClients];
    lacks_password || ends.contains(&kind)
}

/// Returns the state after `HELLO` in RESP2.
fn resp2(login: RedisLogin) -> HandshakeState {
    let then = SessionSetup::of(&login, RespVersion::Resp2);
    match login.credentials {
        Some(credentials) => HandshakeState::Auth { credentials, then },
        None => HandshakeState::Name(then),
    }
}

/// Returns the version that the greeting names under `proto`; RESP2 unless it is a map that says 3.
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
