//! How many files and sockets this process may have open, and room for them.
//!
//! A connection is a descriptor. The limit that a process starts with is often 1,024, for the sake of programs that use
//! `select`; the one it may raise that to is much higher. So it is raised to what the settings allow to be open together.
//!
//! The kernel's table of descriptors grows by doubling, and in a process with several threads each time costs a wait for all
//! processors to pass through the kernel (`expand_fdtable`, `synchronize_rcu`): up to 15 ms on a busy machine. A thousand
//! connections to a process that has just started would meet that five times, in which its worker answers nobody. So the
//! table gets its size at the start, before there are other threads: eight bytes a descriptor, and it never shrinks.

use std::io;

use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::limits::DESCRIPTORS_BESIDE;

/// The limit is lower than what the settings allow.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{wanted} connections and files may be open together by the settings, but only {allowed} by this system \
     (ulimit -n, LimitNOFILE): beyond that, clients wait in the backlog and the origin and Redis are out of reach"
)]
pub struct TooFew {
    /// So many may be open together.
    wanted: u64,
    /// So many the system allows.
    allowed: u64,
}

/// Sees to it that so many connections may be open together, or as many as the system allows. To be called before there are
/// other threads.
///
/// # Errors
/// [`TooFew`], if the system allows fewer; there is room for those then.
pub fn reserve(connections: usize) -> Result<(), TooFew> {
    let wanted = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(DESCRIPTORS_BESIDE);
    let allowed = raise(wanted);
    // Without it the table grows when it has to.
    let _ = widen(wanted.min(allowed));
    if allowed < wanted { Err(TooFew { wanted, allowed }) } else { Ok(()) }
}

/// Raises the limit to so many, where it is lower; gives what it is then.
fn raise(wanted: u64) -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let now = current.unwrap_or(u64::MAX);
    let wanted = wanted.min(maximum.unwrap_or(u64::MAX));
    if wanted <= now || setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).is_err() {
        return now;
    }
    wanted
}

/// Has the kernel make room for so many: by opening the last of them, once.
fn widen(descriptors: u64) -> io::Result<()> {
    let last = i32::try_from(descriptors.saturating_sub(1)).map_err(io::Error::other)?;
    fcntl_dupfd_cloexec(io::stderr(), last).map(drop).map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `/proc` says of this process.
    fn status(name: &str) -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().parse().unwrap()
    }

    #[test]
    fn there_is_room_at_once_and_never_less_than_before() {
        let before = raise(0);
        assert_eq!(reserve(900), Ok(()));
        assert!(status("FDSize:") >= 900 + DESCRIPTORS_BESIDE, "the table has its size, and nothing is open");
        assert!(raise(0) >= before);
    }

    #[test]
    fn more_than_the_system_allows_is_told() {
        let most = getrlimit(Resource::Nofile).maximum;
        // Of some containers it is a thousand millions, and a table for those is none that anybody has room for.
        let Some(most) = most.filter(|most| *most <= 1 << 20) else { return };
        let told = reserve(usize::try_from(most).unwrap()).unwrap_err();
        assert_eq!(told, TooFew { wanted: most + DESCRIPTORS_BESIDE, allowed: most });
        assert!(told.to_string().contains("LimitNOFILE"), "{told}");
    }
}
