//! The composition root: it builds the parts from the settings and hands them to workers.
//!
//! Each worker has a thread of its own, with a runtime, a listener on the shared port, a share of
//! the Redis connections and an origin pool; a hit crosses no thread. The first worker also serves
//! the admin listener. One signal stops all workers, and if one worker panics, the process ends.

mod liveness;
mod operators;
mod purge_events;
mod reload;
mod routes_switch;
mod running;
mod supervise;

use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;
use std::{io, panic, thread};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet, LocalSet};
use tokio::time::timeout;
use tracing::{error, info, warn};

use self::liveness::Liveness;
use self::operators::{OperatorsShutdown, ServingWorker, serve_operators};
use self::purge_events::read_purge_stream;
use self::reload::{ReloadableKeys, ReloadableParts, ReloadableTls};
use self::routes_switch::RoutesSwitch;
use crate::admin::{AdminService, ReloadQueue};
use crate::answer_budget::AnswerHold;
use crate::config::{self, Settings};
use crate::interim::InterimSink;
use crate::limits::WARM_INTERVAL;
use crate::proxy::{Caller, PendingResponse, Proxy};
use crate::readiness::{ProcessPhase, Readiness};
use crate::request_id::RequestId;
use crate::routes::RouteTable;
use crate::server::{
    ConnectionPeer, DrainOutcome, Handler, HandlerReply, InheritedSockets, ListenError, Shutdown,
    WorkerListener,
};
use crate::store::{Store, WARM_TAKES_MAX};
use crate::telemetry::Registry;
use crate::telemetry::access::{AccessLog, RequestRecord};
use crate::telemetry::trace::Tracing;
use crate::{admin, origin, policy, proxy, purge_stream, server, store, time};

pub use self::reload::SettingsSource;
pub use self::running::{BoundAddress, RunningProxy, StartError};
pub use self::supervise::{HarmlessSignals, ProcessControl, ShutdownSignals};

/// Starts all workers on new sockets. When the function returns, they accept requests.
pub fn start(settings: Settings) -> Result<RunningProxy, StartError> {
    start_on(settings, &InheritedSockets::default())
}

/// Starts all workers on the sockets that this process inherited, or on new ones for each listener
/// without an inherited socket.
pub fn start_on(settings: Settings, inherited: &InheritedSockets) -> Result<RunningProxy, StartError> {
    let Settings { workers, admin, operators: access, rules, routes, store, proxy, access_log, .. } =
        settings;
    let (drain_delay, redis_start_timeout) = (settings.drain_delay, settings.redis_start_timeout);
    let purge_stream = settings.purge_stream;
    let listeners = match workers.first() {
        Some(worker) => listen(&inherited.clients, &worker.server, workers.len())?,
        None => return Err(StartError::WorkerLost),
    };
    let mut operators = match admin {
        Some(options) => listen(&inherited.admin, &options, 1)?.pop().map(|listener| (listener, options)),
        None => None,
    };
    let tls_options = workers.first().and_then(|worker| worker.server.tls.clone());
    let tls = tls_options.as_ref().map(server::open_tls).transpose()?;
    let listeners: Vec<_> = listeners.into_iter().map(|listener| listener.with_tls(tls.clone())).collect();
    let clients =
        listeners.first().map_or(Err(StartError::WorkerLost), |first| Ok(BoundAddress::of(first)?))?;
    let admin = operators.as_ref().map(|(listener, _)| BoundAddress::of(listener)).transpose()?;

    let registry = Registry::new();
    registry.watch_process();
    // All workers write to one statistics board.
    if let Some(redis) = workers.first().and_then(|worker| worker.redis.as_ref()) {
        redis.server.board.show(&registry);
    }
    let (access_log, log_writer) = AccessLog::start(access_log, workers.len(), &registry)?;
    let (tracing, traces) = Tracing::start(settings.traces, &registry)?;
    let (shutdown, readiness) = (Shutdown::new(), access.readiness.clone());
    let (reloads, requests) = ReloadQueue::new();
    if let Some(tls) = tls.clone() {
        registry.sampled(
            "cachewarp_tls_certificate_expiry_seconds",
            "Unix time at which the first of the listener's certificates expires.",
            move || tls.expiry().as_secs_f64(),
        );
    }
    let tls = tls.zip(tls_options).map(|(listener, options)| ReloadableTls::new(listener, options));
    let switch = RoutesSwitch::new(routes.clone(), workers.len(), store.body_bytes_max);
    let keys = ReloadableKeys::new(store.entry_keys.clone(), store.name_key.clone());
    let parts = ReloadableParts::new(tls, access.token.clone(), keys, switch.clone(), requests);
    let liveness = Liveness::of(workers.len());
    let shared = ProcessShared {
        store: store::StoreShared::new(store.registered_at(clients.addr.port()), &registry),
        fetches: proxy::ProxyShared::new(&proxy, &registry),
        proxy,
        rules,
        routes,
        switch,
        access,
        reloads,
        redis_start_timeout,
        purge_stream,
        readiness: readiness.clone(),
        liveness: liveness.clone(),
        workers: workers.len(),
        access_log,
        tracing,
        registry,
        warmed: watch::Sender::new(false),
        shutdown: shutdown.clone(),
        operators: OperatorsShutdown::after(workers.len()),
    };
    let mut running = RunningProxy {
        clients,
        admin,
        shutdown,
        readiness,
        drain_delay,
        parts,
        liveness,
        workers: Vec::with_capacity(listeners.len()),
        log_writer: Some(log_writer),
        traces: Some(traces),
    };
    let (ready, begun) = sync_channel(listeners.len());
    for (number, (listener, options)) in listeners.into_iter().zip(workers).enumerate() {
        let worker = WorkerParts {
            number,
            shared: shared.clone(),
            options,
            listener,
            operators: operators.take(),
            ready: ready.clone(),
        };
        let thread = thread::Builder::new().name(format!("worker-{number}"));
        running.workers.push(thread.spawn(move || worker.run())?);
    }
    drop(ready);
    for _ in &running.workers {
        begun.recv().map_err(|_| StartError::WorkerLost)??;
    }
    running.readiness.enter(ProcessPhase::Ready);
    Ok(running)
}

fn listen(
    inherited: &[TcpListener],
    options: &server::Options,
    shares: usize,
) -> Result<Vec<WorkerListener>, ListenError> {
    match WorkerListener::inherit(inherited, options, shares)? {
        none if none.is_empty() => WorkerListener::bind(options, shares),
        listeners => Ok(listeners),
    }
}

/// The parts that all workers share.
#[derive(Clone)]
struct ProcessShared {
    rules: policy::CacheRules,
    routes: Option<Arc<RouteTable>>,
    switch: RoutesSwitch,
    proxy: proxy::Options,
    access: admin::Options,
    reloads: ReloadQueue,
    redis_start_timeout: Duration,
    purge_stream: Option<purge_stream::Options>,
    readiness: Readiness,
    liveness: Liveness,
    workers: usize,
    access_log: AccessLog,
    tracing: Tracing,
    registry: Registry,
    store: store::StoreShared,
    fetches: proxy::ProxyShared,
    /// Whether the first worker has finished filling memory after a restart, successfully or not.
    warmed: watch::Sender<bool>,
    shutdown: Shutdown,
    /// The shutdown of the admin listener, which follows that of all workers.
    operators: OperatorsShutdown,
}

/// The parts that one worker takes to its thread.
struct WorkerParts {
    /// The number of this worker, from 0.
    number: usize,
    shared: ProcessShared,
    options: config::WorkerSettings,
    listener: WorkerListener,
    /// The admin listener, which the first worker serves.
    operators: Option<(WorkerListener, server::Options)>,
    ready: SyncSender<Result<(), StartError>>,
}

/// A guard that begins the shutdown when its worker ends, for any reason.
struct ShutdownOnDrop(Shutdown);

impl Drop for ShutdownOnDrop {
    fn drop(&mut self) {
        if thread::panicking() {
            error!("a worker panicked; the process ends");
        }
        self.0.begin();
    }
}

impl WorkerParts {
    fn run(self) {
        let _end = ShutdownOnDrop(self.shared.shutdown.clone());
        let ready = self.ready.clone();
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => {
                let tasks = LocalSet::new();
                // The serving future is a task of its own: a future that is blocked on is polled
                // whenever any task is.
                let serving = tasks.spawn_local(self.serve());
                let ended = tasks.block_on(&runtime, serving);
                if let Some(Ok(panicked)) = ended.err().map(JoinError::try_into_panic) {
                    panic::resume_unwind(panicked);
                }
            }
            // The starting thread receives the error from the channel. If the start was abandoned,
            // no thread waits for it.
            Err(error) => drop(ready.send(Err(error.into()))),
        }
    }

    async fn serve(self) {
        let Self { number, shared, options, listener, operators, ready } = self;
        let ProcessShared {
            registry, shutdown, access, workers, warmed, reloads, readiness, access_log, ..
        } = shared;
        let recorder = access_log.recorder(number, &registry);
        let tracer = shared.tracing.tracer(&registry);
        let serving = ServingWorker::of(shared.operators.clone());
        let origin = match origin::OriginClient::new(options.origin, &registry) {
            Ok(origin) => origin,
            Err(bad) => return drop(ready.send(Err(bad.into()))),
        };
        let store = Rc::new(Store::open(shared.store, options.redis, &registry));
        let proxy = Proxy::new(
            shared.proxy,
            shared.rules,
            shared.routes,
            shared.fetches,
            Rc::clone(&store),
            origin,
            &registry,
        );
        let mut tasks = JoinSet::new();
        tasks.spawn_local(shared.liveness.answer(number));
        tasks.spawn_local(shared.switch.follow(number, Rc::clone(&proxy)));

        let drain = shutdown.clone();
        let list = keep_warm_list(number, Rc::clone(&store), shutdown.clone());
        let clients = async {
            let serving = serving;
            store.await_redis(shared.redis_start_timeout).await;
            readiness.enter(ProcessPhase::Warming);
            warm(number, &store, &warmed).await;
            drop(ready.send(Ok(())));
            let ended = server::serve(
                listener,
                &options.server,
                Rc::clone(&proxy),
                shutdown,
                &registry,
                recorder,
                tracer,
            )
            .await;
            drop(serving);
            ended
        };
        // Operators see the start and the drain.
        let operators = async {
            match operators {
                Some((listener, options)) => {
                    let (store, proxy) = (Rc::clone(&store), Rc::clone(&proxy));
                    let admin = AdminService::new(access, reloads, registry.clone(), store, proxy, workers);
                    let shutdown = shared.operators.shutdown();
                    serve_operators(listener, options, admin, shutdown).await
                }
                None => Ok(()),
            }
        };
        // Pending writes to the store share `drain_timeout` with the clients: they get the time
        // that the clients leave.
        let deadline = async {
            drain.begun().await;
            Ok(time::instant() + options.server.drain_timeout)
        };
        let parts = (&*store, &proxy);
        let purges = read_purge_stream(number, shared.purge_stream, parts, drain.clone(), &registry);
        let ended = tokio::try_join!(clients, operators, list, purges, deadline);
        let left = ended.as_ref().map_or(options.server.drain_timeout, |(.., deadline)| {
            deadline.saturating_duration_since(time::instant())
        });
        match ended {
            Ok((DrainOutcome { cut: 0 }, ..)) => {}
            Ok((DrainOutcome { cut }, ..)) => {
                warn!(cut, "drain_timeout ended; closed the remaining connections")
            }
            Err(error) => error!(%error, "a listener failed"),
        }
        proxy.close(left).await;
    }
}

/// Fills memory before the process serves. The first worker reads the entries; the others wait, for
/// a bounded time, because all workers share the memory tier.
async fn warm(number: usize, store: &Rc<Store>, warmed: &watch::Sender<bool>) {
    if !store.keeps_warm() {
        return;
    }
    if number == 0 {
        let entries = store.warm().await;
        info!(entries, "read the most requested entries into memory");
        warmed.send_replace(true);
    } else {
        // The first worker may have ended without sending anything.
        let _ = timeout(WARM_TAKES_MAX, warmed.subscribe().wait_for(|warmed| *warmed)).await;
    }
}

/// Writes the list of the most requested keys, at an interval and when the shutdown begins. Only
/// the first worker does so.
async fn keep_warm_list(number: usize, store: Rc<Store>, shutdown: Shutdown) -> io::Result<()> {
    if number == 0 && store.keeps_warm() {
        while timeout(WARM_INTERVAL, shutdown.begun()).await.is_err() {
            store.write_warm_list().await;
        }
        store.write_warm_list().await;
    }
    Ok(())
}

/// The proxy serves clients. The server and the proxy do not know each other's types.
impl Handler for Proxy {
    type Body = proxy::AdmittedBody;

    fn handle(
        self: Rc<Self>,
        peer: ConnectionPeer,
        request: Request<Incoming>,
        record: RequestRecord,
        id: Option<RequestId>,
        interims: impl FnOnce() -> InterimSink,
    ) -> HandlerReply<proxy::AdmittedBody> {
        let (scheme, certificate, version) = (peer.scheme, peer.certificate, request.version());
        let caller = Caller { peer: peer.addr.ip(), scheme, certificate, version };
        match self.respond(caller, request, record, id, interims) {
            PendingResponse::AtOnce(response) => HandlerReply::Ready(response),
            PendingResponse::Later(work) => HandlerReply::Working(work),
        }
    }

    fn take_hold(body: &mut proxy::AdmittedBody) -> Option<AnswerHold> {
        body.take_hold()
    }
}

/// The admin service serves operators.
impl Handler for AdminService {
    type Body = Full<Bytes>;

    fn handle(
        self: Rc<Self>,
        peer: ConnectionPeer,
        request: Request<Incoming>,
        _: RequestRecord,
        _: Option<RequestId>,
        _: impl FnOnce() -> InterimSink,
    ) -> HandlerReply<Full<Bytes>> {
        HandlerReply::working(async move { self.respond(peer.addr.ip(), request).await })
    }
}
