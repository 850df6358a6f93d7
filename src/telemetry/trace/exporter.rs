//! The thread that sends spans to the collector.
//!
//! The thread takes the spans of all workers from one bounded queue, gathers them for a moment, and
//! sends each batch in one request. It sends no batch twice: a collector that is down, slow or busy
//! (413, 429, 503) loses spans, which are counted, and the process keeps neither spans nor
//! connections for it.

use std::io;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HOST};
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::runtime::{self, Runtime};
use tokio::time::timeout;

use super::otlp;
use super::request::{SpanSender, Tracer};
use super::span::{FinishedSpan, SpanLoss};
use crate::limits::{
    TRACE_BATCH_SPANS_MAX, TRACE_EXPORT_TIMEOUT, TRACE_FLUSH_TIMEOUT, TRACE_GATHER_TIME,
    TRACE_QUEUE_SPANS_MAX,
};
use crate::telemetry::counters::{Counter, Counters};
use crate::telemetry::registry::Registry;
use crate::time;

/// The address of a collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceEndpoint {
    /// Host and port.
    pub authority: String,
    /// The path that takes traces.
    pub path: String,
}

/// The options of traces.
#[derive(Clone, Debug)]
pub struct TraceOptions {
    /// The collector; `None` for no traces.
    pub endpoint: Option<TraceEndpoint>,
    /// The share of requests without a context that are sampled.
    pub sample: f64,
}

/// The traces of a process, for its workers.
#[derive(Clone, Debug)]
pub struct Tracing {
    sample: f64,
    queue: Option<SyncSender<FinishedSpan>>,
}

/// The owner of the exporting thread, which ends when the last worker has ended.
#[derive(Debug)]
pub struct TraceExporter(Option<Mutex<Receiver<()>>>);

impl Tracing {
    /// Starts the thread, if there is a collector.
    pub fn start(options: TraceOptions, registry: &Registry) -> io::Result<(Self, TraceExporter)> {
        let TraceOptions { endpoint, sample } = options;
        let sent = registry.counter("cachewarp_trace_spans_sent", "Spans that the collector accepted.");
        let lost = lost_spans(registry);
        let Some(endpoint) = endpoint else {
            return Ok((Self { sample, queue: None }, TraceExporter(None)));
        };
        let (queue, spans) = sync_channel(TRACE_QUEUE_SPANS_MAX);
        let (end, ended) = sync_channel(1);
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let exporting = ExportingThread { endpoint, spans, runtime, sent, lost, is_failing: false };
        thread::Builder::new().name("traces".to_owned()).spawn(move || {
            exporting.run();
            // The owner may be gone.
            let _ = end.send(());
        })?;
        Ok((Self { sample, queue: Some(queue) }, TraceExporter(Some(Mutex::new(ended)))))
    }

    /// Returns the tracer of a worker, or `None` if there is no collector.
    pub fn tracer(&self, registry: &Registry) -> Option<Tracer> {
        let queue = self.queue.clone()?;
        Some(Tracer::new(self.sample, SpanSender { queue, lost: lost_spans(registry) }))
    }
}

impl TraceExporter {
    /// Waits until the last spans are sent, for a bounded time. The workers have ended.
    pub fn close(self) {
        if let Some(ended) = self.0 {
            let ended = ended.into_inner().unwrap_or_else(PoisonError::into_inner);
            // The thread ends, or the process ends without it.
            let _ = ended.recv_timeout(TRACE_FLUSH_TIMEOUT);
        }
    }
}

fn lost_spans(registry: &Registry) -> Counters<SpanLoss> {
    registry.counters("cachewarp_trace_spans_lost", "Spans that no collector got, by reason.", "reason")
}

/// The failure of one request to the collector.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error("no answer within {} s", TRACE_EXPORT_TIMEOUT.as_secs())]
    TooLate,
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("{0}")]
    Request(#[from] http::Error),
    #[error("it answered {0}")]
    Refused(StatusCode),
}

/// The thread's state.
struct ExportingThread {
    endpoint: TraceEndpoint,
    spans: Receiver<FinishedSpan>,
    runtime: Runtime,
    sent: Counter,
    lost: Counters<SpanLoss>,
    is_failing: bool,
}

impl ExportingThread {
    /// Sends batches until no worker is left.
    fn run(mut self) {
        while let Ok(first) = self.spans.recv() {
            let mut batch = vec![first];
            let end = time::instant() + TRACE_GATHER_TIME;
            while batch.len() < TRACE_BATCH_SPANS_MAX {
                let left = end.saturating_duration_since(time::instant());
                match self.spans.recv_timeout(left.max(Duration::from_nanos(1))) {
                    Ok(span) => batch.push(span),
                    Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
                }
            }
            self.export(&batch);
        }
    }

    fn export(&mut self, batch: &[FinishedSpan]) {
        let message = Bytes::from(otlp::encode(batch));
        let endpoint = &self.endpoint;
        let sent = self.runtime.block_on(async {
            timeout(TRACE_EXPORT_TIMEOUT, post(endpoint, message)).await.unwrap_or(Err(ExportError::TooLate))
        });
        let count = batch.len() as u64;
        match sent {
            Ok(()) => {
                self.sent.add(count);
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!("the collector accepts spans again");
                }
            }
            Err(error) => {
                let loss = match error {
                    ExportError::Refused(_) => SpanLoss::Refused,
                    ExportError::TooLate
                    | ExportError::Connect(_)
                    | ExportError::Http(_)
                    | ExportError::Request(_) => SpanLoss::Unreachable,
                };
                self.lost.add(loss, count);
                if !std::mem::replace(&mut self.is_failing, true) {
                    let collector = &self.endpoint.authority;
                    tracing::warn!(collector, %error, "the collector accepts no spans; they are lost");
                }
            }
        }
    }
}

/// Sends one message on a connection of its own.
async fn post(endpoint: &TraceEndpoint, message: Bytes) -> Result<(), ExportError> {
    let request = Request::post(&endpoint.path)
        .header(HOST, &endpoint.authority)
        .header(CONNECTION, "close")
        .header(CONTENT_TYPE, "application/x-protobuf")
        .body(Full::new(message))?;
    let stream = TcpStream::connect(&endpoint.authority).await.map_err(ExportError::Connect)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answer = tokio::select! {
        answer = sender.send_request(request) => answer?,
        // The answer reports an error of the connection.
        never = async { drop(connection.await); std::future::pending().await } => never,
    };
    if answer.status().is_success() { Ok(()) } else { Err(ExportError::Refused(answer.status())) }
}
