//! The facts of a request in progress, which the server and its handler collect.
//!
//! Each request in progress has a cell, and a finished one leaves its cell to the next, so that a
//! line costs a worker no allocation. The server holds a [`LoggedRequest`] until the last byte is
//! passed on; the handler notes facts through a [`RequestRecord`], and may take the line over for a
//! tunnel.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use http::header::{HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, Request, StatusCode};
use http_body::Body;

use super::line::{AccessLine, AnswerEnd, AnswerFacts, LineTexts, trace_id};
use super::options::LoggedPath;
use super::queue::LineSender;
use super::slow::SlowLog;
use crate::key::Scheme;
use crate::limits::ACCESS_CELLS_KEPT_MAX;
use crate::request_id::RequestId;
use crate::telemetry::trace::RequestTrace;
use crate::time::{self, Timestamp};

static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

const HOST_BYTES: usize = "host".len();
const AGENT_BYTES: usize = "user-agent".len();
const ID_BYTES: usize = "x-request-id".len();
const PARENT_BYTES: usize = "traceparent".len();

/// The outcome of a request that the server or the handler refused.
pub const REFUSED_OUTCOME: &str = "refused";

/// The recorder of one worker's requests.
#[derive(Debug)]
pub struct RequestRecorder {
    path: LoggedPath,
    sender: Option<LineSender>,
    slow: Option<SlowLog>,
    /// The cells of finished requests.
    pub(super) free: RefCell<Vec<Rc<RequestCell>>>,
}

/// The facts of one request in progress.
#[derive(Debug)]
pub(super) struct RequestCell {
    begun: Cell<Instant>,
    /// Whether a tunnel writes the line.
    is_tunnel: Cell<bool>,
    /// Whether the line is not written yet.
    is_open: Cell<bool>,
    line: RefCell<AccessLine>,
    text: RefCell<Vec<u8>>,
}

impl RequestRecorder {
    pub(super) fn new(path: LoggedPath, sender: Option<LineSender>, slow: Option<SlowLog>) -> Self {
        Self { path, sender, slow, free: RefCell::default() }
    }

    /// Begins the line of a request. A request without an id shows the one that its client states.
    pub fn begin<B: Body>(
        self: &Rc<Self>,
        peer: IpAddr,
        scheme: Scheme,
        request: &Request<B>,
        id: Option<&RequestId>,
        trace: &RequestTrace,
    ) -> LoggedRequest {
        let own_trace = trace.id();
        let uri = request.uri();
        let LoggedFields { host, agent, request_id, traceparent } = LoggedFields::of(request.headers());
        let texts = LineTexts {
            host: uri.authority().map_or(host, |authority| authority.as_str().as_bytes()),
            path: uri.path().as_bytes(),
            query: match self.path {
                LoggedPath::Full => uri.query().unwrap_or_default().as_bytes(),
                LoggedPath::Route | LoggedPath::Path => &[],
            },
            agent,
            request_id: id.map_or(request_id, |id| id.value().as_bytes()),
            trace_id: match &own_trace {
                Some(id) => id.as_bytes(),
                None if traceparent.is_empty() => &[],
                None => trace_id(traceparent),
            },
        };
        let cell = self.free.borrow_mut().pop().unwrap_or_else(RequestCell::new);
        let mut text = cell.text.borrow_mut();
        text.clear();
        *cell.line.borrow_mut() = AccessLine {
            version: request.version(),
            method: Some(request.method().clone()),
            request_bytes: request.body().size_hint().exact(),
            lengths: texts.put(&mut text),
            ..AccessLine::begun(time::now(), peer, scheme)
        };
        drop(text);
        cell.begun.set(time::instant());
        cell.is_tunnel.set(false);
        cell.is_open.set(true);
        LoggedRequest {
            record: RecordHandle { cell, recorder: Rc::clone(self) },
            response_bytes: 0,
            end: None,
        }
    }

    /// Writes the line of a request that the server refused before it could read it.
    pub fn refused(&self, peer: IpAddr, scheme: Scheme, status: StatusCode, reason: &'static str) {
        let mut line = AccessLine::begun(time::now(), peer, scheme);
        line.status = Some(status.as_u16());
        line.end = AnswerEnd::Complete;
        line.facts.outcome = Some(REFUSED_OUTCOME);
        line.facts.detail = Some(reason);
        if let Some(sender) = &self.sender {
            sender.send(&line, &LineTexts::default());
        }
    }
}

/// The fields of a head that a line shows; empty if the head does not have them.
#[derive(Default)]
struct LoggedFields<'a> {
    host: &'a [u8],
    agent: &'a [u8],
    request_id: &'a [u8],
    traceparent: &'a [u8],
}

impl<'a> LoggedFields<'a> {
    /// Reads the fields in one pass, which costs less than a lookup of each. The first line of a
    /// field counts.
    fn of(headers: &'a HeaderMap) -> Self {
        let mut fields = Self::default();
        let mut found = [false; 4];
        let [has_host, has_agent, has_id, has_parent] = &mut found;
        for (name, value) in headers {
            // The length of a name distinguishes it from most others.
            let (slot, has_slot) = match name.as_str().len() {
                HOST_BYTES if name == HOST => (&mut fields.host, &mut *has_host),
                AGENT_BYTES if name == USER_AGENT => (&mut fields.agent, &mut *has_agent),
                ID_BYTES if name == X_REQUEST_ID => (&mut fields.request_id, &mut *has_id),
                PARENT_BYTES if name == TRACEPARENT => (&mut fields.traceparent, &mut *has_parent),
                _ => continue,
            };
            if !std::mem::replace(has_slot, true) {
                *slot = value.as_bytes();
            }
        }
        fields
    }
}

impl RequestCell {
    fn new() -> Rc<Self> {
        Rc::new(Self {
            begun: Cell::new(time::instant()),
            is_tunnel: Cell::new(false),
            is_open: Cell::new(false),
            line: RefCell::new(AccessLine::begun(
                Timestamp::EPOCH,
                IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                Scheme::Http,
            )),
            text: RefCell::default(),
        })
    }
}

/// A request's cell, and its worker's recorder.
#[derive(Clone, Debug)]
struct RecordHandle {
    cell: Rc<RequestCell>,
    recorder: Rc<RequestRecorder>,
}

impl RecordHandle {
    fn with(&self, change: impl FnOnce(&mut AccessLine)) {
        if self.cell.is_open.get() {
            change(&mut self.cell.line.borrow_mut());
        }
    }

    /// Ends the line and hands it over.
    fn finish(&self, complete: impl FnOnce(&mut AccessLine)) {
        if !self.cell.is_open.replace(false) {
            return;
        }
        let mut line = self.cell.line.borrow_mut();
        line.duration = time::instant().saturating_duration_since(self.cell.begun.get());
        complete(&mut line);
        let text = self.cell.text.borrow();
        let texts = LineTexts::take(&mut text.as_slice(), line.lengths);
        if let Some(slow) = &self.recorder.slow {
            slow.look(&line, &texts, self.recorder.path);
        }
        if let Some(sender) = &self.recorder.sender {
            sender.send(&line, &texts);
        }
        // A name of a route belongs to a table that a reload may replace.
        line.facts.route = None;
    }

    /// Leaves the cell to a later request, unless its handler still holds it.
    fn recycle(&self) {
        let mut free = self.recorder.free.borrow_mut();
        if Rc::strong_count(&self.cell) == 1 && free.len() < ACCESS_CELLS_KEPT_MAX {
            free.push(Rc::clone(&self.cell));
        }
    }
}

/// The handler's view of a request: its line and its trace, if it has them.
#[derive(Clone, Debug, Default)]
pub struct RequestRecord {
    line: Option<RecordHandle>,
    trace: RequestTrace,
}

impl RequestRecord {
    /// Sets the trace.
    #[must_use]
    pub fn traced(self, trace: RequestTrace) -> Self {
        Self { trace, ..self }
    }

    /// Returns the trace; an empty one if the request is not sampled.
    pub fn trace(&self) -> &RequestTrace {
        &self.trace
    }

    /// Returns whether the request is logged.
    pub fn is_logged(&self) -> bool {
        self.line.is_some()
    }

    /// Notes facts about the answer, if the request is logged and not finished.
    pub fn note(&self, note: impl FnOnce(&mut AnswerFacts)) {
        if let Some(handle) = &self.line {
            handle.with(|line| note(&mut line.facts));
        }
    }

    /// Notes facts about the answer, and the time until its head.
    pub fn answered(&self, took: Duration, note: impl FnOnce(&mut AnswerFacts)) {
        if let Some(handle) = &self.line {
            handle.with(|line| {
                line.time_to_head = Some(took);
                note(&mut line.facts);
            });
        }
    }

    /// Returns the begin of the request, if it is logged.
    pub fn begun(&self) -> Option<Instant> {
        self.line.as_ref().map(|handle| handle.cell.begun.get())
    }

    /// Takes the line over for a tunnel, which ends it.
    pub fn take_for_tunnel(&self) -> TunnelRecord {
        if let Some(handle) = &self.line {
            handle.cell.is_tunnel.set(true);
        }
        TunnelRecord { bytes: TunnelBytes::default(), handle: self.line.clone(), end: AnswerEnd::TunnelCut }
    }
}

/// The bytes that a tunnel has carried.
#[derive(Debug, Default)]
pub struct TunnelBytes {
    /// The bytes from the client.
    pub from_client: Cell<u64>,
    /// The bytes from the origin.
    pub to_client: Cell<u64>,
}

/// The line of a tunnel, if its request is logged. Dropping it writes the line.
#[derive(Debug)]
pub struct TunnelRecord {
    /// The bytes so far.
    pub bytes: TunnelBytes,
    handle: Option<RecordHandle>,
    end: AnswerEnd,
}

impl TunnelRecord {
    /// Records the end of the tunnel.
    pub fn ended(mut self, end: AnswerEnd) {
        self.end = end;
    }
}

impl Drop for TunnelRecord {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            handle.finish(|line| {
                line.end = self.end;
                line.response_bytes = self.bytes.to_client.get();
                line.tunnel_bytes = Some(self.bytes.from_client.get());
            });
            handle.recycle();
        }
    }
}

/// A request whose line is not complete. Dropping it writes the line, unless a tunnel does.
#[derive(Debug)]
pub struct LoggedRequest {
    record: RecordHandle,
    response_bytes: u64,
    /// The known end; `None` means that the client has left.
    end: Option<AnswerEnd>,
}

impl LoggedRequest {
    /// Returns the handler's view.
    pub fn record(&self) -> RequestRecord {
        RequestRecord { line: Some(self.record.clone()), trace: RequestTrace::default() }
    }

    /// Records the head of the response, and the time until it unless the handler has.
    pub fn head(&self, status: StatusCode) {
        self.record.with(|line| {
            line.status = Some(status.as_u16());
            if line.time_to_head.is_none() {
                line.time_to_head =
                    Some(time::instant().saturating_duration_since(self.record.cell.begun.get()));
            }
        });
    }

    /// Counts bytes of the response's body.
    pub fn sent(&mut self, bytes: usize) {
        self.response_bytes += bytes as u64;
    }

    /// Records the end of the response, if none is recorded yet.
    pub fn ended(&mut self, end: AnswerEnd) {
        self.end.get_or_insert(end);
    }
}

impl Drop for LoggedRequest {
    fn drop(&mut self) {
        if !self.record.cell.is_tunnel.get() {
            self.record.finish(|line| {
                line.response_bytes = self.response_bytes;
                line.end = self.end.unwrap_or(AnswerEnd::ClientLeft);
            });
            self.record.recycle();
        }
    }
}
