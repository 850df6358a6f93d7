//! The waits of callers, compared with their deadline, on a machine with other load.
//!
//! A caller is late because the client delayed it, or because its thread did not get the processor.
//! A monitor distinguishes the two: a task on the callers' runtime that wakes every [`TURN`] and
//! records its delays. A caller may exceed its deadline by [`SLACK`] and by the monitor's delay
//! since that deadline. So the bound is as tight as the machine allows at that moment.
//!
//! A client that blocks the thread goes unnoticed: the monitor is then as late as the callers.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::ops::Range;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use cachewarp::time::instant;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::sleep;

/// Time by which a caller may exceed its deadline.
const SLACK: Duration = Duration::from_millis(20);
/// Interval at which the monitor wakes. Timers have whole milliseconds, so the monitor is on time
/// up to twice this interval.
const TURN: Duration = Duration::from_millis(1);

/// The waits of callers with one deadline, all on one thread.
pub(crate) struct Waits {
    deadline: Duration,
    /// The times from the deadline to the end of each wait that was too long.
    overdue: RefCell<Vec<Range<Instant>>>,
    delays: Rc<DelayMonitor>,
    watching: JoinHandle<()>,
}

impl Waits {
    /// Starts the measurement of delays. Must run on the [`LocalSet`](tokio::task::LocalSet) of the
    /// callers.
    pub(crate) fn up_to(deadline: Duration) -> Rc<Self> {
        let delays = Rc::new(DelayMonitor { seen: Cell::new(instant()), late: RefCell::default() });
        let watching = spawn_local(Rc::clone(&delays).watch());
        Rc::new(Self { deadline, overdue: RefCell::default(), delays, watching })
    }

    /// Measures a caller's wait for one command.
    pub(crate) async fn time<T>(&self, command: impl Future<Output = T>) -> T {
        let (mut command, mut due) = (pin!(command), None);
        let result = poll_fn(|cx| {
            let polled = command.as_mut().poll(cx);
            // The first poll submits the command, and so starts its time.
            due.get_or_insert_with(|| instant() + self.deadline);
            polled
        });
        let (result, end) = (result.await, instant());
        if let Some(due) = due.filter(|due| end > *due + SLACK) {
            self.overdue.borrow_mut().push(due..end);
        }
        result
    }

    /// Asserts that no caller has waited for too long.
    pub(crate) async fn assert_in_time(&self) {
        let now = instant();
        while self.delays.seen.get() <= now {
            sleep(TURN).await;
        }
        for overdue in self.overdue.borrow().iter() {
            let (elapsed, late) = (overdue.end - overdue.start, self.delays.late_within(overdue));
            assert!(
                elapsed <= SLACK + late,
                "a caller waited for {elapsed:?} beyond its {:?}; the runtime was late for {late:?} of it",
                self.deadline
            );
        }
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

/// A task that wakes at short intervals, and records its delays.
struct DelayMonitor {
    /// The time of the last wake.
    seen: Cell<Instant>,
    /// The delays, from the expected to the actual wake: in order, and without overlap.
    late: RefCell<Vec<Range<Instant>>>,
}

impl DelayMonitor {
    async fn watch(self: Rc<Self>) {
        loop {
            sleep(TURN).await;
            let (expected, now) = (self.seen.get() + 2 * TURN, instant());
            if now > expected {
                self.late.borrow_mut().push(expected..now);
            }
            self.seen.set(now);
        }
    }

    /// Returns the total delay within a period.
    fn late_within(&self, time: &Range<Instant>) -> Duration {
        let overlap = |late: &Range<Instant>| {
            late.end.min(time.end).saturating_duration_since(late.start.max(time.start))
        };
        self.late.borrow().iter().map(overlap).sum()
    }
}
