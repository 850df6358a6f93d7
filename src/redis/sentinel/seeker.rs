//! Asks who the master is.

use std::rc::Rc;

use super::Master;
use crate::redis::control::{Switchboard, Unasked};
use crate::redis::topology::Inquiry;
use crate::resp::topology::{Endpoint, Role, Unreadable, master_address, role};
use crate::resp::{Command, ErrorKind};

/// Asks one sentinel after the other, beginning with whoever knew last.
pub(super) struct Seeker {
    /// Never empty, or nobody is asked.
    sentinels: Vec<Endpoint>,
    /// The master's, as the sentinels call it.
    name: String,
    watchers: Rc<Switchboard>,
    master: Rc<Master>,
}

/// Why a sentinel's word is not taken.
#[derive(Debug, thiserror::Error)]
enum Unfound {
    #[error("there is no sentinel to ask")]
    NoSentinel,
    #[error("sentinel {sentinel}: {why}")]
    Sentinel { sentinel: Endpoint, why: Unasked },
    #[error("sentinel {sentinel} does not know a master called {name:?}")]
    UnknownName { sentinel: Endpoint, name: String },
    #[error("sentinel {sentinel} names {master} as the master, and that is a {role}")]
    NoMaster { sentinel: Endpoint, master: Endpoint, role: Role },
    #[error("sentinel {sentinel} names {master} as the master: {why}")]
    Master { sentinel: Endpoint, master: Endpoint, why: Unasked },
}

impl Seeker {
    pub(super) fn new(
        sentinels: Vec<Endpoint>,
        name: String,
        watchers: Rc<Switchboard>,
        master: Rc<Master>,
    ) -> Self {
        Self { sentinels, name, watchers, master }
    }

    /// Never ends by itself.
    pub(super) async fn run(mut self) {
        loop {
            self.master.doubt.due().await;
            let master = Rc::clone(&self.master);
            let Master { doubt, vouchers, .. } = &*master;
            let (before, quorum) = (master.announcements.get(), vouchers.quorum());
            match self.find().await {
                // Somebody has told of a newer one meanwhile.
                Ok(_) if master.announcements.get() != before => doubt.settled(Inquiry::Unchanged),
                Ok(endpoint) => {
                    vouchers.asked(quorum);
                    doubt.settled(master.adopt(&endpoint));
                    master.vouch();
                }
                Err(why) => doubt.unsettled(&why),
            }
        }
    }

    /// Whoever a sentinel takes for the master, and who takes itself for it.
    async fn find(&mut self) -> Result<Endpoint, Unfound> {
        let mut why = Unfound::NoSentinel;
        let mut doubtful = Vec::new();
        for turn in 0..self.sentinels.len() {
            let Some(sentinel) = self.sentinels.get(turn) else { break };
            match self.word_of(sentinel, &mut doubtful).await {
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
    async fn word_of(
        &self,
        sentinel: &Endpoint,
        doubtful: &mut Vec<Endpoint>,
    ) -> Result<Option<Endpoint>, Unfound> {
        let name = &self.name;
        let asked = self.watchers.ask(sentinel, &Command::MasterAddress { name }).await;
        let named = asked.and_then(|reply| Ok(master_address(&reply)?)).map_err(|why| {
            let (sentinel, name) = (sentinel.clone(), name.clone());
            if matches!(why, Unasked::Unreadable(Unreadable::Nobody)) {
                Unfound::UnknownName { sentinel, name }
            } else {
                Unfound::Sentinel { sentinel, why }
            }
        });
        let master = named?;
        if doubtful.contains(&master) {
            return Ok(None);
        }
        doubtful.push(master.clone());
        let asked = self.master.servers.ask(&master, &Command::Role).await;
        match asked.and_then(|reply| Ok(role(&reply)?)) {
            Ok(Role::Master) => Ok(Some(master)),
            Ok(role) => Err(Unfound::NoMaster { sentinel: sentinel.clone(), master, role }),
            // It lets us in and does not say; then the sentinel's word has to do.
            Err(Unasked::Refused { error, .. })
                if matches!(error.kind, ErrorKind::NoPerm | ErrorKind::UnknownCommand) =>
            {
                Ok(Some(master))
            }
            Err(why) => Err(Unfound::Master { sentinel: sentinel.clone(), master, why }),
        }
    }
}
