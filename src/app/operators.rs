//! The admin listener, and its end behind that of the listener for clients.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::admin::AdminService;
use crate::limits::ADMIN_DRAIN_TIMEOUT;
use crate::server::{self, Shutdown, WorkerListener};
use crate::telemetry::Registry;

/// The shutdown of the admin listener. It begins once no worker serves clients any more, so that an
/// operator sees the drain.
#[derive(Clone)]
pub(super) struct OperatorsShutdown {
    serving: Arc<AtomicUsize>,
    shutdown: Shutdown,
}

impl OperatorsShutdown {
    /// Creates the shutdown that begins after this many workers.
    pub(super) fn after(workers: usize) -> Self {
        Self { serving: Arc::new(AtomicUsize::new(workers)), shutdown: Shutdown::new() }
    }

    /// Returns the signal for the admin listener.
    pub(super) fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }
}

/// A worker that serves clients. Dropping it counts the worker as done, also after a panic.
pub(super) struct ServingWorker(OperatorsShutdown);

impl ServingWorker {
    /// Counts on the drop of the value.
    pub(super) fn of(operators: OperatorsShutdown) -> Self {
        Self(operators)
    }
}

impl Drop for ServingWorker {
    fn drop(&mut self) {
        if self.0.serving.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.shutdown.begin();
        }
    }
}

/// Serves operators, and keeps the series of the process meanwhile.
pub(super) async fn serve_operators(
    listener: WorkerListener,
    options: server::Options,
    admin: Rc<AdminService>,
    shutdown: Shutdown,
) -> io::Result<()> {
    let drain_timeout = options.drain_timeout.min(ADMIN_DRAIN_TIMEOUT);
    let options = server::Options { drain_timeout, ..options };
    // The metrics of client connections exclude those of operators.
    let registry = Registry::new();
    tokio::select! {
        ended = server::serve(listener, &options, Rc::clone(&admin), shutdown, &registry, None, None) => {
            ended.map(drop)
        }
        never = admin.keep_series() => match never {},
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_worker_begins_the_shutdown() {
        let operators = OperatorsShutdown::after(2);
        let workers = [(); 2].map(|()| ServingWorker::of(operators.clone()));
        let [first, second] = workers;
        drop(first);
        assert!(!operators.shutdown().has_begun());
        drop(second);
        assert!(operators.shutdown().has_begun());
    }
}
