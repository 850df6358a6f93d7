//! The purges of a write, from every reading of its path.

use http::Method;

use crate::routes::table::RouteTable;

/// The purges of a write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteWrite {
    /// The tags to purge, none twice.
    pub tags: Vec<String>,
}

impl RouteTable {
    /// Returns the purges of a write that succeeded, or may have. The readings of its path may
    /// match several routes, and the purges of all of them apply.
    pub fn write(&self, method: &Method, authority: &str, path: &str) -> RouteWrite {
        let mut write = RouteWrite::default();
        if !self.has_writes() {
            return write;
        }
        for matched in self.find_writes(method, authority, path) {
            for tag in self.purged_tags(&matched) {
                if !write.tags.contains(&tag) {
                    write.tags.push(tag);
                }
            }
        }
        write
    }
}
