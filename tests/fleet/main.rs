//! The tiers of several nodes over one real Redis: after a purge on one node, no node serves the
//! response.
//!
//! A node is a [`Store`] with its own memory tier, as in a process. The tests play the part of the
//! proxy, so that every order of events is possible.

#[cfg(test)]
mod coherence;
#[cfg(test)]
#[path = "../harness/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the tiers need few of the parties")]
mod harness;
#[cfg(test)]
mod history;
#[cfg(test)]
mod lease;
#[cfg(test)]
mod members;
#[cfg(test)]
mod node;
#[cfg(test)]
mod process;
#[cfg(test)]
mod purge_stream;
#[cfg(test)]
mod relay;
#[cfg(test)]
mod restart;
#[cfg(test)]
mod tags;
