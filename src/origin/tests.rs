//! Tests against an origin that sends scripted bytes.

mod addresses;
mod answers;
mod bodies;
mod limiter;
mod reuse;
mod script;
mod tls;
mod tls_addresses;
mod tunnel;
mod uploads;
