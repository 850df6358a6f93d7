//! Shared fetches: one request to the origin for all concurrent requests of a key.
//!
//! The [`FetchTable`] holds the fetches in progress. [`run()`] is the fetch, in a task that
//! outlives its client. All requests read one
//! [`SharedBody`](crate::proxy::answer::shared_body::SharedBody) while it arrives: each byte
//! reaches every client at once, and the body is gathered in parallel, checked and stored when it
//! is whole.

mod gather;
mod keep;
mod lease;
mod response;
mod run;
mod slow;
mod table;
mod tags;
mod uncacheable;

use std::rc::Rc;

use http::{Method, Response};
use tokio::sync::oneshot;

use crate::origin;
use crate::policy::StoredFacts;
use crate::proxy::Proxy;
use crate::proxy::answer::cache_status::{CacheStatus, ForwardReason};
use crate::proxy::answer::failure::Failure;
use crate::proxy::answer::response::{Outcome, ProxyAnswer};
use crate::proxy::fetch::gather::ActiveFetch;
use crate::proxy::lookup::location::CacheLocation;
use crate::proxy::request::{CacheRequest, InboundRequest};
use crate::store::StorePermit;

pub(in crate::proxy) use crate::proxy::fetch::lease::run;
pub(in crate::proxy) use crate::proxy::fetch::response::FetchOutcome;
pub(super) use crate::proxy::fetch::response::SharedResponse;
pub(in crate::proxy) use crate::proxy::fetch::run::FetchRights;
pub(super) use crate::proxy::fetch::run::run_alone;
pub(in crate::proxy) use crate::proxy::fetch::slow::SlowKeys;
pub(in crate::proxy) use crate::proxy::fetch::table::FetchTable;
pub(super) use crate::proxy::fetch::table::{FetchRole, FetchState, LeaderGuard};
pub(super) use crate::proxy::fetch::tags::cache_tags;
pub(in crate::proxy) use crate::proxy::fetch::tags::groups;
pub(in crate::proxy) use crate::proxy::fetch::uncacheable::UncacheableKeys;

/// Relays the response to a `POST`, and stores it for `GET`s of the same target, unless it has been
/// superseded.
pub(in crate::proxy) async fn store_post(
    proxy: &Rc<Proxy>,
    mut inbound: InboundRequest,
    response: Response<origin::OriginBody>,
    facts: StoredFacts,
    permit: StorePermit,
) -> ProxyAnswer {
    let location = CacheLocation::whole(permit.resource(), permit.key_generation());
    inbound.method = Method::GET;
    let request = Rc::new(CacheRequest::new(inbound, &proxy.rules));
    if let Err(reason) = run::body_fits(proxy, &response) {
        proxy.metrics.not_stored(reason);
        return ProxyAnswer::from_origin(Outcome::Pass, response);
    }
    let fetch = ActiveFetch::adopting(Rc::clone(proxy), request, location, permit);
    let (to_client, fetched) = oneshot::channel();
    proxy.tasks.spawn(fetch.share(response, facts, to_client));
    match fetched.await {
        Ok(FetchOutcome::Shared(answer, admission)) => {
            answer.with_status(CacheStatus::storing(&proxy.store, ForwardReason::Method, admission))
        }
        Ok(_) | Err(_) => Failure::Closed.into(),
    }
}
pub(super) mod direct;
pub(super) mod join;
pub(super) mod pauses;
pub(super) mod refresh;
pub(super) mod second_look;
pub(super) mod stale_on_error;
pub(super) mod tasks;
