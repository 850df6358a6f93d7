//! Who asks a server again that nobody asks.

use std::rc::Rc;

use super::catch_panic::{PanicError, catch_panic};
use super::lanes::Lanes;
use super::server::Server;
use crate::redis::error::CommandError;
use crate::redis::health::{OpenCause, ProbeResult, ServerHealth};
use crate::redis::submission::Submission;
use crate::resp::{Command, Reply};
use crate::time::instant;

/// Probes the server with one `PING` at a time, whenever its breaker wants that. Ends when the pool is closed.
pub(in crate::redis) async fn run(lanes: Rc<Lanes>, server: Rc<Server>) {
    let health = &server.health;
    while let Some(caught) = server.unless_closing(catch_panic(probe(&lanes, health))).await {
        health.probed(caught.unwrap_or_else(|PanicError| {
            server.panicked();
            ProbeResult::Unanswered
        }));
    }
}

/// One probe, as soon as it is due.
async fn probe(lanes: &Lanes, health: &ServerHealth) -> ProbeResult {
    health.probe_due().await;
    let submission = Submission::of(&Command::Ping, instant(), health.command_timeout());
    judge(match lanes.submit(&submission) {
        Ok(pending) => pending.await,
        Err(refusal) => Err(refusal),
    })
}

fn judge(reply: Result<Reply, CommandError>) -> ProbeResult {
    match reply {
        // A server that may not be asked by us is there for all that.
        Ok(Reply::Error(error)) => {
            OpenCause::of(error.kind).map_or(ProbeResult::Answered, ProbeResult::Refused)
        }
        Ok(_) => ProbeResult::Answered,
        Err(_) => ProbeResult::Unanswered,
    }
}
