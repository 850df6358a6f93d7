//! Refreshing in the background: what is stale and may be served meanwhile, and by chance what soon
//! will be.
//!
//! One refresh a key and process: it leads the same shared fetch that a miss would lead, so that it
//! never runs beside one, and requests that cannot take a stale answer follow it. It asks on
//! nobody's behalf.

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

/// Begins to refresh `entry`, unless a fetch of it is under way or has just failed.
pub(in crate::proxy) fn begin(proxy: &Rc<Proxy>, of: &CacheRequest, place: &CacheLocation, entry: &Entry) {
    match proxy.shared.pauses.probe(&place.key, time::instant()) {
        Some((_, RefreshProbe::NotDue)) => {
            of.note(|explanation| explanation.refresh(BackgroundRefresh::Paused))
        }
        Some((_, RefreshProbe::Due)) | None => begin_now(proxy, of, place, entry),
    }
}

/// Begins to refresh `entry`, unless a fetch of it is under way.
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
        // The origin's own limits end a fetch that stands still; this ends one that trickles.
        let _ = timeout(REFRESH_TIMEOUT, fetch).await;
    });
}

/// Begins to refresh what is still fresh, by a chance that grows as its end comes near.
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
