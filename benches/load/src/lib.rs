//! An open-loop load generator.
//!
//! A closed-loop generator waits for an answer before its next request. So a server that stalls for
//! a second gets no request in that second, and the stall appears as one slow answer. In an open
//! loop each request has a time at which it is *due*, computed from the rate alone, and its latency
//! counts from then: a request that waits for a connection, or for the generator, has waited.
//!
//! So the generator's own delays are part of its measurement. It reports them as well: the delay of
//! its sends while a connection was free (*lag*), the number of requests that found no free
//! connection, and its CPU time. A reader can distinguish a figure that the generator has spoiled
//! from one that the server has caused.
//!
//! The generator has one thread, one epoll, and no allocation for a request. Between sends it
//! sleeps, to the nanosecond, or spins ([`plan::Idle`]). In a closed loop a request costs it about
//! as much CPU time as it costs wrk (8 to 9 µs where wrk took 10, in the same minute on one
//! machine); every report has the current figure.
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
