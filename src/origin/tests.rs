//! Tests against an origin that sends scripted bytes.

mod addresses;
mod answers;
mod bodies;
mod limiter;
mod reuse;
mod script;
mod tls;
mod tunnel;
mod uploads;
