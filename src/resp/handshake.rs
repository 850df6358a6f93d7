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
pub struct Login {
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
    pub enum Protocol {
        /// Without pushes.
        Resp2 => "resp2",
        /// With pushes.
        Resp3 => "resp3",
    }
}

/// The server does not let us in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
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
pub struct Handshake(State);

#[derive(Debug)]
enum State {
    Hello(Login),
    Auth { credentials: Credentials, then: Place },
    Name(Place),
    Select(Place),
    ReadOnly(Protocol),
}

/// What is left to say once the server knows who we are.
#[derive(Debug)]
struct Place {
    name: &'static str,
    database: u32,
    access: Access,
    protocol: Protocol,
}

/// What a reply led to.
#[derive(Debug)]
pub enum Step {
    /// There is another command to send.
    Next(Handshake),
    /// The connection can be used.
    Ready(Protocol),
}

impl Handshake {
    /// The first state.
    pub fn new(login: Login) -> Self {
        Self(State::Hello(login))
    }

    /// What to send.
    pub fn command(&self) -> Command<'_> {
        match &self.0 {
            State::Hello(login) => Command::Hello { credentials: login.credentials.as_ref() },
            State::Auth { credentials, .. } => Command::Auth { credentials },
            State::Name(place) => Command::SetName { name: place.name },
            State::Select(place) => Command::Select { database: place.database },
            State::ReadOnly(_) => Command::ReadOnly,
        }
    }

    /// Takes the reply to [`Handshake::command`].
    pub fn step(self, reply: &Reply) -> Result<Step, Refused> {
        let command = self.command().name();
        if !self.command().expected().admits(reply) {
            return Err(Refused::Nonsense { command });
        }
        let refusal = if let Reply::Error(error) = reply { Some(error.kind) } else { None };
        match (self.0, refusal) {
            (State::Hello(login), None) => Ok(next(State::Name(Place::of(&login, protocol(reply))))),
            (State::Hello(login), Some(ErrorKind::UnknownCommand | ErrorKind::NoProto)) => {
                Ok(without_hello(login))
            }
            (State::Auth { then, .. }, None) => Ok(next(State::Name(then))),
            // The name is a courtesy to whoever reads CLIENT LIST; the user may not be allowed to set one.
            (State::Name(place), None | Some(_)) => Ok(place.enter()),
            (State::Select(place), None) => Ok(place.settle()),
            (State::ReadOnly(protocol), None) => Ok(Step::Ready(protocol)),
            (State::Hello(_) | State::Auth { .. } | State::Select(_) | State::ReadOnly(_), Some(kind)) => {
                Err(Refused::Error { command, kind })
            }
        }
    }
}

impl Place {
    fn of(login: &Login, protocol: Protocol) -> Self {
        Self { name: login.name, database: login.database, access: login.access, protocol }
    }

    /// To the database, where it is not the one that a connection starts in.
    fn enter(self) -> Step {
        if self.database == 0 { self.settle() } else { next(State::Select(self)) }
    }

    /// The last step, where there is one.
    fn settle(self) -> Step {
        match self.access {
            Access::ReadWrite => Step::Ready(self.protocol),
            Access::ReadOnly => next(State::ReadOnly(self.protocol)),
        }
    }
}

fn next(state: State) -> Step {
    Step::Next(Handshake(state))
}

/// RESP2, as before Redis 6.
fn without_hello(login: Login) -> Step {
    let then = Place::of(&login, Protocol::Resp2);
    match login.credentials {
        Some(credentials) => next(State::Auth { credentials, then }),
        None => next(State::Name(then)),
    }
}

/// The dialect that a greeting names under `proto`. A server that greets in RESP2 does not say it in a map.
fn protocol(greeting: &Reply) -> Protocol {
    let is_resp3 = |(name, value): &(Reply, Reply)| {
        matches!(name, Reply::Bulk(name) | Reply::Simple(name) if name == "proto")
            && *value == Reply::Integer(3)
    };
    if matches!(greeting, Reply::Map(pairs) if pairs.iter().any(is_resp3)) {
        Protocol::Resp3
    } else {
        Protocol::Resp2
    }
}

#[cfg(test)]
mod tests;
