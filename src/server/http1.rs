//! An HTTP/1.1 connection on hyper, and the refusals and limits that hyper does not provide.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1::{Builder, UpgradeableConnection};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::activity::ClientWait;
use super::close;
use super::drain::Shutdown;
use super::drive::{DrivableConnection, DriveEnd, drive};
use super::framing::NextBytes;
use super::io::WatchedSocket;
use super::metrics::{ConnectionGuard, ConnectionRefusal, HttpProtocol};
use super::parking::{ParkingEnd, park};
use super::service::{BodyFailure, ConnectionExchange, Handler};
use super::watch::ConnectionWatch;
use crate::limits::{CLIENT_HEAD_BYTES_MAX, DRAIN_GRACE};

/// Serves a connection until it is closed or becomes a tunnel. While it is idle, it is parked.
pub(super) async fn serve<S, H>(
    exchange: Rc<ConnectionExchange<H>>,
    stream: S,
    replay: Bytes,
    guard: ConnectionGuard,
    mut watch: ConnectionWatch,
    shutdown: &Shutdown,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let mut socket = WatchedSocket::http1(stream, replay, Arc::clone(&exchange.activity), guard);
    loop {
        // The box ends with hyper's state, which a parked connection does not have.
        let Some(idle) = Box::pin(answer(&exchange, socket, &mut watch, shutdown)).await else { return };
        socket = idle;
        let _parked = exchange.metrics.parked();
        if park(&mut socket, &mut watch, shutdown).await == ParkingEnd::Close {
            return;
        }
    }
}

/// Answers requests until the connection ends, or is idle: then its socket is returned.
async fn answer<S, H>(
    exchange: &Rc<ConnectionExchange<H>>,
    socket: WatchedSocket<S>,
    watch: &mut ConnectionWatch,
    shutdown: &Shutdown,
) -> Option<WatchedSocket<S>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let io = TokioIo::new(socket);
    let calls = Rc::clone(exchange);
    let service = service_fn(move |request| calls.call(request));
    let mut connection = builder().serve_connection(io, service).with_upgrades();

    let end = drive(&mut connection, watch, shutdown, DRAIN_GRACE, |_| {}).await;
    let Some(parts) = connection.into_parts() else {
        exchange.activity.become_tunnel();
        return None;
    };
    let mut io = parts.io.into_inner();
    match end {
        DriveEnd::Overdue(ClientWait::Head) => {
            exchange.refused(ConnectionRefusal::SlowHead, StatusCode::REQUEST_TIMEOUT);
            // The 408 never lands inside a response: no head limit runs while a response is in
            // flight.
            close::refuse(&mut io, StatusCode::REQUEST_TIMEOUT, "").await;
        }
        DriveEnd::Overdue(ClientWait::Reader) => exchange.metrics.unread(HttpProtocol::Http1, 1),
        DriveEnd::Overdue(ClientWait::Opening | ClientWait::Request) => {}
        DriveEnd::Idle if parts.read_buf.iter().all(|byte| matches!(byte, b'\r' | b'\n')) => {
            return Some(io);
        }
        // hyper kept bytes that framing has no request for: the connection ends here, so that they
        // are no part of another request.
        DriveEnd::Idle => {}
        DriveEnd::Done(result) => {
            let refusal = result.as_ref().err().and_then(refusal);
            if let Some((refusal, status)) = refusal {
                exchange.refused(refusal, status);
            }
            if let Err(error) = result {
                tracing::debug!(%error, peer = %exchange.peer.addr, "a client connection ended early");
            }
            // The response came before the request's end; the rest of the request may still arrive.
            if refusal.is_some() || exchange.activity.inbound() != NextBytes::Between {
                close::linger(&mut io).await;
            }
        }
    }
    None
}

/// Returns hyper's settings. `watch.rs` enforces the time limits, so hyper gets no timer. The
/// number of fields stays at hyper's default of 100: setting it makes every request allocate.
fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .max_buf_size(CLIENT_HEAD_BYTES_MAX)
        .header_read_timeout(None)
        // If a client closes its connection within a response, its fetch ends. If it closes only
        // its sending side before the response begins, `io.rs` conceals that from hyper, so that
        // the client still gets the response.
        .half_close(false)
        // Flushing pipelined responses together would let one slow reader hold whole bodies in
        // memory.
        .pipeline_flush(false);
    builder
}

/// Returns the kind and the status of the refusal that hyper already sent for this error.
fn refusal(error: &hyper::Error) -> Option<(ConnectionRefusal, StatusCode)> {
    if error.is_parse_too_large() {
        // A target that is longer than a head may be is no special case: it never becomes complete.
        Some((ConnectionRefusal::HeadTooLarge, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE))
    } else if error.is_parse() {
        Some((ConnectionRefusal::Malformed, StatusCode::BAD_REQUEST))
    } else {
        None
    }
}

impl<I, B, X> DrivableConnection for UpgradeableConnection<I, X>
where
    X: HttpService<Incoming, ResBody = B> + Unpin,
    X::Error: Into<BodyFailure>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    B: Body + 'static,
    B::Error: Into<BodyFailure>,
{
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}
