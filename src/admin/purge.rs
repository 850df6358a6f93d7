//! `POST /purge`: everything that its body names is not used any more, on no node. Answered when that is so.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::Body;
use tracing::info;

use super::problem::{self, Problem};
use super::{Answer, body, document};
use crate::key::BadUrl;
use crate::proxy::Proxy;
use crate::purge::{self, BadOrder, Outcome};
use crate::time;

/// Reads the order, carries it out, and tells what became of it.
pub(super) async fn answer<B: Body<Data = Bytes>>(
    proxy: &Proxy,
    headers: &HeaderMap,
    body: B,
) -> Result<Answer, Problem> {
    let order = purge::read(&body::text(headers, body).await?)?;
    order
        .urls()
        .try_for_each(|target| proxy.reaches(target))
        .map_err(|bad| BadOrder::from(BadUrl::from(bad)))?;
    let begun = time::instant();
    let said = proxy.purge(&order).await;
    let took = time::instant().duration_since(begun);
    let outcome = Outcome::of(&said);
    // Whoever wonders some day where everything has gone finds it in the log; names may be secrets, their number is not.
    info!(%outcome, named = order.named.len(), strength = ?order.strength, "purged");
    let media = if outcome.status().is_success() { "application/json" } else { "application/problem+json" };
    let answer = document(outcome.status(), media, Outcome::document(&order, &said, took));
    Ok(if outcome.status() == StatusCode::SERVICE_UNAVAILABLE {
        problem::retry_after(answer)
    } else {
        answer
    })
}
