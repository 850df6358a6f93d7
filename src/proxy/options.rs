//! What the path of a request can be told.

use std::time::Duration;

use ipnet::IpNet;

use crate::secret::Secret;

/// How requests are answered.
#[derive(Clone, Debug)]
pub struct Options {
    /// Requests that may wait for an answer at one time in the whole process; those that memory
    /// answers are not counted.
    pub requests_max: usize,
    /// Requests of one client address that may be under way at one time, their answers included;
    /// those that memory answers are not counted.
    pub requests_per_address_max: Option<usize>,
    /// Bytes of bodies that fetches may hold at one time in the whole process; beyond it, bodies
    /// are not kept.
    pub body_bytes_max: usize,
    /// Bytes of bodies that are stored a minute though nobody had asked for them before.
    pub first_sight_bytes: usize,
    /// How long a request waits for another's fetch of the same key before it goes on alone.
    pub coalesce_timeout: Duration,
    /// Whether a fetch is one for all nodes.
    pub fetch_lease: FetchLease,
    /// How long a tunnel may stand still.
    pub tunnel_idle_timeout: Duration,
    /// Whether each request is logged, at level `info`.
    pub access_log: AccessLog,
    /// Whoever sends this is told how an answer came about; nobody is where `None`.
    pub explain_token: Option<Secret>,
    /// From where `PURGE` is taken; where there is nothing in it, `PURGE` is passed on like any
    /// other method.
    pub purge_allow: Vec<IpNet>,
}

/// Whether a fetch is one for all nodes of a Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchLease {
    /// Each node fetches for itself.
    Off,
    /// It always is, at the price of two round trips to Redis in front of it.
    On,
    /// It is where it takes long: then a second fetch costs more than the question whether there is
    /// one.
    Adaptive,
}

/// Whether each request is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// One line a request.
    On,
    /// None.
    Off,
}
