//! Dialogues with an origin that does what the test says, byte for byte.

mod answers;
mod bodies;
mod reuse;
mod script;
mod tls;
mod tunnel;
mod limiter;
mod uploads;
