//! Connections for commands about the servers themselves.
//!
//! The master's address and the slot map are read over separate connections that carry no data, so
//! that a large map delays no reply, and a server without a pool can be asked too. Each connection
//! carries one command at a time.

use std::rc::Rc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::dial::{Dialer, RedisSocket};
use super::encryption::TlsSource;
use super::handshake::{GreetedSocket, frame, greet, reply};
use super::login_source::LoginSource;
use super::replicas::ReplicaCounts;
use crate::limits::{REDIS_REPLICATION_TIMEOUT, REDIS_TOPOLOGY_TIMEOUT};
use crate::redis::error::{CommandError, ConnectError};
use crate::redis::options::{Options, RedisAddress};
use crate::resp::topology::{Encryption, Endpoint, ServerRole, TopologyError, replicas, role};
use crate::resp::{Command, ErrorKind, ErrorReply, Frame, Inbox, Outbox, Reply};
use crate::time::instant;

/// Opens control connections to the servers of one deployment.
pub(in crate::redis) struct ControlConnections {
    address: RedisAddress,
    tls: Option<Rc<TlsSource>>,
    login_source: LoginSource,
    timeout: Duration,
    /// The replicas of the masters that were asked.
    replicas: ReplicaCounts,
}

/// A control connection, after its handshake.
pub(in crate::redis) struct ControlConnection {
    socket: Box<dyn RedisSocket>,
    inbox: Inbox,
}

/// A failed control command.
#[derive(Debug, thiserror::Error)]
pub(in crate::redis) enum ControlError {
    /// The connection failed.
    #[error(transparent)]
    ConnectError(#[from] ConnectError),
    /// The server refused the command.
    #[error("the server refused {command} ({})", .error.kind)]
    Refused {
        /// The command's name.
        command: &'static str,
        /// The error reply.
        error: ErrorReply,
    },
    /// The reply is not valid for the command.
    #[error(transparent)]
    TopologyError(#[from] TopologyError),
    /// The server is no master.
    #[error("the role of the server is {0}")]
    NoMaster(ServerRole),
    /// The master has replicas, and none of them acknowledged the writes.
    #[error("no replica acknowledged the writes")]
    Unreplicated,
}

/// The replicas that have acknowledged a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replication {
    /// Every replica that the master lately had, or there is none.
    All,
    /// A replica, and not every one.
    Some,
}

impl Replication {
    /// Returns the weaker of two.
    pub fn and(self, other: Self) -> Self {
        if other == Self::Some { other } else { self }
    }
}

impl From<ControlError> for CommandError {
    /// Maps to the error of a command that needed this answer.
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
    /// Creates control connections for servers with these options.
    pub(in crate::redis) fn of(options: &Options, tls: Option<Rc<TlsSource>>) -> Rc<Self> {
        Rc::new(Self {
            address: options.address.clone(),
            tls,
            login_source: LoginSource::of(options),
            timeout: options.connect_timeout.min(REDIS_TOPOLOGY_TIMEOUT),
            replicas: ReplicaCounts::default(),
        })
    }

    /// Returns the TLS source of the servers.
    pub(in crate::redis) fn tls(&self) -> Option<Rc<TlsSource>> {
        self.tls.clone()
    }

    /// Returns whether the servers use TLS.
    pub(in crate::redis) fn encryption(&self) -> Encryption {
        self.address.encryption()
    }

    /// Returns the address of another server, with TLS if these use TLS.
    pub(in crate::redis) fn address(&self, endpoint: &Endpoint) -> RedisAddress {
        self.address.elsewhere(endpoint)
    }

    /// Connects and completes the handshake.
    pub(in crate::redis) async fn connect(
        &self,
        endpoint: &Endpoint,
    ) -> Result<ControlConnection, ConnectError> {
        let attempt = async {
            let login = self.login_source.login().await?;
            let dialler = Dialer::new(self.address(endpoint), self.tls.clone());
            let GreetedSocket { socket, inbox, .. } = greet(&dialler, login).await?;
            Ok(ControlConnection { socket, inbox })
        };
        timeout(self.timeout, attempt).await.unwrap_or(Err(ConnectError::Timeout))
    }

    /// Sends one command over a connection of its own. Returns the reply.
    pub(in crate::redis) async fn ask(
        &self,
        endpoint: &Endpoint,
        command: &Command<'_>,
    ) -> Result<Reply, ControlError> {
        self.connect(endpoint).await?.ask(command).await
    }
}

impl ControlConnections {
    /// Records the replicas that a master lists in its reply to `ROLE`; returns the largest number
    /// that it lately had.
    pub(in crate::redis) fn count_replicas(
        &self,
        master: &Endpoint,
        role: &Reply,
    ) -> Result<u32, TopologyError> {
        let now = instant();
        let listed = u32::try_from(replicas(role)?).unwrap_or(u32::MAX);
        self.replicas.record(master, listed, now);
        Ok(self.replicas.most(master, now))
    }

    /// Waits until all replicas that a master lately had, if there are any, have all of its writes
    /// so far: each of them may be promoted. A server that forbids the commands is believed.
    pub(in crate::redis) async fn wait_replicated(
        &self,
        master: &Endpoint,
    ) -> Result<Replication, ControlError> {
        let mut control = self.connect(master).await?;
        let is_unsupported = |why: &ControlError| {
            matches!(why, ControlError::Refused { error, .. }
                if matches!(error.kind, ErrorKind::NoPerm | ErrorKind::UnknownCommand))
        };
        let reply = match control.ask(&Command::Role).await {
            Err(why) if is_unsupported(&why) => return Ok(Replication::All),
            reply => reply?,
        };
        match role(&reply)? {
            ServerRole::Master => {}
            other @ (ServerRole::Replica | ServerRole::Sentinel) => {
                return Err(ControlError::NoMaster(other));
            }
        }
        let replicas = self.count_replicas(master, &reply)?;
        if replicas == 0 {
            return Ok(Replication::All);
        }
        match control.ask(&Command::Wait { replicas, timeout: REDIS_REPLICATION_TIMEOUT }).await {
            Err(why) if is_unsupported(&why) => Ok(Replication::All),
            Err(why) => Err(why),
            Ok(Reply::Integer(0)) => Err(ControlError::Unreplicated),
            Ok(Reply::Integer(acknowledged)) if acknowledged < i64::from(replicas) => Ok(Replication::Some),
            Ok(_) => Ok(Replication::All),
        }
    }
}

impl ControlConnection {
    /// Sends a command. Returns the reply.
    ///
    /// Not cancel safe: drop the connection if the future is dropped.
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

    /// Sends a command without waiting for the reply.
    pub(in crate::redis) async fn send(&mut self, command: &Command<'_>) -> Result<(), ConnectError> {
        let mut outbox = Outbox::new();
        command.encode(&mut outbox);
        self.socket.write_all_buf(&mut outbox).await.map_err(ConnectError::Broken)?;
        self.socket.flush().await.map_err(ConnectError::Broken)
    }

    /// Returns the next frame.
    ///
    /// Cancel safe: a partial frame stays in the inbox.
    pub(in crate::redis) async fn next_frame(&mut self) -> Result<Frame, ConnectError> {
        frame(&mut self.socket, &mut self.inbox).await
    }
}
