//! The one signal that everything of the process ends at.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

/// Says once, to everybody who holds a copy, that no new work is to be taken.
#[derive(Clone, Debug)]
pub struct Shutdown(Arc<ShutdownSignal>);

#[derive(Debug)]
struct ShutdownSignal {
    /// What is asked at every poll of every connection: a load of a line that nobody writes, not a
    /// lock.
    begun: AtomicBool,
    told: watch::Sender<()>,
}

impl Shutdown {
    /// A shutdown that nobody has asked for.
    pub fn new() -> Self {
        Self(Arc::new(ShutdownSignal { begun: AtomicBool::new(false), told: watch::Sender::new(()) }))
    }

    /// Asks for it. Again is the same as once.
    pub fn begin(&self) {
        self.0.begun.store(true, Ordering::Release);
        self.0.told.send_replace(());
    }

    /// Whether it has been asked for.
    pub fn has_begun(&self) -> bool {
        self.0.begun.load(Ordering::Acquire)
    }

    /// Ends when it is asked for; at once if it has been. Cancel safe: nothing is lost.
    pub async fn begun(&self) {
        let mut told = self.0.told.subscribe();
        // In this order: between a look and a subscription nobody would be told.
        if !self.has_begun() {
            // The sender is ours as well, so this cannot fail before it is told.
            let _ = told.changed().await;
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
    async fn those_who_wait_and_those_who_come_late_are_told() {
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
