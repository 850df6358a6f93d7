//! The open connections of a listener that closes silent ones when it is full.
//!
//! A connection is silent while the server awaits its client: the first byte, the rest of a head,
//! or the next request. If the listener is full, a new connection ends the one that has been silent
//! longest, so silent clients keep no other client out. A connection with a request in flight
//! stays.

use std::sync::Arc;

use tokio::task::AbortHandle;

use super::activity::{ClientWait, ConnectionActivity};
use crate::client_address::ClientNetwork;

/// The open connections, in the order of their acceptance.
#[derive(Default)]
pub(super) struct SilentConnections(Vec<OpenConnection>);

struct OpenConnection {
    client: ClientNetwork,
    activity: Arc<ConnectionActivity>,
    task: AbortHandle,
}

/// Whether a new connection has a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionPlace {
    /// The connection may be served.
    Free,
    /// The address has as many connections as it may have, and none of them is silent.
    None,
}

impl SilentConnections {
    /// Adds a connection that `task` serves.
    pub(super) fn add(
        &mut self,
        client: ClientNetwork,
        activity: Arc<ConnectionActivity>,
        task: AbortHandle,
    ) {
        self.0.push(OpenConnection { client, activity, task });
    }

    /// Makes a place for a connection of `client`, beside at most `per_address` connections of its
    /// address and fewer than `most` in all.
    pub(super) fn make_place(
        &mut self,
        client: ClientNetwork,
        per_address: usize,
        most: usize,
    ) -> ConnectionPlace {
        self.0.retain(|open| !open.task.is_finished());
        let of_client = self.0.iter().filter(|open| open.client == client).count();
        if of_client >= per_address {
            return self.close_silent(|open| open.client == client);
        }
        if self.0.len() >= most {
            self.close_silent(|_| true);
        }
        ConnectionPlace::Free
    }

    /// Closes the longest open connection that is silent. A connection that has never sent a whole
    /// head goes first.
    fn close_silent(&mut self, among: impl Fn(&OpenConnection) -> bool) -> ConnectionPlace {
        let rank = |open: &OpenConnection| match open.activity.waiting()? {
            ClientWait::Opening | ClientWait::Head => Some(0),
            ClientWait::Request | ClientWait::Reader => Some(1),
        };
        let silent = self.0.iter().enumerate().filter(|(_, open)| among(open));
        let longest = silent.filter_map(|(at, open)| Some((rank(open)?, at))).min();
        match longest {
            Some((_, at)) => {
                self.0.remove(at).task.abort();
                ConnectionPlace::Free
            }
            None => ConnectionPlace::None,
        }
    }
}
