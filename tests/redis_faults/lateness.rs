//! What the callers' waits are held against tells a late client from a late machine.

use std::rc::Rc;
use std::time::Duration;

use tokio::task::{LocalSet, spawn_local, yield_now};
use tokio::time::sleep;

use crate::harness::Waits;
use crate::load::on_one_thread;

const DEADLINE: Duration = Duration::from_millis(50);
/// Long enough to be no matter of slack.
const LATE: Duration = Duration::from_millis(300);

#[test]
#[should_panic(expected = "a caller waited")]
fn a_caller_that_is_kept_waiting_is_seen() {
    // On a clock that stands still until everybody waits, nobody is late.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let waits = Waits::up_to(DEADLINE);
        waits.time(sleep(LATE)).await;
        waits.assert_in_time().await;
    });
}

#[test]
fn a_thread_that_is_kept_from_running_is_no_fault_of_the_client() {
    on_one_thread(async {
        let waits = Waits::up_to(DEADLINE);
        let caller = spawn_local({
            let waits = Rc::clone(&waits);
            async move { waits.time(sleep(DEADLINE)).await }
        });
        yield_now().await;
        // In the place of a machine that gives the processor to others.
        std::thread::sleep(LATE);
        caller.await.unwrap();
        waits.assert_in_time().await;
    });
}
