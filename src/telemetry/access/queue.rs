//! The finished requests of one worker that wait for the writer.
//!
//! A worker and the writer share each queue under a lock that covers a copy of a few hundred bytes,
//! or a swap of two batches; the writer never holds it while it renders or writes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;

use super::line::{AccessLine, LineTexts};
use crate::limits::{ACCESS_QUEUE_LINES_MAX, ACCESS_QUEUE_TEXT_BYTES_MAX};
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

/// Lines, and their texts one after the other.
#[derive(Debug, Default)]
pub(super) struct LineBatch {
    lines: Vec<AccessLine>,
    text: Vec<u8>,
}

impl LineBatch {
    /// Adds a line, and its texts.
    pub(super) fn push(&mut self, line: AccessLine, text: &[u8]) {
        self.lines.push(line);
        self.text.extend_from_slice(text);
    }

    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// Returns whether a further line fits the limits.
    fn has_room(&self, text: &[u8]) -> bool {
        self.lines.len() < ACCESS_QUEUE_LINES_MAX
            && self.text.len() + text.len() <= ACCESS_QUEUE_TEXT_BYTES_MAX
    }

    /// Passes each line to `look` and empties the batch; its memory stays.
    pub(super) fn drain(&mut self, mut look: impl FnMut(&AccessLine, &LineTexts<'_>)) {
        let mut text = self.text.as_slice();
        for line in self.lines.drain(..) {
            look(&line, &LineTexts::take(&mut text, line.lengths));
        }
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
        state.is_writer_asleep = empty.len() == 0;
    }

    /// Refuses further lines, since the reader is gone.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
    }
}

/// The worker's end of a queue.
#[derive(Debug)]
pub(super) struct LineSender {
    pub(super) queue: LineQueue,
    pub(super) writer: Thread,
    pub(super) lost: Counters<LineLoss>,
}

impl LineSender {
    /// Adds a line, or counts it as lost. Never waits for the writer.
    pub(super) fn send(&self, line: AccessLine, text: &[u8]) {
        let mut state = self.queue.lock();
        if state.is_closed {
            return self.lost.inc(LineLoss::Closed);
        }
        if !state.batch.has_room(text) {
            return self.lost.inc(LineLoss::QueueFull);
        }
        state.batch.push(line, text);
        let wakes = std::mem::take(&mut state.is_writer_asleep);
        drop(state);
        if wakes {
            self.writer.unpark();
        }
    }
}
