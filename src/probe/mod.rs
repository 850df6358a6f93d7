//! Requests to a running CacheWarp from the command line: its [health](health()), the
//! [explanation](explain()) of an answer, and the commands of its [operators](AdminClient).
//!
//! These commands run in their own process, started by an operator or a supervisor. So they block,
//! and end within a known time.

mod explain;
mod get;
mod health;
mod operate;
mod report;
mod target;

pub use explain::{ExplainError, ExplainRequest, explain};
pub use get::HttpError;
pub use health::{HealthError, health};
pub use operate::{AdminClient, AdminCommand, AdminError};
pub use report::AdminReport;
pub use target::ProbeTarget;
