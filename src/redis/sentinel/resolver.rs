//! Resolves the address of the master.

use std::rc::Rc;

use super::master::MasterState;
use crate::redis::connection::{ControlConnections, ControlError};
use crate::redis::topology::RefreshResult;
use crate::resp::topology::{Endpoint, ServerRole, TopologyError, master_address, role};
use crate::resp::{Command, ErrorKind};

/// Asks the sentinels in turn, beginning with the last one that answered.
pub(super) struct MasterResolver {
    /// If empty, no sentinel can be asked.
    sentinels: Vec<Endpoint>,
    /// The master's name at the sentinels.
    name: String,
    sentinel_control: Rc<ControlConnections>,
    master: Rc<MasterState>,
}

/// A failed attempt to resolve the master.
#[derive(Debug, thiserror::Error)]
enum ResolveError {
    #[error("no sentinel is configured")]
    NoSentinel,
    #[error("sentinel {sentinel}: {why}")]
    Sentinel { sentinel: Endpoint, why: ControlError },
    #[error("sentinel {sentinel} does not know a master called {name:?}")]
    UnknownName { sentinel: Endpoint, name: String },
    #[error("sentinel {sentinel} names {master} as the master, but its role is {role}")]
    NoMaster { sentinel: Endpoint, master: Endpoint, role: ServerRole },
    #[error("sentinel {sentinel} names {master} as the master: {why}")]
    Master { sentinel: Endpoint, master: Endpoint, why: ControlError },
}

impl MasterResolver {
    pub(super) fn new(
        sentinels: Vec<Endpoint>,
        name: String,
        sentinel_control: Rc<ControlConnections>,
        master: Rc<MasterState>,
    ) -> Self {
        Self { sentinels, name, sentinel_control, master }
    }

    /// Runs until it is aborted.
    pub(super) async fn run(mut self) {
        loop {
            self.master.refresh.due().await;
            let master = Rc::clone(&self.master);
            let MasterState { refresh, lease, .. } = &*master;
            let (before, quorum) = (master.switches.get(), lease.quorum());
            match self.find().await {
                // A sentinel has announced a newer master meanwhile.
                Ok(_) if master.switches.get() != before => refresh.succeeded(RefreshResult::Unchanged),
                Ok(endpoint) => {
                    lease.confirm(quorum);
                    refresh.succeeded(master.adopt(&endpoint));
                    master.apply_lease();
                }
                Err(why) => refresh.failed(&why),
            }
        }
    }

    /// Returns the first master that a sentinel names and that confirms its role.
    async fn find(&mut self) -> Result<Endpoint, ResolveError> {
        let mut why = ResolveError::NoSentinel;
        let mut tried = Vec::new();
        for turn in 0..self.sentinels.len() {
            let Some(sentinel) = self.sentinels.get(turn) else { break };
            match self.ask_sentinel(sentinel, &mut tried).await {
                Ok(Some(master)) => {
                    // The next query begins with this sentinel.
                    self.sentinels.rotate_left(turn);
                    return Ok(master);
                }
                Ok(None) => {}
                Err(unfound) => why = unfound,
            }
        }
        Err(why)
    }

    /// Returns the server that a sentinel names, if its role is master; `None` if it was asked
    /// before and is not.
    async fn ask_sentinel(
        &self,
        sentinel: &Endpoint,
        tried: &mut Vec<Endpoint>,
    ) -> Result<Option<Endpoint>, ResolveError> {
        let name = &self.name;
        let asked = self.sentinel_control.ask(sentinel, &Command::MasterAddress { name }).await;
        let named = asked.and_then(|reply| Ok(master_address(&reply)?)).map_err(|why| {
            let (sentinel, name) = (sentinel.clone(), name.clone());
            if matches!(why, ControlError::TopologyError(TopologyError::NoServer)) {
                ResolveError::UnknownName { sentinel, name }
            } else {
                ResolveError::Sentinel { sentinel, why }
            }
        });
        let master = named?;
        if tried.contains(&master) {
            return Ok(None);
        }
        tried.push(master.clone());
        let asked = self.master.server_control.ask(&master, &Command::Role).await;
        match asked.and_then(|reply| Ok((role(&reply)?, reply))) {
            Ok((ServerRole::Master, reply)) => {
                // A server may name its role only.
                let _ = self.master.server_control.count_replicas(&master, &reply);
                Ok(Some(master))
            }
            Ok((role, _)) => Err(ResolveError::NoMaster { sentinel: sentinel.clone(), master, role }),
            // The server forbids `ROLE`; the sentinel's answer has to do.
            Err(ControlError::Refused { error, .. })
                if matches!(error.kind, ErrorKind::NoPerm | ErrorKind::UnknownCommand) =>
            {
                Ok(Some(master))
            }
            Err(why) => Err(ResolveError::Master { sentinel: sentinel.clone(), master, why }),
        }
    }
}
