//! The limit of open files and sockets, and its reservation at the start.
//!
//! Each connection takes a descriptor. A process often starts with a soft limit of 1,024, for
//! programs that use `select`, and may raise it to a much higher hard limit. The process raises it
//! to the number that its settings allow.
//!
//! The kernel doubles its table of descriptors as it fills. In a process with several threads, each
//! time waits for all processors to pass through the kernel (`expand_fdtable`, `synchronize_rcu`):
//! up to 15 ms on a busy machine. A thousand connections to a process that has just started would
//! cause this five times, and its worker would answer no request meanwhile. So the table gets its
//! final size at the start, before other threads exist. The price: eight bytes a descriptor, and it
//! never shrinks.

use std::io;

use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::limits::DESCRIPTORS_BESIDE;

/// A limit below the number that the settings allow.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "the settings allow {wanted} open connections and files, but the system only {allowed} \
     (ulimit -n, LimitNOFILE): beyond that, clients wait in the backlog, and the origin and Redis are unreachable"
)]
pub struct DescriptorLimitError {
    /// The number that the settings allow.
    wanted: u64,
    /// The number that the system allows.
    allowed: u64,
}

/// Reserves room for this many connections, or as many as the system allows. Must run before other
/// threads start.
///
/// # Errors
/// [`DescriptorLimitError`], if the system allows fewer. Room for those is reserved.
pub fn reserve(connections: usize) -> Result<(), DescriptorLimitError> {
    let wanted = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(DESCRIPTORS_BESIDE);
    let allowed = raise(wanted);
    // If this fails, the table grows on demand.
    let _ = widen(wanted.min(allowed));
    if allowed < wanted { Err(DescriptorLimitError { wanted, allowed }) } else { Ok(()) }
}

/// Raises the limit to `wanted`, if it is lower. Returns the new limit.
fn raise(wanted: u64) -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let now = current.unwrap_or(u64::MAX);
    let wanted = wanted.min(maximum.unwrap_or(u64::MAX));
    if wanted <= now || setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).is_err() {
        return now;
    }
    wanted
}

/// Makes the kernel grow the table, by opening the last descriptor once.
fn widen(descriptors: u64) -> io::Result<()> {
    let last = i32::try_from(descriptors.saturating_sub(1)).map_err(io::Error::other)?;
    fcntl_dupfd_cloexec(io::stderr(), last).map(drop).map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a number of this process from `/proc`.
    fn status(name: &str) -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().parse().unwrap()
    }

    #[test]
    fn reserving_grows_the_table_at_once_and_never_lowers_the_limit() {
        let before = raise(0);
        assert_eq!(reserve(900), Ok(()));
        assert!(status("FDSize:") >= 900 + DESCRIPTORS_BESIDE, "the table has its size, and nothing is open");
        assert!(raise(0) >= before);
    }

    #[test]
    fn a_limit_below_the_settings_is_reported() {
        let most = getrlimit(Resource::Nofile).maximum;
        // In some containers the limit is a thousand million, and a table for those would not fit
        // into memory.
        let Some(most) = most.filter(|most| *most <= 1 << 20) else { return };
        let error = reserve(usize::try_from(most).unwrap()).unwrap_err();
        assert_eq!(error, DescriptorLimitError { wanted: most + DESCRIPTORS_BESIDE, allowed: most });
        assert!(error.to_string().contains("LimitNOFILE"), "{error}");
    }
}
