//! A proxy with running workers, and the reasons why none starts.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use std::{io, thread};

use super::liveness::Liveness;
use super::reload::ReloadableParts;
use crate::origin;
use crate::readiness::Readiness;
use crate::server::{ListenError, Shutdown};
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

/// A running proxy. Dropping it begins the same shutdown as a signal, without waiting for its end.
pub struct RunningProxy {
    pub(super) addr: SocketAddr,
    /// The unix socket for clients, if they have one.
    pub(super) socket: Option<PathBuf>,
    pub(super) admin_addr: Option<SocketAddr>,
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
        self.addr
    }

    /// Returns the listener of the clients as an operator writes it.
    pub fn listener(&self) -> String {
        match &self.socket {
            Some(path) => format!("unix:{}", path.display()),
            None => self.addr.to_string(),
        }
    }

    /// Returns the address of the admin listener.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin_addr
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
