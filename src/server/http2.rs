//! An HTTP/2 connection on hyper, with limits on the memory of one client.
//!
//! One client can occupy at most [`CLIENT_H2_STREAMS_MAX`] heads
//! ([`CLIENT_H2_HEADS_BYTES_MAX`](crate::limits::CLIENT_H2_HEADS_BYTES_MAX) together),
//! [`CLIENT_H2_CONNECTION_BYTES_MAX`] of request bodies, and for each stream the piece of its
//! response that hyper is writing, once the client's window has admitted a first byte of it.
//!
//! h2 (0.4) ends a connection beyond limits that this module sets: streams that the client opens
//! and resets (CVE-2023-44487) or makes the server reset (CVE-2025-8671), and CONTINUATION frames
//! beyond a head of the allowed size. h2 owes one response to SETTINGS and PING at a time and does
//! not read the next frame before it is written, so such a flood costs its sender as much as the
//! server and occupies no memory. h2 remembers at most 50 reset streams, for 1 s; hyper has no
//! setting for that.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::rt::Executor;
use hyper::rt::bounds::Http2ServerConnExec;
use hyper::server::conn::http2::{Builder, Connection};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::activity::ClientWait;
use super::drain::Shutdown;
use super::drive::{DrivableConnection, DriveEnd, drive};
use super::io::WatchedSocket;
use super::metrics::{ConnectionGuard, HttpProtocol};
use super::service::{BodyFailure, ConnectionExchange, Handler};
use super::streams::UnfinishedStreams;
use super::watch::ConnectionWatch;
use crate::limits::{
    CLIENT_H2_CONNECTION_BYTES_MAX, CLIENT_H2_ERRORS_MAX, CLIENT_H2_FRAME_BYTES_MAX,
    CLIENT_H2_HEAD_BYTES_MAX, CLIENT_H2_RESETS_MAX, CLIENT_H2_SEND_BYTES_MAX, CLIENT_H2_STREAM_BYTES_MAX,
    CLIENT_H2_STREAMS_MAX, CLIENT_H2_TABLE_BYTES_MAX, LINGER_TIMEOUT,
};

/// Serves a connection until it is closed.
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
    let io = TokioIo::new(WatchedSocket::http2(stream, replay, Arc::clone(&exchange.activity), guard));
    let calls = Rc::clone(&exchange);
    let service = service_fn(move |request| calls.call(request));
    let mut connection = builder(watch.watch_streams()).serve_connection(io, service);
    let unread = |answers| exchange.metrics.unread(HttpProtocol::Http2, answers);

    // GOAWAY names the last stream that gets a response, so the shutdown needs no grace.
    match drive(&mut connection, &mut watch, shutdown, Duration::ZERO, unread).await {
        DriveEnd::Done(Ok(())) | DriveEnd::Idle => {}
        DriveEnd::Done(Err(error)) => {
            tracing::debug!(%error, peer = %exchange.peer.addr, "a client connection ended early");
        }
        // The client reads nothing, so a GOAWAY would not reach it.
        DriveEnd::Overdue(ClientWait::Reader) => unread(1),
        // hyper sends GOAWAY, and the client gets a moment to read it.
        DriveEnd::Overdue(ClientWait::Opening | ClientWait::Head | ClientWait::Request) => {
            Pin::new(&mut connection).finish();
            let _ = timeout(LINGER_TIMEOUT, connection).await;
        }
    }
}

fn builder(streams: Rc<UnfinishedStreams>) -> Builder<StreamTasks> {
    let mut builder = Builder::new(StreamTasks(streams));
    builder
        .max_concurrent_streams(CLIENT_H2_STREAMS_MAX)
        .max_pending_accept_reset_streams(CLIENT_H2_RESETS_MAX)
        .max_local_error_reset_streams(CLIENT_H2_ERRORS_MAX)
        .max_header_list_size(CLIENT_H2_HEAD_BYTES_MAX)
        .max_frame_size(CLIENT_H2_FRAME_BYTES_MAX)
        .header_table_size(CLIENT_H2_TABLE_BYTES_MAX)
        .initial_stream_window_size(CLIENT_H2_STREAM_BYTES_MAX)
        .initial_connection_window_size(CLIENT_H2_CONNECTION_BYTES_MAX)
        .max_send_buf_size(CLIENT_H2_SEND_BYTES_MAX);
    builder
}

/// An executor that runs each stream as a task of the worker.
///
/// [`CLIENT_H2_STREAMS_MAX`] limits the tasks of a connection, because each task ends with its
/// stream: hyper drops the handler when the client resets the stream or the connection ends. The
/// server itself ends the task of a stream whose client does not read.
#[derive(Clone)]
struct StreamTasks(Rc<UnfinishedStreams>);

impl<F: Future<Output = ()> + 'static> Executor<F> for StreamTasks {
    fn execute(&self, stream: F) {
        self.0.runs(tokio::task::spawn_local(stream).abort_handle());
    }
}

impl<I, B, X> DrivableConnection for Connection<I, X, StreamTasks>
where
    X: HttpService<Incoming, ResBody = B> + Unpin,
    X::Error: Into<BodyFailure>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    B: Body + 'static,
    B::Error: Into<BodyFailure>,
    StreamTasks: Http2ServerConnExec<X::Future, B>,
    Self: Unpin,
{
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}
