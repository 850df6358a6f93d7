//! The split of the process' limits over its workers.

use super::resolver::Resolver;
use super::settings::Settings;
use super::table::Name;
use super::warnings::ConfigWarning;
use crate::limits::CONNECTIONS_USUAL;
use crate::{origin, redis, server};

/// The settings of one worker.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// The listener for clients.
    pub server: server::Options,
    /// The Redis servers, unless Redis is `off`.
    pub redis: Option<redis::Deployment>,
    /// The origin.
    pub origin: origin::Options,
}

/// The position of a worker among all workers.
#[derive(Clone, Copy)]
pub(super) struct WorkerShare {
    pub(super) workers: usize,
    pub(super) index: usize,
}

impl WorkerShare {
    /// Returns this worker's part of a total, at least one. All parts add up to the total.
    fn of(self, total: usize) -> usize {
        let Self { workers, index } = self;
        (total / workers + usize::from(index < total % workers)).max(1)
    }

    /// Returns this worker's settings from those of the process.
    pub(super) fn worker(
        self,
        server: &server::Options,
        redis: Option<&redis::Deployment>,
        origin: &origin::Options,
    ) -> WorkerSettings {
        WorkerSettings {
            server: server::Options { connections_max: self.of(server.connections_max), ..server.clone() },
            redis: redis.map(|redis| redis::Deployment {
                server: redis::Options {
                    connections: self.of(redis.server.connections),
                    ..redis.server.clone()
                },
                ..redis.clone()
            }),
            origin: origin::Options { connections_max: self.of(origin.connections_max), ..origin.clone() },
        }
    }
}

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

impl Resolver<'_> {
    /// Warns about totals below the number of workers.
    pub(super) fn check_shares(&mut self, workers: usize, totals: [(Name, usize); 3]) {
        let few = totals.into_iter().filter(|(_, total)| *total < workers);
        self.warnings.extend(few.map(|(name, total)| ConfigWarning::FewerThanWorkers {
            name,
            total,
            workers,
        }));
    }
}
