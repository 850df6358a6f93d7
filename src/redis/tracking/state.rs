//! The state that decides whether the replies of one pool count as tracked.

use std::cell::Cell;
use std::rc::Rc;

use super::options::TrackingOptions;

/// The tracking state that all connections of one pool share.
pub(in crate::redis) struct TrackingState {
    pub(in crate::redis) options: TrackingOptions,
    /// Whether the first connection is subscribed to the channels.
    pub(in crate::redis) subscribed: Cell<bool>,
    /// Whether this server is known to be the master.
    pub(in crate::redis) trusted: Cell<bool>,
}

impl TrackingState {
    pub(in crate::redis) fn new(options: TrackingOptions) -> Rc<Self> {
        Rc::new(Self { options, subscribed: Cell::new(false), trusted: Cell::new(true) })
    }

    /// Returns whether the pool is subscribed, to a trusted server.
    pub(in crate::redis) fn is_active(&self) -> bool {
        self.subscribed.get() && self.trusted.get()
    }
}
