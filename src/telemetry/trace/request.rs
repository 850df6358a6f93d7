//! The trace of one sampled request, and its open spans.

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, RandomState};
use std::rc::{Rc, Weak};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Instant;

use http::Method;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::context::{TraceContext, hex};
use super::span::{FinishedSpan, SpanAttribute, SpanLink, SpanLoss, SpanName, SpanOutcome};
use crate::telemetry::counters::Counters;
use crate::time;

/// The field with the context of a trace.
pub static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The fields of a response that may repeat the context of its request. A shared response has none
/// of them: they are those of the request that began the fetch. `server-timing` is among them,
/// because origins state the context in it for browsers.
pub static REPEATED_FIELDS: [HeaderName; 10] = [
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("traceresponse"),
    HeaderName::from_static("server-timing"),
    HeaderName::from_static("trace-id"),
    HeaderName::from_static("x-trace-id"),
    HeaderName::from_static("b3"),
    HeaderName::from_static("x-b3-traceid"),
    HeaderName::from_static("x-amzn-trace-id"),
    HeaderName::from_static("x-cloud-trace-context"),
];

/// The tracer of one worker.
#[derive(Debug)]
pub struct Tracer {
    pub(super) sample: f64,
    pub(super) sender: SpanSender,
    pub(super) random: RefCell<fastrand::Rng>,
}

/// The worker's end of the queue.
#[derive(Clone, Debug)]
pub(super) struct SpanSender {
    pub(super) queue: SyncSender<FinishedSpan>,
    pub(super) lost: Counters<SpanLoss>,
}

impl SpanSender {
    /// Passes a span on, or counts it as lost. Never waits.
    fn send(&self, span: FinishedSpan) {
        match self.queue.try_send(span) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.lost.inc(SpanLoss::QueueFull),
            Err(TrySendError::Disconnected(_)) => self.lost.inc(SpanLoss::Closed),
        }
    }
}

impl Tracer {
    pub(super) fn new(sample: f64, sender: SpanSender) -> Self {
        let seed = RandomState::new().hash_one(0_u8);
        Self { sample, sender, random: RefCell::new(fastrand::Rng::with_seed(seed)) }
    }

    /// Begins the span of a request, if its context or, without one, the ratio samples it.
    pub fn begin(&self, method: &Method, headers: &HeaderMap) -> Option<RequestSpan> {
        let context = stated(headers);
        let mut random = self.random.borrow_mut();
        if !context.map_or_else(|| random.f64() < self.sample, |context| context.sampled) {
            return None;
        }
        let trace = context.map_or_else(|| random.u128(1..).to_be_bytes(), |context| context.trace);
        let root = random.u64(1..).to_be_bytes();
        let origin = if context.is_some() { TraceOrigin::Continued } else { TraceOrigin::New };
        let active = ActiveTrace {
            trace,
            root,
            origin,
            random: RefCell::new(random.fork()),
            sender: self.sender.clone(),
        };
        let span = OpenSpan {
            trace: Rc::new(active),
            id: root,
            parent: context.map(|context| context.span),
            name: SpanName::Request,
            begun: SpanStart::now(),
            outcome: Cell::new(SpanOutcome::Unset),
            is_discarded: Cell::new(false),
            attributes: RefCell::default(),
            links: RefCell::default(),
        };
        span.note("http.request.method", SpanAttribute::Text(method_text(method).into()));
        Some(RequestSpan(Rc::new(span)))
    }
}

/// Returns the context that a request states: exactly one, and valid (W3C Trace Context §4.3).
fn stated(headers: &HeaderMap) -> Option<TraceContext> {
    let mut lines = headers.get_all(&TRACEPARENT).iter();
    let (Some(text), None) = (lines.next(), lines.next()) else { return None };
    TraceContext::parse(text.as_bytes())
}

/// The methods that a span names; a client may send a method of any length.
const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY", "CONNECT", "TRACE"];

/// Returns the name of a method, or the name that OpenTelemetry has for all others.
fn method_text(method: &Method) -> &'static str {
    METHODS.into_iter().find(|name| *name == method.as_str()).unwrap_or("_OTHER")
}

/// The begin of a span on both clocks: the wall clock may be set meanwhile.
#[derive(Clone, Copy, Debug)]
struct SpanStart {
    /// Nanoseconds since the Unix epoch.
    wall: u64,
    at: Instant,
}

impl SpanStart {
    fn now() -> Self {
        Self { wall: time::now_nanos(), at: time::instant() }
    }

    /// Returns the present, in nanoseconds since the Unix epoch.
    fn end(self) -> u64 {
        let took = time::instant().saturating_duration_since(self.at);
        self.wall.saturating_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX))
    }
}

/// The origin of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TraceOrigin {
    /// The client stated it.
    Continued,
    /// It begins with the request.
    New,
}

/// A trace in progress.
#[derive(Debug)]
struct ActiveTrace {
    trace: [u8; 16],
    /// The span of the request.
    root: [u8; 8],
    origin: TraceOrigin,
    random: RefCell<fastrand::Rng>,
    sender: SpanSender,
}

/// The span of a request, which the server holds. It ends with the last byte of the answer, even if
/// a shared fetch goes on.
#[derive(Debug)]
pub struct RequestSpan(Rc<OpenSpan>);

impl RequestSpan {
    /// Returns the view of the handler.
    pub fn trace(&self) -> RequestTrace {
        RequestTrace(Some((Rc::clone(&self.0.trace), Rc::downgrade(&self.0))))
    }

    /// Notes a fact about the request.
    pub fn note(&self, key: &'static str, value: SpanAttribute) {
        self.0.note(key, value);
    }

    /// Records that the request failed by a fault of the server.
    pub fn fail(&self) {
        self.0.fail();
    }
}

/// The handler's view of a trace; of none for a request that is not sampled.
#[derive(Clone, Debug, Default)]
pub struct RequestTrace(Option<(Rc<ActiveTrace>, Weak<OpenSpan>)>);

impl RequestTrace {
    /// Returns the digits of the trace's id.
    pub fn id(&self) -> Option<String> {
        self.0.as_ref().map(|(trace, _)| hex(&trace.trace))
    }

    /// Begins a span within the request.
    pub fn span(&self, name: SpanName) -> Option<OpenSpan> {
        let (trace, _) = self.0.as_ref()?;
        Some(OpenSpan {
            trace: Rc::clone(trace),
            id: trace.random.borrow_mut().u64(1..).to_be_bytes(),
            parent: Some(trace.root),
            name,
            begun: SpanStart::now(),
            outcome: Cell::new(SpanOutcome::Unset),
            is_discarded: Cell::new(false),
            attributes: RefCell::default(),
            links: RefCell::default(),
        })
    }

    /// Notes a fact about the request, if its span has not ended.
    pub fn note(&self, key: &'static str, value: impl FnOnce() -> SpanAttribute) {
        if let Some((_, span)) = &self.0
            && let Some(span) = span.upgrade()
        {
            span.note(key, value());
        }
    }

    /// Links the request to a span of another request that works for both, if its own span has not
    /// ended.
    pub fn link(&self, to: Option<SpanLink>) {
        if let (Some((_, span)), Some(to)) = (&self.0, to)
            && let Some(span) = span.upgrade()
        {
            span.links.borrow_mut().push(to);
        }
    }
}

/// A span in progress. Dropping it ends it.
#[derive(Debug)]
pub struct OpenSpan {
    trace: Rc<ActiveTrace>,
    id: [u8; 8],
    parent: Option<[u8; 8]>,
    name: SpanName,
    begun: SpanStart,
    outcome: Cell<SpanOutcome>,
    is_discarded: Cell<bool>,
    attributes: RefCell<Vec<(&'static str, SpanAttribute)>>,
    links: RefCell<Vec<SpanLink>>,
}

impl OpenSpan {
    /// Sets the context of this span in the head of a request that is sent within it. A
    /// `tracestate` belongs to the trace that the client stated, so a new trace has none (W3C Trace
    /// Context §3.5).
    pub fn inject(&self, headers: &mut HeaderMap) {
        if self.trace.origin == TraceOrigin::New {
            headers.remove(&TRACESTATE);
        }
        let context = TraceContext { trace: self.trace.trace, span: self.id, sampled: true };
        if let Ok(text) = HeaderValue::try_from(context.to_text()) {
            headers.insert(&TRACEPARENT, text);
        }
    }

    /// Notes a fact.
    pub fn note(&self, key: &'static str, value: SpanAttribute) {
        self.attributes.borrow_mut().push((key, value));
    }

    /// Returns the ids of this span, for a link to it.
    pub fn to_link(&self) -> SpanLink {
        SpanLink { trace: self.trace.trace, span: self.id }
    }

    /// Ends the span without a record: the work turned out to be another one.
    pub fn discard(self) {
        self.is_discarded.set(true);
    }

    /// Records that the work failed.
    pub fn fail(&self) {
        self.outcome.set(SpanOutcome::Error);
    }
}

impl Drop for OpenSpan {
    fn drop(&mut self) {
        if self.is_discarded.get() {
            return;
        }
        self.trace.sender.send(FinishedSpan {
            trace: self.trace.trace,
            id: self.id,
            parent: self.parent,
            name: self.name,
            begun: self.begun.wall,
            ended: self.begun.end(),
            outcome: self.outcome.get(),
            attributes: self.attributes.take(),
            links: self.links.take(),
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;
    use crate::telemetry::format::MetricsFormat;
    use crate::telemetry::registry::Registry;

    #[test]
    fn a_full_or_closed_queue_loses_spans_and_counts_them() {
        let registry = Registry::new();
        let lost = registry.counters("lost", "Lost spans.", "reason");
        let (queue, spans) = sync_channel(1);
        let tracer = Tracer::new(1.0, SpanSender { queue, lost });
        let request = || drop(tracer.begin(&Method::GET, &HeaderMap::new()).unwrap());
        (0..3).for_each(|_| request());
        drop(spans);
        request();
        let page = registry.render_as(MetricsFormat::OpenMetrics);
        for counted in ["lost_total{reason=\"queue-full\"} 2\n", "lost_total{reason=\"closed\"} 1\n"] {
            assert!(page.contains(counted), "{page}");
        }
    }

    #[test]
    fn the_ratio_samples_its_share_of_the_requests_without_a_context() {
        let registry = Registry::new();
        let lost = registry.counters("lost", "Lost spans.", "reason");
        let (queue, _spans) = sync_channel(1);
        let tracer = Tracer::new(0.25, SpanSender { queue, lost });
        let is_sampled = |headers: &HeaderMap| tracer.begin(&Method::GET, headers).is_some();
        // The bounds are ten standard deviations away.
        let sampled = (0..10_000).filter(|_| is_sampled(&HeaderMap::new())).count();
        assert!((2_067..=2_933).contains(&sampled), "{sampled}");
        for (flags, want) in [("00", 0), ("01", 100)] {
            let text = format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
            let headers = HeaderMap::from_iter([(TRACEPARENT.clone(), text.parse().unwrap())]);
            assert_eq!((0..100).filter(|_| is_sampled(&headers)).count(), want, "{flags}");
        }
    }

    #[test]
    fn only_one_valid_context_is_continued() {
        let text = HeaderValue::from_static("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        let mut headers = HeaderMap::new();
        assert_eq!(stated(&headers), None);
        headers.append(&TRACEPARENT, text.clone());
        assert_eq!(stated(&headers), TraceContext::parse(text.as_bytes()));
        headers.append(&TRACEPARENT, text);
        assert_eq!(stated(&headers), None);
    }
}
