//! Warnings: likely mistakes that do not prevent the start.

use std::net::SocketAddr;

use super::located::SettingSource;
use super::table::Name;

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
