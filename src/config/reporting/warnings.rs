//! Warnings: likely mistakes that do not prevent the start.

use std::net::SocketAddr;

use crate::config::reporting::error::ConfigError;
use crate::config::reporting::located::{ErrorLocation, LocatedError, SettingSource};
use crate::config::table::Name;

/// A likely mistake.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigWarning {
    /// A name in mixed case: `Cache_Default_TTL`.
    #[error("{spelling} ({at}) is not read: names are case-sensitive, write {}", .name.variable())]
    OtherCase {
        /// The name as given.
        spelling: String,
        /// The source.
        at: SettingSource,
        /// The setting of that name.
        name: Name,
    },
    /// A misspelt name: `CACHE_DEFAULT_TLL`.
    #[error("{spelling} ({at}) is not a setting: did you mean {}?", .name.variable())]
    Near {
        /// The name as given.
        spelling: String,
        /// The source.
        at: SettingSource,
        /// The setting that may be meant.
        name: Name,
    },
    /// A name that begins as those of settings do: `CACHE_SIZE`.
    #[error("{spelling} ({at}) is not a setting, and is not read")]
    Unknown {
        /// The name as given.
        spelling: String,
        /// The source.
        at: SettingSource,
    },
    /// Different values in upper and lower case.
    #[error("{} and {name} differ ({at}): upper case wins", .name.variable())]
    CasesDiffer {
        /// The setting.
        name: Name,
        /// The source of the value that applies.
        at: SettingSource,
    },
    /// An admin listener that other machines reach, without a token that identifies operators.
    #[error(
        "other machines can reach admin_addr {addr}, but admin_token is not set: only this machine may use purge, \
         entries and stats"
    )]
    AdminWithoutToken {
        /// The address of the listener.
        addr: SocketAddr,
    },
    /// A system that allows fewer open files than the settings.
    #[error(
        "the system allows too few open files (ulimit -n, LimitNOFILE) for max_connections and \
         origin_max_connections: they are lowered to {clients} and {origin}"
    )]
    FewerDescriptors {
        /// The connections of clients that have room.
        clients: usize,
        /// The connections to the origin that have room.
        origin: usize,
    },
    /// A total below the number of workers. Every worker gets at least one.
    #[error("{name} is {total}, but there are {workers} workers, and each gets at least one")]
    FewerThanWorkers {
        /// The setting.
        name: Name,
        /// The total.
        total: usize,
        /// The number of workers.
        workers: usize,
    },
}

impl ConfigWarning {
    /// Returns the warning as an error, if an operator meant a setting that is not read.
    pub(in crate::config) fn misspelling(&self) -> Option<LocatedError> {
        match self {
            Self::OtherCase { spelling, at, name } | Self::Near { spelling, at, name } => {
                let error = ConfigError::Misspelt { given: spelling.clone(), meant: name.variable() };
                Some(LocatedError { location: ErrorLocation::of_name(at), error })
            }
            Self::Unknown { .. }
            | Self::CasesDiffer { .. }
            | Self::AdminWithoutToken { .. }
            | Self::FewerThanWorkers { .. }
            | Self::FewerDescriptors { .. } => None,
        }
    }
}
