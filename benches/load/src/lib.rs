//! An open-loop load generator.
//!
//! A closed-loop generator waits for an answer before it asks again, so that a server that stands still for a second
//! is asked nothing in that second, and one slow answer is all that is seen of it. Here each request has a time at
//! which it is *due*, by arithmetic from the rate alone, and its latency counts from then: a request that waits for a
//! connection, or for this very program, has waited.
//!
//! That makes the generator's own delays part of what it measures. So it reports them beside: how late its sends were
//! though a connection was free (*lag*), how many requests found none free, and how much CPU time it used. A figure that
//! the generator has spoiled can be told from one that the server has made.
//!
//! One thread, one epoll, no allocation for a request. Between sends it sleeps, to the nanosecond, or spins
//! ([`plan::Idle`]). In a closed loop a request costs it about as much CPU time as it costs wrk (8 to 9 µs where wrk took
//! 10, in the same minute on one machine); every report says how much it was this time.
//!
//! ```text
//! plan ──► schedule ──► run ──► pool ──► connection ──► response
//!                        └────► tally ──► report
//! ```

pub mod clock;
pub mod connection;
pub mod durations;
pub mod plan;
pub mod pool;
pub mod report;
pub mod request;
pub mod response;
pub mod run;
pub mod schedule;
pub mod tally;

pub use plan::{Idle, Length, Order, Pace, Phase, Plan};
pub use run::run;
