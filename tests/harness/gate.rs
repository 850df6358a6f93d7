//! A barrier between a scenario and the servers around it.

use std::sync::{Arc, Condvar, Mutex};

use super::PATIENCE;

/// A barrier that holds every thread that reaches it until the scenario opens it. A clone is the
/// same gate.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate(Arc<(Mutex<State>, Condvar)>);

#[derive(Debug, Default)]
struct State {
    arrived: usize,
    /// Threads that may pass; all may, once the gate is open.
    passes: usize,
    open: bool,
}

impl Gate {
    /// Returns a closed gate.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Waits until `count` threads have arrived since the beginning.
    pub(crate) fn await_arrivals(&self, count: usize) {
        self.wait(&format!("{count} to arrive at a gate"), |state| state.arrived >= count);
    }

    /// Lets one thread pass: a waiting one, or the next to arrive.
    pub(crate) fn release_one(&self) {
        self.change(|state| state.passes += 1);
    }

    /// Lets every thread pass from now on.
    pub(crate) fn open(&self) {
        self.change(|state| state.open = true);
    }

    /// Arrives at the gate and waits until it may pass.
    pub(crate) fn pass(&self) {
        self.change(|state| state.arrived += 1);
        self.wait("a gate to be opened", |state| {
            let may_pass = state.open || state.passes > 0;
            state.passes = state.passes.saturating_sub(usize::from(may_pass));
            may_pass
        });
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
    }

    fn wait(&self, what: &str, mut done: impl FnMut(&mut State) -> bool) {
        let state = self.0.0.lock().unwrap();
        let waited = self.0.1.wait_timeout_while(state, PATIENCE, |state| !done(state)).unwrap();
        assert!(!waited.1.timed_out(), "timeout while waiting for {what}: {:?}", *waited.0);
    }
}
