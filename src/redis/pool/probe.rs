//! The probe of an open circuit breaker.

use std::rc::Rc;

use super::catch_panic::{PanicError, catch_panic};
use super::lanes::Lanes;
use super::server::PoolServer;
use crate::redis::error::CommandError;
use crate::redis::health::{OpenCause, ProbeResult, ServerHealth};
use crate::resp::{Command, Reply};

/// Sends one `PING` at a time whenever the breaker is due. Ends when the pool is closed.
pub(in crate::redis) async fn run(lanes: Rc<Lanes>, server: Rc<PoolServer>) {
    let health = &server.health;
    while let Some(caught) = server.unless_closing(catch_panic(probe(&lanes, health))).await {
        health.probed(caught.unwrap_or_else(|PanicError| {
            server.panicked();
            ProbeResult::Unanswered
        }));
    }
}

/// Sends one probe, once it is due.
async fn probe(lanes: &Lanes, health: &ServerHealth) -> ProbeResult {
    health.probe_due().await;
    let submission = health.submission(&Command::Ping);
    judge(match lanes.submit(&submission) {
        Ok(pending) => pending.await,
        Err(refusal) => Err(refusal),
    })
}

fn judge(reply: Result<Reply, CommandError>) -> ProbeResult {
    match reply {
        // A server that refuses the command for another reason is alive.
        Ok(Reply::Error(error)) => {
            OpenCause::of(error.kind).map_or(ProbeResult::Answered, ProbeResult::Refused)
        }
        Ok(_) => ProbeResult::Answered,
        Err(_) => ProbeResult::Unanswered,
    }
}
