//! The connections to one server: lanes, supervision, hedging and tracking.

mod catch_panic;
mod draining;
mod fleet_channel;
mod hedge;
mod lanes;
mod probe;
mod redis_pool;
mod server;
mod supervisor;
mod tracking_supervisor;

pub(super) use draining::DrainingPools;
pub use fleet_channel::FleetChannel;
pub use redis_pool::RedisPool;
pub(super) use supervisor::Backoff;
