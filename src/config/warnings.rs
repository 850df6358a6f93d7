//! What an operator should know, and what keeps nothing from starting.

use std::net::SocketAddr;

use super::source::SettingSource;
use super::table::Name;

/// Something that looks like a slip.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigWarning {
    /// `Cache_Default_TTL`
    #[error("{spelling} ({at}) is not read: names are case-sensitive, write {}", .name.variable())]
    OtherCase {
        /// As it stands there.
        spelling: String,
        /// Where it stands.
        at: SettingSource,
        /// What it would be.
        name: Name,
    },
    /// `CACHE_DEFAULT_TLL`
    #[error("{spelling} ({at}) is not a setting: did you mean {}?", .name.variable())]
    Near {
        /// As it stands there.
        spelling: String,
        /// Where it stands.
        at: SettingSource,
        /// What it may be.
        name: Name,
    },
    /// Upper and lower case say different things.
    #[error("{} and {name} differ ({at}): upper case wins", .name.variable())]
    CasesDiffer {
        /// The setting.
        name: Name,
        /// Where both stand.
        at: SettingSource,
    },
    /// Others can reach the admin listener, and nobody there can show that he is an operator.
    #[error(
        "admin_addr {addr} can be reached from elsewhere and there is no admin_token: purge, entries and stats are for \
         this machine only"
    )]
    AdminWithoutToken {
        /// Where it listens.
        addr: SocketAddr,
    },
    /// Every worker has one at least.
    #[error("{name} is {total}, fewer than the {workers} workers: each has one all the same")]
    FewerThanWorkers {
        /// The setting.
        name: Name,
        /// What it says.
        total: usize,
        /// How many share it.
        workers: usize,
    },
}
