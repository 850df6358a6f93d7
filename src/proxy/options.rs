//! The settings of the request path.

use std::time::Duration;

use ipnet::IpNet;

use crate::readiness::Readiness;
use crate::secret::Secret;

/// The settings by which requests are answered.
#[derive(Clone, Debug)]
pub struct Options {
    /// The maximum number of requests that may wait for an answer at one time in the whole process.
    /// Requests that memory answers are not counted.
    pub requests_max: usize,
    /// The maximum number of requests of one client address in progress at one time, including
    /// their responses. Requests that memory answers are not counted.
    pub requests_per_address_max: Option<usize>,
    /// The maximum number of body bytes that fetches may hold at one time in the whole process.
    /// Above it, bodies are relayed and not stored.
    pub body_bytes_max: usize,
    /// Bytes of stored responses above
    /// [`UNCOUNTED_HIT_BYTES_MAX`](crate::limits::UNCOUNTED_HIT_BYTES_MAX) that answers may hold.
    pub answer_bytes_max: usize,
    /// The number of body bytes per minute that may be stored for keys that have not been requested
    /// before.
    pub admission_budget: usize,
    /// The time that a request waits for a shared fetch of its key before it fetches alone.
    pub collapse_timeout: Duration,
    /// Whether one node fetches for all nodes.
    pub fetch_lease: FetchLease,
    /// The number of writes per second whose answers may wait until every node has confirmed their
    /// purge.
    pub on_write_rate: usize,
    /// The largest content of a `QUERY` whose response is cached, in bytes; zero for none.
    pub query_body_max: usize,
    /// The time after which an idle tunnel is closed.
    pub tunnel_idle_timeout: Duration,
    /// The token that entitles a request to an explanation of its answer. `None` disables
    /// explanations.
    pub explain_token: Option<Secret>,
    /// The paths at which the proxy answers itself.
    pub probes: ProbePaths,
    /// The phase of the process.
    pub readiness: Readiness,
    /// The networks from which `PURGE` is accepted. If the list is empty, `PURGE` is passed to the
    /// origin like any other method.
    pub purge_allow: Vec<IpNet>,
}

/// The paths at which the proxy answers itself, and not the API. `None` disables one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbePaths {
    /// The path of the health check.
    pub health: Option<String>,
    /// The path of the readiness check.
    pub ready: Option<String>,
}

/// Whether one node fetches for all nodes that share a Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchLease {
    /// Each node fetches for itself.
    Off,
    /// One node always fetches for all. The price: two round trips to Redis before each fetch.
    On,
    /// One node fetches for all when the fetch is slow: a second slow fetch costs more than the
    /// round trips to Redis.
    Adaptive,
}
