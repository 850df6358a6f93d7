//! The open connections of a listener that closes silent ones when it is full.
//!
//! A connection is silent while the server awaits its client: the first byte, the rest of a head,
//! or the next request. It is stalled while a request in flight needs its client: the rest of the
//! body, or the reading of the response (over HTTP/2: of all responses that are left). If the
//! listener is full, a new connection ends the longest open one that is silent, else the longest
//! open one that is stalled, so such clients keep no other client out. A connection on whose
//! request the server works stays.

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
    /// The address has as many connections as it may have, and the server works for all of them.
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

    /// Closes the longest open connection that is silent or stalled. A connection that has never
    /// sent a whole head goes first, and a stalled one last.
    fn close_silent(&mut self, among: impl Fn(&OpenConnection) -> bool) -> ConnectionPlace {
        let rank = |open: &OpenConnection| match open.activity.waiting() {
            Some(ClientWait::Opening | ClientWait::Head) => Some(0),
            Some(ClientWait::Request | ClientWait::Reader) => Some(1),
            None => open.activity.is_stalled().then_some(2),
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

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::net::{IpAddr, Ipv4Addr};

    use tokio::task::JoinSet;

    use super::*;
    use crate::server::framing::NextBytes;

    #[tokio::test]
    async fn stalled_connections_are_closed_after_silent_ones_and_before_none() {
        let client = IpAddr::V4(Ipv4Addr::LOCALHOST).into();
        let (mut connections, mut tasks) = (SilentConnections::default(), JoinSet::new());
        let mut open = |connections: &mut SilentConnections, inbound, is_unread: bool| {
            let activity = Arc::new(ConnectionActivity::new());
            activity.received(1, inbound);
            activity.begin();
            if is_unread {
                activity.writes();
            }
            let task = tasks.spawn(pending::<()>());
            connections.add(client, activity, task.clone());
            task
        };
        let busy = open(&mut connections, NextBytes::Between, false);
        let unread = open(&mut connections, NextBytes::Between, true);
        let half_body = open(&mut connections, NextBytes::Body, false);
        let idle = tasks.spawn(pending::<()>());
        connections.add(client, Arc::new(ConnectionActivity::new()), idle.clone());
        for (rest, closed) in [idle, unread, half_body].into_iter().enumerate() {
            let most = 4 - rest;
            let (per_address, most) = if rest == 1 { (most, 64) } else { (32, most) };
            assert_eq!(connections.make_place(client, per_address, most), ConnectionPlace::Free);
            let ended = tasks.join_next().await.unwrap().unwrap_err();
            assert_eq!(ended.id(), closed.id(), "{rest}");
        }
        assert_eq!(connections.make_place(client, 1, 64), ConnectionPlace::None);
        assert!(!busy.is_finished());
    }
}
