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

/// Reserves room for this many connections, or for as many as the system allows. Returns the number
/// that has room. Must run before other threads start.
pub fn reserve(connections: usize) -> usize {
    let wanted = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(DESCRIPTORS_BESIDE);
    let allowed = raise(wanted).min(wanted);
    // If this fails, the table grows on demand.
    let _ = widen(allowed);
    usize::try_from(allowed.saturating_sub(DESCRIPTORS_BESIDE)).unwrap_or(usize::MAX)
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
        assert_eq!(reserve(900), 900);
        assert!(status("FDSize:") >= 900 + DESCRIPTORS_BESIDE, "the table has its size, and nothing is open");
        assert!(raise(0) >= before);
    }

    #[test]
    fn a_limit_below_the_settings_leaves_room_for_fewer() {
        let most = getrlimit(Resource::Nofile).maximum;
        // In some containers the limit is a thousand million, and a table for those would not fit
        // into memory.
        let Some(most) = most.filter(|most| *most <= 1 << 20) else { return };
        assert_eq!(reserve(usize::try_from(most).unwrap()) as u64, most - DESCRIPTORS_BESIDE);
    }
}
