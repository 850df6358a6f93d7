//! The due times of requests, computed from the phases alone: no behaviour of a server changes
//! them.
//!
//! Requests are due in order. A phase with a duration ends at that time by the schedule, even if
//! its last requests are sent later. So a backlog is a number (the distance of `next` behind the
//! clock), not a queue.

use std::time::{Duration, Instant};

use crate::plan::{Length, Pace, Phase};

/// The requests that remain to be sent.
#[derive(Debug)]
pub struct Schedule {
    phases: Vec<Phase>,
    current: usize,
    began: Instant,
    /// The requests taken from the current phase.
    taken: u64,
}

/// The next request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// A request of this phase, due at this time.
    At(usize, Instant),
    /// A request of this phase, due as soon as a connection is free.
    WhenFree(usize),
    /// No further request.
    Over,
}

impl Schedule {
    /// Returns the schedule of the phases from `start` on.
    pub fn new(phases: Vec<Phase>, start: Instant) -> Self {
        Self { phases, current: 0, began: start, taken: 0 }
    }

    /// Returns the next request.
    pub fn next(&mut self, now: Instant) -> Next {
        while let Some(phase) = self.phases.get(self.current) {
            let due = match phase.pace {
                Pace::PerSecond(rate) => self.began + offset(self.taken, rate),
                Pace::AsAnswered => now.max(self.began),
            };
            let end = match phase.length {
                Length::Time(length) => Some(self.began + length).filter(|&end| due >= end),
                Length::Requests(count) => Some(due).filter(|_| self.taken >= count),
            };
            let Some(end) = end else {
                return match phase.pace {
                    Pace::PerSecond(_) => Next::At(self.current, due),
                    Pace::AsAnswered => Next::WhenFree(self.current),
                };
            };
            (self.current, self.began, self.taken) = (self.current + 1, end, 0);
        }
        Next::Over
    }

    /// Counts the next request as sent or given up.
    pub fn take(&mut self) {
        self.taken += 1;
    }
}

/// Returns the due time of a request, after the beginning of its phase.
fn offset(number: u64, rate: f64) -> Duration {
    // Exact far beyond the 2^53 requests that a day of any rate could have.
    #[expect(clippy::cast_precision_loss, reason = "a run has fewer requests than an f64 counts exactly")]
    Duration::from_secs_f64(number as f64 / rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phases(texts: &[&str]) -> Vec<Phase> {
        texts.iter().map(|text| Phase::parse(text).unwrap()).collect()
    }

    #[test]
    fn requests_are_due_by_arithmetic_whenever_they_are_taken() {
        let start = crate::clock::now();
        let late = start + Duration::from_secs(60);
        let mut schedule = Schedule::new(
            phases(&["a,rate=10,seconds=0.25", "b,rate=1,requests=2", "c,rate=4,requests=1"]),
            start,
        );
        let mut seen = Vec::new();
        while let Next::At(phase, due) = schedule.next(late) {
            seen.push((phase, (due - start).as_millis()));
            schedule.take();
        }
        assert_eq!(seen, [(0, 0), (0, 100), (0, 200), (1, 250), (1, 1250), (2, 2250)]);
        assert_eq!(schedule.next(late), Next::Over);
    }

    #[test]
    fn a_closed_loop_ends_by_the_clock_or_by_its_count() {
        let start = crate::clock::now();
        let mut schedule = Schedule::new(phases(&["a,rate=max,seconds=1", "b,rate=max,requests=1"]), start);
        assert_eq!(schedule.next(start), Next::WhenFree(0));
        schedule.take();
        assert_eq!(schedule.next(start + Duration::from_secs(1)), Next::WhenFree(1));
        schedule.take();
        assert_eq!(schedule.next(start + Duration::from_secs(1)), Next::Over);
    }
}
