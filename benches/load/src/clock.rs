//! The wall clock, and the CPU time of processes.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Returns the current time.
#[expect(clippy::disallowed_methods, reason = "this is the one clock of this program")]
pub fn now() -> Instant {
    Instant::now()
}

/// Returns the CPU time of this process so far, user and system.
pub fn cpu_time() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(used.tv_sec.unsigned_abs(), u32::try_from(used.tv_nsec).unwrap_or(0))
}

/// Returns the CPU time so far of all living threads of another process, to the nanosecond (the
/// first number of schedstat).
///
/// # Errors
/// Fails if there is no such process, or its files may not be read.
pub fn cpu_time_of(process: u32) -> io::Result<Duration> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        // The time of a thread that has ended meanwhile is lost.
        let text = fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        sum += text.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_time_of_a_process_matches_its_own_reading() {
        let start = now();
        while now() < start + Duration::from_millis(20) {}
        let (seen, own) = (cpu_time_of(std::process::id()).unwrap(), cpu_time());
        assert!(seen > Duration::ZERO && seen <= own + Duration::from_millis(20), "{seen:?} {own:?}");
        assert!(cpu_time_of(u32::MAX).is_err());
    }
}
