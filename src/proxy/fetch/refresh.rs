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
use crate::proxy::Proxy;
use crate::proxy::explain::BackgroundRefresh;
use crate::proxy::fetch::pauses::RefreshProbe;
use crate::proxy::fetch::{
    FetchRole, {self},
};
use crate::proxy::lookup::location::CacheLocation;
use crate::proxy::request::CacheRequest;
use crate::time::{self, Timestamp};

/// Starts a refresh of `entry`, unless a fetch of it is in progress or has just failed.
pub(in crate::proxy) fn begin(proxy: &Rc<Proxy>, of: &CacheRequest, place: &CacheLocation, entry: &Entry) {
    match proxy.shared.pauses.probe(&place.key, time::instant()) {
        Some((_, RefreshProbe::NotDue)) => {
            of.note(|explanation| explanation.refresh(BackgroundRefresh::Paused))
        }
        Some((_, RefreshProbe::Due)) | None => begin_now(proxy, of, place, entry),
    }
}

/// Starts a refresh of `entry`, unless a fetch of it is in progress.
pub(in crate::proxy) fn begin_now(
    proxy: &Rc<Proxy>,
    of: &CacheRequest,
    place: &CacheLocation,
    entry: &Entry,
) {
    let ask = Rc::new(of.on_nobodys_behalf(place.variants.as_ref(), &proxy.rules));
    let key = ask.fill_key(place.key);
    let claim = || proxy.store.claim(&place.whole, place.lineage);
    let FetchRole::Leader(lead, claim) = proxy.shared.fills.join(key, claim) else {
        return of.note(|explanation| explanation.refresh(BackgroundRefresh::UnderWay));
    };
    of.note(|explanation| explanation.refresh(BackgroundRefresh::Begun));
    let (nobody, _) = oneshot::channel();
    let stored = Some(Rc::new(entry.clone()));
    let right = fetch::FetchRights { lead: Some(lead), claim };
    let fetch = fetch::run(Rc::clone(proxy), ask, place.clone(), stored, right, nobody);
    proxy.metrics.refreshed();
    proxy.tasks.spawn(async move {
        // The origin's timeouts end a stalled fetch; this timeout ends one that trickles.
        let _ = timeout(REFRESH_TIMEOUT, fetch).await;
    });
}

/// Starts a refresh of a fresh entry, with a probability that grows as its expiry comes closer.
pub(in crate::proxy) fn early(
    proxy: &Rc<Proxy>,
    ask: &CacheRequest,
    place: &CacheLocation,
    entry: &Entry,
    now: Timestamp,
) {
    let beta = proxy.rules.early_refresh;
    if beta > 0.0 && policy::refresh_early(&entry.facts, now, proxy.fetch_took.get(), beta, fastrand::f64()) {
        begin(proxy, ask, place, entry);
    }
}
