//! The limits of connections, lowered to what the system allows.

use super::settings::Settings;
use super::table::Name;
use super::warnings::ConfigWarning;
use super::workers::{WorkerSettings, WorkerShare};
use crate::limits::CONNECTIONS_USUAL;

impl Settings {
    /// Lowers the connections to clients and to the origin until all connections fit into this
    /// many. Redis and operators keep theirs, and the origin at least a half of the rest, so that a
    /// process full of clients still reaches them. Returns a warning, unless only the default of
    /// `max_connections` is lowered, and not far.
    pub fn fit(&mut self, connections: usize) -> Option<ConfigWarning> {
        let sum = |of: fn(&WorkerSettings) -> usize| self.workers.iter().map(of).sum::<usize>();
        let clients = sum(|worker| worker.server.connections_max);
        let origin = sum(|worker| worker.origin.connections_max);
        let others = self.connections_max() - clients - origin;
        let room = connections.saturating_sub(others);
        if clients + origin <= room {
            return None;
        }
        let to_origin = origin.min(room / 2);
        let of_clients = clients.min(room - to_origin);
        let workers = self.workers.len();
        for (index, worker) in self.workers.iter_mut().enumerate() {
            let share = WorkerShare { workers, index };
            worker.server.connections_max = share.of(of_clients);
            worker.origin.connections_max = share.of(to_origin);
        }
        let is_default = Name::MaxConnections.setting().default.parse() == Ok(clients);
        let is_usual = is_default && to_origin == origin && of_clients >= CONNECTIONS_USUAL;
        (!is_usual).then_some(ConfigWarning::FewerDescriptors { clients: of_clients, origin: to_origin })
    }
}
