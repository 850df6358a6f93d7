//! The lines of one worker that wait for the writer.
//!
//! A worker and the writer share each queue under a lock. The worker holds it while it renders one
//! line, so that the line is written once; the writer holds it for a swap of two batches, and never
//! while it writes. So a worker waits for a swap at most.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;

use super::line::{AccessLine, LineTexts};
use super::render::LineRenderer;
use crate::limits::{ACCESS_QUEUE_BYTES_MAX, ACCESS_QUEUE_LINES_MAX};
use crate::telemetry::counters::Counters;

crate::labels! {
    /// The reason why a line of the access log is lost.
    pub(super) enum LineLoss {
        /// The reader of standard output is slow, and the queue is full.
        QueueFull => "queue-full",
        /// The reader of standard output is gone.
        Closed => "closed",
        /// The system could not write.
        WriteFailed => "write-failed",
    }
}

/// Rendered lines, one after the other.
#[derive(Debug, Default)]
pub(super) struct LineBatch {
    pub(super) lines: u64,
    pub(super) text: Vec<u8>,
}

impl LineBatch {
    /// Adds the line that `render` appends, if it fits the limits.
    fn push(&mut self, render: impl FnOnce(&mut Vec<u8>)) -> Result<(), LineLoss> {
        if self.lines >= ACCESS_QUEUE_LINES_MAX as u64 {
            return Err(LineLoss::QueueFull);
        }
        let before = self.text.len();
        render(&mut self.text);
        if self.text.len() > ACCESS_QUEUE_BYTES_MAX {
            self.text.truncate(before);
            return Err(LineLoss::QueueFull);
        }
        self.lines += 1;
        Ok(())
    }

    /// Empties the batch; its memory stays.
    pub(super) fn clear(&mut self) {
        self.lines = 0;
        self.text.clear();
    }
}

#[derive(Debug, Default)]
struct QueueState {
    batch: LineBatch,
    /// Whether the writer found nothing here and sleeps.
    is_writer_asleep: bool,
    /// Whether the reader of standard output is gone.
    is_closed: bool,
}

/// The queue of one worker. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct LineQueue(Arc<Mutex<QueueState>>);

impl LineQueue {
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes all lines in exchange for an empty batch. If there are none, the next line wakes the
    /// writer.
    pub(super) fn take(&self, empty: &mut LineBatch) {
        let mut state = self.lock();
        std::mem::swap(&mut state.batch, empty);
        state.is_writer_asleep = empty.lines == 0;
    }

    /// Refuses further lines, since the reader is gone.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
    }
}

/// The worker's end of a queue.
#[derive(Debug)]
pub(super) struct LineSender {
    pub(super) renderer: RefCell<LineRenderer>,
    pub(super) queue: LineQueue,
    pub(super) writer: Thread,
    pub(super) lost: Counters<LineLoss>,
}

impl LineSender {
    /// Renders a line into the queue, or counts it as lost. Never waits for the output.
    pub(super) fn send(&self, line: &AccessLine, texts: &LineTexts<'_>) {
        let mut state = self.queue.lock();
        if state.is_closed {
            return self.lost.inc(LineLoss::Closed);
        }
        let mut renderer = self.renderer.borrow_mut();
        if let Err(loss) = state.batch.push(|text| renderer.put(text, line, texts)) {
            return self.lost.inc(loss);
        }
        let wakes = std::mem::take(&mut state.is_writer_asleep);
        drop(state);
        if wakes {
            self.writer.unpark();
        }
    }
}
