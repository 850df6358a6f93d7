//! The trace of one sampled request, and its open spans.

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, RandomState};
use std::rc::{Rc, Weak};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Instant;

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::context::{TraceContext, hex};
use super::span::{FinishedSpan, SpanAttribute, SpanLoss, SpanName, SpanOutcome};
use crate::telemetry::Counters;
use crate::time;

static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

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
    pub fn begin(&self, headers: &HeaderMap) -> Option<RequestSpan> {
        let context = headers.get(&TRACEPARENT).and_then(|text| TraceContext::parse(text.as_bytes()));
        let mut random = self.random.borrow_mut();
        if !context.map_or_else(|| random.f64() < self.sample, |context| context.sampled) {
            return None;
        }
        let trace = context.map_or_else(|| random.u128(1..).to_be_bytes(), |context| context.trace);
        let root = random.u64(1..).to_be_bytes();
        let active =
            ActiveTrace { trace, root, random: RefCell::new(random.fork()), sender: self.sender.clone() };
        let span = OpenSpan {
            trace: Rc::new(active),
            id: root,
            parent: context.map(|context| context.span),
            name: SpanName::Request,
            begun: SpanStart::now(),
            outcome: Cell::new(SpanOutcome::Unset),
            is_discarded: Cell::new(false),
            attributes: RefCell::default(),
        };
        Some(RequestSpan(Rc::new(span)))
    }
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

/// A trace in progress.
#[derive(Debug)]
struct ActiveTrace {
    trace: [u8; 16],
    /// The span of the request.
    root: [u8; 8],
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
}

impl OpenSpan {
    /// Sets the context of this span in the head of a request that is sent within it.
    pub fn inject(&self, headers: &mut HeaderMap) {
        let context = TraceContext { trace: self.trace.trace, span: self.id, sampled: true };
        if let Ok(text) = HeaderValue::try_from(context.to_text()) {
            headers.insert(&TRACEPARENT, text);
        }
    }

    /// Notes a fact.
    pub fn note(&self, key: &'static str, value: SpanAttribute) {
        self.attributes.borrow_mut().push((key, value));
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
        });
    }
}
