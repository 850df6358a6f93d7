//! Metrics and logs.
//!
//! A number is kept once for each worker and summed when somebody asks: counting costs one uncontended atomic add,
//! and the scrape pays for the sum. A name with its label and its help is declared by the module that counts.

mod counters;
mod family;
mod gauges;
mod heavy;
mod histograms;
pub mod log;
mod percentiles;
mod registry;
mod scrape;
mod shard;
mod snapshot;
mod tally;

pub use counters::{Counter, Counters};
pub use gauges::{Gauge, Gauges};
pub use heavy::HeavyHitters;
pub use histograms::{BUCKET_BOUNDS, Histogram, Histograms};
pub use percentiles::percentile;
pub use registry::Registry;
pub use scrape::CONTENT_TYPE;
pub use snapshot::{Series, Snapshot, Value};
pub use tally::{Tally, Times};
