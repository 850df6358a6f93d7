//! The tiers of several nodes over one real Redis: what one purges, none serves.
//!
//! A node is a [`Store`] with a memory tier of its own, as a process has; what the proxy does around it is done here by hand,
//! so that every order of events can be had.

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
mod node;
#[cfg(test)]
mod process;
#[cfg(test)]
mod tags;
