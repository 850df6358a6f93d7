//! `POST /reload`: the process reads its settings again. The answer is sent once every worker uses
//! the new ones.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::Body;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::body;
use super::problem::AdminProblem;
use super::response::{self, AdminResponse};
use crate::json;
use crate::limits::{RELOAD_TIMEOUT, RELOADS_QUEUED_MAX};

/// The outcome of a reload: the parts that use the new settings, or the reason why none does.
pub type ReloadOutcome = Result<Vec<&'static str>, String>;

/// The operators' end of the queue of reloads.
#[derive(Clone, Debug)]
pub struct ReloadQueue(mpsc::Sender<ReloadRequest>);

/// An operator that waits for the outcome of a reload.
#[derive(Debug)]
pub struct ReloadRequest(oneshot::Sender<ReloadOutcome>);

impl ReloadQueue {
    /// Returns the two ends of a queue.
    pub fn new() -> (Self, mpsc::Receiver<ReloadRequest>) {
        let (sender, receiver) = mpsc::channel(RELOADS_QUEUED_MAX);
        (Self(sender), receiver)
    }
}

impl ReloadRequest {
    /// Answers the operator, who may have left.
    pub fn answer(self, outcome: ReloadOutcome) {
        drop(self.0.send(outcome));
    }
}

/// Requests a reload, and waits for its outcome.
pub(super) async fn answer<B: Body<Data = Bytes>>(
    queue: &ReloadQueue,
    headers: &HeaderMap,
    body: B,
) -> Result<AdminResponse, AdminProblem> {
    // A web page cannot send JSON without a preflight.
    if body::text(headers, body).await?.trim() != "{}" {
        return Err(AdminProblem::NotEmpty);
    }
    let (request, outcome) = oneshot::channel();
    queue.0.try_send(ReloadRequest(request)).map_err(|_| AdminProblem::NoReload)?;
    match timeout(RELOAD_TIMEOUT, outcome).await {
        Ok(Ok(Ok(parts))) => Ok(response::json(
            StatusCode::OK,
            json::object(|object| {
                object.words("reloaded", parts.into_iter());
            }),
        )),
        Ok(Ok(Err(reason))) => Err(AdminProblem::ReloadRefused(reason)),
        Ok(Err(_)) | Err(_) => Err(AdminProblem::NoReload),
    }
}
