//! The paths at which the listener for clients answers checks.

use super::error::ConfigError;
use super::resolver::Resolver;
use super::table::Name;
use super::values;
use crate::proxy::ProbePaths;

impl Resolver<'_> {
    /// Reads the two paths, which have to differ.
    pub(super) fn probe_paths(&mut self) -> Option<ProbePaths> {
        let probes = ProbePaths {
            health: self.take(Name::HealthPath, values::probe_path)?,
            ready: self.take(Name::ReadyPath, values::probe_path)?,
        };
        if probes.health.is_some() && probes.health == probes.ready {
            self.note(Name::ReadyPath, ConfigError::SamePath(Name::HealthPath));
        }
        Some(probes)
    }
}
