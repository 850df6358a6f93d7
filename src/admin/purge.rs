//! `POST /purge`: everything that its body names is not used any more, on no node. Answered when
//! that is so.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::Body;
use tracing::info;

use super::problem::{self, AdminProblem};
use super::{AdminResponse, body, document};
use crate::key::UrlError;
use crate::proxy::Proxy;
use crate::purge::{self, PurgeOrderError, PurgeOutcome};
use crate::time;

/// Reads the order, carries it out, and tells what became of it.
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
    let said = proxy.purge(&order).await;
    let took = time::instant().duration_since(begun);
    let outcome = PurgeOutcome::of(&said);
    // Whoever wonders some day where everything has gone finds it in the log; names may be secrets,
    // their number is not.
    info!(%outcome, named = order.named.len(), strength = ?order.strength, "purged");
    let media = if outcome.status().is_success() { "application/json" } else { "application/problem+json" };
    let answer = document(outcome.status(), media, PurgeOutcome::document(&order, &said, took));
    Ok(if outcome.status() == StatusCode::SERVICE_UNAVAILABLE {
        problem::retry_after(answer)
    } else {
        answer
    })
}
