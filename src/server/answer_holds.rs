//! The answers of one connection whose bytes count: they are held until hyper has written them, and
//! the connection ends when one of them is cut.
//!
//! hyper drops a body behind its last frame, before the socket has accepted it. Over HTTP/1.1 the
//! frame may be the whole body, so the connection keeps the hold of a dropped body until hyper has
//! nothing left to write.
//!
//! **Always:** a connection without a counted answer pays two loads for each poll.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use crate::answer_budget::AnswerHold;

/// The holds of one connection, and the signal that ends it.
#[derive(Debug, Default)]
pub(super) struct AnswerHolds {
    has_unwritten: AtomicBool,
    unwritten: Mutex<Vec<AnswerHold>>,
    /// Whether the connection ever carried a counted answer.
    is_counted: AtomicBool,
    is_cut: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl AnswerHolds {
    /// Records that the connection carries a counted answer.
    pub(super) fn set_counted(&self) {
        self.is_counted.store(true, Relaxed);
    }

    /// Keeps the hold of a body that hyper has dropped, until hyper has written it.
    pub(super) fn keep(&self, hold: AnswerHold) {
        lock(&self.unwritten).push(hold);
        self.has_unwritten.store(true, Relaxed);
    }

    /// Records that hyper has nothing left to write.
    pub(super) fn written(&self) {
        // One thread writes both, so a load and a store are enough.
        if self.has_unwritten.load(Relaxed) {
            self.has_unwritten.store(false, Relaxed);
            // The list keeps its capacity, so an answer costs no allocation.
            lock(&self.unwritten).clear();
        }
    }

    /// Ends the connection. Any thread may call this.
    pub(super) fn cut(&self) {
        self.is_cut.store(true, Release);
        if let Some(waker) = lock(&self.waker).take() {
            waker.wake();
        }
    }

    /// Returns whether the connection is to end, and otherwise wakes the task once it is.
    pub(super) fn poll_cut(&self, cx: &Context<'_>) -> bool {
        if !self.is_counted.load(Relaxed) {
            return false;
        }
        *lock(&self.waker) = Some(cx.waker().clone());
        self.is_cut.load(Acquire)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
