//! The health of one server: its latency, its circuit breaker, its statistics and its metrics.

mod breaker;
mod latency;
mod metrics;
mod refusals;
mod server_health;
mod server_stats;
mod stats_board;

pub use breaker::BreakerState;
pub(super) use breaker::{OpenCause, ProbeResult};
pub use metrics::ConnectionStatus;
pub(super) use metrics::{HedgeResult, PoolMetrics, StatusGuard};
pub use refusals::Redirections;
pub(super) use server_health::{LateReporting, ServerHealth, SilentGuard};
pub use server_stats::ServerState;
pub use stats_board::{ConnectionState, StatsBoard};
pub(super) use stats_board::{LogNovelty, StatsWriter};
