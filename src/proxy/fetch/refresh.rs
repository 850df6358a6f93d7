//! Background refreshes: of entries that are stale but may be served, and, by chance, of entries
//! that expire soon.
//!
//! At most one refresh of a key runs in the process. It leads the same shared fetch as a miss
//! would, so it never runs beside one, and requests that cannot take a stale response follow it. It
//! carries no client's credential.

use std::rc::Rc;

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::entry::Entry;
use crate::limits::REFRESH_TIMEOUT;
use crate::policy;
use crate::proxy::explain::notes::BackgroundRefresh;
use crate::proxy::fetch::active::ActiveFetch;
use crate::proxy::fetch::pauses::RefreshProbe;
use crate::proxy::fetch::table::FetchRole;
use crate::proxy::lookup::location::CacheLocation;
use crate::proxy::request::CacheRequest;
use crate::proxy::worker::Proxy;
use crate::time::{self, Timestamp};

/// Starts a refresh of `entry`, unless a fetch of it is in progress or has just failed.
pub(in crate::proxy) fn begin(
    proxy: &Rc<Proxy>,
    client_request: &CacheRequest,
    location: &CacheLocation,
    entry: &Entry,
) {
    match proxy.shared.pauses.probe(&location.key, time::instant()) {
        Some((_, RefreshProbe::NotDue)) => {
            client_request.note(|explanation| explanation.refresh(BackgroundRefresh::Paused))
        }
        Some((_, RefreshProbe::Due)) | None => begin_now(proxy, client_request, location, entry),
    }
}

/// Starts a refresh of `entry`, unless a fetch of it is in progress.
pub(in crate::proxy) fn begin_now(
    proxy: &Rc<Proxy>,
    client_request: &CacheRequest,
    location: &CacheLocation,
    entry: &Entry,
) {
    let request = Rc::new(client_request.for_refresh(location.variants.as_ref()));
    let key = request.fetch_key(location.key);
    let permit = || proxy.permit(&request, &location.whole, location.generation);
    let seen = Some(location.generation);
    let FetchRole::Leader(lead, permit) = proxy.shared.fetches.join(key, seen, None, permit) else {
        return client_request.note(|explanation| explanation.refresh(BackgroundRefresh::UnderWay));
    };
    client_request.note(|explanation| explanation.refresh(BackgroundRefresh::Begun));
    let (to_client, _) = oneshot::channel();
    let stored = Some(Rc::new(entry.clone()));
    let fetch = ActiveFetch::new(proxy, &request, location, stored, Some(lead), *permit);
    proxy.metrics.refreshed();
    proxy.tasks.spawn(async move {
        // The origin's timeouts end a stalled fetch; this timeout ends one that trickles.
        let _ = timeout(REFRESH_TIMEOUT, fetch.run_in_turn(to_client)).await;
    });
}

/// Starts a refresh of a fresh entry, with a probability that grows as its expiry comes closer.
pub(in crate::proxy) fn early(
    proxy: &Rc<Proxy>,
    request: &CacheRequest,
    location: &CacheLocation,
    entry: &Entry,
    now: Timestamp,
) {
    let beta = request.rules().early_refresh;
    if beta > 0.0 && policy::refresh_early(&entry.facts, now, proxy.fetch_took.get(), beta, fastrand::f64()) {
        begin(proxy, request, location, entry);
    }
}
