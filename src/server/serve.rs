//! Acceptance of connections, and the drain.
//!
//! The server runs one task per connection and owns all of them. A connection needs a permit before
//! it is accepted. While there is none, the server does not accept, and new clients wait in the
//! kernel's queue, which costs the process nothing.
//!
//! At a shutdown the server accepts the connections in the kernel's queue and closes the listening
//! socket, so that a new process gets the new clients. Then every connection finishes its requests
//! in flight; at the end of `drain_timeout` the server cuts and counts the rest.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};

use super::accepting::{AcceptedSocket, ClientListener, IdleSocket};
use super::activity::{ConnectionActivity, ConnectionClosing};
use super::connection::{self, WorkerContext};
use super::drain::Shutdown;
use super::handshake::Handshakes;
use super::listener::WorkerListener;
use super::metrics::{ConnectionRefusal, Metrics};
use super::panics::HandlerPanicError;
use super::proxied::ProxiedPeers;
use super::service::{ConnectionPeer, Handler};
use super::silent::{ConnectionPlace, SilentConnections};
use super::watch::ClientTimeouts;
use crate::client_address::AddressLimiter;
use crate::key::Scheme;
use crate::limits::ACCEPT_BACKOFF;
use crate::request_id::RequestIdSource;
use crate::server::options::{Options, WhenFull};
use crate::telemetry::Registry;
use crate::telemetry::access::RequestRecorder;
use crate::telemetry::trace::Tracer;
use crate::tls::ClientCertificate;

/// The outcome of a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainOutcome {
    /// Connections, tunnels included, with unfinished work when `drain_timeout` ended.
    pub cut: usize,
}

/// Serves a listener on this thread until a shutdown has begun and all work is done, or
/// `drain_timeout` ends.
///
/// Must run in a `LocalSet`. Fails only if the runtime cannot register the socket. Dropping the
/// future closes every connection except the tunnels, which their handlers own.
pub async fn serve<H: Handler>(
    listener: WorkerListener,
    options: &Options,
    handler: Rc<H>,
    shutdown: Shutdown,
    registry: &Registry,
    recorder: Option<Rc<RequestRecorder>>,
    tracer: Option<Tracer>,
) -> io::Result<DrainOutcome> {
    let (listener, addresses, tls) = listener.into_tokio()?;
    // A listener that closes silent connections accepts one more, to know its address.
    let (spare, closing) = match options.when_full {
        WhenFull::Wait => (0, ConnectionClosing::Never),
        WhenFull::CloseSilent { .. } => (1, ConnectionClosing::WhenFull),
    };
    let connections_max = u32::try_from(options.connections_max + spare).unwrap_or(u32::MAX);
    let mut silent = SilentConnections::default();
    let permits = Arc::new(Semaphore::new(connections_max as usize));
    let limits =
        ClientTimeouts { head: options.head_timeout, idle: options.idle_timeout, body: options.body_timeout };
    let handshakes = tls.map(|tls| Handshakes::new(tls, registry));
    let metrics = Metrics::new(registry);
    let proxied = options.proxied.clone().map(|trusted| ProxiedPeers {
        trusted,
        addresses: addresses.clone(),
        timeout: options.head_timeout,
        metrics: metrics.clone(),
    });
    let request_ids = options.request_ids.clone().map(|ids| Rc::new(RequestIdSource::new(ids)));
    let worker = Rc::new(WorkerContext {
        handler,
        limits,
        handshakes,
        metrics,
        proxied,
        recorder,
        request_ids,
        tracer: tracer.map(Rc::new),
        shutdown,
    });
    let mut tasks = JoinSet::new();

    while let Some((stream, addr, permit)) = next(&listener, &permits, &worker).await {
        while let Some(ended) = tasks.try_join_next() {
            log_panic(ended, &worker.metrics);
        }
        let client = addr.ip().into();
        if let WhenFull::CloseSilent { per_address } = options.when_full
            && silent.make_place(client, per_address, options.connections_max) == ConnectionPlace::None
        {
            worker.metrics.refused(ConnectionRefusal::PerAddressLimit);
            continue;
        }
        let activity = Arc::new(ConnectionActivity::with(closing));
        if let Some(connection) = admit(&worker, &addresses, stream, addr, permit, Arc::clone(&activity)) {
            let task = tasks.spawn_local(connection);
            if options.when_full != WhenFull::Wait {
                silent.add(client, activity, task);
            }
        }
    }
    for (stream, addr, permit) in accept_queued(listener.into_std()?, options.backlog, &permits) {
        let activity = Arc::new(ConnectionActivity::with(closing));
        if let Some(connection) = admit(&worker, &addresses, stream, addr, permit, activity) {
            tasks.spawn_local(connection);
        }
    }

    let all = async {
        while let Some(ended) = tasks.join_next().await {
            log_panic(ended, &worker.metrics);
        }
        // Tunnels no longer have a task here and still hold their permits.
        let _ = permits.acquire_many(connections_max).await;
    };
    let _ = timeout(options.drain_timeout, all).await;
    let cut = (connections_max as usize).saturating_sub(permits.available_permits());
    worker.metrics.cut(cut);
    Ok(DrainOutcome { cut })
}

/// Accepts the next connection once a permit is free; `None` after a shutdown has begun.
async fn next<H>(
    listener: &ClientListener,
    permits: &Arc<Semaphore>,
    worker: &WorkerContext<H>,
) -> Option<(AcceptedSocket, SocketAddr, OwnedSemaphorePermit)> {
    let accept = async {
        let permit = Arc::clone(permits).acquire_owned().await.ok()?;
        let mut pauses = 0_u64;
        loop {
            match listener.accept().await {
                Ok((stream, addr)) => return Some((stream, addr, permit)),
                Err(error) if affects_one_connection(&error) => worker.metrics.accept_failed(),
                Err(error) => {
                    worker.metrics.accept_failed();
                    if pauses == 0 {
                        tracing::warn!(%error, "cannot accept connections; retrying");
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

/// Serves a connection, unless its address has too many.
fn admit<H: Handler>(
    worker: &Rc<WorkerContext<H>>,
    addresses: &AddressLimiter,
    stream: AcceptedSocket,
    addr: SocketAddr,
    permit: OwnedSemaphorePermit,
    activity: Arc<ConnectionActivity>,
) -> Option<impl Future<Output = ()> + 'static> {
    // A client of a dual-stack listener must not count as two addresses.
    let addr = SocketAddr::new(addr.ip().to_canonical(), addr.port());
    let peer = ConnectionPeer { addr, scheme: Scheme::Http, certificate: ClientCertificate::None };
    let is_unix = matches!(stream, AcceptedSocket::Unix(_));
    let address_permit = if is_unix || worker.proxied_peer(addr.ip()).is_some() {
        // A unix socket shows no address of a client, and a PROXY header states another one.
        None
    } else if let Some(permit) = addresses.enter(addr.ip().into()) {
        Some(permit)
    } else {
        // The server closes without a response: a client with too many connections must not cost
        // another task.
        worker.metrics.refused(ConnectionRefusal::PerAddressLimit);
        return None;
    };
    let guard = worker.metrics.accepted(permit, address_permit);
    Some(connection::begin(Rc::clone(worker), stream, peer, guard, activity))
}

/// Accepts the connections in the kernel's queue before the socket closes: their clients see them
/// as established, and closing the socket would reset them. It accepts at most as many as the queue
/// has room for; otherwise a client that keeps connecting would keep the socket open.
fn accept_queued(
    listener: IdleSocket,
    backlog: u32,
    permits: &Arc<Semaphore>,
) -> Vec<(AcceptedSocket, SocketAddr, OwnedSemaphorePermit)> {
    let accept = || {
        let permit = Arc::clone(permits).try_acquire_owned().ok()?;
        let (stream, addr) = listener.accept_queued().ok()?;
        Some((stream, addr, permit))
    };
    (0..backlog).map_while(|_| accept()).collect()
}

/// Whether only the connection that was to be accepted is lost. Else it is still there, and so is
/// the reason (no descriptors, no memory): to try again at once would spin.
fn affects_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

fn log_panic(ended: Result<(), JoinError>, metrics: &Metrics) {
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
    fn only_a_lost_connection_is_retried_at_once() {
        // Linux: EINTR, ECONNABORTED, ECONNRESET; then ENOMEM, ENFILE, EMFILE, ENOBUFS.
        for (errno, retried) in
            [(4, true), (103, true), (104, true), (12, false), (23, false), (24, false), (105, false)]
        {
            assert_eq!(affects_one_connection(&io::Error::from_raw_os_error(errno)), retried, "{errno}");
        }
    }
}
