//! The facts of a request in progress, which the server and its handler collect.
//!
//! Each request in progress has a cell, and a finished one leaves its cell to the next, so that a
//! line costs a worker no allocation. The server holds a [`LoggedRequest`] until the last byte is
//! passed on; the handler notes facts through a [`RequestRecord`], and may take the line over for a
//! tunnel.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Instant;

use http::header::{HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, Request, StatusCode};
use http_body::Body;

use super::line::{AccessLine, AnswerEnd, AnswerFacts, LineTexts, trace_id};
use super::options::LoggedPath;
use super::queue::LineSender;
use super::slow::SlowLog;
use crate::key::Scheme;
use crate::limits::ACCESS_CELLS_KEPT_MAX;
use crate::time;

static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

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
    /// `None` once the line is written.
    line: RefCell<Option<AccessLine>>,
    text: RefCell<Vec<u8>>,
}

impl RequestRecorder {
    pub(super) fn new(path: LoggedPath, sender: Option<LineSender>, slow: Option<SlowLog>) -> Self {
        Self { path, sender, slow, free: RefCell::default() }
    }

    /// Begins the line of a request.
    pub fn begin<B: Body>(
        self: &Rc<Self>,
        peer: IpAddr,
        scheme: Scheme,
        request: &Request<B>,
    ) -> LoggedRequest {
        let uri = request.uri();
        let field = |name: &HeaderName| bytes(request.headers(), name);
        let texts = LineTexts {
            host: uri.authority().map_or_else(|| field(&HOST), |authority| authority.as_str().as_bytes()),
            path: uri.path().as_bytes(),
            query: match self.path {
                LoggedPath::Full => uri.query().unwrap_or_default().as_bytes(),
                LoggedPath::Route | LoggedPath::Path => &[],
            },
            agent: field(&USER_AGENT),
            request_id: field(&X_REQUEST_ID),
            trace_id: trace_id(field(&TRACEPARENT)),
        };
        let mut line = AccessLine::begun(time::now(), peer, scheme);
        line.version = request.version();
        line.method = Some(request.method().clone());
        line.request_bytes = request.body().size_hint().exact();
        let cell = self.free.borrow_mut().pop().unwrap_or_else(RequestCell::new);
        let mut text = cell.text.borrow_mut();
        text.clear();
        line.lengths = texts.put(&mut text);
        drop(text);
        cell.begun.set(time::instant());
        cell.is_tunnel.set(false);
        cell.line.replace(Some(line));
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
            sender.send(line, &[]);
        }
    }
}

fn bytes<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a [u8] {
    headers.get(name).map(|value| value.as_bytes()).unwrap_or_default()
}

impl RequestCell {
    fn new() -> Rc<Self> {
        Rc::new(Self {
            begun: Cell::new(time::instant()),
            is_tunnel: Cell::new(false),
            line: RefCell::new(None),
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
        if let Some(line) = self.cell.line.borrow_mut().as_mut() {
            change(line);
        }
    }

    /// Ends the line and hands it over.
    fn finish(&self, complete: impl FnOnce(&mut AccessLine)) {
        let Some(mut line) = self.cell.line.borrow_mut().take() else { return };
        line.duration = time::instant().saturating_duration_since(self.cell.begun.get());
        complete(&mut line);
        let text = self.cell.text.borrow();
        if let Some(slow) = &self.recorder.slow {
            slow.look(&line, &LineTexts::take(&mut text.as_slice(), line.lengths), self.recorder.path);
        }
        if let Some(sender) = &self.recorder.sender {
            sender.send(line, &text);
        }
    }

    /// Leaves the cell to a later request, unless its handler still holds it.
    fn recycle(&self) {
        let mut free = self.recorder.free.borrow_mut();
        if Rc::strong_count(&self.cell) == 1 && free.len() < ACCESS_CELLS_KEPT_MAX {
            free.push(Rc::clone(&self.cell));
        }
    }
}

/// The handler's view of a request that is logged, or of one that is not.
#[derive(Clone, Debug, Default)]
pub struct RequestRecord(Option<RecordHandle>);

impl RequestRecord {
    /// Returns whether the request is logged.
    pub fn is_logged(&self) -> bool {
        self.0.is_some()
    }

    /// Notes facts about the answer, if the request is logged and not finished.
    pub fn note(&self, note: impl FnOnce(&mut AnswerFacts)) {
        if let Some(handle) = &self.0 {
            handle.with(|line| note(&mut line.facts));
        }
    }

    /// Takes the line over for a tunnel, which ends it.
    pub fn take_for_tunnel(&self) -> TunnelRecord {
        if let Some(handle) = &self.0 {
            handle.cell.is_tunnel.set(true);
        }
        TunnelRecord { bytes: TunnelBytes::default(), handle: self.0.clone(), end: AnswerEnd::TunnelCut }
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
        RequestRecord(Some(self.record.clone()))
    }

    /// Records the head of the response.
    pub fn head(&self, status: StatusCode) {
        let took = time::instant().saturating_duration_since(self.record.cell.begun.get());
        self.record.with(|line| {
            line.status = Some(status.as_u16());
            line.time_to_head = Some(took);
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
