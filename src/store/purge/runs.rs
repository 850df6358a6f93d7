//! The runs of the Redis servers: a server that starts again may have lost purges.
//!
//! A server that starts from a snapshot has the entries of the snapshot, and not the purges after
//! it. So each connection learns the run of its server before it carries a command. If this is not
//! the known run, the purge log counts as unknown until this file has settled the run: it compares
//! the run with the one that Redis stores beside the log. Unless they are equal, or a fail-over
//! explains the difference, a new epoch begins, to which no older entry belongs.
//!
//! After a fail-over the replica has each confirmed purge, because it has acknowledged it. In a
//! cluster each server stores a part of the keys, and only a change of its run that this process
//! has seen counts.
//!
//! **Always:** while a run is unsettled, no process state judges an entry from that server, because
//! the log is unknown.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::limits::{PURGE_LOG_KEPT, REDIS_NODES_MAX};
use crate::redis::{Client, CommandError, ConnectedServer, KeyShare, Reply, ServerRun};
use crate::store::scripts::{SERVER_RUN, decimal, is_refused};
use crate::time::millis;

/// The runs that this process knows.
#[derive(Default)]
pub(in crate::store) struct ServerRuns(Mutex<KnownRuns>);

#[derive(Default)]
struct KnownRuns {
    /// The run of the server with all keys, once it is settled.
    settled: Option<SettledRun>,
    /// The last run of each server with a part of the keys.
    parts: HashMap<Box<str>, ServerRun>,
    unsettled: Option<UnsettledRun>,
}

/// The settled run of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SettledRun {
    address: Box<str>,
    run: ServerRun,
    /// The run of the master before, if a fail-over lies between them.
    before: Option<ServerRun>,
}

/// A run that has to be settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) enum UnsettledRun {
    /// The run of the server with all keys has to be compared with the stored one.
    Unknown(ExpectedRun),
    /// A server of a cluster has started again.
    Restarted(Box<str>, ServerRun),
}

/// A run, and the one that may precede it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) struct ExpectedRun(SettledRun);

impl ServerRuns {
    /// Records the run of a server to which a connection is up; returns whether it has to be
    /// settled.
    pub(in crate::store) fn connected(&self, server: &ConnectedServer) -> bool {
        let ConnectedServer { address, run, share } = server;
        let mut known = self.known();
        let unsettled = match share {
            KeyShare::All => match &known.settled {
                Some(settled) if settled.address == *address && settled.run == *run => return false,
                settled => {
                    // Another run at an unchanged address is a restart.
                    let before = settled.as_ref().filter(|settled| settled.address != *address);
                    let before = before.map(|settled| settled.run.clone());
                    let (address, run) = (address.clone(), run.clone());
                    UnsettledRun::Unknown(ExpectedRun(SettledRun { address, run, before }))
                }
            },
            KeyShare::Part => {
                if known.parts.len() >= 2 * REDIS_NODES_MAX && !known.parts.contains_key(address) {
                    known.parts.clear();
                }
                match known.parts.insert(address.clone(), run.clone()) {
                    Some(before) if before != *run => UnsettledRun::Restarted(address.clone(), run.clone()),
                    Some(_) | None => return false,
                }
            }
        };
        known.unsettled = Some(unsettled);
        true
    }

    /// Returns the run that has to be settled.
    pub(in crate::store) fn unsettled(&self) -> Option<UnsettledRun> {
        self.known().unsettled.clone()
    }

    /// Returns the settled run of the server with all keys.
    pub(in crate::store) fn settled(&self) -> Option<ExpectedRun> {
        self.known().settled.clone().map(ExpectedRun)
    }

    /// Unsettles a settled run: Redis stores another one.
    pub(in crate::store) fn doubt(&self, run: ExpectedRun) {
        self.known().unsettled.get_or_insert(UnsettledRun::Unknown(run));
    }

    /// Records that this run is settled; returns whether no other one came meanwhile.
    pub(in crate::store) fn settle(&self, run: &UnsettledRun) -> bool {
        let mut known = self.known();
        if known.unsettled.as_ref() != Some(run) {
            return known.unsettled.is_none();
        }
        known.unsettled = None;
        if let UnsettledRun::Unknown(ExpectedRun(run)) = run {
            known.settled = Some(run.clone());
        }
        true
    }

    fn known(&self) -> MutexGuard<'_, KnownRuns> {
        // Each critical section leaves complete values.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UnsettledRun {
    /// Returns whether the run follows that of another master.
    pub(in crate::store) fn is_after_fail_over(&self) -> bool {
        matches!(self, Self::Unknown(ExpectedRun(SettledRun { before: Some(_), .. })))
    }
}

impl ExpectedRun {
    /// Compares the run with the one that Redis stores. Replaces the stored run if this one may
    /// follow it, or if a new epoch has begun after `ended`; otherwise returns the stored run.
    pub(in crate::store) async fn compare(
        &self,
        redis: &Client,
        key: &[u8],
        ended: &Bytes,
    ) -> Result<Option<Bytes>, CommandError> {
        let Self(SettledRun { run, before, .. }) = self;
        let text = |run: &ServerRun| Bytes::copy_from_slice(run.as_str().as_bytes());
        let arguments = [
            text(run),
            before.as_ref().map(text).unwrap_or_default(),
            ended.clone(),
            decimal(millis(PURGE_LOG_KEPT)),
        ];
        match SERVER_RUN.run(redis, key, &arguments).await {
            Ok(Reply::Bulk(known)) => Ok(Some(Bytes::copy_from_slice(&known))),
            // A server without scripts stores no entries.
            Ok(_) => Ok(None),
            Err(why) if is_refused(why) => Ok(None),
            Err(why) => Err(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> ServerRun {
        ServerRun::parse(&Reply::Bulk(format!("run_id:{text}").into())).unwrap()
    }

    fn server(address: &str, text: &str, share: KeyShare) -> ConnectedServer {
        ConnectedServer { address: address.into(), run: run(text), share }
    }

    fn unsettled(address: &str, text: &str, before: Option<&str>) -> Option<UnsettledRun> {
        let settled = SettledRun { address: address.into(), run: run(text), before: before.map(run) };
        Some(UnsettledRun::Unknown(ExpectedRun(settled)))
    }

    #[test]
    fn a_server_that_starts_again_is_unsettled_and_one_after_a_fail_over_follows() {
        let runs = ServerRuns::default();
        let connect = |address, run| runs.connected(&server(address, run, KeyShare::All));
        let settle = || runs.settle(&runs.unsettled().unwrap());
        assert!(connect("a", "1"));
        assert_eq!(runs.unsettled(), unsettled("a", "1", None), "the first run of this process");
        assert!(settle() && !connect("a", "1"));
        assert!(connect("a", "2"));
        let restarted = runs.unsettled();
        assert_eq!(restarted, unsettled("a", "2", None));
        assert!(connect("a", "3"));
        assert!(!runs.settle(&restarted.unwrap()), "it has started again meanwhile");
        assert!(settle());
        assert!(connect("b", "4"));
        assert_eq!(runs.unsettled(), unsettled("b", "4", Some("3")));
        assert!(settle() && connect("a", "5"));
        assert_eq!(runs.unsettled(), unsettled("a", "5", Some("4")));
    }

    #[test]
    fn in_a_cluster_each_server_has_a_run() {
        let runs = ServerRuns::default();
        let connect = |address, run| runs.connected(&server(address, run, KeyShare::Part));
        assert!(!connect("a", "1") && !connect("b", "2") && !connect("a", "1"));
        assert!(connect("b", "3"));
        assert_eq!(runs.unsettled(), Some(UnsettledRun::Restarted("b".into(), run("3"))));
        assert!(runs.settle(&runs.unsettled().unwrap()) && !connect("b", "3"));
    }
}
