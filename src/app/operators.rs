//! The end of the admin listener, behind that of the listener for clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::server::Shutdown;

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
