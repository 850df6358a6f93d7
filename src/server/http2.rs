//! An HTTP/2 connection with prior knowledge (h2c): hyper, with bounds on what one client can pin.
//!
//! A client can have in our memory at most [`CLIENT_H2_STREAMS_MAX`] heads
//! ([`CLIENT_H2_HEADS_BYTES_MAX`](crate::limits::CLIENT_H2_HEADS_BYTES_MAX) together),
//! [`CLIENT_H2_CONNECTION_BYTES_MAX`] of request bodies, and for each stream the piece of its
//! answer that is being written, once it has asked for a first byte of it.
//!
//! Floods are bounded by h2 (0.4), which is told how much where it asks: streams that a client
//! opens and resets (CVE-2023-44487) or makes us reset (CVE-2025-8671) end the connection beyond a
//! number, and so do CONTINUATION frames beyond what a head of the allowed size can need. Of
//! SETTINGS and PING, one answer is owed at a time, and the next frame is not read before that is
//! written: a flood of them costs its sender as much as us and holds nothing. h2 remembers at most
//! 50 reset streams, for 1 s; hyper has no word for that.

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
    place: ConnectionGuard,
    mut watch: ConnectionWatch,
    shutdown: &Shutdown,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let io = TokioIo::new(WatchedSocket::http2(stream, replay, Arc::clone(&exchange.activity), place));
    let calls = Rc::clone(&exchange);
    let service = service_fn(move |request| calls.call(request));
    let mut connection = builder(watch.watch_streams()).serve_connection(io, service);
    let unread = |answers| exchange.metrics.unread(HttpProtocol::Http2, answers);

    // GOAWAY tells a client which of its streams will be answered: there is nothing to wait for.
    match drive(&mut connection, &mut watch, shutdown, Duration::ZERO, unread).await {
        DriveEnd::Done(Ok(())) => {}
        DriveEnd::Done(Err(error)) => {
            tracing::debug!(%error, peer = %exchange.peer.addr, "a client connection ended early");
        }
        // It takes nothing: no word reaches it.
        DriveEnd::Overdue(ClientWait::Reader) => unread(1),
        // GOAWAY, and a moment for the client to take note of it.
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

/// Runs each stream as a task of the worker.
///
/// Their bound is [`CLIENT_H2_STREAMS_MAX`] a connection, and their end that of the stream: hyper's
/// task polls its stream for a reset beside the handler, and a connection that is dropped resets
/// all of its streams. A stream that its client does not take ends with its task.
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
