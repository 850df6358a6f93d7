//! A connection for questions about the servers themselves.
//!
//! Who the master is, and who has which slots, is asked beside the pools: over a connection that carries no data, so
//! that a large map stands in no reply's way, and a server that nobody has a pool for can be asked too. One question
//! is asked at a time.

use std::rc::Rc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::dial::{Dialer, RedisSocket};
use super::encryption::TlsSource;
use super::handshake::{frame, greet, reply};
use super::login_source::LoginSource;
use crate::limits::{REDIS_REPLICATION_TIMEOUT, REDIS_TOPOLOGY_TIMEOUT};
use crate::redis::error::{CommandError, ConnectError};
use crate::redis::options::{Address, Options};
use crate::resp::topology::{Encryption, Endpoint, ServerRole, TopologyError, replicas, role};
use crate::resp::{Command, ErrorKind, ErrorReply, Frame, Inbox, Outbox, Reply};

/// Knows how servers are spoken to.
pub(in crate::redis) struct ControlConnections {
    address: Address,
    tls: Option<Rc<TlsSource>>,
    login_source: LoginSource,
    timeout: Duration,
}

/// One server that listens to us.
pub(in crate::redis) struct ControlConnection {
    socket: Box<dyn RedisSocket>,
    inbox: Inbox,
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(in crate::redis) enum ControlError {
    /// Nobody is there to ask.
    #[error(transparent)]
    ConnectError(#[from] ConnectError),
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
    TopologyError(#[from] TopologyError),
    /// It does not write.
    #[error("the server is a {0}")]
    NoMaster(ServerRole),
    /// It has replicas, and none of them has what was written.
    #[error("no replica has what was written")]
    Unreplicated,
}

impl From<ControlError> for CommandError {
    /// For whoever has asked in the middle of something else.
    fn from(why: ControlError) -> Self {
        match why {
            ControlError::ConnectError(_) => Self::NotConnected,
            ControlError::Refused { error, .. } => Self::Server(error.kind),
            ControlError::TopologyError(_) => Self::Malformed,
            ControlError::NoMaster(_) => Self::Server(ErrorKind::ReadOnly),
            ControlError::Unreplicated => Self::Timeout,
        }
    }
}

impl ControlConnections {
    /// For servers like the one that these are the options of.
    pub(in crate::redis) fn of(options: &Options, tls: Option<Rc<TlsSource>>) -> Rc<Self> {
        Rc::new(Self {
            address: options.address.clone(),
            tls,
            login_source: LoginSource::of(options),
            timeout: options.connect_timeout.min(REDIS_TOPOLOGY_TIMEOUT),
        })
    }

    /// What TLS with any of them begins with.
    pub(in crate::redis) fn tls(&self) -> Option<Rc<TlsSource>> {
        self.tls.clone()
    }

    /// Whether they are spoken to in TLS.
    pub(in crate::redis) fn encryption(&self) -> Encryption {
        self.address.encryption()
    }

    /// The address of a server, as these are reached.
    pub(in crate::redis) fn address(&self, endpoint: &Endpoint) -> Address {
        self.address.elsewhere(endpoint)
    }

    /// A server that has been greeted.
    pub(in crate::redis) async fn connect(
        &self,
        endpoint: &Endpoint,
    ) -> Result<ControlConnection, ConnectError> {
        let attempt = async {
            let login = self.login_source.login().await?;
            let mut socket = Dialer::new(self.address(endpoint), self.tls.clone()).dial().await?;
            let mut inbox = Inbox::new();
            greet(&mut socket, &mut inbox, login).await?;
            Ok(ControlConnection { socket, inbox })
        };
        timeout(self.timeout, attempt).await.unwrap_or(Err(ConnectError::Timeout))
    }

    /// What a server answers to one question.
    pub(in crate::redis) async fn ask(
        &self,
        endpoint: &Endpoint,
        command: &Command<'_>,
    ) -> Result<Reply, ControlError> {
        self.connect(endpoint).await?.ask(command).await
    }
}

impl ControlConnections {
    /// Until a replica has everything that has been written at a master until now, if it has replicas: so that whichever takes
    /// over, the best of them, has it too. Who does not say how it stands has to be believed.
    pub(in crate::redis) async fn wait_replicated(&self, master: &Endpoint) -> Result<(), ControlError> {
        let mut control = self.connect(master).await?;
        let is_unsupported = |why: &ControlError| {
            matches!(why, ControlError::Refused { error, .. }
                if matches!(error.kind, ErrorKind::NoPerm | ErrorKind::UnknownCommand))
        };
        let reply = match control.ask(&Command::Role).await {
            Err(why) if is_unsupported(&why) => return Ok(()),
            reply => reply?,
        };
        match role(&reply)? {
            ServerRole::Master => {}
            other @ (ServerRole::Replica | ServerRole::Sentinel) => {
                return Err(ControlError::NoMaster(other));
            }
        }
        if replicas(&reply)? == 0 {
            return Ok(());
        }
        match control.ask(&Command::Wait { replicas: 1, timeout: REDIS_REPLICATION_TIMEOUT }).await {
            Err(why) if is_unsupported(&why) => Ok(()),
            Err(why) => Err(why),
            Ok(Reply::Integer(0)) => Err(ControlError::Unreplicated),
            Ok(_) => Ok(()),
        }
    }
}

impl ControlConnection {
    /// The answer to a question.
    ///
    /// Not cancel safe: a connection whose question was dropped is of no use.
    pub(in crate::redis) async fn ask(&mut self, command: &Command<'_>) -> Result<Reply, ControlError> {
        let exchange = async {
            self.send(command).await?;
            reply(&mut self.socket, &mut self.inbox).await
        };
        let answer = timeout(REDIS_TOPOLOGY_TIMEOUT, exchange).await.unwrap_or(Err(ConnectError::Timeout))?;
        if let Reply::Error(error) = answer {
            return Err(ControlError::Refused { command: command.name(), error });
        }
        Ok(answer)
    }

    /// Says something without waiting for an answer.
    pub(in crate::redis) async fn send(&mut self, command: &Command<'_>) -> Result<(), ConnectError> {
        let mut outbox = Outbox::new();
        command.encode(&mut outbox);
        self.socket.write_all_buf(&mut outbox).await.map_err(ConnectError::Broken)?;
        self.socket.flush().await.map_err(ConnectError::Broken)
    }

    /// Whatever comes next.
    ///
    /// Cancel safe: what has come in part is there for the next call.
    pub(in crate::redis) async fn next_frame(&mut self) -> Result<Frame, ConnectError> {
        frame(&mut self.socket, &mut self.inbox).await
    }
}
