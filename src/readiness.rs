//! The readiness of the process for new clients, as a load balancer asks for it.
//!
//! Health means that the process works; readiness means that it should get requests. A process that
//! starts or drains is healthy and not ready.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::label::Label;

crate::labels! {
    /// The phase of the process. Each phase comes after the one before it.
    pub enum ProcessPhase {
        /// The process connects to Redis.
        Starting => "starting",
        /// The process reads the most requested entries into memory.
        Warming => "warming",
        /// The process accepts requests.
        Ready => "ready",
        /// A signal has begun the shutdown. The process still answers the requests that arrive.
        Draining => "draining",
    }
}

impl ProcessPhase {
    /// Returns the body of the answer to a readiness check.
    pub const fn document(self) -> &'static str {
        match self {
            Self::Starting => r#"{"status":"starting"}"#,
            Self::Warming => r#"{"status":"warming"}"#,
            Self::Ready => r#"{"status":"ready"}"#,
            Self::Draining => r#"{"status":"draining"}"#,
        }
    }
}

/// The phase of this process. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicUsize>);

impl Readiness {
    /// Enters a phase, unless the process is in a later one.
    pub fn enter(&self, phase: ProcessPhase) {
        self.0.fetch_max(phase.index(), Ordering::Relaxed);
    }

    /// Returns the current phase.
    pub fn phase(&self) -> ProcessPhase {
        let index = self.0.load(Ordering::Relaxed);
        ProcessPhase::ALL.get(index).copied().unwrap_or(ProcessPhase::Draining)
    }

    /// Returns whether the process should get requests.
    pub fn is_ready(&self) -> bool {
        self.phase() == ProcessPhase::Ready
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_never_returns() {
        let readiness = Readiness::default();
        assert_eq!(readiness.phase(), ProcessPhase::Starting);
        readiness.enter(ProcessPhase::Ready);
        readiness.clone().enter(ProcessPhase::Warming);
        assert!(readiness.is_ready());
        readiness.enter(ProcessPhase::Draining);
        readiness.enter(ProcessPhase::Ready);
        assert_eq!(readiness.phase(), ProcessPhase::Draining);
    }

    #[test]
    fn the_document_has_the_word_of_the_phase() {
        for phase in ProcessPhase::ALL {
            assert_eq!(phase.document(), format!(r#"{{"status":"{}"}}"#, phase.word()));
        }
    }
}
