//! The response to a `POST` that declares itself storable for later `GET`s.

use std::rc::Rc;

use http::{Method, Response};
use tokio::sync::oneshot;

use crate::origin;
use crate::policy::StoredFacts;
use crate::proxy::answer::cache_status::{CacheStatus, ForwardReason};
use crate::proxy::answer::failure::Failure;
use crate::proxy::answer::outcome::Outcome;
use crate::proxy::answer::response::ProxyAnswer;
use crate::proxy::fetch::active::ActiveFetch;
use crate::proxy::fetch::response::FetchOutcome;
use crate::proxy::fetch::run;
use crate::proxy::lookup::location::CacheLocation;
use crate::proxy::request::{CacheRequest, InboundRequest};
use crate::proxy::worker::Proxy;
use crate::store::StorePermit;

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
    inbound.rules = inbound.rule_set.of_get(&inbound.target).rules;
    let request = Rc::new(CacheRequest::new(inbound));
    if let Err(reason) = run::body_fits(request.rules(), &response) {
        proxy.metrics.not_stored(reason);
        return ProxyAnswer::from_origin(Outcome::Pass, response);
    }
    let fetch = ActiveFetch::new(proxy, &request, &location, None, None, permit);
    let (to_client, fetched) = oneshot::channel();
    proxy.tasks.spawn(fetch.share(response, facts, to_client));
    match fetched.await {
        Ok(FetchOutcome::Shared(answer, admission)) => {
            answer.with_status(CacheStatus::storing(&proxy.store, ForwardReason::Method, admission))
        }
        Ok(_) | Err(_) => Failure::Closed.into(),
    }
}
