//! The time: what the wall says, and what processes have used of it.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Now.
#[expect(clippy::disallowed_methods, reason = "this is the one clock of this program")]
pub fn now() -> Instant {
    Instant::now()
}

/// CPU time of this process so far, user and system.
pub fn cpu_time() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(used.tv_sec.unsigned_abs(), u32::try_from(used.tv_nsec).unwrap_or(0))
}

/// CPU time so far of all threads that another process has, to the nanosecond (schedstat: the first number).
///
/// # Errors
/// If there is no such process, or it is not ours to look at.
pub fn cpu_time_of(process: u32) -> io::Result<Duration> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        // A thread that has ended meanwhile takes its time with it.
        let text = fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        sum += text.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_seen_from_outside_as_it_sees_itself() {
        let start = now();
        while now() < start + Duration::from_millis(20) {}
        let (seen, own) = (cpu_time_of(std::process::id()).unwrap(), cpu_time());
        assert!(seen > Duration::ZERO && seen <= own + Duration::from_millis(20), "{seen:?} {own:?}");
        assert!(cpu_time_of(u32::MAX).is_err());
    }
}
