//! Accepting connections, and ending them.
//!
//! One task for each connection, owned here. A connection must have a permit before it is accepted;
//! when there is none, nobody accepts, and new clients wait in the kernel's backlog, where they
//! cost us nothing.
//!
//! At a shutdown, what waits in the kernel's queue is accepted, and the listening socket is closed,
//! so that a successor gets the new clients; then every connection finishes what is in flight; what
//! is left at the end of `drain_timeout` is cut and counted.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};

use super::Options;
use super::connection::{self, WorkerContext};
use super::drain::Shutdown;
use super::listener::WorkerListener;
use super::metrics::{ConnectionRefusal, Metrics};
use super::service::{ConnectionPeer, Handler, HandlerPanicError};
use super::watch::ClientTimeouts;
use crate::client_address::AddressLimiter;
use crate::key::Scheme;
use crate::limits::ACCEPT_BACKOFF;
use crate::telemetry::Registry;

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainOutcome {
    /// Connections, tunnels included, that were still at work when `drain_timeout` was over.
    pub cut: usize,
}

/// Serves a listener from this thread until a shutdown has begun and all work is done, or
/// `drain_timeout` is over.
///
/// Must run in a `LocalSet`. Fails only if the runtime cannot take the socket. Dropping the future
/// closes every connection but the tunnels, which belong to whoever made them.
pub async fn serve<H: Handler>(
    listener: WorkerListener,
    options: &Options,
    handler: Rc<H>,
    shutdown: Shutdown,
    registry: &Registry,
) -> io::Result<DrainOutcome> {
    let (listener, addresses) = listener.into_tokio()?;
    let connections_max = u32::try_from(options.connections_max).unwrap_or(u32::MAX);
    let permits = Arc::new(Semaphore::new(connections_max as usize));
    let limits =
        ClientTimeouts { head: options.head_timeout, idle: options.idle_timeout, body: options.body_timeout };
    let worker = Rc::new(WorkerContext { handler, limits, metrics: Metrics::new(registry), shutdown });
    let mut tasks = JoinSet::new();

    while let Some((stream, addr, permit)) = next(&listener, &permits, &worker).await {
        while let Some(ended) = tasks.try_join_next() {
            note(ended, &worker.metrics);
        }
        if let Some(connection) = admit(&worker, &addresses, stream, addr, permit) {
            tasks.spawn_local(connection);
        }
    }
    for (stream, addr, permit) in last(listener.into_std()?, options.backlog, &permits) {
        if let Some(connection) = admit(&worker, &addresses, stream, addr, permit) {
            tasks.spawn_local(connection);
        }
    }

    let all = async {
        while let Some(ended) = tasks.join_next().await {
            note(ended, &worker.metrics);
        }
        // Tunnels have left their tasks and still hold their permits.
        let _ = permits.acquire_many(connections_max).await;
    };
    let _ = timeout(options.drain_timeout, all).await;
    let cut = (connections_max as usize).saturating_sub(permits.available_permits());
    worker.metrics.cut(cut);
    Ok(DrainOutcome { cut })
}

/// The next connection, when there is room for it; none after a shutdown has begun.
async fn next<H>(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
    worker: &WorkerContext<H>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let accept = async {
        let permit = Arc::clone(permits).acquire_owned().await.ok()?;
        let mut pauses = 0_u64;
        loop {
            match listener.accept().await {
                Ok((stream, addr)) => return Some((stream, addr, permit)),
                Err(error) if is_of_one_connection(&error) => worker.metrics.accept_failed(),
                Err(error) => {
                    worker.metrics.accept_failed();
                    if pauses == 0 {
                        tracing::warn!(%error, "cannot accept connections; trying again until it works");
                    }
                    pauses += 1;
                    sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = worker.shutdown.begun() => None,
        next = accept => next,
    }
}

/// Serves a connection, unless its client has too many.
fn admit<H: Handler>(
    worker: &Rc<WorkerContext<H>>,
    addresses: &AddressLimiter,
    stream: TcpStream,
    addr: SocketAddr,
    permit: OwnedSemaphorePermit,
) -> Option<impl Future<Output = ()> + 'static> {
    // A client of a listener for both families is not to have two addresses.
    let addr = SocketAddr::new(addr.ip().to_canonical(), addr.port());
    let peer = ConnectionPeer { addr, scheme: Scheme::Http };
    let Some(permit_of_address) = addresses.enter(addr.ip().into()) else {
        // Without a word: whoever has so many connections is not to cost us a task more.
        worker.metrics.refused(ConnectionRefusal::ManyOfAddress);
        return None;
    };
    let place = worker.metrics.accepted(permit, permit_of_address);
    Some(connection::serve(Rc::clone(worker), stream, peer, place))
}

/// Those who wait in the kernel's queue when the socket is to be closed: they have been told that
/// they are connected, and closing it would reset them. No more than the queue holds, or whoever
/// connects on and on would keep it open.
fn last(
    listener: std::net::TcpListener,
    backlog: u32,
    permits: &Arc<Semaphore>,
) -> Vec<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let accept = || {
        let permit = Arc::clone(permits).try_acquire_owned().ok()?;
        let (stream, addr) = listener.accept().ok()?;
        stream.set_nonblocking(true).ok()?;
        Some((TcpStream::from_std(stream).ok()?, addr, permit))
    };
    (0..backlog).map_while(|_| accept()).collect()
}

/// Whether only the connection that was to be accepted is lost. Else it is still there, and so is
/// the reason (no descriptors, no memory): to try again at once would spin.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

fn note(ended: Result<(), JoinError>, metrics: &Metrics) {
    if let Err(error) = ended
        && let Ok(payload) = error.try_into_panic()
    {
        metrics.panicked();
        tracing::error!(panic = %HandlerPanicError::new(payload.as_ref()), "a connection panicked");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lost_connection_is_passed_over_at_once() {
        // Linux: EINTR, ECONNABORTED, ECONNRESET; then ENOMEM, ENFILE, EMFILE, ENOBUFS.
        for (errno, passed_over) in
            [(4, true), (103, true), (104, true), (12, false), (23, false), (24, false), (105, false)]
        {
            assert_eq!(is_of_one_connection(&io::Error::from_raw_os_error(errno)), passed_over, "{errno}");
        }
    }
}
