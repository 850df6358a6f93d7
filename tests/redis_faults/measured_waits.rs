//! The measured waits tell a late caller from a late machine.

use std::rc::Rc;
use std::time::Duration;

use tokio::task::{LocalSet, spawn_local, yield_now};
use tokio::time::sleep;

use crate::harness::Waits;
use crate::load::on_one_thread;

const DEADLINE: Duration = Duration::from_millis(50);
/// Beyond any tolerance.
const LATE: Duration = Duration::from_millis(300);

#[test]
#[should_panic(expected = "a caller waited")]
fn a_late_caller_is_detected() {
    // On a paused clock nothing is late.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let waits = Waits::up_to(DEADLINE);
        waits.time(sleep(LATE)).await;
        waits.assert_in_time().await;
    });
}

#[test]
fn a_starved_thread_is_not_blamed_on_the_client() {
    on_one_thread(async {
        let waits = Waits::up_to(DEADLINE);
        let caller = spawn_local({
            let waits = Rc::clone(&waits);
            async move { waits.time(sleep(DEADLINE)).await }
        });
        yield_now().await;
        // Simulates a machine that runs other processes.
        std::thread::sleep(LATE);
        caller.await.unwrap();
        waits.assert_in_time().await;
    });
}
