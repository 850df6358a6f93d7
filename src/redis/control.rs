//! A connection for questions about the servers themselves.
//!
//! Who the master is, and who has which slots, is asked beside the pools: over a connection that carries no data, so
//! that a large map stands in no reply's way, and a server that nobody has a pool for can be asked too. One question
//! is asked at a time.

use std::rc::Rc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::dial::{Dialler, Socket};
use super::encryption::Tls;
use super::error::{Unavailable, Unreachable};
use super::greet::{frame, greet, reply};
use super::identity::Identity;
use super::options::{Address, Options};
use crate::limits::{REDIS_REPLICATION_TIMEOUT, REDIS_TOPOLOGY_TIMEOUT};
use crate::resp::topology::{Encryption, Endpoint, Role, Unreadable, replicas, role};
use crate::resp::{Command, ErrorKind, ErrorReply, Frame, Inbox, Outbox, Reply};

/// Knows how servers are spoken to.
pub(super) struct Switchboard {
    address: Address,
    tls: Option<Rc<Tls>>,
    identity: Identity,
    timeout: Duration,
}

/// One server that listens to us.
pub(super) struct Control {
    socket: Box<dyn Socket>,
    inbox: Inbox,
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unasked {
    /// Nobody is there to ask.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// It does not answer that.
    #[error("the server refused {command} ({})", .error.kind)]
    Refused {
        /// The command's name.
        command: &'static str,
        /// What it said.
        error: ErrorReply,
    },
    /// Its answer is of no use.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// It does not write.
    #[error("the server is a {0}")]
    NoMaster(Role),
    /// It has replicas, and none of them has what was written.
    #[error("no replica has what was written")]
    Unreplicated,
}

impl From<Unasked> for Unavailable {
    /// For whoever has asked in the middle of something else.
    fn from(why: Unasked) -> Self {
        match why {
            Unasked::Unreachable(_) => Self::NotConnected,
            Unasked::Refused { error, .. } => Self::Server(error.kind),
            Unasked::Unreadable(_) => Self::Malformed,
            Unasked::NoMaster(_) => Self::Server(ErrorKind::ReadOnly),
            Unasked::Unreplicated => Self::Timeout,
        }
    }
}

impl Switchboard {
    /// For servers like the one that these are the options of.
    pub(super) fn of(options: &Options, tls: Option<Rc<Tls>>) -> Rc<Self> {
        Rc::new(Self {
            address: options.address.clone(),
            tls,
            identity: Identity::of(options),
            timeout: options.connect_timeout.min(REDIS_TOPOLOGY_TIMEOUT),
        })
    }

    /// What TLS with any of them begins with.
    pub(super) fn tls(&self) -> Option<Rc<Tls>> {
        self.tls.clone()
    }

    /// Whether they are spoken to in TLS.
    pub(super) fn encryption(&self) -> Encryption {
        self.address.encryption()
    }

    /// The address of a server, as these are reached.
    pub(super) fn address(&self, endpoint: &Endpoint) -> Address {
        self.address.elsewhere(endpoint)
    }

    /// A server that has been greeted.
    pub(super) async fn call(&self, endpoint: &Endpoint) -> Result<Control, Unreachable> {
        let attempt = async {
            let login = self.identity.login().await?;
            let mut socket = Dialler::new(self.address(endpoint), self.tls.clone()).dial().await?;
            let mut inbox = Inbox::new();
            greet(&mut socket, &mut inbox, login).await?;
            Ok(Control { socket, inbox })
        };
        timeout(self.timeout, attempt).await.unwrap_or(Err(Unreachable::Timeout))
    }

    /// What a server answers to one question.
    pub(super) async fn ask(&self, endpoint: &Endpoint, command: &Command<'_>) -> Result<Reply, Unasked> {
        self.call(endpoint).await?.ask(command).await
    }
}

impl Switchboard {
    /// Until a replica has everything that has been written at a master until now, if it has replicas: so that whichever takes
    /// over, the best of them, has it too. Who does not say how it stands has to be believed.
    pub(super) async fn replicated(&self, master: &Endpoint) -> Result<(), Unasked> {
        let mut control = self.call(master).await?;
        let is_unsaid = |why: &Unasked| {
            matches!(why, Unasked::Refused { error, .. }
                if matches!(error.kind, ErrorKind::NoPerm | ErrorKind::UnknownCommand))
        };
        let told = match control.ask(&Command::Role).await {
            Err(why) if is_unsaid(&why) => return Ok(()),
            told => told?,
        };
        match role(&told)? {
            Role::Master => {}
            other @ (Role::Replica | Role::Sentinel) => return Err(Unasked::NoMaster(other)),
        }
        if replicas(&told)? == 0 {
            return Ok(());
        }
        match control.ask(&Command::Wait { replicas: 1, timeout: REDIS_REPLICATION_TIMEOUT }).await {
            Err(why) if is_unsaid(&why) => Ok(()),
            Err(why) => Err(why),
            Ok(Reply::Integer(0)) => Err(Unasked::Unreplicated),
            Ok(_) => Ok(()),
        }
    }
}

impl Control {
    /// The answer to a question.
    ///
    /// Not cancel safe: a connection whose question was dropped is of no use.
    pub(super) async fn ask(&mut self, command: &Command<'_>) -> Result<Reply, Unasked> {
        let exchange = async {
            self.send(command).await?;
            reply(&mut self.socket, &mut self.inbox).await
        };
        let answer = timeout(REDIS_TOPOLOGY_TIMEOUT, exchange).await.unwrap_or(Err(Unreachable::Timeout))?;
        if let Reply::Error(error) = answer {
            return Err(Unasked::Refused { command: command.name(), error });
        }
        Ok(answer)
    }

    /// Says something without waiting for an answer.
    pub(super) async fn send(&mut self, command: &Command<'_>) -> Result<(), Unreachable> {
        let mut outbox = Outbox::new();
        command.encode(&mut outbox);
        self.socket.write_all_buf(&mut outbox).await.map_err(Unreachable::Broken)?;
        self.socket.flush().await.map_err(Unreachable::Broken)
    }

    /// Whatever comes next.
    ///
    /// Cancel safe: what has come in part is there for the next call.
    pub(super) async fn hear(&mut self) -> Result<Frame, Unreachable> {
        frame(&mut self.socket, &mut self.inbox).await
    }
}
