//! Metrics, logs and traces.
//!
//! Each worker has its own copy of a number, and the scrape sums the copies: counting costs one
//! uncontended atomic add. The module that counts declares the name, the label and the help of its
//! metric.

pub mod access;
mod counters;
mod family;
mod format;
mod heavy;
mod histograms;
pub mod log;
mod percentiles;
mod process;
mod registry;
mod route_counts;
mod scrape;
mod shard;
mod snapshot;
mod status;
mod tally;
pub mod trace;

pub use counters::{Counter, CounterGrid, Counters, Gauge, Gauges};
pub use format::MetricsFormat;
pub use heavy::HeavyHitters;
pub use histograms::{BUCKET_BOUNDS, DurationTimer, Histogram, Histograms};
pub use percentiles::percentile;
pub use registry::Registry;
pub use route_counts::{CacheResult, RouteCounter, RouteCounts, RouteSummary, WorkerRouteCounts};
pub use snapshot::{MetricSnapshot, SnapshotSeries, SnapshotValue};
pub use status::StatusClass;
pub use tally::{DurationSummary, DurationTally};
