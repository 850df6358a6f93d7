//! Traces: spans of sampled requests, sent to a collector over OTLP/HTTP.
//!
//! ```text
//! server ─ begin ─► RequestSpan ── drop ─► SpanSender ─► exporter thread ─► collector
//!                        ▲                 (bounded)
//! proxy ── span ─────────┘ RequestTrace, OpenSpan
//! ```
//!
//! A request that is not sampled costs a lookup of `traceparent` and a random number. A slow
//! collector delays no request: spans that find the queue full are dropped and counted.

mod context;
mod exporter;
mod otlp;
mod request;
mod span;

pub use context::TraceContext;
pub use exporter::{TraceEndpoint, TraceExporter, TraceOptions, Tracing};
pub use request::{OpenSpan, REPEATED_FIELDS, RequestSpan, RequestTrace, TRACEPARENT, Tracer};
pub use span::{SpanAttribute, SpanLink, SpanName};
