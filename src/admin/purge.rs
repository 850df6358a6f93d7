//! `POST /purge`: no node serves any entry that the body names. The answer is sent once every node
//! has confirmed, or after a timeout.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::Body;
use tracing::info;

use super::body;
use super::problem::{self, AdminProblem};
use super::response::{AdminResponse, document};
use crate::key::UrlError;
use crate::proxy::Proxy;
use crate::purge::{self, PurgeOrderError, PurgeOutcome};
use crate::time;

/// Reads the purge order, executes it and returns its outcome.
pub(super) async fn answer<B: Body<Data = Bytes>>(
    proxy: &Proxy,
    headers: &HeaderMap,
    body: B,
) -> Result<AdminResponse, AdminProblem> {
    let order = purge::read(&body::text(headers, body).await?)?;
    order
        .urls()
        .try_for_each(|target| proxy.reaches(target))
        .map_err(|bad| PurgeOrderError::from(UrlError::from(bad)))?;
    let begun = time::instant();
    let found = proxy.count_named(&order).await;
    let result = proxy.purge(&order).await;
    let took = time::instant().duration_since(begun);
    let outcome = PurgeOutcome::of(&result);
    // The log shows when entries were purged. It has the number of names and not the names, which
    // may be secrets.
    info!(%outcome, named = order.named.len(), strength = ?order.strength, "purged");
    let media = if outcome.status().is_success() { "application/json" } else { "application/problem+json" };
    let answer = document(outcome.status(), media, PurgeOutcome::document(&order, &result, found, took));
    Ok(if outcome.status() == StatusCode::SERVICE_UNAVAILABLE {
        problem::retry_after(answer)
    } else {
        answer
    })
}
