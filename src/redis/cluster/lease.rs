//! Asks each master, again and again, whether it still is one.
//!
//! A master that has been demoted, or is cut off from the others, says nothing of it, and its connections stay. What was read
//! from it counts only while it answers for a key of its own: who is no master redirects, and who is cut off refuses. So a
//! server that has lost its place is not trusted for longer than [`REDIS_VOUCHED_FOR`] and the wait for one answer, however
//! little it is asked otherwise.

use std::rc::Rc;

use tokio::time::{sleep, timeout};

use super::layout::ClusterNode;
use super::servers::ClusterServers;
use crate::limits::{REDIS_HEARTBEAT, REDIS_VOUCHED_FOR};
use crate::redis::error::CommandError;
use crate::redis::topology::at_once;
use crate::resp::{Command, ErrorKind};
use crate::time::instant;

/// What a master says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MasterAnswer {
    /// That it is one.
    Master,
    /// That it is none, or serves nobody.
    NotMaster,
    /// Nothing.
    NoAnswer,
}

/// Never ends by itself.
pub(super) async fn run(servers: Rc<ClusterServers>) {
    loop {
        let masters = servers.layout.borrow().masters();
        at_once(masters.into_iter().map(|(node, key)| ask(&servers, node, key))).await;
        sleep(REDIS_HEARTBEAT).await;
    }
}

async fn ask(servers: &ClusterServers, node: Rc<ClusterNode>, key: Vec<u8>) {
    let answer = timeout(REDIS_HEARTBEAT, node.pool.command(&Command::Get { key: &key })).await;
    servers.record_answer(&node, judge(answer.unwrap_or(Err(CommandError::Timeout)).map(drop)));
}

fn judge(answer: Result<(), CommandError>) -> MasterAnswer {
    match answer {
        // It does not let us have this key, or somebody else will have it: it speaks as the master of it.
        Ok(()) | Err(CommandError::Server(ErrorKind::NoPerm | ErrorKind::Ask | ErrorKind::WrongType)) => {
            MasterAnswer::Master
        }
        Err(CommandError::Server(_)) => MasterAnswer::NotMaster,
        Err(_) => MasterAnswer::NoAnswer,
    }
}

impl ClusterServers {
    fn record_answer(&self, node: &ClusterNode, answer: MasterAnswer) {
        match answer {
            MasterAnswer::Master => {
                node.confirmed.set(instant());
                node.pool.trust();
            }
            MasterAnswer::NotMaster => {
                node.pool.distrust();
                self.refresh.fire();
            }
            MasterAnswer::NoAnswer => {
                if instant().saturating_duration_since(node.confirmed.get()) >= REDIS_VOUCHED_FOR {
                    node.pool.distrust();
                }
            }
        }
    }
}
