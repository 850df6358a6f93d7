//! One fetch for everybody who asks.
//!
//! [`table`](Fills) knows who fetches what; [`run()`] is the fetch, in a task of its own that survives its client;
//! a [`SharedBody`](super::shared_body::SharedBody) is read by all of them while it arrives. The first byte from the origin goes to everyone at once; the
//! body is gathered beside that, and checked and stored when it is whole.

mod gather;
mod keep;
mod names;
mod response;
mod run;
mod slow;
mod table;
mod turn;
mod uncacheable;

use std::rc::Rc;

use http::{Method, Response};
use tokio::sync::oneshot;

use super::Proxy;
use super::answer::{ProxyAnswer, Outcome};
use super::ask::{CacheRequest, InboundRequest};
use super::cache_status::{CacheStatus, ForwardReason};
use super::failure::Failure;
use super::place::CacheLocation;
use crate::origin;
use crate::policy::StoredFacts;
use crate::store::StorePermit;
use gather::ActiveFetch;

pub(super) use names::{groups, names};
pub(super) use response::{FetchOutcome, SharedResponse};
pub(super) use run::{FetchRights, run_alone};
pub(super) use slow::SlowKeys;
pub(super) use table::{FetchTable, LeaderGuard, FetchState, FetchRole};
pub(super) use turn::run;
pub(super) use uncacheable::UncacheableKeys;

/// Passes a response on that came in another way, and stores it for `GET`s of the same target, unless that is overtaken.
pub(super) async fn adopt(
    proxy: &Rc<Proxy>,
    mut inbound: InboundRequest,
    response: Response<origin::OriginBody>,
    facts: StoredFacts,
    claim: StorePermit,
) -> ProxyAnswer {
    let place = CacheLocation::whole(claim.resource(), claim.lineage());
    inbound.method = Method::GET;
    let ask = Rc::new(CacheRequest::new(inbound, &proxy.rules));
    if let Err(reason) = run::body_fits(proxy, &response) {
        proxy.metrics.not_stored(reason);
        return ProxyAnswer::from_origin(Outcome::Pass, response);
    }
    let fill = ActiveFetch::adopting(Rc::clone(proxy), ask, place, claim);
    let (to_client, fetched) = oneshot::channel();
    proxy.tasks.spawn(fill.share(response, facts, to_client));
    match fetched.await {
        Ok(FetchOutcome::Shared(answer, admission)) => {
            answer.with_status(CacheStatus::storing(&proxy.store, ForwardReason::Method, admission))
        }
        Ok(_) | Err(_) => Failure::Closed.into(),
    }
}
