//! Purges by events: a Redis Stream that applications write to.
//!
//! ```text
//! XADD ─► stream ─► consumer group ─► one node: purge, confirmation by all nodes, XACK
//! ```
//!
//! The nodes of a namespace are one group, and Redis delivers each message to one of them. The node
//! purges as `POST /purge` does, and acknowledges the message once every node has confirmed. A
//! message whose purge is not confirmed stays pending, and the node repeats it. Purges may be
//! repeated and commute, so no order is promised, and delivery is at least once.
//!
//! A node that finds messages of a dead node takes them over ([`reader`]). A message that is no
//! purge order is set aside: acknowledged, counted, and named in the log by its identifier, under
//! which the stream still has it. Of many such messages, the log names the first of a period and
//! counts the others.
//!
//! **Always:** a message is acknowledged only after its purge was confirmed, after the purge is in
//! Redis and has been repeated for longer than a node may serve alone, or after it was set aside.

mod batch;
mod group;
mod metrics;
mod options;
mod reader;
mod set_aside_log;
mod unconfirmed;

pub use options::Options;
pub use reader::PurgeStreamReader;
