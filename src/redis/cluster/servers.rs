//! The servers of a cluster: their map, their pools, and the routing of a command.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use tokio::time::timeout_at;

use super::layout::{ClusterLayout, ClusterNode};
use crate::redis::connection::ControlConnections;
use crate::redis::error::CommandError;
use crate::redis::health::PoolMetrics;
use crate::redis::options::{Options, Readers};
use crate::redis::pool::DrainingPools;
use crate::redis::topology::RefreshTrigger;
use crate::redis::tracking::{TrackedVersion, TrackingOptions};
use crate::resp::topology::{HashSlot, Redirect, RedirectKind};
use crate::resp::{Command, ErrorReply, Reply};

/// The servers, as far as they are known.
pub(super) struct ClusterServers {
    pub(super) layout: RefCell<ClusterLayout>,
    /// What a server's pool is told, but for the address and the number of connections.
    pub(super) options: Options,
    pub(super) readers: Readers,
    /// What a master's pool is told so that it tracks.
    pub(super) tracking: Option<TrackingOptions>,
    /// When there were other masters than before.
    pub(super) masters_changed: Cell<Option<Instant>>,
    /// How often there were.
    pub(super) topology_epoch: Cell<u64>,
    pub(super) control: Rc<ControlConnections>,
    pub(super) metrics: PoolMetrics,
    pub(super) refresh: RefreshTrigger,
    pub(super) draining: DrainingPools,
}

impl ClusterServers {
    /// Whom to send a command to.
    pub(super) fn route(&self, command: &Command<'_>, readers: Readers) -> Option<Rc<ClusterNode>> {
        let layout = self.layout.borrow();
        let Some(key) = command.key() else { return layout.any_connected() };
        let slot = HashSlot::of(key);
        match (command, readers) {
            (Command::Get { .. }, Readers::Replicas) => layout.reader(slot),
            _ => layout.master(slot),
        }
    }

    /// A server has refused a command. If another one would take it, that one is asked; within the first one's time.
    pub(super) async fn refused(
        &self,
        node: &ClusterNode,
        command: &Command<'_>,
        error: &ErrorReply,
        deadline: Instant,
    ) -> Result<(Reply, TrackedVersion), CommandError> {
        let refusal = CommandError::Server(error.kind);
        let redirected = Redirect::parse(error, &node.endpoint);
        let Some((way, other)) = redirected.and_then(|redirect| self.follow(&redirect)) else {
            self.refresh.fire_on(refusal);
            return Err(refusal);
        };
        self.refresh.metrics.redirected(way);
        let again = async {
            match way {
                RedirectKind::Moved => other.pool.read(command).await,
                // It may still move back.
                RedirectKind::Ask => {
                    other.pool.asking(command).await.map(|reply| (reply, TrackedVersion::untracked()))
                }
            }
        };
        let result = timeout_at(deadline.into(), again).await.unwrap_or(Err(CommandError::Timeout));
        result.inspect_err(|why| self.refresh.fire_on(*why))
    }

    /// The server that a redirection leads to, if it is known. A slot that has moved is its own from now on.
    pub(super) fn follow(&self, redirect: &Redirect) -> Option<(RedirectKind, Rc<ClusterNode>)> {
        let Redirect { way, slot, to } = redirect;
        match way {
            RedirectKind::Moved => {
                let before = self.layout.borrow().master(*slot);
                let after = self.layout.borrow_mut().moved(*slot, to)?;
                if let Some(before) = before.filter(|before| !Rc::ptr_eq(before, &after)) {
                    before.pool.reset();
                }
                Some((RedirectKind::Moved, after))
            }
            RedirectKind::Ask => Some((RedirectKind::Ask, self.layout.borrow().node(to)?)),
        }
    }
}
