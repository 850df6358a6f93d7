//! The servers of a cluster: their map, their pools, and the routing of a command.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use tokio::time::timeout_at;

use super::layout::{ClusterLayout, ClusterNode};
use crate::redis::connection::ControlConnections;
use crate::redis::error::CommandError;
use crate::redis::health::PoolMetrics;
use crate::redis::options::{Options, ReadingNodes};
use crate::redis::pool::DrainingPools;
use crate::redis::topology::RefreshTrigger;
use crate::redis::tracking::{TrackedVersion, TrackingOptions};
use crate::resp::topology::{HashSlot, Redirect, RedirectKind};
use crate::resp::{Command, ErrorReply, Reply};

/// The known servers of a cluster.
pub(super) struct ClusterServers {
    pub(super) layout: RefCell<ClusterLayout>,
    /// The options of each server's pool, except for the address and the number of connections.
    pub(super) options: Options,
    pub(super) readers: ReadingNodes,
    /// The tracking options of each master's pool.
    pub(super) tracking: Option<TrackingOptions>,
    /// The time of the last change of masters.
    pub(super) masters_changed: Cell<Option<Instant>>,
    /// The number of changes of masters.
    pub(super) topology_epoch: Cell<u64>,
    pub(super) control: Rc<ControlConnections>,
    pub(super) metrics: PoolMetrics,
    pub(super) refresh: RefreshTrigger,
    pub(super) draining: DrainingPools,
}

impl ClusterServers {
    /// Returns the server for a command.
    pub(super) fn route(&self, command: &Command<'_>, readers: ReadingNodes) -> Option<Rc<ClusterNode>> {
        let layout = self.layout.borrow();
        let Some(key) = command.key() else { return layout.any_connected() };
        let slot = HashSlot::of(key);
        match (command, readers) {
            (Command::Get { .. }, ReadingNodes::Replicas) => layout.reader(slot),
            _ => layout.master(slot),
        }
    }

    /// Handles a refusal: sends the command to the server that it redirects to, within the original
    /// deadline.
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
                // The migration may still be cancelled.
                RedirectKind::Ask => {
                    other.pool.asking(command).await.map(|reply| (reply, TrackedVersion::untracked()))
                }
            }
        };
        let result = timeout_at(deadline.into(), again).await.unwrap_or(Err(CommandError::Timeout));
        result.inspect_err(|why| self.refresh.fire_on(*why))
    }

    /// Returns the server that a redirection names, if it is known. `MOVED` also reassigns the
    /// slot.
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
