//! The purges of a write, from every reading of its path, and the routes whose responses a write
//! with `wait` purges.

use std::time::Duration;

use http::Method;

use crate::limits::ROUTE_HOLD_DEFAULT;

use crate::routes::route::{OnWrite, WriteWait};
use crate::routes::table::RouteTable;

/// The purges of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteWrite {
    /// The tags to purge, none twice.
    pub tags: Vec<String>,
    /// The tags whose responses are not stored for a time, none twice.
    pub held: Vec<(String, Duration)>,
    /// Whether the answer waits for the purge.
    pub wait: WriteWait,
}

/// The guarantee that writes give for the responses of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteGuarantee {
    /// No write waits until its purge of them is confirmed.
    None,
    /// A write waits, and then no node serves an older response.
    Confirmed,
    /// A write waits, and nothing is stored for a time after it.
    Held,
}

impl OnWrite {
    /// Returns the time for which nothing fetched from the purged routes is stored.
    pub fn held_for(&self) -> Duration {
        match self.wait {
            WriteWait::None => Duration::ZERO,
            WriteWait::Confirmed => self.hold.unwrap_or(ROUTE_HOLD_DEFAULT),
        }
    }
}

impl RouteWrite {
    /// A write that purges nothing.
    pub const NONE: Self = Self { tags: Vec::new(), held: Vec::new(), wait: WriteWait::None };
}

impl RouteTable {
    /// Returns the purges of a write that succeeded, or may have. The readings of its path may
    /// match several routes, and the purges of all of them apply.
    pub fn write(&self, method: &Method, authority: &str, path: &str) -> RouteWrite {
        let mut write = RouteWrite::NONE;
        if !self.has_writes() {
            return write;
        }
        for matched in self.find_writes(method, authority, path) {
            let Some(on_write) = self.on_write(&matched) else { continue };
            for tag in self.purged_tags(&matched) {
                if !write.tags.contains(&tag) {
                    write.tags.push(tag);
                }
            }
            if on_write.wait == WriteWait::Confirmed {
                write.wait = WriteWait::Confirmed;
            }
            let held_for = on_write.held_for();
            for tag in self.purged_implied_tags(&matched) {
                match write.held.iter_mut().find(|(known, _)| *known == tag) {
                    Some((_, longest)) => *longest = held_for.max(*longest),
                    None if held_for.is_zero() => {}
                    None => write.held.push((tag, held_for)),
                }
            }
        }
        write
    }

    /// Returns the guarantee that the writes of this file give for each route, in the order of the
    /// file.
    pub fn guarantees(&self) -> Vec<WriteGuarantee> {
        let mut guarantees = vec![WriteGuarantee::None; self.routes().len()];
        let writes = self.routes().iter().filter_map(|route| route.members.on_write.as_ref());
        for write in writes.filter(|write| write.wait == WriteWait::Confirmed) {
            for index in &write.purge {
                if let Some(guarantee) = guarantees.get_mut(*index)
                    && *guarantee != WriteGuarantee::Held
                {
                    let is_held = !write.held_for().is_zero();
                    *guarantee = if is_held { WriteGuarantee::Held } else { WriteGuarantee::Confirmed };
                }
            }
        }
        guarantees
    }
}
