//! A proxy with running workers, and the reasons why none starts.

use std::fmt::{self, Display, Formatter};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{io, thread};

use super::liveness::Liveness;
use super::reload::ReloadableParts;
use crate::origin;
use crate::readiness::Readiness;
use crate::server::{ListenError, Shutdown, WorkerListener};
use crate::telemetry::access::AccessLogWriter;
use crate::telemetry::trace::TraceExporter;
use crate::tls::TlsError;

/// The reason why the proxy does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener cannot be bound to its address.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The files of the listener's certificates changed since the settings were read.
    #[error("cannot serve TLS: {0}")]
    Tls(#[from] TlsError),
    /// The origin client cannot be built.
    #[error(transparent)]
    Origin(#[from] origin::OriginOptionsError),
    /// The system provides no thread, runtime or signal handler.
    #[error("cannot start a worker: {0}")]
    Worker(#[from] io::Error),
    /// A worker ended before it was ready.
    #[error("a worker ended before it was ready")]
    WorkerLost,
}

/// The address that a listener is bound to. Its text is that of a setting.
#[derive(Clone, Debug)]
pub struct BoundAddress {
    /// The address and port, or the ones that the connections of the unix socket have.
    pub(super) addr: SocketAddr,
    socket: Option<PathBuf>,
}

impl BoundAddress {
    pub(super) fn of(listener: &WorkerListener) -> io::Result<Self> {
        Ok(Self { addr: listener.local_addr()?, socket: listener.socket_path().map(Path::to_owned) })
    }

    /// Returns the path of the unix socket, if the listener has one.
    pub fn socket(&self) -> Option<&Path> {
        self.socket.as_deref()
    }
}

impl Display for BoundAddress {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.socket {
            Some(path) => write!(f, "unix:{}", path.display()),
            None => self.addr.fmt(f),
        }
    }
}

/// A running proxy. Dropping it begins the same shutdown as a signal, without waiting for its end.
pub struct RunningProxy {
    pub(super) clients: BoundAddress,
    pub(super) admin: Option<BoundAddress>,
    pub(super) shutdown: Shutdown,
    pub(super) readiness: Readiness,
    pub(super) drain_delay: Duration,
    pub(super) parts: ReloadableParts,
    pub(super) liveness: Liveness,
    pub(super) workers: Vec<thread::JoinHandle<()>>,
    /// `None` once the proxy has stopped.
    pub(super) log_writer: Option<AccessLogWriter>,
    /// `None` once the proxy has stopped.
    pub(super) traces: Option<TraceExporter>,
}

impl RunningProxy {
    /// Returns the address of the clients' listener, or the one that the connections of its unix
    /// socket have.
    pub fn addr(&self) -> SocketAddr {
        self.clients.addr
    }

    /// Returns the listener of the clients.
    pub fn listener(&self) -> &BoundAddress {
        &self.clients
    }

    /// Returns the admin listener.
    pub fn admin_listener(&self) -> Option<&BoundAddress> {
        self.admin.as_ref()
    }

    /// Returns the address of the admin listener, or the one that the connections of its unix
    /// socket have.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|admin| admin.addr)
    }

    /// Waits until accepted work ends, for at most `drain_timeout`. Returns `false` if a worker
    /// panicked.
    pub fn stop(mut self) -> bool {
        self.shutdown.begin();
        let ends: Vec<_> = self.workers.drain(..).map(thread::JoinHandle::join).collect();
        if let Some(writer) = self.log_writer.take() {
            writer.close();
        }
        if let Some(traces) = self.traces.take() {
            traces.close();
        }
        ends.iter().all(Result::is_ok)
    }
}

impl Drop for RunningProxy {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}
