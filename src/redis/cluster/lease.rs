//! Confirms at every heartbeat that each master still is one.
//!
//! A demoted master, or one that is cut off from the cluster, announces nothing, and its
//! connections stay up. But it stops answering for keys of its slots: a replica redirects, and a
//! node that is cut off refuses. So reads from a server count as tracked only while it answers a
//! read of such a key at each heartbeat. A server that lost its role is trusted for at most
//! [`REDIS_MASTER_LEASE`] and the wait for one answer.

use std::rc::Rc;

use tokio::time::{sleep, timeout};

use super::layout::ClusterNode;
use super::servers::ClusterServers;
use crate::limits::{REDIS_HEARTBEAT, REDIS_MASTER_LEASE};
use crate::redis::error::CommandError;
use crate::redis::topology::at_once;
use crate::resp::{Command, ErrorKind};
use crate::time::instant;

/// A server's answer to a read of its own key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MasterAnswer {
    /// It is the master.
    Master,
    /// It is not the master, or refuses all commands.
    NotMaster,
    /// No answer.
    NoAnswer,
}

/// Runs until it is aborted.
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
        // The key is forbidden, migrating or of another type: the server still answers as its
        // master.
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
                if instant().saturating_duration_since(node.confirmed.get()) >= REDIS_MASTER_LEASE {
                    node.pool.distrust();
                }
            }
        }
    }
}
