//! The split of the process' limits over its workers.

use crate::config::reporting::warnings::ConfigWarning;
use crate::config::resolve::resolver::Resolver;
use crate::config::table::Name;
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
pub(in crate::config) struct WorkerShare {
    pub(in crate::config) workers: usize,
    pub(in crate::config) index: usize,
}

impl WorkerShare {
    /// Returns this worker's part of a total, at least one. All parts add up to the total.
    pub(in crate::config) fn of(self, total: usize) -> usize {
        let Self { workers, index } = self;
        (total / workers + usize::from(index < total % workers)).max(1)
    }

    /// Returns this worker's settings from those of the process.
    pub(in crate::config) fn worker(
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

impl Resolver<'_> {
    /// Warns about totals below the number of workers.
    pub(in crate::config) fn check_shares(&mut self, workers: usize, totals: [(Name, usize); 3]) {
        let few = totals.into_iter().filter(|(_, total)| *total < workers);
        self.warnings.extend(few.map(|(name, total)| ConfigWarning::FewerThanWorkers {
            name,
            total,
            workers,
        }));
    }
}
