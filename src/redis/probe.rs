//! Who asks a server again that nobody asks.

use std::rc::Rc;

use super::ask::Ask;
use super::breaker::{Cause, Probed};
use super::error::Unavailable;
use super::lanes::Lanes;
use super::server::Server;
use super::survive::{Panicked, survive};
use super::vitals::Vitals;
use crate::resp::{Command, Reply};
use crate::time::instant;

/// Probes the server with one `PING` at a time, whenever its breaker wants that. Ends when the pool is closed.
pub(super) async fn run(lanes: Rc<Lanes>, server: Rc<Server>) {
    let vitals = &server.vitals;
    while let Some(survived) = server.unless_closing(survive(probe(&lanes, vitals))).await {
        vitals.probed(survived.unwrap_or_else(|Panicked| {
            server.panicked();
            Probed::Unanswered
        }));
    }
}

/// One probe, as soon as it is due.
async fn probe(lanes: &Lanes, vitals: &Vitals) -> Probed {
    vitals.probe_is_due().await;
    let ask = Ask::of(&Command::Ping, instant(), vitals.ceiling());
    judge(match lanes.submit(&ask) {
        Ok(pending) => pending.await,
        Err(refusal) => Err(refusal),
    })
}

fn judge(reply: Result<Reply, Unavailable>) -> Probed {
    match reply {
        // A server that may not be asked by us is there for all that.
        Ok(Reply::Error(error)) => Cause::of(error.kind).map_or(Probed::Answered, Probed::Refused),
        Ok(_) => Probed::Answered,
        Err(_) => Probed::Unanswered,
    }
}
