//! The access log: one line on standard output for each request, and warnings about slow ones.
//!
//! ```text
//! server ─ begin ─► LoggedRequest ─ drop ─► LineQueue ─► writer thread ─► standard output
//!                        ▲                  (bounded)
//! proxy ── note ─────────┘ RequestRecord
//! ```
//!
//! A worker renders the line of a finished request into a queue of its own. One thread takes the
//! queues in turns and writes the lines. If the reader of the pipe is slow or gone, the queues
//! fill, and further lines are dropped and counted: a request never waits for its line.

mod line;
mod members;
mod options;
mod queue;
mod recorder;
mod render;
mod slow;
mod writer;

pub use line::{AnswerEnd, AnswerFacts};
pub use options::{AccessFormat, AccessLogOptions, LoggedPath};
pub use recorder::{
    LoggedRequest, REFUSED_OUTCOME, RequestRecord, RequestRecorder, TunnelBytes, TunnelRecord,
};
pub use writer::{AccessLog, AccessLogWriter};
