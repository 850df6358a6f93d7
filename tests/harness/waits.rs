//! How long callers wait, held against how long they may, on a machine that others use too.
//!
//! A caller is late because the client kept it waiting, or because its thread did not get the processor. A witness tells
//! the two apart: a task beside the callers, on the same runtime, that wants to be woken every [`TURN`] and writes down when it
//! was not. A caller may be later than its deadline and [`SLACK`] by what the witness was late since that deadline, and by no
//! more. So the bound is as narrow as the machine allows at that moment, and never narrower.
//!
//! What this does not see is a client that keeps the processor to itself: then the witness is as late as the callers are.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::ops::Range;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use cachewarp::time::instant;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::sleep;

/// How much longer than its deadline a caller may wait.
const SLACK: Duration = Duration::from_millis(20);
/// How often the witness wants to be woken. Timers have whole milliseconds, so it is on time until twice of that is over.
const TURN: Duration = Duration::from_millis(1);

/// The waits of callers that have the same deadline, all on one thread.
pub(crate) struct Waits {
    deadline: Duration,
    /// From the deadline to the end, of those who waited for too long, unless the runtime was late.
    overdue: RefCell<Vec<Range<Instant>>>,
    witness: Rc<Witness>,
    watching: JoinHandle<()>,
}

impl Waits {
    /// To be called on the [`LocalSet`](tokio::task::LocalSet) of the callers.
    pub(crate) fn up_to(deadline: Duration) -> Rc<Self> {
        let witness = Rc::new(Witness { seen: Cell::new(instant()), late: RefCell::default() });
        let watching = spawn_local(Rc::clone(&witness).watch());
        Rc::new(Self { deadline, overdue: RefCell::default(), witness, watching })
    }

    /// Lets a caller wait for one command.
    pub(crate) async fn time<T>(&self, command: impl Future<Output = T>) -> T {
        let (mut command, mut due) = (pin!(command), None);
        let result = poll_fn(|cx| {
            let polled = command.as_mut().poll(cx);
            // It is submitted now, and so its time has begun.
            due.get_or_insert_with(|| instant() + self.deadline);
            polled
        });
        let (result, end) = (result.await, instant());
        if let Some(due) = due.filter(|due| end > *due + SLACK) {
            self.overdue.borrow_mut().push(due..end);
        }
        result
    }

    /// No caller has waited for longer than it may.
    pub(crate) async fn assert_in_time(&self) {
        let now = instant();
        while self.witness.seen.get() <= now {
            sleep(TURN).await;
        }
        for overdue in self.overdue.borrow().iter() {
            let (elapsed, late) = (overdue.end - overdue.start, self.witness.late_within(overdue));
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

/// Who wants to be woken at short intervals, and sometimes is not.
struct Witness {
    /// When it was last awake.
    seen: Cell<Instant>,
    /// From when it should have been woken until it was: in order, and without overlap.
    late: RefCell<Vec<Range<Instant>>>,
}

impl Witness {
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

    /// For how much of a time it was late.
    fn late_within(&self, time: &Range<Instant>) -> Duration {
        let overlap = |late: &Range<Instant>| {
            late.end.min(time.end).saturating_duration_since(late.start.max(time.start))
        };
        self.late.borrow().iter().map(overlap).sum()
    }
}
