//! Asks who the master is.

use std::rc::Rc;

use super::master::MasterState;
use crate::redis::connection::{ControlConnections, ControlError};
use crate::redis::topology::RefreshResult;
use crate::resp::topology::{Endpoint, ServerRole, TopologyError, master_address, role};
use crate::resp::{Command, ErrorKind};

/// Asks one sentinel after the other, beginning with whoever knew last.
pub(super) struct MasterResolver {
    /// Never empty, or nobody is asked.
    sentinels: Vec<Endpoint>,
    /// The master's, as the sentinels call it.
    name: String,
    sentinel_control: Rc<ControlConnections>,
    master: Rc<MasterState>,
}

/// Why a sentinel's word is not taken.
#[derive(Debug, thiserror::Error)]
enum ResolveError {
    #[error("there is no sentinel to ask")]
    NoSentinel,
    #[error("sentinel {sentinel}: {why}")]
    Sentinel { sentinel: Endpoint, why: ControlError },
    #[error("sentinel {sentinel} does not know a master called {name:?}")]
    UnknownName { sentinel: Endpoint, name: String },
    #[error("sentinel {sentinel} names {master} as the master, and that is a {role}")]
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

    /// Never ends by itself.
    pub(super) async fn run(mut self) {
        loop {
            self.master.refresh.due().await;
            let master = Rc::clone(&self.master);
            let MasterState { refresh, lease, .. } = &*master;
            let (before, quorum) = (master.switches.get(), lease.quorum());
            match self.find().await {
                // Somebody has told of a newer one meanwhile.
                Ok(_) if master.switches.get() != before => refresh.succeeded(RefreshResult::Unchanged),
                Ok(endpoint) => {
                    lease.confirm(quorum);
                    refresh.succeeded(master.adopt(&endpoint));
                    master.renew_lease();
                }
                Err(why) => refresh.failed(&why),
            }
        }
    }

    /// Whoever a sentinel takes for the master, and who takes itself for it.
    async fn find(&mut self) -> Result<Endpoint, ResolveError> {
        let mut why = ResolveError::NoSentinel;
        let mut doubtful = Vec::new();
        for turn in 0..self.sentinels.len() {
            let Some(sentinel) = self.sentinels.get(turn) else { break };
            match self.ask_sentinel(sentinel, &mut doubtful).await {
                Ok(Some(master)) => {
                    // It is asked first the next time.
                    self.sentinels.rotate_left(turn);
                    return Ok(master);
                }
                Ok(None) => {}
                Err(unfound) => why = unfound,
            }
        }
        Err(why)
    }

    /// Whom a sentinel names, if that is a master; `None` if it has been asked whether it is, and is not.
    async fn ask_sentinel(
        &self,
        sentinel: &Endpoint,
        doubtful: &mut Vec<Endpoint>,
    ) -> Result<Option<Endpoint>, ResolveError> {
        let name = &self.name;
        let asked = self.sentinel_control.ask(sentinel, &Command::MasterAddress { name }).await;
        let named = asked.and_then(|reply| Ok(master_address(&reply)?)).map_err(|why| {
            let (sentinel, name) = (sentinel.clone(), name.clone());
            if matches!(why, ControlError::TopologyError(TopologyError::Nobody)) {
                ResolveError::UnknownName { sentinel, name }
            } else {
                ResolveError::Sentinel { sentinel, why }
            }
        });
        let master = named?;
        if doubtful.contains(&master) {
            return Ok(None);
        }
        doubtful.push(master.clone());
        let asked = self.master.server_control.ask(&master, &Command::Role).await;
        match asked.and_then(|reply| Ok(role(&reply)?)) {
            Ok(ServerRole::Master) => Ok(Some(master)),
            Ok(role) => Err(ResolveError::NoMaster { sentinel: sentinel.clone(), master, role }),
            // It lets us in and does not say; then the sentinel's word has to do.
            Err(ControlError::Refused { error, .. })
                if matches!(error.kind, ErrorKind::NoPerm | ErrorKind::UnknownCommand) =>
            {
                Ok(Some(master))
            }
            Err(why) => Err(ResolveError::Master { sentinel: sentinel.clone(), master, why }),
        }
    }
}
