//! The signal that starts the shutdown of the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

/// A handle on the shutdown signal. Every copy sees the shutdown once it has begun.
#[derive(Clone, Debug)]
pub struct Shutdown(Arc<ShutdownSignal>);

#[derive(Debug)]
struct ShutdownSignal {
    /// The flag that every poll of every connection reads. It costs a load of a cache line without
    /// writers and no lock.
    begun: AtomicBool,
    waiters: watch::Sender<()>,
}

impl Shutdown {
    /// Creates a signal that has not been raised.
    pub fn new() -> Self {
        Self(Arc::new(ShutdownSignal { begun: AtomicBool::new(false), waiters: watch::Sender::new(()) }))
    }

    /// Begins the shutdown. Later calls have no effect.
    pub fn begin(&self) {
        self.0.begun.store(true, Ordering::Release);
        self.0.waiters.send_replace(());
    }

    /// Returns whether the shutdown has begun.
    pub fn has_begun(&self) -> bool {
        self.0.begun.load(Ordering::Acquire)
    }

    /// Waits until the shutdown begins, and returns at once if it has. Cancel safe: dropping the
    /// future loses nothing.
    pub async fn begun(&self) {
        let mut waiters = self.0.waiters.subscribe();
        // The subscription comes before the check: a signal between a check and a later
        // subscription would be lost.
        if !self.has_begun() {
            // `self` owns the sender, so the channel stays open and this cannot fail before the
            // signal.
            let _ = waiters.changed().await;
        }
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn early_and_late_waiters_see_the_shutdown() {
        let shutdown = Shutdown::new();
        assert!(!shutdown.has_begun());
        let waiter = shutdown.clone();
        let begin = async {
            tokio::task::yield_now().await;
            shutdown.begin();
        };
        tokio::join!(waiter.begun(), begin);
        shutdown.begin();
        waiter.begun().await;
        assert!(waiter.has_begun());
    }
}
