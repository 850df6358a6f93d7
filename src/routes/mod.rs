//! Routes: caching rules for the requests whose host, method and path match a pattern.
//!
//! [`RouteTable::parse`] reads the routes file and returns every error with its line.
//! [`RouteTable::find`] matches one request. An origin may read a path in another way than
//! CacheWarp: it may decode it, merge `//`, drop `;parameters`, or ignore letter case. The match
//! therefore states whether permissive members may apply and whether another reading of the path
//! belongs to another route.
//!
//! **Invariant:** a member that allows storing applies only to a plain path all of whose readings
//! match one route. A member that forbids storing, and the purge of a write, applies in every
//! reading.

mod bytes;
mod descent;
mod digest;
mod error;
mod file;
mod literals;
mod member;
mod pattern;
mod readings;
mod references;
mod report;
mod route;
mod route_match;
mod segment;
mod split;
mod table;
mod tags;
mod tree;
mod value;
mod write;

#[cfg(test)]
mod tests;

pub use error::{RouteError, RouteFault};
pub use member::MEMBERS;
pub use pattern::{CaptureName, HostPattern, PathPattern, PatternError, PatternSegment};
pub use route::{
    OnWrite, Route, RouteCaching, RouteFreshness, RouteMembers, RouteMode, RouteOverride, StaleUse, WriteWait,
};
pub use route_match::{PathForm, RouteMatch};
pub use table::{RouteTable, WriteMatch};
pub use tags::{TagPart, TagTemplate};
pub use write::{RouteWrite, WriteGuarantee};
