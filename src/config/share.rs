//! What is said for the whole process, shared out over its workers.

use crate::{origin, redis, server};

/// What one worker is told.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// The listener for clients.
    pub server: server::Options,
    /// The servers, unless Redis is `off`.
    pub redis: Option<redis::Deployment>,
    /// The upstream.
    pub origin: origin::Options,
}

/// Which of how many.
#[derive(Clone, Copy)]
pub(super) struct WorkerShare {
    pub(super) workers: usize,
    pub(super) index: usize,
}

impl WorkerShare {
    /// This worker's part of a total, so that all parts together are the total; at least one.
    fn of(self, total: usize) -> usize {
        let Self { workers, index } = self;
        (total / workers + usize::from(index < total % workers)).max(1)
    }

    /// What this worker is told, of what the process is told.
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
